//! Health checks: one file per kind, and what they share.
//!
//! A check is written as a [`definition::CheckType`], becomes a [`probe::Probe`] (or a [`ttl::Ttl`], or an
//! [`alias::Alias`]), is run by a [`runner::Runner`], and its results pass [`thresholds::Thresholds`] before they are
//! reported.
//!
//! Always true: a run ends within its check's timeout, keeps no more output than its limit, and leaves nothing behind
//! when its future is dropped; what a check prints is worded as the reference words it.
//! Not here: which checks exist, where they are stored, who hears of a change (the local state does that).

pub mod alias;
pub mod definition;
pub mod docker;
pub mod grpc;
mod h2_link;
pub mod h2ping;
pub mod http;
pub mod os_service;
pub mod output;
pub mod probe;
pub mod runner;
pub mod script;
pub mod tcp;
pub mod thresholds;
pub mod ttl;
pub mod udp;

#[cfg(test)]
mod stand_in;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Checks that run more often would busy the machine: shorter intervals are raised to this.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How a check went, and what is stored for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Passing,
    Warning,
    Critical,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Passing => "passing",
            Status::Warning => "warning",
            Status::Critical => "critical",
        }
    }

    /// Nothing for any other word; the API answers `Bad check status` then.
    pub fn parse(text: &str) -> Option<Status> {
        match text {
            "passing" => Some(Status::Passing),
            "warning" => Some(Status::Warning),
            "critical" => Some(Status::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub status: Status,
    pub output: String,
    /// Compat: a script that timed out or could not start is critical at once, whatever the thresholds say.
    pub is_final: bool,
}

impl Verdict {
    pub fn new(status: Status, output: impl Into<String>) -> Verdict {
        Verdict { status, output: output.into(), is_final: false }
    }

    pub fn passing(output: impl Into<String>) -> Verdict {
        Verdict::new(Status::Passing, output)
    }

    pub fn critical(output: impl Into<String>) -> Verdict {
        Verdict::new(Status::Critical, output)
    }
}

/// What the local state is told about a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub check_id: String,
    pub status: Status,
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn statuses_are_words() {
        for status in [Status::Passing, Status::Warning, Status::Critical] {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("Passing"), None);
        assert!(Status::Critical > Status::Warning);
    }
}
