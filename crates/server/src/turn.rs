//! The thread that turns the replica: takes requests, appends them together, publishes, wakes, answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use replica::{Configuration, Moment, Parcel, ProposalId, Replica, SnapshotMeta, StoreError, Turn, codec};
use state::txn::{TxnError, TxnResponse};
use state::{Index, Outcome, State};
use tokio::sync::oneshot;

use crate::{Error, Locks, Position, Progress, Request, Shared, Write, now};

/// One turn takes at most this many writes: the latency of the first is bounded by the work of the rest.
const BATCH_MAX: usize = 1024;
/// And about this many bytes, which is also what an append holds in memory.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Without anything to do the thread looks around this often.
const IDLE: Duration = Duration::from_secs(30);
/// However short the snapshot interval seems to a fast writer, the log grows to this many thresholds at most.
const THRESHOLDS_MAX: u64 = 16;
/// While a snapshot is being written, it is looked for this often.
const SNAPSHOT_LOOK: Duration = Duration::from_millis(200);

pub(crate) struct Turning {
    /// `None` once this server has fenced itself.
    replica: Option<Replica>,
    shared: Arc<Shared>,
    writers: HashMap<u64, oneshot::Sender<Result<Outcome, Error>>>,
    confirming: HashMap<u64, oneshot::Sender<Result<(), Error>>>,
    next_id: u64,
    /// The snapshot that is being written.
    snapshot: Option<JoinHandle<Result<SnapshotMeta, StoreError>>>,
    /// No snapshot begins before.
    next_snapshot: Instant,
    /// Why this server has fenced itself.
    fenced: Option<Error>,
    was_full: bool,
}

impl Drop for Turning {
    /// Nobody turns the replica any more, be it after a panic: this server must not answer for the cluster.
    fn drop(&mut self) {
        self.shared.leads.store(false, Ordering::Release);
    }
}

impl Turning {
    pub fn new(replica: Replica, shared: Arc<Shared>) -> Self {
        Turning {
            replica: Some(replica),
            shared,
            writers: HashMap::new(),
            confirming: HashMap::new(),
            next_id: 0,
            snapshot: None,
            next_snapshot: Instant::now(),
            fenced: None,
            was_full: false,
        }
    }

    /// Runs until it is told to stop or nobody is left to ask.
    pub fn run(mut self, requests: &Receiver<Request>) {
        let mut go_on = true;
        while go_on {
            let mut next = match requests.recv_timeout(self.patience()) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let at = now();
            let (mut count, mut bytes) = (0, 0);
            while let Some(request) = next {
                count += 1;
                bytes += request.bytes();
                go_on &= self.take(request, at);
                let more = count < BATCH_MAX && bytes < BATCH_BYTES_MAX;
                next = if more { requests.try_recv().ok() } else { None };
            }
            self.turn();
            self.snapshot_written(false);
            self.snapshot_if_due();
        }
        self.snapshot_written(true);
    }

    fn patience(&self) -> Duration {
        let due = self.replica.as_ref().and_then(Replica::deadline);
        let patience = due.map_or(IDLE, |due| Duration::from_nanos(due.0.saturating_sub(now().0)).min(IDLE));
        if self.snapshot.is_some() { patience.min(SNAPSHOT_LOOK) } else { patience }
    }

    /// Takes a request in; says whether to go on.
    fn take(&mut self, request: Request, at: Moment) -> bool {
        self.shared.queued_bytes.fetch_sub(request.weight(), Ordering::Relaxed);
        match request {
            Request::Write(write) => self.propose(write, at),
            Request::Renew { id, answer } => {
                // Only the leader's timers count.
                let renewed = match &mut self.replica {
                    Some(replica) if replica.is_leader() => Ok(replica.renew(&id, at)),
                    _ => Err(Error::NoLeader),
                };
                let _ = answer.send(renewed);
            }
            Request::Confirm { answer } => self.confirm(answer),
            Request::Restore { state, archive, answer } => {
                let _ = answer.send(self.restore(*state, archive));
            }
            Request::Step { parcel, state, .. } => self.step(*parcel, state.map(|state| *state), at),
            Request::Unreachable { number } => {
                if let Some(replica) = &mut self.replica {
                    replica.unreachable(number);
                }
            }
            Request::SnapshotSent { number, arrived } => {
                if let Some(replica) = &mut self.replica {
                    replica.snapshot_sent(number, arrived);
                }
            }
            Request::Change { change, answer } => self.ask(answer, |replica, id| replica.change(id, &change)),
            Request::HandOver { id, answer } => {
                let _ = answer.send(self.hand_over(id));
            }
            Request::Promise { cluster, stands, answer } => {
                let done = self
                    .replica
                    .as_mut()
                    .ok_or(replica::Error::NotLeader)
                    .and_then(|replica| if stands { replica.promise(cluster) } else { replica.release(cluster) });
                // Whoever is answered looks at the position next.
                self.tell_position();
                let _ = answer.send(done.map_err(failed));
            }
            Request::Found { configuration, answer } => {
                let _ = answer.send(self.found(&configuration, at));
            }
            Request::Progress { answer } => {
                let _ = answer.send(self.progress());
            }
            Request::Stop => return false,
        }
        true
    }

