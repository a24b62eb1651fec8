//! A clock that steps forward takes down nobody who is well.
//!
//! All deadlines of such a member are past at once: its probe has failed, its rounds are missed. That is one suspicion,
//! which is refuted, and no burst of rounds.

use std::time::Duration;

use gossip::delegate::NodeState;
use sim::gossip::world::World;

use crate::lan;

const MEMBERS: usize = 20;

#[test]
fn of_one_again_and_again() {
    for seed in 0..3 {
        let mut world = World::settled(seed, MEMBERS, lan);
        for seconds in [1, 7, 60, 3600, 86_400] {
            let before = world.packets;
            world.leap(5, Duration::from_secs(seconds));
            world.run_for(Duration::from_secs(1));
            // With news under way each member gossips five times a second to three others, and probes one.
            let burst = world.packets - before;
            assert!(burst <= 20 * MEMBERS as u64, "seed {seed}: {burst} packets make up for {seconds} s");
            world.run_for(Duration::from_secs(19));
        }
        assert_eq!(world.deaths(), [], "seed {seed}");
        assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
    }
}

#[test]
fn of_all_at_once() {
    for seed in 0..3 {
        let mut world = World::settled(seed, MEMBERS, lan);
        (0..MEMBERS).for_each(|place| world.leap(place, Duration::from_secs(3600)));
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.deaths(), [], "seed {seed}");
        assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
    }
}

/// Probes go on, and who dies later is found.
#[test]
fn failures_are_still_found() {
    for seed in 0..3 {
        let mut world = World::settled(seed, MEMBERS, lan);
        world.leap(5, Duration::from_secs(3600));
        world.run_for(Duration::from_secs(5));
        world.crash(9);
        let knows = |world: &World| matches!(world.opinion(5, 9), None | Some(NodeState::Dead));
        assert!(world.run_until(Duration::from_secs(60), knows), "seed {seed}");
        assert!(world.deaths().iter().all(|death| death.subject == 9), "seed {seed}");
        assert!(world.deaths().iter().all(|death| death.at <= world.now), "seed {seed}: a death in the future");
    }
}
