//! Registering, deregistering, maintenance: what the agent API does to local state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use state::Error;
use state::catalog::NodeService;
use state::health::HealthCheck;
use tokio::time::Instant;
use wire::duration::GoDuration;

use crate::Agent;
use crate::check::definition::{CheckDefinition, CheckType};
use crate::check::script::{Allowed, Origin, permission};
use crate::check::ttl::{PersistedState, no_ttl_text};
use crate::check::{Report, Status};
use crate::local::Source;
use crate::persist::{PersistedCheck, PersistedService};
use crate::runners::Counts;
use crate::service::ServiceDefinition;
use crate::sidecar::{self, Sidecar};

/// A registration waits this long for the catalog before it answers.
const SYNC_WAIT: Duration = Duration::from_millis(500);
const NODE_MAINTENANCE: &str = "_node_maintenance";
const SERVICE_MAINTENANCE: &str = "_service_maintenance:";
const NODE_REASON: &str =
    "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.";
const SERVICE_REASON: &str =
    "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.";

/// The health of one service of this agent.
#[derive(Debug, Clone)]
pub struct Health {
    /// `passing`, `warning`, `critical` or `maintenance`: the worst of node and service checks.
    pub status: &'static str,
    pub service: Arc<NodeService>,
    pub checks: Vec<Arc<HealthCheck>>,
}

/// A service on its way into local state.
struct Addition<'a> {
    service: NodeService,
    checks: Vec<CheckType>,
    token: &'a str,
    source: Source,
    replace: bool,
    is_sidecar: bool,
}

impl Agent {
    /// Registers a service with its checks and its sidecar; an existing one of the same id is replaced. Its other checks stay
    /// unless `replace_checks`.
    pub fn register_service(
        &self,
        definition: &ServiceDefinition,
        token: &str,
        source: Source,
        replace_checks: bool,
    ) -> Result<(), Error> {
        self.put_service(definition, token, source, replace_checks).map(drop)
    }

    /// Registers a service; the ids of the checks that came with it.
    fn put_service(
        &self,
        definition: &ServiceDefinition,
        token: &str,
        source: Source,
        replace_checks: bool,
    ) -> Result<Vec<String>, Error> {
        let sidecar = definition.sidecar()?;
        let mut service = definition.node_service();
        service.imply_addresses();
        let checks: Vec<CheckType> = definition.all_checks().cloned().collect();
        let replace = replace_checks;
        let mut kept = self.add_service(Addition { service, checks, token, source, replace, is_sidecar: false })?;
        if let Some(mut sidecar) = sidecar {
            self.with_local(|local| sidecar.settle(local, &self.settings().sidecar_ports))?;
            let Sidecar { service, checks, token: own } = sidecar;
            let token = if own.is_empty() { token } else { &own };
            kept.extend(self.add_service(Addition { service, checks, token, source, replace, is_sidecar: true })?);
        }
        self.note_change();
        Ok(kept)
    }

    /// Registers one service; the ids of the checks that came with it.
    fn add_service(&self, addition: Addition<'_>) -> Result<Vec<String>, Error> {
        let Addition { service, checks, token, source, replace, is_sidecar } = addition;
        for check in &checks {
            self.permit_script(check, source)?;
        }
        let several = checks.len() > 1;
        let mut kept = Vec::new();
        for (at, mut check) in checks.into_iter().enumerate() {
            if check.check_id.is_empty() {
                check.check_id = format!("service:{}", service.id);
                if several {
                    check.check_id.push_str(&format!(":{}", at + 1));
                }
            }
            if check.name.is_empty() {
                check.name = format!("Service '{}' check", service.service);
            }
            kept.push(check.check_id.clone());
            let shown = self.service_check(&check, &service);
            self.add_check(check, shown, token, source)?;
        }
        if replace {
            let old: Vec<String> = self
                .with_local(|local| local.checks_of(&service.id).map(|check| check.check.check_id.clone()).collect());
            for id in old.iter().filter(|id| !kept.contains(id) && !id.starts_with(SERVICE_MAINTENANCE)) {
                self.drop_check(id);
            }
        }
        if source == Source::Api {
            let persisted = PersistedService {
                token: token.to_owned(),
                service: Some(service.clone()),
                source: "remote".to_owned(),
                locally_registered_as_sidecar: is_sidecar,
            };
            self.shared.persist.save_service(&persisted).map_err(not_persisted)?;
        }
        // The name or tags may be new: the checks of the service carry them.
        self.with_local(|local| {
            let stale: Vec<_> = local
                .checks_of(&service.id)
                .filter(|check| check.check.service_name != service.service || check.check.service_tags != service.tags)
                .map(|check| (HealthCheck::clone(&check.check), check.token.clone(), check.source))
                .collect();
            for (check, token, source) in stale {
                let service_tags = service.tags.clone();
                let check = HealthCheck { service_name: service.service.clone(), service_tags, ..check };
                local.put_check(check, token, source, Instant::now());
            }
            local.put_service(service, token.to_owned(), source, is_sidecar);
        });
        Ok(kept)
    }

