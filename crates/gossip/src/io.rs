//! What goes into a memberlist machine and what comes out of it.
//!
//! Messages here are plain: a type byte and a body, without label, encryption, checksum, compression or compound
//! framing, all of which `envelope` adds and removes between a machine and its sockets.
//!
//! Time is a [`Duration`] since an arbitrary start that is the same for the life of a machine. It never runs backwards.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

/// Monotonic time since an arbitrary start.
pub type Now = Duration;

/// Where to send, and by which name the receiver knows itself ("" if unknown yet, as at a join).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
}

/// A stream that somebody opened to us and that waits for an answer or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// An exchange over a stream of our own: one message out, at most one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The messages of one packet, in their order.
    Packet { from: SocketAddr, messages: Vec<Bytes> },
    /// The one message of a stream that was opened to us: push/pull, ping or user message. Whoever drives the
    /// machine keeps the stream until [`Output::Answer`] or [`Output::Hangup`] names it, or it times out.
    Stream { stream: StreamId, from: SocketAddr, message: Bytes },
    /// An exchange is over. `Ok(None)` if no reply was asked for.
    Exchanged { exchange: ExchangeId, result: Result<Option<Bytes>, ExchangeError> },
    /// [`deadline`](crate) has passed. Any other input does this work as well.
    Tick,
}

/// Why an exchange brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeError {
    /// Nobody was reached.
    Unreachable(String),
    /// Nothing came back in time, or not all of it.
    TimedOut,
    /// What came back was not what a member of this pool sends (wrong key, label, framing).
    Refused(String),
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send these as one packet; what does not fit was left out by the machine already. `checksum` if the receiver
    /// understands it (protocol version 5).
    Packet { to: Peer, messages: Vec<Bytes>, checksum: bool },
    /// Open a stream, send the message, and, if `reply`, read one message back, all within `timeout`.
    Exchange { exchange: ExchangeId, to: Peer, message: Bytes, reply: bool, timeout: Duration },
    /// Send this on a stream that was opened to us, and close it.
    Answer { stream: StreamId, message: Bytes },
    /// Close a stream that was opened to us.
    Hangup { stream: StreamId },
    /// Worth a line in the log (already rate-limited by the machine).
    Log { level: Level, line: String },
    /// Count this: a metric of metrics.tsv without its prefix (`memberlist.msg.alive`, …). Whoever drives the machine
    /// counts `memberlist.udp.*` and `memberlist.tcp.*` itself.
    Count { name: &'static str, by: u64 },
    /// Sample this (milliseconds or a plain number).
    Sample { name: &'static str, value: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}
