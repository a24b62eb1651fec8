//! Golden bytes of every message, recorded from `hashicorp/serf` 0.10.1 (go-msgpack 0.5), and garbage.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::{any, proptest};

use super::{
    ConflictMember, DecodeError, EventsAt, FLAG_ACK, Filter, Join, KeyRequest, KeyResponse, Kind, Leave, Message,
    PastEvent, PushPull, QueryMessage, QueryResponseMessage, Relay, UserEventMessage,
};
use crate::serf::lamport::LamportTime;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The message has these bytes, and these bytes are the message.
fn golden(message: Message, expect: &str) {
    assert_eq!(hex(&message.encode()), expect);
    assert_eq!(Message::decode(&bytes(expect)), Ok(message));
}

const T: fn(u64) -> LamportTime = LamportTime;

fn b(text: &[u8]) -> Bytes {
    Bytes::copy_from_slice(text)
}

#[test]
fn intents() {
    golden(Message::Join(Join { time: T(300), node: "n1".into() }), "0182a54c54696d65cd012ca44e6f6465a26e31");
    golden(
        Message::Leave(Leave { time: T(7), node: "node-two".into(), prune: true }),
        "0083a54c54696d6507a44e6f6465a86e6f64652d74776fa55072756e65c3",
    );
    golden(
        Message::Leave(Leave { time: T(7), node: "node-two".into(), prune: false }),
        "0083a54c54696d6507a44e6f6465a86e6f64652d74776fa55072756e65c2",
    );
}

#[test]
fn push_pull() {
    let empty = PushPull {
        time: T(1),
        status_times: BTreeMap::new(),
        left_members: vec![],
        event_time: T(1),
        events: vec![None, None, None],
        query_time: T(1),
    };
    golden(
        Message::PushPull(empty),
        "0286aa4576656e744c54696d6501a64576656e747393c0c0c0a54c54696d6501ab4c6566744d656d6265727390aa51756572794c54696d6501ac5374617475734c54696d657380",
    );
    let past = |name: &str, payload: &[u8]| PastEvent { name: name.into(), payload: b(payload) };
    let full = PushPull {
        time: T(70000),
        status_times: BTreeMap::from([("a".into(), T(5))]),
        left_members: vec!["b".into(), "c".into()],
        event_time: T(9),
        events: vec![None, Some(EventsAt { time: T(8), events: vec![past("deploy", b"v1"), past("x", b"")] }), None],
        query_time: T(3),
    };
    golden(
        Message::PushPull(full),
        "0286aa4576656e744c54696d6509a64576656e747393c082a64576656e74739282a44e616d65a66465706c6f79a75061796c6f6164a2763182a44e616d65a178a75061796c6f6164c0a54c54696d6508c0a54c54696d65ce00011170ab4c6566744d656d6265727392a162a163aa51756572794c54696d6503ac5374617475734c54696d657381a16105",
    );
}

#[test]
fn user_events() {
    let event = |payload: &[u8], coalesce| {
        Message::UserEvent(UserEventMessage { time: T(42), name: "deploy".into(), payload: b(payload), coalesce })
    };
    golden(event(b"\x00\xff\x01", true), "0384a24343c3a54c54696d652aa44e616d65a66465706c6f79a75061796c6f6164a300ff01");
    golden(event(b"", false), "0384a24343c2a54c54696d652aa44e616d65a66465706c6f79a75061796c6f6164c0");
    // An empty payload that is not nil says the same.
    let empty = Message::decode(&bytes("0384a24343c2a54c54696d652aa44e616d65a66465706c6f79a75061796c6f6164a0"));
    assert_eq!(empty, Ok(event(b"", false)));
}

