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
use crate::segment;

fn entry(index: u64, data: &[u8]) -> Entry {
    Entry { index, term: 1, data: data.to_vec().into(), ..Entry::default() }
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 1, commit, ..HardState::default() }
}

/// Without zeros ahead, so that a file ends where its records do.
fn open(dir: &Path) -> Result<DiskLog<RealFiles>, StoreError> {
    open_ahead(dir, 0)
}

fn open_ahead(dir: &Path, ahead: u64) -> Result<DiskLog<RealFiles>, StoreError> {
    DiskLog::open_with(dir, RealFiles, SEGMENT_BYTES, ahead)
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
        assert_eq!(found.len(), 2, "cut at {cut}: an append is there as a whole or not at all");
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
fn sectors_that_were_never_written_are_an_unfinished_append_only_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    // Values of zeros must not look like sectors that were never written.
    log.append(&[entry(1, &[0; 3000]), entry(2, &[0; 3000])], Some(&hard_state(1, 0))).unwrap();
    let stable = usize::try_from(fs::metadata(only_segment(dir.path())).unwrap().len()).unwrap();
    let batch: Vec<_> = (3..=6).map(|index| entry(index, &[0; 3000])).collect();
    log.append(&batch, None).unwrap();
    drop(log);
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open(dir.path()).map(|log| data(&log).len())
    };
    assert_eq!(check(&whole).unwrap(), 6);
    for sector in (0..whole.len()).step_by(512) {
        let end = (sector + 512).min(whole.len());
        let mut torn = whole.clone();
        torn[sector..end].fill(0);
        match check(&torn) {
            Ok(count) => assert!(sector >= stable && count == 2, "sector at {sector}: {count}"),
            // The sector where the stable part ends holds some of it.
            Err(StoreError::Broken(text)) => assert!(sector < stable, "sector at {sector}: {text}"),
            Err(error) => panic!("{error}"),
        }
    }
    // A flip in the last append is damage as long as everything of it was written.
    for at in (stable..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(matches!(check(&flipped), Err(StoreError::Broken(_))), "a flip at {at} went unnoticed");
    }
}

#[test]
fn the_log_goes_on_behind_a_restored_state_wherever_the_crash_comes() {
    let meta = SnapshotMeta { index: 100, term: 3 };
    let restore = |dir: &Path| crate::write_snapshot(dir, meta, &mut |out| out.write_all(b"state")).unwrap();
    let check = |dir: &Path| {
        let mut log = open(dir).unwrap();
        assert_eq!((log.first_index(), log.last_index()), (101, 100));
        assert_eq!((log.recovered().hard_state.term, log.recovered().hard_state.vote), (3, 1));
        log.append(&[entry(101, b"later")], None).unwrap();
        drop(log);
        let log = open(dir).unwrap();
        assert_eq!(data(&log), [b"later".to_vec()]);
        assert_eq!(log.recovered().hard_state.vote, 1);
        assert_eq!(fs::read_dir(dir.join("raft/log")).unwrap().count(), 1);
    };
    let filled = |dir: &Path| {
        let mut log = open(dir).unwrap();
        log.append(&[entry(1, b"a"), entry(2, b"b")], Some(&hard_state(3, 0))).unwrap();
        log
    };
    // No crash.
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path());
    restore(dir.path());
    log.restart_behind(meta).unwrap();
    drop(log);
    check(dir.path());
    // The snapshot was stable, the log not touched yet.
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    restore(dir.path());
    check(dir.path());
    // The new segment was there, whole or cut, and the old one not removed yet.
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path());
    let old = only_segment(dir.path());
    let bytes = fs::read(&old).unwrap();
    restore(dir.path());
    log.restart_behind(meta).unwrap();
    drop(log);
    let new = only_segment(dir.path());
    let begun = fs::read(&new).unwrap();
    for cut in 0..=begun.len() {
        fs::remove_dir_all(old.parent().unwrap()).unwrap();
        fs::create_dir(old.parent().unwrap()).unwrap();
        fs::write(&old, &bytes).unwrap();
        fs::write(&new, &begun[..cut]).unwrap();
        let log = open(dir.path()).unwrap();
        assert_eq!((log.first_index(), log.last_index()), (101, 100), "cut at {cut}");
        assert_eq!(log.recovered().hard_state.vote, 1, "cut at {cut}");
    }
    check(dir.path());
}

