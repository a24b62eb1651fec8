//! One server's mind: raft, the replicated state, and the leader's duties.
//!
//! [`Replica`] is driven from outside: proposals, messages of its peers and the time go in, what was applied comes out.
//! It owns its log through [`LogStore`], whose `append` returns when the entries are stable: that one call is the only
//! place where it can wait, and simulations give it a store that does not. What it has to say to its peers goes
//! out through [`Outbox`] as soon as it may be said: a leader's entries before they are stable here, votes and
//! acknowledgements after.
//!
//! Always true:
//! - An entry is on stable storage of a quorum before it is applied, and applied before it is answered.
//! - What was proposed while an append ran goes into the next append together: one sync serves many writes.
//! - A proposal that was answered with an error is in no log, unless the error is [`Error::Fatal`] or [`Error::Lost`].
//! - [`Lease::holds`] only where nobody else leads.
//! - No session expires before its TTL, counted from its creation, its last renewal, or the start of this
//!   leadership, whichever is latest; it expires at about twice the TTL.
//! - An entry that cannot be decoded stops this replica; it is never skipped.
//!
//! Not here: clocks, threads, sockets.

#[cfg(test)]
mod cluster_tests;
pub mod codec;
mod configuration;
mod duty;
mod lease;
mod log;
pub mod message;
mod peers;
pub mod restore;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::eraftpb::{ConfChange, Entry, EntryType, Message, MessageType, Snapshot};
use raft::{Config, RawNode, StateRole};
use state::{Applied, Command, Index, Limits, Outcome, State, Touched};

pub use crate::configuration::{Change, Configuration, PEERS_MAX, Peer, number_of};
pub use crate::duty::{Duties, Moment};
pub use crate::lease::Lease;
pub use crate::log::{LogStore, MemoryLog, Recovered, SnapshotMeta, StoreError};
pub use crate::message::Parcel;
use crate::peers::Rounds;
pub use crate::peers::Unconnected;
pub use crate::peers::{Outbox, Outgoing, Role, Timing};
use crate::view::LogView;

/// Raft hands out committed entries in portions of about this size.
const COMMITTED_BYTES_MAX: u64 = 8 << 20;
/// While the store has no room, it is tried again this often.
const RETRY_NS: i64 = 500_000_000;
/// Bytes of entries that are proposed and not committed yet.
const UNCOMMITTED_BYTES_MAX: u64 = 256 << 20;
/// Messages with entries that a follower is sent before it has answered.
const INFLIGHT_MAX: usize = 256;
/// Entries travel in messages of about this size.
const MESSAGE_BYTES: u64 = 1 << 20;

/// Why a replica cannot do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The command cannot travel as bytes; it was not proposed.
    Unfit(String),
    /// This replica does not lead; nothing was proposed.
    NotLeader,
    /// It led when the proposal was made and lost the leadership since: the entry may be applied yet, or never.
    Lost,
    /// The cluster is changing by another server just now, or such a change is not possible.
    NoChange(String),
    /// The store has no room: nothing was written. Reads go on, and so do writes once there is room.
    Full(String),
    /// Storage or the log is broken: this replica must not serve any more.
    Fatal(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Unfit(text) | Error::Full(text) | Error::Fatal(text) | Error::NoChange(text) => f.write_str(text),
            Error::NotLeader => f.write_str("node is not the leader"),
            Error::Lost => f.write_str("leadership lost while committing log"),
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
    /// Outcomes of proposals, in log order; errors of confirmations and changes, too.
    pub answers: Vec<(ProposalId, Result<Outcome, Error>)>,
    /// Leadership is confirmed, and everything that was committed when it was asked for is applied. Also changes of the
    /// configuration that were made.
    pub confirmed: Vec<ProposalId>,
    /// Whether this server began or ceased to lead, or heard of another leader or configuration.
    pub changed_hands: bool,
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
    /// A leader's snapshot has taken the place of the state.
    fn installed(&mut self) {}
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Probe for Unwatched {}

/// Facts about raft that operators look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub is_leader: bool,
    pub role: Role,
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

/// What a replica must be told about itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its node id.
    pub id: String,
    pub limits: Limits,
    pub timing: Timing,
    /// Decides when elections begin; equal seeds and inputs give equal behaviour.
    pub seed: u64,
    /// The cluster that this server is to found, when its store knows none. Without one it waits to be taken in.
    pub founding: Option<Configuration>,
}

