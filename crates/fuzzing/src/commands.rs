//! Bytes that servers send each other and keep: log entries, msgpack values, snapshots.

use acl::AllowAll;
use replica::codec;
use state::catalog::{DeregisterRequest, RegisterRequest};
use state::kv::KvsRequest;
use state::session::SessionRequest;
use state::txn::TxnRequest;
use state::{Command, Index, Limits, Outcome, State};
use wire::archive;
use wire::msgpack::{self, Decoder, RawValue, ValueScanner};
use wire::rpc::MessageScanner;

use crate::world;

/// Larger states are refused: the target must not run out of memory on a promise of one.
const STATE_MAX: u64 = 1 << 20;

/// An entry of the raft log: what is in the log was once proposed by somebody, perhaps an older or newer server.
pub fn log_entries(data: &[u8]) {
    let Ok(Some(command)) = codec::decode(data) else { return };
    let bytes = codec::encode(&command).expect("what was decoded can be encoded");
    let again = codec::decode(&bytes).expect("what we wrote can be read").expect("it is of a kind that we know");
    // Not the values: NaN differs from itself.
    assert_eq!(codec::encode(&again).ok(), Some(bytes), "decoding lost something of {command:?}");
    apply(command);
}

/// Applies a command to the world, prepared or not, and holds the world to its promises.
pub(crate) fn apply(command: Command) {
    let mut state = world::state();
    let mut prepared = command.clone();
    if prepared.prepare(&state).is_ok() {
        // Permission may be asked of everything that is proposed.
        let _ = prepared.authorize(&state, &AllowAll);
    }
    let _ = command.locks();
    let mut twin = state.clone();
    let index = Index(state.applied().0 + 1);
    let outcome = state.apply(index, command.clone()).outcome;
    // Debug, since NaN differs from itself.
    let shown = |outcome: &Outcome| format!("{outcome:?}");
    assert_eq!(shown(&outcome), shown(&twin.apply(index, command.clone()).outcome), "{command:?}");
    let bytes = write(&state);
    assert!(bytes == write(&twin), "two states differ after {command:?}");
    let read = codec::read_state(bytes.as_slice(), Limits::default()).expect("what we wrote can be read");
    assert!(write(&read) == bytes, "a snapshot lost something after {command:?}");
}

fn write(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    codec::write_state(state, &mut out).expect("memory takes it");
    out
}

/// Any msgpack value, and the requests that travel as such.
pub fn msgpack_values(data: &[u8]) {
    let mut decoder = Decoder::new(data);
    let mut end = 0;
    // However the bytes are cut, the same values are found.
    while let Ok(value) = decoder.skip() {
        let length = value.len();
        assert!(length > 0 && length <= data.len() - end, "a value of {length} bytes in {}", data.len());
        let scanned = ValueScanner::new().advance(value).expect("what was skipped can be scanned");
        assert_eq!(scanned, Some(length));
        assert_eq!(ValueScanner::new().advance(&value[..length - 1]).ok().flatten(), None, "a part is no whole");
        let raw = RawValue::new(value.to_vec().into()).expect("what was skipped is a value");
        assert_eq!(raw.as_bytes(), value);
        end += length;
    }
    let _ = MessageScanner::new().advance(data);
    same_again::<RegisterRequest>(data);
    same_again::<DeregisterRequest>(data);
    same_again::<KvsRequest>(data);
    same_again::<SessionRequest>(data);
    same_again::<TxnRequest>(data);
}

/// What can be decoded is the same after another round.
fn same_again<T: serde::Serialize + serde::de::DeserializeOwned>(data: &[u8]) {
    let Ok(value) = msgpack::from_slice::<T>(data) else { return };
    let bytes = msgpack::to_vec(&value).expect("what was decoded can be encoded");
    let again: T = msgpack::from_slice(&bytes).expect("what we wrote can be read");
    assert_eq!(msgpack::to_vec(&again).ok(), Some(bytes));
}

