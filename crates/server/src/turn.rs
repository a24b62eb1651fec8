//! The thread that turns the replica: takes requests, appends them together, publishes, wakes, answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use replica::{Moment, ProposalId, Replica, SnapshotMeta, Stats, Turn, codec};
use state::{Command, Limits, Outcome, State};
use tokio::sync::oneshot;
use wire::archive;

use crate::{Config, Error, Request, Shared, now};

/// One turn takes at most this many writes: the latency of the first is bounded by the work of the rest.
const BATCH_MAX: usize = 1024;
/// Without anything to do the thread looks around this often.
const IDLE: Duration = Duration::from_secs(30);
/// An archive may unpack to this much state.
const STATE_MAX: u64 = 16 << 30;
/// After a refused append (disk full) the log is tried again this often.
const RETRY: Duration = Duration::from_millis(500);

pub(crate) struct Turning {
    /// `None` while the store refuses to be opened again.
    replica: Option<Replica>,
    shared: Arc<Shared>,
    waiting: HashMap<u64, oneshot::Sender<Result<Outcome, Error>>>,
    next_id: u64,
    /// A snapshot is being written.
    snapshotting: bool,
    /// Why writes are refused at present.
    refusing: Option<Error>,
}

impl Turning {
    pub fn new(replica: Replica, shared: Arc<Shared>) -> Self {
        Turning {
            replica: Some(replica),
            shared,
            waiting: HashMap::new(),
            next_id: 0,
            snapshotting: false,
            refusing: None,
        }
    }

    pub fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let first = match requests.recv_timeout(self.patience()) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut confirms = Vec::new();
            let mut stop = false;
            let at = now();
            let more = std::iter::from_fn(|| requests.try_recv().ok()).take(BATCH_MAX);
            for request in first.into_iter().chain(more) {
                match request {
                    Request::Write { command, answer } => self.propose(&command, answer, at),
                    Request::Renew { id, answer } => {
                        let renewed = self.replica.as_mut().and_then(|replica| replica.renew(&id, at));
                        let _ = answer.send(renewed);
                    }
                    Request::Confirm { answer } => confirms.push(answer),
                    Request::Restore { state, answer } => {
                        let _ = answer.send(self.restore(*state, at));
                    }
                    Request::SnapshotWritten { result } => self.snapshot_written(result),
                    Request::Stop => stop = true,
                }
            }
            self.turn(now());
            for answer in confirms {
                let leads = self.shared.leads.load(Ordering::Acquire);
                let _ = answer.send(if leads { Ok(()) } else { Err(Error::NoLeader) });
            }
            if stop {
                return;
            }
            self.snapshot_if_due();
        }
    }

    fn patience(&self) -> Duration {
        if self.refusing.is_some() {
            return RETRY;
        }
        let due = self.replica.as_ref().and_then(Replica::deadline);
        due.map_or(IDLE, |due| Duration::from_nanos(due.0.saturating_sub(now().0)).min(IDLE))
    }

    fn propose(&mut self, command: &Command, answer: oneshot::Sender<Result<Outcome, Error>>, at: Moment) {
        if let Some(error) = &self.refusing {
            let _ = answer.send(Err(error.clone()));
            return;
        }
        let Some(replica) = &mut self.replica else {
            let _ = answer.send(Err(Error::NoLeader));
            return;
        };
        // Only the leader's clock counts, and it counts before the proposal: see `Effect::LockDelayed`.
        if command.locks().into_iter().any(|key| replica.is_lock_delayed(key, at)) {
            let _ = answer.send(Ok(Outcome::Decided(false)));
            return;
        }
        self.next_id += 1;
        match replica.propose(ProposalId(self.next_id), command) {
            Ok(()) => {
                self.waiting.insert(self.next_id, answer);
            }
            Err(error) => {
                let _ = answer.send(Err(failed(&error)));
            }
        }
    }

    fn turn(&mut self, at: Moment) {
        let Some(replica) = &mut self.replica else { return };
        match replica.turn(at) {
            Ok(turn) => {
                let recovered = self.refusing.is_some() && replica.is_leader();
                self.publish(turn);
                if recovered {
                    tracing::info!("the log takes writes again");
                    self.refusing = None;
                }
            }
            Err(error) => self.storage_failed(&error),
        }
    }

    /// State first, then watchers, then writers.
    fn publish(&mut self, turn: Turn) {
        let Some(replica) = &self.replica else { return };
        if turn.changed {
            self.shared.state.store(Arc::new(replica.state().clone()));
        }
        self.shared.stats.store(Arc::new(replica.stats()));
        self.shared.leads.store(replica.is_leader(), Ordering::Release);
        let woken = self.shared.registry.wake(&turn.touched);
        if woken > 0 {
            metrics::counter!("curule.watch.woken").increment(woken as u64);
        }
        if !turn.answers.is_empty() {
            metrics::counter!("consul.raft.apply").increment(turn.answers.len() as u64);
        }
        for (ProposalId(id), outcome) in turn.answers {
            if let Some(answer) = self.waiting.remove(&id) {
                let _ = answer.send(outcome.map_err(|error| failed(&error)));
            }
        }
    }

    /// The append failed. Everybody who waits is told; then, if only room was missing, a new replica is opened
    /// on the same store, which has cut the unfinished write off.
    fn storage_failed(&mut self, error: &replica::Error) {
        let refusal = failed(error);
        tracing::error!(%error, "the log refused a write");
        for (_, answer) in self.waiting.drain() {
            let _ = answer.send(Err(refusal.clone()));
        }
        self.refusing = Some(refusal);
        match error {
            replica::Error::Fatal(_) => {
                // Fenced: this server must not answer for the cluster any more.
                self.shared.leads.store(false, Ordering::Release);
                self.replica = None;
            }
            replica::Error::Refused(_) => self.reopen(),
        }
    }

    fn reopen(&mut self) {
        let Some(replica) = self.replica.take() else { return };
        let state = replica.state().clone();
        match Replica::resume(replica, state, now()) {
            Ok(replica) => self.replica = Some(replica),
            Err(error) => {
                tracing::error!(%error, "the log cannot be opened again");
                self.shared.leads.store(false, Ordering::Release);
            }
        }
    }

    fn snapshot_if_due(&mut self) {
        let (Some(replica), Some(dir)) = (&mut self.replica, &self.shared.config.data_dir) else {
            self.compact_memory();
            return;
        };
        if self.snapshotting || replica.entries_since_snapshot() < self.shared.config.snapshot_threshold {
            return;
        }
        self.snapshotting = true;
        let (state, meta, dir) = (replica.state().clone(), replica.snapshot_meta(), dir.clone());
        let inbox = self.shared.inbox.clone();
        // The state is a value: it is written while the replica goes on.
        let spawned = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let started = std::time::Instant::now();
            let written = disk::write_snapshot(&dir, meta, &mut |out| {
                codec::write_state(&state, out).map_err(std::io::Error::other)
            });
            metrics::histogram!("consul.raft.snapshot.create").record(started.elapsed().as_secs_f64() * 1000.0);
            let result = written.map(|()| meta).map_err(|error| error.to_string());
            let _ = inbox.send(Request::SnapshotWritten { result });
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a snapshot");
            self.snapshotting = false;
        }
    }

    /// Without a disk nothing is recovered, so entries that are applied may go.
    fn compact_memory(&mut self) {
        let (threshold, trailing) = (self.shared.config.snapshot_threshold, self.shared.config.trailing_logs);
        if let Some(replica) = &mut self.replica
            && replica.log_length() > threshold + trailing
        {
            let meta = replica.snapshot_meta();
            if let Err(error) = replica.snapshot_taken(meta, trailing) {
                tracing::error!(%error, "the log cannot be compacted");
            }
        }
    }

    fn snapshot_written(&mut self, result: Result<SnapshotMeta, String>) {
        self.snapshotting = false;
        let Some(replica) = &mut self.replica else { return };
        let done = result.and_then(|meta| {
            let trailing = self.shared.config.trailing_logs;
            replica.snapshot_taken(meta, trailing).map_err(|error| error.to_string())
        });
        if let Err(error) = done {
            tracing::error!(%error, "the state could not be written as a snapshot; the log is kept");
        }
    }

    /// An archive's state takes over: first stable as this server's own snapshot, then visible.
    fn restore(&mut self, mut state: State, at: Moment) -> Result<(), Error> {
        let Some(replica) = &mut self.replica else { return Err(Error::NoLeader) };
        replica.propose_nothing().map_err(|error| failed(&error))?;
        let turn = replica.turn(at).map_err(|error| failed(&error))?;
        self.publish(turn);
        let Some(replica) = &mut self.replica else { return Err(Error::NoLeader) };
        let meta = replica.snapshot_meta();
        // What happened before the restore is over: the log starts again behind it.
        state.advance(state::Index(meta.index));
        if let Some(dir) = &self.shared.config.data_dir {
            disk::write_snapshot(dir, meta, &mut |out| codec::write_state(&state, out).map_err(std::io::Error::other))
                .map_err(|error| Error::StorageFull(error.to_string()))?;
        }
        replica.snapshot_taken(meta, 0).map_err(|error| failed(&error))?;
        let turn = replica.replace_state(state, at);
        self.publish(turn);
        Ok(())
    }
}

