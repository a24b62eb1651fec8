//! Reads of health.

use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use super::{CRITICAL, HealthCheck, PASSING};
use crate::catalog::{
    CheckServiceNode, Instance, NodeQuery, ServiceQuery, StringMap, fold, gateway, index, may_read, meta_matches,
    no_peer,
};
use crate::config_entry;
use crate::coordinate::{self, Source};
use crate::{Error, Found, Index, Query, Seen, State, Topic};

/// Which instances to leave out by their health (`structs.HealthFilterType`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub enum HealthFilter {
    #[default]
    All,
    NotCritical,
    OnlyPassing,
}

impl HealthFilter {
    /// Whether a check in this state keeps its instance in the answer.
    #[must_use]
    pub fn keeps(self, status: &str) -> bool {
        match self {
            HealthFilter::All => true,
            HealthFilter::NotCritical => status != CRITICAL,
            HealthFilter::OnlyPassing => status == PASSING,
        }
    }
}

impl From<i64> for HealthFilter {
    fn from(number: i64) -> Self {
        match number {
            1 => HealthFilter::NotCritical,
            2 => HealthFilter::OnlyPassing,
            _ => HealthFilter::All,
        }
    }
}

impl From<HealthFilter> for i64 {
    fn from(filter: HealthFilter) -> i64 {
        match filter {
            HealthFilter::All => 0,
            HealthFilter::NotCritical => 1,
            HealthFilter::OnlyPassing => 2,
        }
    }
}

/// The fields of `structs.ChecksInStateRequest` that say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StateQuery {
    pub node_meta_filters: StringMap,
    /// A state, or `any`.
    pub state: String,
    pub source: Source,
    pub peer_name: String,
}

/// All checks in a state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChecksInState(pub StateQuery);

