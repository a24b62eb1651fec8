//! Calls to RPC ports: one session an address, streams that are used again, and what to do about those who do not
//! answer.
//!
//! Always true: a call has a stream to itself from its first byte to the last of its answer; a stream goes back only
//! when the answer was whole, so a call that is dropped, late or broken closes its stream; an error says whether the call
//! can have been heard; an address that cannot be reached is not dialled at every call.
//! Not here: which address to ask, and whether to ask again.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;
use wire::msgpack;
use wire::rpc::{RequestHeader, ResponseHeader};
use yamux::Mode;

use super::first_byte::FirstByte;
use super::inbox::{Budget, Inbox, Message};
use super::serve::prepare;
use super::session::{Happening, Session};
use super::stream::{BoxedStream, MuxStream};
use crate::go_text;

/// The first pause after an address could not be reached; each further failure doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// No pause is longer: callers give up after seven seconds, and a server that is back must be found before.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The pause after so many failures is the longest.
const FAILURES_MAX: u32 = 8;
/// Addresses that are remembered before those that nobody talks to are forgotten.
const ADDRESSES: usize = 256;
/// What is longer is cut to this: clocks have an end.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Streams of calls that were given up, kept until the other side has ended them too.
const LEAVING_MAX: usize = 64;
/// Wishes for a stream that a session has not come to.
const WISHES: usize = 64;

/// What a pool allows itself.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    pub dial_timeout: Duration,
    /// The address to dial from.
    pub source: Option<IpAddr>,
    /// Calls under way on one session.
    pub calls_per_session: usize,
    /// Streams that are kept on one session while no call uses them.
    pub idle_streams: usize,
    /// How long a session is kept that no call uses. It goes with the next beat of `keep_alive` after that.
    pub idle_session: Duration,
    /// As in [`super::Limits`].
    pub keep_alive: Duration,
    /// As in [`super::Limits`].
    pub keep_alive_timeout: Duration,
}

impl Default for PoolLimits {
    fn default() -> PoolLimits {
        PoolLimits {
            dial_timeout: Duration::from_secs(10),
            source: None,
            calls_per_session: 2048,
            idle_streams: 32,
            idle_session: Duration::from_secs(120),
            keep_alive: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a call has no answer. Shown as the reference shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The other side's own words.
    Remote(String),
    /// There is no session with the address; nothing was sent.
    Unreachable(String),
    /// The call was sent, and no answer came in time.
    TimedOut,
    /// The session or the stream ended first.
    Closed { never_sent: bool },
}

impl CallError {
    /// Whether the other side cannot have acted on the call, so that asking again is safe whatever it does.
    pub fn never_sent(&self) -> bool {
        match self {
            CallError::Unreachable(_) => true,
            CallError::Closed { never_sent } => *never_sent,
            CallError::Remote(_) | CallError::TimedOut => false,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Remote(text) => write!(f, "rpc error making call: {text}"),
            CallError::Unreachable(text) => write!(f, "rpc error getting client: failed to get conn: {text}"),
            CallError::TimedOut => f.write_str("rpc error making call: i/o deadline reached"),
            CallError::Closed { .. } => f.write_str("rpc error making call: EOF"),
        }
    }
}

impl std::error::Error for CallError {}

/// Sessions with whom we call. Clones are the same pool; with the last, its sessions end.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    limits: PoolLimits,
    // Held for a look-up only.
    addresses: Mutex<HashMap<SocketAddr, Arc<Address>>>,
    budget: Budget,
    over: CancellationToken,
    _ends_sessions: DropGuard,
}

impl Pool {
    pub fn new(limits: PoolLimits) -> Pool {
        let over = CancellationToken::new();
        Pool {
            shared: Arc::new(Shared {
                limits,
                addresses: Mutex::default(),
                // An answer is what its caller asked for.
                budget: Budget::new(usize::MAX),
                _ends_sessions: over.clone().drop_guard(),
                over,
            }),
        }
    }

    /// Calls a method with encoded arguments, and answers with the encoded body of the answer. Dropping the future ends
    /// the call.
    pub async fn call(
        &self,
        address: SocketAddr,
        method: &str,
        args: Vec<u8>,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + timeout.min(FOR_EVER);
        // A session may have died since it was last used, so once is not enough; twice in a row is the address's fault.
        match self.call_once(address, method, &args, deadline).await {
            Err(CallError::Closed { never_sent: true }) => self.call_once(address, method, &args, deadline).await,
            answered => answered,
        }
    }

