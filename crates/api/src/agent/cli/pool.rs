//! `join` and `force-leave`: who is in the gossip pools.

use crate::cli::client::{CLIENT, PARTITION, Request};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Complaint, Exit, Invocation};

pub const JOIN: Command = Command {
    path: "join",
    synopsis: "Makes the agent join a cluster",
    shape: "[options] address ...",
    about: "Makes the running agent join the cluster of the agents at the given addresses. One of them\nis enough to meet \
            all the others. Without a port, the agent's own gossip port is meant.",
    flags: &[
        &[Flag::new("wan", Kind::Bool, "Join the pool of the servers of all datacenters; the agent must be a server.")],
        CLIENT,
        PARTITION,
    ],
    run: Some(join),
};

pub const FORCE_LEAVE: Command = Command {
    path: "force-leave",
    synopsis: "Makes a member of the cluster count as left",
    shape: "[options] name",
    about: "Makes a member that has failed count as one that has left, so that nobody tries to reach it\nany more. A \
            member that is alive after all comes back by itself.",
    flags: &[
        &[
            Flag::new("prune", Kind::Bool, "Also take the member off the list of members."),
            Flag::new("wan", Kind::Bool, "Change only the pool of the servers of all datacenters."),
        ],
        CLIENT,
        PARTITION,
    ],
    run: Some(force_leave),
};

fn join(invocation: &mut Invocation<'_>) -> Exit {
    let addresses = invocation.parsed.arguments.clone();
    if addresses.is_empty() {
        return Err(Complaint::with_help("At least one address to join must be specified."));
    }
    let wan = invocation.parsed.bool("wan");
    invocation.connect()?;
    let mut joined = 0;
    for address in addresses {
        let mut request = Request::put(format!("/v1/agent/join/{address}"));
        if wan {
            request = request.with("wan", "1");
        }
        match invocation.attempt(request)? {
            Ok(_) => joined += 1,
            Err(failure) => invocation.io.complain(format_args!("Error joining address '{address}': {failure}")),
        }
    }
    if joined == 0 {
        return Err("Failed to join any nodes.".into());
    }
    invocation.io.say(format_args!("Successfully joined cluster by contacting {joined} nodes."));
    Ok(0)
}

fn force_leave(invocation: &mut Invocation<'_>) -> Exit {
    let [node] = invocation.parsed.arguments.as_slice() else {
        return Err(Complaint::with_help("A single node name must be specified to force leave."));
    };
    let mut request = Request::put(format!("/v1/agent/force-leave/{node}"));
    for flag in ["prune", "wan"] {
        if invocation.parsed.bool(flag) {
            request = request.with(flag, "1");
        }
    }
    invocation.ask(request, "Error force leaving")?;
    Ok(0)
}
