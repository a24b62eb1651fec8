//! The shell around one replica: a thread that turns it, readers that never meet it, watchers that sleep.
//!
//! Always true:
//! - Readers work on a published state and take no lock that the writer holds while it writes.
//! - A state is published before its watchers wake and before its writers are answered.
//! - `default` reads are answered only while this server leads.
//! - Everything that waits here has a bound: the queue of writes, the time of a write, the answers kept.

mod answers;
mod archive;
mod error;
mod probe;
mod read;
#[cfg(test)]
mod tests;
mod turn;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use acl::Authorizer;
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use replica::{LogStore, MemoryLog, Moment, Replica, codec};
use state::session::Session;
use state::{Command, Index, Limits, Outcome, State};
use tokio::sync::oneshot;

pub use crate::answers::{AnswerCache, Encoded};
pub use crate::error::Error;
pub use replica::Stats;

pub use crate::read::{Answer, QueryMeta, ReadMode, ReadOptions, SharedAnswer};
pub use crate::watch::{Registration, Registry, Signal, Woken};

/// Bytes of requests that wait for the replica's thread at most; beyond this they are refused at once.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// What a request counts for at least, so that the bound on bytes is one on their number too (16,384).
const REQUEST_BYTES_MIN: usize = 4 << 10;
/// How long a write waits for its answer.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    pub node_id: String,
    pub datacenter: String,
    /// RPC address that peers and operators see, `ip:port`.
    pub address: String,
    /// Where the log and snapshots live; `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// A snapshot is taken when so many entries came after the last one.
    pub snapshot_threshold: u64,
    /// But not more often than this.
    pub snapshot_interval: Duration,
    /// So many entries before a snapshot stay in the log.
    pub trailing_logs: u64,
    pub limits: Limits,
}

/// One server of raft's configuration, as operators see it.
#[derive(Debug, Clone)]
pub struct RaftPeer {
    pub id: String,
    pub node: String,
    pub address: String,
    pub leader: bool,
    pub voter: bool,
    pub last_index: u64,
    pub last_term: u64,
}

/// A running server. Clones are handles to the same one; when the last is gone, it stops.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    inbox: Sender<Request>,
}