    fn propose(&mut self, write: Write, at: Moment) {
        let Some(replica) = &mut self.replica else {
            let _ = write.answer.send(Err(self.fenced.clone().unwrap_or(Error::NoLeader)));
            return;
        };
        // Only the leader's clock counts, and it counts before the proposal: see `Effect::LockDelayed`.
        if let Some(refusal) = refused_lock(&write.locks, |key| replica.is_lock_delayed(key, at)) {
            let _ = write.answer.send(Ok(refusal));
            return;
        }
        self.next_id += 1;
        match replica.propose(ProposalId(self.next_id), write.data) {
            Ok(()) => {
                self.writers.insert(self.next_id, write.answer);
            }
            Err(error) => {
                let _ = write.answer.send(Err(failed(error)));
            }
        }
    }

    fn confirm(&mut self, answer: oneshot::Sender<Result<(), Error>>) {
        metrics::counter!("consul.raft.verify_leader").increment(1);
        self.ask(answer, Replica::confirm);
    }

    /// Asks for what a later turn answers without an outcome.
    fn ask(
        &mut self,
        answer: oneshot::Sender<Result<(), Error>>,
        ask: impl FnOnce(&mut Replica, ProposalId) -> Result<(), replica::Error>,
    ) {
        self.next_id += 1;
        let asked = self.replica.as_mut().ok_or(replica::Error::NotLeader);
        match asked.and_then(|replica| ask(replica, ProposalId(self.next_id))) {
            Ok(()) => {
                self.confirming.insert(self.next_id, answer);
            }
            Err(error) => {
                let _ = answer.send(Err(failed(error)));
            }
        }
    }

    fn step(&mut self, parcel: Parcel, state: Option<State>, at: Moment) {
        let Some(replica) = &mut self.replica else { return };
        if let Err(error) = replica.step(parcel, state, at) {
            self.fence(error);
        }
    }

    fn hand_over(&mut self, id: Option<String>) -> Result<(), Error> {
        let replica = self.replica.as_mut().ok_or(Error::NoLeader)?;
        let heir = id.or_else(|| replica.heir().map(|peer| peer.id.clone()));
        let heir = heir.ok_or_else(|| failed(replica::Error::NoChange("cannot find peer".to_owned())))?;
        replica.hand_over(&heir).map_err(failed)
    }

    fn found(&mut self, configuration: &Configuration, at: Moment) -> Result<(), Error> {
        let replica = self.replica.as_mut().ok_or(Error::NoLeader)?;
        let turn = replica.found(configuration, at).map_err(failed)?;
        self.publish(turn);
        Ok(())
    }

    fn progress(&self) -> Vec<Progress> {
        let Some(replica) = &self.replica else { return Vec::new() };
        let now = now();
        let peers = replica.configuration().peers.values();
        let known = peers.filter_map(|peer| {
            let (last_index, answered) = replica.progress(&peer.id, now)?;
            let last_contact = answered.map(|at| Duration::from_nanos(now.0.saturating_sub(at.0)));
            Some(Progress { id: peer.id.clone(), last_index, last_contact })
        });
        known.collect()
    }

    /// Says where this server stands, to whoever waits for a change of that.
    fn tell_position(&self) {
        let Some(replica) = &self.replica else { return };
        let position = position(replica);
        self.shared.position.send_if_modified(|known| {
            let changes = **known != position;
            if changes {
                *known = Arc::new(position);
            }
            changes
        });
    }

    fn turn(&mut self) {
        let Some(replica) = &mut self.replica else { return };
        match replica.turn(now()) {
            Ok(turn) => self.publish(turn),
            Err(error) => self.fence(error),
        }
    }

