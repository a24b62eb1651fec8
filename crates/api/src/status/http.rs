//! `/v1/status`.

use crate::Api;
use crate::http::{Asker, Failure, Guard, Reply, Request, Route, datacenter, read_options};

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    let guard = Guard::Open("the reference tells everybody who leads");
    vec![
        Route {
            pattern: "/v1/status/leader",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(leader(api, req, asker)),
        },
        Route {
            pattern: "/v1/status/peers",
            methods: &["GET"],
            guard,
            handler: |api, req, asker| Box::pin(peers(api, req, asker)),
        },
    ]
}

async fn leader(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    read_options(api, req)?;
    datacenter(api, req)?;
    Ok(Reply::json(&api.cluster.leader_address().await?))
}

async fn peers(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    read_options(api, req)?;
    datacenter(api, req)?;
    Ok(Reply::json(&api.cluster.peer_addresses().await?))
}
