//! Transactions: several operations on keys, nodes, services, checks and sessions, all or none (`/v1/txn`).
//!
//! Always true: the first failed operation of the apply phase undoes everything, also what it touched; the
//! answer then names every operation that failed. Since the state is a value, undoing is forgetting.

use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use crate::catalog::{Node, NodeService};
use crate::health::HealthCheck;
use crate::session::Session;
use crate::{Apply, Error, Found, Outcome, Query, Seen, State, Topic, catalog, health, kv, session};

/// What to do with a node, service or check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Get,
    Set,
    Cas,
    Delete,
    DeleteCas,
    #[default]
    #[serde(other)]
    Unknown,
}

/// One operation on a key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KvOp {
    pub verb: kv::Op,
    pub dir_ent: kv::Entry,
}

/// One operation on a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeOp {
    pub verb: Verb,
    pub node: Node,
}

/// One operation on a service of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceOp {
    pub verb: Verb,
    pub node: String,
    pub service: NodeService,
}

/// One operation on a check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckOp {
    pub verb: Verb,
    pub check: HealthCheck,
}

/// One operation on a session; the only verb is `delete`. Reached over RPC only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionOp {
    pub verb: Verb,
    pub session: Session,
}

/// One operation: exactly one field is filled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Op {
    #[serde(rename = "KV")]
    pub kv: Option<KvOp>,
    #[serde(rename = "Node")]
    pub node: Option<NodeOp>,
    #[serde(rename = "Service")]
    pub service: Option<ServiceOp>,
    #[serde(rename = "Check")]
    pub check: Option<CheckOp>,
    #[serde(rename = "Session")]
    pub session: Option<SessionOp>,
}

/// Log message type 8.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnRequest {
    pub datacenter: String,
    pub ops: Vec<Op>,
}

/// What one operation gave: exactly one field is filled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TxnResult {
    #[serde(rename = "KV", skip_serializing_if = "Option::is_none")]
    pub kv: Option<Arc<kv::Entry>>,
    #[serde(rename = "Node", skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<Node>>,
    #[serde(rename = "Service", skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<NodeService>>,
    #[serde(rename = "Check", skip_serializing_if = "Option::is_none")]
    pub check: Option<Arc<HealthCheck>>,
}

/// Why an operation failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnError {
    pub op_index: usize,
    pub what: String,
}

/// What a transaction came to (`structs.TxnResponse`): results, or errors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnResponse {
    pub results: Option<Vec<TxnResult>>,
    pub errors: Option<Vec<TxnError>>,
}

impl TxnResponse {
    /// A transaction that failed.
    #[must_use]
    pub fn failed(errors: Vec<TxnError>) -> Self {
        TxnResponse { results: None, errors: Some(errors) }
    }
}

impl TxnRequest {
    /// Fills in the defaults of each operation.
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        for op in &mut self.ops {
            if let Some(op) = &mut op.service {
                default_id(&mut op.service);
            }
            if let Some(op) = &mut op.check {
                // Compat: here a check is not given the type that its definition implies.
                health::default_id(&mut op.check);
            }
        }
        Ok(())
    }

    /// Transactions refuse operation by operation: see [`TxnRequest::refusals`].
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the shape that all commands share")]
    pub(crate) fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    /// What forbids proposing this: bad operations and missing permissions, each with its place. The caller
    /// answers them as the transaction's errors.
    #[must_use]
    pub fn refusals(&self, may: &dyn Authorizer) -> Vec<TxnError> {
        let refusals = self.ops.iter().enumerate();
        refusals
            .filter_map(|(op_index, op)| {
                let error = op.check_before(may).err()?;
                Some(TxnError { op_index, what: error.to_string() })
            })
            .collect()
    }

    /// The keys that this transaction would lock.
    #[must_use]
    pub fn locks(&self) -> Vec<&str> {
        let kv = self.ops.iter().filter_map(|op| op.kv.as_ref());
        kv.filter(|op| op.verb == kv::Op::Lock).map(|op| &*op.dir_ent.key).collect()
    }

    /// Whether it changes nothing and so needs no log entry.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.ops.iter().all(Op::is_read)
    }
}

fn default_id(service: &mut NodeService) {
    if service.id.is_empty() {
        service.id.clone_from(&service.service);
    }
}

impl Verb {
    /// The verb of this word; `Unknown` when there is none.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "get" => Verb::Get,
            "set" => Verb::Set,
            "cas" => Verb::Cas,
            "delete" => Verb::Delete,
            "delete-cas" => Verb::DeleteCas,
            _ => Verb::Unknown,
        }
    }
}

