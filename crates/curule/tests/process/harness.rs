//! Agents as processes: a [`Home`] is what outlives one, a [`Process`] is one life.
//!
//! An agent is the child of a small shell, its leash. The test holds the leash's standard input; when that closes,
//! because the test is done, panicked or was killed, the leash kills the agent. The leash ends with the agent's exit
//! code.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use conformance::Agent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long an agent may take until it serves, or until it has ended.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Ports are found free and then let go, so another process may take one in between: try again.
const START_ATTEMPTS: u32 = 3;

/// Says the agent's process id, then waits for its end or for that of whoever holds the standard input.
/// `$1` is the agent's log, the rest its command line.
pub(crate) const LEASH: &str = r#"
log=$1; shift
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
agent=$!
echo "$agent"
{ read -r _ <&3; kill -9 "$agent"; } 2>/dev/null &
watcher=$!
wait "$agent"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"#;

/// A data directory, configuration files and flags: what stays when an agent ends.
pub(crate) struct Home {
    dir: TempDir,
    flags: Vec<String>,
    /// Put before the agent's command line.
    prefix: Vec<String>,
    /// Where its agents serve clients.
    client: Ipv4Addr,
    files: usize,
}

impl Home {
    /// A single durable server.
    pub(crate) fn durable() -> Self {
        let mut home = Self::bare();
        let data = home.data_dir();
        home.flags = vec!["-server".into(), "-bootstrap-expect=1".into(), format!("-data-dir={}", data.display())];
        home
    }

    /// An agent in memory.
    pub(crate) fn dev() -> Self {
        let mut home = Self::bare();
        home.flags = vec!["-dev".into()];
        home
    }

    /// No flags but those that every agent here needs.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("curule-").tempdir().expect("there is room for a directory");
        Self { dir, flags: Vec::new(), prefix: Vec::new(), client: Ipv4Addr::LOCALHOST, files: 0 }
    }

    /// Adds a flag.
    pub(crate) fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Adds a configuration file with this text.
    pub(crate) fn config(mut self, hcl: &str) -> Self {
        self.files += 1;
        let path = self.write(&format!("config{}.hcl", self.files), hcl);
        self.flag(format!("-config-file={}", path.display()))
    }

    /// Runs the agent under this command.
    pub(crate) fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The agent serves clients at this address.
    pub(crate) fn client(mut self, address: Ipv4Addr) -> Self {
        self.client = address;
        self.flag(format!("-client={address}"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a file below the home.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies below the home")).expect("the home can be written");
        fs::write(&path, text).expect("the home can be written");
        path
    }

    /// What the agents of this home have written to their standard output and error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.path().join("log")
    }

    /// Starts an agent and waits until it serves.
    #[track_caller]
    pub(crate) fn start(&self) -> Process {
        for _ in 0..START_ATTEMPTS {
            let mut process = self.launch();
            if process.becomes_ready() {
                return process;
            }
        }
        panic!("the agent did not become ready; it said:\n{}", self.log())
    }

    /// Starts a server that may have to wait for others: ready when its API answers.
    #[track_caller]
    pub(crate) fn start_alone(&self) -> Process {
        for _ in 0..START_ATTEMPTS {
            let mut process = self.launch();
            let start = Instant::now();
            while start.elapsed() < PATIENCE && process.has_ended().is_none() {
                if TcpStream::connect(process.agent.http).is_ok() {
                    return process;
                }
                std::thread::sleep(POLL);
            }
        }
        panic!("the agent did not become ready; it said:\n{}", self.log())
    }

    /// Starts an agent that must refuse to run; gives what it said.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        let before = self.log().len();
        let mut process = self.launch();
        let code = process.wait();
        let said = self.log().split_off(before);
        assert_eq!(code, 1, "it said:\n{said}");
        said
    }

    /// Starts an agent without waiting for anything.
    pub(crate) fn launch(&self) -> Process {
        let listeners: Vec<TcpListener> =
            (0..5).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports")).collect();
        let port = |at: usize| listeners[at].local_addr().expect("it is bound").port();
        let names = ["-http-port", "-dns-port", "-server-port", "-serf-lan-port", "-serf-wan-port"];
        let ports: Vec<String> = names.iter().enumerate().map(|(at, name)| format!("{name}={}", port(at))).collect();
        let client = |port: u16| SocketAddr::from((self.client, port));
        let agent = Agent::at(client(port(0)), Some(client(port(1))));
        drop(listeners);
        let mut leash = Command::new("sh")
            .args(["-c", LEASH, "leash"])
            .arg(self.log_path())
            .args(&self.prefix)
            .args([env!("CARGO_BIN_EXE_curule"), "agent", "-bind=127.0.0.1", "-node=n1"])
            .args(["-grpc-port=-1", "-grpc-tls-port=-1"])
            .args(ports)
            .args(&self.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The shell tells of every death.
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut said = String::new();
        let out = leash.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("the leash speaks");
        let pid = said.trim().parse().expect("the leash says the agent's id");
        Process { agent, pid: Pid::from_raw(pid), leash }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agents of {} said:\n{}", self.path().display(), self.log());
        }
    }
}

/// One life of an agent; it ends with its value.
pub(crate) struct Process {
    agent: Agent,
    pub pid: Pid,
    leash: Child,
}

impl Deref for Process {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl Process {
    /// Whether it serves before it ends, or before patience does.
    fn becomes_ready(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && self.has_ended().is_none() {
            if TcpStream::connect(self.agent.http).is_ok() && self.agent.is_ready() {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }

    fn has_ended(&mut self) -> Option<i32> {
        let status = self.leash.try_wait().expect("the leash is our child")?;
        Some(status.code().expect("nobody kills the leash"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("the agent runs");
    }

    /// Waits for its end; the exit code, or 128 and the signal that killed it.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(code) = self.has_ended() {
                return code;
            }
            assert!(start.elapsed() < PATIENCE, "the agent has not ended after {PATIENCE:?}");
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal and waits for the end.
    #[track_caller]
    pub(crate) fn end(mut self, signal: Signal) -> i32 {
        self.signal(signal);
        self.wait()
    }

    /// Ends it the way a crash does: nothing is flushed, nobody is told.
    #[track_caller]
    pub(crate) fn crash(self) {
        assert_eq!(self.end(Signal::SIGKILL), 128 + 9);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without its input the leash kills the agent; an error here means that both are gone.
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
    }
}

/// Waits for a condition, with a bound.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, is_so);
}

/// The same for what takes its time.
#[track_caller]
pub(crate) fn wait_within(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < patience, "did not happen in {patience:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Files of a directory in the order of their names.
pub(crate) fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    files
}

/// Opens a file to damage it.
pub(crate) fn open_to_write(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("the file is ours")
}

/// Numbers that a seed repeats: xorshift64*.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below the bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}
