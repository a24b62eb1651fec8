//! Placeholder wall, filled next.

pub mod logbook;
pub mod telemetry;
