//! Alias checks: as well as another service or node.
//!
//! Always true: the verdict is the worst status among the target's own checks and its node's; a change is noticed at
//! once when it is announced, and within [`REFRESH`] when the announcement was lost.
//! Not here: reading the local state and the catalog; both are passed in as functions.

use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::{Report, Status, Verdict};

/// How long a local target is believed without being looked at again.
pub const REFRESH: Duration = Duration::from_secs(60);
/// Failures in a row before waiting between attempts.
const ATTEMPTS_WITHOUT_WAIT: u32 = 3;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What an alias check follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Empty for the agent's own node.
    pub node: String,
    pub service_id: String,
}

/// A check of the target's node, as far as an alias cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub node: String,
    /// Empty for a check of the node itself.
    pub service_id: String,
    pub name: String,
    pub status: Status,
    pub output: String,
}

impl Alias {
    /// Whether the target has a check of its own; if not, it matters whether it exists.
    pub fn has_target(&self, checks: &[Seen]) -> bool {
        checks.iter().any(|check| self.is_on_node(check) && check.service_id == self.service_id)
    }

    pub fn judge(&self, checks: &[Seen], service_exists: bool) -> Verdict {
        if !service_exists && !self.has_target(checks) {
            return Verdict::critical(format!("Service {} could not be found on node {}", self.service_id, self.node));
        }
        let relevant = checks.iter().filter(|check| {
            self.is_on_node(check) && (check.service_id.is_empty() || check.service_id == self.service_id)
        });
        let mut verdict = Verdict::passing("No checks found.");
        for check in relevant {
            if check.status == Status::Passing {
                if verdict.status == Status::Passing {
                    verdict = Verdict::passing("All checks passing.");
                }
                continue;
            }
            let name = net::go_text::quote(&check.name);
            let output = format!("Aliased check {name} failing: {}", check.output);
            verdict = Verdict::new(check.status, output);
            if check.status == Status::Critical {
                break;
            }
        }
        verdict
    }

    fn is_on_node(&self, check: &Seen) -> bool {
        self.node.is_empty() || self.node.to_lowercase() == check.node.to_lowercase()
    }
}

/// What is reported when the catalog could not be asked, from the second failure in a row.
pub fn failure(error: &str) -> Verdict {
    Verdict::critical(format!("Failure checking aliased node or service: {error}"))
}

/// How long to wait before asking again after so many failures in a row.
pub fn retry_delay(failures: u32) -> Duration {
    match failures.checked_sub(ATTEMPTS_WITHOUT_WAIT) {
        None | Some(0) => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(31)).min(WAIT_MAX),
    }
}

/// Follows a target on this agent until the receiver of reports is gone. `look` gives the agent's checks and whether
/// the service exists; `changed` is told of every change that may matter.
pub async fn follow_local(
    alias: Alias,
    check_id: String,
    changed: &Notify,
    look: impl Fn() -> (Vec<Seen>, bool),
    reports: mpsc::Sender<Report>,
) {
    loop {
        // Registered before looking, so that no change falls between.
        let announced = changed.notified();
        let (checks, service_exists) = look();
        let verdict = alias.judge(&checks, service_exists);
        if !report(&reports, &check_id, verdict).await {
            return;
        }
        let _ = tokio::time::timeout(REFRESH, announced).await;
    }
}

/// Follows a target on another node. `query` blocks until the node's checks changed since the index it is given;
/// `service_exists` asks the catalog, and an error there counts as yes.
pub async fn follow_remote<Q, E>(
    alias: Alias,
    check_id: String,
    mut query: impl FnMut(u64) -> Q,
    mut service_exists: impl FnMut() -> E,
    reports: mpsc::Sender<Report>,
) where
    Q: Future<Output = Result<(u64, Vec<Seen>), String>>,
    E: Future<Output = Result<bool, String>>,
{
    let mut index = 0;
    let mut failures = 0;
    loop {
        tokio::time::sleep(retry_delay(failures)).await;
        let verdict = match query(index).await {
            Ok((next, checks)) => {
                failures = 0;
                // Index 0 would not block, and turn this into a hot loop.
                index = next.max(1);
                let exists = alias.has_target(&checks) || service_exists().await.unwrap_or(true);
                alias.judge(&checks, exists)
            }
            Err(error) => {
                failures += 1;
                if failures < 2 {
                    continue;
                }
                failure(&error)
            }
        };
        if !report(&reports, &check_id, verdict).await {
            return;
        }
    }
}

