//! The configuration as `/v1/agent/self` shows it under `DebugConfig`.
//!
//! Always true: names and forms are the reference's (durations as text, lists never null, ports `-1` when off); secrets
//! show as `hidden`. What the reference shows and Curule does not know is absent or the reference's own default.

mod definitions;
mod straight;

use std::net::SocketAddr;

use serde_json::{Map, Value, json};
use wire::duration::GoDuration;

use crate::runtime::{Listen, RecursorStrategy, Runtime, without_secrets};

/// What Go's `rate.Inf` looks like in JSON.
const NO_LIMIT: f64 = f64::MAX;

/// The map. Version, node ID and build date are the caller's to add.
pub fn debug_config(runtime: &Runtime) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in straight::shown(runtime) {
        put(&mut map, name, value);
    }
    for (name, value) in resolved(runtime) {
        put(&mut map, name, value);
    }
    for section in ["GRPC", "HTTPS", "InternalRPC"] {
        put(&mut map, &format!("TLS.{section}"), tls(runtime, section));
    }
    map
}

/// A float the way Go prints it: without a fraction if it has none.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT { json!(value as i64) } else { json!(value) }
}

fn put(map: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            map.insert(name.to_owned(), value);
        }
        Some((outer, inner)) => {
            let entry = map.entry(outer.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = entry {
                put(map, inner, value);
            }
        }
    }
}

