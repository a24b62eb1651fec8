//! Network coordinates of nodes (`/v1/coordinate`), and distance for `?near=`.
//!
//! Always true: only nodes that exist have coordinates, one for each network segment.
//!
//! Not here: collecting updates into batches, which is a matter of time, and coordinates of datacenters.

use std::ops::Bound;
use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::catalog::{NodeQuery, NodesQuery, Pair, fold};
use crate::{Apply, Error, Found, Indexes, Outcome, Query, Seen, State, Topic};

/// The coordinate of a node (`structs.Coordinate`); one element of log message type 6.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Coordinate {
    pub node: String,
    pub segment: String,
    pub coord: Option<Coord>,
}

/// A Vivaldi coordinate with height (seconds).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "coordinate.Coordinate", rename_all = "PascalCase")]
pub struct Coord {
    #[serde(default)]
    pub vec: Vec<f64>,
    #[serde(default)]
    pub error: f64,
    #[serde(default)]
    pub adjustment: f64,
    #[serde(default)]
    pub height: f64,
}

impl Default for Coord {
    /// Where a node starts that has measured nothing yet.
    fn default() -> Self {
        Coord { vec: vec![0.0; DIMENSIONS], error: 1.5, adjustment: 0.0, height: 1e-5 }
    }
}

/// Dimensions that this network's coordinates have besides the height.
const DIMENSIONS: usize = 8;

impl Coord {
    /// Whether all parts are numbers that one can compute with.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.vec.iter().chain([&self.error, &self.adjustment, &self.height]).all(|part| part.is_finite())
    }

    /// Estimated round trip time in nanoseconds; `None` between coordinates of different dimensions.
    #[must_use]
    pub fn distance_ns(&self, other: &Coord) -> Option<i64> {
        if self.vec.len() != other.vec.len() {
            return None;
        }
        let squares: f64 = self.vec.iter().zip(&other.vec).map(|(a, b)| (a - b) * (a - b)).sum();
        let raw = squares.sqrt() + self.height + other.height;
        // Adjustments correct the model for a pair, but never below zero.
        let adjusted = raw + self.adjustment + other.adjustment;
        let seconds = if adjusted > 0.0 { adjusted } else { raw };
        Some((seconds * 1e9) as i64)
    }
}

/// From where an answer is sorted by distance (`structs.QuerySource`). The executor clears `node` when the
/// query runs in another datacenter than `datacenter`: coordinates do not compare across them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Source {
    pub datacenter: String,
    pub segment: String,
    pub node: String,
    pub ip: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// By node and segment.
    by_place: OrdMap<Pair, Arc<Coordinate>>,
}

