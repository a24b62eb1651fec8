//! Agents that meet: joining at start, failing, leaving, coming back, and what the catalog makes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use conformance::Agent;
use nix::sys::signal::Signal;

use crate::harness::{Home, Process, wait_until};

/// Quick enough for a test: a failure is known within a few seconds.
const QUICK: &str = r#"gossip_lan { probe_interval = "200ms", probe_timeout = "100ms", gossip_interval = "50ms" }"#;

fn lan(agent: &Agent) -> String {
    let own = &agent.get("/v1/agent/members").json()[0];
    format!("127.0.0.1:{}", own["Port"])
}

/// The status of a node's `serfHealth` check, `None` without one.
fn health(agent: &Agent, node: &str) -> Option<String> {
    let checks = agent.get(format!("/v1/health/node/{node}")).json();
    let checks = checks.as_array()?.iter();
    let mut serf = checks.filter(|check| check["CheckID"] == "serfHealth");
    Some(serf.next()?["Status"].as_str()?.to_owned())
}

fn is_health(agent: &Agent, node: &str, status: Option<&str>) -> bool {
    health(agent, node).as_deref() == status
}

fn joins(home: Home, node: &str, other: &Agent) -> (Home, Process) {
    let home = home.config(QUICK).flag(format!("-node={node}")).flag(format!("-retry-join={}", lan(other)));
    let process = home.start();
    (home, process)
}

#[test]
fn the_catalog_follows_who_joins_and_fails() {
    let first = Home::dev().config(QUICK).flag("-node=first").start();
    let (_home, second) = joins(Home::durable(), "second", &first);
    wait_until("the second is registered", || is_health(&first, "second", Some("passing")));
    wait_until("and knows the first", || is_health(&second, "first", Some("passing")));
    second.crash();
    wait_until("its crash is known", || is_health(&first, "second", Some("critical")));
}

#[test]
fn who_leaves_is_taken_out() {
    let first = Home::dev().config(QUICK).flag("-node=first").start();
    let (home, mut second) = joins(Home::durable(), "second", &first);
    wait_until("the second is registered", || is_health(&first, "second", Some("passing")));
    second.put("/v1/agent/leave", "").status(200);
    assert_eq!(second.wait(), 0);
    wait_until("it is out of the catalog", || is_health(&first, "second", None));
    let members = first.get("/v1/agent/members?filter=Name==second").json();
    assert_eq!(members[0]["Status"], 3, "{members}");
    // Who has left may come back at once, at another address too.
    let second = home.start();
    wait_until("it is registered again", || is_health(&first, "second", Some("passing")));
    wait_until("and knows the first", || is_health(&second, "first", Some("passing")));
}

#[test]
fn a_frozen_agent_fails_and_refutes_once_it_is_thawed() {
    let first = Home::dev().config(QUICK).flag("-node=first").start();
    let (_home, second) = joins(Home::durable(), "second", &first);
    wait_until("the second is registered", || is_health(&first, "second", Some("passing")));
    second.signal(Signal::SIGSTOP);
    wait_until("it is taken for failed", || is_health(&first, "second", Some("critical")));
    second.signal(Signal::SIGCONT);
    wait_until("it says that it is alive", || is_health(&first, "second", Some("passing")));
}

#[test]
fn events_reach_all_members_once() {
    let first = Home::dev().config(QUICK).flag("-node=first").start();
    let (_home, second) = joins(Home::durable(), "second", &first);
    wait_until("the second is registered", || is_health(&first, "second", Some("passing")));
    second.put("/v1/event/fire/deploy", "now").status(200);
    for agent in [&*first, &*second] {
        wait_until("the event is here", || agent.get("/v1/event/list?name=deploy").json()[0]["Payload"] == "bm93");
    }
    second.put("/v1/event/fire/elsewhere?node=^second$", "").status(200);
    second.put("/v1/event/fire/last", "").status(200);
    wait_until("a later event is here", || {
        first.get("/v1/event/list?name=last").json().as_array().map(Vec::len) == Some(1)
    });
    assert_eq!(first.get("/v1/event/list?name=elsewhere").json().as_array().map(Vec::len), Some(0));
    assert_eq!(first.get("/v1/event/list?name=deploy").json().as_array().map(Vec::len), Some(1));
}

