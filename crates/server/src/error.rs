//! Why the server could not do it. One enum; faces map it to statuses.

use std::fmt;

/// A failed read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The request itself was refused; it changed nothing.
    Refused(state::Error),
    /// Nobody leads, or this server must not speak for the cluster any more.
    NoLeader,
    /// Storage has no room: writes are refused until it has, reads go on.
    StorageFull(String),
    /// Storage is broken: this server has fenced itself.
    StorageBroken(String),
    /// The data directory cannot be served from: it is in use, damaged, or cannot be read.
    CannotStart(String),
    /// Too many writes are waiting.
    Busy,
    /// The write was handed in, but no answer came in time: it may or may not happen.
    TimedOut,
    /// Leadership was lost after the write was handed in: it may or may not happen.
    LeadershipLost,
    /// Another server has refused; its words.
    Remote(String),
    /// Another server cannot be reached: nothing was done.
    Unreachable(String),
    /// The connection broke before the answer came: it may be done, or not.
    Interrupted(String),
    /// What a server said on a connection is nothing that this one takes in.
    Connection(String),
    /// The archive cannot be restored; nothing was changed.
    BadArchive(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(error) => error.fmt(f),
            Error::NoLeader => f.write_str("No cluster leader"),
            Error::StorageFull(reason) => write!(f, "raft apply failed: no space for the log: {reason}"),
            Error::StorageBroken(reason) => write!(f, "raft apply failed: storage failed: {reason}"),
            Error::Busy => f.write_str("rate limit exceeded, try again later"),
            Error::TimedOut => f.write_str("raft apply failed: timed out enqueuing operation"),
            Error::LeadershipLost => f.write_str("leadership lost while committing log"),
            // Compat: in the reference's words, which say that another server was asked.
            Error::Remote(text) => write!(f, "rpc error making call: {text}"),
            Error::Unreachable(reason) | Error::Interrupted(reason) => f.write_str(reason),
            Error::Connection(reason) | Error::BadArchive(reason) | Error::CannotStart(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        Error::Refused(error)
    }
}
