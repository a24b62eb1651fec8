//! Placeholder wall, filled next.
