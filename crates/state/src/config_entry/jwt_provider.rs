//! Who vouches for the bearer of a JSON web token, and where its keys are (`jwt-provider`).

use acl::{Need, Resource};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use wire::duration::GoDuration;
use wire::json::quote;

use super::{Meta, Rules, check_meta, several, unset};
use crate::kv::Octets;

/// `structs.JWTProviderConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JwtProvider {
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    #[serde(rename = "JSONWebKeySet", skip_serializing_if = "unset")]
    pub json_web_key_set: Option<KeySet>,
    #[serde(skip_serializing_if = "unset")]
    pub issuer: String,
    #[serde(skip_serializing_if = "unset")]
    pub audiences: Vec<String>,
    #[serde(skip_serializing_if = "unset")]
    pub locations: Vec<Location>,
    #[serde(skip_serializing_if = "unset")]
    pub forwarding: Option<Forwarding>,
    #[serde(skip_serializing_if = "unset")]
    pub clock_skew_seconds: i64,
    #[serde(skip_serializing_if = "unset")]
    pub cache_config: Option<Cache>,
}

/// Exactly one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeySet {
    #[serde(skip_serializing_if = "unset")]
    pub local: Option<LocalKeys>,
    #[serde(skip_serializing_if = "unset")]
    pub remote: Option<RemoteKeys>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LocalKeys {
    /// In base64.
    #[serde(rename = "JWKS", skip_serializing_if = "unset")]
    pub jwks: String,
    #[serde(skip_serializing_if = "unset")]
    pub filename: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RemoteKeys {
    #[serde(rename = "URI", skip_serializing_if = "unset")]
    pub uri: String,
    #[serde(skip_serializing_if = "unset")]
    pub request_timeout_ms: i64,
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span")]
    pub cache_duration: GoDuration,
    #[serde(skip_serializing_if = "unset")]
    pub fetch_asynchronously: bool,
    #[serde(rename = "UseSNI", skip_serializing_if = "unset")]
    pub use_sni: bool,
    #[serde(skip_serializing_if = "unset")]
    pub retry_policy: Option<RetryPolicy>,
    #[serde(rename = "JWKSCluster", skip_serializing_if = "unset")]
    pub jwks_cluster: Option<KeyCluster>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RetryPolicy {
    #[serde(skip_serializing_if = "unset")]
    pub num_retries: i64,
    #[serde(skip_serializing_if = "unset")]
    pub retry_policy_back_off: Option<BackOff>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BackOff {
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span")]
    pub base_interval: GoDuration,
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span")]
    pub max_interval: GoDuration,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyCluster {
    #[serde(skip_serializing_if = "unset")]
    pub discovery_type: String,
    #[serde(rename = "TLSCertificates", skip_serializing_if = "unset")]
    pub tls_certificates: Option<KeyTls>,
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span")]
    pub connect_timeout: GoDuration,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyTls {
    #[serde(skip_serializing_if = "unset")]
    pub ca_certificate_provider_instance: Option<CertificateProvider>,
    #[serde(rename = "TrustedCA", skip_serializing_if = "unset")]
    pub trusted_ca: Option<TrustedCa>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CertificateProvider {
    #[serde(skip_serializing_if = "unset")]
    pub instance_name: String,
    #[serde(skip_serializing_if = "unset")]
    pub certificate_name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TrustedCa {
    #[serde(skip_serializing_if = "unset")]
    pub filename: String,
    #[serde(skip_serializing_if = "unset")]
    pub environment_variable: String,
    #[serde(skip_serializing_if = "unset")]
    pub inline_string: String,
    #[serde(skip_serializing_if = "unset", deserialize_with = "as_written")]
    pub inline_bytes: Octets,
}

/// Compat: what a person writes is taken letter by letter, though it is shown in base64.
fn as_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Octets, D::Error> {
    if deserializer.is_human_readable() {
        Ok(Octets(String::deserialize(deserializer)?.into()))
    } else {
        Octets::deserialize(deserializer)
    }
}

/// Where a request carries the token: exactly one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Location {
    #[serde(skip_serializing_if = "unset")]
    pub header: Option<HeaderLocation>,
    #[serde(skip_serializing_if = "unset")]
    pub query_param: Option<NamedLocation>,
    #[serde(skip_serializing_if = "unset")]
    pub cookie: Option<NamedLocation>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HeaderLocation {
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    #[serde(skip_serializing_if = "unset")]
    pub value_prefix: String,
    #[serde(skip_serializing_if = "unset")]
    pub forward: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NamedLocation {
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Forwarding {
    #[serde(skip_serializing_if = "unset")]
    pub header_name: String,
    pub pad_forward_payload_header: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cache {
    #[serde(skip_serializing_if = "unset")]
    pub size: i64,
}

const CLOCK_SKEW_SECONDS: i64 = 30;
const DISCOVERY_TYPES: [&str; 5] = ["STRICT_DNS", "STATIC", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"];

impl Rules for JwtProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Service("")), Need::read(Resource::Mesh)]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn normalize(&mut self) -> Result<(), String> {
        if self.clock_skew_seconds == 0 {
            self.clock_skew_seconds = CLOCK_SKEW_SECONDS;
        }
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("Name is required".into());
        }
        check_meta(meta)?;
        match &self.json_web_key_set {
            None => return Err("JSONWebKeySet is required".into()),
            Some(keys) => keys.validate()?,
        }
        several(&self.locations.iter().filter_map(|location| location.validate().err()).collect::<Vec<_>>())?;
        match &self.forwarding {
            Some(forwarding) if forwarding.header_name.is_empty() => {
                Err("Header name required for forwarding config".into())
            }
            _ => Ok(()),
        }
    }
}

impl KeySet {
    fn validate(&self) -> Result<(), String> {
        match (&self.local, &self.remote) {
            (Some(local), None) => local.validate(),
            (None, Some(remote)) => remote.validate(),
            _ => Err("must specify exactly one of Local or Remote JSON Web key set".into()),
        }
    }
}

impl LocalKeys {
    fn validate(&self) -> Result<(), String> {
        if self.jwks.is_empty() == self.filename.is_empty() {
            return Err("must specify exactly one of String or filename for local keyset".into());
        }
        // Compat: Go's reader passes over line ends.
        let jwks: String = self.jwks.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        STANDARD.decode(jwks).map(|_| ()).map_err(|_| "JWKS must be valid base64 encoded string".into())
    }
}

impl RemoteKeys {
    fn validate(&self) -> Result<(), String> {
        if self.uri.is_empty() {
            return Err("Remote JWKS URI is required".into());
        }
        if !is_request_uri(&self.uri) {
            let (uri, quoted) = (&self.uri, quote(&self.uri));
            return Err(format!("Remote JWKS URI is invalid: parse {quoted}: invalid URI for request, uri: {uri}"));
        }
        if let Some(pause) = self.retry_policy.as_ref().and_then(|policy| policy.retry_policy_back_off.as_ref())
            && !pause.max_interval.is_zero()
            && pause.base_interval > pause.max_interval
        {
            return Err("retry policy backoff's MaxInterval should be greater or equal to BaseInterval".into());
        }
        self.jwks_cluster.as_ref().map_or(Ok(()), KeyCluster::validate)
    }
}

/// Whether it is an absolute path or has a scheme.
fn is_request_uri(uri: &str) -> bool {
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    uri.starts_with('/') || scheme.is_some_and(is_scheme)
}

impl KeyCluster {
    fn validate(&self) -> Result<(), String> {
        if !self.discovery_type.is_empty() && !DISCOVERY_TYPES.contains(&self.discovery_type.as_str()) {
            return Err(format!("unsupported jwks cluster discovery type: {}", quote(&self.discovery_type)));
        }
        let Some(tls) = &self.tls_certificates else { return Ok(()) };
        match (&tls.ca_certificate_provider_instance, &tls.trusted_ca) {
            (Some(_), None) => Ok(()),
            (None, Some(trusted)) => trusted.validate(),
            _ => Err("must specify exactly one of: CaCertificateProviderInstance or TrustedCA for JKWS' \
                      TLSCertificates"
                .into()),
        }
    }
}

impl TrustedCa {
    fn validate(&self) -> Result<(), String> {
        let texts = [&self.filename, &self.environment_variable, &self.inline_string];
        let said = texts.iter().filter(|text| !text.is_empty()).count() + usize::from(!self.inline_bytes.0.is_empty());
        if said == 1 {
            return Ok(());
        }
        Err("must specify exactly one of: Filename, EnvironmentVariable, InlineString or InlineBytes for JWKS' \
             TrustedCA"
            .into())
    }
}

impl Location {
    fn validate(&self) -> Result<(), String> {
        let (name, word) = match (&self.header, &self.query_param, &self.cookie) {
            (Some(header), None, None) => (&header.name, "header"),
            (None, Some(query), None) => (&query.name, "query param"),
            (None, None, Some(cookie)) => (&cookie.name, "cookie"),
            _ => return Err("must set exactly one of: JWT location header, query param or cookie".into()),
        };
        if name.is_empty() { Err(format!("JWT location {word} name must be specified")) } else { Ok(()) }
    }
}
