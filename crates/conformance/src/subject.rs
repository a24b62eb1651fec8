//! The agent under test: one that runs already, or one of ours started for this test process.
//!
//! A started agent is the child of a small shell that waits for the end of its standard input. The test process holds
//! the other end of that pipe and never closes it, so the kernel does when the process ends, for whatever reason; the
//! shell then kills the agent. No exit handler has to run for it, so a panic, an abort or a SIGKILL leaves no orphan.

use crate::{Call, Question, Value, eventually, json};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long an agent may take until it has a leader and knows itself in the catalog.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Free ports are found by binding and letting go, so another process may take one in between: try again.
const START_ATTEMPTS: u32 = 3;

/// The shell around the agent; `$@` is the agent's command line.
const LEASH: &str = r#""$@" & agent=$!; read -r line; kill -9 "$agent"; wait "$agent""#;

/// A running agent.
pub struct Agent {
    /// Where its HTTP API listens.
    pub http: SocketAddr,
    /// Where its DNS listens, if known.
    pub dns: Option<SocketAddr>,
    leash: Option<Child>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(leash) = &mut self.leash {
            drop(leash.stdin.take());
            // The leash ends as soon as its input does; there is nothing to do about an error here.
            let _ = leash.wait();
        }
    }
}

/// The agent that all tests of this process share.
pub fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| match std::env::var("CONFORMANCE_HTTP") {
        Ok(http) => Agent::at(resolve(&http), std::env::var("CONFORMANCE_DNS").ok().map(|dns| resolve(&dns))),
        Err(_) => start_agent(&[]),
    })
}

/// Starts a `-dev` agent of ours with more flags than the usual; it ends with its value.
pub fn start_agent(flags: &[&str]) -> Agent {
    start(&[&["-dev"], flags].concat())
}

/// Starts an agent of ours with these flags and free ports; it ends with its value.
pub fn start(flags: &[&str]) -> Agent {
    let binary = binary();
    let mut log = String::new();
    for _ in 0..START_ATTEMPTS {
        match try_start(&binary, flags) {
            Ok(agent) => return agent,
            Err(said) => log = said,
        }
    }
    panic!("{} did not become ready in {START_ATTEMPTS} attempts; last: {log}", binary.display());
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CURULE_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a running test knows its executable");
    // Programs lie in target/<profile>, tests in target/<profile>/deps.
    let beside = exe.ancestors().skip(1).take(2).map(|dir| dir.join("curule")).find(|path| path.exists());
    beside.expect("curule is not built: run `cargo build -p curule`, or set CURULE_BIN or CONFORMANCE_HTTP")
}

fn try_start(binary: &PathBuf, flags: &[&str]) -> Result<Agent, String> {
    let listeners: Vec<TcpListener> =
        (0..5).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports")).collect();
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("a bound listener has an address").port())
        .collect();
    drop(listeners);
    let mut command = Command::new("sh");
    command.args(["-c", LEASH, "leash"]).arg(binary).arg("agent");
    for (flag, port) in
        ["-http-port", "-dns-port", "-server-port", "-serf-lan-port", "-serf-wan-port"].iter().zip(&ports)
    {
        command.arg(flag).arg(port.to_string());
    }
    let leash = command
        .args(["-grpc-port", "-1", "-grpc-tls-port", "-1"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("sh: {error}"))?;
    let agent = Agent {
        http: SocketAddr::from(([127, 0, 0, 1], ports[0])),
        dns: Some(SocketAddr::from(([127, 0, 0, 1], ports[1]))),
        leash: Some(leash),
    };
    let start = Instant::now();
    while start.elapsed() < READY_WITHIN {
        if agent.is_ready() {
            return Ok(agent);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("not ready after {READY_WITHIN:?} on {}", agent.http))
}

fn resolve(address: &str) -> SocketAddr {
    address
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .unwrap_or_else(|| panic!("{address:?} is not host:port"))
}

impl Agent {
    /// An agent that somebody else started, and ends.
    #[must_use]
    pub fn at(http: SocketAddr, dns: Option<SocketAddr>) -> Self {
        Self { http, dns, leash: None }
    }

    /// Whether it has a leader and its own node has reached the catalog with its health check.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // A refused connection is "not yet"; anything after it must be an answer.
        TcpStream::connect(self.http).is_ok() && {
            let leader = self.get("/v1/status/leader").send();
            leader.code == 200 && leader.text().trim() != "\"\"" && {
                let health = self.get("/v1/health/state/passing").send();
                health.code == 200 && health.text().contains("serfHealth")
            }
        }
    }

    /// A request with any method and path.
    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.http, method, path)
    }

    /// A GET.
    pub fn get(&self, path: impl AsRef<str>) -> Call {
        self.call("GET", path.as_ref())
    }

    /// A HEAD.
    pub fn head(&self, path: impl AsRef<str>) -> Call {
        self.call("HEAD", path.as_ref())
    }

    /// A PUT with a body; pass `""` for none.
    pub fn put(&self, path: impl AsRef<str>, body: impl AsRef<[u8]>) -> Call {
        self.call("PUT", path.as_ref()).body(body)
    }

    /// A PUT of a JSON value.
    pub fn put_json(&self, path: impl AsRef<str>, body: &Value) -> Call {
        self.put(path, body.to_string())
    }

    /// A POST with a body; pass `""` for none.
    pub fn post(&self, path: impl AsRef<str>, body: impl AsRef<[u8]>) -> Call {
        self.call("POST", path.as_ref()).body(body)
    }

    /// A DELETE.
    pub fn delete(&self, path: impl AsRef<str>) -> Call {
        self.call("DELETE", path.as_ref())
    }

    /// A question to its DNS, which must be known: set CONFORMANCE_DNS with CONFORMANCE_HTTP.
    pub fn dig(&self, name: impl AsRef<str>, kind: &str) -> Question {
        let dns = self.dns.expect("CONFORMANCE_DNS goes with CONFORMANCE_HTTP");
        Question::new(dns, name.as_ref(), kind)
    }

    /// The agent's node name.
    pub fn node(&self) -> &'static str {
        static NODE: OnceLock<String> = OnceLock::new();
        NODE.get_or_init(|| {
            let this = self.get("/v1/agent/self").json();
            this["Config"]["NodeName"].as_str().expect("an agent has a name").to_owned()
        })
    }

    /// Gives a node the network coordinate that lies this many seconds along one axis, and waits until it counts.
    pub fn place(&self, node: &str, seconds: f64) {
        let vec = [seconds, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let body = json!({"Node": node, "Segment": "", "Coord":
            {"Vec": vec, "Error": 1.5, "Adjustment": 0.0, "Height": 1.0e-5}});
        self.put_json("/v1/coordinate/update", &body).expect(200, "");
        eventually("the coordinate is applied", || {
            (self.get(format!("/v1/coordinate/node/{node}")).send().code == 200).then_some(())
        });
    }
}
