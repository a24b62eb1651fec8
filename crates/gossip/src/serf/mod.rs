//! Serf: what members say of themselves, who means to leave, events and queries, over memberlist.

pub mod lamport;
pub mod member;
pub mod message;
pub mod snapshot;
