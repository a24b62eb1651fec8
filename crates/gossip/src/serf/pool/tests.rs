//! One member by itself: what it makes of what memberlist and others tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::{any, proptest};

use super::{GossipPace, Outbound, Pool, Standing};
use crate::delegate::{Delegate as _, Node, NodeState};
use crate::io::{self, Level, Now};
use crate::keyring::{Key, Keyring};
use crate::serf::event::{Event, MemberEventKind, QueryEvent};
use crate::serf::lamport::LamportTime;
use crate::serf::member::{Member, MemberStatus, Tags, encode_tags};
use crate::serf::message::{
    EventsAt, FLAG_ACK, FLAG_NO_BROADCAST, Filter, Join, KeyRequest, KeyResponse, Leave, Message, PastEvent, PushPull,
    QueryMessage, QueryResponseMessage, Relay, UserEventMessage,
};
use crate::serf::query::{Purpose, QueryError, QueryParams, RespondError};
use crate::serf::snapshot::{Replayed, SnapshotWrite};
use crate::serf::{Config, Open, Output, Window};

const S: Duration = Duration::from_secs(1);
const T: fn(u64) -> LamportTime = LamportTime;

fn node(name: &str, last: u8, tags: &[(&str, &str)]) -> Node {
    let tags: Tags = tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect();
    Node {
        name: name.into(),
        address: ([10, 0, 0, last], 8301).into(),
        meta: encode_tags(4, &tags),
        state: NodeState::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    }
}

fn pool_with(config: Config, snapshot: Option<&Replayed>) -> Pool {
    let pace = GossipPace { interval: Duration::from_millis(200), retransmit_multiplier: 4 };
    let mut pool = Pool::new(config, Box::new(Open), None, pace, 7, S, snapshot);
    pool.joined(S, &node("us", 1, &[]), &mut vec![]);
    pool.out.clear();
    pool
}

fn pool() -> Pool {
    pool_with(Config::serf("us"), None)
}

fn hear(pool: &mut Pool, message: &Message) -> Vec<Output> {
    pool.message(S, &message.encode(), &mut vec![]);
    std::mem::take(&mut pool.out)
}

/// The events among outputs: members by kind and name, user events and queries by name.
fn events(outputs: &[Output]) -> Vec<String> {
    let shown = |event: &Event| match event {
        Event::Members(event) => {
            let names: Vec<_> = event.members.iter().map(|member| member.name.as_str()).collect();
            format!("{} {}", event.kind.name(), names.join(","))
        }
        Event::User(event) => format!("user {}@{}", event.name, event.time),
        Event::Query(query) => format!("query {}@{}", query.name, query.time),
    };
    outputs
        .iter()
        .filter_map(|output| if let Output::Event(event) = output { Some(shown(event)) } else { None })
        .collect()
}

fn query_event(outputs: &[Output]) -> QueryEvent {
    let found = outputs.iter().find_map(|output| match output {
        Output::Event(Event::Query(query)) => Some(query.clone()),
        _ => None,
    });
    found.unwrap()
}

/// The Serf messages that were sent straight to somebody.
fn sent(outputs: &[Output]) -> Vec<(String, Message)> {
    let mut sent = vec![];
    for output in outputs {
        if let Output::Memberlist(io::Output::Packet { to, messages, .. }) = output {
            for message in messages {
                assert_eq!(message[0], 8);
                sent.push((to.name.clone(), Message::decode(&message[1..]).unwrap()));
            }
        }
    }
    sent
}

fn queued(pool: &mut Pool) -> Vec<Message> {
    pool.broadcasts(3, 60_000).iter().map(|raw| Message::decode(raw).unwrap()).collect()
}

fn logs(outputs: &[Output], at: Level) -> usize {
    outputs
        .iter()
        .filter(|output| matches!(output, Output::Memberlist(io::Output::Log { level, .. }) if *level == at))
        .count()
}

fn join(time: u64, node: &str) -> Message {
    Message::Join(Join { time: T(time), node: node.into() })
}

fn leave(time: u64, node: &str) -> Message {
    Message::Leave(Leave { time: T(time), node: node.into(), prune: false })
}

fn user(time: u64, name: &str) -> UserEventMessage {
    UserEventMessage { time: T(time), name: name.into(), ..UserEventMessage::default() }
}

