//! The one way in which a route answers a query: options, blocking, headers, encode once.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use server::{Answer, Encoded, ReadMode};
use state::{Query, Seen};

use super::{Asker, Failure, Options, Reply, Request, read_options};
use crate::Api;

/// An answer as it is rendered: JSON bytes, or no such object.
pub enum Answered {
    Json(Bytes),
    /// 404 without a body, with the index headers.
    Missing,
    /// A reply of its own; the index headers are added.
    Reply(Box<Reply>),
}

/// Reads and renders. `key` names the answer for the encode-once cache: it must tell apart everything that
/// `render` depends on besides the query itself; `None` when the answer is not the same for all who ask
/// (shuffled, sorted by who asks).
pub async fn serve_query<Q: Query>(
    api: &Api,
    req: &Request,
    asker: &Asker,
    query: &Q,
    key: Option<&str>,
    render: impl Fn(Q::Answer) -> Result<Answered, Failure>,
) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    // Only answers that are the same for everybody are shared.
    let key = key.filter(|_| asker.may.allows_everything() && options.read.mode != ReadMode::Consistent);
    if let Some(key) = key
        && let Some(encoded) = api.cluster.answers().get(key)
        && encoded.index > options.read.min_index
        && api.cluster.is_fresh(options.read.mode)
    {
        let mut reply = Reply::encoded(encoded.body.clone());
        let meta = api.cluster.meta(encoded.index, options.read.mode);
        set_meta(&mut reply.headers, &meta);
        cache_headers(&mut reply.headers, &options);
        return Ok(reply);
    }
    let mut seen = Seen::default();
    let (answer, evaluated) = api.cluster.read_seen(query, &options.read, &asker.may, &mut seen).await?;
    let Answer { answer, meta } = answer;
    let mut reply = match render(answer)? {
        Answered::Json(body) => {
            if let Some(key) = key {
                let encoded = Encoded { body: body.clone(), index: meta.index };
                api.cluster.answers().put(key, seen, evaluated, encoded);
            }
            Reply::encoded(body)
        }
        Answered::Missing => Reply::status(http::StatusCode::NOT_FOUND),
        Answered::Reply(reply) => *reply,
    };
    set_meta(&mut reply.headers, &meta);
    if meta.filtered && !asker.token.is_empty() {
        reply.headers.insert(FILTERED, HeaderValue::from_static("true"));
    }
    cache_headers(&mut reply.headers, &options);
    Ok(reply)
}

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
const FILTERED: HeaderName = HeaderName::from_static("x-consul-results-filtered-by-acls");

/// The index headers of a read.
pub fn set_meta(headers: &mut HeaderMap, meta: &server::QueryMeta) {
    // Index zero would make a client spin: it is never sent.
    headers.insert(INDEX, HeaderValue::from(meta.index.0.max(1)));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static(if meta.known_leader { "true" } else { "false" }));
    let contact = u64::try_from(meta.last_contact.as_millis()).unwrap_or(u64::MAX);
    headers.insert(LAST_CONTACT, HeaderValue::from(contact));
    headers.insert(BACKEND, HeaderValue::from_static("blocking-query"));
    if let Some(mode) = meta.effective {
        let mode = match mode {
            ReadMode::Default => "leader",
            ReadMode::Consistent => "consistent",
            ReadMode::Stale => "stale",
        };
        headers.insert(CONSISTENCY, HeaderValue::from_static(mode));
    }
}

fn cache_headers(_headers: &mut HeaderMap, _options: &Options) {}
