//! Calls to servers: one session for each address, with streams that are used again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::conversation::{Inward, request, response};
use super::session::{Session, Stream};
use super::{MULTIPLEXED, SNAPSHOT};

const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// What is sent and not acknowledged for so long is lost, and the session with it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Streams of a session that wait for the next call.
const IDLE_STREAMS_MAX: usize = 64;
/// A session that nobody used for so long is ended.
const IDLE: Duration = Duration::from_secs(120);
const SESSIONS_MAX: usize = 256;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The far side has refused; its words.
    Remote(String),
    /// There is no connection: the call was never sent.
    Unreachable(String),
    /// The connection broke after the call was handed over: it may have been answered.
    Broken(String),
    /// No answer came in time.
    TimedOut,
}

impl CallError {
    /// Whether the far side cannot have heard of the call.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self, CallError::Unreachable(_))
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Remote(text) => f.write_str(text),
            CallError::Unreachable(text) => write!(f, "rpc error getting client: {text}"),
            CallError::Broken(text) => write!(f, "rpc error making call: {text}"),
            CallError::TimedOut => f.write_str("rpc error making call: i/o deadline reached"),
        }
    }
}

impl std::error::Error for CallError {}

/// A stream between two calls.
struct Idle {
    stream: Stream,
    inward: Inward,
    seq: u64,
}

#[derive(Default)]
struct Far {
    session: Mutex<Option<Session>>,
    idle: Mutex<Vec<Idle>>,
    used: Mutex<Option<Instant>>,
    /// One who connects; the others wait for it.
    connecting: tokio::sync::Mutex<()>,
}

/// Sessions with servers. Clones share them.
#[derive(Clone, Default)]
pub struct Pool {
    far: Arc<Mutex<HashMap<SocketAddr, Arc<Far>>>>,
}

impl Pool {
    #[must_use]
    pub fn new() -> Self {
        Pool::default()
    }

    /// Calls a method with its arguments as msgpack; gives the body of the answer. Dropping the future gives the call
    /// up.
    pub async fn call(
        &self,
        server: SocketAddr,
        method: &str,
        args: &[u8],
        wait: Duration,
    ) -> Result<Bytes, CallError> {
        let far = self.far(server);
        let calling = async {
            let mut idle = far.stream(server).await?;
            idle.seq += 1;
            let called = async {
                idle.stream.write_all(&request(method, idle.seq, args)).await?;
                idle.stream.flush().await?;
                let message = idle.inward.next(&mut idle.stream).await?;
                response(message.ok_or(std::io::ErrorKind::UnexpectedEof)?, idle.seq)
            };
            let answered = called.await.map_err(|error: std::io::Error| CallError::Broken(text(&error)))?;
            far.give_back(idle);
            answered.map_err(CallError::Remote)
        };
        tokio::time::timeout(wait, calling).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// A connection for a snapshot, whose first byte is sent (protocols.md A6).
    pub async fn snapshot(&self, server: SocketAddr) -> Result<TcpStream, CallError> {
        connect(server, SNAPSHOT).await.map_err(|error| CallError::Unreachable(text(&error)))
    }

    /// Ends the sessions that nobody uses; called now and then.
    pub fn end_idle(&self) {
        self.far.lock().retain(|_, far| {
            let is_used = far.used.lock().is_some_and(|used| used.elapsed() < IDLE);
            is_used || Arc::strong_count(far) > 1
        });
    }

    fn far(&self, server: SocketAddr) -> Arc<Far> {
        let mut all = self.far.lock();
        if all.len() >= SESSIONS_MAX {
            all.retain(|_, far| Arc::strong_count(far) > 1);
        }
        let far = Arc::clone(all.entry(server).or_default());
        *far.used.lock() = Some(Instant::now());
        far
    }
}

impl Far {
    /// A stream to call on: one that waits, or a new one.
    async fn stream(&self, server: SocketAddr) -> Result<Idle, CallError> {
        for attempt in 0..2 {
            let session = self.session(server).await?;
            // Only streams of the session that lives are kept.
            if let Some(idle) = self.idle.lock().pop() {
                return Ok(idle);
            }
            if let Some(stream) = session.open().await {
                return Ok(Idle { stream, inward: Inward::default(), seq: 0 });
            }
            // It ended between looking and opening: once more, with a new one.
            if attempt == 0 {
                self.forget();
            }
        }
        Err(CallError::Unreachable("the session ended".to_owned()))
    }

    async fn session(&self, server: SocketAddr) -> Result<Session, CallError> {
        let _turn = self.connecting.lock().await;
        if let Some(session) = self.session.lock().as_ref().filter(|session| !session.has_ended()) {
            return Ok(session.clone());
        }
        self.forget();
        let stream = connect(server, MULTIPLEXED).await.map_err(|error| CallError::Unreachable(text(&error)))?;
        let session = Session::begin(stream);
        *self.session.lock() = Some(session.clone());
        Ok(session)
    }

    fn forget(&self) {
        self.idle.lock().clear();
        *self.session.lock() = None;
    }

    fn give_back(&self, idle: Idle) {
        let lives = self.session.lock().as_ref().is_some_and(|session| !session.has_ended());
        let mut waiting = self.idle.lock();
        if lives && waiting.len() < IDLE_STREAMS_MAX {
            waiting.push(idle);
        }
    }
}

async fn connect(server: SocketAddr, first: u8) -> std::io::Result<TcpStream> {
    let connecting = TcpStream::connect(server);
    let mut stream = tokio::time::timeout(CONNECT_WAIT, connecting)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    stream.write_all(&[first]).await?;
    Ok(stream)
}

fn text(error: &std::io::Error) -> String {
    crate::go_text::reason(error)
}
