//! `/v1/operator`: raft configuration, autopilot, usage; the keys of gossip below.

mod keyring;

use std::collections::BTreeMap;

use acl::{Access, Need, Resource};
use agent::autopilot::ToldServer;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use state::autopilot::{AutopilotGet, AutopilotSetConfigRequest, Config};
use state::catalog::NodesQuery;
use state::usage::{OperatorUsage, ServiceUsage};
use state::{Command, Index, Outcome};
use wire::duration::GoDuration;
use wire::time::GoTime;

use crate::Api;
use crate::http::{
    Asker, BodyMeta, Failure, Guard, Reply, Request, Route, datacenter, decode, parse_uint, parse_uint_error,
    read_options, set_meta,
};

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        keyring::route(),
        Route {
            pattern: "/v1/operator/raft/configuration",
            methods: &["GET"],
            guard: Guard::Operator(Access::Read),
            handler: |api, req, asker| Box::pin(raft_configuration(api, req, asker)),
        },
        Route {
            pattern: "/v1/operator/raft/peer",
            methods: &["DELETE"],
            guard: Guard::Handler("operator:write, once it is known what is asked"),
            handler: |api, req, asker| Box::pin(remove_peer(api, req, asker)),
        },
        Route {
            pattern: "/v1/operator/raft/transfer-leader",
            methods: &["POST"],
            guard: Guard::Operator(Access::Write),
            handler: |api, req, asker| Box::pin(transfer_leader(api, req, asker)),
        },
        Route {
            pattern: "/v1/operator/autopilot/configuration",
            methods: &["GET", "PUT"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(autopilot_configuration(api, req, asker)),
        },
        Route {
            pattern: "/v1/operator/autopilot/health",
            methods: &["GET"],
            guard: Guard::Operator(Access::Read),
            handler: |api, req, asker| Box::pin(autopilot_health(api, req, asker)),
        },
        Route {
            pattern: "/v1/operator/autopilot/state",
            methods: &["GET"],
            guard: Guard::Operator(Access::Read),
            handler: |api, req, asker| Box::pin(autopilot_state(api, req, asker)),
        },
        Route {
            pattern: "/v1/operator/usage",
            methods: &["GET"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(usage(api, req, asker)),
        },
    ]
}

/// `structs.RaftServer`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RaftServer {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    protocol_version: &'static str,
    voter: bool,
    last_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RaftConfiguration {
    servers: Vec<RaftServer>,
    index: u64,
}

async fn raft_configuration(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    read_options(api, req)?;
    datacenter(api, req)?;
    let servers = api.cluster.raft_configuration().await?;
    let names = api.agent.server_names();
    // Compat: the reference's word for one that gossip does not know.
    let name = |id: &str| names.get(id).cloned().unwrap_or_else(|| "(unknown)".to_owned());
    let servers = servers
        .into_iter()
        .map(|server| RaftServer {
            node: name(&server.id),
            id: server.id,
            address: server.address,
            leader: server.leader,
            protocol_version: "3",
            voter: server.voter,
            last_index: server.last_index,
        })
        .collect();
    Ok(Reply::json(&RaftConfiguration { servers, index: 0 }))
}

