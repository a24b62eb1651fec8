//! A replica on stores that fill up, break, and are opened again; time is virtual.

use std::io::Read;
use std::sync::Arc;
use std::sync::Mutex;

use raft::eraftpb::{Entry, HardState};
use state::catalog::RegisterRequest;
use state::kv::{Entry as KvEntry, KvsRequest, Octets, Op};
use state::session::{Session, SessionRequest};
use state::{Command, Index, Limits, Outcome, State, Topic};

use crate::{
    Configuration, Error, LogStore, MemoryLog, Moment, ProposalId, Recovered, Replica, Settings, SnapshotMeta,
    StoreError, Timing, Turn, Unconnected, Unwatched, codec,
};

const SECOND: i64 = 1_000_000_000;

fn at(seconds: i64) -> Moment {
    Moment(0).after_ns(seconds * SECOND)
}

#[derive(Default)]
struct Disk {
    log: MemoryLog,
    appends: Vec<usize>,
    fails: Option<StoreError>,
}

/// A store that outlives its replica and fails on demand.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Disk>>);

impl Store {
    fn fail(&self, error: Option<StoreError>) {
        self.0.lock().unwrap().fails = error;
    }
    fn open(&self, now: Moment) -> Replica {
        open(Box::new(self.clone()), now).unwrap().0
    }
}

fn open(store: Box<dyn LogStore>, now: Moment) -> Result<(Replica, Turn), Error> {
    let settings = Settings {
        id: "a".to_owned(),
        limits: Limits::default(),
        timing: Timing::of_multiplier(1),
        seed: 7,
        founding: Some(Configuration::founding(1, [("a".to_owned(), "127.0.0.1:8300".to_owned())])),
    };
    Replica::open(store, settings, now, Box::new(Unwatched), Box::new(Unconnected))
}

impl LogStore for Store {
    fn recovered(&self) -> Recovered {
        self.0.lock().unwrap().log.recovered()
    }
    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), StoreError> {
        let mut disk = self.0.lock().unwrap();
        if let Some(error) = &disk.fails {
            return Err(error.clone());
        }
        disk.appends.push(entries.len());
        disk.log.append(entries, hard_state)
    }
    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        self.0.lock().unwrap().log.entries(low, high, max_bytes)
    }
    fn first_index(&self) -> u64 {
        self.0.lock().unwrap().log.first_index()
    }
    fn last_index(&self) -> u64 {
        self.0.lock().unwrap().log.last_index()
    }
    fn restart_behind(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.0.lock().unwrap().log.restart_behind(meta)
    }
    fn snapshot_taken(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.0.lock().unwrap().log.snapshot_taken(meta)
    }
    fn compact(&mut self, index: u64) -> Result<(), StoreError> {
        self.0.lock().unwrap().log.compact(index)
    }
    fn open_snapshot(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        self.0.lock().unwrap().log.open_snapshot()
    }
    fn configuration(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().log.configuration()
    }
    fn set_configuration(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.0.lock().unwrap().log.set_configuration(bytes)
    }
}

fn kvs(op: Op, key: &str, session: &str) -> Command {
    let dir_ent = KvEntry {
        key: key.into(),
        value: Octets::copied(key.as_bytes()),
        session: session.into(),
        ..KvEntry::default()
    };
    Command::Kvs(KvsRequest { op, dir_ent, ..KvsRequest::default() })
}

fn node() -> Command {
    Command::Register(RegisterRequest { node: "n".into(), address: "10.0.0.1".into(), ..RegisterRequest::default() })
}

fn session(op: &str, id: &str, ttl: &str) -> Command {
    let session =
        Session { id: id.into(), node: "n".into(), ttl: ttl.into(), lock_delay: 15 * SECOND, ..Session::default() };
    Command::Session(SessionRequest { op: op.into(), session, ..SessionRequest::default() })
}

/// Proposes and takes a turn; returns the outcome.
fn write(replica: &mut Replica, command: &Command, now: Moment) -> Result<Outcome, Error> {
    replica.propose(ProposalId(1), codec::encode(command).unwrap())?;
    let turn = replica.turn(now).unwrap();
    let [(ProposalId(1), answer)] = &turn.answers[..] else { panic!("{turn:?}") };
    answer.clone()
}

fn same(one: &State, other: &State) -> bool {
    one.applied() <= other.applied() && one.records().eq(other.records())
}

#[test]
fn what_was_proposed_together_is_appended_together_and_comes_back() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    assert!(replica.is_leader());
    for id in 0..100 {
        replica.propose(ProposalId(id), codec::encode(&kvs(Op::Set, &format!("k{id}"), "")).unwrap()).unwrap();
    }
    let before = store.0.lock().unwrap().appends.len();
    let turn = replica.turn(at(0)).unwrap();
    assert_eq!(store.0.lock().unwrap().appends[before..], [100]);
    assert!(turn.answers.iter().map(|(id, _)| id.0).eq(0..100), "answered in log order");
    assert_eq!(turn.touched.topics().count(), 100);
    let state = replica.state().clone();
    drop(replica);
    assert!(same(&state, store.open(at(9)).state()));
}

