//! The catalog as scenarios: registrations as JSON, and what they come to.

mod filter;
mod law;
mod refusal;
mod scenario;

use std::sync::Arc;

use super::{
    CatalogListNodes, CatalogListServices, CatalogNodeServices, CatalogServiceNodes, DeregisterRequest, NodeQuery,
    NodesQuery, RegisterRequest, ServiceQuery,
};
use crate::health::{ChecksInState, HealthNodeChecks, HealthServiceChecks, HealthServiceNodes, StateQuery};
use crate::usage::OperatorUsage;
use crate::{Applied, Command, Error, Index, Outcome, Query, Seen, State};

/// Prepares and applies a registration, as an endpoint would. `Err` is the text of the refusal.
fn try_register(state: &mut State, index: u64, request: &str) -> Result<Applied, String> {
    let request: RegisterRequest = serde_json::from_str(request).unwrap();
    let mut command = Command::Register(request);
    command.prepare(state).map_err(|error| error.to_string())?;
    let applied = state.apply(Index(index), command);
    match &applied.outcome {
        Outcome::Failed(error) => Err(error.to_string()),
        outcome => {
            assert_eq!(*outcome, Outcome::Done);
            Ok(applied)
        }
    }
}

fn register(state: &mut State, index: u64, request: &str) -> Applied {
    try_register(state, index, request).unwrap()
}

fn deregister(state: &mut State, index: u64, request: &str) -> Applied {
    let request: DeregisterRequest = serde_json::from_str(request).unwrap();
    state.apply(Index(index), Command::Deregister(request))
}

fn run<Q: Query>(state: &State, query: &Q) -> (Index, Q::Answer) {
    let found = query.run(state, &mut Seen::default()).unwrap();
    (found.index, found.answer)
}

fn service(name: &str) -> ServiceQuery {
    ServiceQuery { service_name: name.into(), ..ServiceQuery::default() }
}

fn connect(name: &str) -> ServiceQuery {
    ServiceQuery { connect: true, ..service(name) }
}

fn node(name: &str) -> NodeQuery {
    NodeQuery { node: name.into(), ..NodeQuery::default() }
}

fn all_checks() -> StateQuery {
    StateQuery { state: "any".into(), ..StateQuery::default() }
}

/// Indexes that the answers report, by the paths that show them.
fn reported(state: &State, paths: &[&str]) -> Vec<u64> {
    let at = |path: &str| -> Index {
        let (area, name) = path.split_once('/').unwrap_or((path, ""));
        match area {
            "nodes" => run(state, &CatalogListNodes(NodesQuery::default())).0,
            "services" => run(state, &CatalogListServices(NodesQuery::default())).0,
            "node" => run(state, &CatalogNodeServices(node(name))).0,
            "service" => run(state, &CatalogServiceNodes(service(name))).0,
            "connect" => run(state, &CatalogServiceNodes(connect(name))).0,
            "healthy" => run(state, &HealthServiceNodes(service(name))).0,
            "healthy-connect" => run(state, &HealthServiceNodes(connect(name))).0,
            "checks" => run(state, &HealthServiceChecks(service(name))).0,
            "state" => run(state, &ChecksInState(all_checks())).0,
            "node-checks" => run(state, &HealthNodeChecks(node(name))).0,
            "usage" => run(state, &OperatorUsage(NodesQuery::default())).0,
            other => panic!("no path {other}"),
        }
    };
    paths.iter().map(|path| at(path).0).collect()
}

fn service_names(state: &State, query: ServiceQuery) -> Vec<String> {
    let rows = run(state, &HealthServiceNodes(query)).1;
    rows.iter().map(|row| format!("{}/{}", row.node.node, row.service.id)).collect()
}

fn node_names(nodes: &[Arc<super::Node>]) -> Vec<&str> {
    nodes.iter().map(|node| &*node.node).collect()
}

fn refused(result: Result<Applied, String>) -> String {
    result.map(|applied| applied.outcome).expect_err("a refusal")
}

fn text(result: Result<(), Error>) -> String {
    result.map_or_else(|error| error.to_string(), |()| String::new())
}
