//! `/v1/health`.

use state::catalog::{NodeQuery, ServiceQuery};
use state::health::{
    ChecksInState, HealthFilter, HealthNodeChecks, HealthServiceChecks, HealthServiceNodes, StateQuery,
};

use crate::Api;
use crate::http::{
    Answered, Asker, Failure, Filtering, Guard, Reply, Request, Route, answer_key, node_meta, parse_bool, read_options,
    serve_query, source,
};

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    let guard = Guard::Executed;
    vec![
        Route {
            pattern: "/v1/health/node/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(node(api, req, asker)),
        },
        Route {
            pattern: "/v1/health/checks/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(checks(api, req, asker)),
        },
        Route {
            pattern: "/v1/health/state/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(in_state(api, req, asker)),
        },
        Route {
            pattern: "/v1/health/service/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(service(api, req, asker, Kind::Service)),
        },
        Route {
            pattern: "/v1/health/connect/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(service(api, req, asker, Kind::Connect)),
        },
        Route {
            pattern: "/v1/health/ingress/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(service(api, req, asker, Kind::Ingress)),
        },
    ]
}

async fn node(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let node = req.rest("/v1/health/node/").to_owned();
    if node.is_empty() {
        return Err(Failure::bad_request("Missing node name"));
    }
    let query = HealthNodeChecks(NodeQuery { node, ..NodeQuery::default() });
    let filter = Filtering::of(req, state::health::check_shape())?;
    let key = answer_key(req, "node-checks");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut checks| {
        filter.retain_arcs(&mut checks);
        Ok(Answered::json(&checks))
    })
    .await
}

async fn checks(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let name = req.rest("/v1/health/checks/").to_owned();
    if name.is_empty() {
        return Err(Failure::bad_request("Missing service name"));
    }
    let query = HealthServiceChecks(ServiceQuery {
        service_name: name,
        node_meta_filters: node_meta(req),
        source: source(api, req),
        ..ServiceQuery::default()
    });
    let filter = Filtering::of(req, state::health::check_shape())?;
    let key = answer_key(req, "service-checks");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut checks| {
        filter.retain_arcs(&mut checks);
        Ok(Answered::json(&checks))
    })
    .await
}

async fn in_state(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let state = req.rest("/v1/health/state/").to_owned();
    if state.is_empty() {
        return Err(Failure::bad_request("Missing check state"));
    }
    let query = ChecksInState(StateQuery {
        state,
        node_meta_filters: node_meta(req),
        source: source(api, req),
        ..StateQuery::default()
    });
    let filter = Filtering::of(req, state::health::check_shape())?;
    let key = answer_key(req, "checks-in-state");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut checks| {
        filter.retain_arcs(&mut checks);
        Ok(Answered::json(&checks))
    })
    .await
}

/// Which instances stand for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Those of its name.
    Service,
    /// Those that reach it through the mesh.
    Connect,
    /// The ingress gateways that expose it.
    Ingress,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Kind::Service => "/v1/health/service/",
            Kind::Connect => "/v1/health/connect/",
            Kind::Ingress => "/v1/health/ingress/",
        }
    }
}

async fn service(api: &Api, req: &mut Request, asker: &Asker, kind: Kind) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let name = req.rest(kind.prefix()).to_owned();
    if name.is_empty() {
        return Err(Failure::bad_request("Missing service name"));
    }
    let tags: Vec<String> = req.params("tag").map(str::to_owned).collect();
    let only_passing = passing(req)?;
    let query = HealthServiceNodes(ServiceQuery {
        service_name: name,
        tag_filter: !tags.is_empty(),
        service_tags: tags,
        node_meta_filters: node_meta(req),
        source: source(api, req),
        peer_name: req.param("peer").unwrap_or("").to_owned(),
        merge_central_config: req.has("merge-central-config"),
        connect: kind == Kind::Connect,
        ingress: kind == Kind::Ingress,
        health_filter_type: if only_passing { HealthFilter::OnlyPassing } else { HealthFilter::All },
        ..ServiceQuery::default()
    });
    let filter = Filtering::of(req, state::catalog::check_service_node_shape())?;
    let key = answer_key(req, kind.prefix());
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut rows| {
        filter.retain(&mut rows);
        Ok(Answered::json(&rows))
    })
    .await
}

/// `?passing` is a flag or a boolean.
fn passing(req: &Request) -> Result<bool, Failure> {
    match req.param("passing") {
        None => Ok(false),
        Some("") => Ok(true),
        Some(text) => parse_bool(text).ok_or_else(|| Failure::bad_request("Invalid value for ?passing")),
    }
}
