//! Writes as values.
//!
//! A [`Command`] is what the replicated log carries: each variant is one of the reference's log message
//! types (protocols.md C1), its payload the request struct of that type. `replica` maps it to bytes.

use ::acl::Authorizer;

use crate::{
    Error, Index, State, Topic, Touched, acl, autopilot, catalog, config_entry, coordinate, kv, prepared_query,
    session, tombstone, txn,
};

/// A change of state, ready to be replicated.
#[expect(clippy::large_enum_variant, reason = "commands move few times; payloads stay plain values to match on")]
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Register(catalog::RegisterRequest),
    Deregister(catalog::DeregisterRequest),
    Kvs(kv::KvsRequest),
    Session(session::SessionRequest),
    Tombstone(tombstone::TombstoneRequest),
    CoordinateBatchUpdate(Vec<coordinate::Coordinate>),
    PreparedQuery(prepared_query::PreparedQueryRequest),
    Txn(txn::TxnRequest),
    Autopilot(autopilot::AutopilotSetConfigRequest),
    ConfigEntry(config_entry::ConfigEntryRequest),
    Acl(acl::AclCommand),
}

/// What a command came to. Each command documents which one it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It happened; nothing to say.
    Done,
    /// It happened (`true`), or an ordinary "no" such as a failed check-and-set (`false`).
    Decided(bool),
    /// The id of what was created.
    Created(String),
    /// Results or errors of a transaction.
    Txn(txn::TxnResponse),
    /// It could not be applied and changed nothing.
    Failed(Error),
}

/// What only the outside can do as a consequence of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A session with a TTL now exists or was replaced: its expiry timer starts.
    SessionCreated { id: String, ttl_ns: i64 },
    /// A session is gone: its timer stops.
    SessionDestroyed { id: String },
    /// A lock was lost with its session: nobody may take `key` for this long.
    LockDelayed { key: String, delay_ns: i64 },
    /// Tombstones were made at the applied index: they may be reaped after the tombstone TTL.
    TombstonesMade,
}

/// Everything that applying one command gave.
#[derive(Debug)]
pub struct Applied {
    pub index: Index,
    pub outcome: Outcome,
    pub touched: Touched,
    pub effects: Vec<Effect>,
}

/// The running application of one command: its index, and what it has changed so far.
#[derive(Debug)]
pub struct Apply {
    pub(crate) index: Index,
    touched: Touched,
    effects: Vec<Effect>,
}

impl Apply {
    pub(crate) fn new(index: Index) -> Self {
        Apply { index, touched: Touched::default(), effects: Vec::new() }
    }

    pub(crate) fn touch(&mut self, topic: Topic) {
        self.touched.note(topic);
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Takes over what a part of this application changed.
    pub(crate) fn absorb(&mut self, part: Apply) {
        self.touched.extend(part.touched);
        self.effects.extend(part.effects);
    }

    pub(crate) fn finish(self, outcome: Outcome) -> Applied {
        // A refused command changed nothing; whatever it noted on the way does not count.
        if matches!(outcome, Outcome::Failed(_)) {
            return Applied { index: self.index, outcome, touched: Touched::default(), effects: Vec::new() };
        }
        Applied { index: self.index, outcome, touched: self.touched, effects: self.effects }
    }
}

impl Command {
    /// Whether the token may do this. Looks at the state where permission depends on what exists (a service
    /// name behind an id, a session's node).
    pub fn authorize(&self, state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        match self {
            Command::Register(request) => request.authorize(state, may),
            Command::Deregister(request) => request.authorize(state, may),
            Command::Kvs(request) => request.authorize(may),
            Command::Session(request) => request.authorize(state, may),
            Command::Tombstone(request) => request.authorize(state, may),
            Command::CoordinateBatchUpdate(batch) => coordinate::authorize(batch, may),
            Command::PreparedQuery(request) => request.authorize(state, may),
            Command::Txn(request) => request.authorize(state, may),
            Command::Autopilot(request) => request.authorize(state, may),
            Command::ConfigEntry(request) => request.authorize(state, may),
            Command::Acl(command) => command.authorize(may),
        }
    }

    /// What the reference's endpoint checks and fills in before it proposes: required fields, defaults
    /// (a service id from its name), limits of names and metadata. Pure; `apply` stays total without it.
    pub fn prepare(&mut self, state: &State) -> Result<(), Error> {
        match self {
            Command::Register(request) => request.prepare(state),
            Command::Deregister(request) => request.prepare(state),
            Command::Kvs(request) => request.prepare(),
            Command::Session(request) => request.prepare(state),
            Command::Tombstone(_) => Ok(()),
            Command::CoordinateBatchUpdate(batch) => coordinate::prepare(batch),
            Command::PreparedQuery(request) => request.prepare(state),
            Command::Txn(request) => request.prepare(state),
            Command::Autopilot(request) => request.prepare(state),
            Command::ConfigEntry(request) => request.prepare(state),
            // Their endpoints need the time and new ids: see the functions beside the nouns.
            Command::Acl(_) => Ok(()),
        }
    }

    /// The keys that this command would lock: refused while their lock-delay runs, which only the outside
    /// can know.
    #[must_use]
    pub fn locks(&self) -> Vec<&str> {
        match self {
            Command::Kvs(request) => request.locks().into_iter().collect(),
            Command::Txn(request) => request.locks(),
            _ => Vec::new(),
        }
    }
}

pub(crate) fn dispatch(state: &mut State, apply: &mut Apply, command: Command) -> Outcome {
    match command {
        Command::Register(request) => catalog::register(state, apply, request),
        Command::Deregister(request) => catalog::deregister(state, apply, &request),
        Command::Kvs(request) => kv::apply(state, apply, request),
        Command::Session(request) => session::apply(state, apply, request),
        Command::Tombstone(request) => tombstone::apply(state, apply, &request),
        Command::CoordinateBatchUpdate(batch) => coordinate::apply(state, apply, batch),
        Command::PreparedQuery(request) => prepared_query::apply(state, apply, request),
        Command::Txn(request) => txn::apply(state, apply, request),
        Command::Autopilot(request) => autopilot::apply(state, apply, request),
        Command::ConfigEntry(request) => config_entry::apply(state, apply, request),
        Command::Acl(command) => acl::apply(state, apply, command),
    }
}
