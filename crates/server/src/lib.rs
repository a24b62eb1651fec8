//! The shell around one replica: a thread that turns it, readers that never meet it, watchers that sleep.
//!
//! Always true:
//! - Readers work on a published state and take no lock that the writer holds while it writes.
//! - A state is published before its watchers wake and before its writers are answered.
//! - `default` reads are answered only while this server leads.
//! - Everything that waits here has a bound: the queue of writes, the time of a write, the answers kept.

mod answers;
mod archive;
#[cfg(test)]
mod cluster_tests;
mod error;
mod founding;
mod probe;
mod read;
pub mod rpc;
#[cfg(test)]
mod tests;
mod transport;
mod turn;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use acl::Authorizer;
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use replica::{Change, Configuration, Lease, LogStore, MemoryLog, Moment, Parcel, Replica, Timing, codec};
use state::session::Session;
use state::{Command, Index, Limits, Outcome, State};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch as changing};

pub use crate::answers::{AnswerCache, Encoded};
pub use crate::error::Error;
pub use replica::{Peer, Role, Stats, number_of};

pub use crate::founding::Founding;
pub use crate::transport::RAFT;

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
    /// How patient servers are with each other (`performance.raft_multiplier`).
    pub raft_multiplier: u32,
    /// Founds a cluster of this server alone when it knows of none (`-bootstrap`, `-bootstrap-expect=1`, `-dev`).
    pub bootstrap: bool,
}

/// Where a server stands among its peers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position {
    /// It leads, and has applied everything that was committed before.
    pub leads: bool,
    pub leader: Option<Peer>,
    /// The servers of the cluster; none while this server belongs to no cluster.
    pub configuration: Configuration,
}

/// What a leader knows of a server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Its node id.
    pub id: String,
    pub last_index: u64,
    /// How long ago it answered; `None` when it never did in this leadership.
    pub last_contact: Option<Duration>,
}

/// One server of raft's configuration, as operators see it.
#[derive(Debug, Clone)]
pub struct RaftPeer {
    pub id: String,
    /// Empty when this server does not know it; gossip does.
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
    inbox: Inbox,
    reception: transport::Reception,
    _last: Arc<LastHandle>,
}

/// Stops the replica's thread when the last handle is gone: the thread's own transport never lets go of the inbox.
struct LastHandle(Inbox);

impl Drop for LastHandle {
    fn drop(&mut self) {
        let _ = self.0.requests.send(Request::Stop);
    }
}

/// Where requests for the replica's thread are handed in.
#[derive(Clone)]
pub(crate) struct Inbox {
    requests: Sender<Request>,
    /// Bytes of the requests that wait.
    queued_bytes: Arc<AtomicUsize>,
}

impl Inbox {
    /// Hands a request in, or says why not.
    fn send(&self, request: Request) -> Result<(), Error> {
        let weight = request.weight();
        if self.queued_bytes.fetch_add(weight, Ordering::Relaxed) > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            return Err(Error::Busy);
        }
        self.requests.send(request).map_err(|_| {
            self.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            Error::NoLeader
        })
    }

    /// Hands in what may be lost.
    fn offer(&self, request: Request) {
        if self.send(request).is_err() {
            metrics::counter!("curule.raft.dropped").increment(1);
        }
    }
}

