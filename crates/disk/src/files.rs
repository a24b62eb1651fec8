//! The few file operations that the log stands on, so that tests can make them fail.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::private;

/// Opens files for appending.
pub(crate) trait Files: Send + Sync + 'static {
    type File: LogFile;
    /// Opens or makes a file; writes go to its end.
    fn append_to(&self, path: &Path) -> io::Result<Self::File>;
}

/// A file that is appended to.
pub(crate) trait LogFile: Send + Sync {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on stable storage.
    fn sync_data(&mut self) -> io::Result<()>;
    fn set_len(&mut self, length: u64) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealFiles;

impl Files for RealFiles {
    type File = File;

    fn append_to(&self, path: &Path) -> io::Result<File> {
        private().create(true).append(true).open(path)
    }
}

impl LogFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }
}
