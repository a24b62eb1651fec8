//! The nouns of the catalog, as they are stored, sent and shown.
//!
//! One set of types serves log records, RPC and JSON: field names are Go's, fields that JSON leaves out when
//! empty are left out everywhere (the reference's decoder takes a missing field as its zero value).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::proxy::{Proxy, ServiceConnect};
use crate::Index;
use crate::health::HealthCheck;

/// Metadata and tagged addresses: `None` is Go's nil map, shown as `null`.
pub type StringMap = BTreeMap<String, String>;

/// A node of the catalog (`structs.Node`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Node {
    #[serde(rename = "ID")]
    pub id: String,
    pub node: String,
    pub address: String,
    pub datacenter: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer_name: String,
    pub tagged_addresses: Option<StringMap>,
    pub meta: Option<StringMap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    pub create_index: Index,
    pub modify_index: Index,
}

/// Where something runs (`structs.Locality`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Locality {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
}

/// An address with its port (`structs.ServiceAddress`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceAddress {
    pub address: String,
    pub port: i64,
}

/// DNS weights of an instance by its health (`structs.Weights`). A field that is missing from input is zero,
/// while an instance without weights has one of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Weights {
    #[serde(default)]
    pub passing: i64,
    #[serde(default)]
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { passing: 1, warning: 1 }
    }
}

/// A service instance on a node (`structs.NodeService`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeService {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub service: String,
    /// Never `null` where clients see it.
    pub tags: Vec<String>,
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tagged_addresses: Option<BTreeMap<String, ServiceAddress>>,
    pub meta: Option<StringMap>,
    #[serde(skip_serializing_if = "is_zero")]
    pub port: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    pub weights: Option<Weights>,
    pub enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    pub proxy: Proxy,
    pub connect: ServiceConnect,
    pub peer_name: String,
    pub create_index: Index,
    pub modify_index: Index,
}

impl NodeService {
    /// Adds the tagged addresses that an IP address implies, as agents do before they register a service.
    pub fn imply_addresses(&mut self) {
        let Ok(ip) = self.address.parse::<std::net::IpAddr>() else { return };
        let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        let addresses = self.tagged_addresses.get_or_insert_default();
        for network in ["lan", "wan"] {
            let implied = ServiceAddress { address: self.address.clone(), port: self.port };
            addresses.entry(format!("{network}_{family}")).or_insert(implied);
        }
    }
}

/// Log message type 0: upserts a node, optionally a service on it, optionally checks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RegisterRequest {
    pub datacenter: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub node: String,
    pub address: String,
    pub tagged_addresses: Option<StringMap>,
    pub node_meta: Option<StringMap>,
    pub service: Option<Arc<NodeService>>,
    pub check: Option<HealthCheck>,
    #[serde(deserialize_with = "health_checks")]
    pub checks: Vec<HealthCheck>,
    /// Leaves an existing node as it is.
    pub skip_node_update: bool,
    pub peer_name: String,
    pub locality: Option<Locality>,
    /// Indexes of the node; zero but in snapshot archives.
    pub create_index: Index,
    pub modify_index: Index,
}

/// The list has a name of its own in the reference's errors.
fn health_checks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<HealthCheck>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename = "structs.HealthChecks")]
    struct HealthChecks(Vec<HealthCheck>);
    HealthChecks::deserialize(deserializer).map(|list| list.0)
}

/// Log message type 1: removes a service, a check, or a whole node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "DeregisterRequest|Alias", rename_all = "PascalCase")]
pub struct DeregisterRequest {
    pub datacenter: String,
    pub node: String,
    /// Compat: taken and not looked at.
    #[serde(skip_serializing)]
    pub address: String,
    /// Wins over `check_id`; when both are empty the node itself goes.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub peer_name: String,
}

impl NodeService {
    /// The service that this instance makes reachable through the mesh: a proxy's destination, a native's own.
    #[must_use]
    pub fn mesh_destination(&self) -> Option<&str> {
        if self.kind == CONNECT_PROXY {
            Some(&self.proxy.destination_service_name)
        } else {
            self.connect.native.then_some(&*self.service)
        }
    }

    /// Whether this is one of the gateway kinds.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        matches!(&*self.kind, "mesh-gateway" | "terminating-gateway" | "ingress-gateway" | "api-gateway")
    }

    /// Whether registering `other` over this would change nothing but indexes.
    #[must_use]
    pub fn same_content(&self, other: &NodeService) -> bool {
        self.kind == other.kind
            && self.id == other.id
            && self.service == other.service
            && self.tags == other.tags
            && self.address == other.address
            && self.tagged_addresses == other.tagged_addresses
            && self.meta == other.meta
            && self.port == other.port
            && self.weights == other.weights
            && self.enable_tag_override == other.enable_tag_override
            && self.proxy == other.proxy
            && self.connect == other.connect
            // The reference forgets the next two in its second comparison, so that changing nothing else is
            // lost there and its agents sync forever. They count here.
            && self.socket_path == other.socket_path
            && self.locality == other.locality
    }
}

impl Node {
    /// Whether registering `other` over this would change nothing but indexes. Names differ by case only.
    #[must_use]
    pub fn same_content(&self, other: &Node) -> bool {
        self.id == other.id
            && fold(&self.node) == fold(&other.node)
            && self.address == other.address
            && self.datacenter == other.datacenter
            && self.tagged_addresses == other.tagged_addresses
            && self.meta == other.meta
            && self.locality == other.locality
    }
}

impl Weights {
    /// Whether the reference takes these weights; others are replaced by the default.
    #[must_use]
    pub fn valid(&self) -> bool {
        const MAX: i64 = 65535;
        (1..=MAX).contains(&self.passing) && (0..=MAX).contains(&self.warning)
    }
}

/// Kind of a sidecar or other mesh proxy.
pub const CONNECT_PROXY: &str = "connect-proxy";

/// The form under which names and ids are looked up: the reference folds case and keeps it in answers.
pub(crate) fn fold(name: &str) -> Arc<str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        name.to_lowercase().into()
    } else {
        name.into()
    }
}

/// Whether `meta` has every pair of `wanted`.
#[must_use]
pub fn meta_matches(meta: Option<&StringMap>, wanted: &StringMap) -> bool {
    wanted.iter().all(|(key, value)| meta.and_then(|meta| meta.get(key)) == Some(value))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
