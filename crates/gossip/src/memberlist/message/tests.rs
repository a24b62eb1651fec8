//! The bytes of every message, compared with what `hashicorp/memberlist` 0.5.0 writes; what else is read; what is refused.

use proptest::collection::vec;
use proptest::prelude::{any, proptest};

use super::*;

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, last]))
}

fn round_trip(packet: Packet, expect: &[u8]) {
    let bytes = packet.encode();
    assert_eq!(&bytes[..], expect, "{packet:?} is {:?}", bytes.escape_ascii().to_string());
    assert_eq!(Packet::decode(&bytes), Ok(packet));
}

#[test]
fn packets_have_the_bytes_of_the_reference() {
    let ping =
        Ping { seq_no: 7, node: "b".into(), source_addr: address(1), source_port: 8301, source_node: "a".into() };
    round_trip(
        Packet::Ping(ping),
        b"\0\x85\xa4Node\xa1b\xa5SeqNo\x07\xaaSourceAddr\xa4\n\0\0\x01\xaaSourceNode\xa1a\xaaSourcePort\xcd\x20\x6d",
    );
    round_trip(Packet::Ping(Ping { seq_no: 1, ..Ping::default() }), b"\0\x82\xa4Node\xa0\xa5SeqNo\x01");
    let asked = IndirectPing {
        seq_no: 200,
        target: Some(IpAddr::from(Ipv6Addr::LOCALHOST)),
        port: 1,
        node: "c".into(),
        nack: true,
        ..IndirectPing::default()
    };
    round_trip(
        Packet::IndirectPing(asked),
        b"\x01\x85\xa4Nack\xc3\xa4Node\xa1c\xa4Port\x01\xa5SeqNo\xcc\xc8\xa6Target\xb0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
    );
    round_trip(Packet::Ack(Ack { seq_no: 1, payload: Bytes::new() }), b"\x02\x82\xa7Payload\xc0\xa5SeqNo\x01");
    round_trip(
        Packet::Ack(Ack { seq_no: 1, payload: b"\xff".as_slice().into() }),
        b"\x02\x82\xa7Payload\xa1\xff\xa5SeqNo\x01",
    );
    round_trip(Packet::Nack(Nack { seq_no: 70_000 }), b"\x0b\x81\xa5SeqNo\xce\0\x01\x11\x70");
    let suspect = Suspect { incarnation: 3, node: "b".into(), from: "a".into() };
    round_trip(Packet::Suspect(suspect), b"\x03\x83\xa4From\xa1a\xabIncarnation\x03\xa4Node\xa1b");
    let dead = Dead { incarnation: 3, node: "b".into(), from: "b".into() };
    round_trip(Packet::Dead(dead), b"\x05\x83\xa4From\xa1b\xabIncarnation\x03\xa4Node\xa1b");
    let alive = Alive {
        incarnation: 1,
        node: "b".into(),
        addr: address(2),
        port: 80,
        meta: b"\xffm".as_slice().into(),
        vsn: Some([1, 5, 2, 2, 5, 4]),
    };
    round_trip(
        Packet::Alive(alive),
        b"\x04\x86\xa4Addr\xa4\n\0\0\x02\xabIncarnation\x01\xa4Meta\xa2\xffm\xa4Node\xa1b\xa4Port\x50\xa3Vsn\xa6\x01\x05\x02\x02\x05\x04",
    );
    round_trip(Packet::User(b"\xc1any".as_slice().into()), b"\x08\xc1any");
}

#[test]
fn streams_have_the_bytes_of_the_reference() {
    let node = PushedNode {
        name: "a".into(),
        addr: address(1),
        port: 80,
        incarnation: 2,
        state: Some(NodeState::Left),
        vsn: Some([1, 5, 2, 0, 0, 0]),
        ..PushedNode::default()
    };
    let state = PushPull { join: true, nodes: vec![node], user_state: b"state".as_slice().into() };
    let cases: [(Stream, &[u8]); 4] = [
        (
            Stream::PushPull(state),
            b"\x06\x83\xa4Join\xc3\xa5Nodes\x01\xacUserStateLen\x05\
              \x87\xa4Addr\xa4\n\0\0\x01\xabIncarnation\x02\xa4Meta\xc0\xa4Name\xa1a\xa4Port\x50\xa5State\x03\xa3Vsn\xa6\x01\x05\x02\0\0\0\
              state",
        ),
        (Stream::User(b"hi".as_slice().into()), b"\x08\x81\xaaUserMsgLen\x02hi"),
        (Stream::Ack(Ack { seq_no: 9, payload: Bytes::new() }), b"\x02\x82\xa7Payload\xc0\xa5SeqNo\x09"),
        (Stream::Error("no".into()), b"\x0d\x81\xa5Error\xa2no"),
    ];
    for (stream, expect) in cases {
        let bytes = stream.encode();
        assert_eq!(&bytes[..], expect, "{:?}", bytes.escape_ascii().to_string());
        assert_eq!(Stream::decode(&bytes), Ok(stream));
    }
}

