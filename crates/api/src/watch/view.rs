//! What a handler is shown: the answers of the API, with the fields, order and defaults that Go's client gives them.
//!
//! Always true: fields that the API adds later and Go's client does not know are left out.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kv::cli::Entry;
use crate::watch::{Cursor, Reply, Subject};

pub(super) struct Shaped {
    pub json: String,
    /// The same as a tree, to tell whether anything changed.
    pub compared: Value,
}

pub(super) fn shaped(subject: &Subject, cursor: Option<&Cursor>, reply: &Reply<'_>) -> Result<Shaped, String> {
    if reply.missing {
        return written(&None::<Entry>);
    }
    match subject {
        Subject::Key { .. } => written(&read::<Vec<Entry>>(reply)?.into_iter().next()),
        Subject::KeyPrefix { .. } => written(&read::<Option<Vec<Entry>>>(reply)?),
        Subject::Services { .. } => written(&read::<Option<BTreeMap<String, Option<Vec<String>>>>>(reply)?),
        Subject::Nodes { .. } => written(&read::<Option<Vec<Node>>>(reply)?),
        Subject::Service { .. } => written(&read::<Option<Vec<ServiceEntry>>>(reply)?),
        Subject::Checks { .. } => written(&read::<Option<Vec<Check>>>(reply)?),
        Subject::Event { .. } => {
            let mut events = read::<Option<Vec<Event>>>(reply)?;
            if let (Some(events), Some(Cursor::Index(seen))) = (&mut events, cursor) {
                let known = events.iter().position(|event| event_index(&event.id) == Some(*seen));
                events.drain(..known.map_or(0, |known| known + 1));
            }
            written(&events)
        }
        Subject::ConnectRoots | Subject::ConnectLeaf { .. } | Subject::AgentService { .. } => {
            written(&read::<Value>(reply)?)
        }
    }
}

fn read<T: DeserializeOwned>(reply: &Reply<'_>) -> Result<T, String> {
    wire::json::from_slice(reply.body, wire::json::Options::LENIENT).map_err(|error| error.to_string())
}

fn written<T: Serialize>(value: &T) -> Result<Shaped, String> {
    let json = wire::json::to_string(value).map_err(|error| error.to_string())?;
    let compared = serde_json::from_str(&json).map_err(|error| error.to_string())?;
    Ok(Shaped { json, compared })
}

/// The index that the API gives an event: both halves of its ID, folded.
pub(super) fn event_index(id: &str) -> Option<u64> {
    let folded = uuid::Uuid::parse_str(id).ok()?.as_u64_pair();
    Some(folded.0 ^ folded.1)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What Go's `omitempty` leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    datacenter: String,
    tagged_addresses: Option<BTreeMap<String, String>>,
    meta: Option<BTreeMap<String, String>>,
    create_index: u64,
    modify_index: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    peer_name: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    locality: Value,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct ServiceEntry {
    node: Option<Node>,
    service: Option<Service>,
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Service {
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(rename = "ID")]
    id: String,
    service: String,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
    port: i64,
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    socket_path: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: BTreeMap<String, TaggedAddress>,
    weights: Weights,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "is_zero")]
    create_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    modify_index: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    content_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Proxy>,
    #[serde(skip_serializing_if = "Value::is_null")]
    connect: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    peer_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    datacenter: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    locality: Value,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaggedAddress {
    address: String,
    port: i64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

/// The settings of a proxy. What lies deeper is passed on as it came.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Proxy {
    #[serde(skip_serializing_if = "is_empty")]
    envoy_extensions: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    destination_service_name: String,
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "String::is_empty")]
    destination_service_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    local_service_address: String,
    #[serde(skip_serializing_if = "is_empty")]
    local_service_port: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    local_service_socket_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mode: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    transparent_proxy: Value,
    #[serde(skip_serializing_if = "is_empty")]
    config: Value,
    #[serde(skip_serializing_if = "is_empty")]
    upstreams: Value,
    mesh_gateway: Value,
    expose: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    access_logs: Value,
}

impl Default for Proxy {
    fn default() -> Proxy {
        let none = || Value::Object(serde_json::Map::new());
        Proxy {
            envoy_extensions: Value::Null,
            destination_service_name: String::new(),
            destination_service_id: String::new(),
            local_service_address: String::new(),
            local_service_port: Value::Null,
            local_service_socket_path: String::new(),
            mode: String::new(),
            transparent_proxy: Value::Null,
            config: Value::Null,
            upstreams: Value::Null,
            mesh_gateway: none(),
            expose: none(),
            access_logs: Value::Null,
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Check {
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
    service_tags: Option<Vec<String>>,
    #[serde(rename = "Type")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    partition: String,
    exposed_port: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    peer_name: String,
    definition: Definition,
    create_index: u64,
    modify_index: u64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Definition {
    interval: String,
    timeout: String,
    deregister_critical_service_after: String,
    #[serde(rename = "HTTP")]
    http: String,
    header: Option<BTreeMap<String, Option<Vec<String>>>>,
    method: String,
    body: String,
    #[serde(rename = "TLSServerName")]
    tls_server_name: String,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP")]
    tcp: String,
    #[serde(rename = "TCPUseTLS")]
    tcp_use_tls: bool,
    #[serde(rename = "UDP")]
    udp: String,
    #[serde(rename = "GRPC")]
    grpc: String,
    #[serde(rename = "OSService")]
    os_service: String,
    #[serde(rename = "GRPCUseTLS")]
    grpc_use_tls: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    session_name: String,
}

impl Default for Definition {
    fn default() -> Definition {
        let never = || "0s".to_owned();
        Definition {
            interval: never(),
            timeout: never(),
            deregister_critical_service_after: never(),
            http: String::new(),
            header: None,
            method: String::new(),
            body: String::new(),
            tls_server_name: String::new(),
            tls_skip_verify: false,
            tcp: String::new(),
            tcp_use_tls: false,
            udp: String::new(),
            grpc: String::new(),
            os_service: String::new(),
            grpc_use_tls: false,
            session_name: String::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Event {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    /// Base64.
    payload: Option<String>,
    node_filter: String,
    service_filter: String,
    tag_filter: String,
    version: i64,
    #[serde(rename = "LTime")]
    l_time: u64,
}