impl Op {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let verb = |verb: Verb| verb == Verb::Get;
        match self {
            Op { kv: Some(op), .. } => matches!(
                op.verb,
                kv::Op::Get
                    | kv::Op::GetOrEmpty
                    | kv::Op::GetTree
                    | kv::Op::CheckIndex
                    | kv::Op::CheckSession
                    | kv::Op::CheckNotExists
            ),
            Op { node: Some(op), .. } => verb(op.verb),
            Op { service: Some(op), .. } => verb(op.verb),
            Op { check: Some(op), .. } => verb(op.verb),
            _ => false,
        }
    }

    fn check_before(&self, may: &dyn Authorizer) -> Result<(), Error> {
        match self {
            Op { kv: Some(op), .. } => {
                if op.dir_ent.key.is_empty() && op.verb != kv::Op::DeleteTree {
                    return Err(Error::failed("Must provide key"));
                }
                kv::authorize_op(op.verb, &op.dir_ent.key, may)
            }
            Op { node: Some(op), .. } => match op.verb {
                Verb::Get => Ok(()),
                Verb::Unknown => Err(Error::failed("unknown node operation")),
                Verb::Set | Verb::Cas | Verb::Delete | Verb::DeleteCas => {
                    catalog::refuse_bad_node(&op.node.node, &op.node.id)?;
                    Ok(may.require(Need::write(Resource::Node(&op.node.node)))?)
                }
            },
            Op { service: Some(op), .. } => match op.verb {
                Verb::Get => Ok(()),
                Verb::Unknown => Err(Error::failed("unknown service operation")),
                Verb::Set | Verb::Cas | Verb::Delete | Verb::DeleteCas => {
                    catalog::prepare_service(&mut op.service.clone())?;
                    catalog::authorize_service(&op.service, may)
                }
            },
            Op { check: Some(op), .. } => match op.verb {
                Verb::Get => Ok(()),
                Verb::Unknown => Err(Error::failed("unknown check operation")),
                Verb::Set | Verb::Cas | Verb::Delete | Verb::DeleteCas if op.check.service_id.is_empty() => {
                    Ok(may.require(Need::write(Resource::Node(&op.check.node)))?)
                }
                Verb::Set | Verb::Cas | Verb::Delete | Verb::DeleteCas => {
                    Ok(may.require(Need::write(Resource::Service(&op.check.service_name)))?)
                }
            },
            Op { session: Some(op), .. } => match op.verb {
                Verb::Delete => Ok(may.require(Need::write(Resource::Session(&op.session.node)))?),
                _ => Err(Error::failed("unknown session operation")),
            },
            _ => Err(Error::failed("unknown operation type")),
        }
    }
}

/// Answers [`Outcome::Txn`].
pub(crate) fn apply(state: &mut State, apply: &mut Apply, request: TxnRequest) -> Outcome {
    let before = state.clone();
    let mut inner = Apply::new(apply.index);
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for (op_index, op) in request.ops.into_iter().enumerate() {
        match run(state, &mut inner, op) {
            Ok(result) => results.extend(result),
            Err(error) => errors.push(TxnError { op_index, what: error.to_string() }),
        }
    }
    if !errors.is_empty() {
        *state = before;
        return Outcome::Txn(TxnResponse::failed(errors));
    }
    apply.absorb(inner);
    Outcome::Txn(TxnResponse { results: Some(results), errors: None })
}

fn run(state: &mut State, apply: &mut Apply, op: Op) -> Result<Vec<TxnResult>, Error> {
    match op {
        Op { kv: Some(op), .. } => run_kv(state, apply, op),
        Op { node: Some(op), .. } => run_node(state, apply, op),
        Op { service: Some(op), .. } => run_service(state, apply, op),
        Op { check: Some(op), .. } => run_check(state, apply, op),
        Op { session: Some(op), .. } => {
            session::destroy(state, apply, &op.session.id);
            Ok(Vec::new())
        }
        _ => Err(Error::failed("no operation specified")),
    }
}

