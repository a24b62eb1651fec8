//! The figures: what is measured, against which limit, and what was hoped for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::{Connection, rate, request};
use crate::subject::{Bare, Subject};
use crate::{cluster, disk, dns, pool};

/// How long each rate is measured.
const SPAN: Duration = Duration::from_secs(3);
/// The connections of a busy client population.
const MANY: usize = 64;
/// Watchers of one key.
const WATCHERS: usize = 5000;
/// Instances of the service that is looked up.
const INSTANCES: usize = 100;

struct Row {
    name: &'static str,
    ours: String,
    limit: String,
    ratio: String,
    goal: &'static str,
}

/// Measures the figures whose names contain one of the words; all without words.
pub async fn run(words: &[String]) -> Result<()> {
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut rows = Vec::new();
    if wanted("ready") || wanted("memory") {
        rows.extend(at_rest().await?);
    }
    if wanted("kv-get") {
        rows.push(kv_get().await?);
    }
    if wanted("health") {
        rows.push(health().await?);
    }
    if wanted("kv-put") {
        rows.extend(kv_put().await?);
    }
    if wanted("register") {
        rows.push(register().await?);
    }
    if wanted("dns") {
        rows.push(dns_a().await?);
    }
    if wanted("watch") {
        rows.extend(watchers().await?);
    }
    if wanted("gossip") {
        rows.extend(tokio::task::block_in_place(gossip)?);
    }
    // Takes three servers of each kind and half a minute: by name only.
    if words.iter().any(|word| word == "cluster") {
        println!("| figure | ours | beside |\n|---|---|---|");
        for (name, ours, beside) in cluster::run().await? {
            println!("| {name} | {ours} | {beside} |");
        }
    }
    println!("| figure | ours | limit | ratio | goal |\n|---|---|---|---|---|");
    for row in rows {
        println!("| {} | {} | {} | {} | {} |", row.name, row.ours, row.limit, row.ratio, row.goal);
    }
    Ok(())
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

fn ratio_row(name: &'static str, ours: f64, limit: f64, goal: &'static str) -> Row {
    Row { name, ours: per_second(ours), limit: per_second(limit), ratio: format!("{:.2}", ours / limit), goal }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// The body that the agent answers, as a file for the bare server.
async fn body_of(address: SocketAddr, target: &str) -> Result<(tempfile::NamedTempFile, usize)> {
    let mut connection = Connection::open(address).await?;
    let (_, _, length) = connection.ask(&request("GET", target, b"")).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), vec![b'x'; length])?;
    Ok((file, length))
}

async fn against_bare(name: &'static str, subject: &Subject, target: &'static str, goal: &'static str) -> Result<Row> {
    let (body, _) = body_of(subject.http, target).await?;
    let bare = Bare::http(body.path())?;
    let limit = rate(bare.address, MANY, SPAN, move |_, _| request("GET", target, b"")).await?;
    let ours = rate(subject.http, MANY, SPAN, move |_, _| request("GET", target, b"")).await?;
    Ok(ratio_row(name, ours, limit, goal))
}

async fn kv_get() -> Result<Row> {
    let dir = tempfile::tempdir()?;
    let subject = Subject::start(Some(dir.path())).await?;
    let mut connection = Connection::open(subject.http).await?;
    connection.ask(&request("PUT", "/v1/kv/bench/key", &[b'v'; 256])).await?;
    against_bare("KV GET, 64 connections, against bare hyper", &subject, "/v1/kv/bench/key", "≥ 0.70").await
}

async fn register_web(connection: &mut Connection, count: usize) -> Result<()> {
    for at in 0..count {
        let body = serde_json::json!({
            "Node": format!("node-{at}"), "Address": format!("10.0.{}.{}", at / 250, at % 250 + 1),
            "Service": {"ID": "web", "Service": "web", "Port": 8080, "Tags": ["v1"]},
            "Check": {"CheckID": "web", "Name": "web", "ServiceID": "web", "Status": "passing", "Output": "ok"},
        });
        connection.ask(&request("PUT", "/v1/catalog/register", body.to_string().as_bytes())).await?;
    }
    Ok(())
}

