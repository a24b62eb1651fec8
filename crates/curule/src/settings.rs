//! From the configuration as meant to what each crate needs to know.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime};

use agent::{logbook, telemetry};
use api::http::SocketOwner;
use config::host::Cidr;
use config::runtime::{Gossip, Join, RecursorStrategy, Runtime, UnixSockets};
use gossip::memberlist;
use gossip::serf::consul::{self, AgentTags, PoolKind, ServerTags};
use http::header::{HeaderName, HeaderValue};
use net::rpc::{Pool, PoolLimits};
use server::rpc::Far;
use state::Limits;
use state::catalog::Locality;
use wire::duration::GoDuration;

use crate::{BUILD_DATE, COMPATIBLE_VERSION};

/// Request heads are held to this unless `http_config.max_header_bytes` says otherwise (Go's default).
const HEADER_BYTES: usize = 1 << 20;

/// Where everything of this agent lives; `None` for -dev agents.
pub fn data_dir(runtime: &Runtime) -> Option<PathBuf> {
    (!runtime.dev_mode).then(|| runtime.data_dir.clone())
}

pub fn server(runtime: &Runtime, node_id: &str) -> server::Config {
    server::Config {
        node_name: runtime.node_name.clone(),
        node_id: node_id.to_owned(),
        datacenter: runtime.datacenter.clone(),
        address: runtime.addresses.rpc_advertise.to_string(),
        data_dir: data_dir(runtime),
        snapshot_threshold: number(runtime.raft.snapshot_threshold),
        snapshot_interval: runtime.raft.snapshot_interval.to_std(),
        trailing_logs: number(runtime.raft.trailing_logs),
        limits: limits(runtime),
        raft_multiplier: u32::try_from(runtime.performance.raft_multiplier).unwrap_or(1),
        bootstrap: runtime.dev_mode || runtime.bootstrap || runtime.bootstrap_expect == 1,
    }
}

/// Compat: an unset `session_ttl_min` is shown as none and means the default.
fn limits(runtime: &Runtime) -> Limits {
    match runtime.session_ttl_min.nanos() {
        0 => Limits::default(),
        session_ttl_min_ns => Limits { session_ttl_min_ns },
    }
}

/// How other servers are called.
pub fn far(runtime: &Runtime) -> Far {
    let limits = PoolLimits { source: Some(runtime.addresses.bind), ..PoolLimits::default() };
    let limits = if runtime.addresses.bind.is_unspecified() { PoolLimits::default() } else { limits };
    Far {
        pool: Pool::new(limits),
        datacenter: runtime.datacenter.as_str().into(),
        hold: runtime.performance.rpc_hold_timeout.to_std(),
    }
}

/// Bounds of the RPC port.
pub fn rpc_limits(runtime: &Runtime) -> net::rpc::Limits {
    net::rpc::Limits {
        handshake_timeout: runtime.limits.rpc_handshake_timeout.to_std(),
        connections_per_client: usize::try_from(runtime.limits.rpc_max_conns_per_client).unwrap_or(0),
        ..net::rpc::Limits::default()
    }
}

/// How coordinates are written to the catalog.
pub fn coordinates(runtime: &Runtime) -> agent::CoordinateBatches {
    let count = |configured| usize::try_from(configured).unwrap_or(0).max(1);
    agent::CoordinateBatches {
        period: runtime.sync.coordinate_update_period.to_std(),
        size: count(runtime.sync.coordinate_update_batch_size),
        count: count(runtime.sync.coordinate_update_max_batches),
    }
}

fn number(configured: i64) -> u64 {
    u64::try_from(configured).unwrap_or(0)
}

fn locality(runtime: &Runtime) -> Option<Locality> {
    let locality = runtime.locality.as_ref()?;
    Some(Locality { region: locality.region.clone(), zone: locality.zone.clone() })
}

/// Metadata that every node of this version carries, and the configured one.
fn node_meta(runtime: &Runtime) -> BTreeMap<String, String> {
    let mut meta = runtime.node_meta.clone();
    meta.insert("consul-network-segment".to_owned(), String::new());
    meta.insert("consul-version".to_owned(), COMPATIBLE_VERSION.to_owned());
    meta
}

