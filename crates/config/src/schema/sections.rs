//! The keys of the sections of a configuration file.

use super::{Key, Schema, Shape, boolean, float, integer, section, sections, text, text_map, texts, unsigned};

pub(super) static ACL: Schema = Schema {
    keys: &[
        boolean("enabled"),
        boolean("enable_token_replication"),
        text("policy_ttl"),
        text("role_ttl"),
        text("token_ttl"),
        text("down_policy"),
        text("default_policy"),
        boolean("enable_key_list_policy"),
        section("tokens", &ACL_TOKENS),
        boolean("enable_token_persistence"),
        boolean("msp_disable_bootstrap"),
    ],
};

static ACL_TOKENS: Schema = Schema {
    keys: &[
        text("initial_management"),
        text("replication"),
        text("agent_recovery"),
        text("default"),
        text("agent"),
        text("config_file_service_registration"),
        text("dns"),
        sections("managed_service_provider", &SERVICE_PROVIDER_TOKEN),
        text("master"),
        text("agent_master"),
    ],
};

static SERVICE_PROVIDER_TOKEN: Schema = Schema { keys: &[text("accessor_id"), text("secret_id")] };

pub(super) static ADDRESSES: Schema =
    Schema { keys: &[text("dns"), text("http"), text("https"), text("grpc"), text("grpc_tls")] };

pub(super) static AUTO_CONFIG: Schema = Schema {
    keys: &[
        boolean("enabled"),
        text("intro_token"),
        text("intro_token_file"),
        texts("server_addresses"),
        texts("dns_sans"),
        texts("ip_sans"),
        section("authorization", &AUTO_CONFIG_AUTHORIZATION),
    ],
};

static AUTO_CONFIG_AUTHORIZATION: Schema =
    Schema { keys: &[boolean("enabled"), section("static", &AUTO_CONFIG_STATIC)] };

static AUTO_CONFIG_STATIC: Schema = Schema {
    keys: &[
        texts("claim_assertions"),
        boolean("allow_reuse"),
        texts("jwt_supported_algs"),
        texts("bound_audiences"),
        text_map("claim_mappings"),
        text_map("list_claim_mappings"),
        text("oidc_discovery_url"),
        text("oidc_discovery_ca_cert"),
        text("jwks_url"),
        text("jwks_ca_cert"),
        texts("jwt_validation_pub_keys"),
        text("bound_issuer"),
        text("expiration_leeway"),
        text("not_before_leeway"),
        text("clock_skew_leeway"),
    ],
};

pub(super) static AUTOPILOT: Schema = Schema {
    keys: &[
        boolean("cleanup_dead_servers"),
        text("last_contact_threshold"),
        integer("max_trailing_logs"),
        unsigned("min_quorum"),
        text("server_stabilization_time"),
        boolean("disable_upgrade_migration"),
        text("redundancy_zone_tag"),
        text("upgrade_version_tag"),
    ],
};

pub(super) static CACHE: Schema = Schema { keys: &[integer("entry_fetch_max_burst"), float("entry_fetch_rate")] };

pub(super) static CLOUD: Schema = Schema {
    keys: &[
        text("resource_id"),
        text("client_id"),
        text("client_secret"),
        text("hostname"),
        text("auth_url"),
        text("scada_address"),
    ],
};

pub(super) static CONFIG_ENTRIES: Schema = Schema { keys: &[Key::of("bootstrap", Shape::Frees)] };

pub(super) static AUTO_ENCRYPT: Schema =
    Schema { keys: &[boolean("tls"), texts("dns_san"), texts("ip_san"), boolean("allow_tls")] };

pub(super) static CONNECT: Schema = Schema {
    keys: &[
        boolean("enabled"),
        text("ca_provider"),
        Key::of("ca_config", Shape::Free),
        boolean("enable_mesh_gateway_wan_federation"),
        text("test_ca_leaf_root_change_spread"),
    ],
};

