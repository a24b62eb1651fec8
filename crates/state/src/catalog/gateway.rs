//! What gateways stand before, as config entries say it, and which gateways stand before a service.
//!
//! Always true: it is found out anew for each answer, so that it cannot be out of date; everything looked at is noted.
//! Not here: the entries themselves (`config_entry`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use super::index;
use super::noun::fold;
use super::query::{ServiceQuery, may_read_service};
use super::table::Instance;
use crate::config_entry::{self, Body, LinkedService, Listener};
use crate::{Error, Found, Index, Query, Seen, State, Topic};

pub(crate) const INGRESS: &str = "ingress-gateway";
pub(crate) const TERMINATING: &str = "terminating-gateway";
const EVERY: &str = "*";

/// A service behind a gateway (`structs.GatewayService`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GatewayService {
    pub gateway: CompoundName,
    pub service: CompoundName,
    pub gateway_kind: String,
    #[serde(skip_serializing_if = "unset")]
    pub port: i64,
    #[serde(skip_serializing_if = "unset")]
    pub protocol: String,
    #[serde(skip_serializing_if = "unset")]
    pub hosts: Vec<String>,
    #[serde(rename = "CAFile", skip_serializing_if = "unset")]
    pub ca_file: String,
    #[serde(skip_serializing_if = "unset")]
    pub cert_file: String,
    #[serde(skip_serializing_if = "unset")]
    pub key_file: String,
    #[serde(rename = "SNI", skip_serializing_if = "unset")]
    pub sni: String,
    #[serde(skip_serializing_if = "unset")]
    pub from_wildcard: bool,
    /// `service`, `destination`, or empty when there is neither.
    #[serde(skip_serializing_if = "unset")]
    pub service_kind: String,
    pub create_index: Index,
    pub modify_index: Index,
    #[serde(skip_serializing_if = "unset")]
    pub auto_host_rewrite: bool,
}

fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A name as gateways hold it (`structs.ServiceName`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CompoundName {
    pub name: String,
}

/// The services that a gateway stands before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogGatewayServices(pub ServiceQuery);

impl Query for CatalogGatewayServices {
    const METHOD: &'static str = "Catalog.GatewayServices";
    type Answer = Vec<GatewayService>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::read(Resource::Service(&self.0.service_name)))?)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let gateway = &self.0.service_name;
        let mut rows = BTreeMap::new();
        let mut at = state.indexes.get(config_entry::GATEWAY_SERVICES);
        for kind in [INGRESS, TERMINATING] {
            let Some(entry) = config_entry::look_up(state, seen, kind, gateway) else { continue };
            for mut row in said(&entry.body) {
                row.gateway.name.clone_from(gateway);
                kind.clone_into(&mut row.gateway_kind);
                (row.create_index, row.modify_index) = (entry.modify_index, entry.modify_index);
                if row.service.name == EVERY {
                    at = at.max(state.indexes.get(index::SERVICES));
                    for row in expanded(state, seen, &row) {
                        // What is said of a service itself counts.
                        rows.entry((row.service.name.clone(), row.port)).or_insert(row);
                    }
                } else {
                    if kind == TERMINATING {
                        row.service_kind = kind_of(state, seen, &row.service.name).into();
                    }
                    rows.insert((row.service.name.clone(), row.port), row);
                }
            }
        }
        Ok(Found::new(at, rows.into_values().collect()))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        let before = answer.len();
        answer.retain(|row| may_read_service(&row.service.name, may));
        answer.len() != before
    }
}

/// The rows that an entry says, `*` among them.
fn said(body: &Body) -> Vec<GatewayService> {
    match body {
        Body::IngressGateway(gateway) => gateway.listeners.iter().flatten().flat_map(of_listener).collect(),
        Body::TerminatingGateway(gateway) => gateway.services.iter().flatten().map(of_linked).collect(),
        _ => Vec::new(),
    }
}

