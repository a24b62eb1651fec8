//! How one speaks to Curule: the HTTP API and the command line, one folder per concept.
//!
//! A face: it parses, asks, formats. Meaning lives in `state`, waiting in `server` and `agent`.

pub mod acl;
pub mod agent;
pub mod catalog;
pub mod cli;
pub mod config_entry;
pub mod coordinate;
pub mod event;
pub mod health;
pub mod http;
pub mod kv;
pub mod lock;
pub mod operator;
pub mod prepared_query;
pub mod session;
mod settings;
pub mod snapshot;
pub mod status;
pub mod txn;
pub mod watch;

use std::pin::Pin;
use std::sync::Arc;

use ::agent::logbook::Logbook;
use ::agent::telemetry::Telemetry;
use ::agent::{Agent, Cluster};

use crate::http::{Asker, Failure, Routes};
pub use crate::settings::Settings;

/// Everything that handlers need.
pub struct Api {
    pub settings: Settings,
    pub cluster: Cluster,
    pub agent: Agent,
    pub telemetry: Arc<Telemetry>,
    pub logbook: Arc<Logbook>,
    pub hooks: Hooks,
    pub routes: Routes,
}

/// What only the process as a whole can do.
pub struct Hooks {
    /// The configuration as it is meant, secrets hidden.
    pub debug_config: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Reads the configuration again and applies what may change; returns once it is applied.
    pub reload: Box<dyn Fn() -> Reloading + Send + Sync>,
    /// Begins to leave and stop.
    pub leave: Box<dyn Fn() + Send + Sync>,
}

/// A reload under way.
pub type Reloading = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Api {
    /// Puts the table of routes together.
    #[must_use]
    pub fn new(
        settings: Settings,
        cluster: Cluster,
        agent: Agent,
        (telemetry, logbook): (Arc<Telemetry>, Arc<Logbook>),
        hooks: Hooks,
    ) -> Self {
        let routes = [
            acl::http::routes(),
            agent::http::routes(),
            catalog::http::routes(),
            config_entry::http::routes(),
            coordinate::http::routes(),
            event::http::routes(),
            health::http::routes(),
            kv::http::routes(),
            operator::http::routes(),
            prepared_query::http::routes(),
            session::http::routes(),
            snapshot::http::routes(),
            status::http::routes(),
            txn::http::routes(),
        ];
        let routes = Routes::new(routes.into_iter().flatten().collect());
        Api { settings, cluster, agent, telemetry, logbook, hooks, routes }
    }

    /// On whose behalf a request runs. With ACLs off every token is as good as none.
    pub fn resolve(&self, token: &str) -> Result<Asker, Failure> {
        Ok(Asker { token: token.to_owned(), may: Arc::new(::acl::AllowAll) })
    }
}