impl Query for ChecksInState {
    const METHOD: &'static str = "Health.ChecksInState";
    type Answer = Vec<Arc<HealthCheck>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let query = &self.0;
        seen.note(Topic::Checks);
        let mut checks: Vec<_> = if no_peer(&query.peer_name).is_err() {
            Vec::new()
        } else if query.state == "any" {
            state.health.all().cloned().collect()
        } else {
            state.health.in_state(&fold(&query.state)).cloned().collect()
        };
        keep_by_node_meta(state, seen, &query.node_meta_filters, &mut checks);
        coordinate::sort_by_distance(state, seen, &query.source, &mut checks, |check| &check.node);
        Ok(Found::new(state.indexes.get(index::CHECKS), checks))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// The checks of a node and of the services on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HealthNodeChecks(pub NodeQuery);

impl Query for HealthNodeChecks {
    const METHOD: &'static str = "Health.NodeChecks";
    type Answer = Vec<Arc<HealthCheck>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let node = fold(&self.0.node);
        let checks = state.health.on_node(&node).filter(|_| self.0.peer_name.is_empty()).cloned().collect();
        seen.note(Topic::NodeChecks(node));
        Ok(Found::new(state.indexes.get(index::CHECKS), checks))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// The checks of a service, without those of its nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HealthServiceChecks(pub ServiceQuery);

impl Query for HealthServiceChecks {
    const METHOD: &'static str = "Health.ServiceChecks";
    type Answer = Vec<Arc<HealthCheck>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let query = &self.0;
        if query.tag_filter {
            return Err(Error::failed("Tag filtering is not supported"));
        }
        let name = fold(&query.service_name);
        let mut checks: Vec<_> =
            state.health.of_service(&name).filter(|_| query.peer_name.is_empty()).cloned().collect();
        keep_by_node_meta(state, seen, &query.node_meta_filters, &mut checks);
        coordinate::sort_by_distance(state, seen, &query.source, &mut checks, |check| &check.node);
        let at = if query.node_meta_filters.is_empty() {
            state.indexes.get(index::CHECKS)
        } else {
            index::reported_for_service(&state.indexes, &name, true, true)
        };
        seen.note(Topic::ServiceChecks(name));
        Ok(Found::new(at, checks))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// The instances of a service with their nodes and checks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HealthServiceNodes(pub ServiceQuery);

impl Query for HealthServiceNodes {
    const METHOD: &'static str = "Health.ServiceNodes";
    type Answer = Vec<CheckServiceNode>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        if self.0.connect || self.0.ingress {
            may.require(Need::read(Resource::Service(&self.0.service_name)))?;
        }
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let query = &self.0;
        if query.service_name.is_empty() {
            return Err(Error::failed("Must provide service name"));
        }
        if query.ingress && !query.connect && !query.tag_filter {
            let (at, instances) = gateway::before(state, seen, &query.service_name, gateway::INGRESS);
            let mut rows = with_checks(state, instances);
            rows.retain(|row| row.passes(query.health_filter_type, &[]));
            return Ok(Found::new(at, rows));
        }
        let instances = query.instances(state, seen);
        let mut at = self.reported(state, &instances);
        let wanted = instances.into_iter().filter(|instance| query.wants_tags_of(&instance.service));
        let mut rows = with_checks(state, wanted);
        if query.merge_central_config {
            for row in &mut rows {
                if let Some((merged, index)) = config_entry::merged(state, seen, &row.service) {
                    row.service = merged;
                    at = at.max(index);
                }
            }
        }
        rows.retain(|row| {
            meta_matches(row.node.meta.as_ref(), &query.node_meta_filters) && row.passes(query.health_filter_type, &[])
        });
        coordinate::sort_by_distance(state, seen, &query.source, &mut rows, |row| &row.node.node);
        Ok(Found::new(at, rows))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let before = answer.len();
        answer.retain(|row| may_read(&row.node.node, &row.service.service, may));
        answer.len() != before
    }
}

impl HealthServiceNodes {
    /// Highest index of the services that the instances belong to: with proxies those may be several, and
    /// none of them the one asked for.
    fn reported(&self, state: &State, instances: &[&Arc<Instance>]) -> Index {
        let name = fold(&self.0.service_name);
        if !self.0.connect {
            return index::reported_for_service(&state.indexes, &name, !instances.is_empty(), true);
        }
        let gateways = state.indexes.get(config_entry::GATEWAY_SERVICES);
        if instances.is_empty() {
            return index::reported_for_service(&state.indexes, &name, false, true).max(gateways);
        }
        let own = instances
            .iter()
            .map(|instance| index::reported_for_service(&state.indexes, &instance.name_key, true, true))
            .max()
            .unwrap_or_default();
        own.max(index::reported_for_mesh(&state.indexes, &name)).max(gateways)
    }
}

/// Instances with their nodes and all checks that speak of them.
pub(crate) fn with_checks<'a>(
    state: &State,
    instances: impl IntoIterator<Item = &'a Arc<Instance>>,
) -> Vec<CheckServiceNode> {
    let no_service: Arc<str> = Arc::default();
    let mut rows = Vec::new();
    // Instances on one node stand together, and share its checks.
    let (mut last, mut of_node): (Option<&Arc<str>>, Vec<Arc<HealthCheck>>) = (None, Vec::new());
    for instance in instances {
        let Some(node) = state.catalog.node(&instance.node_key) else { continue };
        if last != Some(&instance.node_key) {
            of_node = state.health.of_instance(&instance.node_key, &no_service).cloned().collect();
            last = Some(&instance.node_key);
        }
        let mut checks = of_node.clone();
        if !instance.id_key.is_empty() {
            checks.extend(state.health.of_instance(&instance.node_key, &instance.id_key).cloned());
        }
        rows.push(CheckServiceNode { node: Arc::clone(node), service: Arc::clone(&instance.service), checks });
    }
    rows
}

fn keep_by_node_meta(state: &State, seen: &mut Seen, wanted: &StringMap, checks: &mut Vec<Arc<HealthCheck>>) {
    if wanted.is_empty() {
        return;
    }
    seen.note(Topic::Nodes);
    checks.retain(|check| state.catalog.node(&check.node).is_some_and(|node| meta_matches(node.meta.as_ref(), wanted)));
}

fn keep_readable(checks: &mut Vec<Arc<HealthCheck>>, may: &dyn Authorizer) -> bool {
    let before = checks.len();
    checks.retain(|check| may_read(&check.node, &check.service_name, may));
    checks.len() != before
}
