//! `/v1/agent`: what this agent itself knows and does.

mod check;
mod health;
mod members;
mod observe;
mod process;
mod service;
mod shown;

use crate::http::Route;

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    let parts =
        [check::routes(), health::routes(), members::routes(), observe::routes(), process::routes(), service::routes()];
    parts.into_iter().flatten().collect()
}