    /// Removes a service with its checks and its sidecar.
    pub fn deregister_service(&self, id: &str) -> Result<(), Error> {
        if !self.with_local(|local| local.service(id).is_some()) {
            return Err(unknown_service(id));
        }
        let checks: Vec<String> =
            self.with_local(|local| local.checks_of(id).map(|check| check.check.check_id.clone()).collect());
        for check in checks {
            self.drop_check(&check);
        }
        self.shared.persist.remove_service(id);
        self.with_local(|local| local.remove_service(id));
        self.note_change();
        let sidecar = sidecar::id_of(id);
        if self.with_local(|local| local.service(&sidecar).is_some_and(|local| local.is_sidecar)) {
            return self.deregister_service(&sidecar);
        }
        Ok(())
    }

    /// Registers a check on its own.
    pub fn register_check(&self, definition: &CheckDefinition, token: &str, source: Source) -> Result<(), Error> {
        let mut check = definition.check.clone();
        if check.name.is_empty() {
            return Err(Error::invalid("Missing check name"));
        }
        if !check.status.is_empty() && Status::parse(&check.status).is_none() {
            return Err(Error::invalid("Bad check status"));
        }
        check.validate().map_err(|reason| Error::invalid(format!("Invalid check: {reason}")))?;
        self.permit_script(&check, source)?;
        if check.check_id.is_empty() {
            check.check_id.clone_from(&check.name);
        }
        let service = match definition.service_id.as_str() {
            "" => None,
            id => {
                let service = self.with_local(|local| local.service(id).map(|local| Arc::clone(&local.service)));
                Some(service.ok_or_else(|| Error::not_found(format!("ServiceID {id:?} does not exist")))?)
            }
        };
        let mut shown = self.shown_check(&check, service.as_deref());
        // Compat: a check that is registered on its own shows these even when it has none.
        shown.interval = check.interval.to_string();
        shown.timeout = check.timeout.to_string();
        self.add_check(check, shown, token, source)?;
        self.note_change();
        Ok(())
    }

    /// Removes a check.
    pub fn deregister_check(&self, id: &str) -> Result<(), Error> {
        if !self.with_local(|local| local.check(id).is_some()) {
            return Err(unknown_check(id));
        }
        self.drop_check(id);
        self.note_change();
        Ok(())
    }

    fn drop_check(&self, id: &str) {
        self.shared.runners.stop(id);
        self.shared.definitions.lock().remove(id);
        self.shared.persist.remove_check(id);
        self.with_local(|local| local.remove_check(id));
    }

    fn permit_script(&self, check: &CheckType, source: Source) -> Result<(), Error> {
        if !check.is_script() {
            return Ok(());
        }
        let settings = self.settings();
        let origin = match source {
            Source::Config => Origin::Local,
            Source::Api => Origin::Remote,
        };
        let allowed =
            Allowed { local: settings.enable_local_script_checks, remote: settings.enable_remote_script_checks };
        permission(origin, allowed).map_err(Error::failed)
    }

    /// A check that came with a service, as the catalog shows it before its first result.
    fn service_check(&self, check: &CheckType, service: &NodeService) -> HealthCheck {
        let span = |span: GoDuration| if span.is_zero() { String::new() } else { span.to_string() };
        HealthCheck {
            interval: span(check.interval),
            timeout: span(check.timeout),
            ..self.shown_check(check, Some(service))
        }
    }

    fn add_check(&self, check: CheckType, shown: HealthCheck, token: &str, source: Source) -> Result<(), Error> {
        if source == Source::Api {
            let persisted = PersistedCheck {
                check: Some(shown.clone()),
                chk_type: Some(check.clone()),
                token: token.to_owned(),
                source: "remote".to_owned(),
            };
            self.shared.persist.save_check(&persisted).map_err(not_persisted)?;
        }
        self.start_check(check, shown, token, source)
    }

    fn start_check(&self, check: CheckType, mut shown: HealthCheck, token: &str, source: Source) -> Result<(), Error> {
        let id = shown.check_id.clone();
        // A registration over an existing check keeps what is known, so that the catalog does not flap.
        // Compat: even when the definition says how it starts.
        let known = self.with_local(|local| local.check(&id).map(|local| Arc::clone(&local.check)));
        if let Some(known) = known {
            shown.status.clone_from(&known.status);
            shown.output.clone_from(&known.output);
        }
        self.with_local(|local| local.put_check(shown, token.to_owned(), source, Instant::now()));
        self.shared.definitions.lock().insert(id.clone(), check.clone());
        self.shared.runners.changed.notify_waiters();
        self.shared.runners.start(self, &id, &check).map_err(Error::failed)
    }

