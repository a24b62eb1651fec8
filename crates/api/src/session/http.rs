//! `/v1/session`.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use state::session::{CREATE, DESTROY, NodeSessions, ServiceCheck, Session, SessionGet, SessionList, SessionRequest};
use state::{Command, Outcome};
use wire::duration::GoDuration;

use crate::Api;
use crate::http::{
    Answered, Asker, Failure, Guard, Reply, Request, Route, datacenter, decode, read_options, serve_query,
};

/// Bodies of session requests are small.
const BODY_MAX: usize = 64 * 1024;
/// A lock-delay given as a number below this is meant in seconds.
const SECONDS_BELOW: i64 = 1000;

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    let guard = Guard::Executed;
    vec![
        Route {
            pattern: "/v1/session/create",
            methods: &["PUT"],
            guard,
            handler: |api, req, asker| Box::pin(create(api, req, asker)),
        },
        Route {
            pattern: "/v1/session/destroy/",
            methods: &["PUT"],
            guard,
            handler: |api, req, asker| Box::pin(destroy(api, req, asker)),
        },
        Route {
            pattern: "/v1/session/renew/",
            methods: &["PUT"],
            guard,
            handler: |api, req, asker| Box::pin(renew(api, req, asker)),
        },
        Route {
            pattern: "/v1/session/info/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(info(api, req, asker)),
        },
        Route {
            pattern: "/v1/session/node/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(node(api, req, asker)),
        },
        Route {
            pattern: "/v1/session/list",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(list(api, req, asker)),
        },
    ]
}

/// The body of a create request. What is not given is the agent's default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "Session|Alias|struct { LockDelay interface {}; *structs.Alias }", rename_all = "PascalCase")]
struct Create {
    name: String,
    node: Option<String>,
    lock_delay: LockDelay,
    behavior: Option<String>,
    #[serde(rename = "TTL")]
    ttl: String,
    /// Absent is the default, `null` and `[]` are none.
    #[serde(deserialize_with = "present")]
    node_checks: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    service_checks: Option<Vec<ServiceCheck>>,
    #[serde(deserialize_with = "present")]
    checks: Option<Vec<String>>,
}

fn present<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Some(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default()))
}

/// A duration text, a number of seconds (below 1000), or a number of nanoseconds.
#[derive(Debug, Default)]
struct LockDelay(Option<i64>);

impl<'de> Deserialize<'de> for LockDelay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => {
                let delay = GoDuration::parse(&text).map_err(serde::de::Error::custom)?;
                Ok(LockDelay(Some(delay.0)))
            }
            serde_json::Value::Number(number) => {
                #[allow(clippy::cast_possible_truncation, reason = "Go converts the float in the same way")]
                let number = number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)).unwrap_or(0);
                let nanos = if number < SECONDS_BELOW { number.saturating_mul(1_000_000_000) } else { number };
                Ok(LockDelay(Some(nanos)))
            }
            // Compat: other types count as zero.
            _ => Ok(LockDelay(Some(0))),
        }
    }
}

#[derive(Serialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

async fn create(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    let body = req.body(BODY_MAX, |size| Failure::body_too_large(size, BODY_MAX, "session")).await?;
    let asked: Create = if body.is_empty() {
        Create::default()
    } else {
        decode::lenient(&body).map_err(|error| Failure::bad_request(format!("Request decode failed: {error}")))?
    };
    // Compat: `Checks` is the old name of `NodeChecks`; when either is given the default goes away.
    let node_checks = match (asked.node_checks, asked.checks) {
        (None, None) => Some(vec!["serfHealth".to_owned()]),
        (Some(checks), None) | (None, Some(checks)) => Some(checks),
        (Some(mut checks), Some(old)) => {
            let new: Vec<_> = old.into_iter().filter(|check| !checks.contains(check)).collect();
            checks.extend(new);
            Some(checks)
        }
    };
    let session = Session {
        id: uuid::Uuid::new_v4().to_string(),
        name: asked.name,
        node: asked.node.unwrap_or_else(|| api.settings.node_name.clone()),
        lock_delay: asked.lock_delay.0.unwrap_or(15_000_000_000),
        behavior: asked.behavior.unwrap_or_default(),
        ttl: asked.ttl,
        node_checks,
        service_checks: asked.service_checks.filter(|checks| !checks.is_empty()),
        ..Session::default()
    };
    match write(api, asker, CREATE, session).await? {
        Outcome::Created(id) => Ok(Reply::json(&Created { id })),
        _ => Err(Failure::internal("apply failed: unexpected outcome")),
    }
}

async fn destroy(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    let id = session_id(req, "/v1/session/destroy/")?;
    write(api, asker, DESTROY, Session { id, ..Session::default() }).await?;
    Ok(Reply::json(&true))
}

async fn write(api: &Api, asker: &Asker, op: &str, session: Session) -> Result<Outcome, Failure> {
    let request = SessionRequest { datacenter: api.settings.datacenter.clone(), op: op.to_owned(), session };
    Ok(api.cluster.write(Command::Session(request), &*asker.may).await?)
}

async fn renew(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    let id = session_id(req, "/v1/session/renew/")?;
    match api.cluster.renew_session(&id, &*asker.may).await? {
        Some(session) => Ok(Reply::json(&[session])),
        None => Err(Failure::new(StatusCode::NOT_FOUND, format!("Session id '{id}' not found"))),
    }
}

async fn info(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let session_id = session_id(req, "/v1/session/info/")?;
    serve_query(api, req, asker, &options, &SessionGet { session_id }, None, |sessions| Ok(Answered::json(&sessions)))
        .await
}

async fn node(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let node = req.rest("/v1/session/node/").to_owned();
    if node.is_empty() {
        return Err(Failure::bad_request("Missing node name"));
    }
    serve_query(api, req, asker, &options, &NodeSessions { node }, None, |sessions| Ok(Answered::json(&sessions))).await
}

async fn list(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    serve_query(api, req, asker, &options, &SessionList {}, None, |sessions| Ok(Answered::json(&sessions))).await
}

fn session_id(req: &Request, prefix: &str) -> Result<String, Failure> {
    match req.rest(prefix) {
        "" => Err(Failure::bad_request("Missing session")),
        id => Ok(id.to_owned()),
    }
}