fn failed(error: &replica::Error) -> Error {
    match error {
        replica::Error::Refused(reason) => Error::StorageFull(reason.clone()),
        replica::Error::Fatal(reason) => Error::StorageBroken(reason.clone()),
    }
}

/// A state as a snapshot archive.
pub(crate) fn archive(state: &State, config: &Config, stats: &Stats) -> Result<Bytes, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::BadArchive(format!("failed to save snapshot: {error}"));
    let mut body = Vec::new();
    codec::write_state(state, &mut body).map_err(|error| failed(&error))?;
    let servers = vec![archive::Server { suffrage: 0, id: config.node_id.clone(), address: config.address.clone() }];
    let configuration = archive::Configuration { servers };
    let taken_ms = now_millis();
    let meta = archive::SnapshotMeta::new(state.applied().0, stats.term, taken_ms, configuration, 1);
    let meta = meta.with_size(body.len() as u64);
    let mut out = Vec::new();
    archive::write(&mut out, &meta, &body[..], taken_ms / 1000).map_err(|error| failed(&error))?;
    Ok(out.into())
}

fn now_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The state of a snapshot archive, verified.
pub(crate) fn read_archive(bytes: &[u8], limits: Limits) -> Result<State, Error> {
    let mut body = Vec::new();
    archive::read(bytes, &mut body, STATE_MAX).map_err(|error| Error::BadArchive(error.to_string()))?;
    codec::read_state(&body[..], limits)
        .map_err(|error| Error::BadArchive(format!("failed to restore snapshot: {error}")))
}