/// One server's mind.
pub struct Replica {
    node: RawNode<LogView>,
    me: u64,
    settings: Settings,
    state: State,
    duties: Duties,
    probe: Box<dyn Probe>,
    outbox: Box<dyn Outbox>,
    /// Proposed since the last turn.
    staged: Vec<(ProposalId, Vec<u8>)>,
    /// Proposals in flight by log index, with the term in which they were appended.
    pending: BTreeMap<u64, (u64, ProposalId)>,
    own_proposals: u64,
    /// The store has no room, and raft has forgotten what was not stored. A lone voter leads nevertheless:
    /// nobody else can.
    full: Option<Full>,
    /// Confirmations asked for meanwhile.
    granted: Vec<ProposalId>,
    fenced: Option<String>,
    lease: Lease,
    rounds: Rounds,
    /// The state of a snapshot that a leader has sent, and what raft calls it.
    incoming: Option<(SnapshotMeta, Configuration, State)>,
    next_tick: Moment,
    /// Until then this server gives nobody its vote: it may have told a leader before it began that it follows.
    silent_until: Moment,
    /// When a leader was last heard of.
    heard: Option<Moment>,
    /// Leads, and has applied everything that was committed before.
    leads: bool,
    known_leader: u64,
    ticks: u64,
    /// A change of this leader itself, to be made when raft can bear it.
    own_change: Option<ConfChange>,
    /// How far the state's index runs ahead of raft's, since an archive with a higher one was restored.
    ahead: u64,
    restoring: restore::Restoring,
    /// When each peer last answered this leader.
    answered: BTreeMap<u64, Moment>,
    was_alone: bool,
    /// The term in which leadership was offered to another server, who may take it at any time.
    lease_is_void_in: u64,
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
        settings: Settings,
        now: Moment,
        probe: Box<dyn Probe>,
        outbox: Box<dyn Outbox>,
    ) -> Result<(Self, Turn), Error> {
        let mut store = store;
        let (state, applied) = match &store.recovered().snapshot {
            None => (State::new(settings.limits), SnapshotMeta::default()),
            Some(meta) => {
                let reader = store.open_snapshot().map_err(fatal)?;
                let mut state = codec::read_state(reader, settings.limits).map_err(|error| {
                    Error::Fatal(format!("the snapshot at index {} cannot be read: {error}", meta.index))
                })?;
                state.advance(Index(meta.index));
                (state, *meta)
            }
        };
        let configuration = recover_configuration(&mut *store, &settings)?;
        let me = number_of(&settings.id);
        // One that never heard of a term owes nobody anything.
        let is_new = store.recovered().hard_state.term == 0;
        let view = LogView::new(store, configuration, me, applied);
        let mut replica = Replica {
            node: node(view, me, settings.timing)?,
            me,
            duties: Duties::new(&state, now),
            state,
            probe,
            outbox,
            staged: Vec::new(),
            pending: BTreeMap::new(),
            own_proposals: OWN,
            full: None,
            granted: Vec::new(),
            fenced: None,
            lease: Lease::default(),
            rounds: Rounds::default(),
            incoming: None,
            next_tick: now.after_ns(settings.timing.tick_ns()),
            silent_until: if is_new { now } else { now.after_ns(settings.timing.silence_ns()) },
            heard: None,
            leads: false,
            known_leader: 0,
            ticks: 0,
            own_change: None,
            ahead: 0,
            restoring: restore::Restoring::default(),
            answered: BTreeMap::new(),
            was_alone: false,
            lease_is_void_in: 0,
            settings,
        };
        replica.ahead = replica.state.applied().0.saturating_sub(applied.index);
        let mut turn = Turn { changed: true, changed_hands: true, ..Turn::default() };
        // First everything that was ever acknowledged: even when there is no room to begin a term, nothing older
        // is served.
        replica.drive(now, &mut turn)?;
        if replica.is_alone() {
            replica.campaign(now, &mut turn)?;
        }
        replica.look_around(now, &mut turn);
        Ok((replica, turn))
    }

    /// The state as of the last applied entry. Cloning it is cheap.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether this server leads and has applied everything that was committed before. Whether it may answer
    /// `default` reads without asking its peers is for [`Replica::lease`] to say.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.fenced.is_none() && self.leads
    }

    /// Tells readers whether this server leads at their moment.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// The servers of the cluster, as far as this one has applied the log.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.node.store().configuration
    }

    /// The leader as this server knows it.
    #[must_use]
    pub fn leader(&self) -> Option<&Peer> {
        self.configuration().peers.get(&self.known_leader)
    }

    /// When a leader was last heard of; a leader hears itself.
    #[must_use]
    pub fn last_contact(&self, now: Moment) -> Option<Moment> {
        if self.leads { Some(now) } else { self.heard }
    }

    /// Whether nobody else has a say, and nobody is kept up to date.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.configuration().is_only(self.me)
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
        // Raft would pass it on to the leader, and nobody would know what came of it.
        if self.node.raft.state != StateRole::Leader {
            return Err(Error::NotLeader);
        }
        self.staged.push((id, data));
        Ok(())
    }

    /// Hands what was proposed since the last turn to raft, all at once: one message for each follower.
    fn propose_staged(&mut self, turn: &mut Turn) {
        if self.staged.is_empty() {
            return;
        }
        let staged = std::mem::take(&mut self.staged);
        let (ids, entries): (Vec<_>, Vec<_>) =
            staged.into_iter().map(|(id, data)| (id, Entry { data: data.into(), ..Entry::default() })).unzip();
        let mut message = Message { from: self.me, ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.set_entries(entries.into());
        let leads = self.node.raft.state == StateRole::Leader;
        if leads && self.node.raft.step(message).is_ok() {
            let last = self.node.raft.raft_log.last_index();
            let (first, term) = (last + 1 - ids.len() as u64, self.node.raft.term);
            self.pending.extend((first..).zip(ids.into_iter().map(|id| (term, id))));
        } else {
            turn.answers.extend(ids.into_iter().map(|id| (id, Err(Error::NotLeader))));
        }
    }

    /// Asks for proof that this replica still leads; a later turn answers in [`Turn::confirmed`]. All who ask between
    /// two turns are answered by one round of heartbeats.
    pub fn confirm(&mut self, id: ProposalId) -> Result<(), Error> {
        if !self.is_leader() {
            return Err(Error::NotLeader);
        }
        if self.full.is_some() {
            self.granted.push(id);
        } else {
            self.rounds.ask(id);
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
            self.full = None;
            if self.is_alone() {
                self.campaign(now, &mut turn)?;
            }
        }
        if self.full.is_none() {
            self.tick(now);
            if self.is_leader() {
                self.do_duties(now);
            }
        }
        self.propose_staged(&mut turn);
        self.drive(now, &mut turn)?;
        self.look_around(now, &mut turn);
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
        if let Some(full) = &self.full {
            return Some(full.retry_at);
        }
        // Nobody waits for the heartbeats of a lone voter, nor for the duties of a follower.
        let tick = (!self.is_alone()).then_some(self.next_tick);
        let duty = self.duties.deadline().filter(|_| self.leads);
        tick.into_iter().chain(duty).min()
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
            role: self.role(),
            term: raft.term,
            applied_index: self.node.store().applied.index,
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
        self.node.store().applied.index.saturating_sub(snapshot)
    }

    /// What a snapshot of the present state is called.
    #[must_use]
    pub fn snapshot_meta(&self) -> SnapshotMeta {
        self.node.store().applied
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
    /// goes on behind it. Take a turn first, so that nothing is in flight. Only a lone voter can do that: where there
    /// are others, they would have to be asked.
    pub fn replace_state(&mut self, mut state: State, meta: SnapshotMeta, now: Moment) -> Result<Turn, Error> {
        if let Some(reason) = &self.fenced {
            return Err(Error::Fatal(reason.clone()));
        }
        if !self.is_alone() {
            return Err(Error::NoChange("other servers have a say in what the state is".to_owned()));
        }
        let configuration = self.configuration().clone();
        let mut store = self.node.mut_store().take_store();
        let restarted = store.restart_behind(meta);
        state.advance(Index(meta.index));
        self.ahead = state.applied().0.saturating_sub(meta.index);
        self.state = state;
        self.node = node(LogView::new(store, configuration, self.me, meta), self.me, self.settings.timing)?;
        if let Err(error) = restarted {
            return Err(self.fence(error.to_string()));
        }
        let mut turn = Turn { changed: true, ..Turn::default() };
        turn.touched.note(state::Topic::Everything);
        self.duties.forget_everything();
        self.campaign(now, &mut turn)?;
        self.look_around(now, &mut turn);
        self.duties.lead(&self.state, now);
        Ok(turn)
    }

    /// Nothing is done here any more.
    fn fence(&mut self, reason: String) -> Error {
        self.lease.revoke();
        self.fenced = Some(reason.clone());
        Error::Fatal(reason)
    }

    fn campaign(&mut self, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        self.node.campaign().map_err(|error| Error::Fatal(error.to_string()))?;
        self.drive(now, turn)
    }

    fn drive(&mut self, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        loop {
            self.settle();
            if !self.node.has_ready() {
                return Ok(());
            }
            let mut ready = self.node.ready();
            for read in ready.take_read_states() {
                let round = read.request_ctx.try_into().map_or(0, u64::from_be_bytes);
                if let Some((sent, asked)) = self.rounds.answered(round) {
                    turn.confirmed.extend(asked);
                    self.extend_lease(sent);
                }
            }
            self.send(ready.take_messages());
            if ready.snapshot().get_metadata().index > 0 {
                self.install(ready.snapshot(), now, turn)?;
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
            self.send(ready.take_persisted_messages());
            let mut light = self.node.advance(ready);
            self.settle();
            self.send(light.take_messages());
            let committed = light.take_committed_entries();
            self.apply(committed, now, turn)?;
            self.node.advance_apply();
            self.make_own_change()?;
        }
    }

    /// A change of this leader's own place among the servers; who has none any more leads no more.
    fn make_own_change(&mut self) -> Result<(), Error> {
        let Some(change) = self.own_change.take() else { return Ok(()) };
        let made: Result<_, raft::Error> = self.node.apply_conf_change(&change);
        if !self.configuration().votes(self.me) && self.node.raft.state == StateRole::Leader {
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
            self.settle();
        }
        made.map(|_| ()).map_err(|error| self.fence(format!("a change of the configuration cannot be made: {error}")))
    }

    /// Raft counts entries as handed out that are not stored. Everybody whose entry it was is told; when only
    /// room is missing, raft starts again from what is stored, which is all that was ever applied.
    fn append_failed(&mut self, error: StoreError, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        let error = match error {
            StoreError::Full(reason) => Error::Full(reason),
            StoreError::Broken(reason) => Error::Fatal(reason),
        };
        // Where others have the entry, they may yet commit it.
        let told = if self.is_alone() { error.clone() } else { Error::Lost };
        let unanswered = std::mem::take(&mut self.pending).into_values();
        turn.answers.extend(unanswered.map(|(_, id)| (id, Err(told.clone()))));
        match error {
            Error::Full(reason) => {
                if !self.is_alone() {
                    self.lease.revoke();
                }
                self.begin_again(now)?;
                self.full = Some(Full { reason, retry_at: now.after_ns(RETRY_NS) });
                self.duties.not_done(now);
                Ok(())
            }
            error => Err(self.fence(error.to_string())),
        }
    }

    /// Raft forgets everything that is not stored.
    fn begin_again(&mut self, now: Moment) -> Result<(), Error> {
        let (configuration, applied) = (self.configuration().clone(), self.node.store().applied);
        let store = self.node.mut_store().take_store();
        let view = LogView::new(store, configuration, self.me, applied);
        self.node = node(view, self.me, self.settings.timing)?;
        self.silent_until = now.after_ns(self.settings.timing.silence_ns());
        Ok(())
    }

    /// How many entries the store holds.
    #[must_use]
    pub fn log_length(&self) -> u64 {
        let store = &self.node.store().store;
        (store.last_index() + 1).saturating_sub(store.first_index())
    }

    fn apply(&mut self, entries: Vec<Entry>, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        for entry in entries {
            let index = Index(entry.index + self.ahead);
            let answered = self.pending.remove(&entry.index).filter(|(term, _)| *term == entry.term);
            let is_change = entry.get_entry_type() != EntryType::EntryNormal;
            let is_piece = !is_change && restore::is_piece(&entry.data);
            if !is_change && entry.data.is_empty() {
                self.restoring.abandon();
            }
            let command = if is_change || is_piece || entry.data.is_empty() {
                None
            } else {
                codec::decode(&entry.data)
                    .map_err(|error| self.fence(format!("log entry {} cannot be applied: {error}", entry.index)))?
            };
            turn.changed = true;
            let outcome = match command {
                Some(command) => Some(self.apply_command(index, command, now, turn)),
                None if is_piece => Some(self.apply_piece(&entry, index, now, turn)),
                None => {
                    self.state.advance(index);
                    None
                }
            };
            if is_change {
                self.apply_change(&entry, turn)?;
            }
            let is_restoring = self.restoring.is_under_way();
            let view = self.node.mut_store();
            view.applied = SnapshotMeta { index: entry.index, term: entry.term };
            view.is_restoring = is_restoring;
            match (answered, outcome) {
                (None, _) => {}
                (Some((_, id)), Some(outcome)) => turn.answers.push((id, Ok(outcome))),
                (Some((_, id)), None) if is_change => turn.confirmed.push(id),
                // Raft put nothing in its place.
                (Some((_, id)), None) => turn.answers.push((id, Err(Error::NotLeader))),
            }
        }
        Ok(())
    }

    /// A piece of an archive; the last one replaces the state.
    fn apply_piece(&mut self, entry: &Entry, index: Index, now: Moment, turn: &mut Turn) -> Outcome {
        let (outcome, state) = self.restoring.take(&entry.data, index, self.settings.limits);
        match state {
            None => self.state.advance(index),
            Some(state) => {
                self.ahead = state.applied().0.saturating_sub(entry.index);
                self.state = state;
                turn.touched.note(state::Topic::Everything);
                self.duties.forget_everything();
                self.duties.lead(&self.state, now);
            }
        }
        outcome
    }

    /// Whether pieces of an archive have arrived and not all of them: no snapshot may be taken.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_under_way()
    }

    /// The configuration is stable before its votes count.
    fn apply_change(&mut self, entry: &Entry, turn: &mut Turn) -> Result<(), Error> {
        let view = self.node.store();
        // The store keeps the newest one, and the log may begin before it.
        if entry.data.is_empty() || entry.index <= view.configuration.index {
            return Ok(());
        }
        let change = message::read_change(&entry.data).filter(|_| entry.get_entry_type() == EntryType::EntryConfChange);
        let parsed = change.as_ref().and_then(Change::from_raft);
        let (Some(raft_change), Some(change)) = (change, parsed) else {
            return Err(self.fence(format!("log entry {} is no change of the configuration", entry.index)));
        };
        let mut configuration = view.configuration.clone();
        configuration.apply(entry.index, &change);
        self.take_configuration(configuration)?;
        if change.id() == self.settings.id && self.node.raft.state == StateRole::Leader {
            // Raft cannot do without a leader of its own while it hands this batch out.
            self.own_change = Some(raft_change);
            turn.changed_hands = true;
            return Ok(());
        }
        let made: Result<_, raft::Error> = self.node.apply_conf_change(&raft_change);
        turn.changed_hands = true;
        made.map(|_| ()).map_err(|error| self.fence(format!("log entry {} cannot be applied: {error}", entry.index)))
    }

    fn take_configuration(&mut self, configuration: Configuration) -> Result<(), Error> {
        let view = self.node.mut_store();
        let kept = view.store.set_configuration(configuration.encode());
        view.configuration = configuration;
        kept.map_err(|error| self.fence(error.to_string()))
    }

    fn apply_command(&mut self, index: Index, command: Command, now: Moment, turn: &mut Turn) -> Outcome {
        let kind = codec::word(&command);
        let locked: Vec<String> = command.locks().into_iter().map(str::to_owned).collect();
        if let Command::Tombstone(reap) = &command {
            self.duties.reaped(reap.reap_index);
        }
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

/// What the store knows of the cluster, or what it is founded with.
fn recover_configuration(store: &mut dyn LogStore, settings: &Settings) -> Result<Configuration, Error> {
    if let Some(bytes) = store.configuration() {
        return Configuration::decode(&bytes)
            .ok_or(Error::Fatal("the cluster's configuration cannot be read".to_owned()));
    }
    let is_empty = store.last_index() == 0;
    match &settings.founding {
        Some(founding) => {
            let bytes = founding.encode();
            store.set_configuration(bytes).map_err(fatal)?;
            Ok(founding.clone())
        }
        None if is_empty => Ok(Configuration::default()),
        None => Err(Error::Fatal("there is a log, but it is not known whose votes count".to_owned())),
    }
}

/// Raft on what a store holds.
fn node(view: LogView, me: u64, timing: Timing) -> Result<RawNode<LogView>, Error> {
    let config = Config {
        id: me,
        applied: view.applied.index,
        election_tick: timing.election_ticks(),
        heartbeat_tick: timing.heartbeat_ticks(),
        pre_vote: true,
        check_quorum: true,
        // Not `batch_append`, which puts entries behind an empty message whatever index that has.
        max_inflight_msgs: INFLIGHT_MAX,
        max_size_per_msg: MESSAGE_BYTES,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
        max_committed_size_per_ready: COMMITTED_BYTES_MAX,
        ..Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&config, view, &logger).map_err(|error| Error::Fatal(error.to_string()))
}

fn fatal(error: StoreError) -> Error {
    match error {
        StoreError::Full(text) | StoreError::Broken(text) => Error::Fatal(text),
    }
}
