//! Where requests for a service go, by what they look like (`service-router`).

use std::collections::{BTreeMap, BTreeSet};

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;
use wire::json::quote;

use super::service_resolver::{chain_needs, others};
use super::{Meta, Rules, check_meta, is_http, unset};

/// `structs.ServiceRouterConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceRouter {
    pub name: String,
    pub routes: Option<Vec<Route>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Route {
    #[serde(skip_serializing_if = "unset")]
    pub r#match: Option<RouteMatch>,
    #[serde(skip_serializing_if = "unset")]
    pub destination: Option<RouteDestination>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RouteMatch {
    #[serde(rename = "HTTP", skip_serializing_if = "unset")]
    pub http: Option<HttpMatch>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HttpMatch {
    #[serde(skip_serializing_if = "unset")]
    pub path_exact: String,
    #[serde(skip_serializing_if = "unset")]
    pub path_prefix: String,
    #[serde(skip_serializing_if = "unset")]
    pub path_regex: String,
    #[serde(skip_serializing_if = "unset")]
    pub case_insensitive: bool,
    #[serde(skip_serializing_if = "unset")]
    pub header: Vec<HeaderMatch>,
    #[serde(skip_serializing_if = "unset")]
    pub query_param: Vec<QueryMatch>,
    #[serde(skip_serializing_if = "unset")]
    pub methods: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HeaderMatch {
    pub name: String,
    #[serde(skip_serializing_if = "unset")]
    pub present: bool,
    #[serde(skip_serializing_if = "unset")]
    pub exact: String,
    #[serde(skip_serializing_if = "unset")]
    pub prefix: String,
    #[serde(skip_serializing_if = "unset")]
    pub suffix: String,
    #[serde(skip_serializing_if = "unset")]
    pub regex: String,
    #[serde(skip_serializing_if = "unset")]
    pub invert: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryMatch {
    pub name: String,
    #[serde(skip_serializing_if = "unset")]
    pub present: bool,
    #[serde(skip_serializing_if = "unset")]
    pub exact: String,
    #[serde(skip_serializing_if = "unset")]
    pub regex: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RouteDestination {
    // Compat: these two are shown before the rest.
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span_text")]
    pub request_timeout: GoDuration,
    #[serde(skip_serializing_if = "unset", with = "wire::weak::span_text")]
    pub idle_timeout: GoDuration,
    #[serde(skip_serializing_if = "unset")]
    pub service: String,
    #[serde(skip_serializing_if = "unset")]
    pub service_subset: String,
    #[serde(skip_serializing_if = "unset")]
    pub namespace: String,
    #[serde(skip_serializing_if = "unset")]
    pub partition: String,
    #[serde(skip_serializing_if = "unset")]
    pub prefix_rewrite: String,
    #[serde(skip_serializing_if = "unset")]
    pub num_retries: u32,
    #[serde(skip_serializing_if = "unset")]
    pub retry_on_connect_failure: bool,
    #[serde(skip_serializing_if = "unset")]
    pub retry_on: Vec<String>,
    #[serde(skip_serializing_if = "unset")]
    pub retry_on_status_codes: Vec<u32>,
    #[serde(skip_serializing_if = "unset")]
    pub request_headers: Option<HeaderModifiers>,
    #[serde(skip_serializing_if = "unset")]
    pub response_headers: Option<HeaderModifiers>,
}

/// `structs.HTTPHeaderModifiers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HeaderModifiers {
    #[serde(skip_serializing_if = "unset")]
    pub add: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "unset")]
    pub set: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "unset")]
    pub remove: Vec<String>,
}

impl HeaderModifiers {
    /// Only HTTP has headers.
    pub(super) fn validate(&self, protocol: &str) -> Result<(), String> {
        if unset(self) || is_http(protocol) {
            return Ok(());
        }
        Err("only valid for http, http2 and grpc protocols".into())
    }
}

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];
const RETRY_CONDITIONS: [&str; 12] = [
    "5xx",
    "gateway-error",
    "reset",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

pub(super) fn is_method(method: &str) -> bool {
    METHODS.contains(&method)
}

pub(super) fn is_retry_condition(word: &str) -> bool {
    RETRY_CONDITIONS.contains(&word)
}

impl Rules for ServiceRouter {
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
        let destinations = self.routes.iter().flatten().filter_map(|route| route.destination.as_ref());
        others(&self.name, destinations.map(|destination| destination.service.as_str()).collect())
    }

    fn normalize(&mut self) -> Result<(), String> {
        for route in self.routes.iter_mut().flatten() {
            if let Some(http) = route.r#match.as_mut().and_then(|found| found.http.as_mut()) {
                for method in &mut http.methods {
                    *method = method.to_uppercase();
                }
            }
        }
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("Name is required".into());
        }
        check_meta(meta)?;
        let check = |(at, route): (usize, &Route)| route.validate().map_err(|fault| format!("Route[{at}] {fault}"));
        self.routes.iter().flatten().enumerate().try_for_each(check)
    }
}

impl Route {
    fn validate(&self) -> Result<(), String> {
        let http = self.r#match.as_ref().and_then(|found| found.http.as_ref());
        http.map_or(Ok(()), HttpMatch::validate)?;
        let Some(destination) = &self.destination else { return Ok(()) };
        let has_prefix = http.is_some_and(|http| !http.path_exact.is_empty() || !http.path_prefix.is_empty());
        if !destination.prefix_rewrite.is_empty() && !has_prefix {
            return Err("cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix".into());
        }
        match destination.retry_on.iter().find(|word| !is_retry_condition(word)) {
            Some(word) => Err(format!("contains an invalid retry condition: {}", quote(word))),
            None => Ok(()),
        }
    }
}

impl HttpMatch {
    fn validate(&self) -> Result<(), String> {
        for (field, path) in [("PathExact", &self.path_exact), ("PathPrefix", &self.path_prefix)] {
            if !path.is_empty() && !path.starts_with('/') {
                return Err(format!("{field} doesn't start with '/': {}", quote(path)));
            }
        }
        if [&self.path_exact, &self.path_prefix, &self.path_regex].iter().filter(|path| !path.is_empty()).count() > 1 {
            return Err("should only contain at most one of PathExact, PathPrefix, or PathRegex".into());
        }
        for (at, header) in self.header.iter().enumerate() {
            if header.name.is_empty() {
                return Err(format!("Header[{at}] missing required Name field"));
            }
            let texts = [&header.exact, &header.regex, &header.prefix, &header.suffix];
            if usize::from(header.present) + texts.iter().filter(|text| !text.is_empty()).count() != 1 {
                return Err(format!(
                    "Header[{at}] should only contain one of Present, Exact, Prefix, Suffix, or Regex"
                ));
            }
        }
        for (at, query) in self.query_param.iter().enumerate() {
            if query.name.is_empty() {
                return Err(format!("QueryParam[{at}] missing required Name field"));
            }
            let texts = [&query.exact, &query.regex];
            if usize::from(query.present) + texts.iter().filter(|text| !text.is_empty()).count() != 1 {
                return Err(format!("QueryParam[{at}] should only contain one of Present, Exact, or Regex"));
            }
        }
        let mut known = BTreeSet::new();
        for method in &self.methods {
            if !is_method(method) {
                return Err(format!("Methods contains an invalid method {}", quote(method)));
            }
            if !known.insert(method) {
                return Err(format!("Methods contains {} more than once", quote(method)));
            }
        }
        Ok(())
    }
}