fn of_listener(listener: &Listener) -> impl Iterator<Item = GatewayService> {
    listener.services.iter().flatten().map(|service| GatewayService {
        service: CompoundName { name: service.name.clone() },
        hosts: service.hosts.clone().unwrap_or_default(),
        port: listener.port,
        protocol: listener.protocol.clone(),
        ..GatewayService::default()
    })
}

fn of_linked(service: &LinkedService) -> GatewayService {
    GatewayService {
        service: CompoundName { name: service.name.clone() },
        ca_file: service.ca_file.clone(),
        cert_file: service.cert_file.clone(),
        key_file: service.key_file.clone(),
        sni: service.sni.clone(),
        auto_host_rewrite: !service.disable_auto_host_rewrite,
        ..GatewayService::default()
    }
}

/// `*` stands for every service that such a gateway can stand before.
fn expanded(state: &State, seen: &mut Seen, every: &GatewayService) -> Vec<GatewayService> {
    seen.note(Topic::Services);
    let typical = state.catalog.instances_by_name().filter(|(_, instance)| instance.service.kind.is_empty());
    let names: BTreeSet<&str> = typical.map(|(_, instance)| instance.service.service.as_str()).collect();
    let mut rows = Vec::new();
    for name in names {
        if is_behind(state, seen, name, &every.gateway_kind) {
            rows.push(GatewayService {
                service: CompoundName { name: name.to_owned() },
                from_wildcard: true,
                ..every.clone()
            });
        }
    }
    for name in config_entry::destinations(state, seen) {
        rows.push(GatewayService {
            service: CompoundName { name },
            from_wildcard: true,
            service_kind: "destination".into(),
            ..every.clone()
        });
    }
    if every.gateway_kind == INGRESS {
        rows.retain(|row| config_entry::protocol(state, seen, &row.service.name) == every.protocol);
    }
    rows
}

/// Whether `*` of such a gateway means this service: mesh-capable ones are entered, the others are left to.
fn is_behind(state: &State, seen: &mut Seen, name: &str, gateway_kind: &str) -> bool {
    let key = fold(name);
    seen.note(Topic::Service(Arc::clone(&key)));
    let mut typical = state.catalog.instances_of(&key).filter(|one| one.service.kind.is_empty()).peekable();
    if name == "consul" || typical.peek().is_none() {
        return false;
    }
    if gateway_kind == INGRESS {
        seen.note(Topic::Connect(Arc::clone(&key)));
        return state.catalog.mesh_instances_of(&key).next().is_some();
    }
    typical.any(|one| !one.service.connect.native)
}

/// What a name that is linked to is.
fn kind_of(state: &State, seen: &mut Seen, name: &str) -> &'static str {
    let key = fold(name);
    seen.note(Topic::Service(Arc::clone(&key)));
    if state.catalog.instances_of(&key).next().is_some() {
        "service"
    } else if config_entry::is_destination(state, seen, name) {
        "destination"
    } else {
        ""
    }
}

/// The instances of gateways of a kind that stand before a service, gateway by gateway, and the index of what was
/// looked at.
pub(crate) fn before<'a>(
    state: &'a State,
    seen: &mut Seen,
    service: &str,
    kind: &'static str,
) -> (Index, Vec<&'a Arc<Instance>>) {
    seen.note(Topic::ConfigKind(kind));
    let mut at = state.indexes.get(config_entry::GATEWAY_SERVICES);
    let mut found = Vec::new();
    for entry in state.config_entry.of_kind(kind) {
        let rows = said(&entry.body);
        let named = rows.iter().any(|row| row.service.name == service);
        let mut meant = || {
            rows.iter().any(|row| row.service.name == EVERY)
                && (is_behind(state, seen, service, kind) || config_entry::is_destination(state, seen, service))
        };
        if !named && !meant() {
            continue;
        }
        let key = fold(entry.name());
        seen.note(Topic::Service(Arc::clone(&key)));
        let before = found.len();
        found.extend(state.catalog.instances_of(&key));
        at = at.max(index::reported_for_service(&state.indexes, &key, found.len() > before, true));
    }
    (at, found)
}