#[test]
fn what_others_may_write_is_read() {
    let read = |bytes: &'static [u8]| Packet::decode(&Bytes::from_static(bytes));
    // An unknown field, bin instead of raw, IPv4 in its long form, more versions than six, bytes after the map.
    let alive = read(
        b"\x04\x85\xa4Addr\xc4\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\n\0\0\x01\xa4Node\xa1b\xa3New\x92\x01\x02\xa4Meta\xa0\xa3Vsn\xa7\x01\x05\x02\0\0\0\x09tail",
    );
    let expect = Alive { node: "b".into(), addr: address(1), vsn: Some([1, 5, 2, 0, 0, 0]), ..Alive::default() };
    assert_eq!(alive, Ok(Packet::Alive(expect)));
    assert_eq!(read(b"\x03\x80"), Ok(Packet::Suspect(Suspect::default())));
    assert_eq!(read(b"\x03\xc0"), Ok(Packet::Suspect(Suspect::default())));
    let unknown = b"\x06\x81\xa5Nodes\x01\x82\xa4Name\xa1a\xa5State\x09".as_slice().into();
    let Ok(Stream::PushPull(state)) = Stream::decode(&unknown) else { panic!("refused") };
    assert_eq!(state.nodes[0].state, None);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let packet = |bytes: &[u8]| Packet::decode(&Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(packet(b""), DecodeError::Empty);
    assert_eq!(packet(b"\x07"), DecodeError::Type(7));
    assert_eq!(packet(b"\x06\x80"), DecodeError::Type(6));
    assert_eq!(packet(b"\x04\x81\xa4Addr\xa3abc").to_string(), "cannot decode an alive message: an address of 3 bytes");
    assert_eq!(packet(b"\x04\x81\xa3Vsn\xa3abc").to_string(), "cannot decode an alive message: 3 of 6 versions");
    let long = |length| Suspect { node: "n".repeat(length), ..Suspect::default() };
    assert!(Packet::decode(&Packet::Suspect(long(NAME_MAX)).encode()).is_ok());
    assert_eq!(
        packet(&Packet::Suspect(long(NAME_MAX + 1)).encode()).to_string(),
        "cannot decode a suspect message: a name of 513 bytes is too long"
    );
    let heavy = Alive { meta: vec![0; META_MAX + 1].into(), ..Alive::default() };
    assert_eq!(
        packet(&Packet::Alive(heavy).encode()).to_string(),
        "cannot decode an alive message: metadata of 513 bytes is too long"
    );

    let stream = |bytes: &[u8]| Stream::decode(&Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
    assert_eq!(stream(b"\x06\x81\xa5Nodes\xff"), "the number of members of -1 is out of bounds");
    assert_eq!(
        stream(b"\x06\x81\xa5Nodes\xce\xff\xff\xff\xff"),
        "the number of members of 4294967295 is out of bounds"
    );
    assert_eq!(stream(b"\x06\x81\xa5Nodes\xcd\xff\xff\x80"), "cannot decode a member of a push/pull: EOF");
    assert_eq!(stream(b"\x06\x81\xacUserStateLen\x05abc"), "the state of the layer above ends after 3 of 5 bytes");
    assert_eq!(stream(b"\x08\x81\xaaUserMsgLen\xff"), "a user message of -1 is out of bounds");
    assert_eq!(stream(b"\x08\x81\xaaUserMsgLen\x02a"), "a user message ends after 1 of 2 bytes");
    assert_eq!(stream(b"\x01\x80"), "message type (1) does not belong here");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(kind in 0_u8..16, body in vec(any::<u8>(), 0..200)) {
        let bytes: Bytes = [&[kind], &body[..]].concat().into();
        if let Ok(packet) = Packet::decode(&bytes) {
            assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        }
        if let Ok(stream) = Stream::decode(&bytes) {
            assert_eq!(Stream::decode(&stream.encode()), Ok(stream));
        }
    }
}
