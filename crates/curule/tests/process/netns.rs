//! A network of the test's own: a switch, and a network namespace for each [`Node`] at it.
//!
//! A test that needs one runs itself once more, in new network, process and mount namespaces ([`in_own_network`]). What
//! happens there is seen nowhere else, so that tests do not meet and use the same addresses. When the inner test ends or
//! is killed, the kernel ends all processes in there and then takes the interfaces down: nothing is left to clean up,
//! whatever happens. The inner test is killed when the outer one ends, and when it takes too long.
//!
//! Every node has two interfaces: `lan`, over which the agents talk and which can be cut and made lossy, and `control`,
//! which is how the test reaches the agents' HTTP API at all times.
//!
//! Loss is made with a filter that matches at random and not with `netem`, for the kernels here are built without it.
//! So there is no constant delay either; a process that is frozen every now and then comes close.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use nix::unistd::geteuid;

use crate::harness::{Home, LEASH, wait_until};

/// Set for the inner test.
const INSIDE: &str = "CURULE_TEST_IN_OWN_NETWORK";
/// How long an inner test may take, in seconds.
const TEST_LIMIT: &str = "120";
/// How long a command that sets the network up may take, in seconds.
const COMMAND_LIMIT: &str = "10";
/// What is needed of the system, tried in one go.
const TRIAL: &str = "set -e
    ip link add hole type bridge
    ip link add one type veth peer name two
    tc qdisc add dev one clsact
    tc filter add dev one egress bpf bytecode '1,6 0 0 0' action mirred egress redirect dev hole";
/// The switch that nodes are at, and where those go that are separated from them.
const NEAR: &str = "near";
const FAR: &str = "far";

