//! Gateways at the edge of the mesh: `ingress-gateway` for what comes in, `terminating-gateway` for what goes out.

use std::collections::{BTreeMap, BTreeSet};

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};
use wire::json::quote;

use super::mesh::check_tls;
use super::service_defaults::{PassiveHealthCheck, is_domain_name};
use super::service_resolver::others;
use super::service_router::HeaderModifiers;
use super::{Meta, Rules, check_meta, is_http, unset};

/// `structs.IngressGatewayConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IngressGateway {
    pub name: String,
    #[serde(rename = "TLS")]
    pub tls: GatewayTls,
    pub listeners: Option<Vec<Listener>>,
    #[serde(skip_serializing_if = "unset")]
    pub defaults: Option<IngressLimits>,
}

// The reference knows one spelling of these three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "IngressServiceConfig!", rename_all = "PascalCase")]
pub struct IngressLimits {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_concurrent_requests: u32,
    #[serde(skip_serializing_if = "unset", alias = "passive_health_check")]
    pub passive_health_check: Option<PassiveHealthCheck>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Listener {
    pub port: i64,
    pub protocol: String,
    #[serde(rename = "TLS", skip_serializing_if = "unset")]
    pub tls: Option<GatewayTls>,
    pub services: Option<Vec<IngressService>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IngressService {
    pub name: String,
    pub hosts: Option<Vec<String>>,
    #[serde(rename = "TLS", skip_serializing_if = "unset")]
    pub tls: Option<ServiceTls>,
    #[serde(skip_serializing_if = "unset")]
    pub request_headers: Option<HeaderModifiers>,
    #[serde(skip_serializing_if = "unset")]
    pub response_headers: Option<HeaderModifiers>,
    #[serde(skip_serializing_if = "unset")]
    pub max_connections: u32,
    #[serde(skip_serializing_if = "unset")]
    pub max_pending_requests: u32,
    #[serde(skip_serializing_if = "unset")]
    pub max_concurrent_requests: u32,
    #[serde(skip_serializing_if = "unset")]
    pub passive_health_check: Option<PassiveHealthCheck>,
    #[serde(skip_serializing_if = "unset")]
    pub meta: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GatewayTls {
    pub enabled: bool,
    #[serde(rename = "SDS", skip_serializing_if = "unset")]
    pub sds: Option<Sds>,
    #[serde(rename = "TLSMinVersion", skip_serializing_if = "unset")]
    pub tls_min_version: String,
    #[serde(rename = "TLSMaxVersion", skip_serializing_if = "unset")]
    pub tls_max_version: String,
    #[serde(skip_serializing_if = "unset")]
    pub cipher_suites: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceTls {
    #[serde(rename = "SDS", skip_serializing_if = "unset")]
    pub sds: Option<Sds>,
}

/// Where Envoy gets certificates from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Sds {
    #[serde(skip_serializing_if = "unset")]
    pub cluster_name: String,
    #[serde(skip_serializing_if = "unset")]
    pub cert_resource: String,
}

impl Rules for IngressGateway {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Service(&self.name))]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn related(&self) -> Vec<&str> {
        let services = self.listeners.iter().flatten().flat_map(|listener| listener.services.iter().flatten());
        others("*", services.map(|service| service.name.as_str()).collect())
    }

    fn normalize(&mut self) -> Result<(), String> {
        for listener in self.listeners.iter_mut().flatten() {
            listener.protocol = match listener.protocol.to_lowercase() {
                unsaid if unsaid.is_empty() => "tcp".into(),
                said => said,
            };
        }
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        check_meta(meta)?;
        self.tls.validate()?;
        let mut ports = BTreeSet::new();
        for listener in self.listeners.iter().flatten() {
            if !ports.insert(listener.port) {
                return Err(format!("port {} declared on two listeners", listener.port));
            }
            listener.validate(&self.tls)?;
        }
        Ok(())
    }
}

impl GatewayTls {
    fn validate(&self) -> Result<(), String> {
        check_tls(&self.tls_min_version, &self.tls_max_version, &self.cipher_suites)
    }
}

fn cluster(sds: Option<&Sds>) -> bool {
    sds.is_some_and(|sds| !sds.cluster_name.is_empty())
}

fn certificate(sds: Option<&Sds>) -> bool {
    sds.is_some_and(|sds| !sds.cert_resource.is_empty())
}

impl Listener {
    fn validate(&self, gateway: &GatewayTls) -> Result<(), String> {
        let (port, protocol) = (self.port, self.protocol.as_str());
        let here = format!("(listener on port {port})");
        if protocol != "tcp" && !is_http(protocol) {
            return Err(format!(
                "protocol must be 'tcp', 'http', 'http2', or 'grpc'. '{protocol}' is an unsupported protocol"
            ));
        }
        let services = self.services.as_deref().unwrap_or_default();
        if services.is_empty() {
            return Err(format!("No service declared for listener with port {port}"));
        }
        if !is_http(protocol) && services.len() > 1 {
            return Err(format!(
                "Multiple services per listener are only supported for L7 protocols, 'http', 'grpc' and 'http2' {here}"
            ));
        }
        self.tls.as_ref().map_or(Ok(()), GatewayTls::validate)?;
        let (mut hosts, mut names) = (BTreeSet::new(), BTreeSet::new());
        for service in services {
            service.validate(protocol, port, &here)?;
            if !names.insert(&service.name) {
                return Err(format!("Service {} cannot be added multiple times {here}", service.name));
            }
            self.check_sds(gateway, service, &here)?;
            for host in service.hosts.iter().flatten() {
                if !hosts.insert(host) {
                    return Err(format!("Hosts must be unique within a specific listener {here}"));
                }
                check_host(gateway.enabled, host)?;
            }
        }
        Ok(())
    }

