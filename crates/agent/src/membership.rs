//! The members of the LAN pool in the catalog: their nodes, the `serfHealth` check of each, the `consul` service of
//! servers.
//!
//! A leader duty driven by levels: what should be there is compared with what is, and written only if they differ. Events
//! of gossip only say when to look.
//!
//! Always true: this server's own node is never taken out; what others said of a node besides is not touched; a member
//! that cannot be registered holds up no other; a restart takes nobody out who is only not met again yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use acl::AllowAll;
use gossip::serf::consul;
use gossip::serf::member::{Member, MemberStatus};
use state::Command;
use state::catalog::{DeregisterRequest, NodeService, RegisterRequest, SERF_HEALTH, Weights};
use state::coordinate::{Coord, Coordinate};
use state::health::HealthCheck;
use tokio::time::Instant;

use crate::Agent;

/// How often what should be there is compared with what is.
const INTERVAL: Duration = Duration::from_secs(60);
/// After a failed write (no leader yet) it is tried again after this.
const RETRY: Duration = Duration::from_millis(250);
/// Who is registered since an earlier life has this long to be met again. The reference has no such patience, but its
/// leader is not elected before Serf has rejoined.
const REUNION: Duration = Duration::from_secs(60);
/// How often this node's coordinate is sent.
const COORDINATE_INTERVAL: Duration = Duration::from_secs(15);

const ALIVE: &str = "Agent alive and reachable";
const FAILED: &str = "Agent not live or unreachable";

/// What the servers' own service says of this server.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    pub port: u16,
    pub version: String,
}

