//! What holds of the process as a whole: it is started, killed, starved and misconfigured, and asked over its sockets.
//!
//! Always true: each test has agents and directories of its own; an agent ends with its test, however that ends; what
//! is random comes from a seed that a failure shows. Waiting is for a condition, with a bound.

mod cluster;
mod cluster_net;
mod configuration;
mod damage;
mod full_disk;
mod garbage;
mod harness;
mod kill;
mod lifecycle;
mod limits;
mod netns;
mod partition;
mod pool;
mod restart;
mod watches;
