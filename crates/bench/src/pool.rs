//! What gossip costs one member: a Serf machine among simulated others, on virtual time.
//!
//! The others do what idle members do: they ping, acknowledge, and exchange all they know as often as the protocol has
//! it. Only what our member does is timed: opening, handling, sealing. No sockets, so the kernel's part is not in it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use gossip::delegate::NodeState;
use gossip::envelope::Envelope;
use gossip::io::{self, Input, Now, StreamId};
use gossip::keyring::{Key, Keyring};
use gossip::memberlist;
use gossip::memberlist::message::{Ack, Packet, Ping, PushPull, PushedNode, Stream};
use gossip::serf::lamport::LamportTime;
use gossip::serf::message::{self as serf_message, Message};
use gossip::serf::{Config, Open, Output, Serf, Setup, member};
use gossip::stream::StreamReader;

/// Members of the pool, ours among them.
pub const MEMBERS: usize = 1000;
/// Virtual time that an idle member is watched for.
const WATCHED: Duration = Duration::from_secs(1800);
/// How long a packet or an exchange takes.
const TRIP: Duration = Duration::from_millis(1);
/// In a pool of a thousand a member exchanges everything this often, and as often somebody does so with it.
const EXCHANGES: Duration = Duration::from_secs(180);
/// Machines whose memory is measured together: one is less than the allocator's noise.
const MACHINES: usize = 50;
const OURSELVES: &str = "member-0";
const NONCE: [u8; 12] = [7; 12];

/// What an idle member costs in each second of its life.
pub struct Idle {
    pub busy: Duration,
    pub bytes: f64,
}

/// An envelope without keys, or with one.
pub fn envelope(encrypted: bool) -> Result<Envelope> {
    let key = Key::new(&[5; 32]).map_err(|error| anyhow!("{error}"))?;
    Ok(Envelope { keyring: encrypted.then(|| Arc::new(Keyring::new(key))), ..Envelope::default() })
}

fn name(at: usize) -> String {
    format!("member-{at}")
}

fn address(at: usize) -> SocketAddr {
    let [.., high, low] = at.to_be_bytes();
    ([10, 0, high, low], 8301).into()
}

fn tags() -> member::Tags {
    let tags = [("role", "node"), ("dc", "dc1"), ("vsn", "2"), ("build", "1.22.0:"), ("segment", "")];
    let id = ("id".to_owned(), "5f3c1f0e-9d0c-4b6e-8f53-0c8a5d1f7a11".to_owned());
    tags.into_iter().map(|(tag, value)| (tag.to_owned(), value.to_owned())).chain([id]).collect()
}

fn machine() -> Result<Serf> {
    let setup = Setup {
        config: Config::consul(OURSELVES, tags()),
        memberlist: memberlist::Config::lan(OURSELVES, address(0)),
        admission: Box::new(Open),
        keyring: None,
        seed: 7,
        snapshot: None,
    };
    Serf::new(setup, Duration::ZERO, &mut Vec::new()).map_err(|error| anyhow!(error))
}

/// What the others know.
fn everything() -> Bytes {
    let nodes = (0..MEMBERS).map(|at| PushedNode {
        name: name(at),
        addr: Some(address(at).ip()),
        port: 8301,
        meta: member::encode_tags(4, &tags()),
        incarnation: 1,
        state: Some(NodeState::Alive),
        vsn: Some([1, 5, 2, 2, 5, 4]),
    });
    let user_state = Message::PushPull(serf_message::PushPull {
        time: LamportTime(2),
        status_times: (0..MEMBERS).map(|at| (name(at), LamportTime(1))).collect(),
        ..serf_message::PushPull::default()
    });
    Stream::PushPull(PushPull { join: false, nodes: nodes.collect(), user_state: user_state.encode() }).encode()
}

