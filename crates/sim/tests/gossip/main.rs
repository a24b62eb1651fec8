//! What is always true of a pool of memberlists, and of one of Serf members, one invariant per file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod clocks_may_leap;
mod events_come_once;
mod failures_are_known;
mod half_deaf_members_harm_nobody;
mod lamport_times_never_run_backwards;
mod leaves_are_known;
mod lifeguard_pays;
mod live_members_stay;
mod refutation_wins;
mod runs_repeat;
mod views_converge;
mod who_says_so_has_left;

use gossip::memberlist::Config;

/// As shipped.
fn lan(_config: &mut Config) {}