/// What the replica's thread and its readers share.
pub(crate) struct Shared {
    config: Config,
    state: ArcSwap<State>,
    stats: ArcSwap<Stats>,
    leads: AtomicBool,
    registry: Arc<Registry>,
    answers: AnswerCache,
    /// Bytes of the writes that wait in the inbox.
    queued_bytes: AtomicUsize,
    /// Joined at shutdown.
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What the replica's thread is asked to do.
pub(crate) enum Request {
    Write(Write),
    Renew {
        id: String,
        answer: oneshot::Sender<Result<Option<Arc<Session>>, Error>>,
    },
    /// Answered once leadership is confirmed with everything before it applied.
    Confirm {
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Puts a state in the place of the present one; `archive` is the index that its archive stands for.
    Restore {
        state: Box<State>,
        archive: Index,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    Stop,
}

impl Request {
    fn bytes(&self) -> usize {
        if let Request::Write(write) = self { write.data.len() } else { 0 }
    }

    /// What it counts for while it waits.
    fn weight(&self) -> usize {
        if matches!(self, Request::Stop) { 0 } else { self.bytes().max(REQUEST_BYTES_MIN) }
    }
}

/// A command on its way into the log.
pub(crate) struct Write {
    data: Vec<u8>,
    locks: Locks,
    answer: oneshot::Sender<Result<Outcome, Error>>,
}

/// The keys that a write would lock.
pub(crate) enum Locks {
    None,
    Key(String),
    /// With the place of the operation.
    Txn(Vec<(usize, String)>),
}

impl Locks {
    fn of(command: &Command) -> Self {
        let op = |op: &state::txn::Op| {
            op.kv.as_ref().filter(|kv| kv.verb == state::kv::Op::Lock).map(|kv| kv.dir_ent.key.to_string())
        };
        match command {
            Command::Txn(request) => {
                let ops = request.ops.iter().enumerate();
                Locks::Txn(ops.filter_map(|(at, wanted)| Some((at, op(wanted)?))).collect())
            }
            other => other.locks().first().map_or(Locks::None, |key| Locks::Key((*key).to_owned())),
        }
    }
}

/// Monotonic time since the process began to count.
pub(crate) fn now() -> Moment {
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = BEGIN.get_or_init(Instant::now).elapsed();
    Moment(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

impl Server {
    /// Recovers from the data directory, leads, and serves. Returns when reads and writes are possible.
    pub fn start(config: Config) -> Result<Self, Error> {
        let store: Box<dyn LogStore> = match &config.data_dir {
            None => Box::new(MemoryLog::default()),
            Some(dir) => disk::open(dir).map_err(|error| Error::CannotStart(error.to_string()))?,
        };
        Self::start_on(store, config)
    }

    fn start_on(store: Box<dyn LogStore>, config: Config) -> Result<Self, Error> {
        let began = Instant::now();
        let (replica, _) = Replica::open(store, config.limits, now(), rand::random(), Box::new(probe::Timing::new()))
            .map_err(|error| Error::CannotStart(error.to_string()))?;
        metrics::gauge!("consul.raft.fsm.lastRestoreDuration").set(began.elapsed().as_secs_f64() * 1000.0);
        metrics::counter!("consul.raft.state.candidate").increment(1);
        metrics::counter!("consul.raft.state.leader").increment(1);
        let registry = Arc::new(Registry::default());
        let (inbox, requests) = std::sync::mpsc::channel();
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(replica.state().clone()),
            stats: ArcSwap::from_pointee(replica.stats()),
            leads: AtomicBool::new(replica.is_leader()),
            answers: AnswerCache::new(Arc::clone(&registry), answers::BYTES_MAX),
            registry,
            queued_bytes: AtomicUsize::new(0),
            thread: Mutex::new(None),
            config,
        });
        let turning = turn::Turning::new(replica, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("replica".to_owned())
            .spawn(move || turning.run(&requests))
            .map_err(|error| Error::CannotStart(error.to_string()))?;
        *shared.thread.lock() = Some(thread);
        Ok(Server { shared, inbox })
    }

    /// Lets what is in flight finish, then stops the thread.
    pub async fn shutdown(&self) {
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let inbox = self.inbox.clone();
            let stopped = tokio::task::spawn_blocking(move || {
                // Blocks while the queue is full; the thread drains it.
                if inbox.send(Request::Stop).is_ok() { thread.join().is_ok() } else { true }
            });
            if !matches!(stopped.await, Ok(true)) {
                tracing::error!("the replica's thread did not stop cleanly");
            }
        }
    }

    /// The newest published state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    /// Whether this server leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.shared.leads.load(Ordering::Acquire)
    }

    /// The leader's RPC address, if there is a leader.
    #[must_use]
    pub fn leader_address(&self) -> Option<String> {
        self.is_leader().then(|| self.shared.config.address.clone())
    }

    /// Raft's configuration.
    #[must_use]
    pub fn raft_configuration(&self) -> Vec<RaftPeer> {
        let (config, stats) = (&self.shared.config, self.stats());
        vec![RaftPeer {
            id: config.node_id.clone(),
            node: config.node_name.clone(),
            address: config.address.clone(),
            leader: self.is_leader(),
            voter: true,
            last_index: stats.last_log_index,
            last_term: stats.last_log_term,
        }]
    }

    /// Facts about raft.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::clone(&self.shared.stats.load())
    }

    /// Kept answers.
    #[must_use]
    pub fn answers(&self) -> &AnswerCache {
        &self.shared.answers
    }

    /// Who waits for what.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    /// Authorizes, checks, replicates and applies a command; returns what it came to once it is stable.
    pub async fn write(&self, mut command: Command, may: &dyn Authorizer) -> Result<Outcome, Error> {
        let state = self.state();
        command.authorize(&state, may)?;
        command.prepare(&state)?;
        drop(state);
        let started = Instant::now();
        let data = codec::encode(&command).map_err(unfit)?;
        // What is in the log must be readable for ever: nothing goes in that does not come out again.
        codec::decode(&data).map_err(unfit)?;
        let (answer, outcome) = oneshot::channel();
        let (locks, metric) = (Locks::of(&command), metric(&command));
        drop(command);
        self.send(Request::Write(Write { data, locks, answer }))?;
        let outcome = self.await_answer(outcome).await??;
        turn::record_ms("consul.raft.commitTime", started);
        if let Some(metric) = metric {
            turn::record_ms(metric, started);
        }
        match outcome {
            Outcome::Failed(error) => Err(Error::Refused(error)),
            outcome => Ok(outcome),
        }
    }

