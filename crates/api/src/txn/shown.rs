//! What a transaction came to, in the form that clients see.

use std::collections::BTreeMap;

use serde::Serialize;
use state::Index;
use state::catalog::{Locality, Node, NodeService, Proxy, ServiceAddress, ServiceConnect, Weights};
use state::health::{Definition, HealthCheck};
use state::kv::Entry;
use state::txn::{TxnError, TxnResponse, TxnResult};

/// `structs.TxnResponse`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shown<'a> {
    results: Option<Vec<ShownResult<'a>>>,
    errors: Option<&'a [TxnError]>,
}

impl<'a> Shown<'a> {
    pub fn new(response: &'a TxnResponse) -> Self {
        Shown {
            results: response.results.as_ref().map(|results| results.iter().map(ShownResult::new).collect()),
            errors: response.errors.as_deref(),
        }
    }
}

/// `structs.TxnResult`.
#[derive(Serialize)]
struct ShownResult<'a> {
    #[serde(rename = "KV", skip_serializing_if = "Option::is_none")]
    kv: Option<&'a Entry>,
    #[serde(rename = "Node", skip_serializing_if = "Option::is_none")]
    node: Option<&'a Node>,
    #[serde(rename = "Service", skip_serializing_if = "Option::is_none")]
    service: Option<ShownService<'a>>,
    #[serde(rename = "Check", skip_serializing_if = "Option::is_none")]
    check: Option<ShownCheck<'a>>,
}

impl<'a> ShownResult<'a> {
    fn new(result: &'a TxnResult) -> Self {
        ShownResult {
            kv: result.kv.as_deref(),
            node: result.node.as_deref(),
            service: result.service.as_deref().map(ShownService::new),
            check: result.check.as_deref().map(ShownCheck::new),
        }
    }
}

/// `structs.NodeService`.
///
/// Compat: elsewhere the reference shows no tags as an empty list, here as it keeps them: `null`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownService<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: Option<&'a [String]>,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tagged_addresses: Option<&'a BTreeMap<String, ServiceAddress>>,
    meta: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    socket_path: &'a str,
    weights: Option<&'a Weights>,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<&'a Locality>,
    proxy: &'a Proxy,
    connect: &'a ServiceConnect,
    peer_name: &'a str,
    create_index: Index,
    modify_index: Index,
}

impl<'a> ShownService<'a> {
    fn new(service: &'a NodeService) -> Self {
        ShownService {
            kind: &service.kind,
            id: &service.id,
            service: &service.service,
            tags: Some(&service.tags[..]).filter(|tags| !tags.is_empty()),
            address: &service.address,
            tagged_addresses: service.tagged_addresses.as_ref(),
            meta: service.meta.as_ref(),
            port: Some(service.port).filter(|port| *port != 0),
            socket_path: &service.socket_path,
            weights: service.weights.as_ref(),
            enable_tag_override: service.enable_tag_override,
            locality: service.locality.as_ref(),
            proxy: &service.proxy,
            connect: &service.connect,
            peer_name: &service.peer_name,
            create_index: service.create_index,
            modify_index: service.modify_index,
        }
    }
}

/// `structs.HealthCheck`, with its tags as [`ShownService`] shows them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownCheck<'a> {
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
    r#type: &'a str,
    interval: &'a str,
    timeout: &'a str,
    exposed_port: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    peer_name: &'a str,
    definition: &'a Definition,
    create_index: Index,
    modify_index: Index,
}

impl<'a> ShownCheck<'a> {
    fn new(check: &'a HealthCheck) -> Self {
        ShownCheck {
            node: &check.node,
            check_id: &check.check_id,
            name: &check.name,
            status: &check.status,
            notes: &check.notes,
            output: &check.output,
            service_id: &check.service_id,
            service_name: &check.service_name,
            service_tags: Some(&check.service_tags[..]).filter(|tags| !tags.is_empty()),
            r#type: &check.r#type,
            interval: &check.interval,
            timeout: &check.timeout,
            exposed_port: check.exposed_port,
            peer_name: &check.peer_name,
            definition: &check.definition,
            create_index: check.create_index,
            modify_index: check.modify_index,
        }
    }
}