/// Runs the test of this name, which calls this, in a network of its own.
///
/// Where the system does not let us make one, this says so, past the capture of the output, and does nothing.
#[track_caller]
pub(crate) fn in_own_network(test: &str, body: impl FnOnce(&Net)) {
    if env::var_os(INSIDE).is_some() {
        return body(&Net::new());
    }
    let trial = enclosed().args(["sh", "-c", TRIAL]).output();
    let refusal = match trial {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = refusal {
        let _ = writeln!(io::stderr(), "SKIPPED {test}: no network namespaces here: {reason}");
        return;
    }
    let home = Home::bare();
    let log = home.path().join("inner");
    let mut inner = Command::new("sh")
        .args(["-c", LEASH, "leash"])
        .arg(&log)
        .args(enclosure())
        .args(["timeout", "--kill-after=5", TEST_LIMIT])
        .arg(env::current_exe().expect("a running test knows its executable"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell");
    // Waiting would close it, and that ends the inner test.
    let hold = inner.stdin.take();
    let status = inner.wait().expect("it is our child");
    drop(hold);
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert!(status.success(), "{status}; the inner test said:\n{said}");
    assert!(said.contains("1 passed"), "there is no test {test}:\n{said}");
}

/// The command that runs another in namespaces of its own.
fn enclosure() -> Vec<&'static str> {
    let mut words = vec!["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !geteuid().is_root() {
        words.push("--map-root-user");
    }
    words
}

fn enclosed() -> Command {
    let mut command = Command::new("timeout");
    command.arg(COMMAND_LIMIT).args(enclosure());
    command
}

/// The switches, with the test at the one for control.
pub(crate) struct Net(());

impl Net {
    fn new() -> Self {
        run("ip link set lo up");
        for switch in [NEAR, FAR, "hole", "control"] {
            run(&format!("ip link add {switch} type bridge"));
            run(&format!("ip link set {switch} up"));
        }
        run("ip address add 10.8.0.254/24 dev control");
        Net(())
    }

    /// Adds a node; each number is for one.
    pub(crate) fn node(&self, number: u8) -> Node {
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .expect("the trial found it");
        let node = Node { number, holder };
        let own = fs::read_link("/proc/self/ns/net").expect("there is /proc");
        let its = format!("/proc/{}/ns/net", node.holder.id());
        wait_until("the node has a namespace of its own", || fs::read_link(&its).is_ok_and(|its| its != own));
        for (interface, switch) in [("lan", NEAR), ("control", "control")] {
            let port = format!("{interface}{number}");
            run(&format!("ip link add {port} type veth peer name {interface} netns {}", node.holder.id()));
            run(&format!("ip link set {port} master {switch} up"));
        }
        for (interface, address) in [("lan", node.address()), ("control", node.control())] {
            node.run(&format!("ip address add {address}/24 dev {interface}"));
            node.run(&format!("ip link set {interface} up"));
        }
        node.run("ip link set lo up");
        node
    }
}

/// Moves nodes to a switch that has no way to the others'.
pub(crate) fn separate(nodes: &[&Node]) {
    for node in nodes {
        run(&format!("ip link set {} master {FAR}", node.port()));
    }
}

/// Moves nodes back to the switch where all are at first.
pub(crate) fn reunite(nodes: &[&Node]) {
    for node in nodes {
        run(&format!("ip link set {} master {NEAR}", node.port()));
    }
}

/// A place for an agent.
pub(crate) struct Node {
    number: u8,
    /// A process that does nothing but keep the namespace.
    holder: Child,
}

impl Node {
    /// Where the other nodes find it.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 7, 0, self.number)
    }

    /// Where the test finds it.
    fn control(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 8, 0, self.number)
    }

    /// Agents of this home run here, with the usual ports for what agents say to each other.
    pub(crate) fn houses(&self, home: Home) -> Home {
        let entrance = self.entrance();
        home.under(&entrance.each_ref().map(String::as_str))
            .client(self.control())
            .flag(format!("-bind={}", self.address()))
            .flag("-server-port=8300")
            .flag("-serf-lan-port=8301")
            .flag("-serf-wan-port=8302")
    }

    /// Pulls its cable.
    pub(crate) fn cut(&self) {
        run(&format!("ip link set {} down", self.port()));
    }

    /// Puts the cable back.
    pub(crate) fn heal(&self) {
        run(&format!("ip link set {} up", self.port()));
    }

    /// Loses this share of what it says and of what is said to it, packet by packet.
    pub(crate) fn lose(&self, percent: u32) {
        let port = self.port();
        // "Load a random number; if it is below the bound the packet matches", as classic BPF.
        let bound = u32::MAX / 100 * percent;
        let at_random = format!("4,32 0 0 4294963256,53 1 0 {bound},6 0 0 4294967295,6 0 0 0");
        run(&format!("tc qdisc add dev {port} clsact"));
        for direction in ["ingress", "egress"] {
            let mut words: Vec<&str> = vec!["tc", "filter", "add", "dev", &port, direction, "protocol", "ip"];
            words.extend(["bpf", "bytecode", &at_random, "action", "mirred", "egress", "redirect", "dev", "hole"]);
            run_words(&words);
        }
    }

    /// How many packets it has lost.
    pub(crate) fn lost(&self) -> u64 {
        let count = |direction| {
            let shown = run(&format!("tc -s filter show dev {} {direction}", self.port()));
            let sent = shown.lines().find_map(|line| line.trim().strip_prefix("Sent "));
            let packets = sent.and_then(|sent| sent.split(' ').nth(2)?.parse::<u64>().ok());
            packets.expect("tc says `Sent 84 bytes 2 pkt`")
        };
        count("ingress") + count("egress")
    }

    /// The switch's end of its cable.
    fn port(&self) -> String {
        format!("lan{}", self.number)
    }

    /// The command that runs another in here; it becomes that other, so it is also whom a signal reaches.
    fn entrance(&self) -> [String; 3] {
        ["nsenter".into(), format!("--target={}", self.holder.id()), "--net".into()]
    }

    #[track_caller]
    fn run(&self, line: &str) {
        run(&format!("{} {line}", self.entrance().join(" ")));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The end of the test ends it at the latest.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs a command, which must succeed; gives what it said.
#[track_caller]
fn run(line: &str) -> String {
    run_words(&line.split(' ').collect::<Vec<&str>>())
}

#[track_caller]
fn run_words(words: &[&str]) -> String {
    let output = Command::new("timeout").arg(COMMAND_LIMIT).args(words).output().expect("there is a timeout");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