    /// State first, then watchers, then writers and readers.
    fn publish(&mut self, turn: Turn) {
        let Some(replica) = &self.replica else { return };
        let index = replica.state().applied();
        if turn.changed {
            self.shared.state.store(Arc::new(replica.state().clone()));
            self.shared.stats.store(Arc::new(replica.stats()));
        }
        let led = self.shared.leads.swap(replica.is_leader(), Ordering::AcqRel);
        if let Some(heard) = replica.last_contact(now()) {
            self.shared.heard.store(heard.0, Ordering::Release);
        }
        if turn.changed_hands {
            tell_role(led, replica);
            self.tell_position();
        }
        let is_full = replica.refuses_writes();
        let woken = self.shared.registry.wake(turn.touched, index);
        self.shared.answers.touched(woken.answers);
        if woken.watchers > 0 {
            metrics::counter!("curule.watch.woken").increment(woken.watchers as u64);
        }
        if !turn.answers.is_empty() {
            metrics::counter!("consul.raft.apply").increment(turn.answers.len() as u64);
            metrics::gauge!("consul.raft.commitNumLogs").set(turn.answers.len() as f64);
        }
        for (ProposalId(id), outcome) in turn.answers {
            let outcome = outcome.map_err(failed);
            if let Some(answer) = self.writers.remove(&id) {
                let _ = answer.send(outcome);
            } else if let Some(answer) = self.confirming.remove(&id) {
                let _ = answer.send(outcome.map(drop));
            }
        }
        for ProposalId(id) in turn.confirmed {
            if let Some(answer) = self.confirming.remove(&id) {
                let _ = answer.send(Ok(()));
            }
        }
        self.tell_of_room(is_full);
    }

    /// Says once that there is no room, and once that there is again.
    fn tell_of_room(&mut self, refuses: Option<replica::Error>) {
        let is_full = refuses.is_some();
        match refuses {
            Some(error) if !self.was_full => {
                tracing::error!(%error, "no room for the log: writes are refused, reads go on");
            }
            None if self.was_full => tracing::info!("the log takes writes again"),
            _ => {}
        }
        self.was_full = is_full;
    }

    /// Storage is broken, or the log cannot be read: everybody who waits is told, and this server answers for the
    /// cluster no more.
    fn fence(&mut self, error: replica::Error) {
        tracing::error!(%error, "this server has fenced itself: it neither writes nor answers for the cluster");
        let error = failed(error);
        self.shared.leads.store(false, Ordering::Release);
        self.shared.position.send_modify(|known| {
            *known = Arc::new(Position { leads: false, leader: None, ..Position::clone(known) });
        });
        self.replica = None;
        for (_, answer) in self.writers.drain() {
            let _ = answer.send(Err(error.clone()));
        }
        for (_, answer) in self.confirming.drain() {
            let _ = answer.send(Err(Error::NoLeader));
        }
        self.fenced = Some(error);
    }

