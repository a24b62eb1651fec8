//! Script checks: a program's exit code is the status, what it prints is the output.
//!
//! Always true: a program runs in a process group of its own, and the whole group is killed when the time is over or
//! the check is stopped; standard input is empty; the environment and directory are the agent's.
//! Not here: shells (users name one in `Args` if they want it).

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use wire::duration::GoDuration;

use super::output::Tail;
use super::{Status, Verdict};

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 8192;

/// Who asked for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Configuration files, and definitions that were stored from them.
    Local,
    /// The HTTP API.
    Remote,
}

/// What the configuration allows: `enable_script_checks` sets both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    pub local: bool,
    pub remote: bool,
}

/// Whether a script may be registered; the refusal is the API's text, with status 500.
pub fn permission(origin: Origin, allowed: Allowed) -> Result<(), &'static str> {
    match origin {
        Origin::Local if !allowed.local => Err(
            "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true",
        ),
        Origin::Remote if !allowed.remote => Err(
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        ),
        _ => Ok(()),
    }
}

#[derive(Clone, Debug)]
pub struct Script {
    pub args: Vec<String>,
    pub timeout: Duration,
    pub output_bytes_max: usize,
}

/// A killed program that has not ended yet. The next run waits for it.
#[derive(Debug)]
pub struct Lingering(Child);

impl Lingering {
    pub async fn end(mut self) {
        let _ = self.0.wait().await;
    }
}

impl Script {
    pub async fn run(&self) -> (Verdict, Option<Lingering>) {
        let (mut child, mut output) = match self.start() {
            Ok(started) => started,
            Err(text) => return (at_once(text), None),
        };
        let group = GroupGuard::of(&child);
        let mut tail = Tail::new(self.output_bytes_max);
        let finished = tokio::time::timeout(self.timeout, async {
            drain(&mut output, &mut tail).await;
            // Compat: the run lasts until every holder of the output has closed it, background children included.
            // Waiting last keeps the process id, and with it the group's, from being given to another.
            child.wait().await
        })
        .await;
        let Ok(exit) = finished else {
            drop(group);
            let mut text = format!("Timed out ({}) running check", GoDuration::from(self.timeout));
            if tail.written() > 0 {
                text.push_str("\n\n");
                text.push_str(&tail.report());
            }
            return (at_once(text), Some(Lingering(child)));
        };
        group.ended();
        let status = match exit {
            Ok(exit) if exit.success() => Status::Passing,
            Ok(exit) if exit.code() == Some(1) => Status::Warning,
            Ok(_) | Err(_) => Status::Critical,
        };
        (Verdict::new(status, tail.report()), None)
    }

    fn start(&self) -> Result<(Child, pipe::Receiver), String> {
        let program = self.args.first().map(String::as_str).unwrap_or_default();
        if program.is_empty() {
            return Err("exec: no command".to_owned());
        }
        let plumbing = |error: std::io::Error| net::go_text::reason(&error);
        let (reader, writer) = std::io::pipe().map_err(plumbing)?;
        let mut command = Command::new(program);
        command
            .args(&self.args[1..])
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(plumbing)?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| spawn_error(program, &error))?;
        // The command holds the writing ends; the output would never end.
        drop(command);
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(plumbing)?;
        Ok((child, output))
    }
}

/// Compat: timeouts and failed starts are critical regardless of thresholds.
fn at_once(text: String) -> Verdict {
    Verdict { is_final: true, ..Verdict::critical(text) }
}

/// Why a program did not start, as Go words it.
pub(super) fn spawn_error(program: &str, error: &std::io::Error) -> String {
    if !program.contains('/') && error.kind() == std::io::ErrorKind::NotFound {
        let program = net::go_text::quote(program);
        return format!("exec: {program}: executable file not found in $PATH");
    }
    format!("fork/exec {program}: {}", net::go_text::reason(error))
}

async fn drain(output: &mut pipe::Receiver, tail: &mut Tail) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match output.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => tail.write(&buffer[..count]),
        }
    }
}

/// Kills a process group when dropped, unless told that it ended.
struct GroupGuard {
    id: Option<Pid>,
}

impl GroupGuard {
    fn of(child: &Child) -> GroupGuard {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        GroupGuard { id: id.map(Pid::from_raw) }
    }

    fn ended(mut self) {
        self.id = None;
    }
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // It may have ended by itself just now.
            let _ = killpg(id, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowed, Origin, Script, permission};
    use std::time::{Duration, Instant};

