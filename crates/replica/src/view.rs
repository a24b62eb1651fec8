//! What raft sees of the log: the newest entries from memory, older ones from the store.
//!
//! Always true: what is in the cache is in the store, without gaps, up to the store's last index. The last append is
//! in it, so that applying does not read the disk; what came before takes no more than a bound.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::{Configuration, LogStore, MemoryLog, SnapshotMeta, StoreError};

/// Older entries than those of the last append stay in memory only while all take no more than this.
const CACHE_BYTES_MAX: usize = 1 << 20;
/// What an entry takes besides its data.
const ENTRY_OVERHEAD: usize = 128;

/// The log as raft reads it.
pub(crate) struct LogView {
    pub store: Box<dyn LogStore>,
    /// Up to where the state has the log.
    pub applied: SnapshotMeta,
    pub configuration: Configuration,
    /// The state is not all that the log says: see `restore`.
    pub is_restoring: bool,
    /// Whether what is stored here is committed: nobody else has a say.
    alone: bool,
    /// The newest stored entries, without gaps.
    cache: VecDeque<Entry>,
    cached_bytes: usize,
}

fn cost(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_OVERHEAD
}

impl LogView {
    pub fn new(store: Box<dyn LogStore>, configuration: Configuration, me: u64, applied: SnapshotMeta) -> Self {
        let alone = configuration.is_only(me);
        LogView { store, applied, configuration, is_restoring: false, alone, cache: VecDeque::new(), cached_bytes: 0 }
    }

    /// Takes the store out, leaving one that knows nothing.
    pub fn take_store(&mut self) -> Box<dyn LogStore> {
        self.cache.clear();
        self.cached_bytes = 0;
        std::mem::replace(&mut self.store, Box::new(MemoryLog::default()))
    }

    /// Throws the log away: it goes on behind a snapshot that is stable.
    pub fn restart_behind(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        self.cache.clear();
        self.cached_bytes = 0;
        self.applied = meta;
        self.store.restart_behind(meta)
    }

    /// Stores entries; they are stable when this returns.
    pub fn append(&mut self, entries: Vec<Entry>, hard_state: Option<&HardState>) -> Result<(), StoreError> {
        self.store.append(&entries, hard_state)?;
        let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(()) };
        while let Some(last) = self.cache.pop_back_if(|last| last.index >= first) {
            self.cached_bytes -= cost(&last);
        }
        if self.cache.back().is_some_and(|last| last.index + 1 != first) {
            self.cache.clear();
            self.cached_bytes = 0;
        }
        self.cached_bytes += entries.iter().map(cost).sum::<usize>();
        self.cache.extend(entries);
        while self.cached_bytes > CACHE_BYTES_MAX
            && let Some(oldest) = self.cache.pop_front_if(|oldest| oldest.index < first)
        {
            self.cached_bytes -= cost(&oldest);
        }
        if self.cache.capacity() > 4 * self.cache.len() {
            self.cache.shrink_to(2 * self.cache.len());
        }
        Ok(())
    }

    fn cached(&self, index: u64) -> Option<&Entry> {
        let first = self.cache.front()?.index;
        self.cache.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }
}

fn other(error: StoreError) -> raft::Error {
    raft::Error::Store(StorageError::Other(error.into()))
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let mut hard_state = self.store.recovered().hard_state;
        // The stored commit index lags behind, since it alone is never synced; what was applied is committed.
        let known = hard_state.commit.max(self.applied.index);
        hard_state.commit = if self.alone { self.store.last_index() } else { known.min(self.store.last_index()) };
        Ok(RaftState { hard_state, conf_state: self.configuration.conf_state() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let max = max_size.into().unwrap_or(u64::MAX);
        if self.cached(low).is_none() {
            return self.store.entries(low, high, max).map_err(other);
        }
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in (low..high).map_while(|index| self.cached(index)) {
            bytes += entry.data.len() as u64;
            if bytes > max && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if let Some(entry) = self.cached(index) {
            return Ok(entry.term);
        }
        if let Some(snapshot) = self.store.recovered().snapshot
            && snapshot.index == index
        {
            return Ok(snapshot.term);
        }
        if index == self.applied.index && index != 0 {
            return Ok(self.applied.term);
        }
        if index == 0 {
            return Ok(0);
        }
        if index < self.store.first_index() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.store.last_index() {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let entries = self.store.entries(index, index + 1, u64::MAX).map_err(other)?;
        entries.first().map(|entry| entry.term).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.store.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.store.last_index())
    }

    /// The state is a value: the one that is there now can always be sent.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied.index == 0 || self.applied.index < request_index || self.is_restoring {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (self.applied.index, self.applied.term);
        meta.set_conf_state(self.configuration.conf_state());
        Ok(snapshot)
    }
}
