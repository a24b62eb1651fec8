//! Sessions and the locks bound to them (`/v1/session`).
//!
//! Always true:
//! - A session is bound to a node that exists and to checks that exist; it ends when one of them goes away
//!   or a check turns critical (Consul documentation, "Sessions", "Session design").
//! - Each lock is known here and in the KV entry alike; destroying the session releases or deletes the keys
//!   it holds and starts their lock-delay, and removes the prepared queries bound to it.
//!
//! Not here: TTL timers, which are the leader's. A renewal is no command: it only resets a timer.

mod filter;
mod query;

use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;

pub use self::filter::session_shape;
pub use self::query::{NodeSessions, SessionGet, SessionList};
use crate::health::HealthCheck;
use crate::{Apply, Effect, Error, Index, Indexes, Outcome, State, Topic, catalog, health, kv, prepared_query};

/// No lock stays refused for longer than this after its session ended.
pub const LOCK_DELAY_MAX_NS: i64 = 60 * 1_000_000_000;
/// The longest TTL of a session.
pub const TTL_MAX_NS: i64 = 24 * 3600 * 1_000_000_000;
/// The shortest TTL unless `session_ttl_min` says otherwise.
pub const TTL_MIN_NS: i64 = 10 * 1_000_000_000;

/// A session (`structs.Session`). `LockDelay` is a number of nanoseconds everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Session {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub node: String,
    pub lock_delay: i64,
    /// `release` or `delete`.
    pub behavior: String,
    #[serde(rename = "TTL")]
    pub ttl: String,
    pub node_checks: Option<Vec<String>>,
    pub service_checks: Option<Vec<ServiceCheck>>,
    /// The form of 1.1 to 1.6 requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    pub create_index: Index,
    pub modify_index: Index,
}

impl Session {
    /// Every check that the session is bound to.
    pub fn check_ids(&self) -> impl Iterator<Item = &str> {
        let service = self.service_checks.iter().flatten().map(|check| check.id.as_str());
        let node = self.node_checks.iter().flatten().map(String::as_str);
        self.checks.iter().map(String::as_str).chain(node).chain(service)
    }

    /// The TTL in nanoseconds, zero when the session has none. A stored TTL always parses.
    #[must_use]
    pub fn ttl_ns(&self) -> i64 {
        GoDuration::parse(&self.ttl).map_or(0, |ttl| ttl.0)
    }
}

/// A service check that a session is bound to (`structs.ServiceCheck`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceCheck {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
}

/// Log message type 3. The id of a new session is chosen by whoever proposes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionRequest {
    pub datacenter: String,
    /// `create` or `destroy`.
    pub op: String,
    pub session: Session,
}

/// The words of [`SessionRequest::op`].
pub const CREATE: &str = "create";
/// See [`CREATE`].
pub const DESTROY: &str = "destroy";

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    by_id: OrdMap<Arc<str>, Arc<Session>>,
    /// Lower-cased node name → session ids.
    by_node: OrdMap<String, OrdSet<Arc<str>>>,
    /// (Lower-cased node name, check id) → session ids.
    by_check: OrdMap<(String, String), OrdSet<Arc<str>>>,
    /// Session id → keys that it holds.
    locks: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
}

impl Table {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Session>> {
        self.by_id.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_id.values()
    }

    pub(crate) fn of_node(&self, node: &str) -> impl Iterator<Item = &Arc<Session>> {
        self.by_node.get(&node.to_lowercase()).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    /// `Ok` when the session exists, else the refusal that lock commands answer.
    pub(crate) fn require(&self, id: &str) -> Result<(), Error> {
        if self.by_id.contains_key(id) { Ok(()) } else { Err(Error::failed(format!("invalid session {id:?}"))) }
    }

    /// A key's lock moved from one session to another; `""` means free.
    pub(crate) fn lock_moved(&mut self, key: &Arc<str>, from: &str, to: &str) {
        if !from.is_empty()
            && let Some(keys) = self.locks.get_mut(from)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.locks.remove(from);
            }
        }
        if !to.is_empty() {
            self.locks.entry(to.into()).or_default().insert(Arc::clone(key));
        }
    }

    fn insert(&mut self, session: Arc<Session>) {
        let id: Arc<str> = session.id.as_str().into();
        let node = session.node.to_lowercase();
        for check in session.check_ids() {
            self.by_check.entry((node.clone(), check.to_owned())).or_default().insert(Arc::clone(&id));
        }
        self.by_node.entry(node).or_default().insert(Arc::clone(&id));
        self.by_id.insert(id, session);
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        let session = self.by_id.remove(id)?;
        let node = session.node.to_lowercase();
        for check in session.check_ids() {
            forget(&mut self.by_check, &(node.clone(), check.to_owned()), id);
        }
        forget(&mut self.by_node, &node, id);
        Some(session)
    }

    /// Puts a session of an archive back. Locks come back with the keys.
    pub(crate) fn restore(&mut self, session: Session, indexes: &mut Indexes) {
        indexes.raise("sessions", session.modify_index);
        self.insert(Arc::new(session));
    }
}

