//! Servers that reach each other over loopback.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acl::{AllowAll, Authorizer};
use state::kv::{Entry, KeyQuery, KvGet, KvsRequest, Octets, Op};
use state::{Command, Limits, Outcome, Seen};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Config, Error, Founding, Peer, RAFT, ReadMode, ReadOptions, Server};

struct Running {
    server: Server,
    id: String,
    address: String,
    listening: JoinHandle<()>,
}

impl Running {
    async fn start(id: &str, address: &str, data_dir: Option<&Path>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = Config {
            node_name: id.to_owned(),
            node_id: id.to_owned(),
            datacenter: "dc1".to_owned(),
            address: address.clone(),
            data_dir: data_dir.map(Into::into),
            snapshot_threshold: 100_000,
            snapshot_interval: Duration::ZERO,
            trailing_logs: 10,
            limits: Limits::default(),
            raft_multiplier: 1,
            bootstrap: false,
        };
        let server = Server::start(config).unwrap();
        let accepting = server.clone();
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let server = accepting.clone();
                connections.spawn(async move {
                    assert_eq!(stream.read_u8().await.unwrap(), RAFT);
                    let _ = server.receive_raft(stream).await;
                });
            }
        });
        Running { server, id: id.to_owned(), address, listening }
    }

    async fn stop(self) {
        self.listening.abort();
        self.server.shutdown().await;
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn founded(count: usize) -> Vec<Running> {
    let mut servers = Vec::new();
    for at in 0..count {
        servers.push(Running::start(&format!("server-{at}"), "127.0.0.1:0", None).await);
    }
    found(&servers).await;
    servers
}

async fn found(servers: &[Running]) {
    let all: Vec<_> = servers.iter().map(|running| (running.id.clone(), running.address.clone())).collect();
    for running in servers.iter().rev() {
        let founding = running.server.try_to_found(all.clone()).await.unwrap();
        let is_first = running.id == servers[0].id;
        assert_eq!(founding, if is_first { Founding::Done } else { Founding::LeftTo(servers[0].id.clone()) });
    }
    leader(servers).await;
}

/// Waits for one that leads and whom all the others know.
async fn leader(servers: &[Running]) -> usize {
    let mut found = 0;
    until("one leads and all know", async || {
        let leading: Vec<_> = (0..servers.len()).filter(|at| servers[*at].server.is_leader()).collect();
        let [leading] = leading[..] else { return false };
        found = leading;
        servers.iter().all(|running| running.server.leader().is_some_and(|peer| peer.id == servers[leading].id))
    })
    .await;
    found
}

async fn put(server: &Server, key: &str, value: &[u8]) -> Result<Outcome, Error> {
    let dir_ent = Entry { key: key.into(), value: Octets::copied(value), ..Entry::default() };
    server.write(Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() }), &AllowAll).await
}