    async fn call_once(
        &self,
        address: SocketAddr,
        method: &str,
        args: &[u8],
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let busy = || CallError::Unreachable("session is busy: i/o timeout".to_owned());
        let mut lease = self.lease(address, deadline).await?;
        let room = Arc::clone(&lease.link.room).acquire_owned();
        let Ok(_room) = timeout_at(deadline, room).await.map_err(|_| busy())? else {
            return Err(CallError::Closed { never_sent: true });
        };
        let conversation = match &mut lease.conversation {
            Some(conversation) => conversation,
            none => match timeout_at(deadline, lease.link.open()).await.map_err(|_| busy())? {
                Some(stream) => none.insert(Conversation::new(stream, self.shared.budget.clone())),
                None => return Err(CallError::Closed { never_sent: true }),
            },
        };
        timeout_at(deadline, conversation.ask(method, args)).await.map_err(|_| busy())??;
        let answer = timeout_at(deadline, conversation.answer()).await.map_err(|_| CallError::TimedOut)??;
        lease.link.proven(&self.shared, address);
        answer.map_err(CallError::Remote)
    }

    /// A connection for one snapshot: says first what is wanted. Shutting it down ends what we send, so that the other
    /// side knows the end of an archive, and still can answer.
    pub async fn snapshot(&self, address: SocketAddr, first_message: Vec<u8>) -> io::Result<BoxedStream> {
        let mut stream = self.shared.limits.dial(address, FirstByte::Snapshot).await?;
        stream.write_all(&first_message).await?;
        Ok(Box::new(stream))
    }

    /// A connection for Raft.
    pub async fn raft(&self, address: SocketAddr) -> io::Result<BoxedStream> {
        Ok(Box::new(self.shared.limits.dial(address, FirstByte::Raft).await?))
    }

    /// A part in the session with an address, which is made if there is none.
    async fn lease(&self, address: SocketAddr, deadline: Instant) -> Result<Lease, CallError> {
        let limits = self.shared.limits;
        let known = self.shared.address(address);
        if let Some(lease) = known.current_lease(&limits) {
            return Ok(lease);
        }
        let late = || CallError::Unreachable(format!("dial tcp {address}: i/o timeout"));
        // One dials, and the others wait for what comes of it.
        let _dialling = timeout_at(deadline, known.dialling.lock()).await.map_err(|_| late())?;
        if let Some(lease) = known.current_lease(&limits) {
            return Ok(lease);
        }
        if let Some(text) = known.paused() {
            return Err(CallError::Unreachable(text));
        }
        let dialled = timeout_at(deadline, limits.dial(address, FirstByte::Session)).await;
        let stream = match dialled {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let text = format!("dial tcp {address}: {}", dial_reason(&error));
                known.failed(text.clone());
                return Err(CallError::Unreachable(text));
            }
            Err(_) => return Err(late()),
        };
        let link = Link::start(stream, &self.shared, address);
        *known.current.lock() = Some(Arc::clone(&link));
        link.lease(&limits).ok_or(CallError::Closed { never_sent: true })
    }
}

impl Shared {
    fn address(&self, address: SocketAddr) -> Arc<Address> {
        let mut addresses = self.addresses.lock();
        if let Some(known) = addresses.get(&address) {
            return Arc::clone(known);
        }
        if addresses.len() >= ADDRESSES {
            addresses.retain(|_, known| known.is_of_use());
        }
        Arc::clone(addresses.entry(address).or_default())
    }
}

impl PoolLimits {
    /// Connects and says what for.
    async fn dial(&self, address: SocketAddr, first: FirstByte) -> io::Result<TcpStream> {
        let connect = async {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(source) = self.source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let mut stream = socket.connect(address).await?;
            prepare(&stream)?;
            stream.write_all(&[first.byte()]).await?;
            Ok(stream)
        };
        tokio::time::timeout(self.dial_timeout, connect).await.map_err(io::Error::from)?
    }
}

fn dial_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => format!("connect: {}", go_text::reason(error)),
    }
}

/// What is known of an address.
#[derive(Default)]
struct Address {
    /// Held while a session is made.
    dialling: tokio::sync::Mutex<()>,
    // Both held for a look only.
    current: Mutex<Option<Arc<Link>>>,
    trouble: Mutex<Trouble>,
}

/// What went wrong with an address lately.
#[derive(Default)]
struct Trouble {
    failures: u32,
    text: String,
    until: Option<Instant>,
}

