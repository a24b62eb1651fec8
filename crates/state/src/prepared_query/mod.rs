//! Prepared queries: named, stored lookups of healthy instances (`/v1/query`).
//!
//! Always true: no two queries share a name, none has another's id as its name; a query bound to a session
//! goes away with it.
//!
//! Not here: failover to other datacenters and shuffling, which need other agents and randomness.

mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;

use crate::catalog::{CheckServiceNode, ServiceQuery as InstanceQuery};
use crate::coordinate::{self, Source};
use crate::health::HealthServiceNodes;
use crate::{Apply, Error, Found, Index, Indexes, Outcome, Query, Seen, State, Topic};

/// A stored query (`structs.PreparedQuery`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQuery {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    /// Goes away with this session.
    pub session: String,
    /// Captured token that execution uses instead of the asker's.
    pub token: String,
    pub template: Template,
    pub service: ServiceQuery,
    #[serde(rename = "DNS")]
    pub dns: DnsOptions,
    pub create_index: Index,
    pub modify_index: Index,
}

/// Makes a query answer for every name with its prefix (`structs.QueryTemplateOptions`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "QueryTemplateOptions", rename_all = "PascalCase")]
pub struct Template {
    /// Empty, or `name_prefix_match`.
    pub r#type: String,
    pub regexp: String,
    pub remove_empty_tags: bool,
}

/// What to look up (`structs.ServiceQuery`). `None` is Go's nil, shown as `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceQuery {
    pub service: String,
    pub sameness_group: String,
    pub failover: Failover,
    pub only_passing: bool,
    #[serde(rename = "IgnoreCheckIDs")]
    pub ignore_check_ids: Option<Vec<String>>,
    pub near: String,
    /// `!tag` excludes.
    pub tags: Option<Vec<String>>,
    pub node_meta: Option<BTreeMap<String, String>>,
    pub service_meta: Option<BTreeMap<String, String>>,
    pub connect: bool,
    pub peer: String,
}

/// Where to look when nothing is healthy here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "QueryFailoverOptions", rename_all = "PascalCase")]
pub struct Failover {
    pub nearest_n: i64,
    pub datacenters: Option<Vec<String>>,
    pub targets: Option<Vec<FailoverTarget>>,
}

/// A peer or datacenter to fail over to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "QueryFailoverTarget", rename_all = "PascalCase")]
pub struct FailoverTarget {
    pub peer: String,
    pub datacenter: String,
}

/// How DNS answers for the query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "QueryDNSOptions", rename_all = "PascalCase")]
pub struct DnsOptions {
    #[serde(rename = "TTL")]
    pub ttl: String,
}

/// Log message type 7. The id of a new query is chosen by whoever proposes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryRequest {
    pub datacenter: String,
    /// `create`, `update` or `delete`.
    pub op: String,
    pub query: PreparedQuery,
}

/// The words of [`PreparedQueryRequest::op`].
pub const CREATE: &str = "create";
/// See [`CREATE`].
pub const UPDATE: &str = "update";
/// See [`CREATE`].
pub const DELETE: &str = "delete";
/// Stands for a captured token that the asker may not see.
pub const HIDDEN_TOKEN: &str = "<hidden>";
const NAME_PREFIX_MATCH: &str = "name_prefix_match";

impl PreparedQuery {
    fn is_template(&self) -> bool {
        !self.template.r#type.is_empty()
    }

    /// The name that query permissions are about; unnamed queries are guarded by their id alone.
    #[must_use]
    pub fn guarded_name(&self) -> Option<&str> {
        (!self.name.is_empty() || self.is_template()).then_some(self.name.as_str())
    }

