//! `lock`: running a program while holding a lock or a place in a semaphore.
//!
//! Always true: the program runs only while the lock is held as far as can be told; whatever happens the session is
//! ended before this returns.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::timeout;
use wire::duration::GoDuration;

use super::{KEY, Lock, Mutex, Semaphore, Session, Terms};
use crate::cli::client::{CLIENT, Client, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Exit, Invocation, Io, child};
use crate::kv::cli::joined;

const FLAGS: &[Flag] = &[
    Flag::new("child-exit-code", Kind::Bool, "Exit with 2 if the program fails; otherwise its failure does not show."),
    Flag::new("n", Kind::Int, "How many may hold it at a time; more than 1 makes a semaphore.").or("1"),
    Flag::new(
        "monitor-retry",
        Kind::Int,
        "How many times in a row, a second apart, an error while looking at the held lock is put up with before it \
         counts as lost.",
    )
    .or("3"),
    Flag::new("name", Kind::Text, "Name of the session; otherwise one made of the program and the prefix."),
    Flag::new("pass-stdin", Kind::Bool, "Let the program read our stdin."),
    Flag::new("shell", Kind::Bool, "Run the program through a shell, the one that SHELL names or /bin/sh.").or("true"),
    Flag::new(
        "timeout",
        Kind::Duration,
        "Give up if the lock is not acquired within this time, such as 10s; 0 is never.",
    ),
    Flag::new("verbose", Kind::Bool, "Tell what is being done."),
    Flag::new("try", Kind::Duration, "Former name of -timeout."),
];

/// How long the program may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

pub const COMMANDS: &[Command] = &[Command {
    path: "lock",
    synopsis: "Execute a command holding a lock",
    shape: "[options] prefix child...",
    about: "Acquires a lock, or with -n above 1 a place in a semaphore, under a key prefix and runs a\nprogram while \
            holding it. If the lock is lost, the program is told to terminate and killed\nfive seconds later. Writing \
            under the prefix must be allowed.",
    flags: &[FLAGS, CLIENT, SERVER],
    run: Some(run),
}];

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let parsed = &invocation.parsed;
    let limit = parsed.int("n");
    if limit <= 0 {
        return Err("Lock holder limit must be positive".into());
    }
    let [prefix, words @ ..] = parsed.arguments.as_slice() else {
        return Err("Key prefix and child command must be specified".into());
    };
    if words.is_empty() {
        return Err("Key prefix and child command must be specified".into());
    }
    let prefix = prefix.strip_prefix('/').unwrap_or(prefix).to_owned();
    let span = parsed.given_last(&["timeout", "try"]).and_then(|text| GoDuration::parse(text).ok()).unwrap_or_default();
    if span.nanos() < 0 {
        return Err("Timeout must be positive".into());
    }
    let monitor_retries =
        u32::try_from(parsed.int("monitor-retry")).map_err(|_| "Number for 'monitor-retry' must be >= 0")?;
    let terms = Terms { timeout: Some(span.to_std()).filter(|span| !span.is_zero()), monitor_retries };
    let name = match parsed.text("name") {
        "" => format!("Consul lock for '{}' at '{prefix}'", words.join(" ")),
        name => name.to_owned(),
    };
    let errand = Errand {
        words: words.to_vec(),
        shell: parsed.bool("shell"),
        pass_stdin: parsed.bool("pass-stdin"),
        verbose: parsed.bool("verbose"),
        tells_failure: parsed.bool("child-exit-code"),
    };
    invocation.ask(Request::get("/v1/agent/self"), "Error querying Consul agent")?;

    // Both use the same key, so that a lock and a semaphore at one prefix notice each other.
    let lock = if limit == 1 {
        let key = joined(&prefix, KEY);
        errand.tell(invocation.io, format_args!("Setting up lock at path: {key}"));
        Lock::Mutex(Mutex { key, terms })
    } else {
        errand.tell(invocation.io, format_args!("Setting up semaphore (limit {limit}) at prefix: {prefix}"));
        if prefix.is_empty() {
            return Err("Lock setup failed: missing prefix".into());
        }
        Lock::Semaphore(Semaphore { prefix, limit, terms })
    };
    invocation.block_on_with_io(async |client, io| hold(&lock, &name, &errand, &client, io).await)?
}

/// What to run, and how.
struct Errand {
    words: Vec<String>,
    shell: bool,
    pass_stdin: bool,
    verbose: bool,
    tells_failure: bool,
}

impl Errand {
    fn tell(&self, io: &mut Io, line: impl std::fmt::Display) {
        if self.verbose {
            io.say(line);
        }
    }

