//! The whole state as a stream of records, and back (protocols.md C3).
//!
//! `replica` maps a record to its type byte and msgpack body; which records there are, and in which order,
//! is decided here.
//!
//! Always true: `restore(records(state))` equals `state`, indexes and tombstones included. Records of
//! concepts that are not built yet survive the way through.

use bytes::Bytes;

use crate::{Index, State, acl, autopilot, catalog, config_entry, coordinate, kv, prepared_query, session, tombstone};

/// One record of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Type 0: a node, or a service or check of one.
    Register(Box<catalog::RegisterRequest>),
    /// Type 6.
    Coordinates(Vec<coordinate::Coordinate>),
    /// Type 3.
    Session(session::Session),
    /// Type 2.
    Kv(kv::Entry),
    /// Type 5.
    Tombstone(tombstone::Tombstone),
    /// Type 7.
    PreparedQuery(Box<prepared_query::PreparedQuery>),
    /// Type 9.
    Autopilot(autopilot::Config),
    /// Type 22.
    ConfigEntry(Box<config_entry::Entry>),
    /// Type 17.
    AclToken(Box<acl::Token>),
    /// Type 19.
    AclPolicy(Box<acl::Policy>),
    /// Type 23.
    AclRole(Box<acl::Role>),
    /// Type 25.
    AclBindingRule(Box<acl::BindingRule>),
    /// Type 27.
    AclAuthMethod(Box<acl::AuthMethod>),
    /// Type 16: one row of the index table.
    Index { name: String, value: Index },
    /// Anything else that the reference is known to write.
    Foreign(Foreign),
}

/// A record whose concept is not built yet, kept verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The message type byte.
    pub kind: u8,
    /// The msgpack body as it came.
    pub body: Bytes,
}

impl State {
    /// Every record, in the reference's order of writing.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let catalog = catalog::records(self).map(|request| Record::Register(Box::new(request)));
        let coordinates = self.coordinate.records().map(|coordinate| Record::Coordinates(vec![coordinate.clone()]));
        let sessions = self.session.iter().map(|session| Record::Session(session::Session::clone(session)));
        let kv = self.kv.below("").map(|entry| Record::Kv(kv::Entry::clone(entry)));
        let tombstones = self.tombstone.records().map(Record::Tombstone);
        let queries = self.prepared_query.iter();
        let queries = queries.map(|query| Record::PreparedQuery(Box::new(prepared_query::PreparedQuery::clone(query))));
        let autopilot = self.autopilot.get().cloned().map(Record::Autopilot);
        let entries = self.config_entry.iter();
        let entries = entries.map(|entry| Record::ConfigEntry(Box::new(config_entry::Entry::clone(entry))));
        let foreign = self.foreign.iter().cloned().map(Record::Foreign);
        let indexes = self.indexes.iter();
        let indexes = indexes.map(|(name, value)| Record::Index { name: name.to_owned(), value });
        catalog
            .chain(coordinates)
            .chain(sessions)
            .chain(acl::records(self))
            .chain(kv)
            .chain(tombstones)
            .chain(queries)
            .chain(autopilot)
            .chain(entries)
            .chain(foreign)
            .chain(indexes)
    }
}

/// A state in the making from the records of a snapshot.
#[derive(Debug, Default)]
pub struct Restore {
    state: State,
    /// The archive's index, for objects that did not keep theirs.
    at: Index,
}

impl Restore {
    /// Starts from nothing; `limits` are the configured ones, `at` is the archive's last index.
    #[must_use]
    pub fn new(limits: crate::Limits, at: Index) -> Self {
        Restore { state: State { limits, ..State::default() }, at }
    }

    /// Puts one record back.
    pub fn add(&mut self, record: Record) {
        let state = &mut self.state;
        match record {
            Record::Register(request) => catalog::restore(state, self.at, *request),
            Record::Coordinates(batch) => {
                for coordinate in batch {
                    state.coordinate.restore(coordinate, self.at, &mut state.indexes);
                }
            }
            Record::Session(session) => state.session.restore(session, &mut state.indexes),
            Record::Kv(entry) => {
                if !entry.session.is_empty() {
                    state.session.lock_moved(&entry.key, "", &entry.session);
                }
                state.kv.restore(entry, &mut state.indexes);
            }
            Record::Tombstone(stone) => state.tombstone.restore(stone, &mut state.indexes),
            Record::PreparedQuery(query) => state.prepared_query.restore(*query, &mut state.indexes),
            Record::Autopilot(config) => state.autopilot.restore(config, &mut state.indexes),
            Record::ConfigEntry(entry) => state.config_entry.restore(*entry, &mut state.indexes),
            Record::AclToken(token) => acl::restore_token(state, *token),
            Record::AclPolicy(policy) => acl::restore_policy(state, *policy),
            Record::AclRole(role) => acl::restore_role(state, *role),
            Record::AclBindingRule(rule) => acl::restore_binding_rule(state, *rule),
            Record::AclAuthMethod(method) => acl::restore_auth_method(state, *method),
            Record::Index { name, value } => state.indexes.raise(&name, value),
            Record::Foreign(foreign) => state.foreign.push_back(foreign),
        }
    }

    /// The restored state.
    #[must_use]
    pub fn finish(mut self) -> State {
        self.state.applied = self.at;
        self.state
    }
}
