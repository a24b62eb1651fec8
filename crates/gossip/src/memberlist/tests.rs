//! One member by itself: what it makes of what others say, and what it says.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::message::{Ack, Alive, Dead, IndirectPing, Nack, Ping, PushPull, PushedNode, Stream, Suspect};
use super::*;
use crate::delegate::NodeState;
use crate::io::{ExchangeError, StreamId};

/// A layer above that writes down what it hears.
#[derive(Default)]
struct Above {
    heard: Vec<String>,
    meta: Vec<u8>,
    broadcasts: Vec<Bytes>,
    /// Members that may not be here.
    banned: Vec<&'static str>,
    refuse_merge: bool,
}

impl Delegate for Above {
    fn node_meta(&self, _limit: usize) -> Bytes {
        self.meta.clone().into()
    }
    fn message(&mut self, _now: Now, message: &[u8], _outputs: &mut Vec<Output>) {
        self.heard.push(format!("message {}", message.escape_ascii()));
    }
    fn broadcasts(&mut self, _overhead: usize, _limit: usize) -> Vec<Bytes> {
        std::mem::take(&mut self.broadcasts)
    }
    fn local_state(&mut self, _now: Now, join: bool) -> Bytes {
        if join { Bytes::from_static(b"join state") } else { Bytes::from_static(b"state") }
    }
    fn merge_remote_state(&mut self, _now: Now, state: &[u8], join: bool, _outputs: &mut Vec<Output>) {
        self.heard.push(format!("state {} {join}", state.escape_ascii()));
    }
    fn allow_merge(&mut self, peers: &[Node]) -> Result<(), String> {
        let names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
        self.heard.push(format!("merge {}", names.join(",")));
        if self.refuse_merge { Err("not with us".to_owned()) } else { Ok(()) }
    }
    fn allow_alive(&mut self, peer: &Node) -> Result<(), String> {
        if self.banned.contains(&peer.name.as_str()) { Err("banned".to_owned()) } else { Ok(()) }
    }
    fn joined(&mut self, _now: Now, node: &Node, _outputs: &mut Vec<Output>) {
        self.heard.push(format!("joined {}", node.name));
    }
    fn left(&mut self, _now: Now, node: &Node, _outputs: &mut Vec<Output>) {
        self.heard.push(format!("{:?} {}", node.state, node.name));
    }
    fn updated(&mut self, _now: Now, node: &Node, _outputs: &mut Vec<Output>) {
        self.heard.push(format!("updated {}", node.name));
    }
    fn conflict(&mut self, _now: Now, existing: &Node, other: &Node, _outputs: &mut Vec<Output>) {
        self.heard.push(format!("conflict {} {}", existing.address, other.address));
    }
    fn ack_payload(&mut self) -> Bytes {
        Bytes::from_static(b"payload")
    }
    fn ping_complete(&mut self, _now: Now, node: &Node, rtt: Duration, payload: &[u8]) {
        self.heard.push(format!("ping {} {rtt:?} {}", node.name, payload.escape_ascii()));
    }
}

struct Bench {
    machine: Memberlist,
    above: Above,
    now: Now,
    outputs: Vec<Output>,
}

fn address(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 7946).into()
}

fn alive(number: u8, incarnation: u32) -> Alive {
    Alive {
        incarnation,
        node: format!("m{number}"),
        addr: Some(address(number).ip()),
        port: 7946,
        meta: Bytes::new(),
        vsn: Some([1, 5, 2, 0, 0, 0]),
    }
}

fn suspect(node: &str, incarnation: u32, from: &str) -> Packet {
    Packet::Suspect(Suspect { incarnation, node: node.into(), from: from.into() })
}

fn dead(node: &str, incarnation: u32, from: &str) -> Packet {
    Packet::Dead(Dead { incarnation, node: node.into(), from: from.into() })
}

impl Bench {
    /// `m0`, which knows `others` more.
    fn new(others: u8) -> Bench {
        Bench::with(others, |_| {})
    }

    fn with(others: u8, configure: impl Fn(&mut Config)) -> Bench {
        let mut config = Config::lan("m0", address(0));
        // Only what a test asks for happens.
        config.probe_interval = Duration::from_secs(100_000);
        config.gossip_interval = Duration::from_secs(100_000);
        config.push_pull_interval = Duration::from_secs(100_000);
        config.queue_check_interval = Duration::from_secs(100_000);
        configure(&mut config);
        let machine = Memberlist::new(config, 7, Duration::ZERO);
        let mut bench = Bench { machine, above: Above::default(), now: Duration::ZERO, outputs: Vec::new() };
        bench.input(Input::Tick);
        for number in 1..=others {
            bench.packet(Packet::Alive(alive(number, 1)));
        }
        bench.above.heard.clear();
        bench.outputs.clear();
        bench
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(&mut self.above, self.now, input, &mut self.outputs);
    }

