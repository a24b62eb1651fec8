//! The servers' RPC port: what a connection is for shows in its first byte (protocols.md A1–A3, A6).
//!
//! Always true: a connection that says nothing in time is closed; a client has a bounded number of connections; what a
//! call brings is made room for as it arrives, up to [`wire::rpc::MAX_MESSAGE`]; a call whose client has gone is dropped.
//!
//! Not here: what methods mean (`server`, `agent`), raft's messages.

mod conversation;
mod pool;
mod session;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub use self::pool::{CallError, Pool};

/// First bytes of connections.
const SINGLE: u8 = 0;
const RAFT: u8 = 1;
const MULTIPLEXED: u8 = 4;
const SNAPSHOT: u8 = 5;

/// After an accept failed (no descriptors), the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The first byte must come within this (`rpc_handshake_timeout`).
    pub handshake: Duration,
    /// Connections of one address (`rpc_max_conns_per_client`); zero for any number.
    pub connections_per_client: usize,
}

/// What calls and connections mean.
pub trait Handler: Send + Sync + 'static {
    /// Answers a call: the body as msgpack, or an error in words.
    fn call(&self, method: &str, args: Bytes, peer: SocketAddr) -> BoxFuture<'static, Result<Vec<u8>, String>>;
    /// Takes over a connection of raft, whose first byte was read.
    fn raft(&self, stream: TcpStream, peer: SocketAddr) -> BoxFuture<'static, ()>;
    /// Takes over a connection for a snapshot, whose first byte was read.
    fn snapshot(&self, stream: TcpStream, peer: SocketAddr) -> BoxFuture<'static, ()>;
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection that counts.
struct Counted(Clients, IpAddr);

impl Clients {
    fn enter(&self, address: IpAddr, max: usize) -> Option<Counted> {
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if max > 0 && *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted(self.clone(), address))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// Serves a listener until it is cancelled; running connections end with it.
pub async fn serve(listener: TcpListener, handler: Arc<dyn Handler>, limits: Limits, cancel: CancellationToken) {
    let clients = Clients::default();
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(counted) = clients.enter(peer.ip(), limits.connections_per_client) else {
            metrics::counter!("consul.rpc.accept_conn.refused").increment(1);
            tracing::debug!(target: "agent.server.rpc", %peer, "too many connections of one client");
            continue;
        };
        metrics::counter!("consul.rpc.accept_conn").increment(1);
        let (handler, cancel) = (Arc::clone(&handler), cancel.clone());
        connections.spawn(async move {
            let _counted = counted;
            tokio::select! {
                () = take(stream, peer, handler, limits) => {}
                () = cancel.cancelled() => {}
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn take(mut stream: TcpStream, peer: SocketAddr, handler: Arc<dyn Handler>, limits: Limits) {
    let Ok(Ok(first)) = tokio::time::timeout(limits.handshake, stream.read_u8()).await else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A client that vanished is noticed within minutes, though it says nothing.
    let alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&alive);
    match first {
        SINGLE => {
            if let Err(error) = conversation::answer(stream, handler, peer).await {
                tracing::debug!(target: "agent.server.rpc", %peer, %error, "a conversation ended");
            }
        }
        MULTIPLEXED => {
            let mut streams = tokio::task::JoinSet::new();
            session::accept(stream, |stream| {
                while streams.try_join_next().is_some() {}
                let handler = Arc::clone(&handler);
                streams.spawn(async move {
                    if let Err(error) = conversation::answer(stream, handler, peer).await {
                        tracing::debug!(target: "agent.server.rpc", %peer, %error, "a conversation ended");
                    }
                });
            })
            .await;
            // The set goes, and with it every call of this session.
        }
        RAFT => handler.raft(stream, peer).await,
        SNAPSHOT => handler.snapshot(stream, peer).await,
        unknown => {
            tracing::warn!(target: "agent.server.rpc", %peer, byte = unknown, "unrecognized RPC byte");
        }
    }
}
