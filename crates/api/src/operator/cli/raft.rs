//! `operator raft`: the servers as consensus sees them.

use net::go_text::quote;
use serde::Deserialize;

use crate::cli::client::{CLIENT, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
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

pub const REMOVE_PEER: Command = Command {
    path: "operator raft remove-peer",
    synopsis: "Remove a server from the Raft configuration",
    shape: "[options]",
    about: "Removes a server from consensus that is gone for good and is not a member of the cluster any\nmore. If it \
            still is one, use `{name} force-leave` instead.",
    flags: &[
        &[
            Flag::new("address", Kind::Text, "Address of the server to remove."),
            Flag::new("id", Kind::Text, "ID of the server to remove."),
        ],
        CLIENT,
        SERVER,
    ],
    run: Some(remove_peer),
};

pub const TRANSFER_LEADER: Command = Command {
    path: "operator raft transfer-leader",
    synopsis: "Transfer leadership to another server",
    shape: "[options]",
    about: "Makes the leader hand over to another server.",
    flags: &[&[Flag::new("id", Kind::Text, "ID of the server to lead; otherwise any.")], CLIENT, SERVER],
    run: Some(transfer_leader),
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

fn remove_peer(invocation: &mut Invocation<'_>) -> Exit {
    const WORDS: &str = "Error removing peer";
    invocation.connect_saying("Error initializing client")?;
    let address = invocation.parsed.text("address").to_owned();
    let id = invocation.parsed.text("id").to_owned();
    let (what, which) = match (address.is_empty(), id.is_empty()) {
        (true, true) => return Err(format!("{WORDS}: an address or id is required for the peer to remove").into()),
        (false, false) => return Err(format!("{WORDS}: cannot give both an address and id").into()),
        (false, true) => ("address", address),
        (true, false) => ("id", id),
    };
    invocation.ask(Request::delete("/v1/operator/raft/peer").with(what, which.clone()), WORDS)?;
    invocation.io.say(format_args!("Removed peer with {what} {}", quote(&which)));
    Ok(0)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Transferred {
    success: bool,
}

fn transfer_leader(invocation: &mut Invocation<'_>) -> Exit {
    const WORDS: &str = "Error transfering leadership: Failed to transfer leadership";
    invocation.connect_saying("Error initializing client")?;
    let request = Request::post("/v1/operator/raft/transfer-leader")
        .with_if(invocation.stale(), "stale")
        .with_some("id", invocation.parsed.text("id"));
    // Compat: no colon between what failed and why.
    let answer = invocation.attempt(request)?.map_err(|failure| format!("{WORDS} {failure}"))?;
    let transferred: Transferred = answer.json().map_err(|failure| format!("{WORDS} {failure}"))?;
    if !transferred.success {
        return Err(WORDS.into());
    }
    invocation.io.say("Success");
    Ok(0)
}