    fn packet(&mut self, packet: Packet) {
        let from = address(1);
        self.input(Input::Packet { from, messages: vec![packet.encode()] });
    }

    fn stream(&mut self, message: Bytes) -> Vec<Output> {
        self.input(Input::Stream { stream: StreamId(9), from: address(1), message });
        self.outputs
            .drain(..)
            .filter(|output| matches!(output, Output::Answer { .. } | Output::Hangup { .. }))
            .collect()
    }

    /// Goes to the machine's own deadline.
    fn tick(&mut self) {
        self.now = self.now.max(self.machine.deadline());
        self.input(Input::Tick);
    }

    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.above.heard)
    }

    fn state(&self, name: &str) -> (NodeState, u32) {
        let entry = self.machine.roster.get(name).unwrap();
        (entry.node.state, entry.incarnation)
    }

    /// What is told, as if there were all the room.
    fn news(&mut self) -> Vec<Packet> {
        let news = self.machine.news.take(0, usize::MAX, 1);
        news.iter().map(|message| Packet::decode(message).unwrap()).collect()
    }

    /// Packets sent since, with whom they went to.
    fn sent(&mut self) -> Vec<(String, Vec<Packet>)> {
        let mut sent = Vec::new();
        for output in std::mem::take(&mut self.outputs) {
            if let Output::Packet { to, messages, .. } = output {
                sent.push((to.name, messages.iter().map(|message| Packet::decode(message).unwrap()).collect()));
            }
        }
        sent
    }

    fn exchanges(&mut self) -> Vec<(ExchangeId, String, Stream)> {
        let mut started = Vec::new();
        self.outputs.retain(|output| match output {
            Output::Exchange { exchange, to, message, .. } => {
                started.push((*exchange, to.name.clone(), Stream::decode(message).unwrap()));
                false
            }
            _ => true,
        });
        started
    }
}

#[test]
fn a_new_member_joins_its_own_view_first() {
    let config = Config::lan("m0", address(0));
    let mut machine = Memberlist::new(config, 1, Duration::from_secs(5));
    assert!(machine.deadline() <= Duration::from_secs(5));
    let mut above = Above::default();
    machine.handle(&mut above, Duration::from_secs(5), Input::Tick, &mut Vec::new());
    assert_eq!(above.heard, ["joined m0"]);
    assert!(machine.deadline() > Duration::from_secs(5));
    assert_eq!(machine.members().count(), 1);
}

#[test]
fn alive_needs_a_higher_incarnation() {
    let mut bench = Bench::new(1);
    bench.news();
    bench.packet(Packet::Alive(alive(1, 1)));
    bench.packet(Packet::Alive(alive(2, 0)));
    assert_eq!((bench.heard(), bench.news()), (vec![], vec![]));
    let news = Alive { meta: Bytes::from_static(b"tags"), ..alive(1, 2) };
    bench.packet(Packet::Alive(news.clone()));
    assert_eq!(bench.heard(), ["updated m1"]);
    assert_eq!(bench.news(), [Packet::Alive(news)]);
    assert_eq!(bench.state("m1"), (NodeState::Alive, 2));
}

#[test]
fn what_is_unsound_or_vetoed_is_no_member() {
    let mut bench = Bench::with(0, |config| {
        config.allowed_networks = vec![Network { base: [10, 0, 0, 0].into(), prefix: 8 }];
    });
    bench.above.banned = vec!["m5"];
    for wrong in [
        Alive { addr: None, ..alive(1, 1) },
        Alive { vsn: None, ..alive(2, 1) },
        Alive { vsn: Some([3, 2, 2, 0, 0, 0]), ..alive(3, 1) },
        Alive { addr: Some([11, 0, 0, 1].into()), ..alive(4, 1) },
        alive(5, 1),
    ] {
        bench.packet(Packet::Alive(wrong));
    }
    assert_eq!(bench.machine.known(), 1);
    let from = ([11, 0, 0, 1], 7946).into();
    bench.input(Input::Packet { from, messages: vec![Packet::Alive(alive(6, 1)).encode()] });
    assert_eq!(bench.machine.known(), 1);
    bench.packet(Packet::Alive(Alive { port: 0, ..alive(6, 1) }));
    assert_eq!(bench.machine.member("m6").unwrap().address, address(6));
}

