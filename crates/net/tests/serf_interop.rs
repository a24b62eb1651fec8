//! Our Serf and the `serf` program in one pool, over loopback: each joins the other, plain and encrypted, and each sees
//! the other's members, tags, events, queries, keys, leave, failure and return.
//!
//! Without the program (Debian's package `serf`) there is nothing to test, and the tests say so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use gossip::envelope::Envelope;
use gossip::io::Peer;
use gossip::keyring::{Key, Keyring};
use gossip::memberlist;
use gossip::serf::member::{MemberStatus, Tags};
use gossip::serf::snapshot::Replayed;
use gossip::serf::{Config, Event, KeyOperation, Open, Output, QueryParams, Serf, Setup};
use net::gossip::{Clock, Handle, Member, STREAM_TIMEOUT, bind, drive};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(40);
const FIRST_KEY: [u8; 16] = *b"0123456789abcdef";
const SECOND_KEY: [u8; 16] = *b"fedcba9876543210";

/// Whether there is a `serf` to talk to.
fn no_serf() -> bool {
    let missing = Command::new("serf").arg("version").output().is_err();
    if missing {
        eprintln!("no `serf` program: nothing to test against");
    }
    missing
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Waits until it is true.
async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_true().await {
        assert!(start.elapsed() < BOUND, "never came: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

struct Ours {
    handle: Handle<Serf>,
    told: Arc<Mutex<Vec<Output>>>,
    stop: CancellationToken,
    address: SocketAddr,
}

async fn ours(name: &str, key: Option<&[u8]>) -> Ours {
    let sockets = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = sockets.address();
    let keyring = key.map(|key| Keyring::new(Key::new(key).unwrap()));
    let sealing = keyring.clone().map(Arc::new);
    let envelope = Arc::new(ArcSwap::from_pointee(Envelope { keyring: sealing, ..Envelope::default() }));
    let tags = Tags::from([("role".to_owned(), "ours".to_owned())]);
    let setup = Setup {
        config: Config { tags, leave_propagate_delay: Duration::from_millis(500), ..Config::serf(name) },
        memberlist: memberlist::Config {
            // Fail, and let come back, soon: there is nobody else to confirm a suspicion.
            suspicion_max_timeout_mult: 1,
            dead_node_reclaim_time: Duration::from_millis(1),
            ..memberlist::Config::local(name, address)
        },
        admission: Box::new(Open),
        keyring,
        seed: address.port().into(),
        snapshot: Some(Replayed::default()),
    };
    let clock = Clock::start();
    let mut outputs = vec![];
    let machine = Serf::new(setup, clock.now(), &mut outputs).unwrap();
    let told = Arc::new(Mutex::new(vec![]));
    let stop = CancellationToken::new();
    let (kept, mut to_keep) = tokio::sync::mpsc::unbounded_channel();
    let (above_told, above_envelope) = (told.clone(), envelope.clone());
    let above = move |output: Output| {
        if let Output::KeyringChanged { change, keyring } = &output {
            let keyring = Some(Arc::new(keyring.clone()));
            above_envelope.store(Arc::new(Envelope { keyring, ..Envelope::default() }));
            let _ = kept.send(*change);
        }
        above_told.lock().unwrap().push(output);
    };
    let member =
        Member { machine, outputs, clock, envelope, above, stream_timeout: STREAM_TIMEOUT, stop: stop.clone() };
    let (handle, _task) = drive(sockets, member);
    let keeper = handle.clone();
    tokio::spawn(async move {
        while let Some(change) = to_keep.recv().await {
            let _ = keeper.tell(move |serf, now, out| serf.keyring_kept(now, change, Ok(()), out));
        }
    });
    Ours { handle, told, stop, address }
}

impl Ours {
    async fn join(&self, other: SocketAddr) {
        let peer = Peer { name: String::new(), address: other };
        self.handle.run(move |serf, now, out| serf.join(now, vec![peer], true, out).unwrap()).await.unwrap();
    }

    async fn status(&self, name: &'static str) -> MemberStatus {
        let status = move |serf: &mut Serf| serf.member(name).map_or(MemberStatus::None, |member| member.status);
        self.handle.run(move |serf, _, _| status(serf)).await.unwrap()
    }

    async fn tag(&self, name: &'static str, tag: &'static str) -> String {
        let tag = move |serf: &mut Serf| serf.member(name).map_or(String::new(), |member| member.tag(tag).to_owned());
        self.handle.run(move |serf, _, _| tag(serf)).await.unwrap()
    }

    fn find<T>(&self, look: impl Fn(&Output) -> Option<T>) -> Option<T> {
        self.told.lock().unwrap().iter().find_map(look)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Theirs {
    process: Child,
    address: SocketAddr,
    rpc: SocketAddr,
}

fn theirs(name: &str, directory: &Path, key: Option<&str>, more: &[&str]) -> Theirs {
    let (address, rpc) = (free_address(), free_address());
    let mut command = Command::new("serf");
    let handler = format!("user:deploy=cat >> {}", directory.join("deploy").display());
    command
        .args(["agent", "-node", name, "-profile", "local", "-tag", "role=theirs"])
        .args(["-bind", &address.to_string(), "-rpc-addr", &rpc.to_string()])
        .args(["-event-handler", "query:load=printf 0.25", "-event-handler", &handler])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(key) = key {
        command.args(["-encrypt", key]);
    }
    Theirs { process: command.spawn().unwrap(), address, rpc }
}

impl Theirs {
    /// What `serf` prints, and whether it succeeded.
    async fn say(&self, arguments: &[&str]) -> (bool, String) {
        let (first, rest) = arguments.split_first().unwrap();
        let rpc = format!("-rpc-addr={}", self.rpc);
        let output = tokio::process::Command::new("serf").arg(first).arg(rpc).args(rest).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// The line about a member.
    async fn sees(&self, name: &str, what: &[&str]) -> bool {
        let (_, members) = self.say(&["members"]).await;
        members.lines().any(|line| line.starts_with(name) && what.iter().all(|what| line.contains(what)))
    }

    async fn up(&self) {
        until("their agent", async || self.say(&["members"]).await.0).await;
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_tags_events_and_queries_cross() {
    if no_serf() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = ours("ours", None).await;
    let theirs = theirs("theirs", directory.path(), None, &["-join", &ours.address.to_string()]);
    theirs.up().await;
    until("they see us", async || theirs.sees("ours", &["alive", "role=ours"]).await).await;
    until("we see them", async || ours.status("theirs").await == MemberStatus::Alive).await;
    assert_eq!(ours.tag("theirs", "role").await, "theirs");

    // Tags change.
    theirs.say(&["tags", "-set", "role=db"]).await;
    until("their new tag", async || ours.tag("theirs", "role").await == "db").await;
    let tags = Tags::from([("role".to_owned(), "web".to_owned())]);
    ours.handle.run(|serf, now, out| serf.set_tags(now, tags, out)).await.unwrap().unwrap();
    until("our new tag", async || theirs.sees("ours", &["alive", "role=web"]).await).await;

    // User events.
    let fired = ours.handle.run(|serf, now, out| serf.user_event(now, "deploy", Bytes::from_static(b"v1"), false, out));
    fired.await.unwrap().unwrap();
    let read = || std::fs::read_to_string(directory.path().join("deploy")).unwrap_or_default();
    until("our event", async || read().contains("v1")).await;
    theirs.say(&["event", "hello", "payload"]).await;
    let hello = |output: &Output| match output {
        Output::Event(Event::User(event)) if event.name == "hello" => Some(event.payload.clone()),
        _ => None,
    };
    until("their event", async || ours.find(hello).is_some()).await;
    assert_eq!(ours.find(hello).unwrap(), "payload");

    // Our query.
    let params = QueryParams { name: "load".into(), ack: true, ..QueryParams::default() };
    ours.handle.run(|serf, now, out| serf.query(now, params, out)).await.unwrap().unwrap();
    let load = |output: &Output| match output {
        Output::Responded { from, payload, .. } if from == "theirs" => Some(payload.clone()),
        _ => None,
    };
    until("their answer", async || ours.find(load).is_some()).await;
    assert_eq!(ours.find(load).unwrap(), "0.25");
    assert!(
        ours.find(|output| matches!(output, Output::Acked { from, .. } if from == "theirs").then_some(())).is_some()
    );

    // Their query.
    let asking = theirs.say(&["query", "-timeout", "10s", "-tag", "role=w.b", "-node", "ours", "uptime"]);
    let answering = async {
        let uptime = |output: &Output| match output {
            Output::Event(Event::Query(query)) if query.name == "uptime" => Some(query.asked),
            _ => None,
        };
        until("their query", async || ours.find(uptime).is_some()).await;
        let asked = ours.find(uptime).unwrap();
        let respond =
            ours.handle.run(move |serf, now, out| serf.respond(now, asked, Bytes::from_static(b"3 days"), out));
        respond.await.unwrap().unwrap();
    };
    let ((_, said), ()) = tokio::join!(asking, answering);
    assert!(said.contains("Ack from 'ours'") && said.contains("Response from 'ours': 3 days"), "{said}");

    // Their reachability check is our `_serf_ping`.
    let (reached, said) = theirs.say(&["reachability"]).await;
    assert!(reached, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_failures_and_returns_cross() {
    if no_serf() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ours = ours("ours", None).await;
    let mut theirs_a = theirs("theirs-a", directory.path(), None, &[]);
    theirs_a.up().await;
    // This time we join them.
    ours.join(theirs_a.address).await;
    until("they see us", async || theirs_a.sees("ours", &["alive"]).await).await;
    let theirs_b = theirs("theirs-b", directory.path(), None, &["-join", &theirs_a.address.to_string()]);
    until("we see both", async || ours.status("theirs-b").await == MemberStatus::Alive).await;

    // One leaves, one vanishes.
    theirs_b.say(&["leave"]).await;
    until("it left", async || ours.status("theirs-b").await == MemberStatus::Left).await;
    theirs_a.process.kill().unwrap();
    theirs_a.process.wait().unwrap();
    until("it failed", async || ours.status("theirs-a").await == MemberStatus::Failed).await;

    // It comes back under its name, and hears from us that it is to go, which it denies.
    let back = theirs("theirs-a", directory.path(), None, &["-join", &ours.address.to_string()]);
    until("it is back", async || ours.status("theirs-a").await == MemberStatus::Alive).await;
    back.up().await;
    ours.handle.run(|serf, now, out| serf.force_leave(now, "theirs-a", false, out)).await.unwrap();
    until("it denies", async || ours.status("theirs-a").await == MemberStatus::Alive).await;

    // We leave.
    ours.handle.run(|serf, now, out| serf.leave(now, out)).await.unwrap().unwrap();
    until("we left", async || ours.find(|output| (*output == Output::Left).then_some(())).is_some()).await;
    until("they know", async || back.sees("ours", &["left"]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_from_either_side() {
    if no_serf() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let first = Key::new(&FIRST_KEY).unwrap().to_base64();
    let second = Key::new(&SECOND_KEY).unwrap().to_base64();
    let ours = ours("ours", Some(&FIRST_KEY)).await;
    let theirs = theirs("theirs", directory.path(), Some(&first), &["-join", &ours.address.to_string()]);
    theirs.up().await;
    until("they see us", async || theirs.sees("ours", &["alive"]).await).await;
    until("we see them", async || ours.status("theirs").await == MemberStatus::Alive).await;

    let install = format!("-install={second}");
    let (done, said) = theirs.say(&["keys", &install]).await;
    assert!(done, "{said}");
    let change = async |operation, key: &'static [u8]| {
        let query = ours.handle.run(move |serf, now, out| serf.change_keys(now, operation, key, 0, out));
        let query = query.await.unwrap().unwrap();
        let done = |output: &Output| match output {
            Output::KeysDone { query: of, answer } if *of == query => Some(answer.clone()),
            _ => None,
        };
        until("key answers", async || ours.find(done).is_some()).await;
        ours.find(done).unwrap()
    };
    let used = change(KeyOperation::Use, &SECOND_KEY).await;
    assert_eq!((used.error(), used.responses), (None, 2));
    let remove = format!("-remove={first}");
    let (done, said) = theirs.say(&["keys", &remove]).await;
    assert!(done, "{said}");
    let listed = change(KeyOperation::List, &[]).await;
    assert_eq!(listed.keys.into_iter().collect::<Vec<_>>(), [(second.clone(), 2)]);
    let (done, said) = theirs.say(&["keys", "-list"]).await;
    assert!(done && said.contains(&format!("{second}  [2/2]")), "{said}");
    assert!(theirs.sees("ours", &["alive"]).await);
}
