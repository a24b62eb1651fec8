//! Network coordinates: where a member stands, such that distances predict round trips.
//!
//! Vivaldi (Dabek et al., SIGCOMM 2004) in eight dimensions with a height, its latency filter and gravity after Ledlie
//! et al. (NSDI 2007), the adjustment term after Lee et al. (2010), with the constants and the order of operations of
//! the reference, so that both come to the same numbers.
//!
//! Always true: a client's own coordinate is finite; what a peer sends is checked before it moves ours.
//! Not here: who was pinged, and where coordinates are kept for queries.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;
use wire::msgpack;

pub const DIMENSIONS: usize = 8;
const ERROR_MAX: f64 = 1.5;
/// How much one sample may change the error.
const ERROR_WEIGHT: f64 = 0.25;
/// How much one sample may move the coordinate.
const MOVE_WEIGHT: f64 = 0.25;
const ADJUSTMENT_WINDOW: usize = 20;
const HEIGHT_MIN: f64 = 10.0e-6;
/// Samples of each peer, of which the median counts.
const LATENCY_SAMPLES: usize = 3;
const GRAVITY_RHO: f64 = 150.0;
const ZERO: f64 = 1.0e-6;
const RTT_MAX: Duration = Duration::from_secs(10);
/// Peers whose samples are kept; beyond it the first by name makes room. A pool is not larger.
const PEERS_MAX: usize = 100_000;
/// Dimensions that are read from a peer before it is refused for having others than we.
const DIMENSIONS_READ_MAX: usize = 64;

/// The version in front of a coordinate in an ack.
pub const PING_VERSION: u8 = 1;

/// A place, in seconds, except for the error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Coordinate {
    pub vec: Vec<f64>,
    pub error: f64,
    pub adjustment: f64,
    pub height: f64,
}

impl Default for Coordinate {
    /// What an empty message means; not a place to start from.
    fn default() -> Coordinate {
        Coordinate { vec: Vec::new(), error: 0.0, adjustment: 0.0, height: 0.0 }
    }
}

impl Coordinate {
    /// Where everybody starts.
    pub fn origin() -> Coordinate {
        Coordinate { vec: vec![0.0; DIMENSIONS], error: ERROR_MAX, adjustment: 0.0, height: HEIGHT_MIN }
    }

    pub fn is_valid(&self) -> bool {
        self.vec.iter().chain([&self.error, &self.adjustment, &self.height]).all(|part| part.is_finite())
    }

    pub fn is_compatible_with(&self, other: &Coordinate) -> bool {
        self.vec.len() == other.vec.len()
    }

    /// The round trip to expect, in seconds; `None` between places of different dimensions.
    pub fn seconds_to(&self, other: &Coordinate) -> Option<f64> {
        if !self.is_compatible_with(other) {
            return None;
        }
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        Some(if adjusted > 0.0 { adjusted } else { raw })
    }

    /// The same in whole nanoseconds. What is no duration is zero.
    pub fn distance_to(&self, other: &Coordinate) -> Option<Duration> {
        Some(Duration::from_nanos((self.seconds_to(other)? * 1.0e9) as u64))
    }

    /// Without adjustments.
    fn raw_distance(&self, other: &Coordinate) -> f64 {
        magnitude(&difference(&self.vec, &other.vec)) + self.height + other.height
    }

    /// Pushed by `force` away from `other`.
    fn pushed(&self, force: f64, other: &Coordinate, random: &mut impl Rng) -> Coordinate {
        let (unit, distance) = direction(&self.vec, &other.vec, random);
        let mut pushed = self.clone();
        for (part, unit) in pushed.vec.iter_mut().zip(unit) {
            *part += unit * force;
        }
        if distance > ZERO {
            pushed.height = (pushed.height + other.height) * force / distance + pushed.height;
            // `f64::max` would take HEIGHT_MIN for what is not a number, and hide it from the validity check.
            if pushed.height < HEIGHT_MIN {
                pushed.height = HEIGHT_MIN;
            }
        }
        pushed
    }

