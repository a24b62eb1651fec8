//! The sections of the configuration, one function each.

use std::collections::BTreeMap;

use wire::duration::GoDuration;

use super::Reader;
use crate::error::Error;
use crate::host::{Cidr, expand};
use crate::runtime::{
    Acl, AclTokens, AgentChecks, Autopilot, Dns, Encrypt, Gossip, Http, Join, Joining, Limits, Logging, Performance,
    Raft, RecursorStrategy, Soa, Sync, Telemetry, Ui,
};
use acl::Secret;

/// Largest `performance.raft_multiplier`.
const MAX_RAFT_MULTIPLIER: i64 = 10;

/// Compat: the reference hides this metric unless a filter names it.
const METRIC_HIDDEN_BY_DEFAULT: &str = "rpc.server.call";

const KEEPALIVE_MIN: GoDuration = GoDuration(1_000_000_000);

impl Reader<'_> {
    pub(super) fn acl(&mut self) -> Acl {
        let secret = |path: &str| Secret::new(self.text(path));
        let tokens = AclTokens {
            initial_management: secret("acl.tokens.initial_management"),
            replication: secret("acl.tokens.replication"),
            agent_recovery: secret("acl.tokens.agent_recovery"),
            default: secret("acl.tokens.default"),
            agent: secret("acl.tokens.agent"),
            config_file_registration: secret("acl.tokens.config_file_service_registration"),
            dns: secret("acl.tokens.dns"),
        };
        Acl {
            enabled: self.bool("acl.enabled"),
            default_policy: self.text("acl.default_policy"),
            down_policy: self.text("acl.down_policy"),
            policy_ttl: self.duration("acl.policy_ttl"),
            token_ttl: self.duration("acl.token_ttl"),
            role_ttl: self.duration("acl.role_ttl"),
            enable_key_list_policy: self.bool("acl.enable_key_list_policy"),
            enable_token_persistence: self.bool("acl.enable_token_persistence"),
            enable_token_replication: self.bool("acl.enable_token_replication"),
            tokens,
        }
    }

    pub(super) fn agent_checks(&mut self) -> AgentChecks {
        let enable_remote_scripts = self.bool("enable_script_checks");
        AgentChecks {
            update_interval: self.duration("check_update_interval"),
            deregister_interval_min: self.duration("check_deregister_interval_min"),
            reap_interval: self.duration("check_reap_interval"),
            output_max_size: self.integer("check_output_max_size"),
            discard_output: self.bool("discard_check_output"),
            enable_local_scripts: self.merged.bool("enable_local_script_checks").unwrap_or(enable_remote_scripts),
            enable_remote_scripts,
        }
    }

    pub(super) fn autopilot(&mut self) -> Autopilot {
        Autopilot {
            cleanup_dead_servers: self.bool("autopilot.cleanup_dead_servers"),
            last_contact_threshold: self.duration("autopilot.last_contact_threshold"),
            max_trailing_logs: self.integer("autopilot.max_trailing_logs"),
            min_quorum: self.merged.unsigned("autopilot.min_quorum").unwrap_or(0),
            server_stabilization_time: self.duration("autopilot.server_stabilization_time"),
        }
    }

    pub(super) fn dns(&mut self) -> Result<Dns, Error> {
        let mut service_ttl = BTreeMap::new();
        for (service, ttl) in self.merged.text_map("dns_config.service_ttl") {
            let ttl = self.faults.duration(&format!("dns_config.service_ttl[{service:?}]"), Some(&ttl));
            service_ttl.insert(service, ttl);
        }
        let soa = |name: &str, default: u32| {
            let value = self.merged.unsigned(&format!("dns_config.soa.{name}"));
            value.map_or(default, |value| value as u32)
        };
        let soa = Soa {
            refresh: soa("refresh", 3600),
            retry: soa("retry", 600),
            expire: soa("expire", 86400),
            min_ttl: soa("min_ttl", 0),
        };
        let recursors = self.recursors()?;
        let recursor_strategy = match self.merged.text("dns_config.recursor_strategy") {
            None | Some("" | "sequential") => RecursorStrategy::Sequential,
            Some("random") => RecursorStrategy::Random,
            Some(other) => {
                self.faults.push(format!("dns_config.recursor_strategy: invalid strategy: {other:?}"));
                RecursorStrategy::Sequential
            }
        };
        Ok(Dns {
            domain: self.text("domain"),
            alt_domain: self.text("alt_domain"),
            allow_stale: self.bool("dns_config.allow_stale"),
            max_stale: self.duration("dns_config.max_stale"),
            a_record_limit: self.integer("dns_config.a_record_limit"),
            udp_answer_limit: self.integer("dns_config.udp_answer_limit"),
            disable_compression: self.bool("dns_config.disable_compression"),
            enable_truncate: self.bool("dns_config.enable_truncate"),
            node_ttl: self.duration("dns_config.node_ttl"),
            service_ttl,
            only_passing: self.bool("dns_config.only_passing"),
            node_meta_txt: self.merged.bool("dns_config.enable_additional_node_meta_txt").unwrap_or(true),
            recursors,
            recursor_strategy,
            recursor_timeout: self.duration_named("recursor_timeout", "dns_config.recursor_timeout"),
            soa,
            use_cache: self.bool("dns_config.use_cache"),
            cache_max_age: self.duration("dns_config.cache_max_age"),
        })
    }

    fn recursors(&mut self) -> Result<Vec<String>, Error> {
        let mut recursors: Vec<String> = Vec::new();
        for text in self.merged.texts("recursors") {
            let expanded = expand(text, self.host)
                .map_err(|error| Error::new(format!("Invalid DNS recursor template {text:?}: {error}")))?;
            for address in expanded.split_whitespace() {
                if address.starts_with("unix://") {
                    return Err(Error::new(format!("DNS Recursors cannot be unix sockets: {address}")));
                }
                if !recursors.iter().any(|known| known == address) {
                    recursors.push(address.to_owned());
                }
            }
        }
        Ok(recursors)
    }

    pub(super) fn gossip(&mut self, section: &str, reconnect: &str) -> Gossip {
        // Compat: the doubled dot is in the reference's error texts.
        let mut duration = |key: &str| self.duration_named(&format!("{section}..{key}"), &format!("{section}.{key}"));
        let (gossip_interval, probe_interval) = (duration("gossip_interval"), duration("probe_interval"));
        let probe_timeout = duration("probe_timeout");
        let integer = |key: &str| self.integer(&format!("{section}.{key}"));
        Gossip {
            gossip_nodes: integer("gossip_nodes"),
            gossip_interval,
            probe_interval,
            probe_timeout,
            suspicion_mult: integer("suspicion_mult"),
            retransmit_mult: integer("retransmit_mult"),
            reconnect_timeout: self.duration(reconnect),
        }
    }

    pub(super) fn encrypt(&self) -> Encrypt {
        Encrypt {
            key: Secret::new(self.text("encrypt")),
            verify_incoming: self.bool("encrypt_verify_incoming"),
            verify_outgoing: self.bool("encrypt_verify_outgoing"),
        }
    }

    pub(super) fn http(&mut self) -> Http {
        let mut allow_write_from = Vec::new();
        for text in self.merged.texts("http_config.allow_write_http_from") {
            match Cidr::parse(text.trim()) {
                Some(network) => allow_write_from.push(network),
                None => self.faults.push(format!("allow_write_http_from: invalid cidr: {text}")),
            }
        }
        Http {
            block_endpoints: self.merged.texts("http_config.block_endpoints").to_vec(),
            allow_write_from,
            response_headers: self.merged.text_map("http_config.response_headers"),
            use_cache: self.merged.bool("http_config.use_cache").unwrap_or(true),
            max_header_bytes: self.integer("http_config.max_header_bytes"),
        }
    }

    pub(super) fn joining(&mut self) -> Joining {
        let (lan, wan) = (self.duration("retry_interval"), self.duration("retry_interval_wan"));
        Joining {
            lan: Join {
                addresses: self.address_texts("retry_join"),
                interval: lan,
                max_attempts: self.integer("retry_max"),
            },
            wan: Join {
                addresses: self.address_texts("retry_join_wan"),
                interval: wan,
                max_attempts: self.integer("retry_max_wan"),
            },
        }
    }

    pub(super) fn limits(&mut self) -> Limits {
        Limits {
            http_max_conns_per_client: self.integer("limits.http_max_conns_per_client"),
            rpc_handshake_timeout: self.duration("limits.rpc_handshake_timeout"),
            rpc_client_timeout: self.duration("limits.rpc_client_timeout"),
            rpc_max_burst: self.integer("limits.rpc_max_burst"),
            rpc_max_conns_per_client: self.integer("limits.rpc_max_conns_per_client"),
            rpc_rate: self.rate("limits.rpc_rate"),
            kv_max_value_size: self.merged.unsigned("limits.kv_max_value_size").unwrap_or(0),
            txn_max_req_len: self.merged.unsigned("limits.txn_max_req_len").unwrap_or(0),
        }
    }

    pub(super) fn logging(&mut self) -> Logging {
        Logging {
            level: self.text("log_level"),
            json: self.bool("log_json"),
            file: self.text("log_file"),
            rotate_duration: self.duration("log_rotate_duration"),
            rotate_bytes: self.integer("log_rotate_bytes"),
            rotate_max_files: self.integer("log_rotate_max_files"),
            enable_syslog: self.bool("enable_syslog"),
            syslog_facility: self.text("syslog_facility"),
        }
    }

    pub(super) fn performance(&mut self) -> Result<Performance, Error> {
        let raft_multiplier = self.integer("performance.raft_multiplier");
        if !(1..=MAX_RAFT_MULTIPLIER).contains(&raft_multiplier) {
            return Err(Error::new(format!(
                "performance.raft_multiplier cannot be {raft_multiplier}. Must be between 1 and {MAX_RAFT_MULTIPLIER}"
            )));
        }
        Ok(Performance {
            leave_drain_time: self.duration("performance.leave_drain_time"),
            raft_multiplier,
            rpc_hold_timeout: self.duration("performance.rpc_hold_timeout"),
        })
    }

    pub(super) fn raft(&mut self, multiplier: i64) -> Raft {
        let mut scaled = |path: &str| GoDuration(self.duration(path).0.saturating_mul(multiplier));
        Raft {
            election_timeout: scaled("consul.raft.election_timeout"),
            heartbeat_timeout: scaled("consul.raft.heartbeat_timeout"),
            leader_lease_timeout: scaled("consul.raft.leader_lease_timeout"),
            protocol: self.integer("raft_protocol"),
            snapshot_threshold: self.integer("raft_snapshot_threshold"),
            snapshot_interval: self.duration("raft_snapshot_interval"),
            trailing_logs: self.integer("raft_trailing_logs"),
            prevote_disabled: self.bool("raft_prevote_disabled"),
        }
    }

    pub(super) fn sync(&mut self) -> Sync {
        Sync {
            ae_interval: self.duration("ae_interval"),
            coordinate_interval_min: self.duration("sync_coordinate_interval_min"),
            coordinate_rate_target: self.merged.float("sync_coordinate_rate_target").unwrap_or(0.0),
            coordinate_update_batch_size: self.integer("consul.coordinate.update_batch_size"),
            coordinate_update_max_batches: self.integer("consul.coordinate.update_max_batches"),
            coordinate_update_period: self.duration("consul.coordinate.update_period"),
            server_health_interval: self.duration("consul.server.health_interval"),
        }
    }

    pub(super) fn telemetry(&mut self) -> Telemetry {
        let metrics_prefix = self.text("telemetry.metrics_prefix");
        let hidden = format!("{metrics_prefix}.{METRIC_HIDDEN_BY_DEFAULT}");
        let (mut allowed, mut blocked) = (Vec::new(), Vec::new());
        for rule in self.merged.texts("telemetry.prefix_filter") {
            if let Some(prefix) = rule.strip_prefix('+') {
                allowed.push(prefix.to_owned());
            } else if let Some(prefix) = rule.strip_prefix('-') {
                blocked.push(prefix.to_owned());
            } else if rule.is_empty() {
                self.warnings.push("Cannot have empty filter rule in prefix_filter".to_owned());
            } else {
                self.warnings.push(format!("Filter rule must begin with either '+' or '-': {rule:?}"));
            }
        }
        if !allowed.contains(&hidden) && !blocked.contains(&hidden) {
            blocked.push(hidden);
        }
        Telemetry {
            metrics_prefix,
            disable_hostname: self.bool("telemetry.disable_hostname"),
            filter_default: self.bool("telemetry.filter_default"),
            allowed_prefixes: allowed,
            blocked_prefixes: blocked,
            prometheus_retention_time: self
                .duration_named("prometheus_retention_time", "telemetry.prometheus_retention_time"),
            statsd_address: self.text("telemetry.statsd_address"),
            statsite_address: self.text("telemetry.statsite_address"),
            dogstatsd_address: self.text("telemetry.dogstatsd_addr"),
            dogstatsd_tags: self.merged.texts("telemetry.dogstatsd_tags").to_vec(),
            retry_failed_connection: self.bool("telemetry.retry_failed_connection"),
        }
    }

    /// The web page. The keys `ui`, `ui_dir` and `ui_content_path` are older names that warn when used.
    pub(super) fn ui(&mut self) -> Ui {
        for (older, current) in
            [("ui", "ui_config.enabled"), ("ui_dir", "ui_config.dir"), ("ui_content_path", "ui_config.content_path")]
        {
            if self.merged.has(older) {
                let warning = format!("The '{older}' field is deprecated. Use the '{current}' field instead.");
                self.warnings.push(warning);
            }
        }
        let either = |current: &str, older: &str| {
            self.merged.text(current).or_else(|| self.merged.text(older)).unwrap_or_default().to_owned()
        };
        let path = either("ui_config.content_path", "ui_content_path");
        Ui {
            enabled: self.merged.bool("ui_config.enabled").or_else(|| self.merged.bool("ui")).unwrap_or(false),
            dir: either("ui_config.dir", "ui_dir"),
            content_path: if path.is_empty() { "/ui/".to_owned() } else { format!("/{}/", path.trim_matches('/')) },
        }
    }

    /// Values of sections that nothing reads yet, checked all the same: a file that the reference refuses is refused.
    pub(super) fn check_other_sections(&mut self) -> Result<(), Error> {
        for path in [
            "auto_config.authorization.static.expiration_leeway",
            "auto_config.authorization.static.not_before_leeway",
            "auto_config.authorization.static.clock_skew_leeway",
            "advertise_reconnect_timeout",
            "connect.test_ca_leaf_root_change_spread",
            "limits.https_handshake_timeout",
            "primary_gateways_interval",
            "raft_logstore.verification.interval",
        ] {
            self.duration(path);
        }
        for path in ["performance.grpc_keepalive_interval", "performance.grpc_keepalive_timeout"] {
            self.faults.duration_of_at_least(path, self.merged.text(path), KEEPALIVE_MIN);
        }
        let mode = self.text("limits.request_limits.mode");
        if !matches!(mode.as_str(), "" | "disabled" | "permissive" | "enforcing") {
            self.faults.push(format!("limits.request_limits.mode: invalid mode: {mode:?}"));
        }
        self.address_texts("primary_gateways");
        self.address_texts("auto_config.server_addresses");
        if self.bool("connect.enable_mesh_gateway_wan_federation") && !self.bool("connect.enabled") {
            return Err(Error::new(
                "'connect.enable_mesh_gateway_wan_federation=true' requires 'connect.enabled=true'",
            ));
        }
        self.check_tls()?;
        if let Some(burst) = self.merged.integer("cache.entry_fetch_max_burst").filter(|burst| *burst <= 0) {
            return Err(Error::new(format!("cache.entry_fetch_max_burst must be strictly positive, was: {burst}")));
        }
        if let Some(rate) = self.merged.float("cache.entry_fetch_rate").filter(|rate| *rate == 0.0) {
            return Err(Error::new(format!("cache.entry_fetch_rate must be strictly positive, was: {rate}")));
        }
        Ok(())
    }

    fn check_tls(&mut self) -> Result<(), Error> {
        let has = |section: &str, key: &str| self.merged.has(&format!("tls.{section}.{key}"));
        if has("grpc", "verify_outgoing") {
            return Err(Error::new("verify_outgoing is not valid in the tls.grpc stanza"));
        }
        if has("grpc", "verify_server_hostname") || has("https", "verify_server_hostname") {
            return Err(Error::new(
                "verify_server_hostname is only valid in the tls.defaults and tls.internal_rpc stanzas",
            ));
        }
        if ["defaults", "https", "internal_rpc"].iter().any(|section| has(section, "use_auto_cert")) {
            return Err(Error::new("use_auto_cert is only valid in the tls.grpc stanza"));
        }
        const VERSIONS: [&str; 5] = ["TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"];
        for section in ["defaults", "internal_rpc", "https", "grpc"] {
            let path = format!("tls.{section}.tls_min_version");
            let version = self.text(&path);
            if !version.is_empty() && !VERSIONS.contains(&version.as_str()) {
                self.faults.push(format!(
                    "{path}: invalid TLS version: no matching TLS version found for {version}, please specify one of [{}]",
                    VERSIONS.join(", ")
                ));
            }
        }
        Ok(())
    }
}