fn run_kv(state: &mut State, apply: &mut Apply, op: KvOp) -> Result<Vec<TxnResult>, Error> {
    let entry = op.dir_ent;
    let key = Arc::clone(&entry.key);
    let stale = |what: &str| Error::failed(format!("failed to {what} key {key:?}, index is stale"));
    let stored = match op.verb {
        kv::Op::Set => kv::set(state, apply, entry, kv::Holder::Keep),
        kv::Op::Cas => kv::check_and_set(state, apply, entry).ok_or_else(|| stale("set"))?,
        kv::Op::Lock => kv::lock(state, apply, entry)?
            .ok_or_else(|| Error::failed(format!("failed to lock key {key:?}, lock is already held")))?,
        kv::Op::Unlock => kv::unlock(state, apply, entry)?.ok_or_else(|| {
            Error::failed(format!("failed to unlock key {key:?}, lock isn't held, or is held by another session"))
        })?,
        kv::Op::Delete => {
            kv::delete(state, apply, &key);
            return Ok(Vec::new());
        }
        kv::Op::DeleteCas => {
            return match kv::check_and_delete(state, apply, &key, entry.modify_index) {
                true => Ok(Vec::new()),
                false => Err(stale("delete")),
            };
        }
        kv::Op::DeleteTree => {
            kv::delete_tree(state, apply, &key);
            return Ok(Vec::new());
        }
        kv::Op::Get
        | kv::Op::GetOrEmpty
        | kv::Op::GetTree
        | kv::Op::CheckIndex
        | kv::Op::CheckSession
        | kv::Op::CheckNotExists => return read_kv(state, op.verb, &entry),
        kv::Op::Unknown => return Err(Error::failed("unknown KV verb")),
    };
    Ok(vec![kv_result(&stored, Show::Head)])
}

fn read_kv(state: &State, verb: kv::Op, asked: &kv::Entry) -> Result<Vec<TxnResult>, Error> {
    let key = &asked.key;
    let existing = state.kv.get(key);
    let missing = || Error::failed(format!("key {key:?} doesn't exist"));
    match verb {
        kv::Op::Get => Ok(vec![kv_result(existing.ok_or_else(missing)?, Show::Whole)]),
        kv::Op::GetOrEmpty => {
            let empty = || Arc::new(kv::Entry { value: kv::Octets::default(), ..asked.clone() });
            Ok(vec![kv_result(&existing.cloned().unwrap_or_else(empty), Show::Whole)])
        }
        kv::Op::GetTree => Ok(state.kv.below(key).map(|entry| kv_result(entry, Show::Whole)).collect()),
        kv::Op::CheckIndex => {
            let entry =
                existing.ok_or_else(|| Error::failed(format!("failed to check index, key {key:?} doesn't exist")))?;
            let (current, expected) = (entry.modify_index, asked.modify_index);
            if current != expected {
                return Err(Error::failed(format!(
                    "failed index check for key {key:?}, current modify index {current} != {expected}"
                )));
            }
            Ok(vec![kv_result(entry, Show::Head)])
        }
        kv::Op::CheckSession => {
            let entry =
                existing.ok_or_else(|| Error::failed(format!("failed to check session, key {key:?} doesn't exist")))?;
            if entry.session != asked.session {
                let (current, expected) = (&entry.session, &asked.session);
                return Err(Error::failed(format!(
                    "failed session check for key {key:?}, current session {current:?} != {expected:?}"
                )));
            }
            Ok(vec![kv_result(entry, Show::Head)])
        }
        kv::Op::CheckNotExists if existing.is_some() => Err(Error::failed(format!("key {key:?} exists"))),
        _ => Ok(Vec::new()),
    }
}

enum Show {
    /// With its value.
    Whole,
    /// Writes and checks answer without the value.
    Head,
}

fn kv_result(entry: &Arc<kv::Entry>, show: Show) -> TxnResult {
    let entry = match show {
        Show::Whole => Arc::clone(entry),
        Show::Head => Arc::new(kv::Entry { value: kv::Octets::default(), ..kv::Entry::clone(entry) }),
    };
    TxnResult { kv: Some(entry), ..TxnResult::default() }
}

fn run_node(state: &mut State, apply: &mut Apply, op: NodeOp) -> Result<Vec<TxnResult>, Error> {
    let (name, id) = (op.node.node.clone(), op.node.id.clone());
    let stale = |what: &str| Error::failed(format!("failed to {what} node {name:?}, index is stale"));
    match op.verb {
        Verb::Get => {}
        Verb::Set => catalog::put_node(state, apply, op.node)?,
        Verb::Cas => {
            let current = state.catalog.node(&name).map(|node| node.modify_index);
            if !catalog::as_expected(current, op.node.modify_index) {
                return Err(stale("set"));
            }
            catalog::put_node(state, apply, op.node)?;
        }
        Verb::Delete => {
            catalog::remove_node(state, apply, &name);
            return Ok(Vec::new());
        }
        Verb::DeleteCas => {
            let current = state.catalog.node(&name).map(|node| node.modify_index);
            if current != Some(op.node.modify_index) {
                return Err(stale("delete"));
            }
            catalog::remove_node(state, apply, &name);
            return Ok(Vec::new());
        }
        Verb::Unknown => return Err(Error::failed("unknown Node verb")),
    }
    let by_id = || state.catalog.node_by_id(&id);
    let found = if id.is_empty() { state.catalog.node(&name) } else { by_id() };
    let node = found.cloned().ok_or_else(|| Error::failed(format!("node {name:?} doesn't exist")))?;
    Ok(vec![TxnResult { node: Some(node), ..TxnResult::default() }])
}