    /// What an ack carries.
    pub fn to_ack_payload(&self) -> Vec<u8> {
        let mut payload = vec![PING_VERSION];
        msgpack::write_to(&mut payload, self).expect("numbers and a list of numbers encode");
        payload
    }

    /// What an ack of a peer carries. An empty payload is no coordinate and no error.
    pub fn from_ack_payload(payload: &[u8]) -> Result<Option<Coordinate>, Rejected> {
        match payload {
            [] => Ok(None),
            [PING_VERSION, body @ ..] => {
                // Compat: bytes behind the coordinate are ignored.
                let coordinate: Coordinate =
                    msgpack::Decoder::new(body).decode().map_err(|error| Rejected::Malformed(error.to_string()))?;
                if coordinate.vec.len() > DIMENSIONS_READ_MAX {
                    return Err(Rejected::Dimensions);
                }
                Ok(Some(coordinate))
            }
            [version, ..] => Err(Rejected::Version(*version)),
        }
    }
}

/// Why a sample did not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    Version(u8),
    Malformed(String),
    Dimensions,
    /// Infinite, or not a number.
    Invalid,
    RoundTrip(Duration),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::Version(version) => write!(f, "Unsupported ping version: {version}"),
            Rejected::Malformed(why) => write!(f, "Failed to decode coordinate from ping: {why}"),
            Rejected::Dimensions => f.write_str("dimensions aren't compatible"),
            Rejected::Invalid => f.write_str("coordinate is invalid"),
            Rejected::RoundTrip(rtt) => {
                let rtt = GoDuration::from(*rtt);
                write!(f, "round trip time not in valid range, duration {rtt} is not a positive value less than 10s ")
            }
        }
    }
}

impl std::error::Error for Rejected {}

/// Estimates where this member stands, from round trips to others.
#[derive(Debug, Clone)]
pub struct Client {
    coordinate: Coordinate,
    /// The last differences between measured and raw distance, in a ring.
    adjustments: [f64; ADJUSTMENT_WINDOW],
    next_adjustment: usize,
    latencies: BTreeMap<String, VecDeque<f64>>,
    resets: u64,
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl Client {
    pub fn new() -> Client {
        Client {
            coordinate: Coordinate::origin(),
            adjustments: [0.0; ADJUSTMENT_WINDOW],
            next_adjustment: 0,
            latencies: BTreeMap::new(),
            resets: 0,
        }
    }

    pub fn coordinate(&self) -> &Coordinate {
        &self.coordinate
    }

    /// Takes up an earlier coordinate, as after a restart.
    pub fn set_coordinate(&mut self, coordinate: Coordinate) -> Result<(), Rejected> {
        self.check(&coordinate)?;
        self.coordinate = coordinate;
        Ok(())
    }

    /// How often we started anew because the numbers went out of bounds.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    pub fn distance_to(&self, other: &Coordinate) -> Option<Duration> {
        self.coordinate.distance_to(other)
    }

    /// The member is gone: so are its samples.
    pub fn forget_node(&mut self, node: &str) {
        self.latencies.remove(node);
    }

    /// A ping to `node`, which stands at `other`, took `rtt`. Answers where we stand now.
    pub fn update(
        &mut self,
        node: &str,
        other: &Coordinate,
        rtt: Duration,
        random: &mut impl Rng,
    ) -> Result<&Coordinate, Rejected> {
        self.check(other)?;
        if rtt > RTT_MAX {
            return Err(Rejected::RoundTrip(rtt));
        }
        let seconds = self.filtered(node, rtt.as_secs_f64());
        self.pull(other, seconds, random);
        self.adjust(other, seconds);
        self.gravitate(random);
        if !self.coordinate.is_valid() {
            self.resets += 1;
            self.coordinate = Coordinate::origin();
        }
        Ok(&self.coordinate)
    }

