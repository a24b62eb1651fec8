//! `/v1/status`: the leader and the peers, as plain JSON without index headers.

use conformance::{agent, json};

#[test]
fn the_only_server_leads() {
    let leader = agent().get("/v1/status/leader").status(200);
    let address = leader.json();
    assert!(address.as_str().is_some_and(|text| text.starts_with("127.0.0.1:")), "{address}");
    assert_eq!(leader.text(), address.to_string(), "no newline");
    assert_eq!(leader.find("X-Consul-Index"), None);
    assert_eq!(leader.find("X-Consul-Knownleader"), None);
    assert_eq!(agent().get("/v1/status/peers").json(), json!([address]));
    assert_eq!(agent().get("/v1/status/leader?dc=dc1").json(), address);
    assert_eq!(agent().get("/v1/status/leader?pretty").send().text(), format!("{address}\n"));
}

#[test]
fn refusals() {
    agent().get("/v1/status/leader?dc=nope").expect(500, "No path to datacenter");
    agent().get("/v1/status/peers?dc=nope").expect(500, "No path to datacenter");
    agent().put("/v1/status/peers", "").expect(405, "method PUT not allowed");
}
