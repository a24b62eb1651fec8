//! A seed is a run: the machines depend on nothing but their inputs.

use std::time::Duration;

use sim::gossip::network::Network;
use sim::gossip::world::{Death, World};

use crate::lan;

fn run(seed: u64) -> (u64, u64, Vec<Death>) {
    let mut world = World::settled(seed, 16, lan);
    world.network = Network::bad(0.2);
    world.crash(3);
    world.pause(5);
    world.run_for(Duration::from_secs(60));
    (world.packets, world.bytes, world.deaths())
}

#[test]
fn packet_for_packet() {
    let first = run(11);
    assert!(!first.2.is_empty());
    assert_eq!(run(11), first);
    assert_ne!(run(12), first);
}
