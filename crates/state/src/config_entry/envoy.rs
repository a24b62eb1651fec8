//! Extensions of Envoy that services and proxies may name.
//!
//! Only those whose arguments are known here are accepted.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::several;

/// `structs.EnvoyExtension`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename = "EnvoyExtension!", rename_all = "PascalCase")]
pub struct EnvoyExtension {
    pub name: String,
    pub required: bool,
    pub arguments: Option<Map<String, Value>>,
    pub consul_version: String,
    pub envoy_version: String,
}

/// What is wrong with each.
pub(super) fn extension_faults(extensions: &[EnvoyExtension]) -> Vec<String> {
    let fault = |(at, extension): (usize, &EnvoyExtension)| {
        let place = format!("invalid EnvoyExtensions[{at}]");
        let name = &extension.name;
        if name.is_empty() {
            return Some(format!("{place}: Name is required"));
        }
        for (field, constraint) in
            [("EnvoyVersion", &extension.envoy_version), ("ConsulVersion", &extension.consul_version)]
        {
            if let Some(part) = malformed(constraint) {
                return Some(format!("{place}.{field}: Malformed constraint: {part}"));
            }
        }
        extension.check().err().map(|fault| format!("{place}[{name}]: {fault}"))
    };
    extensions.iter().enumerate().filter_map(fault).collect()
}

impl EnvoyExtension {
    fn argument(&self, name: &str) -> &str {
        let found = self.arguments.iter().flatten().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn check(&self) -> Result<(), String> {
        let mut faults = Vec::new();
        match self.name.as_str() {
            "builtin/aws/lambda" => {
                if self.argument("ARN").is_empty() {
                    faults.push("ARN is required".into());
                }
            }
            "builtin/lua" => {
                if self.argument("Script").is_empty() {
                    faults.push("missing Script value".into());
                }
                if !matches!(self.argument("ProxyType"), "" | "connect-proxy" | "api-gateway") {
                    faults.push(format!("unexpected ProxyType {}", wire::json::quote(self.argument("ProxyType"))));
                }
                if !matches!(self.argument("Listener"), "inbound" | "outbound") {
                    faults.push(format!("unexpected Listener {}", wire::json::quote(self.argument("Listener"))));
                }
            }
            other => return Err(format!("name {} is not a built-in extension", wire::json::quote(other))),
        }
        several(&faults)
    }
}

/// The part of a version constraint (`>= 1.2, < 2`) that makes no sense.
fn malformed(constraint: &str) -> Option<&str> {
    constraint.split(',').filter(|_| !constraint.is_empty()).find(|part| {
        let version = part.trim().trim_start_matches(['=', '!', '<', '>', '~']).trim_start();
        let version = version.strip_prefix('v').unwrap_or(version);
        let numbers = version.split(['-', '+']).next().unwrap_or_default();
        numbers.is_empty() || !numbers.split('.').all(|number| number.parse::<u64>().is_ok())
    })
}
