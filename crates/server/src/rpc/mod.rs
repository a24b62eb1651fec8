//! What is said on the servers' RPC port: every query and command as the reference's method carries it, both ways
//! (protocols.md A3–A5).
//!
//! Always true: a query has one form on the wire, which both sides share ([`Carried`]); whoever does not lead hands what
//! only the leader may answer on as it came, without reading it.
//!
//! Not here: connections (`net::rpc`); methods that are about the agent rather than the state ([`AgentMethods`]).

mod archive_stream;
mod ask;
mod commands;
mod dispatch;
mod envelope;
mod queries;
#[cfg(test)]
mod tests;

pub use self::ask::{Far, Hold};
pub use self::dispatch::{AgentMethods, Dispatcher};
pub use self::envelope::{Carried, Fields};
