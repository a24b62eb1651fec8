//! `/v1/event`.

use std::time::Duration;

use acl::{Need, Resource};
use http::header::HeaderName;
use state::Index;
use state::event::UserEvent;
use state::kv::Octets;
use wire::duration::GoDuration;

use crate::Api;
use crate::http::{Asker, Failure, Guard, Reply, Request, Route, datacenter, parse_uint};

/// A payload over this is refused before it is read; the event's own limit is far lower.
const BODY_MAX: usize = 32 * 1024;
/// How long a listing waits at most, and unless told otherwise.
const WAIT_MAX: Duration = Duration::from_secs(600);
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route {
            pattern: "/v1/event/fire/",
            methods: &["PUT"],
            guard: Guard::Handler("event:write on the name"),
            handler: |api, req, asker| Box::pin(fire(api, req, asker)),
        },
        Route {
            pattern: "/v1/event/list",
            methods: &["GET"],
            guard: Guard::Handler("event:read on each name"),
            handler: |api, req, asker| Box::pin(list(api, req, asker)),
        },
    ]
}

async fn fire(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    let name = req.rest("/v1/event/fire/").to_owned();
    if name.is_empty() {
        return Err(Failure::bad_request("Missing name"));
    }
    asker.may.require(Need::write(Resource::Event(&name)))?;
    let param = |name: &str| req.param(name).unwrap_or("").to_owned();
    let mut event = UserEvent {
        id: uuid::Uuid::new_v4().to_string(),
        name,
        node_filter: param("node"),
        service_filter: param("service"),
        tag_filter: param("tag"),
        version: 1,
        ..UserEvent::default()
    };
    let payload =
        req.body(BODY_MAX, |size| Failure::body_too_large(size, BODY_MAX, "the limit of user events")).await?;
    event.payload = Octets(payload);
    api.agent.fire_event(event.clone()).await.map_err(Failure::internal)?;
    Ok(Reply::json(&event))
}

/// Compat: blocks while the index equals the given one, since it does not grow; no jitter, no leader headers.
async fn list(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let wait = match req.filled("wait") {
        None => WAIT_MAX,
        Some(text) => GoDuration::parse(text).map_err(|_| Failure::bad_request("Invalid wait time"))?.to_std(),
    };
    let index = match req.filled("index") {
        None => 0,
        Some(text) => parse_uint(text).ok_or_else(|| Failure::bad_request("Invalid index"))?,
    };
    let name = req.param("name").unwrap_or("").to_owned();
    let deadline = tokio::time::Instant::now() + wait.min(WAIT_MAX);
    loop {
        let changed = api.agent.event_fired();
        let (current, events) = api.agent.events(&name, &*asker.may);
        if index == 0 || current != Index(index) {
            return Ok(Reply::json(&events).with_header(INDEX, &current.to_string()));
        }
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Ok(Reply::json(&events).with_header(INDEX, &current.to_string()));
        }
    }
}
