//! What holds for the whole mesh (`mesh`). There is one, and it needs no name.

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};

use super::{Meta, Rules, check_meta, unset};

/// `structs.MeshConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mesh {
    pub transparent_proxy: TransparentProxyMesh,
    #[serde(rename = "AllowEnablingPermissiveMutualTLS", skip_serializing_if = "unset")]
    pub allow_enabling_permissive_mutual_tls: bool,
    #[serde(skip_serializing_if = "unset")]
    pub validate_clusters: bool,
    #[serde(rename = "TLS", skip_serializing_if = "unset")]
    pub tls: Option<MeshTls>,
    #[serde(rename = "HTTP", skip_serializing_if = "unset")]
    pub http: Option<MeshHttp>,
    #[serde(skip_serializing_if = "unset")]
    pub peering: Option<MeshPeering>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TransparentProxyMesh {
    pub mesh_destinations_only: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MeshTls {
    #[serde(skip_serializing_if = "unset")]
    pub incoming: Option<DirectionalTls>,
    #[serde(skip_serializing_if = "unset")]
    pub outgoing: Option<DirectionalTls>,
}

/// Bounds of TLS; gateways have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DirectionalTls {
    #[serde(rename = "TLSMinVersion", skip_serializing_if = "unset")]
    pub tls_min_version: String,
    #[serde(rename = "TLSMaxVersion", skip_serializing_if = "unset")]
    pub tls_max_version: String,
    #[serde(skip_serializing_if = "unset")]
    pub cipher_suites: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MeshHttp {
    #[serde(rename = "SanitizeXForwardedClientCert")]
    pub sanitize_x_forwarded_client_cert: bool,
    #[serde(skip_serializing_if = "unset")]
    pub incoming: Option<DirectionalHttp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DirectionalHttp {
    #[serde(skip_serializing_if = "unset")]
    pub request_normalization: Option<RequestNormalization>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RequestNormalization {
    pub insecure_disable_path_normalization: bool,
    pub merge_slashes: bool,
    pub path_with_escaped_slashes_action: String,
    pub headers_with_underscores_action: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MeshPeering {
    pub peer_through_mesh_gateways: bool,
}

pub(crate) const MESH: &str = "mesh";
const VERSIONS: [&str; 5] = ["TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"];
const CIPHER_SUITES: [&str; 14] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
];
const SLASH_ACTIONS: [&str; 5] = [
    "IMPLEMENTATION_SPECIFIC_DEFAULT",
    "KEEP_UNCHANGED",
    "REJECT_REQUEST",
    "UNESCAPE_AND_REDIRECT",
    "UNESCAPE_AND_FORWARD",
];
const UNDERSCORE_ACTIONS: [&str; 3] = ["ALLOW", "REJECT_REQUEST", "DROP_HEADER"];

impl Rules for Mesh {
    fn name(&self) -> &str {
        MESH
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        Vec::new()
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn normalize(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        check_meta(meta)?;
        if let Some(tls) = &self.tls {
            let check = |side: &Option<DirectionalTls>, word: &str| match side {
                None => Ok(()),
                Some(side) => side.validate().map_err(|fault| format!("error in {word} TLS configuration: {fault}")),
            };
            check(&tls.incoming, "incoming")?;
            check(&tls.outgoing, "outgoing")?;
        }
        let incoming = self.http.as_ref().and_then(|http| http.incoming.as_ref());
        match incoming.and_then(|incoming| incoming.request_normalization.as_ref()) {
            None => Ok(()),
            Some(rules) => rules
                .validate()
                .map_err(|fault| format!("error in HTTP incoming request normalization configuration: {fault}")),
        }
    }
}

impl DirectionalTls {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_tls(&self.tls_min_version, &self.tls_max_version, &self.cipher_suites)
    }
}

/// Whether these bounds of TLS make sense together.
pub(super) fn check_tls(least: &str, most: &str, suites: &[String]) -> Result<(), String> {
    for version in [least, most] {
        if !version.is_empty() && !VERSIONS.contains(&version) {
            let known = VERSIONS.join(", ");
            return Err(format!("no matching TLS version found for {version}, please specify one of [{known}]"));
        }
    }
    let rank = |version: &str| VERSIONS.iter().position(|known| *known == version).filter(|rank| *rank > 0);
    if let (Some(lower), Some(upper)) = (rank(least), rank(most))
        && upper < lower
    {
        return Err(format!("configuring max version {most} less than the configured min version {least} is invalid"));
    }
    if suites.is_empty() {
        return Ok(());
    }
    if least == "TLSv1_3" {
        return Err(format!(
            "configuring CipherSuites is only applicable to connections negotiated with TLS 1.2 or earlier, \
             TLSMinVersion is set to {least}"
        ));
    }
    let unknown: Vec<&str> = suites.iter().map(String::as_str).filter(|suite| !CIPHER_SUITES.contains(suite)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("no matching Envoy TLS cipher suite found for {}", unknown.join(",")))
}

impl RequestNormalization {
    fn validate(&self) -> Result<(), String> {
        for (field, word, known) in [
            ("PathWithEscapedSlashesAction", &self.path_with_escaped_slashes_action, &SLASH_ACTIONS[..]),
            ("HeadersWithUnderscoresAction", &self.headers_with_underscores_action, &UNDERSCORE_ACTIONS[..]),
        ] {
            if !word.is_empty() && !known.contains(&word.as_str()) {
                let known = known.join(", ");
                return Err(format!("no matching {field} value found for {word}, please specify one of [{known}]"));
            }
        }
        Ok(())
    }
}
