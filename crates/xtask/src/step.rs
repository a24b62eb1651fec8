//! One step after the other, each announced with the time since the start; the first that fails ends the run.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A run of steps.
pub struct Steps {
    started: Instant,
    count: usize,
    next: usize,
}

impl Steps {
    pub fn new(count: usize) -> Self {
        Self { started: Instant::now(), count, next: 1 }
    }

    /// Says what happens now.
    pub fn announce(&mut self, what: &str) {
        eprintln!("\n==> [{}/{}, {}] {what}", self.next, self.count, clock(self.started.elapsed()));
        self.next += 1;
    }

    /// Announces a command and runs it.
    pub fn run(&mut self, command: &mut Command) -> Result<()> {
        self.announce(&line(command));
        run(command)
    }

    pub fn done(&self) {
        eprintln!("\n==> all is well after {}", clock(self.started.elapsed()));
    }
}

/// Runs a command to its end; anything but success is an error that names it.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Whether a command can be started and succeeds; its output is not shown.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The cargo that runs this program, with arguments separated by spaces.
pub fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments.split(' '));
    command
}

fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
