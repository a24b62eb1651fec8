//! Serf: what members say of themselves, who means to leave, events and queries, over memberlist.

mod broadcast;
mod coalesce;
pub mod consul;
mod event;
mod events;
pub mod lamport;
pub mod member;
pub mod message;
mod roster;
pub mod snapshot;

use self::member::Member;

/// Who may be in the pool.
pub trait Admission: Send {
    /// The text says why not.
    fn admit(&self, members: &[Member]) -> Result<(), String>;
}
