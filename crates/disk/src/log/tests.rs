//! The log under power loss, full disks, failing disks and flipped bits.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use raft::eraftpb::{Entry, HardState};
use replica::{LogStore, SnapshotMeta, StoreError};

use super::{DiskLog, SEGMENT_BYTES};
use crate::files::{Files, LogFile, RealFiles};

fn entry(index: u64, data: &[u8]) -> Entry {
    Entry { index, term: 1, data: data.to_vec().into(), ..Entry::default() }
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 1, commit, ..HardState::default() }
}

fn open(dir: &Path) -> Result<DiskLog<RealFiles>, StoreError> {
    DiskLog::open(dir, RealFiles)
}

fn data(log: &impl LogStore) -> Vec<Vec<u8>> {
    let entries = log.entries(log.first_index(), log.last_index() + 1, u64::MAX).unwrap();
    entries.into_iter().map(|entry| entry.data.to_vec()).collect()
}

fn only_segment(dir: &Path) -> std::path::PathBuf {
    fs::read_dir(dir.join("raft/log")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(&[entry(1, b"a"), entry(2, b"b")], Some(&hard_state(1, 0))).unwrap();
    log.append(&[entry(3, b"c")], None).unwrap();
    // A later leader's entry takes the place of the second and of all behind it.
    log.append(&[Entry { term: 2, ..entry(2, b"B") }], Some(&hard_state(2, 1))).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Broken(text)) if text.contains("in use")));
    drop(log);
    let log = open(dir.path()).unwrap();
    assert_eq!(data(&log), [b"a".to_vec(), b"B".to_vec()]);
    assert_eq!((log.recovered().hard_state.term, log.recovered().hard_state.vote), (2, 1));
}

#[test]
fn a_write_cut_at_any_byte_loses_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(&[entry(1, b"first"), entry(2, b"second")], Some(&hard_state(1, 0))).unwrap();
    let stable = fs::metadata(only_segment(dir.path())).unwrap().len();
    log.append(&[entry(3, b"third"), entry(4, b"fourth")], Some(&hard_state(1, 2))).unwrap();
    drop(log);
    let whole = fs::read(only_segment(dir.path())).unwrap();
    for cut in usize::try_from(stable).unwrap()..whole.len() {
        fs::write(only_segment(dir.path()), &whole[..cut]).unwrap();
        let mut log = open(dir.path()).unwrap();
        let found = data(&log);
        assert!((2..=4).contains(&found.len()), "cut at {cut}");
        assert_eq!(found[..2], [b"first".to_vec(), b"second".to_vec()]);
        // And it goes on from there.
        let next = log.last_index() + 1;
        log.append(&[entry(next, b"more")], None).unwrap();
        drop(log);
        assert_eq!(data(&open(dir.path()).unwrap()).last().unwrap(), b"more");
    }
    // The file had grown, but the bytes never came.
    let mut zeros = whole[..usize::try_from(stable).unwrap()].to_vec();
    zeros.resize(zeros.len() + 4096, 0);
    fs::write(only_segment(dir.path()), &zeros).unwrap();
    assert_eq!(data(&open(dir.path()).unwrap()).len(), 2);
}

#[test]
fn a_flipped_bit_is_named_and_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    for index in 1..=5 {
        log.append(&[entry(index, format!("entry number {index}").as_bytes())], None).unwrap();
    }
    drop(log);
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        match open(dir.path()) {
            Err(StoreError::Broken(text)) => {
                assert!(text.contains(path.to_str().unwrap()) && text.contains("offset"), "{text}");
            }
            Err(StoreError::Full(text)) => panic!("{text}"),
            Ok(_) => panic!("a flip at {at} went unnoticed"),
        }
    }
}

