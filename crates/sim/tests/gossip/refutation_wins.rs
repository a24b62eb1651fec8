//! A member that lives is alive to all in the end, whatever is said of it.

use std::time::Duration;

use gossip::delegate::NodeState;
use gossip::memberlist::message::{Dead, Packet, Suspect};
use sim::gossip::network::Network;
use sim::gossip::world::{World, name};

use crate::lan;

const MEMBERS: usize = 20;
const SUBJECT: usize = 3;

fn suspect(incarnation: u32, from: usize) -> Packet {
    Packet::Suspect(Suspect { incarnation, node: name(SUBJECT), from: name(from) })
}

fn dead(incarnation: u32) -> Packet {
    Packet::Dead(Dead { incarnation, node: name(SUBJECT), from: name(9) })
}

fn incarnation(world: &World) -> u32 {
    world.members[SUBJECT].process.machine.incarnation(&name(SUBJECT)).unwrap()
}

#[test]
fn of_a_suspicion() {
    for seed in 0..5 {
        let mut world = World::settled(seed, MEMBERS, lan);
        world.network = Network::bad(0.1);
        let before = incarnation(&world);
        world.forge(8, &suspect(before, 9));
        assert_eq!(world.opinion(8, SUBJECT), Some(NodeState::Suspect));
        assert!(world.run_until(Duration::from_secs(30), World::all_agree), "seed {seed}");
        assert!(incarnation(&world) > before, "seed {seed}: nothing was refuted");
        assert_eq!(world.deaths(), [], "seed {seed}");
    }
}

#[test]
fn of_many_suspicions_at_once() {
    for seed in 0..5 {
        let mut world = World::settled(seed, MEMBERS, lan);
        let before = incarnation(&world);
        for from in 5..12 {
            for to in 12..MEMBERS {
                world.forge(to, &suspect(before + 7, from));
            }
        }
        assert!(world.run_until(Duration::from_secs(30), World::all_agree), "seed {seed}");
        assert!(incarnation(&world) > before + 7, "seed {seed}");
        assert_eq!(world.deaths(), [], "seed {seed}");
    }
}

#[test]
fn of_a_death_that_all_believed() {
    for seed in 0..5 {
        let mut world = World::settled(seed, MEMBERS, lan);
        world.network = Network::bad(0.1);
        let before = incarnation(&world);
        (0..MEMBERS).filter(|to| *to != SUBJECT).for_each(|to| world.forge(to, &dead(before)));
        assert_eq!(world.view(0).len(), MEMBERS - 1);
        assert!(world.run_until(Duration::from_secs(30), World::all_agree), "seed {seed}");
    }
}

#[test]
fn of_a_former_life() {
    for seed in 0..5 {
        let mut world = World::settled(seed, MEMBERS, lan);
        // It is somewhere beyond the incarnation that it begins with.
        world.forge(SUBJECT, &suspect(5, 9));
        world.run_for(Duration::from_secs(5));
        world.crash(SUBJECT);
        let gone = |world: &World| (0..MEMBERS).all(|place| place == SUBJECT || !world.view(place).contains(&SUBJECT));
        assert!(world.run_until(Duration::from_secs(90), gone), "seed {seed}");
        world.restart(SUBJECT);
        world.join(SUBJECT, 0);
        assert!(world.run_until(Duration::from_secs(30), World::all_agree), "seed {seed}");
        // And before anybody has noticed.
        world.forge(SUBJECT, &suspect(50, 9));
        world.run_for(Duration::from_secs(5));
        world.restart(SUBJECT);
        world.join(SUBJECT, 0);
        assert!(world.run_until(Duration::from_secs(30), World::all_agree), "seed {seed}");
        assert!(incarnation(&world) > 50, "seed {seed}");
    }
}
