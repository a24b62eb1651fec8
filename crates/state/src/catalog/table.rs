//! The stored nodes and service instances with the ways to find them.
//!
//! Always true:
//! - Every secondary index holds exactly what recomputing it from the rows would give.
//! - Every instance is on a node that exists; a node id belongs to one node.
//! - Keys are folded names, rows keep names as they were written.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::noun::{Node, NodeService, fold};

/// Two or three folded names; the order of such keys is the order of answers.
pub(crate) type Pair = (Arc<str>, Arc<str>);
pub(crate) type Triple = (Arc<str>, Arc<str>, Arc<str>);

/// A service instance with the names it is found under.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub(crate) node_key: Arc<str>,
    pub(crate) id_key: Arc<str>,
    pub(crate) name_key: Arc<str>,
    /// The service that it makes reachable through the mesh, if any.
    pub(crate) mesh_key: Option<Arc<str>>,
    /// The node's name as it was written when this instance was.
    pub(crate) node: Arc<str>,
    pub(crate) service: Arc<NodeService>,
}

impl Instance {
    pub(crate) fn new(node: &str, service: Arc<NodeService>) -> Self {
        Instance {
            node_key: fold(node),
            id_key: fold(&service.id),
            name_key: fold(&service.service),
            mesh_key: service.mesh_destination().map(fold),
            node: node.into(),
            service,
        }
    }

    fn place(&self) -> Pair {
        (Arc::clone(&self.node_key), Arc::clone(&self.id_key))
    }

    fn place_under(&self, name: &Arc<str>) -> Triple {
        (Arc::clone(name), Arc::clone(&self.node_key), Arc::clone(&self.id_key))
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// By name.
    nodes: OrdMap<Arc<str>, Arc<Node>>,
    /// Digits of the id to name.
    node_ids: OrdMap<Arc<str>, Arc<str>>,
    /// By node and id.
    instances: OrdMap<Pair, Arc<Instance>>,
    /// By service name, node and id.
    by_name: OrdMap<Triple, Arc<Instance>>,
    /// By mesh destination, node and id.
    by_destination: OrdMap<Triple, Arc<Instance>>,
}

impl Table {
    /// A node by its name in any case.
    pub(crate) fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&*fold(name))
    }

    /// The node that has exactly this id.
    pub(crate) fn node_by_id(&self, id: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&**self.node_ids.get(&*id_digits(id))?)
    }

    /// The one node whose id starts so; `None` when there is none or more than one.
    pub(crate) fn node_by_id_prefix(&self, digits: &str) -> Prefixed<'_> {
        let mut found = self
            .node_ids
            .range::<_, str>((Bound::Included(digits), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(digits))
            .filter_map(|(_, name)| self.nodes.get(&**name));
        match (found.next(), found.next()) {
            (None, _) => Prefixed::Nobody,
            (Some(node), None) => Prefixed::One(node),
            (Some(_), Some(_)) => Prefixed::Several,
        }
    }

    /// Every node in order of names.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Node>)> {
        self.nodes.iter()
    }

    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// An instance by the names of its node and of itself in any case.
    pub(crate) fn instance(&self, node: &str, id: &str) -> Option<&Arc<Instance>> {
        self.instances.get(&(fold(node), fold(id)))
    }

    /// Every instance in order of nodes and ids.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values()
    }

    /// The instances on a node, which is given as a key.
    pub(crate) fn instances_on(&self, node: &Arc<str>) -> impl Iterator<Item = &Arc<Instance>> {
        let node = Arc::clone(node);
        self.instances
            .range((Bound::Included((Arc::clone(&node), Arc::default())), Bound::Unbounded))
            .take_while(move |((on, _), _)| *on == node)
            .map(|(_, instance)| instance)
    }

    /// The instances of a service, which is given as a key.
    pub(crate) fn instances_of(&self, name: &Arc<str>) -> impl Iterator<Item = &Arc<Instance>> {
        under(&self.by_name, name)
    }

    /// The proxies and natives in front of a service, which is given as a key.
    pub(crate) fn mesh_instances_of(&self, destination: &Arc<str>) -> impl Iterator<Item = &Arc<Instance>> {
        under(&self.by_destination, destination)
    }

    /// Every instance in order of service names.
    pub(crate) fn instances_by_name(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Instance>)> {
        self.by_name.iter().map(|((name, ..), instance)| (name, instance))
    }

    pub(crate) fn put_node(&mut self, node: Arc<Node>) {
        let key = fold(&node.node);
        if let Some(previous) = self.nodes.get(&*key).cloned() {
            self.forget_id(&previous.id, &key);
        }
        if !node.id.is_empty() {
            self.node_ids.insert(id_digits(&node.id), Arc::clone(&key));
        }
        self.nodes.insert(key, node);
    }

    pub(crate) fn remove_node(&mut self, key: &Arc<str>) {
        if let Some(node) = self.nodes.remove(&**key) {
            self.forget_id(&node.id, key);
        }
    }

    fn forget_id(&mut self, id: &str, of: &Arc<str>) {
        let digits = id_digits(id);
        if self.node_ids.get(&*digits) == Some(of) {
            self.node_ids.remove(&*digits);
        }
    }

    pub(crate) fn put_instance(&mut self, instance: Arc<Instance>) {
        self.remove_instance(&instance.node_key, &instance.id_key);
        self.by_name.insert(instance.place_under(&instance.name_key), Arc::clone(&instance));
        if let Some(destination) = &instance.mesh_key {
            self.by_destination.insert(instance.place_under(destination), Arc::clone(&instance));
        }
        self.instances.insert(instance.place(), instance);
    }

    pub(crate) fn remove_instance(&mut self, node: &Arc<str>, id: &Arc<str>) -> Option<Arc<Instance>> {
        let instance = self.instances.remove(&(Arc::clone(node), Arc::clone(id)))?;
        self.by_name.remove(&instance.place_under(&instance.name_key));
        if let Some(destination) = &instance.mesh_key {
            self.by_destination.remove(&instance.place_under(destination));
        }
        Some(instance)
    }
}

/// What a prefix of a node id found.
pub(crate) enum Prefixed<'a> {
    Nobody,
    One(&'a Arc<Node>),
    Several,
}

/// The rows of a secondary index below one name.
pub(crate) fn under<'a, V: Clone>(map: &'a OrdMap<Triple, V>, name: &Arc<str>) -> impl Iterator<Item = &'a V> {
    let name = Arc::clone(name);
    map.range((Bound::Included((Arc::clone(&name), Arc::default(), Arc::default())), Bound::Unbounded))
        .take_while(move |((at, ..), _)| *at == name)
        .map(|(_, row)| row)
}

/// The hexadecimal digits of a node id, under which it is found in any case and punctuation.
pub(crate) fn id_digits(id: &str) -> Arc<str> {
    id.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect::<String>().into()
}