async fn get(server: &Server, key: &str, mode: ReadMode) -> Result<Option<Vec<u8>>, Error> {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let query = KvGet(KeyQuery { key: key.into() });
    let options = ReadOptions { mode, ..ReadOptions::default() };
    let (found, _) = server.read(&query, &options, &may, &mut Seen::default()).await?;
    Ok(found.answer.map(|entry| entry.value.0.to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_write_read_and_lose_their_leader() {
    let mut servers = founded(3).await;
    let first = leader(&servers).await;
    put(&servers[first].server, "a", b"1").await.unwrap();
    for mode in [ReadMode::Default, ReadMode::Consistent, ReadMode::Stale] {
        assert_eq!(get(&servers[first].server, "a", mode).await.unwrap().as_deref(), Some(&b"1"[..]), "{mode:?}");
    }
    let follower = (first + 1) % 3;
    assert_eq!(put(&servers[follower].server, "a", b"2").await, Err(Error::NoLeader));
    for mode in [ReadMode::Default, ReadMode::Consistent] {
        assert_eq!(get(&servers[follower].server, "a", mode).await, Err(Error::NoLeader));
    }
    let stale = servers[follower].server.clone();
    until("the follower has it", async || {
        get(&stale, "a", ReadMode::Stale).await.is_ok_and(|value| value.as_deref() == Some(b"1"))
    })
    .await;
    let meta = stale.meta(state::Index(1), ReadMode::Stale);
    assert!(meta.known_leader && meta.last_contact < Duration::from_secs(2), "{meta:?}");
    servers.remove(first).stop().await;
    let second = leader(&servers).await;
    put(&servers[second].server, "a", b"3").await.unwrap();
    assert_eq!(get(&servers[second].server, "a", ReadMode::Default).await.unwrap().as_deref(), Some(&b"3"[..]));
    // Without a quorum nobody leads for long, and nobody answers for the cluster.
    servers.remove(1 - second).stop().await;
    let last = servers.pop().unwrap();
    until("the last one steps down", async || !last.server.is_leader()).await;
    assert!(get(&last.server, "a", ReadMode::Default).await.is_err());
    assert_eq!(get(&last.server, "a", ReadMode::Stale).await.unwrap().as_deref(), Some(&b"3"[..]));
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_is_sent_a_snapshot_and_stays_after_a_restart() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let one = Running::start("one", "127.0.0.1:0", Some(dirs[0].path())).await;
    let mut servers = vec![one];
    found(&servers).await;
    let large = vec![7; 100_000];
    for at in 0..50 {
        put(&servers[0].server, &format!("k/{at}"), &large).await.unwrap();
    }
    // A restart compacts nothing, so the log is made to begin late.
    let archive = servers[0].server.save_snapshot().await.unwrap().0;
    servers[0].server.restore_snapshot(archive).await.unwrap();
    servers.push(Running::start("two", "127.0.0.1:0", Some(dirs[1].path())).await);
    let two = Peer { id: "two".to_owned(), address: servers[1].address.clone(), voter: false };
    servers[0].server.put_peer(two.clone()).await.unwrap();
    let has_all = async |server: &Server| {
        get(server, "k/49", ReadMode::Stale).await.is_ok_and(|value| value.is_some_and(|value| value == large))
    };
    until("the snapshot arrives", async || has_all(&servers[1].server).await).await;
    servers[0].server.put_peer(Peer { voter: true, ..two }).await.unwrap();
    until("it is known to vote", async || {
        servers[1].server.raft_configuration().iter().filter(|peer| peer.voter).count() == 2
    })
    .await;
    put(&servers[0].server, "after", b"1").await.unwrap();
    servers[0].server.hand_over(None).await.unwrap();
    until("leadership moves", async || servers[1].server.is_leader()).await;
    // Both again, from their disks.
    let addresses: Vec<String> = servers.iter().map(|running| running.address.clone()).collect();
    for running in servers.drain(..) {
        running.stop().await;
    }
    for (at, id) in ["one", "two"].into_iter().enumerate() {
        servers.push(Running::start(id, &addresses[at], Some(dirs[at].path())).await);
    }
    let leading = leader(&servers).await;
    assert_eq!(get(&servers[leading].server, "after", ReadMode::Default).await.unwrap().as_deref(), Some(&b"1"[..]));
    assert!(has_all(&servers[leading].server).await);
    // And one leaves.
    let other = servers[1 - leading].id.clone();
    servers[leading].server.remove_peer(&other).await.unwrap();
    servers.remove(1 - leading).stop().await;
    put(&servers[0].server, "alone", b"1").await.unwrap();
    servers.remove(0).stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_greets_in_the_name_of_another_cluster_is_sent_away() {
    use tokio::io::AsyncWriteExt;
    let servers = founded(1).await;
    for garbage in [&b"\x00\x00\x00\x00\x00\x00\x00\x00"[..], &b"\xff\xff\xff\xff\x00\x00\x00\x00"[..], &[9; 64]] {
        let mut stream = tokio::net::TcpStream::connect(&servers[0].address).await.unwrap();
        stream.write_all(&[RAFT]).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        // Closed, be it with a reset.
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty());
    }
    put(&servers[0].server, "a", b"1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_never_form_that_share_a_server() {
    let mut servers = Vec::new();
    for at in 0..5 {
        servers.push(Running::start(&format!("server-{at}"), "127.0.0.1:0", None).await);
    }
    let known = |range: std::ops::Range<usize>| -> Vec<_> {
        servers[range].iter().map(|running| (running.id.clone(), running.address.clone())).collect()
    };
    // Server 2 is wanted by both, who do not know of each other.
    let (one, two) =
        tokio::join!(servers[0].server.try_to_found(known(0..3)), servers[2].server.try_to_found(known(2..5)));
    let founded = [one.unwrap(), two.unwrap()].into_iter().filter(|done| *done == Founding::Done).count();
    assert!(founded <= 1);
    // Whoever was refused finds the other's cluster, or forms one that excludes it.
    let (mut again, mut theirs) = (Founding::NotYet(String::new()), Founding::NotYet(String::new()));
    until("both know", async || {
        again = servers[0].server.try_to_found(known(0..3)).await.unwrap();
        theirs = servers[2].server.try_to_found(known(2..5)).await.unwrap();
        // A promise is known to be kept once the cluster's first message has come.
        ![&again, &theirs].into_iter().any(|done| matches!(done, Founding::NotYet(_)))
    })
    .await;
    let is_one = [&again, &theirs].into_iter().all(|done| matches!(done, Founding::Done | Founding::Exists(_)));
    assert!(is_one, "{again:?} {theirs:?}");
    let clusters: std::collections::BTreeSet<u64> = servers
        .iter()
        .map(|running| running.server.position().borrow().configuration.cluster)
        .filter(|cluster| *cluster != 0)
        .collect();
    assert_eq!(clusters.len(), 1, "{clusters:?}");
}
