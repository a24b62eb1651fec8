//! Watches: what is to be watched, what to ask for it, and when an answer is news.
//!
//! A [`Plan`] asks nothing itself. Whoever drives it sends [`Plan::question`], hands what comes back to
//! [`Plan::answered`] or [`Plan::failed`], and runs a handler on the news. The command line drives it over HTTP, and so
//! does an agent for the `watches` of its configuration ([`Configured`]).
//!
//! Always true: the first answer is news; after that only an answer that differs, and whose index moved, is.
//! Not here: handlers, sockets, clocks.

pub mod cli;
mod configured;
mod parameters;
mod run;
mod view;

use std::time::Duration;

use serde_json::Value;

pub use self::configured::Configured;
pub use self::parameters::{Invalid, Parameters};
pub use self::run::Own;

/// The wait after the first failure; it grows with the square of their number.
const RETRY_BASE: Duration = Duration::from_secs(5);
/// The longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(180);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Key {
        key: String,
    },
    KeyPrefix {
        prefix: String,
    },
    Services {
        filter: String,
    },
    Nodes {
        filter: String,
    },
    Service {
        service: String,
        tags: Vec<String>,
        passing_only: bool,
        filter: String,
    },
    /// Of a service, or else in a state.
    Checks {
        service: String,
        state: String,
        filter: String,
    },
    Event {
        name: String,
    },
    ConnectRoots,
    ConnectLeaf {
        service: String,
    },
    AgentService {
        id: String,
    },
}

/// Where one is in the history of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    Index(u64),
    /// What belongs to the agent alone has no index, but a hash of its content.
    Hash(String),
}

/// One watch, and how far it has come.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The type as written, for messages.
    pub kind: String,
    /// Asked instead of the agent's own; empty for that.
    pub datacenter: String,
    /// Asked with this token; empty for the agent's. Never printed: see [`parameters::Token`].
    token: parameters::Token,
    stale: bool,
    subject: Subject,
    cursor: Option<Cursor>,
    last: Option<Value>,
    failures: u32,
}

/// What to ask: a path and its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub path: String,
    pub parameters: Vec<(&'static str, String)>,
}

/// What came back: status 200, or 404 where `missing`.
#[derive(Clone, Debug)]
pub struct Reply<'a> {
    pub missing: bool,
    /// `X-Consul-Index`, 0 when absent.
    pub index: u64,
    /// `X-Consul-ContentHash`, empty when absent.
    pub hash: &'a str,
    pub body: &'a [u8],
}

/// An answer that is worth a run of the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub cursor: Cursor,
    /// What a handler is given, as compact JSON.
    pub json: String,
}

impl Plan {
    /// Compiles the parameters of a watch. All must be known to the type; take away beforehand what belongs to
    /// handlers.
    pub fn compile(parameters: Parameters) -> Result<Plan, Invalid> {
        parameters::compile(parameters)
    }

    /// The token to ask with, empty for none.
    pub fn token(&self) -> &str {
        self.token.reveal()
    }

    /// Whether this is about the service mesh or the agent's own state, which the command line does not watch.
    pub fn is_for_agents_only(&self) -> bool {
        matches!(self.subject, Subject::ConnectRoots | Subject::ConnectLeaf { .. } | Subject::AgentService { .. })
    }

    pub fn question(&self) -> Question {
        let mut parameters: Vec<(&'static str, String)> = Vec::new();
        let mut ask = |name: &'static str, value: &str| {
            if !value.is_empty() {
                parameters.push((name, value.to_owned()));
            }
        };
        ask("dc", &self.datacenter);
        let (path, filter) = match &self.subject {
            Subject::Key { key } => (crate::kv::cli::path(key), ""),
            Subject::KeyPrefix { prefix } => (crate::kv::cli::path(prefix), ""),
            Subject::Services { filter } => ("/v1/catalog/services".to_owned(), filter.as_str()),
            Subject::Nodes { filter } => ("/v1/catalog/nodes".to_owned(), filter.as_str()),
            Subject::Service { service, tags, filter, .. } => {
                for tag in tags {
                    ask("tag", tag);
                }
                (format!("/v1/health/service/{service}"), filter.as_str())
            }
            Subject::Checks { service, state, filter } if service.is_empty() => {
                (format!("/v1/health/state/{state}"), filter.as_str())
            }
            Subject::Checks { service, filter, .. } => (format!("/v1/health/checks/{service}"), filter.as_str()),
            Subject::Event { name } => {
                ask("name", name);
                ("/v1/event/list".to_owned(), "")
            }
            Subject::ConnectRoots => ("/v1/agent/connect/ca/roots".to_owned(), ""),
            Subject::ConnectLeaf { service } => (format!("/v1/agent/connect/ca/leaf/{service}"), ""),
            Subject::AgentService { id } => (format!("/v1/agent/service/{id}"), ""),
        };
        ask("filter", filter);
        match &self.cursor {
            Some(Cursor::Index(index)) if *index > 0 => ask("index", &index.to_string()),
            Some(Cursor::Hash(hash)) => ask("hash", hash),
            _ => {}
        }
        if matches!(self.subject, Subject::KeyPrefix { .. }) {
            parameters.push(("recurse", String::new()));
        }
        if matches!(self.subject, Subject::Service { passing_only: true, .. }) {
            parameters.push(("passing", "1".to_owned()));
        }
        if self.stale {
            parameters.push(("stale", String::new()));
        }
        Question { path, parameters }
    }

    /// Whether 404 is an answer and not a failure.
    pub fn may_be_missing(&self) -> bool {
        matches!(self.subject, Subject::Key { .. } | Subject::KeyPrefix { .. })
    }

    /// Takes an answer. An answer that makes no sense is for [`Plan::failed`].
    pub fn answered(&mut self, reply: &Reply<'_>) -> Result<Option<News>, String> {
        let here = match &self.subject {
            Subject::AgentService { .. } => Cursor::Hash(reply.hash.to_owned()),
            _ => Cursor::Index(reply.index),
        };
        let result = view::shaped(&self.subject, self.cursor.as_ref(), reply)?;
        self.failures = 0;
        if self.cursor.as_ref() == Some(&here) {
            return Ok(None);
        }
        let before = self.cursor.replace(here.clone());
        // Compat: the index of an event is a hash and goes anywhere. Any other index that runs backwards means a
        // restored or replaced server: start over.
        if let (Some(Cursor::Index(before)), Cursor::Index(now)) = (&before, &here)
            && now < before
            && !matches!(self.subject, Subject::Event { .. })
        {
            self.cursor = Some(Cursor::Index(0));
        }
        if before.is_some() && self.last.as_ref() == Some(&result.compared) {
            return Ok(None);
        }
        self.last = Some(result.compared);
        Ok(Some(News { cursor: here, json: result.json }))
    }

    /// Takes note of a failure and says how long to wait before asking again, without an index.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.cursor = None;
        RETRY_BASE.saturating_mul(self.failures.saturating_mul(self.failures)).min(RETRY_MAX)
    }
}

#[cfg(test)]
mod tests;
