//! How one speaks of this concept: over HTTP, and on the command line.
pub mod cli;
pub mod http;

/// How many other members may relay the answer to a keyring operation.
const RELAY_FACTOR_MAX: i64 = 5;

/// Said of more, or less than none.
const RELAY_FACTOR_RANGE: &str = "Relay factor must be in range: [0, 5]";
