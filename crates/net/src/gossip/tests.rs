//! Two members with a trivial machine, over loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gossip::envelope::{Envelope, kind};
use gossip::io::{ExchangeError, ExchangeId, Input, Now, Output, Peer};
use gossip::keyring::{Key, Keyring};
use gossip::machine::{Machine, Route};
use gossip::memberlist;
use gossip::serf::{Config, Open, Serf, Setup};
use metrics::{Counter, Gauge, Histogram, Key as Metric, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Clock, Handle, Member, STREAMS_MAX, bind, drive};

const BOUND: Duration = Duration::from_secs(20);

/// Answers pings with acks, over both transports, and tells the layer above all that it hears.
struct Echo {
    wake: Now,
}

#[derive(Debug)]
enum Said {
    Sockets(Output),
    Heard(Input),
}

impl Machine for Echo {
    type Output = Said;

    fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Said>) {
        match &input {
            Input::Packet { from, messages } if messages[0][0] == kind::PING => {
                let to = Peer { name: String::new(), address: *from };
                let ack = [&[kind::ACK], &messages[0][1..]].concat();
                outputs.push(Said::Sockets(Output::Packet { to, messages: vec![ack.into()], checksum: true }));
            }
            Input::Stream { stream, message, .. } if message[0] == kind::PING => {
                let message = [&[kind::ACK], &message[1..]].concat().into();
                outputs.push(Said::Sockets(Output::Answer { stream: *stream, message }));
            }
            Input::Stream { stream, message, .. } if message[0] == kind::USER => {
                outputs.push(Said::Sockets(Output::Hangup { stream: *stream }));
            }
            Input::Tick => self.wake = now + Duration::from_secs(3600),
            _ => {}
        }
        outputs.push(Said::Heard(input));
    }

    fn deadline(&self) -> Now {
        self.wake
    }

    fn route(said: Said) -> Route<Said> {
        match said {
            Said::Sockets(output) => Route::Sockets(output),
            heard => Route::Above(heard),
        }
    }
}

struct Node {
    handle: Handle<Echo>,
    heard: mpsc::UnboundedReceiver<Said>,
    envelope: Arc<ArcSwap<Envelope>>,
    stop: CancellationToken,
    task: JoinHandle<Echo>,
}

async fn node(envelope: Envelope, stream_timeout: Duration) -> Node {
    let sockets = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let envelope = Arc::new(ArcSwap::from_pointee(envelope));
    let stop = CancellationToken::new();
    let (tell, heard) = mpsc::unbounded_channel();
    let member = Member {
        machine: Echo { wake: Duration::from_secs(3600) },
        outputs: Vec::new(),
        clock: Clock::start(),
        envelope: envelope.clone(),
        above: move |said| drop(tell.send(said)),
        stream_timeout,
        stop: stop.clone(),
    };
    let (handle, task) = drive(sockets, member);
    Node { handle, heard, envelope, stop, task }
}

impl Node {
    async fn hear(&mut self) -> Input {
        match timeout(BOUND, self.heard.recv()).await.unwrap().unwrap() {
            Said::Heard(input) => input,
            Said::Sockets(output) => panic!("{output:?} went above"),
        }
    }

    fn peer(&self) -> Peer {
        Peer { name: "peer".to_owned(), address: self.handle.address() }
    }

    async fn send(&self, to: Peer, messages: Vec<Bytes>) {
        let packet = Output::Packet { to, messages, checksum: false };
        self.handle.run(move |_, _, outputs| outputs.push(Said::Sockets(packet))).await.unwrap();
    }

    async fn exchange(&mut self, to: Peer, message: Vec<u8>, reply: bool) -> Result<Option<Bytes>, ExchangeError> {
        let (exchange, message, timeout) = (ExchangeId(7), message.into(), Duration::from_secs(5));
        let output = Output::Exchange { exchange, to, message, reply, timeout };
        self.handle.run(move |_, _, outputs| outputs.push(Said::Sockets(output))).await.unwrap();
        match self.hear().await {
            Input::Exchanged { exchange: ExchangeId(7), result } => result,
            other => panic!("{other:?}"),
        }
    }
}

fn keyed(byte: u8) -> Envelope {
    let keyring = Keyring::new(Key::new(&[byte; 32]).unwrap());
    Envelope { keyring: Some(Arc::new(keyring)), ..Envelope::default() }
}

/// Type byte and an empty map with a string of this length in it.
fn message(kind: u8, len: usize) -> Vec<u8> {
    let mut message = vec![kind, 0x81, 0xa4];
    message.extend_from_slice(b"Node\xdb");
    message.extend_from_slice(&(len as u32).to_be_bytes());
    message.resize(message.len() + len, b'x');
    message
}

