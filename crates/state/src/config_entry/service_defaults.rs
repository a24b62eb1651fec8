//! What holds for all instances of a service (`service-defaults`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;

use super::envoy::{EnvoyExtension, extension_faults};
use super::{Meta, Rules, meta_faults, several, unset};
use crate::catalog::{Expose, MeshGateway, TransparentProxy};

/// `structs.ServiceConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceDefaults {
    pub name: String,
    pub protocol: String,
    #[serde(skip_serializing_if = "unset")]
    pub mode: String,
    pub transparent_proxy: TransparentProxy,
    #[serde(rename = "MutualTLSMode", skip_serializing_if = "unset")]
    pub mutual_tls_mode: String,
    pub mesh_gateway: MeshGateway,
    pub expose: Expose,
    #[serde(rename = "ExternalSNI", skip_serializing_if = "unset")]
    pub external_sni: String,
    #[serde(skip_serializing_if = "unset")]
    pub upstream_config: Option<UpstreamConfiguration>,
    #[serde(skip_serializing_if = "unset")]
    pub destination: Option<Destination>,
    #[serde(skip_serializing_if = "unset")]
    pub max_inbound_connections: i64,
    #[serde(skip_serializing_if = "unset")]
    pub local_connect_timeout_ms: i64,
    #[serde(skip_serializing_if = "unset")]
    pub local_request_timeout_ms: i64,
    #[serde(skip_serializing_if = "unset")]
    pub balance_inbound_connections: String,
    #[serde(skip_serializing_if = "unset")]
    pub rate_limits: Option<RateLimits>,
    #[serde(skip_serializing_if = "unset")]
    pub envoy_extensions: Vec<EnvoyExtension>,
}

/// What a service's proxies do towards others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpstreamConfiguration {
    #[serde(skip_serializing_if = "unset")]
    pub overrides: Vec<UpstreamConfig>,
    #[serde(skip_serializing_if = "unset")]
    pub defaults: Option<UpstreamConfig>,
}

/// What they do towards one other, or all others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpstreamConfig {
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    pub peer: String,
    #[serde(rename = "EnvoyListenerJSON", skip_serializing_if = "unset")]
    pub envoy_listener_json: String,
    #[serde(rename = "EnvoyClusterJSON", skip_serializing_if = "unset")]
    pub envoy_cluster_json: String,
    #[serde(skip_serializing_if = "unset")]
    pub protocol: String,
    #[serde(skip_serializing_if = "unset")]
    pub connect_timeout_ms: i64,
    #[serde(skip_serializing_if = "unset")]
    pub limits: Option<UpstreamLimits>,
    #[serde(skip_serializing_if = "unset")]
    pub passive_health_check: Option<PassiveHealthCheck>,
    pub mesh_gateway: MeshGateway,
    #[serde(skip_serializing_if = "unset")]
    pub balance_outbound_connections: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpstreamLimits {
    #[serde(skip_serializing_if = "unset")]
    pub max_connections: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub max_pending_requests: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub max_concurrent_requests: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PassiveHealthCheck {
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span")]
    pub interval: GoDuration,
    #[serde(skip_serializing_if = "unset")]
    pub max_failures: u32,
    #[serde(rename = "EnforcingConsecutive5xx", skip_serializing_if = "unset")]
    pub enforcing_consecutive_5xx: Option<u32>,
    #[serde(skip_serializing_if = "unset")]
    pub max_ejection_percent: Option<u32>,
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span_option")]
    pub base_ejection_time: Option<GoDuration>,
}

/// A place outside, reached through a terminating gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Destination {
    #[serde(skip_serializing_if = "unset")]
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "unset")]
    pub port: i64,
}

/// Known only to be refused: this edition has no rate limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RateLimits {
    pub instance_level: InstanceLevelRateLimits,
}

/// See [`RateLimits`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InstanceLevelRateLimits {
    pub requests_per_second: i64,
    pub requests_max_burst: i64,
    pub routes: Option<Vec<RouteRateLimits>>,
}

/// See [`RateLimits`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RouteRateLimits {
    pub path_exact: String,
    pub path_prefix: String,
    pub path_regex: String,
    pub requests_per_second: i64,
    pub requests_max_burst: i64,
}