#[test]
fn a_suspect_may_refute_and_dies_if_not() {
    let mut bench = Bench::with(3, |config| config.probe_interval = Duration::from_secs(1));
    bench.machine.probe_at = Duration::from_secs(100_000);
    bench.packet(suspect("m1", 0, "m2"));
    assert_eq!(bench.state("m1"), (NodeState::Alive, 1));
    bench.packet(suspect("m1", 1, "m2"));
    assert_eq!(bench.state("m1"), (NodeState::Suspect, 1));
    bench.packet(Packet::Alive(alive(1, 1)));
    assert_eq!(bench.state("m1"), (NodeState::Suspect, 1));
    bench.packet(Packet::Alive(alive(1, 2)));
    assert_eq!(bench.state("m1"), (NodeState::Alive, 2));
    assert!(bench.machine.suspicions.is_empty());
    assert!(bench.heard().is_empty());

    // Four members: two confirmations are wanted, and one brings it from 24 s to 11.38 s.
    bench.packet(suspect("m1", 2, "m2"));
    assert_eq!(bench.machine.deadline(), Duration::from_secs(24));
    bench.news();
    bench.packet(suspect("m1", 2, "m2"));
    assert!(bench.news().is_empty());
    bench.packet(suspect("m1", 2, "m3"));
    assert_eq!(bench.news(), [suspect("m1", 2, "m3")]);
    assert_eq!(bench.machine.deadline().as_millis(), 11_381);
    bench.tick();
    assert_eq!(bench.state("m1"), (NodeState::Dead, 2));
    assert_eq!(bench.heard(), ["Dead m1"]);
    assert_eq!(bench.news(), [dead("m1", 2, "m0")]);
    // Only a higher incarnation brings it back.
    bench.packet(Packet::Alive(alive(1, 2)));
    assert!(bench.heard().is_empty());
    bench.packet(Packet::Alive(alive(1, 3)));
    assert_eq!(bench.heard(), ["joined m1"]);
}

#[test]
fn who_says_of_itself_that_it_is_dead_has_left() {
    let mut bench = Bench::new(2);
    bench.packet(dead("m1", 0, "m1"));
    bench.packet(dead("m9", 1, "m9"));
    assert!(bench.heard().is_empty());
    bench.packet(dead("m1", 1, "m1"));
    bench.packet(dead("m2", 1, "m1"));
    bench.packet(dead("m2", 1, "m2"));
    assert_eq!(bench.heard(), ["Left m1", "Dead m2"]);
    let members: Vec<&str> = bench.machine.members().map(|node| node.name.as_str()).collect();
    assert_eq!(members, ["m0"]);
}

#[test]
fn accusations_of_ourselves_are_refuted_with_a_higher_incarnation() {
    let mut bench = Bench::new(2);
    bench.packet(suspect("m0", 0, "m1"));
    assert_eq!(bench.machine.health_score(), 0);
    bench.news();
    bench.packet(suspect("m0", 1, "m1"));
    assert_eq!(bench.news(), [Packet::Alive(alive(0, 2))]);
    bench.packet(dead("m0", 9, "m1"));
    assert_eq!(bench.news(), [Packet::Alive(alive(0, 10))]);
    assert_eq!(bench.machine.health_score(), 2);
    assert_eq!(bench.state("m0"), (NodeState::Alive, 10));
    // As we are: nothing to refute. As we were not, though: of an earlier life.
    bench.packet(Packet::Alive(alive(0, 10)));
    assert!(bench.news().is_empty());
    bench.packet(Packet::Alive(Alive { meta: Bytes::from_static(b"old"), ..alive(0, 10) }));
    assert_eq!(bench.news(), [Packet::Alive(alive(0, 11))]);
    bench.packet(Packet::Alive(alive(0, 20)));
    assert_eq!(bench.news(), [Packet::Alive(alive(0, 21))]);
    // There is nothing above the highest, and no panic either.
    bench.packet(dead("m0", u32::MAX, "m1"));
    assert_eq!(bench.state("m0"), (NodeState::Alive, u32::MAX));
}

#[test]
fn a_name_is_taken_over_only_from_who_left_or_is_long_dead() {
    let other = |incarnation| Packet::Alive(Alive { addr: Some([10, 0, 9, 9].into()), ..alive(1, incarnation) });
    let mut bench = Bench::with(2, |config| config.dead_node_reclaim_time = Duration::from_secs(30));
    bench.packet(other(5));
    assert_eq!(bench.heard(), ["conflict 10.0.0.1:7946 10.0.9.9:7946"]);
    bench.packet(Packet::Alive(Alive { addr: Some([10, 0, 9, 9].into()), ..alive(0, 5) }));
    assert_eq!(bench.heard(), ["conflict 10.0.0.0:7946 10.0.9.9:7946"]);
    bench.packet(dead("m1", 1, "m2"));
    bench.now = Duration::from_secs(30);
    bench.packet(other(5));
    assert_eq!(bench.heard(), ["Dead m1", "conflict 10.0.0.1:7946 10.0.9.9:7946"]);
    bench.now = Duration::from_secs(31);
    // Even with a lower incarnation: it is another one.
    bench.packet(other(1));
    assert_eq!(bench.heard(), ["joined m1"]);
    assert_eq!(bench.machine.member("m1").unwrap().address, ([10, 0, 9, 9], 7946).into());
    bench.packet(dead("m2", 1, "m2"));
    bench.packet(Packet::Alive(Alive { port: 1, ..alive(2, 1) }));
    assert_eq!(bench.heard(), ["Left m2", "joined m2"]);
}

