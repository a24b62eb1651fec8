//! What Consul says over Serf: the tags of its agents, whom it lets into a pool, and its user events.
//!
//! Not here: what a server is used for (`agent`), what an event means (`state::event`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;
use wire::msgpack;

use super::Admission;
use super::member::{Member, MemberStatus, Tags};

/// A client asks by this tag to be forgotten earlier or later than others once it failed.
pub const RECONNECT_TIMEOUT_TAG: &str = "rc_tm";
/// Least and greatest Consul protocol (`vsn_min`, `vsn_max`).
pub const PROTOCOL_MIN: u8 = 2;
pub const PROTOCOL_MAX: u8 = 3;

/// The Serf protocol that agents of a Consul protocol speak.
#[must_use]
pub fn serf_protocol(consul_protocol: u8) -> u8 {
    // Compat: protocol 1 spoke Serf's 4 as well; all that is left speaks it.
    debug_assert!(consul_protocol <= PROTOCOL_MAX);
    4
}

/// What every agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTags {
    pub datacenter: String,
    pub segment: String,
    pub node_id: String,
    /// Consul's protocol, 2 unless configured.
    pub protocol: u8,
    /// Version and revision: `1.22.0:0a1b2c3d`.
    pub build: String,
}

/// What a server says besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTags {
    pub rpc_port: u16,
    /// Said in the LAN pool only, and only if there is a WAN pool.
    pub wan_serf_port: Option<u16>,
    pub grpc_port: Option<u16>,
    pub grpc_tls_port: Option<u16>,
    pub raft_protocol: u8,
    pub bootstrap: bool,
    /// 0 if not configured.
    pub bootstrap_expect: u32,
    pub read_replica: bool,
    /// Other servers are to use TLS.
    pub use_tls: bool,
    pub acls_enabled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    Lan,
    Wan,
}

fn common(agent: &AgentTags, role: &str) -> Tags {
    [
        ("role", role.to_owned()),
        ("dc", agent.datacenter.clone()),
        ("segment", agent.segment.clone()),
        ("id", agent.node_id.clone()),
        ("vsn", agent.protocol.to_string()),
        ("vsn_min", PROTOCOL_MIN.to_string()),
        ("vsn_max", PROTOCOL_MAX.to_string()),
        ("build", agent.build.clone()),
    ]
    .map(|(tag, value)| (tag.to_owned(), value))
    .into()
}

/// The tags of a client agent.
#[must_use]
pub fn client_tags(agent: &AgentTags, advertise_reconnect_timeout: Option<Duration>) -> Tags {
    let mut tags = common(agent, "node");
    if let Some(timeout) = advertise_reconnect_timeout.filter(|timeout| !timeout.is_zero()) {
        tags.insert(RECONNECT_TIMEOUT_TAG.to_owned(), GoDuration::from(timeout).to_string());
    }
    tags
}

/// The tags of a server in one of its pools.
#[must_use]
pub fn server_tags(agent: &AgentTags, server: &ServerTags, pool: PoolKind) -> Tags {
    let mut tags = common(agent, "consul");
    let mut set = |tag: &str, value: String| {
        tags.insert(tag.to_owned(), value);
    };
    set("raft_vsn", server.raft_protocol.to_string());
    set("port", server.rpc_port.to_string());
    if let (PoolKind::Lan, Some(port)) = (pool, server.wan_serf_port) {
        set("wan_join_port", port.to_string());
    }
    if let Some(port) = server.grpc_port {
        set("grpc_port", port.to_string());
    }
    if let Some(port) = server.grpc_tls_port {
        set("grpc_tls_port", port.to_string());
    }
    if server.bootstrap {
        set("bootstrap", "1".to_owned());
    }
    if server.bootstrap_expect != 0 {
        set("expect", server.bootstrap_expect.to_string());
    }
    if server.read_replica {
        // Compat: servers before 1.9 know the old name.
        set("nonvoter", "1".to_owned());
        set("read_replica", "1".to_owned());
    }
    if server.use_tls {
        set("use_tls", "1".to_owned());
    }
    set("acls", if server.acls_enabled { "1" } else { "0" }.to_owned());
    // Features: federation states, service intentions.
    set("ft_fs", "1".to_owned());
    set("ft_si", "1".to_owned());
    tags
}

