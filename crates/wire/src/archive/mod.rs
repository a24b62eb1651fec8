//! The snapshot archive of `/v1/snapshot`: a gzipped tar of `meta.json`, `state.bin` and `SHA256SUMS`.
//!
//! Written and read as streams, so a state never has to fit into memory. Refusals carry the reference's texts.
//!
//! Always true: `read` answers a [`SnapshotMeta`] only when both files were there once and whole, both hashes are right
//! and nothing else was in the archive; it never writes more than the limit it was given.
//! Not here: what is in the state (`state_bin`), temporary files, the CRC that raft's own snapshot directory adds.

mod gzip;
mod meta;
mod sums;
mod tar;

use std::fmt;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::json;
use sums::Sums;

pub use meta::{Configuration, Server, SnapshotMeta};

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";

/// The largest `meta.json` and `SHA256SUMS`: a configuration of thousands of servers is still far below.
const MAX_SMALL_FILE: u64 = 1 << 20;

/// Why an archive could not be read or written. Displays as the reference words it.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }

    fn at(context: &str, cause: &dyn fmt::Display) -> Error {
        Error(format!("{context}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Writes an archive of `meta.size` bytes of `state`; less is an error, what follows is not read.
///
/// `modified` is the time that the files are stamped with, in seconds since the Unix epoch.
pub fn write<W: Write>(out: W, meta: &SnapshotMeta, state: impl Read, modified: u64) -> Result<(), Error> {
    let encode = |error: &dyn fmt::Display| Error::at("failed to encode snapshot metadata", error);
    let write = |error: io::Error| Error::at("failed to write snapshot metadata", &error);
    let size = u64::try_from(meta.size).map_err(|error| encode(&error))?;
    let mut encoder = GzEncoder::new(out, Compression::default());

    let mut text = json::to_vec(meta).map_err(|error| encode(&error))?;
    text.push(b'\n');
    tar::write_file(&mut encoder, META, text.len() as u64, modified, text.as_slice()).map_err(write)?;

    let mut hashing = HashingReader { inner: state, hash: Sha256::new() };
    tar::write_file(&mut encoder, STATE, size, modified, &mut hashing).map_err(write)?;

    let sums = Sums { meta: Sha256::digest(&text).into(), state: hashing.hash.finalize().into() }.encode();
    tar::write_file(&mut encoder, SUMS, sums.len() as u64, modified, sums.as_bytes()).map_err(write)?;

    tar::write_end(&mut encoder)
        .and_then(|()| encoder.finish())
        .and_then(|mut out| out.flush())
        .map_err(|error| Error::at("failed to finalize snapshot", &error))
}

/// Reads an archive, copying the state to `state`, and verifies it. What was copied must be thrown away unless the
/// answer is `Ok`. A state of more than `max_state` bytes is refused.
pub fn read<R: Read, W: Write>(input: R, state: &mut W, max_state: u64) -> Result<SnapshotMeta, Error> {
    let mut decoder = gzip::open(input)?;
    let meta = read_files(&mut decoder, state, max_state)
        .map_err(|error| Error::at("failed to read snapshot file", &error))?;
    // Compat: gzip's own checksum stands at the very end, and padding beyond the tar's end is refused.
    let extra = gzip::drain(&mut decoder)?;
    if extra > 0 {
        return Err(Error::new(format!("{extra} unread uncompressed bytes remain")));
    }
    Ok(meta)
}

fn read_files<R: Read, W: Write>(input: &mut R, state: &mut W, max_state: u64) -> Result<SnapshotMeta, Error> {
    let mut files = tar::Files::new(input);
    let mut meta = SnapshotMeta::default();
    let (mut meta_hash, mut state_hash) = (FileHash::new(META), FileHash::new(STATE));
    let mut sums = String::new();
    while let Some(entry) = files.next().map_err(|error| Error::at("failed reading snapshot", &error))? {
        let limit = if entry.name == STATE { max_state } else { MAX_SMALL_FILE };
        if entry.size > limit {
            let (name, size) = (&entry.name, entry.size);
            return Err(Error::new(format!("file {name:?} of {size} bytes exceeds the limit of {limit}")));
        }
        match entry.name.as_str() {
            META => {
                let mut text = Vec::new();
                files.copy(&mut text).map_err(|error| Error::at("failed to read snapshot metadata", &error))?;
                meta = SnapshotMeta::parse(&text)
                    .map_err(|error| Error::at("failed to decode snapshot metadata", &error))?;
                meta_hash.add(|hash| hash.update(&text));
            }
            STATE => {
                let mut tee = HashingWriter { inner: &mut *state, hash: Sha256::new() };
                files.copy(&mut tee).map_err(|error| Error::at("failed to read or write snapshot data", &error))?;
                let digest = tee.hash;
                state_hash.add(|hash| *hash = digest);
            }
            SUMS => {
                let mut bytes = Vec::new();
                files.copy(&mut bytes).map_err(|error| Error::at("failed to read snapshot hashes", &error))?;
                sums.push_str(&String::from_utf8_lossy(&bytes));
            }
            name => {
                return Err(Error::new(format!("unexpected file {} in snapshot", json::quote(name))));
            }
        }
    }
    let (meta_hash, state_hash) = (meta_hash.finish(), state_hash.finish());
    sums::verify(&sums, meta_hash, state_hash)
        .map_err(|error| Error::at("failed checking integrity of snapshot", &error))?;
    Ok(meta)
}

/// The hash of a file that must come exactly once.
struct FileHash {
    hash: Sha256,
    times: u32,
    name: &'static str,
}

impl FileHash {
    fn new(name: &'static str) -> FileHash {
        FileHash { hash: Sha256::new(), times: 0, name }
    }

    fn add(&mut self, feed: impl FnOnce(&mut Sha256)) {
        self.times += 1;
        feed(&mut self.hash);
    }

    /// Compat: the reference hashes what it saw, so a file that is missing or comes twice fails its hash check.
    fn finish(self) -> sums::Seen {
        sums::Seen { name: self.name, hash: (self.times == 1).then(|| self.hash.finalize().into()) }
    }
}

struct HashingReader<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.hash.update(&buffer[..len]);
        Ok(len)
    }
}

struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.hash.update(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
