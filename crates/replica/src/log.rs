//! Where a replica keeps its log: the contract, and the store that only remembers.

use std::fmt;
use std::io::Read;

use raft::eraftpb::{Entry, HardState};

/// Which state a snapshot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub index: u64,
    pub term: u64,
}

/// What a store had when it was opened, kept up to date.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovered {
    pub hard_state: HardState,
    pub snapshot: Option<SnapshotMeta>,
}

/// Why a store could not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// No room: nothing was written, and later there may be room.
    Full(String),
    /// Anything else: what is on the disk is not known any more.
    Broken(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full(text) | StoreError::Broken(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

/// A raft log with its hard state and snapshots.
pub trait LogStore: Send + Sync {
    /// Hard state and newest snapshot.
    fn recovered(&self) -> Recovered;

    /// Appends entries (cutting off whatever stood at their indexes) and the hard state. Returns when both are
    /// stable: they survive power loss.
    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), StoreError>;

    /// Entries `low..high`, at least one, and no more than about `max_bytes`.
    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, StoreError>;

    /// First index that `entries` can give; one past the snapshot when the log is empty.
    fn first_index(&self) -> u64;

    /// Last index of the log; the snapshot's when the log is empty.
    fn last_index(&self) -> u64;

    /// Throws the whole log away: it goes on behind `meta`, whose snapshot is stable. The hard state stays.
    fn restart_behind(&mut self, meta: SnapshotMeta) -> Result<(), StoreError>;

    /// Notes that the snapshot of this meta is stable in the place where [`LogStore::open_snapshot`] finds it.
    fn snapshot_taken(&mut self, meta: SnapshotMeta) -> Result<(), StoreError>;

    /// Forgets the entries before `index`.
    fn compact(&mut self, index: u64) -> Result<(), StoreError>;

    /// The bytes (`state.bin`) of the newest snapshot.
    fn open_snapshot(&self) -> Result<Box<dyn Read + Send>, StoreError>;

    /// What [`LogStore::set_configuration`] was given last.
    fn configuration(&self) -> Option<Vec<u8>>;

    /// Keeps the configuration of the cluster, as bytes. It is stable when this returns.
    fn set_configuration(&mut self, bytes: Vec<u8>) -> Result<(), StoreError>;
}

/// A log in memory: -dev agents and simulations.
#[derive(Debug, Default)]
pub struct MemoryLog {
    entries: std::collections::VecDeque<Entry>,
    hard_state: HardState,
    /// Index and term of the entry before the first.
    before: SnapshotMeta,
    snapshot: Option<(SnapshotMeta, Vec<u8>)>,
    configuration: Option<Vec<u8>>,
}

impl MemoryLog {
    /// Starts from a snapshot.
    #[must_use]
    pub fn from_snapshot(meta: SnapshotMeta, bytes: Vec<u8>) -> Self {
        let hard_state = HardState { commit: meta.index, term: meta.term, ..HardState::default() };
        MemoryLog { before: meta, hard_state, snapshot: Some((meta, bytes)), ..MemoryLog::default() }
    }
}

impl LogStore for MemoryLog {
    fn recovered(&self) -> Recovered {
        let snapshot = self.snapshot.as_ref().map(|(meta, _)| *meta);
        Recovered { hard_state: self.hard_state.clone(), snapshot }
    }

    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), StoreError> {
        if let Some(first) = entries.first() {
            while self.entries.back().is_some_and(|last| last.index >= first.index) {
                self.entries.pop_back();
            }
            self.entries.extend(entries.iter().cloned());
        }
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        Ok(())
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let first = self.first_index();
        if low < first {
            return Err(StoreError::Broken(format!("entry {low} is compacted")));
        }
        let skip = usize::try_from(low - first).unwrap_or(usize::MAX);
        let count = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in self.entries.iter().skip(skip).take(count) {
            bytes += entry.data.len() as u64;
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn first_index(&self) -> u64 {
        self.before.index + 1
    }

    fn last_index(&self) -> u64 {
        self.before.index + self.entries.len() as u64
    }

    fn restart_behind(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        *self = MemoryLog {
            hard_state: self.hard_state.clone(),
            configuration: self.configuration.take(),
            ..MemoryLog::from_snapshot(meta, Vec::new())
        };
        self.hard_state.commit = meta.index;
        self.hard_state.term = self.hard_state.term.max(meta.term);
        Ok(())
    }

    fn snapshot_taken(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        // The state itself is the snapshot while the process lives, and nothing outlives it.
        self.snapshot = Some((meta, Vec::new()));
        Ok(())
    }

    fn compact(&mut self, index: u64) -> Result<(), StoreError> {
        while self.entries.front().is_some_and(|first| first.index < index) {
            if let Some(gone) = self.entries.pop_front() {
                self.before = SnapshotMeta { index: gone.index, term: gone.term };
            }
        }
        // Room for the next round is kept, a burst's is not.
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
        Ok(())
    }

    fn open_snapshot(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        let bytes = self.snapshot.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }

    fn configuration(&self) -> Option<Vec<u8>> {
        self.configuration.clone()
    }

    fn set_configuration(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.configuration = Some(bytes);
        Ok(())
    }
}
