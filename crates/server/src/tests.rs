//! A whole server: writes that last, reads that wait.

use std::sync::Arc;
use std::time::Duration;

use acl::{AllowAll, Authorizer};
use parking_lot::Mutex;
use raft::eraftpb as raft;
use replica::{LogStore, MemoryLog, SnapshotMeta, StoreError};
use state::kv::{Entry, KeyQuery, KvGet, KvsRequest, Octets, Op};
use state::{Command, Index, Outcome, Seen};

use crate::{Config, Encoded, Error, ReadMode, ReadOptions, Server, SharedAnswer};

fn config(data_dir: Option<&std::path::Path>) -> Config {
    Config {
        node_name: "n1".into(),
        node_id: "id".into(),
        datacenter: "dc1".into(),
        address: "127.0.0.1:8300".into(),
        data_dir: data_dir.map(Into::into),
        snapshot_threshold: 50,
        snapshot_interval: Duration::ZERO,
        trailing_logs: 10,
        limits: state::Limits::default(),
        raft_multiplier: 1,
        bootstrap: true,
    }
}

async fn put(server: &Server, key: &str, value: &[u8]) -> Result<Outcome, Error> {
    let dir_ent = Entry { key: key.into(), value: Octets::copied(value), ..Entry::default() };
    server.write(Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() }), &AllowAll).await
}

async fn get(server: &Server, key: &str, options: &ReadOptions) -> (Option<Vec<u8>>, Index) {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let query = KvGet(KeyQuery { key: key.into() });
    let (found, _) = server.read(&query, options, &may, &mut Seen::default()).await.unwrap();
    (found.answer.map(|entry| entry.value.0.to_vec()), found.meta.index)
}

#[tokio::test]
async fn writes_survive_restarts_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u64 {
        let server = Server::start(config(Some(dir.path()))).unwrap();
        for at in 0..100u64 {
            put(&server, &format!("{round}/{at}"), &at.to_be_bytes()).await.unwrap();
        }
        for (earlier, at) in (0..=round).flat_map(|earlier| (0..100u64).map(move |at| (earlier, at))) {
            let (value, _) = get(&server, &format!("{earlier}/{at}"), &ReadOptions::default()).await;
            assert_eq!(value, Some(at.to_be_bytes().to_vec()), "{earlier}/{at} in round {round}");
        }
        server.shutdown().await;
    }
    let snapshots = std::fs::read_dir(dir.path().join("raft/snapshots")).unwrap().count();
    assert!((1..=2).contains(&snapshots), "{snapshots}");
}

#[tokio::test]
async fn a_blocked_read_wakes_for_its_own_key_only() {
    let server = Server::start(config(None)).unwrap();
    put(&server, "a", b"1").await.unwrap();
    let (_, index) = get(&server, "a", &ReadOptions::default()).await;
    let options = ReadOptions { min_index: index, wait: Duration::from_secs(20), mode: ReadMode::Default };
    let waiting = tokio::spawn({
        let server = server.clone();
        async move { get(&server, "a", &options).await }
    });
    while server.registry().parked() == 0 {
        tokio::task::yield_now().await;
    }
    for at in 0..100 {
        put(&server, &format!("other/{at}"), b"x").await.unwrap();
    }
    assert!(!waiting.is_finished());
    put(&server, "a", b"2").await.unwrap();
    let (value, later) = waiting.await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"2"[..]));
    assert!(later > index);
    assert_eq!(server.registry().parked(), 0);
}

#[tokio::test]
async fn a_wait_that_runs_out_answers_with_what_there_is() {
    let server = Server::start(config(None)).unwrap();
    put(&server, "a", b"1").await.unwrap();
    let (_, index) = get(&server, "a", &ReadOptions::default()).await;
    let options = ReadOptions { min_index: index, wait: Duration::from_millis(20), mode: ReadMode::Consistent };
    assert_eq!(get(&server, "a", &options).await, (Some(b"1".to_vec()), index));
}

