//! Transactions as clients send them (`api.TxnOps`): the forms of the reference's client library, which knows a little
//! more than the catalog does.

use std::collections::BTreeMap;

use serde::Deserialize;
use state::Index;
use state::catalog::{Locality, Node, NodeService, Proxy, ServiceAddress, ServiceConnect, Weights};
use state::health::{Definition, HealthCheck};
use state::kv::Octets;

/// The whole body.
#[derive(Debug, Default, Deserialize)]
#[serde(rename = "api.TxnOps")]
pub(super) struct TxnOps(pub Vec<Sent>);

/// One operation (`api.TxnOp`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.TxnOp")]
pub(super) struct Sent {
    #[serde(rename = "KV")]
    pub kv: Option<SentKv>,
    #[serde(rename = "Node")]
    pub node: Option<NodeOp>,
    #[serde(rename = "Service")]
    pub service: Option<ServiceOp>,
    #[serde(rename = "Check")]
    pub check: Option<CheckOp>,
}

impl Sent {
    pub fn is_filled(&self) -> bool {
        self.kv.is_some() || self.node.is_some() || self.service.is_some() || self.check.is_some()
    }
}

/// A KV operation (`api.KVTxnOp`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.KVTxnOp", rename_all = "PascalCase")]
pub(super) struct SentKv {
    pub verb: KvVerb,
    pub key: String,
    pub value: Octets,
    pub flags: u64,
    pub index: u64,
    pub session: String,
    #[allow(dead_code, reason = "taken and not looked at")]
    namespace: String,
    #[allow(dead_code, reason = "taken and not looked at")]
    partition: String,
}

/// Verbs have types of their own in the reference's errors.
#[derive(Debug, Default, Deserialize)]
#[serde(rename = "api.KVOp")]
pub(super) struct KvVerb(pub String);

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "api.NodeOp")]
pub(super) struct NodeVerb(pub String);

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "api.ServiceOp")]
pub(super) struct ServiceVerb(pub String);

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "api.CheckOp")]
pub(super) struct CheckVerb(pub String);

/// A node operation (`api.NodeTxnOp`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.NodeTxnOp", rename_all = "PascalCase")]
pub(super) struct NodeOp {
    pub verb: NodeVerb,
    pub node: SentNode,
}

/// A service operation (`api.ServiceTxnOp`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.ServiceTxnOp", rename_all = "PascalCase")]
pub(super) struct ServiceOp {
    pub verb: ServiceVerb,
    pub node: String,
    pub service: SentService,
}

/// A check operation (`api.CheckTxnOp`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.CheckTxnOp", rename_all = "PascalCase")]
pub(super) struct CheckOp {
    pub verb: CheckVerb,
    pub check: SentCheck,
}

/// `api.Node`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.Node", rename_all = "PascalCase")]
pub(super) struct SentNode {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    datacenter: String,
    tagged_addresses: Option<BTreeMap<String, String>>,
    meta: Option<BTreeMap<String, String>>,
    create_index: Index,
    modify_index: Index,
    #[allow(dead_code, reason = "taken and not looked at")]
    partition: String,
    peer_name: String,
    #[allow(dead_code, reason = "Compat: taken and dropped")]
    locality: Option<Locality>,
}

impl From<SentNode> for Node {
    fn from(sent: SentNode) -> Node {
        Node {
            id: sent.id,
            node: sent.node,
            address: sent.address,
            datacenter: sent.datacenter,
            peer_name: sent.peer_name,
            tagged_addresses: sent.tagged_addresses,
            meta: sent.meta,
            locality: None,
            create_index: sent.create_index,
            modify_index: sent.modify_index,
        }
    }
}

/// `api.AgentService`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.AgentService", rename_all = "PascalCase")]
pub(super) struct SentService {
    kind: String,
    #[serde(rename = "ID")]
    id: String,
    service: String,
    tags: Vec<String>,
    meta: Option<BTreeMap<String, String>>,
    port: i64,
    address: String,
    socket_path: String,
    tagged_addresses: Option<BTreeMap<String, ServiceAddress>>,
    weights: SentWeights,
    enable_tag_override: bool,
    create_index: Index,
    modify_index: Index,
    #[allow(dead_code, reason = "taken and not looked at")]
    content_hash: String,
    proxy: Option<Proxy>,
    connect: Option<ServiceConnect>,
    peer_name: String,
    #[allow(dead_code, reason = "taken and not looked at")]
    namespace: String,
    #[allow(dead_code, reason = "taken and not looked at")]
    partition: String,
    #[allow(dead_code, reason = "taken and not looked at")]
    datacenter: String,
    #[allow(dead_code, reason = "Compat: taken and dropped")]
    locality: Option<Locality>,
}

/// `api.AgentWeights`: nothing is zero of each, which stands for the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.AgentWeights", rename_all = "PascalCase")]
struct SentWeights {
    passing: i64,
    warning: i64,
}

impl From<SentService> for NodeService {
    fn from(sent: SentService) -> NodeService {
        let weights = Weights { passing: sent.weights.passing, warning: sent.weights.warning };
        NodeService {
            kind: sent.kind,
            id: sent.id,
            service: sent.service,
            tags: sent.tags,
            address: sent.address,
            tagged_addresses: sent.tagged_addresses,
            meta: sent.meta,
            port: sent.port,
            socket_path: sent.socket_path,
            weights: Some(weights).filter(|weights| weights.passing != 0 || weights.warning != 0),
            enable_tag_override: sent.enable_tag_override,
            locality: None,
            proxy: sent.proxy.unwrap_or_default(),
            connect: sent.connect.unwrap_or_default(),
            peer_name: sent.peer_name,
            create_index: sent.create_index,
            modify_index: sent.modify_index,
        }
    }
}

/// `api.HealthCheck`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "api.HealthCheck", rename_all = "PascalCase")]
pub(super) struct SentCheck {
    node: String,
    #[serde(rename = "CheckID")]
    check_id: String,
    name: String,
    status: String,
    notes: String,
    output: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    service_name: String,
    service_tags: Vec<String>,
    r#type: String,
    #[allow(dead_code, reason = "taken and not looked at")]
    namespace: String,
    #[allow(dead_code, reason = "taken and not looked at")]
    partition: String,
    exposed_port: i64,
    peer_name: String,
    definition: Definition,
    create_index: Index,
    modify_index: Index,
}

impl From<SentCheck> for HealthCheck {
    fn from(sent: SentCheck) -> HealthCheck {
        HealthCheck {
            node: sent.node,
            check_id: sent.check_id,
            name: sent.name,
            status: sent.status,
            notes: sent.notes,
            output: sent.output,
            service_id: sent.service_id,
            service_name: sent.service_name,
            service_tags: sent.service_tags,
            r#type: sent.r#type,
            interval: String::new(),
            timeout: String::new(),
            exposed_port: sent.exposed_port,
            peer_name: sent.peer_name,
            definition: sent.definition,
            create_index: sent.create_index,
            modify_index: sent.modify_index,
        }
    }
}
