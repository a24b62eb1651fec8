//! What the `operator` commands send and print.

use serde_json::Value;

use crate::cli::stand_in::{Reply, StandIn};

const CONFIGURATION: &str = r#"{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250,"MinQuorum":0,
    "ServerStabilizationTime":"10s","RedundancyZoneTag":"","DisableUpgradeMigration":false,"UpgradeVersionTag":"a\"b",
    "CreateIndex":5,"ModifyIndex":7}"#;

/// As the reference answers, with a second server and what only Enterprise tells.
const STATE: &str = r#"{"Healthy":true,"FailureTolerance":0,"OptimisticFailureTolerance":1,"Leader":"id-1","Voters":["id-1"],
    "ReadReplicas":["id-2"],"RedundancyZones":{"z1":{"Servers":["id-1"],"Voters":["id-1"],"FailureTolerance":0}},
    "Upgrade":{"Status":"idle","TargetVersion":"1.22.0","TargetVersionVoters":["id-1"]},
    "Servers":{"id-1":{"ID":"id-1","Name":"vm","Address":"127.0.0.1:8300","NodeStatus":"alive","Version":"1.22.0",
    "LastContact":"0s","LastTerm":2,"LastIndex":209,"Healthy":true,"StableSince":"2026-11-23T04:12:17.368221716Z",
    "ReadReplica":false,"Status":"leader","Meta":{"k":"v"},"NodeType":"voter"},"id-2":{"ID":"id-2","Name":"r",
    "LastContact":"1500ms","ReadReplica":true,"Meta":null,"RedundancyZone":"z1"}}}"#;

fn agent() -> StandIn {
    StandIn::new(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/operator/autopilot/configuration") => Reply::ok(CONFIGURATION),
        ("PUT", _) => Reply::ok(if asked.body.windows(3).any(|piece| piece == b"251") { "false" } else { "true" }),
        (_, "/v1/operator/autopilot/state") => Reply::ok(STATE),
        (_, "/v1/operator/raft/configuration") => Reply::ok(
            r#"{"Servers":[{"ID":"1","Node":"a","Address":"x:1","Leader":true,"ProtocolVersion":"3","Voter":true,"LastIndex":9},
            {"ID":"2","Node":"b","Address":"x:2","Leader":false,"ProtocolVersion":"","Voter":false,"LastIndex":8},
            {"ID":"3","Node":"c","Address":"x:3","Leader":false,"ProtocolVersion":"3","Voter":true,"LastIndex":2}],"Index":1}"#,
        ),
        _ => Reply::ok(
            r#"{"Usage":{"dc2":{"Nodes":2,"Services":3,"BillableServiceInstances":4,"ConnectServiceInstances":{"mesh-gateway":1}},
            "dc1":{"Nodes":1,"Services":1,"BillableServiceInstances":0,"ConnectServiceInstances":{"api-gateway":0}}}}"#,
        ),
    })
}

#[test]
fn peers_are_compared_with_the_leader() {
    let agent = agent();
    assert_eq!(
        agent.run(&["operator", "raft", "list-peers", "-stale"]).out,
        "Node  ID  Address  State     Voter  RaftProtocol  Commit Index  Trails Leader By\n\
         a     1   x:1      leader    true   3             9             -\n\
         b     2   x:2      follower  false  <=1           8             1 commit\n\
         c     3   x:3      follower  true   3             2             7 commits\n"
    );
    assert_eq!(agent.lines(), ["GET /v1/operator/raft/configuration?stale="]);
}

#[test]
fn settings_are_shown_and_changed() {
    let agent = agent();
    assert_eq!(
        agent.run(&["operator", "autopilot", "get-config"]).out,
        "CleanupDeadServers = true\nLastContactThreshold = 200ms\nMaxTrailingLogs = 250\nMinQuorum = \
         0\nServerStabilizationTime = 10s\nRedundancyZoneTag = \"\"\nDisableUpgradeMigration = false\nUpgradeVersionTag = \
         \"a\\\"b\"\n"
    );
    let set = agent.run(&[
        "operator",
        "autopilot",
        "set-config",
        "-cleanup-dead-servers=false",
        "-last-contact-threshold=1500ms",
        "-min-quorum=3",
        "-upgrade-version-tag=",
    ]);
    assert_eq!((set.code, set.out.as_str()), (0, "Configuration updated!\n"));
    let asked = agent.asked().pop().unwrap();
    assert_eq!(asked.line(), "PUT /v1/operator/autopilot/configuration?cas=7");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let mut expect: Value = serde_json::from_str(CONFIGURATION).unwrap();
    expect["CleanupDeadServers"] = false.into();
    expect["LastContactThreshold"] = "1.5s".into();
    expect["MinQuorum"] = 3.into();
    expect["UpgradeVersionTag"] = "".into();
    assert_eq!(body, expect);
    let lost = agent.run(&["operator", "autopilot", "set-config", "-max-trailing-logs=251"]);
    assert_eq!(lost.code, 1);
    assert_eq!(lost.out, "Configuration could not be atomically updated, please try again\n");
}

