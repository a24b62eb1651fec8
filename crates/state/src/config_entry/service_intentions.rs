//! Who may connect to a service (`service-intentions`).

use std::collections::{BTreeMap, BTreeSet};

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};
use wire::json::quote;
use wire::time::GoTime;

use super::service_router::is_method;
use super::{META_VALUE_MAX_BYTES, Meta, Rules, check_meta, several, unset};

/// `structs.ServiceIntentionsConfigEntry`. Its name is the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceIntentions {
    pub name: String,
    pub sources: Option<Vec<Source>>,
    #[serde(rename = "JWT", skip_serializing_if = "unset")]
    pub jwt: Option<JwtRequirement>,
}

/// `structs.SourceIntention`. What is called legacy comes from archives: the old intention endpoints kept it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Source {
    pub name: String,
    #[serde(skip_serializing_if = "unset")]
    pub action: String,
    #[serde(skip_serializing_if = "unset")]
    pub permissions: Vec<Permission>,
    /// Computed: the more is said exactly, the higher.
    pub precedence: i64,
    #[serde(rename = "LegacyID", skip_serializing_if = "unset")]
    pub legacy_id: String,
    pub r#type: String,
    #[serde(skip_serializing_if = "unset")]
    pub description: String,
    #[serde(skip_serializing_if = "unset")]
    pub legacy_meta: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "unset")]
    pub legacy_create_time: Option<GoTime>,
    #[serde(skip_serializing_if = "unset")]
    pub legacy_update_time: Option<GoTime>,
    #[serde(skip_serializing_if = "unset")]
    pub peer: String,
    #[serde(skip_serializing_if = "unset")]
    pub sameness_group: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Permission {
    pub action: String,
    #[serde(rename = "HTTP", skip_serializing_if = "unset")]
    pub http: Option<HttpPermission>,
    #[serde(rename = "JWT", skip_serializing_if = "unset")]
    pub jwt: Option<JwtRequirement>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HttpPermission {
    #[serde(skip_serializing_if = "unset")]
    pub path_exact: String,
    #[serde(skip_serializing_if = "unset")]
    pub path_prefix: String,
    #[serde(skip_serializing_if = "unset")]
    pub path_regex: String,
    #[serde(skip_serializing_if = "unset")]
    pub header: Vec<HeaderPermission>,
    #[serde(skip_serializing_if = "unset")]
    pub methods: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HeaderPermission {
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
    pub contains: String,
    #[serde(skip_serializing_if = "unset")]
    pub regex: String,
    #[serde(skip_serializing_if = "unset")]
    pub invert: bool,
    #[serde(skip_serializing_if = "unset")]
    pub ignore_case: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JwtRequirement {
    #[serde(skip_serializing_if = "unset")]
    pub providers: Vec<JwtReference>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JwtReference {
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    #[serde(skip_serializing_if = "unset")]
    pub verify_claims: Vec<ClaimVerification>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClaimVerification {
    #[serde(skip_serializing_if = "unset")]
    pub path: Vec<String>,
    #[serde(skip_serializing_if = "unset")]
    pub value: String,
}

impl Rules for ServiceIntentions {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Intention(&self.name))]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Intention(&self.name))]
    }

    fn normalize(&mut self) -> Result<(), String> {
        let most = if self.name == "*" { 6 } else { 9 };
        for source in self.sources.iter_mut().flatten() {
            if source.r#type.is_empty() {
                source.r#type = "consul".into();
            }
            source.precedence = if source.name == "*" { most - 1 } else { most };
            source.legacy_id.clear();
            source.legacy_create_time = None;
            source.legacy_update_time = None;
            let http = source.permissions.iter_mut().filter_map(|permission| permission.http.as_mut());
            for method in http.flat_map(|http| &mut http.methods) {
                *method = method.to_uppercase();
            }
        }
        if let Some(sources) = &mut self.sources {
            sources.sort_by_key(|source| std::cmp::Reverse(source.precedence));
        }
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("Name is required".into());
        }
        check_wildcards(&self.name, "")?;
        self.jwt.as_ref().map_or(Ok(()), JwtRequirement::validate)?;
        check_meta(meta)?;
        let sources = self.sources.as_deref().unwrap_or_default();
        if sources.is_empty() {
            return Err("At least one source is required".into());
        }
        let mut known = BTreeSet::new();
        for (at, source) in sources.iter().enumerate() {
            let place = format!("Sources[{at}]");
            source.validate(&place, self.name == "*")?;
            if !known.insert((&source.peer, &source.name)) {
                let name = quote(&source.name);
                return Err(match source.peer.as_str() {
                    "" => format!("{place} defines {name} more than once"),
                    peer => format!("{place} defines peer({}) {name} more than once", quote(peer)),
                });
            }
        }
        Ok(())
    }
}

impl ServiceIntentions {
    /// Whether requests are looked at, and not only connections.
    pub(super) fn has_permissions(&self) -> bool {
        self.sources.iter().flatten().any(|source| !source.permissions.is_empty())
    }

