//! Whoever dies is known to be dead by all the living within the bound of SWIM and Lifeguard.
//!
//! Rounds are shuffled, so a member is probed by each other one within two rounds less one (SWIM section 4.3); a failed
//! probe takes one interval; a suspicion that nobody confirms lasts its longest time; then the news needs a number of gossip
//! rounds that grows with the logarithm of the pool.

use std::time::Duration;

use gossip::delegate::NodeState;
use sim::gossip::network::Network;
use sim::gossip::world::World;

use crate::lan;

fn bound(members: usize) -> Duration {
    let config = gossip::memberlist::Config::lan("", ([127, 0, 0, 1], 1).into());
    let rounds = u32::try_from(2 * members).unwrap();
    let scale = (members as f64).log10().max(1.0);
    let suspicion = config.probe_interval * config.suspicion_mult * config.suspicion_max_timeout_mult;
    config.probe_interval * rounds + suspicion.mul_f64(scale) + config.gossip_interval * 50
}

fn check(seed: u64, members: usize, crashed: &[usize], network: Network) {
    let mut world = World::settled(seed, members, lan);
    world.network = network;
    for &place in crashed {
        world.crash(place);
    }
    let all_know = |world: &World| {
        (0..members).filter(|place| world.is_up(*place)).all(|observer| {
            crashed.iter().all(|&subject| matches!(world.opinion(observer, subject), None | Some(NodeState::Dead)))
        })
    };
    assert!(world.run_until(bound(members), all_know), "seed {seed}: not all know of {crashed:?}");
    for death in world.deaths() {
        assert!(crashed.contains(&death.subject), "seed {seed}: {death:?}");
    }
}

#[test]
fn of_one() {
    for seed in 0..5 {
        check(seed, 20, &[7], Network::default());
    }
}

#[test]
fn of_one_of_two() {
    for seed in 0..5 {
        check(seed, 2, &[1], Network::default());
    }
}

#[test]
fn of_a_third_at_once() {
    for seed in 0..3 {
        check(seed, 24, &[0, 3, 6, 9, 12, 15, 18, 21], Network::default());
    }
}

#[test]
fn over_a_bad_network() {
    for seed in 0..3 {
        check(seed, 20, &[7, 11], Network::bad(0.05));
    }
}
