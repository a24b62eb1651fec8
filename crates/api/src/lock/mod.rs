//! Locks and semaphores made of sessions and keys, laid out as Go's client lays them out, so that both can contend for
//! the same one.
//!
//! Always true: whoever holds one has a session that is renewed while it is held and ended afterwards; keys of another
//! use are recognised by their flags and left alone.
//! Not here: running something while holding one (`cli`).

pub mod cli;
mod mutex;
mod semaphore;

use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinHandle;

pub use self::mutex::Mutex;
pub use self::semaphore::Semaphore;

use crate::cli::client::{Client, Failure, Request};

/// The name of the key that tells about all, under the prefix of a lock.
const KEY: &str = ".lock";

/// How long a session lives without being renewed.
const SESSION_TTL: &str = "15s";
const SESSION_TTL_SPAN: Duration = Duration::from_secs(15);

/// How long one query for a change waits, unless the caller gives up earlier.
const WAIT: Duration = Duration::from_secs(15);

/// How often to try again while nobody holds the lock, yet it cannot be had (lock-delay).
const RETRY: Duration = Duration::from_secs(5);

/// The wait between two attempts to see whether a lock is still held.
const MONITOR_RETRY: Duration = Duration::from_secs(1);

/// The wait after a failed renewal.
const RENEW_RETRY: Duration = Duration::from_secs(1);

/// How to contend.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Give up after this; `None` is never.
    pub timeout: Option<Duration>,
    /// How many failed looks at a held lock in a row do not yet mean that it is lost.
    pub monitor_retries: u32,
}

/// Keeps track of how long to wait, and when to give up.
struct Patience {
    terms: Terms,
    start: Instant,
    attempts: u32,
}

impl Patience {
    fn new(terms: Terms) -> Patience {
        Patience { terms, start: Instant::now(), attempts: 0 }
    }

    /// How long the next query may wait; `None` when time is up. The first attempt is always granted.
    fn next(&mut self) -> Option<Duration> {
        self.attempts = self.attempts.saturating_add(1);
        match self.terms.timeout {
            Some(timeout) if self.attempts > 1 => timeout.checked_sub(self.start.elapsed()),
            Some(timeout) => Some(timeout),
            None => Some(WAIT),
        }
    }
}

/// Why a lock cannot be had, kept or given back; displays as Go's client words it.
#[derive(Debug)]
pub enum Trouble {
    Asking(&'static str, Failure),
    Plain(Failure),
    MutexConflict,
    SemaphoreConflict,
    LimitConflict { lock: i64, local: i64 },
    Unreadable(String),
    NoContender,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Asking(doing, failure) => write!(f, "failed to {doing}: {failure}"),
            Trouble::Plain(failure) => write!(f, "{failure}"),
            Trouble::MutexConflict => f.write_str("Existing key does not match lock use"),
            Trouble::SemaphoreConflict => f.write_str("Existing key does not match semaphore use"),
            Trouble::LimitConflict { lock, local } => {
                write!(f, "semaphore limit conflict (lock: {lock}, local: {local})")
            }
            Trouble::Unreadable(error) => write!(f, "lock decoding failed: {error}"),
            Trouble::NoContender => f.write_str("failed to make contender entry: <nil>"),
        }
    }
}

impl std::error::Error for Trouble {}

/// Names what was being done when asking failed.
fn doing(what: &'static str) -> impl FnOnce(Failure) -> Trouble {
    move |failure| Trouble::Asking(what, failure)
}

/// Go writes waits in milliseconds.
fn milliseconds(span: Duration) -> String {
    let whole = span.as_millis();
    format!("{}ms", if whole == 0 && !span.is_zero() { 1 } else { whole })
}

/// A session that is renewed until it is ended.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    client: Client,
    renewal: JoinHandle<()>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

impl Session {
    /// With `deletes` the keys that it holds are deleted when it ends, otherwise they are released.
    pub async fn create(client: &Client, name: &str, deletes: bool) -> Result<Session, Trouble> {
        let mut body = serde_json::Map::new();
        body.insert("Name".to_owned(), name.into());
        body.insert("TTL".to_owned(), SESSION_TTL.into());
        if deletes {
            body.insert("Behavior".to_owned(), "delete".into());
        }
        let create = async {
            let request = Request::put("/v1/session/create").json(&body)?;
            client.ask(request).await?.json::<Created>()
        };
        let id = create.await.map_err(doing("create session"))?.id;
        let renewal = tokio::spawn(renew(client.clone(), id.clone()));
        Ok(Session { id, client: client.clone(), renewal })
    }

    /// Ends it. A failure is not told: without renewals it ends anyway.
    pub async fn end(self) {
        self.renewal.abort();
        let _ = self.client.ask(Request::put(format!("/v1/session/destroy/{}", self.id))).await;
    }
}

async fn renew(client: Client, id: String) {
    let mut pause = SESSION_TTL_SPAN / 2;
    let mut renewed = Instant::now();
    while renewed.elapsed() <= SESSION_TTL_SPAN {
        tokio::time::sleep(pause).await;
        match client.ask(Request::put(format!("/v1/session/renew/{id}")).or_missing()).await {
            Ok(answer) if answer.missing => return,
            Ok(_) => {
                renewed = Instant::now();
                pause = SESSION_TTL_SPAN / 2;
            }
            Err(_) => pause = RENEW_RETRY,
        }
    }
}

/// One of the two.
#[derive(Clone, Debug)]
pub enum Lock {
    Mutex(Mutex),
    Semaphore(Semaphore),
}

impl Lock {
    /// Whether the keys of its session are to be deleted with it.
    fn deletes(&self) -> bool {
        matches!(self, Lock::Semaphore(_))
    }

    /// Contends until it is held (true) or time is up (false).
    pub async fn acquire(&self, client: &Client, session: &str) -> Result<bool, Trouble> {
        match self {
            Lock::Mutex(mutex) => mutex.acquire(client, session).await,
            Lock::Semaphore(semaphore) => semaphore.acquire(client, session).await,
        }
    }

    /// Ends when it is no longer held, or can no longer be told.
    pub async fn lost(&self, client: &Client, session: &str) {
        match self {
            Lock::Mutex(mutex) => mutex.lost(client, session).await,
            Lock::Semaphore(semaphore) => semaphore.lost(client, session).await,
        }
    }

    pub async fn release(&self, client: &Client, session: &str) -> Result<(), Trouble> {
        match self {
            Lock::Mutex(mutex) => mutex.release(client, session).await,
            Lock::Semaphore(semaphore) => semaphore.release(client, session).await,
        }
    }

    /// Removes the key if nobody uses it, and says whether it did.
    pub async fn clean_up(&self, client: &Client) -> Result<bool, Trouble> {
        match self {
            Lock::Mutex(mutex) => mutex.clean_up(client).await,
            Lock::Semaphore(semaphore) => semaphore.clean_up(client).await,
        }
    }
}

#[cfg(test)]
mod tests;
