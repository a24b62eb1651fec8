//! How a metric is called: the prefix, the host, and which metrics the operator wants.
//!
//! Call sites say `consul.raft.apply`; the configured prefix replaces `consul`, and gauges carry the host's name after
//! it unless that is disabled.
//!
//! Always true: naming depends only on the rules and the key.
//! Not here: the values.

use std::collections::BTreeMap;

use metrics::Key;

/// What call sites begin their names with.
const CALL_SITE_PREFIX: &str = "consul.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Sample,
}

/// Which names metrics get.
#[derive(Debug, Clone, Default)]
pub(super) struct Naming {
    /// Empty for none.
    pub(super) prefix: String,
    /// Goes into the names of gauges; empty for none.
    pub(super) host: String,
}

/// The name as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    /// What lists are sorted by: the name and the labels in the order of the call site.
    pub(super) sort_key: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl Naming {
    pub(super) fn name(&self, kind: Kind, key: &Key) -> Name {
        let text = self.text(kind, key.name());
        let mut sort_key = text.clone();
        for label in key.labels() {
            sort_key.push_str(&spaceless(&format!(";{}={}", label.key(), label.value())));
        }
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        Name { text, sort_key, labels }
    }

    pub(super) fn text(&self, kind: Kind, written: &str) -> String {
        let own = written.strip_prefix(CALL_SITE_PREFIX).unwrap_or(written);
        let host = if kind == Kind::Gauge { self.host.as_str() } else { "" };
        let parts = [self.prefix.as_str(), host, own];
        spaceless(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("."))
    }
}

fn spaceless(text: &str) -> String {
    text.replace(' ', "_")
}

/// Which metrics are kept: the longest prefix that matches decides.
#[derive(Debug, Clone)]
pub struct Filter {
    pub allowed_prefixes: Vec<String>,
    pub blocked_prefixes: Vec<String>,
    /// What happens to a metric that no prefix matches.
    pub default: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Filter { allowed_prefixes: Vec::new(), blocked_prefixes: Vec::new(), default: true }
    }
}

impl Filter {
    pub(super) fn allows(&self, name: &str) -> bool {
        let longest = |prefixes: &[String]| {
            prefixes.iter().filter(|prefix| name.starts_with(prefix.as_str())).map(String::len).max()
        };
        match (longest(&self.allowed_prefixes), longest(&self.blocked_prefixes)) {
            (None, None) => self.default,
            // Compat: a prefix that is both allowed and blocked blocks.
            (allowed, blocked) => allowed > blocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, Kind, Naming};

    #[test]
    fn names_carry_prefix_and_host() {
        let naming = Naming { prefix: "consul".into(), host: "vm 1".into() };
        assert_eq!(naming.text(Kind::Gauge, "consul.raft.last_index"), "consul.vm_1.raft.last_index");
        assert_eq!(naming.text(Kind::Counter, "consul.raft.apply"), "consul.raft.apply");
        assert_eq!(naming.text(Kind::Sample, "curule.turn"), "consul.curule.turn");
        let bare = Naming::default();
        assert_eq!(bare.text(Kind::Gauge, "consul.raft.last_index"), "raft.last_index");
    }

    #[test]
    fn the_longest_prefix_decides() {
        let filter = Filter {
            allowed_prefixes: vec!["consul.raft.commit".into(), "consul.both".into()],
            blocked_prefixes: vec!["consul.raft".into(), "consul.both".into()],
            default: true,
        };
        assert!(filter.allows("consul.raft.commitTime"));
        assert!(!filter.allows("consul.raft.apply"));
        assert!(!filter.allows("consul.both"));
        assert!(filter.allows("consul.kvs.apply"));
        assert!(!Filter { default: false, ..filter }.allows("consul.kvs.apply"));
    }
}
