//! How one speaks of this concept on the command line.
pub mod cli;