pub fn agent(runtime: &Runtime, node_id: &str) -> agent::Settings {
    let checks = &runtime.agent_checks;
    agent::Settings {
        datacenter: runtime.datacenter.clone(),
        node_name: runtime.node_name.clone(),
        node_id: node_id.to_owned(),
        advertise_address: runtime.addresses.advertise_lan.to_string(),
        tagged_addresses: runtime.addresses.tagged.clone(),
        node_meta: node_meta(runtime),
        locality: locality(runtime),
        data_dir: data_dir(runtime),
        sync_interval: runtime.sync.ae_interval.to_std(),
        check_update_interval: checks.update_interval.to_std(),
        check_output_max: usize::try_from(checks.output_max_size).unwrap_or(4096),
        discard_check_output: checks.discard_output,
        check_deregister_interval_min: checks.deregister_interval_min.to_std(),
        check_reap_interval: checks.reap_interval.to_std(),
        enable_local_script_checks: checks.enable_local_scripts,
        enable_remote_script_checks: checks.enable_remote_scripts,
        disable_coordinates: runtime.disable_coordinates,
        central_service_config: runtime.merged.bool("enable_central_service_config").unwrap_or(true),
        sidecar_ports: runtime.ports.sidecar_min..=runtime.ports.sidecar_max,
    }
}

/// The log; fails on an unknown level, in the reference's words.
pub fn logbook(runtime: &Runtime) -> Result<logbook::Config, String> {
    let written = &runtime.logging;
    let level = logbook::level_of(&written.level).ok_or_else(|| {
        format!("Invalid log level: {}. Valid log levels are: [TRACE DEBUG INFO WARN ERR ERROR]", written.level)
    })?;
    let file = (!written.file.is_empty()).then(|| logbook::FileConfig {
        path: PathBuf::from(&written.file),
        rotate_after: written.rotate_duration.to_std(),
        rotate_bytes: u64::try_from(written.rotate_bytes).unwrap_or(0),
        keep: written.rotate_max_files,
    });
    Ok(logbook::Config { level, json: written.json, file, held: true })
}

pub fn telemetry(runtime: &Runtime) -> telemetry::Config {
    let written = &runtime.telemetry;
    let host = if written.disable_hostname { None } else { nix::unistd::gethostname().ok() };
    telemetry::Config {
        metrics_prefix: written.metrics_prefix.clone(),
        hostname: host.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        filter: telemetry::Filter {
            allowed_prefixes: written.allowed_prefixes.clone(),
            blocked_prefixes: written.blocked_prefixes.clone(),
            default: written.filter_default,
        },
        prometheus_retention: written.prometheus_retention_time.to_std(),
    }
}

/// How this agent takes part in gossip.
pub fn gossip(runtime: &Runtime, node_id: &str) -> agent::GossipSettings {
    let addresses = &runtime.addresses;
    let rejoin_after_leave = runtime.rejoin_after_leave;
    let coordinates = !runtime.disable_coordinates;
    let lan = memberlist::Config::lan(&runtime.node_name, addresses.serf_lan_advertise);
    let lan = agent::PoolSettings {
        kind: PoolKind::Lan,
        name: runtime.node_name.clone(),
        bind: addresses.serf_lan_bind,
        reconnect_timeout: reconnect_timeout(&runtime.gossip_lan),
        rejoin_after_leave,
        coordinates,
        memberlist: pace(lan, &runtime.gossip_lan, runtime.serf_lan_allowed_cidrs.as_deref()),
        join: joining(&runtime.joining.lan),
    };
    let wan = match (addresses.serf_wan_bind, addresses.serf_wan_advertise) {
        (Some(bind), Some(advertise)) if runtime.server => {
            let name = consul::wan_name(&runtime.node_name, &runtime.datacenter);
            let wan = memberlist::Config::wan(&name, advertise);
            Some(agent::PoolSettings {
                kind: PoolKind::Wan,
                name,
                bind,
                reconnect_timeout: reconnect_timeout(&runtime.gossip_wan),
                rejoin_after_leave,
                coordinates,
                memberlist: pace(wan, &runtime.gossip_wan, runtime.serf_wan_allowed_cidrs.as_deref()),
                join: joining(&runtime.joining.wan),
            })
        }
        _ => None,
    };
    let key = runtime.encrypt.key.expose();
    agent::GossipSettings {
        server: runtime.server.then(|| ServerTags {
            rpc_port: runtime.ports.server,
            wan_serf_port: wan.as_ref().and(runtime.ports.serf_wan),
            // Nothing listens for gRPC yet.
            grpc_port: None,
            grpc_tls_port: None,
            raft_protocol: RAFT_PROTOCOL,
            bootstrap: runtime.bootstrap,
            bootstrap_expect: u32::try_from(runtime.bootstrap_expect).unwrap_or(0),
            read_replica: false,
            use_tls: false,
            acls_enabled: false,
        }),
        lan,
        wan,
        tags: AgentTags {
            datacenter: runtime.datacenter.clone(),
            segment: String::new(),
            node_id: node_id.to_owned(),
            protocol: CONSUL_PROTOCOL,
            build: format!("{COMPATIBLE_VERSION}:"),
        },
        encrypt: (!key.is_empty()).then(|| key.to_owned()),
        verify_incoming: runtime.encrypt.verify_incoming,
        verify_outgoing: runtime.encrypt.verify_outgoing,
        keyring_file: !runtime.disable_keyring_file,
        data_dir: data_dir(runtime),
    }
}

