//! This agent as a process: what it is, how it is configured, reload, leave, maintenance.

use std::collections::{BTreeMap, BTreeSet};

use acl::Access;
use serde::Serialize;
use state::coordinate::Coord;
use wire::duration::GoDuration;

use super::members;
use crate::Api;
use crate::http::{Asker, Failure, Guard, Reply, Request, Route};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            pattern: "/v1/agent/self",
            methods: &["GET"],
            guard: Guard::Agent(Access::Read),
            handler: |api, req, asker| Box::pin(about(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/version",
            methods: &["GET"],
            guard: Guard::Open("the reference tells everybody its version"),
            handler: |api, req, asker| Box::pin(version(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/maintenance",
            methods: &["PUT"],
            guard: Guard::Node(Access::Write),
            handler: |api, req, asker| Box::pin(maintenance(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/reload",
            methods: &["PUT"],
            guard: Guard::Agent(Access::Write),
            handler: |api, req, asker| Box::pin(reload(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/leave",
            methods: &["PUT"],
            guard: Guard::Agent(Access::Write),
            handler: |api, req, asker| Box::pin(leave(api, req, asker)),
        },
    ]
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShortConfig<'a> {
    datacenter: &'a str,
    primary_datacenter: &'a str,
    node_name: &'a str,
    #[serde(rename = "NodeID")]
    node_id: &'a str,
    revision: &'a str,
    server: bool,
    version: &'a str,
    build_date: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct About<'a> {
    config: ShortConfig<'a>,
    debug_config: serde_json::Value,
    coord: Option<Coord>,
    member: Option<members::Member>,
    stats: BTreeMap<&'static str, BTreeMap<String, String>>,
    meta: BTreeMap<String, String>,
}

async fn about(api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    let settings = &api.settings;
    Ok(Reply::json(&About {
        config: ShortConfig {
            datacenter: &settings.datacenter,
            primary_datacenter: &settings.primary_datacenter,
            node_name: &settings.node_name,
            node_id: &settings.node_id,
            revision: "",
            server: api.cluster.server().is_some(),
            version: &settings.version,
            build_date: &settings.build_date,
        },
        debug_config: (api.hooks.debug_config)(),
        coord: api.agent.own_coordinate(false).await.filter(|_| !settings.disable_coordinates),
        member: members::own(api),
        stats: stats(api).await,
        meta: api.agent.node_meta(),
    }))
}

async fn stats(api: &Api) -> BTreeMap<&'static str, BTreeMap<String, String>> {
    let owned =
        |figures: BTreeMap<&str, String>| figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
    let mut stats: BTreeMap<_, _> =
        process_stats(api).into_iter().map(|(part, figures)| (part, owned(figures))).collect();
    for (part, wan) in [("serf_lan", false), ("serf_wan", true)] {
        if let Some(figures) = api.agent.pool_stats(wan).await {
            stats.insert(part, figures);
        }
    }
    stats
}

/// In how many datacenters servers are known, this one included.
fn known_datacenters(api: &Api) -> usize {
    /// A member that went away for good.
    const LEFT: u8 = 3;
    let servers = api.agent.members(true).unwrap_or_default();
    let mut datacenters: BTreeSet<&str> = servers
        .iter()
        .filter(|server| server.status != LEFT)
        .filter_map(|server| server.tags.get("dc"))
        .map(String::as_str)
        .collect();
    datacenters.insert(&api.settings.datacenter);
    datacenters.len()
}

/// The figures of a server, or of an agent that asks servers.
fn server_stats(api: &Api) -> Vec<(&'static str, BTreeMap<&'static str, String>)> {
    let settings = &api.settings;
    let Some(server) = api.cluster.server() else {
        let known = api.cluster.known_servers().to_string();
        let figures = [("acl", "disabled".to_owned()), ("known_servers", known), ("server", "false".to_owned())];
        return vec![("consul", BTreeMap::from(figures))];
    };
    let raft = server.stats();
    let leader = server.leader_address().unwrap_or_default();
    let configuration: Vec<String> = server
        .raft_configuration()
        .iter()
        .map(|peer| {
            let suffrage = if peer.voter { "Voter" } else { "Nonvoter" };
            format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", peer.id, peer.address)
        })
        .collect();
    let others = configuration.len().saturating_sub(1).to_string();
    let last_contact = server.last_contact();
    let last_contact = if last_contact.is_zero() { "0".to_owned() } else { GoDuration::from(last_contact).to_string() };
    vec![
        (
            "consul",
            BTreeMap::from([
                ("acl", "disabled".to_owned()),
                ("bootstrap", settings.bootstrap.to_string()),
                ("known_datacenters", known_datacenters(api).to_string()),
                ("leader", raft.is_leader.to_string()),
                ("leader_addr", leader),
                ("server", "true".to_owned()),
            ]),
        ),
        (
            "raft",
            BTreeMap::from([
                ("applied_index", raft.applied_index.to_string()),
                ("commit_index", raft.commit_index.to_string()),
                ("fsm_pending", "0".to_owned()),
                ("last_contact", last_contact),
                ("last_log_index", raft.last_log_index.to_string()),
                ("last_log_term", raft.last_log_term.to_string()),
                ("last_snapshot_index", raft.last_snapshot_index.to_string()),
                ("last_snapshot_term", raft.last_snapshot_term.to_string()),
                ("latest_configuration", format!("[{}]", configuration.join(" "))),
                ("latest_configuration_index", "0".to_owned()),
                ("num_peers", others),
                ("protocol_version", "3".to_owned()),
                ("protocol_version_max", "3".to_owned()),
                ("protocol_version_min", "0".to_owned()),
                ("snapshot_version_max", "1".to_owned()),
                ("snapshot_version_min", "0".to_owned()),
                ("state", format!("{:?}", raft.role)),
                ("term", raft.term.to_string()),
            ]),
        ),
    ]
}

/// The figures of everything but gossip.
fn process_stats(api: &Api) -> BTreeMap<&'static str, BTreeMap<&'static str, String>> {
    let settings = &api.settings;
    let (services, checks) = api.agent.with_local(|local| (local.services().count(), local.checks().count()));
    let counts = api.agent.check_counts();
    let version = settings.version.clone();
    let mut stats = BTreeMap::from([
        (
            "agent",
            BTreeMap::from([
                ("check_monitors", counts.scripts.to_string()),
                ("check_ttls", counts.ttls.to_string()),
                ("checks", checks.to_string()),
                ("services", services.to_string()),
            ]),
        ),
        (
            "build",
            BTreeMap::from([
                ("prerelease", String::new()),
                ("revision", String::new()),
                ("version", version),
                ("version_metadata", String::new()),
            ]),
        ),
        (
            "runtime",
            BTreeMap::from([
                ("arch", arch().to_owned()),
                ("cpu_count", cpus().to_string()),
                ("goroutines", tokio::runtime::Handle::current().metrics().num_alive_tasks().to_string()),
                ("max_procs", tokio::runtime::Handle::current().metrics().num_workers().to_string()),
                ("os", std::env::consts::OS.to_owned()),
                ("version", concat!("rust ", env!("CARGO_PKG_RUST_VERSION")).to_owned()),
            ]),
        ),
    ]);
    stats.extend(server_stats(api));
    stats
}

/// The architecture in Go's words, which scripts compare.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[derive(Serialize)]
struct Version<'a> {
    #[serde(rename = "SHA")]
    sha: &'a str,
    #[serde(rename = "BuildDate")]
    build_date: &'a str,
    #[serde(rename = "HumanVersion")]
    human_version: &'a str,
    #[serde(rename = "FIPS")]
    fips: &'a str,
}

async fn version(api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    let settings = &api.settings;
    Ok(Reply::json(&Version { sha: "", build_date: &settings.build_date, human_version: &settings.version, fips: "" }))
}

/// `?enable`, which maintenance routes need.
pub(super) fn enable(req: &Request) -> Result<bool, Failure> {
    let text = req.param("enable").ok_or_else(|| Failure::bad_request("Missing value for enable"))?;
    crate::http::parse_bool(text).ok_or_else(|| Failure::bad_request(format!("Invalid value for enable: {text:?}")))
}

async fn maintenance(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    if enable(req)? {
        api.agent.enter_node_maintenance(req.param("reason").unwrap_or(""), &asker.token);
    } else {
        api.agent.leave_node_maintenance();
    }
    api.agent.synced().await;
    Ok(Reply::empty())
}

async fn reload(api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    (api.hooks.reload)().await.map_err(Failure::internal)?;
    Ok(Reply::empty())
}

async fn leave(api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    (api.hooks.leave)();
    Ok(Reply::empty())
}