async fn health() -> Result<Row> {
    let dir = tempfile::tempdir()?;
    let subject = Subject::start(Some(dir.path())).await?;
    register_web(&mut Connection::open(subject.http).await?, INSTANCES).await?;
    let name = "health/service?passing, 100 instances, against bare hyper";
    against_bare(name, &subject, "/v1/health/service/web?passing", "≥ 0.60").await
}

async fn kv_put() -> Result<Vec<Row>> {
    let dir = tempfile::tempdir()?;
    let subject = Subject::start(Some(dir.path())).await?;
    let put = |connection: usize, count: u64| {
        request("PUT", &format!("/v1/kv/bench/{connection}/{}", count % 100), &[b'v'; 256])
    };
    let raw = disk::sync_rate(dir.path(), 256, SPAN)?;
    let one = rate(subject.http, 1, SPAN, put).await?;
    let many = rate(subject.http, MANY, SPAN, put).await?;
    let again = disk::sync_rate(dir.path(), 256, SPAN)?;
    // The disk is shared: the faster of two looks is the limit.
    let raw = raw.max(again);
    Ok(vec![
        ratio_row("KV PUT 256 B durable, 1 connection, against raw append+sync", one, raw, "≥ 0.60"),
        ratio_row("KV PUT 256 B durable, 64 connections, against raw append+sync", many, raw, "≥ 4"),
    ])
}

async fn register() -> Result<Row> {
    let dir = tempfile::tempdir()?;
    let subject = Subject::start(Some(dir.path())).await?;
    let raw = disk::sync_rate(dir.path(), 256, SPAN)?;
    let ours = rate(subject.http, MANY, SPAN, |connection, count| {
        // 5,000 instances, registered again and again with another port, so that each is a write.
        let instance = (connection as u64 * 79 + count) % 5000;
        let body = format!(
            r#"{{"Node":"n{instance}","Address":"10.1.0.1","Service":{{"ID":"s","Service":"svc-{}","Port":{}}}}}"#,
            instance % 50,
            count % 60_000 + 1
        );
        request("PUT", "/v1/catalog/register", body.as_bytes())
    })
    .await?;
    let raw = raw.max(disk::sync_rate(dir.path(), 256, SPAN)?);
    Ok(ratio_row("catalog/register, 64 connections, 5,000 instances, against raw append+sync", ours, raw, "≥ 3"))
}

async fn dns_a() -> Result<Row> {
    let dir = tempfile::tempdir()?;
    let subject = Subject::start(Some(dir.path())).await?;
    register_web(&mut Connection::open(subject.http).await?, 5).await?;
    let bare = Bare::udp()?;
    let name = "web.service.consul.";
    let limit = tokio::task::block_in_place(|| dns::rate(bare.address, name, SPAN))?;
    let ours = tokio::task::block_in_place(|| dns::rate(subject.dns, name, SPAN))?;
    Ok(ratio_row("DNS A, 5 instances, against a bare UDP server", ours, limit, "≥ 0.60"))
}

