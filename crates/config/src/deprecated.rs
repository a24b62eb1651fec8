//! Older names of keys: what they mean today, and the warning that comes with them.
//!
//! Always true: after [`renew`], no older name is left in what was written, and a current name that was also written wins.

use crate::written::{Setting, Written};

/// Moved as they are, in the order in which the reference warns: older name, current name.
const MOVED: &[(&str, &str)] = &[
    ("acl.tokens.agent_master", "acl.tokens.agent_recovery"),
    ("acl_agent_master_token", "acl.tokens.agent_recovery"),
    ("acl_agent_token", "acl.tokens.agent"),
    ("acl_token", "acl.tokens.default"),
    ("acl.tokens.master", "acl.tokens.initial_management"),
    ("acl_master_token", "acl.tokens.initial_management"),
    ("acl_replication_token", "acl.tokens.replication"),
    ("enable_acl_replication", "acl.enable_token_replication"),
    ("acl_datacenter", "primary_datacenter"),
    ("acl_default_policy", "acl.default_policy"),
    ("acl_down_policy", "acl.down_policy"),
    ("acl_ttl", "acl.token_ttl"),
    ("acl_enable_key_list_policy", "acl.enable_key_list_policy"),
    ("start_join", "retry_join"),
    ("start_join_wan", "retry_join_wan"),
    ("raft_boltdb", "raft_logstore.boltdb"),
    ("ca_file", "tls.defaults.ca_file"),
    ("ca_path", "tls.defaults.ca_path"),
    ("cert_file", "tls.defaults.cert_file"),
    ("key_file", "tls.defaults.key_file"),
    ("tls_cipher_suites", "tls.defaults.tls_cipher_suites"),
    ("tls_min_version", "tls.defaults.tls_min_version"),
    ("verify_incoming", "tls.defaults.verify_incoming"),
    ("verify_incoming_https", "tls.https.verify_incoming"),
    ("verify_incoming_rpc", "tls.internal_rpc.verify_incoming"),
    ("verify_outgoing", "tls.defaults.verify_outgoing"),
    ("verify_server_hostname", "tls.internal_rpc.verify_server_hostname"),
];

/// Older spellings of TLS versions.
const TLS_VERSIONS: &[(&str, &str)] =
    &[("", "TLS_AUTO"), ("tls10", "TLSv1_0"), ("tls11", "TLSv1_1"), ("tls12", "TLSv1_2"), ("tls13", "TLSv1_3")];

/// Replaces older names by current ones in one source, and gives the warnings.
pub(crate) fn renew(written: &mut Written) -> Vec<String> {
    let mut warnings = Vec::new();
    for (older, current) in MOVED {
        let Some(setting) = take(written, older) else {
            continue;
        };
        let setting = match (*older, setting) {
            ("acl_replication_token", setting) => {
                written.put("acl.enable_token_replication", Setting::Bool(true));
                setting
            }
            ("acl_datacenter", setting) => {
                // Compat: naming an ACL datacenter also turned ACLs on.
                written.put("acl.enabled", Setting::Bool(true));
                setting
            }
            ("verify_incoming", setting) => {
                // Compat: the old name never covered the gRPC port.
                if !written.root.has("tls.grpc.verify_incoming") {
                    written.put("tls.grpc.verify_incoming", Setting::Bool(false));
                }
                setting
            }
            ("tls_min_version", Setting::Text(version)) => Setting::Text(current_version(version, &mut warnings)),
            ("start_join" | "start_join_wan", Setting::Texts(addresses)) => {
                let mut joined = written.texts(current).to_vec();
                joined.extend(addresses);
                written.root.remove(current);
                Setting::Texts(joined)
            }
            ("raft_boltdb", Setting::Section(section)) => {
                let no_sync = section.bool("NoFreelistSync").unwrap_or(false);
                if !written.root.has("raft_logstore.boltdb.no_freelist_sync") {
                    written.put("raft_logstore.boltdb.no_freelist_sync", Setting::Bool(no_sync));
                }
                warnings.push(warning(older, current));
                continue;
            }
            (_, setting) => setting,
        };
        if !written.root.has(current) {
            written.put(current, setting);
        }
        warnings.push(warning(older, current));
    }
    if take(written, "tls_prefer_server_cipher_suites").is_some() {
        warnings.push("The 'tls_prefer_server_cipher_suites' field is deprecated and will be ignored.".to_owned());
    }
    warnings
}

fn warning(older: &str, current: &str) -> String {
    format!("The '{older}' field is deprecated. Use the '{current}' field instead.")
}

fn current_version(version: String, warnings: &mut Vec<String>) -> String {
    match TLS_VERSIONS.iter().find(|(older, _)| *older == version) {
        Some((older, current)) => {
            warnings
                .push(format!("'tls_min_version' value '{older}' is deprecated, please specify '{current}' instead"));
            (*current).to_owned()
        }
        None => version,
    }
}

fn take(written: &mut Written, path: &str) -> Option<Setting> {
    match path.strip_prefix("acl.tokens.") {
        None => written.root.remove(path),
        Some(name) => written.root.section_mut("acl")?.section_mut("tokens")?.remove(name),
    }
}