fn query(time: u64, name: &str) -> QueryMessage {
    QueryMessage {
        time: T(time),
        id: 9,
        addr: Bytes::from_static(&[10, 0, 0, 2]),
        port: 8301,
        source_node: "asker".into(),
        timeout: 5_000_000_000,
        name: name.into(),
        ..QueryMessage::default()
    }
}

#[test]
fn members_come_change_and_go() {
    let mut pool = pool();
    pool.joined(S, &node("a", 2, &[("role", "web")]), &mut vec![]);
    pool.updated(S, &node("a", 2, &[("role", "db")]), &mut vec![]);
    pool.updated(S, &node("stranger", 3, &[]), &mut vec![]);
    assert_eq!(pool.roster.get("a").unwrap().tag("role"), "db");
    pool.left(S, &node("a", 2, &[]), &mut vec![]);
    pool.left(S, &node("a", 2, &[]), &mut vec![]);
    pool.left(S, &node("stranger", 3, &[]), &mut vec![]);
    assert_eq!(events(&pool.out), ["member-join a", "member-update a", "member-failed a"]);
    pool.out.clear();
    let forced = hear(&mut pool, &leave(5, "a"));
    assert_eq!(events(&forced), ["member-leave a"]);
    pool.joined(S, &node("a", 2, &[]), &mut vec![]);
    assert_eq!(pool.roster.get("a").unwrap().status, MemberStatus::Alive);
    // It failed a moment ago, but it was taken for left since: no flap.
    let flaps = |pool: &Pool| {
        let count =
            |output: &Output| matches!(output, Output::Memberlist(io::Output::Count { name: "serf.member.flap", .. }));
        pool.out.iter().filter(|output| count(output)).count()
    };
    assert_eq!(flaps(&pool), 0);
    pool.left(S * 2, &node("a", 2, &[]), &mut vec![]);
    pool.joined(S * 3, &node("a", 2, &[]), &mut vec![]);
    assert_eq!(flaps(&pool), 1);
}

#[test]
fn news_is_passed_on_once() {
    let mut pool = pool();
    pool.joined(S, &node("a", 2, &[]), &mut vec![]);
    for message in
        [join(3, "a"), leave(4, "a"), Message::UserEvent(user(2, "deploy")), Message::Query(query(2, "load"))]
    {
        hear(&mut pool, &message);
        hear(&mut pool, &message);
        assert_eq!(queued(&mut pool), [message]);
        // Drop it from the queue.
        for _ in 0..20 {
            queued(&mut pool);
        }
    }
    hear(&mut pool, &join(2, "a"));
    assert_eq!(queued(&mut pool), []);
    assert_eq!(pool.clock.time(), T(5));
}

#[test]
fn packets_are_filled_with_intents_then_queries_then_events() {
    let mut pool = pool();
    pool.queue(Outbound::Events, Bytes::from(vec![3; 10]), None);
    pool.queue(Outbound::Queries, Bytes::from(vec![4; 10]), None);
    pool.queue(Outbound::Intents, Bytes::from(vec![1; 10]), None);
    let firsts: Vec<_> = pool.broadcasts(2, 24).iter().map(|raw| raw[0]).collect();
    assert_eq!(firsts, [1, 4]);
}

#[test]
fn a_leave_that_is_not_ours_is_refuted() {
    let mut pool = pool();
    hear(&mut pool, &leave(30, "us"));
    assert_eq!(queued(&mut pool), [join(31, "us")]);
    assert_eq!(pool.roster.get("us").unwrap().status, MemberStatus::Alive);
    pool.standing = Standing::Leaving;
    hear(&mut pool, &leave(40, "us"));
    assert_eq!(pool.roster.get("us").unwrap().status, MemberStatus::Leaving);
}

#[test]
fn user_events_are_told_once_and_sent_to_others() {
    let mut pool = pool();
    pool.fire(S, "deploy".into(), Bytes::from_static(b"v1"), false).unwrap();
    assert_eq!(events(&pool.out), ["user deploy@1"]);
    let raw = queued(&mut pool);
    assert!(matches!(&raw[..], [Message::UserEvent(event)] if event.time == T(1) && &event.payload[..] == b"v1"));
    pool.out.clear();
    assert_eq!(events(&hear(&mut pool, &raw[0])), [""; 0]);
    pool.fire(S, "deploy".into(), Bytes::from_static(b"v1"), false).unwrap();
    assert_eq!(events(&pool.out), ["user deploy@2"]);
}

