//! Checks of this agent: list, register, deregister, heartbeats.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::agent::check::Status;
use ::agent::check::definition::CheckDefinition;
use ::agent::local::Source;
use acl::{Need, Resource};
use serde::Deserialize;
use state::health::HealthCheck;

use crate::Api;
use crate::http::{Asker, Failure, Filtering, Guard, Reply, Request, Route, decode};

pub(super) fn routes() -> Vec<Route> {
    let one = Guard::Handler("service:write on the check's service, or node:write");
    vec![
        Route {
            pattern: "/v1/agent/checks",
            methods: &["GET"],
            guard: Guard::Handler("service:read or node:read on each row"),
            handler: |api, req, asker| Box::pin(list(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/check/register",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(register(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/check/deregister/",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(deregister(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/check/pass/",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(heartbeat(api, req, asker, "/v1/agent/check/pass/", Status::Passing)),
        },
        Route {
            pattern: "/v1/agent/check/warn/",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(heartbeat(api, req, asker, "/v1/agent/check/warn/", Status::Warning)),
        },
        Route {
            pattern: "/v1/agent/check/fail/",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(heartbeat(api, req, asker, "/v1/agent/check/fail/", Status::Critical)),
        },
        Route {
            pattern: "/v1/agent/check/update/",
            methods: &["PUT"],
            guard: one,
            handler: |api, req, asker| Box::pin(update(api, req, asker)),
        },
    ]
}

/// What a check's permission is about: its service, else the node.
fn subject<'a>(api: &'a Api, check: &'a HealthCheck) -> Resource<'a> {
    if check.service_name.is_empty() {
        Resource::Node(&api.settings.node_name)
    } else {
        Resource::Service(&check.service_name)
    }
}

async fn list(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let mut checks: Vec<Arc<HealthCheck>> =
        api.agent.with_local(|local| local.checks().map(|local| local.check.clone()).collect());
    checks.retain(|check| asker.may.allows(Need::read(subject(api, check))));
    let filter = Filtering::of_rows(req, state::health::check_shape(), !checks.is_empty())?;
    let shown: BTreeMap<&str, &HealthCheck> = checks
        .iter()
        .filter(|check| filter.keeps(&***check))
        .map(|check| (check.check_id.as_str(), &**check))
        .collect();
    Ok(Reply::json(&shown))
}

async fn register(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let body = decode::whole(req).await?;
    let definition: CheckDefinition =
        decode::strict(&body).map_err(|error| Failure::bad_request(format!("Request decode failed: {error}")))?;
    let name =
        api.agent.with_local(|local| local.service(&definition.service_id).map(|local| local.service.service.clone()));
    let resource = match &name {
        Some(name) => Resource::Service(name),
        None => Resource::Node(&api.settings.node_name),
    };
    asker.may.require(Need::write(resource))?;
    let token = if definition.token.is_empty() { &asker.token } else { &definition.token };
    api.agent.register_check(&definition, token, Source::Api)?;
    api.agent.synced().await;
    Ok(Reply::empty())
}

/// The permission to change a check that is registered; unknown ones are answered by the operation itself.
fn may_change(api: &Api, asker: &Asker, id: &str) -> Result<(), Failure> {
    let check = api.agent.with_local(|local| local.check(id).map(|local| local.check.clone()));
    match check {
        Some(check) => Ok(asker.may.require(Need::write(subject(api, &check)))?),
        None => Ok(()),
    }
}

async fn deregister(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let id = req.rest("/v1/agent/check/deregister/").to_owned();
    may_change(api, asker, &id)?;
    api.agent.deregister_check(&id)?;
    api.agent.synced().await;
    Ok(Reply::empty())
}

async fn heartbeat(
    api: &Api,
    req: &mut Request,
    asker: &Asker,
    prefix: &'static str,
    status: Status,
) -> Result<Reply, Failure> {
    let id = req.rest(prefix).to_owned();
    may_change(api, asker, &id)?;
    api.agent.heartbeat(&id, status, req.param("note").unwrap_or(""))?;
    Ok(Reply::empty())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "agent.checkUpdate", rename_all = "PascalCase")]
struct Update {
    status: String,
    output: String,
}

async fn update(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let id = req.rest("/v1/agent/check/update/").to_owned();
    let body = decode::whole(req).await?;
    let update: Update =
        decode::strict(&body).map_err(|error| Failure::bad_request(format!("Request decode failed: {error}")))?;
    let status = Status::parse(&update.status)
        .ok_or_else(|| Failure::bad_request(format!("Invalid check status: '{}'", update.status)))?;
    may_change(api, asker, &id)?;
    api.agent.heartbeat(&id, status, &update.output)?;
    Ok(Reply::empty())
}
