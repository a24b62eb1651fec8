//! The log: segments of records, appended to and synced, indexed in memory.
//!
//! Always true: each segment begins with the hard state that was true when it was made, so that removing old
//! segments never removes the newest hard state. The index in that first record is zero, or says where the log was
//! started again behind a restored state: then nothing from before it counts.

mod scan;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use protobuf::Message;
use raft::eraftpb::{Entry, HardState};
use replica::{LogStore, Recovered, SnapshotMeta, StoreError};

use crate::files::{Files, LogFile};
use crate::segment::{self, Found, HEADER, Header, Kind};
use crate::{broken, configuration, make_dir, private, raft_dir, snapshot, sync_dir};

/// A segment is closed when it has grown past this.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Zeros are written so far ahead of the appends: a sync within them need not make a new length stable as well.
const AHEAD_BYTES: u64 = 1 << 20;
/// The buffer of appends is given back when one needed more than this.
const BUFFER_KEPT: usize = 256 << 10;
/// Neighbouring entries are read at once up to this many bytes.
const READ_AT_ONCE: u64 = 4 << 20;

/// Where an entry stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Number of its segment.
    segment: u64,
    /// Offset of the record.
    offset: u64,
    /// Length of the body.
    length: u32,
}

impl Place {
    fn end(&self) -> u64 {
        self.offset + HEADER as u64 + u64::from(self.length)
    }
}

/// The log of one server.
pub(crate) struct DiskLog<F: Files> {
    files: F,
    segment_bytes: u64,
    ahead_bytes: u64,
    data_dir: PathBuf,
    log_dir: PathBuf,
    /// Held for as long as this log is open.
    _lock: fs::File,
    hard_state: HardState,
    snapshot: Option<SnapshotMeta>,
    configuration: Option<Vec<u8>>,
    /// Numbers of the segments, oldest first.
    segments: VecDeque<u64>,
    /// The segment that is appended to, how far it is written, and how far the file goes: zeros in between.
    tail: F::File,
    tail_length: u64,
    tail_end: u64,
    /// Number of the next append.
    append: u16,
    first: u64,
    places: VecDeque<Place>,
    /// Why nothing can be written any more.
    fenced: Option<StoreError>,
    buffer: Vec<u8>,
}

impl<F: Files> DiskLog<F> {
    pub(crate) fn open(data_dir: &Path, files: F) -> Result<Self, StoreError> {
        Self::open_with(data_dir, files, SEGMENT_BYTES, AHEAD_BYTES)
    }

    fn open_with(data_dir: &Path, files: F, segment_bytes: u64, ahead_bytes: u64) -> Result<Self, StoreError> {
        let raft = raft_dir(data_dir);
        let log_dir = raft.join("log");
        make_dir(&log_dir)?;
        let lock = lock(&raft.join("lock"))?;
        let snapshot = snapshot::newest(data_dir)?;
        let found = scan::scan(&log_dir, snapshot)?;
        for number in &found.obsolete {
            remove(&path_of(&log_dir, *number))?;
        }
        let newest = found.segments.back().copied().unwrap_or(1);
        let path = path_of(&log_dir, newest);
        let mut tail = files.open(&path).map_err(|error| broken(&path, "cannot open", &error))?;
        // Cuts off what a crash left unfinished, before anything is written behind it.
        let length = fs::metadata(&path).map_err(|error| broken(&path, "cannot look at", &error))?.len();
        if found.is_unfinished {
            tracing::warn!(path = %path.display(), from = length, to = found.tail_length, "cutting off an unfinished write");
        }
        if length != found.tail_length {
            tail.set_len(found.tail_length).map_err(|error| broken(&path, "cannot cut", &error))?;
            tail.sync_data().map_err(|error| broken(&path, "cannot sync", &error))?;
        }
        sync_dir(&log_dir)?;
        let mut log = DiskLog {
            files,
            segment_bytes,
            ahead_bytes,
            data_dir: data_dir.to_owned(),
            log_dir,
            _lock: lock,
            hard_state: found.hard_state,
            snapshot,
            configuration: configuration::read(data_dir)?,
            segments: found.segments,
            tail,
            tail_length: found.tail_length,
            tail_end: found.tail_length,
            append: found.append.unwrap_or_default(),
            first: found.first,
            places: found.places,
            fenced: None,
            buffer: Vec::new(),
        };
        if log.segments.is_empty() {
            log.segments.push_back(newest);
        }
        if let Some(meta) = snapshot
            && log.last_index() < meta.index
        {
            // A restored archive was stable, and the crash came before the log was started again behind it.
            log.restart_behind(meta)?;
        }
        Ok(log)
    }

