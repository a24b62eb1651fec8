//! `/v1/query`.

use bytes::Bytes;
use http::{Method, StatusCode};
use rand::seq::SliceRandom;
use serde::Serialize;
use state::catalog::CheckServiceNode;
use state::coordinate::Source;
use state::prepared_query::{
    CREATE, DELETE, DnsOptions, PreparedQuery, PreparedQueryExecute, PreparedQueryExplain, PreparedQueryGet,
    PreparedQueryList, PreparedQueryRequest, UPDATE,
};
use state::{Command, Outcome};

use crate::Api;
use crate::http::{
    Answered, Asker, BodyMeta, Failure, Guard, Reply, Request, Route, X_CACHE, allow, datacenter, decode, failed,
    method_not_allowed, parse_bool, read_options, serve_query, set_meta,
};

const SPECIFIC: &[&str] = &["GET", "PUT", "DELETE"];
const READ: &[&str] = &["GET"];

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route {
            pattern: "/v1/query",
            methods: &["GET", "POST"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(general(api, req, asker)),
        },
        Route {
            pattern: "/v1/query/",
            // Which methods there are depends on what follows.
            methods: &[],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(specific(api, req, asker)),
        },
    ]
}

async fn general(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    if req.method == Method::POST {
        return create(api, req, asker).await;
    }
    let options = read_options(api, req)?;
    serve_query(api, req, asker, &options, &PreparedQueryList {}, None, |queries| Ok(Answered::json(&queries))).await
}

#[derive(Serialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

async fn create(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let mut query = body(api, req).await?;
    if !query.id.is_empty() {
        return Err(Failure::internal("ID must be empty when creating a new prepared query"));
    }
    query.id = uuid::Uuid::new_v4().to_string();
    let id = query.id.clone();
    // Another server names it otherwise.
    let id = if let Outcome::Created(id) = write(api, asker, CREATE, query).await? { id } else { id };
    Ok(Reply::json(&Created { id }))
}

async fn body(api: &Api, req: &mut Request) -> Result<PreparedQuery, Failure> {
    datacenter(api, req)?;
    let body = decode::whole(req).await?;
    // Compat: only a new query has to say something.
    if body.is_empty() && req.method == Method::PUT {
        return Ok(PreparedQuery::default());
    }
    decode::strict(&body).map_err(|error| Failure::bad_request(format!("Request decode failed: {error}")))
}

async fn write(api: &Api, asker: &Asker, op: &str, query: PreparedQuery) -> Result<Outcome, Failure> {
    let request = PreparedQueryRequest { datacenter: api.settings.datacenter.clone(), op: op.to_owned(), query };
    Ok(api.cluster.write(Command::PreparedQuery(request), &*asker.may).await?)
}

async fn specific(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let path = req.rest("/v1/query/").to_owned();
    // Compat: the slash may be that of the route.
    let execute = req.path.ends_with("/execute").then(|| path.strip_suffix("/execute").unwrap_or(&path));
    let explain = req.path.ends_with("/explain").then(|| path.strip_suffix("/explain").unwrap_or(&path));
    let methods = if execute.is_some() || explain.is_some() { READ } else { SPECIFIC };
    if req.method == Method::OPTIONS {
        // Compat: here the answer has a body.
        return Ok(allow(methods, Reply::encoded(Bytes::from_static(b"{}"))));
    }
    if !methods.contains(&req.method.as_str()) {
        // Compat: here the list of methods does not name OPTIONS.
        return Err(method_not_allowed(&req.method, methods, false));
    }
    if let Some(name) = execute {
        return self::execute(api, req, asker, name).await;
    }
    if let Some(name) = explain {
        return self::explain(api, req, asker, name).await;
    }
    match req.method {
        Method::PUT => {
            let query = PreparedQuery { id: path, ..body(api, req).await? };
            write(api, asker, UPDATE, query).await?;
            Ok(Reply::empty())
        }
        Method::DELETE => {
            datacenter(api, req)?;
            write(api, asker, DELETE, PreparedQuery { id: path, ..PreparedQuery::default() }).await?;
            Ok(Reply::empty())
        }
        _ => {
            let options = read_options(api, req)?;
            let query = PreparedQueryGet { query_id: path };
            serve_query(api, req, asker, &options, &query, None, |queries| Ok(Answered::json(&queries))).await
        }
    }
}

