//! Upstream resolvers: requests passed on, and names that stand in the place of addresses.
//!
//! Always true: a question goes out from a port and under an id that nobody can foresee; only what repeats
//! id and question counts as its answer; each resolver has one timeout.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use futures_util::future::join_all;
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::answer::{Aliases, Transport};
use crate::settings::{RecursorStrategy, Settings};

const MAX_MESSAGE_BYTES: usize = 65535;
/// Packets that are no answer to the question before its resolver is given up.
const MAX_STRAYS: usize = 32;

/// The answer of the first resolver that knows, under the id of the request. `None` when none does.
pub(super) async fn pass_on(request: &[u8], transport: Transport, settings: &Settings) -> Option<Vec<u8>> {
    let id = request.get(..2)?;
    for recursor in in_order(settings) {
        let Some(mut answer) = ask(request, recursor, transport, settings).await else { continue };
        let rcode = Message::from_slice(&answer).ok()?.header().rcode();
        if rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN {
            answer.get_mut(..2)?.copy_from_slice(id);
            return Some(answer);
        }
        tracing::debug!(%recursor, %rcode, "a recursor does not know");
    }
    tracing::error!("no recursor answers");
    None
}

/// Asks for the addresses of names, all at once.
///
/// Compat: for IPv4 addresses over UDP, and the first answer counts whatever it says.
pub(super) async fn resolve(names: Vec<Name<Bytes>>, settings: &Settings) -> Aliases {
    let answers = join_all(names.iter().map(async |name| {
        let request = question(name)?;
        for recursor in in_order(settings) {
            if let Some(answer) = ask(&request, recursor, Transport::Udp, settings).await {
                return Some(answer);
            }
        }
        tracing::error!(%name, "no recursor answers");
        None
    }));
    let answers = answers.await;
    let mut aliases = Aliases::default();
    for (name, answer) in names.into_iter().zip(answers) {
        aliases.learn(name, answer.as_deref());
    }
    aliases
}

fn question(name: &Name<Bytes>) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((name, Rtype::A)).ok()?;
    Some(question.finish())
}

fn in_order(settings: &Settings) -> Vec<SocketAddr> {
    let mut recursors = settings.recursors.clone();
    if settings.recursor_strategy == RecursorStrategy::Random {
        recursors.shuffle(&mut rand::rng());
    }
    recursors
}

async fn ask(request: &[u8], recursor: SocketAddr, transport: Transport, settings: &Settings) -> Option<Vec<u8>> {
    let mut request = request.to_vec();
    request.get_mut(..2)?.copy_from_slice(&rand::random::<u16>().to_be_bytes());
    let exchange = async {
        match transport {
            Transport::Udp => over_udp(&request, recursor).await,
            Transport::Tcp => over_tcp(&request, recursor).await,
        }
    };
    match timeout(settings.recursor_timeout, exchange).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::error!(%recursor, %error, "recurse failed");
            None
        }
        Err(_) => {
            tracing::error!(%recursor, "recurse timed out");
            None
        }
    }
}

async fn over_udp(request: &[u8], recursor: SocketAddr) -> io::Result<Vec<u8>> {
    let any = match recursor {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(recursor).await?;
    socket.send(request).await?;
    let mut packet = vec![0; MAX_MESSAGE_BYTES];
    for _ in 0..MAX_STRAYS {
        let length = socket.recv(&mut packet).await?;
        if answers(&packet[..length], request) {
            packet.truncate(length);
            packet.shrink_to_fit();
            return Ok(packet);
        }
    }
    Err(io::Error::other("too many packets that are no answer"))
}

async fn over_tcp(request: &[u8], recursor: SocketAddr) -> io::Result<Vec<u8>> {
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(recursor).await?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(request);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut answer).await?;
    if answer.len() == usize::from(length) && answers(&answer, request) {
        Ok(answer)
    } else {
        Err(io::Error::other("not the answer to the question"))
    }
}

/// Whether a message is the answer to a request: the same id, the same question, readable to its end.
fn answers(answer: &[u8], request: &[u8]) -> bool {
    let (Ok(answer), Ok(request)) = (Message::from_slice(answer), Message::from_slice(request)) else { return false };
    let header = answer.header();
    if header.qr() && header.id() == request.header().id() && answer.header_counts().qdcount() == 0 {
        // Some refuse without repeating the question.
        return header.rcode() != Rcode::NOERROR && header.rcode() != Rcode::NXDOMAIN;
    }
    answer.is_answer(&request.for_slice_ref()) && answer.iter().all(|record| record.is_ok())
}
