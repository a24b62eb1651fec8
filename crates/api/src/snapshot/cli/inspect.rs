//! `snapshot inspect`: what a snapshot file holds, by kind of record. Works without an agent.
//!
//! Always true: nothing is said about an archive that does not verify.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};

use net::go_text::reason;
use serde::{Deserialize, Serialize};
use wire::archive::SnapshotMeta;
use wire::log_entry::MessageType;
use wire::state_bin::Reader;

use super::{STATE_BYTES_MAX, beside, opening};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::{Tabs, indented};
use crate::cli::{Command, Exit, Invocation};

const FLAGS: &[Flag] = &[
    Flag::new("kvdetails", Kind::Bool, "Add how the key-value store's share is spread over prefixes."),
    Flag::new("kvdepth", Kind::Int, "With -kvdetails: how many parts of a key, split at slashes, make a prefix.")
        .or("2"),
    Flag::new("kvfilter", Kind::Text, "With -kvdetails: count only keys that start with this."),
    Flag::new("format", Kind::Text, "Output format {pretty|json}").or("pretty"),
];

pub const INSPECT: Command = Command {
    path: "snapshot inspect",
    synopsis: "Displays information about a snapshot file",
    shape: "[options] FILE",
    about: "Prints where a snapshot file came from and how much of it each kind of record takes. FILE\nis an archive \
            that was saved, or the state.bin of a server's own snapshot.",
    flags: &[FLAGS],
    run: Some(run),
};

/// One line of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Share {
    pub name: String,
    pub sum: u64,
    pub count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Meta<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    size: i64,
    index: u64,
    term: u64,
    version: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    meta: Meta<'a>,
    stats: Vec<Share>,
    #[serde(rename = "StatsKV")]
    stats_kv: Option<Vec<Share>>,
    total_size: u64,
    #[serde(rename = "TotalSizeKV")]
    total_size_kv: u64,
}

/// How keys are counted.
#[derive(Clone, Debug)]
pub(super) struct KeyDetail {
    pub depth: usize,
    pub filter: String,
}

/// What was counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub kinds: BTreeMap<u8, Share>,
    pub keys: BTreeMap<String, Share>,
    pub total: u64,
    /// The kind of the first record.
    first: Option<u8>,
    pub total_keys: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Key {
    key: String,
}

/// Counts the bytes that were taken from a reader.
struct Counting<R> {
    input: R,
    read: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// Reads a state to its end.
pub(super) fn tally(state: impl Read, detail: Option<&KeyDetail>) -> Result<Tally, String> {
    let mut counting = Counting { input: state, read: 0 };
    let mut tally = Tally::default();
    let counted = count(&mut counting, detail, &mut tally);
    // To the end even after a failure: whoever writes the other end must not be cut off.
    let drained = io::copy(&mut counting, &mut io::sink());
    counted?;
    drained.map_err(|error| error.to_string())?;
    // Compat: the header counts towards the first record.
    let header = counting.read - tally.total;
    tally.total = counting.read;
    if let Some(kind) = tally.first.take()
        && let Some(share) = tally.kinds.get_mut(&kind)
    {
        share.sum += header;
    }
    Ok(tally)
}

fn count(state: impl Read, detail: Option<&KeyDetail>, tally: &mut Tally) -> Result<(), String> {
    let mut records = Reader::new(state).map_err(|error| error.to_string())?;
    while let Some((kind, record)) = records.next_record().map_err(|error| error.to_string())? {
        // The byte before the record says its kind.
        let size = record.as_bytes().len() as u64 + 1;
        tally.total += size;
        tally.first.get_or_insert(kind.number());
        let share = tally.kinds.entry(kind.number()).or_default();
        share.name = kind.to_string();
        share.sum += size;
        share.count += 1;
        if let (Some(detail), true) = (detail, kind == MessageType::KVS) {
            let key: Key =
                record.decode().map_err(|error| format!("failed to decode msg type {kind}, error {error}"))?;
            tally.count_key(&key.key, size, detail);
        }
    }
    Ok(())
}

impl Tally {
    fn count_key(&mut self, key: &str, size: u64, detail: &KeyDetail) {
        if !key.starts_with(&detail.filter) {
            return;
        }
        let prefix = key.split('/').take(detail.depth).collect::<Vec<_>>().join("/");
        let share = self.keys.entry(prefix.clone()).or_default();
        share.name = prefix;
        share.sum += size;
        share.count += 1;
        self.total_keys += size;
    }
}

/// The largest first, equals by name.
fn sorted(shares: impl Iterator<Item = Share>) -> Vec<Share> {
    let mut shares: Vec<Share> = shares.collect();
    shares.sort_by(|one, other| other.sum.cmp(&one.sum).then_with(|| one.name.cmp(&other.name)));
    shares
}

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let path = super::file_argument(invocation)?;
    let parsed = &invocation.parsed;
    let detail = parsed.bool("kvdetails").then(|| KeyDetail {
        depth: usize::try_from(parsed.int("kvdepth")).unwrap_or(0),
        filter: parsed.text("kvfilter").to_owned(),
    });
    let (meta, tally) = read(&path, detail.as_ref())?;
    let keys = sorted(tally.keys.into_values());
    let shown = Shown {
        meta: Meta { id: &meta.id, size: meta.size, index: meta.index, term: meta.term, version: meta.version },
        stats: sorted(tally.kinds.into_values()),
        stats_kv: Some(keys).filter(|keys| !keys.is_empty()),
        total_size: tally.total,
        total_size_kv: tally.total_keys,
    };
    let out = match parsed.text("format") {
        "pretty" => pretty(&shown),
        "json" => {
            let compact = wire::json::to_string(&shown)
                .map_err(|error| format!("Failed to marshal original snapshot stats: {error}"))?;
            indented(&compact, "   ")
        }
        other => return Err(format!("Error outputting enhanced snapshot data: Unknown format: {other}").into()),
    };
    invocation.io.say(out);
    Ok(0)
}