/// A member that knows all others.
fn knowing(everything: &Bytes) -> Result<Serf> {
    let mut serf = machine()?;
    let input = Input::Stream { stream: StreamId(0), from: address(1), message: everything.clone() };
    serf.handle(Duration::ZERO, input, &mut Vec::new());
    let known = serf.members().count();
    ensure!(known == MEMBERS, "it knows {known} members");
    Ok(serf)
}

fn ping(from: usize) -> Bytes {
    let source_addr = Some(address(from).ip());
    let node = OURSELVES.to_owned();
    Packet::Ping(Ping { seq_no: 9, node, source_addr, source_port: 8301, source_node: name(from) }).encode()
}

/// Pings that one core opens and handles in a second of its time.
pub fn packets(encrypted: bool, span: Duration) -> Result<f64> {
    let envelope = envelope(encrypted)?;
    let mut serf = knowing(&everything())?;
    let mut sealed = Vec::new();
    for from in 1..MEMBERS {
        let packet = envelope.seal_packet(&[ping(from)], true, NONCE).map_err(|error| anyhow!("{error:?}"))?;
        sealed.push((address(from), packet));
    }
    let mut out = Vec::new();
    let (started, mut count) = (Instant::now(), 0u32);
    while started.elapsed() < span {
        for (from, packet) in &sealed {
            let opened = envelope.open_packet(packet).map_err(|error| anyhow!("{error}"))?;
            serf.handle(Duration::ZERO, Input::Packet { from: *from, messages: opened.messages }, &mut out);
            ensure!(out.iter().any(is_packet), "a ping was not acknowledged");
            out.clear();
            count += 1;
        }
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

fn is_packet(output: &Output) -> bool {
    matches!(output, Output::Memberlist(io::Output::Packet { .. }))
}

/// Bytes that a known member takes.
pub fn memory() -> Result<f64> {
    let everything = everything();
    // The first one pays for what all share.
    let first = knowing(&everything)?;
    let before = resident()?;
    let machines = (0..MACHINES).map(|_| knowing(&everything)).collect::<Result<Vec<_>>>()?;
    let after = resident()?;
    black_box((&first, &machines));
    Ok(after.saturating_sub(before) as f64 / (MACHINES * MEMBERS) as f64)
}

fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1024)
}

/// What is on its way to our member.
enum Arrival {
    Packet { from: SocketAddr, sealed: Bytes },
    Stream { from: SocketAddr, sealed: Bytes },
    Reply { exchange: io::ExchangeId, sealed: Bytes },
}

/// Our member among the others.
struct Pool {
    serf: Serf,
    envelope: Envelope,
    everything: Bytes,
    /// What others say of their coordinates: the same as ours.
    payload: Bytes,
    wire: BTreeMap<(Now, u64), Arrival>,
    sent: u64,
    busy: Duration,
    bytes: usize,
}

/// A member that has nothing to do but to stay one.
pub fn idle(encrypted: bool) -> Result<Idle> {
    let everything = everything();
    let mut pool = Pool {
        serf: knowing(&everything)?,
        envelope: envelope(encrypted)?,
        everything,
        payload: Bytes::new(),
        wire: BTreeMap::new(),
        sent: 0,
        busy: Duration::ZERO,
        bytes: 0,
    };
    // Each member pings one a second: so one pings us.
    for second in 0..WATCHED.as_secs() {
        let from = 1 + usize::try_from(second)? * 7919 % (MEMBERS - 1);
        let sealed = pool.seal(&[ping(from)])?;
        pool.send(Duration::from_secs(second), Arrival::Packet { from: address(from), sealed });
        if second % EXCHANGES.as_secs() == EXCHANGES.as_secs() / 2 {
            let sealed = pool.envelope.seal_stream(&pool.everything, NONCE);
            pool.send(Duration::from_secs(second), Arrival::Stream { from: address(from), sealed });
        }
    }
    // News of the beginning is told for a while: what is idle begins after it.
    pool.run(WATCHED / 6)?;
    (pool.busy, pool.bytes) = (Duration::ZERO, 0);
    pool.run(WATCHED)?;
    let alive = pool.serf.members().filter(|member| member.status == member::MemberStatus::Alive).count();
    ensure!(alive == MEMBERS, "only {alive} members are alive: the pool was not idle");
    let watched = WATCHED - WATCHED / 6;
    let busy = pool.busy.div_f64(watched.as_secs_f64());
    Ok(Idle { busy, bytes: pool.bytes as f64 / watched.as_secs_f64() })
}

