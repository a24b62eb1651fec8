//! `event`: firing a user event.

use regex::Regex;
use serde::Deserialize;

use crate::cli::client::{CLIENT, Request};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::regex_refusal;
use crate::cli::{Command, Complaint, Exit, Invocation};

const FLAGS: &[Flag] = &[
    Flag::new("name", Kind::Text, "Name of the event."),
    Flag::new("node", Kind::Text, "Deliver only to nodes whose name matches this regular expression."),
    Flag::new(
        "service",
        Kind::Text,
        "Deliver only to nodes with a service whose name matches this regular expression.",
    ),
    Flag::new("tag", Kind::Text, "With -service: the service must have a tag that matches this regular expression."),
];

pub const COMMANDS: &[Command] = &[Command {
    path: "event",
    synopsis: "Fire a new event",
    shape: "[options] [payload]",
    about: "Sends a named event, with a payload if one is given, to the nodes of a datacenter. Regular\nexpressions on \
            node, service and tag narrow down who receives it.",
    flags: &[FLAGS, CLIENT],
    run: Some(run),
}];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Fired {
    #[serde(rename = "ID")]
    id: String,
}

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let text = |name: &str| invocation.parsed.text(name).to_owned();
    let (name, node, service, tag) = (text("name"), text("node"), text("service"), text("tag"));
    if name.is_empty() {
        return Err(Complaint::with_help("Event name must be specified"));
    }
    for (what, expression) in [("node", &node), ("service", &service), ("tag", &tag)] {
        if let Err(error) = Regex::new(expression) {
            return Err(format!("Failed to compile {what} filter regexp: {}", regex_refusal(&error, expression)).into());
        }
    }
    if !tag.is_empty() && service.is_empty() {
        return Err("Cannot provide tag filter without service filter.".into());
    }
    let payload = match invocation.parsed.arguments.as_slice() {
        [] => String::new(),
        [payload] => payload.clone(),
        _ => return Err(Complaint::with_help("Too many command line arguments.")),
    };
    // Asked first so that an agent which cannot be reached is told apart from an event that is refused.
    invocation.ask(Request::get("/v1/agent/self"), "Error querying Consul agent")?;
    let request = Request::put(format!("/v1/event/fire/{name}"))
        .with_some("node", &node)
        .with_some("service", &service)
        .with_some("tag", &tag)
        .octets(payload);
    const WORDS: &str = "Error firing event";
    let fired: Fired = invocation.ask(request, WORDS)?.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    invocation.io.say(format_args!("Event ID: {}", fired.id));
    Ok(0)
}