fn read(path: &str, detail: Option<&KeyDetail>) -> Result<(SnapshotMeta, Tally), String> {
    let file = File::open(path).map_err(|error| format!("Error opening snapshot file: {}", opening(path, &error)))?;
    let extracting = |error: String| format!("Error extracting snapshot data: {error}");
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.eq_ignore_ascii_case("state.bin") {
        let meta_path = beside(path, "meta.json");
        let text = std::fs::read(&meta_path).map_err(|error| {
            let opening = opening(&meta_path.display().to_string(), &error);
            format!("Error reading meta.json from internal snapshot dir: {opening}")
        })?;
        let meta = SnapshotMeta::parse(&text)
            .map_err(|error| format!("Error parsing meta.json from internal snapshot dir: {error}"))?;
        let tally = tally(BufReader::new(file), detail).map_err(extracting)?;
        return Ok((meta, tally));
    }
    // The state flows from the archive's reader to the counter; the counts stand only if the archive verifies.
    let (state_out, mut state_in) =
        io::pipe().map_err(|error| format!("Error reading snapshot: {}", reason(&error)))?;
    std::thread::scope(|scope| {
        let counter = scope.spawn(|| tally(state_out, detail));
        let meta = wire::archive::read(BufReader::new(file), &mut state_in, STATE_BYTES_MAX);
        drop(state_in);
        let counted = counter.join();
        let meta = meta.map_err(|error| format!("Error reading snapshot: {error}"))?;
        let counted = counted.map_err(|_| extracting("the counter panicked".to_owned()))?;
        Ok((meta, counted.map_err(extracting)?))
    })
}

fn pretty(shown: &Shown<'_>) -> String {
    let meta = &shown.meta;
    let mut rows = format!(
        " ID\t{}\n Size\t{}\n Index\t{}\n Term\t{}\n Version\t{}\n",
        meta.id, meta.size, meta.index, meta.term, meta.version
    );
    table("Type", &shown.stats, shown.total_size, &mut rows);
    if let Some(keys) = &shown.stats_kv {
        rows.push('\n');
        table("Key Name", keys, shown.total_size_kv, &mut rows);
    }
    Tabs { width_min: 8, padding: 6 }.expand(&rows)
}

fn table(header: &str, shares: &[Share], total: u64, rows: &mut String) {
    rows.push_str(&format!("\n {header}\tCount\tSize\n ----\t----\t----"));
    for share in shares {
        rows.push_str(&format!("\n {}\t{}\t{}", share.name, share.count, byte_size(share.sum)));
    }
    rows.push_str(&format!("\n ----\t----\t----\n Total\t\t{}", byte_size(total)));
}

/// Bytes in the largest unit that fits, with at most one decimal.
pub(super) fn byte_size(bytes: u64) -> String {
    let (power, unit) = match bytes {
        0 => return "0".to_owned(),
        bytes if bytes >= 1 << 40 => (40, "TB"),
        bytes if bytes >= 1 << 30 => (30, "GB"),
        bytes if bytes >= 1 << 20 => (20, "MB"),
        bytes if bytes >= 1 << 10 => (10, "KB"),
        _ => (0, "B"),
    };
    let value = format!("{:.1}", bytes as f64 / (1u64 << power) as f64);
    format!("{}{unit}", value.strip_suffix(".0").unwrap_or(&value))
}