/// What the replica's thread and its readers share.
pub(crate) struct Shared {
    config: Config,
    state: ArcSwap<State>,
    stats: ArcSwap<Stats>,
    leads: AtomicBool,
    lease: Lease,
    position: changing::Sender<Arc<Position>>,
    /// When the leader was last heard of, in nanoseconds; zero for never.
    heard: AtomicU64,
    registry: Arc<Registry>,
    answers: AnswerCache,
    /// Counts reads; held, since finding a metric by name costs more than counting.
    queries: metrics::Counter,
    queued_bytes: Arc<AtomicUsize>,
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
    /// What a peer says; with its state when it is a snapshot. `bytes` is the size of the message.
    Step {
        parcel: Box<Parcel>,
        state: Option<Box<State>>,
        bytes: usize,
    },
    /// A peer cannot be reached.
    Unreachable {
        number: u64,
    },
    /// What came of sending a snapshot.
    SnapshotSent {
        number: u64,
        arrived: bool,
    },
    /// Answered once the change of the configuration is applied.
    Change {
        change: Change,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Answered once the handing over has begun.
    HandOver {
        id: Option<String>,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Promises this server to a cluster that is about to be founded, or takes the promise back.
    Promise {
        cluster: u64,
        stands: bool,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    Found {
        configuration: Configuration,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    Progress {
        answer: oneshot::Sender<Vec<Progress>>,
    },
    Stop,
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Request::Write(write) => write.data.len(),
            Request::Step { bytes, .. } => *bytes,
            _ => 0,
        }
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

/// Monotonic time that also counts while the machine sleeps: a lease must not outlast a nap.
pub(crate) fn now() -> Moment {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from);
    Moment(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
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
        let handle = tokio::runtime::Handle::try_current().map_err(|error| Error::CannotStart(error.to_string()))?;
        let (requests, received) = std::sync::mpsc::channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let inbox = Inbox { requests, queued_bytes: Arc::clone(&queued_bytes) };
        let acquaintances = transport::Acquaintances::default();
        let post = transport::Post::new(handle, &config.node_id, &config.address, acquaintances.clone(), inbox.clone());
        let founding = config.bootstrap.then(|| {
            let this = (config.node_id.clone(), config.address.clone());
            Configuration::founding(rand::random_range(1..u64::MAX), [this])
        });
        let settings = replica::Settings {
            id: config.node_id.clone(),
            limits: config.limits,
            timing: Timing::of_multiplier(config.raft_multiplier),
            seed: rand::random(),
            founding,
        };
        let (replica, _) = Replica::open(store, settings, now(), Box::new(probe::Timing::new()), Box::new(post))
            .map_err(|error| Error::CannotStart(error.to_string()))?;
        metrics::gauge!("consul.raft.fsm.lastRestoreDuration").set(began.elapsed().as_secs_f64() * 1000.0);
        let registry = Arc::new(Registry::default());
        let reception = transport::Reception {
            inbox: inbox.clone(),
            acquaintances,
            data_dir: config.data_dir.clone(),
            limits: config.limits,
            snapshots: Arc::new(tokio::sync::Semaphore::new(1)),
        };
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(replica.state().clone()),
            stats: ArcSwap::from_pointee(replica.stats()),
            leads: AtomicBool::new(replica.is_leader()),
            lease: replica.lease(),
            position: changing::Sender::new(Arc::new(turn::position(&replica))),
            heard: AtomicU64::new(0),
            answers: AnswerCache::new(Arc::clone(&registry), answers::BYTES_MAX),
            queries: metrics::counter!("consul.rpc.query"),
            registry,
            queued_bytes,
            thread: Mutex::new(None),
            config,
        });
        let turning = turn::Turning::new(replica, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("replica".to_owned())
            .spawn(move || turning.run(&received))
            .map_err(|error| Error::CannotStart(error.to_string()))?;
        *shared.thread.lock() = Some(thread);
        let last = Arc::new(LastHandle(inbox.clone()));
        Ok(Server { shared, inbox, reception, _last: last })
    }

    /// Lets what is in flight finish, then stops the thread.
    pub async fn shutdown(&self) {
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let inbox = self.inbox.clone();
            let stopped = tokio::task::spawn_blocking(move || {
                if inbox.requests.send(Request::Stop).is_ok() { thread.join().is_ok() } else { true }
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

    /// Whether this server leads. Whether it still does while a read is answered is for its lease to say.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.shared.leads.load(Ordering::Acquire)
    }

    /// Whether this server may answer `default` reads at this moment without asking its peers.
    #[must_use]
    pub(crate) fn holds_lease(&self) -> bool {
        self.is_leader() && self.shared.lease.holds(now())
    }

    /// Where this server stands, and whenever that changes.
    #[must_use]
    pub fn position(&self) -> changing::Receiver<Arc<Position>> {
        self.shared.position.subscribe()
    }

    /// Whether the cluster has other servers.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.shared.position.borrow().configuration.peers.len() != 1
    }

    /// This server's node id.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.shared.config.node_id
    }

    /// Where a server takes RPCs: as gossip has it, else as the configuration has it.
    #[must_use]
    pub fn address_of(&self, peer: &Peer) -> String {
        self.reception.acquaintances.address(number_of(&peer.id)).unwrap_or_else(|| peer.address.clone())
    }

    /// The leader, if one is known.
    #[must_use]
    pub fn leader(&self) -> Option<Peer> {
        self.shared.position.borrow().leader.clone()
    }

    /// The leader's RPC address, if there is a leader.
    #[must_use]
    pub fn leader_address(&self) -> Option<String> {
        self.leader().map(|peer| self.address_of(&peer))
    }

    /// How long the leader was not heard of.
    #[must_use]
    pub fn last_contact(&self) -> Duration {
        if self.is_leader() {
            return Duration::ZERO;
        }
        Duration::from_nanos(now().0.saturating_sub(self.shared.heard.load(Ordering::Acquire)))
    }

    /// Raft's configuration.
    #[must_use]
    pub fn raft_configuration(&self) -> Vec<RaftPeer> {
        let (config, stats) = (&self.shared.config, self.stats());
        let position = self.shared.position.borrow().clone();
        let leader = position.leader.as_ref().map(|peer| peer.id.as_str());
        let peers = position.configuration.peers.values().map(|peer| {
            let is_this = peer.id == config.node_id;
            RaftPeer {
                id: peer.id.clone(),
                node: if is_this { config.node_name.clone() } else { String::new() },
                address: peer.address.clone(),
                leader: leader == Some(peer.id.as_str()),
                voter: peer.voter,
                last_index: if is_this { stats.last_log_index } else { 0 },
                last_term: if is_this { stats.last_log_term } else { 0 },
            }
        });
        peers.collect()
    }

    /// Takes in what a server sends on a connection of raft, whose first byte ([`RAFT`]) was read. Returns when the
    /// connection ends, with the reason.
    pub async fn receive_raft<S>(&self, stream: S) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        self.reception.clone().receive(stream, move || founding::standing(&shared.position.borrow())).await
    }

    /// Says where a server is, as gossip has it: messages go there, whatever the configuration says.
    pub fn introduce(&self, id: &str, address: &str) {
        self.reception.acquaintances.note(id, address);
    }

    /// Adds a server to the cluster, or gives one that is there another address or the right to vote.
    pub async fn put_peer(&self, peer: Peer) -> Result<(), Error> {
        self.change(Change::Put(peer)).await
    }

    /// Removes the server with this node id from the cluster.
    pub async fn remove_peer(&self, id: &str) -> Result<(), Error> {
        self.change(Change::Remove(id.to_owned())).await
    }

    async fn change(&self, change: Change) -> Result<(), Error> {
        let (answer, done) = oneshot::channel();
        self.inbox.send(Request::Change { change, answer })?;
        self.await_answer(done).await?
    }

    /// Begins to hand leadership over to the voter with this node id, or to the most advanced one.
    pub async fn hand_over(&self, id: Option<&str>) -> Result<(), Error> {
        let (answer, done) = oneshot::channel();
        self.inbox.send(Request::HandOver { id: id.map(str::to_owned), answer })?;
        self.await_answer(done).await?
    }

    /// What the leader knows of the servers' logs. Empty unless this server leads.
    pub async fn progress(&self) -> Result<Vec<Progress>, Error> {
        let (answer, told) = oneshot::channel();
        self.inbox.send(Request::Progress { answer })?;
        self.await_answer(told).await
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
        self.inbox.send(Request::Write(Write { data, locks, answer }))?;
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
        self.inbox.send(Request::Renew { id: id.to_owned(), answer })?;
        let renewed = self.await_answer(renewed).await?;
        if !self.holds_lease() {
            // Another one may lead by now, whose timer was not reset.
            self.confirm().await?;
        }
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
        self.inbox.send(Request::Confirm { answer })?;
        self.await_answer(confirmed).await?
    }

    /// The whole state as an archive, with the index it stands for.
    pub async fn save_snapshot(&self) -> Result<(Bytes, Index), Error> {
        let (state, stats) = (self.state(), self.stats());
        let position = self.shared.position.borrow().clone();
        let index = state.applied();
        let saved = tokio::task::spawn_blocking(move || archive::write(&state, &position.configuration, &stats)).await;
        let bytes = saved.map_err(|error| Error::StorageBroken(error.to_string()))??;
        Ok((bytes, index))
    }

    /// Puts the state of an archive in the place of the present one. It is stable when this returns.
    pub async fn restore_snapshot(&self, archive: Bytes) -> Result<(), Error> {
        let limits = self.shared.config.limits;
        let bytes = archive.clone();
        let read = tokio::task::spawn_blocking(move || replica::restore::read(&bytes, limits)).await;
        let read = read.map_err(|error| Error::BadArchive(error.to_string()))?;
        let (state, index) = read.map_err(Error::BadArchive)?;
        if self.has_peers() {
            drop(state);
            return self.restore_through_the_log(&archive).await;
        }
        let (answer, restored) = oneshot::channel();
        self.inbox.send(Request::Restore { state: Box::new(state), archive: index, answer })?;
        self.await_answer(restored).await?
    }

    /// Where there are other servers, the archive is replicated, and replaces the state of all at the same entry.
    async fn restore_through_the_log(&self, archive: &[u8]) -> Result<(), Error> {
        if archive.len() > replica::restore::ARCHIVE_MAX {
            return Err(Error::BadArchive("the archive is too large".to_owned()));
        }
        for data in replica::restore::entries(rand::random(), archive) {
            let (answer, outcome) = oneshot::channel();
            self.inbox.send(Request::Write(Write { data, locks: Locks::None, answer }))?;
            if let Outcome::Failed(error) = self.await_answer(outcome).await?? {
                return Err(Error::BadArchive(error.to_string()));
            }
        }
        Ok(())
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
