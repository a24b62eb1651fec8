//! Pools of memberlists.

pub mod experiment;
pub mod network;
pub mod witness;
pub mod world;
