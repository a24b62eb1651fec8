//! `/v1/agent/join`, `/v1/agent/force-leave` and `/v1/operator/keyring`: agents that meet, and the keys they share.
//!
//! Each test starts agents of its own, since they must know nobody else. To prove the expectations, let `CURULE_BIN`
//! be the reference's binary.

use conformance::{Agent, Value, eventually, json, start_agent};

const ONE: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
const OTHER: &str = "4leC33rgtXKIVUr9Nr0snQ==";
const KEYRING: &str = "/v1/operator/keyring";

fn key(key: &str) -> Value {
    json!({ "Key": key })
}

/// What one pool says of its members or keys; WAN comes first.
fn keys(agent: &Agent, kind: &str) -> Value {
    let pools = agent.get(KEYRING).json();
    let shown = pools.as_array().expect("a list of pools").iter();
    shown.map(|pool| json!([pool["WAN"], pool["Datacenter"], pool[kind], pool["NumNodes"]])).collect()
}

#[test]
fn keys_are_rotated() {
    let agent = start_agent(&["-node", "k", "-encrypt", ONE]);
    let pools = json!([
        {"WAN": true, "Datacenter": "dc1", "Segment": "", "Keys": {ONE: 1}, "PrimaryKeys": {ONE: 1}, "NumNodes": 1},
        {"WAN": false, "Datacenter": "dc1", "Segment": "", "Keys": {ONE: 1}, "PrimaryKeys": {ONE: 1}, "NumNodes": 1},
    ]);
    assert_eq!(agent.get(KEYRING).json(), pools);
    assert_eq!(agent.get(format!("{KEYRING}?relay-factor=%2B5&local-only=")).json(), pools);
    assert_eq!(agent.get(format!("{KEYRING}?local-only=T")).json(), json!([pools[1]]));
    assert_eq!(agent.get("/v1/agent/self").json()["Stats"]["serf_lan"]["encrypted"], json!("true"));

    agent.post(KEYRING, key(OTHER).to_string()).expect(200, "");
    agent.post(KEYRING, key(OTHER).to_string()).expect(200, "");
    let both = json!({ONE: 1, OTHER: 1});
    assert_eq!(keys(&agent, "Keys"), json!([[true, "dc1", both, 1], [false, "dc1", both, 1]]));
    assert_eq!(keys(&agent, "PrimaryKeys"), json!([[true, "dc1", {ONE: 1}, 1], [false, "dc1", {ONE: 1}, 1]]));
    agent.put_json(KEYRING, &key(OTHER)).expect(200, "");
    assert_eq!(keys(&agent, "PrimaryKeys"), json!([[true, "dc1", {OTHER: 1}, 1], [false, "dc1", {OTHER: 1}, 1]]));
    let delete = |key: Value| agent.delete(KEYRING).body(key.to_string());
    delete(key(ONE)).expect(200, "");
    delete(key(ONE)).expect(200, "");
    assert_eq!(keys(&agent, "Keys"), json!([[true, "dc1", {OTHER: 1}, 1], [false, "dc1", {OTHER: 1}, 1]]));

    let refused = |why: &str| {
        format!(
            "4 errors occurred:\n\t* WAN error: 1/1 nodes reported failure\n\t* k.dc1: {why}\n\t* dc1 (LAN) error: 1/1 nodes \
             reported failure\n\t* k: {why}\n\n"
        )
    };
    delete(key(OTHER)).expect(500, &refused("Removing the primary key is not allowed"));
    agent.put_json(KEYRING, &key(ONE)).expect(500, &refused("Requested key is not in the keyring"));
    agent.put_json(KEYRING, &json!({"LocalOnly": true})).expect(500, &refused("Requested key is not in the keyring"));
    agent.post(KEYRING, key("AAAA").to_string()).expect(500, &refused("key size must be 16, 24 or 32 bytes"));
    agent.post(KEYRING, "null").expect(500, &refused("key size must be 16, 24 or 32 bytes"));
    let odd = "illegal base64 data at input byte 4";
    let odd = format!("2 errors occurred:\n\t* WAN error: {odd}\n\t* dc1 (LAN) error: {odd}\n\n");
    agent.post(KEYRING, key("zork%").to_string()).expect(500, &odd);
}

/// Name and status of each member, by name.
fn pool(agent: &Agent, query: &str) -> Vec<(String, u64)> {
    let members = agent.get(format!("/v1/agent/members{query}")).json();
    let members = members.as_array().expect("a list of members").iter();
    let mut pool: Vec<_> = members
        .map(|member| (member["Name"].as_str().unwrap_or("").to_owned(), member["Status"].as_u64().unwrap_or(0)))
        .collect();
    pool.sort();
    pool
}

fn until(agent: &Agent, query: &str, expect: &[(&str, u64)]) {
    let expect: Vec<_> = expect.iter().map(|(name, status)| ((*name).to_owned(), *status)).collect();
    eventually(&format!("the members{query} are {expect:?}"), || (pool(agent, query) == expect).then_some(()));
}

/// Where an agent's pool is met.
fn place(agent: &Agent, query: &str) -> String {
    let itself = &agent.get(format!("/v1/agent/members{query}")).json()[0];
    format!("127.0.0.1:{}", itself["Port"])
}

const ALIVE: u64 = 1;
const LEFT: u64 = 3;
const FAILED: u64 = 4;