    fn snapshot_if_due(&mut self) {
        let Some(replica) = &mut self.replica else { return };
        let config = &self.shared.config;
        let entries = replica.entries_since_snapshot();
        let is_urgent = entries >= config.snapshot_threshold.saturating_mul(THRESHOLDS_MAX);
        let is_due = entries >= config.snapshot_threshold && Instant::now() >= self.next_snapshot;
        if self.snapshot.is_some() || replica.is_restoring() || !(is_due || is_urgent) {
            return;
        }
        let (state, meta) = (replica.state().clone(), replica.snapshot_meta());
        let Some(dir) = config.data_dir.clone() else {
            // Without a disk nothing is recovered, so entries that are applied may go.
            self.next_snapshot = Instant::now() + config.snapshot_interval;
            let trailing = config.trailing_logs;
            if let Err(error) = replica.snapshot_taken(meta, trailing) {
                self.fence(error);
            }
            return;
        };
        self.next_snapshot = Instant::now() + config.snapshot_interval;
        // The state is a value: it is written while the replica goes on.
        let spawned = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let started = Instant::now();
            let write = &mut |out: &mut dyn std::io::Write| codec::write_state(&state, out).map_err(io_error);
            disk::write_snapshot(&dir, meta, write)?;
            record_ms("consul.raft.snapshot.create", started);
            Ok(meta)
        });
        match spawned {
            Ok(thread) => self.snapshot = Some(thread),
            // Tried again after the interval.
            Err(error) => tracing::error!(%error, "no thread for a snapshot"),
        }
    }

    /// Takes in a snapshot that was written; waits for it if told to.
    fn snapshot_written(&mut self, wait: bool) {
        if !self.snapshot.as_ref().is_some_and(|thread| wait || thread.is_finished()) {
            return;
        }
        let Some(thread) = self.snapshot.take() else { return };
        let written = thread.join().unwrap_or_else(|_| Err(StoreError::Broken("the writer panicked".to_owned())));
        match (written, &mut self.replica) {
            (Err(error), _) => {
                tracing::error!(%error, "the state could not be written as a snapshot; the log is kept");
            }
            (Ok(meta), Some(replica)) => {
                if let Err(error) = replica.snapshot_taken(meta, self.shared.config.trailing_logs) {
                    self.fence(error);
                    return;
                }
                self.shared.stats.store(Arc::new(replica.stats()));
            }
            (Ok(_), None) => {}
        }
    }

    /// An archive's state takes over: first stable as this server's own snapshot, then visible.
    fn restore(&mut self, state: State, archive: Index) -> Result<(), Error> {
        // What is in flight is over before.
        self.turn();
        let replica = self.replica.as_mut().ok_or(Error::NoLeader)?;
        if let Some(error) = replica.refuses_writes() {
            return Err(failed(error));
        }
        if !replica.is_alone() {
            return Err(failed(replica::Error::NoChange("other servers have a say in what the state is".to_owned())));
        }
        let started = Instant::now();
        let meta = replica.restore_meta(archive);
        if let Some(dir) = &self.shared.config.data_dir {
            let mut state = state.clone();
            state.advance(Index(meta.index));
            disk::write_snapshot(dir, meta, &mut |out| codec::write_state(&state, out).map_err(io_error)).map_err(
                |error| match error {
                    StoreError::Full(reason) => Error::StorageFull(reason),
                    StoreError::Broken(reason) => Error::StorageBroken(reason),
                },
            )?;
        }
        match replica.replace_state(state, meta, now()) {
            Ok(turn) => {
                self.publish(turn);
                metrics::counter!("consul.raft.restore").increment(1);
                record_ms("consul.raft.restoreUserSnapshot", started);
                Ok(())
            }
            Err(error) => {
                self.fence(error);
                Err(self.fenced.clone().unwrap_or(Error::NoLeader))
            }
        }
    }
}

/// Where a replica stands.
pub(crate) fn position(replica: &Replica) -> Position {
    Position {
        leads: replica.is_leader(),
        leader: replica.leader().cloned(),
        configuration: replica.configuration().clone(),
    }
}

/// Logs and counts a change of role.
fn tell_role(led: bool, replica: &Replica) {
    let leader = replica.leader().map(|peer| peer.address.as_str());
    match (led, replica.is_leader()) {
        (false, true) => {
            metrics::counter!("consul.raft.state.leader").increment(1);
            tracing::info!(target: "agent.server", "cluster leadership acquired");
        }
        (true, false) => tracing::info!(target: "agent.server", "cluster leadership lost"),
        _ => {
            if let Some(leader) = leader {
                tracing::info!(target: "agent.server", leader, "New leader elected");
            }
        }
    }
}

/// What a write comes to that takes a lock before its lock-delay is over.
fn refused_lock(locks: &Locks, is_delayed: impl Fn(&str) -> bool) -> Option<Outcome> {
    match locks {
        Locks::None => None,
        Locks::Key(key) => is_delayed(key).then_some(Outcome::Decided(false)),
        Locks::Txn(keys) => {
            let refused = keys.iter().filter(|(_, key)| is_delayed(key));
            let errors: Vec<_> = refused
                .map(|(op_index, key)| TxnError {
                    op_index: *op_index,
                    // Compat: the reference's words, with Go's quoting of the key.
                    what: format!("failed to lock key {} due to lock delay", wire::json::quote(key)),
                })
                .collect();
            (!errors.is_empty()).then(|| Outcome::Txn(TxnResponse::failed(errors)))
        }
    }
}

pub(crate) fn record_ms(name: &'static str, started: Instant) {
    metrics::histogram!(name).record(started.elapsed().as_secs_f64() * 1000.0);
}

fn io_error(error: codec::Error) -> std::io::Error {
    match error {
        codec::Error::State(wire::state_bin::Error::Io(error)) => error,
        error => std::io::Error::other(error),
    }
}

pub(crate) fn failed(error: replica::Error) -> Error {
    match error {
        replica::Error::Unfit(reason) => Error::Refused(state::Error::failed(reason)),
        replica::Error::NotLeader => Error::NoLeader,
        replica::Error::Lost => Error::LeadershipLost,
        replica::Error::NoChange(reason) => Error::Refused(state::Error::failed(reason)),
        replica::Error::Full(reason) => Error::StorageFull(reason),
        replica::Error::Fatal(reason) => Error::StorageBroken(reason),
    }
}
