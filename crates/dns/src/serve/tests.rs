//! Requests over real sockets of the loopback, with upstream resolvers that do as they are told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::A;
use state::catalog::{NodeService, RegisterRequest};
use state::{Command, Index, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Sources, bind, serve};
use crate::settings::Settings;

/// Far beyond what any of this takes.
const BOUND: Duration = Duration::from_secs(20);

struct Agent {
    address: SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
}

impl Agent {
    fn start(recursors: Vec<SocketAddr>, udp_sockets: usize) -> Self {
        let mut state = State::default();
        for (index, (node, address)) in [(1, ("here", "10.0.0.1")), (2, ("away", "ext.example.com"))] {
            let service = NodeService { id: node.into(), service: node.into(), ..NodeService::default() };
            state.apply(
                Index(index),
                Command::Register(RegisterRequest {
                    datacenter: "dc1".into(),
                    node: node.into(),
                    address: address.into(),
                    service: Some(Arc::new(service)),
                    ..RegisterRequest::default()
                }),
            );
        }
        let state = Arc::new(state);
        let mut settings = Settings::new("dc1", "agent");
        settings.recursors = recursors;
        settings.recursor_timeout = Duration::from_millis(300);
        let sources = Sources {
            state: Arc::new(move || Arc::clone(&state)),
            remote: None,
            authorizer: Arc::new(|| Arc::new(acl::AllowAll)),
            settings: Arc::new(ArcSwap::from_pointee(settings)),
        };
        let listeners = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), udp_sockets).unwrap();
        let address = listeners.tcp[0].local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(serve(listeners, sources, shutdown.clone()));
        Agent { address, shutdown, ended }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(BOUND, self.ended).await.unwrap().unwrap();
    }

    async fn over_udp(&self, request: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(request, self.address).await.unwrap();
        let mut reply = vec![0; 65535];
        let length = timeout(BOUND, socket.recv(&mut reply)).await.unwrap().unwrap();
        reply.truncate(length);
        reply
    }

    async fn over_tcp(&self, requests: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        for request in requests {
            stream.write_u16(request.len().try_into().unwrap()).await.unwrap();
            stream.write_all(request).await.unwrap();
        }
        let mut replies = Vec::new();
        for _ in requests {
            let length = timeout(BOUND, stream.read_u16()).await.unwrap().unwrap();
            let mut reply = vec![0; length.into()];
            timeout(BOUND, stream.read_exact(&mut reply)).await.unwrap().unwrap();
            replies.push(reply);
        }
        replies
    }
}

fn request(id: u16, name: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name.parse::<Name<Vec<u8>>>().unwrap(), Rtype::A)).unwrap();
    builder.finish()
}

/// Id, code, and the addresses of a reply.
fn seen(reply: &[u8]) -> (u16, Rcode, Vec<Ipv4Addr>) {
    let message = Message::from_octets(reply).unwrap();
    let addresses = message.answer().unwrap().limit_to::<A>().map(|record| record.unwrap().data().addr());
    (message.header().id(), message.header().rcode(), addresses.collect())
}

/// What an upstream resolver does with a request.
#[derive(Clone, Copy)]
enum Upstream {
    Answers(Rcode),
    /// First under a wrong id, then to a wrong question, then properly.
    Strays,
    Silent,
}

impl Upstream {
    fn replies(self, request: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Upstream::Silent => Vec::new(),
            Upstream::Answers(rcode) => vec![reply(request, rcode, [9, 9, 9, 9])],
            Upstream::Strays => {
                let mut wrong = reply(request, Rcode::NOERROR, [6, 6, 6, 6]);
                wrong[0] ^= 1;
                let id = Message::from_octets(request).unwrap().header().id();
                let other = reply(&self::request(id, "other.example.com"), Rcode::NOERROR, [6, 6, 6, 7]);
                vec![wrong, other, reply(request, Rcode::NOERROR, [9, 9, 9, 9])]
            }
        }
    }

    /// Answers over UDP and TCP at the same port until the test ends.
    async fn start(self) -> SocketAddr {
        let mut listeners = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1).unwrap();
        let (listener, socket) = (listeners.tcp.remove(0), listeners.udp.remove(0));
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                for reply in self.replies(&packet[..length]) {
                    socket.send_to(&reply, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut request).await.unwrap();
                for reply in self.replies(&request) {
                    stream.write_u16(reply.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            }
        });
        address
    }
}

