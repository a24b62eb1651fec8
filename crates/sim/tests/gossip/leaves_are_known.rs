//! Who leaves has left to all, and has died to none.

use std::time::Duration;

use gossip::delegate::NodeState;
use sim::gossip::network::Network;
use sim::gossip::world::World;

use crate::lan;

const MEMBERS: usize = 20;

#[test]
fn of_some() {
    for seed in 0..5 {
        let mut world = World::settled(seed, MEMBERS, lan);
        world.network = Network::losing(0.05);
        for place in [4, 5, 6] {
            world.leave(place);
        }
        // As Serf does: it stays until the news is around.
        world.run_for(Duration::from_secs(3));
        for place in [4, 5, 6] {
            world.crash(place);
        }
        let left = |world: &World| {
            (0..MEMBERS).filter(|place| world.is_up(*place)).all(|observer| {
                [4, 5, 6].iter().all(|&subject| world.opinion(observer, subject) == Some(NodeState::Left))
            })
        };
        assert!(world.run_until(Duration::from_secs(5), left), "seed {seed}");
        world.run_for(Duration::from_secs(90));
        assert_eq!(world.deaths(), [], "seed {seed}");
        assert!(world.all_agree(), "seed {seed}");
        assert_eq!(world.opinion(0, 4), None, "seed {seed}: it is never forgotten");
        // The name is free again.
        world.restart(4);
        world.join(4, 0);
        assert!(world.run_until(Duration::from_secs(20), World::all_agree), "seed {seed}");
    }
}
