//! The answering side: a method's name to what it does.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use acl::{AllowAll, Authorizer};
use bytes::Bytes;
use net::rpc::{BoxedStream, Handler};
use serde::Serialize;
use serde::de::DeserializeOwned;
use state::{Command, Query, Seen};
use wire::msgpack;
use wire::rpc::Empty;

use super::ask::Renewal;
use super::commands::{name_what_is_new, pack_outcome, unpack};
use super::envelope::{Carried, Meta, Options, pack_answer};
use super::{Far, Fields, Hold};
use crate::{Error, ReadMode, Server};

/// What a call comes to: the body of the answer, or an error in words.
type Answered = Result<Vec<u8>, String>;
type Answering = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// Methods that are about the agent and its pools rather than the state.
pub trait AgentMethods: Send + Sync + 'static {
    /// Answers a method, if it is one of these. `leads`: only a leader answers it.
    fn call(&self, method: &str, args: Bytes) -> Option<Answering>;
    /// Whether only the leader may answer this method.
    fn needs_leader(&self, method: &str) -> bool;
}

/// Answers the calls of clients and other servers.
#[derive(Clone)]
pub struct Dispatcher {
    pub server: Server,
    pub far: Far,
    pub agent: Arc<dyn AgentMethods>,
}

impl Dispatcher {
    /// Answers one call.
    pub async fn answer(&self, method: &str, args: Bytes) -> Answered {
        let options: Options = msgpack::from_slice(&args).unwrap_or_default();
        if !options.datacenter.is_empty() && *options.datacenter != *self.far.datacenter {
            return Err("No path to datacenter".to_owned());
        }
        if method.starts_with("Status.") {
            return self.status(method).await;
        }
        let is_write =
            unpack(method, &[0x80]).is_some() || method == "Session.Renew" || self.agent.needs_leader(method);
        // The pools are here, whoever leads.
        let is_local = !is_write && self.agent.call(method, Bytes::new()).is_some();
        let needs_leader = is_write || (!is_local && options.mode() != ReadMode::Stale);
        let mut hold = Hold::begin(self.far.hold);
        loop {
            let came = if !needs_leader || self.server.is_leader() {
                self.here(method, &args, &options).await
            } else if let Some(leader) = self.leader_elsewhere() {
                let wait = Duration::from_nanos(u64::try_from(options.max_query_time).unwrap_or(0));
                let wait = wait + wait / 8 + self.far.hold + Duration::from_secs(30);
                self.far.call(leader, method, args.to_vec(), wait).await.map_err(Some)
            } else {
                Err(Some(Error::NoLeader))
            };
            match came {
                Ok(body) => return Ok(body.to_vec()),
                Err(None) => return Err(unknown(method)),
                // Nothing was done: once more, when somebody leads.
                Err(Some(Error::NoLeader | Error::Unreachable(_))) if hold.pause().await => {}
                Err(Some(Error::Unreachable(_))) => return Err(Error::NoLeader.to_string()),
                Err(Some(Error::Remote(text))) => return Err(text),
                Err(Some(error)) => return Err(error.to_string()),
            }
        }
    }

    pub(super) fn leader_elsewhere(&self) -> Option<SocketAddr> {
        let leader = self.server.leader()?;
        if leader.id == self.server.node_id() { None } else { self.server.address_of(&leader).parse().ok() }
    }

    /// Answers here; `Err(None)` when there is no such method.
    async fn here(&self, method: &str, args: &Bytes, options: &Options) -> Result<Bytes, Option<Error>> {
        if let Some(command) = unpack(method, args) {
            let command = command.map_err(|error| Some(unreadable(&error)))?;
            return self.write(method, command).await.map(Bytes::from).map_err(Some);
        }
        if let Some(answering) = self.agent.call(method, args.clone()) {
            return answering.await.map(Bytes::from).map_err(|text| Some(Error::Remote(text)));
        }
        if method == "Session.Renew" {
            return self.renew(args).await.map(Bytes::from).map_err(Some);
        }
        self.read_by_name(method, args, options).await.map(Bytes::from)
    }

    async fn write(&self, method: &str, mut command: Command) -> Result<Vec<u8>, Error> {
        name_what_is_new(&mut command, || uuid::Uuid::new_v4().to_string());
        let id = match &command {
            Command::PreparedQuery(request) => request.query.id.clone(),
            _ => String::new(),
        };
        let outcome = self.server.write(command, &AllowAll).await?;
        pack_outcome(&id, method, outcome).map_err(|error| unreadable(&error))
    }

    async fn renew(&self, args: &[u8]) -> Result<Vec<u8>, Error> {
        let renewal: Renewal = msgpack::from_slice(args).map_err(|error| unreadable(&error))?;
        let id = if renewal.session_id.is_empty() { renewal.session } else { renewal.session_id };
        let session = self.server.renew_session(&id, &AllowAll).await?;
        let meta = Meta::from(self.server.meta(self.server.state().applied(), ReadMode::Default));
        Fields::of("Sessions", &session.map(|session| vec![session]))
            .and_then(|fields| fields.and(Fields::all(&meta)?).encode())
            .map_err(|error| unreadable(&error))
    }