#[test]
fn the_state_is_a_tree() {
    let agent = agent();
    let out = agent.run(&["operator", "autopilot", "state"]).out;
    let expect = r#"Healthy:                      true
Failure Tolerance:            0
Optimistic Failure Tolerance: 1
Leader:                       id-1
Voters:
   id-1
Read Replicas:
   id-2
Redundancy Zones:
   z1:
      Failure Tolerance: 0
      Voters:
         id-1
      Servers:
         id-1
Upgrade:
   Status:         idle
   Target Version: 1.22.0
   Target Version Voters:
      id-1
Servers:
   id-1
      Name:            vm
      Address:         127.0.0.1:8300
      Version:         1.22.0
      Status:          leader
      Node Type:       voter
      Node Status:     alive
      Healthy:         true
      Last Contact:    0s
      Last Term:       2
      Last Index:      209
      Meta
         "k": "v"
   id-2
      Name:            r
"#;
    assert!(out.starts_with(expect), "{out}");
    assert!(out.ends_with("      Redundancy Zone: z1\n      Read Replica:    true\n\n"), "{out}");
    let json = agent.run(&["operator", "autopilot", "state", "-format=json"]).out;
    assert!(json.starts_with("{\n    \"Healthy\": true,\n    \"FailureTolerance\": 0,\n"), "{json}");
    assert!(json.contains("            \"StableSince\": \"2026-11-23T04:12:17.368221716Z\",\n"), "{json}");
    assert_eq!(agent.run(&["operator", "autopilot", "state", "-format=x"]).err, "Unknown format: x\n");
}

#[test]
fn usage_is_counted_over_datacenters() {
    let agent = agent();
    let out = agent.run(&["operator", "usage", "instances", "-all-datacenters"]).out;
    assert_eq!(
        out,
        "Billable Service Instances Total: 4\ndc1 Billable Service Instances: 0\ndc2 Billable Service Instances: 4\n\n\
         Billable Services\n\
         Datacenter      Services      Service instances\n\
         dc1             1             0\n\
         dc2             3             4\n\
         \u{20}                             \n\
         Total           4             4\n\n\n\
         Nodes\n\
         Datacenter      Count            \n\
         dc1             1\n\
         dc2             2\n\
         \u{20}               \n\
         Total           3\n\n\n\
         Connect Services\n\
         Datacenter      Type              Service instances\n\
         dc1             api-gateway       0\n\
         dc2             mesh-gateway      1\n\
         \u{20}                                 \n\
         Total                             1\n"
    );
    assert_eq!(agent.lines(), ["GET /v1/operator/usage?global="]);
    assert!(agent.run(&["operator", "usage", "instances", "-connect"]).out.starts_with("Connect Services\nType "));
    assert_eq!(
        agent.run(&["operator", "usage", "instances", "-connect", "-billable"]).err,
        "Cannot specify both -billable and -connect flags\n"
    );
}

