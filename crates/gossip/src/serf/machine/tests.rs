//! Small pools in memory: several machines, a network that may lose packets, and no clock but theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{Serf, Setup};
use crate::io::{self, ExchangeError, ExchangeId, Input, Now, Peer, StreamId};
use crate::keyring::{Key, Keyring};
use crate::serf::consul::LanAdmission;
use crate::serf::event::{Event, MemberEventKind};
use crate::serf::member::{MemberStatus, Tags};
use crate::serf::snapshot::{Replayed, SnapshotWrite, replay};
use crate::serf::{Admission, Config, KeyAnswer, KeyOperation, Open, Output, QueryParams, Standing};

const S: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(1);

struct Member {
    serf: Serf,
    address: SocketAddr,
    up: bool,
    /// All that it told, but memberlist's.
    told: Vec<Output>,
    snapshot: String,
}

#[derive(Default)]
struct Network {
    now: Now,
    members: BTreeMap<String, Member>,
    /// What arrives when, at which address.
    wire: BTreeMap<(Now, u64), (SocketAddr, Input)>,
    sent: u64,
    streams: BTreeMap<StreamId, (SocketAddr, ExchangeId)>,
    /// The key that members start with.
    key: Option<Key>,
    /// Of a hundred packets so many are lost, and as many arrive twice.
    loss: u64,
    /// Pairs that do not hear of each other.
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
}

fn address(name: &str) -> SocketAddr {
    let last = name.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    ([10, 0, 0, last], 8301).into()
}

fn peer(name: &str) -> Peer {
    Peer { name: name.into(), address: address(name) }
}

impl Network {
    fn start(&mut self, config: Config, admission: Box<dyn Admission>, snapshot: Option<Replayed>) {
        let name = config.name.clone();
        let address = address(&name);
        let mut out = vec![];
        let memberlist = crate::memberlist::Config::lan(name.clone(), address);
        let seed = u64::from(address.to_string().bytes().map(u32::from).sum::<u32>());
        let keyring = self.key.clone().map(Keyring::new);
        let setup = Setup { config, memberlist, admission, keyring, seed, snapshot };
        let serf = Serf::new(setup, self.now, &mut out).unwrap();
        self.members.insert(name.clone(), Member { serf, address, up: true, told: vec![], snapshot: String::new() });
        self.carry_out(&name, out);
    }

    fn with(names: &[&str]) -> Network {
        let mut network = Network { now: S, ..Network::default() };
        network.start_all(names);
        network
    }

    /// Starts them, and has them find each other.
    fn start_all(&mut self, names: &[&str]) {
        for name in names {
            self.start(Config::serf(*name), Box::new(Open), Some(Replayed::default()));
        }
        for name in &names[1..] {
            self.join(name, names[0]);
        }
        let all = names.len();
        self.until(20 * S, |network| network.members.values().all(|member| member.serf.members().count() == all));
    }

    fn join(&mut self, name: &str, other: &str) {
        self.call(name, |serf, now, out| serf.join(now, vec![peer(other)], true, out).unwrap());
    }

    fn call<T>(&mut self, name: &str, command: impl FnOnce(&mut Serf, Now, &mut Vec<Output>) -> T) -> T {
        let mut out = vec![];
        let answer = command(&mut self.members.get_mut(name).unwrap().serf, self.now, &mut out);
        self.carry_out(name, out);
        answer
    }

    fn post(&mut self, to: SocketAddr, input: Input) {
        self.sent += 1;
        self.wire.insert((self.now + DELAY, self.sent), (to, input));
    }

