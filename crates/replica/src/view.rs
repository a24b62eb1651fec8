//! What raft sees of the log: the newest entries from memory, older ones from the store.
//!
//! Always true: what is in the cache is in the store, without gaps, up to the store's last index; the cache
//! takes no more than its bound, however small or large the entries are.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::{LogStore, MemoryLog, StoreError};

/// The newest entries are kept in memory up to this many bytes, so that applying does not read the disk.
const CACHE_BYTES_MAX: usize = 4 << 20;
/// What an entry takes besides its data.
const ENTRY_OVERHEAD: usize = 128;

/// The log as raft reads it.
pub(crate) struct LogView {
    pub store: Box<dyn LogStore>,
    /// What is applied is committed, whatever the stored hard state says: commit indexes alone are not synced.
    pub applied: u64,
    /// The only voter.
    voter: u64,
    /// The newest stored entries, without gaps.
    cache: VecDeque<Entry>,
    cached_bytes: usize,
}

fn cost(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_OVERHEAD
}

impl LogView {
    pub fn new(store: Box<dyn LogStore>, voter: u64, applied: u64) -> Self {
        LogView { store, applied, voter, cache: VecDeque::new(), cached_bytes: 0 }
    }

    /// Takes the store out, leaving one that knows nothing.
    pub fn take_store(&mut self) -> Box<dyn LogStore> {
        self.cache.clear();
        self.cached_bytes = 0;
        std::mem::replace(&mut self.store, Box::new(MemoryLog::default()))
    }

    /// Stores entries; they are stable when this returns.
    pub fn append(&mut self, entries: Vec<Entry>, hard_state: Option<&HardState>) -> Result<(), StoreError> {
        self.store.append(&entries, hard_state)?;
        let Some(first) = entries.first() else { return Ok(()) };
        while let Some(last) = self.cache.pop_back_if(|last| last.index >= first.index) {
            self.cached_bytes -= cost(&last);
        }
        if self.cache.back().is_some_and(|last| last.index + 1 != first.index) {
            self.cache.clear();
            self.cached_bytes = 0;
        }
        self.cached_bytes += entries.iter().map(cost).sum::<usize>();
        self.cache.extend(entries);
        while self.cached_bytes > CACHE_BYTES_MAX
            && self.cache.len() > 1
            && let Some(oldest) = self.cache.pop_front()
        {
            self.cached_bytes -= cost(&oldest);
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
        hard_state.commit = hard_state.commit.clamp(self.applied, self.store.last_index().max(self.applied));
        let conf_state = ConfState { voters: vec![self.voter], ..ConfState::default() };
        Ok(RaftState { hard_state, conf_state })
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

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // There is nobody to send one to yet.
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
