//! What is always true of a pool of memberlists, one invariant per file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod clocks_may_leap;
mod failures_are_known;
mod half_deaf_members_harm_nobody;
mod leaves_are_known;
mod live_members_stay;
mod refutation_wins;
mod runs_repeat;
mod views_converge;

use gossip::memberlist::Config;

/// As shipped.
fn lan(_config: &mut Config) {}
