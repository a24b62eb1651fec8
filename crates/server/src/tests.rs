//! A whole server: writes that last, reads that wait.

use std::sync::Arc;
use std::time::Duration;

use acl::{AllowAll, Authorizer};
use state::kv::{Entry, KeyQuery, KvGet, KvsRequest, Octets, Op};
use state::{Command, Index, Outcome, Seen};

use crate::{Config, Error, ReadMode, ReadOptions, Server};

fn config(data_dir: Option<&std::path::Path>) -> Config {
    Config {
        node_name: "n1".into(),
        node_id: "id".into(),
        datacenter: "dc1".into(),
        address: "127.0.0.1:8300".into(),
        data_dir: data_dir.map(Into::into),
        snapshot_threshold: 50,
        trailing_logs: 10,
        limits: state::Limits::default(),
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
