//! Completes this agent's proxies and gateways with central defaults (`enable_central_service_config`).
//!
//! Always true: without a proxy or gateway nobody is asked; what was registered is kept apart, so that a default that
//! goes away leaves nothing behind.
//! Not here: what defaults there are and how they merge (`state::config_entry`).

use std::sync::Arc;
use std::time::Duration;

use acl::{AllowAll, Authorizer};
use server::{Error, ReadMode, ReadOptions};
use state::Index;
use state::catalog::NodeService;
use state::config_entry::{ConfigEntryListAll, ConfigEntryResolveServiceConfig, is_completed};

use crate::Agent;

/// After a failure it is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until the agent stops.
pub(crate) async fn run(agent: Agent) {
    let mut versions = agent.versions();
    let mut index = Index(0);
    loop {
        versions.borrow_and_update();
        let written: Vec<Arc<NodeService>> = agent.with_local(|local| {
            local
                .services()
                .filter(|local| is_completed(&local.written))
                .map(|local| Arc::clone(&local.written))
                .collect()
        });
        let done = complete(&agent, &written).await;
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            at = next_change(&agent, index), if !written.is_empty() && done.is_ok() => match at {
                Ok(at) => index = at,
                Err(_) => tokio::time::sleep(RETRY).await,
            },
            () = tokio::time::sleep(RETRY), if done.is_err() => {}
            () = agent.stopped() => return,
        }
    }
}

/// Brings every proxy up to date.
async fn complete(agent: &Agent, written: &[Arc<NodeService>]) -> Result<(), Error> {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let options = ReadOptions { mode: ReadMode::Stale, ..ReadOptions::default() };
    for service in written {
        let asked = ConfigEntryResolveServiceConfig::of(service);
        let defaults = agent.cluster().read(&asked, &options, &may).await?.answer;
        let mut proxy = service.proxy.clone();
        defaults.complete(&mut proxy);
        if agent.with_local(|local| local.complete_service(service, proxy)) {
            agent.note_change();
        }
    }
    Ok(())
}

/// Returns when there are other defaults than at `index`.
async fn next_change(agent: &Agent, index: Index) -> Result<Index, Error> {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let options = ReadOptions::blocking(index, None, ReadMode::Stale, &mut rand::rng());
    let kinds = vec!["proxy-defaults".to_owned(), "service-defaults".to_owned()];
    Ok(agent.cluster().read(&ConfigEntryListAll { kinds }, &options, &may).await?.meta.index)
}
