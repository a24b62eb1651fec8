//! Whole clusters in one thread, in their own time, from one seed.
//!
//! What is simulated is the shipped code: the machines are those of the pure crates, and only clock, network and dice
//! are ours. A run that goes wrong is repeated by its seed.
//!
//! Invariants stand in `tests/`, one per file; experiments that measure are in `main`.

pub mod cluster;
pub mod gossip;
