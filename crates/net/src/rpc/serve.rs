//! The RPC port: who may connect, what a connection is for, and handing it to who answers.
//!
//! Always true: a connection says what it is for within the handshake time or is closed; one address holds a bounded
//! number of connections; a connection that fails, panics or stalls touches no other; when cancelled, nothing of the
//! port is left running.
//! Not here: TLS; connections that begin with another byte than those of [`FirstByte`] are closed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::conversation::{Common, converse};
use super::first_byte::FirstByte;
use super::inbox::Budget;
use super::session;
use super::stream::BoxedStream;

/// After an accept that failed for want of something that others hold: how long they get to give it back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The kernel asks a silent connection this often whether the other side is there, as Go's does.
pub(super) const TCP_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Connections of all addresses together.
const CONNECTIONS_MAX: usize = 16 * 1024;

/// Who answers what comes in.
pub trait Handler: Send + Sync {
    /// Answers a call with the body of the answer, or with the text of an error. Dropped when the caller is gone.
    fn call(&self, method: &str, args: Bytes, peer: SocketAddr) -> BoxFuture<'static, Result<Vec<u8>, String>>;

    /// Talks Raft on a connection until it is done with it.
    fn raft(&self, stream: BoxedStream, peer: SocketAddr) -> BoxFuture<'static, ()>;

    /// Saves or restores one snapshot.
    fn snapshot(&self, stream: BoxedStream, peer: SocketAddr) -> BoxFuture<'static, ()>;
}

/// What the port bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `limits.rpc_handshake_timeout`: until the first byte. Zero is for ever.
    pub handshake_timeout: Duration,
    /// `limits.rpc_max_conns_per_client`: connections of one address. Zero is any number.
    pub connections_per_client: usize,
    /// Streams of one session. A client agent has one for each query that blocks.
    pub streams_per_session: usize,
    /// What all conversations together keep of large calls.
    pub buffered_max: usize,
    /// What a call may take to arrive once it has begun, however short it is.
    pub message_grace: Duration,
    /// How fast the rest of a long call must arrive.
    pub bytes_per_second: u64,
    /// How long an answer may wait for its reader to take some of it.
    pub answer_stall: Duration,
    /// How often a session asks for a sign of life. Not below ten seconds: the library asks no more often than that.
    pub keep_alive: Duration,
    /// How long a session waits for a sign of life, or for its words to be taken.
    pub keep_alive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake_timeout: Duration::from_secs(5),
            connections_per_client: 100,
            streams_per_session: 4096,
            buffered_max: 4 * wire::rpc::MAX_MESSAGE,
            message_grace: Duration::from_secs(30),
            bytes_per_second: 16 * 1024,
            answer_stall: Duration::from_secs(60),
            keep_alive: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves the port until cancelled.
pub async fn serve(listener: TcpListener, handler: Arc<dyn Handler>, limits: Limits, cancel: CancellationToken) {
    let common = Common { handler, limits, budget: Budget::new(limits.buffered_max) };
    let doors = Arc::new(Doors::default());
    let running = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Err(error) => {
                warn!(%error, "failed to accept RPC conn");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = Doors::enter(&doors, peer.ip(), limits.connections_per_client) else {
            metrics::counter!("curule.rpc.refused_conn").increment(1);
            warn!(%peer, "rejecting RPC conn because rpc_max_conns_per_client exceeded");
            continue;
        };
        metrics::counter!("consul.rpc.accept_conn").increment(1);
        if let Err(error) = prepare(&stream) {
            debug!(%peer, %error, "RPC conn was gone at once");
            continue;
        }
        let common = common.clone();
        let connection = async move {
            connection(Box::new(stream), peer, &common).await;
            drop(place);
        };
        running.spawn(cancel.clone().run_until_cancelled_owned(connection));
    }
    running.close();
    running.wait().await;
}

/// Serves one connection that came by another way than a listener.
pub async fn serve_stream(stream: BoxedStream, peer: SocketAddr, handler: Arc<dyn Handler>, limits: Limits) {
    let common = Common { handler, limits, budget: Budget::new(limits.buffered_max) };
    connection(stream, peer, &common).await;
}

/// What every TCP connection of the RPC port wants of the kernel.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(TCP_KEEP_ALIVE).with_interval(TCP_KEEP_ALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keep_alive)
}

async fn connection(mut stream: BoxedStream, peer: SocketAddr, common: &Common) {
    let first = stream.read_u8();
    let first = match common.limits.handshake_timeout {
        Duration::ZERO => first.await,
        limit => match timeout(limit, first).await {
            Ok(first) => first,
            Err(_) => return debug!(%peer, "RPC conn said nothing"),
        },
    };
    let Ok(first) = first else { return };
    match FirstByte::of(first) {
        Some(FirstByte::Calls) => converse(&mut stream, peer, common).await,
        Some(FirstByte::Session) => session::serve(stream, peer, common).await,
        Some(FirstByte::Raft) => {
            metrics::counter!("consul.rpc.raft_handoff").increment(1);
            common.handler.raft(stream, peer).await;
        }
        Some(FirstByte::Snapshot) => common.handler.snapshot(stream, peer).await,
        None => warn!(%peer, byte = first, "unrecognized RPC byte"),
    }
}

/// Who is inside.
#[derive(Default)]
struct Doors {
    // Held for a look-up; entering and leaving happen on different tasks.
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Doors {
    fn enter(doors: &Arc<Doors>, address: IpAddr, max: usize) -> Option<Place> {
        let mut inside = doors.inside.lock();
        if inside.all >= CONNECTIONS_MAX {
            return None;
        }
        let count = inside.by_address.entry(address).or_default();
        if max > 0 && *count >= max {
            return None;
        }
        *count += 1;
        inside.all += 1;
        Some(Place { doors: Arc::clone(doors), address })
    }
}

/// Counts as one inside until dropped.
struct Place {
    doors: Arc<Doors>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.doors.inside.lock();
        inside.all = inside.all.saturating_sub(1);
        if let Some(count) = inside.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}
