//! The commands that concern the agent one talks to: its members, its services, its own state.

mod maintenance;
mod members;
mod monitor;
mod pool;
mod services;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::client::{CLIENT, Request};
use crate::cli::{Command, Exit, Invocation};

pub const COMMANDS: &[Command] = &[
    Command {
        path: "info",
        synopsis: "Provides debugging information for operators.",
        shape: "[options]",
        about: "Prints the agent's internal figures.",
        flags: &[CLIENT],
        run: Some(info),
    },
    Command {
        path: "leave",
        synopsis: "Gracefully leaves the cluster and shuts down",
        shape: "[options]",
        about: "Makes the agent leave the cluster and stop.",
        flags: &[CLIENT],
        run: Some(leave),
    },
    Command {
        path: "reload",
        synopsis: "Triggers the agent to reload configuration files",
        shape: "",
        about: "Makes the agent read its configuration again. Mistakes in it are told here.",
        flags: &[CLIENT],
        run: Some(reload),
    },
    maintenance::MAINT,
    members::MEMBERS,
    monitor::MONITOR,
    pool::FORCE_LEAVE,
    pool::JOIN,
    services::GROUP,
    services::DEREGISTER,
    services::REGISTER,
];

fn info(invocation: &mut Invocation<'_>) -> Exit {
    const WORDS: &str = "Error querying agent";
    let answer = invocation.ask(Request::get("/v1/agent/self"), WORDS)?;
    let itself: BTreeMap<String, Value> =
        serde_json::from_slice(&answer.body).map_err(|error| format!("{WORDS}: {error}"))?;
    let Some(Value::Object(stats)) = itself.get("Stats") else {
        return Err("Agent response did not contain 'Stats' key".into());
    };
    let sorted: BTreeMap<_, _> = stats.iter().collect();
    for (section, values) in sorted {
        invocation.io.say(format_args!("{section}:"));
        let Value::Object(values) = values else {
            return Err(format!("Got invalid subkey in stats: {section}").into());
        };
        let sorted: BTreeMap<_, _> = values.iter().collect();
        for (name, value) in sorted {
            match value {
                Value::String(text) => invocation.io.say(format_args!("\t{name} = {text}")),
                other => invocation.io.say(format_args!("\t{name} = {other}")),
            }
        }
    }
    Ok(0)
}

fn leave(invocation: &mut Invocation<'_>) -> Exit {
    let arguments = &invocation.parsed.arguments;
    if !arguments.is_empty() {
        let help = invocation.help();
        let complaint = format!("Error found unexpected args: [{}]", arguments.join(" "));
        invocation.io.complain(complaint);
        // Compat: this help goes to stdout.
        invocation.io.say(help);
        return Ok(1);
    }
    invocation.ask(Request::put("/v1/agent/leave"), "Error leaving")?;
    invocation.io.say("Graceful leave complete");
    Ok(0)
}

fn reload(invocation: &mut Invocation<'_>) -> Exit {
    invocation.ask(Request::put("/v1/agent/reload"), "Error reloading")?;
    invocation.io.say("Configuration reload triggered");
    Ok(0)
}

#[cfg(test)]
mod tests;