    /// A check as the catalog shows it before its first result.
    fn shown_check(&self, check: &CheckType, service: Option<&NodeService>) -> HealthCheck {
        HealthCheck {
            node: self.settings().node_name.clone(),
            check_id: check.check_id.clone(),
            name: check.name.clone(),
            status: if check.status.is_empty() { "critical".to_owned() } else { check.status.clone() },
            notes: check.notes.clone(),
            service_id: service.map(|service| service.id.clone()).unwrap_or_default(),
            service_name: service.map(|service| service.service.clone()).unwrap_or_default(),
            service_tags: service.map(|service| service.tags.clone()).unwrap_or_default(),
            r#type: check.type_name().to_owned(),
            ..HealthCheck::default()
        }
    }

    /// A heartbeat of a TTL check, with what it has to say.
    pub fn heartbeat(&self, id: &str, status: Status, output: &str) -> Result<(), Error> {
        if !self.with_local(|local| local.check(id).is_some()) {
            return Err(unknown_check(id));
        }
        let Some((output, span)) = self.shared.runners.heartbeat(id, output) else {
            return Err(Error::failed(no_ttl_text(id)));
        };
        let expires = unix_now().saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
        let kept = PersistedState {
            check_id: id.to_owned(),
            output: output.clone(),
            status: status.as_str().to_owned(),
            expires,
        };
        self.shared.persist.save_state(&kept).map_err(not_persisted)?;
        self.report(Report { check_id: id.to_owned(), status, output });
        Ok(())
    }

    /// Takes the node into maintenance: a critical check of its own.
    pub fn enter_node_maintenance(&self, reason: &str, token: &str) {
        let reason = if reason.is_empty() { NODE_REASON } else { reason };
        let check = self.maintenance_check(NODE_MAINTENANCE, "Node Maintenance Mode", reason, None);
        self.put_maintenance(check, token);
    }

    /// Takes the node out of maintenance.
    pub fn leave_node_maintenance(&self) {
        if self.with_local(|local| local.check(NODE_MAINTENANCE).is_some()) {
            self.drop_check(NODE_MAINTENANCE);
            self.note_change();
        }
    }

    /// Takes a service into maintenance.
    pub fn enter_service_maintenance(&self, id: &str, reason: &str, token: &str) -> Result<(), Error> {
        let service = self.with_local(|local| local.service(id).map(|local| Arc::clone(&local.service)));
        let service = service.ok_or_else(|| unknown_service(id))?;
        let reason = if reason.is_empty() { SERVICE_REASON } else { reason };
        let check_id = format!("{SERVICE_MAINTENANCE}{id}");
        let check = self.maintenance_check(&check_id, "Service Maintenance Mode", reason, Some(&service));
        self.put_maintenance(check, token);
        Ok(())
    }

    /// Takes a service out of maintenance.
    pub fn leave_service_maintenance(&self, id: &str) -> Result<(), Error> {
        if !self.with_local(|local| local.service(id).is_some()) {
            return Err(unknown_service(id));
        }
        let check_id = format!("{SERVICE_MAINTENANCE}{id}");
        if self.with_local(|local| local.check(&check_id).is_some()) {
            self.drop_check(&check_id);
            self.note_change();
        }
        Ok(())
    }