#[test]
fn queries() {
    let filters =
        [Filter::Nodes(vec!["a".into(), "b".into()]), Filter::Tag { tag: "role".into(), expression: "^web".into() }];
    let query = QueryMessage {
        time: T(5),
        id: 0x7fff_ffff,
        addr: b(&[10, 1, 2, 3]),
        port: 8301,
        source_node: "src".into(),
        filters: filters.iter().map(Filter::encode).collect(),
        flags: FLAG_ACK,
        relay_factor: 2,
        timeout: 15_000_000_000,
        name: "load".into(),
        payload: b(b"hi"),
    };
    assert_eq!(query.source(), Some("10.1.2.3:8301".parse().unwrap()));
    for filter in filters {
        assert_eq!(Filter::decode(&filter.encode()), Ok(filter));
    }
    golden(
        Message::Query(query),
        "048ba441646472a40a010203a746696c7465727392a60092a161a162b50182a445787072a45e776562a3546167a4726f6c65a5466c61677301a24944ce7fffffffa54c54696d6505a44e616d65a46c6f6164a75061796c6f6164a26869a4506f7274cd206dab52656c6179466163746f7202aa536f757263654e6f6465a3737263a754696d656f7574cf000000037e11d600",
    );
    let bare = QueryMessage {
        time: T(5),
        id: 1,
        addr: b(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        port: 8301,
        source_node: "src".into(),
        timeout: 1_000_000_000,
        name: "_serf_ping".into(),
        ..QueryMessage::default()
    };
    assert_eq!(bare.source(), Some("[::1]:8301".parse().unwrap()));
    golden(
        Message::Query(bare),
        "048ba441646472b000000000000000000000000000000001a746696c74657273c0a5466c61677300a2494401a54c54696d6505a44e616d65aa5f736572665f70696e67a75061796c6f6164c0a4506f7274cd206dab52656c6179466163746f7200aa536f757263654e6f6465a3737263a754696d656f7574ce3b9aca00",
    );
}

#[test]
fn filters() {
    let nodes = Filter::Nodes(vec!["a".into(), "b".into()]);
    assert_eq!(hex(&nodes.encode()), "0092a161a162");
    let tag = Filter::Tag { tag: "role".into(), expression: "^web".into() };
    assert_eq!(hex(&tag.encode()), "0182a445787072a45e776562a3546167a4726f6c65");
    assert_eq!(Filter::decode(&[]), Err(DecodeError::Empty));
    assert_eq!(Filter::decode(&[2]), Err(DecodeError::UnknownKind(2)));
}

#[test]
fn responses() {
    let ok = QueryResponseMessage { time: T(5), id: 77, from: "n1".into(), flags: 0, payload: b(b"ok") };
    let ack = QueryResponseMessage { payload: Bytes::new(), flags: FLAG_ACK, ..ok.clone() };
    golden(
        Message::QueryResponse(ok.clone()),
        "0585a5466c61677300a446726f6da26e31a249444da54c54696d6505a75061796c6f6164a26f6b",
    );
    golden(Message::QueryResponse(ack), "0585a5466c61677301a446726f6da26e31a249444da54c54696d6505a75061796c6f6164c0");
    golden(
        Message::Relay(Relay {
            to: "10.1.2.3:8301".parse().unwrap(),
            name: "src".into(),
            message: Message::QueryResponse(ok).encode(),
        }),
        "0982a8446573744164647283a24950a40a010203a4506f7274cd206da45a6f6e65a0a8446573744e616d65a37372630585a5466c61677300a446726f6da26e31a249444da54c54696d6505a75061796c6f6164a26f6b",
    );
}

#[test]
fn conflicts() {
    let member = ConflictMember {
        name: "n1".into(),
        addr: b(&[10, 1, 2, 3]),
        port: 8301,
        tags: BTreeMap::from([("role".into(), "x".into())]),
        status: 1,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    };
    golden(
        Message::ConflictResponse(Some(member)),
        "068ba441646472a40a010203ab44656c656761746543757204ab44656c65676174654d617805ab44656c65676174654d696e02a44e616d65a26e31a4506f7274cd206dab50726f746f636f6c43757202ab50726f746f636f6c4d617805ab50726f746f636f6c4d696e01a653746174757301a45461677381a4726f6c65a178",
    );
    golden(Message::ConflictResponse(None), "06c0");
}

#[test]
fn keys() {
    golden(
        Message::KeyRequest(KeyRequest { key: b(b"0123456789abcdef") }),
        "0781a34b6579b030313233343536373839616263646566",
    );
    golden(Message::KeyRequest(KeyRequest { key: Bytes::new() }), "0781a34b6579a0");
    golden(
        Message::KeyResponse(KeyResponse {
            result: true,
            message: String::new(),
            keys: vec!["AAAA".into(), "BBBB".into()],
            primary_key: "AAAA".into(),
        }),
        "0884a44b65797392a441414141a442424242a74d657373616765a0aa5072696d6172794b6579a441414141a6526573756c74c3",
    );
    golden(
        Message::KeyResponse(KeyResponse { message: "no".into(), ..KeyResponse::default() }),
        "0884a44b657973c0a74d657373616765a26e6faa5072696d6172794b6579a0a6526573756c74c2",
    );
}

#[test]
fn what_is_no_message_is_refused() {
    assert_eq!(Message::decode(&[]), Err(DecodeError::Empty));
    assert_eq!(Message::decode(&[10, 0x80]), Err(DecodeError::UnknownKind(10)));
    assert!(matches!(Message::decode(&[1]), Err(DecodeError::Malformed(Kind::Join, _))));
    // Nil and an empty map are messages of nothing.
    assert_eq!(Message::decode(&[1, 0xc0]), Ok(Message::Join(Join::default())));
    assert_eq!(Message::decode(&[1, 0x80]), Ok(Message::Join(Join::default())));
}

#[test]
fn times_that_no_pool_reaches_are_refused() {
    for time in [u64::MAX, 1 << 62] {
        let join = Message::Join(Join { time: T(time), node: "n".into() });
        assert!(matches!(Message::decode(&join.encode()), Err(DecodeError::Malformed(Kind::Join, _))));
        let all = PushPull { status_times: BTreeMap::from([("n".into(), T(time))]), ..PushPull::default() };
        assert!(Message::decode(&Message::PushPull(all).encode()).is_err());
        let events = vec![Some(EventsAt { time: T(time), events: vec![] })];
        let all = PushPull { events, ..PushPull::default() };
        assert!(Message::decode(&Message::PushPull(all).encode()).is_err());
    }
}

#[test]
fn keys_cannot_be_printed() {
    let request = KeyRequest { key: b(b"0123456789abcdef") };
    assert_eq!(format!("{request:?}"), "KeyRequest { .. }");
    let response = KeyResponse { keys: vec!["c2VjcmV0".into()], primary_key: "c2VjcmV0".into(), ..Default::default() };
    assert!(!format!("{response:?}").contains("c2V"));
}

proptest! {
    #[test]
    fn garbage_never_panics(kind in 0..12u8, mut garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
        garbage.insert(0, kind);
        let _ = Message::decode(&garbage);
        let _ = Filter::decode(&garbage);
    }

    #[test]
    fn a_flipped_byte_never_panics(which in 0..GOLDEN.len(), at in any::<u16>(), to in any::<u8>()) {
        let mut message = bytes(GOLDEN[which]);
        let at = usize::from(at) % message.len();
        message[at] = to;
        if let Ok(read) = Message::decode(&message) {
            assert_eq!(Message::decode(&read.encode()), Ok(read));
        }
        let _ = Message::decode(&message[..at]);
    }
}

const GOLDEN: [&str; 4] = [
    "0286aa4576656e744c54696d6509a64576656e747393c082a64576656e74739282a44e616d65a66465706c6f79a75061796c6f6164a2763182a44e616d65a178a75061796c6f6164c0a54c54696d6508c0a54c54696d65ce00011170ab4c6566744d656d6265727392a162a163aa51756572794c54696d6503ac5374617475734c54696d657381a16105",
    "048ba441646472a40a010203a746696c7465727392a60092a161a162b50182a445787072a45e776562a3546167a4726f6c65a5466c61677301a24944ce7fffffffa54c54696d6505a44e616d65a46c6f6164a75061796c6f6164a26869a4506f7274cd206dab52656c6179466163746f7202aa536f757263654e6f6465a3737263a754696d656f7574cf000000037e11d600",
    "068ba441646472a40a010203ab44656c656761746543757204ab44656c65676174654d617805ab44656c65676174654d696e02a44e616d65a26e31a4506f7274cd206dab50726f746f636f6c43757202ab50726f746f636f6c4d617805ab50726f746f636f6c4d696e01a653746174757301a45461677381a4726f6c65a178",
    "0982a8446573744164647283a24950a40a010203a4506f7274cd206da45a6f6e65a0a8446573744e616d65a37372630585a5466c61677300a446726f6da26e31a249444da54c54696d6505a75061796c6f6164a26f6b",
];
