//! What holds if nobody says otherwise.
//!
//! Always true: these are sources like files are, laid under or over what the user wrote; the `-dev` ones come right after the
//! general ones, so that a file or flag still wins, and the internal ones come last, so that nothing does.

use crate::written::{Setting, Written};

enum Default {
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'static str),
}

use Default::{Bool, Float, Integer, Text, Unsigned};

/// Under everything.
const GENERAL: &[(&str, Default)] = &[
    ("acl.token_ttl", Text("30s")),
    ("acl.policy_ttl", Text("30s")),
    ("acl.default_policy", Text("allow")),
    ("acl.down_policy", Text("extend-cache")),
    ("autopilot.cleanup_dead_servers", Bool(true)),
    ("autopilot.last_contact_threshold", Text("200ms")),
    ("autopilot.max_trailing_logs", Integer(250)),
    ("autopilot.server_stabilization_time", Text("10s")),
    ("bind_addr", Text("0.0.0.0")),
    ("bootstrap", Bool(false)),
    ("bootstrap_expect", Integer(0)),
    ("check_output_max_size", Integer(4096)),
    ("check_update_interval", Text("5m")),
    ("client_addr", Text("127.0.0.1")),
    ("connect.enabled", Bool(true)),
    ("datacenter", Text("dc1")),
    ("default_query_time", Text("300s")),
    ("disable_coordinates", Bool(false)),
    ("disable_host_node_id", Bool(true)),
    ("disable_remote_exec", Bool(true)),
    ("dns_config.allow_stale", Bool(true)),
    ("dns_config.a_record_limit", Integer(0)),
    ("dns_config.udp_answer_limit", Integer(3)),
    ("dns_config.max_stale", Text("87600h")),
    ("dns_config.recursor_timeout", Text("2s")),
    ("domain", Text("consul.")),
    ("enable_central_service_config", Bool(true)),
    ("encrypt_verify_incoming", Bool(true)),
    ("encrypt_verify_outgoing", Bool(true)),
    ("gossip_lan.gossip_interval", Text("200ms")),
    ("gossip_lan.gossip_nodes", Integer(3)),
    ("gossip_lan.retransmit_mult", Integer(4)),
    ("gossip_lan.probe_interval", Text("1s")),
    ("gossip_lan.probe_timeout", Text("500ms")),
    ("gossip_lan.suspicion_mult", Integer(4)),
    ("gossip_wan.gossip_interval", Text("500ms")),
    ("gossip_wan.gossip_nodes", Integer(3)),
    ("gossip_wan.retransmit_mult", Integer(4)),
    ("gossip_wan.probe_interval", Text("5s")),
    ("gossip_wan.probe_timeout", Text("3s")),
    ("gossip_wan.suspicion_mult", Integer(6)),
    ("limits.http_max_conns_per_client", Integer(200)),
    ("limits.https_handshake_timeout", Text("5s")),
    ("limits.request_limits.mode", Text("disabled")),
    ("limits.request_limits.read_rate", Float(-1.0)),
    ("limits.request_limits.write_rate", Float(-1.0)),
    ("limits.rpc_handshake_timeout", Text("5s")),
    ("limits.rpc_client_timeout", Text("60s")),
    ("limits.rpc_rate", Float(-1.0)),
    ("limits.rpc_max_burst", Integer(1000)),
    ("limits.rpc_max_conns_per_client", Integer(100)),
    ("limits.kv_max_value_size", Unsigned(512 * 1024)),
    ("limits.txn_max_req_len", Unsigned(512 * 1024)),
    ("log_level", Text("INFO")),
    ("max_query_time", Text("600s")),
    ("peering.enabled", Bool(true)),
    ("performance.leave_drain_time", Text("5s")),
    ("performance.raft_multiplier", Integer(5)),
    ("performance.rpc_hold_timeout", Text("7s")),
    ("performance.grpc_keepalive_interval", Text("30s")),
    ("performance.grpc_keepalive_timeout", Text("20s")),
    ("performance.enable_xds_load_balancing", Bool(true)),
    ("ports.dns", Integer(8600)),
    ("ports.http", Integer(8500)),
    ("ports.https", Integer(-1)),
    ("ports.grpc", Integer(-1)),
    ("ports.serf_lan", Integer(8301)),
    ("ports.serf_wan", Integer(8302)),
    ("ports.server", Integer(8300)),
    ("ports.proxy_min_port", Integer(20000)),
    ("ports.proxy_max_port", Integer(20255)),
    ("ports.sidecar_min_port", Integer(21000)),
    ("ports.sidecar_max_port", Integer(21255)),
    ("ports.expose_min_port", Integer(21500)),
    ("ports.expose_max_port", Integer(21755)),
    ("primary_gateways_interval", Text("30s")),
    ("protocol", Integer(2)),
    ("raft_logstore.wal.segment_size_mb", Integer(64)),
    ("raft_protocol", Integer(3)),
    ("raft_prevote_disabled", Bool(false)),
    ("raft_snapshot_threshold", Integer(16384)),
    ("raft_snapshot_interval", Text("30s")),
    ("raft_trailing_logs", Integer(10240)),
    ("retry_interval", Text("30s")),
    ("retry_interval_wan", Text("30s")),
    ("segment_limit", Integer(64)),
    ("server", Bool(false)),
    ("server_rejoin_age_max", Text("168h")),
    ("syslog_facility", Text("LOCAL0")),
    ("telemetry.metrics_prefix", Text("consul")),
    ("telemetry.filter_default", Bool(true)),
    ("telemetry.retry_failed_connection", Bool(true)),
    ("tls.defaults.tls_min_version", Text("TLSv1_2")),
    ("xds.update_max_per_second", Float(250.0)),
];

