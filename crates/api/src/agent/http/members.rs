//! The members of the gossip pools: who they are, who joins, who is let go.

use std::collections::BTreeMap;
use std::net::IpAddr;

use acl::{Access, Need, Resource};
use filter::Shape::{Int, List, Map, String as Text, Struct, Uint8, Uint16};
use filter::{Record, Shape, Value};
use serde::Serialize;

use crate::Api;
use crate::http::{Asker, Failure, Filtering, Guard, Reply, Request, Route};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            pattern: "/v1/agent/members",
            methods: &["GET"],
            guard: Guard::Handler("node:read on each row"),
            handler: |api, req, asker| Box::pin(members(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/join/",
            methods: &["PUT"],
            guard: Guard::Agent(Access::Write),
            handler: |api, req, asker| Box::pin(join(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/force-leave/",
            methods: &["PUT"],
            guard: Guard::Operator(Access::Write),
            handler: |api, req, asker| Box::pin(force_leave(api, req, asker)),
        },
    ]
}

/// `serf.Member`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Member {
    name: String,
    addr: IpAddr,
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

impl From<::agent::Member> for Member {
    fn from(member: ::agent::Member) -> Self {
        Member {
            name: member.name,
            addr: member.address,
            port: member.port,
            tags: member.tags,
            status: member.status,
            protocol_min: member.protocol_min,
            protocol_max: member.protocol_max,
            protocol_cur: member.protocol_cur,
            delegate_min: member.delegate_min,
            delegate_max: member.delegate_max,
            delegate_cur: member.delegate_cur,
        }
    }
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
            "Addr" => Value::List(Box::new(octets(self.addr).into_iter().map(narrow))),
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

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// This agent as a member of its LAN pool.
pub(super) fn own(api: &Api) -> Option<Member> {
    let members = api.agent.members(false)?;
    members.into_iter().find(|member| member.name == api.settings.node_name).map(Member::from)
}

async fn members(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let wan = wants_wan(req);
    match req.filled("segment") {
        None | Some("_all") => {}
        Some(_) if wan => return Err(Failure::bad_request("Cannot provide a segment with wan=true")),
        Some(_) => {
            return Err(Failure::internal("Network segments are not supported in this version of Consul"));
        }
    }
    let pool = api.agent.members(wan);
    if pool.is_none() && req.filled("filter").is_none() {
        // Compat: without such a pool, and nothing to filter with, there is no list at all.
        return Ok(Reply::json(&None::<Member>));
    }
    let filter = Filtering::of(req, &SHAPE)?;
    let members: Vec<Member> = pool
        .unwrap_or_default()
        .into_iter()
        .map(Member::from)
        .filter(|member| asker.may.allows(Need::read(Resource::Node(&member.name))))
        .filter(|member| filter.keeps(member))
        .collect();
    Ok(Reply::json(&members))
}

/// Compat: of members and when joining the flag needs a value, and any will do.
fn wants_wan(req: &Request) -> bool {
    req.filled("wan").is_some()
}

async fn join(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    let address = req.rest("/v1/agent/join/").to_owned();
    api.agent.join(&[address], wants_wan(req)).await.map_err(Failure::internal)?;
    Ok(Reply::empty())
}

async fn force_leave(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    let node = req.rest("/v1/agent/force-leave/");
    api.agent.force_leave(node, req.has("prune"), req.has("wan")).await.map_err(Failure::internal)?;
    Ok(Reply::empty())
}
