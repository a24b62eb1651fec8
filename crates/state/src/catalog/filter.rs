//! What `?filter=` may select in rows of the catalog.
//!
//! The names are those of the reference's structs where they differ from JSON's. Opaque configuration, indexes,
//! localities and nested sidecar definitions cannot be selected; community edition's partitions can, and are empty.

use filter::Shape::{Bool, Int, List, Map, String, Struct};
use filter::{Record, Shape, Value};

use super::noun::{Node, NodeService, ServiceAddress, Weights};
use super::proxy::{AccessLogs, Expose, ExposePath, MeshGateway, Proxy, ServiceConnect, TransparentProxy, Upstream};
use super::row::{CheckServiceNode, ServiceNode};
use crate::health;

/// Rows of `/v1/catalog/nodes`.
#[must_use]
pub fn node_shape() -> &'static Shape {
    &NODE
}

/// Rows of `/v1/catalog/service/:name`.
#[must_use]
pub fn service_node_shape() -> &'static Shape {
    &SERVICE_NODE
}

/// Rows of `/v1/catalog/node/:name` and `/v1/catalog/node-services/:name`.
#[must_use]
pub fn node_service_shape() -> &'static Shape {
    &NODE_SERVICE
}

/// Rows of `/v1/health/service/:name`.
#[must_use]
pub fn check_service_node_shape() -> &'static Shape {
    &CHECK_SERVICE_NODE
}

const NODE: Shape = Struct(&[
    ("ID", String),
    ("Node", String),
    ("Address", String),
    ("Datacenter", String),
    ("Partition", String),
    ("PeerName", String),
    ("TaggedAddresses", Map(&String)),
    ("Meta", Map(&String)),
]);

const SERVICE_ADDRESS: Shape = Struct(&[("Address", String), ("Port", Int)]);
const WEIGHTS: Shape = Struct(&[("Passing", Int), ("Warning", Int)]);

const NODE_SERVICE: Shape = Struct(&[
    ("Kind", String),
    ("ID", String),
    ("Service", String),
    ("Tags", List(&String)),
    ("Address", String),
    ("TaggedAddresses", Map(&SERVICE_ADDRESS)),
    ("Meta", Map(&String)),
    ("Port", Int),
    ("SocketPath", String),
    ("Weights", WEIGHTS),
    ("EnableTagOverride", Bool),
    ("Proxy", PROXY),
    ("Connect", CONNECT),
    ("PeerName", String),
]);

const SERVICE_NODE: Shape = Struct(&[
    ("ID", String),
    ("Node", String),
    ("Address", String),
    ("Datacenter", String),
    ("TaggedAddresses", Map(&String)),
    ("NodeMeta", Map(&String)),
    ("ServiceKind", String),
    ("ServiceID", String),
    ("ServiceName", String),
    ("ServiceTags", List(&String)),
    ("ServiceAddress", String),
    ("ServiceTaggedAddresses", Map(&SERVICE_ADDRESS)),
    ("ServiceWeights", WEIGHTS),
    ("ServiceMeta", Map(&String)),
    ("ServicePort", Int),
    ("ServiceSocketPath", String),
    ("ServiceEnableTagOverride", Bool),
    ("ServiceProxy", PROXY),
    ("ServiceConnect", CONNECT),
    ("PeerName", String),
]);

const CHECK_SERVICE_NODE: Shape =
    Struct(&[("Node", NODE), ("Service", NODE_SERVICE), ("Checks", List(&health::filter::CHECK))]);

const CONNECT: Shape = Struct(&[("Native", Bool)]);
const MESH_GATEWAY: Shape = Struct(&[("Mode", String)]);

const PROXY: Shape = Struct(&[
    ("EnvoyExtensions", List(&ENVOY_EXTENSION)),
    ("DestinationServiceName", String),
    ("DestinationServiceID", String),
    ("LocalServiceAddress", String),
    ("LocalServicePort", Int),
    ("LocalServiceSocketPath", String),
    ("Mode", String),
    ("Upstreams", List(&UPSTREAM)),
    ("MeshGateway", MESH_GATEWAY),
    ("Expose", Struct(&[("Checks", Bool), ("Paths", List(&EXPOSE_PATH))])),
    ("TransparentProxy", Struct(&[("OutboundListenerPort", Int), ("DialedDirectly", Bool)])),
    ("AccessLogs", ACCESS_LOGS),
]);

