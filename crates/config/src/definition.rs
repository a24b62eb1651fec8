//! Services and checks as configuration files define them.
//!
//! Always true: these only carry what was written, with the defaults that the reference sets while reading files; names
//! are those of the reference's structs. Whether a definition makes sense is judged by the agent.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wire::duration::GoDuration;

use crate::resolve::Faults;
use crate::written::Section;
use acl::Secret;

/// Compat: output kept of a check that does not say.
const OUTPUT_MAX_SIZE: i64 = 4096;

#[derive(Debug, Clone, Default)]
pub struct ServiceDefinition {
    /// Empty for an ordinary service; an unknown kind counts as that.
    pub kind: String,
    pub id: String,
    pub name: String,
    pub tags: Vec<String>,
    pub address: String,
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    pub meta: BTreeMap<String, String>,
    pub port: i64,
    pub socket_path: String,
    pub checks: Vec<CheckDefinition>,
    pub weights: Weights,
    pub token: Secret,
    pub enable_tag_override: bool,
    pub proxy: Option<Proxy>,
    pub connect: Option<Connect>,
    pub locality: Option<Locality>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceAddress {
    pub address: String,
    pub port: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    pub passing: i64,
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { passing: 1, warning: 1 }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locality {
    pub region: String,
    pub zone: String,
}

/// A check, on its own or of a service.
#[derive(Debug, Clone, Default)]
pub struct CheckDefinition {
    pub id: String,
    pub name: String,
    pub notes: String,
    pub service_id: String,
    pub token: Secret,
    pub status: String,
    pub script_args: Vec<String>,
    pub http: String,
    pub header: BTreeMap<String, Vec<String>>,
    pub method: String,
    pub body: String,
    pub disable_redirects: bool,
    pub output_max_size: i64,
    pub tcp: String,
    pub tcp_use_tls: bool,
    pub udp: String,
    pub interval: GoDuration,
    pub docker_container_id: String,
    pub shell: String,
    pub grpc: String,
    pub grpc_use_tls: bool,
    pub tls_server_name: String,
    pub tls_skip_verify: bool,
    pub alias_node: String,
    pub alias_service: String,
    pub timeout: GoDuration,
    pub ttl: GoDuration,
    pub h2ping: String,
    pub h2ping_use_tls: bool,
    pub os_service: String,
    pub success_before_passing: i64,
    pub failures_before_warning: i64,
    pub failures_before_critical: i64,
    pub deregister_critical_service_after: GoDuration,
}

#[derive(Debug, Clone, Default)]
pub struct Connect {
    pub native: bool,
    pub sidecar_service: Option<Box<ServiceDefinition>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proxy {
    pub destination_service_name: String,
    pub destination_service_id: String,
    pub local_service_address: String,
    pub local_service_port: i64,
    pub local_service_socket_path: String,
    pub mode: String,
    pub config: Map<String, Value>,
    pub upstreams: Vec<Upstream>,
    pub mesh_gateway_mode: String,
    pub expose: Expose,
    pub outbound_listener_port: i64,
    pub dialed_directly: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Upstream {
    pub destination_type: String,
    pub destination_namespace: String,
    pub destination_partition: String,
    pub destination_peer: String,
    pub destination_name: String,
    pub datacenter: String,
    pub local_bind_address: String,
    pub local_bind_port: i64,
    pub local_bind_socket_path: String,
    pub local_bind_socket_mode: String,
    pub config: Map<String, Value>,
    pub mesh_gateway_mode: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expose {
    pub checks: bool,
    pub paths: Vec<ExposePath>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExposePath {
    pub listener_port: i64,
    pub path: String,
    pub local_path_port: i64,
    pub protocol: String,
}

const KINDS: &[&str] = &["connect-proxy", "mesh-gateway", "terminating-gateway", "ingress-gateway", "api-gateway"];

fn text(section: &Section, key: &str) -> String {
    section.text(key).unwrap_or_default().to_owned()
}

fn integer(section: &Section, key: &str) -> i64 {
    section.integer(key).unwrap_or(0)
}

fn flag(section: &Section, key: &str) -> bool {
    section.bool(key).unwrap_or(false)
}

pub(crate) fn check(section: &Section, faults: &mut Faults) -> CheckDefinition {
    let id = text(section, "id");
    let mut duration = |key: &str| faults.duration(&format!("check[{id}].{key}"), section.text(key));
    let (interval, timeout, ttl) = (duration("interval"), duration("timeout"), duration("ttl"));
    let deregister_critical_service_after = duration("deregister_critical_service_after");
    let h2ping = text(section, "h2ping");
    let failures_before_critical = integer(section, "failures_before_critical");
    CheckDefinition {
        name: text(section, "name"),
        notes: text(section, "notes"),
        service_id: text(section, "service_id"),
        token: Secret::new(text(section, "token")),
        status: text(section, "status"),
        script_args: section.texts("args").to_vec(),
        http: text(section, "http"),
        header: section.texts_map("header"),
        method: text(section, "method"),
        body: text(section, "body"),
        disable_redirects: flag(section, "disable_redirects"),
        output_max_size: section.integer("output_max_size").unwrap_or(OUTPUT_MAX_SIZE),
        tcp: text(section, "tcp"),
        tcp_use_tls: flag(section, "tcp_use_tls"),
        udp: text(section, "udp"),
        interval,
        docker_container_id: text(section, "docker_container_id"),
        shell: text(section, "shell"),
        grpc: text(section, "grpc"),
        grpc_use_tls: flag(section, "grpc_use_tls"),
        tls_server_name: text(section, "tls_server_name"),
        tls_skip_verify: flag(section, "tls_skip_verify"),
        alias_node: text(section, "alias_node"),
        alias_service: text(section, "alias_service"),
        timeout,
        ttl,
        // Compat: an h2ping check uses TLS unless it says otherwise.
        h2ping_use_tls: section.bool("h2ping_use_tls").unwrap_or(!h2ping.is_empty()),
        h2ping,
        os_service: text(section, "os_service"),
        success_before_passing: integer(section, "success_before_passing"),
        failures_before_warning: section.integer("failures_before_warning").unwrap_or(failures_before_critical),
        failures_before_critical,
        deregister_critical_service_after,
        id,
    }
}

pub(crate) fn service(section: &Section, faults: &mut Faults) -> ServiceDefinition {
    let name = text(section, "name");
    let mut checks: Vec<CheckDefinition> =
        section.sections("checks").iter().map(|section| check(section, faults)).collect();
    checks.extend(section.section("check").map(|section| check(section, faults)));
    let kind = section.text("kind").filter(|kind| KINDS.contains(kind)).unwrap_or_default().to_owned();
    let mut meta = section.text_map("meta");
    if let Err(fault) = crate::validate::metadata(&meta, kind == "mesh-gateway") {
        faults.push(format!("invalid meta for service {name}: {fault}"));
        meta = BTreeMap::new();
    }
    let weights = Weights {
        passing: section.integer("weights.passing").unwrap_or(1),
        warning: section.integer("weights.warning").unwrap_or(1),
    };
    if let Err(fault) = validate_weights(&weights) {
        faults.push(format!("Invalid weight definition for service {name}: {fault}"));
    }
    let socket_path = text(section, "socket_path");
    if (section.has("port") || section.has("address")) && section.has("socket_path") {
        faults.push(format!("service {name} cannot have both socket path {socket_path} and address/port"));
    }
    let tagged_addresses = section
        .section_map("tagged_addresses")
        .iter()
        .map(|(tag, section)| {
            (tag.clone(), ServiceAddress { address: text(section, "address"), port: integer(section, "port") })
        })
        .collect();
    ServiceDefinition {
        kind,
        id: text(section, "id"),
        tags: section.texts("tags").to_vec(),
        address: text(section, "address"),
        tagged_addresses,
        meta,
        port: integer(section, "port"),
        socket_path,
        checks,
        weights,
        token: Secret::new(text(section, "token")),
        enable_tag_override: flag(section, "enable_tag_override"),
        proxy: section.section("proxy").map(|section| proxy(section, faults)),
        connect: section.section("connect").map(|section| connect(section, faults)),
        locality: section
            .section("locality")
            .map(|section| Locality { region: text(section, "region"), zone: text(section, "zone") }),
        name,
    }
}

fn validate_weights(weights: &Weights) -> Result<(), &'static str> {
    if weights.passing < 1 {
        return Err("Passing must be greater than 0");
    }
    if weights.warning < 0 {
        return Err("Warning must be greater or equal than 0");
    }
    if weights.passing > 65535 || weights.warning > 65535 {
        return Err("DNS Weight must be between 0 and 65535");
    }
    Ok(())
}

fn connect(section: &Section, faults: &mut Faults) -> Connect {
    let mut sidecar = section.section("sidecar_service").map(|section| service(section, faults));
    if let Some(sidecar) = &mut sidecar {
        if !sidecar.id.is_empty() {
            faults.push("sidecar_service can't specify an ID".to_owned());
            sidecar.id.clear();
        }
        if let Some(connect) = &mut sidecar.connect
            && connect.sidecar_service.take().is_some()
        {
            faults.push("sidecar_service can't have a nested sidecar_service".to_owned());
        }
    }
    Connect { native: flag(section, "native"), sidecar_service: sidecar.map(Box::new) }
}

fn proxy(section: &Section, faults: &mut Faults) -> Proxy {
    let upstreams = section.sections("upstreams").iter().map(|section| upstream(section, faults)).collect();
    let mesh_gateway_mode = mesh_gateway_mode(section, faults);
    let mode = text(section, "mode");
    if !matches!(mode.as_str(), "" | "direct" | "transparent") {
        faults.push(format!("Invalid Proxy Mode: {mode:?}"));
    }
    Proxy {
        destination_service_name: text(section, "destination_service_name"),
        destination_service_id: text(section, "destination_service_id"),
        local_service_address: text(section, "local_service_address"),
        local_service_port: integer(section, "local_service_port"),
        local_service_socket_path: text(section, "local_service_socket_path"),
        mode,
        config: section.free("config"),
        upstreams,
        mesh_gateway_mode,
        expose: Expose {
            checks: section.bool("expose.checks").unwrap_or(false),
            paths: section
                .sections("expose.paths")
                .iter()
                .map(|section| ExposePath {
                    listener_port: integer(section, "listener_port"),
                    path: text(section, "path"),
                    local_path_port: integer(section, "local_path_port"),
                    protocol: text(section, "protocol"),
                })
                .collect(),
        },
        outbound_listener_port: section.integer("transparent_proxy.outbound_listener_port").unwrap_or(0),
        dialed_directly: section.bool("transparent_proxy.dialed_directly").unwrap_or(false),
    }
}

fn upstream(section: &Section, faults: &mut Faults) -> Upstream {
    let mut local_bind_socket_mode = text(section, "local_bind_socket_mode");
    if section.has("local_bind_socket_mode") && u32::from_str_radix(&local_bind_socket_mode, 8).is_err() {
        faults.push(format!("local_bind_socket_mode: invalid mode: {local_bind_socket_mode}"));
        local_bind_socket_mode = "0".to_owned();
    }
    Upstream {
        destination_type: section
            .text("destination_type")
            .filter(|text| !text.is_empty())
            .unwrap_or("service")
            .to_owned(),
        destination_namespace: text(section, "destination_namespace"),
        destination_partition: text(section, "destination_partition"),
        destination_peer: text(section, "destination_peer"),
        destination_name: text(section, "destination_name"),
        datacenter: text(section, "datacenter"),
        local_bind_address: text(section, "local_bind_address"),
        local_bind_port: integer(section, "local_bind_port"),
        local_bind_socket_path: text(section, "local_bind_socket_path"),
        local_bind_socket_mode,
        config: section.free("config"),
        mesh_gateway_mode: mesh_gateway_mode(section, faults),
    }
}

fn mesh_gateway_mode(section: &Section, faults: &mut Faults) -> String {
    let mode = section.text("mesh_gateway.mode").unwrap_or_default();
    if !matches!(mode, "" | "none" | "local" | "remote") {
        faults.push(format!("Invalid Mesh Gateway Mode: {mode:?}"));
        return String::new();
    }
    mode.to_owned()
}
