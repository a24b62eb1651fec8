//! The stored checks with the ways to find them.
//!
//! Always true: every secondary index holds exactly what recomputing it from the rows would give.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::HealthCheck;
use crate::catalog::{Pair, Triple, fold};

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// By node and check id.
    checks: OrdMap<Pair, Arc<HealthCheck>>,
    /// By node, service id (`""` for checks of the node) and check id.
    by_instance: OrdMap<Triple, Arc<HealthCheck>>,
    /// State, node and check id. An index of keys only: most writes change the output and not the state.
    states: OrdSet<Triple>,
    /// Service name, node and check id.
    services: OrdSet<Triple>,
}

impl Table {
    /// A check by the names of its node and of itself in any case.
    pub(crate) fn check(&self, node: &str, id: &str) -> Option<&Arc<HealthCheck>> {
        self.checks.get(&(fold(node), fold(id)))
    }

    /// Every check in order of nodes and ids.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<HealthCheck>> {
        self.checks.values()
    }

    /// The checks on a node and of its services; the node is given as a key.
    pub(crate) fn on_node(&self, node: &Arc<str>) -> impl Iterator<Item = &Arc<HealthCheck>> {
        let node = Arc::clone(node);
        self.checks
            .range((Bound::Included((Arc::clone(&node), Arc::default())), Bound::Unbounded))
            .take_while(move |((on, _), _)| *on == node)
            .map(|(_, check)| check)
    }

    /// The checks of one instance, or with an empty id those of the node itself; given as keys.
    pub(crate) fn of_instance<'a>(
        &'a self,
        node: &'a Arc<str>,
        service: &'a Arc<str>,
    ) -> impl Iterator<Item = &'a Arc<HealthCheck>> {
        // Keys are nearly always the very same texts: looking at their addresses first spares reading them.
        let is_same = |one: &Arc<str>, other: &Arc<str>| Arc::ptr_eq(one, other) || one == other;
        self.by_instance
            .range((Bound::Included((Arc::clone(node), Arc::clone(service), Arc::default())), Bound::Unbounded))
            .take_while(move |((on, of, _), _)| is_same(on, node) && is_same(of, service))
            .map(|(_, check)| check)
    }

    /// The checks in a state, which is given as a key.
    pub(crate) fn in_state(&self, state: &Arc<str>) -> impl Iterator<Item = &Arc<HealthCheck>> {
        self.named(&self.states, state)
    }

    /// The checks of a service, whose name is given as a key.
    pub(crate) fn of_service(&self, service: &Arc<str>) -> impl Iterator<Item = &Arc<HealthCheck>> {
        self.named(&self.services, service)
    }

    fn named<'a>(&'a self, index: &'a OrdSet<Triple>, name: &Arc<str>) -> impl Iterator<Item = &'a Arc<HealthCheck>> {
        let name = Arc::clone(name);
        index
            .range((Bound::Included((Arc::clone(&name), Arc::default(), Arc::default())), Bound::Unbounded))
            .take_while(move |(at, ..)| *at == name)
            .filter_map(|(_, node, id)| self.checks.get(&(Arc::clone(node), Arc::clone(id))))
    }

    pub(crate) fn put(&mut self, check: Arc<HealthCheck>) {
        let at = Keys::of(&check);
        let previous = self.checks.insert(at.pair(), Arc::clone(&check));
        let before = previous.as_ref().map(|previous| Keys::of(previous));
        if let Some(before) = &before {
            if before.service_id != at.service_id {
                self.by_instance.remove(&before.instance());
            }
            if before.state != at.state {
                self.states.remove(&before.in_state());
            }
            if before.service != at.service {
                self.services.remove(&before.of_service());
            }
        }
        self.by_instance.insert(at.instance(), check);
        if before.as_ref().is_none_or(|before| before.state != at.state) {
            self.states.insert(at.in_state());
        }
        if !at.service.is_empty() && before.is_none_or(|before| before.service != at.service) {
            self.services.insert(at.of_service());
        }
    }

    pub(crate) fn remove(&mut self, check: &HealthCheck) {
        let at = Keys::of(check);
        self.checks.remove(&at.pair());
        self.by_instance.remove(&at.instance());
        self.states.remove(&at.in_state());
        self.services.remove(&at.of_service());
    }
}

/// The folded names of a check.
struct Keys {
    node: Arc<str>,
    id: Arc<str>,
    service_id: Arc<str>,
    service: Arc<str>,
    state: Arc<str>,
}

impl Keys {
    fn of(check: &HealthCheck) -> Self {
        Keys {
            node: fold(&check.node),
            id: fold(&check.check_id),
            service_id: fold(&check.service_id),
            service: fold(&check.service_name),
            state: fold(&check.status),
        }
    }

    fn pair(&self) -> Pair {
        (Arc::clone(&self.node), Arc::clone(&self.id))
    }

    fn instance(&self) -> Triple {
        (Arc::clone(&self.node), Arc::clone(&self.service_id), Arc::clone(&self.id))
    }

    fn in_state(&self) -> Triple {
        (Arc::clone(&self.state), Arc::clone(&self.node), Arc::clone(&self.id))
    }

    fn of_service(&self) -> Triple {
        (Arc::clone(&self.service), Arc::clone(&self.node), Arc::clone(&self.id))
    }
}
