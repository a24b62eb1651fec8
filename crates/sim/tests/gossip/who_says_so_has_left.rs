//! A member that said that it leaves has left, one that did not has failed, and either may come back.

use std::time::Duration;

use gossip::serf::MemberEventKind;
use gossip::serf::member::MemberStatus;
use sim::gossip::network::{Network, Place};
use sim::gossip::process::SerfMember;
use sim::gossip::world::{World, name};

const MEMBERS: usize = 12;
const LEAVER: Place = 3;
const VICTIM: Place = 8;

fn all_say(subject: Place, status: MemberStatus) -> impl Fn(&World<SerfMember>) -> bool {
    move |world| {
        (0..world.members.len())
            .filter(|&observer| observer != subject && world.is_up(observer))
            .all(|observer| world.members[observer].process.status(&name(subject)) == status)
    }
}

fn fates(world: &World<SerfMember>, subject: Place) -> impl Iterator<Item = (Place, Vec<MemberEventKind>)> {
    let observers = (0..world.members.len()).filter(move |&observer| ![LEAVER, VICTIM].contains(&observer));
    observers.map(move |observer| (observer, world.members[observer].process.fate(&name(subject))))
}

#[test]
fn over_a_good_network() {
    for seed in 0..4 {
        let mut world = World::pool(seed, MEMBERS);
        world.leave(LEAVER);
        world.crash(VICTIM);
        assert!(world.run_until(Duration::from_secs(60), all_say(LEAVER, MemberStatus::Left)), "seed {seed}");
        let ended = |world: &World<SerfMember>| !world.is_up(LEAVER);
        assert!(world.run_until(Duration::from_secs(20), ended), "seed {seed}: it does not end");
        assert!(world.run_until(Duration::from_secs(60), all_say(VICTIM, MemberStatus::Failed)), "seed {seed}");
        world.run_for(Duration::from_secs(60));
        for (observer, fate) in fates(&world, LEAVER) {
            assert_eq!(fate, [MemberEventKind::Leave], "seed {seed}: what {observer} was told of the leaver");
        }
        for (observer, fate) in fates(&world, VICTIM) {
            assert_eq!(fate, [MemberEventKind::Failed], "seed {seed}: what {observer} was told of the victim");
        }
    }
}

/// A member may hear that the other is gone before it hears why; all come to know.
#[test]
fn over_a_bad_one() {
    for seed in 0..4 {
        let mut world = World::pool(seed, MEMBERS);
        world.network = Network::bad(0.1);
        world.leave(LEAVER);
        world.crash(VICTIM);
        let left = all_say(LEAVER, MemberStatus::Left);
        let failed = all_say(VICTIM, MemberStatus::Failed);
        let both = |world: &World<SerfMember>| left(world) && failed(world);
        assert!(world.run_until(Duration::from_secs(300), both), "seed {seed}");
        world.run_for(Duration::from_secs(60));
        assert!(both(&world), "seed {seed}: somebody changed its mind");
    }
}

/// An old leave does not take down who is back. Who crashed finds the pool again by itself, who had left must be told.
#[test]
fn and_may_come_back() {
    for seed in 0..4 {
        let mut world = World::pool(seed, MEMBERS);
        for _ in 0..3 {
            world.leave(LEAVER);
            world.crash(VICTIM);
            world.run_for(Duration::from_secs(40));
            assert!(all_say(LEAVER, MemberStatus::Left)(&world), "seed {seed}");
            assert!(all_say(VICTIM, MemberStatus::Failed)(&world), "seed {seed}");
            // Compat: one after the other. Who hears of a leave in an exchange takes it to be one tick past what it was, as
            // the reference does; if that is the tick of the return, whoever hears of both in this order, as one that
            // starts anew may, takes the member for leaving as long as it stays.
            world.restart(VICTIM);
            assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
            world.restart(LEAVER);
            world.run_for(Duration::from_secs(5));
            assert_eq!(world.view(LEAVER), [LEAVER], "seed {seed}: who has left joins nobody by itself");
            world.join(LEAVER, 0);
            assert!(world.run_until(Duration::from_secs(60), World::all_agree), "seed {seed}");
            world.run_for(Duration::from_secs(60));
            assert!(all_say(LEAVER, MemberStatus::Alive)(&world), "seed {seed}: an old leave came back");
            assert!(all_say(VICTIM, MemberStatus::Alive)(&world), "seed {seed}");
        }
    }
}
