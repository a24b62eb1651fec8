//! OS service checks: whether the machine's service manager (systemd) holds a unit for active.
//!
//! Always true: the manager is asked through `systemctl is-active`, which needs no privilege; a manager that cannot
//! be asked is a warning that carries its words, because nothing is known about the service then.
//!
//! Compat: the reference implements this kind on Windows only and refuses it elsewhere with `not implemented`; texts
//! and statuses are those of its Windows form.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use wire::duration::GoDuration;

use super::output::{self, DEFAULT_BYTES_MAX};
use super::script::spawn_error;
use super::{Status, Verdict};

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct OsService {
    pub unit: String,
    pub timeout: Duration,
    /// The program that speaks to the manager, and what precedes its arguments.
    pub manager: Vec<OsString>,
}

impl OsService {
    pub async fn run(&self) -> Verdict {
        match tokio::time::timeout(self.timeout, self.ask()).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::critical(format!("Timed out ({}) running check", GoDuration::from(self.timeout))),
        }
    }

    async fn ask(&self) -> Verdict {
        let Some((program, first)) = self.manager.split_first() else {
            return Verdict::new(Status::Warning, "no service manager");
        };
        let answered = Command::new(program)
            .args(first)
            // A unit's name never becomes an option.
            .args(["is-active", "--", &self.unit])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        match answered {
            Ok(answer) => self.judge(&answer.stdout, &answer.stderr),
            Err(error) => {
                let program = program.to_string_lossy();
                Verdict::new(Status::Warning, spawn_error(&program, &error))
            }
        }
    }

    fn judge(&self, stdout: &[u8], stderr: &[u8]) -> Verdict {
        let state = String::from_utf8_lossy(stdout);
        match state.trim() {
            "" => {
                let complaint = output::as_text(&stderr[..stderr.len().min(DEFAULT_BYTES_MAX)]);
                Verdict::new(Status::Warning, complaint.trim())
            }
            "active" | "reloading" | "refreshing" => Verdict::passing(format!("Service \"{}\" is healthy", self.unit)),
            state @ ("activating" | "maintenance") => Verdict::new(Status::Warning, format!("service status: {state}")),
            state => Verdict::critical(format!("service status: {state} - OS Service unhealthy")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OsService;
    use std::time::Duration;

    /// Asks a stand-in for `systemctl` that runs `body`.
    async fn check(body: &str, expect: &str) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("systemctl");
        std::fs::write(&program, body).unwrap();
        let service = OsService {
            unit: "a.service".to_owned(),
            timeout: Duration::from_millis(2500),
            manager: vec!["/bin/sh".into(), program.into_os_string()],
        };
        let verdict = service.run().await;
        assert_eq!(format!("{}|{}", verdict.status, verdict.output), expect);
    }

    #[tokio::test]
    async fn the_units_state_decides() {
        check(r#"[ "$*" = "is-active -- a.service" ] && echo active"#, "passing|Service \"a.service\" is healthy")
            .await;
        check("echo failed; exit 3", "critical|service status: failed - OS Service unhealthy").await;
        check("echo activating; exit 3", "warning|service status: activating").await;
        check(
            "echo 'Failed to connect to bus: Host is down' >&2; exit 1",
            "warning|Failed to connect to bus: Host is down",
        )
        .await;
    }

    #[tokio::test]
    async fn a_machine_without_systemd_says_so() {
        let service = OsService {
            unit: "a".to_owned(),
            timeout: Duration::from_millis(100),
            manager: vec!["no-such-systemctl".into()],
        };
        assert_eq!(service.run().await.output, "exec: \"no-such-systemctl\": executable file not found in $PATH");
        check("exec sleep 60", "critical|Timed out (2.5s) running check").await;
    }
}
