//! What this agent itself registered: services and checks, and how far the catalog knows of them.
//!
//! A plain value without I/O. [`Local::compare`] marks what differs from the catalog, [`Local::steps`] says
//! what to write, [`Local::settle`] notes what came of it. Anti-entropy (Consul documentation,
//! "Anti-Entropy") drives these three.
//!
//! Always true:
//! - When nothing differs there are no steps, and so no writes.
//! - A change of only a check's output waits for `check_update_interval`; a change of status does not.
//! - Each service and check is written with its own token; one that is refused does not stop the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use state::catalog::{DeregisterRequest, Node, NodeService, Proxy, RegisterRequest};
use state::health::HealthCheck;
use tokio::time::Instant;

/// Where a registration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A configuration file; registered anew from it at each start and reload.
    Config,
    /// The API; persisted in the data directory.
    Api,
}

/// A service of this agent.
#[derive(Debug, Clone)]
pub struct LocalService {
    /// As it is shown and written: with what central defaults add.
    pub service: Arc<NodeService>,
    /// As it was registered.
    pub written: Arc<NodeService>,
    pub token: String,
    pub source: Source,
    /// It came with another service, and goes with it.
    pub is_sidecar: bool,
    in_sync: bool,
}

/// A check of this agent.
#[derive(Debug, Clone)]
pub struct LocalCheck {
    pub check: Arc<HealthCheck>,
    pub token: String,
    pub source: Source,
    /// Since when it has been critical without a break.
    pub critical_since: Option<Instant>,
    in_sync: bool,
    /// An output change waits until then.
    deferred_until: Option<Instant>,
}

/// Everything that this agent registered.
#[derive(Debug, Default)]
pub struct Local {
    services: BTreeMap<String, LocalService>,
    checks: BTreeMap<String, LocalCheck>,
    /// Ids that the catalog still has and must lose.
    gone_services: BTreeMap<String, ()>,
    gone_checks: BTreeMap<String, ()>,
    node_in_sync: bool,
}

/// This agent's node as it registers it.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    pub node: Node,
}

/// One write that brings the catalog closer.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Node(Box<RegisterRequest>),
    /// A service, with those of its checks that go with the same token.
    Service {
        id: String,
        token: String,
        checks: Vec<String>,
        request: Box<RegisterRequest>,
    },
    Check {
        id: String,
        token: String,
        request: Box<RegisterRequest>,
    },
    RemoveService {
        id: String,
        request: DeregisterRequest,
    },
    RemoveCheck {
        id: String,
        request: DeregisterRequest,
    },
}

impl Step {
    /// What the step is about, for logs.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Step::Node(_) => "node".to_owned(),
            Step::Service { id, .. } => format!("service {id}"),
            Step::Check { id, .. } => format!("check {id}"),
            Step::RemoveService { id, .. } => format!("removal of service {id}"),
            Step::RemoveCheck { id, .. } => format!("removal of check {id}"),
        }
    }
}

impl Local {
    /// The service of this id.
    #[must_use]
    pub fn service(&self, id: &str) -> Option<&LocalService> {
        self.services.get(id)
    }

    /// All services in id order.
    pub fn services(&self) -> impl Iterator<Item = &LocalService> {
        self.services.values()
    }

    /// The check of this id.
    #[must_use]
    pub fn check(&self, id: &str) -> Option<&LocalCheck> {
        self.checks.get(id)
    }

    /// All checks in id order.
    pub fn checks(&self) -> impl Iterator<Item = &LocalCheck> {
        self.checks.values()
    }

    /// The checks of a service.
    pub fn checks_of<'a>(&'a self, service_id: &'a str) -> impl Iterator<Item = &'a LocalCheck> {
        self.checks.values().filter(move |check| check.check.service_id == service_id)
    }

    /// Adds or replaces a service.
    pub fn put_service(&mut self, service: NodeService, token: String, source: Source, is_sidecar: bool) {
        let id = service.id.clone();
        self.gone_services.remove(&id);
        let written = Arc::new(service);
        // Registered again as it was, it does not lose what was added.
        let completed = self.services.get(&id).filter(|existing| existing.written == written);
        let service = completed.map_or_else(|| Arc::clone(&written), |existing| Arc::clone(&existing.service));
        let service = LocalService { service, written, token, source, is_sidecar, in_sync: false };
        self.services.insert(id, service);
    }

