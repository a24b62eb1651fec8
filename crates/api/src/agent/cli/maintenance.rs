//! `maint`: taking a node or a service out of service and back.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cli::client::{CLIENT, Request};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Exit, Invocation};

const FLAGS: &[Flag] = &[
    Flag::new("enable", Kind::Bool, "Begin maintenance."),
    Flag::new("disable", Kind::Bool, "End maintenance."),
    Flag::new("reason", Kind::Text, "Why, for those who look at the check; with -enable."),
    Flag::new("service", Kind::Text, "ID of the service that is meant; otherwise the whole node."),
];

pub const MAINT: Command = Command {
    path: "maint",
    synopsis: "Controls node or service maintenance mode",
    shape: "[options]",
    about: "Puts the agent's node, or one of its services, into maintenance: a critical check keeps it\nout of health \
            and DNS answers. Without flags, prints what is in maintenance.\n\n    $ {name} maint -enable -reason \
            \"disk swap\"\n    $ {name} maint -disable -service web-1",
    flags: &[FLAGS, CLIENT],
    run: Some(run),
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    check_id: String,
    notes: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Itself {
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    node_name: String,
}

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let (enable, disable) = (invocation.parsed.bool("enable"), invocation.parsed.bool("disable"));
    let text = |name: &str| invocation.parsed.text(name).to_owned();
    let (reason, service) = (text("reason"), text("service"));
    if enable && disable {
        return Err("Only one of -enable or -disable may be provided".into());
    }
    if !enable && !reason.is_empty() {
        return Err("Reason may only be provided with -enable".into());
    }
    if !enable && !disable && !service.is_empty() {
        return Err("Service requires either -enable or -disable".into());
    }
    if !enable && !disable {
        return list(invocation);
    }
    let (path, what, of) = if service.is_empty() {
        ("/v1/agent/maintenance".to_owned(), "node", String::new())
    } else {
        let of = format!(" for {}", net::go_text::quote(&service));
        (format!("/v1/agent/service/maintenance/{service}"), "service", of)
    };
    let (doing, done) = if enable { ("enabling", "enabled") } else { ("disabling", "disabled") };
    let mut request = Request::put(path).with("enable", if enable { "true" } else { "false" });
    if enable {
        request = request.with("reason", reason);
    }
    invocation.ask(request, &format!("Error {doing} {what} maintenance"))?;
    let what = if service.is_empty() { "Node" } else { "Service" };
    invocation.io.say(format_args!("{what} maintenance is now {done}{of}"));
    Ok(0)
}

fn list(invocation: &mut Invocation<'_>) -> Exit {
    const ASKING: &str = "Error querying Consul agent";
    let itself: Itself = invocation
        .ask(Request::get("/v1/agent/self"), ASKING)?
        .json()
        .map_err(|failure| format!("{ASKING}: {failure}"))?;
    const WORDS: &str = "Error getting checks";
    let checks: BTreeMap<String, Check> = invocation
        .ask(Request::get("/v1/agent/checks"), WORDS)?
        .json()
        .map_err(|failure| format!("{WORDS}: {failure}"))?;
    for check in checks.values() {
        let (what, name, subject) = if check.check_id == "_node_maintenance" {
            ("Node", "Name:", &itself.config.node_name)
        } else if check.check_id.starts_with("_service_maintenance:") {
            ("Service", "ID:", &check.service_id)
        } else {
            continue;
        };
        invocation.io.say(format_args!("{what}:\n  {name:8}{subject}\n  Reason: {}\n", check.notes));
    }
    Ok(0)
}
