//! One server's mind: raft, the replicated state, and the leader's duties.
//!
//! [`Replica`] is driven from outside: proposals and the time go in, what was applied comes out. It owns its
//! log through [`LogStore`], whose `append` returns when the entries are stable: that one call is the only
//! place where it can wait, and simulations give it a store that does not.
//!
//! Always true:
//! - An entry is on stable storage of a quorum before it is applied, and applied before it is answered.
//! - What was proposed while an append ran goes into the next append together: one sync serves many writes.
//! - No session expires before its TTL, counted from its creation, its last renewal, or the start of this
//!   leadership, whichever is latest; it expires at about twice the TTL.
//! - An entry that cannot be decoded stops this replica; it is never skipped.
//!
//! Not here: clocks, threads, sockets, other servers' messages (a later issue gives `Replica` peers).

pub mod codec;
mod duty;
mod log;

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, EntryType};
use raft::{Config, GetEntriesContext, RaftState, RawNode, StateRole, Storage};
use state::{Applied, Command, Index, Limits, Outcome, State, Touched};

pub use crate::duty::{Duties, Moment};
pub use crate::log::{LogStore, MemoryLog, Recovered, SnapshotMeta, StoreError};

/// This server among raft's peers. One voter knows only itself.
const SELF: u64 = 1;
/// Raft hands out committed entries in portions of about this size.
const COMMITTED_BYTES_MAX: u64 = 8 << 20;
/// The newest entries are kept in memory up to this many bytes, so that applying does not read the disk.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// Why a replica cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Storage refused a write that may be tried again (disk full).
    Refused(String),
    /// Storage or the log is broken: this replica must not serve any more.
    Fatal(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Refused(text) | Error::Fatal(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Which proposal an outcome belongs to; chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId(pub u64);

/// What one turn of the crank gave.
#[derive(Debug, Default)]
pub struct Turn {
    /// Outcomes of proposals, in log order.
    pub answers: Vec<(ProposalId, Result<Outcome, Error>)>,
    /// Everything that the turn changed; publish the state before waking anybody.
    pub touched: Touched,
    /// Whether the state is another one than before.
    pub changed: bool,
}

/// Facts about raft that operators look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub is_leader: bool,
    pub term: u64,
    pub applied_index: u64,
    pub commit_index: u64,
    pub last_log_index: u64,
    pub last_log_term: u64,
    pub last_snapshot_index: u64,
    pub last_snapshot_term: u64,
    pub first_log_index: u64,
}

/// One server's mind.
pub struct Replica {
    node: RawNode<LogView>,
    state: State,
    duties: Duties,
    /// Proposals in flight by log index, with the term in which they were appended.
    pending: BTreeMap<u64, (u64, ProposalId)>,
    own_proposals: u64,
    fenced: Option<String>,
}

/// Proposals that the replica makes itself get ids from here up.
const OWN_PROPOSALS: u64 = 1 << 63;

impl Replica {
    /// Takes up where the store left off: snapshot, then log. A lone voter campaigns at once.
    pub fn open(store: Box<dyn LogStore>, limits: Limits, now: Moment, seed: u64) -> Result<(Self, Turn), Error> {
        let recovered = store.recovered();
        let (state, applied) = match &recovered.snapshot {
            None => (State::new(limits), 0),
            Some(meta) => {
                let reader = store.open_snapshot().map_err(fatal)?;
                let state = codec::read_state(reader, limits).map_err(|error| Error::Fatal(error.to_string()))?;
                (state, meta.index)
            }
        };
        let view = LogView { store, cache: Vec::new(), cached_bytes: 0 };
        let config = Config {
            id: SELF,
            applied,
            election_tick: 10,
            heartbeat_tick: 2,
            pre_vote: true,
            check_quorum: true,
            max_size_per_msg: 1 << 20,
            max_committed_size_per_ready: COMMITTED_BYTES_MAX,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut node = RawNode::new(&config, view, &logger).map_err(|error| Error::Fatal(error.to_string()))?;
        // A seed replays: the library would roll its own dice for the election timeout.
        node.raft.set_randomized_election_timeout(10 + usize::try_from(seed % 10).unwrap_or(0));
        let duties = Duties::new(&state, now);
        let mut replica =
            Replica { node, state, duties, pending: BTreeMap::new(), own_proposals: OWN_PROPOSALS, fenced: None };
        replica.node.campaign().map_err(|error| Error::Fatal(error.to_string()))?;
        let mut turn = Turn { changed: true, ..Turn::default() };
        replica.drive(now, &mut turn)?;
        replica.duties.lead(&replica.state, now);
        Ok((replica, turn))
    }

    /// The state as of the last applied entry. Cloning it is cheap.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether this server leads, and so may answer `default` reads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.fenced.is_none() && self.node.raft.state == StateRole::Leader
    }

    /// Takes a proposal into the next append. An `Err` means that it will never be applied.
    pub fn propose(&mut self, id: ProposalId, command: &Command) -> Result<(), Error> {
        if let Some(reason) = &self.fenced {
            return Err(Error::Fatal(reason.clone()));
        }
        let data = codec::encode(command).map_err(|error| Error::Refused(error.to_string()))?;
        self.node.propose(Vec::new(), data).map_err(|error| Error::Refused(error.to_string()))?;
        let index = self.node.raft.raft_log.last_index();
        self.pending.insert(index, (self.node.raft.term, id));
        Ok(())
    }

    /// Appends what was proposed, applies what is committed, and does the leader duties that are due.
    pub fn turn(&mut self, now: Moment) -> Result<Turn, Error> {
        let mut turn = Turn::default();
        if let Some(reason) = &self.fenced {
            return Err(Error::Fatal(reason.clone()));
        }
        if self.is_leader() {
            for command in self.duties.due(&self.state, now) {
                self.own_proposals += 1;
                let id = ProposalId(self.own_proposals);
                // A duty that cannot be proposed now is still due at the next turn.
                if self.propose(id, &command).is_err() {
                    break;
                }
            }
        }
        self.drive(now, &mut turn)?;
        turn.answers.retain(|(id, _)| id.0 < OWN_PROPOSALS);
        Ok(turn)
    }

    /// When the next leader duty is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.duties.deadline()
    }

    /// Resets the expiry of a session. No log entry: only the leader counts.
    pub fn renew(&mut self, id: &str, now: Moment) -> Option<Arc<state::session::Session>> {
        let session = self.state.session_by_id(id)?.clone();
        self.duties.renew(&session, now);
        Some(session)
    }

    /// Whether a key may not be locked yet, since its last holder's session ended.
    #[must_use]
    pub fn is_lock_delayed(&self, key: &str, now: Moment) -> bool {
        self.duties.is_lock_delayed(key, now)
    }

    /// Facts about raft.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let raft = &self.node.raft;
        let store = &self.node.store().store;
        let snapshot = store.recovered().snapshot;
        let last_log_index = raft.raft_log.last_index();
        Stats {
            is_leader: self.is_leader(),
            term: raft.term,
            applied_index: self.state.applied().0,
            commit_index: raft.raft_log.committed,
            last_log_index,
            last_log_term: raft.raft_log.last_term(),
            last_snapshot_index: snapshot.as_ref().map_or(0, |meta| meta.index),
            last_snapshot_term: snapshot.as_ref().map_or(0, |meta| meta.term),
            first_log_index: store.first_index(),
        }
    }

    /// How many entries lie behind the last snapshot.
    #[must_use]
    pub fn entries_since_snapshot(&self) -> u64 {
        let snapshot = self.node.store().store.recovered().snapshot.map_or(0, |meta| meta.index);
        self.state.applied().0.saturating_sub(snapshot)
    }

    /// What a snapshot of the present state is called.
    #[must_use]
    pub fn snapshot_meta(&self) -> SnapshotMeta {
        let log = &self.node.raft.raft_log;
        SnapshotMeta { index: log.applied, term: log.term(log.applied).unwrap_or(self.node.raft.term) }
    }

    /// A snapshot is stable: the log before it may go, but for `trailing` entries.
    pub fn snapshot_taken(&mut self, meta: SnapshotMeta, trailing: u64) -> Result<(), Error> {
        let view = self.node.mut_store();
        view.store.snapshot_taken(meta).map_err(fatal)?;
        let keep_from = meta.index.saturating_sub(trailing);
        if keep_from > view.store.first_index() {
            view.store.compact(keep_from).map_err(fatal)?;
        }
        Ok(())
    }

    /// Puts another state in the place of the present one, at a new index, once `state` is stable as the
    /// store's snapshot.
    pub fn replace_state(&mut self, state: State, now: Moment) -> Turn {
        self.state = state;
        self.duties.lead(&self.state, now);
        let mut touched = Touched::default();
        touched.note(state::Topic::Everything);
        Turn { answers: Vec::new(), touched, changed: true }
    }

    /// Appends an entry that changes nothing, so that the log grows past what a restore has seen.
    pub fn propose_nothing(&mut self) -> Result<(), Error> {
        self.node.propose(Vec::new(), vec![codec::NOTHING]).map_err(|error| Error::Refused(error.to_string()))
    }

    fn drive(&mut self, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let committed = ready.take_committed_entries();
            self.apply(committed, now, turn)?;
            if !ready.entries().is_empty() || ready.hs().is_some() {
                let entries = ready.take_entries();
                let hard_state = ready.hs().cloned();
                let view = self.node.mut_store();
                if let Err(error) = view.append(entries, hard_state) {
                    return self.append_failed(error, turn);
                }
            }
            let mut light = self.node.advance(ready);
            let committed = light.take_committed_entries();
            self.apply(committed, now, turn)?;
            self.node.advance_apply();
        }
        Ok(())
    }

    /// The raft library has handed entries out as appended; they are not. Nothing that was proposed since
    /// may be answered, and this replica starts again from its store.
    fn append_failed(&mut self, error: StoreError, turn: &mut Turn) -> Result<(), Error> {
        let reason = error.to_string();
        for (_, (_, id)) in std::mem::take(&mut self.pending) {
            let answer = match &error {
                StoreError::Full(_) => Error::Refused(reason.clone()),
                StoreError::Broken(_) => Error::Fatal(reason.clone()),
            };
            turn.answers.push((id, Err(answer)));
        }
        self.fenced = Some(reason.clone());
        match error {
            StoreError::Full(_) => Err(Error::Refused(reason)),
            StoreError::Broken(_) => Err(Error::Fatal(reason)),
        }
    }

    /// Goes on after a refused append: the store has what was stable before, and `state` is the one that was
    /// applied from it. Entries past `state` that are in the store are applied again.
    pub fn resume(mut refused: Replica, state: State, now: Moment) -> Result<Self, Error> {
        let nothing: Box<dyn LogStore> = Box::new(MemoryLog::default());
        let store = std::mem::replace(&mut refused.node.mut_store().store, nothing);
        let limits = state.limits;
        drop(state);
        Replica::open(store, limits, now, 0).map(|(replica, _)| replica)
    }

    /// How many entries the store holds.
    #[must_use]
    pub fn log_length(&self) -> u64 {
        let store = &self.node.store().store;
        (store.last_index() + 1).saturating_sub(store.first_index())
    }

    fn apply(&mut self, entries: Vec<Entry>, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        for entry in entries {
            let index = Index(entry.index);
            let answered = self.pending.remove(&entry.index).filter(|(term, _)| *term == entry.term);
            if entry.get_entry_type() != EntryType::EntryNormal || entry.data.is_empty() {
                self.state.advance(index);
                continue;
            }
            let command = match codec::decode(&entry.data) {
                Ok(Some(command)) => command,
                Ok(None) => {
                    self.state.advance(index);
                    continue;
                }
                Err(error) => {
                    let reason = format!("log entry {} cannot be applied: {error}", entry.index);
                    self.fenced = Some(reason.clone());
                    return Err(Error::Fatal(reason));
                }
            };
            let Applied { outcome, touched, effects, .. } = self.state.apply(index, command);
            self.duties.note(&effects, index, now);
            turn.touched.extend(touched);
            turn.changed = true;
            if let Some((_, id)) = answered {
                turn.answers.push((id, Ok(outcome)));
            }
        }
        Ok(())
    }
}

