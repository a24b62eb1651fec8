//! Three servers on one machine, beside three of `etcd` (Debian's `etcd-server`) on the same disks when it is installed.
//!
//! `etcd` is asked through its HTTP gateway, as Curule is through its API; its own clients speak gRPC.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::load::{Connection, request};
use crate::subject::binary;

/// How long each rate is measured.
const SPAN: Duration = Duration::from_secs(3);
const CROWDS: [usize; 3] = [1, 16, 64];
/// Values of this size.
const VALUE: usize = 256;
/// A cluster is there within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A name, what was measured, and beside what.
pub type Row = (String, String, String);

/// Servers that end with their value.
struct Servers {
    children: Vec<Child>,
    addresses: Vec<SocketAddr>,
    _dir: tempfile::TempDir,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn here() -> Result<tempfile::TempDir> {
    // Not below /tmp, which may be memory.
    Ok(tempfile::Builder::new().prefix("bench-cluster-").tempdir_in(".")?)
}

fn ours() -> Result<Servers> {
    let dir = here()?;
    let host = |at: u8| format!("127.0.3.{at}");
    let mut children = Vec::new();
    for at in 1..=3 {
        let mut command = Command::new(binary()?);
        command
            .args(["agent", "-server", "-bootstrap-expect=3", "-log-level=error", "-retry-interval=1s"])
            .args([format!("-node=s{at}"), format!("-bind={}", host(at)), format!("-client={}", host(at))])
            .arg(format!("-data-dir={}", dir.path().join(host(at)).display()))
            .args(["-retry-join=127.0.3.1", "-retry-join=127.0.3.2"])
            .args(["-hcl", "performance { raft_multiplier = 1 } limits { http_max_conns_per_client = 8000 }"])
            .stdout(Stdio::null());
        children.push(command.spawn()?);
    }
    let addresses = (1..=3).map(|at| SocketAddr::from(([127, 0, 3, at], 8500))).collect();
    Ok(Servers { children, addresses, _dir: dir })
}

fn etcd() -> Option<Servers> {
    let dir = here().ok()?;
    let peers: Vec<String> = (1..=3).map(|at| format!("e{at}=http://127.0.4.{at}:2380")).collect();
    let mut children = Vec::new();
    for at in 1..=3 {
        let (client, peer) = (format!("http://127.0.4.{at}:2379"), format!("http://127.0.4.{at}:2380"));
        let started = Command::new("etcd")
            .args(["--name", &format!("e{at}"), "--log-level", "error", "--initial-cluster-state", "new"])
            .args(["--data-dir", &dir.path().join(format!("e{at}")).display().to_string()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--initial-cluster", &peers.join(",")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        children.push(started.ok()?);
    }
    let addresses = (1..=3).map(|at| SocketAddr::from(([127, 0, 4, at], 2379))).collect();
    Some(Servers { children, addresses, _dir: dir })
}

/// The status and the body of one answer.
async fn ask(address: SocketAddr, method: &str, target: &str, body: &[u8]) -> Result<(u16, String)> {
    let mut connection = Connection::open(address).await?;
    let (status, ..) = connection.ask(&request(method, target, body)).await?;
    Ok((status, connection.body()))
}

/// Waits until one leads; its place.
async fn leader(servers: &Servers) -> Result<usize> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        for address in &servers.addresses {
            if let Ok((200, said)) = ask(*address, "GET", "/v1/status/leader", b"").await
                && let Some(at) = servers.addresses.iter().position(|server| said.contains(&server.ip().to_string()))
            {
                return Ok(at);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("nobody leads")
}

struct Measured {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |span: Duration| span.as_secs_f64() * 1000.0;
        write!(f, "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms", self.per_second, ms(self.p50), ms(self.p99))
    }
}

async fn measure(address: SocketAddr, crowd: usize, make: fn(u64) -> Vec<u8>) -> Result<Measured> {
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..crowd as u64 {
        tasks.spawn(async move {
            let (mut open, begin) = (Connection::open(address).await?, Instant::now());
            let mut took = Vec::new();
            while begin.elapsed() < SPAN {
                let asked = Instant::now();
                let (status, ..) = open.ask(&make(connection * 1_000_000 + took.len() as u64)).await?;
                if status != 200 {
                    bail!("answered with {status}");
                }
                took.push(asked.elapsed());
            }
            Ok(took)
        });
    }
    let mut took: Vec<Duration> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took.extend(done??);
    }
    took.sort();
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or_default();
    Ok(Measured { per_second: took.len() as f64 / SPAN.as_secs_f64(), p50: at(0.5), p99: at(0.99) })
}

fn put(count: u64) -> Vec<u8> {
    request("PUT", &format!("/v1/kv/bench/{}", count % 10_000), &[b'x'; VALUE])
}

fn get(count: u64) -> Vec<u8> {
    request("GET", &format!("/v1/kv/bench/{}", count % 1000), b"")
}

fn get_stale(count: u64) -> Vec<u8> {
    request("GET", &format!("/v1/kv/bench/{}?stale", count % 1000), b"")
}

/// The same size of value; keys and values are base64.
fn etcd_put(count: u64) -> Vec<u8> {
    let body = format!(r#"{{"key":"YmVu{:04}","value":"{}"}}"#, count % 10_000, "eHh4".repeat(VALUE.div_ceil(3)));
    request("POST", "/v3/kv/put", body.as_bytes())
}

/// Measures the cluster.
pub async fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut beside = Vec::new();
    if let Some(etcd) = etcd() {
        let begin = Instant::now();
        let mut leads = None;
        while leads.is_none() && begin.elapsed() < PATIENCE {
            for address in &etcd.addresses {
                // A member says who it is and who leads; the leader says the same twice.
                if let Ok((200, said)) = ask(*address, "POST", "/v3/maintenance/status", b"{}").await {
                    let number = |name: &str| {
                        let rest = said.split(&format!("\"{name}\":\"")).nth(1)?;
                        rest.split('"').next().map(str::to_owned)
                    };
                    if number("leader").is_some_and(|leader| leader != "0" && Some(leader) == number("member_id")) {
                        leads = Some(*address);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let leads = leads.context("etcd has no leader")?;
        for crowd in CROWDS {
            beside.push(measure(leads, crowd, etcd_put).await?);
        }
    }
    let mut servers = ours()?;
    let leads = leader(&servers).await?;
    for at in 0..1000 {
        ask(servers.addresses[leads], "PUT", &format!("/v1/kv/bench/{at}"), &[b'x'; VALUE]).await?;
    }
    let follows = (leads + 1) % 3;
    for (at, crowd) in CROWDS.into_iter().enumerate() {
        let limit = beside.get(at).map_or("no etcd here".to_owned(), |etcd| format!("etcd {etcd}"));
        let measured = measure(servers.addresses[leads], crowd, put).await?;
        rows.push((format!("3 servers: PUT 256 B to the leader, {crowd} connections"), measured.to_string(), limit));
    }
    for crowd in CROWDS {
        let measured = measure(servers.addresses[follows], crowd, put).await?;
        rows.push((
            format!("3 servers: PUT 256 B to a follower, {crowd} connections"),
            measured.to_string(),
            String::new(),
        ));
    }
    for (what, server, make) in [
        ("GET, default, leader", leads, get as fn(u64) -> Vec<u8>),
        ("GET, default, follower", follows, get),
        ("GET, stale, follower", follows, get_stale),
    ] {
        let measured = measure(servers.addresses[server], 64, make).await?;
        rows.push((format!("3 servers: {what}, 64 connections"), measured.to_string(), String::new()));
    }
    // The leader dies; how long until another one has stored a write.
    servers.children[leads].kill()?;
    let died = Instant::now();
    let another = servers.addresses[follows];
    while died.elapsed() < PATIENCE {
        if let Ok((200, _)) = ask(another, "PUT", "/v1/kv/bench/after", b"x").await {
            break;
        }
    }
    let took = format!("{} ms", died.elapsed().as_millis());
    rows.push(("3 servers: a write is stored after kill -9 of the leader".to_owned(), took, "2000 ms".to_owned()));
    Ok(rows)
}
