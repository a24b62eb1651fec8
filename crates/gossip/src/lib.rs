//! Membership by gossip: HashiCorp's memberlist and Serf protocols as state machines.
//!
//! A machine is handed the time, what arrived, and a place for what is to be done; it says when it wants to be
//! asked next. It has no clock, no sockets and no randomness but the seeded generator that it was made with, so a
//! thousand of them fit into one simulation and a seed replays.
//!
//! ```text
//! net: UDP, TCP ── envelope (label, AES-GCM, CRC, LZW, compound) ── Serf ── memberlist
//! ```
//!
//! Always true: no input makes a machine panic, grow without a bound, or change its mind about a member without a
//! rule of the papers (SWIM, Das et al. 2002; Lifeguard, Dadgar et al. 2017) or of the reference behind it.
//!
//! Not here: sockets (`net`), what members mean to the catalog (`agent`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

pub mod coordinate;
pub mod delegate;
pub mod envelope;
pub mod io;
pub mod keyring;
pub mod machine;
pub mod memberlist;
pub mod serf;
pub mod stream;