/// The name of a server in the WAN pool.
#[must_use]
pub fn wan_name(node: &str, datacenter: &str) -> String {
    format!("{node}.{datacenter}")
}

/// A server as its tags describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As in the pool: `node` or `node.dc`.
    pub name: String,
    pub short_name: String,
    pub id: String,
    pub datacenter: String,
    pub segment: String,
    /// Where it takes RPCs.
    pub address: SocketAddr,
    /// Addresses by segment.
    pub segments: BTreeMap<String, (String, u16)>,
    pub wan_join_port: u16,
    pub lan_join_port: u16,
    pub grpc_port: u16,
    pub grpc_tls_port: u16,
    pub bootstrap: bool,
    pub expect: i64,
    pub build: Version,
    pub protocol: i64,
    pub raft_protocol: i64,
    pub status: MemberStatus,
    pub read_replica: bool,
    pub use_tls: bool,
    pub features: BTreeMap<String, i64>,
}

/// The three numbers that a build begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [i64; 3]);

impl Version {
    /// The first `1.2.3` in a text.
    #[must_use]
    pub fn find(text: &str) -> Option<Version> {
        let mut rest = text;
        while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
            rest = &rest[start..];
            if let Some(numbers) = leading_numbers(rest) {
                // Compat: numbers too great for 64 bits make no version, however the text goes on.
                let mut version = [0; 3];
                for (into, number) in version.iter_mut().zip(numbers) {
                    *into = number.parse().ok()?;
                }
                return Some(Version(version));
            }
            rest = rest.trim_start_matches(|character: char| character.is_ascii_digit());
        }
        None
    }
}

fn leading_numbers(text: &str) -> Option<[&str; 3]> {
    let number = |text: &mut &'_ str| -> Option<usize> {
        let len = text.bytes().take_while(u8::is_ascii_digit).count();
        *text = &text[len..];
        (len > 0).then_some(len)
    };
    let mut rest = text;
    let mut found = [""; 3];
    for (at, into) in found.iter_mut().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('.')?;
        }
        let before = rest;
        let len = number(&mut rest)?;
        *into = &before[..len];
    }
    Some(found)
}

/// The version that a member says it is.
#[must_use]
pub fn build(member: &Member) -> Option<Version> {
    Version::find(member.tag("build"))
}

/// The server that a member is, if it is one and its tags make sense.
#[must_use]
pub fn server(member: &Member) -> Option<Server> {
    if member.tag("role") != "consul" {
        return None;
    }
    let datacenter = member.tag("dc");
    let (mut segments, mut features) = (BTreeMap::new(), BTreeMap::new());
    for (tag, value) in &member.tags {
        if let Some(segment) = tag.strip_prefix("sl_") {
            let (host, port) = value.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            segments.insert(segment.to_owned(), (host.to_owned(), port.parse().ok()?));
        } else if let Some(feature) = tag.strip_prefix("ft_") {
            features.insert(feature.to_owned(), value.parse().ok()?);
        }
    }
    let [grpc_port, grpc_tls_port] = grpc_ports(member)?;
    Some(Server {
        name: member.name.clone(),
        short_name: member.name.strip_suffix(&format!(".{datacenter}")).unwrap_or(&member.name).to_owned(),
        id: member.tag("id").to_owned(),
        datacenter: datacenter.to_owned(),
        segment: member.tag("segment").to_owned(),
        address: SocketAddr::new(member.address.ip(), member.tag("port").parse().ok()?),
        segments,
        wan_join_port: number_or_zero(member, "wan_join_port")?.try_into().ok()?,
        lan_join_port: member.address.port(),
        grpc_port,
        grpc_tls_port,
        bootstrap: member.tags.contains_key("bootstrap"),
        expect: number_or_zero(member, "expect")?,
        build: build(member)?,
        protocol: member.tag("vsn").parse().ok()?,
        raft_protocol: number_or_zero(member, "raft_vsn")?,
        status: member.status,
        read_replica: member.tags.contains_key("nonvoter") || member.tags.contains_key("read_replica"),
        use_tls: member.tags.contains_key("use_tls"),
        features,
    })
}

