//! A full disk refuses writes and keeps reads; room brings writes back; what was acknowledged stays.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Home, Process, wait_until};

const SIZE: &str = "size=12m";

/// The agent gets a mount namespace of its own with a small disk at `$1`; nothing is mounted outside.
const SMALL_DISK: &str = r#"dir=$1; size=$2; shift 2; mount -t tmpfs -o "$size" tmpfs "$dir" && exec "$@""#;

/// Whether this machine lets us mount; unprivileged containers may not.
fn can_mount() -> bool {
    let probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"];
    Command::new(probe[0]).args(&probe[1..]).output().is_ok_and(|output| output.status.success())
}

/// A file of the agent's own namespace, seen from ours.
fn inside(agent: &Process, home: &Home, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}/{name}", agent.pid, home.data_dir().display()))
}

/// Writes zeros until there is no room.
fn fill(path: PathBuf) {
    let mut ballast = File::create(path).expect("the disk takes a file");
    for size in [1 << 16, 1 << 9, 1] {
        while ballast.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_refuses_writes_keeps_reads_and_recovers() {
    if !can_mount() {
        eprintln!("skipped: `unshare -rm` cannot mount a tmpfs here");
        return;
    }
    let home = Home::durable();
    let data = home.data_dir();
    fs::create_dir_all(&data).expect("the home can be written");
    let data = data.display().to_string();
    let home = home.under(&["unshare", "-rm", "sh", "-c", SMALL_DISK, "small-disk", &data, SIZE]);
    let agent = home.start();
    let value = "v".repeat(100_000);
    agent.put("/v1/kv/before", &value).expect(200, "true");

    fill(inside(&agent, &home, "ballast"));
    // The log has some room ahead of itself; it is used up first.
    let mut acknowledged = 0;
    let refusal = loop {
        let answer = agent.put(format!("/v1/kv/k{acknowledged}"), &value).send();
        if answer.code != 200 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 200, "the disk of {SIZE} never became full");
    };
    assert_eq!(refusal.code, 500, "{}", refusal.text());
    assert!(refusal.text().contains("No space left on device"), "{}", refusal.text());
    for _ in 0..3 {
        agent.put("/v1/kv/refused", &value).status(500);
    }
    agent.get("/v1/kv/before?raw").expect(200, &value);
    agent.get("/v1/kv/before?raw&consistent").expect(200, &value);
    agent.get("/v1/kv/refused").status(404);
    agent.get("/v1/status/leader").status(200);

    fs::remove_file(inside(&agent, &home, "ballast")).expect("the ballast is ours");
    wait_until("writes are taken again", || agent.put("/v1/kv/after", &value).send().code == 200);
    for key in 0..acknowledged {
        agent.get(format!("/v1/kv/k{key}?raw")).expect(200, &value);
    }
    agent.get("/v1/kv/after?raw").expect(200, &value);
}
