//! Several replicas that hear each other through a network of vectors; time is virtual.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use state::kv::{Entry as KvEntry, KvsRequest, Octets, Op};
use state::{Command, Limits, State};

use crate::{
    Change, Configuration, Error, LogStore, MemoryLog, Moment, Outbox, Outgoing, Parcel, Peer, ProposalId, Replica,
    Settings, Timing, Turn, Unwatched, codec, message, number_of,
};

const MILLISECOND: i64 = 1_000_000;

type Wire = Arc<Mutex<VecDeque<(u64, Parcel, Option<State>)>>>;

struct Post(Wire);

impl Outbox for Post {
    fn send(&mut self, outgoing: Outgoing) {
        // Through the bytes, as in life.
        let mut bytes = Vec::new();
        assert!(message::encode(&outgoing.parcel, &mut bytes));
        let parcel = message::decode(&bytes).expect("what is written is read");
        assert_eq!(parcel, outgoing.parcel);
        self.0.lock().unwrap().push_back((outgoing.number, parcel, outgoing.state));
    }
}

struct Pool {
    now: Moment,
    wire: Wire,
    replicas: BTreeMap<u64, Replica>,
    cut: BTreeSet<u64>,
    turns: BTreeMap<u64, Vec<Turn>>,
}

fn founding(ids: &[&str]) -> Configuration {
    Configuration::founding(7, ids.iter().map(|id| ((*id).to_owned(), format!("{id}:8300"))))
}

fn set(key: &str) -> Vec<u8> {
    let dir_ent = KvEntry { key: key.into(), value: Octets::copied(b"value"), ..KvEntry::default() };
    codec::encode(&Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() })).unwrap()
}

impl Pool {
    fn new(ids: &[&str]) -> Self {
        let mut pool = Pool {
            now: Moment(1),
            wire: Wire::default(),
            replicas: BTreeMap::new(),
            cut: BTreeSet::new(),
            turns: BTreeMap::new(),
        };
        for id in ids {
            pool.add(id, Some(founding(ids)));
        }
        pool
    }

    fn add(&mut self, id: &str, founding: Option<Configuration>) {
        let settings = Settings {
            id: id.to_owned(),
            limits: Limits::default(),
            timing: Timing::of_multiplier(1),
            seed: 3,
            founding,
        };
        let store: Box<dyn LogStore> = Box::new(MemoryLog::default());
        let post = Box::new(Post(Arc::clone(&self.wire)));
        let (replica, _) = Replica::open(store, settings, self.now, Box::new(Unwatched), post).unwrap();
        self.replicas.insert(number_of(id), replica);
    }

    fn replica(&mut self, id: &str) -> &mut Replica {
        self.replicas.get_mut(&number_of(id)).unwrap()
    }

    fn pass(&mut self, milliseconds: i64) {
        for _ in 0..milliseconds / 5 {
            self.now = self.now.after_ns(5 * MILLISECOND);
            for (number, replica) in &mut self.replicas {
                self.turns.entry(*number).or_default().push(replica.turn(self.now).unwrap());
            }
            // What is said in answer arrives in the next step.
            let said = std::mem::take(&mut *self.wire.lock().unwrap());
            for (to, parcel, state) in said {
                let from = parcel.message.from;
                let is_snapshot = state.is_some();
                let arrives = !self.cut.contains(&to) && !self.cut.contains(&from) && self.replicas.contains_key(&to);
                if arrives {
                    self.replicas.get_mut(&to).unwrap().step(parcel, state, self.now).unwrap();
                }
                if is_snapshot && let Some(sender) = self.replicas.get_mut(&from) {
                    sender.snapshot_sent(to, arrives);
                }
            }
        }
    }

    fn leaders(&self) -> Vec<u64> {
        self.replicas.iter().filter(|(_, replica)| replica.is_leader()).map(|(number, _)| *number).collect()
    }

    fn leader(&mut self) -> &mut Replica {
        let leaders = self.leaders();
        let [leader] = leaders[..] else { panic!("{leaders:?}") };
        self.replicas.get_mut(&leader).unwrap()
    }

    fn agree(&self) -> bool {
        let mut states = self.replicas.values().map(Replica::state);
        let Some(first) = states.next() else { return true };
        states.all(|state| state.applied() == first.applied() && state.records().eq(first.records()))
    }

    fn answers(&self, number: u64) -> Vec<(u64, bool)> {
        let turns = self.turns.get(&number).into_iter().flatten();
        turns.flat_map(|turn| &turn.answers).map(|(id, answer)| (id.0, answer.is_ok())).collect()
    }
}

