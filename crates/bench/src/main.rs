//! Placeholder wall, filled next.
fn main() {}
