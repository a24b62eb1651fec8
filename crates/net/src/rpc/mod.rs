//! The transport of the servers' RPC port: the first byte of a connection, sessions of many streams, conversations of
//! calls and answers, and a pool of sessions for those who call.
//!
//! Always true: a conversation answers one call at a time, in the order they came, so a blocking query holds only its
//! own stream; whatever the other side sends, what is kept for it is bounded and what it stalls is dropped; a call that
//! is given up leaves no half-used stream behind.
//! Not here: what methods and bodies mean, who may call them, what is said on raft and snapshot streams.

mod conversation;
mod first_byte;
mod inbox;
mod pool;
mod pulse;
mod serve;
mod session;
mod stream;

pub use first_byte::FirstByte;
pub use pool::{CallError, Pool, PoolLimits};
pub use serve::{Handler, Limits, serve, serve_stream};
pub use stream::{BoxedStream, ByteStream};

#[cfg(test)]
mod tests;