    fn script(args: &[&str]) -> Script {
        Script {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            timeout: Duration::from_secs(10),
            output_bytes_max: 4096,
        }
    }

    async fn outcome(script: &Script) -> String {
        let (verdict, lingering) = script.run().await;
        if let Some(lingering) = lingering {
            lingering.end().await;
        }
        format!("{}|{}", verdict.status, verdict.output)
    }

    async fn check(line: &str, expect: &str) {
        assert_eq!(outcome(&script(&["/bin/sh", "-c", line])).await, expect, "running {line:?}");
    }

    /// The expectations were read off the reference, running the same programs.
    #[tokio::test]
    async fn the_exit_code_decides() {
        check("echo hi; echo err >&2", "passing|hi\nerr\n").await;
        check("echo w; exit 1", "warning|w\n").await;
        check("exit 2", "critical|").await;
        check("kill -9 $$", "critical|").await;
        check("printf 'a\\377b'", "passing|a\u{fffd}b").await;
        check("cat; echo done", "passing|done\n").await;
        check(
            "seq 1 3000 | tail -c 5000",
            &format!("passing|Captured 4096 of 5000 bytes\n...\n{}", tail_of_sequence(4096)),
        )
        .await;
    }

    fn tail_of_sequence(bytes: usize) -> String {
        let all: String = (1..=3000).map(|number| format!("{number}\n")).collect();
        all[all.len() - bytes..].to_owned()
    }

    #[tokio::test]
    async fn what_does_not_start_is_named() {
        for (program, expect) in [
            ("/no/such", "critical|fork/exec /no/such: no such file or directory"),
            ("nosuchcmd", "critical|exec: \"nosuchcmd\": executable file not found in $PATH"),
            ("/tmp", "critical|fork/exec /tmp: permission denied"),
            ("", "critical|exec: no command"),
        ] {
            assert_eq!(outcome(&script(&[program])).await, expect);
        }
        let (verdict, _) = script(&["/no/such"]).run().await;
        assert!(verdict.is_final);
    }

    #[tokio::test]
    async fn the_whole_group_is_killed_at_the_timeout() {
        let started = Instant::now();
        let slow = Script {
            timeout: Duration::from_millis(250),
            output_bytes_max: 10,
            ..script(&["/bin/sh", "-c", "sleep 60 & echo $!; echo 1234567890; sleep 60"])
        };
        let (verdict, lingering) = slow.run().await;
        lingering.unwrap().end().await;
        assert!(verdict.is_final);
        assert!(started.elapsed() < Duration::from_secs(30));
        let report = verdict.output.strip_prefix("Timed out (250ms) running check\n\n").unwrap();
        assert!(report.ends_with("\n...\n234567890\n"), "{report}");
        let quiet = Script { timeout: Duration::from_millis(50), ..script(&["sleep", "60"]) };
        assert_eq!(outcome(&quiet).await, "critical|Timed out (50ms) running check");
    }

    #[tokio::test]
    async fn a_background_child_that_holds_the_output_prolongs_the_run() {
        let slow = Script { timeout: Duration::from_millis(250), ..script(&["/bin/sh", "-c", "sleep 60 & echo done"]) };
        assert_eq!(outcome(&slow).await, "critical|Timed out (250ms) running check\n\ndone\n");
    }

    #[tokio::test]
    async fn a_stopped_run_leaves_no_process() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let line = format!("echo $$ > {}; sleep 60", file.display());
        let running = script(&["/bin/sh", "-c", &line]);
        let task = tokio::spawn(async move { running.run().await.0 });
        let pid = loop {
            match std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i32>().ok()) {
                Some(pid) => break pid,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        // A killed process without a reaper stays a zombie; its command line is gone either way.
        let gone = || std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty());
        for _ in 0..1000 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("process {pid} still runs");
    }

    #[test]
    fn permission_depends_on_who_asks() {
        let allow = |local, remote| Allowed { local, remote };
        assert!(permission(Origin::Local, allow(true, false)).is_ok());
        assert!(permission(Origin::Remote, allow(true, true)).is_ok());
        let remote = permission(Origin::Remote, allow(true, false)).unwrap_err();
        assert!(remote.contains("from remote calls"));
        let local = permission(Origin::Local, allow(false, true)).unwrap_err();
        assert!(local.contains("enable_local_script_checks"));
    }
}
