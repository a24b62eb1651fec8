//! Services and checks in the forms that the agent API shows them in.

use std::collections::BTreeMap;

use serde::Serialize;
use state::catalog::{
    AccessLogs, Expose, Locality, MeshGateway, NodeService, Proxy, ServiceAddress, ServiceConnect, TransparentProxy,
    Upstream, Weights,
};
use state::health::HealthCheck;

/// `api.AgentService`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentService<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    port: i64,
    address: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    socket_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tagged_addresses: Option<&'a BTreeMap<String, ServiceAddress>>,
    weights: Weights,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<ShownProxy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<&'a ServiceConnect>,
    datacenter: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<&'a Locality>,
}

static NO_META: BTreeMap<String, String> = BTreeMap::new();

impl<'a> AgentService<'a> {
    pub fn new(service: &'a NodeService, datacenter: &'a str) -> Self {
        AgentService {
            kind: &service.kind,
            id: &service.id,
            service: &service.service,
            tags: &service.tags,
            meta: service.meta.as_ref().unwrap_or(&NO_META),
            port: service.port,
            address: &service.address,
            socket_path: &service.socket_path,
            tagged_addresses: service.tagged_addresses.as_ref().filter(|addresses| !addresses.is_empty()),
            weights: service.weights.as_ref().map_or(Weights { passing: 1, warning: 1 }, |weights| Weights {
                // Compat: what passes for nothing is shown as one.
                passing: if weights.passing > 0 { weights.passing } else { 1 },
                warning: weights.warning,
            }),
            enable_tag_override: service.enable_tag_override,
            content_hash: None,
            proxy: (!service.kind.is_empty()).then(|| ShownProxy::new(&service.proxy)),
            connect: service.connect.native.then_some(&service.connect),
            locality: service.locality.as_ref(),
            datacenter,
        }
    }
}

/// `api.AgentServiceConnectProxyConfig`: like the catalog's, but what is empty is left out.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownProxy<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    destination_service_name: &'a str,
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "str::is_empty")]
    destination_service_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    local_service_address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_service_port: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    local_service_socket_path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mode: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transparent_proxy: Option<&'a TransparentProxy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<ShownUpstream<'a>>,
    mesh_gateway: &'a MeshGateway,
    expose: ShownExpose<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_logs: Option<&'a AccessLogs>,
}

impl<'a> ShownProxy<'a> {
    fn new(proxy: &'a Proxy) -> Self {
        ShownProxy {
            destination_service_name: &proxy.destination_service_name,
            destination_service_id: &proxy.destination_service_id,
            local_service_address: &proxy.local_service_address,
            local_service_port: Some(proxy.local_service_port).filter(|port| *port != 0),
            local_service_socket_path: &proxy.local_service_socket_path,
            mode: &proxy.mode,
            transparent_proxy: Some(&proxy.transparent_proxy).filter(|proxy| **proxy != TransparentProxy::default()),
            config: proxy.config.as_ref().filter(|config| !config.is_empty()),
            upstreams: proxy.upstreams.iter().map(ShownUpstream::new).collect(),
            mesh_gateway: &proxy.mesh_gateway,
            expose: ShownExpose::new(&proxy.expose),
            access_logs: Some(&proxy.access_logs).filter(|logs| **logs != AccessLogs::default()),
        }
    }
}

/// `api.ExposeConfig`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownExpose<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    checks: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paths: Vec<ShownExposePath<'a>>,
}

/// `api.ExposePath`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownExposePath<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_port: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_path_port: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    protocol: &'a str,
    parsed_from_check: bool,
}

impl<'a> ShownExpose<'a> {
    fn new(expose: &'a Expose) -> Self {
        let paths = expose.paths.iter().map(|path| ShownExposePath {
            listener_port: Some(path.listener_port).filter(|port| *port != 0),
            path: &path.path,
            local_path_port: Some(path.local_path_port).filter(|port| *port != 0),
            protocol: &path.protocol,
            parsed_from_check: path.parsed_from_check,
        });
        ShownExpose { checks: expose.checks, paths: paths.collect() }
    }
}

/// `api.Upstream`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownUpstream<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    destination_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    destination_partition: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    destination_namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    destination_peer: &'a str,
    destination_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    datacenter: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    local_bind_address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_bind_port: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    local_bind_socket_path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    local_bind_socket_mode: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a serde_json::Map<String, serde_json::Value>>,
    mesh_gateway: &'a MeshGateway,
}

impl<'a> ShownUpstream<'a> {
    fn new(upstream: &'a Upstream) -> Self {
        ShownUpstream {
            destination_type: &upstream.destination_type,
            destination_partition: &upstream.destination_partition,
            destination_namespace: &upstream.destination_namespace,
            destination_peer: &upstream.destination_peer,
            destination_name: &upstream.destination_name,
            datacenter: &upstream.datacenter,
            local_bind_address: &upstream.local_bind_address,
            local_bind_port: Some(upstream.local_bind_port).filter(|port| *port != 0),
            local_bind_socket_path: &upstream.local_bind_socket_path,
            local_bind_socket_mode: &upstream.local_bind_socket_mode,
            config: upstream.config.as_ref().filter(|config| !config.is_empty()),
            mesh_gateway: &upstream.mesh_gateway,
        }
    }
}

/// A check inside an answer of `/v1/agent/health` (`api.HealthCheck`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentCheck<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: &'a str,
    name: &'a str,
    status: &'a str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: Option<&'a [String]>,
    r#type: &'static str,
    exposed_port: i64,
    definition: AgentCheckDefinition,
    create_index: u64,
    modify_index: u64,
}

/// Compat: this answer shows a definition in a form of its own, and leaves it empty.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AgentCheckDefinition {
    interval: &'static str,
    timeout: &'static str,
    deregister_critical_service_after: &'static str,
    #[serde(rename = "HTTP")]
    http: &'static str,
    header: Option<()>,
    method: &'static str,
    body: &'static str,
    #[serde(rename = "TLSServerName")]
    tls_server_name: &'static str,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP")]
    tcp: &'static str,
    #[serde(rename = "TCPUseTLS")]
    tcp_use_tls: bool,
    #[serde(rename = "UDP")]
    udp: &'static str,
    #[serde(rename = "GRPC")]
    grpc: &'static str,
    #[serde(rename = "OSService")]
    os_service: &'static str,
    #[serde(rename = "GRPCUseTLS")]
    grpc_use_tls: bool,
}

impl<'a> AgentCheck<'a> {
    pub fn new(check: &'a HealthCheck) -> Self {
        AgentCheck {
            node: &check.node,
            check_id: &check.check_id,
            name: &check.name,
            status: &check.status,
            notes: &check.notes,
            output: &check.output,
            service_id: &check.service_id,
            service_name: &check.service_name,
            service_tags: Some(&check.service_tags[..]).filter(|tags| !tags.is_empty()),
            r#type: "",
            exposed_port: check.exposed_port,
            definition: AgentCheckDefinition {
                interval: "0s",
                timeout: "0s",
                deregister_critical_service_after: "0s",
                http: "",
                header: None,
                method: "",
                body: "",
                tls_server_name: "",
                tls_skip_verify: false,
                tcp: "",
                tcp_use_tls: false,
                udp: "",
                grpc: "",
                os_service: "",
                grpc_use_tls: false,
            },
            create_index: 0,
            modify_index: 0,
        }
    }
}