/// What servers say that they speak.
const RAFT_PROTOCOL: u8 = 3;
const CONSUL_PROTOCOL: u8 = 2;

fn pace(profile: memberlist::Config, written: &Gossip, networks: Option<&[Cidr]>) -> memberlist::Config {
    let count = |written: i64, default: u32| u32::try_from(written).unwrap_or(default);
    memberlist::Config {
        gossip_nodes: usize::try_from(written.gossip_nodes).unwrap_or(profile.gossip_nodes),
        gossip_interval: written.gossip_interval.to_std(),
        probe_interval: written.probe_interval.to_std(),
        probe_timeout: written.probe_timeout.to_std(),
        suspicion_mult: count(written.suspicion_mult, profile.suspicion_mult),
        retransmit_mult: count(written.retransmit_mult, profile.retransmit_mult),
        dead_node_reclaim_time: DEAD_NODE_RECLAIM,
        allowed_networks: networks
            .unwrap_or_default()
            .iter()
            .map(|cidr| memberlist::Network { base: cidr.network, prefix: cidr.prefix_length })
            .collect(),
        ..profile
    }
}

/// Compat: an unset `reconnect_timeout` is shown as zero and means the default; a negative one is over at once.
fn reconnect_timeout(written: &Gossip) -> Option<Duration> {
    (written.reconnect_timeout != GoDuration(0)).then(|| written.reconnect_timeout.to_std())
}

/// After so long a member that was lost may come back at another address (Consul's choice).
const DEAD_NODE_RECLAIM: Duration = Duration::from_secs(30);

fn joining(written: &Join) -> agent::JoinSettings {
    agent::JoinSettings {
        addresses: written.addresses.clone(),
        interval: written.interval.to_std(),
        max_attempts: u64::try_from(written.max_attempts).unwrap_or(0),
    }
}

pub fn api(runtime: &Runtime, node_id: &str, started: SystemTime) -> api::Settings {
    let http = &runtime.http;
    let networks = http.allow_write_from.iter();
    api::Settings {
        datacenter: runtime.datacenter.clone(),
        primary_datacenter: runtime.primary_datacenter.clone(),
        node_name: runtime.node_name.clone(),
        node_id: node_id.to_owned(),
        bootstrap: runtime.bootstrap,
        version: COMPATIBLE_VERSION.to_owned(),
        build_date: BUILD_DATE.to_owned(),
        started,
        is_dev: runtime.dev_mode,
        default_policy: if runtime.acl.default_policy == "deny" { "deny" } else { "allow" },
        key_list_policy: runtime.acl.enable_key_list_policy,
        kv_max_value_size: size(runtime.limits.kv_max_value_size),
        txn_max_req_len: size(runtime.limits.txn_max_req_len),
        printable_paths_only: !runtime.disable_http_unprintable_char_filter,
        translate_wan_addrs: runtime.translate_wan_addrs,
        block_endpoints: http.block_endpoints.clone(),
        response_headers: http
            .response_headers
            .iter()
            .filter_map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                Some((name, HeaderValue::from_str(value).ok()?))
            })
            .collect(),
        allow_write_http_from: networks
            .filter_map(|cidr| api::http::Network::parse(&format!("{}/{}", cidr.network, cidr.prefix_length)))
            .collect(),
        use_cache: http.use_cache,
        discovery_max_stale: runtime.discovery_max_stale.to_std(),
        // The page itself is not built yet, so nothing is said to be there.
        ui_path: None,
        disable_coordinates: runtime.disable_coordinates,
        max_conns_per_client: Arc::new(AtomicUsize::new(max_conns(runtime))),
        max_header_bytes: match usize::try_from(http.max_header_bytes) {
            Ok(bytes) if bytes > 0 => bytes.max(8192),
            _ => HEADER_BYTES,
        },
    }
}