#[test]
fn what_others_know_is_taken_with_doubt_about_the_bad() {
    let mut bench = Bench::new(4);
    let pushed = |number, state| PushedNode {
        name: format!("m{number}"),
        addr: Some(address(number).ip()),
        port: 7946,
        incarnation: 1,
        state,
        vsn: Some([1, 5, 2, 0, 0, 0]),
        ..PushedNode::default()
    };
    let nodes = vec![
        pushed(1, Some(NodeState::Dead)),
        pushed(2, Some(NodeState::Suspect)),
        pushed(3, Some(NodeState::Left)),
        pushed(4, None),
        pushed(5, Some(NodeState::Alive)),
        pushed(6, Some(NodeState::Dead)),
    ];
    let theirs = PushPull { join: false, nodes, user_state: Bytes::from_static(b"theirs") };
    let answers = bench.stream(Stream::PushPull(theirs).encode());
    let [Output::Answer { stream: StreamId(9), message }] = &answers[..] else { panic!("{answers:?}") };
    let Ok(Stream::PushPull(ours)) = Stream::decode(message) else { panic!("no push/pull") };
    assert_eq!((ours.nodes.len(), &ours.user_state[..], ours.join), (5, &b"state"[..], false));
    assert_eq!(bench.heard(), ["Left m3", "joined m5", "state theirs false"]);
    assert_eq!(bench.state("m1").0, NodeState::Suspect);
    assert_eq!(bench.state("m2").0, NodeState::Suspect);
    assert_eq!(bench.state("m4").0, NodeState::Alive);
    assert!(bench.machine.member("m6").is_none());
}

#[test]
fn merges_may_be_refused() {
    let mut bench = Bench::new(1);
    bench.above.refuse_merge = true;
    let node = PushedNode {
        name: "m5".into(),
        addr: Some(address(5).ip()),
        incarnation: 1,
        vsn: Some([1, 5, 2, 0, 0, 0]),
        ..PushedNode::default()
    };
    let push = |node: &PushedNode, join| {
        Stream::PushPull(PushPull { join, nodes: vec![node.clone()], user_state: Bytes::new() }).encode()
    };
    // They get our state all the same, and see for themselves.
    assert!(matches!(bench.stream(push(&node, true))[..], [Output::Answer { .. }]));
    assert_eq!(bench.heard(), ["merge m5"]);
    assert_eq!(bench.machine.known(), 2);
    // Upkeep does not ask again, but the versions must fit.
    let strange = PushedNode { vsn: Some([6, 7, 6, 0, 0, 0]), ..node.clone() };
    bench.stream(push(&strange, false));
    let silent = PushedNode { vsn: None, ..node.clone() };
    bench.stream(push(&silent, false));
    assert_eq!(bench.machine.known(), 2);
    bench.stream(push(&node, false));
    assert_eq!(bench.heard(), ["joined m5"]);
}

#[test]
fn streams_are_answered_or_closed() {
    let mut bench = Bench::new(1);
    let ping = |node: &str| Stream::Ping(Ping { seq_no: 4, node: node.into(), ..Ping::default() }).encode();
    let ack = Stream::Ack(Ack { seq_no: 4, ..Ack::default() }).encode();
    let answer = [Output::Answer { stream: StreamId(9), message: ack.clone() }];
    let hangup = [Output::Hangup { stream: StreamId(9) }];
    assert_eq!(bench.stream(ping("m0")), answer);
    assert_eq!(bench.stream(ping("")), answer);
    assert_eq!(bench.stream(ping("m1")), hangup);
    assert_eq!(bench.stream(ack), hangup);
    assert_eq!(bench.stream(Bytes::from_static(b"\x06\xff")), hangup);
    assert_eq!(bench.stream(Stream::User(Bytes::from_static(b"long")).encode()), hangup);
    assert_eq!(bench.heard(), ["message long"]);
}

/// Lets `m0` begin a probe, and gives the target's name and the sequence number.
fn probing(bench: &mut Bench) -> (String, u32) {
    bench.news();
    bench.tick();
    let sent = bench.sent();
    let [(target, messages)] = &sent[..] else { panic!("{sent:?}") };
    let Packet::Ping(ping) = &messages[0] else { panic!("{messages:?}") };
    assert_eq!((&ping.node, &ping.source_node[..], ping.source_port), (target, "m0", 7946));
    (target.clone(), ping.seq_no)
}

