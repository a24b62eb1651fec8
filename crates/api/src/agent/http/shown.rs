//! Services and checks in the forms that the agent API shows them in.

use std::collections::BTreeMap;

use serde::Serialize;
use state::catalog::{Locality, NodeService, Proxy, ServiceAddress, ServiceConnect, Weights};
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
    proxy: Option<&'a Proxy>,
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
            weights: service.weights.clone().unwrap_or(Weights { passing: 1, warning: 1 }),
            enable_tag_override: service.enable_tag_override,
            content_hash: None,
            proxy: (!service.kind.is_empty()).then_some(&service.proxy),
            connect: service.connect.native.then_some(&service.connect),
            locality: service.locality.as_ref(),
            datacenter,
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
