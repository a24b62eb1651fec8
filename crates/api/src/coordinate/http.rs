//! `/v1/coordinate`.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use state::catalog::{NodeQuery, NodesQuery};
use state::coordinate::{Coord, Coordinate, CoordinateListNodes, CoordinateNode};

use crate::Api;
use crate::http::{
    Answered, Asker, Failure, Guard, Reply, Request, Route, datacenter, decode, read_options, serve_query,
};

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route {
            pattern: "/v1/coordinate/datacenters",
            methods: &["GET"],
            guard: Guard::Open("the reference shows server coordinates to everybody"),
            handler: |api, req, asker| Box::pin(datacenters(api, req, asker)),
        },
        Route {
            pattern: "/v1/coordinate/nodes",
            methods: &["GET"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(nodes(api, req, asker)),
        },
        Route {
            pattern: "/v1/coordinate/node/",
            methods: &["GET"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(node(api, req, asker)),
        },
        Route {
            pattern: "/v1/coordinate/update",
            methods: &["PUT"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(update(api, req, asker)),
        },
    ]
}

fn enabled(api: &Api) -> Result<(), Failure> {
    if api.settings.disable_coordinates {
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "Coordinate support disabled"));
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DatacenterMap {
    datacenter: String,
    #[serde(rename = "AreaID")]
    area_id: &'static str,
    coordinates: Vec<Coordinate>,
}

async fn datacenters(api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    enabled(api)?;
    // The servers of this datacenter, at the origin until a WAN pool measures something else.
    let coordinates = api
        .cluster
        .raft_configuration()
        .into_iter()
        .map(|server| Coordinate { node: server.node, coord: Some(Coord::default()), ..Coordinate::default() })
        .collect();
    let datacenter = api.settings.datacenter.clone();
    Ok(Reply::json(&[DatacenterMap { datacenter, area_id: "wan", coordinates }]))
}

async fn nodes(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    enabled(api)?;
    let options = read_options(api, req)?;
    let segment = req.param("segment").unwrap_or("").to_owned();
    serve_query(api, req, asker, &options, &CoordinateListNodes(NodesQuery::default()), None, |mut coordinates| {
        coordinates.retain(|coordinate| segment.is_empty() || coordinate.segment == segment);
        Ok(Answered::json(&coordinates))
    })
    .await
}

async fn node(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    enabled(api)?;
    let options = read_options(api, req)?;
    let node = req.rest("/v1/coordinate/node/").to_owned();
    let segment = req.param("segment").map(str::to_owned);
    serve_query(
        api,
        req,
        asker,
        &options,
        &CoordinateNode(NodeQuery { node, ..NodeQuery::default() }),
        None,
        |mut coordinates| {
            coordinates.retain(|coordinate| segment.as_ref().is_none_or(|segment| coordinate.segment == *segment));
            Ok(if coordinates.is_empty() { Answered::Unknown } else { Answered::json(&coordinates) })
        },
    )
    .await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "CoordinateUpdateRequest", rename_all = "PascalCase")]
#[allow(dead_code, reason = "known to the decoder, decided by the query parameters")]
struct Update {
    datacenter: String,
    node: String,
    segment: String,
    coord: Option<Coord>,
}

async fn update(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    enabled(api)?;
    datacenter(api, req)?;
    let body = decode::whole(req).await?;
    let sent: Update =
        decode::strict(&body).map_err(|error| Failure::bad_request(format!("Request decode failed: {error}")))?;
    let coordinate = Coordinate { node: sent.node, segment: sent.segment, coord: sent.coord };
    api.cluster.update_coordinate(coordinate, &*asker.may)?;
    Ok(Reply::empty())
}
