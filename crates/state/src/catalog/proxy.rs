//! The mesh part of a service instance, and what the reference refuses in it.
//!
//! Nothing here is acted on yet: it is checked, stored and shown as the reference does. JSON input may spell
//! fields in snake case, as everywhere in Consul's service definitions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::noun::{CONNECT_PROXY, NodeService};

/// The mesh proxy part of a service (`structs.ConnectProxyConfig`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Proxy {
    // Compat: these two are shown before the rest.
    #[serde(skip_serializing_if = "TransparentProxy::is_unset", alias = "transparent_proxy")]
    pub transparent_proxy: TransparentProxy,
    #[serde(skip_serializing_if = "AccessLogs::is_unset", alias = "access_logs")]
    pub access_logs: AccessLogs,
    #[serde(skip_serializing_if = "Vec::is_empty", alias = "envoy_extensions")]
    pub envoy_extensions: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "String::is_empty", alias = "destination_service_name")]
    pub destination_service_name: String,
    #[serde(
        rename = "DestinationServiceID",
        skip_serializing_if = "String::is_empty",
        alias = "destination_service_id"
    )]
    pub destination_service_id: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "local_service_address")]
    pub local_service_address: String,
    #[serde(skip_serializing_if = "is_zero", alias = "local_service_port")]
    pub local_service_port: i64,
    #[serde(skip_serializing_if = "String::is_empty", alias = "local_service_socket_path")]
    pub local_service_socket_path: String,
    pub mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<Upstream>,
    #[serde(alias = "mesh_gateway")]
    pub mesh_gateway: MeshGateway,
    pub expose: Expose,
}

/// One thing that a proxy forwards to (`structs.Upstream`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Upstream {
    /// `service` (also when empty) or `prepared_query`.
    #[serde(alias = "destination_type")]
    pub destination_type: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "destination_namespace")]
    pub destination_namespace: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "destination_partition")]
    pub destination_partition: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "destination_peer")]
    pub destination_peer: String,
    #[serde(alias = "destination_name")]
    pub destination_name: String,
    pub datacenter: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "local_bind_address")]
    pub local_bind_address: String,
    #[serde(skip_serializing_if = "is_zero", alias = "local_bind_port")]
    pub local_bind_port: i64,
    #[serde(skip_serializing_if = "String::is_empty", alias = "local_bind_socket_path")]
    pub local_bind_socket_path: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "local_bind_socket_mode")]
    pub local_bind_socket_mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(alias = "mesh_gateway")]
    pub mesh_gateway: MeshGateway,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub centrally_configured: bool,
}

/// How traffic passes mesh gateways (`structs.MeshGatewayConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MeshGateway {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

/// Paths that a proxy serves without mesh TLS (`structs.ExposeConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Expose {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checks: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<ExposePath>,
}

/// One exposed path (`structs.ExposePath`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExposePath {
    #[serde(skip_serializing_if = "is_zero", alias = "listener_port")]
    pub listener_port: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "is_zero", alias = "local_path_port")]
    pub local_path_port: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    #[serde(skip_serializing_if = "std::ops::Not::not", alias = "parsed_from_check")]
    pub parsed_from_check: bool,
}

/// `structs.TransparentProxyConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TransparentProxy {
    #[serde(skip_serializing_if = "is_zero", alias = "outbound_listener_port")]
    pub outbound_listener_port: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not", alias = "dialed_directly")]
    pub dialed_directly: bool,
}

impl TransparentProxy {
    fn is_unset(&self) -> bool {
        *self == TransparentProxy::default()
    }
}

/// `structs.AccessLogsConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AccessLogs {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not", alias = "disable_listener_logs")]
    pub disable_listener_logs: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub r#type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(rename = "JSONFormat", skip_serializing_if = "String::is_empty", alias = "json_format")]
    pub json_format: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "text_format")]
    pub text_format: String,
}

impl AccessLogs {
    fn is_unset(&self) -> bool {
        *self == AccessLogs::default()
    }
}

/// The mesh part of a service (`structs.ServiceConnect`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceConnect {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub native: bool,
    /// A nested definition that an agent registers beside the service; the catalog only carries it.
    #[serde(skip_serializing_if = "Option::is_none", alias = "sidecar_service")]
    pub sidecar_service: Option<serde_json::Value>,
}

