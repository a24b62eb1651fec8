//! How soon a pool knows of a failure, what that costs, and how often it is wrong, with Lifeguard and without.
//!
//! Without means what the shipped machine can be told: no awareness of its own health, and suspicions that have their
//! shortest time from the beginning. That a suspect hears of it with the next ping, and nacks, remain.

use std::collections::BTreeSet;
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
/// News of the beginning still goes around when all know each other: for this long, and longer in proportion to the
/// members, each of whom has told all others something that each of these passes on.
const QUIET: Duration = Duration::from_secs(60);
const QUIET_EACH: Duration = Duration::from_millis(400);
/// How long packets are counted when nothing happens.
const REST: Duration = Duration::from_secs(10);
/// How fine times are measured.
const GRAIN: Duration = Duration::from_millis(10);
/// One of so many members crashes, one after the other.
const CRASHES_SHARE: usize = 10;
const CRASHES_MAX: usize = 10;
/// How long false positives are counted, as in the paper on Lifeguard.
const COUNTED: Duration = Duration::from_secs(120);

pub fn with_lifeguard(_config: &mut Config) {}

pub fn without_lifeguard(config: &mut Config) {
    config.awareness_max_multiplier = 1;
    config.suspicion_max_timeout_mult = 1;
}

/// What it takes to know of crashes.
#[derive(Debug, Default)]
pub struct Detection {
    /// From a crash until the first one suspects it, until the first one declares it, and from then until the last one
    /// knows.
    pub suspected: Times,
    pub declared: Times,
    pub spread: Times,
    /// From the crash until the last one knows.
    pub known: Times,
    /// Packets and bytes a member sends in a second, at rest.
    pub packets: f64,
    pub bytes: f64,
    /// How often a member that ran was declared dead.
    pub mistakes: usize,
}

/// In a pool of so many some crash, one after the other; over all seeds.
#[must_use]
pub fn detect(seeds: u64, members: usize, loss: f64, configure: fn(&mut Config)) -> Detection {
    let mut detection = Detection::default();
    for seed in 0..seeds {
        let mut world = World::settled(seed, members, configure);
        if loss > 0.0 {
            world.network = Network::losing(loss);
        }
        world.run_for(QUIET + QUIET_EACH.saturating_mul(u32::try_from(members).unwrap_or(u32::MAX)));
        let (packets, bytes) = (world.packets, world.bytes);
        world.run_for(REST);
        let rest = REST.as_secs_f64() * members as f64 * seeds as f64;
        detection.packets += (world.packets - packets) as f64 / rest;
        detection.bytes += (world.bytes - bytes) as f64 / rest;

        let mut rng = SmallRng::seed_from_u64(seed);
        let crashes = (members / CRASHES_SHARE).clamp(1, CRASHES_MAX);
        let subjects = index::sample(&mut rng, members, crashes).into_vec();
        for &subject in &subjects {
            world.run_for(Duration::from_secs(1).mul_f64(rng.random()));
            crash(seed, &mut world, subject, &mut detection);
        }
        detection.mistakes += world.deaths().iter().filter(|death| !subjects.contains(&death.subject)).count();
    }
    detection
}

fn crash(seed: u64, world: &mut World, subject: Place, detection: &mut Detection) {
    let began = world.now;
    world.crash(subject);
    let up: Vec<Place> = (0..world.members.len()).filter(|place| world.is_up(*place)).collect();
    let suspected = |world: &World| {
        up.iter().any(|&observer| world.opinion(observer, subject).is_none_or(|state| state != NodeState::Alive))
    };
    assert!(world.run_until_by(GRAIN, LONGEST, suspected), "seed {seed}: nobody suspects it");
    detection.suspected.0.push(world.now - began);
    let all_know = |world: &World| {
        up.iter().all(|&observer| matches!(world.opinion(observer, subject), None | Some(NodeState::Dead)))
    };
    assert!(world.run_until(LONGEST, all_know), "seed {seed}: the crash stays unknown");
    let deaths = world.deaths();
    let mut deaths = deaths.iter().filter(|death| death.subject == subject).map(|death| death.at);
    let Some(first) = deaths.next() else { return };
    let last = deaths.next_back().unwrap_or(first);
    detection.declared.0.push(first - began);
    detection.spread.0.push(last - first);
    detection.known.0.push(last - began);
}

/// Members that are slow in the way of the paper on Lifeguard: the messages of all of them stop at once for a time, run
/// for a time, and so on, while their timers go on. (If the whole process stops, time stops for it, too: it hardly ever
/// misses an ack, and next to nobody is taken for dead, with Lifeguard or without.)
#[derive(Debug, Clone, Copy)]
pub struct Anomaly {
    pub slow: usize,
    pub stop: Duration,
    pub run: Duration,
}

/// How often somebody was wrongly declared dead. Each member that believes it counts, as each agent logs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FalsePositives {
    /// Members that were never slow, by anybody ("FP" in the paper) and by members that were never slow ("FP-").
    pub healthy: usize,
    pub healthy_by_healthy: usize,
    /// Members that were slow, by members that were not. They were stopped, some for longer than any time to refute.
    pub slow_by_healthy: usize,
}

impl std::ops::AddAssign for FalsePositives {
    fn add_assign(&mut self, other: FalsePositives) {
        self.healthy += other.healthy;
        self.healthy_by_healthy += other.healthy_by_healthy;
        self.slow_by_healthy += other.slow_by_healthy;
    }
}

/// The false positives of each anomaly, in a pool of so many, over all seeds.
#[must_use]
pub fn stumble(seeds: u64, members: usize, anomalies: &[Anomaly], configure: fn(&mut Config)) -> Vec<FalsePositives> {
    let mut counts = vec![FalsePositives::default(); anomalies.len()];
    for seed in 0..seeds {
        let mut world = World::settled(seed, members, configure);
        world.run_for(QUIET);
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x5107);
        for (anomaly, count) in anomalies.iter().zip(&mut counts) {
            *count += stumble_once(&mut world, &mut rng, *anomaly);
            // Before the next one all are well again.
            assert!(world.run_until(LONGEST, World::all_agree), "seed {seed}: {anomaly:?} is not got over");
            world.run_for(QUIET);
        }
    }
    counts
}

fn stumble_once(world: &mut World, rng: &mut SmallRng, anomaly: Anomaly) -> FalsePositives {
    let members = world.members.len();
    let slow: BTreeSet<Place> = index::sample(rng, members, anomaly.slow.min(members)).into_iter().collect();
    let end = world.now + COUNTED;
    let before = world.deaths().len();
    let until = |world: &World, most: Duration| most.min(end.saturating_sub(world.now));
    while world.now < end {
        slow.iter().for_each(|&place| world.clog(place));
        world.run_for(until(world, anomaly.stop));
        slow.iter().for_each(|&place| world.unclog(place));
        world.run_for(until(world, anomaly.run));
    }
    let mut count = FalsePositives::default();
    for death in &world.deaths()[before..] {
        match (slow.contains(&death.subject), slow.contains(&death.observer)) {
            (false, by_slow) => {
                count.healthy += 1;
                count.healthy_by_healthy += usize::from(!by_slow);
            }
            (true, false) => count.slow_by_healthy += 1,
            (true, true) => {}
        }
    }
    count
}

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Times(Vec<Now>);

impl Times {
    #[must_use]
    pub fn mean(&self) -> Duration {
        let sum: Duration = self.0.iter().sum();
        sum / u32::try_from(self.0.len().max(1)).unwrap_or(u32::MAX)
    }

    /// What that share of them did not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1) as f64;
        times.get((last * share).round() as usize).copied().unwrap_or_default()
    }
}
