//! Reading the log at start: every record is checked, an unfinished end is told from damage.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use raft::eraftpb::HardState;
use replica::{SnapshotMeta, StoreError};

use super::{Place, decode, path_of};
use crate::broken;
use crate::segment::{self, Found, HEADER, Kind};

/// What the segments hold.
pub(super) struct Scanned {
    pub hard_state: HardState,
    /// Number of the last append.
    pub append: u16,
    /// First indexes of the segments that count, oldest first.
    pub segments: VecDeque<u64>,
    /// Segments from before a restore: nothing of them counts.
    pub obsolete: Vec<u64>,
    /// How long the sound part of the newest segment is.
    pub tail_length: u64,
    pub first: u64,
    pub places: VecDeque<Place>,
}

/// Reads all segments, and checks that together with the snapshot they leave no gap.
pub(super) fn scan(log_dir: &Path, snapshot: Option<SnapshotMeta>) -> Result<Scanned, StoreError> {
    let segments = segments_in(log_dir)?;
    let behind_snapshot = snapshot.map_or(1, |meta| meta.index + 1);
    let mut scanned = Scanned {
        hard_state: HardState::default(),
        append: 0,
        segments: VecDeque::new(),
        obsolete: Vec::new(),
        tail_length: 0,
        first: segments.first().copied().unwrap_or(behind_snapshot),
        places: VecDeque::new(),
    };
    for (at, segment) in segments.iter().copied().enumerate() {
        let next = scanned.first + scanned.places.len() as u64;
        if segment == behind_snapshot && segment != next {
            // The log was started again behind a restored state, and the old segments were still to be removed.
            scanned.obsolete.extend(scanned.segments.drain(..));
            scanned.places.clear();
            scanned.first = segment;
        }
        scanned.segments.push_back(segment);
        let is_last = at + 1 == segments.len();
        scanned.tail_length = scanned.segment(&path_of(log_dir, segment), segment, is_last)?;
    }
    if scanned.first > behind_snapshot {
        let what = snapshot.map_or("there is no snapshot".to_owned(), |meta| format!("the snapshot ends at {}", meta.index));
        return Err(StoreError::Broken(format!(
            "the log in {} starts at index {}, but {what}: entries are missing; refusing to start",
            log_dir.display(),
            scanned.first
        )));
    }
    if let Some(meta) = snapshot {
        scanned.hard_state.commit = scanned.hard_state.commit.max(meta.index);
        scanned.hard_state.term = scanned.hard_state.term.max(meta.term);
    }
    Ok(scanned)
}

impl Scanned {
    /// Reads one segment; returns how long its sound part is.
    fn segment(&mut self, path: &Path, segment: u64, is_last: bool) -> Result<u64, StoreError> {
        let bytes = fs::read(path).map_err(|error| broken(path, "cannot read", &error))?;
        let mut at = 0;
        loop {
            match segment::read(&bytes, at) {
                Found::End => return Ok(at as u64),
                Found::Record(header, body) => {
                    match header.kind {
                        Kind::HardState => self.hard_state = decode(body, path)?,
                        Kind::Entry => {
                            let place = Place { segment, offset: at as u64, length: header.length };
                            self.entry(path, at, header.index, place)?;
                        }
                    }
                    self.append = header.append;
                    at += HEADER + body.len();
                }
                unsound if is_last && segment::is_unfinished(&bytes, at, &unsound, self.append) => return Ok(at as u64),
                Found::Short => return Err(segment::damaged(path, at, "missing end; record")),
                Found::Wrong(reason) => return Err(segment::damaged(path, at, reason)),
            }
        }
    }

    fn entry(&mut self, path: &Path, at: usize, index: u64, place: Place) -> Result<(), StoreError> {
        let next = self.first + self.places.len() as u64;
        if index > next || index == 0 {
            return Err(segment::damaged(path, at, "a gap in the indexes; record"));
        }
        if index < self.first {
            // Entries that were cut off, from before the first segment that is left: all behind them went too.
            self.places.clear();
            self.first = index;
        }
        // A later record at the same index replaces what stood there and everything behind it.
        self.places.truncate(usize::try_from(index - self.first).unwrap_or(usize::MAX));
        self.places.push_back(place);
        Ok(())
    }
}

fn segments_in(log_dir: &Path) -> Result<Vec<u64>, StoreError> {
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
    Ok(found)
}
