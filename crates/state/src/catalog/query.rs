//! Reads of the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use super::noun::{Node, NodeService, StringMap, fold, meta_matches};
use super::row::{NodeServiceList, NodeServices, ServiceNode};
use super::table::{Instance, Prefixed};
use super::{gateway, index};
use crate::config_entry;
use crate::coordinate::{self, Source};
use crate::health::HealthFilter;
use crate::{Error, Found, Index, Query, Seen, State, Topic};

/// The fields of `structs.DCSpecificRequest` that say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodesQuery {
    /// Pairs that the metadata of a node must all have.
    pub node_meta_filters: StringMap,
    /// Sorts the answer by distance from here.
    pub source: Source,
    pub peer_name: String,
}

/// The fields of `structs.NodeSpecificRequest` that say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeQuery {
    pub node: String,
    pub peer_name: String,
    /// Shows proxies and gateways as central defaults complete them.
    pub merge_central_config: bool,
}

/// The fields of `structs.ServiceSpecificRequest` that say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceQuery {
    pub peer_name: String,
    pub node_meta_filters: StringMap,
    pub service_name: String,
    /// The single tag of agents before 1.3; wins over `service_tags` when set.
    pub service_tag: String,
    pub service_tags: Vec<String>,
    /// Asks for the instances at an address instead of those of a name.
    pub service_address: String,
    /// Whether tags count at all.
    pub tag_filter: bool,
    pub health_filter_type: HealthFilter,
    pub source: Source,
    /// Asks for what makes the service reachable through the mesh.
    pub connect: bool,
    pub ingress: bool,
    /// Shows proxies and gateways as central defaults complete them.
    pub merge_central_config: bool,
}

impl ServiceQuery {
    /// Whether the instance has every tag asked for, in any case.
    pub(crate) fn wants_tags_of(&self, service: &NodeService) -> bool {
        let has = |wanted: &str| {
            let wanted = wanted.to_lowercase();
            service.tags.iter().any(|tag| tag.to_lowercase() == wanted)
        };
        if !self.tag_filter || self.connect {
            true
        } else if self.service_tag.is_empty() {
            self.service_tags.iter().all(|tag| has(tag))
        } else {
            has(&self.service_tag)
        }
    }

    /// The instances that the query is about, before any filter. Notes them as seen.
    pub(crate) fn instances<'a>(&self, state: &'a State, seen: &mut Seen) -> Vec<&'a Arc<Instance>> {
        if no_peer(&self.peer_name).is_err() {
            return Vec::new();
        }
        let name = fold(&self.service_name);
        if self.connect {
            seen.note(Topic::Connect(Arc::clone(&name)));
            let in_mesh = state.catalog.mesh_instances_of(&name);
            // What is not in the mesh is reached through its edge.
            let (_, at_edge) = gateway::before(state, seen, &self.service_name, gateway::TERMINATING);
            in_mesh.chain(at_edge).collect()
        } else {
            seen.note(Topic::Service(Arc::clone(&name)));
            state.catalog.instances_of(&name).collect()
        }
    }
}

/// Nothing is imported from peers, so that nothing is found there.
pub(crate) fn no_peer(peer: &str) -> Result<(), ()> {
    if peer.is_empty() { Ok(()) } else { Err(()) }
}

/// Every node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogListNodes(pub NodesQuery);

impl Query for CatalogListNodes {
    const METHOD: &'static str = "Catalog.ListNodes";
    type Answer = Vec<Arc<Node>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Nodes);
        let mut nodes: Vec<_> = state
            .catalog
            .nodes()
            .filter(|_| self.0.peer_name.is_empty())
            .filter(|(_, node)| meta_matches(node.meta.as_ref(), &self.0.node_meta_filters))
            .map(|(_, node)| Arc::clone(node))
            .collect();
        coordinate::sort_by_distance(state, seen, &self.0.source, &mut nodes, |node| &node.node);
        Ok(Found::new(state.indexes.get(index::NODES), nodes))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep(answer, |node| may.allows(Need::read(Resource::Node(&node.node))))
    }
}

/// Every service with its tags.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogListServices(pub NodesQuery);

impl Query for CatalogListServices {
    const METHOD: &'static str = "Catalog.ListServices";
    /// Instances, because redaction and `?filter=` come before they are merged: see [`tags_by_name`].
    type Answer = Vec<ServiceNode>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        if no_peer(&self.0.peer_name).is_err() {
            return Err(Error::failed("listing service names imported from a peer is not supported"));
        }
        seen.note(Topic::Services);
        // The rows show their nodes to filters.
        seen.note(Topic::Nodes);
        let wanted = &self.0.node_meta_filters;
        let mut rows = join(state, state.catalog.instances());
        rows.retain(|row| meta_matches(row.node().meta.as_ref(), wanted));
        let names: &[&str] = if wanted.is_empty() { &[index::SERVICES] } else { &[index::SERVICES, index::NODES] };
        Ok(Found::new(state.indexes.max(names), rows))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep(answer, |row| may_read_row(row, may))
    }
}