fn ping() -> Vec<u8> {
    message(kind::PING, 5)
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn packets_and_streams_pass_plain_and_encrypted() {
    for envelope in [Envelope::default(), keyed(1)] {
        let mut a = node(envelope.clone(), BOUND).await;
        let mut b = node(envelope, BOUND).await;
        let user: Bytes = vec![kind::USER, 1, 2].into();
        a.send(b.peer(), vec![ping().into(), user.clone()]).await;
        let from = a.handle.address();
        assert_eq!(b.hear().await, Input::Packet { from, messages: vec![ping().into(), user] });
        let ack = message(kind::ACK, 5);
        assert_eq!(a.hear().await, Input::Packet { from: b.handle.address(), messages: vec![ack.into()] });

        // Two megabytes there and back.
        let large = message(kind::PING, 2 << 20);
        let ack = message(kind::ACK, 2 << 20);
        assert_eq!(a.exchange(b.peer(), large.clone(), true).await, Ok(Some(ack.into())));
        assert!(matches!(b.hear().await, Input::Stream { message, .. } if message == large));
        let mut user = vec![kind::USER, 0x81, 0xaa];
        user.extend_from_slice(b"UserMsgLen\x03abc");
        assert_eq!(a.exchange(b.peer(), user.clone(), false).await, Ok(None));
        assert!(matches!(b.hear().await, Input::Stream { message, .. } if message == user));
    }
}

#[tokio::test]
async fn a_changed_keyring_counts_from_the_next_packet() {
    let mut a = node(keyed(1), BOUND).await;
    let mut b = node(keyed(2), BOUND).await;
    a.send(b.peer(), vec![ping().into()]).await;
    let told = a.exchange(b.peer(), ping(), true).await;
    // Their error is sealed with their key, which we lack as they lack ours.
    assert_eq!(told, Err(ExchangeError::Refused("No installed keys could decrypt the message".to_owned())));
    let mut both = Keyring::new(Key::new(&[2; 32]).unwrap());
    both.install(Key::new(&[1; 32]).unwrap()).unwrap();
    a.envelope.store(Arc::new(Envelope { keyring: Some(Arc::new(both)), ..Envelope::default() }));
    a.send(b.peer(), vec![message(kind::PING, 9).into()]).await;
    assert!(matches!(b.hear().await, Input::Packet { messages, .. } if messages[0] == message(kind::PING, 9)));
}

#[tokio::test]
async fn a_plain_peer_of_an_encrypted_member_learns_why() {
    let mut a = node(Envelope { verify_outgoing: false, verify_incoming: false, ..keyed(1) }, BOUND).await;
    let b = node(keyed(1), BOUND).await;
    let told = a.exchange(b.peer(), ping(), true).await.unwrap().unwrap();
    assert_eq!(told[0], kind::ERROR);
    assert!(told.ends_with(b"Encryption is configured but remote state is not encrypted"));
}

#[tokio::test]
async fn nobody_there_reads_as_go_words_it() {
    let mut a = node(Envelope::default(), BOUND).await;
    let gone = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap().address();
    let told = a.exchange(Peer { name: String::new(), address: gone }, ping(), true).await;
    let expected = format!("dial tcp {gone}: connect: connection refused");
    assert_eq!(told, Err(ExchangeError::Unreachable(expected)));
}

#[tokio::test]
async fn a_flood_of_garbage_reaches_no_machine_and_keeps_memory_flat() {
    let mut a = node(keyed(1), BOUND).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let flood = async |packets: u32| {
        for round in 0..packets {
            let len = (round % 1400) as usize;
            let packet: Vec<u8> = (0..len).map(|at| (at as u32 * round) as u8).collect();
            stranger.send_to(&packet, a.handle.address()).await.unwrap();
            if round % 64 == 0 {
                // A command is answered while the flood goes on.
                a.handle.run(|_, _, _| ()).await.unwrap();
            }
        }
    };
    flood(2_000).await;
    let before = resident();
    flood(30_000).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more");
    let friend = node(keyed(1), BOUND).await;
    // The kernel may drop a packet behind a flood.
    for _ in 0..20 {
        friend.send(a.peer(), vec![ping().into()]).await;
        if timeout(Duration::from_secs(1), async {
            while a.heard.is_empty() {
                tokio::task::yield_now().await
            }
        })
        .await
        .is_ok()
        {
            break;
        }
    }
    // The first thing that it hears is the friend.
    assert!(matches!(a.hear().await, Input::Packet { from, .. } if from == friend.handle.address()));
}

#[tokio::test]
async fn silent_and_surplus_streams_are_closed() {
    let mut a = node(Envelope::default(), Duration::from_secs(2)).await;
    let mut silent = Vec::new();
    for _ in 0..STREAMS_MAX {
        silent.push(TcpStream::connect(a.handle.address()).await.unwrap());
    }
    let closed = async |stream: &mut TcpStream| timeout(BOUND, stream.read(&mut [0; 8])).await.unwrap();
    let began = tokio::time::Instant::now();
    let mut surplus = TcpStream::connect(a.handle.address()).await.unwrap();
    let _ = closed(&mut surplus).await;
    assert!(began.elapsed() < Duration::from_secs(1), "closed at once");
    for stream in &mut silent {
        let _ = closed(stream).await;
    }
    // Then there is room again.
    let mut b = node(Envelope::default(), BOUND).await;
    assert!(b.exchange(a.peer(), ping(), true).await.is_ok());
    assert!(matches!(a.hear().await, Input::Stream { .. }));
}

#[tokio::test]
async fn ticks_come_when_asked_for_and_stop_gives_the_machine_back() {
    let mut a = node(Envelope::default(), BOUND).await;
    a.handle.run(|echo, now, _| echo.wake = now + Duration::from_millis(20)).await.unwrap();
    assert_eq!(a.hear().await, Input::Tick);
    a.stop.cancel();
    let echo = timeout(BOUND, a.task).await.unwrap().unwrap();
    assert!(echo.wake > Duration::from_secs(3599));
    assert!(a.handle.run(|_, _, _| ()).await.is_err());
    assert!(a.handle.tell(|_, _, _| ()).is_err());
    // The port is free again.
    bind(a.handle.address()).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_insists_on_failing_exchanges_does_not_stop_the_loop() {
    let mut a = node(Envelope::default(), BOUND).await;
    // A peer that accepts and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Peer { name: String::new(), address: mute.local_addr().unwrap() };
    a.handle
        .run(move |_, _, outputs| {
            for id in 0..=super::EXCHANGES_MAX as u64 {
                let (exchange, to, message) = (ExchangeId(id), to.clone(), ping().into());
                let timeout = Duration::from_secs(1);
                outputs.push(Said::Sockets(Output::Exchange { exchange, to, message, reply: true, timeout }));
            }
        })
        .await
        .unwrap();
    let crowded = ExchangeError::Unreachable("too many streams are open to others".to_owned());
    let exchange = ExchangeId(super::EXCHANGES_MAX as u64);
    assert_eq!(a.hear().await, Input::Exchanged { exchange, result: Err(crowded) });
    for _ in 0..super::EXCHANGES_MAX {
        assert!(matches!(a.hear().await, Input::Exchanged { result: Err(ExchangeError::TimedOut), .. }));
    }
}

/// What was counted on this thread.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |count| count.load(Ordering::Acquire))
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Metric, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.lock().unwrap().entry(key.name().to_owned()).or_default().clone())
    }

    fn register_gauge(&self, _: &Metric, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Metric, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

const ACCEPTED: &str = "consul.memberlist.tcp.accept";
const CONNECTED: &str = "consul.memberlist.tcp.connect";

async fn serf(name: &str, stop: &CancellationToken) -> Handle<Serf> {
    let sockets = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = sockets.address();
    let setup = Setup {
        config: Config::serf(name),
        // Nothing but the join opens a stream.
        memberlist: memberlist::Config {
            push_pull_interval: Duration::from_secs(3600),
            probe_interval: Duration::from_secs(3600),
            ..memberlist::Config::local(name, address)
        },
        admission: Box::new(Open),
        keyring: None,
        seed: 7,
        snapshot: None,
    };
    let clock = Clock::start();
    let mut outputs = vec![];
    let machine = Serf::new(setup, clock.now(), &mut outputs).unwrap();
    let envelope = Arc::new(ArcSwap::from_pointee(Envelope::default()));
    let stop = stop.clone();
    let member = Member { machine, outputs, clock, envelope, above: drop, stream_timeout: BOUND, stop };
    drive(sockets, member).0
}

#[tokio::test]
async fn a_join_counts_one_stream_at_either_end() {
    let counts = Counts::default();
    let _counting = metrics::set_default_local_recorder(&counts);
    let stop = CancellationToken::new();
    let (a, b) = (serf("a", &stop).await, serf("b", &stop).await);
    let peer = Peer { name: String::new(), address: b.address() };
    a.run(move |serf, now, out| serf.join(now, vec![peer], true, out).unwrap()).await.unwrap();
    let joined = async {
        while a.run(|serf, _, _| serf.member("b").is_none()).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, joined).await.unwrap();
    stop.cancel();
    assert_eq!((counts.of(ACCEPTED), counts.of(CONNECTED)), (1, 1));
}

#[tokio::test]
async fn only_push_pulls_count_as_connected() {
    let counts = Counts::default();
    let _counting = metrics::set_default_local_recorder(&counts);
    let mut a = node(Envelope::default(), BOUND).await;
    let b = node(Envelope::default(), BOUND).await;
    a.exchange(b.peer(), ping(), true).await.unwrap().unwrap();
    assert_eq!((counts.of(ACCEPTED), counts.of(CONNECTED)), (1, 0));
    // Whether anything comes back does not matter.
    let _ = a.exchange(b.peer(), message(kind::PUSH_PULL, 0), false).await;
    assert_eq!(counts.of(CONNECTED), 1);
    let gone = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap().address();
    let nobody = Peer { name: "gone".to_owned(), address: gone };
    a.exchange(nobody, message(kind::PUSH_PULL, 0), false).await.unwrap_err();
    assert_eq!(counts.of(CONNECTED), 1);
}
