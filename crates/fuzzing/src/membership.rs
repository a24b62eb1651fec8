//! What gossip takes from anybody: packets, streams, keyring files, snapshots, and a whole member that is fed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use gossip::delegate::NodeState;
use gossip::envelope::{Envelope, INFLATED_MAX, Opened, PARTS_MAX};
use gossip::io::{self, ExchangeId, Input, Now, StreamId};
use gossip::keyring::{KEYS_MAX, Key, Keyring};
use gossip::memberlist;
use gossip::memberlist::message::{
    Ack, Alive, Dead, IndirectPing, Nack, Packet, Ping, PushPull, PushedNode, Stream, Suspect, user,
};
use gossip::serf::lamport::LamportTime;
use gossip::serf::message::{self as serf_message, Message};
use gossip::serf::snapshot::{Recorder, replay};
use gossip::serf::{Config, Event, Open, Output, Serf, Setup};
use gossip::stream::StreamReader;

const KEY: [u8; 16] = *b"sixteen byte key";
const NONCE: [u8; 12] = [7; 12];
/// The member that is fed.
const OURSELVES: &str = "ourselves";
/// Framing around messages that are packed again: well beyond what compounds of [`PARTS_MAX`] parts take.
const FRAMING: usize = 8 * 1024;
/// No alive message that names somebody is shorter: its type, its map, and the key of the name.
const ALIVE_MIN: usize = 8;
/// How often a member may want to be asked again at once.
const TURNS_MAX: usize = 1000;

/// A plain pool, one in which all is encrypted, and one on its way there.
fn envelopes() -> &'static [Envelope; 3] {
    static ENVELOPES: OnceLock<[Envelope; 3]> = OnceLock::new();
    ENVELOPES.get_or_init(|| {
        let keyring = Some(Arc::new(Keyring::new(key())));
        let plain = Envelope { compress: false, ..Envelope::default() };
        let sealed = Envelope { keyring, ..plain.clone() };
        [plain, sealed.clone(), Envelope { verify_incoming: false, compress: true, ..sealed }]
    })
}

fn key() -> Key {
    Key::new(&KEY).expect("16 bytes are a key")
}

/// A packet as it comes, and as what somebody who has the key encrypted.
pub fn gossip_packets(data: &[u8]) {
    for envelope in envelopes() {
        if let Ok(opened) = envelope.open_packet(data) {
            packet_parts(envelope, data.len(), &opened);
        }
    }
    // Nobody guesses a sum of AES-GCM: so that what lies behind it is reached, it is made here.
    let [_, sealed, _] = envelopes();
    let Ok(packet) = sealed.seal_packet(&[Bytes::copy_from_slice(data)], false, NONCE) else { return };
    if let Ok(opened) = sealed.open_packet(&packet) {
        packet_parts(sealed, data.len(), &opened);
    }
}

/// Holds what a packet of so many bytes held to its bounds, reads it, and packs it again.
fn packet_parts(envelope: &Envelope, length: usize, opened: &Opened) {
    let bytes: usize = opened.messages.iter().map(Bytes::len).sum();
    assert!(opened.messages.len() <= PARTS_MAX, "{} messages", opened.messages.len());
    assert!(bytes <= INFLATED_MAX + length, "{bytes} bytes of {length}");
    for message in &opened.messages {
        let Ok(packet) = Packet::decode(message) else { continue };
        let encoded = packet.encode();
        assert_eq!(Packet::decode(&encoded).as_ref(), Ok(&packet));
        if let Packet::User(body) = packet {
            layer_above(&body);
        }
    }
    if bytes + FRAMING > INFLATED_MAX {
        return;
    }
    for checksum in [false, true] {
        let Ok(packet) = envelope.seal_packet(&opened.messages, checksum, NONCE) else { continue };
        let again = envelope.open_packet(&packet).expect("what we packed can be opened");
        assert_eq!(again, Opened { messages: opened.messages.clone(), refused: None });
    }
}

