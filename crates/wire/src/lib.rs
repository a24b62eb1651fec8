//! Consul's byte formats (being merged).
pub mod duration;
