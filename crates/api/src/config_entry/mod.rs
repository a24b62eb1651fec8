//! How one speaks of this concept over HTTP and on the command line.
pub mod cli;
pub mod http;
