//! The asking side: queries and commands to a server elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::rpc::{CallError, Pool};
use rand::Rng;
use serde::{Deserialize, Serialize};
use state::session::Session;
use state::{Command, Outcome};
use wire::msgpack;

use super::commands;
use super::envelope::{Carried, Options, pack_query, unpack_answer};
use crate::{Answer, Error, ReadMode, ReadOptions};

/// A call that does not block is given so long.
const CALL_WAIT: Duration = Duration::from_secs(30);
/// Pauses between attempts begin and end with this.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long to go on trying while nobody leads (`rpc_hold_timeout`).
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    until: tokio::time::Instant,
    pause: Duration,
}

impl Hold {
    #[must_use]
    pub fn begin(hold: Duration) -> Self {
        Hold { until: tokio::time::Instant::now() + hold, pause: PAUSE_MIN }
    }

    /// Waits before the next attempt; `false` when the time is over.
    pub async fn pause(&mut self) -> bool {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..1.5));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if tokio::time::Instant::now() + pause >= self.until {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// Servers elsewhere, called through a pool.
#[derive(Clone)]
pub struct Far {
    pub pool: Pool,
    pub datacenter: Arc<str>,
    /// `rpc_hold_timeout`.
    pub hold: Duration,
}

impl Far {
    /// Calls a method with arguments that are encoded already.
    pub async fn call(
        &self,
        server: SocketAddr,
        method: &str,
        args: Vec<u8>,
        wait: Duration,
    ) -> Result<bytes::Bytes, Error> {
        self.pool.call(server, method, args, wait).await.map_err(failed)
    }

    /// Evaluates a query there.
    pub async fn read<Q: Carried>(
        &self,
        server: SocketAddr,
        query: &Q,
        options: &ReadOptions,
    ) -> Result<Answer<Q::Answer>, Error> {
        let args = pack_query(query, Options::of(&self.datacenter, options)).map_err(|error| unfit(&error))?;
        // The server adds a sixteenth of the wait.
        let blocks = if options.min_index.is_zero() { Duration::ZERO } else { options.wait + options.wait / 16 };
        let body = self.call(server, Q::METHOD, args, blocks + self.hold + CALL_WAIT).await?;
        unpack_answer(query, &body, options.mode).map_err(|error| unfit(&error))
    }

    /// Has a command replicated there.
    pub async fn write(&self, server: SocketAddr, command: &Command) -> Result<Outcome, Error> {
        let Some(method) = commands::method(command) else { return Err(Error::NoLeader) };
        let args = commands::pack(command).and_then(|args| commands::with_token(args, &self.datacenter));
        let body = self.call(server, method, args.map_err(|error| unfit(&error))?, self.hold + CALL_WAIT).await?;
        commands::unpack_outcome(command, &body).map_err(|error| unfit(&error))
    }

    /// Resets the expiry of a session; `None` when it does not exist.
    pub async fn renew(&self, server: SocketAddr, id: &str) -> Result<Option<Arc<Session>>, Error> {
        let renewal = Renewal { session_id: id.to_owned(), session: id.to_owned() };
        let options = Options::of(&self.datacenter, &ReadOptions { mode: ReadMode::Default, ..ReadOptions::default() });
        let args = super::Fields::all(&renewal)
            .and_then(|fields| fields.and(super::Fields::all(&options)?).encode())
            .map_err(|error| unfit(&error))?;
        let body = self.call(server, "Session.Renew", args, self.hold + CALL_WAIT).await?;
        let fields = super::Fields::decode(&body).map_err(|error| unfit(&error))?;
        let sessions: Vec<Arc<Session>> = fields.get("Sessions").map_err(|error| unfit(&error))?;
        Ok(sessions.into_iter().next())
    }
}

/// `structs.SessionSpecificRequest`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Renewal {
    #[serde(rename = "SessionID")]
    pub session_id: String,
    /// What agents before 1.7 called it.
    pub session: String,
}

fn unfit(error: &msgpack::Error) -> Error {
    Error::Remote(format!("the answer cannot be read: {error}"))
}

pub(crate) fn failed(error: CallError) -> Error {
    match error {
        CallError::Remote(text) if text == "No cluster leader" => Error::NoLeader,
        CallError::Remote(text) => commands::refusal(&text).map_or(Error::Remote(text), Error::Refused),
        error if error.never_sent() => Error::Unreachable(error.to_string()),
        CallError::TimedOut => Error::TimedOut,
        error => Error::Interrupted(error.to_string()),
    }
}
