//! Anti-entropy: makes the catalog say what this agent says.
//!
//! A change asks for the writes that it needs; a full comparison every `ae_interval` is the guarantee behind
//! it (Consul documentation, "Anti-Entropy").

use std::sync::Arc;
use std::time::Duration;

use acl::{AllowAll, Authorizer};
use rand::Rng;
use server::{Error, ReadMode, ReadOptions};
use state::Command;
use state::catalog::{CatalogNodeServiceList, NodeQuery};
use state::health::HealthNodeChecks;
use tokio::time::Instant;

use server::Registration;

use crate::Agent;
use crate::local::Step;

/// After a failed pass the next one comes after about this.
const RETRY: Duration = Duration::from_secs(15);

/// Runs until the agent stops.
pub(crate) async fn run(agent: Agent) {
    let interval = agent.settings().sync_interval;
    let mut full_at = Instant::now();
    let mut restore = agent.cluster().watch_restore();
    loop {
        if Instant::now() >= full_at {
            let done = compare(&agent).await;
            let pause = if done.is_ok() { interval } else { RETRY };
            if let Err(error) = done {
                tracing::warn!(%error, "the catalog could not be compared");
            }
            full_at = Instant::now() + stagger(pause);
        }
        if !push(&agent).await {
            full_at = full_at.min(Instant::now() + stagger(RETRY));
        }
        let deferred = agent.with_local(|local| local.wake_deferred(Instant::now()));
        let wake = deferred.map_or(full_at, |at| at.min(full_at));
        tokio::select! {
            () = agent.changed() => {}
            () = touched(restore.as_ref()) => {
                // What was written is gone, and what is there now was another time's.
                restore = agent.cluster().watch_restore();
                full_at = Instant::now();
            }
            () = tokio::time::sleep_until(wake) => {}
            () = agent.stopped() => return,
        }
    }
}

fn stagger(span: Duration) -> Duration {
    span + span.mul_f64(rand::rng().random::<f64>() / 8.0)
}

/// Marks what differs from the catalog.
async fn compare(agent: &Agent) -> Result<(), Error> {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let options = ReadOptions { mode: ReadMode::Stale, ..ReadOptions::default() };
    let node = NodeQuery { node: agent.settings().node_name.clone(), ..NodeQuery::default() };
    let services = agent.cluster().read(&CatalogNodeServiceList(node.clone()), &options, &may).await?.answer;
    let checks = agent.cluster().read(&HealthNodeChecks(node), &options, &may).await?.answer;
    let identity = agent.identity();
    agent.with_local(|local| {
        local.compare(
            &identity,
            services.node.as_deref(),
            services.services.iter().map(|service| &**service),
            checks.iter().map(|check| &**check),
        );
    });
    Ok(())
}

/// Writes what is due, each with its own token; says whether all of it went well.
async fn push(agent: &Agent) -> bool {
    let identity = agent.identity();
    let steps = agent.with_local(|local| local.steps(&identity));
    let mut all = true;
    for step in steps {
        let command = match &step {
            Step::Node(request) | Step::Service { request, .. } | Step::Check { request, .. } => {
                Command::Register((**request).clone())
            }
            Step::RemoveService { request, .. } | Step::RemoveCheck { request, .. } => {
                Command::Deregister(request.clone())
            }
        };
        match agent.cluster().write(command, &AllowAll).await {
            Ok(_) => {
                tracing::info!(step = %step.name(), "synced");
                agent.settle(&step);
            }
            Err(Error::Refused(state::Error::Denied(denied))) => {
                // Rests until the next comparison; the others go on.
                tracing::warn!(step = %step.name(), %denied, "blocked by ACLs");
                agent.settle(&step);
            }
            Err(error) => {
                tracing::warn!(step = %step.name(), %error, "could not be synced");
                all = false;
            }
        }
    }
    all
}

/// Returns when what is watched is touched; never where nothing is.
async fn touched(watched: Option<&Registration>) {
    match watched {
        Some(watched) => watched.touched().await,
        None => std::future::pending().await,
    }
}