impl Table {
    fn of_node(&self, node: &Arc<str>) -> impl Iterator<Item = &Arc<Coordinate>> {
        let node = Arc::clone(node);
        self.by_place
            .range((Bound::Included((Arc::clone(&node), Arc::default())), Bound::Unbounded))
            .take_while(move |((on, _), _)| *on == node)
            .map(|(_, coordinate)| coordinate)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Coordinate> {
        self.by_place.values().map(|coordinate| &**coordinate)
    }

    /// Takes one record in, after the nodes. `at` is the index of the archive: coordinates have none.
    pub(crate) fn restore(&mut self, coordinate: Coordinate, at: crate::Index, indexes: &mut Indexes) {
        if coordinate.coord.as_ref().is_some_and(Coord::valid) && !coordinate.node.is_empty() {
            indexes.raise(TABLE, at);
            self.by_place.insert(place(&coordinate), Arc::new(coordinate));
        }
    }
}

const TABLE: &str = "coordinates";

fn place(coordinate: &Coordinate) -> Pair {
    (fold(&coordinate.node), fold(&coordinate.segment))
}

pub(crate) fn prepare(batch: &mut Vec<Coordinate>) -> Result<(), Error> {
    for coordinate in batch {
        // A body without one means a coordinate of nothing but zeros, which has no dimensions.
        let coord = coordinate.coord.get_or_insert(Coord { vec: Vec::new(), error: 0.0, adjustment: 0.0, height: 0.0 });
        if !coord.valid() {
            return Err(Error::failed("invalid coordinate"));
        }
        if coord.vec.len() != DIMENSIONS {
            return Err(Error::failed("incompatible coordinate"));
        }
    }
    Ok(())
}

pub(crate) fn authorize(batch: &[Coordinate], may: &dyn Authorizer) -> Result<(), Error> {
    for coordinate in batch {
        may.require(Need::write(Resource::Node(&coordinate.node)))?;
    }
    Ok(())
}

/// Takes new coordinates of nodes that exist; others are dropped, their next update comes by itself. Answers
/// [`Outcome::Done`].
pub(crate) fn apply(state: &mut State, apply: &mut Apply, batch: Vec<Coordinate>) -> Outcome {
    for coordinate in batch {
        let known = state.catalog.node(&coordinate.node).is_some();
        if !known || !coordinate.coord.as_ref().is_some_and(Coord::valid) {
            continue;
        }
        let place = place(&coordinate);
        if state.coordinate.by_place.get(&place).is_some_and(|existing| **existing == coordinate) {
            continue;
        }
        changed(state, apply, &place.0);
        state.coordinate.by_place.insert(place, Arc::new(coordinate));
    }
    Outcome::Done
}

/// A node, given as a key, goes away: so do its coordinates.
pub(crate) fn node_gone(state: &mut State, apply: &mut Apply, node: &Arc<str>) {
    let doomed: Vec<_> = state.coordinate.of_node(node).map(|coordinate| place(coordinate)).collect();
    for place in doomed {
        state.coordinate.by_place.remove(&place);
        changed(state, apply, node);
    }
}

fn changed(state: &mut State, apply: &mut Apply, node: &Arc<str>) {
    state.indexes.raise(TABLE, apply.index);
    apply.touch(Topic::Coordinates);
    apply.touch(Topic::NodeCoordinates(Arc::clone(node)));
}

impl State {
    /// Whether a coordinate of this node is known.
    #[must_use]
    pub fn has_coordinate(&self, node: &str) -> bool {
        self.coordinate.of_node(&fold(node)).next().is_some()
    }
}

/// Sorts rows by the distance of their nodes from `source`, nearest first and unknown last; rows of equal
/// distance keep their order. Does nothing when the source is not given or has no coordinate.
pub(crate) fn sort_by_distance<T>(
    state: &State,
    seen: &mut Seen,
    source: &Source,
    rows: &mut [T],
    node_of: impl Fn(&T) -> &str,
) {
    if source.node.is_empty() {
        return;
    }
    // The order changes with coordinates, the index of the answer does not: as in the reference, a new order
    // alone ends no wait.
    seen.note(Topic::Coordinates);
    let from: Vec<_> = state.coordinate.of_node(&fold(&source.node)).collect();
    if !from.is_empty() {
        rows.sort_by_cached_key(|row| {
            let to: Vec<_> = state.coordinate.of_node(&fold(node_of(row))).collect();
            distance_ns(&from, &to).unwrap_or(i64::MAX)
        });
    }
}

/// Distance between two nodes. Each has a coordinate for each segment that it is in: clients are in one,
/// servers in all, so that a node with a single one decides which is compared.
fn distance_ns(from: &[&Arc<Coordinate>], to: &[&Arc<Coordinate>]) -> Option<i64> {
    let segment = match (from, to) {
        (_, [only]) | ([only], _) => &*only.segment,
        _ => "",
    };
    let within = |set: &[&Arc<Coordinate>]| {
        set.iter().find(|coordinate| coordinate.segment == segment).and_then(|coordinate| coordinate.coord.clone())
    };
    within(from)?.distance_ns(&within(to)?)
}

/// The coordinates of all nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CoordinateListNodes(pub NodesQuery);

impl Query for CoordinateListNodes {
    const METHOD: &'static str = "Coordinate.ListNodes";
    type Answer = Vec<Arc<Coordinate>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Coordinates);
        Ok(Found::new(state.indexes.get(TABLE), state.coordinate.by_place.values().cloned().collect()))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let before = answer.len();
        answer.retain(|coordinate| may.allows(Need::read(Resource::Node(&coordinate.node))));
        answer.len() != before
    }
}

/// The coordinates of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CoordinateNode(pub NodeQuery);

impl Query for CoordinateNode {
    const METHOD: &'static str = "Coordinate.Node";
    type Answer = Vec<Arc<Coordinate>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::read(Resource::Node(&self.0.node)))?)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let key = fold(&self.0.node);
        // Compat: the name is shown as it was asked for.
        let rows = state
            .coordinate
            .of_node(&key)
            .map(|coordinate| Arc::new(Coordinate { node: self.0.node.clone(), ..Coordinate::clone(coordinate) }));
        let rows = rows.collect();
        seen.note(Topic::NodeCoordinates(key));
        Ok(Found::new(state.indexes.get(TABLE), rows))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}