impl Pool {
    fn seal(&self, messages: &[Bytes]) -> Result<Bytes> {
        self.envelope.seal_packet(messages, true, NONCE).map_err(|error| anyhow!("{error:?}"))
    }

    fn send(&mut self, at: Now, arrival: Arrival) {
        self.sent += 1;
        self.wire.insert((at, self.sent), arrival);
    }

    fn run(&mut self, until: Now) -> Result<()> {
        loop {
            let due = self.serf.deadline();
            let arriving = self.wire.first_key_value().map_or(Now::MAX, |((at, _), _)| *at);
            let now = due.min(arriving);
            if now > until {
                return Ok(());
            }
            let arrival = if arriving <= due { self.wire.pop_first().map(|(_, arrival)| arrival) } else { None };
            let mut out = Vec::new();
            let started = Instant::now();
            let input = match arrival {
                None => Input::Tick,
                Some(arrival) => self.open(arrival)?,
            };
            self.serf.handle(now, input, &mut out);
            self.busy += started.elapsed();
            for output in out {
                if let Output::Memberlist(output) = output {
                    self.carry_out(now, output)?;
                }
            }
        }
    }

    fn open(&self, arrival: Arrival) -> Result<Input> {
        let read = |mut reader: StreamReader, sealed: &Bytes| {
            let message = reader.push(sealed).map_err(|error| anyhow!("{error}"))?;
            message.context("a stream without its end")
        };
        Ok(match arrival {
            Arrival::Packet { from, sealed } => {
                let opened = self.envelope.open_packet(&sealed).map_err(|error| anyhow!("{error}"))?;
                Input::Packet { from, messages: opened.messages }
            }
            Arrival::Stream { from, sealed } => {
                let message = read(StreamReader::incoming(self.envelope.clone()), &sealed)?;
                Input::Stream { stream: StreamId(self.sent), from, message }
            }
            Arrival::Reply { exchange, sealed } => {
                let message = read(StreamReader::reply(self.envelope.clone()), &sealed)?;
                Input::Exchanged { exchange, result: Ok(Some(message)) }
            }
        })
    }

    /// Seals what is to be sent, which counts, and does what the others do about it, which does not.
    fn carry_out(&mut self, now: Now, output: io::Output) -> Result<()> {
        let started = Instant::now();
        let sealed = match &output {
            io::Output::Packet { messages, checksum, .. } => {
                self.envelope.seal_packet(messages, *checksum, NONCE).map_err(|error| anyhow!("{error:?}"))?
            }
            io::Output::Exchange { message, .. } => self.envelope.seal_stream(message, NONCE),
            io::Output::Answer { message, .. } => self.envelope.seal_reply(message, NONCE),
            _ => return Ok(()),
        };
        self.busy += started.elapsed();
        self.bytes += sealed.len();
        match output {
            io::Output::Packet { to, messages, .. } => {
                for message in messages {
                    match Packet::decode(&message) {
                        Ok(Packet::Ping(ping)) => {
                            let ack = Ack { seq_no: ping.seq_no, payload: self.payload.clone() };
                            let sealed = self.seal(&[Packet::Ack(ack).encode()])?;
                            self.send(now + TRIP, Arrival::Packet { from: to.address, sealed });
                        }
                        Ok(Packet::Ack(ack)) => self.payload = ack.payload,
                        _ => {}
                    }
                }
            }
            io::Output::Exchange { exchange, reply: true, .. } => {
                let sealed = self.envelope.seal_reply(&self.everything, NONCE);
                self.send(now + TRIP, Arrival::Reply { exchange, sealed });
            }
            _ => {}
        }
        Ok(())
    }
}
