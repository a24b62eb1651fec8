//! Each target over its seeds and over mutations of them, for a bounded time.
//!
//! The mutations are the same on each run, as far as the time goes; `FUZZING_SEED` gives others, `FUZZING_SECONDS`
//! more. A failure shows the input as a byte string; put it among the seeds under a name that says what it was.
//! `WRITE_SEEDS=1` writes anew the seeds that are made from values.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuzzing::{TARGETS, Target, call_seeds, command_seeds, gossip_seeds, message_seeds};

/// So many mutations, or so long, whichever ends first.
const MUTATIONS: u32 = 20_000;
const SPAN: Duration = Duration::from_secs(3);
/// Longer inputs find nothing that shorter ones do not.
const LENGTH_MAX: usize = 4096;
/// What formats hold dear, besides what the seeds show.
const TOKENS: [&[u8]; 14] = [
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\"\"",
    b"{",
    b"[",
    b"\\u0000",
    b"\xff\xff\xff\xff",
    b"\xc0",
    b"\xdf\xff\xff\xff\xff",
    b"%",
    b"/*",
];

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = root().join("seeds").join(target);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("it can be listed").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("it can be read")).collect()
}

/// Numbers that a seed repeats: xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(number).unwrap_or(0) % bound.max(1)
    }

    /// A place to cut at, the end included.
    fn cut(&mut self, bytes: &[u8]) -> usize {
        self.below(bytes.len() + 1)
    }

    fn part<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (one, other) = (self.cut(bytes), self.cut(bytes));
        &bytes[one.min(other)..one.max(other)]
    }

    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        // Mostly one or two: what is changed too much is refused at once.
        for _ in 0..[1, 1, 1, 2, 3, 6][self.below(6)] {
            let (at, end) = (self.cut(&bytes), self.cut(&bytes));
            match self.below(12) {
                0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'0'][self.below(7)],
                3 => drop(bytes.drain(at.min(end)..at.max(end))),
                4 => drop(bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
                5 => {
                    let part = self.part(&bytes.clone()).to_vec();
                    bytes.splice(at..at, part);
                }
                6 => {
                    let other = self.below(seeds.len());
                    let part = self.part(&seeds[other]).to_vec();
                    bytes.splice(at.min(end)..at.max(end), part);
                }
                7 => bytes.truncate(at),
                // A word for a word: what stands between punctuation is most of what texts are about.
                _ => {
                    let other = self.below(seeds.len());
                    let from = self.cut(&seeds[other]);
                    let by = &seeds[other][word(&seeds[other], from)];
                    let token = TOKENS[self.below(TOKENS.len())];
                    let by = if self.below(4) == 0 { token } else { by };
                    bytes.splice(word(&bytes, at), by.iter().copied());
                }
            }
            bytes.truncate(LENGTH_MAX);
        }
        bytes
    }
}

/// The run of letters and digits around a place.
fn word(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
    let before = bytes[..at].iter().rev().take_while(|byte| is_part(byte)).count();
    let after = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
    at - before..at + after
}

fn exercise(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the list has it");
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.iter().for_each(|seed| run(target, seed));
    run(target, b"");
    let mut dice = Dice(from_environment("FUZZING_SEED").unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let span = from_environment("FUZZING_SECONDS").map(Duration::from_secs);
    let (start, most) = (Instant::now(), if span.is_some() { u32::MAX } else { MUTATIONS });
    let mut count = 0;
    while count < most && start.elapsed() < span.unwrap_or(SPAN) {
        run(target, &dice.mutated(&seeds));
        count += 1;
    }
    eprintln!("{name}: {count} mutations in {:?}", start.elapsed());
}

fn run(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("{} fails on b\"{}\"", target.name, input.escape_ascii());
    }
}

#[test]
fn every_target_is_a_target_of_cargo_fuzz() {
    let mut files: Vec<String> = fs::read_dir(root().join("fuzz_targets"))
        .expect("the targets are there")
        .map(|file| file.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let names: Vec<String> = TARGETS.iter().map(|target| format!("{}.rs", target.name)).collect();
    assert_eq!(files, names);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("fuzz has a manifest");
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "fuzz/Cargo.toml lacks {}", target.name);
    }
}

#[test]
fn seeds_that_are_made_from_values_are_there() {
    for (target, name, bytes) in
        command_seeds().into_iter().chain(gossip_seeds()).chain(call_seeds()).chain(message_seeds())
    {
        let path = root().join("seeds").join(target).join(name);
        if std::env::var_os("WRITE_SEEDS").is_some() {
            fs::create_dir_all(path.parent().expect("it has a directory")).expect("it can be made");
            fs::write(&path, bytes).expect("it can be written");
        }
        assert!(path.exists(), "{} is missing: WRITE_SEEDS=1 writes it", path.display());
    }
}

macro_rules! targets {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            exercise(stringify!($name));
        }
    )* };
}

targets! {
    config_files dns_packets filters go_texts gossip_keyrings gossip_machines gossip_packets gossip_snapshots
    gossip_streams hcl_texts json_bodies log_entries msgpack_values raft_messages rpc_connections
    snapshot_archives
}
