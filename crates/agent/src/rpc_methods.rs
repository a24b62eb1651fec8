//! The RPC methods that are about this agent and its pools: events, keys, coordinates, the servers themselves.
//!
//! Not here: methods about the state, which `server::rpc` has.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use acl::AllowAll;
use bytes::Bytes;
use gossip::serf::consul;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use server::rpc::AgentMethods;
use state::coordinate::Coordinate;
use state::kv::Octets;
use wire::msgpack;
use wire::rpc::Empty;

use crate::Agent;
use crate::pool::{KeyringOperation, KeyringResponse};

type Answered = Result<Vec<u8>, String>;

/// Methods that only a leader answers.
const FOR_LEADERS: &[&str] = &[
    "Coordinate.Update",
    "Curule.AutopilotReport",
    "Operator.RaftGetConfiguration",
    "Operator.RaftRemovePeerByAddress",
    "Operator.RaftRemovePeerByID",
    "Operator.TransferLeader",
];

/// Answers for an agent.
#[derive(Clone)]
pub struct Methods(pub Agent);

/// `structs.EventFireRequest`; the payload is encoded already.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct EventFire {
    name: String,
    payload: Octets,
}

/// `structs.KeyringRequest`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Keyring {
    operation: String,
    key: String,
    relay_factor: u8,
    local_only: bool,
}

/// `structs.KeyringResponse`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeyringAnswer {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    segment: String,
    messages: BTreeMap<String, String>,
    keys: BTreeMap<String, usize>,
    primary_keys: BTreeMap<String, usize>,
    num_nodes: usize,
    error: String,
}

impl From<KeyringResponse> for KeyringAnswer {
    fn from(response: KeyringResponse) -> Self {
        let KeyringResponse { wan, datacenter, segment, messages, keys, primary_keys, num_nodes, error } = response;
        KeyringAnswer { wan, datacenter, segment, messages, keys, primary_keys, num_nodes, error }
    }
}

/// `structs.RaftRemovePeerRequest`, and what names the server that is to lead.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Peer {
    #[serde(rename = "ID")]
    id: String,
    address: String,
}

/// `structs.RaftServer`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RaftServer {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    protocol_version: &'static str,
    voter: bool,
    last_index: u64,
}

fn read<T: DeserializeOwned>(args: &[u8]) -> Result<T, String> {
    msgpack::from_slice(args).map_err(|error| format!("rpc: cannot decode: {error}"))
}

fn write<T: Serialize + ?Sized>(answer: &T) -> Answered {
    msgpack::to_vec(answer).map_err(|error| error.to_string())
}

impl Methods {
    async fn answer(self, method: String, args: Bytes) -> Answered {
        let agent = &self.0;
        match method.as_str() {
            "Catalog.ListDatacenters" => write(&[&agent.settings().datacenter]),
            "Coordinate.Update" => {
                let coordinate: Coordinate = read(&args)?;
                let updated = agent.cluster().update_coordinate(coordinate, &AllowAll).await;
                updated.map_err(|error| error.to_string())?;
                write(&Empty {})
            }
            "Curule.AutopilotReport" => {
                let report = agent.own_report().await.ok_or(server::Error::NoLeader);
                write(&report.map_err(|error| error.to_string())?.told())
            }
            "Internal.EventFire" => {
                let EventFire { name, payload } = read(&args)?;
                agent.gossip_event(consul::event_name(&name), payload.0).await?;
                write(&Empty {})
            }
            "Internal.KeyringOperation" => {
                let asked: Keyring = read(&args)?;
                let operation = match asked.operation.as_str() {
                    "list" => KeyringOperation::List,
                    "install" => KeyringOperation::Install(asked.key),
                    "use" => KeyringOperation::Use(asked.key),
                    "remove" => KeyringOperation::Remove(asked.key),
                    unknown => return Err(format!("unrecognized keyring operation: {unknown}")),
                };
                let answers = agent.keyring(operation, asked.relay_factor, asked.local_only).await;
                let answers: Vec<KeyringAnswer> = answers.into_iter().map(KeyringAnswer::from).collect();
                write(&BTreeMap::from([("Responses", answers)]))
            }
            "Operator.RaftGetConfiguration" => {
                #[derive(Serialize)]
                #[serde(rename_all = "PascalCase")]
                struct Configuration {
                    servers: Vec<RaftServer>,
                    index: u64,
                }
                let names = agent.server_names();
                let servers = agent.peers().into_iter().map(|server| RaftServer {
                    node: names.get(&server.id).cloned().unwrap_or_else(|| "(unknown)".to_owned()),
                    id: server.id,
                    address: server.address,
                    leader: server.leader,
                    protocol_version: "3",
                    voter: server.voter,
                    last_index: server.last_index,
                });
                write(&Configuration { servers: servers.collect(), index: 0 })
            }
            "Operator.RaftRemovePeerByID" | "Operator.RaftRemovePeerByAddress" => {
                let asked: Peer = read(&args)?;
                let servers = agent.peers();
                let found = servers.into_iter().find(|server| {
                    if asked.id.is_empty() { server.address == asked.address } else { server.id == asked.id }
                });
                let Some(server) = found else {
                    let (what, which) =
                        if asked.id.is_empty() { ("address", &asked.address) } else { ("id", &asked.id) };
                    return Err(format!("{what} {which:?} was not found in the Raft configuration"));
                };
                agent.cluster().remove_server(&server.id).await.map_err(|error| error.to_string())?;
                write(&Empty {})
            }
            "Operator.TransferLeader" => {
                let asked: Peer = read(&args)?;
                let id = Some(asked.id.as_str()).filter(|id| !id.is_empty());
                agent.cluster().transfer_leadership(id).await.map_err(|error| error.to_string())?;
                write(&BTreeMap::from([("Success", true)]))
            }
            _ => Err(format!("rpc: can't find method {method}")),
        }
    }
}

impl Agent {
    /// The servers of this server's cluster.
    fn peers(&self) -> Vec<server::RaftPeer> {
        self.cluster().server().map(server::Server::raft_configuration).unwrap_or_default()
    }
}

impl AgentMethods for Methods {
    fn call(&self, method: &str, args: Bytes) -> Option<Pin<Box<dyn Future<Output = Answered> + Send>>> {
        let is_known = FOR_LEADERS.contains(&method)
            || matches!(method, "Catalog.ListDatacenters" | "Internal.EventFire" | "Internal.KeyringOperation");
        is_known.then(|| {
            let answering: Pin<Box<dyn Future<Output = Answered> + Send>> =
                Box::pin(self.clone().answer(method.to_owned(), args));
            answering
        })
    }

    fn needs_leader(&self, method: &str) -> bool {
        FOR_LEADERS.contains(&method)
    }
}
