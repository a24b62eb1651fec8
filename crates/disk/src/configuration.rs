//! The configuration of the cluster: one small file, replaced as a whole.
//!
//! Always true: the file is the whole old one or the whole new one; damage is named.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use replica::StoreError;

use crate::{broken, make_dir, private, raft_dir, sync_dir};

/// Bytes of the checksum (CRC-32, little-endian) before the configuration.
const CHECKSUM: usize = 4;

fn path(data_dir: &Path) -> PathBuf {
    raft_dir(data_dir).join("configuration")
}

pub(crate) fn read(data_dir: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let path = path(data_dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(&path, "cannot read", &error)),
    };
    let whole = bytes.split_at_checked(CHECKSUM).filter(|(sum, rest)| *sum == crc32fast::hash(rest).to_le_bytes());
    match whole {
        Some((_, rest)) => Ok(Some(rest.to_vec())),
        None => Err(StoreError::Broken(format!("{} is damaged: its checksum is another one", path.display()))),
    }
}

pub(crate) fn write(data_dir: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let home = raft_dir(data_dir);
    make_dir(&home)?;
    let (path, scratch) = (path(data_dir), home.join("configuration.tmp"));
    let written = (|| {
        let mut file = private().create(true).truncate(true).write(true).open(&scratch)?;
        file.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&scratch, &path)
    })();
    written.map_err(|error| broken(&path, "cannot write", &error))?;
    sync_dir(&home)
}

#[cfg(test)]
mod tests {
    use super::{path, read, write};

    #[test]
    fn it_is_there_as_a_whole_or_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Ok(None));
        write(dir.path(), b"one").unwrap();
        write(dir.path(), b"two").unwrap();
        assert_eq!(read(dir.path()), Ok(Some(b"two".to_vec())));
        let whole = std::fs::read(path(dir.path())).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(path(dir.path()), &damaged).unwrap();
            assert!(read(dir.path()).is_err());
            std::fs::write(path(dir.path()), &whole[..at]).unwrap();
            assert!(read(dir.path()).is_err());
        }
    }
}