/// Domains and resolvers were read once when the configuration was checked; what cannot be read is an error.
pub fn dns(runtime: &Runtime) -> Result<dns::Settings, dns::BadAddress> {
    let dns = &runtime.dns;
    let seconds = |span: GoDuration| u32::try_from(span.to_std().as_secs()).unwrap_or(u32::MAX);
    let alt_domain = dns.alt_domain.trim_matches('.');
    Ok(dns::Settings {
        domain: dns::domain(&dns.domain)?,
        alt_domain: if alt_domain.is_empty() { None } else { Some(dns::domain(alt_domain)?) },
        only_passing: dns.only_passing,
        node_ttl_s: seconds(dns.node_ttl),
        service_ttl: dns::ServiceTtls::new(dns.service_ttl.iter().map(|(name, ttl)| (name.clone(), ttl.to_std()))),
        enable_truncate: dns.enable_truncate,
        disable_compression: dns.disable_compression,
        udp_answer_limit: usize::try_from(dns.udp_answer_limit).unwrap_or(0),
        a_record_limit: usize::try_from(dns.a_record_limit).unwrap_or(0),
        enable_additional_node_meta_txt: dns.node_meta_txt,
        soa: dns::Soa {
            refresh: dns.soa.refresh,
            retry: dns.soa.retry,
            expire: dns.soa.expire,
            min_ttl: dns.soa.min_ttl,
        },
        recursors: dns.recursors.iter().map(|text| dns::recursor_address(text)).collect::<Result<_, _>>()?,
        recursor_strategy: match dns.recursor_strategy {
            RecursorStrategy::Random => dns::RecursorStrategy::Random,
            RecursorStrategy::Sequential => dns::RecursorStrategy::Sequential,
        },
        recursor_timeout: dns.recursor_timeout.to_std(),
        ..dns::Settings::new(&runtime.datacenter, &runtime.node_name)
    })
}

/// `limits.http_max_conns_per_client`, which may change with a reload.
pub fn max_conns(runtime: &Runtime) -> usize {
    usize::try_from(runtime.limits.http_max_conns_per_client).unwrap_or(0)
}

fn size(configured: u64) -> usize {
    usize::try_from(configured).unwrap_or(usize::MAX)
}

/// Whose the unix sockets are. A user may be named, a group only numbered, as in the reference.
pub fn socket_owner(written: &UnixSockets) -> Result<SocketOwner, String> {
    let UnixSockets { user, group, mode } = written;
    let user = match user.parse() {
        _ if user.is_empty() => None,
        Ok(number) => Some(number),
        Err(_) => match nix::unistd::User::from_name(user) {
            Ok(Some(found)) => Some(found.uid.as_raw()),
            Ok(None) => return Err(format!("failed to look up user {user}: user: unknown user {user}")),
            Err(error) => return Err(format!("failed to look up user {user}: {error}")),
        },
    };
    let group = match group.parse() {
        _ if group.is_empty() => None,
        Ok(number) => Some(number),
        Err(_) => return Err(format!("invalid group specified: {group}")),
    };
    let mode = match u32::from_str_radix(mode, 8) {
        _ if mode.is_empty() => None,
        Ok(bits) => Some(bits),
        // Compat: the text does not show what was written.
        Err(_) => return Err("invalid mode specified: 0".to_owned()),
    };
    Ok(SocketOwner { user, group, mode })
}

#[cfg(test)]
mod tests {
    use api::http::SocketOwner;
    use std::time::Duration;

    use config::runtime::{Gossip, UnixSockets};
    use wire::duration::GoDuration;

    use super::{reconnect_timeout, socket_owner};

    fn read(user: &str, group: &str, mode: &str) -> Result<SocketOwner, String> {
        socket_owner(&UnixSockets { user: user.to_owned(), group: group.to_owned(), mode: mode.to_owned() })
    }

    #[test]
    fn sockets_are_given_to_whom_the_configuration_names() {
        assert_eq!(read("", "", ""), Ok(SocketOwner::default()));
        let owner = SocketOwner { user: Some(0), group: Some(7), mode: Some(0o600) };
        assert_eq!(read("root", "7", "600"), Ok(owner));
        assert_eq!(read("0", "7", "0600"), Ok(owner));
        let unknown = "failed to look up user no-such-user: user: unknown user no-such-user";
        assert_eq!(read("no-such-user", "", ""), Err(unknown.to_owned()));
        assert_eq!(read("", "root", ""), Err("invalid group specified: root".to_owned()));
        assert_eq!(read("", "", "rw"), Err("invalid mode specified: 0".to_owned()));
    }

    #[test]
    fn failed_members_are_remembered_for_the_usual_time_unless_another_is_written() {
        let written = |text: &str| {
            let zero = GoDuration(0);
            reconnect_timeout(&Gossip {
                gossip_nodes: 0,
                gossip_interval: zero,
                probe_interval: zero,
                probe_timeout: zero,
                suspicion_mult: 0,
                retransmit_mult: 0,
                reconnect_timeout: GoDuration::parse(text).expect("it is a duration"),
            })
        };
        assert_eq!(written("0s"), None);
        assert_eq!(written("8h"), Some(Duration::from_secs(8 * 3600)));
        assert_eq!(written("-1s"), Some(Duration::ZERO));
    }
}
