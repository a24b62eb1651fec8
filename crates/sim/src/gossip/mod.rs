//! Pools of memberlists, and of Serf members.

pub mod experiment;
pub mod network;
pub mod process;
pub mod witness;
pub mod world;