impl Address {
    fn current_lease(&self, limits: &PoolLimits) -> Option<Lease> {
        // The lock must be gone when a dead link is.
        let link = self.current.lock().clone()?;
        link.lease(limits)
    }

    /// The last failure, if it is too early to try again.
    fn paused(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.until.filter(|until| Instant::now() < *until).map(|_| trouble.text.clone())
    }

    fn failed(&self, text: String) {
        let mut trouble = self.trouble.lock();
        let pause = PAUSE_FIRST.saturating_mul(1 << trouble.failures.min(FAILURES_MAX)).min(PAUSE_MAX);
        // Half of it or more, so that not all who wait come at once.
        let pause = pause.mul_f64(rand::random_range(0.5..=1.0));
        *trouble = Trouble { failures: trouble.failures.saturating_add(1), text, until: Some(Instant::now() + pause) };
    }

    fn is_of_use(&self) -> bool {
        let alive = self.current.lock().as_ref().is_some_and(|link| link.state.lock().alive);
        alive || self.dialling.try_lock().is_err() || self.paused().is_some()
    }
}

/// A session and the task that turns it.
struct Link {
    wishes: mpsc::Sender<oneshot::Sender<MuxStream>>,
    /// Calls that may still begin.
    room: Arc<Semaphore>,
    // Held for moments between which nothing waits.
    state: Mutex<LinkState>,
}

struct LinkState {
    alive: bool,
    /// An answer came on it.
    proven: bool,
    calls: usize,
    idle: Vec<Conversation>,
    /// Streams of calls that were given up.
    leaving: Vec<MuxStream>,
    used: Instant,
}

impl Link {
    fn start(stream: TcpStream, shared: &Arc<Shared>, address: SocketAddr) -> Arc<Link> {
        let limits = shared.limits;
        let (wishes, wished) = mpsc::channel(WISHES);
        let link = Arc::new(Link {
            wishes,
            room: Arc::new(Semaphore::new(limits.calls_per_session)),
            state: Mutex::new(LinkState {
                alive: true,
                proven: false,
                calls: 0,
                idle: Vec::new(),
                leaving: Vec::new(),
                used: Instant::now(),
            }),
        });
        // Streams that were dropped count until the session has come round to them.
        let streams_max = limits.calls_per_session.saturating_add(limits.idle_streams).saturating_mul(2);
        let session = Session::new(stream, Mode::Client, streams_max, limits.keep_alive, limits.keep_alive_timeout);
        let turning = Arc::clone(&link);
        let over = shared.over.clone();
        let known = shared.address(address);
        tokio::spawn(async move {
            let why = turning.turn(session, wished, &limits, over).await;
            let proven = {
                let mut state = turning.state.lock();
                state.alive = false;
                state.idle.clear();
                state.leaving.clear();
                state.proven
            };
            debug!(%address, why, "RPC session ended");
            let mut current = known.current.lock();
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &turning)) {
                *current = None;
            }
            drop(current);
            if !proven {
                // It let us in and threw us out: as good as unreachable.
                known.failed(format!("dial tcp {address}: session ended: {why}"));
            }
        });
        link
    }

    /// Turns the session until it is over, and says why.
    async fn turn(
        &self,
        mut session: Session<TcpStream>,
        mut wished: mpsc::Receiver<oneshot::Sender<MuxStream>>,
        limits: &PoolLimits,
        over: CancellationToken,
    ) -> String {
        let mut wish: Option<oneshot::Sender<MuxStream>> = None;
        loop {
            tokio::select! {
                () = over.cancelled() => {
                    session.close().await;
                    return "shut down".to_owned();
                }
                next = wished.recv(), if wish.is_none() => wish = next,
                happening = session.next(wish.is_some()) => match happening {
                    Happening::New(stream) => {
                        if let Some(wish) = wish.take() {
                            // Whoever wished may be gone; so is the stream then.
                            let _ = wish.send(stream);
                        }
                    }
                    // Servers open no streams.
                    Happening::Opened(stream) => drop(stream),
                    Happening::Over(why) => return why,
                    Happening::Tick if self.retire(limits) => {
                        session.close().await;
                        return "idle".to_owned();
                    }
                    Happening::Tick => {}
                },
            }
        }
    }

    /// Whether it was not used for long, in which case it will not be.
    fn retire(&self, limits: &PoolLimits) -> bool {
        let mut state = self.state.lock();
        state.leaving.retain_mut(|stream| !stream.is_drained());
        if state.calls > 0 || state.used.elapsed() < limits.idle_session {
            return false;
        }
        state.alive = false;
        // An idle session is not one that failed.
        state.proven = true;
        for mut conversation in state.idle.drain(..) {
            conversation.stream.end();
        }
        true
    }

    fn lease(self: &Arc<Link>, limits: &PoolLimits) -> Option<Lease> {
        let mut state = self.state.lock();
        if !state.alive {
            return None;
        }
        state.calls += 1;
        // The one used last: the others grow old and go.
        let mut conversation = state.idle.pop();
        while conversation.as_mut().is_some_and(|conversation| !conversation.stream.is_quiet()) {
            conversation = state.idle.pop();
        }
        Some(Lease { link: Arc::clone(self), conversation, idle_streams: limits.idle_streams })
    }

    /// A new stream; `None` if the session is over.
    async fn open(&self) -> Option<MuxStream> {
        let (wish, stream) = oneshot::channel();
        self.wishes.send(wish).await.ok()?;
        stream.await.ok()
    }

    /// An answer came.
    fn proven(&self, shared: &Shared, address: SocketAddr) {
        let first = !std::mem::replace(&mut self.state.lock().proven, true);
        if first {
            *shared.address(address).trouble.lock() = Trouble::default();
        }
    }
}

