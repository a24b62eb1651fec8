//! What a query looked at and what a command changed: the same words, so that one wakes the other.
//!
//! A topic is as narrow as the reference's own index semantics allow: a watcher of one key sleeps through
//! writes to its neighbours, a watcher of one service through those to other services.
//!
//! Always true: if an answer could differ between two states, some topic that its query noted in the first
//! is touched by a command in between. A registry matches `Key` against `KeyPrefix` ("touched key starts
//! with watched prefix"); all other topics match when equal.

use std::collections::BTreeSet;
use std::sync::Arc;

/// One thing that can be looked at or changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One key of the KV store. Written by commands and watched by queries.
    Key(Arc<str>),
    /// Every key that starts with this. Only watched, never touched: commands name each key.
    KeyPrefix(Arc<str>),
    /// The set of nodes and everything about them.
    Nodes,
    /// One node, its services and their fields. Lower-cased name.
    Node(Arc<str>),
    /// The set of service names and tags.
    Services,
    /// Every instance of one service: the nodes, service fields and checks that its answers show.
    /// Lower-cased name.
    Service(Arc<str>),
    /// Every instance of mesh proxies and natives in front of one service. Lower-cased name.
    Connect(Arc<str>),
    /// The set of all checks.
    Checks,
    /// The checks of one node. Lower-cased name.
    NodeChecks(Arc<str>),
    /// The checks of one service. Lower-cased name.
    ServiceChecks(Arc<str>),
    /// All sessions.
    Sessions,
    /// One session.
    Session(Arc<str>),
    /// The sessions of one node. Lower-cased name.
    NodeSessions(Arc<str>),
    /// All network coordinates.
    Coordinates,
    /// The coordinates of one node. Lower-cased name.
    NodeCoordinates(Arc<str>),
    /// All prepared queries.
    PreparedQueries,
    /// All config entries.
    ConfigEntries,
    /// The config entries of one kind.
    ConfigKind(&'static str),
    /// One config entry: its kind, and its lower-cased name.
    ConfigEntry(&'static str, Arc<str>),
    /// The autopilot configuration.
    Autopilot,
    /// All ACL tokens.
    AclTokens,
    /// One ACL token. Lower-cased accessor.
    AclToken(Arc<str>),
    /// All ACL policies.
    AclPolicies,
    /// One ACL policy. Lower-cased id.
    AclPolicy(Arc<str>),
    /// All ACL roles.
    AclRoles,
    /// One ACL role. Lower-cased id.
    AclRole(Arc<str>),
    /// All ACL auth methods.
    AclAuthMethods,
    /// All ACL binding rules.
    AclBindingRules,
    /// A restore replaced the whole state: everything is touched.
    Everything,
}

/// What a query looked at.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    topics: BTreeSet<Topic>,
}

impl Seen {
    /// Notes that the answer depends on `topic`.
    pub fn note(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    /// The noted topics, in order.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// Whether a change of `touched` can change the answer.
    #[must_use]
    pub fn concerns(&self, touched: &Topic) -> bool {
        match touched {
            Topic::Everything => true,
            Topic::Key(key) => {
                self.topics.contains(touched)
                    || self
                        .topics
                        .iter()
                        .any(|seen| matches!(seen, Topic::KeyPrefix(prefix) if key.starts_with(&**prefix)))
            }
            other => self.topics.contains(other),
        }
    }
}

/// What a command changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    topics: BTreeSet<Topic>,
}

impl Touched {
    /// Notes that `topic` changed.
    pub fn note(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    /// The changed topics, in order.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Touched) {
        self.topics.extend(other.topics);
    }
}