    /// The number of the segment that is appended to.
    fn newest(&self) -> u64 {
        self.segments.back().copied().unwrap_or(1)
    }

    /// Closes the tail and starts a segment with the hard state in it. `restart`: the log starts again at this index,
    /// or goes on when it is zero.
    fn rotate(&mut self, restart: u64) -> Result<(), StoreError> {
        // Zeros behind the records of a segment that is closed would be damage.
        let closed = self.tail.set_len(self.tail_length).and_then(|()| self.tail.sync_data());
        if let Err(error) = closed {
            let path = path_of(&self.log_dir, self.newest());
            return Err(self.fence(broken(&path, "cannot close", &error)));
        }
        self.tail_end = self.tail_length;
        let number = self.newest() + 1;
        let path = path_of(&self.log_dir, number);
        let mut begin = Vec::new();
        let record = self.record(Kind::HardState, true, restart, self.hard_state.term);
        segment::put(&mut begin, record, &encode(&self.hard_state)?);
        let opened = self.files.open(&path);
        let mut file = opened.map_err(|error| room_or_broken(&path, "cannot make", &error))?;
        // A leftover of an earlier life under the same name would be read as ours.
        let written = file.set_len(0).and_then(|()| file.write_all_at(&begin, 0)).and_then(|()| file.sync_data());
        let stable = written.map_err(|error| room_or_broken(&path, "cannot begin", &error));
        if let Err(failure) = stable.and_then(|()| sync_dir(&self.log_dir)) {
            drop(file);
            // A half segment behind a whole one that is appended to would be damage at the next start.
            let removed = fs::remove_file(&path).map_err(|error| broken(&path, "cannot remove", &error));
            return match (failure, removed) {
                (failure @ StoreError::Full(_), Ok(())) => Err(failure),
                (StoreError::Full(_), Err(failure)) | (failure @ StoreError::Broken(_), _) => Err(self.fence(failure)),
            };
        }
        self.tail = file;
        self.tail_length = begin.len() as u64;
        self.tail_end = self.tail_length;
        self.append = self.append.wrapping_add(1);
        self.segments.push_back(number);
        Ok(())
    }

    fn record(&self, kind: Kind, ends_append: bool, index: u64, term: u64) -> Header {
        Header { kind, append: self.append, ends_append, index, term }
    }

    fn fence(&mut self, error: StoreError) -> StoreError {
        self.fenced = Some(error.clone());
        error
    }

    /// Writes and syncs the buffer, or leaves the records of the file as they were.
    fn write_out(&mut self) -> Result<(), StoreError> {
        let end = self.tail_length + self.buffer.len() as u64;
        let written = if end <= self.tail_end || self.ahead_bytes == 0 {
            self.write_to(end)
        } else {
            // Where there is no room for the zeros, there may still be some for the records.
            match self.write_to(end + self.ahead_bytes) {
                Err(StoreError::Full(_)) => self.write_to(end),
                written => written,
            }
        };
        self.buffer.clear();
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        written?;
        self.tail_length = end;
        self.append = self.append.wrapping_add(1);
        Ok(())
    }

