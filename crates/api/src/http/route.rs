//! The table of routes. A route cannot be written down without saying who may use it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use acl::{Access, Authorizer, Need, Resource};
use http::Method;
use metrics::{Histogram, histogram};

use super::{Failure, Reply, Request};
use crate::Api;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The query or command behind it authorizes itself where it is executed.
    Executed,
    /// Rows or names that are known only to the handler: it asks `req`'s authorizer itself, and the
    /// permissions are those named here for documentation and for the authorization test.
    Handler(&'static str),
    /// This agent: `agent:<access>` on its own node name.
    Agent(Access),
    /// This agent's node: `node:<access>`.
    Node(Access),
    /// `operator:<access>`.
    Operator(Access),
    /// Nothing is asked, for the reason given.
    Open(&'static str),
}

/// What a handler gives back.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

/// A handler: borrows the API and the request for as long as it runs.
pub type Handler = for<'a> fn(&'a Api, &'a mut Request, &'a Asker) -> Answer<'a>;

/// On whose behalf a request runs.
pub struct Asker {
    /// The token as sent, for what is registered with it.
    pub token: String,
    pub may: std::sync::Arc<dyn Authorizer>,
}

/// One route of the table.
pub struct Route {
    /// A path, or a prefix when it ends in `/`.
    pub pattern: &'static str,
    /// In the order of the `Allow` header. Empty: the handler answers for methods itself.
    pub methods: &'static [&'static str],
    pub guard: Guard,
    pub handler: Handler,
}

impl Guard {
    /// Refuses, or lets the handler run.
    pub fn check(self, may: &dyn Authorizer, node: &str) -> Result<(), Failure> {
        let (resource, access) = match self {
            Guard::Executed | Guard::Handler(_) | Guard::Open(_) => return Ok(()),
            Guard::Agent(access) => (Resource::Agent(node), access),
            Guard::Node(access) => (Resource::Node(node), access),
            Guard::Operator(access) => (Resource::Operator, access),
        };
        Ok(may.require(Need { resource, access })?)
    }
}

/// How long the answers of a route took, by method.
#[derive(Default)]
struct Timings([OnceLock<Histogram>; METHODS.len()]);

/// The methods whose measures are kept at hand; finding them by name costs more than taking them.
const METHODS: [Method; 4] = [Method::GET, Method::PUT, Method::DELETE, Method::POST];

/// A route with its measures.
pub struct Measured {
    pub route: Route,
    timings: Timings,
}

impl Measured {
    /// Takes note of an answer.
    pub fn took(&self, method: &Method, span: Duration) {
        let named =
            || histogram!("consul.api.http", "method" => method.to_string(), "path" => label(self.route.pattern));
        let millis = span.as_secs_f64() * 1000.0;
        match METHODS.iter().position(|known| known == method) {
            Some(at) => self.timings.0[at].get_or_init(named).record(millis),
            None => named().record(millis),
        }
    }
}

/// The metric label of a route: its pattern with `_` for `/`.
fn label(pattern: &str) -> String {
    pattern.trim_start_matches('/').replace('/', "_")
}

/// All routes, found by path: an exact pattern wins, else the longest prefix.
pub struct Routes {
    exact: HashMap<&'static str, Measured>,
    /// By pattern less the slash at its end.
    prefixes: HashMap<&'static str, Measured>,
    /// Of the longest of them.
    prefix_bytes_max: usize,
}

impl Routes {
    /// Orders the table for look-up. Patterns are unique.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let measured = routes.into_iter().map(|route| Measured { route, timings: Timings::default() });
        let (mut exact, mut prefixes) = (HashMap::new(), HashMap::new());
        for known in measured {
            let pattern = known.route.pattern;
            let displaced = match pattern.strip_suffix('/') {
                Some(prefix) => prefixes.insert(prefix, known),
                None => exact.insert(pattern, known),
            };
            assert!(displaced.is_none(), "two routes share the pattern {pattern}");
        }
        let prefix_bytes_max = prefixes.keys().map(|prefix| prefix.len()).max().unwrap_or(0);
        Routes { exact, prefixes, prefix_bytes_max }
    }

    /// The route of a canonical path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Measured> {
        self.exact.get(path).or_else(|| {
            let slashes = path.bytes().enumerate().take(self.prefix_bytes_max + 1).filter(|(_, byte)| *byte == b'/');
            slashes.rev().find_map(|(at, _)| self.prefixes.get(&path[..at]))
        })
    }

    /// Whether `path` is a route only with a slash behind it (answered with a redirect).
    #[must_use]
    pub fn lacks_slash(&self, path: &str) -> bool {
        self.prefixes.contains_key(path) && !self.exact.contains_key(path)
    }

    /// Every route, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.exact.values().chain(self.prefixes.values()).map(|known| &known.route)
    }
}