fn prober(others: u8) -> Bench {
    Bench::with(others, |config| config.probe_interval = Duration::from_secs(1))
}

#[test]
fn an_ack_in_time_tells_the_round_trip() {
    let mut bench = prober(3);
    let (target, seq_no) = probing(&mut bench);
    bench.now += Duration::from_millis(20);
    bench.packet(Packet::Ack(Ack { seq_no: seq_no + 1, payload: Bytes::new() }));
    assert!(bench.heard().is_empty());
    bench.packet(Packet::Ack(Ack { seq_no, payload: Bytes::from_static(b"c") }));
    bench.packet(Packet::Ack(Ack { seq_no, payload: Bytes::from_static(b"c") }));
    assert_eq!(bench.heard(), [format!("ping {target} 20ms c")]);
    assert!(bench.machine.probe.is_none());
}

#[test]
fn without_an_ack_others_are_asked_and_then_it_is_suspected() {
    let mut bench = prober(5);
    let (target, seq_no) = probing(&mut bench);
    let began = bench.now;
    bench.tick();
    assert_eq!(bench.now - began, Duration::from_millis(500));
    let exchanges = bench.exchanges();
    let [(exchange, to, Stream::Ping(ping))] = &exchanges[..] else { panic!("{exchanges:?}") };
    assert_eq!((to, ping.seq_no), (&target, seq_no));
    let asked = bench.sent();
    assert_eq!(asked.len(), 3);
    for (helper, messages) in &asked {
        assert!(*helper != target && helper != "m0");
        let Packet::IndirectPing(ask) = &messages[0] else { panic!("{messages:?}") };
        assert_eq!((&ask.node, ask.seq_no, ask.nack), (&target, seq_no, true));
    }
    bench.packet(Packet::Nack(Nack { seq_no }));
    bench.packet(Packet::Nack(Nack { seq_no }));
    bench.input(Input::Exchanged { exchange: *exchange, result: Err(ExchangeError::TimedOut) });
    assert_eq!(bench.state(&target).0, NodeState::Alive);
    bench.tick();
    assert_eq!(bench.now - began, Duration::from_secs(1));
    assert_eq!(bench.state(&target).0, NodeState::Suspect);
    // One of three nacks did not come: that is our fault.
    assert_eq!(bench.machine.health_score(), 1);
    assert!(bench.news().contains(&suspect(&target, 1, "m0")));
}

#[test]
fn an_ack_by_way_of_others_or_tcp_will_do() {
    let mut bench = prober(5);
    let (target, seq_no) = probing(&mut bench);
    bench.tick();
    bench.packet(Packet::Ack(Ack { seq_no, payload: Bytes::new() }));
    assert!(bench.machine.probe.is_none());
    assert!(bench.heard().is_empty(), "what others forward says nothing about the round trip");
    assert_eq!(bench.state(&target).0, NodeState::Alive);

    bench.sent();
    let (target, seq_no) = probing(&mut bench);
    bench.tick();
    let (exchange, ..) = bench.exchanges().pop().unwrap();
    let ack = Stream::Ack(Ack { seq_no, ..Ack::default() }).encode();
    bench.input(Input::Exchanged { exchange, result: Ok(Some(ack)) });
    assert!(bench.machine.probe.is_some(), "acks over UDP still have their time");
    bench.tick();
    assert_eq!(bench.state(&target).0, NodeState::Alive);
    assert_eq!(bench.machine.health_score(), 0);
}

#[test]
fn a_suspect_learns_of_it_with_the_ping() {
    let mut bench = prober(1);
    bench.packet(suspect("m1", 1, "m9"));
    bench.news();
    bench.tick();
    let sent = bench.sent();
    let [(_, messages)] = &sent[..] else { panic!("{sent:?}") };
    assert!(matches!(&messages[..], [Packet::Ping(_), accusation] if *accusation == suspect("m1", 1, "m0")));
}

#[test]
fn bad_health_gives_others_more_time() {
    let mut bench = prober(5);
    bench.packet(suspect("m0", 1, "m1"));
    bench.packet(suspect("m0", 2, "m1"));
    assert_eq!(bench.machine.health_score(), 2);
    let (target, _) = probing(&mut bench);
    let began = bench.now;
    bench.tick();
    assert_eq!(bench.now - began, Duration::from_millis(500));
    bench.tick();
    assert_eq!(bench.now - began, Duration::from_secs(3));
    assert_eq!(bench.state(&target).0, NodeState::Suspect);
}