/// A message of Serf, which may hold others.
fn layer_above(body: &[u8]) {
    let Ok(message) = Message::decode(body) else { return };
    let encoded = message.encode();
    let again = Message::decode(&encoded).expect("what we wrote can be read");
    assert_eq!(again.encode(), encoded, "decoding lost something of {message:?}");
}

/// A stream in pieces: its first byte says how long they are.
pub fn gossip_streams(data: &[u8]) {
    let Some((&piece, data)) = data.split_first() else { return };
    for envelope in envelopes() {
        stream_pieces(envelope, data, piece);
        stream_pieces(envelope, &envelope.seal_stream(data, NONCE), piece);
    }
}

fn stream_pieces(envelope: &Envelope, data: &[u8], piece: u8) {
    let whole = StreamReader::incoming(envelope.clone()).push(data);
    let mut reader = StreamReader::incoming(envelope.clone());
    let mut found = Ok(None);
    for (at, part) in data.chunks(usize::from(piece).max(1)).enumerate() {
        found = reader.push(part);
        assert!(reader.buffered() <= data.len());
        if found != Ok(None) {
            assert_eq!(reader.buffered(), 0, "what is over keeps nothing (piece {at})");
            assert_eq!(reader.push(part), Ok(None), "what is over stays so");
            break;
        }
    }
    assert_eq!(found, whole, "pieces of {piece} and the whole differ");
    let Ok(Some(message)) = whole else { return };
    // Two readers: of a stream that we were sent, and of an answer.
    assert_eq!(
        StreamReader::reply(envelope.clone()).push(&envelope.seal_reply(&message, NONCE)),
        Ok(Some(message.clone()))
    );
    let Ok(stream) = Stream::decode(&message) else { return };
    let encoded = stream.encode();
    assert_eq!(Stream::decode(&encoded).as_ref(), Ok(&stream));
    match stream {
        Stream::User(body) => layer_above(&body),
        Stream::PushPull(state) => layer_above(&state.user_state),
        _ => {}
    }
}

/// A keyring file, and a key as users write it.
pub fn gossip_keyrings(data: &[u8]) {
    if let Ok(ring) = Keyring::from_file(data) {
        assert!((1..=KEYS_MAX).contains(&ring.keys().len()), "{} keys", ring.keys().len());
        for file in [ring.to_file(), ring.to_first_file()] {
            assert_eq!(Keyring::from_file(file.as_bytes()).as_ref(), Ok(&ring));
        }
        let mut turned = ring.clone();
        for key in ring.keys() {
            turned.use_key(key).expect("it is in the ring");
            assert_eq!(turned.primary(), key);
            assert!(turned.remove(key).is_err(), "the primary stays");
        }
        assert_eq!(turned.keys().len(), ring.keys().len());
    }
    if let Ok(key) = Key::from_base64(&String::from_utf8_lossy(data)) {
        assert!(matches!(key.as_bytes().len(), 16 | 24 | 32));
        assert_eq!(Key::from_base64(&key.to_base64()), Ok(key));
    }
}

/// A snapshot of an earlier life, or whatever stands in its file.
pub fn gossip_snapshots(data: &[u8]) {
    for rejoin in [false, true] {
        let replayed = replay(data, rejoin);
        assert_eq!(replayed.bytes, data.len());
        assert!(replayed.alive.len() + replayed.unread <= data.iter().filter(|byte| **byte == b'\n').count());
        let text = Recorder::new(&replayed, rejoin).text();
        let mut again = replay(text.as_bytes(), rejoin);
        assert_eq!(again.unread, 0, "we cannot read what we wrote: {text:?}");
        // A recorder begins a life in which nobody left yet.
        (again.bytes, again.left) = (replayed.bytes, replayed.left);
        assert_eq!(again, gossip::serf::snapshot::Replayed { unread: 0, ..replayed });
    }
}