pub(super) static CONSUL: Schema = Schema {
    keys: &[
        section("coordinate", &CONSUL_COORDINATE),
        section("raft", &CONSUL_RAFT),
        section("server", &CONSUL_SERVER),
    ],
};

static CONSUL_COORDINATE: Schema =
    Schema { keys: &[integer("update_batch_size"), integer("update_max_batches"), text("update_period")] };

static CONSUL_RAFT: Schema =
    Schema { keys: &[text("election_timeout"), text("heartbeat_timeout"), text("leader_lease_timeout")] };

static CONSUL_SERVER: Schema = Schema { keys: &[text("health_interval")] };

pub(super) static DNS_CONFIG: Schema = Schema {
    keys: &[
        boolean("allow_stale"),
        integer("a_record_limit"),
        boolean("disable_compression"),
        boolean("enable_truncate"),
        text("max_stale"),
        text("node_ttl"),
        boolean("only_passing"),
        text("recursor_strategy"),
        text("recursor_timeout"),
        text_map("service_ttl"),
        integer("udp_answer_limit"),
        boolean("enable_additional_node_meta_txt"),
        Key::of("soa", Shape::Whole(&SOA)),
        boolean("use_cache"),
        text("cache_max_age"),
        boolean("prefer_namespace"),
    ],
};

static SOA: Schema =
    Schema { keys: &[unsigned("refresh"), unsigned("retry"), unsigned("expire"), unsigned("min_ttl")] };

pub(super) static GOSSIP: Schema = Schema {
    keys: &[
        integer("gossip_nodes"),
        text("gossip_interval"),
        text("probe_interval"),
        text("probe_timeout"),
        integer("suspicion_mult"),
        integer("retransmit_mult"),
    ],
};

pub(super) static HTTP_CONFIG: Schema = Schema {
    keys: &[
        texts("block_endpoints"),
        texts("allow_write_http_from"),
        text_map("response_headers"),
        boolean("use_cache"),
        integer("max_header_bytes"),
    ],
};

pub(super) static LIMITS: Schema = Schema {
    keys: &[
        integer("http_max_conns_per_client"),
        text("https_handshake_timeout"),
        section("request_limits", &REQUEST_LIMITS),
        text("rpc_client_timeout"),
        text("rpc_handshake_timeout"),
        integer("rpc_max_burst"),
        integer("rpc_max_conns_per_client"),
        float("rpc_rate"),
        unsigned("kv_max_value_size"),
        unsigned("txn_max_req_len"),
    ],
};

static REQUEST_LIMITS: Schema = Schema { keys: &[text("mode"), float("read_rate"), float("write_rate")] };

pub(super) static PEERING: Schema = Schema { keys: &[boolean("enabled"), boolean("test_allow_peer_registrations")] };

pub(super) static PERFORMANCE: Schema = Schema {
    keys: &[
        text("leave_drain_time"),
        integer("raft_multiplier"),
        text("rpc_hold_timeout"),
        text("grpc_keepalive_interval"),
        text("grpc_keepalive_timeout"),
        boolean("enable_xds_load_balancing"),
    ],
};

pub(super) static PORTS: Schema = Schema {
    keys: &[
        integer("dns"),
        integer("http"),
        integer("https"),
        integer("serf_lan"),
        integer("serf_wan"),
        integer("server"),
        integer("grpc"),
        integer("grpc_tls"),
        integer("proxy_min_port"),
        integer("proxy_max_port"),
        integer("sidecar_min_port"),
        integer("sidecar_max_port"),
        integer("expose_min_port"),
        integer("expose_max_port"),
    ],
};

pub(super) static RAFT_BOLTDB: Schema = Schema { keys: &[boolean("NoFreelistSync")] };

pub(super) static RAFT_LOGSTORE: Schema = Schema {
    keys: &[
        text("backend"),
        boolean("disable_log_cache"),
        section("verification", &RAFT_LOGSTORE_VERIFICATION),
        section("boltdb", &RAFT_LOGSTORE_BOLTDB),
        section("wal", &RAFT_LOGSTORE_WAL),
    ],
};

