//! The keys of `DebugConfig` that show a setting just as it was merged.

use serde_json::{Value, json};
use wire::duration::GoDuration;

use super::{NO_LIMIT, number};
use crate::runtime::Runtime;

/// How a key is shown that comes straight from the sources.
#[derive(Clone, Copy)]
enum Form {
    Bool,
    Integer,
    Unsigned,
    Text,
    Duration,
    Texts,
    TextMap,
    Rate,
    Float,
    Hidden,
}

use Form::{Bool, Duration, Float, Hidden, Integer, Rate, Text, TextMap, Texts, Unsigned};

/// Keys that show a setting as it was merged: dotted name there, path in the configuration, form.
const STRAIGHT: &[(&str, &str, Form)] = &[
    ("ACLEnableKeyListPolicy", "acl.enable_key_list_policy", Bool),
    (
        "ACLInitialManagementToken",
        "acl.tokens.initial_management",
        Hidden,
    ),
    (
        "ACLResolverSettings.ACLDefaultPolicy",
        "acl.default_policy",
        Text,
    ),
    ("ACLResolverSettings.ACLDownPolicy", "acl.down_policy", Text),
    (
        "ACLResolverSettings.ACLPolicyTTL",
        "acl.policy_ttl",
        Duration,
    ),
    ("ACLResolverSettings.ACLRoleTTL", "acl.role_ttl", Duration),
    ("ACLResolverSettings.ACLTokenTTL", "acl.token_ttl", Duration),
    ("ACLResolverSettings.ACLsEnabled", "acl.enabled", Bool),
    ("ACLTokenReplication", "acl.enable_token_replication", Bool),
    (
        "ACLTokens.ACLAgentRecoveryToken",
        "acl.tokens.agent_recovery",
        Hidden,
    ),
    ("ACLTokens.ACLAgentToken", "acl.tokens.agent", Hidden),
    (
        "ACLTokens.ACLConfigFileRegistrationToken",
        "acl.tokens.config_file_service_registration",
        Hidden,
    ),
    ("ACLTokens.ACLDNSToken", "acl.tokens.dns", Hidden),
    ("ACLTokens.ACLDefaultToken", "acl.tokens.default", Hidden),
    (
        "ACLTokens.ACLReplicationToken",
        "acl.tokens.replication",
        Hidden,
    ),
    ("ACLTokens.DataDir", "data_dir", Text),
    (
        "ACLTokens.EnablePersistence",
        "acl.enable_token_persistence",
        Bool,
    ),
    ("ACLsEnabled", "acl.enabled", Bool),
    ("AEInterval", "ae_interval", Duration),
    (
        "AdvertiseReconnectTimeout",
        "advertise_reconnect_timeout",
        Duration,
    ),
    ("AutoConfig.DNSSANs", "auto_config.dns_sans", Texts),
    ("AutoConfig.Enabled", "auto_config.enabled", Bool),
    ("AutoConfig.IPSANs", "auto_config.ip_sans", Texts),
    ("AutoConfig.IntroToken", "auto_config.intro_token", Hidden),
    (
        "AutoConfig.IntroTokenFile",
        "auto_config.intro_token_file",
        Text,
    ),
    (
        "AutoConfig.ServerAddresses",
        "auto_config.server_addresses",
        Texts,
    ),
    ("AutoEncryptAllowTLS", "auto_encrypt.allow_tls", Bool),
    ("AutoEncryptDNSSAN", "auto_encrypt.dns_san", Texts),
    ("AutoEncryptIPSAN", "auto_encrypt.ip_san", Texts),
    ("AutoEncryptTLS", "auto_encrypt.tls", Bool),
    ("AutoReloadConfig", "auto_reload_config", Bool),
    (
        "AutopilotCleanupDeadServers",
        "autopilot.cleanup_dead_servers",
        Bool,
    ),
    (
        "AutopilotDisableUpgradeMigration",
        "autopilot.disable_upgrade_migration",
        Bool,
    ),
    (
        "AutopilotLastContactThreshold",
        "autopilot.last_contact_threshold",
        Duration,
    ),
    (
        "AutopilotMaxTrailingLogs",
        "autopilot.max_trailing_logs",
        Integer,
    ),
    ("AutopilotMinQuorum", "autopilot.min_quorum", Unsigned),
    (
        "AutopilotRedundancyZoneTag",
        "autopilot.redundancy_zone_tag",
        Text,
    ),
    (
        "AutopilotServerStabilizationTime",
        "autopilot.server_stabilization_time",
        Duration,
    ),
    (
        "AutopilotUpgradeVersionTag",
        "autopilot.upgrade_version_tag",
        Text,
    ),
    (
        "CheckDeregisterIntervalMin",
        "check_deregister_interval_min",
        Duration,
    ),
    ("CheckOutputMaxSize", "check_output_max_size", Integer),
    ("CheckReapInterval", "check_reap_interval", Duration),
    ("CheckUpdateInterval", "check_update_interval", Duration),
    ("ConnectCAProvider", "connect.ca_provider", Text),
    ("ConnectEnabled", "connect.enabled", Bool),
    (
        "ConnectMeshGatewayWANFederationEnabled",
        "connect.enable_mesh_gateway_wan_federation",
        Bool,
    ),
    (
        "ConnectTestCALeafRootChangeSpread",
        "connect.test_ca_leaf_root_change_spread",
        Duration,
    ),
    (
        "ConsulCoordinateUpdateBatchSize",
        "consul.coordinate.update_batch_size",
        Integer,
    ),
    (
        "ConsulCoordinateUpdateMaxBatches",
        "consul.coordinate.update_max_batches",
        Integer,
    ),
    (
        "ConsulCoordinateUpdatePeriod",
        "consul.coordinate.update_period",
        Duration,
    ),
    (
        "ConsulServerHealthInterval",
        "consul.server.health_interval",
        Duration,
    ),
    ("DNSARecordLimit", "dns_config.a_record_limit", Integer),
    ("DNSAllowStale", "dns_config.allow_stale", Bool),
    ("DNSAltDomain", "alt_domain", Text),
    ("DNSCacheMaxAge", "dns_config.cache_max_age", Duration),
    (
        "DNSDisableCompression",
        "dns_config.disable_compression",
        Bool,
    ),
    ("DNSDomain", "domain", Text),
    ("DNSEnableTruncate", "dns_config.enable_truncate", Bool),
    ("DNSMaxStale", "dns_config.max_stale", Duration),
    ("DNSNodeTTL", "dns_config.node_ttl", Duration),
    ("DNSOnlyPassing", "dns_config.only_passing", Bool),
    (
        "DNSRecursorTimeout",
        "dns_config.recursor_timeout",
        Duration,
    ),
    ("DNSUDPAnswerLimit", "dns_config.udp_answer_limit", Integer),
    ("DNSUseCache", "dns_config.use_cache", Bool),
    ("DataDir", "data_dir", Text),
    ("DefaultIntentionPolicy", "default_intention_policy", Text),
    ("DefaultQueryTime", "default_query_time", Duration),
    (
        "DisableAnonymousSignature",
        "disable_anonymous_signature",
        Bool,
    ),
    ("DisableCoordinates", "disable_coordinates", Bool),
    (
        "DisableHTTPUnprintableCharFilter",
        "disable_http_unprintable_char_filter",
        Bool,
    ),
    ("DisableHostNodeID", "disable_host_node_id", Bool),
    ("DisableKeyringFile", "disable_keyring_file", Bool),
    ("DisableRemoteExec", "disable_remote_exec", Bool),
    ("DisableUpdateCheck", "disable_update_check", Bool),
    ("DiscardCheckOutput", "discard_check_output", Bool),
    ("DiscoveryMaxStale", "discovery_max_stale", Duration),
    (
        "EnableAgentTLSForChecks",
        "enable_agent_tls_for_checks",
        Bool,
    ),
    (
        "EnableCentralServiceConfig",
        "enable_central_service_config",
        Bool,
    ),
    ("EnableDebug", "enable_debug", Bool),
    ("EnableRemoteScriptChecks", "enable_script_checks", Bool),
    (
        "EnableXDSLoadBalancing",
        "performance.enable_xds_load_balancing",
        Bool,
    ),
    ("EncryptKey", "encrypt", Hidden),
    ("Experiments", "experiments", Texts),
    (
        "GRPCKeepaliveInterval",
        "performance.grpc_keepalive_interval",
        Duration,
    ),
    (
        "GRPCKeepaliveTimeout",
        "performance.grpc_keepalive_timeout",
        Duration,
    ),
    (
        "GossipLANGossipInterval",
        "gossip_lan.gossip_interval",
        Duration,
    ),
    ("GossipLANGossipNodes", "gossip_lan.gossip_nodes", Integer),
    (
        "GossipLANProbeInterval",
        "gossip_lan.probe_interval",
        Duration,
    ),
    (
        "GossipLANProbeTimeout",
        "gossip_lan.probe_timeout",
        Duration,
    ),
    (
        "GossipLANRetransmitMult",
        "gossip_lan.retransmit_mult",
        Integer,
    ),
    (
        "GossipLANSuspicionMult",
        "gossip_lan.suspicion_mult",
        Integer,
    ),
    (
        "GossipWANGossipInterval",
        "gossip_wan.gossip_interval",
        Duration,
    ),
    ("GossipWANGossipNodes", "gossip_wan.gossip_nodes", Integer),
    (
        "GossipWANProbeInterval",
        "gossip_wan.probe_interval",
        Duration,
    ),
    (
        "GossipWANProbeTimeout",
        "gossip_wan.probe_timeout",
        Duration,
    ),
    (
        "GossipWANRetransmitMult",
        "gossip_wan.retransmit_mult",
        Integer,
    ),
    (
        "GossipWANSuspicionMult",
        "gossip_wan.suspicion_mult",
        Integer,
    ),
    ("HTTPBlockEndpoints", "http_config.block_endpoints", Texts),
    (
        "HTTPMaxConnsPerClient",
        "limits.http_max_conns_per_client",
        Integer,
    ),
    (
        "HTTPMaxHeaderBytes",
        "http_config.max_header_bytes",
        Integer,
    ),
    (
        "HTTPResponseHeaders",
        "http_config.response_headers",
        TextMap,
    ),
    (
        "HTTPSHandshakeTimeout",
        "limits.https_handshake_timeout",
        Duration,
    ),
    ("KVMaxValueSize", "limits.kv_max_value_size", Unsigned),
    ("LeaveDrainTime", "performance.leave_drain_time", Duration),
    ("Logging.EnableSyslog", "enable_syslog", Bool),
    ("Logging.LogFilePath", "log_file", Text),
    ("Logging.LogJSON", "log_json", Bool),
    ("Logging.LogLevel", "log_level", Text),
    ("Logging.LogRotateBytes", "log_rotate_bytes", Integer),
    ("Logging.LogRotateDuration", "log_rotate_duration", Duration),
    ("Logging.LogRotateMaxFiles", "log_rotate_max_files", Integer),
    ("Logging.SyslogFacility", "syslog_facility", Text),
    ("MaxQueryTime", "max_query_time", Duration),
    ("NodeMeta", "node_meta", TextMap),
    ("PeeringEnabled", "peering.enabled", Bool),
    (
        "PeeringTestAllowPeerRegistrations",
        "peering.test_allow_peer_registrations",
        Bool,
    ),
    ("PidFile", "pid_file", Text),
    ("PrimaryGateways", "primary_gateways", Texts),
    (
        "PrimaryGatewaysInterval",
        "primary_gateways_interval",
        Duration,
    ),
    ("RPCClientTimeout", "limits.rpc_client_timeout", Duration),
    (
        "RPCHandshakeTimeout",
        "limits.rpc_handshake_timeout",
        Duration,
    ),
    ("RPCHoldTimeout", "performance.rpc_hold_timeout", Duration),
    ("RPCMaxBurst", "limits.rpc_max_burst", Integer),
    (
        "RPCMaxConnsPerClient",
        "limits.rpc_max_conns_per_client",
        Integer,
    ),
    ("RPCProtocol", "protocol", Integer),
    ("RPCRateLimit", "limits.rpc_rate", Rate),
    (
        "RaftLogStoreConfig.BoltDB.NoFreelistSync",
        "raft_logstore.boltdb.no_freelist_sync",
        Bool,
    ),
    (
        "RaftLogStoreConfig.DisableLogCache",
        "raft_logstore.disable_log_cache",
        Bool,
    ),
    (
        "RaftLogStoreConfig.Verification.Enabled",
        "raft_logstore.verification.enabled",
        Bool,
    ),
    (
        "RaftLogStoreConfig.Verification.Interval",
        "raft_logstore.verification.interval",
        Duration,
    ),
    ("RaftPreVoteDisabled", "raft_prevote_disabled", Bool),
    ("RaftProtocol", "raft_protocol", Integer),
    ("RaftSnapshotInterval", "raft_snapshot_interval", Duration),
    ("RaftSnapshotThreshold", "raft_snapshot_threshold", Integer),
    ("RaftTrailingLogs", "raft_trailing_logs", Integer),
    ("ReadReplica", "read_replica", Bool),
    ("ReconnectTimeoutLAN", "reconnect_timeout", Duration),
    ("ReconnectTimeoutWAN", "reconnect_timeout_wan", Duration),
    ("RejoinAfterLeave", "rejoin_after_leave", Bool),
    (
        "RequestLimitsReadRate",
        "limits.request_limits.read_rate",
        Rate,
    ),
    (
        "RequestLimitsWriteRate",
        "limits.request_limits.write_rate",
        Rate,
    ),
    ("RetryJoinIntervalLAN", "retry_interval", Duration),
    ("RetryJoinIntervalWAN", "retry_interval_wan", Duration),
    ("RetryJoinMaxAttemptsLAN", "retry_max", Integer),
    ("RetryJoinMaxAttemptsWAN", "retry_max_wan", Integer),
    ("SegmentLimit", "segment_limit", Integer),
    ("SegmentName", "segment", Text),
    ("SegmentNameLimit", "segment_name_limit", Integer),
    ("SerfAllowedCIDRsLAN", "serf_lan_allowed_cidrs", Texts),
    ("SerfAllowedCIDRsWAN", "serf_wan_allowed_cidrs", Texts),
    ("ServerMode", "server", Bool),
    ("ServerName", "server_name", Text),
    ("ServerRejoinAgeMax", "server_rejoin_age_max", Duration),
    ("SessionTTLMin", "session_ttl_min", Duration),
    (
        "StaticRuntimeConfig.EncryptVerifyIncoming",
        "encrypt_verify_incoming",
        Bool,
    ),
    (
        "StaticRuntimeConfig.EncryptVerifyOutgoing",
        "encrypt_verify_outgoing",
        Bool,
    ),
    (
        "SyncCoordinateIntervalMin",
        "sync_coordinate_interval_min",
        Duration,
    ),
    (
        "SyncCoordinateRateTarget",
        "sync_coordinate_rate_target",
        Float,
    ),
    (
        "Telemetry.CirconusAPIApp",
        "telemetry.circonus_api_app",
        Text,
    ),
    (
        "Telemetry.CirconusAPIToken",
        "telemetry.circonus_api_token",
        Hidden,
    ),
    (
        "Telemetry.CirconusAPIURL",
        "telemetry.circonus_api_url",
        Text,
    ),
    (
        "Telemetry.CirconusBrokerID",
        "telemetry.circonus_broker_id",
        Text,
    ),
    (
        "Telemetry.CirconusBrokerSelectTag",
        "telemetry.circonus_broker_select_tag",
        Text,
    ),
    (
        "Telemetry.CirconusCheckDisplayName",
        "telemetry.circonus_check_display_name",
        Text,
    ),
    (
        "Telemetry.CirconusCheckForceMetricActivation",
        "telemetry.circonus_check_force_metric_activation",
        Text,
    ),
    (
        "Telemetry.CirconusCheckID",
        "telemetry.circonus_check_id",
        Text,
    ),
    (
        "Telemetry.CirconusCheckInstanceID",
        "telemetry.circonus_check_instance_id",
        Text,
    ),
    (
        "Telemetry.CirconusCheckSearchTag",
        "telemetry.circonus_check_search_tag",
        Text,
    ),
    (
        "Telemetry.CirconusCheckTags",
        "telemetry.circonus_check_tags",
        Text,
    ),
    (
        "Telemetry.CirconusSubmissionInterval",
        "telemetry.circonus_submission_interval",
        Text,
    ),
    (
        "Telemetry.CirconusSubmissionURL",
        "telemetry.circonus_submission_url",
        Text,
    ),
    (
        "Telemetry.DisableHostname",
        "telemetry.disable_hostname",
        Bool,
    ),
    (
        "Telemetry.DisablePerTenancyUsageMetrics",
        "telemetry.disable_per_tenancy_usage_metrics",
        Bool,
    ),
    ("Telemetry.DogstatsdAddr", "telemetry.dogstatsd_addr", Text),
    ("Telemetry.DogstatsdTags", "telemetry.dogstatsd_tags", Texts),
    (
        "Telemetry.EnableHostMetrics",
        "telemetry.enable_host_metrics",
        Bool,
    ),
    ("Telemetry.FilterDefault", "telemetry.filter_default", Bool),
    ("Telemetry.MetricsPrefix", "telemetry.metrics_prefix", Text),
    (
        "Telemetry.PrometheusOpts.Expiration",
        "telemetry.prometheus_retention_time",
        Duration,
    ),
    (
        "Telemetry.PrometheusOpts.Name",
        "telemetry.metrics_prefix",
        Text,
    ),
    (
        "Telemetry.RetryFailedConfiguration",
        "telemetry.retry_failed_connection",
        Bool,
    ),
    ("Telemetry.StatsdAddr", "telemetry.statsd_address", Text),
    ("Telemetry.StatsiteAddr", "telemetry.statsite_address", Text),
    ("TranslateWANAddrs", "translate_wan_addrs", Bool),
    ("TxnMaxReqLen", "limits.txn_max_req_len", Unsigned),
    (
        "UIConfig.DashboardURLTemplates",
        "ui_config.dashboard_url_templates",
        TextMap,
    ),
    (
        "UIConfig.MetricsProvider",
        "ui_config.metrics_provider",
        Text,
    ),
    (
        "UIConfig.MetricsProviderFiles",
        "ui_config.metrics_provider_files",
        Texts,
    ),
    (
        "UIConfig.MetricsProviderOptionsJSON",
        "ui_config.metrics_provider_options_json",
        Text,
    ),
    (
        "UIConfig.MetricsProxy.BaseURL",
        "ui_config.metrics_proxy.base_url",
        Text,
    ),
    (
        "UIConfig.MetricsProxy.PathAllowlist",
        "ui_config.metrics_proxy.path_allowlist",
        Texts,
    ),
    ("UnixSocketGroup", "unix_sockets.group", Text),
    ("UnixSocketMode", "unix_sockets.mode", Text),
    ("UnixSocketUser", "unix_sockets.user", Text),
    ("XDSUpdateRateLimit", "xds.update_max_per_second", Rate),
];

/// Their names and values.
pub(super) fn shown(runtime: &Runtime) -> impl Iterator<Item = (&'static str, Value)> {
    STRAIGHT
        .iter()
        .map(|(name, path, form)| (*name, straight(runtime, path, *form)))
}

fn straight(runtime: &Runtime, path: &str, form: Form) -> Value {
    let merged = &runtime.merged;
    match form {
        Bool => json!(merged.bool(path).unwrap_or(false)),
        Integer => json!(merged.integer(path).unwrap_or(0)),
        Unsigned => json!(merged.unsigned(path).unwrap_or(0)),
        Text => json!(merged.text(path).unwrap_or_default()),
        Duration => {
            let span = merged
                .text(path)
                .and_then(|text| GoDuration::parse(text).ok());
            json!(span.unwrap_or(GoDuration(0)).to_string())
        }
        Texts => json!(merged.texts(path)),
        TextMap => json!(merged.text_map(path)),
        Rate => number(
            Some(merged.float(path).unwrap_or(0.0))
                .filter(|rate| *rate >= 0.0)
                .unwrap_or(NO_LIMIT),
        ),
        Float => number(merged.float(path).unwrap_or(0.0)),
        Hidden => json!("hidden"),
    }
}