    /// Notes what central defaults make of the proxy of a service, unless it was registered differently by now. Says
    /// whether that is news.
    pub fn complete_service(&mut self, written: &Arc<NodeService>, proxy: Proxy) -> bool {
        match self.services.get_mut(&written.id) {
            Some(local) if Arc::ptr_eq(&local.written, written) && local.service.proxy != proxy => {
                Arc::make_mut(&mut local.service).proxy = proxy;
                local.in_sync = false;
                true
            }
            _ => false,
        }
    }

    /// Forgets a service; its checks stay until removed. Says whether it was there.
    pub fn remove_service(&mut self, id: &str) -> bool {
        let known = self.services.remove(id).is_some();
        if known {
            self.gone_services.insert(id.to_owned(), ());
        }
        known
    }

    /// Adds or replaces a check. An equal one keeps the status that it has.
    pub fn put_check(&mut self, check: HealthCheck, token: String, source: Source, now: Instant) {
        let id = check.check_id.clone();
        self.gone_checks.remove(&id);
        let critical_since = (check.status == "critical").then(|| {
            let known = self.checks.get(&id).and_then(|existing| existing.critical_since);
            known.unwrap_or(now)
        });
        let check =
            LocalCheck { check: Arc::new(check), token, source, critical_since, in_sync: false, deferred_until: None };
        self.checks.insert(id, check);
    }

    /// Forgets a check. Says whether it was there.
    pub fn remove_check(&mut self, id: &str) -> bool {
        let known = self.checks.remove(id).is_some();
        if known {
            self.gone_checks.insert(id.to_owned(), ());
        }
        known
    }

    /// Notes the result of a check. Says whether the catalog should hear of it at once.
    ///
    /// `defer` is `check_update_interval` with its stagger; zero writes output changes at once.
    pub fn update_check(&mut self, id: &str, status: &str, output: &str, defer: Duration, now: Instant) -> bool {
        let Some(local) = self.checks.get_mut(id) else { return false };
        if status == "critical" {
            local.critical_since.get_or_insert(now);
        } else {
            local.critical_since = None;
        }
        if local.check.status == status && local.check.output == output {
            return false;
        }
        let same_status = local.check.status == status;
        let check = Arc::make_mut(&mut local.check);
        status.clone_into(&mut check.status);
        output.clone_into(&mut check.output);
        if same_status && !defer.is_zero() {
            local.deferred_until.get_or_insert(now + defer);
            return false;
        }
        local.in_sync = false;
        local.deferred_until = None;
        true
    }

    /// Marks what is due of the deferred output changes; says when the next one is.
    pub fn wake_deferred(&mut self, now: Instant) -> Option<Instant> {
        for local in self.checks.values_mut() {
            if local.deferred_until.is_some_and(|due| due <= now) {
                local.deferred_until = None;
                local.in_sync = false;
            }
        }
        self.checks.values().filter_map(|local| local.deferred_until).min()
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.node_in_sync
            || !self.gone_services.is_empty()
            || !self.gone_checks.is_empty()
            || self.services.values().any(|service| !service.in_sync)
            || self.checks.values().any(|check| !check.in_sync)
    }