/// A whole member, fed by a script: of each step a byte that says what, two that say how long, and so many bytes.
pub fn gossip_machines(data: &[u8]) {
    let mut fed = Fed::new();
    let mut rest = data;
    while let [what, high, low, tail @ ..] = rest {
        let (body, tail) = tail.split_at(tail.len().min(usize::from(u16::from_be_bytes([*high, *low]))));
        rest = tail;
        fed.step(*what, &Bytes::copy_from_slice(body));
        let members = fed.serf.members().count();
        assert!(members <= 1 + data.len() / ALIVE_MIN, "{members} members of {} bytes", data.len());
        assert!(fed.serf.local_member().is_some(), "a member forgot itself");
    }
    // Suspicions run out, queries end, joins fail.
    for _ in 0..20 {
        fed.wait(Duration::from_secs(1));
    }
}

struct Fed {
    serf: Serf,
    now: Now,
    streams: u64,
    /// What it waits for.
    exchanges: VecDeque<ExchangeId>,
}

impl Fed {
    fn new() -> Fed {
        let setup = Setup {
            config: Config::consul(OURSELVES, [("role".to_owned(), "node".to_owned())].into()),
            memberlist: memberlist::Config::lan(OURSELVES, address(1)),
            admission: Box::new(Open),
            keyring: Some(Keyring::new(key())),
            seed: 7,
            snapshot: None,
        };
        let mut out = Vec::new();
        let serf = Serf::new(setup, Duration::ZERO, &mut out).expect("the setup is sound");
        let mut fed = Fed { serf, now: Duration::ZERO, streams: 0, exchanges: VecDeque::new() };
        fed.carry_out(out);
        fed
    }

    fn step(&mut self, what: u8, body: &Bytes) {
        let from = address(2);
        match what % 6 {
            0 => self.input(Input::Packet { from, messages: vec![body.clone()] }),
            1 => {
                self.streams += 1;
                self.input(Input::Stream { stream: StreamId(self.streams), from, message: body.clone() });
            }
            2 => self.input(Input::Packet { from, messages: vec![user(body)] }),
            3 => {
                if let Some(exchange) = self.exchanges.pop_front() {
                    self.input(Input::Exchanged { exchange, result: Ok(Some(body.clone())) });
                }
            }
            4 => {
                for envelope in envelopes() {
                    if let Ok(opened) = envelope.open_packet(body) {
                        self.input(Input::Packet { from, messages: opened.messages });
                    }
                }
            }
            _ => self.wait(Duration::from_millis(200 * (1 + body.len() as u64))),
        }
    }

    /// Lets time pass, and ticks whenever it wants to be ticked.
    fn wait(&mut self, span: Duration) {
        let until = self.now + span.min(Duration::from_secs(5));
        let mut turns = 0;
        while self.serf.deadline() <= until {
            let due = self.serf.deadline();
            turns = if due > self.now { 0 } else { turns + 1 };
            assert!(turns <= TURNS_MAX, "it wants to be asked without end at {:?}", self.now);
            self.now = self.now.max(due);
            self.input(Input::Tick);
        }
        self.now = until;
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.serf.handle(self.now, input, &mut out);
        self.carry_out(out);
    }

    /// What sockets and the agent would do.
    fn carry_out(&mut self, out: Vec<Output>) {
        let mut due = VecDeque::from(out);
        while let Some(output) = due.pop_front() {
            let mut more = Vec::new();
            match output {
                Output::Memberlist(io::Output::Exchange { exchange, .. }) => self.exchanges.push_back(exchange),
                Output::Memberlist(io::Output::Packet { messages, .. }) => {
                    assert!(!messages.is_empty(), "a packet of nothing");
                    assert!(messages.iter().all(|message| !message.is_empty()), "a message without its type");
                }
                Output::KeyringChanged { change, .. } => self.serf.keyring_kept(self.now, change, Ok(()), &mut more),
                Output::Event(Event::Query(query)) => {
                    // It may be too late by now, or the answer too long.
                    let _ = self.serf.respond(self.now, query.asked, query.payload, &mut more);
                }
                _ => {}
            }
            due.extend(more);
        }
    }
}

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 8301).into()
}