#[test]
fn three_elect_one_that_all_follow() {
    let mut pool = Pool::new(&["a", "b", "c"]);
    pool.pass(3000);
    let leader = pool.leaders();
    assert_eq!(leader.len(), 1);
    pool.leader().propose(ProposalId(1), set("k")).unwrap();
    pool.pass(200);
    assert_eq!(pool.answers(leader[0]), [(1, true)]);
    assert!(pool.agree());
    let now = pool.now;
    for replica in pool.replicas.values() {
        assert_eq!(replica.leader().map(|peer| number_of(&peer.id)), Some(leader[0]));
        assert_eq!(replica.lease().holds(now), replica.is_leader());
    }
    let follower = pool.replicas.values_mut().find(|replica| !replica.is_leader()).unwrap();
    assert_eq!(follower.propose(ProposalId(2), set("k")), Err(Error::NotLeader));
    assert_eq!(follower.confirm(ProposalId(2)), Err(Error::NotLeader));
}

#[test]
fn a_leader_that_is_cut_off_gives_up_before_another_one_leads() {
    let mut pool = Pool::new(&["a", "b", "c"]);
    pool.pass(3000);
    let [old] = pool.leaders()[..] else { panic!("no leader") };
    pool.cut.insert(old);
    pool.replicas.get_mut(&old).unwrap().propose(ProposalId(1), set("lost")).unwrap();
    pool.replicas.get_mut(&old).unwrap().confirm(ProposalId(2)).unwrap();
    for _ in 0..400 {
        pool.pass(5);
        let holders = pool.replicas.values().filter(|replica| replica.lease().holds(pool.now)).count();
        assert!(holders <= 1);
    }
    let leaders = pool.leaders();
    assert!(leaders.len() == 1 && leaders[0] != old, "{leaders:?}");
    assert_eq!(pool.answers(old), [(1, false), (2, false)]);
    pool.leader().propose(ProposalId(3), set("kept")).unwrap();
    pool.pass(200);
    assert!(!pool.agree());
    pool.cut.clear();
    pool.pass(1000);
    assert!(pool.agree());
    assert_eq!(pool.leaders(), leaders, "who comes back disturbs nobody");
}

#[test]
fn a_new_server_is_taken_in_learns_everything_and_votes() {
    let mut pool = Pool::new(&["a"]);
    pool.pass(50);
    for at in 0..50 {
        pool.leader().propose(ProposalId(at), set(&format!("k{at}"))).unwrap();
        pool.pass(5);
    }
    for (at, id) in ["b", "c"].into_iter().enumerate() {
        pool.add(id, None);
        let peer = |voter| Change::Put(Peer { id: id.to_owned(), address: format!("{id}:8300"), voter });
        pool.pass(500);
        pool.leader().change(ProposalId(100 + at as u64), &peer(false)).unwrap();
        pool.pass(1000);
        assert!(pool.agree());
        pool.leader().change(ProposalId(200 + at as u64), &peer(true)).unwrap();
        pool.pass(1000);
        // By its log or by a snapshot.
        let snapshot = pool.leader().snapshot_meta();
        pool.leader().snapshot_taken(snapshot, 0).unwrap();
    }
    assert_eq!(pool.replica("c").configuration().voters(), 3);
    assert_eq!(pool.replica("b").configuration().cluster, 7);
    let now = pool.now;
    let (_, answered) = pool.leader().progress("b", now).unwrap();
    assert!(answered.is_some_and(|at| at.after_ns(500 * MILLISECOND) > now));
    pool.cut.insert(number_of("a"));
    pool.pass(3000);
    assert!(pool.leaders().iter().any(|leader| *leader != number_of("a")));
    pool.cut.clear();
    pool.pass(1000);
    // And the first one leaves.
    pool.leader().change(ProposalId(300), &Change::Remove("a".to_owned())).unwrap();
    pool.pass(1000);
    assert_eq!(pool.leader().configuration().voters(), 2);
}

#[test]
fn leadership_is_handed_over_and_the_lease_with_it() {
    let mut pool = Pool::new(&["a", "b", "c"]);
    pool.pass(3000);
    let old = pool.leaders();
    let heir = pool.leader().heir().unwrap().id.clone();
    assert!(pool.leader().hand_over("nobody").is_err());
    pool.leader().hand_over(&heir).unwrap();
    let now = pool.now;
    assert!(pool.replicas.values().all(|replica| !replica.lease().holds(now)));
    pool.pass(500);
    assert_eq!(pool.leaders(), [number_of(&heir)]);
    assert_ne!(pool.leaders(), old);
    let now = pool.now;
    assert!(pool.leader().lease().holds(now));
}

#[test]
fn one_change_at_a_time_and_the_last_voter_stays() {
    let mut pool = Pool::new(&["a"]);
    pool.pass(50);
    let refused = pool.leader().change(ProposalId(1), &Change::Remove("a".to_owned()));
    assert!(matches!(refused, Err(Error::NoChange(_))));
    let refused = pool.leader().change(ProposalId(1), &Change::Remove("b".to_owned()));
    assert_eq!(refused, Err(Error::NoChange("id \"b\" was not found in the Raft configuration".to_owned())));
    for id in ["b", "c"] {
        let peer = Peer { id: id.to_owned(), address: String::new(), voter: false };
        let asked = pool.leader().change(ProposalId(2), &Change::Put(peer));
        assert_eq!(asked.is_ok(), id == "b");
    }
}

