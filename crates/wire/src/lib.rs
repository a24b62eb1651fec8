//! Consul's byte formats, both directions.
//!
//! Everything that crosses a boundary of the reference system in bytes is written and read here: Go-flavoured JSON,
//! the old msgpack dialect, Go durations and times, net/rpc frames, raft log records, `state.bin` and the snapshot
//! archive around it.
//!
//! Always true: no clock, no files, no sockets, no global state; decoders never panic on any input, never allocate
//! what an untrusted length promises, and bound their recursion.
//! Not here: what the values mean (`state`), and which of them travel when (`net`, `server`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

pub mod archive;
pub mod base64;
pub mod duration;
pub mod json;
pub mod log_entry;
pub mod msgpack;
pub mod nil_when_empty;
pub mod rpc;
pub mod state_bin;
pub mod time;
pub mod weak;
