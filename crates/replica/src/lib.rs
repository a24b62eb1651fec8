//! One server's mind: raft, the replicated state, and the leader's duties.
//!
//! [`Replica`] is driven from outside: proposals and the time go in, what was applied comes out. It owns its
//! log through [`LogStore`], whose `append` returns when the entries are stable: that one call is the only
//! place where it can wait, and simulations give it a store that does not.
//!
//! Always true:
//! - An entry is on stable storage of a quorum before it is applied, and applied before it is answered.
//! - What was proposed while an append ran goes into the next append together: one sync serves many writes.
//! - A proposal that was answered with an error is in no log, unless the error is [`Error::Fatal`].
//! - No session expires before its TTL, counted from its creation, its last renewal, or the start of this
//!   leadership, whichever is latest; it expires at about twice the TTL.
//! - An entry that cannot be decoded stops this replica; it is never skipped.
//!
//! Not here: clocks, threads, sockets, other servers' messages (a later issue gives `Replica` peers).

pub mod codec;
mod duty;
mod log;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::eraftpb::{Entry, EntryType};
use raft::{Config, RawNode, StateRole};
use state::{Applied, Command, Index, Limits, Outcome, State, Touched};

pub use crate::duty::{Duties, Moment};
pub use crate::log::{LogStore, MemoryLog, Recovered, SnapshotMeta, StoreError};
use crate::view::LogView;

/// This server among raft's peers. One voter knows only itself.
const SELF: u64 = 1;
/// Raft hands out committed entries in portions of about this size.
const COMMITTED_BYTES_MAX: u64 = 8 << 20;
/// While the store has no room, it is tried again this often.
const RETRY_NS: i64 = 500_000_000;

/// Why a replica cannot do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The command cannot travel as bytes; it was not proposed.
    Unfit(String),
    /// This replica does not lead; nothing was proposed.
    NotLeader,
    /// The store has no room: nothing was written. Reads go on, and so do writes once there is room.
    Full(String),
    /// Storage or the log is broken: this replica must not serve any more.
    Fatal(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Unfit(text) | Error::Full(text) | Error::Fatal(text) => f.write_str(text),
            Error::NotLeader => f.write_str("node is not the leader"),
        }
    }
}

impl std::error::Error for Error {}

/// Which proposal or confirmation an answer belongs to; chosen by the caller, below [`OWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId(pub u64);

/// Proposals that the replica makes itself get ids from here up.
const OWN: u64 = 1 << 63;

/// What one turn of the crank gave.
#[derive(Debug, Default)]
pub struct Turn {
    /// Outcomes of proposals, in log order.
    pub answers: Vec<(ProposalId, Result<Outcome, Error>)>,
    /// Leadership is confirmed, and everything that was committed when it was asked for is applied.
    pub confirmed: Vec<ProposalId>,
    /// Everything that the turn changed; publish the state before waking anybody.
    pub touched: Touched,
    /// Whether the state is another one than before.
    pub changed: bool,
}

/// Looks on while a replica works, for metrics; it cannot change anything.
pub trait Probe: Send {
    /// So many entries are about to be stored.
    fn storing(&mut self, _entries: usize) {}
    /// They are.
    fn stored(&mut self) {}
    /// A command is about to be applied.
    fn applying(&mut self) {}
    /// It is; `kind` is its word in metric names (`kvs`, `register`).
    fn applied(&mut self, _kind: &'static str) {}
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Probe for Unwatched {}

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
    /// Sessions with a running TTL.
    pub timed_sessions: usize,
}

/// One server's mind.
pub struct Replica {
    node: RawNode<LogView>,
    state: State,
    duties: Duties,
    probe: Box<dyn Probe>,
    seed: u64,
    /// Proposals in flight by log index, with the term in which they were appended.
    pending: BTreeMap<u64, (u64, ProposalId)>,
    own_proposals: u64,
    /// The store has no room, and raft has forgotten what was not stored. A lone voter leads nevertheless:
    /// nobody else can.
    full: Option<Full>,
    /// Confirmations asked for meanwhile.
    granted: Vec<ProposalId>,
    fenced: Option<String>,
}

#[derive(Debug)]
struct Full {
    reason: String,
    retry_at: Moment,
}

impl Replica {
    /// Takes up where the store left off: snapshot, then log. A lone voter campaigns at once.
    pub fn open(
        store: Box<dyn LogStore>,
        limits: Limits,
        now: Moment,
        seed: u64,
        probe: Box<dyn Probe>,
    ) -> Result<(Self, Turn), Error> {
        let (state, applied) = match &store.recovered().snapshot {
            None => (State::new(limits), 0),
            Some(meta) => {
                let reader = store.open_snapshot().map_err(fatal)?;
                let mut state = codec::read_state(reader, limits).map_err(|error| {
                    Error::Fatal(format!("the snapshot at index {} cannot be read: {error}", meta.index))
                })?;
                state.advance(Index(meta.index));
                (state, meta.index)
            }
        };
        let mut replica = Replica {
            node: node(LogView::new(store, SELF, applied), seed)?,
            duties: Duties::new(&state, now),
            state,
            probe,
            seed,
            pending: BTreeMap::new(),
            own_proposals: OWN,
            full: None,
            granted: Vec::new(),
            fenced: None,
        };
        let mut turn = Turn { changed: true, ..Turn::default() };
        replica.campaign(now, &mut turn)?;
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
        self.fenced.is_none() && (self.full.is_some() || self.node.raft.state == StateRole::Leader)
    }

