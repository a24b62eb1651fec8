//! The log: segments of records, appended to and synced, indexed in memory.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use protobuf::Message;
use raft::eraftpb::{Entry, HardState};
use replica::{LogStore, Recovered, SnapshotMeta, StoreError};

use crate::files::{Files, LogFile};
use crate::segment::{self, Found, HEADER, Kind};
use crate::{broken, raft_dir, snapshot, sync_dir};

/// A segment is closed when it has grown past this.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Where an entry stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// First index of its segment, which names the file.
    segment: u64,
    /// Offset of the body.
    offset: u64,
    length: u32,
}

/// The log of one server.
pub(crate) struct DiskLog<F: Files> {
    files: F,
    data_dir: PathBuf,
    log_dir: PathBuf,
    /// Held for as long as this log is open.
    _lock: fs::File,
    hard_state: HardState,
    snapshot: Option<SnapshotMeta>,
    /// First indexes of the segments, oldest first.
    segments: VecDeque<u64>,
    /// The segment that is appended to, and its length.
    tail: F::File,
    tail_length: u64,
    first: u64,
    places: VecDeque<Place>,
    /// Why nothing can be written any more.
    fenced: Option<StoreError>,
    buffer: Vec<u8>,
}

impl<F: Files> DiskLog<F> {
    pub(crate) fn open(data_dir: &Path, files: F) -> Result<Self, StoreError> {
        let raft = raft_dir(data_dir);
        let log_dir = raft.join("log");
        fs::create_dir_all(&log_dir).map_err(|error| broken(&log_dir, "cannot make", &error))?;
        let lock = lock(&raft.join("lock"))?;
        let snapshot = snapshot::newest(data_dir)?;
        let mut segments = segments_in(&log_dir)?;
        let mut hard_state = HardState::default();
        let first = segments.front().copied().unwrap_or(snapshot.map_or(1, |meta| meta.index + 1));
        let mut scan = Scan { first, places: VecDeque::new(), hard_state: &mut hard_state };
        let mut tail_length = 0;
        for (at, segment) in segments.iter().enumerate() {
            let is_last = at + 1 == segments.len();
            tail_length = scan.segment(&path_of(&log_dir, *segment), *segment, is_last)?;
        }
        let (mut first, mut places) = (scan.first, scan.places);
        let last = first + places.len() as u64 - 1;
        if let Some(meta) = snapshot
            && (last < meta.index || first > meta.index + 1)
        {
            // The snapshot is ahead of the log (a restored archive): the log starts again behind it.
            for segment in segments.drain(..) {
                let path = path_of(&log_dir, segment);
                fs::remove_file(&path).map_err(|error| broken(&path, "cannot remove", &error))?;
            }
            (first, tail_length) = (meta.index + 1, 0);
            places.clear();
        } else if snapshot.is_none() && first != 1 {
            return Err(StoreError::Broken(format!(
                "the log in {} starts at index {first}, but there is no snapshot of what came before",
                log_dir.display()
            )));
        }
        if let Some(meta) = snapshot {
            hard_state.commit = hard_state.commit.max(meta.index);
            hard_state.term = hard_state.term.max(meta.term);
        }
        if segments.is_empty() {
            segments.push_back(first);
        }
        let newest = *segments.back().unwrap_or(&first);
        let path = path_of(&log_dir, newest);
        let mut tail = files.append_to(&path).map_err(|error| broken(&path, "cannot open", &error))?;
        // Cuts off what a crash left unfinished, before anything is written behind it.
        let length = fs::metadata(&path).map_err(|error| broken(&path, "cannot look at", &error))?.len();
        if length != tail_length {
            tracing::warn!(path = %path.display(), from = length, to = tail_length, "cutting off an unfinished write");
            tail.set_len(tail_length).map_err(|error| broken(&path, "cannot cut", &error))?;
            tail.sync_data().map_err(|error| broken(&path, "cannot sync", &error))?;
        }
        sync_dir(&log_dir)?;
        Ok(DiskLog {
            files,
            data_dir: data_dir.to_owned(),
            log_dir,
            _lock: lock,
            hard_state,
            snapshot,
            segments,
            tail,
            tail_length,
            first,
            places,
            fenced: None,
            buffer: Vec::new(),
        })
    }