async fn watchers() -> Result<Vec<Row>> {
    let subject = Subject::start(None).await?;
    let mut writer = Connection::open(subject.http).await?;
    writer.ask(&request("PUT", "/v1/kv/watched", b"1")).await?;
    let (_, index, _) = writer.ask(&request("GET", "/v1/kv/watched", b"")).await?;
    let before = subject.resident()?;
    let blocking = request("GET", &format!("/v1/kv/watched?index={index}&wait=300s"), b"");
    let mut parked = Vec::new();
    for _ in 0..WATCHERS {
        let mut connection = Connection::open(subject.http).await?;
        connection.send(&blocking).await?;
        parked.push(connection);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = subject.resident()?.saturating_sub(before) as f64 / WATCHERS as f64 / 1024.0;
    for at in 0..1000 {
        writer.ask(&request("PUT", &format!("/v1/kv/unrelated/{at}"), b"x")).await?;
    }
    let mut tasks = Vec::new();
    for mut connection in parked {
        tasks.push(tokio::spawn(async move {
            let (status, ..) = connection.receive().await?;
            anyhow::ensure!(status == 200);
            Ok::<_, anyhow::Error>(Instant::now())
        }));
    }
    let still = tasks.iter().filter(|task| !task.is_finished()).count();
    let written = Instant::now();
    writer.ask(&request("PUT", "/v1/kv/watched", b"2")).await?;
    let mut delays = Vec::new();
    for task in tasks {
        delays.push(task.await??.duration_since(written));
    }
    delays.sort();
    let p99 = delays[delays.len() * 99 / 100];
    Ok(vec![
        Row {
            name: "a parked blocking query, of 5,000 on one key",
            ours: format!("{each:.1} KiB"),
            limit: String::new(),
            ratio: String::new(),
            goal: "< 10 KiB",
        },
        Row {
            name: "5,000 parked queries answered after the write, p99",
            ours: format!("{:.0} ms", p99.as_secs_f64() * 1000.0),
            limit: String::new(),
            ratio: String::new(),
            goal: "< 100 ms",
        },
        Row {
            name: "parked queries woken by 1,000 unrelated writes",
            ours: (WATCHERS - still).to_string(),
            limit: String::new(),
            ratio: String::new(),
            goal: "0",
        },
    ])
}

/// A member of a pool of [`pool::MEMBERS`].
fn gossip() -> Result<Vec<Row>> {
    let plain = |name, ours| Row { name, ours, limit: String::new(), ratio: String::new(), goal: "" };
    // Memory comes first: what others free would be taken for it.
    let memory = pool::memory()?;
    let mut rows = vec![plain("gossip: memory of a known member, of 1,000", format!("{memory:.0} B"))];
    for (encrypted, handled, busy, sent) in [
        (
            false,
            "gossip: pings opened and handled by one core, plain",
            "gossip: time of one core that an idle member of 1,000 takes, plain",
            "gossip: what an idle member of 1,000 sends, plain",
        ),
        (
            true,
            "gossip: pings opened and handled by one core, encrypted",
            "gossip: time of one core that an idle member of 1,000 takes, encrypted",
            "gossip: what an idle member of 1,000 sends, encrypted",
        ),
    ] {
        rows.push(plain(handled, per_second(pool::packets(encrypted, SPAN)?)));
        let idle = pool::idle(encrypted)?;
        rows.push(plain(busy, format!("{:.0} µs/s", idle.busy.as_secs_f64() * 1e6)));
        rows.push(plain(sent, format!("{:.0} B/s", idle.bytes)));
    }
    Ok(rows)
}

/// Memory is at rest when the allocator has given back what it does not need, which takes it a few seconds.
const SETTLE: Duration = Duration::from_secs(5);

async fn at_rest() -> Result<Vec<Row>> {
    let dir = tempfile::tempdir()?;
    let subject = Subject::start(Some(dir.path())).await?;
    let ready = subject.ready_in;
    tokio::time::sleep(SETTLE).await;
    let idle = subject.resident()?;
    let mut tasks = Vec::new();
    for writer in 0..MANY {
        let mut connection = Connection::open(subject.http).await?;
        tasks.push(tokio::spawn(async move {
            for at in (writer..100_000).step_by(MANY) {
                let target = format!("/v1/kv/bench/keys/{at:06}");
                connection.ask(&request("PUT", &target, &[b'v'; 256])).await?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    tokio::time::sleep(SETTLE).await;
    let full = subject.resident()?;
    subject.kill()?;
    let again = Subject::start(Some(dir.path())).await?;
    let mut connection = Connection::open(again.http).await?;
    let (status, ..) = connection.ask(&request("GET", "/v1/kv/bench/keys/099999", b"")).await?;
    anyhow::ensure!(status == 200, "the last key is gone");
    tokio::time::sleep(SETTLE).await;
    let plain = |name, ours, goal| Row { name, ours, limit: String::new(), ratio: String::new(), goal };
    Ok(vec![
        plain("ready after start", format!("{:.0} ms", ready.as_secs_f64() * 1000.0), "< 100 ms"),
        plain("idle resident memory", mebibytes(idle), "< 15 MiB"),
        plain("resident memory with 100,000 keys of 256 B", mebibytes(full), "< 80 MiB"),
        plain("restart with those keys", format!("{:.0} ms", again.ready_in.as_secs_f64() * 1000.0), "< 500 ms"),
        plain("resident memory after that restart", mebibytes(again.resident()?), "< 80 MiB"),
    ])
}
