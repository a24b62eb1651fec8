//! The sockets: packets in, packets out.
//!
//! A packet that can be answered from the state is answered where it was read, without a task of its own; only
//! what has to ask others gets one, and of those there is a bound.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acl::AllowAll;
use arc_swap::ArcSwap;
use domain::base::iana::{Opcode, Rcode};
use domain::base::name::ToLabelIter;
use domain::base::{Message, Name, ToName};
use socket2::{Domain, Protocol, Socket, Type};
use state::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

use crate::encode::client_subnet;
use crate::record::Data;
use crate::{Question, Reply, Settings, Transport, answer, encode, recurse};

/// Questions that wait for recursors at once.
const RECURSING_MAX: usize = 1024;
/// TCP connections at once.
const CONNECTIONS_MAX: usize = 1024;
/// A TCP client may be silent this long.
const IDLE: Duration = Duration::from_secs(8);
/// Sockets that share the UDP port: one for each core, to a limit.
const UDP_SOCKETS_MAX: usize = 4;

/// Where answers come from: a function that gives the newest state.
pub type Directory = Arc<dyn Fn() -> Arc<State> + Send + Sync>;

/// What the loops share.
pub struct Servers {
    directory: Directory,
    settings: Arc<ArcSwap<Settings>>,
    recursing: Semaphore,
    connections: Semaphore,
}

/// What to do with a request.
enum Step {
    Send(Vec<u8>),
    /// Others have to be asked first.
    Ask,
    Drop,
}

/// Binds an address for UDP and TCP and serves until `stop` turns true.
pub fn serve(
    address: SocketAddr,
    directory: Directory,
    settings: Arc<ArcSwap<Settings>>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let servers = Arc::new(Servers {
        directory,
        settings,
        recursing: Semaphore::new(RECURSING_MAX),
        connections: Semaphore::new(CONNECTIONS_MAX),
    });
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    // A port of the system's choice is the same for both.
    let address = listener.local_addr()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for _ in 0..cores.min(UDP_SOCKETS_MAX) {
        let socket = Arc::new(UdpSocket::from_std(udp_socket(address)?)?);
        tokio::spawn(udp_loop(Arc::clone(&servers), socket, stop.clone()));
    }
    tokio::spawn(tcp_loop(servers, listener, stop));
    Ok(())
}

fn udp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn udp_loop(servers: Arc<Servers>, socket: Arc<UdpSocket>, mut stop: watch::Receiver<bool>) {
    let mut packet = vec![0; 4096];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut packet) => received,
            () = stopped(&mut stop) => return,
        };
        // An error here is an ICMP message about an earlier answer.
        let Ok((length, from)) = received else { continue };
        let request = &packet[..length];
        match servers.step(request, from.ip(), Transport::Udp) {
            Step::Send(answer) => {
                let _ = socket.send_to(&answer, from).await;
            }
            Step::Ask => {
                let (servers, socket, request) = (Arc::clone(&servers), Arc::clone(&socket), request.to_vec());
                tokio::spawn(async move {
                    if let Some(answer) = servers.ask(&request, from.ip(), Transport::Udp).await {
                        let _ = socket.send_to(&answer, from).await;
                    }
                });
            }
            Step::Drop => {}
        }
    }
}

async fn tcp_loop(servers: Arc<Servers>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (servers, mut stop) = (Arc::clone(&servers), stop.clone());
        tokio::spawn(async move {
            // Beyond the bound a connection is closed at once.
            let Ok(_held) = servers.connections.try_acquire() else { return };
            tokio::select! {
                _ = converse(&servers, stream, from.ip()) => {}
                () = stopped(&mut stop) => {}
            }
        });
    }
}

async fn converse(servers: &Servers, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut request = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut request)).await??;
        let answer = match servers.step(&request, from, Transport::Tcp) {
            Step::Send(answer) => answer,
            Step::Ask => match servers.ask(&request, from, Transport::Tcp).await {
                Some(answer) => answer,
                None => return Ok(()),
            },
            Step::Drop => return Ok(()),
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

/// The question of a request, or what to answer instead.
fn question(request: &Message<&[u8]>, from: IpAddr) -> Result<Question, Rcode> {
    if request.header().opcode() != Opcode::QUERY {
        return Err(Rcode::NOTIMP);
    }
    let question = request.sole_question().map_err(|_| Rcode::FORMERR)?;
    let name: Name<Vec<u8>> = question.qname().try_to_name().map_err(|_| Rcode::FORMERR)?;
    let labels = name
        .iter_labels()
        .filter(|label| !label.is_root())
        .map(|label| String::from_utf8_lossy(label.as_slice()).into_owned())
        .collect();
    let source_ip = Some(client_subnet(request).unwrap_or(from));
    Ok(Question { name: Arc::new(name), labels, qtype: question.qtype(), source_ip })
}

impl Servers {
    fn step(&self, packet: &[u8], from: IpAddr, transport: Transport) -> Step {
        let started = Instant::now();
        let Ok(request) = Message::from_octets(packet) else { return Step::Drop };
        // An answer is never answered: two servers could go on for ever.
        if request.header().qr() {
            return Step::Drop;
        }
        let settings = self.settings.load();
        let refuse = |rcode| Reply { rcode, ..Reply::default() };
        let reply = match question(&request, from) {
            Err(rcode) => refuse(rcode),
            Ok(question) => {
                let state = (self.directory)();
                match answer(&question, &state, &settings, &AllowAll, &mut rand::rng(), unix_now()) {
                    None => return Step::Ask,
                    Some(reply) if follows(&reply, &settings) => return Step::Ask,
                    Some(reply) => reply,
                }
            }
        };
        let packet = encode(&request, reply, &settings, transport);
        metrics::histogram!("consul.dns.domain_query").record(started.elapsed().as_secs_f64() * 1000.0);
        packet.map_or(Step::Drop, Step::Send)
    }

    /// Answers what only others know.
    async fn ask(&self, packet: &[u8], from: IpAddr, transport: Transport) -> Option<Vec<u8>> {
        let request = Message::from_octets(packet).ok()?;
        let settings = self.settings.load_full();
        let failed = Reply { rcode: Rcode::SERVFAIL, ..Reply::default() };
        let Ok(_turn) = self.recursing.try_acquire() else {
            return encode(&request, failed, &settings, transport);
        };
        let question = question(&request, from).ok()?;
        let state = (self.directory)();
        let reply = answer(&question, &state, &settings, &AllowAll, &mut rand::rng(), unix_now());
        match reply {
            Some(mut reply) => {
                let aliases: Vec<_> = reply
                    .answers
                    .iter()
                    .filter_map(|record| match &record.data {
                        Data::Cname(target) => Some(Arc::clone(target)),
                        _ => None,
                    })
                    .collect();
                for target in aliases {
                    reply.answers.extend(recurse::follow(&target, question.qtype, &settings).await);
                }
                encode(&request, reply, &settings, transport)
            }
            None => match recurse::forward(packet, &settings, transport).await {
                Some(answer) => Some(answer),
                None => encode(&request, failed, &settings, transport),
            },
        }
    }
}

/// Whether an alias in the answer can be followed.
fn follows(reply: &Reply, settings: &Settings) -> bool {
    !settings.recursors.is_empty() && reply.answers.iter().any(|record| matches!(record.data, Data::Cname(_)))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