#[test]
fn pings_are_answered_and_relayed() {
    let mut bench = Bench::new(3);
    bench.news();
    let ping = Ping { seq_no: 5, node: "m0".into(), ..Ping::default() };
    bench.packet(Packet::Ping(Ping { node: "other".into(), ..ping.clone() }));
    assert!(bench.sent().is_empty());
    bench.packet(Packet::Ping(ping));
    let Some(Output::Packet { to, messages, .. }) = bench.outputs.pop() else { panic!("no packet") };
    assert_eq!(to.address, address(1));
    assert_eq!(messages, [Packet::Ack(Ack { seq_no: 5, payload: Bytes::from_static(b"payload") }).encode()]);

    let ask = IndirectPing {
        seq_no: 8,
        target: Some(address(2).ip()),
        port: 7946,
        node: "m2".into(),
        nack: true,
        source_addr: Some(address(3).ip()),
        source_port: 7946,
        source_node: "m3".into(),
    };
    for acked in [true, false] {
        bench.packet(Packet::IndirectPing(ask.clone()));
        let sent = bench.sent();
        let [(to, messages)] = &sent[..] else { panic!("{sent:?}") };
        let [Packet::Ping(ping)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((to.as_str(), ping.node.as_str(), ping.source_node.as_str()), ("m2", "m2", "m0"));
        let expect = if acked {
            bench.packet(Packet::Ack(Ack { seq_no: ping.seq_no, payload: Bytes::from_static(b"x") }));
            Packet::Ack(Ack { seq_no: 8, payload: Bytes::new() })
        } else {
            Packet::Nack(Nack { seq_no: 8 })
        };
        bench.tick();
        assert_eq!(bench.sent(), [("m3".to_owned(), vec![expect])]);
    }
    assert!(bench.machine.relays.deadline().is_none());
}

#[test]
fn packets_stay_within_their_budget() {
    let mut bench = Bench::with(200, |config| {
        config.gossip_interval = Duration::from_millis(200);
        config.packet_overhead = budget::envelope(10, true);
    });
    bench.tick();
    let mut packets = 0;
    for output in &bench.outputs {
        let Output::Packet { messages, checksum, .. } = output else { continue };
        assert!(checksum);
        let length: usize = messages.iter().map(|message| message.len() + budget::COMPOUND_EACH).sum();
        let length = length + budget::COMPOUND_HEADER + budget::envelope(10, true);
        assert!(length <= budget::PACKET_MAX && length > budget::PACKET_MAX - 100, "{length}");
        packets += 1;
    }
    assert_eq!(packets, 3);
}

#[test]
fn a_join_asks_one_peer_after_another() {
    let mut bench = Bench::new(0);
    let peer = |number| Peer { name: String::new(), address: address(number) };
    let join = bench.machine.join(&mut bench.above, bench.now, &[peer(1), peer(2), peer(3)], &mut bench.outputs);
    let (exchange, _, message) = bench.exchanges().pop().unwrap();
    let Stream::PushPull(ours) = message else { panic!("{message:?}") };
    assert!(ours.join && ours.nodes.len() == 1 && &ours.user_state[..] == b"join state");
    let refused = ExchangeError::Unreachable("connection refused".to_owned());
    bench.input(Input::Exchanged { exchange, result: Err(refused) });
    assert_eq!(bench.machine.take_joined(join), None);

    let (exchange, ..) = bench.exchanges().pop().unwrap();
    let node = PushedNode {
        name: "m2".into(),
        addr: Some(address(2).ip()),
        port: 7946,
        incarnation: 4,
        vsn: Some([1, 5, 2, 0, 0, 0]),
        ..PushedNode::default()
    };
    let theirs = PushPull { join: false, nodes: vec![node], user_state: Bytes::from_static(b"s") };
    bench.input(Input::Exchanged { exchange, result: Ok(Some(Stream::PushPull(theirs).encode())) });
    assert_eq!(bench.heard(), ["merge m2", "joined m2", "state s true"]);

    let (exchange, _, message) = bench.exchanges().pop().unwrap();
    let Stream::PushPull(ours) = message else { panic!("{message:?}") };
    assert_eq!(ours.nodes.len(), 2);
    let error = Stream::Error("too busy".to_owned()).encode();
    bench.input(Input::Exchanged { exchange, result: Ok(Some(error)) });
    let joined = bench.machine.take_joined(join).unwrap();
    assert_eq!(joined.reached, 1);
    let errors: Vec<&str> = joined.errors.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        errors,
        ["Failed to join 10.0.0.1:7946: connection refused", "Failed to join 10.0.0.3:7946: remote error: too busy"]
    );
    assert_eq!(bench.machine.take_joined(join), None);
}

