//! How one speaks of access control. Until it is built, one is told that it is off.

pub mod http;
