//! What an agent knew, it knows again after a restart, however it ended.

use std::fs;

use conformance::{Agent, Value, json};
use nix::sys::signal::Signal;

use crate::harness::{Home, wait_until};

const CATALOG: [&str; 7] = [
    "/v1/kv/?recurse",
    "/v1/session/list",
    "/v1/catalog/nodes",
    "/v1/catalog/services",
    "/v1/catalog/service/web",
    "/v1/health/node/n1",
    "/v1/health/node/other",
];

/// A server whose catalog hears of a check's new output at once, not within minutes.
fn prompt() -> Home {
    Home::durable().config(r#"check_update_interval = "0s""#)
}

/// Everything of the state that a client can see of what the test made, indexes included.
fn seen(agent: &Agent) -> Vec<Value> {
    CATALOG.iter().map(|path| agent.get(path).json()).collect()
}

fn local(agent: &Agent, page: &str) -> Value {
    agent.get(format!("/v1/agent/{page}")).json()
}

fn fill(agent: &Agent) {
    for (id, status) in [("one", "pass"), ("two", "warn"), ("three", "fail")] {
        let service = json!({"Name": "web", "ID": id, "Port": 80, "Tags": [id], "Meta": {"k": "v"},
            "Check": {"CheckID": id, "TTL": "1h"}});
        agent.put_json("/v1/agent/service/register", &service).status(200);
        agent.put(format!("/v1/agent/check/{status}/{id}?note=said"), "").status(200);
    }
    let check = json!({"Name": "alone", "TTL": "1h", "Notes": "n"});
    agent.put_json("/v1/agent/check/register", &check).status(200);
    agent.put("/v1/agent/check/pass/alone", "").status(200);
    let node = json!({"Node": "other", "Address": "10.0.0.9", "Service": {"Service": "web", "Port": 1},
        "Check": {"CheckID": "c", "Name": "c", "Status": "warning"}});
    agent.put_json("/v1/catalog/register", &node).status(200);
    let session = agent.put_json("/v1/session/create", &json!({"Name": "holder", "TTL": "600s"})).json();
    let session = session["ID"].as_str().expect("a session has an id").to_owned();
    agent.put(format!("/v1/kv/lock?acquire={session}"), "held").expect(200, "true");
    agent.put("/v1/kv/plain?flags=7", "value").expect(200, "true");
    agent.put("/v1/kv/gone", "value").expect(200, "true");
    agent.delete("/v1/kv/gone").expect(200, "true");
    wait_until("the checks are in the catalog", || {
        let checks = agent.get("/v1/health/checks/web?filter=Node==n1").json();
        let of = |id: &str| checks.as_array().and_then(|rows| rows.iter().find(|row| row["CheckID"] == id)).cloned();
        let is = |id: &str, status: &str| of(id).is_some_and(|row| row["Status"] == status && row["Output"] == "said");
        is("one", "passing") && is("two", "warning") && is("three", "critical")
    });
    wait_until("the lone check is in the catalog", || {
        agent.get("/v1/health/state/passing").send().text().contains("\"alone\"")
    });
}

#[test]
fn state_and_registrations_survive() {
    let home = prompt();
    let agent = home.start();
    fill(&agent);
    let node_id = fs::read_to_string(home.data_dir().join("node-id")).expect("a durable agent keeps its id");
    let mut ended = agent;
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        // The port of the server itself is another one after each restart, so its own service is left out.
        let (state, services, checks) = (seen(&ended), local(&ended, "services"), local(&ended, "checks"));
        let index = ended.get("/v1/kv/?recurse").send().index();
        ended.end(signal);
        let agent = home.start();
        for (path, (before, after)) in CATALOG.iter().zip(state.iter().zip(seen(&agent))) {
            assert_eq!(*before, after, "{path} after {signal}");
        }
        assert_eq!(local(&agent, "services"), services, "after {signal}");
        assert_eq!(local(&agent, "checks"), checks, "after {signal}");
        assert!(agent.get("/v1/kv/?recurse").send().index() >= index, "after {signal}");
        let this = local(&agent, "self");
        assert_eq!(this["Config"]["NodeID"], node_id.trim(), "after {signal}");
        assert_eq!(fs::read_to_string(home.data_dir().join("node-id")).ok().as_ref(), Some(&node_id));
        ended = agent;
    }
}

#[test]
fn what_was_deregistered_stays_away() {
    let home = prompt();
    let agent = home.start();
    fill(&agent);
    agent.put("/v1/agent/service/deregister/one", "").status(200);
    agent.put("/v1/agent/check/deregister/alone", "").status(200);
    agent.crash();
    let agent = home.start();
    let services = local(&agent, "services");
    assert_eq!(
        services.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default(),
        ["three", "two"]
    );
    assert_eq!(local(&agent, "checks")["alone"], Value::Null);
    // The agent may have been killed before the catalog heard of it; it hears of it now.
    wait_until("the catalog forgets the instance", || {
        !agent.get("/v1/catalog/service/web").send().text().contains("\"one\"")
            && !agent.get("/v1/health/node/n1").send().text().contains("\"alone\"")
    });
}

#[test]
fn maintenance_survives() {
    let home = Home::durable();
    let agent = home.start();
    agent.put_json("/v1/agent/service/register", &json!({"Name": "web"})).status(200);
    agent.put("/v1/agent/service/maintenance/web?enable=true&reason=why", "").status(200);
    agent.put("/v1/agent/maintenance?enable=true&reason=all", "").status(200);
    agent.crash();
    let agent = home.start();
    let checks = local(&agent, "checks");
    assert_eq!(checks["_service_maintenance:web"]["Notes"], "why");
    assert_eq!(checks["_node_maintenance"]["Notes"], "all");
}

#[test]
fn a_directory_has_one_agent_at_a_time() {
    let home = Home::durable();
    let agent = home.start();
    let said = home.refused();
    assert!(said.contains("raft/lock"), "{said}");
    agent.put("/v1/kv/still", "here").expect(200, "true");
}