#[test]
fn user_events_that_are_too_long_are_refused_in_the_reference_words() {
    let mut pool = pool();
    let fire =
        |pool: &mut Pool, bytes: usize| pool.fire(S, "e".into(), Bytes::from(vec![0; bytes]), false).unwrap_err();
    assert_eq!(fire(&mut pool, 512), "user event exceeds configured limit of 512 bytes before encoding");
    assert_eq!(fire(&mut pool, 500), "encoded user event exceeds configured limit of 512 bytes after encoding");
    pool.config.user_event_size_limit = 1 << 20;
    assert_eq!(fire(&mut pool, 9216), "user event exceeds sane limit of 9216 bytes before encoding");
    assert_eq!(fire(&mut pool, 9200), "encoded user event exceeds reasonable limit of 9216 bytes after encoding");
    assert_eq!((pool.events.clock.time(), pool.out.len()), (T(1), 0));
}

#[test]
fn a_push_pull_brings_everything() {
    let mut pool = pool();
    for name in ["a", "gone"] {
        pool.joined(S, &node(name, 2, &[]), &mut vec![]);
    }
    pool.left(S, &node("gone", 2, &[]), &mut vec![]);
    pool.out.clear();
    let past = |name: &str| PastEvent { name: name.into(), payload: Bytes::new() };
    let all = PushPull {
        time: T(50),
        status_times: BTreeMap::from([("a".into(), T(7)), ("gone".into(), T(8)), ("later".into(), T(9))]),
        left_members: vec!["gone".into(), "later".into()],
        event_time: T(20),
        events: vec![None, Some(EventsAt { time: T(11), events: vec![past("x"), past("y")] })],
        query_time: T(30),
    };
    let raw = Message::PushPull(all.clone()).encode();
    pool.merge_remote_state(S, &raw, true, &mut vec![]);
    assert_eq!(events(&pool.out), ["member-leave gone", "user x@11", "user y@11"]);
    assert_eq!((pool.clock.time(), pool.events.clock.time(), pool.queries.clock.time()), (T(50), T(20), T(30)));
    assert_eq!(queued(&mut pool), [], "what came by push/pull is not gossiped");
    pool.joined(S, &node("later", 2, &[]), &mut vec![]);
    assert_eq!(pool.roster.get("later").unwrap().status, MemberStatus::Leaving);
    // Once more changes nothing.
    pool.out.clear();
    pool.merge_remote_state(S, &raw, true, &mut vec![]);
    assert_eq!(events(&pool.out), [""; 0]);
    let Ok(Message::PushPull(ours)) = Message::decode(&pool.local_state(S, false)) else {
        panic!("no push/pull");
    };
    assert_eq!(ours.left_members, ["gone"]);
    assert_eq!(ours.status_times["gone"], T(9));
    assert_eq!(ours.events.len(), 1);
    // A newcomer that wants no old events.
    let mut newcomer = pool_with(Config::serf("us"), None);
    newcomer.ignoring_old = 1;
    newcomer.merge_remote_state(S, &raw, true, &mut vec![]);
    assert_eq!(events(&newcomer.out), [""; 0]);
}

#[test]
fn an_asked_query_is_answered_and_relayed() {
    let mut pool = pool();
    for (at, name) in [(2, "asker"), (3, "b"), (4, "c")] {
        pool.joined(S, &node(name, at, &[]), &mut vec![]);
    }
    pool.out.clear();
    let ask = QueryMessage { flags: FLAG_ACK, relay_factor: 2, ..query(5, "load") };
    let outputs = hear(&mut pool, &Message::Query(ask));
    let acks = sent(&outputs);
    let ack = Message::QueryResponse(QueryResponseMessage {
        time: T(5),
        id: 9,
        from: "us".into(),
        flags: FLAG_ACK,
        payload: Bytes::new(),
    });
    assert_eq!(acks[0], ("asker".into(), ack.clone()));
    assert_eq!(acks.len(), 3);
    for (_, relayed) in &acks[1..] {
        let to = "10.0.0.2:8301".parse().unwrap();
        assert_eq!(*relayed, Message::Relay(Relay { to, name: "asker".into(), message: ack.encode() }));
    }
    let asked = query_event(&outputs);
    assert_eq!((asked.name.as_str(), asked.source_node.as_str(), asked.deadline), ("load", "asker", S * 6));
    assert_eq!(pool.respond(S, asked.asked, Bytes::from(vec![0; 1024])), Err(RespondError::TooLong { limit: 1024 }));
    assert_eq!(pool.respond(S, asked.asked, Bytes::from_static(b"0.1")), Ok(()));
    assert!(matches!(&sent(&pool.out)[0].1, Message::QueryResponse(answer) if &answer.payload[..] == b"0.1"));
    assert_eq!(pool.respond(S, asked.asked, Bytes::new()), Err(RespondError::Answered));
    pool.tick(S * 7);
    assert_eq!(pool.respond(S * 7, asked.asked, Bytes::new()), Err(RespondError::TooLate));
}

