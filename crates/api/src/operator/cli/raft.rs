//! `operator raft`: the servers as consensus sees them.

use serde::Deserialize;

use crate::cli::client::{CLIENT, Request, SERVER};
use crate::cli::text::columns;
use crate::cli::{Command, Exit, Invocation};

pub const LIST_PEERS: Command = Command {
    path: "operator raft list-peers",
    synopsis: "Display the current Raft peer configuration",
    shape: "[options]",
    about: "Prints the servers that take part in consensus, and how far behind the leader they are.",
    flags: &[CLIENT, SERVER],
    run: Some(list_peers),
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Configuration {
    servers: Vec<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Server {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    protocol_version: String,
    voter: bool,
    last_index: u64,
}

fn list_peers(invocation: &mut Invocation<'_>) -> Exit {
    const WORDS: &str = "Error getting peers: Failed to retrieve raft configuration";
    invocation.connect_saying("Error initializing client")?;
    let request = Request::get("/v1/operator/raft/configuration").with_if(invocation.stale(), "stale");
    let configuration: Configuration =
        invocation.ask(request, WORDS)?.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    let leader_index = configuration.servers.iter().rev().find(|server| server.leader).map_or(0, |one| one.last_index);
    let headers = ["Node", "ID", "Address", "State", "Voter", "RaftProtocol", "Commit Index", "Trails Leader By"];
    let mut rows = vec![headers.map(str::to_owned).to_vec()];
    rows.extend(configuration.servers.into_iter().map(|server| {
        // Compat: a follower ahead of what the leader last told wraps around, as unsigned numbers do in Go.
        let trails = match (server.leader, leader_index.wrapping_sub(server.last_index)) {
            (true, _) => "-".to_owned(),
            (false, 1) => "1 commit".to_owned(),
            (false, commits) => format!("{commits} commits"),
        };
        let state = if server.leader { "leader" } else { "follower" };
        let protocol = if server.protocol_version.is_empty() { "<=1".to_owned() } else { server.protocol_version };
        vec![
            server.node,
            server.id,
            server.address,
            state.to_owned(),
            server.voter.to_string(),
            protocol,
            server.last_index.to_string(),
            trails,
        ]
    }));
    invocation.io.say(columns(&rows));
    Ok(0)
}