#[test]
fn a_cluster_is_founded_by_one_with_the_promises_of_all() {
    let mut pool = Pool::new(&[]);
    for id in ["a", "b", "c", "d"] {
        pool.add(id, None);
    }
    pool.pass(3000);
    assert!(pool.leaders().is_empty());
    for id in ["a", "b", "c"] {
        pool.replica(id).promise(7).unwrap();
        pool.replica(id).promise(7).unwrap();
        assert!(pool.replica(id).promise(8).is_err(), "one promise at a time");
    }
    let now = pool.now;
    let foreign = Configuration { cluster: 8, ..founding(&["c", "d"]) };
    assert!(pool.replica("c").found(&foreign, now).is_err());
    pool.replica("b").found(&founding(&["a", "b", "c"]), now).unwrap();
    pool.pass(500);
    assert_eq!(pool.leaders(), [number_of("b")], "the others take part without having been told");
    pool.leader().propose(ProposalId(1), set("k")).unwrap();
    pool.pass(200);
    for id in ["a", "c"] {
        assert_eq!(pool.replica(id).configuration().voters(), 3);
        assert!(pool.replica(id).release(7).is_ok());
        assert_eq!(pool.replica(id).configuration().cluster, 7, "what is founded stays");
    }
    assert_eq!(pool.replica("d").configuration().cluster, 0);
    pool.replica("d").promise(9).unwrap();
    pool.replica("d").release(9).unwrap();
    assert_eq!(pool.replica("d").configuration().cluster, 0);
}

#[test]
fn an_archive_is_restored_by_all_servers_at_the_same_entry() {
    let mut pool = Pool::new(&["a", "b", "c"]);
    pool.pass(3000);
    pool.leader().propose(ProposalId(1), set("gone")).unwrap();
    pool.pass(200);
    // An archive of a state with a far higher index, of bytes that do not shrink, so that there are several pieces.
    let mut archived = State::new(Limits::default());
    let noise: Vec<u8> =
        (0..500_000_u64).flat_map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).to_le_bytes()).collect();
    let dir_ent = KvEntry { key: "kept".into(), value: Octets::copied(&noise), ..KvEntry::default() };
    let set_kept = Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() });
    archived.apply(state::Index(5000), set_kept);
    let mut body = Vec::new();
    codec::write_state(&archived, &mut body).unwrap();
    let meta = wire::archive::SnapshotMeta::new(5000, 3, 1, wire::archive::Configuration { servers: Vec::new() }, 1);
    let mut archive = Vec::new();
    wire::archive::write(&mut archive, &meta.with_size(body.len() as u64), &body[..], 1).unwrap();
    let pieces: Vec<_> = crate::restore::entries(9, &archive).collect();
    assert!(pieces.len() > 1);
    // Half a restore is forgotten with its term.
    let half = crate::restore::entries(8, &noise).next().unwrap();
    pool.leader().propose(ProposalId(2), half).unwrap();
    pool.pass(200);
    assert!(pool.leader().is_restoring());
    let heir = pool.leader().heir().unwrap().id.clone();
    pool.leader().hand_over(&heir).unwrap();
    pool.pass(1000);
    assert!(pool.replicas.values().all(|replica| !replica.is_restoring()));
    for (at, piece) in pieces.into_iter().enumerate() {
        pool.leader().propose(ProposalId(10 + at as u64), piece).unwrap();
        pool.pass(50);
    }
    pool.leader().propose(ProposalId(100), set("after")).unwrap();
    pool.pass(500);
    assert!(pool.agree());
    let state = pool.leader().state().clone();
    assert!(state.applied() > state::Index(5000), "{:?}", state.applied());
    let keys = state.records().filter(|record| matches!(record, state::snapshot::Record::Kv(_)));
    assert_eq!(keys.count(), 2, "one of the archive, one since");
    // A snapshot of it brings the same indexes.
    let meta = pool.leader().snapshot_meta();
    assert!(meta.index < 5000);
    pool.leader().snapshot_taken(meta, 0).unwrap();
    pool.add("d", None);
    let peer = Peer { id: "d".to_owned(), address: "d:8300".to_owned(), voter: false };
    pool.leader().change(ProposalId(101), &Change::Put(peer)).unwrap();
    pool.pass(1000);
    assert!(pool.agree());
}

#[test]
fn a_leader_that_is_taken_out_ceases_to_lead() {
    let mut pool = Pool::new(&["a", "b", "c"]);
    pool.pass(3000);
    let old = pool.leaders();
    let id = pool.leader().leader().unwrap().id.clone();
    pool.leader().change(ProposalId(1), &Change::Remove(id)).unwrap();
    for at in 0..20 {
        // Whatever is under way meanwhile.
        let _ = pool.replicas.get_mut(&old[0]).unwrap().propose(ProposalId(10 + at), set("k"));
        pool.pass(5);
    }
    pool.pass(3000);
    assert!(!pool.leaders().contains(&old[0]));
    assert_eq!(pool.leader().configuration().voters(), 2);
}