#[test]
fn a_relay_hands_on_what_it_carries() {
    let mut pool = pool();
    let inner = join(3, "x");
    let relay = |to: &str, name: &str| {
        Message::Relay(Relay { to: to.parse().unwrap(), name: name.into(), message: inner.encode() })
    };
    let outputs = hear(&mut pool, &relay("10.0.0.9:8301", "asker"));
    assert_eq!(sent(&outputs), [("asker".to_owned(), inner.clone())]);
    // To us it comes without a socket.
    assert_eq!(sent(&hear(&mut pool, &relay("10.0.0.1:8301", "us"))), []);
    pool.hear_ourselves(S);
    assert_eq!(queued(&mut pool), [inner]);
}

#[test]
fn filters_decide_whom_a_query_concerns() {
    let config = Config { tags: Tags::from([("role".into(), "web-1".into())]), ..Config::serf("us") };
    let told = |filters: &[Filter]| {
        let mut pool = pool_with(config.clone(), None);
        let filters = filters.iter().map(Filter::encode).collect();
        let outputs = hear(&mut pool, &Message::Query(QueryMessage { filters, ..query(5, "load") }));
        assert_eq!(queued(&mut pool).len(), 1, "passed on in any case");
        events(&outputs).len() == 1
    };
    let nodes = |names: &[&str]| Filter::Nodes(names.iter().map(|name| (*name).to_owned()).collect());
    let tag = |tag: &str, expression: &str| Filter::Tag { tag: tag.into(), expression: expression.into() };
    assert!(told(&[]));
    assert!(told(&[nodes(&["a", "us"])]));
    assert!(!told(&[nodes(&["a"])]));
    assert!(told(&[tag("role", "^web"), tag("absent", "^$")]));
    assert!(!told(&[tag("role", "^db")]));
    assert!(!told(&[tag("role", "(")]));
    assert!(!told(&[nodes(&["us"]), tag("role", "^db")]));
    // A huge expression costs neither time nor memory.
    assert!(!told(&[tag("role", "(a{1000}){1000}")]));
    let mut pool = pool_with(config, None);
    for filter in [&b""[..], &[7, 0x80], &[0, 0xff]] {
        let filters = vec![Bytes::copy_from_slice(filter)];
        let time = pool.queries.clock.time();
        let outputs = hear(&mut pool, &Message::Query(QueryMessage { filters, time, ..query(5, "load") }));
        assert_eq!(events(&outputs), [""; 0]);
    }
}

#[test]
fn a_query_that_is_not_to_be_passed_on_is_not() {
    let mut pool = pool();
    let ask = QueryMessage { flags: FLAG_NO_BROADCAST, ..query(5, "load") };
    assert_eq!(events(&hear(&mut pool, &Message::Query(ask))), ["query load@5"]);
    assert_eq!(queued(&mut pool), []);
}

fn answer(time: u64, id: u32, from: &str, payload: &'static [u8]) -> Message {
    let payload = Bytes::from_static(payload);
    Message::QueryResponse(QueryResponseMessage { time: T(time), id, from: from.into(), flags: 0, payload })
}