    fn start(&self, io: &mut Io) -> Result<Child, String> {
        self.tell(io, "Starting handler");
        let mut command = child::command(&self.words, self.shell, &io.environment)
            .map_err(|error| format!("Error executing handler: {error}"))?;
        command.env("CONSUL_LOCK_HELD", "true");
        if self.pass_stdin {
            self.tell(io, "Stdin passed to handler process");
        } else {
            command.stdin(Stdio::null());
        }
        command
            .spawn()
            .map_err(|error| format!("Error starting handler: {}", child::start_refusal(&self.words, &error)))
    }
}

async fn hold(lock: &Lock, name: &str, errand: &Errand, client: &Client, io: &mut Io) -> Exit {
    // One listener for the whole time: a signal between two steps must not get lost.
    let mut interrupted = Box::pin(child::interrupted_by());
    errand.tell(io, "Attempting lock acquisition");
    let session = match Session::create(client, name, lock.deletes()).await {
        Ok(session) => session,
        Err(trouble) => return Err(format!("Lock acquisition failed: {trouble}").into()),
    };
    let acquired = tokio::select! {
        acquired = lock.acquire(client, &session.id) => acquired,
        _ = &mut interrupted => {
            // It may have been ours by now. Giving it back first spares the others the lock-delay.
            let _ = lock.release(client, &session.id).await;
            Ok(false)
        }
    };
    let outcome = match acquired {
        Ok(true) => {
            let code = work(lock, &session, errand, client, &mut interrupted, io).await;
            lock.release(client, &session.id)
                .await
                .map(|()| code)
                .map_err(|trouble| format!("Lock release failed: {trouble}"))
        }
        Ok(false) => Err("Shutdown triggered or timeout during lock acquisition".to_owned()),
        Err(trouble) => Err(format!("Lock acquisition failed: {trouble}")),
    };
    session.end().await;
    let code = outcome?;
    match lock.clean_up(client).await {
        Ok(true) => errand.tell(io, "Cleanup succeeded"),
        Ok(false) => errand.tell(io, "Cleanup aborted, lock in use"),
        Err(trouble) => return Err(format!("Lock cleanup failed: {trouble}").into()),
    }
    Ok(if errand.tells_failure { code } else { 0 })
}

/// Runs the program while the lock is held; 2 if it failed by itself.
async fn work(
    lock: &Lock,
    session: &Session,
    errand: &Errand,
    client: &Client,
    interrupted: &mut (impl Future<Output = Signal> + Unpin),
    io: &mut Io,
) -> i32 {
    let mut program = match errand.start(io) {
        Ok(program) => program,
        Err(complaint) => {
            io.complain(complaint);
            errand.tell(io, "Child terminated, releasing lock");
            return 2;
        }
    };
    let signal = tokio::select! {
        ended = program.wait() => {
            let failed = tell_ending(ended, io);
            errand.tell(io, "Child terminated, releasing lock");
            return if failed { 2 } else { 0 };
        }
        () = lock.lost(client, &session.id) => {
            errand.tell(io, "Lock lost, killing child");
            None
        }
        signal = interrupted => {
            errand.tell(io, "Shutdown triggered, killing child");
            Some(signal)
        }
    };
    if let Err(complaint) = stop(&mut program, signal, errand, io).await {
        io.complain(complaint);
    }
    0
}

/// Says what is wrong with how the program ended, if anything.
fn tell_ending(ended: std::io::Result<std::process::ExitStatus>, io: &mut Io) -> bool {
    let ending = match ended {
        Ok(status) => child::ending(status),
        Err(error) => Some(net::go_text::reason(&error)),
    };
    if let Some(ending) = &ending {
        io.complain(format_args!("Error running handler: {ending}"));
    }
    ending.is_some()
}

async fn stop(program: &mut Child, signal: Option<Signal>, errand: &Errand, io: &mut Io) -> Result<(), String> {
    let Some(pid) = program.id() else { return Ok(()) };
    if let Some(signal) = signal {
        child::send(pid, signal).map_err(|error| format!("Failed to terminate {pid}: {error}"))?;
    }
    errand.tell(io, format_args!("Terminating child pid {pid}"));
    child::send(pid, Signal::SIGTERM).map_err(|error| format!("Failed to terminate {pid}: {error}"))?;
    if let Ok(ended) = timeout(GRACE, program.wait()).await {
        tell_ending(ended, io);
        errand.tell(io, "Child terminated");
        return Ok(());
    }
    errand.tell(io, "Child did not exit after grace period of 5s");
    errand.tell(io, format_args!("Killing child pid {pid}"));
    child::send(pid, Signal::SIGKILL).map_err(|error| format!("Failed to kill {pid}: {error}"))?;
    let ended = program.wait().await;
    tell_ending(ended, io);
    Ok(())
}
