//! Pure crates compute: time and randomness are arguments, consequences are returned.
//!
//! Their `clippy.toml` bans types and functions where the compiler knows what a name means; this bans libraries, and
//! the words that clippy's lists cannot hold.

use std::fs;

use crate::assert_tidy;
use crate::tree::{Package, packages, sources_of};

const PURE: [&str; 7] = ["acl", "filter", "gossip", "hcl", "replica", "state", "wire"];

/// Libraries that compute and do nothing else.
const LIBRARIES: [&str; 17] = [
    "aws-lc-rs",
    "base64",
    "bytes",
    "crc32fast",
    "flate2",
    "hex",
    "imbl",
    "protobuf",
    "raft",
    // For the trait: the source of randomness is an argument.
    "rand",
    "regex",
    "serde",
    "serde_json",
    "sha2",
    "slog",
    "thiserror",
    "weezl",
];

/// Words that do not stand in pure code, and why.
const BANNED: [(&str, &str); 24] = [
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("UNIX_EPOCH", "time is an argument"),
    ("std::fs", "no files"),
    ("File::", "no files"),
    ("std::env", "no surroundings"),
    ("std::process", "no processes"),
    ("std::thread", "no threads"),
    ("std::os", "nothing of the system"),
    ("TcpStream", "no sockets"),
    ("TcpListener", "no sockets"),
    ("UdpSocket", "no sockets"),
    ("UnixStream", "no sockets"),
    ("ToSocketAddrs", "no name lookups"),
    ("HashMap", "hash order is not deterministic: BTreeMap or OrdMap"),
    ("HashSet", "hash order is not deterministic: BTreeSet or OrdSet"),
    ("RandomState", "hash order is not deterministic"),
    ("rand::rng(", "randomness is an argument"),
    ("rand::rng;", "randomness is an argument"),
    ("thread_rng", "randomness is an argument"),
    ("rand::random", "randomness is an argument"),
    ("SystemRandom", "randomness is an argument"),
    ("from_os_rng", "randomness is an argument"),
    ("println!", "who calls decides what is said"),
];

fn pure() -> impl Iterator<Item = &'static Package> {
    packages().iter().filter(|package| PURE.contains(&package.name.as_str()))
}

#[test]
fn every_pure_crate_is_there() {
    assert_eq!(pure().count(), PURE.len(), "the list of pure crates names one that is gone");
}

#[test]
fn pure_crates_use_libraries_that_only_compute() {
    let mut wrong = Vec::new();
    for package in pure() {
        for used in package.dependencies.iter().filter(|used| !used.dev && !used.ours) {
            if !LIBRARIES.contains(&used.name.as_str()) {
                wrong.push(format!("{} uses {}", package.name, used.name));
            }
        }
    }
    assert_tidy("libraries of pure crates compute and do nothing else; the list is in this file", &wrong);
}

#[test]
fn pure_crates_ask_nothing_of_the_world() {
    let mut wrong = Vec::new();
    for source in pure().flat_map(sources_of).filter(|source| !source.is_test()) {
        for (at, line) in source.code_lines() {
            let found = BANNED.iter().find(|(word, _)| line.contains(word));
            wrong.extend(found.map(|(word, why)| format!("{}:{at}: {word}: {why}", source.path)));
        }
    }
    assert_tidy("pure crates have no clock, files, sockets, threads, dice or hash order", &wrong);
}

#[test]
fn pure_crates_share_one_set_of_bans() {
    let bans = |package: &Package| fs::read_to_string(package.dir.join("clippy.toml")).unwrap_or_default();
    let first = pure().next().map(bans).unwrap_or_default();
    assert!(first.contains("std::time::Instant"), "the bans are gone: {first:?}");
    let wrong: Vec<String> = pure()
        .filter(|package| bans(package) != first)
        .map(|package| format!("crates/{}/clippy.toml differs", package.name))
        .collect();
    assert_tidy("clippy.toml is the same in all pure crates", &wrong);
}
