//! How soon a pool knows of a failure, and how often it is wrong, with Lifeguard and without.
//!
//! Without means what the shipped machine can be told: no awareness of its own health, and suspicions that have their
//! shortest time from the beginning. That a suspect hears of it with the next ping, and nacks, remain.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use gossip::delegate::NodeState;
use gossip::io::Now;
use gossip::memberlist::Config;
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{Rng as _, SeedableRng as _};

use super::network::{Network, Place};
use super::world::World;

/// Nothing takes longer, or the run is worthless.
const LONGEST: Duration = Duration::from_secs(3600);
/// News of the beginning still goes around when all know each other; in a pool of some hundreds it takes most of this.
const QUIET: Duration = Duration::from_secs(90);
/// How long false positives are counted.
const COUNTED: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seeds: u64,
    pub members: usize,
    /// Of packets, everywhere.
    pub loss: f64,
    /// How many members stop again and again, each for up to `stop` and then running for up to `run`.
    pub slow: usize,
    pub stop: Duration,
    pub run: Duration,
}

/// What came out, over all seeds.
#[derive(Debug, Default)]
pub struct Outcome {
    /// From a crash until the first one declares it, and until the last one knows.
    first: Vec<Duration>,
    all: Vec<Duration>,
    /// How often a member that was well, and one that lived but was slow, was declared dead or believed to be, by
    /// members that were well; and the same of members that were well by slow ones, whom nobody needs to believe.
    healthy_by_healthy: usize,
    slow_by_healthy: usize,
    healthy_by_slow: usize,
    /// Packets and bytes a member sends in a second, at rest.
    packets: Vec<f64>,
    bytes: Vec<f64>,
}

pub fn with_lifeguard(_config: &mut Config) {}

pub fn without_lifeguard(config: &mut Config) {
    config.awareness_max_multiplier = 1;
    config.suspicion_max_timeout_mult = 1;
}

#[must_use]
pub fn measure(plan: Plan, configure: fn(&mut Config)) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in 0..plan.seeds {
        crash(plan, seed, configure, &mut outcome);
        stumble(plan, seed, configure, &mut outcome);
    }
    outcome
}

fn network(plan: Plan) -> Network {
    if plan.loss > 0.0 { Network::losing(plan.loss) } else { Network::default() }
}

/// One member dies.
fn crash(plan: Plan, seed: u64, configure: fn(&mut Config), outcome: &mut Outcome) {
    let mut world = World::settled(seed, plan.members, configure);
    world.network = network(plan);
    world.run_for(QUIET);
    let (packets, bytes) = (world.packets, world.bytes);
    world.run_for(Duration::from_secs(10));
    let rest = 10.0 * plan.members as f64;
    outcome.packets.push((world.packets - packets) as f64 / rest);
    outcome.bytes.push((world.bytes - bytes) as f64 / rest);

    let mut rng = SmallRng::seed_from_u64(seed);
    world.run_for(Duration::from_secs(1).mul_f64(rng.random()));
    let subject = rng.random_range(0..plan.members);
    let began = world.now;
    world.crash(subject);
    let all_know = |world: &World| {
        (0..plan.members).all(|observer| {
            observer == subject || matches!(world.opinion(observer, subject), None | Some(NodeState::Dead))
        })
    };
    assert!(world.run_until(LONGEST, all_know), "seed {seed}: the crash stays unknown");
    let deaths: Vec<Now> =
        world.deaths().iter().filter(|death| death.subject == subject).map(|death| death.at).collect();
    outcome.first.extend(deaths.first().map(|at| *at - began));
    outcome.all.extend(deaths.last().map(|at| *at - began));
}

/// Some members stop and run by turns.
fn stumble(plan: Plan, seed: u64, configure: fn(&mut Config), outcome: &mut Outcome) {
    let mut world = World::settled(seed, plan.members, configure);
    world.network = network(plan);
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x5107);
    let slow: BTreeSet<Place> =
        index::sample(&mut rng, plan.members, plan.slow.min(plan.members)).into_iter().collect();
    let end = world.now + COUNTED;
    let mut turns: Vec<(Now, Place)> = slow.iter().map(|&place| (world.now, place)).collect();
    while let Some(next) = turns.iter_mut().min().filter(|(at, _)| *at < end) {
        let (at, place) = *next;
        world.run_for(at.saturating_sub(world.now));
        let most = if world.is_up(place) {
            world.pause(place);
            plan.stop
        } else {
            world.resume(place);
            plan.run
        };
        next.0 = at + most.mul_f64(rng.random_range(0.2..1.0));
    }
    world.run_for(end.saturating_sub(world.now));
    for death in world.deaths() {
        match (slow.contains(&death.subject), slow.contains(&death.observer)) {
            (false, false) => outcome.healthy_by_healthy += 1,
            (true, false) => outcome.slow_by_healthy += 1,
            (false, true) => outcome.healthy_by_slow += 1,
            (true, true) => {}
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  a crash is first declared after   {}", Spread::of(&self.first))?;
        writeln!(f, "  and known to all after            {}", Spread::of(&self.all))?;
        let later: Vec<Duration> = self.all.iter().zip(&self.first).map(|(all, first)| *all - *first).collect();
        writeln!(f, "  the news takes                    {}", Spread::of(&later))?;
        writeln!(f, "  a healthy member taken for dead   {} times by healthy ones", self.healthy_by_healthy)?;
        writeln!(f, "                                    {} times by slow ones", self.healthy_by_slow)?;
        writeln!(f, "  a slow member taken for dead      {} times by healthy ones", self.slow_by_healthy)?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        write!(
            f,
            "  each member sends at rest         {:.1} packets/s, {:.0} bytes/s",
            mean(&self.packets),
            mean(&self.bytes)
        )
    }
}

struct Spread {
    median: Duration,
    most: Duration,
    p99: Duration,
}

impl Spread {
    fn of(times: &[Duration]) -> Spread {
        let mut times = times.to_vec();
        times.sort_unstable();
        let at = |share: f64| {
            let last = times.len().saturating_sub(1) as f64;
            times.get((last * share).round() as usize).copied().unwrap_or_default()
        };
        Spread { median: at(0.5), p99: at(0.99), most: at(1.0) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, p99, most } = self;
        write!(
            f,
            "median {:6.2} s   p99 {:6.2} s   max {:6.2} s",
            median.as_secs_f64(),
            p99.as_secs_f64(),
            most.as_secs_f64()
        )
    }
}
