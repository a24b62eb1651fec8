//! The health of this agent's own services, for load balancers beside it.

use ::agent::Health;
use acl::{Need, Resource};
use http::StatusCode;
use serde::Serialize;

use super::shown::{AgentCheck, AgentService};
use crate::Api;
use crate::http::{Asker, Failure, Guard, REASON, Reply, Request, Route};

pub(super) fn routes() -> Vec<Route> {
    let guard = Guard::Handler("service:read on the service");
    vec![
        Route {
            pattern: "/v1/agent/health/service/id/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(by_id(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/health/service/name/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(by_name(api, req, asker)),
        },
    ]
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    aggregated_status: &'a str,
    service: Option<AgentService<'a>>,
    checks: Option<Vec<AgentCheck<'a>>>,
}

impl<'a> Shown<'a> {
    fn new(api: &'a Api, health: &'a Health) -> Self {
        Shown {
            aggregated_status: health.status,
            service: Some(AgentService::new(&health.service, &api.settings.datacenter)),
            checks: Some(health.checks.iter().map(|check| AgentCheck::new(check)).collect())
                .filter(|checks: &Vec<_>| !checks.is_empty()),
        }
    }
}

fn status_code(status: &str) -> StatusCode {
    match status {
        "passing" => StatusCode::OK,
        "warning" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn wants_text(req: &Request) -> bool {
    req.param("format") == Some("text") || req.header("accept").is_some_and(|accept| accept.starts_with("text/plain"))
}

fn answer(req: &Request, code: StatusCode, reason: &str, text: &str, json: &impl Serialize) -> Reply {
    let reply = if wants_text(req) { Reply::bytes("text/plain", text.to_owned().into()) } else { Reply::json(json) };
    reply.with_status(code).with_header(REASON, reason)
}

async fn by_id(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let id = req.rest("/v1/agent/health/service/id/").to_owned();
    if id.is_empty() {
        // Compat: a slip of the reference makes this a 500.
        return Err(Failure::internal("Missing serviceID"));
    }
    let Some(health) = api.agent.health(&id) else {
        let reason = format!("ServiceId {id} not found");
        let nothing = Shown { aggregated_status: "critical", service: None, checks: None };
        return Ok(answer(req, StatusCode::NOT_FOUND, &reason, &reason, &nothing));
    };
    asker.may.require(Need::read(Resource::Service(&health.service.service)))?;
    Ok(answer(req, status_code(health.status), health.status, health.status, &Shown::new(api, &health)))
}

async fn by_name(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let name = req.rest("/v1/agent/health/service/name/").to_owned();
    if name.is_empty() {
        return Err(Failure::internal("Missing service Name"));
    }
    asker.may.require(Need::read(Resource::Service(&name)))?;
    let ids: Vec<String> = api.agent.with_local(|local| {
        local.services().filter(|local| local.service.service == name).map(|local| local.service.id.clone()).collect()
    });
    let all: Vec<Health> = ids.iter().filter_map(|id| api.agent.health(id)).collect();
    if all.is_empty() {
        let reason = format!("ServiceName {name} Not Found");
        return Ok(answer(req, StatusCode::NOT_FOUND, &reason, &reason, &[(); 0]));
    }
    // Compat: the worst is the one with the highest status code.
    let worst = all.iter().max_by_key(|health| status_code(health.status)).map_or("critical", |health| health.status);
    let shown: Vec<_> = all.iter().map(|health| Shown::new(api, health)).collect();
    Ok(answer(req, status_code(worst), worst, worst, &shown))
}
