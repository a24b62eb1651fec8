//! Single changes of checks, shared by registration, deregistration and transactions.

use std::sync::Arc;

use super::{CRITICAL, HealthCheck};
use crate::catalog::{self, fold, index};
use crate::{Apply, Error, State, Topic, session};

/// What the reference fills in before it proposes a check.
/// The id that a check gets: its own, or else its name.
pub(crate) fn effective_id(check: &HealthCheck) -> &str {
    if check.check_id.is_empty() { &check.name } else { &check.check_id }
}

/// Gives a check its id.
pub(crate) fn default_id(check: &mut HealthCheck) {
    check.check_id = effective_id(check).to_owned();
}

pub(crate) fn prepare_check(check: &mut HealthCheck) {
    default_id(check);
    if check.r#type.is_empty() {
        check.r#type = check.definition.kind().into();
    }
}

/// Creates or replaces a check on a node, and on a service if it names one, that exist.
pub(crate) fn put_check(state: &mut State, apply: &mut Apply, mut check: HealthCheck) -> Result<(), Error> {
    if check.node.is_empty() || check.check_id.is_empty() {
        // Compat: the reference's words for a check that has neither id nor name.
        return Err(Error::failed("failed health check lookup: index error: object is missing a value for this index"));
    }
    let existing = state.health.check(&check.node, &check.check_id).cloned();
    check.peer_name = String::new();
    if check.status.is_empty() {
        check.status = CRITICAL.into();
    }
    if state.catalog.node(&check.node).is_none() {
        return Err(catalog::missing_node());
    }
    if !check.service_id.is_empty() {
        let instance = state.catalog.instance(&check.node, &check.service_id);
        let instance = instance.ok_or_else(|| Error::failed("Missing service registration"))?;
        check.service_name.clone_from(&instance.service.service);
        check.service_tags.clone_from(&instance.service.tags);
    }
    let same = existing.as_ref().is_some_and(|existing| existing.same_content(&check));
    if !same {
        check.create_index = existing.as_ref().map_or(apply.index, |existing| existing.create_index);
        check.modify_index = apply.index;
        let check = Arc::new(check.clone());
        state.health.put(Arc::clone(&check));
        index::raise_checks(&mut state.indexes, apply.index);
        // A check that moves to another service, or between node and service, concerns both. The reference
        // tells only the new one.
        if let Some(existing) = existing {
            if !existing.service_name.is_empty() {
                apply.touch(Topic::ServiceChecks(fold(&existing.service_name)));
            }
            if fold(&existing.service_id) != fold(&check.service_id) {
                check_changed(state, apply, &existing);
            }
        }
        check_changed(state, apply, &check);
    }
    // Also when nothing changed: a session may have been bound to the check since.
    if check.status == CRITICAL {
        session::check_lost(state, apply, &check.node, &check.check_id);
    }
    Ok(())
}

/// Removes a check; nothing happens when there is none.
pub(crate) fn remove_check(state: &mut State, apply: &mut Apply, node: &str, id: &str) {
    if let Some(check) = state.health.check(node, id).cloned() {
        remove(state, apply, &check);
    }
}

/// Removes the checks of an instance, given as keys.
pub(crate) fn remove_checks_of(state: &mut State, apply: &mut Apply, node: &Arc<str>, service: &Arc<str>) {
    let doomed: Vec<_> = state.health.of_instance(node, service).cloned().collect();
    for check in doomed {
        remove(state, apply, &check);
    }
}

/// Removes all checks on a node, given as a key.
pub(crate) fn remove_checks_on(state: &mut State, apply: &mut Apply, node: &Arc<str>) {
    let doomed: Vec<_> = state.health.on_node(node).cloned().collect();
    for check in doomed {
        remove(state, apply, &check);
    }
}

fn remove(state: &mut State, apply: &mut Apply, check: &HealthCheck) {
    state.health.remove(check);
    index::raise_checks(&mut state.indexes, apply.index);
    if check.service_id.is_empty() {
        // Compat: removing a check of a node moves the index of services, though no list of them changes.
        index::raise_services(&mut state.indexes, apply.index);
    }
    check_changed(state, apply, check);
    session::check_lost(state, apply, &check.node, &check.check_id);
}

/// Answers that show this check have changed: those about it, and those about the instances it speaks of.
fn check_changed(state: &mut State, apply: &mut Apply, check: &HealthCheck) {
    let node = fold(&check.node);
    apply.touch(Topic::Checks);
    if !check.service_name.is_empty() {
        apply.touch(Topic::ServiceChecks(fold(&check.service_name)));
    }
    if check.service_id.is_empty() {
        index::instances_changed(state, apply, &node);
    } else if let Some(instance) = state.catalog.instance(&node, &check.service_id).cloned() {
        index::instance_changed(state, apply, &instance);
    }
    apply.touch(Topic::NodeChecks(node));
}