/// Sound inputs for the targets of this file: name of the target, name of the seed, bytes.
#[must_use]
pub fn gossip_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let packets = packets();
    let above = messages();
    let state = Stream::PushPull(push_pull(&above)).encode();
    let [plain, sealed, _] = envelopes();
    let squeezed = Envelope { compress: true, ..plain.clone() };
    let mut seeds = Vec::new();
    let mut script = Vec::new();
    let mut step = |what: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).expect("seeds are short");
        script.push(what);
        script.extend_from_slice(&length.to_be_bytes());
        script.extend_from_slice(body);
    };
    step(1, &state);
    for (name, packet) in &packets {
        step(0, packet);
        step(5, b"");
        seeds.push(("gossip_packets", *name, packet.to_vec()));
    }
    for (name, message) in &above {
        step(2, message);
        seeds.push(("gossip_packets", *name, user(message).to_vec()));
    }
    step(5, b"waiting");
    step(3, &Stream::Ack(Ack { seq_no: 1, payload: Bytes::new() }).encode());
    step(3, &state);
    let all: Vec<Bytes> = packets.iter().map(|(_, packet)| packet.clone()).collect();
    for (name, envelope, checksum) in
        [("compound", plain, true), ("compressed", &squeezed, false), ("encrypted", sealed, false)]
    {
        let packet = envelope.seal_packet(&all, checksum, NONCE).expect("it fits");
        step(4, &packet);
        seeds.push(("gossip_packets", name, packet.to_vec()));
    }
    seeds.push(("gossip_machines", "script", script));
    let streams = [
        ("push_pull", state),
        ("ping", Stream::Ping(Ping { seq_no: 3, node: OURSELVES.to_owned(), ..Ping::default() }).encode()),
        ("user", Stream::User(above[0].1.clone()).encode()),
        ("error", Stream::Error("no".to_owned()).encode()),
    ];
    for (name, message) in &streams {
        seeds.push(("gossip_streams", *name, [&[5], &message[..]].concat()));
    }
    seeds.push(("gossip_streams", "compressed", [&[9], &squeezed.seal_stream(&streams[0].1, NONCE)[..]].concat()));
    seeds.push(("gossip_streams", "encrypted", [&[200], &sealed.seal_stream(&streams[0].1, NONCE)[..]].concat()));
    let mut ring = Keyring::new(key());
    ring.install(Key::new(&[9; 32]).expect("32 bytes are a key")).expect("there is room");
    seeds.push(("gossip_keyrings", "file", ring.to_file().into_bytes()));
    seeds.push(("gossip_keyrings", "first_file", ring.to_first_file().into_bytes()));
    seeds.push(("gossip_keyrings", "key", key().to_base64().into_bytes()));
    let snapshot = "alive: node-1 10.0.0.1:8301\nalive: with space [fe80::1]:8301\nclock: 17\nevent-clock: 4\n\
        coordinate: {\"Vec\":[]}\n# a comment\nnot-alive: node-1\nquery-clock: 2\n";
    seeds.push(("gossip_snapshots", "kept", snapshot.as_bytes().to_vec()));
    seeds.push(("gossip_snapshots", "left", format!("{snapshot}leave\nalive: torn 10.0").into_bytes()));
    seeds
}