    /// Writes and syncs the buffer, and zeros up to `end`.
    fn write_to(&mut self, end: u64) -> Result<(), StoreError> {
        let records = self.buffer.len();
        self.buffer.resize(usize::try_from(end - self.tail_length).unwrap_or(records).max(records), 0);
        let written = self.tail.write_all_at(&self.buffer, self.tail_length).and_then(|()| self.tail.sync_data());
        self.buffer.truncate(records);
        let Err(error) = written else {
            self.tail_end = self.tail_end.max(end);
            return Ok(());
        };
        let path = path_of(&self.log_dir, self.newest());
        let failure = room_or_broken(&path, "cannot write", &error);
        let undone = self.tail.set_len(self.tail_length).and_then(|()| self.tail.sync_data());
        self.tail_end = self.tail_length;
        match (failure, undone) {
            (failure @ StoreError::Full(_), Ok(())) => Err(failure),
            (StoreError::Full(_), Err(error)) => {
                Err(self.fence(broken(&path, "cannot undo an unfinished write in", &error)))
            }
            // After a failed sync nobody knows what is on the disk: this log does not write again.
            (failure @ StoreError::Broken(_), _) => Err(self.fence(failure)),
        }
    }

    fn check_fence(&self) -> Result<(), StoreError> {
        self.fenced.clone().map_or(Ok(()), Err)
    }
}

impl<F: Files> LogStore for DiskLog<F> {
    fn recovered(&self) -> Recovered {
        Recovered { hard_state: self.hard_state.clone(), snapshot: self.snapshot }
    }

    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), StoreError> {
        self.check_fence()?;
        if self.tail_length > self.segment_bytes {
            self.rotate(0)?;
        }
        let segment = self.newest();
        // The commit index alone is not worth a record: what is stored by a lone voter is committed.
        let hard_state_record =
            hard_state.filter(|new| new.term != self.hard_state.term || new.vote != self.hard_state.vote);
        self.buffer.clear();
        if self.tail_length == 0 && (!entries.is_empty() || hard_state_record.is_some()) {
            // The crash came before the segment was begun, or this is the first of all.
            let record = self.record(Kind::HardState, false, 0, self.hard_state.term);
            segment::put(&mut self.buffer, record, &encode(&self.hard_state)?);
        }
        let mut places = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let ends = at + 1 == entries.len() && hard_state_record.is_none();
            let body = encode(entry)?;
            let offset = self.tail_length + self.buffer.len() as u64;
            let record = self.record(Kind::Entry, ends, entry.index, entry.term);
            segment::put(&mut self.buffer, record, &body);
            places.push(Place { segment, offset, length: u32::try_from(body.len()).unwrap_or(u32::MAX) });
        }
        if let Some(new) = hard_state_record {
            let record = self.record(Kind::HardState, true, 0, new.term);
            segment::put(&mut self.buffer, record, &encode(new)?);
        }
        if !self.buffer.is_empty() {
            self.write_out()?;
        }
        if let Some(new) = hard_state {
            self.hard_state = new.clone();
        }
        if let Some(first) = entries.first() {
            let keep = first.index.saturating_sub(self.first);
            self.places.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            self.places.extend(places);
        }
        Ok(())
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        if low < self.first {
            return Err(StoreError::Broken(format!("entry {low} is compacted")));
        }
        let skip = usize::try_from(low - self.first).unwrap_or(usize::MAX);
        let count = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let wanted = self.places.iter().skip(skip).take(count).enumerate().take_while(|(at, place)| {
            bytes += u64::from(place.length);
            *at == 0 || bytes <= max_bytes
        });
        let wanted: Vec<Place> = wanted.map(|(_, place)| *place).collect();
        let mut entries = Vec::with_capacity(wanted.len());
        let neighbours = wanted.chunk_by(|one, next| one.segment == next.segment && one.end() <= next.offset);
        for run in neighbours {
            let Some(first) = run.first() else { continue };
            let path = path_of(&self.log_dir, first.segment);
            let file = fs::File::open(&path).map_err(|error| broken(&path, "cannot open", &error))?;
            let mut rest = run;
            while let Some(first) = rest.first() {
                let fits = rest.iter().take_while(|place| place.end() - first.offset <= READ_AT_ONCE).count().max(1);
                let (now, later) = rest.split_at(fits);
                read_run(&file, &path, now, &mut entries)?;
                rest = later;
            }
        }
        Ok(entries)
    }

    fn first_index(&self) -> u64 {
        self.first
    }

    fn last_index(&self) -> u64 {
        self.first + self.places.len() as u64 - 1
    }

    fn restart_behind(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.check_fence()?;
        self.hard_state.commit = meta.index;
        self.hard_state.term = self.hard_state.term.max(meta.term);
        let old = self.segments.len();
        // The new segment comes first: a start that finds both knows by its first record that the old ones are over.
        self.rotate(meta.index + 1)?;
        for number in self.segments.drain(..old) {
            remove(&path_of(&self.log_dir, number))?;
        }
        sync_dir(&self.log_dir)?;
        self.first = meta.index + 1;
        self.places.clear();
        self.snapshot = Some(meta);
        snapshot::prune(&self.data_dir)
    }

    fn snapshot_taken(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.snapshot = Some(meta);
        snapshot::prune(&self.data_dir)
    }

    fn compact(&mut self, index: u64) -> Result<(), StoreError> {
        let mut removed = false;
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.front().copied()
        {
            // Entries stand in the order of their segments.
            let count = self.places.partition_point(|place| place.segment <= oldest);
            if self.first + count as u64 > index || count == self.places.len() {
                break;
            }
            remove(&path_of(&self.log_dir, oldest))?;
            self.segments.pop_front();
            self.places.drain(..count);
            self.first += count as u64;
            removed = true;
        }
        if !removed {
            return Ok(());
        }
        if self.places.capacity() > 4 * self.places.len() {
            self.places.shrink_to(2 * self.places.len());
        }
        sync_dir(&self.log_dir)
    }

    fn open_snapshot(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        snapshot::open_newest(&self.data_dir)
    }

    fn configuration(&self) -> Option<Vec<u8>> {
        self.configuration.clone()
    }

    fn set_configuration(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.check_fence()?;
        // Half a configuration would be another quorum: without a whole one nothing goes on.
        configuration::write(&self.data_dir, &bytes).map_err(|error| self.fence(error))?;
        self.configuration = Some(bytes);
        Ok(())
    }
}