#[tokio::test]
async fn an_archive_restores_into_another_server_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let source = Server::start(config(None)).unwrap();
    for at in 0..20 {
        put(&source, &format!("k/{at}"), b"from the archive").await.unwrap();
    }
    let (archive, _) = source.save_snapshot().await.unwrap();
    let target = Server::start(config(Some(dir.path()))).unwrap();
    put(&target, "gone", b"x").await.unwrap();
    target.restore_snapshot(archive.clone()).await.unwrap();
    put(&target, "after", b"y").await.unwrap();
    target.shutdown().await;
    let target = Server::start(config(Some(dir.path()))).unwrap();
    let options = ReadOptions::default();
    assert_eq!(get(&target, "gone", &options).await.0, None);
    assert_eq!(get(&target, "after", &options).await.0.as_deref(), Some(&b"y"[..]));
    assert_eq!(get(&target, "k/19", &options).await.0.as_deref(), Some(&b"from the archive"[..]));
    let cut = archive.slice(..archive.len() / 2);
    assert!(matches!(target.restore_snapshot(cut).await, Err(Error::BadArchive(_))));
    assert!(get(&target, "k/19", &options).await.0.is_some());
}

async fn park(server: &Server, count: usize) {
    for _ in 0..100_000 {
        if server.registry().parked() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} parked instead of {count}", server.registry().parked());
}

fn blocked(server: &Server, key: &str, index: Index) -> tokio::task::JoinHandle<(Option<Vec<u8>>, Index)> {
    let (server, key) = (server.clone(), key.to_owned());
    let options = ReadOptions { min_index: index, wait: Duration::from_secs(60), mode: ReadMode::Default };
    tokio::spawn(async move { get(&server, &key, &options).await })
}

#[tokio::test]
async fn a_restore_wakes_every_blocked_read_and_sets_no_index_back() {
    let source = Server::start(config(None)).unwrap();
    for at in 0..200 {
        put(&source, &format!("k/{at}"), b"from the archive").await.unwrap();
    }
    let (archive, archived) = source.save_snapshot().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let target = Server::start(config(Some(dir.path()))).unwrap();
    put(&target, "k/7", b"mine").await.unwrap();
    put(&target, "other", b"mine").await.unwrap();
    let before = target.state().applied();
    let (_, index) = get(&target, "k/7", &ReadOptions::default()).await;
    // One that its new index alone would wake, one that would sleep on.
    let (one, other) = (blocked(&target, "k/7", index), blocked(&target, "other", Index(1_000_000)));
    park(&target, 2).await;
    target.restore_snapshot(archive).await.unwrap();
    assert_eq!(one.await.unwrap().0.as_deref(), Some(&b"from the archive"[..]));
    assert_eq!(other.await.unwrap().0, None, "evaluated on the restored state");
    assert!(target.state().applied() > archived.max(before));
    // Who watches a restored key hears of the next write, whose index is above all that came with the archive.
    let (_, index) = get(&target, "k/7", &ReadOptions::default()).await;
    let waiting = blocked(&target, "k/7", index);
    park(&target, 1).await;
    put(&target, "k/7", b"next").await.unwrap();
    let (value, later) = waiting.await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"next"[..]));
    assert!(later > archived.max(index), "{later} after {archived}");
    // And all of it is there after a restart, with the same indexes.
    let state = target.state();
    target.shutdown().await;
    let target = Server::start(config(Some(dir.path()))).unwrap();
    assert!(state.records().eq(target.state().records()));
    assert!(target.state().applied() > state.applied());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_on_one_key_is_answered_at_once_and_by_nothing_else() {
    const CROWD: usize = 5000;
    let server = Server::start(config(None)).unwrap();
    put(&server, "a", b"1").await.unwrap();
    let (_, index) = get(&server, "a", &ReadOptions::default()).await;
    let crowd: Vec<_> = (0..CROWD).map(|_| blocked(&server, "a", index)).collect();
    park(&server, CROWD).await;
    for at in 0..1000 {
        put(&server, &format!("unrelated/{at}"), b"x").await.unwrap();
    }
    assert_eq!(server.registry().parked(), CROWD);
    assert!(crowd.iter().all(|one| !one.is_finished()));
    let started = std::time::Instant::now();
    put(&server, "a", b"2").await.unwrap();
    for one in crowd {
        assert_eq!(one.await.unwrap().0.as_deref(), Some(&b"2"[..]));
    }
    // 100 ms in a release build; a test build on a shared machine gets ten times that.
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    park(&server, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_missed_between_looking_and_sleeping() {
    const LAST: u64 = 2000;
    let server = Server::start(config(None)).unwrap();
    put(&server, "a", &0u64.to_be_bytes()).await.unwrap();
    let watchers: Vec<_> = (0..4)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let (mut index, mut last, mut seen) = (Index(0), 0, 0);
                while last < LAST {
                    let options =
                        ReadOptions { min_index: index, wait: Duration::from_secs(20), mode: ReadMode::Default };
                    let (value, next) = get(&server, "a", &options).await;
                    let value = u64::from_be_bytes(value.unwrap().try_into().unwrap());
                    assert!(next > index && (value > last || index.is_zero()), "woken without a change");
                    (index, last, seen) = (next, value, seen + 1);
                }
                seen
            })
        })
        .collect();
    for value in 1..=LAST {
        put(&server, "a", &value.to_be_bytes()).await.unwrap();
        put(&server, "b", &value.to_be_bytes()).await.unwrap();
    }
    for watcher in watchers {
        let seen = tokio::time::timeout(Duration::from_secs(10), watcher).await.expect("a watcher sleeps on").unwrap();
        assert!(seen > 1);
    }
}