    /// The JWT providers that it names.
    pub(super) fn providers(&self) -> BTreeSet<&str> {
        let permissions = self.sources.iter().flatten().flat_map(|source| &source.permissions);
        let requirements = self.jwt.iter().chain(permissions.filter_map(|permission| permission.jwt.as_ref()));
        requirements.flat_map(|jwt| &jwt.providers).map(|provider| provider.name.as_str()).collect()
    }
}

fn check_wildcards(name: &str, peer: &str) -> Result<(), String> {
    if name != "*" && name.contains('*') {
        return Err("Name: wildcard character '*' cannot be used with partial values".into());
    }
    if peer.contains('*') {
        return Err("Peer: cannot use wildcard '*' in peer".into());
    }
    Ok(())
}

fn is_action(action: &str) -> bool {
    matches!(action, "allow" | "deny")
}

impl Source {
    fn validate(&self, place: &str, everywhere: bool) -> Result<(), String> {
        if self.name.is_empty() {
            return Err(format!("{place}.Name is required"));
        }
        if !self.sameness_group.is_empty() {
            // Compat: the text ends in a space.
            return Err(format!("{place}.SamenessGroup: Sameness groups are a Consul Enterprise feature. "));
        }
        check_wildcards(&self.name, &self.peer).map_err(|fault| format!("{place}.{fault}"))?;
        if self.description.len() > META_VALUE_MAX_BYTES {
            return Err(format!("{place}.Description exceeds maximum length {META_VALUE_MAX_BYTES}"));
        }
        if !self.legacy_meta.is_empty() {
            return Err(format!("{place}.LegacyMeta must be omitted"));
        }
        if self.permissions.is_empty() && !is_action(&self.action) {
            return Err(format!("{place}.Action must be set to 'allow' or 'deny'"));
        }
        if !self.permissions.is_empty() && !self.action.is_empty() {
            return Err(format!("{place}.Action must be omitted if Permissions are specified"));
        }
        if everywhere && !self.permissions.is_empty() {
            return Err(format!("{place}.Permissions cannot be specified on intentions with wildcarded destinations"));
        }
        if self.r#type != "consul" {
            return Err(format!("{place}.Type must be set to 'consul'"));
        }
        for (at, permission) in self.permissions.iter().enumerate() {
            permission.validate(&format!("{place}.Permissions[{at}]"))?;
        }
        Ok(())
    }
}

impl Permission {
    fn validate(&self, place: &str) -> Result<(), String> {
        if !is_action(&self.action) {
            return Err(format!("{place}.Action must be set to 'allow' or 'deny'"));
        }
        let Some(http) = &self.http else { return Err(format!("{place}.HTTP is required")) };
        http.validate().map_err(|fault| format!("{place}.HTTP{fault}"))?;
        self.jwt.as_ref().map_or(Ok(()), JwtRequirement::validate)
    }
}

impl HttpPermission {
    fn validate(&self) -> Result<(), String> {
        for (field, path) in [("PathExact", &self.path_exact), ("PathPrefix", &self.path_prefix)] {
            if !path.is_empty() && !path.starts_with('/') {
                return Err(format!(".{field} doesn't start with '/': {}", quote(path)));
            }
        }
        let paths = [&self.path_exact, &self.path_prefix, &self.path_regex];
        let paths = paths.iter().filter(|path| !path.is_empty()).count();
        if paths > 1 {
            return Err(" should only contain at most one of PathExact, PathPrefix, or PathRegex".into());
        }
        for (at, header) in self.header.iter().enumerate() {
            header.validate().map_err(|fault| format!(".Header[{at}] {fault}"))?;
        }
        let mut known = BTreeSet::new();
        for method in &self.methods {
            if !is_method(method) {
                return Err(format!(".Methods contains an invalid method {}", quote(method)));
            }
            if !known.insert(method) {
                return Err(format!(".Methods contains {} more than once", quote(method)));
            }
        }
        if paths == 0 && self.header.is_empty() && self.methods.is_empty() {
            return Err(" should not be empty".into());
        }
        Ok(())
    }
}

impl HeaderPermission {
    fn validate(&self) -> Result<(), &'static str> {
        if self.name.is_empty() {
            return Err("missing required Name field");
        }
        let texts = [&self.exact, &self.regex, &self.prefix, &self.suffix, &self.contains];
        if usize::from(self.present) + texts.iter().filter(|text| !text.is_empty()).count() != 1 {
            return Err("should only contain one of Present, Exact, Prefix, Suffix, Contains, or Regex");
        }
        if self.ignore_case && (self.present || !self.regex.is_empty()) {
            return Err("should set one of Exact, Prefix, Suffix, or Contains when using IgnoreCase");
        }
        Ok(())
    }
}

impl JwtRequirement {
    fn validate(&self) -> Result<(), String> {
        let unnamed = self.providers.iter().filter(|provider| provider.name.is_empty());
        several(&unnamed.map(|_| "JWT provider name is required".to_owned()).collect::<Vec<_>>())
    }
}
