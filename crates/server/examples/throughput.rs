//! Rough figures of one server in this process, against what the disk can do: `throughput [directory]`; and of one
//! that starts on what an earlier run left: `throughput directory again`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acl::{AllowAll, Authorizer};
use server::{Config, Error, ReadMode, ReadOptions, Server};
use state::kv::{Entry, KeyQuery, KvGet, KvsRequest, Octets, Op};
use state::{Command, Index, Limits, Seen};

const VALUE: usize = 256;
const KEYS: u64 = 100_000;
const PROPOSERS: u64 = 64;
const CROWD: usize = 5000;

fn config(dir: &Path) -> Config {
    Config {
        node_name: "bench".into(),
        node_id: "bench".into(),
        datacenter: "dc1".into(),
        address: "127.0.0.1:8300".into(),
        data_dir: Some(dir.to_owned()),
        snapshot_threshold: 16_384,
        snapshot_interval: Duration::from_secs(30),
        trailing_logs: 10_240,
        limits: Limits::default(),
        raft_multiplier: 1,
        bootstrap: true,
    }
}

async fn put(server: &Server, key: String) -> Result<(), Error> {
    let dir_ent = Entry { key: key.as_str().into(), value: Octets::copied(&value()), ..Entry::default() };
    let command = Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() });
    server.write(command, &AllowAll).await.map(|_| ())
}

/// Never the same, so that each write is one.
fn value() -> [u8; VALUE] {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut value = [7; VALUE];
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    value[..8].copy_from_slice(&count.to_le_bytes());
    value
}

fn raw(dir: &Path) -> std::io::Result<f64> {
    let path = dir.join("raw");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0x5a; VALUE])?;
        file.sync_data()?;
        count += 1;
    }
    std::fs::remove_file(path)?;
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Writes a second, and the slowest write in milliseconds.
async fn write_keys(server: &Server, keys: u64, proposers: u64) -> Result<(f64, f64), Error> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..proposers)
        .map(|proposer| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut slowest = Duration::ZERO;
                for key in (proposer..keys).step_by(usize::try_from(proposers).unwrap_or(1)) {
                    let started = Instant::now();
                    put(&server, format!("bench/{key:08}")).await?;
                    slowest = slowest.max(started.elapsed());
                }
                Ok::<_, Error>(slowest)
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for task in tasks {
        slowest = slowest.max(task.await.map_err(|error| Error::StorageBroken(error.to_string()))??);
    }
    Ok((keys as f64 / started.elapsed().as_secs_f64(), slowest.as_secs_f64() * 1000.0))
}

async fn crowd(server: &Server) -> Result<Duration, Error> {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    put(server, "watched".into()).await?;
    let index = server.state().applied();
    let tasks: Vec<_> = (0..CROWD)
        .map(|_| {
            let (server, may) = (server.clone(), Arc::clone(&may));
            tokio::spawn(async move {
                let options = ReadOptions { min_index: index, wait: Duration::from_secs(60), mode: ReadMode::Default };
                let query = KvGet(KeyQuery { key: "watched".into() });
                server.read(&query, &options, &may, &mut Seen::default()).await.map(|(answer, _)| answer.meta.index)
            })
        })
        .collect();
    while server.registry().parked() < CROWD {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let dir_ent = Entry { key: "watched".into(), value: Octets::copied(b"changed"), ..Entry::default() };
    let started = Instant::now();
    server.write(Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() }), &AllowAll).await?;
    for task in tasks {
        let woken = task.await.map_err(|error| Error::StorageBroken(error.to_string()))??;
        assert!(woken > Index(index.0));
    }
    Ok(started.elapsed())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join("curule-throughput");
    if std::env::args().nth(2).is_some() {
        return again(&dir).await;
    }
    std::fs::create_dir_all(&dir)?;
    let before = raw(&dir)?;
    println!("raw append+sync             {before:9.0}/s");
    let server = Server::start(config(&dir))?;
    println!("one proposer                {:9.0}/s", write_keys(&server, 5000, 1).await?.0);
    let (grouped, _) = write_keys(&server, KEYS, PROPOSERS).await?;
    let after = raw(&dir)?;
    println!(
        "{PROPOSERS} proposers                {grouped:9.0}/s  {:.1} x raw ({after:.0}/s)",
        grouped / before.max(after)
    );
    println!("resident after {KEYS} keys  {:9} MiB", resident_mib());
    for (what, key_range, proposers) in
        [("new values, 64 proposers", 3 * KEYS, PROPOSERS), ("one after the other", 8192, 1)]
    {
        // Different keys than before, so that snapshots of this large a state are written meanwhile.
        let (rate, slowest) = write_keys(&server, key_range, proposers).await?;
        println!("{what:<26}  {rate:9.0}/s  slowest {slowest:.1} ms");
    }
    println!("snapshot at index           {:9}", server.stats().last_snapshot_index);
    println!("a crowd of {CROWD} answered in  {:9.1} ms", crowd(&server).await?.as_secs_f64() * 1000.0);
    println!("resident after the crowd    {:9} MiB", resident_mib());
    server.shutdown().await;
    drop(server);
    again(&dir).await
}

async fn again(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let server = Server::start(config(dir))?;
    let keys = state::usage::keys(&server.state());
    let took = started.elapsed().as_secs_f64() * 1000.0;
    println!("started with {keys} keys in {took:9.0} ms, resident {} MiB", resident_mib());
    server.shutdown().await;
    Ok(())
}