/// The names in `rows` with all their tags, each once.
#[must_use]
pub fn tags_by_name(rows: &[ServiceNode]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        tags.entry(&row.service().service).or_default().extend(row.service().tags.iter().map(String::as_str));
    }
    tags
}

/// The names of all services.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogServiceList(pub NodesQuery);

impl Query for CatalogServiceList {
    const METHOD: &'static str = "Catalog.ServiceList";
    type Answer = BTreeSet<String>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Services);
        let names = state.catalog.instances().filter(|_| self.0.peer_name.is_empty());
        let names = names.map(|instance| instance.service.service.clone()).collect();
        Ok(Found::new(state.indexes.get(index::SERVICES), names))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let before = answer.len();
        answer.retain(|name| may.allows(Need::read(Resource::Service(name))));
        answer.len() != before
    }
}

/// The instances of a service with their nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogServiceNodes(pub ServiceQuery);

impl Query for CatalogServiceNodes {
    const METHOD: &'static str = "Catalog.ServiceNodes";
    type Answer = Vec<ServiceNode>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let query = &self.0;
        if query.service_name.is_empty() && query.service_address.is_empty() {
            return Err(Error::failed("Must provide service name"));
        }
        let (mut at, mut rows) = if query.service_address.is_empty() || query.connect {
            let instances = query.instances(state, seen);
            (self.reported(state, &instances), join(state, instances))
        } else {
            // Compat: asked by address, the answer has no index of its own.
            (Index::default(), at_address(state, seen, query))
        };
        if query.merge_central_config {
            at = at.max(merge_rows(state, seen, &mut rows));
        }
        rows.retain(|row| {
            query.wants_tags_of(row.service()) && meta_matches(row.node().meta.as_ref(), &query.node_meta_filters)
        });
        coordinate::sort_by_distance(state, seen, &query.source, &mut rows, ServiceNode::node_name);
        Ok(Found::new(at, rows))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        // Compat: who may not read the service is told that it has no proxies, and not that rows are missing.
        if self.0.connect && !may.allows(Need::read(Resource::Service(&self.0.service_name))) {
            answer.clear();
            return false;
        }
        keep(answer, |row| may_read_row(row, may))
    }
}

impl CatalogServiceNodes {
    fn reported(&self, state: &State, instances: &[&Arc<Instance>]) -> Index {
        let name = fold(&self.0.service_name);
        let own = index::reported_for_service(&state.indexes, &name, !instances.is_empty(), false);
        // The reference leaves it at that, so that watchers of a service's proxies miss changes of them.
        if !self.0.connect {
            return own;
        }
        let gateways = state.indexes.get(config_entry::GATEWAY_SERVICES);
        own.max(index::reported_for_mesh(&state.indexes, &name)).max(gateways)
    }
}

/// Completes proxies and gateways; the highest index of what was merged.
fn merge_rows(state: &State, seen: &mut Seen, rows: &mut [ServiceNode]) -> Index {
    let mut highest = Index::default();
    for row in rows {
        if let Some((service, index)) = config_entry::merged(state, seen, row.service()) {
            // Compat: such a row says nothing of its node but the name.
            let node = Node { node: row.node_name().to_owned(), ..Node::default() };
            *row = row.with(Arc::new(node), service);
            highest = highest.max(index);
        }
    }
    highest
}

fn at_address(state: &State, seen: &mut Seen, query: &ServiceQuery) -> Vec<ServiceNode> {
    if no_peer(&query.peer_name).is_err() {
        return Vec::new();
    }
    seen.note(Topic::Services);
    seen.note(Topic::Nodes);
    let wanted = &query.service_address;
    join(
        state,
        state.catalog.instances().filter(|instance| {
            let service = &instance.service;
            service.address == *wanted
                || service.tagged_addresses.iter().flatten().any(|(_, address)| address.address == *wanted)
        }),
    )
}

/// One node with its services.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogNodeServices(pub NodeQuery);

impl Query for CatalogNodeServices {
    const METHOD: &'static str = "Catalog.NodeServices";
    type Answer = Option<NodeServices>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let (at, found) = node_with_services(state, seen, &self.0)?;
        let answer = found.map(|(node, instances)| NodeServices {
            node: Arc::clone(node),
            services: instances.iter().map(|one| (one.service.id.clone(), Arc::clone(&one.service))).collect(),
        });
        Ok(Found::new(at, answer))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let Some(found) = answer else { return false };
        if !may.allows(Need::read(Resource::Node(&found.node.node))) {
            *answer = None;
            return true;
        }
        let before = found.services.len();
        found.services.retain(|_, service| may_read_service(&service.service, may));
        found.services.len() != before
    }
}