/// A tag that may be absent, but not nonsense.
fn number_or_zero(member: &Member, tag: &str) -> Option<i64> {
    member.tags.get(tag).map_or(Some(0), |value| value.parse().ok())
}

/// Both gRPC ports. If any is given, one must make sense.
fn grpc_ports(member: &Member) -> Option<[u16; 2]> {
    let ports = ["grpc_port", "grpc_tls_port"].map(|tag| member.tags.get(tag));
    let numbers = ports.map(|port| port.and_then(|port| port.parse().ok()).unwrap_or(0));
    let sensible = ports == [None, None] || numbers != [0, 0];
    sensible.then_some(numbers)
}

/// How long a failed or left member is remembered: as it asks itself, else `timeout`.
#[must_use]
pub fn reconnect_timeout(member: &Member, timeout: Duration) -> Duration {
    match member.tags.get(RECONNECT_TIMEOUT_TAG).map(|asked| GoDuration::parse(asked)) {
        // Compat: zero stands for the default; a negative timeout is over at once.
        Some(Ok(asked)) if asked != GoDuration(0) => asked.to_std(),
        _ => timeout,
    }
}

/// Since this version agents have an id of their own; before, clones had the same.
const UNIQUE_IDS_SINCE: Version = Version([0, 8, 5]);

/// Who may be in the LAN pool: agents of this datacenter, each with its own id.
#[derive(Debug, Clone)]
pub struct LanAdmission {
    pub datacenter: String,
    pub node_id: String,
    pub node_name: String,
}

impl Admission for LanAdmission {
    fn admit(&self, members: &[Member]) -> Result<(), String> {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for member in members {
            let (name, id) = (member.name.as_str(), member.tag("id"));
            if !id.is_empty() {
                if member.status == MemberStatus::Left {
                    // Compat: no other rule is asked either.
                    continue;
                }
                if id == self.node_id && !equal_fold(name, &self.node_name) {
                    return Err(format!("Member '{name}' has conflicting node ID '{id}' with this agent's ID"));
                }
                if let Some(other) = names.get(id) {
                    return Err(format!("Member '{name}' has conflicting node ID '{id}' with member '{other}'"));
                }
                if build(member).is_some_and(|version| version >= UNIQUE_IDS_SINCE) {
                    names.insert(id, name);
                }
            }
            let is_agent = member.tag("role") == "node" || server(member).is_some();
            let datacenter = member.tag("dc");
            if is_agent && datacenter != self.datacenter {
                return Err(format!("Member '{name}' part of wrong datacenter '{datacenter}'"));
            }
            only_in_enterprise(member)?;
        }
        Ok(())
    }
}

/// What members of an enterprise pool have.
fn only_in_enterprise(member: &Member) -> Result<(), String> {
    let name = &member.name;
    if !member.tag("fips").is_empty() {
        return Err(format!("Member '{name}' is FIPS Consul; FIPS Consul is only available in Consul Enterprise"));
    }
    let partition = member.tag("ap");
    if !partition.is_empty() {
        return Err(format!(
            "Member '{name}' part of partition '{partition}'; Partitions are a Consul Enterprise feature"
        ));
    }
    let segment = member.tag("segment");
    if !segment.is_empty() {
        return Err(format!(
            "Member '{name}' part of segment '{segment}'; Network Segments are a Consul Enterprise feature"
        ));
    }
    Ok(())
}