/// Reads entries that stand behind each other in one file.
fn read_run(file: &fs::File, path: &Path, run: &[Place], entries: &mut Vec<Entry>) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
    let length = usize::try_from(last.end() - first.offset).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, first.offset).map_err(|error| broken(path, "cannot read", &error))?;
    for place in run {
        let at = usize::try_from(place.offset - first.offset).unwrap_or(usize::MAX);
        // Checked again: the disk may have changed its mind since the start.
        let Found::Record(_, body) = segment::read(&bytes, at) else {
            return Err(segment::damaged(path, usize::try_from(place.offset).unwrap_or(usize::MAX), "record"));
        };
        entries.push(decode(body, path)?);
    }
    Ok(())
}

fn path_of(log_dir: &Path, number: u64) -> PathBuf {
    log_dir.join(format!("{number:020}.log"))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(|error| broken(path, "cannot remove", &error))
}

fn lock(path: &Path) -> Result<fs::File, StoreError> {
    let file = private().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| broken(path, "cannot open", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(error) => Err(StoreError::Broken(format!(
            "the data directory is in use by another agent ({} is locked: {error})",
            path.display()
        ))),
    }
}

pub(crate) fn room_or_broken(path: &Path, what: &str, error: &std::io::Error) -> StoreError {
    let text = format!("{what} {}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full(text),
        _ => StoreError::Broken(text),
    }
}

fn encode(message: &impl Message) -> Result<Vec<u8>, StoreError> {
    message.write_to_bytes().map_err(|error| StoreError::Broken(format!("cannot encode: {error}")))
}

/// Decodes a masked body.
fn decode<M: Message>(body: &[u8], path: &Path) -> Result<M, StoreError> {
    let mut body = body.to_vec();
    segment::mask(&mut body);
    M::parse_from_bytes(&body)
        .map_err(|error| StoreError::Broken(format!("cannot decode a record of {}: {error}", path.display())))
}
