//! The snapshot file of a pool, from which the next life rejoins: Serf's own, in Serf's place.
//!
//! Always true: a line that may not be lost is on the disk before the next is taken; what cannot be written is told
//! and does not end the pool.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gossip::serf::consul::PoolKind;
use gossip::serf::snapshot::{Replayed, SnapshotWrite, replay};
use tokio::sync::mpsc;

const LAN_FILE: &str = "serf/local.snapshot";
const WAN_FILE: &str = "serf/remote.snapshot";
/// Lines that wait to be written; beyond this they are lost until the file is compacted.
const WAITING_MAX: usize = 4096;
const MODE: u32 = 0o600;

pub(super) struct Record {
    path: Option<PathBuf>,
    replayed: Option<Replayed>,
}

impl Record {
    /// Reads what an earlier life left.
    pub(super) fn open(dir: Option<&Path>, kind: PoolKind, rejoin_after_leave: bool) -> Result<Record, String> {
        let Some(dir) = dir else { return Ok(Record { path: None, replayed: None }) };
        let path = dir.join(if kind == PoolKind::Lan { LAN_FILE } else { WAN_FILE });
        let fail = |error: &io::Error| format!("failed to open snapshot {}: {error}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| fail(&error))?;
        }
        let replayed = match fs::read(&path) {
            Ok(bytes) => replay(&bytes, rejoin_after_leave),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Replayed::default(),
            Err(error) => return Err(fail(&error)),
        };
        if replayed.unread > 0 {
            tracing::warn!(path = %path.display(), lines = replayed.unread, "a gossip snapshot has lines that cannot be read");
        }
        Ok(Record { path: Some(path), replayed: Some(replayed) })
    }

    pub(super) fn replayed(&self) -> Option<Replayed> {
        self.replayed.clone()
    }

    /// Writes from now on what it is given, until the keeper goes.
    pub(super) fn keep(self) -> Keeper {
        let (lines, mut waiting) = mpsc::channel::<SnapshotWrite>(WAITING_MAX);
        if let Some(path) = self.path {
            tokio::spawn(async move {
                while let Some(write) = waiting.recv().await {
                    let place = path.clone();
                    // Lines are rare: a thread for each costs less than one that waits.
                    let written = tokio::task::spawn_blocking(move || put(&place, &write)).await;
                    if let Ok(Err(error)) = written {
                        tracing::error!(path = %path.display(), %error, "a gossip snapshot cannot be written");
                    }
                }
            });
        }
        Keeper { lines }
    }
}

fn put(path: &Path, write: &SnapshotWrite) -> io::Result<()> {
    let open = || OpenOptions::new().create(true).append(true).mode(MODE).open(path);
    match write {
        SnapshotWrite::Append(line) => open()?.write_all(line.as_bytes()),
        SnapshotWrite::AppendDurably(line) => {
            let mut file = open()?;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        }
        SnapshotWrite::Replace(text) => {
            let beside = path.with_extension("snapshot.compact");
            let mut compact = OpenOptions::new().create(true).truncate(true).write(true).mode(MODE).open(&beside)?;
            compact.write_all(text.as_bytes())?;
            compact.sync_all()?;
            fs::rename(&beside, path)
        }
    }
}

/// Takes what is to be written; the writer ends with it.
pub(super) struct Keeper {
    lines: mpsc::Sender<SnapshotWrite>,
}

impl Keeper {
    pub(super) fn take(&self, write: SnapshotWrite) {
        if self.lines.try_send(write).is_err() && !self.lines.is_closed() {
            tracing::warn!("a line of a gossip snapshot was lost: too many wait");
        }
    }
}
