//! Running checks: when, never twice at once, never too many at once.
//!
//! Always true: the first run comes after the delay given, each next one an interval after the last one ended; what a
//! killed program left is waited for before the check runs again; dropping a runner stops its check and kills what it
//! was running; reports wait when the receiver is slow, so that none is lost and none piles up.
//! Not here: choosing the delay's random number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::probe::Probe;
use super::thresholds::Thresholds;
use super::ttl::Ttl;
use super::{INTERVAL_MIN, Report, Verdict};

/// How many checks of one agent run at the same moment; the others wait for their turn.
pub const RUNS_AT_ONCE_MAX: usize = 256;

/// The turns that all runners of an agent share.
pub fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(RUNS_AT_ONCE_MAX))
}

/// When a check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    first_delay: Duration,
}

impl Schedule {
    /// `random` spreads first runs over the interval, so that a restarted agent does not run all at once.
    pub fn new(interval: Duration, random: u64) -> Schedule {
        let interval = interval.max(INTERVAL_MIN);
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Schedule { interval, first_delay: Duration::from_nanos(random % nanos) }
    }
}

/// A check that is being run; dropping it ends that.
#[derive(Debug)]
pub struct Runner {
    task: JoinHandle<()>,
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    pub fn start(
        check_id: String,
        probe: Probe,
        schedule: Schedule,
        mut thresholds: Thresholds,
        turns: Arc<Semaphore>,
        reports: mpsc::Sender<Report>,
    ) -> Runner {
        let task = tokio::spawn(async move {
            tokio::time::sleep(schedule.first_delay).await;
            loop {
                let Ok(turn) = turns.acquire().await else {
                    return;
                };
                let (verdict, lingering) = probe.run().await;
                drop(turn);
                if let Some(verdict) = thresholds.pass(verdict) {
                    tracing::debug!(check = %check_id, status = %verdict.status, "check ran");
                    if reports.send(report(&check_id, verdict)).await.is_err() {
                        return;
                    }
                }
                if let Some(lingering) = lingering {
                    lingering.end().await;
                }
                tokio::time::sleep(schedule.interval).await;
            }
        });
        Runner { task }
    }

    /// Runs `work`, an alias check's following, until dropped.
    pub fn follow(work: impl Future<Output = ()> + Send + 'static) -> Runner {
        Runner { task: tokio::spawn(work) }
    }

    /// Ends the check and waits until nothing of it runs: a successor may be started then without both reporting.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

fn report(check_id: &str, verdict: Verdict) -> Report {
    Report { check_id: check_id.to_owned(), status: verdict.status, output: verdict.output }
}

/// A TTL check that is being watched; dropping it ends that.
#[derive(Debug)]
pub struct TtlRunner {
    shared: Arc<(Mutex<Ttl>, Notify)>,
    task: JoinHandle<()>,
}

impl Drop for TtlRunner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TtlRunner {
    pub fn start(check_id: String, ttl: Ttl, reports: mpsc::Sender<Report>) -> TtlRunner {
        let shared = Arc::new((Mutex::new(ttl), Notify::new()));
        let watched = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let (ttl, updated) = &*watched;
            loop {
                let deadline = lock(ttl).deadline();
                let missed = async {
                    match deadline {
                        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = updated.notified() => continue,
                    () = missed => {}
                }
                let expired = lock(ttl).expire(Instant::now());
                if let Some(verdict) = expired {
                    tracing::warn!(check = %check_id, "check missed its TTL and is now critical");
                    if reports.send(report(&check_id, verdict)).await.is_err() {
                        return;
                    }
                }
            }
        });
        TtlRunner { shared, task }
    }

    /// Starts the time anew. The output comes back as it is to be stored; storing it with the new status is the
    /// caller's, so that an API call sees its own update.
    pub fn update(&self, output: &str) -> String {
        let (ttl, updated) = &*self.shared;
        let stored = lock(ttl).update(Instant::now(), output);
        updated.notify_one();
        stored
    }

    pub fn span(&self) -> Duration {
        lock(&self.shared.0).span()
    }
}