fn packets() -> Vec<(&'static str, Bytes)> {
    let (node, from) = ("beta".to_owned(), OURSELVES.to_owned());
    let source_addr = Some(address(2).ip());
    let alive = |node: &str, incarnation| {
        let (addr, vsn) = (source_addr, Some([1, 5, 2, 2, 5, 4]));
        let meta = Bytes::from_static(b"\xff\x81\xa4role\xa4node");
        Packet::Alive(Alive { incarnation, node: node.to_owned(), addr, port: 8301, meta, vsn })
    };
    let ping = Ping { seq_no: 7, node: from.clone(), source_addr, source_port: 8301, source_node: node.clone() };
    let indirect = IndirectPing {
        seq_no: 8,
        target: Some(address(3).ip()),
        port: 8301,
        node: "gamma".to_owned(),
        nack: true,
        source_addr,
        source_port: 8301,
        source_node: node.clone(),
    };
    [
        ("alive", alive("beta", 1)),
        ("alive_other", alive("gamma", 2)),
        ("alive_ourselves", alive(OURSELVES, 9)),
        ("ping", Packet::Ping(ping)),
        ("indirect_ping", Packet::IndirectPing(indirect)),
        ("ack", Packet::Ack(Ack { seq_no: 1, payload: Bytes::from_static(b"\x01\x80") })),
        ("nack", Packet::Nack(Nack { seq_no: 1 })),
        ("suspect", Packet::Suspect(Suspect { incarnation: 1, node: node.clone(), from: "gamma".to_owned() })),
        ("suspect_ourselves", Packet::Suspect(Suspect { incarnation: 9, node: from.clone(), from: node.clone() })),
        ("dead", Packet::Dead(Dead { incarnation: 2, node: "gamma".to_owned(), from })),
        ("left", Packet::Dead(Dead { incarnation: 1, node: node.clone(), from: node })),
    ]
    .map(|(name, packet)| (name, packet.encode()))
    .into()
}

fn messages() -> Vec<(&'static str, Bytes)> {
    let node = "beta".to_owned();
    let query = |name: &str, payload: Bytes| {
        Message::Query(serf_message::QueryMessage {
            time: LamportTime(4),
            id: 5,
            addr: serf_message::ip_to_bytes(address(2).ip()),
            port: 8301,
            source_node: "beta".to_owned(),
            flags: serf_message::FLAG_ACK,
            timeout: 5_000_000_000,
            name: name.to_owned(),
            payload,
            ..serf_message::QueryMessage::default()
        })
    };
    let user_event = serf_message::UserEventMessage {
        time: LamportTime(3),
        name: "deploy".to_owned(),
        payload: Bytes::from_static(b"7f3a"),
        coalesce: true,
    };
    let key = Message::KeyRequest(serf_message::KeyRequest { key: Bytes::from_static(&[9; 32]) }).encode();
    let response = serf_message::QueryResponseMessage { from: node.clone(), id: 5, ..Default::default() };
    [
        ("serf_join", Message::Join(serf_message::Join { time: LamportTime(2), node: node.clone() })),
        ("serf_leave", Message::Leave(serf_message::Leave { time: LamportTime(6), node, prune: true })),
        ("serf_user_event", Message::UserEvent(user_event)),
        ("serf_query", query("uptime", Bytes::new())),
        ("serf_ping", query("_serf_ping", Bytes::new())),
        ("serf_conflict", query("_serf_conflict", Bytes::from_static(b"beta"))),
        ("serf_list_keys", query("_serf_list-keys", Bytes::new())),
        ("serf_install_key", query("_serf_install-key", key)),
        ("serf_response", Message::QueryResponse(response)),
    ]
    .map(|(name, message)| (name, message.encode()))
    .into()
}

fn push_pull(above: &[(&'static str, Bytes)]) -> PushPull {
    let node = |name: &str, last, state| PushedNode {
        name: name.to_owned(),
        addr: Some(address(last).ip()),
        port: 8301,
        incarnation: 1,
        state: Some(state),
        vsn: Some([1, 5, 2, 2, 5, 4]),
        ..PushedNode::default()
    };
    let past = serf_message::PastEvent { name: "deploy".to_owned(), payload: above[0].1.clone() };
    let user_state = Message::PushPull(serf_message::PushPull {
        time: LamportTime(9),
        status_times: [("beta".to_owned(), LamportTime(2)), ("gamma".to_owned(), LamportTime(3))].into(),
        left_members: vec!["gamma".to_owned()],
        event_time: LamportTime(4),
        events: vec![Some(serf_message::EventsAt { time: LamportTime(3), events: vec![past] })],
        query_time: LamportTime(4),
    });
    let nodes = vec![
        node("beta", 2, NodeState::Alive),
        node("gamma", 3, NodeState::Left),
        node("delta", 4, NodeState::Suspect),
    ];
    PushPull { join: true, nodes, user_state: user_state.encode() }
}
