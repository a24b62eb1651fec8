//! What holds for all proxies (`proxy-defaults`). There is one, named `global`.

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::envoy::{EnvoyExtension, extension_faults};
use super::service_defaults::check_mutual_tls_mode;
use super::service_resolver::{FailoverPolicy, PrioritizeByLocality};
use super::{Meta, Rules, check_meta, several, unset};
use crate::catalog::{AccessLogs, Expose, MeshGateway, TransparentProxy};

/// `structs.ProxyConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ProxyDefaults {
    pub name: String,
    pub config: Option<Map<String, Value>>,
    /// Compat: is taken and means nothing; what counts is the one in `config`.
    #[serde(skip_serializing)]
    pub protocol: String,
    #[serde(skip_serializing_if = "unset")]
    pub mode: String,
    pub transparent_proxy: TransparentProxy,
    #[serde(rename = "MutualTLSMode", skip_serializing_if = "unset")]
    pub mutual_tls_mode: String,
    pub mesh_gateway: MeshGateway,
    pub expose: Expose,
    pub access_logs: AccessLogs,
    #[serde(skip_serializing_if = "unset")]
    pub envoy_extensions: Vec<EnvoyExtension>,
    #[serde(skip_serializing_if = "unset")]
    pub failover_policy: Option<FailoverPolicy>,
    #[serde(skip_serializing_if = "unset")]
    pub prioritize_by_locality: Option<PrioritizeByLocality>,
}

pub(crate) const GLOBAL: &str = "global";
/// A socket's path with a file name must fit its address.
const MAX_SOCKET_DIR_BYTES: usize = 70;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Protocol {
    protocol: String,
}

impl ProxyDefaults {
    /// The protocol that services speak unless they say otherwise; empty when nothing is said.
    pub(crate) fn protocol(&self) -> Result<String, String> {
        let Some(config) = &self.config else { return Ok(String::new()) };
        let (said, _) = wire::weak::decode::<Protocol>(&Value::Object(config.clone()))?;
        Ok(said.protocol)
    }
}

impl Rules for ProxyDefaults {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        Vec::new()
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn normalize(&mut self) -> Result<(), String> {
        if !self.name.is_empty() && self.name != GLOBAL {
            return Err(format!("invalid name ({}), only \"{GLOBAL}\" is supported", wire::json::quote(&self.name)));
        }
        GLOBAL.clone_into(&mut self.name);
        self.protocol.clear();
        self.protocol().map(|_| ())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        check_access_logs(&self.access_logs)?;
        check_meta(meta)?;
        let socket_dir = self.config.as_ref().and_then(|config| config.get("envoy_hcp_metrics_bind_socket_dir"));
        let bytes = socket_dir.and_then(Value::as_str).unwrap_or_default().len();
        if bytes > MAX_SOCKET_DIR_BYTES {
            return Err(format!(
                "Config: envoy_hcp_metrics_bind_socket_dir length {bytes} exceeds max {MAX_SOCKET_DIR_BYTES}"
            ));
        }
        several(&extension_faults(&self.envoy_extensions))?;
        self.failover_policy.as_ref().map_or(Ok(()), FailoverPolicy::validate)?;
        self.prioritize_by_locality.as_ref().map_or(Ok(()), PrioritizeByLocality::validate)?;
        check_mutual_tls_mode(&self.mutual_tls_mode)
    }
}

fn check_access_logs(logs: &AccessLogs) -> Result<(), String> {
    match logs.r#type.as_str() {
        "" | "stderr" | "stdout" => {}
        "file" if logs.path.is_empty() => return Err("path must be specified when using file type access logs".into()),
        "file" => {}
        other => return Err(format!("invalid access log type: {other}")),
    }
    if !logs.json_format.is_empty() && !logs.text_format.is_empty() {
        return Err("cannot specify both access log JSONFormat and TextFormat".into());
    }
    if logs.r#type != "file" && !logs.path.is_empty() {
        return Err("path is only valid for file type access logs".into());
    }
    if !logs.json_format.is_empty() {
        wire::json::Value::parse(logs.json_format.as_bytes(), wire::json::Mode::Unmarshal)
            .map_err(|error| format!("invalid access log json for JSON format: {error}"))?;
    }
    Ok(())
}