fn fatal(error: StoreError) -> Error {
    Error::Fatal(error.to_string())
}

/// What raft sees of the log: the newest entries from memory, older ones from the store.
struct LogView {
    store: Box<dyn LogStore>,
    /// The newest stored entries, without gaps.
    cache: Vec<Entry>,
    cached_bytes: usize,
}

impl LogView {
    fn append(&mut self, entries: Vec<Entry>, hard_state: Option<raft::eraftpb::HardState>) -> Result<(), StoreError> {
        self.store.append(&entries, hard_state.as_ref())?;
        if let Some(first) = entries.first() {
            self.cache.retain(|cached| cached.index < first.index);
            if self.cache.last().is_some_and(|last| last.index + 1 != first.index) {
                self.cache.clear();
            }
        }
        self.cached_bytes = self.cache.iter().map(|entry| entry.data.len()).sum();
        for entry in entries {
            self.cached_bytes += entry.data.len();
            self.cache.push(entry);
        }
        while self.cached_bytes > CACHE_BYTES_MAX && self.cache.len() > 1 {
            // The cache drains in halves, so that trimming costs little per append.
            let half = self.cache.len() / 2;
            self.cached_bytes -= self.cache.drain(..half).map(|entry| entry.data.len()).sum::<usize>();
        }
        Ok(())
    }
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let recovered = self.store.recovered();
        let conf_state = ConfState { voters: vec![SELF], ..ConfState::default() };
        Ok(RaftState { hard_state: recovered.hard_state, conf_state })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let max = max_size.into().unwrap_or(u64::MAX);
        if let Some(first) = self.cache.first()
            && low >= first.index
        {
            let skip = usize::try_from(low - first.index).unwrap_or(usize::MAX);
            let count = usize::try_from(high - low).unwrap_or(usize::MAX);
            let mut bytes = 0u64;
            let taken: Vec<Entry> = self
                .cache
                .iter()
                .skip(skip)
                .take(count)
                .take_while(|entry| {
                    bytes += entry.data.len() as u64;
                    bytes <= max || bytes == entry.data.len() as u64
                })
                .cloned()
                .collect();
            return Ok(taken);
        }
        self.store.entries(low, high, max).map_err(|error| raft::Error::Store(raft::StorageError::Other(error.into())))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if let Some(snapshot) = self.store.recovered().snapshot
            && snapshot.index == index
        {
            return Ok(snapshot.term);
        }
        if let Some(first) = self.cache.first()
            && index >= first.index
            && let Some(entry) = self.cache.get(usize::try_from(index - first.index).unwrap_or(usize::MAX))
        {
            return Ok(entry.term);
        }
        if index == 0 {
            return Ok(0);
        }
        if index < self.store.first_index() {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        let entries = self.store.entries(index, index + 1, u64::MAX);
        let entries = entries.map_err(|error| raft::Error::Store(raft::StorageError::Other(error.into())))?;
        entries.first().map(|entry| entry.term).ok_or(raft::Error::Store(raft::StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.store.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.store.last_index())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<raft::eraftpb::Snapshot> {
        // There is nobody to send one to yet.
        Err(raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable))
    }
}