    fn check(&self, other: &Coordinate) -> Result<(), Rejected> {
        if !self.coordinate.is_compatible_with(other) {
            return Err(Rejected::Dimensions);
        }
        if !other.is_valid() {
            return Err(Rejected::Invalid);
        }
        Ok(())
    }

    /// The median of the node's last samples.
    fn filtered(&mut self, node: &str, seconds: f64) -> f64 {
        if self.latencies.len() >= PEERS_MAX && !self.latencies.contains_key(node) {
            self.latencies.pop_first();
        }
        let samples = self.latencies.entry(node.to_owned()).or_default();
        samples.push_back(seconds);
        if samples.len() > LATENCY_SAMPLES {
            samples.pop_front();
        }
        let mut sorted: Vec<f64> = samples.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Vivaldi, figure 3: the more certain the other, the more we move.
    fn pull(&mut self, other: &Coordinate, seconds: f64, random: &mut impl Rng) {
        let distance = whole_nanoseconds(self.coordinate.seconds_to(other).unwrap_or(0.0));
        let seconds = seconds.max(ZERO);
        let wrongness = (distance - seconds).abs() / seconds;
        let ours = self.coordinate.error;
        let weight = ours / (ours + other.error).max(ZERO);
        let error = ERROR_WEIGHT * weight * wrongness + ours * (1.0 - ERROR_WEIGHT * weight);
        self.coordinate.error = if error > ERROR_MAX { ERROR_MAX } else { error };
        let force = MOVE_WEIGHT * weight * (seconds - distance);
        self.coordinate = self.coordinate.pushed(force, other, random);
    }

    /// Lee et al.: half the mean of what the raw distance misses.
    fn adjust(&mut self, other: &Coordinate, seconds: f64) {
        self.adjustments[self.next_adjustment] = seconds - self.coordinate.raw_distance(other);
        self.next_adjustment = (self.next_adjustment + 1) % ADJUSTMENT_WINDOW;
        let sum: f64 = self.adjustments.iter().sum();
        self.coordinate.adjustment = sum / (2.0 * ADJUSTMENT_WINDOW as f64);
    }

    /// Ledlie et al., section 7.2: a faint pull to the origin against drift.
    fn gravitate(&mut self, random: &mut impl Rng) {
        let origin = Coordinate::origin();
        let distance = whole_nanoseconds(origin.seconds_to(&self.coordinate).unwrap_or(0.0));
        let pull = distance / GRAVITY_RHO;
        self.coordinate = self.coordinate.pushed(-(pull * pull), &origin, random);
    }
}

/// Compat: the reference passes distances through its duration type and loses what is below a nanosecond.
fn whole_nanoseconds(seconds: f64) -> f64 {
    let nanoseconds = (seconds * 1.0e9) as i64;
    (nanoseconds / 1_000_000_000) as f64 + (nanoseconds % 1_000_000_000) as f64 / 1.0e9
}

fn difference(from: &[f64], to: &[f64]) -> Vec<f64> {
    from.iter().zip(to).map(|(from, to)| from - to).collect()
}

fn magnitude(vector: &[f64]) -> f64 {
    vector.iter().map(|part| part * part).sum::<f64>().sqrt()
}

/// The unit vector from `to` to `from` and their distance; a random one, and 0, where they coincide.
fn direction(from: &[f64], to: &[f64], random: &mut impl Rng) -> (Vec<f64>, f64) {
    let mut way = difference(from, to);
    let distance = magnitude(&way);
    if distance > ZERO {
        let scale = 1.0 / distance;
        way.iter_mut().for_each(|part| *part *= scale);
        return (way, distance);
    }
    way.iter_mut().for_each(|part| *part = random.random::<f64>() - 0.5);
    let length = magnitude(&way);
    if length > ZERO {
        let scale = 1.0 / length;
        way.iter_mut().for_each(|part| *part *= scale);
        return (way, 0.0);
    }
    way.fill(0.0);
    if let Some(first) = way.first_mut() {
        *first = 1.0;
    }
    (way, 0.0)
}

#[cfg(test)]
mod tests;