    /// Whether an instance is healthy enough and carries the metadata and tags that are asked for.
    #[must_use]
    pub fn selects(&self, instance: &CheckServiceNode) -> bool {
        let asked = &self.service;
        let ignored = |id: &str| asked.ignore_check_ids.iter().flatten().any(|ignored| ignored == id);
        let healthy = instance
            .checks
            .iter()
            .filter(|check| !ignored(&check.check_id))
            .all(|check| check.status != "critical" && (!asked.only_passing || check.status == "passing"));
        let has_tag = |tag: &str| instance.service.tags.iter().any(|own| own.to_lowercase() == tag);
        healthy
            && holds(instance.node.meta.as_ref(), asked.node_meta.as_ref())
            && holds(instance.service.meta.as_ref(), asked.service_meta.as_ref())
            && asked.tags.iter().flatten().all(|tag| {
                let tag = tag.to_lowercase();
                tag.strip_prefix('!').map_or_else(|| has_tag(&tag), |tag| !has_tag(tag))
            })
    }
}

fn holds(meta: Option<&BTreeMap<String, String>>, asked: Option<&BTreeMap<String, String>>) -> bool {
    asked.into_iter().flatten().all(|(key, value)| meta.is_some_and(|meta| meta.get(key) == Some(value)))
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    by_id: OrdMap<Arc<str>, Arc<PreparedQuery>>,
    /// Lower-cased name → id: names are matched without case.
    by_name: OrdMap<Arc<str>, Arc<str>>,
    by_session: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
}

impl Table {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<PreparedQuery>> {
        self.by_id.get(id)
    }

    fn named(&self, name: &str) -> Option<&Arc<PreparedQuery>> {
        self.by_name.get(name.to_lowercase().as_str()).and_then(|id| self.by_id.get(id))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<PreparedQuery>> {
        self.by_id.values()
    }

    fn insert(&mut self, query: Arc<PreparedQuery>) {
        let id: Arc<str> = query.id.as_str().into();
        self.remove(&id);
        // The empty name is that of a template which answers for everything.
        if query.guarded_name().is_some() {
            self.by_name.insert(query.name.to_lowercase().into(), Arc::clone(&id));
        }
        if !query.session.is_empty() {
            self.by_session.entry(query.session.as_str().into()).or_default().insert(Arc::clone(&id));
        }
        self.by_id.insert(id, query);
    }

    fn remove(&mut self, id: &str) -> Option<Arc<PreparedQuery>> {
        let query = self.by_id.remove(id)?;
        let name = query.name.to_lowercase();
        if self.by_name.get(name.as_str()).is_some_and(|holder| &**holder == id) {
            self.by_name.remove(name.as_str());
        }
        if let Some(ids) = self.by_session.get_mut(query.session.as_str()) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_session.remove(query.session.as_str());
            }
        }
        Some(query)
    }

    pub(crate) fn restore(&mut self, query: PreparedQuery, indexes: &mut Indexes) {
        indexes.raise("prepared-queries", query.modify_index);
        self.insert(Arc::new(query));
    }

    /// The query that answers for a name or id; templates are rendered for it.
    pub(crate) fn resolve(&self, id_or_name: &str) -> Result<Option<PreparedQuery>, Error> {
        if id_or_name.is_empty() {
            return Err(Error::failed("Missing Query ID"));
        }
        if let Some(query) = self.get(id_or_name) {
            if query.is_template() {
                return Err(Error::failed("prepared query templates can only be resolved up by name, not by ID"));
            }
            return Ok(Some(PreparedQuery::clone(query)));
        }
        let prefixes = id_or_name.char_indices().map(|(at, _)| at).chain([id_or_name.len()]).rev();
        let template = || {
            prefixes
                .map(|end| &id_or_name[..end])
                .find_map(|prefix| self.named(prefix).filter(|query| query.is_template()))
        };
        match self.named(id_or_name).or_else(template) {
            None => Ok(None),
            Some(query) if query.is_template() => template::render(query, id_or_name).map(Some),
            Some(query) => Ok(Some(PreparedQuery::clone(query))),
        }
    }
}

