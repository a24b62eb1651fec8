//! The configuration as meant: typed, complete, defaults resolved.
//!
//! Always true: built only by [`crate::resolve`] and handed out only after validation; secrets in it do not print.
//! A port of `None` is a listener that is off; a rate of `None` is unlimited.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Map, Value};
use wire::duration::GoDuration;

use crate::definition::{CheckDefinition, Locality, ServiceDefinition};
use crate::host::Cidr;
use crate::written::Written;
use acl::Secret;

#[derive(Debug, Clone)]
pub struct Runtime {
    pub dev_mode: bool,
    pub server: bool,
    pub bootstrap: bool,
    pub bootstrap_expect: i64,
    pub datacenter: String,
    pub primary_datacenter: String,
    pub node_name: String,
    pub node_id: String,
    pub node_meta: BTreeMap<String, String>,
    pub locality: Option<Locality>,
    /// Empty in development mode.
    pub data_dir: PathBuf,
    pub pid_file: String,

    pub addresses: Addresses,
    pub ports: Ports,
    pub unix_sockets: UnixSockets,
    pub acl: Acl,
    pub agent_checks: AgentChecks,
    pub autopilot: Autopilot,
    pub dns: Dns,
    pub gossip_lan: Gossip,
    pub gossip_wan: Gossip,
    pub serf_lan_allowed_cidrs: Option<Vec<Cidr>>,
    pub serf_wan_allowed_cidrs: Option<Vec<Cidr>>,
    pub encrypt: Encrypt,
    pub http: Http,
    pub joining: Joining,
    pub limits: Limits,
    pub logging: Logging,
    pub performance: Performance,
    pub raft: Raft,
    pub sync: Sync,
    pub telemetry: Telemetry,
    pub ui: Ui,

    pub check_definitions: Vec<CheckDefinition>,
    pub service_definitions: Vec<ServiceDefinition>,
    /// As written: understood by the watch plans.
    pub watches: Vec<Watch>,

    pub default_query_time: GoDuration,
    pub max_query_time: GoDuration,
    pub session_ttl_min: GoDuration,
    pub discovery_max_stale: GoDuration,
    pub leave_on_terminate: bool,
    pub skip_leave_on_interrupt: bool,
    pub rejoin_after_leave: bool,
    pub server_rejoin_age_max: GoDuration,
    pub translate_wan_addrs: bool,
    pub disable_coordinates: bool,
    pub disable_host_node_id: bool,
    pub disable_keyring_file: bool,
    pub disable_http_unprintable_char_filter: bool,
    pub disable_remote_exec: bool,
    pub disable_update_check: bool,
    pub disable_anonymous_signature: bool,
    pub enable_debug: bool,

    /// The sources that all of this came from, for what only `/v1/agent/self` shows.
    pub merged: Written,
}

/// Where a face listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Socket(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Addresses {
    pub bind: IpAddr,
    pub advertise_lan: IpAddr,
    pub advertise_wan: IpAddr,
    pub client: Vec<IpAddr>,
    pub dns: Vec<Listen>,
    pub http: Vec<Listen>,
    pub https: Vec<Listen>,
    pub grpc: Vec<Listen>,
    pub grpc_tls: Vec<Listen>,
    pub rpc_bind: SocketAddr,
    pub rpc_advertise: SocketAddr,
    pub serf_lan_bind: SocketAddr,
    pub serf_lan_advertise: SocketAddr,
    pub serf_wan_bind: Option<SocketAddr>,
    pub serf_wan_advertise: Option<SocketAddr>,
    /// `lan`, `wan` and their kin, as the node is registered with.
    pub tagged: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub dns: Option<u16>,
    pub http: Option<u16>,
    pub https: Option<u16>,
    pub grpc: Option<u16>,
    pub grpc_tls: Option<u16>,
    pub server: u16,
    pub serf_lan: u16,
    pub serf_wan: Option<u16>,
    pub sidecar_min: i64,
    pub sidecar_max: i64,
    pub expose_min: i64,
    pub expose_max: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnixSockets {
    pub user: String,
    pub group: String,
    pub mode: String,
}

#[derive(Debug, Clone)]
pub struct Acl {
    pub enabled: bool,
    pub default_policy: String,
    pub down_policy: String,
    pub token_ttl: GoDuration,
    pub policy_ttl: GoDuration,
    pub role_ttl: GoDuration,
    pub enable_key_list_policy: bool,
    pub enable_token_persistence: bool,
    pub enable_token_replication: bool,
    pub tokens: AclTokens,
}

#[derive(Debug, Clone, Default)]
pub struct AclTokens {
    pub initial_management: Secret,
    pub replication: Secret,
    pub agent_recovery: Secret,
    pub default: Secret,
    pub agent: Secret,
    pub config_file_registration: Secret,
    pub dns: Secret,
}

