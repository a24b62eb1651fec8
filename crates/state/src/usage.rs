//! Counts of what the state holds (`/v1/operator/usage`, and the gauges of the same meaning).

use std::collections::BTreeMap;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use crate::catalog::{NodesQuery, index};
use crate::{Error, Found, Query, Seen, State, Topic};

/// What one datacenter holds (`structs.ServiceUsage`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceUsage {
    /// Distinct service names.
    pub services: usize,
    pub service_instances: usize,
    /// By kind of proxy or gateway, and `connect-native`; every word is there, with zero when there is none.
    pub connect_service_instances: BTreeMap<String, usize>,
    /// Instances that are no proxies and not the servers' own `consul`.
    pub billable_service_instances: usize,
    pub nodes: usize,
}

const MESH_WORDS: [&str; 6] =
    ["api-gateway", NATIVE, "connect-proxy", "ingress-gateway", "mesh-gateway", "terminating-gateway"];
const NATIVE: &str = "connect-native";

/// Counts services and nodes. Walks all instances.
#[must_use]
pub fn services(state: &State) -> ServiceUsage {
    let mut usage = ServiceUsage {
        nodes: state.catalog.node_count(),
        connect_service_instances: MESH_WORDS.iter().map(|word| ((*word).to_owned(), 0)).collect(),
        ..ServiceUsage::default()
    };
    let mut last_name = None;
    for (name, instance) in state.catalog.instances_by_name() {
        let service = &instance.service;
        usage.service_instances += 1;
        usage.services += usize::from(last_name != Some(name));
        last_name = Some(name);
        usage.billable_service_instances += usize::from(service.kind.is_empty() && service.service != "consul");
        for word in [&*service.kind, if service.connect.native { NATIVE } else { "" }] {
            if let Some(count) = usage.connect_service_instances.get_mut(word) {
                *count += 1;
            }
        }
    }
    usage
}

/// Number of keys in the key/value store.
#[must_use]
pub fn keys(state: &State) -> usize {
    state.kv.len()
}

/// The counts of this datacenter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorUsage(pub NodesQuery);

impl Query for OperatorUsage {
    const METHOD: &'static str = "Operator.Usage";
    type Answer = ServiceUsage;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::read(Resource::Operator))?)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Nodes);
        seen.note(Topic::Services);
        // Compat: the index of services only, so that a node alone ends no wait.
        Ok(Found::new(state.indexes.get(index::SERVICES), services(state)))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}
