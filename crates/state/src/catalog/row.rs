//! What answers about the catalog consist of. Rows share the stored objects; joining costs a few pointers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::noun::{Locality, Node, NodeService, ServiceAddress, StringMap, Weights};
use super::proxy::{Proxy, ServiceConnect};
use super::table::Instance;
use crate::Index;
use crate::health::{HealthCheck, HealthFilter};

/// A service instance with the fields of its node, flat (`structs.ServiceNode`).
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceNode {
    node: Arc<Node>,
    instance: Arc<Instance>,
}

impl ServiceNode {
    pub(crate) fn new(node: Arc<Node>, instance: Arc<Instance>) -> Self {
        ServiceNode { node, instance }
    }

    /// The same row about a node and a service as something else shows them.
    pub(crate) fn with(&self, node: Arc<Node>, service: Arc<NodeService>) -> Self {
        ServiceNode { node, instance: Arc::new(Instance { service, ..Instance::clone(&self.instance) }) }
    }

    /// The node with its own fields; its name may differ in case from [`Self::node_name`].
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The node's name as the instance was registered with it.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.instance.node
    }

    #[must_use]
    pub fn service(&self) -> &Arc<NodeService> {
        &self.instance.service
    }
}

impl Serialize for ServiceNode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (node, service) = (&*self.node, &*self.instance.service);
        Flat {
            id: &node.id,
            node: &self.instance.node,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: &node.tagged_addresses,
            node_meta: &node.meta,
            service_kind: &service.kind,
            service_id: &service.id,
            service_name: &service.service,
            service_tags: &service.tags,
            service_address: &service.address,
            service_tagged_addresses: service.tagged_addresses.as_ref().filter(|addresses| !addresses.is_empty()),
            service_weights: service.weights.as_ref().unwrap_or(&ONE_EACH),
            // Compat: never null in this shape.
            service_meta: service.meta.as_ref().unwrap_or(&NO_META),
            service_port: service.port,
            service_socket_path: &service.socket_path,
            service_enable_tag_override: service.enable_tag_override,
            service_proxy: &service.proxy,
            service_connect: &service.connect,
            service_locality: &service.locality,
            peer_name: &service.peer_name,
            create_index: service.create_index,
            modify_index: service.modify_index,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ServiceNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flat = OwnedFlat::deserialize(deserializer)?;
        let node = Node {
            id: flat.id,
            node: flat.node.clone(),
            address: flat.address,
            datacenter: flat.datacenter,
            peer_name: flat.peer_name.clone(),
            tagged_addresses: flat.tagged_addresses,
            meta: flat.node_meta,
            ..Node::default()
        };
        let service = NodeService {
            kind: flat.service_kind,
            id: flat.service_id,
            service: flat.service_name,
            tags: flat.service_tags,
            address: flat.service_address,
            tagged_addresses: flat.service_tagged_addresses,
            meta: flat.service_meta,
            port: flat.service_port,
            socket_path: flat.service_socket_path,
            weights: flat.service_weights,
            enable_tag_override: flat.service_enable_tag_override,
            locality: flat.service_locality,
            proxy: flat.service_proxy,
            connect: flat.service_connect,
            peer_name: flat.peer_name,
            create_index: flat.create_index,
            modify_index: flat.modify_index,
        };
        let instance = Instance::new(&flat.node, Arc::new(service));
        Ok(ServiceNode { node: Arc::new(node), instance: Arc::new(instance) })
    }
}

static ONE_EACH: Weights = Weights { passing: 1, warning: 1 };
static NO_META: StringMap = BTreeMap::new();

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Flat<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: &'a Option<StringMap>,
    node_meta: &'a Option<StringMap>,
    service_kind: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tagged_addresses: Option<&'a BTreeMap<String, ServiceAddress>>,
    service_weights: &'a Weights,
    service_meta: &'a StringMap,
    service_port: i64,
    service_socket_path: &'a str,
    service_enable_tag_override: bool,
    service_proxy: &'a Proxy,
    service_connect: &'a ServiceConnect,
    service_locality: &'a Option<Locality>,
    #[serde(skip_serializing_if = "str::is_empty")]
    peer_name: &'a str,
    create_index: Index,
    modify_index: Index,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct OwnedFlat {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    datacenter: String,
    tagged_addresses: Option<StringMap>,
    node_meta: Option<StringMap>,
    service_kind: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    service_name: String,
    service_tags: Vec<String>,
    service_address: String,
    service_tagged_addresses: Option<BTreeMap<String, ServiceAddress>>,
    service_weights: Option<Weights>,
    service_meta: Option<StringMap>,
    service_port: i64,
    service_socket_path: String,
    service_enable_tag_override: bool,
    service_proxy: Proxy,
    service_connect: ServiceConnect,
    service_locality: Option<Locality>,
    peer_name: String,
    create_index: Index,
    modify_index: Index,
}

/// An instance with its node and all checks that speak of it (`structs.CheckServiceNode`): those of the node
/// first, then its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckServiceNode {
    pub node: Arc<Node>,
    pub service: Arc<NodeService>,
    pub checks: Vec<Arc<HealthCheck>>,
}

impl CheckServiceNode {
    /// Whether every check lets it pass; checks named in `ignored` do not count.
    #[must_use]
    pub fn passes(&self, filter: HealthFilter, ignored: &[String]) -> bool {
        self.checks.iter().filter(|check| !ignored.contains(&check.check_id)).all(|check| filter.keeps(&check.status))
    }
}

/// A node with its services by id (`structs.NodeServices`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeServices {
    pub node: Arc<Node>,
    pub services: BTreeMap<String, Arc<NodeService>>,
}

/// A node with its services in order of ids (`structs.NodeServiceList`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeServiceList {
    /// `None` for a node that does not exist.
    pub node: Option<Arc<Node>>,
    /// Compat: shown as `null` when empty.
    #[serde(serialize_with = "null_when_empty")]
    pub services: Vec<Arc<NodeService>>,
}

fn null_when_empty<S: Serializer>(services: &Vec<Arc<NodeService>>, serializer: S) -> Result<S::Ok, S::Error> {
    if services.is_empty() { serializer.serialize_none() } else { services.serialize(serializer) }
}