#[test]
fn entries_that_are_missing_between_snapshot_and_log_are_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let big = vec![7; usize::try_from(SEGMENT_BYTES).unwrap()];
    for index in 1..=4 {
        log.append(&[entry(index, &big)], Some(&hard_state(1, index))).unwrap();
    }
    crate::write_snapshot(dir.path(), SnapshotMeta { index: 3, term: 1 }, &mut |out| out.write_all(b"state")).unwrap();
    log.snapshot_taken(SnapshotMeta { index: 3, term: 1 }).unwrap();
    log.compact(4).unwrap();
    drop(log);
    assert!(open(dir.path()).is_ok());
    fs::remove_dir_all(dir.path().join("raft/snapshots")).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Broken(text)) if text.contains("entries are missing")));
}

#[test]
fn the_hard_state_outlives_the_segment_it_was_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let big = vec![7; usize::try_from(SEGMENT_BYTES).unwrap()];
    log.append(&[entry(1, &big)], Some(&hard_state(9, 0))).unwrap();
    for index in 2..=4 {
        log.append(&[Entry { term: 9, ..entry(index, &big) }], None).unwrap();
    }
    crate::write_snapshot(dir.path(), SnapshotMeta { index: 4, term: 1 }, &mut |out| out.write_all(b"state")).unwrap();
    log.snapshot_taken(SnapshotMeta { index: 4, term: 1 }).unwrap();
    log.compact(4).unwrap();
    assert!(log.first_index() > 1);
    drop(log);
    let hard_state = open(dir.path()).unwrap().recovered().hard_state;
    assert_eq!((hard_state.term, hard_state.vote), (9, 1));
}

#[test]
fn a_snapshot_that_was_never_finished_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    for index in 1..=4 {
        let meta = SnapshotMeta { index, term: 1 };
        crate::write_snapshot(dir.path(), meta, &mut |out| out.write_all(b"state")).unwrap();
    }
    let home = dir.path().join("raft/snapshots");
    let half = home.join("1-9-1234.tmp");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("state.bin"), b"sta").unwrap();
    let failed = crate::write_snapshot(dir.path(), SnapshotMeta { index: 8, term: 1 }, &mut |_| {
        Err(io::ErrorKind::StorageFull.into())
    });
    assert!(matches!(failed, Err(StoreError::Full(_))));
    let mut log = open(dir.path()).unwrap();
    assert_eq!(log.recovered().snapshot, Some(SnapshotMeta { index: 4, term: 1 }));
    log.snapshot_taken(SnapshotMeta { index: 4, term: 1 }).unwrap();
    let left = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<_> = left.map(|name| name[..4].to_owned()).collect();
    left.sort();
    assert_eq!(left, ["1-3-", "1-4-"], "the newest two, and nothing half");
}

#[test]
fn only_the_owner_reads_what_is_stored() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    crate::write_snapshot(dir.path(), SnapshotMeta { index: 1, term: 1 }, &mut |out| out.write_all(b"state")).unwrap();
    let snapshot = fs::read_dir(dir.path().join("raft/snapshots")).unwrap().next().unwrap().unwrap().path();
    for file in [only_segment(dir.path()), snapshot.join("state.bin"), snapshot.join("meta.json")] {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
    }
    drop(log);
}

#[test]
fn zeros_ahead_hide_neither_crashes_nor_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_ahead(dir.path(), 5000).unwrap();
    let append = |log: &mut DiskLog<RealFiles>, from: u64| {
        let batch: Vec<_> = (from..from + 3).map(|index| entry(index, &[u8::try_from(index).unwrap(); 600])).collect();
        log.append(&batch, Some(&hard_state(from, 0))).unwrap();
        usize::try_from(log.tail_length).unwrap()
    };
    let stable = append(&mut log, 1);
    let end = append(&mut log, 4);
    let mut ends: Vec<_> = log.places.iter().map(|place| usize::try_from(place.end()).unwrap()).collect();
    ends.push(end);
    drop(log);
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > end);
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open_ahead(dir.path(), 5000).map(|log| data(&log).len())
    };
    assert_eq!(check(&whole).unwrap(), 6);
    // The last append was written up to some byte. No disk and no kernel cuts so near to the end of a record, unless
    // a sector ends there.
    for cut in (stable..end).filter(|cut| !ends.iter().any(|end| (1..8).contains(&end.wrapping_sub(*cut)))) {
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        assert_eq!(check(&torn).unwrap(), 3, "cut at {cut}");
    }
    // Any of its whole sectors is missing.
    for sector in (stable.next_multiple_of(512)..end).step_by(512) {
        let mut torn = whole.clone();
        torn[sector..(sector + 512).min(end)].fill(0);
        assert_eq!(check(&torn).unwrap(), 3, "sector at {sector}");
    }
    // A flip anywhere in what was acknowledged.
    for at in 0..end {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        assert!(matches!(check(&flipped), Err(StoreError::Broken(_))), "a flip at {at} went unnoticed");
    }
    // What was acknowledged is gone, but a later append is there.
    for sector in (0..stable - 512).step_by(512) {
        let mut gone = whole.clone();
        gone[sector..sector + 512].fill(0);
        assert!(check(&gone).is_err(), "sector at {sector}");
    }
    // And it goes on behind what is there.
    assert_eq!(check(&whole).unwrap(), 6);
    let mut log = open_ahead(dir.path(), 5000).unwrap();
    append(&mut log, 7);
    drop(log);
    assert_eq!(data(&open(dir.path()).unwrap()).len(), 9);
}

