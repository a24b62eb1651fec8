//! What is always true of a pool of memberlists, one invariant per file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod failures_are_known;

use gossip::memberlist::Config;

/// As shipped.
fn lan(_config: &mut Config) {}