    /// Why writes are refused at present, if they are.
    #[must_use]
    pub fn refuses_writes(&self) -> Option<Error> {
        let fenced = self.fenced.clone().map(Error::Fatal);
        fenced.or_else(|| self.full.as_ref().map(|full| Error::Full(full.reason.clone())))
    }

    /// Takes a command, as [`codec::encode`] wrote it, into the next append. An `Err` means that it will never
    /// be applied.
    pub fn propose(&mut self, id: ProposalId, data: Vec<u8>) -> Result<(), Error> {
        if let Some(error) = self.refuses_writes() {
            return Err(error);
        }
        self.node.propose(Vec::new(), data).map_err(|_| Error::NotLeader)?;
        let index = self.node.raft.raft_log.last_index();
        self.pending.insert(index, (self.node.raft.term, id));
        Ok(())
    }

    /// Asks for proof that this replica still leads; a later turn answers in [`Turn::confirmed`].
    pub fn confirm(&mut self, id: ProposalId) -> Result<(), Error> {
        if !self.is_leader() {
            return Err(Error::NotLeader);
        }
        if self.full.is_some() {
            self.granted.push(id);
        } else {
            self.node.read_index(id.0.to_be_bytes().to_vec());
        }
        Ok(())
    }

    /// Appends what was proposed, applies what is committed, and does the leader duties that are due.
    pub fn turn(&mut self, now: Moment) -> Result<Turn, Error> {
        if let Some(reason) = &self.fenced {
            return Err(Error::Fatal(reason.clone()));
        }
        let mut turn = Turn { confirmed: std::mem::take(&mut self.granted), ..Turn::default() };
        if self.full.as_ref().is_some_and(|full| full.retry_at <= now) {
            self.campaign(now, &mut turn)?;
        }
        if self.is_leader() && self.full.is_none() {
            self.do_duties(now);
        }
        self.drive(now, &mut turn)?;
        turn.answers.retain(|(id, _)| id.0 < OWN);
        Ok(turn)
    }

    fn do_duties(&mut self, now: Moment) {
        for command in self.duties.due(&self.state, now) {
            self.own_proposals += 1;
            let id = ProposalId(self.own_proposals);
            // A duty that cannot be done now is due again shortly.
            let Ok(data) = codec::encode(&command) else { continue };
            if self.propose(id, data).is_err() {
                break;
            }
        }
    }

