//! Linearizable reads and writes, one lease at a time, equal states at equal indexes, watches that never go back, sessions
//! that live as long as they were promised: under crashes, partitions, pauses, drifting clocks and bad disks.

use sim::cluster::plan::Plan;
use sim::cluster::world::run_seeds;

/// `cargo run --release -p sim -- cluster --seeds 500` runs more.
const SEEDS: u64 = 6;

#[test]
fn no_seed_breaks_a_promise() {
    let (wrong, figures) = run_seeds(1..=SEEDS, |seed| Plan { seconds: 25, ..Plan::of_seed(seed) });
    assert_eq!(wrong, [], "{figures:?}");
    // It would be easy to keep promises where nothing happens.
    assert!(figures.answered > 2000 && figures.elections > SEEDS && figures.crashes > SEEDS, "{figures:?}");
    assert!(figures.partitions > 0 && figures.pauses > 0 && figures.snapshots > 0, "{figures:?}");
}
