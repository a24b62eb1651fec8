//! `/v1/catalog`.

use bytes::Bytes;
use state::Command;
use state::catalog::{
    CatalogGatewayServices, CatalogListNodes, CatalogListServices, CatalogNodeServiceList, CatalogNodeServices,
    CatalogServiceNodes, DeregisterRequest, NodeQuery, NodesQuery, RegisterRequest, ServiceQuery, tags_by_name,
};

use crate::Api;
use crate::http::{
    Answered, Asker, Failure, Filtering, Guard, Reply, Request, Route, answer_key, decode, node_meta, read_options,
    serve_query, source,
};

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    let guard = Guard::Executed;
    vec![
        Route {
            pattern: "/v1/catalog/register",
            methods: &["PUT"],
            guard,
            handler: |api, req, asker| Box::pin(register(api, req, asker)),
        },
        Route {
            pattern: "/v1/catalog/deregister",
            methods: &["PUT"],
            guard,
            handler: |api, req, asker| Box::pin(deregister(api, req, asker)),
        },
        Route {
            pattern: "/v1/catalog/datacenters",
            methods: &["GET"],
            guard: Guard::Open("the reference names its datacenters to everybody"),
            handler: |api, req, asker| Box::pin(datacenters(api, req, asker)),
        },
        Route {
            pattern: "/v1/catalog/nodes",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(nodes(api, req, asker)),
        },
        Route {
            pattern: "/v1/catalog/services",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(services(api, req, asker)),
        },
        Route {
            pattern: "/v1/catalog/service/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(service(api, req, asker, "/v1/catalog/service/", false)),
        },
        Route {
            pattern: "/v1/catalog/connect/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(service(api, req, asker, "/v1/catalog/connect/", true)),
        },
        Route {
            pattern: "/v1/catalog/gateway-services/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(gateway_services(api, req, asker)),
        },
        Route {
            pattern: "/v1/catalog/node/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(node(api, req, asker)),
        },
        Route {
            pattern: "/v1/catalog/node-services/",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(node_services(api, req, asker)),
        },
    ]
}

async fn register(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let body = decode::whole(req).await?;
    let mut request: RegisterRequest = decode::strict(&body).map_err(|error| undecoded(&error))?;
    own_datacenter(api, &mut request.datacenter)?;
    api.cluster.write(Command::Register(request), &*asker.may).await?;
    Ok(Reply::encoded(Bytes::from_static(b"true")))
}

async fn deregister(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let body = decode::whole(req).await?;
    let mut request: DeregisterRequest = decode::strict(&body).map_err(|error| undecoded(&error))?;
    own_datacenter(api, &mut request.datacenter)?;
    api.cluster.write(Command::Deregister(request), &*asker.may).await?;
    Ok(Reply::encoded(Bytes::from_static(b"true")))
}

/// Compat: of the fields that only the Enterprise edition has, these routes know the namespace by name.
fn undecoded(error: &str) -> Failure {
    let is_namespace = error == "json: unknown field \"Namespace\"";
    let hint = if is_namespace { " - Namespaces are a Consul Enterprise feature" } else { "" };
    Failure::bad_request(format!("Request decode failed: {error}{hint}"))
}

/// Compat: these two take the datacenter from the body.
fn own_datacenter(api: &Api, datacenter: &mut String) -> Result<(), Failure> {
    if datacenter.is_empty() {
        datacenter.clone_from(&api.settings.datacenter);
    }
    if *datacenter == api.settings.datacenter { Ok(()) } else { Err(Failure::internal("No path to datacenter")) }
}

async fn datacenters(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    // Compat: of the read options only these are looked at.
    if req.has("consistent") && (req.has("stale") || req.has("cached") && api.settings.use_cache) {
        read_options(api, req)?;
    }
    let reply = Reply::json(&[&api.settings.datacenter]);
    Ok(if req.has("cached") && api.settings.use_cache {
        reply.with_header(crate::http::X_CACHE, "MISS")
    } else {
        reply
    })
}

async fn nodes(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let query = CatalogListNodes(NodesQuery {
        node_meta_filters: node_meta(req),
        source: source(api, req),
        ..NodesQuery::default()
    });
    let filter = Filtering::of(req, state::catalog::node_shape())?;
    let key = answer_key(req, "nodes");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut nodes| {
        filter.retain_arcs(&mut nodes);
        Ok(Answered::json(&nodes))
    })
    .await
}

async fn services(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let query = CatalogListServices(NodesQuery { node_meta_filters: node_meta(req), ..NodesQuery::default() });
    let filter = Filtering::of(req, state::catalog::service_node_shape())?;
    let key = answer_key(req, "services");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut rows| {
        filter.retain(&mut rows);
        Ok(Answered::json(&tags_by_name(&rows)))
    })
    .await
}

async fn service(
    api: &Api,
    req: &mut Request,
    asker: &Asker,
    prefix: &'static str,
    connect: bool,
) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let name = req.rest(prefix).to_owned();
    if name.is_empty() {
        return Err(Failure::bad_request("Missing service name"));
    }
    let tags: Vec<String> = req.params("tag").map(str::to_owned).collect();
    let query = CatalogServiceNodes(ServiceQuery {
        service_name: name,
        tag_filter: !tags.is_empty(),
        service_tags: tags,
        node_meta_filters: node_meta(req),
        source: source(api, req),
        peer_name: req.param("peer").unwrap_or("").to_owned(),
        merge_central_config: req.has("merge-central-config"),
        connect,
        ..ServiceQuery::default()
    });
    let filter = Filtering::of(req, state::catalog::service_node_shape())?;
    let key = answer_key(req, "service");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut rows| {
        filter.retain(&mut rows);
        Ok(Answered::json(&rows))
    })
    .await
}

async fn gateway_services(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let gateway = req.rest("/v1/catalog/gateway-services/").to_owned();
    if gateway.is_empty() {
        return Err(Failure::bad_request("Missing gateway name"));
    }
    let query = CatalogGatewayServices(ServiceQuery { service_name: gateway, ..ServiceQuery::default() });
    serve_query(api, req, asker, &options, &query, None, |services| Ok(Answered::json(&services))).await
}

async fn node(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let node = req.rest("/v1/catalog/node/").to_owned();
    if node.is_empty() {
        return Err(Failure::bad_request("Missing node name"));
    }
    let query = CatalogNodeServices(NodeQuery { node, ..NodeQuery::default() });
    let filter = Filtering::of(req, state::catalog::node_service_shape())?;
    let key = answer_key(req, "node");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut found| {
        if let Some(found) = &mut found {
            found.services.retain(|_, service| filter.keeps(&**service));
        }
        Ok(Answered::json(&found))
    })
    .await
}

async fn node_services(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let node = req.rest("/v1/catalog/node-services/").to_owned();
    if node.is_empty() {
        return Err(Failure::bad_request("Missing node name"));
    }
    let merge_central_config = req.has("merge-central-config");
    let query = CatalogNodeServiceList(NodeQuery { node, merge_central_config, ..NodeQuery::default() });
    let filter = Filtering::of(req, state::catalog::node_service_shape())?;
    let key = answer_key(req, "node-services");
    serve_query(api, req, asker, &options, &query, key.as_deref(), |mut found| {
        filter.retain_arcs(&mut found.services);
        Ok(Answered::json(&found))
    })
    .await
}