    fn maintenance_check(&self, id: &str, name: &str, reason: &str, service: Option<&NodeService>) -> HealthCheck {
        let check = CheckType { check_id: id.to_owned(), name: name.to_owned(), ..CheckType::default() };
        HealthCheck { notes: reason.to_owned(), r#type: "maintenance".to_owned(), ..self.shown_check(&check, service) }
    }

    fn put_maintenance(&self, check: HealthCheck, token: &str) {
        if self.with_local(|local| local.check(&check.check_id).is_some()) {
            return;
        }
        let persisted = PersistedCheck {
            check: Some(check.clone()),
            chk_type: None,
            token: token.to_owned(),
            source: String::new(),
        };
        if let Err(error) = self.shared.persist.save_check(&persisted) {
            tracing::error!(%error, "maintenance will not outlast a restart");
        }
        self.with_local(|local| local.put_check(check, token.to_owned(), Source::Api, Instant::now()));
        self.note_change();
    }

    /// Waits until what was just changed is in the catalog, but not for long: the catalog follows anyhow.
    pub async fn synced(&self) {
        let settled = async {
            let mut versions = self.versions();
            while self.with_local(|local| local.is_dirty()) {
                versions.borrow_and_update();
                if self.with_local(|local| !local.is_dirty()) || versions.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(SYNC_WAIT, settled).await;
    }

    /// How many checks run of which sort.
    #[must_use]
    pub fn check_counts(&self) -> Counts {
        let scripts = self.shared.definitions.lock().values().filter(|check| check.is_script()).count();
        Counts { ttls: self.shared.runners.ttls(), scripts }
    }

    /// The health of one service; `None` when it is not registered here.
    #[must_use]
    pub fn health(&self, service_id: &str) -> Option<Health> {
        self.with_local(|local| {
            let service = Arc::clone(&local.service(service_id)?.service);
            let concerns = |check: &HealthCheck| check.service_id.is_empty() || check.service_id == service_id;
            let checks: Vec<_> =
                local.checks().filter(|check| concerns(&check.check)).map(|check| Arc::clone(&check.check)).collect();
            Some(Health { status: worst(&checks), service, checks })
        })
    }

    /// Puts what configuration files say now in the place of what they said before.
    ///
    /// What they still say is never gone in between, and keeps what its checks found.
    pub fn reload_configured(&self, services: &[ServiceDefinition], checks: &[CheckDefinition]) -> Result<(), Error> {
        let (mut old_services, mut old_checks): (BTreeSet<String>, BTreeSet<String>) = self.with_local(|local| {
            let services = local.services().filter(|local| local.source == Source::Config);
            let checks = local.checks().filter(|local| local.source == Source::Config);
            (
                services.map(|local| local.service.id.clone()).collect(),
                checks.map(|local| local.check.check_id.clone()).collect(),
            )
        });
        for definition in services {
            let kept = self
                .put_service(definition, &definition.token, Source::Config, false)
                .map_err(|error| Error::failed(format!("Failed to register service {:?}: {error}", definition.name)))?;
            old_checks.retain(|id| !kept.contains(id));
            old_services.remove(&definition.node_service().id);
            if let Ok(Some(sidecar)) = definition.sidecar() {
                old_services.remove(&sidecar.service.id);
            }
        }
        for definition in checks {
            self.register_check(definition, &definition.token, Source::Config).map_err(|error| {
                Error::failed(format!("Failed to register check {:?}: {error}", definition.check.name))
            })?;
            let CheckType { check_id, name, .. } = &definition.check;
            old_checks.remove(if check_id.is_empty() { name } else { check_id });
        }
        for id in old_checks {
            self.drop_check(&id);
        }
        for id in old_services {
            self.deregister_service(&id)?;
        }
        self.note_change();
        Ok(())
    }

    /// Registers what an earlier life of this agent kept.
    pub(crate) fn load_persisted(&self) {
        for kept in self.shared.persist.services() {
            let Some(service) = kept.service else { continue };
            self.with_local(|local| {
                local.put_service(service, kept.token, Source::Api, kept.locally_registered_as_sidecar)
            });
        }
        for kept in self.shared.persist.checks() {
            let Some(mut shown) = kept.check else { continue };
            let is_orphan =
                !shown.service_id.is_empty() && self.with_local(|local| local.service(&shown.service_id).is_none());
            if is_orphan {
                tracing::warn!(check = %shown.check_id, "a persisted check has lost its service; removed");
                self.shared.persist.remove_check(&shown.check_id);
                continue;
            }
            shown.node.clone_from(&self.settings().node_name);
            let Some(check) = kept.chk_type else {
                self.with_local(|local| local.put_check(shown, kept.token, Source::Api, Instant::now()));
                continue;
            };
            if let Err(error) = self.permit_script(&check, Source::Api) {
                tracing::error!(check = %shown.check_id, %error, "a persisted check is not run");
                continue;
            }
            // Compat: a check starts critical after a restart unless its TTL has not run out.
            "critical".clone_into(&mut shown.status);
            shown.output.clear();
            if let Some(last) = self.shared.persist.state(&shown.check_id, unix_now()) {
                (shown.status, shown.output) = (last.status, last.output);
            }
            let id = shown.check_id.clone();
            if let Err(error) = self.start_check(check, shown, &kept.token, Source::Api) {
                tracing::error!(check = %id, %error, "a persisted check is not run");
            }
        }
    }
}

/// The worst status, as `/v1/agent/health` aggregates.
fn worst(checks: &[Arc<HealthCheck>]) -> &'static str {
    let is_maintenance = |id: &str| id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE);
    if checks.iter().any(|check| is_maintenance(&check.check_id)) {
        return "maintenance";
    }
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    if has("critical") {
        "critical"
    } else if has("warning") {
        "warning"
    } else {
        "passing"
    }
}

fn unknown_service(id: &str) -> Error {
    Error::not_found(format!("Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."))
}

fn unknown_check(id: &str) -> Error {
    Error::not_found(format!("Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."))
}

fn not_persisted(error: std::io::Error) -> Error {
    Error::failed(format!("failed to persist: {error}"))
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
