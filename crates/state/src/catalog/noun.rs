//! The nouns of the catalog, as they are stored, sent and shown.
//!
//! One set of types serves log records, RPC and JSON: field names are Go's, fields that JSON leaves out when
//! empty are left out everywhere (the reference's decoder takes a missing field as its zero value).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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

/// DNS weights of an instance by its health (`structs.Weights`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Weights {
    pub passing: i64,
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { passing: 1, warning: 1 }
    }
}

/// The mesh proxy part of a service (`structs.ConnectProxyConfig`). Parts that Curule does not act on yet
/// are carried as they came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Proxy {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub envoy_extensions: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_service_name: String,
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "String::is_empty")]
    pub destination_service_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_service_address: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub local_service_port: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_service_socket_path: String,
    pub mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<serde_json::Value>,
    pub mesh_gateway: serde_json::Map<String, serde_json::Value>,
    pub expose: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub transparent_proxy: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub access_logs: serde_json::Map<String, serde_json::Value>,
}

/// The mesh part of a service (`structs.ServiceConnect`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceConnect {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub native: bool,
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
    pub checks: Vec<HealthCheck>,
    /// Leaves an existing node as it is.
    pub skip_node_update: bool,
    pub peer_name: String,
    pub locality: Option<Locality>,
}

/// Log message type 1: removes a service, a check, or a whole node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeregisterRequest {
    pub datacenter: String,
    pub node: String,
    /// Wins over `check_id`; when both are empty the node itself goes.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub peer_name: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