    /// Closes the tail and starts a segment at `first`.
    fn rotate(&mut self, first: u64) -> Result<(), StoreError> {
        let path = path_of(&self.log_dir, first);
        let opened = self.files.append_to(&path);
        self.tail = opened.map_err(|error| room_or_broken(&path, "cannot make", &error))?;
        // A leftover of an earlier life under the same name would be read as ours.
        self.tail.set_len(0).map_err(|error| broken(&path, "cannot cut", &error))?;
        sync_dir(&self.log_dir)?;
        self.tail_length = 0;
        if self.segments.back() != Some(&first) {
            self.segments.push_back(first);
        }
        Ok(())
    }

    fn fence(&mut self, error: StoreError) -> StoreError {
        self.fenced = Some(error.clone());
        error
    }

    /// Writes and syncs the buffer, or leaves the file as it was.
    fn write_out(&mut self) -> Result<(), StoreError> {
        let path = path_of(&self.log_dir, *self.segments.back().unwrap_or(&self.first));
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.tail.write_all(&buffer).and_then(|()| self.tail.sync_data());
        let length = buffer.len() as u64;
        // One large batch must not keep its buffer for ever.
        self.buffer = if buffer.capacity() > 1 << 20 { Vec::new() } else { buffer };
        let Err(error) = written else {
            self.tail_length += length;
            return Ok(());
        };
        let failure = room_or_broken(&path, "cannot write", &error);
        if matches!(failure, StoreError::Full(_)) {
            let undone = self.tail.set_len(self.tail_length).and_then(|()| self.tail.sync_data());
            if let Err(error) = undone {
                return Err(self.fence(broken(&path, "cannot undo an unfinished write in", &error)));
            }
            return Err(failure);
        }
        // After a failed sync nobody knows what is on the disk: this log does not write again.
        Err(self.fence(failure))
    }
}

impl<F: Files> LogStore for DiskLog<F> {
    fn recovered(&self) -> Recovered {
        Recovered { hard_state: self.hard_state.clone(), snapshot: self.snapshot }
    }

    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), StoreError> {
        if let Some(error) = &self.fenced {
            return Err(error.clone());
        }
        if self.tail_length > SEGMENT_BYTES
            && let Some(first) = entries.first()
            && first.index == self.last_index() + 1
        {
            self.rotate(first.index)?;
        }
        let segment = *self.segments.back().unwrap_or(&self.first);
        let mut places = Vec::with_capacity(entries.len());
        self.buffer.clear();
        for entry in entries {
            let start = self.buffer.len();
            let body = encode(entry)?;
            segment::put(&mut self.buffer, Kind::Entry, entry.index, entry.term, &body);
            places.push(Place {
                segment,
                offset: self.tail_length + (start + HEADER) as u64,
                length: u32::try_from(body.len()).unwrap_or(u32::MAX),
            });
        }
        // The commit index alone is not worth a sync: it is found again from the entries.
        let matters =
            hard_state.is_some_and(|new| new.term != self.hard_state.term || new.vote != self.hard_state.vote);
        if let Some(new) = hard_state.filter(|_| matters || !entries.is_empty()) {
            segment::put(&mut self.buffer, Kind::HardState, 0, new.term, &encode(new)?);
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
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut open: Option<(u64, fs::File)> = None;
        let skip = usize::try_from(low - self.first).unwrap_or(usize::MAX);
        let count = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX);
        for place in self.places.iter().skip(skip).take(count) {
            bytes += u64::from(place.length);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            let path = path_of(&self.log_dir, place.segment);
            let file = match &mut open {
                Some((segment, file)) if *segment == place.segment => file,
                slot => {
                    let file = fs::File::open(&path).map_err(|error| broken(&path, "cannot open", &error))?;
                    &mut slot.insert((place.segment, file)).1
                }
            };
            let mut record = vec![0; HEADER + place.length as usize];
            let start = place.offset - HEADER as u64;
            file.seek(SeekFrom::Start(start))
                .and_then(|_| file.read_exact(&mut record))
                .map_err(|error| broken(&path, "cannot read", &error))?;
            // Checked again: the disk may have changed its mind since the start.
            let Found::Record(_, body) = segment::read(&record, 0) else {
                return Err(segment::damaged(&path, usize::try_from(start).unwrap_or(usize::MAX), "record"));
            };
            entries.push(decode(body, &path)?);
        }
        Ok(entries)
    }

    fn first_index(&self) -> u64 {
        self.first
    }

    fn last_index(&self) -> u64 {
        self.first + self.places.len() as u64 - 1
    }

    fn snapshot_taken(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.snapshot = Some(meta);
        snapshot::prune(&self.data_dir)
    }

    fn compact(&mut self, index: u64) -> Result<(), StoreError> {
        let index = index.min(self.last_index() + 1);
        // A segment goes when the next one starts at or before the first index to keep.
        while self.segments.len() > 1 && self.segments.get(1).is_some_and(|next| *next <= index) {
            let Some(gone) = self.segments.pop_front() else { break };
            let path = path_of(&self.log_dir, gone);
            fs::remove_file(&path).map_err(|error| broken(&path, "cannot remove", &error))?;
            let first = self.segments.front().copied().unwrap_or(self.first);
            let count = usize::try_from(first - self.first).unwrap_or(usize::MAX);
            self.places.drain(..count.min(self.places.len()));
            self.first = first;
        }
        sync_dir(&self.log_dir)
    }

    fn open_snapshot(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        snapshot::open_newest(&self.data_dir)
    }
}

