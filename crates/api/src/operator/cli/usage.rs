//! `operator usage`: how much is registered.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cli::client::{CLIENT, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::Tabs;
use crate::cli::{Command, Exit, Invocation};

const FLAGS: &[Flag] = &[
    Flag::new("billable", Kind::Bool, "Print only billable services. Not together with -connect."),
    Flag::new("connect", Kind::Bool, "Print only services of the mesh. Not together with -billable."),
    Flag::new("all-datacenters", Kind::Bool, "Count in all datacenters."),
];

pub const INSTANCES: Command = Command {
    path: "operator usage instances",
    synopsis: "Display service instance usage information",
    shape: "[options]",
    about: "Prints how many nodes, services and instances a datacenter has, otherwise the agent's own.",
    flags: &[FLAGS, CLIENT, SERVER],
    run: Some(instances),
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Usage {
    usage: BTreeMap<String, Datacenter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Datacenter {
    nodes: i64,
    services: i64,
    connect_service_instances: BTreeMap<String, i64>,
    billable_service_instances: i64,
}

fn instances(invocation: &mut Invocation<'_>) -> Exit {
    invocation.at_most(0)?;
    let flag = |name: &str| invocation.parsed.bool(name);
    let (billable_only, connect_only, all) = (flag("billable"), flag("connect"), flag("all-datacenters"));
    if billable_only && connect_only {
        return Err("Cannot specify both -billable and -connect flags".into());
    }
    const WORDS: &str = "Error fetching usage information";
    let answer = invocation.ask(Request::get("/v1/operator/usage").with_if(all, "global"), WORDS)?;
    let usage: Usage = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    let io = &mut *invocation.io;
    if !connect_only {
        let total: i64 = usage.usage.values().map(|datacenter| datacenter.billable_service_instances).sum();
        io.say(format_args!("Billable Service Instances Total: {total}"));
        for (name, datacenter) in &usage.usage {
            io.say(format_args!("{name} Billable Service Instances: {}", datacenter.billable_service_instances));
        }
        io.say("\nBillable Services");
        io.say(format_args!("{}\n", billable(&usage, all)));
        io.say("\nNodes");
        io.say(format_args!("{}\n\n", nodes(&usage)));
    }
    if !billable_only {
        io.say("Connect Services");
        io.say(connect(&usage, all));
    }
    Ok(0)
}

fn billable(usage: &Usage, all: bool) -> String {
    let mut rows = format!("{}Services\tService instances\n", if all { "Datacenter\t" } else { "" });
    for (name, datacenter) in &usage.usage {
        let name = if all { format!("{name}\t") } else { String::new() };
        rows.push_str(&format!("{name}{}\t{}\n", datacenter.services, datacenter.billable_service_instances));
    }
    if all {
        let services: i64 = usage.usage.values().map(|datacenter| datacenter.services).sum();
        let total: i64 = usage.usage.values().map(|datacenter| datacenter.billable_service_instances).sum();
        rows.push_str(&format!("\t\t\nTotal\t{services}\t{total}\n"));
    }
    Tabs::USUAL.expand(&rows).trim().to_owned()
}

fn nodes(usage: &Usage) -> String {
    let mut rows = String::from("Datacenter\tCount\t\t\n");
    for (name, datacenter) in &usage.usage {
        rows.push_str(&format!("{name}\t{}\n", datacenter.nodes));
    }
    let total: i64 = usage.usage.values().map(|datacenter| datacenter.nodes).sum();
    rows.push_str(&format!("\t\nTotal\t{total}"));
    Tabs::USUAL.expand(&rows).trim().to_owned()
}

fn connect(usage: &Usage, all: bool) -> String {
    let mut rows = format!("{}Type\tService instances\n", if all { "Datacenter\t" } else { "" });
    for (name, datacenter) in &usage.usage {
        for (kind, count) in &datacenter.connect_service_instances {
            let name = if all { format!("{name}\t") } else { String::new() };
            rows.push_str(&format!("{name}{kind}\t{count}\n"));
        }
    }
    if all {
        let counts = usage.usage.values().flat_map(|datacenter| datacenter.connect_service_instances.values());
        rows.push_str(&format!("\t\t\nTotal\t\t{}\n", counts.sum::<i64>()));
    }
    Tabs::USUAL.expand(&rows).trim().to_owned()
}