#[tokio::test]
async fn who_goes_away_leaves_nothing_behind() {
    let server = Server::start(config(None)).unwrap();
    put(&server, "a", b"1").await.unwrap();
    let (_, index) = get(&server, "a", &ReadOptions::default()).await;
    let crowd: Vec<_> = (0..100).map(|_| blocked(&server, "a", index)).collect();
    park(&server, 100).await;
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    park(&server, 0).await;
}

#[tokio::test]
async fn equal_questions_share_an_answer_until_it_is_touched() {
    let server = Server::start(config(None)).unwrap();
    put(&server, "a", b"1").await.unwrap();
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let query = KvGet(KeyQuery { key: "a".into() });
    let ask = async |index: Index| {
        let options = ReadOptions { min_index: index, wait: Duration::from_secs(10), mode: ReadMode::Default };
        match server.read_shared(&query, &options, &may, Some("kv/a")).await.unwrap() {
            SharedAnswer::Kept(encoded) => (true, encoded.index),
            SharedAnswer::Fresh { answer, seen, state } => {
                let encoded = Encoded { body: "body".into(), index: answer.meta.index };
                server.answers().put("kv/a", &seen, &state, encoded);
                (false, answer.meta.index)
            }
            SharedAnswer::Far(answer) => panic!("nobody else was asked: {:?}", answer.meta),
        }
    };
    let (kept, index) = ask(Index(0)).await;
    assert!(!kept);
    assert_eq!(ask(Index(0)).await, (true, index));
    put(&server, "b", b"1").await.unwrap();
    assert_eq!(ask(Index(0)).await, (true, index));
    put(&server, "a", b"2").await.unwrap();
    let (kept, later) = ask(index).await;
    assert!(!kept && later > index);
    assert_eq!(ask(index).await, (true, later));
}

/// A store that fails on demand.
#[derive(Clone, Default)]
struct Failing {
    log: Arc<Mutex<MemoryLog>>,
    fails: Arc<Mutex<Option<StoreError>>>,
}

