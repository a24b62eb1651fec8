//! `/v1/kv/<key>`.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use state::kv::{Entry, KeyList, KeyQuery, KvGet, KvKeys, KvList, KvsRequest, Octets, Op};
use state::{Command, Index, Outcome};

use crate::Api;
use crate::http::{
    Answer, Answered, Asker, Body, Failure, Guard, Reply, Request, Route, datacenter, parse_uint, parse_uint_error,
    read_options, serve_query,
};

const LIMIT_PAGE: &str = "https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size";

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![Route { pattern: "/v1/kv/", methods: &["GET", "PUT", "DELETE"], guard: Guard::Executed, handler: serve }]
}

/// Each branch is boxed by itself, so that a parked read is not as large as the largest of them.
fn serve<'a>(api: &'a Api, req: &'a mut Request, asker: &'a Asker) -> Answer<'a> {
    let key = req.rest("/v1/kv/").to_owned();
    match req.method {
        Method::PUT => Box::pin(put(api, req, asker, key)),
        Method::DELETE => Box::pin(delete(api, req, asker, key)),
        _ if req.has("keys") => Box::pin(keys(api, req, asker, key)),
        _ if req.has("recurse") => Box::pin(list(api, req, asker, key)),
        _ => Box::pin(get(api, req, asker, key)),
    }
}

async fn get(api: &Api, req: &Request, asker: &Asker, key: String) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    if key.is_empty() {
        return Err(Failure::bad_request("Missing key name"));
    }
    let raw = req.has("raw");
    // A crowd that waits for one key is told the same, and so are those who ask again and again; a single read is not
    // worth keeping.
    let question = ["kv get ", &key].concat();
    let is_wanted =
        !options.read.min_index.is_zero() || api.cluster.answers().is_some_and(|answers| answers.was_asked(&question));
    let shared = (!raw && is_wanted).then_some(question);
    serve_query(api, req, asker, &options, &KvGet(KeyQuery { key }), shared.as_deref(), |entry| {
        Ok(match entry {
            None => Answered::Missing,
            Some(entry) if raw => Answered::Reply(Box::new(raw_value(&entry))),
            Some(entry) => Answered::json(&[entry]),
        })
    })
    .await
}

/// The bare value. Never sniffed, never run: a value is not a page (CVE-2020-25864).
fn raw_value(entry: &Entry) -> Reply {
    let mut reply = Reply { body: Body::Full(entry.value.0.clone()), ..Reply::empty() };
    let header = http::HeaderValue::from_static;
    reply.headers.insert(CONTENT_TYPE, header("text/plain"));
    reply.headers.insert(X_CONTENT_TYPE_OPTIONS, header("nosniff"));
    reply.headers.insert(CONTENT_SECURITY_POLICY, header("sandbox"));
    reply
}

async fn list(api: &Api, req: &Request, asker: &Asker, key: String) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    serve_query(api, req, asker, &options, &KvList(KeyQuery { key }), None, |entries| {
        Ok(if entries.is_empty() { Answered::Missing } else { Answered::json(&entries) })
    })
    .await
}

async fn keys(api: &Api, req: &Request, asker: &Asker, prefix: String) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    // Compat: the first releases misspelt the parameter and clients still do.
    let separator = req.param("separator").or_else(|| req.param("seperator")).unwrap_or("").to_owned();
    let is_root = prefix.is_empty();
    let query = KeyList { prefix, separator, list_policy: api.settings.key_list_policy };
    serve_query(api, req, asker, &options, &KvKeys(query.clone()), None, |entries| {
        let keys = query.cut(&entries);
        // Compat: the root is never missing, only empty.
        Ok(if keys.is_empty() && !is_root { Answered::Missing } else { Answered::json(&keys) })
    })
    .await
}

async fn put(api: &Api, req: &mut Request, asker: &Asker, key: String) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    if key.is_empty() {
        return Err(Failure::bad_request("Missing key name"));
    }
    conflicting(req, &["cas", "acquire", "release"])?;
    let mut entry = Entry { key: key.into(), ..Entry::default() };
    let mut op = Op::Set;
    if let Some(text) = req.param("flags") {
        entry.flags = number(text)?;
    }
    if let Some(text) = req.param("cas") {
        entry.modify_index = Index(number(text)?);
        op = Op::Cas;
    }
    if let Some(session) = req.param("acquire") {
        entry.session = session.into();
        op = Op::Lock;
    }
    if let Some(session) = req.param("release") {
        entry.session = session.into();
        op = Op::Unlock;
    }
    let limit = api.settings.kv_max_value_size;
    let value = req.body(limit, |size| Failure::body_too_large(size, limit, LIMIT_PAGE)).await?;
    entry.value = Octets(value);
    write(api, asker, op, entry).await
}

async fn delete(api: &Api, req: &Request, asker: &Asker, key: String) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    conflicting(req, &["recurse", "cas"])?;
    let mut entry = Entry { key: key.into(), ..Entry::default() };
    let mut op = Op::Delete;
    if req.has("recurse") {
        op = Op::DeleteTree;
    } else if entry.key.is_empty() {
        return Err(Failure::bad_request("Missing key name"));
    }
    if let Some(text) = req.param("cas") {
        entry.modify_index = Index(number(text)?);
        op = Op::DeleteCas;
    }
    write(api, asker, op, entry).await
}

async fn write(api: &Api, asker: &Asker, op: Op, dir_ent: Entry) -> Result<Reply, Failure> {
    let request = KvsRequest { datacenter: api.settings.datacenter.clone(), op, dir_ent };
    let done = match api.cluster.write(Command::Kvs(request), &*asker.may).await? {
        Outcome::Decided(done) => done,
        _ => true,
    };
    Ok(Reply::encoded(Bytes::from_static(if done { b"true" } else { b"false" })))
}

fn number(text: &str) -> Result<u64, Failure> {
    parse_uint(text).ok_or_else(|| Failure::internal(parse_uint_error(text)))
}

fn conflicting(req: &Request, flags: &[&str]) -> Result<(), Failure> {
    if flags.iter().filter(|flag| req.has(flag)).count() < 2 {
        return Ok(());
    }
    let mut pairs: Vec<(&str, &str)> = req.all_params().collect();
    pairs.sort_by_key(|(name, _)| *name);
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Err(Failure::new(StatusCode::BAD_REQUEST, format!("Conflicting flags: {query}\n")))
}