/// Over the general ones with `-dev`.
const DEVELOPMENT: &[(&str, Default)] = &[
    ("bind_addr", Text("127.0.0.1")),
    ("disable_anonymous_signature", Bool(true)),
    ("disable_keyring_file", Bool(true)),
    ("enable_debug", Bool(true)),
    ("gossip_lan.gossip_interval", Text("100ms")),
    ("gossip_lan.probe_interval", Text("100ms")),
    ("gossip_lan.probe_timeout", Text("100ms")),
    ("gossip_lan.suspicion_mult", Integer(3)),
    ("gossip_wan.gossip_interval", Text("100ms")),
    ("gossip_wan.probe_interval", Text("100ms")),
    ("gossip_wan.probe_timeout", Text("100ms")),
    ("gossip_wan.suspicion_mult", Integer(3)),
    ("log_level", Text("DEBUG")),
    ("performance.raft_multiplier", Integer(1)),
    ("ports.grpc", Integer(8502)),
    ("server", Bool(true)),
    ("ui_config.enabled", Bool(true)),
];

/// Over everything: nobody's to change.
const INTERNAL: &[(&str, Default)] = &[
    ("ae_interval", Text("1m")),
    ("check_deregister_interval_min", Text("1m")),
    ("check_reap_interval", Text("30s")),
    ("connect.test_ca_leaf_root_change_spread", Text("0s")),
    ("consul.coordinate.update_batch_size", Integer(128)),
    ("consul.coordinate.update_max_batches", Integer(5)),
    ("consul.coordinate.update_period", Text("5s")),
    ("consul.raft.election_timeout", Text("1s")),
    ("consul.raft.heartbeat_timeout", Text("1s")),
    ("consul.raft.leader_lease_timeout", Text("500ms")),
    ("consul.server.health_interval", Text("2s")),
    ("peering.test_allow_peer_registrations", Bool(false)),
    ("segment_name_limit", Integer(64)),
    ("sync_coordinate_interval_min", Text("15s")),
    ("sync_coordinate_rate_target", Float(64.0)),
];

/// Over the internal ones with `-dev`.
const INTERNAL_DEVELOPMENT: &[(&str, Default)] = &[
    ("consul.coordinate.update_period", Text("100ms")),
    ("consul.raft.election_timeout", Text("52ms")),
    ("consul.raft.heartbeat_timeout", Text("35ms")),
    ("consul.raft.leader_lease_timeout", Text("20ms")),
    ("consul.server.health_interval", Text("10ms")),
];

/// What lies under the user's sources.
pub(crate) fn under(dev: bool) -> Written {
    gather(GENERAL, dev.then_some(DEVELOPMENT))
}

/// What lies over the user's sources.
pub(crate) fn over(dev: bool) -> Written {
    gather(INTERNAL, dev.then_some(INTERNAL_DEVELOPMENT))
}

fn gather(general: &[(&str, Default)], development: Option<&[(&str, Default)]>) -> Written {
    let mut written = Written::default();
    for (path, default) in general.iter().chain(development.unwrap_or_default()) {
        let setting = match default {
            Bool(value) => Setting::Bool(*value),
            Integer(value) => Setting::Integer(*value),
            Unsigned(value) => Setting::Unsigned(*value),
            Float(value) => Setting::Float(*value),
            Text(value) => Setting::Text((*value).to_owned()),
        };
        written.put(path, setting);
    }
    written
}
