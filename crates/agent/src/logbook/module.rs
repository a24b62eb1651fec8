//! What the reference calls the part of the agent that an event comes from.
//!
//! Operators search logs by these names. A call site may also name its module itself with `target: "agent.leader"`.
//!
//! Always true: the first row that fits decides, so longer paths stand before their parents.
//! Not here: levels that an operator chooses.

use std::borrow::Cow;

use super::Level;

/// Our paths, and the reference's names for what they do.
const MODULES: [(&str, &str); 27] = [
    ("server::turn", "agent.server.raft"),
    ("server::raft", "agent.server.raft"),
    ("server::autopilot", "agent.server.autopilot"),
    ("server::leader", "agent.leader"),
    ("server::session", "agent.server"),
    ("server::snapshot", "agent.server.snapshot"),
    ("server::rpc", "agent.server.rpc"),
    ("server::forward", "agent.server.rpc"),
    ("server", "agent.server"),
    ("replica", "agent.server.raft"),
    ("disk::snapshot", "agent.server.snapshot"),
    ("disk", "agent.server.raft"),
    ("state", "agent.server.fsm"),
    ("acl", "agent.acl"),
    ("net::gossip", "agent.server.serf.lan"),
    ("net::rpc", "agent.server.rpc"),
    ("net::router", "agent.router"),
    ("net::tls", "agent.tlsutil"),
    ("net", "agent"),
    ("dns", "agent.dns"),
    ("api::prepared_query", "agent.http.prepared_query"),
    ("api", "agent.http"),
    ("agent::sync", "agent.anti_entropy"),
    ("agent::anti_entropy", "agent.anti_entropy"),
    ("agent", "agent"),
    ("config", "agent"),
    ("curule", "agent"),
];

/// The name that stands in the line.
pub(super) fn name(target: &str) -> Cow<'_, str> {
    if is_named_by_call_site(target) {
        return Cow::Borrowed(target);
    }
    match ours(target) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("agent.{}", target.replace("::", "."))),
    }
}

/// The lowest level that is written of events from there. Libraries explain their frames and tasks at the lower
/// levels, which is not what an operator of an agent asked for.
pub(super) fn floor(target: &str) -> Level {
    if is_named_by_call_site(target) || ours(target).is_some() { Level::Trace } else { Level::Warn }
}

fn is_named_by_call_site(target: &str) -> bool {
    target == "agent" || target.starts_with("agent.")
}

fn ours(target: &str) -> Option<&'static str> {
    let is_within =
        |path: &str| target.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    MODULES.into_iter().find(|(path, _)| is_within(path)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::{Level, MODULES, floor, name};

    #[test]
    fn paths_become_names() {
        for (target, expected) in [
            ("server::turn", "agent.server.raft"),
            ("server::watch", "agent.server"),
            ("agent::check::ttl", "agent"),
            ("agent.leader", "agent.leader"),
            ("serverless", "agent.serverless"),
            ("h2::codec", "agent.h2.codec"),
        ] {
            assert_eq!(name(target), expected, "{target}");
        }
        assert_eq!(
            (floor("h2::codec"), floor("server"), floor("agent.leader")),
            (Level::Warn, Level::Trace, Level::Trace)
        );
    }

    #[test]
    fn every_row_can_be_reached() {
        for (path, expected) in MODULES {
            assert!(name(path) == expected || path == "agent", "{path} is hidden by an earlier row");
        }
    }
}