static RAFT_LOGSTORE_VERIFICATION: Schema = Schema { keys: &[boolean("enabled"), text("interval")] };

static RAFT_LOGSTORE_BOLTDB: Schema = Schema { keys: &[boolean("no_freelist_sync")] };

static RAFT_LOGSTORE_WAL: Schema = Schema { keys: &[integer("segment_size_mb")] };

pub(super) static RPC: Schema = Schema { keys: &[boolean("enable_streaming")] };

pub(super) static TELEMETRY: Schema = Schema {
    keys: &[
        text("circonus_api_app"),
        text("circonus_api_token"),
        text("circonus_api_url"),
        text("circonus_broker_id"),
        text("circonus_broker_select_tag"),
        text("circonus_check_display_name"),
        text("circonus_check_force_metric_activation"),
        text("circonus_check_id"),
        text("circonus_check_instance_id"),
        text("circonus_check_search_tag"),
        text("circonus_check_tags"),
        text("circonus_submission_interval"),
        text("circonus_submission_url"),
        boolean("disable_hostname"),
        boolean("disable_per_tenancy_usage_metrics"),
        boolean("enable_host_metrics"),
        text("dogstatsd_addr"),
        texts("dogstatsd_tags"),
        boolean("retry_failed_connection"),
        boolean("filter_default"),
        texts("prefix_filter"),
        text("metrics_prefix"),
        text("prometheus_retention_time"),
        text("statsd_address"),
        text("statsite_address"),
    ],
};

pub(super) static TLS: Schema = Schema {
    keys: &[
        section("defaults", &TLS_PROTOCOL),
        section("internal_rpc", &TLS_PROTOCOL),
        section("https", &TLS_PROTOCOL),
        section("grpc", &TLS_PROTOCOL),
    ],
};

static TLS_PROTOCOL: Schema = Schema {
    keys: &[
        text("ca_file"),
        text("ca_path"),
        text("cert_file"),
        text("key_file"),
        text("tls_min_version"),
        text("tls_cipher_suites"),
        boolean("verify_incoming"),
        boolean("verify_outgoing"),
        boolean("verify_server_hostname"),
        boolean("use_auto_cert"),
    ],
};

pub(super) static UI_CONFIG: Schema = Schema {
    keys: &[
        boolean("enabled"),
        text("dir"),
        text("content_path"),
        text("metrics_provider"),
        texts("metrics_provider_files"),
        text("metrics_provider_options_json"),
        section("metrics_proxy", &UI_METRICS_PROXY),
        text_map("dashboard_url_templates"),
    ],
};

static UI_METRICS_PROXY: Schema =
    Schema { keys: &[text("base_url"), sections("add_headers", &UI_ADD_HEADER), texts("path_allowlist")] };

static UI_ADD_HEADER: Schema = Schema { keys: &[text("name"), text("value")] };

pub(super) static UNIX_SOCKETS: Schema = Schema { keys: &[text("group"), text("mode"), text("user")] };

pub(super) static XDS: Schema = Schema { keys: &[float("update_max_per_second")] };

pub(super) static AUDIT: Schema =
    Schema { keys: &[boolean("enabled"), Key::of("sink", Shape::SectionMap(&AUDIT_SINK)), boolean("rpc_enabled")] };

static AUDIT_SINK: Schema = Schema {
    keys: &[
        text("type"),
        text("format"),
        text("path"),
        text("delivery_guarantee"),
        text("mode"),
        integer("rotate_bytes"),
        text("rotate_duration"),
        integer("rotate_max_files"),
    ],
};

pub(super) static SEGMENT: Schema =
    Schema { keys: &[text("advertise"), text("bind"), text("name"), integer("port"), boolean("rpc_listener")] };

pub(super) static REPORTING: Schema = Schema { keys: &[section("license", &REPORTING_LICENSE)] };

static REPORTING_LICENSE: Schema = Schema { keys: &[boolean("enabled")] };