/// A part in a session for one call. What is in it when it ends goes back.
struct Lease {
    link: Arc<Link>,
    conversation: Option<Conversation>,
    idle_streams: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.link.state.lock();
        state.calls -= 1;
        state.used = Instant::now();
        let Some(Conversation { mut stream, inbox, calls, at }) = self.conversation.take() else { return };
        match at {
            Between::Calls if state.alive && state.idle.len() < self.idle_streams && inbox.is_empty() => {
                state.idle.push(Conversation { stream, inbox, calls, at });
            }
            Between::Calls | Between::CallAndEnd => stream.end(),
            // Compat: a reset stream is an error in the reference's log and its metrics, an ended one is not. But who
            // then writes a long answer waits for ever for somebody to read it, so it is read, up to a bound.
            Between::CallAndAnswer if state.alive && state.leaving.len() < LEAVING_MAX => {
                stream.end();
                state.leaving.push(stream);
            }
            // Dropped, it is reset.
            Between::CallAndAnswer => {}
        }
    }
}

/// A stream that calls follow each other on.
struct Conversation {
    stream: MuxStream,
    inbox: Inbox,
    /// The number of the last call.
    calls: u64,
    at: Between,
}

/// Where a conversation has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// The stream can carry another call.
    Calls,
    /// A call went out, some of it at least.
    CallAndAnswer,
    /// The stream is of no more use, and nothing is to come.
    CallAndEnd,
}

impl Conversation {
    fn new(stream: MuxStream, budget: Budget) -> Conversation {
        Conversation { stream, inbox: Inbox::new(budget), calls: 0, at: Between::Calls }
    }

    /// Sends a call. One that is not whole is not acted on.
    async fn ask(&mut self, method: &str, args: &[u8]) -> Result<(), CallError> {
        self.calls += 1;
        let header = RequestHeader { service_method: method.to_owned(), seq: self.calls };
        let mut request = Vec::with_capacity(64 + method.len() + args.len());
        msgpack::write_to(&mut request, &header).map_err(|_| CallError::Closed { never_sent: true })?;
        request.extend_from_slice(args);
        self.at = Between::CallAndAnswer;
        self.stream.write_all(&request).await.map_err(|_| CallError::Closed { never_sent: true })
    }

    /// Waits for the answer: a body or a text.
    async fn answer(&mut self) -> Result<Result<Bytes, String>, CallError> {
        let broken = CallError::Closed { never_sent: false };
        let Ok(Message { header, body }) = self.inbox.next(&mut self.stream, None).await else { return Err(broken) };
        let Ok(header) = msgpack::from_slice::<ResponseHeader>(&header) else { return Err(broken) };
        if header.seq != self.calls {
            return Err(broken);
        }
        if header.error.is_empty() {
            self.at = Between::Calls;
            return Ok(Ok(body));
        }
        // Compat: the reference ends a stream after some errors and keeps it after others, and nothing says which it
        // will be; its own pool never uses a stream again that brought one.
        self.at = Between::CallAndEnd;
        Ok(Err(header.error))
    }
}