async fn report(reports: &mpsc::Sender<Report>, check_id: &str, verdict: Verdict) -> bool {
    let report = Report { check_id: check_id.to_owned(), status: verdict.status, output: verdict.output };
    reports.send(report).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Alias, Seen, follow_local, follow_remote, retry_delay};
    use crate::check::Status;
    use std::sync::Mutex;
    use std::time::Duration;
    use tokio::sync::{Notify, mpsc};

    fn seen(service_id: &str, name: &str, status: Status) -> Seen {
        Seen {
            node: "N".to_owned(),
            service_id: service_id.to_owned(),
            name: name.to_owned(),
            status,
            output: "out".to_owned(),
        }
    }

    fn alias(node: &str) -> Alias {
        Alias { node: node.to_owned(), service_id: "web".to_owned() }
    }

    #[test]
    fn the_worst_status_is_copied() {
        fn check(checks: &[Seen], exists: bool, expect: &str) {
            let verdict = alias("n").judge(checks, exists);
            assert_eq!(format!("{}|{}", verdict.status, verdict.output), expect);
        }
        let other = seen("db", "c", Status::Critical);
        let well = seen("web", "a", Status::Passing);
        let node_warns = seen("", "node \"x\"", Status::Warning);
        let ill = seen("web", "b", Status::Critical);
        check(&[], true, "passing|No checks found.");
        check(&[], false, "critical|Service web could not be found on node n");
        check(std::slice::from_ref(&node_warns), false, "critical|Service web could not be found on node n");
        check(&[other.clone(), well.clone()], false, "passing|All checks passing.");
        check(&[node_warns.clone(), well.clone()], true, "warning|Aliased check \"node \\\"x\\\"\" failing: out");
        check(&[node_warns, ill, well], true, "critical|Aliased check \"b\" failing: out");
        let elsewhere = alias("m").judge(&[other], true);
        assert_eq!(elsewhere.output, "No checks found.");
    }

    #[test]
    fn failing_queries_slow_down() {
        let seconds = |failures| retry_delay(failures).as_secs();
        let delays: Vec<u64> = (0..10).map(seconds).collect();
        assert_eq!(delays, [0, 0, 0, 0, 2, 4, 8, 16, 32, 60]);
        assert_eq!(seconds(u32::MAX), 60);
    }

    #[tokio::test]
    async fn local_changes_are_followed() {
        let checks = Mutex::new(vec![seen("web", "a", Status::Passing)]);
        let changed = Notify::new();
        let (sender, mut reports) = mpsc::channel(8);
        let look = || (checks.lock().unwrap().clone(), true);
        let following = follow_local(alias(""), "c".to_owned(), &changed, look, sender);
        let observing = async {
            assert_eq!(reports.recv().await.unwrap().status, Status::Passing);
            checks.lock().unwrap()[0].status = Status::Critical;
            changed.notify_waiters();
            assert_eq!(reports.recv().await.unwrap().status, Status::Critical);
        };
        tokio::select! {
            () = following => panic!("following ended"),
            () = observing => {}
        }
    }

    #[tokio::test]
    async fn remote_failures_are_reported_from_the_second_on() {
        let (sender, mut reports) = mpsc::channel(8);
        let mut answers = vec![Ok((0, vec![])), Err("b".to_owned()), Err("a".to_owned())];
        let mut asked = Vec::new();
        let query = |index: u64| {
            asked.push(index);
            let answer = answers.pop();
            async move {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let following = follow_remote(alias("n"), "c".to_owned(), query, || async { Ok(false) }, sender);
        let observing = async {
            let first = reports.recv().await.unwrap();
            assert_eq!(first.output, "Failure checking aliased node or service: b");
            let second = reports.recv().await.unwrap();
            assert_eq!(second.output, "Service web could not be found on node n");
        };
        let both = async {
            tokio::select! {
                () = following => panic!("following ended"),
                () = observing => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
        assert_eq!(asked[..3], [0, 0, 0]);
    }
}