#[test]
fn a_leave_is_told_until_it_was_sent_often_enough() {
    let mut bench = Bench::with(2, |config| config.gossip_interval = Duration::from_millis(200));
    bench.news();
    let tell = bench.machine.leave(&mut bench.above, bench.now, &mut bench.outputs);
    assert_eq!(bench.heard(), ["Left m0"]);
    assert!(!bench.machine.told(tell));
    bench.tick();
    let sent = bench.sent();
    assert_eq!(sent[0].1, [dead("m0", 1, "m0")]);
    bench.tick();
    bench.tick();
    assert!(bench.machine.told(tell));
    // Nothing brings us back, and nothing is refuted.
    bench.packet(Packet::Alive(alive(0, 50)));
    bench.packet(suspect("m0", 50, "m1"));
    assert_eq!(bench.state("m0"), (NodeState::Left, 1));
    assert!(bench.news().is_empty());

    let mut alone = Bench::new(0);
    let tell = alone.machine.leave(&mut alone.above, alone.now, &mut alone.outputs);
    assert!(alone.machine.told(tell));
}

#[test]
fn new_metadata_has_a_new_incarnation() {
    let mut bench = Bench::new(1);
    bench.above.meta = b"tags".to_vec();
    let tell = bench.machine.update_node(&mut bench.above, bench.now, &mut bench.outputs);
    assert!(!bench.machine.told(tell));
    assert_eq!(bench.heard(), ["updated m0"]);
    let told = Packet::Alive(Alive { meta: Bytes::from_static(b"tags"), ..alive(0, 2) });
    assert!(bench.news().contains(&told));
    // What cannot be told leaves what was.
    bench.above.meta = vec![0; META_MAX + 1];
    bench.machine.update_node(&mut bench.above, bench.now, &mut bench.outputs);
    assert_eq!(&bench.machine.member("m0").unwrap().meta[..], b"tags");
}

#[test]
fn messages_of_the_layer_above() {
    let mut bench = Bench::with(1, |config| config.gossip_interval = Duration::from_millis(200));
    bench.news();
    bench.packet(Packet::User(Bytes::from_static(b"hello")));
    assert_eq!(bench.heard(), ["message hello"]);
    bench.above.broadcasts = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    bench.tick();
    let user = |text: &'static [u8]| Packet::User(Bytes::from_static(text));
    assert_eq!(bench.sent(), [("m1".to_owned(), vec![user(b"one"), user(b"two")])]);
    let mut send = |to: &str, body: &[u8], reliable| {
        bench.machine.send_to(to, body, reliable, Duration::from_secs(1), &mut bench.outputs)
    };
    assert_eq!(send("m7", b"", false), Err(SendError::UnknownMember));
    assert_eq!(send("m1", &[0; 1393], false), Err(SendError::TooLong { length: 1393, max: 1392 }));
    assert_eq!(send("m1", b"short", false), Ok(()));
    assert_eq!(send("m1", &[0; 5000], true), Ok(()));
    let (exchange, to, message) = bench.exchanges().pop().unwrap();
    assert_eq!((to.as_str(), message), ("m1", Stream::User(vec![0; 5000].into())));
    bench.input(Input::Exchanged { exchange, result: Ok(None) });
    assert_eq!(bench.sent(), [("m1".to_owned(), vec![user(b"short")])]);
}

#[test]
fn exchanges_become_rarer_in_large_pools() {
    let check = |others, factor| {
        let bench = Bench::with(others, |config| config.push_pull_interval = Duration::from_secs(1));
        assert_eq!(bench.machine.push_pull_pace(), Duration::from_secs(factor), "{others}");
    };
    check(0, 1);
    check(31, 1);
    check(32, 2);
    check(63, 2);
    check(64, 3);
}

#[test]
fn missed_rounds_are_not_made_up_for() {
    let second = Duration::from_secs(1);
    assert_eq!(next_after(second, second, second), 2 * second);
    assert_eq!(next_after(second, second, Duration::from_millis(5500)), 6 * second);
}

