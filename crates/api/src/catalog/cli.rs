//! `catalog`: which datacenters, nodes and services there are.
//!
//! Not here: registering (`services`), health.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cli::client::{CLIENT, NAMESPACE, PARTITION, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::{Tabs, columns};
use crate::cli::{Command, Exit, Invocation};

const NODES: &[Flag] = &[
    Flag::new("detailed", Kind::Bool, "Print whole node IDs, tagged addresses and metadata."),
    Flag::new("filter", Kind::Text, "Filter expression for the query; @ and a file name, or - for stdin."),
    Flag::new("near", Kind::Text, "Sort by estimated round-trip time from this node."),
    Flag::new(
        "node-meta",
        Kind::Map,
        "Print only nodes with this metadata, written `key=value`. May be given several times.",
    ),
    Flag::new("service", Kind::Text, "Print only nodes that provide the service with this `id or name`."),
];

const SERVICES: &[Flag] = &[
    Flag::new("node", Kind::Text, "Print only services of the node with this `id or name`."),
    Flag::new(
        "node-meta",
        Kind::Map,
        "Print only services of nodes with this metadata, written `key=value`. May be given several times.",
    ),
    Flag::new("tags", Kind::Bool, "Print the tags beside each service."),
];

pub const COMMANDS: &[Command] = &[
    Command::group(
        "catalog",
        "Interact with the catalog",
        "Lists what is registered. For example:\n\n    $ {name} catalog datacenters\n    $ {name} catalog nodes \
         -service=web\n    $ {name} catalog services -tags",
    ),
    Command {
        path: "catalog datacenters",
        synopsis: "Lists all known datacenters",
        shape: "[options]",
        about: "Prints the datacenters that the agent knows, one a line.",
        flags: &[CLIENT, SERVER],
        run: Some(datacenters),
    },
    Command {
        path: "catalog nodes",
        synopsis: "Lists all nodes in the given datacenter",
        shape: "[options]",
        about: "Prints the nodes of a datacenter, otherwise the agent's own.\n\n    $ {name} catalog nodes -node-meta \
                rack=b7",
        flags: &[NODES, CLIENT, SERVER, PARTITION],
        run: Some(nodes),
    },
    Command {
        path: "catalog services",
        synopsis: "Lists all registered services in a datacenter",
        shape: "[options]",
        about: "Prints the services of a datacenter, otherwise the agent's own.\n\n    $ {name} catalog services -node=web-3",
        flags: &[SERVICES, CLIENT, SERVER, NAMESPACE, PARTITION],
        run: Some(services),
    },
];

fn datacenters(invocation: &mut Invocation<'_>) -> Exit {
    invocation.at_most(0)?;
    const WORDS: &str = "Error listing datacenters";
    let answer = invocation.ask(Request::get("/v1/catalog/datacenters"), WORDS)?;
    let names: Vec<String> = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    for name in names {
        invocation.io.say(name);
    }
    Ok(0)
}

/// A node, or the node part of a service instance: the fields have the same names in both but one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    datacenter: String,
    tagged_addresses: BTreeMap<String, String>,
    meta: BTreeMap<String, String>,
    node_meta: BTreeMap<String, String>,
}

fn nodes(invocation: &mut Invocation<'_>) -> Exit {
    invocation.at_most(0)?;
    invocation.connect()?;
    let filter = invocation.parsed.text("filter").to_owned();
    let filter = invocation.data(&filter).map_err(|error| format!("Could not process filter argument: {error}"))?;
    let service = invocation.parsed.text("service").to_owned();
    let (path, words) = if service.is_empty() {
        ("/v1/catalog/nodes".to_owned(), "Error listing nodes")
    } else {
        (format!("/v1/catalog/service/{service}"), "Error listing nodes for service")
    };
    let request = Request::get(path)
        .with_some("near", invocation.parsed.text("near"))
        .with_node_meta(&invocation.parsed.map("node-meta"))
        .with_some("filter", &filter);
    let mut nodes: Vec<Node> =
        invocation.ask(request, words)?.json().map_err(|failure| format!("{words}: {failure}"))?;
    if !service.is_empty() {
        // In an instance `Meta` is not the node's.
        for node in &mut nodes {
            node.meta = std::mem::take(&mut node.node_meta);
        }
    }
    if nodes.is_empty() {
        // Compat: said on stderr, yet a success.
        invocation.io.complain("No nodes match the given query - try expanding your search.");
        return Ok(0);
    }
    let detailed = invocation.parsed.bool("detailed");
    let headers = ["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"];
    let shown = if detailed { headers.len() } else { 4 };
    let mut rows: Vec<Vec<String>> = vec![headers[..shown].iter().map(|header| (*header).to_owned()).collect()];
    rows.extend(nodes.into_iter().map(|node| {
        let id = if detailed { node.id.as_str() } else { node.id.split('-').next().unwrap_or_default() };
        let mut row = vec![node.node.clone(), id.to_owned(), node.address.clone(), node.datacenter.clone()];
        if detailed {
            row.extend([pairs(&node.tagged_addresses), pairs(&node.meta)]);
        }
        row
    }));
    invocation.io.say(columns(&rows));
    Ok(0)
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeServices {
    services: BTreeMap<String, Instance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Instance {
    service: String,
    tags: Vec<String>,
}

fn services(invocation: &mut Invocation<'_>) -> Exit {
    invocation.at_most(0)?;
    let node = invocation.parsed.text("node").to_owned();
    let meta = invocation.parsed.map("node-meta");
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if node.is_empty() {
        const WORDS: &str = "Error listing services";
        let answer = invocation.ask(Request::get("/v1/catalog/services").with_node_meta(&meta), WORDS)?;
        services = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    } else {
        const WORDS: &str = "Error listing services for node";
        let request = Request::get(format!("/v1/catalog/node/{node}")).with_node_meta(&meta);
        let found: Option<NodeServices> =
            invocation.ask(request, WORDS)?.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
        for instance in found.unwrap_or_default().services.into_values() {
            services.entry(instance.service).or_default().extend(instance.tags);
        }
    }
    if services.is_empty() {
        // Compat: said on stderr, yet a success.
        invocation.io.complain("No services match the given query - try expanding your search.");
        return Ok(0);
    }
    if invocation.parsed.bool("tags") {
        let mut lines = String::new();
        for (name, tags) in &mut services {
            tags.sort();
            lines.push_str(&format!("{name}\t{}\n", tags.join(",")));
        }
        invocation.io.say(Tabs::USUAL.expand(&lines).trim());
    } else {
        for name in services.keys() {
            invocation.io.say(name);
        }
    }
    Ok(0)
}
