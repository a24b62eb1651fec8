//! Keys that are understood but do nothing: those not built yet, and those that only the reference's Enterprise edition
//! acts on.
//!
//! Always true: a key in [`NO_EFFECT`] is told to the user when a source writes it; a value that asks for more security
//! than is built stops the start ([`refusals`]). Whoever builds a feature takes its lines out here.

use crate::written::{Setting, Written};

/// Keys whose setting changes nothing yet. A section stands for all its keys.
const NO_EFFECT: &[&str] = &[
    "addresses.grpc",
    "addresses.grpc_tls",
    "advertise_reconnect_timeout",
    "auto_config",
    "auto_encrypt",
    "auto_reload_config",
    "cache",
    "cloud",
    "connect",
    "default_intention_policy",
    "disable_remote_exec",
    "disable_update_check",
    "enable_syslog",
    "experiments",
    "limits.https_handshake_timeout",
    "limits.request_limits",
    "peering",
    "performance.enable_xds_load_balancing",
    "performance.grpc_keepalive_interval",
    "performance.grpc_keepalive_timeout",
    "ports.expose_max_port",
    "ports.expose_min_port",
    "ports.grpc",
    "ports.grpc_tls",
    // Nothing listens there, which is not less secure; keys and certificates for it are refused below.
    "ports.https",
    "ports.proxy_max_port",
    "ports.proxy_min_port",
    "primary_gateways",
    "primary_gateways_interval",
    "raft_logstore",
    "rpc.enable_streaming",
    "snapshot_agent",
    "syslog_facility",
    "telemetry.circonus_api_app",
    "telemetry.circonus_api_token",
    "telemetry.circonus_api_url",
    "telemetry.circonus_broker_id",
    "telemetry.circonus_broker_select_tag",
    "telemetry.circonus_check_display_name",
    "telemetry.circonus_check_force_metric_activation",
    "telemetry.circonus_check_id",
    "telemetry.circonus_check_instance_id",
    "telemetry.circonus_check_search_tag",
    "telemetry.circonus_check_tags",
    "telemetry.circonus_submission_interval",
    "telemetry.circonus_submission_url",
    "telemetry.enable_host_metrics",
    "ui_config.metrics_provider",
    "ui_config.metrics_provider_files",
    "ui_config.metrics_provider_options_json",
    "ui_config.metrics_proxy",
    "ui_config.dashboard_url_templates",
    "use_streaming_backend",
    "xds",
];

/// One warning per key without effect that this source writes.
pub(crate) fn without_effect(written: &Written) -> Vec<String> {
    NO_EFFECT
        .iter()
        .filter(|path| written.root.get(path).is_some_and(|setting| !is_empty(setting)))
        .map(|path| format!("config key {path:?} is accepted but has no effect yet"))
        .collect()
}

/// The warnings about Enterprise keys in one source, in the reference's words and order; keys that the reference
/// forgets after its warning are removed.
pub(crate) fn enterprise(written: &mut Written) -> Vec<String> {
    let has_text = |path: &str| written.text(path).is_some_and(|text| !text.is_empty());
    let mut keys = Vec::new();
    if written.has("read_replica") {
        keys.push("read_replica (or the deprecated non_voting_server)");
    }
    if has_text("segment") {
        keys.push("segment");
    }
    if !written.root.sections("segments").is_empty() {
        keys.push("segments");
    }
    if has_text("partition") {
        keys.push("partition");
    }
    if has_text("autopilot.redundancy_zone_tag") {
        keys.push("autopilot.redundancy_zone_tag");
    }
    if has_text("autopilot.upgrade_version_tag") {
        keys.push("autopilot.upgrade_version_tag");
    }
    for path in ["autopilot.disable_upgrade_migration", "dns_config.prefer_namespace", "acl.msp_disable_bootstrap"] {
        if written.has(path) {
            keys.push(path);
        }
    }
    if !written.root.sections("acl.tokens.managed_service_provider").is_empty() {
        keys.push("acl.tokens.managed_service_provider");
    }
    if written.bool("audit.enabled") == Some(true) || !written.root.section_map("audit.sink").is_empty() {
        keys.push("audit");
    }
    for path in ["license_path", "reporting.license.enabled"] {
        if written.has(path) {
            keys.push(path);
        }
    }
    keys.iter().map(|key| format!("{key:?} is a Consul Enterprise configuration and will have no effect")).collect()
}

/// Settings that ask for protection which is not built: running without it would be silently less secure.
pub(crate) fn refusals(merged: &Written) -> Vec<String> {
    const SWITCHES: &[&str] = &[
        "acl.enabled",
        "auto_config.enabled",
        "auto_encrypt.allow_tls",
        "auto_encrypt.tls",
        "enable_agent_tls_for_checks",
        "tls.defaults.verify_incoming",
        "tls.defaults.verify_outgoing",
        "tls.defaults.verify_server_hostname",
        "tls.internal_rpc.verify_incoming",
        "tls.internal_rpc.verify_outgoing",
        "tls.internal_rpc.verify_server_hostname",
        "tls.https.verify_incoming",
        "tls.https.verify_outgoing",
        "tls.grpc.verify_incoming",
        "tls.grpc.use_auto_cert",
    ];
    const TEXTS: &[&str] = &[
        "tls.defaults.ca_file",
        "tls.defaults.ca_path",
        "tls.defaults.cert_file",
        "tls.defaults.key_file",
        "tls.internal_rpc.ca_file",
        "tls.internal_rpc.ca_path",
        "tls.internal_rpc.cert_file",
        "tls.internal_rpc.key_file",
        "tls.https.ca_file",
        "tls.https.ca_path",
        "tls.https.cert_file",
        "tls.https.key_file",
        "tls.grpc.ca_file",
        "tls.grpc.ca_path",
        "tls.grpc.cert_file",
        "tls.grpc.key_file",
    ];
    let mut settings: Vec<String> =
        SWITCHES.iter().filter(|path| merged.bool(path) == Some(true)).map(|path| format!("{path} = true")).collect();
    settings.extend(
        TEXTS
            .iter()
            .filter(|path| merged.text(path).is_some_and(|text| !text.is_empty()))
            .map(|path| (*path).to_owned()),
    );
    settings
        .into_iter()
        .map(|setting| {
            format!("{setting} asks for protection that is not built yet; refusing to start rather than run without it")
        })
        .collect()
}

fn is_empty(setting: &Setting) -> bool {
    match setting {
        Setting::Section(section) => section.is_empty(),
        Setting::Texts(list) => list.is_empty(),
        Setting::Frees(list) => list.is_empty(),
        Setting::Free(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::NO_EFFECT;
    use crate::schema::AGENT;

    #[test]
    fn every_key_is_in_the_schema() {
        for path in NO_EFFECT {
            assert!(AGENT.shape(path).is_some(), "{path}");
        }
    }
}