/// Something that somebody may say, sensible or not.
fn anything() -> impl Strategy<Value = Packet> {
    let name = || (0_u8..12).prop_map(|number| format!("m{number}"));
    let incarnation = || prop_oneof![0_u32..4, any::<u32>()];
    let versions = || prop_oneof![Just(Some([1, 5, 2, 0, 0, 0])), any::<Option<[u8; 6]>>()];
    prop_oneof![
        (name(), incarnation(), name()).prop_map(|(node, incarnation, from)| Packet::Suspect(Suspect {
            incarnation,
            node,
            from
        })),
        (name(), incarnation(), name()).prop_map(|(node, incarnation, from)| Packet::Dead(Dead {
            incarnation,
            node,
            from
        })),
        (0_u8..12, incarnation(), 0_u16..2, versions(), any::<bool>()).prop_map(
            |(number, incarnation, moved, vsn, tagged)| {
                let meta = Bytes::from_static(if tagged { b"tags" } else { b"" });
                Packet::Alive(Alive { port: 7946 + moved, vsn, meta, ..alive(number, incarnation) })
            }
        ),
        (0_u32..30).prop_map(|seq_no| Packet::Ack(Ack { seq_no, ..Ack::default() })),
        (0_u32..30).prop_map(|seq_no| Packet::Nack(Nack { seq_no })),
        (name(), any::<u32>()).prop_map(|(node, seq_no)| Packet::Ping(Ping { seq_no, node, ..Ping::default() })),
        (name(), any::<u32>(), any::<bool>()).prop_map(|(node, seq_no, nack)| {
            let target = Some(address(1).ip());
            Packet::IndirectPing(IndirectPing { seq_no, target, node, nack, ..IndirectPing::default() })
        }),
        vec(any::<u8>(), 0..20).prop_map(|body| Packet::User(body.into())),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Said(Vec<Packet>),
    Pushed(Vec<Packet>, bool),
    Waited(u64),
    Exchanged(u64, Option<Bytes>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(anything(), 0..4).prop_map(Step::Said),
        1 => (vec(anything(), 0..6), any::<bool>()).prop_map(|(nodes, join)| Step::Pushed(nodes, join)),
        3 => (0_u64..20_000).prop_map(Step::Waited),
        1 => (0_u64..20, any::<Option<Vec<u8>>>()).prop_map(|(exchange, reply)| Step::Exchanged(exchange, reply.map(Bytes::from))),
    ]
}

fn pushed(packet: Packet) -> Option<PushedNode> {
    let node = PushedNode { addr: Some(address(1).ip()), port: 7946, ..PushedNode::default() };
    match packet {
        Packet::Alive(Alive { incarnation, node: name, addr, port, meta, vsn }) => {
            Some(PushedNode { name, addr, port, meta, incarnation, vsn, ..node })
        }
        Packet::Suspect(Suspect { incarnation, node: name, .. }) => {
            Some(PushedNode { name, incarnation, state: Some(NodeState::Suspect), ..node })
        }
        Packet::Dead(Dead { incarnation, node: name, .. }) => {
            Some(PushedNode { name, incarnation, state: Some(NodeState::Left), ..node })
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn whatever_is_said_the_tables_fit_together(steps in vec(step(), 0..60), leaves_at in 0_usize..120) {
        let mut bench = Bench::with(3, |config| *config = Config::lan("m0", address(0)));
        let mut own = 0;
        for (at, step) in steps.into_iter().enumerate() {
            if at == leaves_at {
                bench.machine.leave(&mut bench.above, bench.now, &mut bench.outputs);
            }
            match step {
                Step::Said(packets) => {
                    let messages = packets.iter().map(Packet::encode).collect();
                    bench.input(Input::Packet { from: address(1), messages });
                }
                Step::Pushed(packets, join) => {
                    let nodes = packets.into_iter().filter_map(pushed).collect();
                    let theirs = PushPull { join, nodes, user_state: Bytes::new() };
                    bench.stream(Stream::PushPull(theirs).encode());
                }
                Step::Waited(millis) => {
                    let end = bench.now + Duration::from_millis(millis);
                    let mut ticks = 0;
                    while bench.machine.deadline() <= end {
                        bench.tick();
                        ticks += 1;
                        assert!(ticks < 1000, "it wants to be asked without end");
                    }
                    bench.now = end;
                }
                Step::Exchanged(exchange, reply) => {
                    bench.input(Input::Exchanged { exchange: ExchangeId(exchange), result: Ok(reply) });
                }
            }
            for output in bench.outputs.drain(..) {
                if let Output::Packet { messages, .. } = output {
                    let length: usize = messages.iter().map(|message| message.len() + budget::COMPOUND_EACH).sum();
                    assert!(length + budget::COMPOUND_HEADER + budget::envelope(0, false) <= budget::PACKET_MAX);
                }
            }
            let machine = &bench.machine;
            assert!(machine.known() <= 12 && machine.news.len() <= 12);
            for entry in machine.roster.iter() {
                let suspected = machine.suspicions.contains_key(&entry.node.name);
                assert_eq!(entry.node.state == NodeState::Suspect, suspected, "{}", entry.node.name);
            }
            if let Some(entry) = machine.roster.get("m0") {
                let expect = if machine.leaving { NodeState::Left } else { NodeState::Alive };
                assert_eq!(entry.node.state, expect);
                assert!(entry.incarnation >= own);
                own = entry.incarnation;
            } else {
                assert!(machine.leaving);
            }
        }
    }
}