#[test]
fn leadership_is_confirmed_by_raft() {
    let mut replica = Store::default().open(at(0));
    replica.confirm(ProposalId(5)).unwrap();
    assert_eq!(replica.turn(at(0)).unwrap().confirmed, [ProposalId(5)]);
    assert_eq!(replica.turn(at(0)).unwrap().confirmed, []);
}

#[test]
fn without_room_writes_are_refused_reads_go_on_and_timers_run() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    write(&mut replica, &node(), at(0)).unwrap();
    write(&mut replica, &session("create", "s", "10s"), at(0)).unwrap();
    write(&mut replica, &session("create", "gone", ""), at(0)).unwrap();
    assert_eq!(write(&mut replica, &kvs(Op::Lock, "held", "gone"), at(0)).unwrap(), Outcome::Decided(true));
    write(&mut replica, &session("destroy", "gone", ""), at(1)).unwrap();

    store.fail(Some(StoreError::Full("no room".into())));
    assert_eq!(write(&mut replica, &kvs(Op::Set, "refused", ""), at(1)), Err(Error::Full("no room".into())));
    assert!(replica.is_leader(), "a lone voter answers reads without room");
    assert_eq!(write(&mut replica, &kvs(Op::Set, "refused", ""), at(1)), Err(Error::Full("no room".into())));
    replica.confirm(ProposalId(3)).unwrap();
    assert!(replica.is_lock_delayed("held", at(2)), "a lock-delay outlives a full disk");
    let deadline = replica.deadline().unwrap();
    assert!(deadline > at(1) && deadline <= at(2), "it is tried again");
    // Still full at the first retry; renewals count meanwhile.
    replica.turn(deadline).unwrap();
    assert!(replica.refuses_writes().is_some());
    assert!(replica.renew("s", at(15)).is_some());

    store.fail(None);
    replica.turn(at(21)).unwrap();
    assert_eq!(replica.refuses_writes(), None);
    assert!(replica.state().session_by_id("s").is_some(), "renewed at 15 s");
    assert_eq!(write(&mut replica, &kvs(Op::Set, "taken", ""), at(22)).unwrap(), Outcome::Done);
    let state = replica.state().clone();
    drop(replica);
    let replica = store.open(at(30));
    assert!(same(&state, replica.state()));
    let keys: Vec<_> = replica
        .state()
        .records()
        .filter_map(|record| match record {
            state::snapshot::Record::Kv(entry) => Some(entry.key.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(keys, ["held", "taken"], "what was refused never happens");
}

#[test]
fn a_start_without_room_serves_everything_that_was_acknowledged() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    // More than raft hands out at once.
    for key in 0..40 {
        let dir_ent =
            KvEntry { key: key.to_string().into(), value: Octets::copied(&vec![7; 500_000]), ..KvEntry::default() };
        let command = Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() });
        write(&mut replica, &command, at(0)).unwrap();
    }
    drop(replica);
    store.fail(Some(StoreError::Full("no room".into())));
    let mut replica = store.open(at(1));
    assert_eq!(state::usage::keys(replica.state()), 40);
    assert!(replica.is_leader() && replica.refuses_writes().is_some());
    store.fail(None);
    replica.turn(at(2)).unwrap();
    assert_eq!(write(&mut replica, &kvs(Op::Set, "again", ""), at(2)).unwrap(), Outcome::Done);
    assert_eq!(state::usage::keys(replica.state()), 41);
}

#[test]
fn a_confirmation_without_room_is_given_once_there_is_an_answer() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    store.fail(Some(StoreError::Full("no room".into())));
    assert!(write(&mut replica, &kvs(Op::Set, "a", ""), at(0)).is_err());
    replica.confirm(ProposalId(3)).unwrap();
    assert_eq!(replica.turn(at(0)).unwrap().confirmed, [ProposalId(3)]);
}

#[test]
fn a_broken_store_fences_the_replica() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    store.fail(Some(StoreError::Broken("i/o error".into())));
    replica.propose(ProposalId(1), codec::encode(&kvs(Op::Set, "a", "")).unwrap()).unwrap();
    assert_eq!(replica.turn(at(0)).unwrap_err(), Error::Fatal("i/o error".into()));
    store.fail(None);
    assert!(!replica.is_leader());
    assert!(matches!(replica.propose(ProposalId(2), vec![2]), Err(Error::Fatal(_))));
    assert!(matches!(replica.turn(at(1)), Err(Error::Fatal(_))));
    assert_eq!(replica.confirm(ProposalId(3)), Err(Error::NotLeader));
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_replica_for_good() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    replica.propose(ProposalId(1), vec![99, 0xc0]).unwrap();
    replica.propose(ProposalId(2), codec::encode(&kvs(Op::Set, "after", "")).unwrap()).unwrap();
    assert!(matches!(replica.turn(at(0)), Err(Error::Fatal(text)) if text.contains("unknown message type 99")));
    assert!(!replica.is_leader());
    let again = open(Box::new(store), at(0));
    assert!(matches!(again.map(|_| ()), Err(Error::Fatal(text)) if text.contains("log entry")));
}

