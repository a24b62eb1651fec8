//! A disk that lies is named at start and never served; what a crash left unfinished is cut off.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::harness::{Home, files_in, open_to_write, wait_until};

const KEYS: usize = 60;
/// Snapshots are taken early, and the log behind them is short.
const SNAPSHOTS: &str = r#"
    raft_snapshot_threshold = 20
    raft_snapshot_interval = "1ms"
    raft_trailing_logs = 2"#;

/// A home whose agent has written this many keys and crashed.
fn written(home: Home) -> Home {
    let agent = home.start();
    for key in 0..KEYS {
        agent.put(format!("/v1/kv/k{key}"), format!("value {key}")).expect(200, "true");
    }
    agent.crash();
    home
}

fn newest_segment(home: &Home) -> PathBuf {
    let segments = files_in(&home.data_dir().join("raft/log"));
    segments.last().expect("an agent that wrote has a log").clone()
}

/// How far a segment is written; zeros follow.
fn written_length(segment: &Path) -> u64 {
    let bytes = fs::read(segment).expect("the log is there");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn flip(path: &Path, at: u64) {
    let file = open_to_write(path);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("the offset lies inside");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("the file is ours");
}

#[track_caller]
fn assert_names(said: &str, path: &Path) {
    let shown = path.display().to_string();
    assert!(said.contains(&shown), "{shown} is not named in:\n{said}");
}

#[test]
fn a_flipped_byte_of_the_log_is_named() {
    let home = written(Home::durable());
    let segment = newest_segment(&home);
    let length = written_length(&segment);
    for part in 1..8 {
        let at = length * part / 8;
        flip(&segment, at);
        assert_names(&home.refused(), &segment);
        flip(&segment, at);
    }
    // Whole again, it is served again.
    home.start().get("/v1/kv/k59?raw").expect(200, "value 59");
}

#[test]
fn a_torn_tail_is_cut_off() {
    let home = written(Home::durable());
    let segment = newest_segment(&home);
    open_to_write(&segment).set_len(written_length(&segment) - 3).expect("the file is ours");
    let agent = home.start();
    // What was torn stood in for a write that nobody was promised; all before it are there.
    for key in 0..KEYS - 1 {
        agent.get(format!("/v1/kv/k{key}?raw")).expect(200, &format!("value {key}"));
    }
    agent.put("/v1/kv/k59", "anew").expect(200, "true");
    agent.crash();
    home.start().get("/v1/kv/k59?raw").expect(200, "anew");
}

#[test]
fn a_log_without_its_snapshot_is_named() {
    let home = Home::durable().config(SNAPSHOTS);
    let agent = home.start();
    // More than a segment, so that the oldest one goes once a snapshot has its entries.
    let value = "v".repeat(500_000);
    let segments = || files_in(&home.data_dir().join("raft/log"));
    let first = segments();
    wait_until("the first segment is removed", || {
        agent.put("/v1/kv/large", &value).expect(200, "true");
        !segments().contains(&first[0])
    });
    agent.crash();
    fs::remove_dir_all(home.data_dir().join("raft/snapshots")).expect("there are snapshots");
    let said = home.refused();
    assert!(said.contains("entries are missing"), "{said}");
    assert_names(&said, &home.data_dir().join("raft/log"));
}

#[test]
fn a_flipped_byte_of_the_snapshot_is_named() {
    let home = written(Home::durable().config(SNAPSHOTS));
    let snapshots = files_in(&home.data_dir().join("raft/snapshots"));
    // By index, not by name: the newest is the one that is read.
    let index = |dir: &Path| {
        let name = dir.file_name().expect("it has a name").to_string_lossy().into_owned();
        name.split('-').nth(1).and_then(|index| index.parse::<u64>().ok())
    };
    // The crash may have come while another was written.
    let finished = snapshots.iter().filter(|dir| dir.extension().is_none());
    let newest = finished.max_by_key(|dir| index(dir)).expect("snapshots were taken");
    for name in ["state.bin", "meta.json"] {
        let path = newest.join(name);
        let length = fs::metadata(&path).expect("it is there").len();
        flip(&path, length / 2);
        let said = home.refused();
        assert_names(&said, newest);
        assert!(said.contains(name), "{name} is not named in:\n{said}");
        flip(&path, length / 2);
    }
    home.start().get("/v1/kv/k59?raw").expect(200, "value 59");
}