impl PreparedQueryRequest {
    pub(crate) fn prepare(&mut self, state: &State) -> Result<(), Error> {
        if self.op != CREATE && state.prepared_query.get(&self.query.id).is_none() {
            check_uuid(&self.query.id).map_err(|reason| {
                Error::failed(format!(
                    "Prepared Query lookup failed: failed prepared query lookup: index error: {reason}"
                ))
            })?;
            return Err(Error::failed(format!("Cannot modify non-existent prepared query: '{}'", self.query.id)));
        }
        match self.op.as_str() {
            CREATE | UPDATE => {
                check(&self.query).map_err(|reason| Error::failed(format!("Invalid prepared query: {reason}")))
            }
            DELETE => Ok(()),
            other => Err(Error::failed(format!("Unknown prepared query operation: {other}"))),
        }
    }

    pub(crate) fn authorize(&self, state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        if let Some(name) = self.query.guarded_name() {
            may.require(Need::write(Resource::PreparedQuery(name)))?;
        }
        if self.op != CREATE
            && let Some(existing) = state.prepared_query.get(&self.query.id)
            && let Some(name) = existing.guarded_name()
        {
            may.require(Need::write(Resource::PreparedQuery(name)))?;
        }
        Ok(())
    }
}

fn check(query: &PreparedQuery) -> Result<(), String> {
    if query.name.is_empty() && !query.is_template() && query.session.is_empty() {
        return Err("Must be bound to a session".to_owned());
    }
    if query.token == HIDDEN_TOKEN {
        return Err(format!(
            "Bad Token '{HIDDEN_TOKEN}', it looks like a query definition with a redacted token was submitted"
        ));
    }
    let service = &query.service;
    if service.service.is_empty() {
        return Err("Must provide a Service name to query".to_owned());
    }
    if !service.sameness_group.is_empty() {
        return Err("sameness-groups are an enterprise-only feature".to_owned());
    }
    let failover = &service.failover;
    if failover.nearest_n < 0 {
        return Err(format!("Bad NearestN '{}', must be >= 0", failover.nearest_n));
    }
    let has_datacenters = failover.datacenters.as_ref().is_some_and(|list| !list.is_empty());
    if (failover.nearest_n != 0 || has_datacenters) && failover.targets.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err("Targets cannot be populated with NearestN or Datacenters".to_owned());
    }
    if !query.dns.ttl.is_empty() {
        let ttl =
            GoDuration::parse(&query.dns.ttl).map_err(|error| format!("Bad DNS TTL '{}': {error}", query.dns.ttl))?;
        if ttl.0 < 0 {
            return Err(format!("DNS TTL '{}', must be >=0", ttl.0));
        }
    }
    Ok(())
}

/// Answers [`Outcome::Done`].
pub(crate) fn apply(state: &mut State, apply: &mut Apply, request: PreparedQueryRequest) -> Outcome {
    let result = match request.op.as_str() {
        CREATE | UPDATE => set(state, apply, request.query),
        DELETE => {
            delete(state, apply, &request.query.id);
            Ok(())
        }
        other => Err(Error::failed(format!("Unknown prepared query operation: {other}"))),
    };
    match result {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(Error::failed(format!("raft apply failed: {error}"))),
    }
}

fn set(state: &mut State, apply: &mut Apply, mut query: PreparedQuery) -> Result<(), Error> {
    if query.id.is_empty() {
        return Err(Error::failed("Missing Query ID"));
    }
    let existing = state.prepared_query.get(&query.id);
    query.create_index = existing.map_or(apply.index, |existing| existing.create_index);
    query.modify_index = apply.index;
    if let Some(existing) = existing {
        let same = PreparedQuery { modify_index: existing.modify_index, ..query.clone() };
        if same == **existing {
            return Ok(());
        }
    }
    // Two ways to one name would let one query steal another's callers.
    if let Some(other) = state.prepared_query.named(&query.name)
        && query.guarded_name().is_some()
        && other.id != query.id
    {
        return Err(Error::failed(match query.name.as_str() {
            "" => "a query template with an empty name already exists".to_owned(),
            name => format!("name '{name}' aliases an existing query name"),
        }));
    }
    if state.prepared_query.get(&query.name).is_some() {
        return Err(Error::failed(format!("name '{}' aliases an existing query ID", query.name)));
    }
    if !query.session.is_empty() && state.session.get(&query.session).is_none() {
        return Err(Error::failed(format!("invalid session {:?}", query.session)));
    }
    if query.is_template() {
        template::compile(&query).map_err(|error| Error::failed(format!("failed compiling template: {error}")))?;
    }
    state.prepared_query.insert(Arc::new(query));
    touched(state, apply);
    Ok(())
}