/// Longest `envoy_hcp_metrics_bind_socket_dir`: with a file name it must fit a Unix socket address.
const MAX_SOCKET_DIR_BYTES: usize = 70;

/// Everything wrong with the mesh part of `service`, in the reference's order. `for_agent` leaves out what an
/// agent may still fill in (the port of a proxy).
#[must_use]
pub fn faults(service: &NodeService, for_agent: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let kind = &*service.kind;
    if !for_agent && kind == CONNECT_PROXY && service.port == 0 && service.socket_path.is_empty() {
        faults.push(format!("Port or SocketPath must be set for a {kind}"));
    }
    if kind == CONNECT_PROXY {
        proxy_faults(service, &mut faults);
    }
    if service.is_gateway() {
        gateway_faults(service, &mut faults);
    }
    if let Some(sidecar) = &service.connect.sidecar_service {
        sidecar_faults(sidecar, &mut faults);
    }
    if service.connect.native && service.port == 0 && service.socket_path.is_empty() {
        faults.push("Port or SocketPath must be set for a Connect native service.".into());
    }
    faults
}

/// Several faults as one text: the layout is that of a Go library which clients see verbatim.
#[must_use]
pub fn faults_text(faults: &[String]) -> String {
    let head =
        if faults.len() == 1 { "1 error occurred:".into() } else { format!("{} errors occurred:", faults.len()) };
    format!("{head}\n\t* {}\n\n", faults.join("\n\t* "))
}

fn proxy_faults(service: &NodeService, faults: &mut Vec<String>) {
    let proxy = &service.proxy;
    if proxy.destination_service_name.trim().is_empty() {
        faults.push("Proxy.DestinationServiceName must be non-empty for Connect proxy services".into());
    }
    if proxy.destination_service_name == "*" {
        faults.push("Proxy.DestinationServiceName must not be a wildcard for Connect proxy services".into());
    }
    if service.connect.native {
        faults.push("A Proxy cannot also be Connect Native, only typical services".into());
    }
    let socket_dir = proxy.config.as_ref().and_then(|config| config.get("envoy_hcp_metrics_bind_socket_dir"));
    if let Some(dir) = socket_dir.and_then(serde_json::Value::as_str)
        && dir.len() > MAX_SOCKET_DIR_BYTES
    {
        faults.push(format!(
            "Proxy.Config: envoy_hcp_metrics_bind_socket_dir length {} exceeds max {MAX_SOCKET_DIR_BYTES}",
            dir.len()
        ));
    }
    upstream_faults(&proxy.upstreams, faults);
    expose_faults(&proxy.expose, faults);
}

fn upstream_faults(upstreams: &[Upstream], faults: &mut Vec<String>) {
    let mut keys = BTreeSet::new();
    let mut bound = BTreeSet::new();
    for upstream in upstreams {
        let partition = &*upstream.destination_partition;
        let default_partition = partition.is_empty() || partition == "default";
        if upstream.destination_peer.is_empty() {
            if !upstream.datacenter.is_empty() && !default_partition {
                faults.push("upstreams cannot target another datacenter in non default partition".into());
                continue;
            }
        } else if !default_partition {
            faults.push("upstreams must target peers in the same partition as the service".into());
            continue;
        }
        if let Some(fault) = upstream.fault() {
            faults.push(fault);
            continue;
        }
        if !keys.insert(upstream.key()) {
            faults.push(format!("upstreams cannot contain duplicates of {}", upstream.key_text()));
            continue;
        }
        let address = upstream.bind_address();
        if !bound.insert(address.clone()) && !upstream.centrally_configured {
            faults.push(format!(
                "upstreams cannot contain duplicates by local bind address and port or unix path; {address:?} is \
                 specified twice"
            ));
        }
    }
}

