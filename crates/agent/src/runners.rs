//! The checks that run: which task or timer belongs to which check.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::Agent;
use crate::check::Report;
use crate::check::definition::{CheckType, Kind};
use crate::check::ttl::Ttl;

/// What runs for a check.
enum Running {
    /// A timer; the task expires it.
    Ttl { ttl: Ttl, task: AbortHandle },
    /// A task that asks again and again.
    Task(AbortHandle),
}

/// Everything that runs.
#[derive(Default)]
pub(crate) struct Runners {
    running: Mutex<HashMap<String, Running>>,
}

/// How many run of which sort, for `/v1/agent/self`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub ttls: usize,
    pub scripts: usize,
}

impl Runners {
    /// Starts a check in the place of whatever ran under its id.
    pub fn start(&self, agent: &Agent, check_id: &str, check: &CheckType, service_id: &str) {
        self.stop(check_id);
        let running = match check.kind() {
            Some(Kind::Ttl) => {
                let bytes_max = agent.output_max(check);
                let ttl = Ttl::new(check.ttl.to_std(), bytes_max, Instant::now());
                let task = tokio::spawn(expire_in_time(agent.clone(), check_id.to_owned())).abort_handle();
                Running::Ttl { ttl, task }
            }
            Some(kind) => match crate::check_task::spawn(agent, check_id, check, kind, service_id) {
                Some(task) => Running::Task(task),
                None => return,
            },
            None => return,
        };
        self.running.lock().insert(check_id.to_owned(), running);
    }

    /// Stops what runs under an id.
    pub fn stop(&self, check_id: &str) {
        match self.running.lock().remove(check_id) {
            Some(Running::Ttl { task, .. } | Running::Task(task)) => task.abort(),
            None => {}
        }
    }

    /// Stops everything.
    pub fn stop_all(&self) {
        for (_, running) in self.running.lock().drain() {
            match running {
                Running::Ttl { task, .. } | Running::Task(task) => task.abort(),
            }
        }
    }

    /// Starts a TTL anew; returns the output as stored and the span, or `None` when the check has no TTL.
    pub fn heartbeat(&self, check_id: &str, text: &str) -> Option<(String, Duration)> {
        match self.running.lock().get_mut(check_id) {
            Some(Running::Ttl { ttl, .. }) => Some((ttl.update(Instant::now(), text), ttl.span())),
            _ => None,
        }
    }

    /// The deadline of a TTL; `None` once it has expired or is gone.
    fn deadline(&self, check_id: &str) -> Option<Option<Instant>> {
        match self.running.lock().get(check_id) {
            Some(Running::Ttl { ttl, .. }) => Some(ttl.deadline()),
            _ => None,
        }
    }

    fn expire(&self, check_id: &str) -> Option<Report> {
        match self.running.lock().get_mut(check_id) {
            Some(Running::Ttl { ttl, .. }) => ttl.expire(Instant::now()).map(|verdict| Report {
                check_id: check_id.to_owned(),
                status: verdict.status,
                output: verdict.output,
            }),
            _ => None,
        }
    }

    /// How many TTLs there are.
    pub fn ttls(&self) -> usize {
        self.running.lock().values().filter(|running| matches!(running, Running::Ttl { .. })).count()
    }
}

/// Sleeps until the deadline, which heartbeats push away, and reports the expiry.
async fn expire_in_time(agent: Agent, check_id: String) {
    // The check is put into the table right after this task is made.
    tokio::task::yield_now().await;
    loop {
        match agent.runners().deadline(&check_id) {
            None => return,
            // Expired: a heartbeat starts it again, so look now and then.
            Some(None) => tokio::time::sleep(Duration::from_secs(1)).await,
            Some(Some(deadline)) => {
                tokio::time::sleep_until(deadline.into()).await;
                if let Some(report) = agent.runners().expire(&check_id) {
                    agent.report(report);
                }
            }
        }
    }
}