    fn check_sds(&self, gateway: &GatewayTls, service: &IngressService, here: &str) -> Result<(), String> {
        let of_gateway = gateway.sds.as_ref();
        if certificate(of_gateway) && !cluster(of_gateway) {
            return Err("TLS.SDS.ClusterName is required if CertResource is set".into());
        }
        let of_listener = self.tls.as_ref().and_then(|tls| tls.sds.as_ref());
        if cluster(of_gateway) && !certificate(of_gateway) && !certificate(of_listener) {
            return Err(format!("TLS.SDS.CertResource is required if ClusterName is set for gateway {here}"));
        }
        if cluster(of_listener) && !certificate(of_listener) {
            return Err(format!("TLS.SDS.CertResource is required if ClusterName is set for listener {here}"));
        }
        if certificate(of_listener) && !cluster(of_listener) && !cluster(of_gateway) {
            return Err(format!("TLS.SDS.ClusterName is required if CertResource is set {here}"));
        }
        let of_service = service.tls.as_ref().and_then(|tls| tls.sds.as_ref());
        let place = format!("(service {} on listener on port {})", quote(&service.name), self.port);
        if certificate(of_service) && service.hosts.iter().flatten().next().is_none() {
            return Err(format!(
                "A service specifying TLS.SDS.CertResource must have at least one item in Hosts {place}"
            ));
        }
        if certificate(of_service) && !cluster(of_service) && !cluster(of_listener) && !cluster(of_gateway) {
            return Err(format!("TLS.SDS.ClusterName is required if CertResource is set {place}"));
        }
        Ok(())
    }
}

impl IngressService {
    fn validate(&self, protocol: &str, port: i64, here: &str) -> Result<(), String> {
        for (word, headers) in [("request", &self.request_headers), ("response", &self.response_headers)] {
            if let Some(Err(fault)) = headers.as_ref().map(|headers| headers.validate(protocol)) {
                let name = quote(&self.name);
                return Err(format!("{word} headers {fault} (service {name} on listener on port {port})"));
            }
        }
        let has_hosts = self.hosts.iter().flatten().next().is_some();
        if protocol == "tcp" && self.name == "*" {
            return Err(format!("Wildcard service name is only valid for protocol = 'http' {here}"));
        }
        if protocol == "tcp" && has_hosts {
            return Err(format!("Associating hosts to a service is not supported for the {protocol} protocol {here}"));
        }
        if self.name.is_empty() {
            return Err(format!("Service name cannot be blank {here}"));
        }
        if self.name == "*" && has_hosts {
            return Err(format!("Associating hosts to a wildcard service is not supported {here}"));
        }
        Ok(())
    }
}

fn check_host(has_tls: bool, host: &str) -> Result<(), String> {
    if host == "*" {
        if has_tls {
            return Err(
                "Host '*' is not allowed when TLS is enabled, all hosts must be valid DNS records to add as a \
                        DNSSAN"
                    .into(),
            );
        }
        return Ok(());
    }
    if !is_domain_name(host) {
        return Err(format!("Host {} must be a valid DNS hostname", quote(host)));
    }
    if host.strip_prefix("*.").unwrap_or(host).contains('*') {
        return Err(format!(
            "Host {} is not valid, a wildcard specifier is only allowed as the leftmost label",
            quote(host)
        ));
    }
    Ok(())
}

/// `structs.TerminatingGatewayConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TerminatingGateway {
    pub name: String,
    pub services: Option<Vec<LinkedService>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "LinkedService!", rename_all = "PascalCase")]
pub struct LinkedService {
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    #[serde(rename = "CAFile", skip_serializing_if = "unset", alias = "ca_file")]
    pub ca_file: String,
    #[serde(skip_serializing_if = "unset", alias = "cert_file")]
    pub cert_file: String,
    #[serde(skip_serializing_if = "unset", alias = "key_file")]
    pub key_file: String,
    #[serde(rename = "SNI", skip_serializing_if = "unset")]
    pub sni: String,
    #[serde(skip_serializing_if = "unset")]
    pub disable_auto_host_rewrite: bool,
}

impl Rules for TerminatingGateway {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Service(&self.name))]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn normalize(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        check_meta(meta)?;
        let mut known = BTreeSet::new();
        for service in self.services.iter().flatten() {
            let name = quote(&service.name);
            if service.name.is_empty() {
                return Err("Service name cannot be blank.".into());
            }
            if !known.insert(&service.name) {
                return Err(format!("Service {name} was specified more than once within a namespace"));
            }
            let files = [&service.ca_file, &service.cert_file, &service.key_file];
            let has_pair = !service.cert_file.is_empty() || !service.key_file.is_empty();
            if has_pair && files.iter().any(|file| file.is_empty()) {
                return Err(format!(
                    "Service {name} must have a CertFile, CAFile, and KeyFile specified for TLS origination"
                ));
            }
        }
        Ok(())
    }
}