const ENVOY_EXTENSION: Shape =
    Struct(&[("Name", String), ("Required", Bool), ("ConsulVersion", String), ("EnvoyVersion", String)]);

const UPSTREAM: Shape = Struct(&[
    ("DestinationType", String),
    ("DestinationNamespace", String),
    ("DestinationPartition", String),
    ("DestinationPeer", String),
    ("DestinationName", String),
    ("Datacenter", String),
    ("LocalBindAddress", String),
    ("LocalBindPort", Int),
    ("LocalBindSocketPath", String),
    ("LocalBindSocketMode", String),
    ("MeshGateway", MESH_GATEWAY),
]);

const EXPOSE_PATH: Shape = Struct(&[
    ("ListenerPort", Int),
    ("Path", String),
    ("LocalPathPort", Int),
    ("Protocol", String),
    ("ParsedFromCheck", Bool),
]);

const ACCESS_LOGS: Shape = Struct(&[
    ("Enabled", Bool),
    ("DisableListenerLogs", Bool),
    ("Type", String),
    ("Path", String),
    ("JSONFormat", String),
    ("TextFormat", String),
]);

impl Record for Node {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "ID" => Value::Str(&self.id),
            "Node" => Value::Str(&self.node),
            "Address" => Value::Str(&self.address),
            "Datacenter" => Value::Str(&self.datacenter),
            "Partition" => Value::Str(""),
            "PeerName" => Value::Str(&self.peer_name),
            "TaggedAddresses" => Value::map(self.tagged_addresses.as_ref()),
            "Meta" => Value::map(self.meta.as_ref()),
            _ => Value::Nil,
        }
    }
}

impl Record for NodeService {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Kind" => Value::Str(&self.kind),
            "ID" => Value::Str(&self.id),
            "Service" => Value::Str(&self.service),
            "Tags" => Value::Strings(&self.tags),
            "Address" => Value::Str(&self.address),
            "TaggedAddresses" => Value::map(self.tagged_addresses.as_ref()),
            "Meta" => Value::map(self.meta.as_ref()),
            "Port" => Value::Int(self.port),
            "SocketPath" => Value::Str(&self.socket_path),
            "Weights" => self.weights.as_ref().map_or(Value::Nil, |weights| Value::Struct(weights)),
            "EnableTagOverride" => Value::Bool(self.enable_tag_override),
            "Proxy" => Value::Struct(&self.proxy),
            "Connect" => Value::Struct(&self.connect),
            "PeerName" => Value::Str(&self.peer_name),
            _ => Value::Nil,
        }
    }
}

static ONE_EACH: Weights = Weights { passing: 1, warning: 1 };

impl Record for ServiceNode {
    fn field(&self, name: &str) -> Value<'_> {
        let (node, service) = (&**self.node(), &**self.service());
        match name {
            "Node" => Value::Str(self.node_name()),
            "NodeMeta" => node.field("Meta"),
            "ID" | "Address" | "Datacenter" | "TaggedAddresses" => node.field(name),
            "ServiceName" => Value::Str(&service.service),
            "ServiceWeights" => Value::Struct(service.weights.as_ref().unwrap_or(&ONE_EACH)),
            "PeerName" => Value::Str(&service.peer_name),
            _ => name.strip_prefix("Service").map_or(Value::Nil, |name| service.field(name)),
        }
    }
}

impl Record for CheckServiceNode {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Node" => Value::Struct(&*self.node),
            "Service" => Value::Struct(&*self.service),
            "Checks" => Value::records(&self.checks),
            _ => Value::Nil,
        }
    }
}

impl Record for ServiceAddress {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Address" => Value::Str(&self.address),
            "Port" => Value::Int(self.port),
            _ => Value::Nil,
        }
    }
}