/// One node with its services as a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogNodeServiceList(pub NodeQuery);

impl Query for CatalogNodeServiceList {
    const METHOD: &'static str = "Catalog.NodeServiceList";
    type Answer = NodeServiceList;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let (mut at, found) = node_with_services(state, seen, &self.0)?;
        let mut answer = found.map(|(node, instances)| NodeServiceList {
            node: Some(Arc::clone(node)),
            services: instances.iter().map(|instance| Arc::clone(&instance.service)).collect(),
        });
        if self.0.merge_central_config {
            for service in answer.iter_mut().flat_map(|answer| &mut answer.services) {
                if let Some((merged, index)) = config_entry::merged(state, seen, service) {
                    *service = merged;
                    at = at.max(index);
                }
            }
        }
        Ok(Found::new(at, answer.unwrap_or_default()))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let Some(node) = &answer.node else { return false };
        if !may.allows(Need::read(Resource::Node(&node.node))) {
            *answer = NodeServiceList::default();
            return true;
        }
        keep(&mut answer.services, |service| may_read_service(&service.service, may))
    }
}

type NodeWithInstances<'a> = (&'a Arc<Node>, Vec<&'a Arc<Instance>>);

/// Shortest text that is tried as the beginning of a node id.
const MIN_ID_PREFIX_BYTES: usize = 2;
/// Length of a UUID as text.
const MAX_ID_PREFIX_BYTES: usize = 36;

/// A node by its name, else by the beginning of its id.
fn node_with_services<'a>(
    state: &'a State,
    seen: &mut Seen,
    query: &NodeQuery,
) -> Result<(Index, Option<NodeWithInstances<'a>>), Error> {
    if query.node.is_empty() {
        return Err(Error::failed("Must provide node"));
    }
    if no_peer(&query.peer_name).is_err() {
        return Ok((Index::default(), None));
    }
    seen.note(Topic::Node(fold(&query.node)));
    let node = match state.catalog.node(&query.node) {
        Some(node) => node,
        None if query.node.len() < MIN_ID_PREFIX_BYTES => return Ok((Index::default(), None)),
        None => {
            // Any node could come to match.
            seen.note(Topic::Nodes);
            let digits = id_prefix(&query.node);
            match digits.as_deref().map_or(Prefixed::Nobody, |digits| state.catalog.node_by_id_prefix(digits)) {
                Prefixed::One(node) => node,
                Prefixed::Nobody => return Ok((state.indexes.get(index::NODE_EXTINCTION), None)),
                Prefixed::Several => return Ok((Index::default(), None)),
            }
        }
    };
    let key = fold(&node.node);
    let instances = state.catalog.instances_on(&key).collect();
    let at = state.indexes.get(&index::of_node(&key));
    seen.note(Topic::Node(key));
    Ok((at, Some((node, instances))))
}

/// The digits of a beginning of a UUID.
///
/// Compat: whole bytes only. The text is first cut to an even length and must then, without dashes, have an
/// even number of digits.
fn id_prefix(text: &str) -> Option<String> {
    let text = text.get(..text.len() - text.len() % 2)?;
    if text.len() > MAX_ID_PREFIX_BYTES || text.matches('-').count() > 4 {
        return None;
    }
    let digits = text.replace('-', "").to_ascii_lowercase();
    (digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// Instances with their nodes.
pub(crate) fn join<'a>(state: &State, instances: impl IntoIterator<Item = &'a Arc<Instance>>) -> Vec<ServiceNode> {
    let mut rows = Vec::new();
    for instance in instances {
        if let Some(node) = state.catalog.node(&instance.node_key) {
            rows.push(ServiceNode::new(Arc::clone(node), Arc::clone(instance)));
        }
    }
    rows
}

fn may_read_row(row: &ServiceNode, may: &dyn Authorizer) -> bool {
    may_read(row.node_name(), &row.service().service, may)
}

/// Whether a row about a service on a node may be shown.
pub(crate) fn may_read(node: &str, service: &str, may: &dyn Authorizer) -> bool {
    may.allows(Need::read(Resource::Node(node))) && may_read_service(service, may)
}

pub(super) fn may_read_service(service: &str, may: &dyn Authorizer) -> bool {
    service.is_empty() || may.allows(Need::read(Resource::Service(service)))
}

fn keep<T>(rows: &mut Vec<T>, mut wanted: impl FnMut(&T) -> bool) -> bool {
    let before = rows.len();
    rows.retain(|row| wanted(row));
    rows.len() != before
}