#[test]
fn segments_rotate_and_compaction_removes_the_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let big = vec![7; usize::try_from(SEGMENT_BYTES).unwrap() / 4];
    for index in 1..=20 {
        log.append(&[entry(index, &big)], Some(&hard_state(1, index))).unwrap();
    }
    let before = fs::read_dir(dir.path().join("raft/log")).unwrap().count();
    assert!(before > 2);
    crate::write_snapshot(dir.path(), SnapshotMeta { index: 12, term: 1 }, &mut |out| out.write_all(b"state")).unwrap();
    log.snapshot_taken(SnapshotMeta { index: 12, term: 1 }).unwrap();
    log.compact(12).unwrap();
    assert!(log.first_index() > 1 && log.first_index() <= 12);
    assert!(fs::read_dir(dir.path().join("raft/log")).unwrap().count() < before);
    let (first, last) = (log.first_index(), log.last_index());
    drop(log);
    let log = open(dir.path()).unwrap();
    assert_eq!((log.first_index(), log.last_index(), log.recovered().snapshot.unwrap().index), (first, last, 12));
    assert!(log.entries(first, last + 1, 1).unwrap().len() == 1, "a bound in bytes gives one entry at least");
}

#[test]
fn a_snapshot_that_is_damaged_is_named() {
    let dir = tempfile::tempdir().unwrap();
    crate::write_snapshot(dir.path(), SnapshotMeta { index: 3, term: 1 }, &mut |out| out.write_all(b"state")).unwrap();
    assert_eq!(open(dir.path()).unwrap().first_index(), 4);
    let snapshot = fs::read_dir(dir.path().join("raft/snapshots")).unwrap().next().unwrap().unwrap().path();
    for file in ["state.bin", "meta.json"] {
        let whole = fs::read(snapshot.join(file)).unwrap();
        let mut flipped = whole.clone();
        flipped[2] ^= 1;
        fs::write(snapshot.join(file), &flipped).unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::Broken(text)) if text.contains("snapshot")), "{file}");
        fs::write(snapshot.join(file), &whole).unwrap();
    }
}

/// Files that fail once so many bytes are written.
#[derive(Clone)]
struct Faulty {
    room: Arc<AtomicI64>,
    kind: io::ErrorKind,
    at_sync: bool,
}

struct FaultyFile {
    inner: fs::File,
    faults: Faulty,
}

impl Files for Faulty {
    type File = FaultyFile;
    fn append_to(&self, path: &Path) -> io::Result<FaultyFile> {
        Ok(FaultyFile { inner: RealFiles.append_to(path)?, faults: self.clone() })
    }
}

impl LogFile for FaultyFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.faults.room.fetch_sub(i64::try_from(bytes.len()).unwrap(), Ordering::Relaxed);
        if !self.faults.at_sync && left < i64::try_from(bytes.len()).unwrap() {
            // Part of it arrives, as it does in life.
            LogFile::write_all(&mut self.inner, &bytes[..usize::try_from(left.max(0)).unwrap()])?;
            return Err(self.faults.kind.into());
        }
        LogFile::write_all(&mut self.inner, bytes)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        if self.faults.at_sync && self.faults.room.load(Ordering::Relaxed) < 0 {
            return Err(self.faults.kind.into());
        }
        LogFile::sync_data(&mut self.inner)
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        LogFile::set_len(&mut self.inner, length)
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicI64::new(300));
    let faults = Faulty { room: Arc::clone(&room), kind: io::ErrorKind::StorageFull, at_sync: false };
    let mut log = DiskLog::open(dir.path(), faults).unwrap();
    log.append(&[entry(1, &[1; 50])], None).unwrap();
    assert!(matches!(log.append(&[entry(2, &[2; 400])], None), Err(StoreError::Full(_))));
    assert_eq!(data(&log), [vec![1; 50]]);
    room.store(10_000, Ordering::Relaxed);
    log.append(&[entry(2, &[3; 400])], None).unwrap();
    drop(log);
    assert_eq!(data(&open(dir.path()).unwrap()), [vec![1; 50], vec![3; 400]]);
}

#[test]
fn a_failed_sync_fences_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicI64::new(200));
    let faults = Faulty { room: Arc::clone(&room), kind: io::ErrorKind::Other, at_sync: true };
    let mut log = DiskLog::open(dir.path(), faults).unwrap();
    log.append(&[entry(1, &[1; 50])], None).unwrap();
    assert!(matches!(log.append(&[entry(2, &[2; 400])], None), Err(StoreError::Broken(_))));
    room.store(10_000, Ordering::Relaxed);
    assert!(matches!(log.append(&[entry(2, b"x")], None), Err(StoreError::Broken(_))), "it never writes again");
}
