//! Sockets around [`answer`](crate::answer): time, chance, upstream resolvers.
//!
//! Always true: a packet that can be answered from the state is answered by the loop that received it; what
//! must wait for others waits in a task of its own, a bounded number of them; shutdown ends all.

mod meter;
mod recursor;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acl::Authorizer;
use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use state::State;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::meter::Meter;
use crate::answer::{Aliases, Answered, Context, Kept, Outcome, Transport, answer, answer_and_keep};
use crate::settings::Settings;

/// Where requests arrive.
#[derive(Debug, Default)]
pub struct Listeners {
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
}

/// Where answers come from. Each is asked anew for each request.
#[derive(Clone)]
pub struct Sources {
    pub state: Arc<dyn Fn() -> Arc<State> + Send + Sync>,
    /// What the token for DNS may see.
    pub authorizer: Arc<dyn Fn() -> Arc<dyn Authorizer> + Send + Sync>,
    pub settings: Arc<ArcSwap<Settings>>,
}

/// Requests that may wait for upstream resolvers at a time; further ones are told at once that it failed.
const MAX_WAITING: usize = 1024;
/// The kernel's queue of connections that nobody has accepted yet.
const BACKLOG: i32 = 1024;
/// A burst of requests should not be lost while answers are being made.
const UDP_BUFFER_BYTES: usize = 4 << 20;

/// Tries to find a port that is free for both, where any will do.
const MAX_BIND_TRIES: usize = 16;

/// Binds one address for TCP and UDP; with several UDP sockets the kernel spreads clients over them. With
/// port zero both get the same port.
pub fn bind(address: SocketAddr, udp_sockets: usize) -> io::Result<Listeners> {
    let mut tries = 1;
    loop {
        match bind_both(address, udp_sockets) {
            Err(error) if address.port() == 0 && tries < MAX_BIND_TRIES && error.kind() == io::ErrorKind::AddrInUse => {
                tries += 1;
            }
            bound => return bound,
        }
    }
}

fn bind_both(address: SocketAddr, udp_sockets: usize) -> io::Result<Listeners> {
    let tcp = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    tcp.set_reuse_address(true)?;
    tcp.set_nonblocking(true)?;
    tcp.bind(&address.into())?;
    tcp.listen(BACKLOG)?;
    let tcp = TcpListener::from_std(tcp.into())?;
    let address = tcp.local_addr()?;
    let mut udp = Vec::new();
    for _ in 0..udp_sockets.max(1) {
        udp.push(bind_udp(address, udp_sockets > 1)?);
    }
    Ok(Listeners { udp, tcp: vec![tcp] })
}

fn bind_udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Two agents on one port would share its packets; without need nobody may join.
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // The kernel may grant less.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Answers until `shutdown`. Returns when every loop has ended.
pub async fn serve(listeners: Listeners, sources: Sources, shutdown: CancellationToken) {
    let node_name = sources.settings.load().node_name.clone();
    let desk =
        Arc::new(Desk { sources, waiting: Arc::new(Semaphore::new(MAX_WAITING)), meter: Meter::new(&node_name) });
    let mut loops = JoinSet::new();
    for socket in listeners.udp {
        loops.spawn(keep_up(socket, Arc::clone(&desk), shutdown.clone()));
    }
    for listener in listeners.tcp {
        loops.spawn(tcp::run(listener, Arc::clone(&desk), shutdown.clone()));
    }
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a DNS loop broke");
        }
    }
}

/// Starts the loop of a socket anew should it ever break: one packet must not end the service for all.
async fn keep_up(socket: UdpSocket, desk: Arc<Desk>, shutdown: CancellationToken) {
    let socket = match blocking(socket) {
        Ok(socket) => Arc::new(socket),
        Err(error) => {
            tracing::error!(%error, "DNS over UDP cannot be served");
            return;
        }
    };
    let waker = tokio::spawn(wake(Arc::clone(&socket), shutdown.clone()));
    loop {
        let (socket, desk, shutdown) = (Arc::clone(&socket), Arc::clone(&desk), shutdown.clone());
        match tokio::task::spawn_blocking(move || udp::run(&socket, &desk, &shutdown)).await {
            Ok(()) => break,
            Err(error) => tracing::error!(%error, "the DNS loop over UDP broke"),
        }
    }
    waker.abort();
}

/// A receiver without a packet looks this often whether it is to end.
const UDP_PATIENCE: Duration = Duration::from_secs(1);

fn blocking(socket: UdpSocket) -> io::Result<std::net::UdpSocket> {
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(UDP_PATIENCE))?;
    Ok(socket)
}

/// At the end sends the receiver an empty packet, which nobody answers.
async fn wake(socket: Arc<std::net::UdpSocket>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    if let Ok(mut address) = socket.local_addr() {
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let _ = socket.send_to(&[], address);
    }
}

/// What the loops share.
struct Desk {
    sources: Sources,
    waiting: Arc<Semaphore>,
    meter: Meter,
}

impl Desk {
    /// Answers from the state alone.
    fn answer(
        &self,
        request: &[u8],
        transport: Transport,
        source: IpAddr,
        aliases: &Aliases,
        reply: &mut Vec<u8>,
    ) -> Answered {
        let state = (self.sources.state)();
        let may = (self.sources.authorizer)();
        let settings = self.sources.settings.load();
        let now_s = now_s();
        let context =
            Context { state: &state, settings: &settings, may: &*may, transport, source: Some(source), now_s, aliases };
        answer(&context, request, &mut rand::rng(), reply)
    }

    /// The same over UDP, with a kept reply if there is one.
    fn answer_over_udp(
        &self,
        request: &[u8],
        source: IpAddr,
        aliases: &Aliases,
        reply: &mut Vec<u8>,
        kept: &mut Kept,
    ) -> Answered {
        let state = (self.sources.state)();
        let may = (self.sources.authorizer)();
        let settings = self.sources.settings.load();
        kept.renew(&state, &settings);
        if may.allows_everything()
            && let Some(subject) = kept.deal(request, &mut rand::rng(), reply)
        {
            return Answered { outcome: Outcome::Reply, subject };
        }
        let (transport, source, now_s) = (Transport::Udp, Some(source), now_s());
        let context = Context { state: &state, settings: &settings, may: &*may, transport, source, now_s, aliases };
        answer_and_keep(&context, request, &mut rand::rng(), reply, kept)
    }

    /// Does what an outcome asks for and replaces the reply by the better one.
    async fn complete(
        &self,
        outcome: Outcome,
        request: &[u8],
        transport: Transport,
        source: IpAddr,
        reply: &mut Vec<u8>,
    ) {
        let settings = self.sources.settings.load_full();
        match outcome {
            Outcome::Reply | Outcome::Ignore => {}
            Outcome::Recurse => {
                if let Some(better) = recursor::pass_on(request, transport, &settings).await {
                    *reply = better;
                }
            }
            Outcome::Resolve(names) => {
                let aliases = recursor::resolve(names, &settings).await;
                // What is still unknown stays so: one round of questions is all a request gets.
                self.answer(request, transport, source, &aliases, reply);
            }
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
