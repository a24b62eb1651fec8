//! The members of the gossip pool. Until gossip is built, that is this agent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use acl::{Need, Resource};
use filter::Shape::{Int, List, Map, String as Text, Struct, Uint8, Uint16};
use filter::{Record, Shape, Value};
use serde::Serialize;

use crate::Api;
use crate::http::{Asker, Failure, Filtering, Guard, Reply, Request, Route};

pub(super) fn routes() -> Vec<Route> {
    vec![Route {
        pattern: "/v1/agent/members",
        methods: &["GET"],
        guard: Guard::Handler("node:read on each row"),
        handler: |api, req, asker| Box::pin(members(api, req, asker)),
    }]
}

/// `serf.Member`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Member {
    pub name: String,
    addr: String,
    port: u16,
    tags: BTreeMap<String, String>,
    status: u8,
    protocol_min: u8,
    protocol_max: u8,
    protocol_cur: u8,
    delegate_min: u8,
    delegate_max: u8,
    delegate_cur: u8,
}

const SHAPE: Shape = Struct(&[
    ("Name", Text),
    ("Addr", List(&Uint8)),
    ("Port", Uint16),
    ("Tags", Map(&Text)),
    ("Status", Int),
    ("ProtocolMin", Uint8),
    ("ProtocolMax", Uint8),
    ("ProtocolCur", Uint8),
    ("DelegateMin", Uint8),
    ("DelegateMax", Uint8),
    ("DelegateCur", Uint8),
]);

impl Record for Member {
    fn field(&self, name: &str) -> Value<'_> {
        let narrow = |number: u8| Value::Uint(number.into());
        match name {
            "Name" => Value::Str(&self.name),
            "Addr" => Value::List(Box::new(octets(&self.addr).into_iter().map(narrow))),
            "Port" => Value::Uint(self.port.into()),
            "Tags" => Value::Map(&self.tags),
            "Status" => Value::Int(self.status.into()),
            "ProtocolMin" => narrow(self.protocol_min),
            "ProtocolMax" => narrow(self.protocol_max),
            "ProtocolCur" => narrow(self.protocol_cur),
            "DelegateMin" => narrow(self.delegate_min),
            "DelegateMax" => narrow(self.delegate_max),
            "DelegateCur" => narrow(self.delegate_cur),
            _ => Value::Nil,
        }
    }
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse() {
        Ok(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Ok(IpAddr::V6(ip)) => ip.octets().to_vec(),
        Err(_) => Vec::new(),
    }
}

/// A member that is up.
const ALIVE: u8 = 1;

/// This agent as a member of the LAN pool, or of the WAN pool.
pub(super) fn own(api: &Api, wan: bool) -> Member {
    let settings = &api.settings;
    let tags = [
        ("acls", "0".to_owned()),
        ("build", format!("{}:", settings.version)),
        ("dc", settings.datacenter.clone()),
        ("ft_fs", "1".to_owned()),
        ("ft_si", "1".to_owned()),
        ("id", settings.node_id.clone()),
        ("port", settings.server_port.to_string()),
        ("raft_vsn", "3".to_owned()),
        ("role", "consul".to_owned()),
        ("segment", String::new()),
        ("vsn", "2".to_owned()),
        ("vsn_max", "3".to_owned()),
        ("vsn_min", "2".to_owned()),
    ];
    let mut tags: BTreeMap<String, String> = tags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    match settings.serf_wan_port {
        Some(port) if !wan => {
            tags.insert("wan_join_port".to_owned(), port.to_string());
        }
        _ => {}
    }
    Member {
        name: if wan { format!("{}.{}", settings.node_name, settings.datacenter) } else { settings.node_name.clone() },
        addr: settings.advertise_address.clone(),
        port: if wan { settings.serf_wan_port.unwrap_or(0) } else { settings.serf_lan_port },
        tags,
        status: ALIVE,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    }
}

async fn members(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    // Compat: here the flag needs a value.
    let wan = req.filled("wan").is_some();
    match req.filled("segment") {
        None | Some("_all") => {}
        Some(_) if wan => return Err(Failure::bad_request("Cannot provide a segment with wan=true")),
        Some(_) => {
            return Err(Failure::internal("Network segments are not supported in this version of Consul"));
        }
    }
    let filter = Filtering::of(req, &SHAPE)?;
    let members: Vec<Member> = std::iter::once(own(api, wan))
        .filter(|_| !wan || api.settings.serf_wan_port.is_some())
        .filter(|member| filter.keeps(member))
        .filter(|member| asker.may.allows(Need::read(Resource::Node(&member.name))))
        .collect();
    Ok(Reply::json(&members))
}
