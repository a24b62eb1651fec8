//! A seed is all that decides what happens.

use sim::cluster::plan::Plan;
use sim::cluster::world::run;

#[test]
fn a_seed_replays_exactly() {
    let plan = Plan { seconds: 8, ..Plan::of_seed(4) };
    let (one, other) = (run(plan), run(plan));
    assert_eq!(one.trace, other.trace);
    assert_eq!(one.operations, other.operations);
    assert_ne!(one.trace, run(Plan { seed: 5, ..plan }).trace);
}