fn delete(state: &mut State, apply: &mut Apply, id: &str) {
    if state.prepared_query.remove(id).is_some() {
        touched(state, apply);
    }
}

fn touched(state: &mut State, apply: &mut Apply) {
    state.indexes.raise("prepared-queries", apply.index);
    apply.touch(Topic::PreparedQueries);
}

/// A session ended: the prepared queries bound to it go away.
pub(crate) fn session_gone(state: &mut State, apply: &mut Apply, session: &str) {
    let ids: Vec<_> = state.prepared_query.by_session.get(session).into_iter().flatten().cloned().collect();
    for id in ids {
        delete(state, apply, &id);
    }
}

/// One query by id; an empty list when it does not exist.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryGet {
    #[serde(rename = "QueryID")]
    pub query_id: String,
}

impl Query for PreparedQueryGet {
    const METHOD: &'static str = "PreparedQuery.Get";
    type Answer = Vec<PreparedQuery>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        // Knowing the id of an unnamed query is enough; named ones are redacted.
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::PreparedQueries);
        check_uuid(&self.query_id)
            .map_err(|reason| Error::failed(format!("failed prepared query lookup: index error: {reason}")))?;
        let query = state.prepared_query.get(&self.query_id);
        let Some(query) = query else { return Err(Error::not_found("Query not found")) };
        let index = state.indexes.get("prepared-queries");
        Ok(Found::new(index, vec![PreparedQuery::clone(query)]))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        redact(answer, may)
    }
}

/// All queries.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PreparedQueryList {}

impl Query for PreparedQueryList {
    const METHOD: &'static str = "PreparedQuery.List";
    type Answer = Vec<PreparedQuery>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::PreparedQueries);
        let queries = state.prepared_query.iter().map(|query| PreparedQuery::clone(query)).collect();
        Ok(Found::new(state.indexes.get("prepared-queries"), queries))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        redact(answer, may)
    }
}

/// Management sees everything; others see named queries that they may read, without captured tokens.
fn redact(queries: &mut Vec<PreparedQuery>, may: &dyn Authorizer) -> bool {
    if may.allows(Need::write(Resource::Acl)) {
        return false;
    }
    let before = queries.len();
    queries
        .retain(|query| query.guarded_name().is_some_and(|name| may.allows(Need::read(Resource::PreparedQuery(name)))));
    for query in queries.iter_mut().filter(|query| !query.token.is_empty()) {
        HIDDEN_TOKEN.clone_into(&mut query.token);
    }
    queries.len() != before
}

/// What a query finds, before sorting and limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Executed {
    /// The query as executed, templates rendered.
    pub query: PreparedQuery,
    pub nodes: Vec<CheckServiceNode>,
    /// The order means something: do not shuffle.
    pub is_sorted: bool,
}

/// Executes a query by id or name in this datacenter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryExecute {
    #[serde(rename = "QueryIDOrName")]
    pub query_id_or_name: String,
    /// Looks for mesh-capable instances whatever the query says.
    pub connect: bool,
    /// Sorts by distance from here; wins over the query's own `Near`.
    pub source: Source,
    /// The agent that executes: what `_agent` means.
    pub agent: Source,
}