#[test]
fn joining_in_vain_ends_the_agent_when_it_is_told_so() {
    let home = Home::dev().config(r#"retry_max = 1 retry_interval = "50ms""#).flag("-retry-join=127.0.0.1:1");
    let mut agent = home.start();
    assert_eq!(agent.wait(), 1);
    assert!(home.log().contains("max join retry exhausted"), "{}", home.log());
}

#[test]
fn a_port_in_use_is_told_as_the_reference_tells_it() {
    let first = Home::dev().start();
    let address = lan(&first);
    let port = address.rsplit(':').next().expect("it has a port").to_owned();
    let said = Home::dev().flag(format!("-serf-lan-port={port}")).refused();
    let expected = format!(
        "Failed to start Consul server: Failed to start LAN Serf: Failed to create memberlist: Could not set up network \
         transport: failed to obtain an address: Failed to start TCP listener on \\\"127.0.0.1\\\" port {port}: listen tcp \
         {address}: bind: address already in use"
    );
    assert!(said.contains(&expected), "{said}");
}

/// A service on another member's node outlives a restart of the server that the catalog is of.
#[test]
fn a_restart_takes_no_member_out() {
    let home = Home::durable().config(QUICK).flag("-node=first");
    let first = home.start();
    let (_home, _second) = joins(Home::durable(), "second", &first);
    wait_until("the second is registered", || is_health(&first, "second", Some("passing")));
    let known = first.get("/v1/catalog/node/second").json();
    let address = known["Node"]["Address"].as_str().expect("a node has an address").to_owned();
    let service = serde_json::json!({
        "Node": "second", "Address": address, "SkipNodeUpdate": true, "Service": { "Service": "kept" }
    });
    first.put("/v1/catalog/register", service.to_string()).status(200);
    let created = |agent: &Agent| agent.get("/v1/catalog/node/second").json()["Node"]["CreateIndex"].clone();
    let before = created(&first);
    first.crash();
    let first = home.start();
    wait_until("it has met the second again", || {
        let members = first.get("/v1/agent/members?filter=Name==second").json();
        members[0]["Status"] == 1 && is_health(&first, "second", Some("passing"))
    });
    assert_eq!(created(&first), before);
    assert_eq!(first.get("/v1/catalog/service/kept").json().as_array().map(Vec::len), Some(1));
}

/// A key is changed on one of three; the third starts again with nothing but its file, and is let in.
#[test]
fn changed_keys_outlive_a_restart() {
    const OLD: &str = "cg8StVXbQJ0gPvMd9o7yrg==";
    const NEW: &str = "AAECAwQFBgcICQoLDA0ODw==";
    let encrypted = |home: Home| home.flag(format!("-encrypt={OLD}"));
    let first = encrypted(Home::dev()).config(QUICK).flag("-node=first").start();
    let (_second_home, second) = joins(encrypted(Home::durable()), "second", &first);
    let (third_home, mut third) = joins(encrypted(Home::durable()), "third", &second);
    for node in ["second", "third"] {
        wait_until("all three are registered", || is_health(&first, node, Some("passing")));
    }
    let key = |key: &str| serde_json::json!({ "Key": key }).to_string();
    // The WAN pool of each is known to its neighbours later; the LAN pool is what counts here.
    first.post("/v1/operator/keyring", key(NEW)).status(200);
    first.put("/v1/operator/keyring", key(NEW)).status(200);
    first.delete("/v1/operator/keyring").body(key(OLD)).status(200);
    let file = third_home.data_dir().join("serf/local.keyring");
    let kept: Vec<String> = serde_json::from_slice(&fs::read(&file).expect("there is a keyring")).expect("it is JSON");
    assert_eq!(kept, [NEW]);
    assert_eq!(fs::metadata(&file).expect("there is a keyring").permissions().mode() & 0o777, 0o600);
    // Not by a crash: the name of who failed is not free for another address at once.
    third.put("/v1/agent/leave", "").status(200);
    assert_eq!(third.wait(), 0);
    wait_until("it is out of the catalog", || is_health(&first, "third", None));
    let _third = third_home.start();
    assert!(third_home.log().contains("keyring doesn't include key provided with -encrypt, using keyring"));
    wait_until("it is back", || is_health(&first, "third", Some("passing")));
    let listed = first.get("/v1/operator/keyring").json();
    let lan = listed.as_array().and_then(|pools| pools.iter().find(|pool| pool["WAN"] == false));
    assert_eq!(lan.map(|pool| &pool["Keys"]), Some(&serde_json::json!({ NEW: 3 })), "{listed}");
}

/// Debian's `serf`, an implementation that is not ours, with the tags of a Consul client.
#[test]
fn the_serf_program_is_a_member() {
    if Command::new("serf").arg("version").output().is_err() {
        eprintln!("no `serf` program: nothing to test against");
        return;
    }
    let first = Home::dev().config(QUICK).flag("-node=first").start();
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback has ports");
    let rpc =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback has ports");
    let mut serf = Command::new("serf")
        .args([
            "agent",
            "-node=stranger",
            "-tag=role=node",
            "-tag=dc=dc1",
            "-tag=vsn=2",
            "-tag=vsn_min=2",
            "-tag=vsn_max=3",
        ])
        .args(["-tag=id=6f1dd2a6-3d71-4ad9-9d4c-3ac7d5a1f4b2", "-tag=build=1.22.0:", "-tag=segment="])
        .args([format!("-bind={port}"), format!("-rpc-addr={rpc}"), format!("-join={}", lan(&first))])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it was just asked for its version");
    wait_until("the stranger is registered", || is_health(&first, "stranger", Some("passing")));
    first.put("/v1/event/fire/hello", "").status(200);
    serf.kill().and_then(|()| serf.wait()).expect("it is our child");
    wait_until("its death is known", || is_health(&first, "stranger", Some("critical")));
    first.put("/v1/agent/force-leave/stranger?prune", "").status(200);
    wait_until("it is forgotten", || is_health(&first, "stranger", None));
}
