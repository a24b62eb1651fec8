//! Which services are open to other clusters (`exported-services`), and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use super::{Body, INDEX, Meta, Rules, check_meta, look_up};
use crate::catalog::index;
use crate::{Error, Found, Query, Seen, State, Topic};

/// The services that are exported. There is one such entry, named `default`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename = "ExportedServicesConfigEntry", rename_all = "PascalCase")]
pub struct ExportedServices {
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ExportedService>,
}

/// One service, or `*` for all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExportedService {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<Consumer>,
}

/// To whom: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename = "ServiceConsumer", rename_all = "PascalCase")]
pub struct Consumer {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub partition: String,
    #[serde(skip_serializing_if = "String::is_empty", alias = "PeerName")]
    pub peer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sameness_group: String,
}

impl Rules for ExportedServices {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Mesh)]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn normalize(&mut self) -> Result<(), String> {
        // There is one namespace, and its name is not said.
        for service in &mut self.services {
            service.namespace.clear();
        }
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        if self.name != "default" {
            return Err("exported-services Name must be \"default\"".into());
        }
        check_meta(meta)?;
        for (at, service) in self.services.iter().enumerate() {
            for (of, consumer) in service.consumers.iter().enumerate() {
                let place = format!("Services[{at}].Consumers[{of}]");
                // Compat: any partition counts as the only one.
                if !consumer.sameness_group.is_empty() {
                    return Err(format!("{place}: sameness-groups are an enterprise-only feature"));
                }
            }
        }
        self.services.iter().enumerate().try_for_each(|(at, service)| service.validate(at))
    }
}

impl ExportedService {
    fn validate(&self, at: usize) -> Result<(), String> {
        if self.name.is_empty() {
            return Err(format!("Services[{at}]: service name cannot be empty"));
        }
        if self.consumers.is_empty() {
            return Err(format!("Services[{at}]: must have at least one consumer"));
        }
        for (of, consumer) in self.consumers.iter().enumerate() {
            let place = format!("Services[{at}].Consumers[{of}]");
            if !consumer.peer.is_empty() && !consumer.partition.is_empty() {
                return Err(format!("{place}: must define at most one of Peer, Partition, or SamenessGroup"));
            }
            if consumer.partition == "*" {
                return Err(format!("{place}: exporting to all partitions (wildcard) is not supported"));
            }
            if consumer.peer == "*" {
                return Err(format!("{place}: exporting to all peers (wildcard) is not supported"));
            }
        }
        Ok(())
    }
}

/// The exported services by name, `*` spelled out, each with the peers that may use it.
///
/// Compat: the reference carries this question over gRPC only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConfigEntryResolvedExports {}

impl Query for ConfigEntryResolvedExports {
    const METHOD: &'static str = "ConfigEntry.GetResolvedExportedServices";
    type Answer = BTreeMap<String, BTreeSet<String>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::read(Resource::Mesh))?)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let mut at = state.indexes.get(INDEX);
        let mut exports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let entry = look_up(state, seen, "exported-services", "default");
        if let Some(Body::ExportedServices(entry)) = entry.map(|entry| &entry.body) {
            for service in &entry.services {
                let names = if service.name == "*" {
                    at = at.max(state.indexes.get(index::SERVICES));
                    typical(state, seen)
                } else {
                    BTreeSet::from([service.name.as_str()])
                };
                for name in names.into_iter().filter(|name| *name != "consul") {
                    let peers = service.consumers.iter().map(|consumer| &consumer.peer);
                    let peers = peers.filter(|peer| !peer.is_empty()).cloned();
                    exports.entry(name.to_owned()).or_default().extend(peers);
                }
            }
        }
        Ok(Found::new(at, exports))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// The names of services that are no proxies or gateways.
fn typical<'a>(state: &'a State, seen: &mut Seen) -> BTreeSet<&'a str> {
    seen.note(Topic::Services);
    let instances = state.catalog.instances_by_name().map(|(_, instance)| &instance.service);
    instances.filter(|service| service.kind.is_empty()).map(|service| service.service.as_str()).collect()
}