/// `structs.PreparedQueryExecuteResponse`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExecuteResponse {
    service: String,
    nodes: Vec<CheckServiceNode>,
    #[serde(rename = "DNS")]
    dns: DnsOptions,
    datacenter: String,
    peer_name: String,
    failovers: u64,
    #[serde(flatten)]
    meta: BodyMeta,
}

async fn execute(api: &Api, req: &Request, asker: &Asker, name: &str) -> Result<Reply, Failure> {
    let mut options = read_options(api, req)?;
    // Executions do not block.
    options.read.min_index = state::Index(0);
    let limit = match req.filled("limit") {
        None => 0,
        Some(text) => text
            .parse::<i64>()
            .map_err(|_| Failure::internal(format!("Bad limit: strconv.Atoi: parsing {text:?}: invalid syntax")))?,
    };
    let connect = match req.filled("connect") {
        None => false,
        Some(text) => parse_bool(text).ok_or_else(|| {
            Failure::internal(format!(
                "Error parsing 'connect' value: strconv.ParseBool: parsing {text:?}: invalid syntax"
            ))
        })?,
    };
    let own = Source { node: api.settings.node_name.clone(), ..Source::default() };
    let ip = source_ip(req).map(|ip| ip.to_string()).unwrap_or_default();
    let near = req.param("near").unwrap_or("").to_owned();
    let query = PreparedQueryExecute {
        query_id_or_name: name.to_owned(),
        connect,
        source: Source { node: near, ip, ..Source::default() },
        agent: own,
    };
    datacenter(api, req).map_err(|failure| failed(req, failure))?;
    let found = api.cluster.read(&query, &options.read, &asker.may).await;
    let found = found.map_err(|error| {
        let failure = failed(req, error.into());
        // Compat: a query that the agent's cache did not find is a failure of the cache.
        if options.cached.is_some() {
            Failure { status: StatusCode::INTERNAL_SERVER_ERROR, ..failure }
        } else {
            failure
        }
    })?;
    let (executed, meta) = (found.answer, found.meta);
    let mut nodes = executed.nodes;
    if !executed.is_sorted {
        nodes.shuffle(&mut rand::rng());
    }
    if limit > 0 {
        nodes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let meta_inside = BodyMeta { index: 1, ..BodyMeta::new(&meta) };
    let response = ExecuteResponse {
        service: executed.query.service.service,
        nodes,
        dns: executed.query.dns,
        datacenter: api.settings.datacenter.clone(),
        peer_name: executed.query.service.peer,
        failovers: 0,
        meta: meta_inside,
    };
    let mut reply = Reply::json(&response);
    set_meta(&mut reply.headers, &server::QueryMeta { index: state::Index(1), ..meta }, true);
    Ok(if options.cached.is_some() { reply.with_header(X_CACHE, "MISS") } else { reply })
}

/// Whom `near=_ip` means: the first address of `X-Forwarded-For`, else the sender's.
fn source_ip(req: &Request) -> Option<std::net::IpAddr> {
    let forwarded = req.header("x-forwarded-for").and_then(|list| list.split(',').next());
    match forwarded.map(str::trim).filter(|first| !first.is_empty()) {
        Some(first) => first.parse().ok(),
        None => req.remote.map(|remote| remote.ip()),
    }
}

/// `structs.PreparedQueryExplainResponse`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExplainResponse {
    query: PreparedQuery,
    #[serde(flatten)]
    meta: BodyMeta,
}

async fn explain(api: &Api, req: &Request, asker: &Asker, name: &str) -> Result<Reply, Failure> {
    let mut options = read_options(api, req)?;
    options.read.min_index = state::Index(0);
    let query = PreparedQueryExplain { query_id_or_name: name.to_owned() };
    datacenter(api, req).map_err(|failure| failed(req, failure))?;
    let found = api.cluster.read(&query, &options.read, &asker.may).await;
    let found = found.map_err(|error| failed(req, error.into()))?;
    let meta = BodyMeta { index: 1, ..BodyMeta::new(&found.meta) };
    let mut reply = Reply::json(&ExplainResponse { query: found.answer, meta });
    set_meta(&mut reply.headers, &server::QueryMeta { index: state::Index(1), ..found.meta }, true);
    Ok(reply)
}
