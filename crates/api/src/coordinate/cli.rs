//! `rtt`: how far two nodes are from each other.

use std::collections::BTreeMap;

use net::go_text::quote;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use state::coordinate::Coord;

use crate::cli::client::{CLIENT, Request};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Complaint, Exit, Invocation};

pub const COMMANDS: &[Command] = &[Command {
    path: "rtt",
    synopsis: "Estimates the round trip time between two nodes",
    shape: "[options] node1 [node2]",
    about: "Estimates how long a message between two nodes takes there and back, from the network\ncoordinates that the \
            nodes find out by themselves. Without a second node, the agent's own is\nmeant.\n\nWith -wan the nodes are \
            servers, written as name and datacenter with a dot in between. What\nis measured within a datacenter does \
            not compare with what is measured between them.",
    flags: &[&[Flag::new("wan", Kind::Bool, "Measure between the servers of all datacenters.")], CLIENT],
    run: Some(run),
}];

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Place {
    node: String,
    segment: String,
    coord: Option<Coord>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Datacenter {
    datacenter: String,
    #[serde(rename = "AreaID")]
    area_id: String,
    coordinates: Vec<Place>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Itself {
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    node_name: String,
    datacenter: String,
}

/// The coordinates of the two nodes, as far as there are any that compare.
type Found = (Option<Coord>, Option<Coord>);

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let mut nodes = invocation.parsed.arguments.clone();
    if !(1..=2).contains(&nodes.len()) {
        return Err(Complaint::with_help("One or two node names must be specified"));
    }
    invocation.connect()?;
    let wan = invocation.parsed.bool("wan");
    if nodes.len() == 1 {
        let own: Itself = asked(invocation, "/v1/agent/self", "Unable to look up agent info")?;
        let Config { node_name, datacenter } = own.config;
        nodes.push(if wan { format!("{node_name}.{datacenter}") } else { node_name });
    }
    let (one, other) = (&nodes[0], &nodes[1]);
    let found = if wan { between_servers(invocation, one, other)? } else { between_nodes(invocation, one, other)? };
    let missing = |node: &str| format!("Could not find a coordinate for node {}", quote(node));
    let from = found.0.ok_or_else(|| missing(one))?;
    let to = found.1.ok_or_else(|| missing(other))?;
    let Some(nanoseconds) = from.distance_ns(&to) else {
        return Err("coordinate dimensionality does not match".into());
    };
    let milliseconds = nanoseconds as f64 / 1e9 * 1e3;
    let pool = if wan { "WAN" } else { "LAN" };
    invocation.io.say(format_args!("Estimated {one} <-> {other} rtt: {milliseconds:.3} ms (using {pool} coordinates)"));
    Ok(0)
}

fn asked<T: DeserializeOwned>(invocation: &mut Invocation<'_>, path: &str, words: &str) -> Result<T, Complaint> {
    let answer = invocation.ask(Request::get(path), words)?;
    answer.json().map_err(|failure| format!("{words}: {failure}").into())
}

const WORDS: &str = "Error getting coordinates";

fn between_nodes(invocation: &mut Invocation<'_>, one: &str, other: &str) -> Result<Found, Complaint> {
    let places: Vec<Place> = asked(invocation, "/v1/coordinate/nodes", WORDS)?;
    let of = |node: &str| -> BTreeMap<&str, &Coord> {
        let of_node = places.iter().filter(|place| is_same(&place.node, node));
        of_node.filter_map(|place| Some((place.segment.as_str(), place.coord.as_ref()?))).collect()
    };
    let (one, other) = (of(one), of(other));
    // A client is in one segment, and only there it compares with the servers, which are in all of them.
    let only = |set: &BTreeMap<&str, &Coord>| set.keys().next().copied().filter(|_| set.len() == 1).map(str::to_owned);
    let segment = only(&other).or_else(|| only(&one)).unwrap_or_default();
    let in_segment = |set: &BTreeMap<&str, &Coord>| set.get(segment.as_str()).map(|coord| (*coord).clone());
    Ok((in_segment(&one), in_segment(&other)))
}

/// Both or neither: coordinates compare only within one area.
fn between_servers(invocation: &mut Invocation<'_>, one: &str, other: &str) -> Result<Found, Complaint> {
    let parts = |name: &str| -> Option<(String, String)> {
        let (node, datacenter) = name.split_once('.')?;
        (!datacenter.contains('.')).then(|| (node.to_owned(), datacenter.to_owned()))
    };
    let (Some(one), Some(other)) = (parts(one), parts(other)) else {
        return Err("Node names must be specified as <node name>.<datacenter> with -wan".into());
    };
    let datacenters: Vec<Datacenter> = asked(invocation, "/v1/coordinate/datacenters", WORDS)?;
    let (mut from, mut to) = (None, None);
    for datacenter in &datacenters {
        for place in &datacenter.coordinates {
            let is = |(node, of): &(String, String)| datacenter.datacenter == *of && is_same(&place.node, node);
            let seen = place.coord.as_ref().map(|coord| (&datacenter.area_id, coord));
            if is(&one) {
                from = seen;
            }
            if is(&other) {
                to = seen;
            }
            if let (Some((area, from)), Some((other_area, to))) = (from, to)
                && area == other_area
            {
                return Ok((Some(from.clone()), Some(to.clone())));
            }
        }
    }
    Ok((None, None))
}

/// Upper and lower case make no difference between node names.
fn is_same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

#[cfg(test)]
mod tests {
    use crate::cli::stand_in::{Reply, StandIn};

    const NODES: &str = r#"[
        {"Node":"A","Segment":"","Coord":{"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":1e-5}},
        {"Node":"b","Segment":"","Coord":{"Vec":[0.03,0.04,0,0,0,0,0,0],"Error":1.5,"Adjustment":-0.001,"Height":1e-5}},
        {"Node":"s","Segment":"","Coord":{"Vec":[9,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":0}},
        {"Node":"s","Segment":"x","Coord":{"Vec":[2,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":0}},
        {"Node":"c","Segment":"x","Coord":{"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":0}}]"#;

    const DATACENTERS: &str = r#"[{"Datacenter":"dc1","AreaID":"wan","Coordinates":[
        {"Node":"a","Segment":"","Coord":{"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":1e-5}}]},
        {"Datacenter":"dc3","AreaID":"other","Coordinates":[
        {"Node":"o","Segment":"","Coord":{"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":1e-5}}]},
        {"Datacenter":"dc2","AreaID":"wan","Coordinates":[
        {"Node":"b","Segment":"","Coord":{"Vec":[0.5,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":1e-5}}]}]"#;

    fn agent() -> StandIn {
        StandIn::new(|asked| match asked.path.as_str() {
            "/v1/agent/self" => Reply::ok(r#"{"Config":{"NodeName":"a","Datacenter":"dc1"},"DebugConfig":{"X":1}}"#),
            "/v1/coordinate/nodes" => Reply::ok(NODES),
            _ => Reply::ok(DATACENTERS),
        })
    }

    #[test]
    fn distances_are_computed_from_coordinates() {
        let agent = agent();
        for (line, out) in [
            ("rtt a b", "Estimated a <-> b rtt: 49.020 ms (using LAN coordinates)\n"),
            ("rtt B", "Estimated B <-> a rtt: 49.020 ms (using LAN coordinates)\n"),
            ("rtt s c", "Estimated s <-> c rtt: 2000.000 ms (using LAN coordinates)\n"),
            ("rtt -wan b.dc2", "Estimated b.dc2 <-> a.dc1 rtt: 500.020 ms (using WAN coordinates)\n"),
            ("rtt -wan a.dc1 a.dc1", "Estimated a.dc1 <-> a.dc1 rtt: 0.020 ms (using WAN coordinates)\n"),
        ] {
            let outcome = agent.run(&line.split(' ').collect::<Vec<_>>());
            assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (0, out, ""), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        let agent = agent();
        for (line, err) in [
            ("rtt a zork", "Could not find a coordinate for node \"zork\"\n"),
            ("rtt -wan a", "Node names must be specified as <node name>.<datacenter> with -wan\n"),
            ("rtt -wan a.b.c a.dc1", "Node names must be specified as <node name>.<datacenter> with -wan\n"),
            ("rtt -wan a.dc1 o.dc3", "Could not find a coordinate for node \"a.dc1\"\n"),
            ("rtt -wan a.dc1 zork.dc1", "Could not find a coordinate for node \"a.dc1\"\n"),
        ] {
            let outcome = agent.run(&line.split(' ').collect::<Vec<_>>());
            assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (1, "", err), "{line}");
        }
        let alone = agent.run(&["rtt"]);
        assert!(alone.err.starts_with("One or two node names must be specified\n\nUsage: consul rtt"), "{}", alone.err);
    }
}