impl Rules for ServiceDefaults {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Service(&self.name))]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Service(&self.name))]
    }

    fn normalize(&mut self) -> Result<(), String> {
        self.protocol = self.protocol.to_lowercase();
        if let Some(upstreams) = &mut self.upstream_config {
            for upstream in upstreams.overrides.iter_mut().chain(&mut upstreams.defaults) {
                upstream.protocol = upstream.protocol.to_lowercase();
                upstream.connect_timeout_ms = upstream.connect_timeout_ms.max(0);
            }
        }
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("Name is required".into());
        }
        if self.name == "*" {
            return Err("service-defaults name must be the name of a service, and not a wildcard".into());
        }
        let mut faults = meta_faults(meta);
        if !is_balance(&self.balance_inbound_connections) {
            let word = &self.balance_inbound_connections;
            faults.push(format!("invalid value for balance_inbound_connections: {word}"));
        }
        if !matches!(self.protocol.as_str(), "" | "http" | "http2" | "grpc" | "tcp") {
            faults.push(format!("invalid value for protocol: {}", self.protocol));
        }
        if self.upstream_config.is_some() && self.destination.is_some() {
            faults.push("UpstreamConfig and Destination are mutually exclusive for service defaults".into());
            return several(&faults);
        }
        if let Some(upstreams) = &self.upstream_config {
            for upstream in &upstreams.overrides {
                if let Err(fault) = upstream.validate(true) {
                    let (name, peer) = (&upstream.name, &upstream.peer);
                    faults.push(format!("error in upstream override for {name}:{peer}: {fault}"));
                }
            }
            if let Some(Err(fault)) = upstreams.defaults.as_ref().map(|defaults| defaults.validate(false)) {
                faults.push(format!("error in upstream defaults: {fault}"));
            }
        }
        if let Some(destination) = &self.destination {
            destination.faults(&mut faults);
        }
        if self.rate_limits.is_some() {
            faults.push("invalid rate_limits config. Rate limiting is a consul enterprise feature".into());
        }
        faults.extend(extension_faults(&self.envoy_extensions));
        check_mutual_tls_mode(&self.mutual_tls_mode)?;
        several(&faults)
    }
}

pub(super) fn check_mutual_tls_mode(mode: &str) -> Result<(), String> {
    if matches!(mode, "" | "strict" | "permissive") {
        return Ok(());
    }
    let quoted = wire::json::quote(mode);
    Err(format!("Invalid MutualTLSMode {quoted}. Must be one of \"\", \"strict\", or \"permissive\"."))
}

fn is_balance(word: &str) -> bool {
    matches!(word, "" | "exact_balance")
}

impl UpstreamConfig {
    fn validate(&self, named: bool) -> Result<(), String> {
        match (named, self.name.as_str()) {
            (true, "") => return Err("Name is required".into()),
            (true, "*") => return Err("Wildcard name is not supported".into()),
            (false, name) if !name.is_empty() => return Err("Name must be empty".into()),
            _ => {}
        }
        let mut faults = Vec::new();
        faults.extend(self.passive_health_check.as_ref().and_then(PassiveHealthCheck::fault));
        faults.extend(self.limits.as_ref().and_then(UpstreamLimits::fault));
        if !is_balance(&self.balance_outbound_connections) {
            let word = &self.balance_outbound_connections;
            faults.push(format!("invalid value for balance_outbound_connections: {word}"));
        }
        several(&faults)
    }
}

impl PassiveHealthCheck {
    pub(super) fn fault(&self) -> Option<String> {
        let over = |percent: Option<u32>| percent.is_some_and(|percent| percent > 100);
        let text = if self.interval.0 < 0 {
            "passive health check interval cannot be negative"
        } else if over(self.enforcing_consecutive_5xx) {
            "passive health check enforcing_consecutive_5xx must be a percentage between 0 and 100"
        } else if over(self.max_ejection_percent) {
            "passive health check max_ejection_percent must be a percentage between 0 and 100"
        } else if self.base_ejection_time.is_some_and(|time| time.0 < 0) {
            "passive health check base_ejection_time cannot be negative"
        } else {
            return None;
        };
        Some(text.into())
    }
}

impl UpstreamLimits {
    fn fault(&self) -> Option<String> {
        let below = |limit: Option<i64>| limit.is_some_and(|limit| limit < 0);
        let text = if below(self.max_connections) {
            "max connections cannot be negative"
        } else if below(self.max_pending_requests) {
            "max pending requests cannot be negative"
        } else if below(self.max_concurrent_requests) {
            "max concurrent requests cannot be negative"
        } else {
            return None;
        };
        Some(text.into())
    }
}

impl Destination {
    fn faults(&self, faults: &mut Vec<String>) {
        if self.addresses.is_empty() {
            faults.push("Destination must contain at least one valid address".into());
        }
        let mut known = BTreeSet::new();
        for address in &self.addresses {
            if !known.insert(address) {
                faults.push(format!("Duplicate address '{address}' is not allowed"));
            } else if !is_endpoint(address) {
                faults.push(format!(
                    "Destination address '{address}' is invalid Could not validate address {address} as an IP or \
                     Hostname"
                ));
            }
        }
        if !(1..=65535).contains(&self.port) {
            faults.push(format!("Invalid Port number {}", self.port));
        }
    }
}

fn is_endpoint(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok() || (!address.contains('*') && is_domain_name(address))
}

/// Whether a name fits into DNS: its labels, not its letters.
pub(super) fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    (1..=253).contains(&name.len()) && name.split('.').all(|label| (1..=63).contains(&label.len()))
}