async fn remove_peer(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let id = match (req.param("id"), req.param("address")) {
        (None, None) => {
            return Err(Failure::bad_request(
                "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
            ));
        }
        (Some(_), Some(_)) => return Err(Failure::bad_request("Must specify only one of ?id or ?address")),
        (Some(id), None) => Ok(id.to_owned()),
        (None, Some(address)) => Err(address.to_owned()),
    };
    datacenter(api, req)?;
    asker.may.require(Need::write(Resource::Operator))?;
    let servers = api.cluster.raft_configuration().await?;
    let found = servers.iter().find(|server| match &id {
        Ok(id) => server.id == *id,
        Err(address) => server.address == *address,
    });
    let Some(server) = found else {
        let asked = match &id {
            Ok(id) => format!("id {id:?}"),
            Err(address) => format!("address {address:?}"),
        };
        return Err(Failure::internal(format!("{asked} was not found in the Raft configuration")));
    };
    api.cluster.remove_server(&server.id).await?;
    Ok(Reply::empty())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Transferred {
    success: bool,
}

async fn transfer_leader(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    api.cluster.transfer_leadership(req.filled("id")).await?;
    Ok(Reply::json(&Transferred { success: true }))
}

async fn autopilot_configuration(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    if req.method == http::Method::PUT {
        return set_autopilot(api, req, asker).await;
    }
    let options = read_options(api, req)?;
    datacenter(api, req)?;
    let found = api.cluster.read(&AutopilotGet {}, &options.read, &asker.may).await?;
    Ok(Reply::json(&found.answer.unwrap_or_default()))
}

/// `api.AutopilotConfiguration` as a client sends it: what is left out takes its default.
#[derive(Debug, Deserialize)]
#[serde(default, rename = "api.AutopilotConfiguration", rename_all = "PascalCase")]
struct SentConfig {
    cleanup_dead_servers: bool,
    last_contact_threshold: GoDuration,
    max_trailing_logs: u64,
    min_quorum: u64,
    server_stabilization_time: GoDuration,
    redundancy_zone_tag: String,
    disable_upgrade_migration: bool,
    upgrade_version_tag: String,
    create_index: u64,
    modify_index: u64,
}

impl Default for SentConfig {
    fn default() -> Self {
        let config = Config::default();
        SentConfig {
            cleanup_dead_servers: config.cleanup_dead_servers,
            last_contact_threshold: config.last_contact_threshold,
            max_trailing_logs: config.max_trailing_logs,
            min_quorum: config.min_quorum,
            server_stabilization_time: config.server_stabilization_time,
            redundancy_zone_tag: String::new(),
            disable_upgrade_migration: false,
            upgrade_version_tag: String::new(),
            create_index: 0,
            modify_index: 0,
        }
    }
}

async fn set_autopilot(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    let body = decode::whole(req).await?;
    let sent: SentConfig = decode::strict(&body)
        .map_err(|error| Failure::bad_request(format!("Error parsing autopilot config: {error}")))?;
    let mut config = Config {
        cleanup_dead_servers: sent.cleanup_dead_servers,
        last_contact_threshold: sent.last_contact_threshold,
        max_trailing_logs: sent.max_trailing_logs,
        min_quorum: sent.min_quorum,
        server_stabilization_time: sent.server_stabilization_time,
        redundancy_zone_tag: sent.redundancy_zone_tag,
        disable_upgrade_migration: sent.disable_upgrade_migration,
        upgrade_version_tag: sent.upgrade_version_tag,
        create_index: Index(0),
        modify_index: Index(0),
    };
    let cas = req.param("cas").map(str::to_owned);
    if let Some(text) = &cas {
        let index = parse_uint(text)
            .ok_or_else(|| Failure::bad_request(format!("Error parsing cas value: {}", parse_uint_error(text))))?;
        config.modify_index = Index(index);
    }
    let request = AutopilotSetConfigRequest { datacenter: api.settings.datacenter.clone(), config, cas: cas.is_some() };
    match api.cluster.write(Command::Autopilot(request), &*asker.may).await? {
        Outcome::Decided(done) => Ok(Reply::json(&done)),
        _ => Ok(Reply::json(&true)),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerHealth {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    address: String,
    serf_status: String,
    version: String,
    leader: bool,
    last_contact: String,
    last_term: u64,
    last_index: u64,
    healthy: bool,
    voter: bool,
    stable_since: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OperatorHealth {
    healthy: bool,
    failure_tolerance: u64,
    servers: Vec<ServerHealth>,
}

/// How long ago a server was heard of: `""` when it never was.
fn last_contact(server: &ToldServer) -> String {
    server.last_contact.map(|ago| GoDuration(ago).to_string()).unwrap_or_default()
}

fn since_epoch(nanos: i64) -> GoTime {
    GoTime::from_unix(nanos / 1_000_000_000, u32::try_from(nanos % 1_000_000_000).unwrap_or(0))
}

async fn autopilot_health(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    read_options(api, req)?;
    datacenter(api, req)?;
    let report = api.agent.autopilot_report().await?;
    let servers = report.servers.iter().map(|server| ServerHealth {
        id: server.id.clone(),
        name: server.name.clone(),
        address: server.address.clone(),
        serf_status: server.serf_status.clone(),
        version: server.version.clone(),
        leader: server.leader,
        last_contact: last_contact(server),
        last_term: server.last_term,
        last_index: server.last_index,
        healthy: server.healthy,
        voter: server.voter,
        // Compat: whole seconds here, all of them in the state.
        stable_since: GoTime::from_unix(since_epoch(server.stable_since).unix_seconds(), 0).to_string(),
    });
    let (healthy, failure_tolerance) = (report.healthy, report.failure_tolerance);
    let reply = Reply::json(&OperatorHealth { healthy, failure_tolerance, servers: servers.collect() });
    Ok(if healthy { reply } else { reply.with_status(StatusCode::TOO_MANY_REQUESTS) })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StateServer {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    address: String,
    node_status: String,
    version: String,
    last_contact: String,
    last_term: u64,
    last_index: u64,
    healthy: bool,
    stable_since: String,
    read_replica: bool,
    status: &'static str,
    meta: BTreeMap<String, String>,
    node_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AutopilotState {
    healthy: bool,
    failure_tolerance: u64,
    optimistic_failure_tolerance: u64,
    servers: BTreeMap<String, StateServer>,
    leader: String,
    voters: Vec<String>,
}

async fn autopilot_state(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    read_options(api, req)?;
    datacenter(api, req)?;
    let report = api.agent.autopilot_report().await?;
    let leader = report.servers.iter().find(|server| server.leader);
    let voters = report.servers.iter().filter(|server| server.voter).map(|server| server.id.clone()).collect();
    let servers = report.servers.iter().map(|server| {
        let kind = if server.voter { "voter" } else { "non-voter" };
        let shown = StateServer {
            id: server.id.clone(),
            name: server.name.clone(),
            address: server.address.clone(),
            node_status: server.serf_status.clone(),
            version: server.version.clone(),
            last_contact: last_contact(server),
            last_term: server.last_term,
            last_index: server.last_index,
            healthy: server.healthy,
            stable_since: since_epoch(server.stable_since).to_string(),
            read_replica: server.read_replica,
            status: if server.leader { "leader" } else { kind },
            meta: server.meta.clone(),
            node_type: kind,
        };
        (server.id.clone(), shown)
    });
    Ok(Reply::json(&AutopilotState {
        healthy: report.healthy,
        failure_tolerance: report.failure_tolerance,
        optimistic_failure_tolerance: report.failure_tolerance,
        servers: servers.collect(),
        leader: leader.map(|server| server.id.clone()).unwrap_or_default(),
        voters,
    }))
}

/// `structs.Usage`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    usage: BTreeMap<String, ServiceUsage>,
    #[serde(flatten)]
    meta: BodyMeta,
}

async fn usage(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    // Compat: the datacenter is not looked at.
    let options = read_options(api, req)?;
    let found = api.cluster.read(&OperatorUsage(NodesQuery::default()), &options.read, &asker.may).await?;
    let usage = BTreeMap::from([(api.settings.datacenter.clone(), found.answer)]);
    let mut reply = Reply::json(&Usage { usage, meta: BodyMeta::new(&found.meta) });
    set_meta(&mut reply.headers, &found.meta, true);
    Ok(reply)
}