impl Upstream {
    fn fault(&self) -> Option<String> {
        let fault = if !matches!(&*self.destination_type, "" | "service" | "prepared_query") {
            return Some(format!("unknown upstream destination type: {:?}", self.destination_type));
        } else if self.destination_name.is_empty() {
            "upstream destination name cannot be empty"
        } else if self.destination_name == "*" && !self.centrally_configured {
            "upstream destination name cannot be a wildcard"
        } else if !self.destination_peer.is_empty() && !self.datacenter.is_empty() {
            "upstream cannot specify both destination peer and datacenter"
        } else if self.centrally_configured {
            return None;
        } else if self.local_bind_port == 0 && self.local_bind_socket_path.is_empty() {
            "upstream local bind port or local socket path must be defined and nonzero"
        } else if self.local_bind_port != 0 && !self.local_bind_socket_path.is_empty() {
            "only one of upstream local bind port or local socket path can be defined and nonzero"
        } else {
            return None;
        };
        Some(fault.into())
    }

    fn key(&self) -> [&str; 6] {
        [
            &self.destination_type,
            &self.destination_name,
            &self.destination_partition,
            &self.destination_namespace,
            &self.destination_peer,
            &self.datacenter,
        ]
    }

    fn key_text(&self) -> String {
        let [kind, name, partition, namespace, peer, datacenter] = self.key();
        format!(
            "[type={kind:?}, name={name:?}, partition={partition:?}, namespace={namespace:?}, peer={peer:?}, \
             datacenter={datacenter:?}]"
        )
    }

    fn bind_address(&self) -> String {
        if self.local_bind_port == 0 && self.local_bind_address.is_empty() && !self.local_bind_socket_path.is_empty() {
            return self.local_bind_socket_path.clone();
        }
        let host = if self.local_bind_address.is_empty() { "127.0.0.1" } else { &*self.local_bind_address };
        if host.contains(':') {
            format!("[{host}]:{}", self.local_bind_port)
        } else {
            format!("{host}:{}", self.local_bind_port)
        }
    }
}

fn expose_faults(expose: &Expose, faults: &mut Vec<String>) {
    let mut listeners = BTreeSet::new();
    for path in &expose.paths {
        if path.path.is_empty() {
            faults.push("expose.paths: empty path exposed".into());
        }
        if !listeners.insert(path.listener_port) {
            faults.push("expose.paths: duplicate listener ports exposed".into());
        }
        if !(1..=65535).contains(&path.listener_port) {
            faults.push(format!("expose.paths: invalid listener port: {}", path.listener_port));
        }
        let protocol = path.protocol.to_lowercase();
        if !matches!(&*protocol, "" | "http" | "http2") {
            faults
                .push(format!("protocol '{protocol}' not supported for path: {}, must be in: [http http2]", path.path));
        }
    }
}

fn gateway_faults(service: &NodeService, faults: &mut Vec<String>) {
    let (kind, proxy) = (&*service.kind, &service.proxy);
    if service.port == 0 && kind != "ingress-gateway" && kind != "api-gateway" {
        faults.push(format!("Port must be non-zero for a {kind}"));
    }
    if service.connect.sidecar_service.is_some() {
        faults.push(format!("A {kind} cannot have a sidecar service defined"));
    }
    for (set, field) in [
        (!proxy.destination_service_name.is_empty(), "DestinationServiceName"),
        (!proxy.destination_service_id.is_empty(), "DestinationServiceID"),
        (!proxy.local_service_address.is_empty(), "LocalServiceAddress"),
        (proxy.local_service_port != 0, "LocalServicePort"),
        (!proxy.local_service_socket_path.is_empty(), "LocalServiceSocketPath"),
        (!proxy.upstreams.is_empty(), "Upstreams"),
    ] {
        if set {
            faults.push(format!("The Proxy.{field} configuration is invalid for a {kind}"));
        }
    }
}

fn sidecar_faults(sidecar: &serde_json::Value, faults: &mut Vec<String>) {
    let member = |value: &serde_json::Value, name: &str| {
        let found = value.as_object()?.iter().find(|(key, _)| key.replace('_', "").eq_ignore_ascii_case(name))?.1;
        (!found.is_null()).then(|| found.clone())
    };
    if member(sidecar, "ID").is_some_and(|id| id.as_str() != Some("")) {
        faults.push("A SidecarService cannot specify an ID as this is managed by the agent".into());
    }
    if member(sidecar, "Connect").is_some_and(|connect| member(&connect, "SidecarService").is_some()) {
        faults.push("A SidecarService cannot have a nested SidecarService".into());
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
