//! Reads of everything at once, for the web page (`/v1/internal/ui`).

use std::sync::Arc;

use acl::Authorizer;
use serde::{Deserialize, Serialize};

use super::index;
use super::noun::{Node, NodeService, StringMap, fold};
use super::query::{NodeQuery, NodesQuery, may_read, no_peer};
use super::row::CheckServiceNode;
use crate::health::{HealthCheck, with_checks};
use crate::{Error, Found, Index, Query, Seen, State, Topic};

/// A node with everything on it (`structs.NodeInfo`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeInfo {
    #[serde(rename = "ID")]
    pub id: String,
    pub node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer_name: String,
    pub address: String,
    pub tagged_addresses: Option<StringMap>,
    pub meta: Option<StringMap>,
    pub services: Vec<Arc<NodeService>>,
    pub checks: Vec<Arc<HealthCheck>>,
}

impl NodeInfo {
    fn gather(state: &State, key: &Arc<str>, node: &Node) -> Self {
        let services: Vec<_> = state.catalog.instances_on(key).map(|instance| Arc::clone(&instance.service)).collect();
        let mut meta = node.meta.clone();
        // Compat: servers of versions that did not say theirs on the node say it on their service.
        let version = services
            .iter()
            .filter(|service| service.id == "consul")
            .find_map(|service| service.meta.as_ref()?.get("version").filter(|version| !version.is_empty()).cloned());
        if let Some(version) = version {
            meta.get_or_insert_default().entry("consul-version".into()).or_insert(version);
        }
        NodeInfo {
            id: node.id.clone(),
            node: node.node.clone(),
            peer_name: node.peer_name.clone(),
            address: node.address.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            meta,
            services,
            checks: state.health.on_node(key).cloned().collect(),
        }
    }
}

fn redact_nodes(nodes: &mut Vec<NodeInfo>, may: &dyn Authorizer) -> bool {
    let mut dropped = false;
    nodes.retain_mut(|info| {
        let all = (info.services.len(), info.checks.len());
        info.services.retain(|service| may_read(&info.node, &service.service, may));
        info.checks.retain(|check| may_read(&info.node, &check.service_name, may));
        let kept = may_read(&info.node, "", may);
        dropped |= !kept || all != (info.services.len(), info.checks.len());
        kept
    });
    dropped
}

/// One node with everything on it, found by its name only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InternalNodeInfo(pub NodeQuery);

impl Query for InternalNodeInfo {
    const METHOD: &'static str = "Internal.NodeInfo";
    /// One node or none.
    type Answer = Vec<NodeInfo>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let key = fold(&self.0.node);
        seen.note(Topic::Node(Arc::clone(&key)));
        seen.note(Topic::NodeChecks(Arc::clone(&key)));
        let node = state.catalog.node(&key).filter(|_| no_peer(&self.0.peer_name).is_ok());
        let answer = node.map(|node| NodeInfo::gather(state, &key, node)).into_iter().collect();
        Ok(Found::new(of_everything(state), answer))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        redact_nodes(answer, may)
    }
}

/// Every node with everything on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InternalNodeDump(pub NodesQuery);

impl Query for InternalNodeDump {
    const METHOD: &'static str = "Internal.NodeDump";
    type Answer = Vec<NodeInfo>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        if let Err(()) = no_peer(&self.0.peer_name) {
            let peer = &self.0.peer_name;
            return Err(Error::failed(format!("this endpoint does not support specifying a peer: {peer:?}")));
        }
        note_everything(seen);
        let answer = state.catalog.nodes().map(|(key, node)| NodeInfo::gather(state, key, node)).collect();
        Ok(Found::new(of_everything(state), answer))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        redact_nodes(answer, may)
    }
}

/// The fields of `structs.ServiceDumpRequest` that say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DumpQuery {
    pub service_kind: String,
    pub use_service_kind: bool,
    pub peer_name: String,
    /// Carried only: there are no gateways to leave out.
    pub nodes_only: bool,
}

/// Every service instance with its checks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InternalServiceDump(pub DumpQuery);

impl Query for InternalServiceDump {
    const METHOD: &'static str = "Internal.ServiceDump";
    type Answer = Vec<CheckServiceNode>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        note_everything(seen);
        let query = &self.0;
        let kind = query.use_service_kind.then(|| fold(&query.service_kind));
        let instances = state.catalog.instances().filter(|instance| {
            query.peer_name.is_empty() && kind.as_ref().is_none_or(|kind| fold(&instance.service.kind) == *kind)
        });
        let at = match &kind {
            Some(kind) => state.indexes.get(&index::of_kind(kind)),
            None => of_everything(state),
        };
        Ok(Found::new(at, with_checks(state, instances)))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let before = answer.len();
        answer.retain(|row| may_read(&row.node.node, &row.service.service, may));
        answer.len() != before
    }
}

fn of_everything(state: &State) -> Index {
    state.indexes.max(&[index::CHECKS, index::SERVICES, index::NODES])
}

fn note_everything(seen: &mut Seen) {
    seen.note(Topic::Nodes);
    seen.note(Topic::Services);
    seen.note(Topic::Checks);
}
