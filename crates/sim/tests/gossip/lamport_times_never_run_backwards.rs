//! No Lamport clock runs backwards, not over a bad network and not over a restart; what is said later has a later time.

use std::time::Duration;

use gossip::serf::Event;
use sim::gossip::network::{Network, Place};
use sim::gossip::process::{Clocks, SerfMember};
use sim::gossip::world::World;

const MEMBERS: usize = 10;

fn check(seed: u64, world: &World<SerfMember>) {
    for (place, member) in world.members.iter().enumerate() {
        for steps in member.process.clocks.windows(2) {
            let [before, after] = steps else { unreachable!() };
            let backwards = before.iter().zip(after).any(|(before, after)| after < before);
            assert!(!backwards, "seed {seed}: the clocks of {place} went from {before:?} to {after:?}");
        }
    }
}

fn clocks(world: &World<SerfMember>, place: Place) -> Clocks {
    *world.members[place].process.clocks.last().unwrap()
}

#[test]
fn while_members_come_go_and_speak() {
    for seed in 0..3 {
        let mut world = World::pool(seed, MEMBERS);
        world.network = Network::bad(0.1);
        for round in 0..4 {
            world.crash(3);
            world.fire(0, &format!("{round} from 0"));
            world.fire(5, &format!("{round} from 5"));
            world.leave(7);
            world.run_for(Duration::from_secs(15));
            let before = [3, 7].map(|place| clocks(&world, place));
            world.restart(3);
            world.restart(7);
            world.join(7, 1);
            check(seed, &world);
            // What it wrote down before it crashed is where it goes on; who has left begins anew.
            let after = clocks(&world, 3);
            // Queries are nobody's here; intents are written twice a second at most, in which time few come.
            assert!(after[1] >= before[0][1], "seed {seed}: events of 3: {before:?}, then {after:?}");
            world.run_for(Duration::from_secs(15));
        }
        check(seed, &world);
        // A leave and two events, maybe of one time, in each round.
        let [intents, events, _] = clocks(&world, 0);
        assert!(intents > 4 && events > 4, "seed {seed}: only {intents} and {events}");
    }
}

/// One member's events have rising times, and all are told them with these.
#[test]
fn later_events_have_later_times() {
    for seed in 0..3 {
        let mut world = World::pool(seed, MEMBERS);
        world.network = Network::bad(0.1);
        for count in 0..20 {
            world.fire(count % MEMBERS, &format!("{count:02}"));
            world.run_for(Duration::from_millis(100));
        }
        let heard = |world: &World<SerfMember>| world.members.iter().all(|member| member.process.events().len() == 20);
        assert!(world.run_until(Duration::from_secs(300), heard), "seed {seed}: not all heard all");
        let mut times = Vec::new();
        for place in 0..MEMBERS {
            let told = world.members[place].process.told.iter().filter_map(|event| match event {
                Event::User(event) => Some((event.name.clone(), event.time)),
                _ => None,
            });
            let mut told: Vec<_> = told.collect();
            told.sort();
            times.push(told);
        }
        assert!(times.iter().all(|told| *told == times[0]), "seed {seed}: times differ");
        for first in 0..10 {
            // The same member's second event.
            let (earlier, later) = (&times[0][first], &times[0][first + MEMBERS]);
            assert!(earlier.1 < later.1, "seed {seed}: {earlier:?} before {later:?}");
        }
        check(seed, &world);
    }
}
