//! Which instances of a service are meant by its name (`service-resolver`).

use std::collections::BTreeMap;

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;
use wire::json::quote;

use super::{Meta, Rules, check_meta, unset};

/// `structs.ServiceResolverConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceResolver {
    // Compat: these two are shown before the rest.
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span_text")]
    pub connect_timeout: GoDuration,
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span_text")]
    pub request_timeout: GoDuration,
    pub name: String,
    #[serde(skip_serializing_if = "unset")]
    pub default_subset: String,
    #[serde(skip_serializing_if = "unset")]
    pub subsets: BTreeMap<String, Subset>,
    #[serde(skip_serializing_if = "unset")]
    pub redirect: Option<Redirect>,
    #[serde(skip_serializing_if = "unset")]
    pub failover: BTreeMap<String, Failover>,
    #[serde(skip_serializing_if = "unset")]
    pub prioritize_by_locality: Option<PrioritizeByLocality>,
    #[serde(skip_serializing_if = "unset")]
    pub load_balancer: Option<LoadBalancer>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Subset {
    #[serde(skip_serializing_if = "unset")]
    pub filter: String,
    #[serde(skip_serializing_if = "unset")]
    pub only_passing: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Redirect {
    #[serde(skip_serializing_if = "unset")]
    pub service: String,
    #[serde(skip_serializing_if = "unset")]
    pub service_subset: String,
    #[serde(skip_serializing_if = "unset")]
    pub namespace: String,
    #[serde(skip_serializing_if = "unset")]
    pub partition: String,
    #[serde(skip_serializing_if = "unset")]
    pub datacenter: String,
    #[serde(skip_serializing_if = "unset")]
    pub peer: String,
    #[serde(skip_serializing_if = "unset")]
    pub sameness_group: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Failover {
    #[serde(skip_serializing_if = "unset")]
    pub service: String,
    #[serde(skip_serializing_if = "unset")]
    pub service_subset: String,
    #[serde(skip_serializing_if = "unset")]
    pub namespace: String,
    #[serde(skip_serializing_if = "unset")]
    pub datacenters: Vec<String>,
    #[serde(skip_serializing_if = "unset")]
    pub targets: Vec<FailoverTarget>,
    #[serde(skip_serializing_if = "unset")]
    pub policy: Option<FailoverPolicy>,
    #[serde(skip_serializing_if = "unset")]
    pub sameness_group: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FailoverTarget {
    #[serde(skip_serializing_if = "unset")]
    pub service: String,
    #[serde(skip_serializing_if = "unset")]
    pub service_subset: String,
    #[serde(skip_serializing_if = "unset")]
    pub partition: String,
    #[serde(skip_serializing_if = "unset")]
    pub namespace: String,
    #[serde(skip_serializing_if = "unset")]
    pub datacenter: String,
    #[serde(skip_serializing_if = "unset")]
    pub peer: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FailoverPolicy {
    #[serde(skip_serializing_if = "unset")]
    pub mode: String,
    #[serde(skip_serializing_if = "unset")]
    pub regions: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PrioritizeByLocality {
    #[serde(skip_serializing_if = "unset")]
    pub mode: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LoadBalancer {
    #[serde(skip_serializing_if = "unset")]
    pub policy: String,
    #[serde(skip_serializing_if = "unset")]
    pub ring_hash_config: Option<RingHash>,
    #[serde(skip_serializing_if = "unset")]
    pub least_request_config: Option<LeastRequest>,
    #[serde(skip_serializing_if = "unset")]
    pub hash_policies: Vec<HashPolicy>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RingHash {
    #[serde(skip_serializing_if = "unset")]
    pub minimum_ring_size: u64,
    #[serde(skip_serializing_if = "unset")]
    pub maximum_ring_size: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LeastRequest {
    #[serde(skip_serializing_if = "unset")]
    pub choice_count: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HashPolicy {
    #[serde(skip_serializing_if = "unset")]
    pub field: String,
    #[serde(skip_serializing_if = "unset")]
    pub field_value: String,
    #[serde(skip_serializing_if = "unset")]
    pub cookie_config: Option<Cookie>,
    #[serde(rename = "SourceIP", skip_serializing_if = "unset")]
    pub source_ip: bool,
    #[serde(skip_serializing_if = "unset")]
    pub terminal: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cookie {
    #[serde(skip_serializing_if = "unset")]
    pub session: bool,
    #[serde(rename = "TTL", skip_serializing_if = "unset", with = "wire::weak::span")]
    pub ttl: GoDuration,
    #[serde(skip_serializing_if = "unset")]
    pub path: String,
}

impl Rules for ServiceResolver {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Service(&self.name))]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        chain_needs(&self.name, self.related())
    }

    fn related(&self) -> Vec<&str> {
        let mut related = Vec::new();
        related.extend(self.redirect.iter().map(|redirect| redirect.service.as_str()));
        for failover in self.failover.values() {
            if failover.targets.is_empty() {
                related.push(&failover.service);
            }
            let targets = failover.targets.iter().filter(|target| target.peer.is_empty());
            related.extend(targets.map(|target| target.service.as_str()));
        }
        others(&self.name, related)
    }

    fn normalize(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("Name is required".into());
        }
        check_meta(meta)?;
        self.subsets.iter().try_for_each(|(name, subset)| subset.validate(name))?;
        if !self.default_subset.is_empty() && !self.has_subset(&self.default_subset) {
            return Err(format!("DefaultSubset {} is not a valid subset", quote(&self.default_subset)));
        }
        self.prioritize_by_locality.as_ref().map_or(Ok(()), PrioritizeByLocality::validate)?;
        if let Some(redirect) = &self.redirect {
            self.check_redirect(redirect)?;
        }
        self.failover.iter().try_for_each(|(subset, failover)| self.check_failover(subset, failover))?;
        for (field, span) in [("ConnectTimeout", self.connect_timeout), ("RequestTimeout", self.request_timeout)] {
            if span.0 < 0 {
                return Err(format!("Bad {field} '{span}', must be >= 0"));
            }
        }
        self.load_balancer.as_ref().map_or(Ok(()), LoadBalancer::validate)
    }
}

/// Writing in a service's name takes reading of what it leads to.
pub(super) fn chain_needs<'a>(name: &'a str, related: Vec<&'a str>) -> Vec<Need<'a>> {
    let related = related.into_iter().map(|other| Need::read(Resource::Service(other)));
    [Need::write(Resource::Service(name))].into_iter().chain(related).collect()
}

/// Those that are not the service itself, each once, in order.
pub(super) fn others<'a>(name: &str, mut related: Vec<&'a str>) -> Vec<&'a str> {
    related.retain(|other| !other.is_empty() && *other != name);
    related.sort_unstable();
    related.dedup();
    related
}

/// Subset names are labels of DNS names.
const SUBSET_MAX_BYTES: usize = 63;

impl Subset {
    fn validate(&self, name: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err("Subset defined with empty name".into());
        }
        if let Err(fault) = check_subset_name(name) {
            return Err(format!("Subset {} is invalid: {fault}", quote(name)));
        }
        if !self.filter.is_empty() {
            filter::check_syntax(&self.filter)
                .map_err(|error| format!("Filter for subset {} is not a valid expression: {error}", quote(name)))?;
        }
        Ok(())
    }
}

fn check_subset_name(name: &str) -> Result<(), &'static str> {
    if name.len() > SUBSET_MAX_BYTES {
        return Err("must be non-empty and 63 characters or fewer");
    }
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| is_label(*byte));
    if is_edge(bytes.first()) && is_edge(bytes.last()) && bytes.iter().all(|byte| is_label(*byte) || *byte == b'-') {
        return Ok(());
    }
    Err("must be 63 characters or fewer, begin or end with lower case alphanumeric characters, and contain lower case \
         alphanumeric characters or '-' in between")
}

const NEEDS_ENTERPRISE: &str = "requires Consul Enterprise";

impl ServiceResolver {
    pub(crate) fn has_subset(&self, subset: &str) -> bool {
        self.subsets.contains_key(subset)
    }

    fn is_self(&self, service: &str) -> bool {
        service.is_empty() || service == self.name
    }

    fn check_redirect(&self, redirect: &Redirect) -> Result<(), String> {
        if !redirect.partition.is_empty() && redirect.partition != "default" && !redirect.datacenter.is_empty() {
            return Err("Cross-datacenter and cross-partition redirect is not supported".into());
        }
        for (field, word) in [
            ("Partition", &redirect.partition),
            ("Namespace", &redirect.namespace),
            ("SamenessGroup", &redirect.sameness_group),
        ] {
            if !word.is_empty() {
                return Err(format!("Redirect: Setting {field} {NEEDS_ENTERPRISE}"));
            }
        }
        if !self.failover.is_empty() {
            return Err("Redirect and Failover cannot both be set".into());
        }
        if unset(redirect) {
            return Err("Redirect is empty".into());
        }
        let (has_subset, has_peer) = (!redirect.service_subset.is_empty(), !redirect.peer.is_empty());
        if has_peer && has_subset {
            return Err("Redirect.Peer cannot be set with Redirect.ServiceSubset".into());
        }
        if has_peer && !redirect.datacenter.is_empty() {
            return Err("Redirect.Peer cannot be set with Redirect.Datacenter".into());
        }
        if redirect.service.is_empty() && has_subset {
            return Err("Redirect.ServiceSubset defined without Redirect.Service".into());
        }
        if redirect.service.is_empty() && has_peer {
            return Err("Redirect.Peer defined without Redirect.Service".into());
        }
        if has_subset && redirect.service == self.name && !self.has_subset(&redirect.service_subset) {
            let (subset, name) = (quote(&redirect.service_subset), quote(&self.name));
            return Err(format!("Redirect.ServiceSubset {subset} is not a valid subset of {name}"));
        }
        Ok(())
    }

    fn check_failover(&self, subset: &str, failover: &Failover) -> Result<(), String> {
        let place = format!("Bad Failover[{}]", quote(subset));
        let refused = |text: &str| Err(format!("{place}: {text}"));
        for (field, word) in [("Namespace", &failover.namespace), ("SamenessGroup", &failover.sameness_group)] {
            if !word.is_empty() {
                return refused(&format!("Setting {field} {NEEDS_ENTERPRISE}"));
            }
        }
        if subset != "*" && !self.has_subset(subset) {
            return refused("not a valid subset subset");
        }
        let bare = Failover { policy: None, ..failover.clone() };
        if unset(&bare) {
            return refused(
                "one of Service, ServiceSubset, Namespace, Targets, SamenessGroup, or Datacenters is required",
            );
        }
        if let Some(policy) = &failover.policy
            && !policy.mode.is_empty()
        {
            return refused(&policy.refused());
        }
        let own_subset = &failover.service_subset;
        if !own_subset.is_empty() && self.is_self(&failover.service) && !self.has_subset(own_subset) {
            let (own_subset, service) = (quote(own_subset), quote(&failover.service));
            return refused(&format!("ServiceSubset {own_subset} is not a valid subset of {service}"));
        }
        if !failover.targets.is_empty() {
            for (set, field) in [
                (!failover.datacenters.is_empty(), "Datacenters"),
                (!own_subset.is_empty(), "ServiceSubset"),
                (!failover.service.is_empty(), "Service"),
            ] {
                if set {
                    return refused(&format!("Targets cannot be set with {field}"));
                }
            }
        }
        for (at, target) in failover.targets.iter().enumerate() {
            self.check_target(target).map_err(|fault| format!("{place}.Targets[{at}]: {fault}"))?;
        }
        if failover.datacenters.iter().any(String::is_empty) {
            return Err(format!("{place}.Datacenters: found empty datacenter"));
        }
        Ok(())
    }

    fn check_target(&self, target: &FailoverTarget) -> Result<(), String> {
        for (field, word) in [("Partition", &target.partition), ("Namespace", &target.namespace)] {
            if !word.is_empty() {
                return Err(format!("Setting {field} {NEEDS_ENTERPRISE}"));
            }
        }
        let subset = &target.service_subset;
        if !target.peer.is_empty() && !subset.is_empty() {
            return Err("Peer cannot be set with ServiceSubset".into());
        }
        if !target.peer.is_empty() && !target.datacenter.is_empty() {
            return Err("Peer cannot be set with Datacenter".into());
        }
        if !subset.is_empty() && self.is_self(&target.service) && !self.has_subset(subset) {
            return Err(format!("ServiceSubset {} is not a valid subset of {}", quote(subset), quote(&self.name)));
        }
        Ok(())
    }
}

impl FailoverPolicy {
    pub(super) fn validate(&self) -> Result<(), String> {
        if matches!(self.mode.as_str(), "" | "sequential" | "order-by-locality") {
            return Ok(());
        }
        Err("Failover-policy mode must be one of '', 'sequential', or 'order-by-locality'".into())
    }

    pub(super) fn refused(&self) -> String {
        format!("Setting failover policies {NEEDS_ENTERPRISE}")
    }
}

impl PrioritizeByLocality {
    pub(super) fn validate(&self) -> Result<(), String> {
        // Compat: the text ends in a space.
        if self.mode.is_empty() { Ok(()) } else { Err(format!("Prioritize-by-locality {NEEDS_ENTERPRISE} ")) }
    }
}

impl LoadBalancer {
    fn validate(&self) -> Result<(), String> {
        let policy = self.policy.as_str();
        let quoted = quote(policy);
        if !matches!(policy, "" | "random" | "round_robin" | "least_request" | "ring_hash" | "maglev") {
            return Err(format!("Bad LoadBalancer policy: {quoted} is not supported"));
        }
        for (config, own, set) in [
            ("RingHashConfig", "ring_hash", self.ring_hash_config.is_some()),
            ("LeastRequestConfig", "least_request", self.least_request_config.is_some()),
        ] {
            if set && policy != own {
                return Err(format!(
                    "Bad LoadBalancer configuration. {config} specified for incompatible load balancing policy {quoted}"
                ));
            }
        }
        if !matches!(policy, "maglev" | "ring_hash") && !self.hash_policies.is_empty() {
            return Err(format!(
                "Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy: {quoted}"
            ));
        }
        let check = |(at, policy): (usize, &HashPolicy)| {
            policy.validate().map_err(|fault| format!("Bad LoadBalancer HashPolicy[{at}]: {fault}"))
        };
        self.hash_policies.iter().enumerate().try_for_each(check)
    }
}

impl HashPolicy {
    fn validate(&self) -> Result<(), String> {
        let (field, has_value) = (quote(&self.field), !self.field_value.is_empty());
        if !matches!(self.field.as_str(), "" | "header" | "cookie" | "query_parameter") {
            return Err(format!("{field} is not a supported field"));
        }
        if self.source_ip && !self.field.is_empty() {
            return Err(format!("A single hash policy cannot hash both a source address and a {field}"));
        }
        if self.source_ip && has_value {
            return Err("A FieldValue cannot be specified when hashing SourceIP".into());
        }
        if !self.field.is_empty() && !has_value {
            return Err(format!("Field {field} was specified without a FieldValue"));
        }
        if has_value && self.field.is_empty() {
            return Err("FieldValue requires a Field to apply to".into());
        }
        match &self.cookie_config {
            Some(_) if self.field != "cookie" => Err(format!("cookie_config provided for {field}")),
            Some(cookie) if cookie.session && !cookie.ttl.is_zero() => {
                Err("a session cookie cannot have an associated TTL".into())
            }
            _ => Ok(()),
        }
    }
}
