//! Clusters of servers: the shipped `replica` and `state` on simulated disks, network and clocks, with clients.

pub mod disk;
pub mod history;
pub mod linear;
pub mod plan;
pub mod world;
