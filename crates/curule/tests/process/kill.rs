//! `kill -9` at any moment loses no acknowledged write, and invents none.
//!
//! Each writer has keys of its own and is their only writer, so what a key may hold after a crash is known: what the
//! last acknowledged write left there, or what the one that was cut off wanted. A cut-off write that counted stays.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use conformance::base64;

use crate::harness::{Dice, Home, files_in};

const WRITERS: u64 = 4;
const ROUNDS: u64 = 8;
/// Few enough that keys are overwritten and deleted often.
const KEYS: u64 = 40;
/// Repeats a failure: `PROCESS_SEED=<seed>`.
const SEED: u64 = 20_260_101;

/// What a key may hold, as base64; `None`: it is absent.
type Value = Option<String>;

/// One writer: what it knows of its keys.
struct Writer {
    id: u64,
    dice: Dice,
    count: u64,
    acknowledged: BTreeMap<String, Value>,
    /// The write that got no answer.
    cut_off: Option<(String, Value)>,
}

impl Writer {
    fn new(id: u64, seed: u64) -> Self {
        Self { id, dice: Dice::new(seed + id), count: 0, acknowledged: BTreeMap::new(), cut_off: None }
    }

    /// Writes until the agent is gone.
    fn write_on(&mut self, to: SocketAddr) {
        assert!(self.cut_off.is_none(), "what became of the last write is settled first");
        loop {
            self.count += 1;
            let key = format!("w{}/{}", self.id, self.dice.below(KEYS));
            let text = match self.dice.below(5) {
                0 => None,
                // Some values are larger than a disk block.
                1 => Some(format!("{}-{}", self.count, "x".repeat(9000))),
                _ => Some(format!("{}-{}", self.count, self.id)),
            };
            let written = write(to, &key, text.as_deref());
            let value = text.map(base64);
            if written.is_err() {
                self.cut_off = Some((key, value));
                return;
            }
            self.acknowledged.insert(key, value);
        }
    }

    /// Compares what is there with what may be, and settles what became of the write that was cut off.
    #[track_caller]
    fn settle(&mut self, found: &BTreeMap<String, String>, context: &str) {
        if let Some((key, wanted)) = self.cut_off.take()
            && found.get(&key) == wanted.as_ref()
        {
            self.acknowledged.insert(key, wanted);
        }
        let own = format!("w{}/", self.id);
        let expected: BTreeMap<&String, &String> =
            self.acknowledged.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).collect();
        let found: BTreeMap<&String, &String> = found.iter().filter(|(key, _)| key.starts_with(&own)).collect();
        let wrong: Vec<_> = expected
            .keys()
            .chain(found.keys())
            .filter(|key| expected.get(*key) != found.get(*key))
            .map(|key| format!("{key}: acknowledged {:?}, found {:?}", expected.get(key), found.get(key)))
            .collect();
        assert!(wrong.is_empty(), "{context}, after {} writes: {wrong:#?}", self.count);
    }
}

/// One write that counts only when its whole answer has come.
fn write(to: SocketAddr, key: &str, value: Option<&str>) -> std::io::Result<()> {
    let (method, body) = (if value.is_some() { "PUT" } else { "DELETE" }, value.unwrap_or_default());
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!("{method} /v1/kv/{key} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\ntrue") {
        true => Ok(()),
        // Refusals are not expected here: a test that hid them could pass without a single write.
        false if answer.starts_with("HTTP/1.1 ") => panic!("{method} {key}: {answer}"),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// All keys with their values, and the index that came with them.
fn read(agent: &conformance::Agent) -> (BTreeMap<String, String>, u64) {
    let answer = agent.get("/v1/kv/w?recurse").send();
    let index = answer.index();
    let rows = if answer.code == 404 { Vec::new() } else { answer.json().as_array().cloned().unwrap_or_default() };
    let text = |row: &conformance::Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let keys = rows.iter().map(|row| (text(row, "Key"), text(row, "Value"))).collect();
    (keys, index)
}

fn rounds(home: &Home) {
    let seed = std::env::var("PROCESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut dice = Dice::new(seed);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|id| Writer::new(id, seed)).collect();
    let mut newest = 0;
    for round in 0..=ROUNDS {
        let context = format!("seed {seed}, round {round}");
        let agent = home.start();
        let (found, index) = read(&agent);
        assert!(index >= newest, "{context}: the index went from {newest} back to {index}");
        writers.iter_mut().for_each(|writer| writer.settle(&found, &context));
        if round == ROUNDS {
            // A short life on a busy machine may see no write at all; all lives together see many.
            let count: u64 = writers.iter().map(|writer| writer.count).sum();
            assert!(count > ROUNDS * WRITERS, "{context}: only {count} writes were made");
            return;
        }
        let life = Duration::from_millis(20 + dice.below(400));
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let to = agent.http;
                scope.spawn(move || writer.write_on(to));
            }
            std::thread::sleep(life);
            // What was seen before the crash binds what comes after it.
            newest = index.max(read(&agent).1);
            agent.crash();
        });
    }
}

#[test]
fn acknowledged_writes_survive() {
    rounds(&Home::durable());
}

#[test]
fn acknowledged_writes_survive_snapshots_and_compaction() {
    let home = Home::durable().config(
        r#"raft_snapshot_threshold = 40
           raft_snapshot_interval = "1ms"
           raft_trailing_logs = 5"#,
    );
    rounds(&home);
    let snapshots = files_in(&home.data_dir().join("raft/snapshots"));
    assert!(!snapshots.is_empty(), "no snapshot was ever taken");
}
