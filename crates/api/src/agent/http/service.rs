//! Services of this agent: list, show, register, deregister, maintenance.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use ::agent::local::Source;
use ::agent::service::ServiceDefinition;
use acl::{Need, Resource};
use http::header::HeaderName;
use wire::duration::GoDuration;

use super::shown::AgentService;
use crate::Api;
use crate::http::{Asker, Failure, Filtering, Guard, Reply, Request, Route, decode};

const CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");

pub(super) fn routes() -> Vec<Route> {
    let rows = Guard::Handler("service:read on each row");
    let one = Guard::Handler("service:write on the service");
    vec![
        Route {
            pattern: "/v1/agent/services",
            methods: &["GET"],
            guard: rows,
            handler: |api, req, asker| Box::pin(list(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/service/",
            methods: &["GET"],
            guard: Guard::Handler("service:read on the service"),
            handler: |api, req, asker| Box::pin(show(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/service/register",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(register(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/service/deregister/",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(deregister(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/service/maintenance/",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(maintenance(api, req, asker)),
        },
    ]
}

async fn list(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let filter = Filtering::of(req, state::catalog::node_service_shape())?;
    let services: Vec<_> = api.agent.with_local(|local| local.services().map(|local| local.service.clone()).collect());
    let shown: BTreeMap<&str, AgentService<'_>> = services
        .iter()
        .filter(|service| asker.may.allows(Need::read(Resource::Service(&service.service))))
        .filter(|service| filter.keeps(&***service))
        .map(|service| (service.id.as_str(), AgentService::new(service, &api.settings.datacenter)))
        .collect();
    Ok(Reply::json(&shown))
}

/// Blocks while the content hash is the one that the client knows.
async fn show(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let id = req.rest("/v1/agent/service/").to_owned();
    let known = req.filled("hash").map(str::to_owned);
    let wait = match req.filled("wait") {
        None => None,
        Some(text) => Some(GoDuration::parse(text).map_err(|_| Failure::bad_request("Invalid wait time"))?.to_std()),
    };
    let options = server::ReadOptions::blocking(state::Index(1), wait, server::ReadMode::Stale, &mut rand::rng());
    let deadline = tokio::time::Instant::now() + options.wait;
    let mut versions = api.agent.versions();
    loop {
        versions.borrow_and_update();
        let service = api.agent.with_local(|local| local.service(&id).map(|local| local.service.clone()));
        let Some(service) = service else {
            return Err(Failure::not_found(format!("unknown service ID: {id}")));
        };
        asker.may.require(Need::read(Resource::Service(&service.service)))?;
        let mut shown = AgentService::new(&service, &api.settings.datacenter);
        let hash = content_hash(&shown);
        let timed_out =
            known.as_ref() == Some(&hash) && tokio::time::timeout_at(deadline, versions.changed()).await.is_err();
        if known.as_ref() == Some(&hash) && !timed_out {
            continue;
        }
        shown.content_hash = Some(hash.clone());
        return Ok(Reply::json(&shown).with_header(CONTENT_HASH, &hash));
    }
}

/// Opaque to clients: equal content gives an equal hash.
fn content_hash(shown: &AgentService<'_>) -> String {
    let json = wire::json::to_vec(shown).expect("what we answer can be encoded");
    let mut hasher = std::hash::DefaultHasher::new();
    json.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

async fn register(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let replace = matches!(req.param("replace-existing-checks"), Some("" | "true"));
    let body = decode::whole(req).await?;
    let definition: ServiceDefinition =
        decode::strict(&body).map_err(|error| Failure::bad_request(format!("Request decode failed: {error}")))?;
    definition.validate()?;
    asker.may.require(Need::write(Resource::Service(&definition.name)))?;
    if let Some(sidecar) = definition.sidecar()? {
        asker.may.require(Need::write(Resource::Service(&sidecar.service.service)))?;
        asker.may.require(Need::write(Resource::Service(&sidecar.service.proxy.destination_service_name)))?;
    }
    let id = definition.node_service().id;
    let existing = api.agent.with_local(|local| local.service(&id).map(|local| local.service.service.clone()));
    if let Some(existing) = existing {
        asker.may.require(Need::write(Resource::Service(&existing)))?;
    }
    let token = if definition.token.is_empty() { &asker.token } else { &definition.token };
    api.agent.register_service(&definition, token, Source::Api, replace)?;
    api.agent.synced().await;
    Ok(Reply::empty())
}

/// The permission to change a service that is registered; unknown ones are answered by the operation itself.
fn may_change(api: &Api, asker: &Asker, id: &str) -> Result<(), Failure> {
    let name = api.agent.with_local(|local| local.service(id).map(|local| local.service.service.clone()));
    match name {
        Some(name) => Ok(asker.may.require(Need::write(Resource::Service(&name)))?),
        None => Ok(()),
    }
}

async fn deregister(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let id = req.rest("/v1/agent/service/deregister/").to_owned();
    may_change(api, asker, &id)?;
    api.agent.deregister_service(&id)?;
    api.agent.synced().await;
    Ok(Reply::empty())
}

async fn maintenance(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let id = req.rest("/v1/agent/service/maintenance/").to_owned();
    if id.is_empty() {
        return Err(Failure::bad_request("Missing service ID"));
    }
    let enable = super::process::enable(req)?;
    may_change(api, asker, &id)?;
    if enable {
        api.agent.enter_service_maintenance(&id, req.param("reason").unwrap_or(""), &asker.token)?;
    } else {
        api.agent.leave_service_maintenance(&id)?;
    }
    api.agent.synced().await;
    Ok(Reply::empty())
}