    /// Marks every difference from what the catalog has of this node.
    pub fn compare<'a>(
        &mut self,
        identity: &Identity,
        node: Option<&Node>,
        services: impl IntoIterator<Item = &'a NodeService>,
        checks: impl IntoIterator<Item = &'a HealthCheck>,
    ) {
        let ours = &identity.node;
        self.node_in_sync = node.is_some_and(|theirs| {
            theirs.id == ours.id
                && theirs.address == ours.address
                && theirs.tagged_addresses == ours.tagged_addresses
                && theirs.meta == ours.meta
                && theirs.locality == ours.locality
        });
        let mut services: BTreeMap<&str, &NodeService> =
            services.into_iter().map(|service| (service.id.as_str(), service)).collect();
        for (id, local) in &mut self.services {
            local.in_sync = services.remove(id.as_str()).is_some_and(|theirs| same_service(local, theirs));
        }
        self.gone_services.clear();
        // The servers register their own service; it is not ours to remove.
        self.gone_services.extend(services.into_keys().filter(|id| *id != "consul").map(|id| (id.to_owned(), ())));
        let mut checks: BTreeMap<&str, &HealthCheck> =
            checks.into_iter().map(|check| (check.check_id.as_str(), check)).collect();
        for (id, local) in &mut self.checks {
            local.in_sync = checks.remove(id.as_str()).is_some_and(|theirs| same_check(local, theirs));
        }
        self.gone_checks.clear();
        self.gone_checks.extend(checks.into_keys().filter(|id| *id != "serfHealth").map(|id| (id.to_owned(), ())));
    }

    /// The writes that are due, node first, then services with their checks, then the rest.
    #[must_use]
    pub fn steps(&self, identity: &Identity) -> Vec<Step> {
        let mut steps = Vec::new();
        let node = &identity.node;
        let base = |skip_node_update: bool| RegisterRequest {
            datacenter: node.datacenter.clone(),
            id: node.id.clone(),
            node: node.node.clone(),
            address: node.address.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            node_meta: node.meta.clone(),
            locality: node.locality.clone(),
            skip_node_update,
            ..RegisterRequest::default()
        };
        if !self.node_in_sync {
            steps.push(Step::Node(Box::new(base(false))));
        }
        let removal = |service_id: &str, check_id: &str| DeregisterRequest {
            datacenter: node.datacenter.clone(),
            node: node.node.clone(),
            service_id: service_id.to_owned(),
            check_id: check_id.to_owned(),
            ..DeregisterRequest::default()
        };
        for id in self.gone_services.keys() {
            steps.push(Step::RemoveService { id: id.clone(), request: removal(id, "") });
        }
        let mut ride: Vec<&str> = Vec::new();
        for (id, local) in self.services.iter().filter(|(_, local)| !local.in_sync) {
            let riders: Vec<&LocalCheck> =
                self.checks_of(id).filter(|check| !check.in_sync && check.token == local.token).collect();
            ride.extend(riders.iter().map(|check| check.check.check_id.as_str()));
            let request = RegisterRequest {
                service: Some(Arc::clone(&local.service)),
                checks: riders.iter().map(|check| HealthCheck::clone(&check.check)).collect(),
                ..base(true)
            };
            steps.push(Step::Service {
                id: id.clone(),
                token: local.token.clone(),
                checks: riders.iter().map(|check| check.check.check_id.clone()).collect(),
                request: Box::new(request),
            });
        }
        for id in self.gone_checks.keys() {
            steps.push(Step::RemoveCheck { id: id.clone(), request: removal("", id) });
        }
        for (id, local) in &self.checks {
            if local.in_sync || ride.contains(&id.as_str()) {
                continue;
            }
            // A check never carries its service along: the service would be written with the check's token.
            let request = RegisterRequest { checks: vec![HealthCheck::clone(&local.check)], ..base(true) };
            steps.push(Step::Check { id: id.clone(), token: local.token.clone(), request: Box::new(request) });
        }
        steps
    }

    /// Notes that a step is done, or refused for want of permission (then it rests until the next compare).
    pub fn settle(&mut self, step: &Step) {
        match step {
            Step::Node(_) => self.node_in_sync = true,
            Step::Service { id, checks, request, .. } => {
                if let Some(local) = self.services.get_mut(id)
                    && request.service.as_ref() == Some(&local.service)
                {
                    local.in_sync = true;
                }
                for id in checks {
                    self.settle_check(id, &request.checks);
                }
            }
            Step::Check { id, request, .. } => self.settle_check(id, &request.checks),
            Step::RemoveService { id, .. } => {
                self.gone_services.remove(id);
            }
            Step::RemoveCheck { id, .. } => {
                self.gone_checks.remove(id);
            }
        }
    }

    /// In sync only if what was written is still what we have.
    fn settle_check(&mut self, id: &str, written: &[HealthCheck]) {
        if let Some(local) = self.checks.get_mut(id) {
            local.in_sync = written.iter().any(|check| *check == *local.check);
        }
    }
}

/// Compares a service with the catalog's, taking over what the catalog decides (overridden tags).
fn same_service(local: &mut LocalService, theirs: &NodeService) -> bool {
    if local.service.enable_tag_override && local.service.tags != theirs.tags {
        Arc::make_mut(&mut local.service).tags.clone_from(&theirs.tags);
    }
    // The servers add tagged addresses of their own, under a reserved prefix.
    let reserved: BTreeMap<_, _> = theirs
        .tagged_addresses
        .iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("consul-"))
        .map(|(name, address)| (name.clone(), address.clone()))
        .collect();
    if !reserved.is_empty() {
        let ours = Arc::make_mut(&mut local.service);
        ours.tagged_addresses.get_or_insert_with(BTreeMap::new).extend(reserved);
    }
    let ours = &local.service;
    ours.same_content(theirs)
}