#[test]
fn without_room_for_zeros_there_may_be_some_for_records() {
    let dir = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicI64::new(3000));
    // Room is counted down by failed writes too: enough for the records, never for the zeros.
    let faults = Faulty { room: Arc::clone(&room), kind: io::ErrorKind::StorageFull, at_sync: false };
    let mut log = DiskLog::open_with(dir.path(), faults, SEGMENT_BYTES, 100_000).unwrap();
    assert!(matches!(log.append(&[entry(1, &[1; 50])], None), Err(StoreError::Full(_))), "the double counts it so");
    room.store(1_000_000, Ordering::Relaxed);
    log.append(&[entry(1, &[1; 50])], None).unwrap();
    room.store(300, Ordering::Relaxed);
    log.append(&[entry(2, &[2; 50])], None).unwrap();
    drop(log);
    assert_eq!(data(&open(dir.path()).unwrap()), [vec![1; 50], vec![2; 50]]);
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
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(snapshot.join(file), &flipped).unwrap();
            let opened = open(dir.path()).map(|_| ());
            assert!(
                matches!(&opened, Err(StoreError::Broken(text)) if text.contains("snapshots/1-3-")),
                "{file} at {at}: {opened:?}"
            );
        }
        for cut in 0..whole.len() {
            fs::write(snapshot.join(file), &whole[..cut]).unwrap();
            assert!(open(dir.path()).is_err(), "{file} cut at {cut}");
        }
        fs::write(snapshot.join(file), &whole).unwrap();
    }
    fs::remove_file(snapshot.join("state.bin")).unwrap();
    assert!(open(dir.path()).is_err());
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
    fn open(&self, path: &Path) -> io::Result<FaultyFile> {
        Ok(FaultyFile { inner: RealFiles.open(path)?, faults: self.clone() })
    }
}

impl LogFile for FaultyFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let left = self.faults.room.fetch_sub(i64::try_from(bytes.len()).unwrap(), Ordering::Relaxed);
        if !self.faults.at_sync && left < i64::try_from(bytes.len()).unwrap() {
            // Part of it arrives, as it does in life.
            LogFile::write_all_at(&mut self.inner, &bytes[..usize::try_from(left.max(0)).unwrap()], offset)?;
            return Err(self.faults.kind.into());
        }
        LogFile::write_all_at(&mut self.inner, bytes, offset)
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
    let mut log = DiskLog::open_with(dir.path(), faults, SEGMENT_BYTES, 0).unwrap();
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
    let mut log = DiskLog::open_with(dir.path(), faults, SEGMENT_BYTES, 0).unwrap();
    log.append(&[entry(1, &[1; 50])], None).unwrap();
    assert!(matches!(log.append(&[entry(2, &[2; 400])], None), Err(StoreError::Broken(_))));
    room.store(10_000, Ordering::Relaxed);
    assert!(matches!(log.append(&[entry(2, b"x")], None), Err(StoreError::Broken(_))), "it never writes again");
}

#[test]
fn every_shortage_of_room_leaves_a_sound_log() {
    // Room runs out at each byte of an append, and of the first record of a new segment.
    for room in (1..700).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        let left = Arc::new(AtomicI64::new(1_000_000));
        let faults = Faulty { room: Arc::clone(&left), kind: io::ErrorKind::StorageFull, at_sync: false };
        let mut log = DiskLog::open_with(dir.path(), faults, SEGMENT_BYTES, 0).unwrap();
        log.append(&[entry(1, b"one")], Some(&hard_state(1, 0))).unwrap();
        left.store(room, Ordering::Relaxed);
        let batch = [entry(2, &[2; 300]), entry(3, &[3; 300])];
        let refused = log.append(&batch, Some(&hard_state(2, 1)));
        assert_eq!(refused.is_err(), room < 750, "room for {room}");
        let rotated = log.rotate(0);
        assert!(matches!(rotated, Ok(()) | Err(StoreError::Full(_))));
        drop(log);
        let log = open(dir.path()).unwrap();
        assert_eq!(data(&log), [b"one".to_vec()], "room for {room}");
        assert_eq!(log.recovered().hard_state.term, 1, "room for {room}");
    }
}