fn reply(request: &[u8], rcode: Rcode, address: [u8; 4]) -> Vec<u8> {
    let request = Message::from_octets(request).unwrap();
    let name = request.sole_question().unwrap().into_qname();
    let mut builder = MessageBuilder::new_vec().start_answer(&request, rcode).unwrap();
    if rcode == Rcode::NOERROR {
        builder.push((name, Class::IN, 60, A::new(address.into()))).unwrap();
    }
    builder.finish()
}

#[tokio::test]
async fn both_transports_answer_and_all_ends_with_shutdown() {
    for udp_sockets in [1, 3] {
        let agent = Agent::start(Vec::new(), udp_sockets);
        let expected = (7, Rcode::NOERROR, vec![Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(seen(&agent.over_udp(&request(7, "here.service.consul")).await), expected);
        let requests: Vec<_> = (0..5).map(|id| request(id, "here.service.consul")).collect();
        let replies = agent.over_tcp(&requests).await;
        let ids: Vec<_> = replies.iter().map(|reply| seen(reply).0).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4]);
        // An open connection does not hold up the end.
        let _open = TcpStream::connect(agent.address).await.unwrap();
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_connection_is_closed_after_its_share() {
    let agent = Agent::start(Vec::new(), 1);
    let mut stream = TcpStream::connect(agent.address).await.unwrap();
    let request = request(7, "here.service.consul");
    let framed = [&u16::try_from(request.len()).unwrap().to_be_bytes()[..], &request].concat();
    for _ in 0..128 {
        stream.write_all(&framed).await.unwrap();
        let mut reply = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut reply).await.unwrap();
    }
    assert_eq!(timeout(BOUND, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
    agent.stop().await;
}

#[tokio::test]
async fn questions_about_other_zones_are_passed_on() {
    let good = Upstream::Answers(Rcode::NOERROR).start().await;
    let refuses = Upstream::Answers(Rcode::REFUSED).start().await;
    let silent = Upstream::Silent.start().await;
    let denies = Upstream::Answers(Rcode::NXDOMAIN).start().await;
    let strays = Upstream::Strays.start().await;
    let nine = vec![Ipv4Addr::new(9, 9, 9, 9)];
    for (recursors, expected) in [
        (vec![good], (7, Rcode::NOERROR, nine.clone())),
        (vec![refuses, silent, good], (7, Rcode::NOERROR, nine.clone())),
        (vec![denies, good], (7, Rcode::NXDOMAIN, Vec::new())),
        (vec![refuses, silent], (7, Rcode::SERVFAIL, Vec::new())),
    ] {
        let agent = Agent::start(recursors, 1);
        let request = request(7, "foo.example.com");
        assert_eq!(seen(&agent.over_udp(&request).await), expected);
        assert_eq!(seen(&agent.over_tcp(&[request]).await[0]), expected);
        agent.stop().await;
    }
    let agent = Agent::start(vec![strays], 1);
    assert_eq!(seen(&agent.over_udp(&request(7, "foo.example.com")).await), (7, Rcode::NOERROR, nine));
    agent.stop().await;
}

#[tokio::test]
async fn names_outside_the_zone_are_resolved() {
    let nine = vec![Ipv4Addr::new(9, 9, 9, 9)];
    let silent = Upstream::Silent.start().await;
    let good = Upstream::Answers(Rcode::NOERROR).start().await;
    for (recursors, expected) in [(vec![silent, good], nine), (vec![silent], Vec::new())] {
        let agent = Agent::start(recursors, 1);
        for name in ["away.service.consul", "away.node.consul"] {
            let reply = agent.over_udp(&request(7, name)).await;
            assert_eq!(seen(&reply), (7, Rcode::NOERROR, expected.clone()), "{name}");
        }
        agent.stop().await;
    }
}