    async fn read<Q: Carried + DeserializeOwned>(
        &self,
        args: &[u8],
        options: &Options,
    ) -> Result<Vec<u8>, Option<Error>> {
        let query: Q = msgpack::from_slice(args).map_err(|error| Some(unreadable(&error)))?;
        let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
        let read = self.server.read(&query, &options.read_options(), &may, &mut Seen::default()).await;
        let (mut answer, _) = read.map_err(Some)?;
        if !options.filter.is_empty() {
            query.filter(&mut answer.answer, &options.filter).map_err(|error| Some(Error::Refused(error)))?;
        }
        pack_answer(&query, answer).map_err(|error| Some(unreadable(&error)))
    }

    async fn status(&self, method: &str) -> Answered {
        fn encode<T: Serialize + ?Sized>(value: &T) -> Answered {
            msgpack::to_vec(value).map_err(|error| error.to_string())
        }
        match method {
            "Status.Ping" => encode(&Empty {}),
            "Status.Leader" => encode(&self.server.leader_address().unwrap_or_default()),
            "Status.Peers" => {
                let peers = self.server.raft_configuration();
                encode(&peers.into_iter().map(|peer| peer.address).collect::<Vec<_>>())
            }
            "Status.RaftStats" => {
                #[derive(Serialize)]
                #[serde(rename_all = "PascalCase")]
                struct RaftStats {
                    last_contact: String,
                    last_term: u64,
                    last_index: u64,
                }
                let stats = self.server.stats();
                let last_contact = wire::duration::GoDuration::from(self.server.last_contact()).to_string();
                let (last_term, last_index) = (stats.last_log_term, stats.last_log_index);
                encode(&RaftStats { last_contact, last_term, last_index })
            }
            _ => Err(unknown(method)),
        }
    }
}

/// Compat: the reference tells whether the service is unknown or only the method.
fn unknown(method: &str) -> String {
    let service = method.split('.').next().unwrap_or_default();
    let mut known = Dispatcher::reading_methods().into_iter().filter_map(|known| known.split('.').next());
    let is_known = service == "Status" || known.any(|known| known == service);
    format!("rpc: can't find {} {method}", if is_known { "method" } else { "service" })
}

/// One line for each query: a query that is not here has no method.
macro_rules! queries {
    ($($query:ty),+ $(,)?) => {
        impl Dispatcher {
            async fn read_by_name(&self, method: &str, args: &Bytes, options: &Options) -> Result<Vec<u8>, Option<Error>> {
                $(if method == <$query as Query>::METHOD {
                    return self.read::<$query>(args, options).await;
                })+
                Err(None)
            }

            /// The methods that read.
            pub(crate) fn reading_methods() -> Vec<&'static str> {
                vec![$(<$query as Query>::METHOD),+]
            }
        }
    };
}

queries!(
    state::catalog::CatalogListNodes,
    state::catalog::CatalogListServices,
    state::catalog::CatalogServiceList,
    state::catalog::CatalogServiceNodes,
    state::catalog::CatalogNodeServices,
    state::catalog::CatalogNodeServiceList,
    state::catalog::CatalogGatewayServices,
    state::catalog::InternalNodeInfo,
    state::catalog::InternalNodeDump,
    state::catalog::InternalServiceDump,
    state::health::ChecksInState,
    state::health::HealthNodeChecks,
    state::health::HealthServiceChecks,
    state::health::HealthServiceNodes,
    state::kv::KvGet,
    state::kv::KvList,
    state::kv::KvKeys,
    state::session::SessionGet,
    state::session::SessionList,
    state::session::NodeSessions,
    state::coordinate::CoordinateListNodes,
    state::coordinate::CoordinateNode,
    state::prepared_query::PreparedQueryGet,
    state::prepared_query::PreparedQueryList,
    state::prepared_query::PreparedQueryExecute,
    state::prepared_query::PreparedQueryExplain,
    state::txn::TxnRead,
    state::usage::OperatorUsage,
    state::autopilot::AutopilotGet,
    state::config_entry::ConfigEntryGet,
    state::config_entry::ConfigEntryList,
    state::config_entry::ConfigEntryListAll,
    state::config_entry::ConfigEntryResolveServiceConfig,
    state::config_entry::ConfigEntryResolvedExports,
);

fn unreadable(error: &msgpack::Error) -> Error {
    Error::Remote(format!("rpc: cannot decode: {error}"))
}

impl Handler for Dispatcher {
    fn call(&self, method: &str, args: Bytes, _peer: SocketAddr) -> futures_util::future::BoxFuture<'static, Answered> {
        let (dispatcher, method) = (self.clone(), method.to_owned());
        Box::pin(async move { dispatcher.answer(&method, args).await })
    }

    fn raft(&self, stream: BoxedStream, peer: SocketAddr) -> futures_util::future::BoxFuture<'static, ()> {
        let server = self.server.clone();
        Box::pin(async move {
            if let Err(error) = server.receive_raft(stream).await {
                tracing::debug!(target: "agent.server.raft", %peer, %error, "a connection of raft ended");
            }
        })
    }

    fn snapshot(&self, stream: BoxedStream, peer: SocketAddr) -> futures_util::future::BoxFuture<'static, ()> {
        let dispatcher = self.clone();
        Box::pin(async move {
            if let Err(error) = super::archive_stream::answer(&dispatcher, stream).await {
                tracing::debug!(target: "agent.server", %peer, %error, "a snapshot stream ended");
            }
        })
    }
}