impl Query for PreparedQueryExecute {
    const METHOD: &'static str = "PreparedQuery.Execute";
    type Answer = Executed;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        // Executing needs no query permission; the instances are redacted by service and node permissions.
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::PreparedQueries);
        let query = state.prepared_query.resolve(&self.query_id_or_name)?;
        let Some(query) = query else { return Err(Error::not_found("Query not found")) };
        let lookup = HealthServiceNodes(InstanceQuery {
            service_name: query.service.service.clone(),
            peer_name: query.service.peer.clone(),
            connect: query.service.connect || self.connect,
            ..InstanceQuery::default()
        });
        let Found { index, answer: mut nodes, .. } = lookup.run(state, seen)?;
        nodes.retain(|instance| query.selects(instance));
        let source = self.source(state, &query);
        coordinate::sort_by_distance(state, seen, &source, &mut nodes, |instance| &instance.node.node);
        put_first(&mut nodes, &source.node);
        let is_sorted = !source.node.is_empty();
        Ok(Found::new(index, Executed { query, nodes, is_sorted }))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let before = answer.nodes.len();
        answer.nodes.retain(|instance| {
            may.allows(Need::read(Resource::Node(&instance.node.node)))
                && may.allows(Need::read(Resource::Service(&instance.service.service)))
        });
        answer.nodes.len() != before
    }
}

/// The asked-for node itself is searched among this many nearest and put first.
const SELF_SEARCH_MAX: usize = 10;

fn put_first(nodes: &mut [CheckServiceNode], node: &str) {
    let own = nodes.iter().take(SELF_SEARCH_MAX).position(|instance| instance.node.node.eq_ignore_ascii_case(node));
    if let Some(at) = own.filter(|_| !node.is_empty()) {
        nodes.swap(0, at);
    }
}

impl PreparedQueryExecute {
    /// From where to sort: what the client says, else what the query says; `_agent` and `_ip` resolved.
    fn source(&self, state: &State, query: &PreparedQuery) -> Source {
        let mut source = self.source.clone();
        if source.node.is_empty() {
            source.node.clone_from(&query.service.near);
        }
        if source.node == "_agent" {
            source.node.clone_from(&self.agent.node);
        } else if source.node == "_ip" {
            let mut nodes = state.catalog.nodes();
            let sender = nodes.find(|(_, node)| !source.ip.is_empty() && node.address == source.ip);
            source.node = sender.map(|(_, node)| node.node.clone()).unwrap_or_default();
        }
        source
    }
}

/// Shows a query as it would be executed for a name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryExplain {
    #[serde(rename = "QueryIDOrName")]
    pub query_id_or_name: String,
}

impl Query for PreparedQueryExplain {
    const METHOD: &'static str = "PreparedQuery.Explain";
    type Answer = PreparedQuery;

    fn authorize(&self, state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        let name = state.prepared_query.resolve(&self.query_id_or_name)?;
        if let Some(name) = name.as_ref().and_then(PreparedQuery::guarded_name) {
            may.require(Need::read(Resource::PreparedQuery(name)))?;
        }
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::PreparedQueries);
        let query = state.prepared_query.resolve(&self.query_id_or_name)?;
        let Some(query) = query else { return Err(Error::not_found("Query not found")) };
        Ok(Found::new(state.indexes.get("prepared-queries"), query))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        if !answer.token.is_empty() && !may.allows(Need::write(Resource::Acl)) {
            HIDDEN_TOKEN.clone_into(&mut answer.token);
        }
        false
    }
}

/// Why a text is no UUID, in the reference's words.
pub(crate) fn check_uuid(id: &str) -> Result<(), String> {
    if id.len() != 36 {
        return Err("UUID must be 36 characters".to_owned());
    }
    let hyphens = id.bytes().filter(|byte| *byte == b'-').count();
    if hyphens > 4 {
        return Err(format!("UUID should have maximum of 4 \"-\"; got {hyphens}"));
    }
    let digits = id.bytes().filter(|byte| *byte != b'-');
    match digits.clone().find(|byte| !byte.is_ascii_hexdigit()) {
        Some(byte) => Err(format!("encoding/hex: invalid byte: {:?}", char::from(byte))),
        None if digits.count() % 2 == 1 => Err("UUID must be of even length".to_owned()),
        None => Ok(()),
    }
}