impl LogStore for Failing {
    fn recovered(&self) -> replica::Recovered {
        self.log.lock().recovered()
    }
    fn append(&mut self, entries: &[raft::Entry], hard_state: Option<&raft::HardState>) -> Result<(), StoreError> {
        self.fails.lock().clone().map_or(Ok(()), Err)?;
        self.log.lock().append(entries, hard_state)
    }
    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<raft::Entry>, StoreError> {
        self.log.lock().entries(low, high, max_bytes)
    }
    fn first_index(&self) -> u64 {
        self.log.lock().first_index()
    }
    fn last_index(&self) -> u64 {
        self.log.lock().last_index()
    }
    fn restart_behind(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.log.lock().restart_behind(meta)
    }
    fn snapshot_taken(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.log.lock().snapshot_taken(meta)
    }
    fn compact(&mut self, index: u64) -> Result<(), StoreError> {
        self.log.lock().compact(index)
    }
    fn open_snapshot(&self) -> Result<Box<dyn std::io::Read + Send>, StoreError> {
        self.log.lock().open_snapshot()
    }
    fn configuration(&self) -> Option<Vec<u8>> {
        self.log.lock().configuration()
    }
    fn set_configuration(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.log.lock().set_configuration(bytes)
    }
}

#[tokio::test]
async fn without_room_writes_are_refused_reads_go_on_and_writes_come_back() {
    let store = Failing::default();
    let server = Server::start_on(Box::new(store.clone()), config(None)).unwrap();
    put(&server, "a", b"1").await.unwrap();
    *store.fails.lock() = Some(StoreError::Full("no space left on device".into()));
    for _ in 0..3 {
        let refused = put(&server, "a", b"2").await;
        assert!(matches!(&refused, Err(Error::StorageFull(text)) if text.contains("no space")), "{refused:?}");
    }
    for mode in [ReadMode::Default, ReadMode::Consistent, ReadMode::Stale] {
        let options = ReadOptions { mode, ..ReadOptions::default() };
        assert_eq!(get(&server, "a", &options).await.0.as_deref(), Some(&b"1"[..]), "{mode:?}");
    }
    *store.fails.lock() = None;
    let mut outcome = put(&server, "a", b"3").await;
    for _ in 0..500 {
        if outcome.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        outcome = put(&server, "a", b"3").await;
    }
    assert_eq!(outcome, Ok(Outcome::Done));
    assert_eq!(get(&server, "a", &ReadOptions::default()).await.0.as_deref(), Some(&b"3"[..]));
}

#[tokio::test]
async fn a_lock_waits_for_its_delay_in_the_words_of_each_face() {
    use state::txn::{KvOp, Op as TxnOp, TxnRequest};
    let server = Server::start(config(None)).unwrap();
    let node = state::catalog::RegisterRequest { node: "n".into(), address: "10.0.0.1".into(), ..Default::default() };
    server.write(Command::Register(node), &AllowAll).await.unwrap();
    let session = async |op: &str, id: &str| {
        let session = state::session::Session {
            id: id.into(),
            node: "n".into(),
            lock_delay: 15_000_000_000,
            ..Default::default()
        };
        let request = state::session::SessionRequest { op: op.into(), session, ..Default::default() };
        server.write(Command::Session(request), &AllowAll).await.unwrap()
    };
    let lock = |key: &str, session: &str| Entry { key: key.into(), session: session.into(), ..Entry::default() };
    let kvs = |entry| Command::Kvs(KvsRequest { op: Op::Lock, dir_ent: entry, ..KvsRequest::default() });
    let (one, two) = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222");
    session("create", one).await;
    session("create", two).await;
    assert_eq!(server.write(kvs(lock("held", one)), &AllowAll).await, Ok(Outcome::Decided(true)));
    session("destroy", one).await;
    assert_eq!(server.write(kvs(lock("held", two)), &AllowAll).await, Ok(Outcome::Decided(false)));
    let op = |verb, entry| TxnOp { kv: Some(KvOp { verb, dir_ent: entry }), ..TxnOp::default() };
    let ops = vec![op(Op::Set, lock("other", "")), op(Op::Lock, lock("held", two))];
    let txn = server.write(Command::Txn(TxnRequest { ops, ..TxnRequest::default() }), &AllowAll).await.unwrap();
    let Outcome::Txn(response) = txn else { panic!("{txn:?}") };
    let errors = response.errors.unwrap();
    assert_eq!((errors.len(), errors[0].op_index), (1, 1));
    assert_eq!(errors[0].what, "failed to lock key \"held\" due to lock delay");
    assert_eq!(get(&server, "other", &ReadOptions::default()).await.0, None, "the transaction was not applied");
    assert_eq!(server.write(kvs(lock("free", two)), &AllowAll).await, Ok(Outcome::Decided(true)));
}

