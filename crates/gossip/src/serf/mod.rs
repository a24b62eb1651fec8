//! Serf: what members say of themselves, who means to leave, events and queries, over memberlist.
//!
//! [`Serf`] is handed time and what arrived, and gives what is to be done ([`Output`]). Whoever drives it carries out
//! what is memberlist's, writes the snapshot and the keyring, and tells the agent its [`Event`]s.
//!
//! Reading order: `message`, `lamport`, `member`, `roster` (who is here, who meant to leave), `events` (what was seen),
//! `broadcast` (what is passed on), `pool` (all of it together), `query`, `internal` and `key`, `machine` (with
//! memberlist), `snapshot`; `consul` for what Consul puts on top.
//!
//! Always true: the three Lamport clocks never run backwards; what is told once is not told again; nothing that others
//! send makes a table or queue grow past its named bound.
//! Not here: sockets and files (`net`), what members and events mean (`agent`).

mod broadcast;
mod coalesce;
mod config;
pub mod consul;
mod coordinates;
mod event;
mod events;
mod internal;
mod key;
pub mod lamport;
mod machine;
pub mod member;
pub mod message;
mod pool;
mod query;
mod roster;
pub mod snapshot;

use bytes::Bytes;

pub use self::broadcast::BroadcastId;
pub use self::coalesce::Window;
pub use self::config::Config;
pub use self::event::{AskedId, Event, MemberEvent, MemberEventKind, QueryEvent, QueryId, UserEvent};
pub use self::key::{KeyAnswer, KeyOperation};
pub use self::machine::{PROTOCOL_MAX, PROTOCOL_MIN, Serf, Setup};
use self::member::Member;
pub use self::pool::Standing;
pub use self::query::{QueryError, QueryParams, RespondError};
use self::snapshot::SnapshotWrite;
use crate::io;
use crate::keyring::Keyring;
use crate::memberlist::Joined;

/// Who may be in the pool.
pub trait Admission: Send {
    /// The text says why not.
    fn admit(&self, members: &[Member]) -> Result<(), String>;
}

/// Lets everybody in.
#[derive(Debug, Clone, Copy)]
pub struct Open;

impl Admission for Open {
    fn admit(&self, _members: &[Member]) -> Result<(), String> {
        Ok(())
    }
}

/// A change of the keyring that whoever drives Serf is to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyringChange(pub u64);

/// A join that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub u64);

/// What is to be done, or known, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Memberlist's: packets, streams, lines for the log, metrics.
    Memberlist(io::Output),
    /// For the agent.
    Event(Event),
    /// For the snapshot file.
    Snapshot(SnapshotWrite),
    /// The keyring is another now: use it for what is sent from here on, write it to its file, then say so with
    /// [`Serf::keyring_kept`]; only then whoever asked for the change is answered.
    KeyringChanged { change: KeyringChange, keyring: Keyring },
    /// A join is over.
    Joined { join: JoinId, joined: Joined },
    /// A removal was passed on to the others, or not in time.
    Broadcast { broadcast: BroadcastId, in_time: bool },
    /// A leave is over: this member may stop.
    Left,
    /// Somebody acknowledges a query of ours.
    Acked { query: QueryId, from: String },
    /// Somebody answers a query of ours.
    Responded { query: QueryId, from: String, payload: Bytes },
    /// A query of ours is over.
    QueryDone { query: QueryId },
    /// All have answered what was done to their keys, or time is up.
    KeysDone { query: QueryId, answer: KeyAnswer },
    /// The majority knows another member by our name: this one is to stop.
    NameLost,
}
