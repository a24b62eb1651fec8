//! Who lives and can be reached is not declared dead, be a tenth of all packets lost.

use std::time::Duration;

use sim::gossip::network::Network;
use sim::gossip::world::World;

use crate::lan;

const SOME_TIME: Duration = Duration::from_secs(180);

fn check(seed: u64, members: usize, network: Network) {
    let mut world = World::settled(seed, members, lan);
    world.network = network;
    world.run_for(SOME_TIME);
    assert_eq!(world.deaths(), [], "seed {seed}");
    let pings: usize = world.members.iter().map(|member| member.process.witness.pings).sum();
    assert!(pings > 100 * members, "seed {seed}: only {pings} probes were answered");
    world.network = Network::default();
    assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}: somebody stays suspected");
}

#[test]
fn over_a_good_network() {
    for seed in 0..3 {
        check(seed, 30, Network::default());
    }
}

#[test]
fn over_one_that_loses_a_tenth() {
    for seed in 0..5 {
        check(seed, 30, Network::losing(0.1));
    }
}

#[test]
fn over_one_that_loses_doubles_delays_and_disorders() {
    for seed in 0..5 {
        check(seed, 20, Network::bad(0.1));
    }
}

#[test]
fn without_streams_to_fall_back_to() {
    for seed in 0..3 {
        let mut network = Network::bad(0.05);
        (0..20).for_each(|place| network.cut_streams(place));
        check(seed, 20, network);
    }
}

#[test]
fn in_a_pool_of_two() {
    for seed in 0..5 {
        check(seed, 2, Network::bad(0.1));
    }
}

#[test]
fn while_others_join_leave_and_die() {
    for seed in 0..3 {
        let mut world = World::settled(seed, 24, lan);
        world.network = Network::bad(0.05);
        for round in 0..6 {
            world.crash(round);
            world.leave(round + 6);
            world.run_for(Duration::from_secs(20));
            world.crash(round + 6);
            world.restart(round);
            world.join(round, 23);
            world.run_for(Duration::from_secs(20));
        }
        // Each of these died, or left; nobody else did.
        for death in world.deaths() {
            assert!(death.subject < 12, "seed {seed}: {death:?}");
        }
    }
}
