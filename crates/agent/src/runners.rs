//! The checks that run: which runner belongs to which check, and who takes their reports.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acl::{AllowAll, Authorizer};
use parking_lot::Mutex;
use server::{ReadMode, ReadOptions};
use state::catalog::{CatalogNodeServices, NodeQuery};
use state::health::{HealthCheck, HealthNodeChecks};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::Agent;
use crate::check::alias::{self, Alias, Seen};
use crate::check::definition::{CheckType, Kind};
use crate::check::probe::{Probe, Surroundings, Trust};
use crate::check::runner::{Runner, Schedule, TtlRunner, turns};
use crate::check::thresholds::Thresholds;
use crate::check::ttl::Ttl;
use crate::check::{Report, Status};

/// Reports wait here for the local state; runners wait when it is full.
const REPORTS_MAX: usize = 256;

/// What runs for a check; dropping it ends that.
enum Running {
    Ttl(TtlRunner),
    /// Held for its drop.
    Probe {
        _runner: Runner,
    },
}

/// Everything that runs.
pub(crate) struct Runners {
    running: Mutex<HashMap<String, Running>>,
    reports: mpsc::Sender<Report>,
    turns: Arc<Semaphore>,
    surroundings: Surroundings,
    /// A check of this agent changed: alias checks look again.
    pub changed: Arc<Notify>,
}

/// How many run of which sort, for `/v1/agent/self`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub ttls: usize,
    pub scripts: usize,
}

impl Runners {
    /// The runners, and the reports that they will make.
    pub fn new(output_bytes_max: usize) -> (Self, mpsc::Receiver<Report>) {
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        let trust = Trust::new(net::tls::Settings::default());
        let runners = Runners {
            running: Mutex::default(),
            reports,
            turns: turns(),
            surroundings: Surroundings::new(output_bytes_max, trust, std::env::var("DOCKER_HOST").ok()),
            changed: Arc::new(Notify::new()),
        };
        (runners, inbox)
    }

    /// Starts a check in the place of whatever ran under its id. The error is what its definition asks for and
    /// this machine cannot give.
    pub fn start(&self, agent: &Agent, check_id: &str, check: &CheckType) -> Result<(), String> {
        self.stop(check_id);
        let running = match check.kind() {
            None => return Err("Check type is not valid".to_owned()),
            Some(Kind::Ttl) => {
                let ttl = Ttl::new(check.ttl.to_std(), agent.output_max(check), Instant::now());
                Running::Ttl(TtlRunner::start(check_id.to_owned(), ttl, self.reports.clone()))
            }
            Some(Kind::Alias) => Running::Probe { _runner: self.follow(agent, check_id, check) },
            Some(_) => {
                let Some(probe) = Probe::new(check, &self.surroundings)? else { return Ok(()) };
                let thresholds = Thresholds::new(
                    check.success_before_passing,
                    check.failures_before_warning,
                    check.failures_before_critical,
                );
                let schedule = Schedule::new(check.interval_floored(), rand::random());
                let (turns, reports) = (Arc::clone(&self.turns), self.reports.clone());
                let runner = Runner::start(check_id.to_owned(), probe, schedule, thresholds, turns, reports);
                Running::Probe { _runner: runner }
            }
        };
        self.running.lock().insert(check_id.to_owned(), running);
        Ok(())
    }

    fn follow(&self, agent: &Agent, check_id: &str, check: &CheckType) -> Runner {
        let own_node = agent.settings().node_name.clone();
        let is_local = check.alias_node.is_empty() || check.alias_node == own_node;
        let alias = Alias {
            node: if is_local { own_node } else { check.alias_node.clone() },
            service_id: check.alias_service.clone(),
        };
        let (agent, check_id, reports) = (agent.clone(), check_id.to_owned(), self.reports.clone());
        if is_local {
            let changed = Arc::clone(&self.changed);
            return Runner::follow(async move {
                let service_id = alias.service_id.clone();
                let look = move || agent.seen_locally(&service_id);
                alias::follow_local(alias, check_id, &changed, look, reports).await;
            });
        }
        Runner::follow(async move {
            let node = alias.node.clone();
            let service_id = alias.service_id.clone();
            let query = {
                let (agent, node) = (agent.clone(), node.clone());
                move |index| seen_remotely(agent.clone(), node.clone(), index)
            };
            let exists = move || service_exists(agent.clone(), node.clone(), service_id.clone());
            alias::follow_remote(alias, check_id, query, exists, reports).await;
        })
    }

    /// Stops what runs under an id.
    pub fn stop(&self, check_id: &str) {
        let stopped = self.running.lock().remove(check_id);
        drop(stopped);
    }

    /// Stops everything.
    pub fn stop_all(&self) {
        let stopped = std::mem::take(&mut *self.running.lock());
        drop(stopped);
    }

    /// Starts a TTL anew; returns the output as stored and the span, or `None` when the check has no TTL.
    pub fn heartbeat(&self, check_id: &str, text: &str) -> Option<(String, Duration)> {
        match self.running.lock().get(check_id) {
            Some(Running::Ttl(ttl)) => Some((ttl.update(text), ttl.span())),
            _ => None,
        }
    }

    /// How many TTLs there are.
    pub fn ttls(&self) -> usize {
        self.running.lock().values().filter(|running| matches!(running, Running::Ttl(_))).count()
    }
}

fn seen(check: &HealthCheck) -> Option<Seen> {
    Some(Seen {
        node: check.node.clone(),
        service_id: check.service_id.clone(),
        name: check.name.clone(),
        status: Status::parse(&check.status)?,
        output: check.output.clone(),
    })
}

impl Agent {
    /// The checks of this agent, and whether a service is registered here (`""`: no service asked).
    ///
    /// Compat: an alias that is a check of the node is one of those that it looks at.
    fn seen_locally(&self, service_id: &str) -> (Vec<Seen>, bool) {
        self.with_local(|local| {
            let seen = local.checks().filter_map(|local| seen(&local.check)).collect();
            (seen, service_id.is_empty() || local.service(service_id).is_some())
        })
    }
}

async fn seen_remotely(agent: Agent, node: String, index: u64) -> Result<(u64, Vec<Seen>), String> {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let options = ReadOptions::blocking(state::Index(index), None, ReadMode::Stale, &mut rand::rng());
    let query = HealthNodeChecks(NodeQuery { node, ..NodeQuery::default() });
    let found = agent.cluster().read(&query, &options, &may).await.map_err(|error| error.to_string())?;
    Ok((found.meta.index.0, found.answer.iter().filter_map(|check| seen(check)).collect()))
}

async fn service_exists(agent: Agent, node: String, service_id: String) -> Result<bool, String> {
    if service_id.is_empty() {
        return Ok(true);
    }
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let options = ReadOptions { mode: ReadMode::Stale, ..ReadOptions::default() };
    let query = CatalogNodeServices(NodeQuery { node, ..NodeQuery::default() });
    let found = agent.cluster().read(&query, &options, &may).await.map_err(|error| error.to_string())?;
    // Compat: on a node that nobody knows every service is taken to exist.
    Ok(found.answer.is_none_or(|node| node.services.contains_key(&service_id)))
}
