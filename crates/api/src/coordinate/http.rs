//! `/v1/coordinate`.

use std::collections::BTreeMap;

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
    /// A server that went away for good.
    const LEFT: u8 = 3;
    let mut datacenters: BTreeMap<String, Vec<Coordinate>> = BTreeMap::new();
    for server in api.agent.members(true).unwrap_or_default() {
        let (Some(datacenter), Some("consul")) = (server.tags.get("dc"), server.tags.get("role").map(String::as_str))
        else {
            continue;
        };
        let coord = api.agent.cached_coordinate(&server.name, true).await.filter(|_| server.status != LEFT);
        if coord.is_some() {
            // Members of the WAN pool are called after their datacenter too.
            let node = server.name.strip_suffix(datacenter.as_str()).and_then(|name| name.strip_suffix('.'));
            let node = node.unwrap_or(&server.name).to_owned();
            let coordinates = datacenters.entry(datacenter.clone()).or_default();
            coordinates.push(Coordinate { node, coord, ..Coordinate::default() });
        }
    }
    let maps: Vec<DatacenterMap> = datacenters
        .into_iter()
        .map(|(datacenter, coordinates)| DatacenterMap { datacenter, area_id: "wan", coordinates })
        .collect();
    Ok(Reply::json(&maps))
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
    api.cluster.update_coordinate(coordinate, &*asker.may).await?;
    Ok(Reply::empty())
}
