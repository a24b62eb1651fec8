//! Once a network is whole again, all see the same.
//!
//! As long as somebody on either side still talks to the other one, news of deaths gets to who is said to be dead, and is
//! refuted. If all of the other side are dead, nobody is left to talk to, and contact must be made anew, as Serf does
//! with members that failed.

use std::time::Duration;

use sim::gossip::network::{Network, Place};
use sim::gossip::world::World;

use crate::lan;

const MEMBERS: usize = 20;

fn halves() -> (Vec<Place>, Vec<Place>) {
    ((0..MEMBERS / 2).collect(), (MEMBERS / 2..MEMBERS).collect())
}

#[test]
fn after_a_short_partition() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        let (one, other) = halves();
        world.network.partition(&one, &other);
        world.run_for(Duration::from_secs(10));
        assert!(!world.all_agree(), "seed {seed}: nothing has happened");
        world.network.heal();
        assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
    }
}

#[test]
fn after_a_long_partition_with_one_contact() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        let (one, other) = halves();
        world.network.partition(&one, &other);
        world.run_for(Duration::from_secs(300));
        assert_eq!(world.view(0), one, "seed {seed}");
        assert_eq!(world.view(MEMBERS - 1), other, "seed {seed}");
        world.network.heal();
        world.network.loss = 0.05;
        world.join(0, MEMBERS - 1);
        assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
    }
}

#[test]
fn after_one_direction_was_blocked() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        let (one, other) = (vec![1, 2, 3], (4..MEMBERS).collect::<Vec<_>>());
        world.network.block(&one, &other);
        world.run_for(Duration::from_secs(40));
        world.network.heal();
        assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
    }
}

/// Two who cannot talk to each other are reached by way of others, and stay.
#[test]
fn a_broken_pair_of_links_is_no_failure() {
    for seed in 0..4 {
        let mut world = World::settled(seed, MEMBERS, lan);
        world.network.partition(&[1], &[2]);
        world.network.block(&[3], &[4, 5]);
        world.run_for(Duration::from_secs(180));
        assert_eq!(world.deaths(), [], "seed {seed}");
    }
}

#[test]
fn after_all_of_that_over_a_bad_network() {
    for seed in 0..3 {
        let mut world = World::settled(seed, MEMBERS, lan);
        let (one, other) = halves();
        world.network = Network::bad(0.1);
        world.network.partition(&one[..3], &other);
        world.network.block(&[5], &other);
        world.network.deafen(7, 0.8);
        world.pause(8);
        world.run_for(Duration::from_secs(15));
        world.resume(8);
        world.network.heal();
        world.run_for(Duration::from_secs(1));
        world.network = Network::default();
        assert!(world.run_until(Duration::from_secs(90), World::all_agree), "seed {seed}");
    }
}
