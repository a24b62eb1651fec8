//! The catalog and its checks as records of a snapshot archive, and back.
//!
//! Each record is a registration: first the node alone, then the node with one service, then with one check.

use std::sync::Arc;

use super::index;
use super::noun::{Node, NodeService, RegisterRequest, fold};
use super::table::Instance;
use crate::health::HealthCheck;
use crate::{Index, State};

/// Every node, each followed by its services and checks.
pub(crate) fn records(state: &State) -> impl Iterator<Item = RegisterRequest> + '_ {
    state.catalog.nodes().flat_map(|(key, node)| {
        let alone = describe(node);
        let services = state.catalog.instances_on(key).map({
            let alone = alone.clone();
            move |instance| RegisterRequest { service: Some(Arc::clone(&instance.service)), ..alone.clone() }
        });
        let checks = state.health.on_node(key).map({
            let alone = alone.clone();
            move |check| RegisterRequest { check: Some(HealthCheck::clone(check)), ..alone.clone() }
        });
        std::iter::once(alone).chain(services).chain(checks)
    })
}

fn describe(node: &Node) -> RegisterRequest {
    RegisterRequest {
        datacenter: node.datacenter.clone(),
        id: node.id.clone(),
        node: node.node.clone(),
        address: node.address.clone(),
        tagged_addresses: node.tagged_addresses.clone(),
        node_meta: node.meta.clone(),
        peer_name: node.peer_name.clone(),
        locality: node.locality.clone(),
        create_index: node.create_index,
        modify_index: node.modify_index,
        ..RegisterRequest::default()
    }
}

/// Takes one record in. `at` is the index of the archive, for objects of archives that did not keep theirs.
/// Indexes of tables and services that the archive keeps are raised by its own records afterwards. What a
/// peer exported is not ours to hold and is left out.
pub(crate) fn restore(state: &mut State, at: Index, record: RegisterRequest) {
    if !record.peer_name.is_empty() {
        return;
    }
    if record.changes_node(state.catalog.node(&record.node)) {
        let mut node = record.described_node();
        if node.create_index.is_zero() {
            (node.create_index, node.modify_index) = (at, at);
        }
        index::raise_nodes(&mut state.indexes, &fold(&node.node), node.modify_index);
        state.catalog.put_node(Arc::new(node));
    }
    if let Some(service) = &record.service {
        restore_service(state, at, &record.node, NodeService::clone(service));
    }
    for check in record.check.into_iter().chain(record.checks) {
        restore_check(state, at, check);
    }
}

fn restore_service(state: &mut State, at: Index, node: &str, mut service: NodeService) {
    if service.create_index.is_zero() {
        (service.create_index, service.modify_index) = (at, at);
    }
    let index = service.modify_index;
    let instance = Arc::new(Instance::new(node, Arc::new(service)));
    state.catalog.put_instance(Arc::clone(&instance));
    index::raise_services(&mut state.indexes, index);
    index::raise_nodes(&mut state.indexes, &instance.node_key, index);
    index::raise_instance(&mut state.indexes, &instance, index);
}

fn restore_check(state: &mut State, at: Index, mut check: HealthCheck) {
    if check.node.is_empty() || check.check_id.is_empty() || state.catalog.node(&check.node).is_none() {
        return;
    }
    if check.create_index.is_zero() {
        (check.create_index, check.modify_index) = (at, at);
    }
    let (node, index) = (fold(&check.node), check.modify_index);
    index::raise_checks(&mut state.indexes, index);
    let concerned: Vec<_> = if check.service_id.is_empty() {
        state.catalog.instances_on(&node).cloned().collect()
    } else {
        state.catalog.instance(&node, &check.service_id).cloned().into_iter().collect()
    };
    for instance in concerned {
        index::raise_instance(&mut state.indexes, &instance, index);
    }
    state.health.put(Arc::new(check));
}
