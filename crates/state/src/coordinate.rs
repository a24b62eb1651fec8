//! Network coordinates of nodes (`/v1/coordinate`), and distance for `?near=`.

use acl::Authorizer;
use serde::{Deserialize, Serialize};

use crate::{Apply, Error, Outcome, State};

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
#[serde(default, rename_all = "PascalCase")]
pub struct Coord {
    pub vec: Vec<f64>,
    pub error: f64,
    pub adjustment: f64,
    pub height: f64,
}

impl Default for Coord {
    fn default() -> Self {
        Coord { vec: vec![0.0; 8], error: 1.5, adjustment: 0.0, height: 1e-5 }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {}

pub(crate) fn prepare(_batch: &mut Vec<Coordinate>) -> Result<(), Error> {
    Ok(())
}

pub(crate) fn authorize(_batch: &[Coordinate], _may: &dyn Authorizer) -> Result<(), Error> {
    Ok(())
}

pub(crate) fn apply(_state: &mut State, _apply: &mut Apply, _batch: Vec<Coordinate>) -> Outcome {
    Outcome::Failed(Error::failed("wall"))
}
