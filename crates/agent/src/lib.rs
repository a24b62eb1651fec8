//! Placeholder wall, filled next.

pub mod telemetry;