impl Record for Weights {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Passing" => Value::Int(self.passing),
            "Warning" => Value::Int(self.warning),
            _ => Value::Nil,
        }
    }
}

impl Record for ServiceConnect {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Native" => Value::Bool(self.native),
            _ => Value::Nil,
        }
    }
}

impl Record for Proxy {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "EnvoyExtensions" => {
                let each = |extension| Value::View(Box::new(EnvoyExtension(extension)) as Box<dyn Record>);
                Value::List(Box::new(self.envoy_extensions.iter().map(each)))
            }
            "DestinationServiceName" => Value::Str(&self.destination_service_name),
            "DestinationServiceID" => Value::Str(&self.destination_service_id),
            "LocalServiceAddress" => Value::Str(&self.local_service_address),
            "LocalServicePort" => Value::Int(self.local_service_port),
            "LocalServiceSocketPath" => Value::Str(&self.local_service_socket_path),
            "Mode" => Value::Str(&self.mode),
            "Upstreams" => Value::records(&self.upstreams),
            "MeshGateway" => Value::Struct(&self.mesh_gateway),
            "Expose" => Value::Struct(&self.expose),
            "TransparentProxy" => Value::Struct(&self.transparent_proxy),
            "AccessLogs" => Value::Struct(&self.access_logs),
            _ => Value::Nil,
        }
    }
}

/// An extension as it was registered: JSON in which what is missing is zero.
struct EnvoyExtension<'a>(&'a serde_json::Value);

impl Record for EnvoyExtension<'_> {
    fn field(&self, name: &str) -> Value<'_> {
        let value = self.0.get(name);
        match name {
            "Required" => Value::Bool(value.and_then(serde_json::Value::as_bool).unwrap_or_default()),
            _ => Value::Str(value.and_then(serde_json::Value::as_str).unwrap_or_default()),
        }
    }
}

impl Record for Upstream {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "DestinationType" => Value::Str(&self.destination_type),
            "DestinationNamespace" => Value::Str(&self.destination_namespace),
            "DestinationPartition" => Value::Str(&self.destination_partition),
            "DestinationPeer" => Value::Str(&self.destination_peer),
            "DestinationName" => Value::Str(&self.destination_name),
            "Datacenter" => Value::Str(&self.datacenter),
            "LocalBindAddress" => Value::Str(&self.local_bind_address),
            "LocalBindPort" => Value::Int(self.local_bind_port),
            "LocalBindSocketPath" => Value::Str(&self.local_bind_socket_path),
            "LocalBindSocketMode" => Value::Str(&self.local_bind_socket_mode),
            "MeshGateway" => Value::Struct(&self.mesh_gateway),
            _ => Value::Nil,
        }
    }
}

impl Record for MeshGateway {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Mode" => Value::Str(&self.mode),
            _ => Value::Nil,
        }
    }
}

impl Record for Expose {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Checks" => Value::Bool(self.checks),
            "Paths" => Value::records(&self.paths),
            _ => Value::Nil,
        }
    }
}

impl Record for ExposePath {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "ListenerPort" => Value::Int(self.listener_port),
            "Path" => Value::Str(&self.path),
            "LocalPathPort" => Value::Int(self.local_path_port),
            "Protocol" => Value::Str(&self.protocol),
            "ParsedFromCheck" => Value::Bool(self.parsed_from_check),
            _ => Value::Nil,
        }
    }
}

impl Record for TransparentProxy {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "OutboundListenerPort" => Value::Int(self.outbound_listener_port),
            "DialedDirectly" => Value::Bool(self.dialed_directly),
            _ => Value::Nil,
        }
    }
}

impl Record for AccessLogs {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Enabled" => Value::Bool(self.enabled),
            "DisableListenerLogs" => Value::Bool(self.disable_listener_logs),
            "Type" => Value::Str(&self.r#type),
            "Path" => Value::Str(&self.path),
            "JSONFormat" => Value::Str(&self.json_format),
            "TextFormat" => Value::Str(&self.text_format),
            _ => Value::Nil,
        }
    }
}
