//! A client agent's servers: followed as the pool brings them, asked in an order that spreads clients over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Agent;
use crate::routing::{RemoteServer, Routing, servers_among};

/// A server that is to be asked from now on answers a ping within this.
const PING_WAIT: Duration = Duration::from_secs(5);
/// The pool is looked at this often, though it says when it changes.
const LOOK: Duration = Duration::from_secs(30);

/// The servers of this datacenter. Clones are the same list.
#[derive(Debug, Clone)]
pub struct Servers(Arc<Mutex<Routing>>);

impl Default for Servers {
    fn default() -> Self {
        Servers(Arc::new(Mutex::new(Routing::new(Instant::now()))))
    }
}

impl Servers {
    /// The one to ask.
    #[must_use]
    pub fn pick(&self) -> Option<SocketAddr> {
        self.0.lock().first().map(|server| server.address)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().servers().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A server did not answer: another one is asked next.
    pub fn failed(&self, server: SocketAddr) {
        let mut routing = self.0.lock();
        let name = routing.servers().iter().find(|known| known.address == server).map(|known| known.name.clone());
        if let Some(name) = name {
            routing.failed(&name);
        }
    }

    fn follow(&self, known: Vec<RemoteServer>) {
        self.0.lock().follow(known, &mut rand::rng());
    }
}

impl Agent {
    /// Keeps the list of servers true to the pool, and draws its order anew now and then, until the agent stops.
    pub async fn keep_servers_known(self, servers: Servers) {
        loop {
            let members = self.lan_view().unwrap_or_default();
            servers.follow(servers_among(members.iter(), &self.settings().datacenter));
            let rebalance_at = servers.0.lock().rebalance_at();
            if rebalance_at <= Instant::now() {
                self.rebalance(&servers, members.len()).await;
                continue;
            }
            let pause = LOOK.min(rebalance_at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.servers_changed.notified() => {}
                () = self.stopped() => return,
            }
        }
    }

    /// Proposes another order, and takes it from the first server on that answers.
    async fn rebalance(&self, servers: &Servers, members: usize) {
        let order = servers.0.lock().propose(Instant::now(), members, &mut rand::rng());
        for (at, server) in order.iter().enumerate() {
            let args = wire::msgpack::to_vec(&wire::rpc::Empty {}).unwrap_or_default();
            let pinged = self.cluster().far().call(server.address, "Status.Ping", args, PING_WAIT).await;
            if pinged.is_ok() {
                servers.0.lock().settle(order, at);
                return;
            }
        }
    }
}
