//! Memberlist: who is in the pool, who is reachable, and how news travels.
//!
//! Reads: `message` (what is said), `budget` (what a packet holds), then the machine.

pub mod message;