/// Settings of the agent that concern its checks.
#[derive(Debug, Clone, Copy)]
pub struct AgentChecks {
    pub update_interval: GoDuration,
    pub deregister_interval_min: GoDuration,
    pub reap_interval: GoDuration,
    pub output_max_size: i64,
    pub discard_output: bool,
    pub enable_local_scripts: bool,
    pub enable_remote_scripts: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Autopilot {
    pub cleanup_dead_servers: bool,
    pub last_contact_threshold: GoDuration,
    pub max_trailing_logs: i64,
    pub min_quorum: u64,
    pub server_stabilization_time: GoDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecursorStrategy {
    Sequential,
    Random,
}

#[derive(Debug, Clone)]
pub struct Dns {
    pub domain: String,
    pub alt_domain: String,
    pub allow_stale: bool,
    pub max_stale: GoDuration,
    pub a_record_limit: i64,
    pub udp_answer_limit: i64,
    pub disable_compression: bool,
    pub enable_truncate: bool,
    pub node_ttl: GoDuration,
    /// By service name; `*` and `prefix*` are wildcards.
    pub service_ttl: BTreeMap<String, GoDuration>,
    pub only_passing: bool,
    pub node_meta_txt: bool,
    pub recursors: Vec<String>,
    pub recursor_strategy: RecursorStrategy,
    pub recursor_timeout: GoDuration,
    pub soa: Soa,
    pub use_cache: bool,
    pub cache_max_age: GoDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub min_ttl: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Gossip {
    pub gossip_nodes: i64,
    pub gossip_interval: GoDuration,
    pub probe_interval: GoDuration,
    pub probe_timeout: GoDuration,
    pub suspicion_mult: i64,
    pub retransmit_mult: i64,
    pub reconnect_timeout: GoDuration,
}

#[derive(Debug, Clone)]
pub struct Encrypt {
    pub key: Secret,
    pub verify_incoming: bool,
    pub verify_outgoing: bool,
}

#[derive(Debug, Clone)]
pub struct Http {
    /// Prefixes of paths that are refused.
    pub block_endpoints: Vec<String>,
    /// Networks that may use writing methods; empty for all.
    pub allow_write_from: Vec<Cidr>,
    pub response_headers: BTreeMap<String, String>,
    pub use_cache: bool,
    /// 0 for the server's own limit.
    pub max_header_bytes: i64,
}

#[derive(Debug, Clone)]
pub struct Joining {
    pub lan: Join,
    pub wan: Join,
}

#[derive(Clone)]
pub struct Join {
    /// Cloud join strings (`provider=…`) may hold secrets, so they are cleaned before they are printed.
    pub addresses: Vec<String>,
    pub interval: GoDuration,
    /// 0 for no limit.
    pub max_attempts: i64,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("addresses", &without_secrets(&self.addresses))
            .field("interval", &self.interval)
            .field("max_attempts", &self.max_attempts)
            .finish()
    }
}

/// Join addresses with the values of keys, tokens and secrets of cloud join strings hidden.
pub(crate) fn without_secrets(addresses: &[String]) -> Vec<String> {
    let clean = |word: &str| match word.split_once('=') {
        Some((key, _)) if ["key", "token", "secret"].iter().any(|part| key.to_lowercase().contains(part)) => {
            format!("{key}=hidden")
        }
        _ => word.to_owned(),
    };
    addresses
        .iter()
        .map(|address| {
            if address.contains("provider=") {
                address.split(' ').map(clean).collect::<Vec<_>>().join(" ")
            } else {
                address.clone()
            }
        })
        .collect()
}

/// A watch as written. It may carry a token, so printing it shows only which parameters it has.
#[derive(Clone, PartialEq)]
pub struct Watch {
    pub parameters: Map<String, Value>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.parameters.keys()).finish()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub http_max_conns_per_client: i64,
    pub rpc_client_timeout: GoDuration,
    pub rpc_handshake_timeout: GoDuration,
    pub rpc_max_burst: i64,
    pub rpc_max_conns_per_client: i64,
    pub rpc_rate: Option<f64>,
    pub kv_max_value_size: u64,
    pub txn_max_req_len: u64,
}

#[derive(Debug, Clone)]
pub struct Logging {
    pub level: String,
    pub json: bool,
    pub file: String,
    pub rotate_duration: GoDuration,
    pub rotate_bytes: i64,
    pub rotate_max_files: i64,
    pub enable_syslog: bool,
    pub syslog_facility: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Performance {
    pub leave_drain_time: GoDuration,
    pub raft_multiplier: i64,
    pub rpc_hold_timeout: GoDuration,
}

#[derive(Debug, Clone, Copy)]
pub struct Raft {
    /// These three are already multiplied by `performance.raft_multiplier`.
    pub election_timeout: GoDuration,
    pub heartbeat_timeout: GoDuration,
    pub leader_lease_timeout: GoDuration,
    pub protocol: i64,
    pub snapshot_threshold: i64,
    pub snapshot_interval: GoDuration,
    pub trailing_logs: i64,
    pub prevote_disabled: bool,
}

/// Anti-entropy, coordinates and server health: periods that are nobody's to change.
#[derive(Debug, Clone, Copy)]
pub struct Sync {
    pub ae_interval: GoDuration,
    pub coordinate_interval_min: GoDuration,
    pub coordinate_rate_target: f64,
    pub coordinate_update_batch_size: i64,
    pub coordinate_update_max_batches: i64,
    pub coordinate_update_period: GoDuration,
    pub server_health_interval: GoDuration,
}

#[derive(Debug, Clone)]
pub struct Telemetry {
    pub metrics_prefix: String,
    pub disable_hostname: bool,
    pub filter_default: bool,
    pub allowed_prefixes: Vec<String>,
    pub blocked_prefixes: Vec<String>,
    /// Prometheus is off at zero.
    pub prometheus_retention_time: GoDuration,
    pub statsd_address: String,
    pub statsite_address: String,
    pub dogstatsd_address: String,
    pub dogstatsd_tags: Vec<String>,
    pub retry_failed_connection: bool,
}

#[derive(Debug, Clone)]
pub struct Ui {
    pub enabled: bool,
    pub dir: String,
    /// Starts and ends with a slash.
    pub content_path: String,
}