#[test]
fn our_query_collects_one_answer_of_each() {
    let mut pool = pool();
    pool.joined(S, &node("a", 2, &[]), &mut vec![]);
    pool.out.clear();
    let params = QueryParams { name: "load".into(), ack: true, ..QueryParams::default() };
    let id = pool.ask(S, params, Purpose::Told).unwrap();
    let Message::Query(raw) = queued(&mut pool).remove(0) else {
        panic!("no query");
    };
    assert_eq!((raw.time, raw.source(), raw.timeout), (T(1), Some("10.0.0.1:8301".parse().unwrap()), 3_200_000_000));
    // Our own acknowledgement and answer.
    let asked = query_event(&pool.out);
    pool.respond(S, asked.asked, Bytes::from_static(b"mine")).unwrap();
    pool.hear_ourselves(S);
    let own: Vec<_> =
        pool.out.iter().filter(|output| matches!(output, Output::Acked { .. } | Output::Responded { .. })).collect();
    assert_eq!(
        own,
        [
            &Output::Acked { query: id, from: "us".into() },
            &Output::Responded { query: id, from: "us".into(), payload: Bytes::from_static(b"mine") }
        ]
    );
    pool.out.clear();
    let told = hear(&mut pool, &answer(1, raw.id, "a", b"0.2"));
    assert!(told.contains(&Output::Responded { query: id, from: "a".into(), payload: Bytes::from_static(b"0.2") }));
    for wrong in [answer(1, raw.id, "a", b"0.3"), answer(1, raw.id + 1, "b", b""), answer(2, raw.id, "b", b"")] {
        let told = hear(&mut pool, &wrong);
        assert!(!told.iter().any(|output| matches!(output, Output::Responded { .. })));
    }
    assert_eq!(pool.query_deadline(), Some(S + Duration::from_millis(3200) + Duration::from_nanos(1)));
    pool.tick(S * 5);
    assert!(pool.out.contains(&Output::QueryDone { query: id }));
    assert_eq!(pool.query_deadline(), None);
}

#[test]
fn a_query_that_cannot_be_asked_is_not() {
    let mut pool = pool();
    let long = QueryParams { name: "n".repeat(1024), ..QueryParams::default() };
    assert_eq!(pool.ask(S, long, Purpose::Told), Err(QueryError::TooLong { limit: 1024 }));
    let short = QueryParams { name: "n".into(), ..QueryParams::default() };
    while pool.ask(S, short.clone(), Purpose::Told).is_ok() {}
    assert_eq!(pool.ask(S, short.clone(), Purpose::Told), Err(QueryError::TooManyOpen));
    pool.config.protocol = 3;
    assert_eq!(pool.ask(S, short, Purpose::Told).unwrap_err().to_string(), "Feature not supported");
}

#[test]
fn the_majority_decides_whose_a_name_is() {
    let vote = |last: u8| {
        let Node { name, address, versions, .. } = node("us", last, &[]);
        let member = Member { name, address, versions, tags: Tags::new(), status: MemberStatus::Alive };
        Message::ConflictResponse(Some((&member).into())).encode()
    };
    let decided = |votes: &[u8]| {
        let mut pool = pool();
        pool.conflict(S, &node("us", 1, &[]), &node("us", 9, &[]), &mut vec![]);
        let Message::Query(raw) = queued(&mut pool).remove(0) else {
            panic!("no query");
        };
        assert_eq!((raw.name.as_str(), &raw.payload[..]), ("_serf_conflict", &b"us"[..]));
        for (at, last) in votes.iter().enumerate() {
            let response = QueryResponseMessage {
                time: raw.time,
                id: raw.id,
                from: at.to_string(),
                flags: 0,
                payload: vote(*last),
            };
            hear(&mut pool, &Message::QueryResponse(response));
        }
        pool.tick(S * 60);
        let lost = pool.out.contains(&Output::NameLost);
        assert_eq!(lost, pool.standing == Standing::Shutdown);
        !lost
    };
    assert!(decided(&[1]));
    assert!(decided(&[1, 9, 1]));
    assert!(!decided(&[1, 9]));
    assert!(!decided(&[9]));
    assert!(!decided(&[]));
    // Consul does not vote.
    let mut pool = pool_with(Config::consul("us", Tags::new()), None);
    pool.conflict(S, &node("us", 1, &[]), &node("us", 9, &[]), &mut vec![]);
    assert_eq!((queued(&mut pool), logs(&pool.out, Level::Error)), (vec![], 1));
}

#[test]
fn conflict_queries_are_answered_unless_they_are_about_us() {
    let mut pool = pool();
    pool.joined(S, &node("a", 2, &[]), &mut vec![]);
    pool.out.clear();
    let mut asked = |name: &'static str, time| {
        let payload = Bytes::from_static(name.as_bytes());
        let outputs = hear(&mut pool, &Message::Query(QueryMessage { payload, ..query(time, "_serf_conflict") }));
        assert_eq!(events(&outputs), [""; 0]);
        sent(&outputs)
            .into_iter()
            .map(|(_, message)| match message {
                Message::QueryResponse(response) => Message::decode(&response.payload).unwrap(),
                other => other,
            })
            .next()
    };
    assert_eq!(asked("us", 1), None);
    assert_eq!(asked("nobody", 2), Some(Message::ConflictResponse(None)));
    assert!(
        matches!(asked("a", 3), Some(Message::ConflictResponse(Some(member))) if member.name == "a" && member.status == 1)
    );
}