#[test]
fn agents_join_fail_and_are_let_go() {
    let one = start_agent(&["-node", "one"]);
    let other = start_agent(&["-node", "other"]);
    one.put(format!("/v1/agent/join/{}", place(&other, "")), "").expect(200, "");
    for agent in [&one, &other] {
        until(agent, "", &[("one", ALIVE), ("other", ALIVE)]);
        until(agent, "?filter=Name==other", &[("other", ALIVE)]);
        until(agent, "?wan=1", &[("one.dc1", ALIVE), ("other.dc1", ALIVE)]);
        let this = agent.get("/v1/agent/self").json();
        assert_eq!(this["Stats"]["serf_lan"]["members"], json!("2"));
    }
    one.get(format!("{KEYRING}?local-only=1")).status(500).contains("2/2 nodes reported failure");

    drop(other);
    until(&one, "", &[("one", ALIVE), ("other", FAILED)]);
    assert_eq!(one.get("/v1/agent/self").json()["Stats"]["serf_lan"]["failed"], json!("1"));
    until(&one, "?wan=1", &[("one.dc1", ALIVE), ("other.dc1", FAILED)]);
    one.put("/v1/agent/force-leave/other", "").expect(200, "");
    until(&one, "", &[("one", ALIVE), ("other", LEFT)]);
    until(&one, "?wan=1", &[("one.dc1", ALIVE), ("other.dc1", LEFT)]);
    one.put("/v1/agent/force-leave/other?prune", "").expect(200, "");
    until(&one, "", &[("one", ALIVE)]);
    until(&one, "?wan=1", &[("one.dc1", ALIVE)]);
    // Who is alive stays, by any spelling.
    for name in ["one", "ONE", "one.dc1"] {
        one.put(format!("/v1/agent/force-leave/{name}?prune"), "").expect(200, "");
    }
    until(&one, "", &[("one", ALIVE)]);
    until(&one, "?wan=1", &[("one.dc1", ALIVE)]);
    one.put("/v1/agent/force-leave/other", "").expect(500, "agent: No node found with name 'other'");
}

#[test]
fn datacenters_meet_in_the_wan_pool_only() {
    let here = start_agent(&["-node", "h"]);
    let there = start_agent(&["-node", "t", "-datacenter", "dc2"]);
    let lan = place(&there, "");
    here.put(format!("/v1/agent/join/{lan}"), "").expect(
        500,
        &format!("1 error occurred:\n\t* Failed to join {lan}: Member 't' part of wrong datacenter 'dc2'\n\n"),
    );
    here.put(format!("/v1/agent/join/{}?wan=1", place(&there, "?wan=1")), "").expect(200, "");
    for agent in [&here, &there] {
        until(agent, "?wan=1", &[("h.dc1", ALIVE), ("t.dc2", ALIVE)]);
        eventually("both datacenters are known", || {
            let this = agent.get("/v1/agent/self").json();
            (this["Stats"]["consul"]["known_datacenters"] == json!("2")).then_some(())
        });
        eventually("there are coordinates of servers in both datacenters", || {
            let maps = agent.get("/v1/coordinate/datacenters").json();
            let mut servers: Vec<_> = maps
                .as_array()?
                .iter()
                .map(|map| format!("{} {} {}", map["AreaID"], map["Datacenter"], map["Coordinates"][0]["Node"]))
                .collect();
            servers.sort();
            (servers == [r#""wan" "dc1" "h""#, r#""wan" "dc2" "t""#]).then_some(())
        });
    }
    until(&here, "", &[("h", ALIVE)]);
    drop(there);
    here.put("/v1/agent/force-leave/t?wan", "").expect(500, "agent: No node found with name ''");
    here.put("/v1/agent/force-leave/t.dc2?wan", "").expect(200, "");
    until(&here, "?wan=1", &[("h.dc1", ALIVE), ("t.dc2", LEFT)]);
}

#[test]
fn without_a_wan_pool() {
    let agent = start_agent(&["-node", "n", "-serf-wan-port", "-1"]);
    agent.get("/v1/agent/members?wan=1").expect(200, "null");
    agent.get("/v1/agent/members?wan=1&filter=Name==n").expect(200, "[]");
    agent.get("/v1/coordinate/datacenters").expect(200, "[]");
    agent.put("/v1/agent/join/127.0.0.1:1?wan=1", "").expect(500, "WAN Federation is disabled");
    agent.put("/v1/agent/force-leave/n.dc1?wan=1", "").expect(500, "agent: No node found with name ''");
    let empty = "Keyring is empty (encryption not enabled)";
    let text = format!("2 errors occurred:\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n\t* n: {empty}\n\n");
    agent.get(KEYRING).expect(500, &text);
    assert_eq!(agent.get("/v1/agent/self").json()["Stats"]["serf_wan"], json!(null));
}

#[test]
fn an_encrypted_agent_is_not_joined_without_its_key() {
    let plain = start_agent(&["-node", "p"]);
    let secret = start_agent(&["-node", "s", "-encrypt", ONE]);
    let place = place(&secret, "");
    let failed = |why: &str| format!("1 error occurred:\n\t* Failed to join {place}: {why}\n\n");
    plain
        .put(format!("/v1/agent/join/{place}"), "")
        .expect(500, &failed("Remote state is encrypted and encryption is not configured"));
    until(&plain, "", &[("p", ALIVE)]);
    until(&secret, "", &[("s", ALIVE)]);
}
