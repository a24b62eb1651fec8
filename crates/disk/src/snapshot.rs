//! Snapshots: whole states as `state.bin`, each in a directory with its checksum.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use replica::{SnapshotMeta, StoreError};
use serde::{Deserialize, Serialize};

use crate::log::room_or_broken;
use crate::{broken, make_dir, private, raft_dir, sync_dir};

/// How many snapshots are kept: the newest, and one to fall back on by hand.
const KEEP: usize = 2;

/// The form of `meta.json` that is written and read.
const VERSION: u32 = 1;

/// What stands in `meta.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    version: u32,
    #[serde(rename = "ID")]
    id: String,
    index: u64,
    term: u64,
    size: u64,
    crc32: u32,
}

/// Counts and checks what passes through.
struct Checked<W> {
    inner: W,
    crc: crc32fast::Hasher,
    size: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.crc.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn dir(data_dir: &Path) -> PathBuf {
    raft_dir(data_dir).join("snapshots")
}

/// Writes a snapshot; it is stable under its final name when this returns.
pub fn write_snapshot(
    data_dir: &Path,
    meta: SnapshotMeta,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> Result<(), StoreError> {
    let home = dir(data_dir);
    make_dir(&home)?;
    let millis =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let id = format!("{}-{}-{millis}", meta.term, meta.index);
    let (scratch, place) = (home.join(format!("{id}.tmp")), home.join(&id));
    let written = (|| -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&scratch)?;
        let mut out = Checked {
            inner: BufWriter::with_capacity(1 << 18, private().create_new(true).write(true).open(scratch.join("state.bin"))?),
            crc: crc32fast::Hasher::new(),
            size: 0,
        };
        write(&mut out)?;
        let Checked { inner, crc, size } = out;
        inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let meta = Meta { version: VERSION, id: id.clone(), index: meta.index, term: meta.term, size, crc32: crc.finalize() };
        let mut file = private().create_new(true).write(true).open(scratch.join("meta.json"))?;
        file.write_all(&serde_json::to_vec(&meta)?)?;
        file.sync_all()?;
        fs::File::open(&scratch)?.sync_all()?;
        fs::rename(&scratch, &place)
    })();
    if let Err(error) = written {
        // What is unfinished must not eat the room that writes need.
        let _ = fs::remove_dir_all(&scratch);
        return Err(room_or_broken(&place, "cannot write snapshot", &error));
    }
    sync_dir(&home)
}

/// Finished snapshots, newest last.
fn finished(data_dir: &Path) -> Result<Vec<(u64, u64, u128, PathBuf)>, StoreError> {
    let home = dir(data_dir);
    let mut found = Vec::new();
    let listing = match fs::read_dir(&home) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(broken(&home, "cannot list", &error)),
    };
    for file in listing {
        let file = file.map_err(|error| broken(&home, "cannot list", &error))?;
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        let mut parts = name.splitn(3, '-');
        let (term, index, millis) = (parts.next(), parts.next(), parts.next());
        let term: Option<u64> = term.and_then(|part| part.parse().ok());
        let index: Option<u64> = index.and_then(|part| part.parse().ok());
        let millis: Option<u128> = millis.and_then(|part| part.parse().ok());
        if let (Some(term), Some(index), Some(millis)) = (term, index, millis) {
            found.push((index, term, millis, file.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes what a crash left unfinished. Only at start: later it may be one that is being written.
fn remove_unfinished(data_dir: &Path) -> Result<(), StoreError> {
    let Ok(listing) = fs::read_dir(dir(data_dir)) else { return Ok(()) };
    for file in listing.flatten() {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_dir_all(&path).map_err(|error| broken(&path, "cannot remove", &error))?;
        }
    }
    Ok(())
}

/// The newest snapshot, verified from beginning to end.
pub(crate) fn newest(data_dir: &Path) -> Result<Option<SnapshotMeta>, StoreError> {
    remove_unfinished(data_dir)?;
    let Some((index, term, _, path)) = finished(data_dir)?.pop() else { return Ok(None) };
    verify(&path, index, term)?;
    Ok(Some(SnapshotMeta { index, term }))
}

fn verify(path: &Path, index: u64, term: u64) -> Result<(), StoreError> {
    let damaged =
        |what: &str| StoreError::Broken(format!("snapshot {} is damaged ({what}); refusing to start", path.display()));
    let meta_path = path.join("meta.json");
    let meta = fs::read(&meta_path).map_err(|error| broken(&meta_path, "cannot read", &error))?;
    let meta: Meta = serde_json::from_slice(&meta).map_err(|error| damaged(&format!("meta.json: {error}")))?;
    let id = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if (meta.version, &*meta.id, meta.index, meta.term) != (VERSION, id, index, term) {
        return Err(damaged("meta.json names another version, id, index or term"));
    }
    let body_path = path.join("state.bin");
    let mut body = fs::File::open(&body_path).map_err(|error| broken(&body_path, "cannot open", &error))?;
    let (mut crc, mut size, mut buffer) = (crc32fast::Hasher::new(), 0, vec![0; 1 << 18]);
    loop {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                crc.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) => return Err(broken(&body_path, "cannot read", &error)),
        }
    }
    if size != meta.size || crc.finalize() != meta.crc32 {
        return Err(damaged("state.bin: size or checksum"));
    }
    Ok(())
}

/// The bytes of the newest snapshot.
pub(crate) fn open_newest(data_dir: &Path) -> Result<Box<dyn Read + Send>, StoreError> {
    let Some((_, _, _, path)) = finished(data_dir)?.pop() else {
        return Err(StoreError::Broken("there is no snapshot".to_owned()));
    };
    let path = path.join("state.bin");
    let file = fs::File::open(&path).map_err(|error| broken(&path, "cannot open", &error))?;
    Ok(Box::new(io::BufReader::with_capacity(1 << 18, file)))
}

/// Removes all but the newest.
pub(crate) fn prune(data_dir: &Path) -> Result<(), StoreError> {
    let mut all = finished(data_dir)?;
    all.truncate(all.len().saturating_sub(KEEP));
    for (.., path) in all {
        fs::remove_dir_all(&path).map_err(|error| broken(&path, "cannot remove", &error))?;
    }
    Ok(())
}
