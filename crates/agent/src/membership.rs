//! This server in the catalog: its node, the `consul` service, the `serfHealth` check.
//!
//! A leader duty driven by levels: what should be there is compared with what is, and written only if they
//! differ. With gossip, the same is done for every member of the pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use acl::AllowAll;
use state::Command;
use state::catalog::{NodeService, RegisterRequest, SERF_HEALTH, Weights};
use state::coordinate::{Coord, Coordinate};
use state::health::HealthCheck;

use crate::Agent;

/// How often what should be there is compared with what is.
const INTERVAL: Duration = Duration::from_secs(60);
/// After a failed write (no leader yet) it is tried again after this.
const RETRY: Duration = Duration::from_millis(250);

/// What the servers' own service says of this server.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    pub port: u16,
    pub version: String,
}

impl Agent {
    /// Registers this server and keeps it registered, until the agent stops.
    pub async fn keep_server_registered(self, identity: ServerIdentity) {
        loop {
            let restore = self.cluster().watch_restore();
            let registered = self.register_server(&identity).await;
            let pause = match registered.and_then(|()| self.report_coordinate()) {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "this server could not be registered");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = restore.touched() => {}
                () = self.stopped() => return,
            }
        }
    }

    /// Registers this server if the catalog does not have it as it is.
    pub async fn register_server(&self, identity: &ServerIdentity) -> Result<(), server::Error> {
        let node = self.identity().node;
        let service = service(identity);
        let check = HealthCheck {
            node: node.node.clone(),
            check_id: SERF_HEALTH.to_owned(),
            name: "Serf Health Status".to_owned(),
            status: "passing".to_owned(),
            output: "Agent alive and reachable".to_owned(),
            ..HealthCheck::default()
        };
        let state = self.cluster().state();
        let is_there = state.node_by_name(&node.node).is_some_and(|known| known.same_content(&node))
            && state.service_on(&node.node, &service.id).is_some_and(|known| known.same_content(&service))
            && state.check_on(&node.node, SERF_HEALTH).is_some_and(|known| known.same_content(&check));
        if is_there {
            return Ok(());
        }
        let request = RegisterRequest {
            datacenter: node.datacenter.clone(),
            id: node.id,
            node: node.node,
            address: node.address,
            tagged_addresses: node.tagged_addresses,
            node_meta: node.meta,
            locality: node.locality,
            service: Some(Arc::new(service)),
            check: Some(check),
            ..RegisterRequest::default()
        };
        self.cluster().write(Command::Register(request), &AllowAll).await.map(drop)
    }

    /// This node's coordinate. Alone in its pool it is at the origin, which the catalog should say.
    fn report_coordinate(&self) -> Result<(), server::Error> {
        let settings = self.settings();
        if settings.disable_coordinates || self.cluster().state().has_coordinate(&settings.node_name) {
            return Ok(());
        }
        let own =
            Coordinate { node: settings.node_name.clone(), coord: Some(Coord::default()), ..Coordinate::default() };
        self.cluster().update_coordinate(own, &AllowAll)
    }
}

fn service(identity: &ServerIdentity) -> NodeService {
    let meta: BTreeMap<String, String> = [
        ("non_voter", "false"),
        ("raft_version", "3"),
        ("read_replica", "false"),
        ("serf_protocol_current", "2"),
        ("serf_protocol_max", "5"),
        ("serf_protocol_min", "1"),
        ("version", identity.version.as_str()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    NodeService {
        id: "consul".to_owned(),
        service: "consul".to_owned(),
        port: i64::from(identity.port),
        meta: Some(meta),
        weights: Some(Weights { passing: 1, warning: 1 }),
        ..NodeService::default()
    }
}
