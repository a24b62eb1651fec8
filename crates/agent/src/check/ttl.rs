//! TTL checks: whoever runs the service must say in time that it is well.
//!
//! Always true: time is passed in; one missed deadline expires once, and only an update starts the next one.
//! Not here: files; the local state writes [`PersistedState`] to `checks/state`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Verdict, output};

/// When a check expires, and what it said last.
#[derive(Clone, Debug)]
pub struct Ttl {
    span: Duration,
    bytes_max: usize,
    /// Absent after expiry.
    deadline: Option<Instant>,
    last_output: String,
}

impl Ttl {
    /// Compat: the first deadline counts from the start, also for a check whose status was restored from disk.
    pub fn new(span: Duration, bytes_max: usize, now: Instant) -> Ttl {
        Ttl { span, bytes_max, deadline: now.checked_add(span), last_output: String::new() }
    }

    pub fn span(&self) -> Duration {
        self.span
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Starts the time anew and returns the output as it is to be stored.
    pub fn update(&mut self, now: Instant, text: &str) -> String {
        self.deadline = now.checked_add(self.span);
        self.last_output = output::head(text, self.bytes_max);
        self.last_output.clone()
    }

    /// The verdict on a missed deadline, once.
    pub fn expire(&mut self, now: Instant) -> Option<Verdict> {
        self.deadline.filter(|deadline| *deadline <= now)?;
        self.deadline = None;
        Some(Verdict::critical(self.expired_output()))
    }

    fn expired_output(&self) -> String {
        if self.last_output.is_empty() {
            "TTL expired".to_owned()
        } else {
            format!("TTL expired (last output before timeout follows): {}", self.last_output)
        }
    }
}

/// What is kept of a TTL check over a restart, as the reference writes it.
///
/// Compat: the file is named by the SHA-256 of the check id in hexadecimal; older agents named it by the MD5, and such a file is renamed when it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase", rename = "agent.persistedCheckState")]
pub struct PersistedState {
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub output: String,
    pub status: String,
    /// Seconds since 1970.
    pub expires: i64,
}

impl PersistedState {
    /// Whether the state is too old to be restored.
    pub fn is_expired(&self, now_unix: i64) -> bool {
        now_unix >= self.expires
    }
}

/// The answer to an update of a check that has no TTL.
pub fn no_ttl_text(check_id: &str) -> String {
    format!("CheckID {} does not have associated TTL", net::go_text::quote(check_id))
}

#[cfg(test)]
mod tests {
    use super::{PersistedState, Ttl, no_ttl_text};
    use std::time::{Duration, Instant};

    #[test]
    fn a_missed_deadline_expires_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut ttl = Ttl::new(Duration::from_secs(10), 5, start);
        assert_eq!(ttl.expire(at(9)), None);
        assert_eq!(ttl.expire(at(10)).unwrap().output, "TTL expired");
        assert_eq!(ttl.expire(at(11)), None);
        assert_eq!(ttl.deadline(), None);
        assert_eq!(ttl.update(at(20), "1234567"), "12345 ... (captured 5 of 7 bytes)");
        assert_eq!(ttl.deadline(), Some(at(30)));
        assert_eq!(
            ttl.expire(at(30)).unwrap().output,
            "TTL expired (last output before timeout follows): 12345 ... (captured 5 of 7 bytes)"
        );
    }

    #[test]
    fn persisted_state_is_the_references() {
        let state = PersistedState {
            check_id: "c".to_owned(),
            output: "o".to_owned(),
            status: "passing".to_owned(),
            expires: 5,
        };
        let text = wire::json::to_string(&state).unwrap();
        assert_eq!(text, r#"{"CheckID":"c","Output":"o","Status":"passing","Expires":5}"#);
        assert!(state.is_expired(5) && !state.is_expired(4));
    }

    #[test]
    fn checks_without_ttl_are_named() {
        assert_eq!(no_ttl_text("x"), "CheckID \"x\" does not have associated TTL");
    }
}
