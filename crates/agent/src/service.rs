//! Services as users define them, and what makes a definition acceptable.

use std::collections::BTreeMap;

use serde::Deserialize;
use state::Error;
use state::catalog::{Locality, NodeService, Proxy, ServiceAddress, ServiceConnect, Weights, faults, faults_text};

use crate::check::Status;
use crate::check::definition::CheckType;

/// A service definition (`structs.ServiceDefinition`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(
    default,
    rename = "ServiceDefinition|Alias|struct { EnableTagOverrideSnake bool \"json:\\\"enable_tag_override\\\"\"; TaggedAddressesSnake map[string]structs.ServiceAddress \"json:\\\"tagged_addresses\\\"\"; *structs.Alias }",
    rename_all = "PascalCase"
)]
pub struct ServiceDefinition {
    pub kind: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub tags: Vec<String>,
    pub address: String,
    #[serde(alias = "tagged_addresses")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    pub meta: BTreeMap<String, String>,
    pub port: i64,
    pub socket_path: String,
    pub check: Option<CheckType>,
    #[serde(deserialize_with = "check_types")]
    pub checks: Vec<CheckType>,
    pub weights: Option<Weights>,
    pub token: String,
    #[serde(alias = "enable_tag_override")]
    pub enable_tag_override: bool,
    pub proxy: Option<Proxy>,
    pub connect: Option<Connect>,
    pub locality: Option<Locality>,
}

/// The mesh part of a definition (`structs.ServiceConnect`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename = "ServiceConnect|Alias", rename_all = "PascalCase")]
pub struct Connect {
    pub native: bool,
    /// A service that is registered beside this one: its proxy.
    #[serde(alias = "sidecar_service")]
    pub sidecar_service: Option<Box<ServiceDefinition>>,
}

/// The list has a name of its own in the reference's errors.
fn check_types<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<CheckType>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename = "structs.CheckTypes")]
    struct CheckTypes(Vec<CheckType>);
    CheckTypes::deserialize(deserializer).map(|list| list.0)
}

/// Metadata keys with this prefix are the agent's own.
const RESERVED_META: &str = "consul-";

impl ServiceDefinition {
    /// Refuses what the reference refuses before it registers a service over the API.
    pub fn validate(&self) -> Result<(), Error> {
        if self.name.is_empty() {
            return Err(Error::invalid("Missing service name"));
        }
        if matches!(self.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err(Error::invalid("Invalid service address"));
        }
        if let Some(weights) = &self.weights {
            check_weights(weights).map_err(|reason| Error::invalid(format!("Invalid Weights: {reason}")))?;
        }
        check_meta(&self.meta).map_err(|reason| Error::invalid(format!("Invalid Service Meta: {reason}")))?;
        let faults = self.faults();
        if !faults.is_empty() {
            return Err(Error::invalid(format!("Validation failed: {}", faults_text(&faults))));
        }
        self.validate_checks("check")?;
        if let Some(sidecar) = self.connect.as_ref().and_then(|connect| connect.sidecar_service.as_deref()) {
            sidecar.validate_checks("check in sidecar_service")?;
        }
        self.sidecar().map(drop)
    }

    /// What the catalog would find wrong, and what is wrong with how a sidecar is nested.
    fn faults(&self) -> Vec<String> {
        let mut service = self.node_service();
        if let Some(sidecar) = self.connect.as_ref().and_then(|connect| connect.sidecar_service.as_deref()) {
            let is_nested = sidecar.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some());
            let nested = if is_nested { serde_json::json!({"SidecarService": {}}) } else { serde_json::Value::Null };
            service.connect.sidecar_service = Some(serde_json::json!({"ID": sidecar.id, "Connect": nested}));
        }
        let zone = self.locality.as_ref().is_some_and(|place| place.region.is_empty() && !place.zone.is_empty());
        let zone = zone.then(|| "zone cannot be set without region".to_owned());
        zone.into_iter().chain(faults(&service, false)).collect()
    }

    fn validate_checks(&self, what: &str) -> Result<(), Error> {
        for check in self.all_checks() {
            check.validate().map_err(|reason| Error::invalid(format!("Invalid {what}: {reason}")))?;
        }
        if self.all_checks().any(|check| !check.status.is_empty() && Status::parse(&check.status).is_none()) {
            return Err(Error::invalid("Status for checks must 'passing', 'warning', 'critical'"));
        }
        Ok(())
    }

    /// The checks of both spellings, the single one first, if there is one.
    pub fn all_checks(&self) -> impl Iterator<Item = &CheckType> {
        self.check.iter().filter(|check| !check.is_empty()).chain(&self.checks)
    }

    /// The service as the agent keeps it.
    #[must_use]
    pub fn node_service(&self) -> NodeService {
        let id = if self.id.is_empty() { &self.name } else { &self.id };
        let mut proxy = self.proxy.clone().unwrap_or_default();
        for upstream in proxy.upstreams.iter_mut().filter(|upstream| upstream.destination_type.is_empty()) {
            "service".clone_into(&mut upstream.destination_type);
        }
        NodeService {
            kind: self.kind.clone(),
            id: id.clone(),
            service: self.name.clone(),
            tags: self.tags.clone(),
            address: self.address.clone(),
            tagged_addresses: Some(self.tagged_addresses.clone()).filter(|addresses| !addresses.is_empty()),
            meta: Some(self.meta.clone()).filter(|meta| !meta.is_empty()),
            port: self.port,
            socket_path: self.socket_path.clone(),
            weights: Some(self.weights.clone().unwrap_or(Weights { passing: 1, warning: 1 })),
            enable_tag_override: self.enable_tag_override,
            locality: self.locality.clone(),
            proxy,
            connect: ServiceConnect {
                native: self.connect.as_ref().is_some_and(|connect| connect.native),
                sidecar_service: None,
            },
            ..NodeService::default()
        }
    }
}

fn check_weights(weights: &Weights) -> Result<(), &'static str> {
    const MOST: i64 = 65_535;
    if weights.passing < 1 {
        Err("Passing must be greater than 0")
    } else if weights.warning < 0 {
        Err("Warning must be greater or equal than 0")
    } else if weights.passing > MOST || weights.warning > MOST {
        Err("DNS Weight must be between 0 and 65535")
    } else {
        Ok(())
    }
}

pub(crate) fn check_meta(meta: &BTreeMap<String, String>) -> Result<(), String> {
    state::catalog::refuse_bad_meta("Service", Some(meta)).map_err(|reason| {
        // The catalog's words name the kind once more; the agent's do not.
        reason.strip_prefix("Service ").map_or(reason.clone(), str::to_owned)
    })?;
    match meta.keys().find(|key| key.starts_with(RESERVED_META)) {
        Some(key) => Err(format!(
            "Couldn't load metadata pair ('{key}', '{}'): Key prefix '{RESERVED_META}' is \
                                  reserved for internal use",
            meta[key]
        )),
        None => Ok(()),
    }
}
