//! The one way in which a route answers a query: options, blocking, headers, encode once.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde::Serialize;
use server::rpc::Carried;
use server::{Answer, Encoded, ReadMode, SharedAnswer};

use super::{Asker, Failure, Options, Reply, Request, datacenter};
use crate::Api;

/// An answer as it is rendered: JSON bytes, or no such object.
pub enum Answered {
    Json(Bytes),
    /// 404 without a body, with the index headers.
    Missing,
    /// 404 without a body, and without the index headers.
    Unknown,
    /// A reply of its own; the index headers are added.
    Reply(Box<Reply>),
}

impl Answered {
    /// A value as Go would encode it.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        Answered::Json(wire::json::to_vec(value).expect("what we answer can be encoded").into())
    }
}

/// Reads and renders. `key` names the answer for the encode-once cache: it must tell apart everything that
/// `render` depends on besides the query itself; `None` when the answer is not the same for all who ask
/// (shuffled, sorted by who asks).
pub async fn serve_query<Q: Carried>(
    api: &Api,
    req: &Request,
    asker: &Asker,
    options: &Options,
    query: &Q,
    key: Option<&str>,
    render: impl Fn(Q::Answer) -> Result<Answered, Failure>,
) -> Result<Reply, Failure> {
    datacenter(api, req).map_err(|failure| failed(req, failure))?;
    // Only answers that are the same for everybody are shared.
    let key = key.filter(|_| asker.may.allows_everything());
    let read = api.cluster.read_shared(query, &options.read, &asker.may, key).await;
    let (answer, seen_in) = match read.map_err(|error| failed(req, error.into()))? {
        SharedAnswer::Kept(encoded) => {
            let mut reply = Reply::encoded(encoded.body);
            let meta = api.cluster.meta(encoded.index, options.read.mode);
            set_meta(&mut reply.headers, &meta, shows_mode(&req.path));
            cache_headers(&mut reply.headers, req, options, true);
            return Ok(reply);
        }
        SharedAnswer::Fresh { answer, seen, state } => (answer, Some((seen, state))),
        SharedAnswer::Far(answer) => (answer, None),
    };
    let Answer { answer, meta } = answer;
    let mut reply = match render(answer)? {
        Answered::Json(body) => {
            if let (Some(key), Some((seen, state)), Some(answers)) = (key, &seen_in, api.cluster.answers()) {
                let encoded = Encoded { body: body.clone(), index: meta.index };
                answers.put(key, seen, state, encoded);
            }
            Reply::encoded(body)
        }
        Answered::Missing => Reply::status(http::StatusCode::NOT_FOUND),
        Answered::Unknown => return Ok(Reply::status(http::StatusCode::NOT_FOUND)),
        Answered::Reply(reply) => *reply,
    };
    set_meta(&mut reply.headers, &meta, shows_mode(&req.path));
    if meta.filtered && !asker.token.is_empty() {
        reply.headers.insert(FILTERED, HeaderValue::from_static("true"));
    }
    cache_headers(&mut reply.headers, req, options, false);
    Ok(reply)
}

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
/// Whether a cached read was answered from memory.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const FILTERED: HeaderName = HeaderName::from_static("x-consul-results-filtered-by-acls");

/// The index headers of a read. `effective`: this route also says in which mode it was answered.
pub fn set_meta(headers: &mut HeaderMap, meta: &server::QueryMeta, effective: bool) {
    // Index zero would make a client spin: it is never sent.
    headers.insert(INDEX, HeaderValue::from(meta.index.0.max(1)));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static(if meta.known_leader { "true" } else { "false" }));
    let contact = u64::try_from(meta.last_contact.as_millis()).unwrap_or(u64::MAX);
    headers.insert(LAST_CONTACT, HeaderValue::from(contact));
    headers.insert(BACKEND, HeaderValue::from_static("blocking-query"));
    if effective {
        headers.insert(CONSISTENCY, HeaderValue::from_static(level(meta.mode)));
    }
}

/// Routes whose answers say in which mode they were read.
fn shows_mode(path: &str) -> bool {
    ["/v1/catalog/", "/v1/health/", "/v1/query", "/v1/operator/usage"].iter().any(|prefix| path.starts_with(prefix))
}

/// Routes that tell of the leader even when the read failed.
const TELLING: &[&str] = &[
    "/v1/catalog/",
    "/v1/coordinate/node",
    "/v1/health/checks/",
    "/v1/health/node/",
    "/v1/health/state/",
    "/v1/query",
    "/v1/session/",
];

/// A read that was understood, and failed.
///
/// Compat: most routes set the index headers all the same, to what an empty answer says. Clients read them without
/// looking whether they are there.
#[must_use]
pub fn failed(req: &Request, failure: Failure) -> Failure {
    if !TELLING.iter().any(|prefix| req.path.starts_with(prefix)) {
        return failure;
    }
    let headers = [(INDEX, "1"), (KNOWN_LEADER, "false"), (LAST_CONTACT, "0"), (BACKEND, "blocking-query")];
    headers.into_iter().fold(failure, |failure, (name, value)| failure.with_header(name, value))
}

/// Routes that the agent's cache stands before; elsewhere `?cached` says nothing.
const CACHED: &[&str] = &[
    "/v1/catalog/connect/",
    "/v1/catalog/service/",
    "/v1/catalog/services",
    "/v1/health/connect/",
    "/v1/health/ingress/",
    "/v1/health/service/",
];

/// `X-Cache` and `Age` of a cached read. What is kept is dropped the moment it is out of date, so its age is
/// that of the truth: zero.
fn cache_headers(headers: &mut HeaderMap, req: &Request, options: &Options, hit: bool) {
    if options.cached.is_none() || !CACHED.iter().any(|prefix| req.path.starts_with(prefix)) {
        return;
    }
    headers.insert(X_CACHE, HeaderValue::from_static(if hit { "HIT" } else { "MISS" }));
    if hit {
        headers.insert(http::header::AGE, HeaderValue::from_static("0"));
    }
}

/// The facts of a read as some answers carry them inside (`structs.QueryMeta`).
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BodyMeta {
    pub index: u64,
    /// Nanoseconds.
    pub last_contact: u64,
    pub known_leader: bool,
    pub consistency_level: &'static str,
    pub not_modified: bool,
    pub backend: u8,
    #[serde(rename = "ResultsFilteredByACLs")]
    pub results_filtered_by_acls: bool,
}

impl BodyMeta {
    #[must_use]
    pub fn new(meta: &server::QueryMeta) -> Self {
        BodyMeta {
            index: meta.index.0.max(1),
            last_contact: u64::try_from(meta.last_contact.as_nanos()).unwrap_or(u64::MAX),
            known_leader: meta.known_leader,
            consistency_level: level(meta.mode),
            results_filtered_by_acls: meta.filtered,
            ..BodyMeta::default()
        }
    }
}

/// The headers of a transaction of reads: neither index nor backend.
pub fn set_txn_meta(headers: &mut HeaderMap, meta: &server::QueryMeta) {
    set_meta(headers, meta, false);
    headers.remove(INDEX);
    headers.remove(BACKEND);
}

fn level(mode: ReadMode) -> &'static str {
    match mode {
        ReadMode::Default => "leader",
        ReadMode::Consistent => "consistent",
        ReadMode::Stale => "stale",
    }
}
