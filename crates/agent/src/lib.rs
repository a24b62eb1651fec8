//! The agent: what runs on every node. It keeps the services and checks that were registered with it, runs the
//! checks, and keeps the catalog true.
//!
//! Always true:
//! - What was registered over the API is on the disk before the answer, and there again after a restart.
//! - The catalog follows: at once by notice, and by comparison if a notice was lost.
//! - A check that is gone runs no more.

pub mod autopilot;
mod central;
pub mod check;
mod client;
mod cluster;
mod coordinates;
mod events;
pub mod host;
pub mod local;
pub mod logbook;
mod membership;
pub mod persist;
mod pool;
mod registration;
mod routing;
mod rpc_methods;
mod runners;
mod servers;
pub mod service;
mod settings;
mod sidecar;
mod sync;
pub mod telemetry;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use state::catalog::Node;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

pub use crate::client::Servers;
pub use crate::cluster::Cluster;
pub use crate::coordinates::CoordinateBatches;
pub use crate::membership::ServerIdentity;
pub use crate::pool::{GossipSettings, JoinSettings, KeyringOperation, KeyringResponse, Member, PoolSettings};
pub use crate::registration::Health;
pub use crate::rpc_methods::Methods;
pub use crate::runners::Counts;
pub use crate::settings::Settings;

use crate::check::Report;
use crate::check::definition::CheckType;
use crate::events::Events;
use crate::local::{Identity, Local};
use crate::persist::Persist;
use crate::pool::Pools;
use crate::runners::Runners;

/// How often services are looked over that have been critical for too long.
const REAP_INTERVAL: Duration = Duration::from_secs(30);

/// A running agent. Clones are handles to the same one.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    cluster: Cluster,
    /// A mutex, since registrations and check results are short changes of a few maps.
    local: Mutex<Local>,
    /// The written form of each running check, and after how long its service goes.
    definitions: Mutex<BTreeMap<String, CheckType>>,
    runners: Runners,
    persist: Persist,
    events: Events,
    /// Set once the pools are entered.
    pools: OnceLock<Arc<Pools>>,
    /// A member came, went or changed: for the catalog, and for the servers.
    members_changed: Notify,
    servers_changed: Notify,
    /// How the servers are, while this agent leads.
    report: ArcSwapOption<autopilot::Report>,
    /// Nobody could be joined, and trying is over.
    exhausted: Notify,
    /// Something waits to be written to the catalog.
    dirty: Notify,
    /// Local state changed in any way: for those who wait by hash.
    version: watch::Sender<u64>,
    stop: watch::Sender<bool>,
}

impl Agent {
    /// Makes the agent and starts its tasks. Persisted registrations are loaded.
    #[must_use]
    pub fn start(settings: Settings, cluster: Cluster) -> Self {
        let persist = Persist::new(settings.data_dir.clone());
        let (runners, reports) = Runners::new(settings.check_output_max);
        let shared = Shared {
            persist,
            cluster,
            local: Mutex::default(),
            definitions: Mutex::default(),
            runners,
            events: Events::default(),
            pools: OnceLock::new(),
            members_changed: Notify::new(),
            servers_changed: Notify::new(),
            report: ArcSwapOption::empty(),
            exhausted: Notify::new(),
            dirty: Notify::new(),
            version: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            settings,
        };
        let agent = Agent { shared: Arc::new(shared) };
        agent.load_persisted();
        tokio::spawn(sync::run(agent.clone()));
        if agent.settings().central_service_config {
            tokio::spawn(central::run(agent.clone()));
        }
        tokio::spawn(agent.clone().take_reports(reports));
        tokio::spawn(agent.clone().reap());
        agent
    }

