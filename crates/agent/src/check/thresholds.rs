//! How many results in a row it takes before a status changes.
//!
//! Always true: the very first result always applies, because the counters start full; a success resets the failures
//! and the other way round.

use super::{Status, Verdict};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    success_before_passing: i64,
    failures_before_warning: i64,
    failures_before_critical: i64,
    successes: i64,
    failures: i64,
}

impl Thresholds {
    /// `failures_before_warning` of 0 means the same as `failures_before_critical`.
    pub fn new(success_before_passing: i64, failures_before_warning: i64, failures_before_critical: i64) -> Thresholds {
        let failures_before_warning = match failures_before_warning {
            0 => failures_before_critical,
            given => given,
        };
        Thresholds {
            success_before_passing,
            failures_before_warning,
            failures_before_critical,
            successes: success_before_passing,
            failures: failures_before_critical,
        }
    }

    /// The verdict to publish, or nothing as long as there were too few of its kind.
    pub fn pass(&mut self, verdict: Verdict) -> Option<Verdict> {
        if verdict.is_final {
            return Some(verdict);
        }
        match verdict.status {
            // Compat: a warning counts as a success here.
            Status::Passing | Status::Warning => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
                (self.successes >= self.success_before_passing).then_some(verdict)
            }
            Status::Critical => {
                self.failures = self.failures.saturating_add(1);
                self.successes = 0;
                if self.failures >= self.failures_before_critical {
                    return Some(verdict);
                }
                let warned = Verdict { status: Status::Warning, ..verdict };
                (self.failures >= self.failures_before_warning).then_some(warned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Status, Verdict};
    use super::Thresholds;

    /// Feeds `p`, `w`, `c` and expects what is published, `-` for nothing.
    fn check(thresholds: (i64, i64, i64), results: &str, expect: &str) {
        let mut counters = Thresholds::new(thresholds.0, thresholds.1, thresholds.2);
        let published: String = results
            .chars()
            .map(|letter| {
                let status = match letter {
                    'p' => Status::Passing,
                    'w' => Status::Warning,
                    _ => Status::Critical,
                };
                match counters.pass(Verdict::new(status, "")) {
                    None => '-',
                    Some(verdict) => verdict.status.as_str().chars().next().unwrap(),
                }
            })
            .collect();
        assert_eq!(published, expect, "{thresholds:?} {results}");
    }

    #[test]
    fn counters_start_full_and_reset_each_other() {
        check((0, 0, 0), "pwcp", "pwcp");
        check((2, 0, 0), "pcpp", "pc-p");
        check((2, 0, 0), "cpwp", "c-wp");
        check((0, 0, 3), "cpccc", "cp--c");
        check((0, 2, 3), "pcccc", "p-wcc");
        check((0, 1, 3), "pcccpc", "pwwcpw");
        check((2, 1, 2), "cpcpp", "c-w-p");
    }

    #[test]
    fn final_verdicts_pass_without_counting() {
        let mut counters = Thresholds::new(0, 0, 3);
        assert!(counters.pass(Verdict::passing("")).is_some());
        let timed_out = Verdict { is_final: true, ..Verdict::critical("Timed out") };
        assert_eq!(counters.pass(timed_out.clone()), Some(timed_out));
        assert_eq!(counters.pass(Verdict::critical("")), None);
    }
}
