//! The replicated state: what every concept means.
//!
//! A [`State`] is a value. One writer turns it into the next one by applying [`Command`]s in log order;
//! readers hold an old value for as long as they like and are never disturbed. A [`Query`] is evaluated on
//! one state, writes down in [`Seen`] what it looked at, and is evaluated again only when something of that
//! was [`Touched`].
//!
//! Always true:
//! - `apply` is total and deterministic: ids and times travel inside commands, a committed command never
//!   panics, equal states and equal commands give equal states.
//! - Equal state means no write: applying what is already there moves no index and touches nothing.
//! - A table is written only by the module that owns it; cascades call one way: catalog → session → kv, and
//!   session → prepared query.
//!
//! Not here: time, randomness, files, sockets, who asks (an [`::acl::Authorizer`] is handed in).

pub mod acl;
pub mod autopilot;
pub mod catalog;
mod command;
pub mod config_entry;
pub mod coordinate;
mod error;
pub mod event;
pub mod health;
mod index;
pub mod kv;
mod octets;
pub mod prepared_query;
mod query;
pub mod session;
pub mod snapshot;
pub mod tombstone;
mod topic;
pub mod txn;
pub mod usage;

pub use command::{Applied, Apply, Command, Effect, Outcome};
pub use error::Error;
pub use index::{Index, Indexes};
pub use query::{Found, Query, execute};
pub use topic::{Seen, Topic, Touched};

/// Everything that is replicated, as one immutable value. Cloning copies a few pointers.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Index of the last applied log entry.
    applied: Index,
    /// The reference's `index` table: highest index per table and per service.
    pub(crate) indexes: Indexes,
    pub(crate) catalog: catalog::Table,
    pub(crate) health: health::Table,
    pub(crate) coordinate: coordinate::Table,
    pub(crate) session: session::Table,
    pub(crate) kv: kv::Table,
    pub(crate) tombstone: tombstone::Table,
    pub(crate) prepared_query: prepared_query::Table,
    pub(crate) autopilot: autopilot::Table,
    pub(crate) config_entry: config_entry::Table,
    pub(crate) acl: acl::Table,
    /// Limits that `prepare` holds requests to.
    pub limits: Limits,
    /// Records of a restored archive whose concepts are not built yet, kept verbatim so that an archive
    /// written again loses nothing.
    pub(crate) foreign: imbl::Vector<snapshot::Foreign>,
}

/// Configured limits that requests are held to before they are proposed. Not replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `session_ttl_min`, in nanoseconds.
    pub session_ttl_min_ns: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { session_ttl_min_ns: session::TTL_MIN_NS }
    }
}

impl State {
    /// The empty state.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        State { limits, ..State::default() }
    }

    /// Index of the last applied log entry; zero before the first.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// Applies one committed command. `index` is its place in the log and must grow from call to call.
    pub fn apply(&mut self, index: Index, command: Command) -> Applied {
        let mut apply = Apply::new(index);
        let outcome = command::dispatch(self, &mut apply, command);
        self.applied = self.applied.max(index);
        apply.finish(outcome)
    }

    /// Notes that the log has moved on to `index` with an entry that changes nothing here.
    pub fn advance(&mut self, index: Index) {
        self.applied = self.applied.max(index);
    }
}