    /// Stops every task. What is registered stays in the catalog.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
        self.shared.runners.stop_all();
    }

    /// Returns when nobody could be joined and trying is over: the agent is to end.
    pub async fn join_exhausted(&self) {
        self.shared.exhausted.notified().await;
    }

    /// Returns when the agent is stopping.
    pub async fn stopped(&self) {
        let mut stop = self.shared.stop.subscribe();
        // The sender lives as long as this handle.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    /// Looks at or changes what is registered.
    pub fn with_local<T>(&self, look: impl FnOnce(&mut Local) -> T) -> T {
        look(&mut self.shared.local.lock())
    }

    /// Metadata of this node.
    #[must_use]
    pub fn node_meta(&self) -> BTreeMap<String, String> {
        self.shared.settings.node_meta.clone()
    }

    /// This node as it is registered.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let settings = &self.shared.settings;
        Identity {
            node: Node {
                id: settings.node_id.clone(),
                node: settings.node_name.clone(),
                address: settings.advertise_address.clone(),
                datacenter: settings.datacenter.clone(),
                tagged_addresses: Some(settings.tagged_addresses.clone()),
                meta: Some(settings.node_meta.clone()),
                locality: settings.locality.clone(),
                ..Node::default()
            },
        }
    }

    /// Returns at the next notice that something waits to be written.
    pub(crate) async fn changed(&self) {
        self.shared.dirty.notified().await;
    }

    /// Somebody changed what is registered.
    pub(crate) fn note_change(&self) {
        self.shared.dirty.notify_one();
        self.shared.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// A write to the catalog is done, or rests.
    pub(crate) fn settle(&self, step: &local::Step) {
        self.with_local(|local| local.settle(step));
        self.shared.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Follows every change of what is registered.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// How much output of a check is kept.
    pub(crate) fn output_max(&self, check: &CheckType) -> usize {
        let agents = self.shared.settings.check_output_max;
        match usize::try_from(check.output_max_size) {
            Ok(own) if own > 0 => own.min(agents),
            _ => agents,
        }
    }

    async fn take_reports(self, mut reports: mpsc::Receiver<Report>) {
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some(report) => self.report(report),
                    None => return,
                },
                () = self.stopped() => return,
            }
        }
    }

    /// Takes the result of a check.
    pub fn report(&self, report: Report) {
        let settings = &self.shared.settings;
        let output = if settings.discard_check_output { String::new() } else { report.output };
        let defer = settings.check_update_interval;
        let defer = defer / 2 + defer.mul_f64(rand::random::<f64>());
        let status = report.status.as_str();
        let at_once =
            self.with_local(|local| local.update_check(&report.check_id, status, &output, defer, Instant::now()));
        if at_once {
            tracing::debug!(check = %report.check_id, status, "check changed");
            self.shared.runners.changed.notify_waiters();
        }
        self.note_change();
    }

    /// Removes services that have been critical for longer than their checks allow.
    async fn reap(self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(REAP_INTERVAL.min(self.shared.settings.check_reap_interval)) => {}
                () = self.stopped() => return,
            }
            for service_id in self.overdue(Instant::now()) {
                tracing::info!(service = %service_id, "deregistering a service that was critical for too long");
                if let Err(error) = self.deregister_service(&service_id) {
                    tracing::error!(service = %service_id, %error, "could not be deregistered");
                }
            }
        }
    }

    fn overdue(&self, now: Instant) -> Vec<String> {
        let floor = self.shared.settings.check_deregister_interval_min;
        let definitions = self.shared.definitions.lock();
        self.with_local(|local| {
            let overdue = local.checks().filter(|local| {
                let check = definitions.get(&local.check.check_id);
                let patience = check.and_then(|check| check.deregister_after(floor));
                match (local.critical_since, patience) {
                    (Some(since), Some(patience)) => now.duration_since(since) > patience,
                    _ => false,
                }
            });
            let mut services: Vec<String> = overdue
                .map(|local| local.check.service_id.clone())
                .filter(|service_id| !service_id.is_empty())
                .collect();
            services.dedup();
            services
        })
    }
}
