//! Each rule that is broken on purpose is noticed: invariants that notice nothing prove nothing.

use sim::cluster::plan::{Plan, Planted};
use sim::cluster::world::run;

/// Runs with a broken rule until one is wrong.
const SEEDS_MAX: u64 = 30;

fn is_noticed(planted: Planted) -> bool {
    (1..=SEEDS_MAX).any(|seed| {
        let plan = Plan { planted, ..Plan::of_seed(seed) };
        !run(plan).breaches.is_empty()
    })
}

#[test]
fn every_broken_rule_is_noticed() {
    let missed: Vec<_> = Planted::ALL.into_iter().filter(|planted| !is_noticed(*planted)).collect();
    assert_eq!(missed, []);
}
