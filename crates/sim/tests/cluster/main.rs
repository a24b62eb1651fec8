//! What is always true of clusters of servers, whatever goes wrong; one promise per file. What a run looks at is in
//! `sim::cluster::history` and `sim::cluster::linear`.

mod broken_rules_are_noticed;
mod promises_are_kept;
mod runs_repeat;