    fn carry_out(&mut self, name: &str, out: Vec<Output>) {
        let from = self.members[name].address;
        for output in out {
            let output = match output {
                Output::Memberlist(output) => output,
                Output::KeyringChanged { change, keyring } => {
                    assert_eq!(self.members[name].serf.keyring(), Some(&keyring));
                    self.call(name, |serf, now, out| serf.keyring_kept(now, change, Ok(()), out));
                    continue;
                }
                told => {
                    let member = self.members.get_mut(name).unwrap();
                    match &told {
                        Output::Snapshot(SnapshotWrite::Replace(text)) => member.snapshot = text.clone(),
                        Output::Snapshot(SnapshotWrite::Append(line) | SnapshotWrite::AppendDurably(line)) => {
                            member.snapshot.push_str(line);
                        }
                        _ => {}
                    }
                    member.told.push(told);
                    continue;
                }
            };
            match output {
                io::Output::Packet { to, messages, .. } => {
                    // Always the same course, and yet no pattern.
                    let luck = (self.sent.wrapping_add(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 100;
                    if !self.reaches(from, to.address) || luck < self.loss {
                        self.sent += 1;
                        continue;
                    }
                    if luck >= 100 - self.loss {
                        self.post(to.address, Input::Packet { from, messages: messages.clone() });
                    }
                    self.post(to.address, Input::Packet { from, messages });
                }
                io::Output::Exchange { exchange, to, message, reply, .. } => {
                    if !self.reaches(from, to.address) {
                        let result = Err(ExchangeError::Unreachable("connection refused".into()));
                        self.post(from, Input::Exchanged { exchange, result });
                        continue;
                    }
                    let stream = StreamId(self.sent);
                    if reply {
                        self.streams.insert(stream, (from, exchange));
                    } else {
                        self.post(from, Input::Exchanged { exchange, result: Ok(None) });
                    }
                    self.post(to.address, Input::Stream { stream, from, message });
                }
                io::Output::Answer { stream, message } => {
                    if let Some((to, exchange)) = self.streams.remove(&stream) {
                        self.post(to, Input::Exchanged { exchange, result: Ok(Some(message)) });
                    }
                }
                io::Output::Hangup { stream } => {
                    if let Some((to, exchange)) = self.streams.remove(&stream) {
                        let result = Err(ExchangeError::Refused("EOF".into()));
                        self.post(to, Input::Exchanged { exchange, result });
                    }
                }
                io::Output::Log { .. } | io::Output::Count { .. } | io::Output::Sample { .. } => {}
            }
        }
    }

    fn reaches(&self, from: SocketAddr, to: SocketAddr) -> bool {
        !self.cut.contains(&(from, to)) && self.members.values().any(|member| member.up && member.address == to)
    }

    /// Goes on to the next thing that happens.
    fn step(&mut self) {
        let tick = self
            .members
            .iter()
            .filter(|(_, member)| member.up)
            .map(|(name, member)| (member.serf.deadline(), name.clone()))
            .min();
        let arrives = self.wire.first_key_value().map(|((at, _), _)| *at);
        match (tick, arrives) {
            (Some((at, name)), arrives) if arrives.is_none_or(|arrives| at < arrives) => {
                self.now = self.now.max(at);
                self.call(&name, |serf, now, out| serf.handle(now, Input::Tick, out));
            }
            _ => {
                let Some(((at, _), (to, input))) = self.wire.pop_first() else {
                    return;
                };
                self.now = self.now.max(at);
                let found = self.members.iter().find(|(_, member)| member.up && member.address == to);
                if let Some(name) = found.map(|(name, _)| name.clone()) {
                    self.call(&name, |serf, now, out| serf.handle(now, input, out));
                }
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    /// Goes on until it is true; within `bound`.
    #[track_caller]
    fn until(&mut self, bound: Duration, mut is_true: impl FnMut(&Network) -> bool) {
        let end = self.now + bound;
        while !is_true(self) {
            assert!(self.now < end, "not within {bound:?}");
            self.step();
        }
    }

    fn status(&self, of: &str, at: &str) -> MemberStatus {
        self.members[at].serf.member(of).map_or(MemberStatus::None, |member| member.status)
    }

    /// What all but itself think of a member.
    fn all_think(&self, of: &str, status: MemberStatus) -> bool {
        self.members
            .iter()
            .filter(|(name, member)| *name != of && member.up)
            .all(|(at, _)| self.status(of, at) == status)
    }

    fn told_of(&self, at: &str, kind: MemberEventKind, of: &str) -> usize {
        let is = |told: &&Output| {
            matches!(told, Output::Event(Event::Members(event))
                if event.kind == kind && event.members.iter().any(|member| member.name == of))
        };
        self.members[at].told.iter().filter(is).count()
    }

    fn user_events(&self, at: &str) -> Vec<&str> {
        self.members[at]
            .told
            .iter()
            .filter_map(|told| match told {
                Output::Event(Event::User(event)) => Some(event.name.as_str()),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn three_find_each_other() {
    let network = Network::with(&["a", "b", "c"]);
    for at in ["a", "b", "c"] {
        for of in ["a", "b", "c"] {
            assert_eq!(network.status(of, at), MemberStatus::Alive);
            assert_eq!(network.told_of(at, MemberEventKind::Join, of), 1);
            assert_eq!(network.members[at].serf.member(of).unwrap().versions, [1, 5, 2, 2, 5, 4]);
        }
    }
    assert!(
        network.members["b"]
            .told
            .iter()
            .any(|told| matches!(told, Output::Joined { joined, .. } if joined.reached == 1))
    );
}

#[test]
fn a_graceful_leave_is_a_leave_to_all() {
    let mut network = Network::with(&["a", "b", "c"]);
    network.call("c", |serf, now, out| serf.leave(now, out)).unwrap();
    assert_eq!(network.call("c", |serf, now, out| serf.leave(now, out)), Err("Leave already in progress".to_owned()));
    network.until(20 * S, |network| network.members["c"].told.contains(&Output::Left));
    assert_eq!(network.members["c"].serf.standing(), Standing::Left);
    assert!(network.all_think("c", MemberStatus::Left));
    assert_eq!(network.told_of("a", MemberEventKind::Leave, "c"), 1);
    assert_eq!(network.told_of("a", MemberEventKind::Failed, "c"), 0);
    assert_eq!(network.call("c", |serf, now, out| serf.leave(now, out)), Ok(()));
    let refused = network.call("c", |serf, now, out| serf.join(now, vec![peer("a")], true, out));
    assert_eq!(refused, Err("Serf can't Join after Leave or Shutdown".to_owned()));
}

#[test]
fn who_vanishes_has_failed_and_may_be_forced_out_or_come_back() {
    let mut network = Network::with(&["a", "b", "c"]);
    network.members.get_mut("c").unwrap().up = false;
    network.until(60 * S, |network| network.all_think("c", MemberStatus::Failed));
    assert_eq!(network.told_of("b", MemberEventKind::Failed, "c"), 1);
    network.call("a", |serf, now, out| serf.force_leave(now, "c", false, out)).unwrap();
    network.until(20 * S, |network| network.all_think("c", MemberStatus::Left));
    let broadcast = |told: &Output| matches!(told, Output::Broadcast { in_time: true, .. });
    network.until(20 * S, |network| network.members["a"].told.iter().any(broadcast));
    // It comes back, and refutes.
    network.members.get_mut("c").unwrap().up = true;
    network.join("c", "a");
    network.until(60 * S, |network| network.all_think("c", MemberStatus::Alive));
    assert_eq!(network.status("c", "c"), MemberStatus::Alive);
}

#[test]
fn a_failed_member_is_found_again_without_being_asked() {
    let mut network = Network::with(&["a", "b"]);
    network.cut.extend([(address("a"), address("b")), (address("b"), address("a"))]);
    network.until(60 * S, |network| {
        network.all_think("a", MemberStatus::Failed) && network.all_think("b", MemberStatus::Failed)
    });
    network.cut.clear();
    network.until(90 * S, |network| {
        network.all_think("a", MemberStatus::Alive) && network.all_think("b", MemberStatus::Alive)
    });
}

#[test]
fn a_pruned_member_is_forgotten_by_all() {
    let mut network = Network::with(&["a", "b", "c"]);
    network.members.get_mut("c").unwrap().up = false;
    network.until(60 * S, |network| network.all_think("c", MemberStatus::Failed));
    network.call("a", |serf, now, out| serf.force_leave(now, "c", true, out));
    network.until(20 * S, |network| network.all_think("c", MemberStatus::None));
    assert_eq!(network.told_of("b", MemberEventKind::Reap, "c"), 1);
}

#[test]
fn tags_reach_all() {
    let mut network = Network::with(&["a", "b"]);
    let tags = Tags::from([("role".to_owned(), "web".to_owned())]);
    network.call("a", |serf, now, out| serf.set_tags(now, tags.clone(), out)).unwrap();
    network.until(20 * S, |network| network.members["b"].serf.member("a").unwrap().tags == tags);
    assert_eq!(network.told_of("b", MemberEventKind::Update, "a"), 1);
    let long = Tags::from([("t".to_owned(), "x".repeat(600))]);
    let refused = network.call("a", |serf, now, out| serf.set_tags(now, long, out));
    assert_eq!(refused, Err("Encoded length of tags exceeds limit of 512 bytes".to_owned()));
}

#[test]
fn a_user_event_reaches_each_once_and_no_newcomer_that_ignores_it() {
    let mut network = Network::with(&["a", "b", "c"]);
    network.call("a", |serf, now, out| serf.user_event(now, "deploy", Bytes::from_static(b"1"), false, out)).unwrap();
    network.until(20 * S, |network| network.members.keys().all(|at| network.user_events(at) == ["deploy"]));
    network.start(Config::serf("d"), Box::new(Open), None);
    network.join("d", "b");
    network.run(60 * S);
    for at in ["a", "b", "c"] {
        assert_eq!(network.user_events(at), ["deploy"]);
    }
    assert_eq!(network.user_events("d"), [""; 0]);
    network.call("d", |serf, now, out| serf.user_event(now, "second", Bytes::new(), false, out)).unwrap();
    network.until(20 * S, |network| network.members.keys().all(|at| network.user_events(at).contains(&"second")));
}

#[test]
fn a_query_asks_all_and_collects_their_answers() {
    let mut network = Network::with(&["a", "b", "c"]);
    let params = QueryParams { name: "load".into(), ack: true, relay_factor: 1, ..QueryParams::default() };
    let id = network.call("a", |serf, now, out| serf.query(now, params, out)).unwrap();
    let done = Output::QueryDone { query: id };
    let mut answered = BTreeSet::new();
    while !network.members["a"].told.contains(&done) {
        network.step();
        let mut due = vec![];
        for (name, member) in &network.members {
            for told in &member.told {
                if let Output::Event(Event::Query(query)) = told
                    && answered.insert(name.clone())
                {
                    due.push((name.clone(), query.asked));
                }
            }
        }
        for (name, asked) in due {
            let payload = Bytes::from(format!("from {name}"));
            network.call(&name, |serf, now, out| serf.respond(now, asked, payload, out)).unwrap();
        }
    }
    let (mut acks, mut answers) = (vec![], vec![]);
    for told in &network.members["a"].told {
        match told {
            Output::Acked { from, .. } => acks.push(from.clone()),
            Output::Responded { from, payload, .. } => {
                assert_eq!(payload, &format!("from {from}"));
                answers.push(from.clone());
            }
            _ => {}
        }
    }
    acks.sort();
    answers.sort();
    assert_eq!(
        (acks, answers),
        (vec!["a".to_owned(), "b".into(), "c".into()], vec!["a".to_owned(), "b".into(), "c".into()])
    );
}

#[test]
fn without_encryption_keys_cannot_be_changed() {
    let mut network = Network::with(&["a", "b"]);
    network.call("a", |serf, now, out| serf.change_keys(now, KeyOperation::Install, &[1; 16], 0, out)).unwrap();
    let done = |network: &Network| {
        network.members["a"].told.iter().find_map(|told| match told {
            Output::KeysDone { answer, .. } => Some(answer.clone()),
            _ => None,
        })
    };
    network.until(20 * S, |network| done(network).is_some());
    let answer = done(&network).unwrap();
    assert_eq!(answer.error().unwrap(), "2/2 nodes reported failure");
    assert_eq!(answer.messages["b"], "No keyring to modify (encryption not enabled)");
}

fn keys_done(network: &Network, at: &str) -> Vec<KeyAnswer> {
    let done = |told: &Output| match told {
        Output::KeysDone { answer, .. } => Some(answer.clone()),
        _ => None,
    };
    network.members[at].told.iter().filter_map(done).collect()
}

#[test]
fn the_keys_of_all_are_rotated() {
    let mut network = Network { now: S, key: Some(Key::new(&[1; 16]).unwrap()), ..Network::default() };
    network.start_all(&["a", "b", "c"]);
    let mut change = |operation, key: &[u8]| {
        let before = keys_done(&network, "a").len();
        let started = network.now;
        network.call("a", |serf, now, out| serf.change_keys(now, operation, key, 1, out)).unwrap();
        network.until(20 * S, |network| keys_done(network, "a").len() > before);
        assert!(network.now - started < 3 * S, "it does not wait for the time to run out");
        keys_done(&network, "a").pop().unwrap()
    };
    for (operation, key) in
        [(KeyOperation::Install, [2; 16]), (KeyOperation::Use, [2; 16]), (KeyOperation::Remove, [1; 16])]
    {
        let answer = change(operation, &key);
        assert_eq!((answer.error(), answer.responses), (None, 3), "{operation:?}");
    }
    let refused = change(KeyOperation::Use, &[1; 16]);
    assert_eq!(refused.error().unwrap(), "3/3 nodes reported failure");
    let listed = change(KeyOperation::List, &[]);
    assert_eq!(listed.keys, BTreeMap::from([("AgICAgICAgICAgICAgICAg==".to_owned(), 3)]));
    assert_eq!(listed.primary_keys, listed.keys);
}

#[test]
fn coordinates_converge_to_the_round_trip() {
    let mut network = Network::with(&["a", "b", "c"]);
    network.run(180 * S);
    let serf = &network.members["a"].serf;
    let guess = serf.rtt("a", "b").unwrap();
    assert!(guess > DELAY && guess < 4 * DELAY, "{guess:?}");
    assert_eq!(serf.cached_coordinate("a"), serf.coordinate());
    assert!(serf.rtt("a", "nobody").is_none());
}

#[test]
fn news_arrives_although_packets_are_lost_and_doubled() {
    let mut network = Network { now: S, loss: 15, ..Network::default() };
    network.start_all(&["a", "b", "c", "d", "e"]);
    network.call("a", |serf, now, out| serf.user_event(now, "deploy", Bytes::new(), false, out)).unwrap();
    network.until(60 * S, |network| network.members.keys().all(|at| network.user_events(at) == ["deploy"]));
    network.call("e", |serf, now, out| serf.leave(now, out)).unwrap();
    network.until(60 * S, |network| network.members["e"].told.contains(&Output::Left));
    network.members.get_mut("e").unwrap().up = false;
    network.until(60 * S, |network| network.all_think("e", MemberStatus::Left));
    network.run(60 * S);
    for at in ["a", "b", "c", "d"] {
        assert_eq!(network.user_events(at), ["deploy"]);
        assert_eq!(network.told_of(at, MemberEventKind::Leave, "e"), 1);
    }
}

#[test]
fn a_restart_finds_the_pool_by_its_snapshot() {
    let mut network = Network::with(&["a", "b", "c"]);
    network.call("a", |serf, now, out| serf.user_event(now, "deploy", Bytes::new(), false, out)).unwrap();
    network.until(20 * S, |network| network.user_events("c") == ["deploy"]);
    network.run(S);
    let old = network.members.remove("c").unwrap();
    let known = replay(old.snapshot.as_bytes(), false);
    assert_eq!(known.alive.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    network.start(Config::serf("c"), Box::new(Open), Some(known));
    network.until(20 * S, |network| network.members["c"].serf.members().count() == 3);
    network.run(40 * S);
    assert_eq!(network.user_events("c"), [""; 0], "old events are not told again");
    assert!(network.all_think("c", MemberStatus::Alive));
}

#[test]
fn who_left_does_not_rejoin_by_itself() {
    let mut network = Network::with(&["a", "b"]);
    network.call("b", |serf, now, out| serf.leave(now, out)).unwrap();
    network.until(20 * S, |network| network.members["b"].told.contains(&Output::Left));
    let snapshot = &network.members["b"].snapshot;
    assert!(replay(snapshot.as_bytes(), false).alive.is_empty());
    assert!(replay(snapshot.as_bytes(), true).alive.contains_key("a"));
}

#[test]
fn another_datacenter_is_not_let_in() {
    let mut network = Network { now: S, ..Network::default() };
    for (name, datacenter) in [("a", "dc1"), ("b", "dc2")] {
        let tags = [("role", "node"), ("dc", datacenter), ("id", name), ("build", "1.22.0:")];
        let tags = tags.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into();
        let rule = LanAdmission { datacenter: datacenter.into(), node_id: name.into(), node_name: name.into() };
        network.start(Config::consul(name, tags), Box::new(rule), None);
    }
    network.join("b", "a");
    network.until(20 * S, |network| network.members["b"].told.iter().any(|told| matches!(told, Output::Joined { .. })));
    network.run(10 * S);
    assert!(network.members.values().all(|member| member.serf.members().count() == 1));
    let why = network.members["b"].told.iter().find_map(|told| match told {
        Output::Joined { joined, .. } => joined.errors.first().map(|(_, why)| why.clone()),
        _ => None,
    });
    assert!(why.unwrap().contains("Member 'a' part of wrong datacenter 'dc1'"));
}

#[test]
fn stats_have_the_keys_of_consul_info() {
    let network = Network::with(&["a", "b"]);
    let stats = network.members["a"].serf.stats();
    let keys: Vec<_> = stats.keys().copied().collect();
    assert_eq!(
        keys,
        [
            "coordinate_resets",
            "encrypted",
            "event_queue",
            "event_time",
            "failed",
            "health_score",
            "intent_queue",
            "left",
            "member_time",
            "members",
            "query_queue",
            "query_time"
        ]
    );
    assert_eq!((stats["members"].as_str(), stats["encrypted"].as_str()), ("2", "false"));
}

#[test]
fn the_same_seeds_give_the_same_course() {
    let course = || {
        let mut network = Network::with(&["a", "b", "c", "d"]);
        network.run(30 * S);
        network.sent
    };
    assert_eq!(course(), course());
}

#[test]
fn a_setup_that_cannot_be_is_refused() {
    let refused = |config: Config| {
        let memberlist = crate::memberlist::Config::lan("a", address("a"));
        let setup = Setup { config, memberlist, admission: Box::new(Open), keyring: None, seed: 1, snapshot: None };
        Serf::new(setup, S, &mut vec![]).err().unwrap()
    };
    assert_eq!(
        refused(Config { protocol: 1, ..Config::serf("a") }),
        "Protocol version '1' too low. Must be in range: [2, 5]"
    );
    assert_eq!(
        refused(Config { protocol: 6, ..Config::serf("a") }),
        "Protocol version '6' too high. Must be in range: [2, 5]"
    );
    assert_eq!(
        refused(Config { user_event_size_limit: 9217, ..Config::serf("a") }),
        "user event size limit exceeds limit of 9216 bytes"
    );
    let tags = Tags::from([("t".to_owned(), "x".repeat(600))]);
    assert_eq!(refused(Config { tags, ..Config::serf("a") }), "Encoded length of tags exceeds limit of 512 bytes");
}