#[test]
fn pings_are_acknowledged_and_no_more() {
    let mut pool = pool();
    let outputs = hear(&mut pool, &Message::Query(QueryMessage { flags: FLAG_ACK, ..query(5, "_serf_ping") }));
    assert_eq!((events(&outputs).len(), sent(&outputs).len()), (0, 1));
    let outputs = hear(&mut pool, &Message::Query(query(6, "_serf_other")));
    assert_eq!((events(&outputs).len(), logs(&outputs, Level::Warn)), (0, 1));
}

#[test]
fn without_a_keyring_key_queries_are_refused() {
    let mut pool = pool();
    let response = |outputs: &[Output]| match &sent(outputs)[0].1 {
        Message::QueryResponse(response) => match Message::decode(&response.payload) {
            Ok(Message::KeyResponse(response)) => response.message,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let payload = Bytes::from_static(b"\x07\x81\xa3Key\xa0");
    let outputs = hear(&mut pool, &Message::Query(QueryMessage { payload, ..query(5, "_serf_install-key") }));
    assert_eq!(response(&outputs), "No keyring to modify (encryption not enabled)");
    let outputs = hear(&mut pool, &Message::Query(query(6, "_serf_list-keys")));
    assert_eq!(response(&outputs), "Keyring is empty (encryption not enabled)");
    let outputs = hear(&mut pool, &Message::Query(query(7, "_serf_use-key")));
    assert_eq!(response(&outputs), "");
}

fn with_key(pool: &mut Pool, key: u8) {
    pool.keyring = Some(Keyring::new(Key::new(&[key; 16]).unwrap()));
}

/// What is answered to a key query.
fn key_answer(outputs: &[Output]) -> Option<KeyResponse> {
    sent(outputs).into_iter().find_map(|(_, message)| match message {
        Message::QueryResponse(response) => match Message::decode(&response.payload) {
            Ok(Message::KeyResponse(response)) => Some(response),
            _ => None,
        },
        _ => None,
    })
}

fn key_query(pool: &mut Pool, name: &str, key: &[u8]) -> Vec<Output> {
    let time = pool.queries.clock.time();
    let payload = Message::KeyRequest(KeyRequest { key: Bytes::copy_from_slice(key) }).encode();
    hear(pool, &Message::Query(QueryMessage { payload, time, ..query(0, name) }))
}

/// Keeps a changed keyring, or fails to; and what is answered.
fn kept(pool: &mut Pool, outputs: &[Output], result: Result<(), String>) -> KeyResponse {
    assert_eq!(key_answer(outputs), None, "answered before it was kept");
    let change = outputs.iter().find_map(|output| match output {
        Output::KeyringChanged { change, .. } => Some(*change),
        _ => None,
    });
    pool.keyring_kept(S, change.unwrap(), result);
    key_answer(&std::mem::take(&mut pool.out)).unwrap()
}

#[test]
fn keys_are_changed_and_answered_once_they_are_kept() {
    let mut pool = pool();
    with_key(&mut pool, 1);
    let outputs = key_query(&mut pool, "_serf_install-key", &[2; 16]);
    assert!(kept(&mut pool, &outputs, Ok(())).result);
    let outputs = key_query(&mut pool, "_serf_use-key", &[2; 16]);
    assert!(kept(&mut pool, &outputs, Ok(())).result);
    assert_eq!(pool.keyring.as_ref().unwrap().primary().as_bytes(), [2; 16]);
    let outputs = key_query(&mut pool, "_serf_list-keys", &[]);
    let listed = key_answer(&outputs).unwrap();
    assert_eq!((listed.result, listed.keys.len()), (true, 2));
    assert_eq!(listed.primary_key, "AgICAgICAgICAgICAgICAg==");
    let outputs = key_query(&mut pool, "_serf_remove-key", &[1; 16]);
    let failed = kept(&mut pool, &outputs, Err("disk full".into()));
    assert_eq!((failed.result, failed.message.as_str()), (false, "disk full"));
    assert_eq!(pool.keyring.as_ref().unwrap().keys().len(), 1);
}

#[test]
fn keys_that_make_no_sense_are_refused() {
    let mut pool = pool();
    with_key(&mut pool, 1);
    let refused = |pool: &mut Pool, name: &str, key: &[u8]| key_answer(&key_query(pool, name, key)).unwrap().message;
    assert_eq!(refused(&mut pool, "_serf_install-key", &[2; 5]), "key size must be 16, 24 or 32 bytes");
    let unknown = refused(&mut pool, "_serf_use-key", &[2; 16]);
    assert!(unknown.ends_with("equested key is not in the keyring"), "{unknown}");
    assert_eq!(refused(&mut pool, "_serf_use-key", &[2; 5]), unknown);
    let primary = refused(&mut pool, "_serf_remove-key", &[1; 16]);
    assert!(primary.ends_with("emoving the primary key is not allowed"), "{primary}");
}

#[test]
fn a_list_of_keys_that_does_not_fit_is_cut() {
    let mut pool = pool();
    with_key(&mut pool, 0);
    for key in 1..40 {
        pool.keyring.as_mut().unwrap().install(Key::new(&[key; 32]).unwrap()).unwrap();
    }
    let listed = key_answer(&key_query(&mut pool, "_serf_list-keys", &[])).unwrap();
    assert!(listed.result && listed.keys.len() > 10 && listed.keys.len() < 40);
    let shown = listed.keys.len();
    assert_eq!(listed.message, format!("truncated key list response, showing first {shown} of 40 keys"));
}

#[test]
fn the_gone_are_reaped_and_the_failed_tried_again() {
    let mut config = Config::consul("us", Tags::new());
    config.reconnect_timeout = S * 100;
    config.tombstone_timeout = S * 50;
    let mut pool = pool_with(config, None);
    for (at, name) in [(2, "left"), (3, "failed"), (4, "asks")] {
        pool.joined(S, &node(name, at, &[("rc_tm", if name == "asks" { "20s" } else { "" })]), &mut vec![]);
    }
    hear(&mut pool, &leave(5, "left"));
    for name in ["left", "failed", "asks"] {
        pool.left(S, &node(name, 2, &[]), &mut vec![]);
    }
    pool.out.clear();
    let mut reaped = vec![];
    let mut tried = 0;
    for at in 2..200 {
        pool.tick(S * at);
        tried += usize::from(pool.reconnect.take().is_some());
        reaped.extend(events(&std::mem::take(&mut pool.out)).into_iter().map(|event| (at, event)));
    }
    // Every fifteen seconds from the first.
    let expect = [(31, "member-reap asks"), (61, "member-reap left"), (106, "member-reap failed")];
    assert_eq!(reaped, expect.map(|(at, event)| (at, event.to_owned())));
    // With nobody else alive every time.
    assert_eq!(tried, 3);
}

#[test]
fn a_prune_is_told_as_a_reap() {
    let mut pool = pool();
    pool.joined(S, &node("a", 2, &[]), &mut vec![]);
    pool.left(S, &node("a", 2, &[]), &mut vec![]);
    pool.out.clear();
    let outputs = hear(&mut pool, &Message::Leave(Leave { time: T(5), node: "a".into(), prune: true }));
    assert_eq!(events(&outputs), ["member-leave a", "member-reap a"]);
    assert!(pool.roster.get("a").is_none());
}

#[test]
fn what_happens_is_recorded_in_the_snapshot() {
    let known = Replayed { clock: T(10), event_clock: T(20), query_clock: T(30), ..Replayed::default() };
    let mut pool = Pool::new(
        Config::serf("us"),
        Box::new(Open),
        None,
        GossipPace { interval: S, retransmit_multiplier: 4 },
        1,
        S,
        Some(&known),
    );
    assert_eq!((pool.clock.time(), pool.events.clock.time(), pool.queries.clock.time()), (T(11), T(21), T(31)));
    pool.joined(S, &node("a", 2, &[]), &mut vec![]);
    hear_quietly(&mut pool, &Message::UserEvent(user(19, "old")));
    hear_quietly(&mut pool, &Message::UserEvent(user(25, "new")));
    hear_quietly(&mut pool, &Message::Query(query(35, "_serf_ping")));
    hear_quietly(&mut pool, &join(40, "a"));
    pool.tick(S);
    pool.tick(S * 2);
    pool.tick(S * 3);
    pool.record_leave();
    let written: String = pool
        .out
        .iter()
        .filter_map(|output| match output {
            Output::Snapshot(SnapshotWrite::Append(line) | SnapshotWrite::AppendDurably(line)) => Some(line.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(written, "alive: a 10.0.0.2:8301\nevent-clock: 25\nquery-clock: 35\nclock: 40\nleave\n");
}

fn hear_quietly(pool: &mut Pool, message: &Message) {
    pool.message(S, &message.encode(), &mut vec![]);
}

#[test]
fn events_gather_if_so_configured() {
    let window = Some(Window { coalesce: S * 3, quiescent: S });
    let mut pool = pool_with(Config { coalesce: window, user_coalesce: window, ..Config::serf("us") }, None);
    pool.tick(S * 2);
    pool.out.clear();
    for (at, name) in [(2, "a"), (3, "b")] {
        pool.joined(S * 2, &node(name, at, &[]), &mut vec![]);
    }
    hear_at(&mut pool, S * 2, &Message::UserEvent(UserEventMessage { coalesce: true, ..user(1, "x") }));
    hear_at(&mut pool, S * 2, &Message::UserEvent(UserEventMessage { coalesce: true, ..user(2, "x") }));
    hear_at(&mut pool, S * 2, &Message::UserEvent(user(2, "at once")));
    assert_eq!(events(&pool.out), ["user at once@2"]);
    assert_eq!(pool.deadline(), S * 3);
    pool.out.clear();
    pool.tick(S * 3);
    assert_eq!(events(&pool.out), ["member-join a,b", "user x@2"]);
}

fn hear_at(pool: &mut Pool, now: Now, message: &Message) {
    pool.message(now, &message.encode(), &mut vec![]);
}

#[test]
fn queues_are_bounded() {
    let mut pool = pool();
    for at in 0..20_000u32 {
        pool.queue(Outbound::Events, Bytes::copy_from_slice(&at.to_be_bytes()), None);
        assert!(pool.queued(Outbound::Events) <= 8192);
    }
    pool.tick(S * 100);
    assert_eq!(pool.queued(Outbound::Events), 4096);
    assert_eq!(logs(&pool.out, Level::Warn), 2);
}

#[test]
fn a_flood_of_garbage_changes_nothing_and_fills_no_log() {
    let mut pool = pool();
    let before = pool.local_state(S, false);
    for at in 0..10_000u32 {
        pool.message(S, &[&[u8::try_from(at % 256).unwrap()], &at.to_be_bytes()[..]].concat(), &mut vec![]);
    }
    assert_eq!(pool.local_state(S, false), before);
    assert!(logs(&pool.out, Level::Error) + logs(&pool.out, Level::Warn) <= 10);
}

#[test]
fn the_kinds_of_member_events_have_their_names() {
    let names = [MemberEventKind::Join, MemberEventKind::Reap].map(MemberEventKind::name);
    assert_eq!(names, ["member-join", "member-reap"]);
}

proptest! {
    #[test]
    fn garbage_never_panics_and_clocks_never_run_backwards(
        messages in proptest::collection::vec((0..11u8, proptest::collection::vec(any::<u8>(), 0..60)), 0..20),
        times in proptest::collection::vec((0..5u8, any::<u64>()), 0..20),
    ) {
        let mut pool = pool();
        let mut clocks = (T(0), T(0), T(0));
        let mut check = |pool: &Pool| {
            let now = (pool.clock.time(), pool.events.clock.time(), pool.queries.clock.time());
            assert!(now.0 >= clocks.0 && now.1 >= clocks.1 && now.2 >= clocks.2);
            clocks = now;
        };
        for (kind, mut body) in messages {
            body.insert(0, kind);
            pool.message(S, &body, &mut vec![]);
            pool.merge_remote_state(S, &body, true, &mut vec![]);
            check(&pool);
        }
        for (kind, time) in times {
            let message = match kind {
                0 => join(time, "us"),
                1 => leave(time, "us"),
                2 => Message::UserEvent(user(time, "e")),
                3 => Message::Query(query(time, "q")),
                _ => Message::PushPull(PushPull { time: T(time), event_time: T(time), query_time: T(time), ..PushPull::default() }),
            };
            let raw = message.encode();
            pool.message(S, &raw, &mut vec![]);
            pool.merge_remote_state(S, &raw, false, &mut vec![]);
            pool.tick(S);
            check(&pool);
        }
    }
}
