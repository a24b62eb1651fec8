//! Placeholder wall, filled next.

pub mod host;
pub mod logbook;
pub mod telemetry;
