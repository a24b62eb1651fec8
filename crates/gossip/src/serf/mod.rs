//! Serf: what members say of themselves, who means to leave, events and queries, over memberlist.

mod broadcast;
mod coalesce;
mod event;
mod events;
pub mod lamport;
pub mod member;
pub mod message;
mod roster;
pub mod snapshot;
