//! `members`: who is in the gossip pool.

use std::collections::BTreeMap;
use std::net::IpAddr;

use regex::Regex;
use serde::Deserialize;

use crate::cli::client::{CLIENT, PARTITION, Request};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::{columns, regex_refusal};
use crate::cli::{Command, Exit, Invocation};

const ALL_SEGMENTS: &str = "_all";

const FLAGS: &[Flag] = &[
    Flag::new("detailed", Kind::Bool, "Print all tags of each member."),
    Flag::new("wan", Kind::Bool, "Print the servers of all datacenters that the agent, a server, knows."),
    Flag::new("status", Kind::Text, "Print only members whose status matches this regular expression.").or(".*"),
    Flag::new("segment", Kind::Text, "(Enterprise) Print only members of this segment.").or(ALL_SEGMENTS),
    Flag::new("filter", Kind::Text, "Filter expression for the query."),
];

pub const MEMBERS: Command = Command {
    path: "members",
    synopsis: "Lists the members of a cluster",
    shape: "[options]",
    about: "Prints the members that the agent knows through gossip.",
    flags: &[FLAGS, CLIENT, PARTITION],
    run: Some(run),
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Member {
    name: String,
    addr: String,
    port: u16,
    tags: BTreeMap<String, String>,
    status: i64,
}

impl Member {
    fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    fn status(&self) -> &'static str {
        match self.status {
            1 => "alive",
            2 => "leaving",
            3 => "left",
            4 => "failed",
            _ => "none",
        }
    }

    fn address(&self) -> String {
        match self.addr.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            Ok(IpAddr::V4(ip)) => format!("{ip}:{}", self.port),
            Err(_) => format!(":{}", self.port),
        }
    }

    /// Fills in the partition and segment that the community edition leaves unsaid.
    fn complete(&mut self, segment: &str) {
        if self.tag("ap").is_empty() {
            self.tags.insert("ap".to_owned(), "default".to_owned());
        }
        let shown = if self.tag("ap") != "default" {
            ""
        } else if segment == ALL_SEGMENTS && self.tag("role") == "consul" {
            "<all>"
        } else if self.tag("segment").is_empty() {
            "<default>"
        } else {
            return;
        };
        self.tags.insert("segment".to_owned(), shown.to_owned());
    }

    /// Servers first, then the default partition, then by segment, partition and name.
    fn rank(&self) -> (bool, bool, &str, &str, &str) {
        let partition = self.tag("ap");
        (self.tag("role") != "consul", partition != "default", self.tag("segment"), partition, &self.name)
    }

    fn row(&self) -> Vec<String> {
        let kind = match self.tag("role") {
            "node" => "client",
            "consul" => "server",
            _ => "unknown",
        };
        let mut row = vec![self.name.clone(), self.address(), self.status().to_owned(), kind.to_owned()];
        if kind == "unknown" {
            row.extend(std::iter::repeat_n(String::new(), 5));
            return row;
        }
        let build = self.tag("build");
        let build = if build.is_empty() { "< 0.3" } else { build.split(':').next().unwrap_or_default() };
        row.extend([build, self.tag("vsn"), self.tag("dc"), self.tag("ap"), self.tag("segment")].map(str::to_owned));
        row
    }

    fn detailed_row(&self) -> Vec<String> {
        let tags: Vec<String> = self.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        vec![self.name.clone(), self.address(), self.status().to_owned(), tags.join(",")]
    }
}

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let status = invocation.parsed.text("status").to_owned();
    let status = Regex::new(&status)
        .map_err(|error| format!("Failed to compile status regexp: {}", regex_refusal(&error, &status)))?;
    let segment = invocation.parsed.text("segment").to_owned();
    let mut request = Request::get("/v1/agent/members").with("segment", segment.clone());
    if invocation.parsed.bool("wan") {
        request = request.with("wan", "1");
    }
    const WORDS: &str = "Error retrieving members";
    let answer = invocation.ask(request.with_some("filter", invocation.parsed.text("filter")), WORDS)?;
    let mut members: Vec<Member> = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    members.retain(|member| status.is_match(member.status()));
    for member in &mut members {
        member.complete(&segment);
    }
    if members.is_empty() {
        return Ok(2);
    }
    members.sort_by(|one, other| one.rank().cmp(&other.rank()));
    let detailed = invocation.parsed.bool("detailed");
    let headers: &[&str] = if detailed {
        &["Node", "Address", "Status", "Tags"]
    } else {
        &["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"]
    };
    let mut rows: Vec<Vec<String>> = vec![headers.iter().map(|header| (*header).to_owned()).collect()];
    rows.extend(members.iter().map(|member| if detailed { member.detailed_row() } else { member.row() }));
    invocation.io.say(columns(&rows));
    Ok(0)
}
