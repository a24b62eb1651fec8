//! A disk that outlives its server: what is stable stays, and faults are made on demand.
//!
//! Not here: torn and flipped bytes of real files, which `disk` names or cuts off in its own tests; to a replica a crash
//! in the middle of an append has left all of it or nothing.

use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft::eraftpb::{Entry, HardState};
use replica::{LogStore, Recovered, SnapshotMeta, StoreError};

/// What a disk does at its next append, besides storing it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// There is no room.
    Full,
    /// The server dies before anything is written.
    DieBefore,
    /// The server dies when everything is written.
    DieAfter,
}

/// A rule of storage that is broken on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// The last appends are said to be stable and are lost in a crash.
    Unsynced,
}

#[derive(Debug, Clone, Default)]
struct Content {
    entries: VecDeque<Entry>,
    hard_state: HardState,
    before: SnapshotMeta,
    snapshot: Option<(SnapshotMeta, Vec<u8>)>,
    configuration: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Inner {
    content: Content,
    /// What a crash leaves, with [`Lie::Unsynced`].
    synced: Content,
    appends: u64,
    trouble: Trouble,
    lie: Lie,
    /// The server is dead since an append.
    died: bool,
}

/// The disk of one server. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

/// With [`Lie::Unsynced`] every so manyeth append is really stable.
const SYNC_EVERY: u64 = 8;

impl Disk {
    #[must_use]
    pub fn new(lie: Lie) -> Self {
        Disk(Arc::new(Mutex::new(Inner { lie, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn trouble(&self, trouble: Trouble) {
        self.inner().trouble = trouble;
    }

    /// Whether the server died in an append.
    #[must_use]
    pub fn has_died(&self) -> bool {
        self.inner().died
    }

    /// How many appends there were.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.inner().appends
    }

    /// The server died: what is not stable is gone.
    pub fn crash(&self) {
        let mut inner = self.inner();
        inner.died = false;
        inner.trouble = Trouble::None;
        match inner.lie {
            Lie::None => {}
            Lie::Unsynced => inner.content = inner.synced.clone(),
        }
    }

    /// Keeps a snapshot under its name, as `disk::write_snapshot` does.
    pub fn write_snapshot(&self, meta: SnapshotMeta, bytes: Vec<u8>) {
        let mut inner = self.inner();
        if inner.content.snapshot.as_ref().is_none_or(|(known, _)| known.index <= meta.index) {
            inner.content.snapshot = Some((meta, bytes));
        }
    }
}

impl LogStore for Disk {
    fn recovered(&self) -> Recovered {
        let inner = self.inner();
        let snapshot = inner.content.snapshot.as_ref().map(|(meta, _)| *meta);
        Recovered { hard_state: inner.content.hard_state.clone(), snapshot }
    }

    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.appends += 1;
        match inner.trouble {
            Trouble::Full => return Err(StoreError::Full("no space left on device".to_owned())),
            Trouble::DieBefore => {
                inner.died = true;
                return Err(StoreError::Broken("the server died".to_owned()));
            }
            Trouble::None | Trouble::DieAfter => {}
        }
        let content = &mut inner.content;
        if let Some(first) = entries.first() {
            while content.entries.back().is_some_and(|last| last.index >= first.index) {
                content.entries.pop_back();
            }
            content.entries.extend(entries.iter().cloned());
        }
        if let Some(hard_state) = hard_state {
            // The real log keeps term and vote; what is committed is learnt anew.
            content.hard_state = HardState { commit: 0, ..hard_state.clone() };
        }
        if inner.lie == Lie::Unsynced && inner.appends.is_multiple_of(SYNC_EVERY) {
            inner.synced = inner.content.clone();
        }
        if inner.trouble == Trouble::DieAfter {
            inner.died = true;
            return Err(StoreError::Broken("the server died".to_owned()));
        }
        Ok(())
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let inner = self.inner();
        let first = inner.content.before.index + 1;
        if low < first {
            return Err(StoreError::Broken(format!("entry {low} is compacted")));
        }
        let wanted = inner.content.entries.iter().filter(|entry| (low..high).contains(&entry.index));
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in wanted {
            bytes += entry.data.len() as u64;
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn first_index(&self) -> u64 {
        self.inner().content.before.index + 1
    }

    fn last_index(&self) -> u64 {
        let inner = self.inner();
        inner.content.before.index + inner.content.entries.len() as u64
    }

    fn restart_behind(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.content.entries.clear();
        inner.content.before = meta;
        inner.content.hard_state.term = inner.content.hard_state.term.max(meta.term);
        inner.synced = inner.content.clone();
        Ok(())
    }

    fn snapshot_taken(&mut self, _meta: SnapshotMeta) -> Result<(), StoreError> {
        Ok(())
    }

    fn compact(&mut self, index: u64) -> Result<(), StoreError> {
        let mut inner = self.inner();
        while inner.content.entries.front().is_some_and(|first| first.index < index) {
            if let Some(gone) = inner.content.entries.pop_front() {
                inner.content.before = SnapshotMeta { index: gone.index, term: gone.term };
            }
        }
        inner.synced = inner.content.clone();
        Ok(())
    }

    fn open_snapshot(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        let bytes = self.inner().content.snapshot.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn configuration(&self) -> Option<Vec<u8>> {
        self.inner().content.configuration.clone()
    }

    fn set_configuration(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.content.configuration = Some(bytes.clone());
        inner.synced.configuration = Some(bytes);
        Ok(())
    }
}