fn forget<K: Ord + Clone>(map: &mut OrdMap<K, OrdSet<Arc<str>>>, key: &K, id: &str) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

impl SessionRequest {
    pub(crate) fn prepare(&mut self, state: &State) -> Result<(), Error> {
        let session = &mut self.session;
        match self.op.as_str() {
            DESTROY if session.id.is_empty() => return Err(Error::failed("Must provide ID")),
            DESTROY => return Ok(()),
            CREATE if session.node.is_empty() => return Err(Error::failed("Must provide Node")),
            CREATE => {}
            other => return Err(Error::failed(format!("Invalid session operation {other:?}"))),
        }
        match session.behavior.as_str() {
            "" => session.behavior = "release".to_owned(),
            "release" | "delete" => {}
            other => return Err(Error::failed(format!("Invalid Behavior setting '{other}'"))),
        }
        check_ttl(&session.ttl, state.limits.session_ttl_min_ns)
    }

    pub(crate) fn authorize(&self, state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        let node = match self.op.as_str() {
            // What does not exist may be destroyed by anybody: nothing happens.
            DESTROY => match state.session.get(&self.session.id) {
                None => return Ok(()),
                Some(session) => session.node.as_str(),
            },
            _ => self.session.node.as_str(),
        };
        Ok(may.require(Need::write(Resource::Session(node)))?)
    }
}

fn check_ttl(text: &str, least_ns: i64) -> Result<(), Error> {
    if text.is_empty() {
        return Ok(());
    }
    let ttl =
        GoDuration::parse(text).map_err(|error| Error::failed(format!("Session TTL '{text}' invalid: {error}")))?;
    if ttl.0 != 0 && !(least_ns..=TTL_MAX_NS).contains(&ttl.0) {
        let (least, most) = (GoDuration(least_ns), GoDuration(TTL_MAX_NS));
        // Compat: the reference prints its bound as 24h0m0s and the offending TTL as nanoseconds.
        return Err(Error::failed(format!("Invalid Session TTL '{}', must be between [{least}={most}]", ttl.0)));
    }
    Ok(())
}

/// The node and every check of a session exist, and no check is critical.
fn check_bindings(state: &State, session: &Session) -> Result<(), Error> {
    if state.catalog.node(&session.node).is_none() {
        return Err(Error::failed("Missing node registration"));
    }
    for id in session.check_ids() {
        let Some(check) = state.health.check(&session.node, id) else {
            return Err(Error::failed(format!("Missing check '{id}' registration")));
        };
        // A check whose status comes from sessions is critical until the first one exists.
        if check.status == "critical" && check.r#type != "session" {
            return Err(Error::failed(format!("Check '{id}' is in {} state", check.status)));
        }
    }
    Ok(())
}

/// Answers [`Outcome::Created`] for `create` and [`Outcome::Done`] for `destroy`.
pub(crate) fn apply(state: &mut State, apply: &mut Apply, request: SessionRequest) -> Outcome {
    match request.op.as_str() {
        CREATE => match create(state, apply, request.session) {
            Ok(id) => Outcome::Created(id),
            // Compat: the endpoint prefixes what the state store refuses.
            Err(error) => Outcome::Failed(Error::failed(format!("apply failed: {error}"))),
        },
        DESTROY => {
            destroy(state, apply, &request.session.id);
            Outcome::Done
        }
        other => Outcome::Failed(Error::failed(format!("Invalid session operation {other:?}"))),
    }
}