fn same_check(local: &LocalCheck, theirs: &HealthCheck) -> bool {
    if local.deferred_until.is_none() {
        return local.check.same_content(theirs);
    }
    // The output is on its way in its own time.
    let theirs = HealthCheck { output: local.check.output.clone(), ..theirs.clone() };
    local.check.same_content(&theirs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use state::catalog::{Node, NodeService};
    use state::health::HealthCheck;
    use tokio::time::Instant;

    use super::{Identity, Local, Source, Step};

    fn identity() -> Identity {
        Identity { node: Node { node: "n1".into(), address: "127.0.0.1".into(), ..Node::default() } }
    }

    fn service(id: &str) -> NodeService {
        NodeService { id: id.into(), service: id.into(), ..NodeService::default() }
    }

    fn check(id: &str, service: &str, status: &str) -> HealthCheck {
        HealthCheck {
            node: "n1".into(),
            check_id: id.into(),
            service_id: service.into(),
            status: status.into(),
            ..HealthCheck::default()
        }
    }

    fn settle_all(local: &mut Local) -> Vec<Step> {
        let steps = local.steps(&identity());
        for step in &steps {
            local.settle(step);
        }
        steps
    }

    #[test]
    fn nothing_to_say_means_no_steps() {
        let mut local = Local::default();
        local.put_service(service("web"), String::new(), Source::Api, false);
        local.put_check(check("c", "web", "passing"), String::new(), Source::Api, Instant::now());
        assert_eq!(settle_all(&mut local).len(), 2, "the node, and the service with its check");
        assert!(!local.is_dirty());
        local.compare(&identity(), Some(&identity().node), [&service("web")], [&check("c", "web", "passing")]);
        assert_eq!(local.steps(&identity()), []);
    }

    #[test]
    fn the_catalog_is_made_like_the_agent() {
        let mut local = Local::default();
        local.put_service(service("web"), String::new(), Source::Api, false);
        settle_all(&mut local);
        let stray = [service("old"), service("consul")];
        let checks = [check("serfHealth", "", "passing"), check("stray", "", "passing")];
        local.compare(&identity(), Some(&identity().node), stray.iter(), checks.iter());
        let kinds: Vec<_> = local
            .steps(&identity())
            .into_iter()
            .map(|step| match step {
                Step::RemoveService { id, .. } => format!("-service {id}"),
                Step::RemoveCheck { id, .. } => format!("-check {id}"),
                Step::Service { id, .. } => format!("+service {id}"),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, ["-service old", "+service web", "-check stray"]);
    }

    #[test]
    fn output_changes_wait_and_status_changes_do_not() {
        let (mut local, now, defer) = (Local::default(), Instant::now(), Duration::from_secs(300));
        local.put_check(check("c", "", "passing"), String::new(), Source::Api, now);
        settle_all(&mut local);
        assert!(!local.update_check("c", "passing", "new text", defer, now));
        assert!(!local.is_dirty());
        assert_eq!(local.wake_deferred(now), Some(now + defer));
        assert!(local.update_check("c", "critical", "new text", defer, now));
        assert!(local.is_dirty());
        settle_all(&mut local);
        local.update_check("c", "critical", "later", defer, now);
        assert_eq!(local.wake_deferred(now + defer), None);
        assert!(local.is_dirty());
    }

    #[test]
    fn a_change_while_writing_is_written_again() {
        let (mut local, now) = (Local::default(), Instant::now());
        local.put_check(check("c", "", "passing"), String::new(), Source::Api, now);
        let steps = local.steps(&identity());
        local.update_check("c", "critical", "", Duration::ZERO, now);
        for step in &steps {
            local.settle(step);
        }
        assert!(local.is_dirty());
    }

    #[test]
    fn overridden_tags_are_the_catalogs() {
        let mut local = Local::default();
        local.put_service(
            NodeService { enable_tag_override: true, ..service("web") },
            String::new(),
            Source::Api,
            false,
        );
        settle_all(&mut local);
        let theirs = NodeService { enable_tag_override: true, tags: vec!["x".into()], ..service("web") };
        local.compare(&identity(), Some(&identity().node), [&theirs], []);
        assert!(!local.is_dirty());
        assert_eq!(local.service("web").unwrap().service.tags, ["x"]);
    }
}
