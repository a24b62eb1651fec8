//! What an agent is in its datacenter: a server, with a state of its own, or a client that asks servers.

use std::sync::Arc;
use std::time::Duration;

use agent::telemetry::{Members, StateUsage, record_usage};
use agent::{Agent, Cluster, Methods, ServerIdentity, Servers};
use config::runtime::{Listen, Runtime};
use server::Server;
use server::rpc::Dispatcher;
use state::State;
use state::config_entry::Entry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agent_command::cannot_listen;
use crate::{COMPATIBLE_VERSION, bootstrap_entries, settings};

/// How often the state is counted for the metrics, as in the reference.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// The first time after a start, which leaves more behind than an hour of rest.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Large for the allocator; never touched.
const LARGE: usize = 4 << 20;

/// A running agent with what its role needs.
pub enum Role {
    Server { agent: Agent, server: Server, listening: JoinHandle<()>, stop: CancellationToken },
    Client { agent: Agent },
}

impl Role {
    /// Starts a server: its state, its RPC port, its pools, its duties.
    pub async fn server(runtime: &Runtime, node_id: &str, central: Vec<Entry>) -> Result<Self, String> {
        let config = settings::server(runtime, node_id);
        let server = tokio::task::spawn_blocking(move || Server::start(config))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("Failed to start Consul server: {error}"))?;
        let far = settings::far(runtime);
        let cluster = Cluster::local(server.clone(), settings::coordinates(runtime), far.clone());
        let agent = Agent::start(settings::agent(runtime, node_id), cluster);
        let stop = CancellationToken::new();
        let dispatcher = Dispatcher { server: server.clone(), far, agent: Arc::new(Methods(agent.clone())) };
        let listening = listen(dispatcher, runtime, stop.clone()).await?;
        let identity = ServerIdentity { port: runtime.ports.server, version: COMPATIBLE_VERSION.to_owned() };
        if server.is_leader() {
            agent.register_server(&identity).await.map_err(|error| error.to_string())?;
        }
        agent.enter_pools(settings::gossip(runtime, node_id)).await?;
        tokio::spawn(agent.clone().keep_members_registered(identity));
        let expect = usize::try_from(runtime.bootstrap_expect).unwrap_or(0);
        tokio::spawn(agent.clone().keep_servers_together(server.clone(), expect));
        if server.is_leader() {
            // Whoever is answered by the only server finds them.
            bootstrap_entries::create(&server, &runtime.datacenter, &central).await;
        }
        tokio::spawn(bootstrap_entries::keep_present(server.clone(), runtime.datacenter.clone(), central));
        Ok(Role::Server { agent, server, listening, stop })
    }

    /// Starts a client: its pool, and the servers that it finds there.
    pub async fn client(runtime: &Runtime, node_id: &str) -> Result<Self, String> {
        let servers = Servers::default();
        let cluster = Cluster::remote(settings::far(runtime), servers.clone());
        let agent = Agent::start(settings::agent(runtime, node_id), cluster);
        agent.enter_pools(settings::gossip(runtime, node_id)).await?;
        tokio::spawn(agent.clone().keep_servers_known(servers));
        Ok(Role::Client { agent })
    }

    pub fn agent(&self) -> &Agent {
        match self {
            Role::Server { agent, .. } | Role::Client { agent } => agent,
        }
    }

    /// The newest state; a client has none, and an empty one in its place.
    pub fn state(&self) -> Arc<dyn Fn() -> Arc<State> + Send + Sync> {
        match self {
            Role::Server { server, .. } => {
                let server = server.clone();
                Arc::new(move || server.state())
            }
            Role::Client { .. } => {
                let empty = Arc::new(State::default());
                Arc::new(move || Arc::clone(&empty))
            }
        }
    }

    /// Keeps the gauges of the server and of its state set.
    pub fn report(&self, datacenter: String) {
        if let Role::Server { server, .. } = self {
            tokio::spawn(report(server.clone(), datacenter));
        }
    }

    /// Ends what the role has begun; the agent is stopped by then.
    pub async fn end(self) {
        if let Role::Server { server, listening, stop, .. } = self {
            stop.cancel();
            let _ = listening.await;
            server.shutdown().await;
        }
    }
}

/// Opens the RPC port to clients and other servers.
async fn listen(dispatcher: Dispatcher, runtime: &Runtime, stop: CancellationToken) -> Result<JoinHandle<()>, String> {
    let address = runtime.addresses.rpc_bind;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| cannot_listen("tcp", &Listen::Socket(address), &error))
        .map_err(|error| format!("Failed to start Consul server: Failed to start RPC layer: {error}"))?;
    let limits = settings::rpc_limits(runtime);
    Ok(tokio::spawn(net::rpc::serve(listener, Arc::new(dispatcher), limits, stop)))
}

/// Sets the gauges of the server and of what the state holds, once in each interval of the metrics.
async fn report(server: Server, datacenter: String) {
    let mut pause = SETTLED_AFTER;
    loop {
        server.report();
        let state = server.state();
        // The walk over all instances is short, but not so short that a worker thread should do it.
        let counted = tokio::task::spawn_blocking(move || StateUsage {
            services: state::usage::services(&state),
            kv_entries: state::usage::keys(&state),
            members: Members { servers: 1, clients: 0 },
        });
        if let Ok(usage) = counted.await {
            record_usage(&datacenter, &usage);
        }
        // The allocator gives freed pages back when large ones come and go; an agent at rest has none that do.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
        tokio::time::sleep(std::mem::replace(&mut pause, REPORT_INTERVAL)).await;
    }
}
