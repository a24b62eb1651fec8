//! Questions for others: passed on to the recursors, and aliases followed through them.

use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder};
use domain::rdata::AllRecordData;
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::encode::Transport;
use crate::record::{Data, OwnName, Record, name};
use crate::{RecursorStrategy, Settings};

/// Records that following an alias may add.
const ALIAS_RECORDS_MAX: usize = 5;

/// Passes a request on, as it is. An answer of NOERROR or NXDOMAIN counts; others are tried at the next.
pub(crate) async fn forward(request: &[u8], settings: &Settings, transport: Transport) -> Option<Vec<u8>> {
    let mut recursors = settings.recursors.clone();
    if settings.recursor_strategy == RecursorStrategy::Random {
        recursors.shuffle(&mut rand::rng());
    }
    for recursor in recursors {
        let asked = tokio::time::timeout(settings.recursor_timeout, ask(recursor, request, transport)).await;
        let Ok(Ok(answer)) = asked else { continue };
        let Ok(message) = Message::from_octets(answer.as_slice()) else { continue };
        let sane = message.header().qr() && message.header().id() == id(request);
        if sane && matches!(message.header().rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
            return Some(answer);
        }
    }
    None
}

fn id(request: &[u8]) -> u16 {
    request.get(..2).and_then(|id| id.try_into().ok()).map_or(0, u16::from_be_bytes)
}

async fn ask(recursor: SocketAddr, request: &[u8], transport: Transport) -> std::io::Result<Vec<u8>> {
    match transport {
        Transport::Udp => {
            let local: SocketAddr = if recursor.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
            let socket = UdpSocket::bind(local).await?;
            // Connected: packets from anybody else do not arrive.
            socket.connect(recursor).await?;
            socket.send(request).await?;
            let mut answer = vec![0; usize::from(u16::MAX)];
            let length = socket.recv(&mut answer).await?;
            answer.truncate(length);
            Ok(answer)
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect(recursor).await?;
            let length = u16::try_from(request.len()).map_err(std::io::Error::other)?;
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(request).await?;
            let length = stream.read_u16().await?;
            let mut answer = vec![0; usize::from(length)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        }
    }
}

/// The address records that an alias leads to, by way of the recursors.
pub(crate) async fn follow(target: &OwnName, qtype: Rtype, settings: &Settings) -> Vec<Record> {
    let qtype = if qtype == Rtype::AAAA { Rtype::AAAA } else { Rtype::A };
    let mut question = MessageBuilder::new_vec().question();
    question.header_mut().set_random_id();
    question.header_mut().set_rd(true);
    if question.push((&**target, qtype)).is_err() {
        return Vec::new();
    }
    let patience = settings.recursor_timeout.max(Duration::from_millis(1));
    let asked = tokio::time::timeout(patience * 2, forward(&question.finish(), settings, Transport::Udp)).await;
    let Ok(Some(answer)) = asked else { return Vec::new() };
    let Ok(message) = Message::from_octets(answer.as_slice()) else { return Vec::new() };
    let Ok(answers) = message.answer() else { return Vec::new() };
    let mut records = Vec::new();
    for record in answers.limit_to::<AllRecordData<_, _>>().flatten().take(ALIAS_RECORDS_MAX) {
        let Some(owner) = name(&format!("{}.", record.owner())) else { continue };
        let data = match record.data() {
            AllRecordData::A(address) => Data::A(address.addr()),
            AllRecordData::Aaaa(address) => Data::Aaaa(address.addr()),
            AllRecordData::Cname(alias) => match name(&format!("{}.", alias.cname())) {
                Some(alias) => Data::Cname(alias),
                None => continue,
            },
            _ => continue,
        };
        records.push(Record { owner, ttl: record.ttl().as_secs(), data });
    }
    records
}
