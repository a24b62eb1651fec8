//! `operator autopilot`: how the leader looks after the other servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use net::go_text::quote;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::duration::GoDuration;

use crate::cli::client::{CLIENT, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::indented;
use crate::cli::{Command, Complaint, Exit, Invocation};

pub const ABOUT: &str = "Looks at and changes how the leader keeps the servers healthy.\n\n    $ {name} operator autopilot \
                         get-config\n    $ {name} operator autopilot set-config -cleanup-dead-servers=false";

const SET: &[Flag] = &[
    Flag::new(
        "cleanup-dead-servers",
        Kind::MaybeBool,
        "Whether dead servers are removed when new ones join; `true|false`.",
    ),
    Flag::new("max-trailing-logs", Kind::MaybeUint, "How many log entries a healthy server may be behind the leader."),
    Flag::new("min-quorum", Kind::MaybeUint, "How many servers must stay for dead ones to be removed."),
    Flag::new(
        "last-contact-threshold",
        Kind::MaybeDuration,
        "How long a healthy server may be without contact to the leader, such as `200ms`.",
    ),
    Flag::new(
        "server-stabilization-time",
        Kind::MaybeDuration,
        "How long a new server must have been healthy before it votes, such as `10s`.",
    ),
    Flag::new("redundancy-zone-tag", Kind::MaybeText, "(Enterprise) Node metadata that names a server's zone."),
    Flag::new(
        "disable-upgrade-migration",
        Kind::MaybeBool,
        "(Enterprise) Whether servers of a newer version vote at once; `true|false`.",
    ),
    Flag::new("upgrade-version-tag", Kind::MaybeText, "(Enterprise) Node metadata that names a server's version."),
];

const STATE_FLAGS: &[Flag] = &[Flag::new("format", Kind::Text, "Output format {pretty|json}").or("pretty")];

pub const GET_CONFIG: Command = Command {
    path: "operator autopilot get-config",
    synopsis: "Display the current Autopilot configuration",
    shape: "[options]",
    about: "Prints the settings of autopilot.",
    flags: &[CLIENT, SERVER],
    run: Some(get_config),
};

pub const SET_CONFIG: Command = Command {
    path: "operator autopilot set-config",
    synopsis: "Modify the current Autopilot configuration",
    shape: "[options]",
    about: "Changes the settings that are given and leaves the others.",
    flags: &[SET, CLIENT, SERVER],
    run: Some(set_config),
};

pub const STATE: Command = Command {
    path: "operator autopilot state",
    synopsis: "Display the current Autopilot state",
    shape: "[options]",
    about: "Prints the health of the servers as autopilot sees it.",
    flags: &[STATE_FLAGS, CLIENT, SERVER],
    run: Some(state),
};

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Configuration {
    cleanup_dead_servers: bool,
    last_contact_threshold: String,
    max_trailing_logs: u64,
    min_quorum: u64,
    server_stabilization_time: String,
    redundancy_zone_tag: String,
    disable_upgrade_migration: bool,
    upgrade_version_tag: String,
    create_index: u64,
    modify_index: u64,
}

const PATH: &str = "/v1/operator/autopilot/configuration";

fn configuration(invocation: &mut Invocation<'_>, stale: bool) -> Result<Configuration, Complaint> {
    const WORDS: &str = "Error querying Autopilot configuration";
    invocation.connect_saying("Error initializing client")?;
    let answer = invocation.ask(Request::get(PATH).with_if(stale, "stale"), WORDS)?;
    answer.json().map_err(|failure| format!("{WORDS}: {failure}").into())
}

/// A duration as Go prints it, whatever it was written like.
fn shown(duration: &str) -> String {
    GoDuration::parse(duration).map_or_else(|_| duration.to_owned(), |duration| duration.to_string())
}

fn get_config(invocation: &mut Invocation<'_>) -> Exit {
    let stale = invocation.stale();
    let configuration = configuration(invocation, stale)?;
    let lines = [
        format!("CleanupDeadServers = {}", configuration.cleanup_dead_servers),
        format!("LastContactThreshold = {}", shown(&configuration.last_contact_threshold)),
        format!("MaxTrailingLogs = {}", configuration.max_trailing_logs),
        format!("MinQuorum = {}", configuration.min_quorum),
        format!("ServerStabilizationTime = {}", shown(&configuration.server_stabilization_time)),
        format!("RedundancyZoneTag = {}", quote(&configuration.redundancy_zone_tag)),
        format!("DisableUpgradeMigration = {}", configuration.disable_upgrade_migration),
        format!("UpgradeVersionTag = {}", quote(&configuration.upgrade_version_tag)),
    ];
    for line in lines {
        invocation.io.say(line);
    }
    Ok(0)
}

fn set_config(invocation: &mut Invocation<'_>) -> Exit {
    let mut configuration = configuration(invocation, false)?;
    let parsed = &invocation.parsed;
    let given = |name: &str| parsed.given(name).is_some();
    if given("cleanup-dead-servers") {
        configuration.cleanup_dead_servers = parsed.bool("cleanup-dead-servers");
    }
    if given("disable-upgrade-migration") {
        configuration.disable_upgrade_migration = parsed.bool("disable-upgrade-migration");
    }
    if given("max-trailing-logs") {
        configuration.max_trailing_logs = parsed.uint("max-trailing-logs");
    }
    if given("min-quorum") {
        configuration.min_quorum = parsed.uint("min-quorum");
    }
    for (name, field) in [
        ("redundancy-zone-tag", &mut configuration.redundancy_zone_tag),
        ("upgrade-version-tag", &mut configuration.upgrade_version_tag),
    ] {
        if let Some(tag) = parsed.given(name) {
            *field = tag.to_owned();
        }
    }
    for (name, field) in [
        ("last-contact-threshold", &mut configuration.last_contact_threshold),
        ("server-stabilization-time", &mut configuration.server_stabilization_time),
    ] {
        *field = shown(parsed.given(name).unwrap_or(field));
    }
    const WORDS: &str = "Error setting Autopilot configuration";
    let request = Request::put(PATH).with("cas", configuration.modify_index.to_string());
    let request = request.json(&configuration).map_err(|failure| format!("{WORDS}: {failure}"))?;
    if invocation.ask(request, WORDS)?.says_true() {
        invocation.io.say("Configuration updated!");
        return Ok(0);
    }
    invocation.io.say("Configuration could not be atomically updated, please try again");
    Ok(1)
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    healthy: bool,
    failure_tolerance: i64,
    optimistic_failure_tolerance: i64,
    servers: Option<BTreeMap<String, Server>>,
    leader: String,
    voters: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    read_replicas: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    redundancy_zones: BTreeMap<String, Zone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade: Option<Upgrade>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Server {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    address: String,
    node_status: String,
    version: String,
    last_contact: Option<String>,
    last_term: u64,
    last_index: u64,
    healthy: bool,
    stable_since: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    redundancy_zone: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    upgrade_version: String,
    read_replica: bool,
    status: String,
    meta: Option<BTreeMap<String, String>>,
    node_type: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Zone {
    servers: Option<Vec<String>>,
    voters: Option<Vec<String>>,
    failure_tolerance: i64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Upgrade {
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    target_version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    target_version_voters: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    target_version_non_voters: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    target_version_read_replicas: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_version_voters: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_version_non_voters: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_version_read_replicas: Vec<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    redundancy_zones: Value,
}

fn state(invocation: &mut Invocation<'_>) -> Exit {
    const WORDS: &str = "Error querying Autopilot state";
    invocation.connect_saying("Error initializing client")?;
    let request = Request::get("/v1/operator/autopilot/state").with_if(invocation.stale(), "stale");
    let state: State = invocation.ask(request, WORDS)?.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    let out = match invocation.parsed.text("format") {
        "pretty" => state.pretty(),
        "json" => {
            let compact = wire::json::to_string(&state).map_err(|error| format!("Failed to marshal state: {error}"))?;
            indented(&compact, "    ")
        }
        other => return Err(format!("Unknown format: {other}").into()),
    };
    invocation.io.say(out);
    Ok(0)
}

fn lines(indent: usize, values: &[String]) -> String {
    values.iter().map(|value| format!("{:indent$}{value}\n", "")).collect()
}

impl State {
    fn pretty(&self) -> String {
        let mut out = format!(
            "Healthy:                      {}\nFailure Tolerance:            {}\nOptimistic Failure Tolerance: {}\nLeader: \
             {:22}{}\nVoters:\n{}",
            self.healthy,
            self.failure_tolerance,
            self.optimistic_failure_tolerance,
            "",
            self.leader,
            lines(3, self.voters.as_deref().unwrap_or_default()),
        );
        if !self.read_replicas.is_empty() {
            out.push_str("Read Replicas:\n");
            out.push_str(&lines(3, &self.read_replicas));
        }
        if !self.redundancy_zones.is_empty() {
            out.push_str("Redundancy Zones:\n");
            for (name, zone) in &self.redundancy_zones {
                let (voters, servers) = (zone.voters.as_deref(), zone.servers.as_deref());
                let _ = write!(
                    out,
                    "   {name}:\n      Failure Tolerance: {}\n      Voters:\n{}      Servers:\n{}",
                    zone.failure_tolerance,
                    lines(9, voters.unwrap_or_default()),
                    lines(9, servers.unwrap_or_default())
                );
            }
        }
        if let Some(upgrade) = &self.upgrade {
            out.push_str(&upgrade.pretty());
        }
        out.push_str("Servers:\n");
        for server in self.servers.iter().flat_map(BTreeMap::values) {
            out.push_str(&server.pretty());
        }
        out
    }
}

impl Upgrade {
    fn pretty(&self) -> String {
        let mut out =
            format!("Upgrade:\n   Status:         {}\n   Target Version: {}\n", self.status, self.target_version);
        for (title, servers) in [
            ("Target Version Voters", &self.target_version_voters),
            ("Target Version Non-Voters", &self.target_version_non_voters),
            ("Target Version ReadReplicas", &self.target_version_read_replicas),
            ("Other Version Voters", &self.other_version_voters),
            ("Other Version Non-Voters", &self.other_version_non_voters),
            ("Other Version ReadReplicas", &self.other_version_read_replicas),
        ] {
            if !servers.is_empty() {
                let _ = write!(out, "   {title}:\n{}", lines(6, servers));
            }
        }
        out
    }
}

impl Server {
    fn pretty(&self) -> String {
        let contact = self.last_contact.as_deref().map(shown).unwrap_or_default();
        let mut out = format!("   {}\n", self.id);
        let mut line = |title: &str, value: &str| {
            let _ = writeln!(out, "      {title:17}{value}");
        };
        line("Name:", &self.name);
        line("Address:", &self.address);
        line("Version:", &self.version);
        line("Status:", &self.status);
        line("Node Type:", &self.node_type);
        line("Node Status:", &self.node_status);
        line("Healthy:", &self.healthy.to_string());
        line("Last Contact:", &contact);
        line("Last Term:", &self.last_term.to_string());
        line("Last Index:", &self.last_index.to_string());
        if !self.redundancy_zone.is_empty() {
            line("Redundancy Zone:", &self.redundancy_zone);
        }
        if !self.upgrade_version.is_empty() {
            line("Upgrade Version:", &self.upgrade_version);
        }
        if self.read_replica {
            line("Read Replica:", "true");
        }
        let meta: Vec<_> = self.meta.iter().flatten().collect();
        if !meta.is_empty() {
            out.push_str("      Meta\n");
            for (key, value) in meta {
                let _ = writeln!(out, "         {}: {}", quote(key), quote(value));
            }
        }
        out
    }
}
