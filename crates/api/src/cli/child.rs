//! Child processes of `lock` and `watch`, and the signals that end them.
//!
//! Always true: a child inherits our streams unless told otherwise; what became of it reads as Go words it.
//! Not here: when to start or kill one.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Environment;

/// A command as `-shell` says: the words joined and given to a shell, or run as they are.
pub fn command(words: &[String], shell: bool, environment: &Environment) -> Result<Command, String> {
    if shell {
        let chosen = environment.get("SHELL").map(String::as_str).filter(|shell| !shell.is_empty());
        let mut command = Command::new(chosen.unwrap_or("/bin/sh"));
        command.arg("-c").arg(words.join(" "));
        return Ok(command);
    }
    let (program, arguments) = words.split_first().ok_or("need an executable to run")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Why a program could not be started.
pub fn start_refusal(words: &[String], error: &std::io::Error) -> String {
    let program = words.first().map(String::as_str).unwrap_or_default();
    if program.contains('/') {
        format!("fork/exec {program}: {}", net::go_text::reason(error))
    } else if error.kind() == std::io::ErrorKind::NotFound {
        format!("exec: {}: executable file not found in $PATH", net::go_text::quote(program))
    } else {
        format!("exec: {}: {}", net::go_text::quote(program), net::go_text::reason(error))
    }
}

/// What is wrong with how a child ended, if anything.
pub fn ending(status: ExitStatus) -> Option<String> {
    if status.success() {
        return None;
    }
    let text = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("signal: {}{core}", signal_name(number))
        }
        (None, None) => "exit status unknown".to_owned(),
    };
    Some(text)
}

fn signal_name(number: i32) -> String {
    let name = match Signal::try_from(number) {
        Ok(Signal::SIGHUP) => "hangup",
        Ok(Signal::SIGINT) => "interrupt",
        Ok(Signal::SIGQUIT) => "quit",
        Ok(Signal::SIGILL) => "illegal instruction",
        Ok(Signal::SIGTRAP) => "trace/breakpoint trap",
        Ok(Signal::SIGABRT) => "aborted",
        Ok(Signal::SIGBUS) => "bus error",
        Ok(Signal::SIGFPE) => "floating point exception",
        Ok(Signal::SIGKILL) => "killed",
        Ok(Signal::SIGUSR1) => "user defined signal 1",
        Ok(Signal::SIGSEGV) => "segmentation fault",
        Ok(Signal::SIGUSR2) => "user defined signal 2",
        Ok(Signal::SIGPIPE) => "broken pipe",
        Ok(Signal::SIGALRM) => "alarm clock",
        Ok(Signal::SIGTERM) => "terminated",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// Sends a signal to a child that has not been waited for.
pub fn send(pid: u32, what: Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).map_err(|_| "os: process already finished".to_owned())?;
    kill(Pid::from_raw(pid), what).map_err(|error| net::go_text::reason(&error.into()))
}

/// Ends when this process is interrupted or told to terminate, and says by which signal.
///
/// Listening begins with the first poll; until then the signals have their usual effect.
pub async fn interrupted_by() -> Signal {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Signal::SIGINT,
        _ = terminate.recv() => Signal::SIGTERM,
    }
}

pub async fn interrupted() {
    interrupted_by().await;
}
