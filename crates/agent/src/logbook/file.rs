//! The log file and its rotation.
//!
//! The current file always has the configured name; when it is old or large enough it is renamed to
//! `name-<nanoseconds>.ext` and a new one begins, and the oldest renamed ones are removed.
//!
//! Always true: a line is in one file, whole. A file that exists is continued.
//! Not here: the clock; the caller passes the time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::FileConfig;

const DEFAULT_NAME: &str = "consul.log";
const DEFAULT_EXTENSION: &str = ".log";
const DEFAULT_ROTATE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Readable by the group, for whoever collects logs.
const MODE: u32 = 0o640;

#[derive(Debug)]
pub(super) struct LogFile {
    directory: PathBuf,
    name: String,
    rotate_after: Duration,
    rotate_bytes: u64,
    keep: i64,
    file: File,
    /// Since this process opened it: the reference does not count what was there before.
    written: u64,
    created: SystemTime,
}

impl LogFile {
    pub(super) fn open(config: FileConfig) -> io::Result<LogFile> {
        let text = config.path.to_string_lossy().into_owned();
        let (directory, name) = text.rsplit_once('/').map_or(("", text.as_str()), |(directory, name)| {
            (if directory.is_empty() { "/" } else { directory }, name)
        });
        let name = if name.is_empty() { DEFAULT_NAME } else { name }.to_owned();
        let directory = if directory.is_empty() { PathBuf::from(".") } else { PathBuf::from(directory) };
        prune(&directory, &name, config.keep)?;
        let (file, created) = open(&directory.join(&name))?;
        let rotate_after = if config.rotate_after.is_zero() { DEFAULT_ROTATE_AFTER } else { config.rotate_after };
        Ok(LogFile {
            directory,
            name,
            rotate_after,
            rotate_bytes: config.rotate_bytes,
            keep: config.keep,
            file,
            written: 0,
            created,
        })
    }

    pub(super) fn write(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        let is_full = self.rotate_bytes > 0 && self.written >= self.rotate_bytes;
        let is_old = now.duration_since(self.created).is_ok_and(|age| age >= self.rotate_after);
        // A file that cannot be rotated is still written to.
        let rotated = if is_full || is_old { self.rotate(now) } else { Ok(()) };
        self.written += line.len() as u64;
        self.file.write_all(line).and(rotated)
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let nanos = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let (stem, extension) = parts(&self.name);
        let current = self.directory.join(&self.name);
        fs::rename(&current, self.directory.join(format!("{stem}-{nanos}{extension}")))?;
        (self.file, self.created) = open(&current)?;
        self.written = 0;
        prune(&self.directory, &self.name, self.keep)
    }
}

fn open(path: &Path) -> io::Result<(File, SystemTime)> {
    let file = OpenOptions::new().create(true).append(true).mode(MODE).open(path)?;
    let metadata = file.metadata()?;
    // Compat: the time of the inode's last change stands for its creation, also when an existing file is continued.
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    Ok((file, UNIX_EPOCH + Duration::new(seconds, nanos)))
}

/// What stands before and after the time in the name of a rotated file.
fn parts(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) => name.split_at(dot),
        None => (name, DEFAULT_EXTENSION),
    }
}

/// Removes the oldest rotated files beyond those to keep.
fn prune(directory: &Path, name: &str, keep: i64) -> io::Result<()> {
    if keep == 0 {
        return Ok(());
    }
    let (stem, extension) = parts(name);
    let mut rotated = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.file_name().to_string_lossy().into_owned();
        if found.strip_prefix(stem).is_some_and(|rest| rest.starts_with('-')) && found.ends_with(extension) {
            rotated.push(found);
        }
    }
    rotated.sort();
    let keep = usize::try_from(keep).unwrap_or(0);
    for old in &rotated[..rotated.len().saturating_sub(keep)] {
        fs::remove_file(directory.join(old))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{FileConfig, LogFile};

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn config(directory: &Path, name: &str) -> FileConfig {
        let path = format!("{}/{name}", directory.display()).into();
        FileConfig { path, rotate_after: Duration::ZERO, rotate_bytes: 0, keep: 0 }
    }

    #[test]
    fn a_directory_gets_the_default_name_and_a_file_is_continued() {
        let directory = tempfile::tempdir().unwrap();
        for line in ["one\n", "two\n"] {
            let mut file = LogFile::open(config(directory.path(), "")).unwrap();
            file.write(line.as_bytes(), SystemTime::now()).unwrap();
        }
        assert_eq!(names(directory.path()), ["consul.log"]);
        assert_eq!(fs::read_to_string(directory.path().join("consul.log")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn full_files_are_renamed_and_pruned() {
        let directory = tempfile::tempdir().unwrap();
        let config = FileConfig { rotate_bytes: 4, keep: 2, ..config(directory.path(), "a.txt") };
        let mut file = LogFile::open(config.clone()).unwrap();
        let now = SystemTime::now();
        for second in 0..5 {
            file.write(format!("no {second}\n").as_bytes(), now + Duration::from_secs(second)).unwrap();
        }
        let found = names(directory.path());
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("a-") && found[0].ends_with(".txt"));
        assert_eq!(fs::read_to_string(directory.path().join(&found[1])).unwrap(), "no 3\n");
        assert_eq!(fs::read_to_string(directory.path().join("a.txt")).unwrap(), "no 4\n");
        LogFile::open(FileConfig { keep: -1, ..config }).unwrap();
        assert_eq!(names(directory.path()), ["a.txt"]);
    }

    #[test]
    fn old_files_are_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = LogFile::open(config(directory.path(), "plain")).unwrap();
        let now = SystemTime::now();
        file.write(b"one\n", now + Duration::from_secs(23 * 3600)).unwrap();
        assert_eq!(names(directory.path()), ["plain"]);
        file.write(b"two\n", now + Duration::from_secs(25 * 3600)).unwrap();
        let found = names(directory.path());
        assert_eq!(found.len(), 2);
        assert!(found[1].starts_with("plain-") && found[1].ends_with(".log"), "{found:?}");
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(LogFile::open(config(directory.path(), "no/such/file")).is_err());
    }
}
