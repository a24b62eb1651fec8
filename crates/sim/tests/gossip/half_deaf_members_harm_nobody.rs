//! Who hears badly, or is slow, takes down nobody who is well (Lifeguard).
//!
//! Such a member suspects everybody whom it probes. It notices by the nacks that do not come, and slows down; its
//! suspicions, which nobody confirms, last long enough to be refuted.

use std::time::Duration;

use sim::gossip::network::Network;
use sim::gossip::world::World;

use crate::lan;

const MEMBERS: usize = 24;

/// Nobody declared somebody dead who is well. What the sick believe of themselves and others does not count, as long as
/// it stays with them.
fn check(seed: u64, world: &World, sick: &[usize]) {
    for death in world.deaths() {
        let harms = !sick.contains(&death.subject) && !sick.contains(&death.observer);
        assert!(!harms, "seed {seed}: {death:?}");
    }
}

#[test]
fn deaf_by_half() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        world.network.deafen(5, 0.5);
        world.network.cut_streams(5);
        let mut notices = false;
        for _ in 0..90 {
            world.run_for(Duration::from_secs(2));
            notices |= world.members[5].process.machine.health_score() > 0;
        }
        assert!(notices, "seed {seed}");
        check(seed, &world, &[5]);
        // It may have missed refutations itself: it learns of them as soon as it can exchange all with somebody.
        world.network.heal();
        assert!(world.run_until(Duration::from_secs(120), World::all_agree), "seed {seed}");
    }
}

#[test]
fn all_but_deaf() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        let sick = [5, 17];
        for place in sick {
            world.network.deafen(place, 0.9);
            world.network.cut_streams(place);
        }
        world.run_for(Duration::from_secs(180));
        check(seed, &world, &sick);
    }
}

#[test]
fn deaf() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        world.network = Network::losing(0.05);
        world.network.deafen(5, 1.0);
        world.network.cut_streams(5);
        world.run_for(Duration::from_secs(180));
        check(seed, &world, &[5]);
        world.network.heal();
        // Everybody is told for a while that it is dead, and it has told so of all: one contact is enough.
        world.join(5, 0);
        assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
    }
}

#[test]
fn stopped_again_and_again() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        let sick = [2, 13];
        for _ in 0..12 {
            sick.iter().for_each(|&place| world.pause(place));
            world.run_for(Duration::from_secs(8));
            sick.iter().for_each(|&place| world.resume(place));
            world.run_for(Duration::from_secs(2));
        }
        check(seed, &world, &sick);
        assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
    }
}
