//! `/v1/operator`: raft, autopilot, usage and the keyring of an agent without encryption.

use conformance::{agent, eventually, json};

#[test]
fn the_raft_configuration_names_the_server() {
    let answer = agent().get("/v1/operator/raft/configuration").status(200);
    let body = answer.json();
    let server = &body["Servers"][0];
    assert_eq!(body["Servers"].as_array().map(Vec::len), Some(1));
    assert_eq!(server["Node"], json!(agent().node()));
    assert_eq!((&server["Leader"], &server["Voter"]), (&json!(true), &json!(true)));
    assert_eq!(server["ProtocolVersion"], json!("3"));
    assert_eq!(server["Address"], agent().get("/v1/status/leader").json());
    assert!(server["LastIndex"].is_u64() && body["Index"].is_u64());
    assert_eq!(answer.find("X-Consul-Index"), None);
    agent().get("/v1/operator/raft/configuration?stale").status(200);
}

#[test]
fn autopilot_configuration_is_read_and_set() {
    let path = "/v1/operator/autopilot/configuration";
    let kept = agent().get(path).json();
    let index = kept["ModifyIndex"].clone();
    assert_eq!(
        kept,
        json!({"CleanupDeadServers": true, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250, "MinQuorum": 0,
            "ServerStabilizationTime": "10s", "RedundancyZoneTag": "", "DisableUpgradeMigration": false,
            "UpgradeVersionTag": "", "CreateIndex": kept["CreateIndex"], "ModifyIndex": index})
    );
    agent().put(format!("{path}?cas=1"), "{}").expect(200, "false");
    let table = [
        ("", "", "Error parsing autopilot config: EOF"),
        ("", r#"{"Zork":1}"#, "Error parsing autopilot config: json: unknown field \"Zork\""),
        ("", r#"{"LastContactThreshold":"xx"}"#, "Error parsing autopilot config: time: invalid duration \"xx\""),
        ("?cas=x", "{}", "Error parsing cas value: strconv.ParseUint: parsing \"x\": invalid syntax"),
    ];
    for (query, body, text) in table {
        agent().put(format!("{path}{query}"), body).expect(400, text);
    }
}

#[test]
fn autopilot_finds_the_server_healthy() {
    let health = eventually("autopilot has looked", || {
        let answer = agent().get("/v1/operator/autopilot/health").send();
        (answer.code == 200).then(|| answer.json())
    });
    assert_eq!((&health["Healthy"], &health["FailureTolerance"]), (&json!(true), &json!(0)));
    let server = &health["Servers"][0];
    assert_eq!((&server["SerfStatus"], &server["LastContact"]), (&json!("alive"), &json!("0s")));
    assert_eq!((&server["Leader"], &server["Voter"]), (&json!(true), &json!(true)));
    let state = agent().get("/v1/operator/autopilot/state").json();
    let id = server["ID"].as_str().expect("an id");
    assert_eq!(state["Leader"], json!(id));
    assert_eq!(state["Voters"], json!([id]));
    assert_eq!(state["Servers"][id]["Status"], json!("leader"));
    assert_eq!(state["Servers"][id]["NodeType"], json!("voter"));
    assert_eq!(state["Servers"][id]["NodeStatus"], json!("alive"));
}

#[test]
fn usage_counts() {
    let usage = agent().get("/v1/operator/usage").json();
    let here = &usage["Usage"]["dc1"];
    for member in ["Services", "ServiceInstances", "Nodes"] {
        assert!(here[member].as_u64() >= Some(1), "{member} in {here}");
    }
    assert!(here["BillableServiceInstances"].is_u64());
    assert_eq!(
        here["ConnectServiceInstances"],
        json!({"api-gateway": 0, "connect-native": 0, "connect-proxy": 0, "ingress-gateway": 0, "mesh-gateway": 0,
            "terminating-gateway": 0})
    );
    assert_eq!(usage["KnownLeader"], json!(true));
}

#[test]
fn refusals() {
    let peer = "/v1/operator/raft/peer";
    let keyring = "/v1/operator/keyring";
    let node = agent().node();
    let table = [
        (
            "DELETE",
            peer.to_owned(),
            400,
            "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove".to_owned(),
        ),
        ("DELETE", format!("{peer}?id=a&address=b"), 400, "Must specify only one of ?id or ?address".into()),
        (
            "DELETE",
            format!("{peer}?address=1.2.3.4:5"),
            500,
            "address \"1.2.3.4:5\" was not found in the Raft configuration".into(),
        ),
        ("DELETE", format!("{peer}?id=zork"), 500, "id \"zork\" was not found in the Raft configuration".into()),
        ("POST", "/v1/operator/raft/transfer-leader".into(), 500, "cannot find peer".into()),
        (
            "GET",
            format!("{keyring}?relay-factor=9"),
            400,
            "Invalid relay-factor: Relay factor must be in range: [0, 5]".into(),
        ),
        (
            "GET",
            format!("{keyring}?relay-factor=x"),
            400,
            "Error parsing relay factor: strconv.Atoi: parsing \"x\": invalid syntax".into(),
        ),
        (
            "GET",
            format!("{keyring}?relay-factor=-9223372036854775809"),
            400,
            "Error parsing relay factor: strconv.Atoi: parsing \"-9223372036854775809\": value out of range".into(),
        ),
        (
            "GET",
            format!("{keyring}?local-only=x"),
            400,
            "Error parsing local-only: strconv.ParseBool: parsing \"x\": invalid syntax".into(),
        ),
        ("PUT", keyring.into(), 400, "Request decode failed: EOF".into()),
        (
            "GET",
            keyring.into(),
            500,
            format!(
                "4 errors occurred:\n\t* WAN error: 1/1 nodes reported failure\n\t* {node}.dc1: Keyring is empty \
                 (encryption not enabled)\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n\t* {node}: Keyring is \
                 empty (encryption not enabled)\n\n"
            ),
        ),
    ];
    let id = agent().get("/v1/agent/self").json()["Config"]["NodeID"].as_str().expect("an id").to_owned();
    let transfer = "/v1/operator/raft/transfer-leader";
    agent().post(format!("{transfer}?id={id}"), "").expect(500, "cannot transfer leadership to itself");
    agent().post(format!("{transfer}?id=zork"), "").expect(500, "Could not find address for server id zork");
    agent().call("DELETE", &format!("{peer}?id=zork&dc=nope")).expect(500, "No path to datacenter");
    agent().get(peer).expect(405, "method GET not allowed");
    agent().get(transfer).expect(405, "method GET not allowed");
    let bodies = [
        (r#"{"Zork":5}"#, "json: unknown field \"Zork\""),
        (r#"{"key":5}"#, "json: cannot unmarshal number into Go struct field keyringArgs.Key of type string"),
        (
            r#"{"RelayFactor":300}"#,
            "json: cannot unmarshal number 300 into Go struct field keyringArgs.RelayFactor of type uint8",
        ),
        ("[]", "json: cannot unmarshal array into Go value of type agent.keyringArgs"),
    ];
    for (body, fault) in bodies {
        agent().put(keyring, body).expect(400, &format!("Request decode failed: {fault}"));
    }
    let text = "Invalid use of local-only: local-only can only be set for list requests";
    agent().put(format!("{keyring}?local-only=1"), "{}").expect(400, text);
    for (method, path, status, text) in table {
        agent().call(method, &path).expect(status, &text);
    }
}
