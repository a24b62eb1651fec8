//! What becomes of what members send each other.
//!
//! Packets are lost, late, doubled, and overtake each other. Streams are as reliable as TCP: loss makes them late, a
//! blocked direction makes them fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;

/// Members are numbers here.
pub type Place = usize;

#[derive(Debug, Clone)]
pub struct Network {
    /// How likely a packet is lost, and how likely it comes twice.
    pub loss: f64,
    pub duplication: f64,
    /// Each packet takes a time between these. That they differ makes packets overtake each other.
    pub delay: (Duration, Duration),
    /// How likely one is held up for much longer, and for how long at most.
    pub straggling: f64,
    pub straggle: Duration,
    /// Loss beside the general one, of what comes to a member.
    deaf: BTreeMap<Place, f64>,
    /// Members that no stream leads to or from.
    streamless: BTreeSet<Place>,
    /// From whom nothing gets to whom.
    blocked: BTreeSet<(Place, Place)>,
}

impl Default for Network {
    /// A good one of one place.
    fn default() -> Network {
        Network {
            loss: 0.0,
            duplication: 0.0,
            delay: (Duration::from_micros(200), Duration::from_millis(2)),
            straggling: 0.0,
            straggle: Duration::ZERO,
            deaf: BTreeMap::new(),
            streamless: BTreeSet::new(),
            blocked: BTreeSet::new(),
        }
    }
}

impl Network {
    /// One that loses packets, and is good otherwise.
    #[must_use]
    pub fn losing(loss: f64) -> Network {
        Network { loss, ..Network::default() }
    }

    /// One that loses, doubles and delays.
    #[must_use]
    pub fn bad(loss: f64) -> Network {
        Network {
            loss,
            duplication: 0.05,
            delay: (Duration::from_millis(1), Duration::from_millis(80)),
            straggling: 0.02,
            straggle: Duration::from_millis(800),
            ..Network::default()
        }
    }

    pub fn deafen(&mut self, place: Place, loss: f64) {
        self.deaf.insert(place, loss);
    }

    pub fn cut_streams(&mut self, place: Place) {
        self.streamless.insert(place);
    }

    /// Nothing gets from any of `from` to any of `to`.
    pub fn block(&mut self, from: &[Place], to: &[Place]) {
        self.blocked.extend(from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to))));
    }

    pub fn partition(&mut self, one: &[Place], other: &[Place]) {
        self.block(one, other);
        self.block(other, one);
    }

    pub fn heal(&mut self) {
        self.blocked.clear();
        self.deaf.clear();
        self.streamless.clear();
    }

    /// After which times a packet arrives: not at all, once or twice.
    pub fn carry(&self, rng: &mut SmallRng, from: Place, to: Place) -> Vec<Duration> {
        if self.blocked.contains(&(from, to)) {
            return Vec::new();
        }
        let deaf = self.deaf.get(&to).copied().unwrap_or(0.0);
        let copies = if rng.random_bool(self.duplication) { 2 } else { 1 };
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            if !rng.random_bool(self.loss) && !rng.random_bool(deaf) {
                arrivals.push(self.latency(rng));
            }
        }
        arrivals
    }

    fn latency(&self, rng: &mut SmallRng) -> Duration {
        let (least, most) = self.delay;
        let straggle = if rng.random_bool(self.straggling) { self.straggle } else { Duration::ZERO };
        least + (most.saturating_sub(least) + straggle).mul_f64(rng.random())
    }

    /// After which time what is written on a stream arrives; never if none can be.
    pub fn stream(&self, rng: &mut SmallRng, from: Place, to: Place) -> Option<Duration> {
        let cut = [from, to].iter().any(|place| self.streamless.contains(place));
        if cut || self.blocked.contains(&(from, to)) || self.blocked.contains(&(to, from)) {
            return None;
        }
        // Every lost segment is sent again after 200 ms.
        let mut latency = self.latency(rng);
        while rng.random_bool(self.loss.min(0.9)) {
            latency += Duration::from_millis(200);
        }
        Some(latency)
    }
}