#[test]
fn servers_are_removed_and_hand_over() {
    let agent = StandIn::new(|asked| match asked.query.as_str() {
        "id=zork" => Reply::new(500, "id \"zork\" is unknown\n"),
        "id=slow" => Reply::ok(r#"{"Success":false}"#),
        _ => Reply::ok(r#"{"Success":true}"#),
    });
    let remove = "operator raft remove-peer";
    let transfer = "operator raft transfer-leader";
    for (line, code, out, err) in [
        (format!("{remove} -id=x"), 0, "Removed peer with id \"x\"\n", ""),
        (format!("{remove} -address=1.2.3.4:5"), 0, "Removed peer with address \"1.2.3.4:5\"\n", ""),
        (remove.to_owned(), 1, "", "Error removing peer: an address or id is required for the peer to remove\n"),
        (format!("{remove} -id=x -address=y"), 1, "", "Error removing peer: cannot give both an address and id\n"),
        (
            format!("{remove} -id=zork"),
            1,
            "",
            "Error removing peer: Unexpected response code: 500 (id \"zork\" is unknown)\n",
        ),
        (format!("{transfer} -stale -id y"), 0, "Success\n", ""),
        (format!("{transfer} -id=slow"), 1, "", "Error transfering leadership: Failed to transfer leadership\n"),
        (
            format!("{transfer} -id=zork"),
            1,
            "",
            "Error transfering leadership: Failed to transfer leadership Unexpected response code: 500 (id \"zork\" is \
             unknown)\n",
        ),
    ] {
        let outcome = agent.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (code, out, err), "{line}");
    }
    assert_eq!(
        agent.lines(),
        [
            "DELETE /v1/operator/raft/peer?id=x",
            "DELETE /v1/operator/raft/peer?address=1.2.3.4%3A5",
            "DELETE /v1/operator/raft/peer?id=zork",
            "POST /v1/operator/raft/transfer-leader?id=y&stale=",
            "POST /v1/operator/raft/transfer-leader?id=slow",
            "POST /v1/operator/raft/transfer-leader?id=zork",
        ]
    );
}

const KEYRINGS: &str = r#"[{"WAN":true,"Datacenter":"dc1","Segment":"","Keys":{"k1=":1},"PrimaryKeys":{"k1=":1},"NumNodes":1},
    {"WAN":false,"Datacenter":"dc1","Segment":"","Messages":{"b":"odd"},"Keys":{"k1=":3,"k2=":2},"PrimaryKeys":{"k1=":3},
    "NumNodes":3},{"WAN":false,"Datacenter":"dc2","Segment":"x","Keys":null,"PrimaryKeys":{},"NumNodes":0}]"#;

#[test]
fn keys_are_listed_and_changed() {
    let agent = StandIn::new(|asked| match asked.method.as_str() {
        "GET" => Reply::ok(KEYRINGS),
        "DELETE" => Reply::new(500, "2 errors occurred:\n\t* a\n\t* b\n\n"),
        _ => Reply::ok(""),
    });
    assert_eq!(
        agent.run(&["keyring", "-list"]).out,
        "==> Gathering installed encryption keys...\n\nWAN:\n  k1= [1/1]\n\ndc1 (LAN):\n  ===> b: odd\n  k1= [3/3]\n  k2= \
         [2/3]\n\ndc2 (LAN) [x]:\n"
    );
    assert_eq!(
        agent.run(&["keyring", "-list-primary", "-relay-factor=5"]).out,
        "==> Gathering installed primary encryption keys...\n\nWAN:\n  k1= [1/1]\n\ndc1 (LAN):\n  ===> b: odd\n  k1= \
         [3/3]\n\ndc2 (LAN) [x]:\n"
    );
    agent.run(&["keyring", "-list", "-local-only"]);
    assert_eq!(agent.run(&["keyring", "-install=k3"]).out, "==> Installing new gossip encryption key...\n");
    assert_eq!(
        agent.run(&["keyring", "-use=k3", "-relay-factor", "2"]).out,
        "==> Changing primary gossip encryption key...\n"
    );
    let removed = agent.run(&["keyring", "-remove=k1"]);
    assert_eq!((removed.code, removed.out.as_str()), (1, "==> Removing gossip encryption key...\n"));
    assert_eq!(removed.err, "error: Unexpected response code: 500 (2 errors occurred:\n\t* a\n\t* b)\n");
    assert_eq!(
        agent.lines(),
        [
            "GET /v1/operator/keyring",
            "GET /v1/operator/keyring?relay-factor=5",
            "GET /v1/operator/keyring?local-only=true",
            "POST /v1/operator/keyring",
            "PUT /v1/operator/keyring?relay-factor=2",
            "DELETE /v1/operator/keyring",
        ]
    );
    assert_eq!(agent.asked().pop().unwrap().body, br#"{"Key":"k1"}"#);
    for (line, err) in [
        ("-list -install=x", "Only a single action is allowed\n"),
        ("-list -relay-factor=6", "Error parsing relay factor: Relay factor must be in range: [0, 5]\n"),
        ("-list -relay-factor=-1", "Error parsing relay factor: Relay factor must be in range: [0, 5]\n"),
        ("-use=x -local-only", "Error validating local-only: local-only can only be set for list requests\n"),
        ("-list-primary -local-only", "Error validating local-only: local-only can only be set for list requests\n"),
    ] {
        let words: Vec<&str> = std::iter::once("keyring").chain(line.split(' ')).collect();
        let outcome = agent.run(&words);
        assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (1, "", err), "{line}");
    }
    assert!(agent.run(&["keyring"]).err.starts_with("Usage: consul keyring [options]\n"));
}