    /// Resets the expiry of a session; `None` when it does not exist.
    pub async fn renew_session(&self, id: &str, may: &dyn Authorizer) -> Result<Option<Arc<Session>>, Error> {
        let started = Instant::now();
        {
            let state = self.state();
            let Some(session) = state.session_by_id(id) else { return Ok(None) };
            may.require(acl::Need::write(acl::Resource::Session(&session.node))).map_err(state::Error::from)?;
        }
        let (answer, renewed) = oneshot::channel();
        self.send(Request::Renew { id: id.to_owned(), answer })?;
        let renewed = self.await_answer(renewed).await?;
        turn::record_ms("consul.session.renew", started);
        renewed
    }

    /// Sets the gauges that say where this server stands; called once in each interval of the metrics.
    pub fn report(&self) {
        let stats = self.stats();
        metrics::gauge!("consul.server.isLeader").set(f64::from(u8::from(self.is_leader())));
        metrics::gauge!("consul.raft.applied_index").set(stats.applied_index as f64);
        metrics::gauge!("consul.raft.last_index").set(stats.last_log_index as f64);
        metrics::gauge!("consul.session_ttl.active").set(stats.timed_sessions as f64);
        metrics::gauge!("consul.rpc.queries_blocking").set(self.registry().parked() as f64);
    }

    /// Confirms that this server still leads and has applied everything that was committed.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        let (answer, confirmed) = oneshot::channel();
        self.send(Request::Confirm { answer })?;
        self.await_answer(confirmed).await?
    }

    /// The whole state as an archive, with the index it stands for.
    pub async fn save_snapshot(&self) -> Result<(Bytes, Index), Error> {
        let (state, config, stats) = (self.state(), self.shared.config.clone(), self.stats());
        let index = state.applied();
        let saved = tokio::task::spawn_blocking(move || archive::write(&state, &config, &stats)).await;
        let bytes = saved.map_err(|error| Error::StorageBroken(error.to_string()))??;
        Ok((bytes, index))
    }

    /// Puts the state of an archive in the place of the present one. It is stable when this returns.
    pub async fn restore_snapshot(&self, archive: Bytes) -> Result<(), Error> {
        let limits = self.shared.config.limits;
        let read = tokio::task::spawn_blocking(move || archive::read(&archive, limits)).await;
        let (state, index) = read.map_err(|error| Error::BadArchive(error.to_string()))??;
        let (answer, restored) = oneshot::channel();
        self.send(Request::Restore { state: Box::new(state), archive: index, answer })?;
        self.await_answer(restored).await?
    }

    fn send(&self, request: Request) -> Result<(), Error> {
        let weight = request.weight();
        if self.shared.queued_bytes.fetch_add(weight, Ordering::Relaxed) > QUEUE_BYTES_MAX {
            self.shared.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            return Err(Error::Busy);
        }
        self.inbox.send(request).map_err(|_| {
            self.shared.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            Error::NoLeader
        })
    }

    async fn await_answer<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, Error> {
        match tokio::time::timeout(WRITE_WAIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::NoLeader),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

fn unfit(error: codec::Error) -> Error {
    Error::Refused(state::Error::failed(format!("the request cannot be stored: {error}")))
}

/// The metric of the endpoint that such a command comes through, where the reference has one.
fn metric(command: &Command) -> Option<&'static str> {
    match command {
        Command::Register(_) => Some("consul.catalog.register"),
        Command::Deregister(_) => Some("consul.catalog.deregister"),
        Command::Kvs(_) => Some("consul.kvs.apply"),
        Command::Session(_) => Some("consul.session.apply"),
        Command::PreparedQuery(_) => Some("consul.prepared-query.apply"),
        Command::Txn(_) => Some("consul.txn.apply"),
        _ => None,
    }
}