/// An archive as `snapshot restore` takes it, and the state inside one.
pub fn snapshot_archives(data: &[u8]) {
    let mut inside = Vec::new();
    if let Ok(meta) = archive::read(data, &mut inside, STATE_MAX) {
        let mut out = Vec::new();
        archive::write(&mut out, &meta, inside.as_slice(), 0).expect("memory takes it");
        let mut again = Vec::new();
        assert!(archive::read(out.as_slice(), &mut again, STATE_MAX).is_ok(), "what we wrote cannot be read");
        assert!(again == inside, "the state came back changed");
    }
    // The sums of an archive keep most mutations out of what it holds, so that is read on its own, too.
    for bytes in [data, inside.as_slice()] {
        let Ok(state) = codec::read_state(bytes, Limits::default()) else { continue };
        let first = write(&state);
        let read = codec::read_state(first.as_slice(), Limits::default()).expect("what we wrote can be read");
        assert!(write(&read) == first, "a state came back changed");
    }
}

/// Sound inputs for the targets of this file, made from the world: name of the target, name of the seed, bytes.
#[must_use]
pub fn command_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let state = world::state();
    let mut seeds = Vec::new();
    let all = write(&state);
    let mut packed = Vec::new();
    let meta = archive::SnapshotMeta::new(state.applied().0, 1, 0, archive::Configuration::default(), 1);
    archive::write(&mut packed, &meta, all.as_slice(), 0).expect("memory takes it");
    seeds.push(("snapshot_archives", "archive", packed));
    seeds.push(("snapshot_archives", "state", all));
    for record in state.records() {
        let (name, command) = match record {
            state::snapshot::Record::Register(request) => ("register", Command::Register(*request)),
            state::snapshot::Record::Kv(entry) => {
                ("kv", Command::Kvs(KvsRequest { op: state::kv::Op::Set, dir_ent: entry, ..KvsRequest::default() }))
            }
            state::snapshot::Record::Session(session) => {
                let op = state::session::CREATE.to_owned();
                ("session", Command::Session(SessionRequest { op, session, ..SessionRequest::default() }))
            }
            state::snapshot::Record::PreparedQuery(query) => {
                let request = state::prepared_query::PreparedQueryRequest {
                    op: "update".to_owned(),
                    query: *query,
                    ..state::prepared_query::PreparedQueryRequest::default()
                };
                ("query", Command::PreparedQuery(request))
            }
            _ => continue,
        };
        let entry = codec::encode(&command).expect("memory takes it");
        seeds.push(("msgpack_values", name, entry[1..].to_vec()));
        seeds.push(("log_entries", name, entry));
    }
    for (name, command) in [
        ("deregister", Command::Deregister(world::decode(r#"{"Node":"n1","ServiceID":"web"}"#))),
        ("tombstone", Command::Tombstone(world::decode(r#"{"Op":"reap","ReapIndex":9}"#))),
        (
            "coordinates",
            Command::CoordinateBatchUpdate(world::decode(
                r#"[{"Node":"n1","Coord":{"Vec":[0,0,0,0,0,0,0,1],"Error":1.5,"Height":1e-5}}]"#,
            )),
        ),
        (
            "txn",
            Command::Txn(world::decode(
                r#"{"Ops":[{"KV":{"Verb":"cas","DirEnt":{"Key":"a/b","Value":"dg=="}}},
                    {"Service":{"Verb":"set","Node":"n1","Service":{"ID":"web","Service":"web"}}},
                    {"Node":{"Verb":"delete","Node":{"Node":"n2"}}},
                    {"Check":{"Verb":"get","Check":{"Node":"n1","CheckID":"c"}}}]}"#,
            )),
        ),
    ] {
        let entry = codec::encode(&command).expect("memory takes it");
        seeds.push(("msgpack_values", name, entry[1..].to_vec()));
        seeds.push(("log_entries", name, entry));
    }
    seeds
}
