//! Reading the log at start: every record is checked, an unfinished append is told from damage and left out whole.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::path::Path;

use raft::eraftpb::HardState;
use replica::{SnapshotMeta, StoreError};

use super::{Place, decode, path_of};
use crate::broken;
use crate::segment::{self, Found, HEADER, Header, Kind};

/// What the segments hold.
pub(super) struct Scanned {
    pub hard_state: HardState,
    /// Number of the next append, once there was one.
    pub append: Option<u16>,
    /// Numbers of the segments that count, oldest first.
    pub segments: VecDeque<u64>,
    /// Segments from before a restore: nothing of them counts.
    pub obsolete: Vec<u64>,
    /// How long the sound part of the newest segment is.
    pub tail_length: u64,
    /// Whether a crash left an unfinished append behind that.
    pub is_unfinished: bool,
    pub first: u64,
    pub places: VecDeque<Place>,
}

/// Reads all segments, and checks that together with the snapshot they leave no gap.
pub(super) fn scan(log_dir: &Path, snapshot: Option<SnapshotMeta>) -> Result<Scanned, StoreError> {
    let segments = segments_in(log_dir)?;
    let behind_snapshot = snapshot.map_or(1, |meta| meta.index + 1);
    let mut scanned = Scanned {
        hard_state: HardState::default(),
        append: None,
        segments: VecDeque::new(),
        obsolete: Vec::new(),
        tail_length: 0,
        is_unfinished: false,
        first: behind_snapshot,
        places: VecDeque::new(),
    };
    for (at, number) in segments.iter().copied().enumerate() {
        let is_last = at + 1 == segments.len();
        scanned.tail_length = scanned.segment(&path_of(log_dir, number), number, is_last)?;
        scanned.segments.push_back(number);
    }
    if scanned.first > behind_snapshot {
        let what =
            snapshot.map_or("there is no snapshot".to_owned(), |meta| format!("the snapshot ends at {}", meta.index));
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
    /// Reads one segment; returns how long the part with whole appends is.
    fn segment(&mut self, path: &Path, number: u64, is_last: bool) -> Result<u64, StoreError> {
        let mut window = Window::open(path)?;
        loop {
            let whole = self.appends(path, number, is_last, &window)?;
            if window.is_end {
                return Ok((window.base + whole) as u64);
            }
            window.slide(whole, path)?;
        }
    }

    /// Reads the appends of a window; returns how many of its bytes they take.
    fn appends(&mut self, path: &Path, number: u64, is_last: bool, window: &Window) -> Result<usize, StoreError> {
        let Window { bytes, base, .. } = window;
        let (mut at, mut whole) = (0, 0);
        // The records of an append count once its last one is there.
        let mut append: Vec<(usize, Header, &[u8])> = Vec::new();
        loop {
            match segment::read(bytes, at) {
                Found::Record(header, body) => {
                    if !self.is_next(header.append, append.first().map(|(_, first, _)| first.append)) {
                        return Err(segment::damaged(path, base + at, "the append's number; record"));
                    }
                    append.push((at, header, body));
                    at += HEADER + body.len();
                    if header.ends_append {
                        for (at, header, body) in append.drain(..) {
                            self.record(path, base + at, number, header, body)?;
                        }
                        self.append = Some(header.append.wrapping_add(1));
                        whole = at;
                    }
                }
                // The rest may stand behind the window.
                _ if !window.is_end => return Ok(whole),
                Found::End if append.is_empty() => return Ok(whole),
                // Only the segment that is appended to has zeros written ahead.
                _ if is_last && append.is_empty() && segment::is_blank(bytes, at) => return Ok(whole),
                unsound => {
                    let own = append.first().map(|(_, first, _)| first.append).or(self.append);
                    let own = own.unwrap_or_default();
                    if is_last && segment::is_unfinished(bytes, at, &unsound, own) {
                        self.is_unfinished = true;
                        return Ok(whole);
                    }
                    let reason = if let Found::Wrong(reason) = unsound { reason } else { "missing end; record" };
                    return Err(segment::damaged(path, base + at, reason));
                }
            }
        }
    }

    /// Whether an append's number follows from what came before: the running append's, or else the next.
    fn is_next(&self, append: u16, running: Option<u16>) -> bool {
        running.or(self.append).is_none_or(|expected| append == expected)
    }

    fn record(&mut self, path: &Path, at: usize, number: u64, header: Header, body: &[u8]) -> Result<(), StoreError> {
        match header.kind {
            Kind::Entry => {
                let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
                self.entry(path, at, header.index, Place { segment: number, offset: at as u64, length })
            }
            Kind::HardState => {
                self.hard_state = decode(body, path)?;
                if header.index > 0 {
                    self.obsolete.extend(self.segments.drain(..));
                    self.places.clear();
                    self.first = header.index;
                }
                Ok(())
            }
        }
    }

    fn entry(&mut self, path: &Path, at: usize, index: u64, place: Place) -> Result<(), StoreError> {
        if self.places.is_empty() || index < self.first {
            // The oldest entry that is left; or others from before it were cut off, and all behind them went too.
            self.places.clear();
            self.first = index;
        }
        let next = self.first + self.places.len() as u64;
        if index > next || index == 0 {
            return Err(segment::damaged(path, at, "a gap in the indexes; record"));
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
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|number| number.parse().ok());
        match number {
            Some(number) => found.push(number),
            None => tracing::warn!(path = %file.path().display(), "not a log segment; left alone"),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// So much of a segment is looked at together: a start needs no room for a whole one.
const WINDOW: usize = 256 << 10;

/// A part of a segment that begins at an append.
struct Window {
    file: fs::File,
    base: usize,
    bytes: Vec<u8>,
    /// It reaches to the end of the segment.
    is_end: bool,
}

impl Window {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let file = fs::File::open(path).map_err(|error| broken(path, "cannot open", &error))?;
        let mut window = Window { file, base: 0, bytes: Vec::new(), is_end: false };
        window.slide(0, path)?;
        Ok(window)
    }

    /// Leaves `whole` bytes behind and looks further, the further the less could be left behind.
    fn slide(&mut self, whole: usize, path: &Path) -> Result<(), StoreError> {
        self.bytes.drain(..whole);
        self.base += whole;
        let more = WINDOW.max(self.bytes.len());
        let read = (&self.file).take(more as u64).read_to_end(&mut self.bytes);
        let read = read.map_err(|error| broken(path, "cannot read", &error))?;
        self.is_end = read < more;
        Ok(())
    }
}