impl Agent {
    /// Keeps the catalog true to the members of the pool, this server first, until the agent stops.
    pub async fn keep_members_registered(self, identity: ServerIdentity) {
        let Some(server) = self.cluster().server().cloned() else { return };
        let mut position = server.position();
        let mut reunion_over = Instant::now() + REUNION;
        let mut met = BTreeSet::new();
        loop {
            if !position.borrow_and_update().leads {
                tokio::select! {
                    changed = position.changed() => if changed.is_err() { return },
                    () = self.stopped() => return,
                }
                // A new leader begins with what it sees, and takes nobody out at once.
                reunion_over = Instant::now() + REUNION;
                met.clear();
                continue;
            }
            let Some(restore) = self.cluster().watch_restore() else { return };
            let pause = match self.reconcile(&identity, &mut met, Instant::now() >= reunion_over).await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "members could not be registered");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.members_changed.notified() => {}
                () = restore.touched() => {}
                changed = position.changed() => if changed.is_err() { return },
                () = self.stopped() => return,
            }
        }
    }

    /// `met` are the members that were seen in this life and are not taken out yet, in lower case.
    async fn reconcile(
        &self,
        identity: &ServerIdentity,
        met: &mut BTreeSet<String>,
        reunion_is_over: bool,
    ) -> Result<(), server::Error> {
        self.register_server(identity).await?;
        self.report_coordinate().await?;
        let Some(view) = self.lan_view() else { return Ok(()) };
        let own = &self.settings().node_name;
        for member in view.iter().filter(|member| member.name != *own) {
            let done = match member.status {
                MemberStatus::Alive | MemberStatus::Leaving => self.register_member(member, "passing", ALIVE).await,
                MemberStatus::Failed => self.register_member(member, "critical", FAILED).await,
                MemberStatus::Left => self.deregister_member(&member.name).await,
                MemberStatus::None => Ok(()),
            };
            skip_refused(&member.name, done)?;
        }
        // Compat: names in the catalog are the same in any case.
        let known: BTreeSet<String> = view.iter().map(|member| member.name.to_lowercase()).collect();
        // Who is registered and no longer remembered was reaped.
        let Some(state) = self.cluster().state() else { return Ok(()) };
        let unknown = |name: &&str| !name.eq_ignore_ascii_case(own) && !known.contains(&name.to_lowercase());
        let missing: Vec<String> = state.members_registered().filter(unknown).map(str::to_owned).collect();
        for name in missing {
            if reunion_is_over || met.contains(&name.to_lowercase()) {
                skip_refused(&name, self.deregister_member(&name).await)?;
            }
        }
        *met = known;
        Ok(())
    }

    /// Registers another member if the catalog does not have it as it is.
    async fn register_member(&self, member: &Member, status: &str, output: &str) -> Result<(), server::Error> {
        let Some(state) = self.cluster().state() else { return Ok(()) };
        let address = member.address.ip().to_string();
        let service = consul::server(member).map(|server| {
            service(&ServerIdentity {
                port: server.address.port(),
                version: member.tag("build").split(':').next().unwrap_or_default().to_owned(),
            })
        });
        let check = HealthCheck {
            node: member.name.clone(),
            check_id: SERF_HEALTH.to_owned(),
            name: "Serf Health Status".to_owned(),
            status: status.to_owned(),
            output: output.to_owned(),
            ..HealthCheck::default()
        };
        let is_there = state.node_by_name(&member.name).is_some_and(|known| known.address == address)
            && state.check_on(&member.name, SERF_HEALTH).is_some_and(|known| known.same_content(&check))
            && service.as_ref().is_none_or(|service| {
                state.service_on(&member.name, &service.id).is_some_and(|known| known.same_content(service))
            });
        if is_there {
            return Ok(());
        }
        tracing::info!(target: "agent.server", member = member.name, status, "member is registered");
        let request = RegisterRequest {
            datacenter: self.settings().datacenter.clone(),
            id: member.tag("id").to_owned(),
            node: member.name.clone(),
            address,
            service: service.map(Arc::new),
            check: Some(check),
            // What its own agent says of the node is worth more.
            skip_node_update: true,
            ..RegisterRequest::default()
        };
        self.cluster().write(Command::Register(request), &AllowAll).await.map(drop)
    }

    async fn deregister_member(&self, name: &str) -> Result<(), server::Error> {
        if self.cluster().state().is_none_or(|state| state.node_by_name(name).is_none()) {
            return Ok(());
        }
        tracing::info!(target: "agent.server", member = name, "deregistering member");
        let request = DeregisterRequest {
            datacenter: self.settings().datacenter.clone(),
            node: name.to_owned(),
            ..DeregisterRequest::default()
        };
        self.cluster().write(Command::Deregister(request), &AllowAll).await.map(drop)
    }

    /// Sends this node's coordinate to the catalog when it has moved.
    pub(crate) async fn report_coordinates(self) {
        let settings = self.settings();
        if settings.disable_coordinates {
            return;
        }
        let mut last = Coord::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(COORDINATE_INTERVAL) => {}
                () = self.stopped() => return,
            }
            let Some(coord) = self.own_coordinate(false).await.filter(|coord| *coord != last) else { continue };
            let own =
                Coordinate { node: settings.node_name.clone(), coord: Some(coord.clone()), ..Coordinate::default() };
            match self.cluster().update_coordinate(own, &AllowAll).await {
                Ok(()) => last = coord,
                Err(error) => tracing::warn!(%error, "the coordinate could not be sent"),
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
        let Some(state) = self.cluster().state() else { return Ok(()) };
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
    async fn report_coordinate(&self) -> Result<(), server::Error> {
        let settings = self.settings();
        let is_there = |state: Arc<state::State>| state.has_coordinate(&settings.node_name);
        if settings.disable_coordinates || self.cluster().state().is_none_or(is_there) {
            return Ok(());
        }
        let own =
            Coordinate { node: settings.node_name.clone(), coord: Some(Coord::default()), ..Coordinate::default() };
        self.cluster().update_coordinate(own, &AllowAll).await
    }
}

/// What is wrong with one member is no reason to leave the others alone; what is wrong with the cluster is.
fn skip_refused(member: &str, done: Result<(), server::Error>) -> Result<(), server::Error> {
    match done {
        Err(server::Error::Refused(error)) => {
            tracing::error!(target: "agent.server", member, %error, "failed to reconcile member");
            Ok(())
        }
        done => done,
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
