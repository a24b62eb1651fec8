//! Single changes of nodes and instances, shared by registration, deregistration and transactions.
//!
//! Each takes effect whole or answers why not; a change to what is already there does nothing. A transaction
//! that fails later puts the previous state value back.

use std::sync::Arc;

use super::index;
use super::noun::{Node, NodeService, StringMap, Weights, fold};
use super::table::Instance;
use crate::{Apply, Error, Index, State, Topic, coordinate, health, session};

/// The check that gossip keeps for a member.
pub const SERF_HEALTH: &str = "serfHealth";

/// Whether a check-and-set may go ahead: zero expects nothing there.
pub(crate) fn as_expected(existing: Option<Index>, expected: Index) -> bool {
    match existing {
        None => expected.is_zero(),
        Some(index) => !expected.is_zero() && index == expected,
    }
}

/// Creates or replaces a node. One that comes with a known id under another name is renamed: the old name
/// goes with everything on it, and the new one keeps the creation index.
pub(crate) fn put_node(state: &mut State, apply: &mut Apply, mut node: Node) -> Result<(), Error> {
    let key = fold(&node.node);
    let mut existing = None;
    if !node.id.is_empty() {
        match state.catalog.node_by_id(&node.id).cloned() {
            Some(known) => {
                if fold(&known.node) != key {
                    refuse_taken_name(state, &node, false).map_err(|error| {
                        let (id, address) = (&node.id, &node.address);
                        Error::failed(format!("Error while renaming Node ID: {id:?} ({address}): {error}"))
                    })?;
                    remove_node(state, apply, &known.node);
                }
                existing = Some(known);
            }
            None => refuse_taken_name(state, &node, true)
                .map_err(|error| Error::failed(format!("Error while renaming Node ID: {:?}: {error}", node.id)))?,
        }
    }
    if let Some(existing) = existing.or_else(|| state.catalog.node(&node.node).cloned()) {
        if existing.same_content(&node) {
            return Ok(());
        }
        if existing.id != node.id && !existing.id.is_empty() {
            // An id has vanished: who looked the node up by it is told as if the node had.
            state.indexes.raise(index::NODE_EXTINCTION, apply.index);
        }
        node.create_index = existing.create_index;
    } else {
        node.create_index = apply.index;
    }
    node.modify_index = apply.index;
    state.catalog.put_node(Arc::new(node));
    index::raise_nodes(&mut state.indexes, &key, apply.index);
    apply.touch(Topic::Nodes);
    // Answers about services show their nodes.
    index::instances_changed(state, apply, &key);
    apply.touch(Topic::Node(key));
    Ok(())
}

/// A name belongs to the node that has it while gossip sees that node alive. A node that gossip does not know
/// gives way, and so does one without an id (`claim`: the newcomer brings the first id for the name).
fn refuse_taken_name(state: &State, node: &Node, claim: bool) -> Result<(), Error> {
    let Some(holder) = state.catalog.node(&node.node).filter(|holder| holder.id != node.id) else {
        return Ok(());
    };
    let alive = state.health.check(&holder.node, SERF_HEALTH).is_some_and(|check| check.status != health::CRITICAL);
    if alive && !(claim && holder.id.is_empty()) {
        return Err(Error::failed(format!(
            "Node name {} is reserved by node {} with name {} ({})",
            node.node, holder.id, holder.node, holder.address
        )));
    }
    Ok(())
}

/// Removes a node with its services, checks, coordinates and sessions; nothing happens when there is none.
pub(crate) fn remove_node(state: &mut State, apply: &mut Apply, name: &str) {
    let key = fold(name);
    let Some(node) = state.catalog.node(&key).cloned() else { return };
    let instances: Vec<_> = state.catalog.instances_on(&key).cloned().collect();
    for instance in &instances {
        remove_instance(state, apply, instance);
    }
    health::remove_checks_on(state, apply, &key);
    coordinate::node_gone(state, apply, &key);
    state.catalog.remove_node(&key);
    index::raise_nodes(&mut state.indexes, &key, apply.index);
    state.indexes.forget(&index::of_node(&key));
    state.indexes.raise(index::NODE_EXTINCTION, apply.index);
    apply.touch(Topic::Nodes);
    apply.touch(Topic::Node(key));
    session::node_gone(state, apply, &node.node);
}

