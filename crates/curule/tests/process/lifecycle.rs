//! Signals, exit codes, the process id file, and what a reload changes.

use std::fs;

use conformance::{Value, json};
use nix::sys::signal::Signal;

use crate::harness::{Home, wait_until};

#[test]
fn the_exit_code_says_whether_it_was_told_to_leave() {
    // Compat: servers stay members when they are interrupted, and say so with 1.
    for (config, signal, code) in [
        ("", Signal::SIGTERM, 1),
        ("", Signal::SIGINT, 1),
        ("leave_on_terminate = true", Signal::SIGTERM, 0),
        ("skip_leave_on_interrupt = false", Signal::SIGINT, 0),
    ] {
        let home = Home::durable().config(config);
        assert_eq!(home.start().end(signal), code, "{signal} with {config:?}; it said:\n{}", home.log());
    }
}

#[test]
fn a_dev_agent_leaves_when_interrupted_or_asked() {
    assert_eq!(Home::dev().config("skip_leave_on_interrupt = false").start().end(Signal::SIGINT), 0);
    let home = Home::dev();
    let mut agent = home.start();
    agent.put("/v1/agent/leave", "").status(200);
    assert_eq!(agent.wait(), 0);
}

#[test]
fn the_pid_file_is_there_while_the_agent_is() {
    let home = Home::dev();
    let path = home.path().join("agent.pid");
    let home = home.flag(format!("-pid-file={}", path.display()));
    let agent = home.start();
    assert_eq!(fs::read_to_string(&path).ok(), Some(agent.pid.to_string()));
    agent.end(Signal::SIGTERM);
    assert!(!path.exists(), "the process id file outlived its process");
    // One that a crash left behind is taken over.
    home.start().crash();
    assert!(path.exists());
    let agent = home.start();
    assert_eq!(fs::read_to_string(&path).ok(), Some(agent.pid.to_string()));
}

#[test]
fn a_parked_query_does_not_hold_up_the_end() {
    let home = Home::dev();
    let mut agent = home.start();
    let index = agent.get("/v1/catalog/services").send().index();
    std::thread::scope(|scope| {
        let call = agent.get(format!("/v1/catalog/services?index={index}&wait=300s"));
        let parked = scope.spawn(move || std::panic::catch_unwind(move || call.send()));
        // A connection that has come in is told from one that is still on its way only by what comes after it.
        agent.get("/v1/status/leader").status(200);
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.wait(), 1);
        // It was answered or cut off; either way it is over.
        let _ = parked.join().expect("panics are caught inside");
    });
}

const FIRST: &str = r#"
services {
  name = "web"
  id = "kept"
  port = 80
  check { id = "c" ttl = "1h" }
}
services { name = "old" }
check { id = "alone" name = "alone" ttl = "1h" }
"#;

const SECOND: &str = r#"
services {
  name = "web"
  id = "kept"
  port = 81
  tags = ["new"]
  check { id = "c" ttl = "1h" }
}
services { name = "fresh" }
"#;

fn ids(map: &Value) -> Vec<&str> {
    map.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let home = Home::durable().config(FIRST);
    let agent = home.start();
    agent.put_json("/v1/agent/service/register", &json!({"Name": "by-api"})).status(200);
    agent.put("/v1/agent/check/pass/c?note=fine", "").status(200);
    assert_eq!(ids(&agent.get("/v1/agent/services").json()), ["by-api", "kept", "old"]);

    home.write("config1.hcl", SECOND);
    agent.signal(Signal::SIGHUP);
    wait_until("the new definitions are there", || {
        ids(&agent.get("/v1/agent/services").json()) == ["by-api", "fresh", "kept"]
    });
    let kept = agent.get("/v1/agent/services").json()["kept"].clone();
    assert_eq!((&kept["Port"], &kept["Tags"]), (&json!(81), &json!(["new"])));
    let checks = agent.get("/v1/agent/checks").json();
    assert_eq!(ids(&checks), ["c"]);
    // Compat: what a check had found stays with it over a reload.
    assert_eq!(checks["c"]["Status"], "passing");
    wait_until("the catalog follows", || {
        let services = agent.get("/v1/catalog/services").json();
        services["old"].is_null() && services["web"] == json!(["new"]) && !services["fresh"].is_null()
    });

    // What stays is never gone, not for a moment.
    std::thread::scope(|scope| {
        let reloads = scope.spawn(|| (0..20).for_each(|_| drop(agent.put("/v1/agent/reload", "").status(200))));
        while !reloads.is_finished() {
            agent.get("/v1/health/service/web?passing").status(200).contains("\"kept\"");
        }
    });

    // What cannot be read changes nothing.
    home.write("config1.hcl", "service { nmae = \"typo\" }");
    agent.put("/v1/agent/reload", "").status(500).contains("nmae");
    assert_eq!(ids(&agent.get("/v1/agent/services").json()), ["by-api", "fresh", "kept"]);
}