/// Reads segments in order, collecting places.
struct Scan<'a> {
    first: u64,
    places: VecDeque<Place>,
    hard_state: &'a mut HardState,
}

impl Scan<'_> {
    /// Reads one segment; returns how long its sound part is.
    fn segment(&mut self, path: &Path, segment: u64, is_last: bool) -> Result<u64, StoreError> {
        let bytes = fs::read(path).map_err(|error| broken(path, "cannot read", &error))?;
        let mut at = 0;
        loop {
            match segment::read(&bytes, at) {
                Found::End => return Ok(at as u64),
                Found::Torn if is_last => return Ok(at as u64),
                Found::Torn => return Err(segment::damaged(path, at, "missing end; record")),
                Found::Damaged(reason) => return Err(segment::damaged(path, at, reason)),
                Found::Record(header, body) => {
                    match header.kind {
                        Kind::HardState => {
                            *self.hard_state = decode(body, path)?;
                        }
                        Kind::Entry => {
                            let place = Place { segment, offset: (at + HEADER) as u64, length: header.length };
                            self.entry(path, at, header.index, place)?;
                        }
                    }
                    at += HEADER + body.len();
                }
            }
        }
    }

    fn entry(&mut self, path: &Path, at: usize, index: u64, place: Place) -> Result<(), StoreError> {
        let next = self.first + self.places.len() as u64;
        if index > next || index < self.first {
            return Err(segment::damaged(path, at, "a gap in the indexes; record"));
        }
        // A later record at the same index replaces what stood there and everything behind it.
        self.places.truncate(usize::try_from(index - self.first).unwrap_or(usize::MAX));
        self.places.push_back(place);
        Ok(())
    }
}

fn path_of(log_dir: &Path, first: u64) -> PathBuf {
    log_dir.join(format!("{first:020}.log"))
}

fn segments_in(log_dir: &Path) -> Result<VecDeque<u64>, StoreError> {
    let mut found = Vec::new();
    let listing = fs::read_dir(log_dir).map_err(|error| broken(log_dir, "cannot list", &error))?;
    for file in listing {
        let file = file.map_err(|error| broken(log_dir, "cannot list", &error))?;
        let name = file.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|first| first.parse().ok());
        match first {
            Some(first) => found.push(first),
            None => tracing::warn!(path = %file.path().display(), "not a log segment; left alone"),
        }
    }
    found.sort_unstable();
    Ok(found.into())
}

fn lock(path: &Path) -> Result<fs::File, StoreError> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| broken(path, "cannot open", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(error) => Err(StoreError::Broken(format!(
            "the data directory is in use by another agent ({} is locked: {error})",
            path.display()
        ))),
    }
}

fn room_or_broken(path: &Path, what: &str, error: &std::io::Error) -> StoreError {
    let text = format!("{what} {}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full(text),
        _ => StoreError::Broken(text),
    }
}

fn encode(message: &impl Message) -> Result<Vec<u8>, StoreError> {
    message.write_to_bytes().map_err(|error| StoreError::Broken(format!("cannot encode: {error}")))
}

fn decode<M: Message>(body: &[u8], path: &Path) -> Result<M, StoreError> {
    M::parse_from_bytes(body)
        .map_err(|error| StoreError::Broken(format!("cannot decode a record of {}: {error}", path.display())))
}

#[cfg(test)]
mod tests;