fn lock(ttl: &Mutex<Ttl>) -> std::sync::MutexGuard<'_, Ttl> {
    ttl.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Runner, Schedule, TtlRunner, turns};
    use crate::check::probe::Probe;
    use crate::check::script::Script;
    use crate::check::thresholds::Thresholds;
    use crate::check::ttl::Ttl;
    use crate::check::{Report, Status};
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::sync::{Semaphore, mpsc};

    const BOUND: Duration = Duration::from_secs(20);

    fn script(line: &str, timeout: Duration) -> Probe {
        Probe::Script(Script {
            args: vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()],
            timeout,
            output_bytes_max: 100,
        })
    }

    fn soon() -> Schedule {
        Schedule { interval: Duration::from_millis(10), first_delay: Duration::ZERO }
    }

    async fn next(reports: &mut mpsc::Receiver<Report>) -> Report {
        tokio::time::timeout(BOUND, reports.recv()).await.unwrap().unwrap()
    }

    #[test]
    fn first_runs_are_spread_over_the_interval() {
        let schedule = |random| Schedule::new(Duration::from_secs(10), random).first_delay;
        assert_eq!(schedule(0), Duration::ZERO);
        assert_eq!(schedule(25_000_000_000), Duration::from_secs(5));
        assert!(schedule(u64::MAX) < Duration::from_secs(10));
        let short = Schedule::new(Duration::from_millis(5), 0);
        assert_eq!(short.interval, Duration::from_secs(1));
    }

    #[tokio::test]
    async fn results_pass_the_thresholds() {
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count").display().to_string();
        // Passes once, then fails.
        let line = format!("echo x >> {count}; test $(wc -l < {count}) = 1 || exit 2");
        let (sender, mut reports) = mpsc::channel(8);
        let _runner =
            Runner::start("c".to_owned(), script(&line, BOUND), soon(), Thresholds::new(0, 2, 3), turns(), sender);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(next(&mut reports).await.status);
        }
        assert_eq!(seen, [Status::Passing, Status::Warning, Status::Critical]);
        let runs = std::fs::read_to_string(&count).unwrap().lines().count();
        assert!(runs >= 4, "{runs}");
    }

    #[tokio::test]
    async fn a_check_never_runs_twice_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let held = directory.path().join("held").display().to_string();
        let line = format!("mkdir {held} || {{ echo overlap; exit 2; }}; sleep 0.05; rmdir {held}");
        let (sender, mut reports) = mpsc::channel(8);
        let _runner =
            Runner::start("c".to_owned(), script(&line, BOUND), soon(), Thresholds::new(0, 0, 0), turns(), sender);
        for _ in 0..5 {
            let report = next(&mut reports).await;
            assert_eq!((report.status, report.output.as_str()), (Status::Passing, ""));
        }
    }

    #[tokio::test]
    async fn checks_wait_for_their_turn() {
        let turns = Arc::new(Semaphore::new(0));
        let (sender, mut reports) = mpsc::channel(8);
        let runner = Runner::start(
            "c".to_owned(),
            script("exit 0", BOUND),
            soon(),
            Thresholds::new(0, 0, 0),
            Arc::clone(&turns),
            sender,
        );
        let early = tokio::time::timeout(Duration::from_millis(100), reports.recv()).await;
        assert!(early.is_err());
        turns.add_permits(1);
        assert_eq!(next(&mut reports).await.check_id, "c");
        runner.stop().await;
        // Nothing reports any more once the runner has stopped.
        while let Some(report) = reports.recv().await {
            assert_eq!(report.status, Status::Passing);
        }
    }

    #[tokio::test]
    async fn a_missed_ttl_is_reported_once_and_an_update_starts_it_anew() {
        let (sender, mut reports) = mpsc::channel(8);
        let span = Duration::from_millis(50);
        let ttl = Ttl::new(span, 100, Instant::now());
        let runner = TtlRunner::start("c".to_owned(), ttl, sender);
        assert_eq!(next(&mut reports).await.output, "TTL expired");
        assert_eq!(runner.update("fine"), "fine");
        assert_eq!(next(&mut reports).await.output, "TTL expired (last output before timeout follows): fine");
        let again = tokio::time::timeout(span * 4, reports.recv()).await;
        assert!(again.is_err());
    }
}