/// Keys whose value was worked out.
fn resolved(runtime: &Runtime) -> Vec<(&'static str, Value)> {
    let addresses = &runtime.addresses;
    let ports = &runtime.ports;
    let port = |port: Option<u16>| json!(port.map_or(-1, i64::from));
    let duration = |span: GoDuration| json!(span.to_string());
    let tcp = |socket: SocketAddr| json!(format!("tcp://{socket}"));
    let maybe_tcp = |socket: Option<SocketAddr>| socket.map_or(json!(""), tcp);
    let mut dns: Vec<String> = listening(&addresses.dns);
    dns.extend(addresses.dns.iter().filter_map(|listen| match listen {
        Listen::Socket(socket) => Some(format!("udp://{socket}")),
        Listen::Unix(_) => None,
    }));
    let service_ttl: Map<String, Value> =
        runtime.dns.service_ttl.iter().map(|(service, ttl)| (service.clone(), duration(*ttl))).collect();
    let allow_write: Vec<String> = runtime.http.allow_write_from.iter().map(ToString::to_string).collect();
    let mode = match runtime.merged.text("limits.request_limits.mode") {
        Some("permissive") => 1,
        Some("enforcing") => 2,
        _ => 0,
    };
    let strategy = match runtime.dns.recursor_strategy {
        RecursorStrategy::Sequential => "sequential",
        RecursorStrategy::Random => "random",
    };
    let soa = &runtime.dns.soa;
    let locality = runtime.locality.as_ref();
    let segment_mb = runtime.merged.integer("raft_logstore.wal.segment_size_mb").unwrap_or(0);
    vec![
        ("ACLResolverSettings.Datacenter", json!(runtime.datacenter)),
        ("ACLResolverSettings.EnterpriseMeta", json!({})),
        ("ACLResolverSettings.NodeName", json!(runtime.node_name)),
        ("ACLTokens.EnterpriseConfig", json!({})),
        ("AdvertiseAddrLAN", json!(addresses.advertise_lan)),
        ("AdvertiseAddrWAN", json!(addresses.advertise_wan)),
        ("AllowWriteHTTPFrom", json!(allow_write)),
        ("AutoReloadConfigCoalesceInterval", json!("1s")),
        ("BindAddr", json!(addresses.bind)),
        ("Bootstrap", json!(runtime.bootstrap)),
        ("BootstrapExpect", json!(runtime.bootstrap_expect)),
        ("Cache.EntryFetchMaxBurst", json!(runtime.merged.integer("cache.entry_fetch_max_burst").unwrap_or(2))),
        (
            "Cache.EntryFetchRate",
            number(runtime.merged.float("cache.entry_fetch_rate").filter(|rate| *rate >= 0.0).unwrap_or(NO_LIMIT)),
        ),
        ("Cache.Logger", Value::Null),
        ("Checks", runtime.check_definitions.iter().map(definitions::check).collect()),
        ("ClientAddrs", json!(addresses.client)),
        ("ConfigEntryBootstrap", json!(runtime.merged.root.frees("config_entries.bootstrap"))),
        // Not shown, since it can hold keys.
        ("ConnectCAConfig", json!({})),
        ("ConnectSidecarMaxPort", json!(ports.sidecar_max)),
        ("ConnectSidecarMinPort", json!(ports.sidecar_min)),
        ("ConsulRaftElectionTimeout", duration(runtime.raft.election_timeout)),
        ("ConsulRaftHeartbeatTimeout", duration(runtime.raft.heartbeat_timeout)),
        ("ConsulRaftLeaderLeaseTimeout", duration(runtime.raft.leader_lease_timeout)),
        ("DNSAddrs", json!(dns)),
        ("DNSNodeMetaTXT", json!(runtime.dns.node_meta_txt)),
        ("DNSPort", port(ports.dns)),
        ("DNSRecursorStrategy", json!(strategy)),
        ("DNSRecursors", json!(runtime.dns.recursors)),
        ("DNSSOA", json!({"Expire": soa.expire, "Minttl": soa.min_ttl, "Refresh": soa.refresh, "Retry": soa.retry})),
        ("DNSServiceTTL", Value::Object(service_ttl)),
        ("Datacenter", json!(runtime.datacenter)),
        ("DevMode", json!(runtime.dev_mode)),
        ("EnableLocalScriptChecks", json!(runtime.agent_checks.enable_local_scripts)),
        ("EnterpriseRuntimeConfig", json!({})),
        ("ExposeMaxPort", json!(ports.expose_max)),
        ("ExposeMinPort", json!(ports.expose_min)),
        ("GRPCAddrs", json!(listening(&addresses.grpc))),
        ("GRPCPort", port(ports.grpc)),
        ("GRPCTLSAddrs", json!(listening(&addresses.grpc_tls))),
        ("GRPCTLSPort", port(ports.grpc_tls)),
        ("HTTPAddrs", json!(listening(&addresses.http))),
        ("HTTPPort", port(ports.http)),
        ("HTTPSAddrs", json!(listening(&addresses.https))),
        ("HTTPSPort", port(ports.https)),
        ("HTTPUseCache", json!(runtime.http.use_cache)),
        ("LeaveOnTerm", json!(runtime.leave_on_terminate)),
        ("LocalProxyConfigResyncInterval", json!("30s")),
        (
            "Locality",
            locality.map_or(Value::Null, |locality| json!({"Region": locality.region, "Zone": locality.zone})),
        ),
        ("Logging.Name", json!("")),
        ("NodeID", json!(runtime.node_id)),
        ("NodeName", json!(runtime.node_name)),
        ("PrimaryDatacenter", json!(runtime.primary_datacenter)),
        ("RPCAdvertiseAddr", tcp(addresses.rpc_advertise)),
        ("RPCBindAddr", tcp(addresses.rpc_bind)),
        ("RPCConfig.EnableStreaming", json!(runtime.merged.bool("rpc.enable_streaming").unwrap_or(runtime.server))),
        ("RaftLogStoreConfig.Backend", json!(runtime.merged.text("raft_logstore.backend").unwrap_or("default"))),
        ("RaftLogStoreConfig.WAL.SegmentSize", json!(segment_mb.saturating_mul(1024 * 1024))),
        ("Reporting.License.Enabled", json!(false)),
        ("RequestLimitsMode", json!(mode)),
        ("RetryJoinLAN", json!(without_secrets(&runtime.joining.lan.addresses))),
        ("RetryJoinWAN", json!(without_secrets(&runtime.joining.wan.addresses))),
        ("Segments", json!([])),
        ("SerfAdvertiseAddrLAN", tcp(addresses.serf_lan_advertise)),
        ("SerfAdvertiseAddrWAN", maybe_tcp(addresses.serf_wan_advertise)),
        ("SerfBindAddrLAN", tcp(addresses.serf_lan_bind)),
        ("SerfBindAddrWAN", maybe_tcp(addresses.serf_wan_bind)),
        ("SerfPortLAN", json!(ports.serf_lan)),
        ("SerfPortWAN", port(ports.serf_wan)),
        ("ServerPort", json!(ports.server)),
        ("Services", runtime.service_definitions.iter().map(definitions::service).collect()),
        ("SkipLeaveOnInt", json!(runtime.skip_leave_on_interrupt)),
        ("TLS.AutoTLS", json!(false)),
        ("TLS.Domain", json!(runtime.dns.domain)),
        ("TLS.EnableAgentTLSForChecks", json!(false)),
        ("TLS.NodeName", json!(runtime.node_name)),
        ("TLS.ServerMode", json!(runtime.server)),
        ("TLS.ServerName", json!(runtime.merged.text("server_name").unwrap_or_default())),
        ("TaggedAddresses", json!(addresses.tagged)),
        ("Telemetry.AllowedPrefixes", json!(runtime.telemetry.allowed_prefixes)),
        ("Telemetry.BlockedPrefixes", json!(runtime.telemetry.blocked_prefixes)),
        ("Telemetry.Disable", json!(false)),
        ("Telemetry.PrometheusOpts.CounterDefinitions", json!([])),
        ("Telemetry.PrometheusOpts.GaugeDefinitions", json!([])),
        ("Telemetry.PrometheusOpts.Registerer", Value::Null),
        ("Telemetry.PrometheusOpts.SummaryDefinitions", json!([])),
        ("UIConfig.ContentPath", json!(runtime.ui.content_path)),
        ("UIConfig.Dir", json!(runtime.ui.dir)),
        ("UIConfig.Enabled", json!(runtime.ui.enabled)),
        ("UIConfig.HCPEnabled", json!(false)),
        ("UIConfig.MetricsProxy.AddHeaders", json!([])),
        ("UseStreamingBackend", json!(runtime.merged.bool("use_streaming_backend").unwrap_or(true))),
        // Compat: once the watches run, nothing of their plans is left to show.
        ("Watches", runtime.watches.iter().map(|_| json!({})).collect()),
    ]
}

fn listening(list: &[Listen]) -> Vec<String> {
    list.iter()
        .map(|listen| match listen {
            Listen::Socket(socket) => format!("tcp://{socket}"),
            Listen::Unix(file) => format!("unix://{}", file.display()),
        })
        .collect()
}

/// The TLS settings of one listener, which `tls.defaults` fills up.
fn tls(runtime: &Runtime, section: &str) -> Value {
    let own = match section {
        "GRPC" => "tls.grpc",
        "HTTPS" => "tls.https",
        _ => "tls.internal_rpc",
    };
    let merged = &runtime.merged;
    let text = |key: &str| {
        merged.text(&format!("{own}.{key}")).or_else(|| merged.text(&format!("tls.defaults.{key}"))).unwrap_or_default()
    };
    json!({
        "CAFile": text("ca_file"),
        "CAPath": text("ca_path"),
        "CertFile": text("cert_file"),
        "CipherSuites": [],
        "KeyFile": "hidden",
        "TLSMinVersion": text("tls_min_version"),
        "UseAutoCert": false,
        "VerifyIncoming": false,
        "VerifyOutgoing": false,
        "VerifyServerHostname": false,
    })
}
