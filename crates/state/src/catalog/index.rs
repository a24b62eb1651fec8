//! What the catalog's writes do to indexes and topics.
//!
//! The names are the reference's: most exist twice, over all peers and for the local cluster, because its
//! archives carry both and its queries read the local one.

use std::sync::Arc;

use super::table::Instance;
use crate::{Apply, Index, Indexes, State, Topic};

pub(crate) const NODES: &str = "peer.internal:nodes";
pub(crate) const SERVICES: &str = "peer.internal:services";
pub(crate) const CHECKS: &str = "peer.internal:checks";
pub(crate) const NODE_EXTINCTION: &str = "peer.internal:node_last_extinction";
pub(crate) const SERVICE_EXTINCTION: &str = "peer.internal:service_last_extinction";

/// Index of one node and the services on it. Takes a folded name.
pub(crate) fn of_node(node: &str) -> String {
    format!("peer.internal:node.{node}")
}

/// Index of one service: its instances, their nodes and checks. Takes a folded name.
pub(crate) fn of_service(service: &str) -> String {
    format!("peer.internal:service.{service}")
}

/// Index of all services of a kind.
pub(crate) fn of_kind(kind: &str) -> String {
    format!("peer.internal:service_kind.{}", kind_word(kind))
}

/// Index of what makes a service reachable through the mesh. Not a name of the reference, which has no such
/// index and misses changes for it; its archives take unknown names.
fn of_mesh(destination: &str) -> String {
    format!("peer.internal:curule_connect.{destination}")
}

fn kind_word(kind: &str) -> &str {
    if kind.is_empty() { "typical" } else { kind }
}

/// What an answer about one service reports. A service that does not exist reports when a service last
/// vanished, so that a watcher of its last instance is told.
pub(crate) fn reported_for_service(indexes: &Indexes, service: &str, exists: bool, with_checks: bool) -> Index {
    if !exists && indexes.contains(SERVICE_EXTINCTION) {
        return indexes.get(SERVICE_EXTINCTION);
    }
    let name = of_service(service);
    if indexes.contains(&name) {
        return indexes.get(&name);
    }
    indexes.max(if with_checks { &[SERVICES, NODES, CHECKS] } else { &[SERVICES, NODES] })
}

/// When what makes a service reachable through the mesh last changed, zero when nothing does.
pub(crate) fn reported_for_mesh(indexes: &Indexes, destination: &str) -> Index {
    indexes.get(&of_mesh(destination))
}

pub(crate) fn raise_nodes(indexes: &mut Indexes, node: &str, index: Index) {
    indexes.raise("nodes", index);
    indexes.raise(NODES, index);
    indexes.raise(&of_node(node), index);
}

pub(crate) fn raise_services(indexes: &mut Indexes, index: Index) {
    indexes.raise("services", index);
    indexes.raise(SERVICES, index);
}

pub(crate) fn raise_checks(indexes: &mut Indexes, index: Index) {
    indexes.raise("checks", index);
    indexes.raise(CHECKS, index);
}

pub(crate) fn raise_instance(indexes: &mut Indexes, instance: &Instance, index: Index) {
    indexes.raise(&of_service(&instance.name_key), index);
    let kind = kind_word(&instance.service.kind);
    indexes.raise(&format!("service_kind.{kind}"), index);
    indexes.raise(&of_kind(kind), index);
    if let Some(destination) = &instance.mesh_key {
        indexes.raise(&of_mesh(destination), index);
    }
}

/// An instance no longer stands under the names that it had. With the last one a service's own index is
/// forgotten, because answers about a service that does not exist report when one last vanished.
pub(crate) fn instance_left(state: &mut State, apply: &mut Apply, instance: &Instance) {
    touch_instance(apply, instance);
    raise_instance(&mut state.indexes, instance, apply.index);
    if state.catalog.instances_of(&instance.name_key).next().is_none() {
        state.indexes.forget(&of_service(&instance.name_key));
        state.indexes.raise(SERVICE_EXTINCTION, apply.index);
    }
    if let Some(destination) = &instance.mesh_key
        && state.catalog.mesh_instances_of(destination).next().is_none()
    {
        state.indexes.forget(&of_mesh(destination));
        state.indexes.raise(SERVICE_EXTINCTION, apply.index);
    }
}

/// Something that answers about this instance show has changed.
pub(crate) fn instance_changed(state: &mut State, apply: &mut Apply, instance: &Instance) {
    raise_instance(&mut state.indexes, instance, apply.index);
    touch_instance(apply, instance);
}

/// Something that answers about any instance on this node show has changed.
pub(crate) fn instances_changed(state: &mut State, apply: &mut Apply, node: &Arc<str>) {
    let State { catalog, indexes, .. } = state;
    for instance in catalog.instances_on(node) {
        raise_instance(indexes, instance, apply.index);
        touch_instance(apply, instance);
    }
}

fn touch_instance(apply: &mut Apply, instance: &Instance) {
    apply.touch(Topic::Service(Arc::clone(&instance.name_key)));
    if let Some(destination) = &instance.mesh_key {
        apply.touch(Topic::Connect(Arc::clone(destination)));
    }
}