/// Go's `strings.EqualFold`, for the names that nodes have.
fn equal_fold(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

/// Who may be in the WAN pool: servers.
#[derive(Debug, Clone)]
pub struct WanAdmission {
    pub datacenter: String,
    /// Only servers of this datacenter.
    pub federation_disabled: bool,
}

impl Admission for WanAdmission {
    fn admit(&self, members: &[Member]) -> Result<(), String> {
        for member in members {
            let name = &member.name;
            let Some(server) = server(member) else {
                return Err(format!("Member '{name}' is not a server"));
            };
            if self.federation_disabled && server.datacenter != self.datacenter {
                return Err(format!(
                    "Member '{name}' part of wrong datacenter '{}'; WAN federation is disabled",
                    server.datacenter
                ));
            }
        }
        Ok(())
    }
}

/// Before the name of a user event of `/v1/event`.
const EVENT_PREFIX: &str = "consul:event:";
/// A server has become the leader; the payload is its name.
pub const NEW_LEADER: &str = "consul:new-leader";
/// The greatest version of an event's payload that we understand, and the one that we write.
pub const EVENT_VERSION: u64 = 1;

/// The Serf name of a Consul event.
#[must_use]
pub fn event_name(name: &str) -> String {
    format!("{EVENT_PREFIX}{name}")
}

/// What a user event of the LAN pool is to Consul.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsulEvent<'e> {
    /// A server says that there is a new leader.
    NewLeader,
    /// One of `/v1/event`, with the name that it was fired by.
    User(&'e str),
    /// Consul's, but none that we know: worth a warning.
    Unknown,
    /// Not Consul's.
    Foreign,
}

/// Sorts a user event by its Serf name.
#[must_use]
pub fn classify_event(name: &str) -> ConsulEvent<'_> {
    if name == NEW_LEADER {
        ConsulEvent::NewLeader
    } else if let Some(name) = name.strip_prefix(EVENT_PREFIX) {
        ConsulEvent::User(name)
    } else if name.starts_with("consul:") {
        ConsulEvent::Unknown
    } else {
        ConsulEvent::Foreign
    }
}

/// The payload of a Consul event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventPayload {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "n")]
    pub name: String,
    #[serde(rename = "p", deserialize_with = "wire::nil_when_empty::deserialize")]
    pub payload: Bytes,
    /// Regular expressions, "" for none.
    #[serde(rename = "nf")]
    pub node_filter: String,
    #[serde(rename = "sf")]
    pub service_filter: String,
    #[serde(rename = "tf")]
    pub tag_filter: String,
    #[serde(rename = "v")]
    pub version: u64,
}

impl EventPayload {
    pub fn decode(payload: &[u8]) -> Result<EventPayload, msgpack::Error> {
        msgpack::Decoder::new(payload).decode()
    }

    /// Unlike everything else, events are written in the later msgpack dialect, which tells text from bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        // In the order of the keys.
        let fields = [
            ("ID", Field::Text(&self.id)),
            ("n", Field::Text(&self.name)),
            ("nf", Field::Optional(&self.node_filter)),
            ("p", Field::Payload(&self.payload)),
            ("sf", Field::Optional(&self.service_filter)),
            ("tf", Field::Optional(&self.tag_filter)),
            ("v", Field::Number(self.version)),
        ];
        let present: Vec<_> = fields.into_iter().filter(|(_, field)| !field.is_left_out()).collect();
        let mut out = vec![0x80 | u8::try_from(present.len()).expect("there are seven at most")];
        for (key, field) in present {
            put_text(&mut out, key);
            match field {
                Field::Text(text) | Field::Optional(text) => put_text(&mut out, text),
                Field::Payload(bytes) => put_bytes(&mut out, bytes),
                Field::Number(number) => msgpack::write_to(&mut out, &number).expect("a number can be written"),
            }
        }
        out.into()
    }
}

enum Field<'e> {
    Text(&'e str),
    Optional(&'e str),
    Payload(&'e [u8]),
    Number(u64),
}

impl Field<'_> {
    fn is_left_out(&self) -> bool {
        match self {
            Field::Optional(text) => text.is_empty(),
            Field::Payload(bytes) => bytes.is_empty(),
            Field::Text(_) | Field::Number(_) => false,
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(len @ 0..=31) => {
            out.push(0xa0 | len);
            out.extend_from_slice(text.as_bytes());
        }
        _ => put_long(out, [0xd9, 0xda, 0xdb], text.as_bytes()),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, [0xc4, 0xc5, 0xc6], bytes);
}

/// With a length of one, two or four bytes.
fn put_long(out: &mut Vec<u8>, markers: [u8; 3], bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("events are shorter than 4 GiB");
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len), _) => out.extend_from_slice(&[markers[0], len]),
        (_, Ok(len)) => {
            out.push(markers[1]);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(markers[2]);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
