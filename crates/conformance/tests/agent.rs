//! `/v1/agent`: itself, its members, node maintenance, joining and leaving, metrics and the log.

use conformance::{agent, eventually, json};

#[test]
fn itself() {
    let this = agent().get("/v1/agent/self").status(200);
    assert_eq!(this.find("X-Consul-Index"), None);
    let this = this.json();
    let config = &this["Config"];
    for member in
        ["Datacenter", "PrimaryDatacenter", "NodeName", "NodeID", "Revision", "Server", "Version", "BuildDate"]
    {
        assert!(!config[member].is_null(), "{member}");
    }
    assert_eq!((&config["Datacenter"], &config["Server"]), (&json!("dc1"), &json!(true)));
    assert_eq!(this["Member"]["Name"], config["NodeName"]);
    assert_eq!(this["Coord"]["Vec"].as_array().map(Vec::len), Some(8));
    assert_eq!(this["Stats"]["consul"]["leader"], json!("true"));
    assert_eq!(this["Stats"]["agent"]["services"].as_str().map(|count| count.parse::<u32>().is_ok()), Some(true));
    for pool in ["serf_lan", "serf_wan"] {
        let figures =
            this["Stats"][pool].as_object().map(|figures| figures.keys().map(String::as_str).collect::<Vec<_>>());
        let expect = [
            "coordinate_resets",
            "encrypted",
            "event_queue",
            "event_time",
            "failed",
            "health_score",
            "intent_queue",
            "left",
            "member_time",
            "members",
            "query_queue",
            "query_time",
        ];
        assert_eq!(figures.as_deref(), Some(&expect[..]), "{pool}");
    }
    assert_eq!(this["Meta"]["consul-network-segment"], json!(""));
    assert_eq!(this["DebugConfig"]["ACLInitialManagementToken"], json!("hidden"));
    let version = agent().get("/v1/agent/version").json();
    assert!(version["HumanVersion"].as_str().is_some_and(|text| text.starts_with(config["Version"].as_str().unwrap())));
}

#[test]
fn members() {
    let members = agent().get("/v1/agent/members").json();
    assert_eq!(members.as_array().map(Vec::len), Some(1));
    let member = &members[0];
    assert_eq!((&member["Name"], &member["Addr"]), (&json!(agent().node()), &json!("127.0.0.1")));
    assert_eq!(member["Status"], json!(1));
    for (tag, value) in [("role", "consul"), ("dc", "dc1"), ("raft_vsn", "3"), ("segment", ""), ("vsn", "2")] {
        assert_eq!(member["Tags"][tag], json!(value), "{tag}");
    }
    for (member_name, value) in [
        ("ProtocolMin", 1),
        ("ProtocolMax", 5),
        ("ProtocolCur", 2),
        ("DelegateMin", 2),
        ("DelegateMax", 5),
        ("DelegateCur", 4),
    ] {
        assert_eq!(member[member_name], json!(value), "{member_name}");
    }
    let wan = agent().get("/v1/agent/members?wan=1").json();
    assert_eq!(wan[0]["Name"], json!(format!("{}.dc1", agent().node())));
    // Without a value it does not count.
    assert_eq!(agent().get("/v1/agent/members?wan").json()[0]["Name"], json!(agent().node()));
    agent().get("/v1/agent/members?wan=1&segment=x").expect(400, "Cannot provide a segment with wan=true");
    agent()
        .get("/v1/agent/members?segment=x")
        .expect(500, "Network segments are not supported in this version of Consul");
}

#[test]
fn node_maintenance() {
    // On an agent of its own: a critical node takes everybody's services with it.
    if std::env::var_os("CONFORMANCE_HTTP").is_some() && std::env::var_os("CONFORMANCE_ALONE").is_none() {
        return;
    }
    let path = "/v1/agent/maintenance";
    let check = || agent().get("/v1/agent/checks").json()["_node_maintenance"].clone();
    agent().put(format!("{path}?enable=true"), "").expect(200, "");
    let notes = "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.";
    assert_eq!(
        check(),
        json!({"Node": agent().node(), "CheckID": "_node_maintenance", "Name": "Node Maintenance Mode",
            "Status": "critical", "Notes": notes, "Output": "", "ServiceID": "", "ServiceName": "",
            "ServiceTags": [], "Type": "maintenance", "Interval": "", "Timeout": "", "ExposedPort": 0,
            "Definition": {}, "CreateIndex": 0, "ModifyIndex": 0})
    );
    agent().put(format!("{path}?enable=true&reason=again"), "").expect(200, "");
    assert_eq!(check()["Notes"], json!(notes), "the first reason stays");
    eventually("no service passes", || {
        (agent().get("/v1/health/service/consul?passing").json() == json!([])).then_some(())
    });
    agent().put(format!("{path}?enable=false"), "").expect(200, "");
    assert_eq!(check(), json!(null));
    eventually("services pass again", || {
        (agent().get("/v1/health/service/consul?passing").json() != json!([])).then_some(())
    });
}

