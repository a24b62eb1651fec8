//! The few file operations that the log stands on, so that tests can make them fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::private;

/// Opens files for writing.
pub(crate) trait Files: Send + Sync + 'static {
    type File: LogFile;
    /// Opens or makes a file.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
}

/// A file that is written to.
pub(crate) trait LogFile: Send + Sync {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when everything written is on stable storage.
    fn sync_data(&mut self) -> io::Result<()>;
    fn set_len(&mut self, length: u64) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealFiles;

impl Files for RealFiles {
    type File = File;

    fn open(&self, path: &Path) -> io::Result<File> {
        private().create(true).truncate(false).write(true).open(path)
    }
}

impl LogFile for File {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }
}