#[tokio::test]
async fn a_server_whose_storage_broke_speaks_for_itself_only() {
    let store = Failing::default();
    let server = Server::start_on(Box::new(store.clone()), config(None)).unwrap();
    put(&server, "a", b"1").await.unwrap();
    let (_, index) = get(&server, "a", &ReadOptions::default()).await;
    *store.fails.lock() = Some(StoreError::Broken("input/output error".into()));
    assert!(matches!(put(&server, "a", b"2").await, Err(Error::StorageBroken(_))));
    *store.fails.lock() = None;
    assert!(matches!(put(&server, "a", b"2").await, Err(Error::StorageBroken(_))), "for good");
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let query = KvGet(KeyQuery { key: "a".into() });
    for (mode, serves) in [(ReadMode::Default, false), (ReadMode::Consistent, false), (ReadMode::Stale, true)] {
        let options = ReadOptions { mode, ..ReadOptions::default() };
        let read = server.read(&query, &options, &may, &mut Seen::default()).await;
        assert_eq!(read.is_ok(), serves, "{mode:?}");
    }
    let renewed = server.renew_session("none", &AllowAll).await;
    assert_eq!(renewed, Ok(None), "what does not exist needs no leader to say so");
    assert_eq!((server.is_leader(), server.leader_address()), (false, None));
    let (value, same) = get(&server, "a", &ReadOptions { mode: ReadMode::Stale, ..ReadOptions::default() }).await;
    assert_eq!((value.as_deref(), same), (Some(&b"1"[..]), index));
}

#[tokio::test]
async fn the_last_handle_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(config(Some(dir.path()))).unwrap();
    put(&server, "a", b"1").await.unwrap();
    assert!(
        matches!(Server::start(config(Some(dir.path()))), Err(Error::CannotStart(text)) if text.contains("in use"))
    );
    let thread = server.shared.thread.lock().take().unwrap();
    drop(server);
    thread.join().unwrap();
    let server = Server::start(config(Some(dir.path()))).unwrap();
    assert!(get(&server, "a", &ReadOptions::default()).await.0.is_some());
}

#[tokio::test]
async fn a_log_cut_at_any_byte_gives_a_state_that_once_was() {
    let dir = tempfile::tempdir().unwrap();
    let quiet = |dir: &std::path::Path| Config { snapshot_threshold: 1000, ..config(Some(dir)) };
    let server = Server::start(quiet(dir.path())).unwrap();
    let mut was = vec![server.state()];
    for at in 0..40 {
        put(&server, &format!("k/{}", at % 7), &vec![at; usize::from(at) * 3]).await.unwrap();
        was.push(server.state());
    }
    server.shutdown().await;
    let log = std::fs::read_dir(dir.path().join("raft/log")).unwrap().next().unwrap().unwrap().path();
    let mut whole = std::fs::read(&log).unwrap();
    // Behind the records stand zeros for those to come.
    whole.truncate(whole.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    let mut least = 0;
    for cut in (0..=whole.len()).step_by(13).chain([whole.len()]) {
        let copy = tempfile::tempdir().unwrap();
        let place = copy.path().join("raft/log");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(log.file_name().unwrap()), &whole[..cut]).unwrap();
        let server = Server::start(quiet(copy.path())).unwrap();
        let state = server.state();
        let found = was.iter().rposition(|then| then.records().eq(state.records()));
        let found = found.unwrap_or_else(|| panic!("a state that never was, cut at {cut}"));
        assert!(found >= least, "more bytes, less state: cut at {cut}");
        least = found;
    }
    assert_eq!(least, 40);
}

#[tokio::test]
async fn concurrent_writers_are_all_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(config(Some(dir.path()))).unwrap();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let server = server.clone();
            tokio::spawn(async move {
                for at in 0..20 {
                    put(&server, &format!("{writer}/{at}"), b"x").await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(state::usage::keys(&server.state()), 64 * 20);
}
