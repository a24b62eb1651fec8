//! The raft log and snapshots on a disk.
//!
//! Below the data directory:
//!
//! ```text
//! raft/lock                                  held while the directory is in use
//! raft/configuration                         whose votes count, with a checksum before it
//! raft/log/<number>.log                      segments of the log, in the order of their numbers (see segment.rs)
//! raft/snapshots/<term>-<index>-<millis>/    meta.json, state.bin
//! ```
//!
//! Always true:
//! - `append` returns after `fdatasync`; a new file's directory is synced before the file is relied on.
//! - A write that finds no room leaves the log as it was; a failed sync fences the log for good.
//! - The tail that a crash left unfinished is cut off at the next start; damage anywhere else is an error that
//!   names file and offset. Nothing damaged is ever read as an entry or a state.
//! - Nobody but the user who runs the agent can read what is below `raft`: values and tokens are in it.
//! - A snapshot is complete and synced under its final name, or it is not there.
//!
//! Not here: threads; what an entry means.

mod configuration;
mod files;
mod log;
mod segment;
mod snapshot;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use replica::{LogStore, StoreError};

use crate::files::RealFiles;
use crate::log::DiskLog;
pub use crate::snapshot::write_snapshot;

/// Opens the log of a data directory, making it if need be.
pub fn open(data_dir: &Path) -> Result<Box<dyn LogStore>, StoreError> {
    Ok(Box::new(DiskLog::open(data_dir, RealFiles)?))
}

pub(crate) fn raft_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("raft")
}

/// Opens files that only their owner can read.
pub(crate) fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes a directory below `raft`, and those above it that are missing, stable under their names.
pub(crate) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if !dir.is_dir() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| broken(dir, "cannot make", &error))?;
    }
    // An earlier life may have made them and not lived to sync them.
    dir.ancestors().skip(1).take(3).filter(|above| above.is_dir()).try_for_each(sync_dir)
}

/// An I/O error with the file that it is about.
pub(crate) fn broken(path: &Path, what: &str, error: &std::io::Error) -> StoreError {
    StoreError::Broken(format!("{what} {}: {error}", path.display()))
}

/// Makes renames and new names in a directory stable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| broken(dir, "cannot sync directory", &error))
}