    /// When a turn is due, though nobody asks for one.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        // Without room no duty can be done.
        self.full.as_ref().map_or_else(|| self.duties.deadline(), |full| Some(full.retry_at))
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
        Stats {
            is_leader: self.is_leader(),
            term: raft.term,
            applied_index: self.state.applied().0,
            commit_index: raft.raft_log.committed,
            last_log_index: raft.raft_log.last_index(),
            last_log_term: raft.raft_log.last_term(),
            last_snapshot_index: snapshot.as_ref().map_or(0, |meta| meta.index),
            last_snapshot_term: snapshot.as_ref().map_or(0, |meta| meta.term),
            first_log_index: store.first_index(),
            timed_sessions: self.duties.timed_sessions(),
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

    /// A snapshot is stable: the log before it may go, but for `trailing` entries. One that a restore has
    /// overtaken is passed over.
    pub fn snapshot_taken(&mut self, meta: SnapshotMeta, trailing: u64) -> Result<(), Error> {
        let view = self.node.mut_store();
        if view.store.recovered().snapshot.is_some_and(|newest| newest.index > meta.index) {
            return Ok(());
        }
        view.store.snapshot_taken(meta).map_err(fatal)?;
        let keep_from = (meta.index + 1).saturating_sub(trailing);
        if keep_from > view.store.first_index() {
            view.store.compact(keep_from).map_err(fatal)?;
        }
        Ok(())
    }

    /// What the snapshot of a restored archive is called: it stands behind everything that this log and the
    /// archive have seen, so that no index runs backwards.
    #[must_use]
    pub fn restore_meta(&self, archive: Index) -> SnapshotMeta {
        let last = self.node.raft.raft_log.last_index();
        SnapshotMeta { index: last.max(archive.0).max(self.state.applied().0) + 1, term: self.node.raft.term }
    }

    /// Puts another state in the place of the present one, once it is stable as the snapshot `meta`. The log
    /// goes on behind it. Take a turn first, so that nothing is in flight.
    pub fn replace_state(&mut self, mut state: State, meta: SnapshotMeta, now: Moment) -> Result<Turn, Error> {
        if let Some(reason) = &self.fenced {
            return Err(Error::Fatal(reason.clone()));
        }
        let mut store = self.node.mut_store().take_store();
        let restarted = store.restart_behind(meta);
        state.advance(Index(meta.index));
        self.state = state;
        self.node = node(LogView::new(store, SELF, meta.index), self.seed)?;
        if let Err(error) = restarted {
            self.fenced = Some(error.to_string());
            return Err(fatal(error));
        }
        let mut turn = Turn { changed: true, ..Turn::default() };
        turn.touched.note(state::Topic::Everything);
        self.duties.forget_everything();
        self.campaign(now, &mut turn)?;
        self.duties.lead(&self.state, now);
        Ok(turn)
    }

    fn campaign(&mut self, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        self.full = None;
        self.node.campaign().map_err(|error| Error::Fatal(error.to_string()))?;
        self.drive(now, turn)
    }

    fn drive(&mut self, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            for read in ready.take_read_states() {
                let id = read.request_ctx.try_into().map_or(0, u64::from_be_bytes);
                turn.confirmed.push(ProposalId(id));
            }
            let committed = ready.take_committed_entries();
            self.apply(committed, now, turn)?;
            if !ready.entries().is_empty() || ready.hs().is_some() {
                let entries = ready.take_entries();
                let hard_state = ready.hs().cloned();
                self.probe.storing(entries.len());
                let stored = self.node.mut_store().append(entries, hard_state.as_ref());
                self.probe.stored();
                if let Err(error) = stored {
                    return self.append_failed(error, now, turn);
                }
            }
            let mut light = self.node.advance(ready);
            let committed = light.take_committed_entries();
            self.apply(committed, now, turn)?;
            self.node.advance_apply();
        }
        Ok(())
    }

    /// Raft counts entries as handed out that are not stored. Everybody whose entry it was is told; when only
    /// room is missing, raft starts again from what is stored, which is all that was ever applied.
    fn append_failed(&mut self, error: StoreError, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        let error = match error {
            StoreError::Full(reason) => Error::Full(reason),
            StoreError::Broken(reason) => Error::Fatal(reason),
        };
        let unanswered = std::mem::take(&mut self.pending).into_values();
        turn.answers.extend(unanswered.map(|(_, id)| (id, Err(error.clone()))));
        match error {
            Error::Full(reason) => {
                let store = self.node.mut_store().take_store();
                self.node = node(LogView::new(store, SELF, self.state.applied().0), self.seed)?;
                self.full = Some(Full { reason, retry_at: now.after_ns(RETRY_NS) });
                self.duties.not_done(now);
                Ok(())
            }
            error => {
                self.fenced = Some(error.to_string());
                Err(error)
            }
        }
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
            let command = if entry.get_entry_type() != EntryType::EntryNormal || entry.data.is_empty() {
                None
            } else {
                codec::decode(&entry.data).map_err(|error| {
                    let reason = format!("log entry {} cannot be applied: {error}", entry.index);
                    self.fenced = Some(reason.clone());
                    Error::Fatal(reason)
                })?
            };
            turn.changed = true;
            let Some(command) = command else {
                self.state.advance(index);
                continue;
            };
            let outcome = self.apply_command(index, command, now, turn);
            if let Some((_, id)) = answered {
                turn.answers.push((id, Ok(outcome)));
            }
        }
        Ok(())
    }

    fn apply_command(&mut self, index: Index, command: Command, now: Moment, turn: &mut Turn) -> Outcome {
        let kind = codec::word(&command);
        let locked: Vec<String> = command.locks().into_iter().map(str::to_owned).collect();
        self.probe.applying();
        let Applied { outcome, touched, effects, .. } = self.state.apply(index, command);
        self.probe.applied(kind);
        if !locked.is_empty() && !matches!(outcome, Outcome::Failed(_) | Outcome::Decided(false)) {
            self.duties.locked(&locked);
        }
        self.duties.note(&effects, index, now);
        turn.touched.extend(touched);
        outcome
    }
}

/// Raft on what a store holds.
fn node(view: LogView, seed: u64) -> Result<RawNode<LogView>, Error> {
    let config = Config {
        id: SELF,
        applied: view.applied,
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
    Ok(node)
}

fn fatal(error: StoreError) -> Error {
    match error {
        StoreError::Full(text) | StoreError::Broken(text) => Error::Fatal(text),
    }
}