/// Whatever is done to it, and wherever it crashes, the log holds what a log in memory holds.
#[test]
fn it_holds_what_a_log_in_memory_holds() {
    const SEGMENT: u64 = 700;
    for seed in 1..60u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = move |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let dir = tempfile::tempdir().unwrap();
        // Zeros ahead in every other life.
        let ahead = std::cell::Cell::new(0);
        let open = || {
            ahead.set(1500 - ahead.get());
            DiskLog::open_with(dir.path(), RealFiles, SEGMENT, ahead.get()).unwrap()
        };
        let (mut log, mut model) = (open(), replica::MemoryLog::default());
        let (mut term, mut snapshot) = (1, 0);
        for step in 0..120 {
            let last = model.last_index();
            match roll(12) {
                0..=6 => {
                    // Now and then a new leader replaces what is not in a snapshot.
                    let mut from = last + 1;
                    if roll(4) == 0 {
                        term += 1;
                        from -= roll(last - snapshot + 1);
                    }
                    let batch: Vec<_> = (from..=from + roll(4))
                        .map(|index| Entry { term, ..entry(index, &[u8::try_from(roll(256)).unwrap(); 100]) })
                        .collect();
                    let hard_state = (roll(2) == 0).then(|| hard_state(term, snapshot));
                    log.append(&batch, hard_state.as_ref()).unwrap();
                    model.append(&batch, hard_state.as_ref()).unwrap();
                }
                7 | 8 => {
                    drop(log);
                    log = open();
                }
                9 => {
                    // A crash in the middle of an append that nobody was told of.
                    let (mut unfinished, mut ends) = (Vec::new(), Vec::new());
                    for index in last + 1..=last + 2 {
                        let body = protobuf::Message::write_to_bytes(&entry(index, &[1; 90])).unwrap();
                        let record = log.record(segment::Kind::Entry, index == last + 2, index, term);
                        segment::put(&mut unfinished, record, &body);
                        ends.push(unfinished.len());
                    }
                    let tail_length = usize::try_from(log.tail_length).unwrap();
                    drop(log);
                    let cut = usize::try_from(roll(unfinished.len() as u64)).unwrap();
                    let is_near = ends.iter().any(|end| (1..8).contains(&end.wrapping_sub(cut)));
                    let cut = if is_near { cut - 8 } else { cut };
                    let newest = fs::read_dir(dir.path().join("raft/log")).unwrap().map(|file| file.unwrap().path());
                    let newest = newest.max().unwrap();
                    let mut bytes = fs::read(&newest).unwrap();
                    let end = tail_length;
                    bytes.resize(bytes.len().max(end + cut), 0);
                    bytes[end..end + cut].copy_from_slice(&unfinished[..cut]);
                    fs::write(&newest, bytes).unwrap();
                    log = open();
                }
                10 if last > snapshot => {
                    snapshot += 1 + roll(last - snapshot);
                    let meta = SnapshotMeta { index: snapshot, term };
                    crate::write_snapshot(dir.path(), meta, &mut |out| out.write_all(b"state")).unwrap();
                    let keep = snapshot.saturating_sub(roll(5)) + 1;
                    for log in [&mut log as &mut dyn LogStore, &mut model] {
                        log.snapshot_taken(meta).unwrap();
                        log.compact(keep.max(log.first_index())).unwrap();
                    }
                }
                11 if roll(4) == 0 => {
                    snapshot = last + 1 + roll(20);
                    let meta = SnapshotMeta { index: snapshot, term };
                    crate::write_snapshot(dir.path(), meta, &mut |out| out.write_all(b"state")).unwrap();
                    if roll(2) == 0 {
                        log.restart_behind(meta).unwrap();
                    } else {
                        drop(log);
                        log = open();
                    }
                    model.restart_behind(meta).unwrap();
                }
                _ => {}
            }
            // The disk keeps whole segments, so it may remember more than was asked for.
            let (first, last) = (model.first_index(), model.last_index());
            assert!(log.first_index() <= first, "seed {seed}, step {step}");
            assert_eq!(log.last_index(), last, "seed {seed}, step {step}");
            assert_eq!(log.entries(first, last + 1, u64::MAX), model.entries(first, last + 1, u64::MAX), "seed {seed}");
            let (ours, theirs) = (log.recovered().hard_state, model.recovered().hard_state);
            assert!(ours.term >= theirs.term && ours.vote >= theirs.vote, "seed {seed}, step {step}");
        }
    }
}