/// Takes turns at every deadline up to `until`.
fn run(replica: &mut Replica, now: &mut Moment, until: Moment) -> Vec<Turn> {
    let mut turns = Vec::new();
    while let Some(due) = replica.deadline().filter(|due| *due <= until) {
        *now = due.max(*now);
        turns.push(replica.turn(*now).unwrap());
        assert!(turns.len() < 1000, "the same deadline again and again");
    }
    *now = until;
    turns
}

#[test]
fn a_session_lives_for_its_ttl_and_ends_at_twice_that() {
    // Many ways in which renewals can fall, from one seed.
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |sides: i64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((dice >> 33) % u64::try_from(sides).unwrap()).unwrap()
    };
    for _ in 0..200 {
        let store = Store::default();
        let mut now = at(0);
        let mut replica = store.open(now);
        write(&mut replica, &node(), now).unwrap();
        let ttl = 10 + roll(50);
        write(&mut replica, &session("create", "s", &format!("{ttl}s")), now).unwrap();
        let mut renewed = now;
        for _ in 0..roll(6) {
            let next = now.after_ns(roll(2 * ttl * 1000) * SECOND / 1000);
            run(&mut replica, &mut now, next);
            assert!(replica.state().session_by_id("s").is_some());
            match roll(3) {
                0 => {
                    // A restart gives every session its full time again.
                    drop(replica);
                    replica = store.open(now);
                }
                _ => assert!(replica.renew("s", now).is_some()),
            }
            renewed = now;
        }
        let early = renewed.after_ns(2 * ttl * SECOND - 1);
        run(&mut replica, &mut now, early);
        assert!(replica.state().session_by_id("s").is_some(), "gone before twice its TTL");
        let turns = run(&mut replica, &mut now, renewed.after_ns(2 * ttl * SECOND));
        assert!(replica.state().session_by_id("s").is_none(), "still there after twice its TTL");
        assert!(turns.iter().any(|turn| turn.touched.topics().any(|topic| *topic == Topic::Sessions)));
    }
}

#[test]
fn a_lock_delay_survives_a_restart_until_the_key_was_taken_again() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    write(&mut replica, &node(), at(0)).unwrap();
    for id in ["one", "two"] {
        write(&mut replica, &session("create", id, ""), at(0)).unwrap();
    }
    write(&mut replica, &kvs(Op::Lock, "k", "one"), at(0)).unwrap();
    write(&mut replica, &session("destroy", "one", ""), at(1)).unwrap();
    drop(replica);
    let mut replica = store.open(at(2));
    assert!(replica.is_lock_delayed("k", at(3)));
    assert!(!replica.is_lock_delayed("k", at(20)));
    write(&mut replica, &kvs(Op::Lock, "k", "two"), at(20)).unwrap();
    drop(replica);
    assert!(!store.open(at(21)).is_lock_delayed("k", at(21)));
}

#[test]
fn a_restored_state_stands_behind_everything_that_was_seen() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    write(&mut replica, &kvs(Op::Set, "mine", ""), at(0)).unwrap();
    let mut archive = State::default();
    archive.apply(Index(5000), kvs(Op::Set, "theirs", ""));
    let meta = replica.restore_meta(Index(6000));
    assert_eq!(meta.index, 6001);
    let turn = replica.replace_state(archive, meta, at(1)).unwrap();
    assert!(turn.touched.topics().any(|topic| *topic == Topic::Everything));
    assert!(replica.is_leader());
    write(&mut replica, &kvs(Op::Set, "later", ""), at(1)).unwrap();
    let index = |key: &str| {
        replica.state().records().find_map(|record| match record {
            state::snapshot::Record::Kv(entry) if &*entry.key == key => Some(entry.modify_index.0),
            _ => None,
        })
    };
    assert_eq!((index("mine"), index("theirs")), (None, Some(5000)));
    assert!(index("later") > Some(6001), "{:?}", index("later"));
    // An archive from the past does not set the log back.
    assert!(replica.restore_meta(Index(3)).index > 6002);
}

#[test]
fn a_snapshot_that_a_restore_has_overtaken_is_passed_over() {
    let mut replica = Store::default().open(at(0));
    write(&mut replica, &kvs(Op::Set, "a", ""), at(0)).unwrap();
    let early = replica.snapshot_meta();
    let meta = replica.restore_meta(Index(100));
    replica.replace_state(State::default(), meta, at(0)).unwrap();
    replica.snapshot_taken(early, 0).unwrap();
    assert_eq!(replica.stats().last_snapshot_index, 101);
    write(&mut replica, &kvs(Op::Set, "b", ""), at(0)).unwrap();
}

#[test]
fn compaction_leaves_the_log_usable() {
    let store = Store::default();
    let mut replica = store.open(at(0));
    for key in 0..500 {
        write(&mut replica, &kvs(Op::Set, &key.to_string(), ""), at(0)).unwrap();
        if key % 100 == 99 {
            replica.snapshot_taken(replica.snapshot_meta(), 10).unwrap();
            assert!(replica.log_length() <= 10);
            assert_eq!(replica.entries_since_snapshot(), 0);
        }
    }
    assert_eq!(state::usage::keys(replica.state()), 500);
}