/// Creates or replaces a service instance on a node that exists.
pub(crate) fn put_service(
    state: &mut State,
    apply: &mut Apply,
    node: &str,
    service: &NodeService,
) -> Result<(), Error> {
    refuse_bad_meta(&service.kind, service.meta.as_ref()).map_err(|fault| invalid_meta(node, &service.id, &fault))?;
    if state.catalog.node(node).is_none() {
        return Err(missing_node());
    }
    let existing = state.catalog.instance(node, &service.id).cloned();
    let mut service = NodeService { peer_name: String::new(), ..service.clone() };
    // Compat: weights out of range are not refused here but replaced.
    if !service.weights.as_ref().is_some_and(Weights::valid) {
        service.weights = Some(Weights::default());
    }
    service.create_index = apply.index;
    if let Some(existing) = &existing {
        if existing.service.same_content(&service) {
            return Ok(());
        }
        service.create_index = existing.service.create_index;
    }
    service.modify_index = apply.index;
    let instance = Arc::new(Instance::new(node, Arc::new(service)));
    state.catalog.put_instance(Arc::clone(&instance));

    // The reference leaves the indexes of the old name alone when an instance takes another one, so that its
    // watchers are never told. They are told here, as if the instance had gone.
    let names = |instance: &Instance| (Arc::clone(&instance.name_key), instance.mesh_key.clone());
    if let Some(existing) = existing.filter(|existing| names(existing) != names(&instance)) {
        index::instance_left(state, apply, &existing);
    }
    index::raise_services(&mut state.indexes, apply.index);
    index::instance_changed(state, apply, &instance);
    node_services_changed(state, apply, &instance.node_key);
    Ok(())
}

/// Removes a service instance with its checks; nothing happens when there is none.
pub(crate) fn remove_service(state: &mut State, apply: &mut Apply, node: &str, id: &str) {
    if let Some(instance) = state.catalog.instance(node, id).cloned() {
        remove_instance(state, apply, &instance);
    }
}

fn remove_instance(state: &mut State, apply: &mut Apply, instance: &Instance) {
    health::remove_checks_of(state, apply, &instance.node_key, &instance.id_key);
    // Compat: also when the service had no checks.
    index::raise_checks(&mut state.indexes, apply.index);
    state.catalog.remove_instance(&instance.node_key, &instance.id_key);
    index::raise_services(&mut state.indexes, apply.index);
    node_services_changed(state, apply, &instance.node_key);
    index::instance_left(state, apply, instance);
}

fn node_services_changed(state: &mut State, apply: &mut Apply, node: &Arc<str>) {
    // Compat: the indexes of nodes move with their services, though no list of nodes shows them.
    index::raise_nodes(&mut state.indexes, node, apply.index);
    apply.touch(Topic::Services);
    apply.touch(Topic::Node(Arc::clone(node)));
}

pub(crate) fn missing_node() -> Error {
    Error::failed("Missing node registration")
}

fn invalid_meta(node: &str, id: &str, fault: &str) -> Error {
    Error::failed(format!("Invalid Service Meta for node {node} and serviceID {id}: {fault}"))
}

const META_PAIRS: usize = 64;
const META_KEY_BYTES: usize = 128;
const META_VALUE_BYTES: usize = 512;

/// The rules of service and node metadata. Keys that begin with `consul-` are Consul's own.
pub fn refuse_bad_meta(kind: &str, meta: Option<&StringMap>) -> Result<(), String> {
    let Some(meta) = meta else { return Ok(()) };
    if meta.len() > META_PAIRS {
        return Err(format!("Node metadata cannot contain more than {META_PAIRS} key/value pairs"));
    }
    for (key, value) in meta {
        let fault: String = if key.is_empty() {
            "Key cannot be blank".into()
        } else if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            "Key contains invalid characters".into()
        } else if key.len() > META_KEY_BYTES {
            format!("Key is too long (limit: {META_KEY_BYTES} characters)")
        } else if key.starts_with("consul-") && !(kind == "mesh-gateway" && key == "consul-wan-federation") {
            "Key prefix 'consul-' is reserved for internal use".into()
        } else if value.len() > META_VALUE_BYTES {
            format!("Value is too long (limit: {META_VALUE_BYTES} characters)")
        } else {
            continue;
        };
        return Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {fault}"));
    }
    Ok(())
}