#[test]
fn metrics_have_five_lists() {
    let metrics = agent().get("/v1/agent/metrics").json();
    assert!(metrics["Timestamp"].as_str().is_some_and(|time| time.ends_with(" +0000 UTC")), "{metrics}");
    for list in ["Gauges", "Points", "Counters", "Samples"] {
        assert!(metrics[list].is_array(), "{list}");
    }
}

#[test]
fn refusals() {
    let table = [
        ("PUT", "/v1/agent/maintenance", 400, "Missing value for enable"),
        ("PUT", "/v1/agent/maintenance?enable=", 400, "Invalid value for enable: \"\""),
        ("PUT", "/v1/agent/maintenance?enable=zork", 400, "Invalid value for enable: \"zork\""),
        ("GET", "/v1/agent/monitor?loglevel=zork", 400, "Unknown log level: zork"),
        ("PUT", "/v1/agent/force-leave/nope", 500, "agent: No node found with name 'nope'"),
        (
            "PUT",
            "/v1/agent/join/127.0.0.1:1",
            500,
            "1 error occurred:\n\t* Failed to join 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused\n\n",
        ),
        (
            "PUT",
            "/v1/agent/join/n/127.0.0.1:x",
            500,
            "1 error occurred:\n\t* Failed to resolve n/127.0.0.1:x: strconv.ParseUint: parsing \"x\": invalid syntax\n\n",
        ),
        (
            "PUT",
            "/v1/agent/join/x%20y",
            500,
            "1 error occurred:\n\t* Failed to resolve x y: lookup x y: no such host\n\n",
        ),
        ("PUT", "/v1/agent/token/default", 401, "ACL support disabled"),
        ("GET", "/v1/agent/leave", 405, "method GET not allowed"),
        ("GET", "/v1/acl/tokens", 401, "ACL support disabled"),
        ("PUT", "/v1/acl/bootstrap", 401, "ACL support disabled"),
    ];
    for (method, path, status, text) in table {
        agent().call(method, path).expect(status, text);
    }
}

#[test]
fn members_are_filtered() {
    let bexpr = "Failed to create boolean expression evaluator: ";
    let count = |filter: &str| {
        let members = agent().get(format!("/v1/agent/members?filter={filter}")).status(200).json();
        members.as_array().map(Vec::len)
    };
    let keeping = ["Name matches `.`", "Tags.role == consul", "127 in Addr", "Status == 1", "ProtocolMin == 1"];
    for filter in keeping {
        assert_eq!(count(&filter.replace(' ', "%20")), Some(1), "{filter}");
    }
    for filter in ["Name == nope", "9 in Addr", "Tags is empty", "Tags.zork == a", "DelegateCur == 1"] {
        assert_eq!(count(&filter.replace(' ', "%20")), Some(0), "{filter}");
    }
    assert_eq!(count(""), Some(1));
    let coerce = |value: &str, name: &str, how: &str| {
        format!(
            "{bexpr}Failed to coerce value \"{value}\" for selector \"{name}\": strconv.ParseUint: parsing \
             \"{value}\": {how}"
        )
    };
    let table = [
        ("zork == 1", format!("{bexpr}Selector \"zork\" is not valid")),
        ("Port == 70000", coerce("70000", "Port", "value out of range")),
        ("Port == -1", coerce("-1", "Port", "invalid syntax")),
        ("300 in Addr", coerce("300", "Addr", "value out of range")),
        ("DelegateCur == 300", coerce("300", "DelegateCur", "value out of range")),
        ("Addr == 1", format!("{bexpr}Invalid match operator \"Equal\" for selector \"Addr\"")),
    ];
    for (filter, text) in table {
        agent().get(format!("/v1/agent/members?filter={}", filter.replace(' ', "%20"))).expect(500, &text);
    }
}