fn run_service(state: &mut State, apply: &mut Apply, op: ServiceOp) -> Result<Vec<TxnResult>, Error> {
    let (node, id) = (op.node, op.service.id.clone());
    let stale = |what: &str| Error::failed(format!("failed to {what} service {id:?} on node {node:?}, index is stale"));
    match op.verb {
        Verb::Get => {}
        Verb::Set => catalog::put_service(state, apply, &node, &op.service)?,
        Verb::Cas => {
            let current = state.catalog.instance(&node, &id).map(|instance| instance.service.modify_index);
            if !catalog::as_expected(current, op.service.modify_index) {
                return Err(stale("set"));
            }
            catalog::put_service(state, apply, &node, &op.service)?;
        }
        Verb::Delete => {
            catalog::remove_service(state, apply, &node, &id);
            return Ok(Vec::new());
        }
        Verb::DeleteCas => {
            let current = state.catalog.instance(&node, &id).map(|instance| instance.service.modify_index);
            if current != Some(op.service.modify_index) {
                return Err(stale("delete"));
            }
            catalog::remove_service(state, apply, &node, &id);
            return Ok(Vec::new());
        }
        Verb::Unknown => return Err(Error::failed("unknown Service verb")),
    }
    let service = state
        .catalog
        .instance(&node, &id)
        .map(|instance| Arc::clone(&instance.service))
        .ok_or_else(|| Error::failed(format!("service {id:?} on node {node:?} doesn't exist")))?;
    Ok(vec![TxnResult { service: Some(service), ..TxnResult::default() }])
}

fn run_check(state: &mut State, apply: &mut Apply, op: CheckOp) -> Result<Vec<TxnResult>, Error> {
    let (node, id) = (op.check.node.clone(), op.check.check_id.clone());
    let stale = |what: &str| Error::failed(format!("failed to {what} check {id:?} on node {node:?}, index is stale"));
    match op.verb {
        Verb::Get => {}
        Verb::Set => health::put_check(state, apply, op.check)?,
        Verb::Cas => {
            let current = state.health.check(&node, &id).map(|check| check.modify_index);
            if !catalog::as_expected(current, op.check.modify_index) {
                return Err(stale("set"));
            }
            health::put_check(state, apply, op.check)?;
        }
        Verb::Delete => {
            health::remove_check(state, apply, &node, &id);
            return Ok(Vec::new());
        }
        Verb::DeleteCas => {
            let current = state.health.check(&node, &id).map(|check| check.modify_index);
            if current != Some(op.check.modify_index) {
                return Err(stale("delete"));
            }
            health::remove_check(state, apply, &node, &id);
            return Ok(Vec::new());
        }
        Verb::Unknown => return Err(Error::failed("unknown check verb")),
    }
    let check = state
        .health
        .check(&node, &id)
        .cloned()
        .ok_or_else(|| Error::failed(format!("check {id:?} on node {node:?} doesn't exist")))?;
    Ok(vec![TxnResult { check: Some(check), ..TxnResult::default() }])
}

/// A transaction of reads only, evaluated without the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnRead {
    pub ops: Vec<Op>,
}

impl Query for TxnRead {
    const METHOD: &'static str = "Txn.Read";
    type Answer = TxnResponse;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        // Refused operation by operation, as a write is: see `TxnRequest::refusals`.
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        // Never blocks, so what it looked at does not matter.
        seen.note(Topic::Everything);
        let mut scratch = state.clone();
        let request = TxnRequest { ops: self.ops.clone(), ..TxnRequest::default() };
        let applied = scratch.apply(state.applied(), crate::Command::Txn(request));
        let response = match applied.outcome {
            Outcome::Txn(response) => response,
            _ => TxnResponse::default(),
        };
        Ok(Found::new(state.applied(), response))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        answer.redact(may)
    }
}

impl TxnResponse {
    /// Drops the results that the token may not see; says whether any was dropped.
    pub fn redact(&mut self, may: &dyn Authorizer) -> bool {
        let Some(results) = &mut self.results else { return false };
        let before = results.len();
        results.retain(|result| match result {
            TxnResult { kv: Some(entry), .. } => may.allows(Need::read(Resource::Key(&entry.key))),
            TxnResult { node: Some(node), .. } => may.allows(Need::read(Resource::Node(&node.node))),
            TxnResult { service: Some(service), .. } => may.allows(Need::read(Resource::Service(&service.service))),
            TxnResult { check: Some(check), .. } if check.service_name.is_empty() => {
                may.allows(Need::read(Resource::Node(&check.node)))
            }
            TxnResult { check: Some(check), .. } => may.allows(Need::read(Resource::Service(&check.service_name))),
            _ => true,
        });
        results.len() != before
    }
}
