//! Every user event is told every member exactly once.

use std::time::Duration;

use sim::gossip::network::Network;
use sim::gossip::process::SerfMember;
use sim::gossip::world::World;

const MEMBERS: usize = 12;
/// Gossip brings them in seconds; what it loses comes with an exchange, of which each member begins two a minute.
const MOST: Duration = Duration::from_secs(300);

fn all_heard(fired: usize) -> impl Fn(&World<SerfMember>) -> bool {
    move |world| world.members.iter().all(|member| member.process.events().len() >= fired)
}

fn check(seed: u64, world: &World<SerfMember>, fired: usize) {
    for (place, member) in world.members.iter().enumerate() {
        let mut events = member.process.events();
        events.sort_unstable();
        let expect: Vec<String> = (0..fired).map(|count| format!("{count:03}")).collect();
        assert_eq!(events, expect, "seed {seed}: what {place} was told");
    }
}

#[test]
fn over_a_good_network() {
    for seed in 0..3 {
        let mut world = World::pool(seed, MEMBERS);
        for count in 0..10 {
            world.fire(count % MEMBERS, &format!("{count:03}"));
        }
        assert!(world.run_until(Duration::from_secs(5), all_heard(10)), "seed {seed}");
        world.run_for(Duration::from_secs(60));
        check(seed, &world, 10);
    }
}

#[test]
fn over_one_that_loses_doubles_delays_and_disorders() {
    for seed in 0..3 {
        let mut world = World::pool(seed, MEMBERS);
        world.network = Network::bad(0.1);
        for count in 0..30 {
            world.fire(count % MEMBERS, &format!("{count:03}"));
            world.run_for(Duration::from_millis(50));
        }
        assert!(world.run_until(MOST, all_heard(30)), "seed {seed}");
        world.run_for(Duration::from_secs(60));
        check(seed, &world, 30);
    }
}

/// Who was away is told later, and who heard it before its crash is not told again.
#[test]
fn to_those_who_were_away_and_those_who_start_again() {
    for seed in 0..3 {
        let mut world = World::pool(seed, MEMBERS);
        world.fire(0, "000");
        assert!(world.run_until(Duration::from_secs(5), all_heard(1)), "seed {seed}");
        world.crash(4);
        world.pause(6);
        world.fire(1, "001");
        world.run_for(Duration::from_secs(10));
        world.resume(6);
        world.restart(4);
        assert!(world.run_until(MOST, all_heard(2)), "seed {seed}");
        world.run_for(Duration::from_secs(60));
        check(seed, &world, 2);
    }
}