fn create(state: &mut State, apply: &mut Apply, mut session: Session) -> Result<String, Error> {
    if session.id.is_empty() {
        return Err(Error::failed("Missing Session ID"));
    }
    match session.behavior.as_str() {
        "" => session.behavior = "release".to_owned(),
        "release" | "delete" => {}
        other => return Err(Error::failed(format!("Invalid session behavior: {other}"))),
    }
    // Decided here and not before the proposal: no session is ever born bound to a critical check.
    check_bindings(state, &session)?;
    session.create_index = apply.index;
    session.modify_index = apply.index;
    let ttl_ns = session.ttl_ns();
    let session = Arc::new(session);
    // An id that exists already is replaced (archives and retries): its old bindings must not linger.
    state.session.remove(&session.id);
    state.session.insert(Arc::clone(&session));
    touched(state, apply, &session);
    if ttl_ns > 0 {
        apply.effect(Effect::SessionCreated { id: session.id.clone(), ttl_ns });
    }
    mirror_status(state, apply, &session, "passing");
    Ok(session.id.clone())
}

/// Ends a session; nothing happens when it does not exist.
pub(crate) fn destroy(state: &mut State, apply: &mut Apply, id: &str) {
    let Some(session) = state.session.remove(id) else { return };
    touched(state, apply, &session);
    let delay_ns = session.lock_delay.clamp(0, LOCK_DELAY_MAX_NS);
    let keys: Vec<Arc<str>> = state.session.locks.get(id).into_iter().flatten().cloned().collect();
    for key in keys {
        if session.behavior == "delete" {
            kv::delete(state, apply, &key);
        } else {
            kv::release_lock(state, apply, &key);
        }
        if delay_ns > 0 {
            apply.effect(Effect::LockDelayed { key: key.to_string(), delay_ns });
        }
    }
    prepared_query::session_gone(state, apply, id);
    apply.effect(Effect::SessionDestroyed { id: id.to_owned() });
    mirror_status(state, apply, &session, "critical");
}

/// A check of a node turned critical or was removed: every session bound to it ends.
pub(crate) fn check_lost(state: &mut State, apply: &mut Apply, node: &str, check_id: &str) {
    let key = (node.to_lowercase(), check_id.to_owned());
    let ids: Vec<_> = state.session.by_check.get(&key).into_iter().flatten().cloned().collect();
    for id in ids {
        destroy(state, apply, &id);
    }
}

/// A node was removed: its sessions end.
pub(crate) fn node_gone(state: &mut State, apply: &mut Apply, node: &str) {
    let ids: Vec<_> = state.session.by_node.get(&node.to_lowercase()).into_iter().flatten().cloned().collect();
    for id in ids {
        destroy(state, apply, &id);
    }
}

/// Checks of type `session` show whether a session of their name exists on the node (since 1.21).
fn mirror_status(state: &mut State, apply: &mut Apply, session: &Session, status: &str) {
    let mirrors: Vec<Arc<HealthCheck>> = state
        .health
        .on_node(&catalog::fold(&session.node))
        .filter(|check| check.r#type == "session" && check.definition.session_name == session.name)
        .cloned()
        .collect();
    for check in mirrors {
        let state_word = if status == "passing" { "in force" } else { "invalid" };
        let output = match status {
            "passing" => format!("Session '{}' {state_word}", session.id),
            _ => format!("Session '{}' is {state_word}", session.id),
        };
        let changed = HealthCheck { status: status.to_owned(), output, ..HealthCheck::clone(&check) };
        // The node exists, so this cannot be refused; and a session mirror binds no sessions itself.
        let _ = health::put_check(state, apply, changed);
    }
}

fn touched(state: &mut State, apply: &mut Apply, session: &Session) {
    state.indexes.raise("sessions", apply.index);
    apply.touch(Topic::Sessions);
    apply.touch(Topic::Session(session.id.as_str().into()));
    apply.touch(Topic::NodeSessions(session.node.to_lowercase().into()));
}

impl State {
    /// The session of this id. The leader's timers ask.
    #[must_use]
    pub fn session_by_id(&self, id: &str) -> Option<&Arc<Session>> {
        self.session.get(id)
    }

    /// Every session. The leader's timers ask.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.session.iter()
    }
}
