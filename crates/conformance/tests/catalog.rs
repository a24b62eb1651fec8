//! `/v1/catalog`: registration by hand, the rows that come back, filters, sorting and deregistration.

use conformance::{Value, agent, cleanup, json, unique};

/// Registers a body under a fresh node name; the node goes away with the guard.
fn node(name: &str) -> impl Drop + use<> {
    let undo = json!({"Node": name}).to_string();
    cleanup(move || drop(agent().put("/v1/catalog/deregister", &undo).send()))
}

fn register(body: &Value) {
    agent().put_json("/v1/catalog/register", body).expect(200, "true");
}

fn names(list: &Value, member: &str) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|row| row[member].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn a_service_row_joins_node_and_service() {
    let (name, service) = (unique("node"), unique("web"));
    let _undo = node(&name);
    register(&json!({"Node": name, "Address": "10.1.1.1", "NodeMeta": {"k": "v"},
        "TaggedAddresses": {"wan": "1.2.3.4"},
        "Service": {"Service": service, "Tags": ["b", "A"], "Port": 80, "Meta": {"x": "y"}}}));
    let answer = agent().get(format!("/v1/catalog/service/{service}")).status(200);
    let rows = answer.json();
    let index = rows[0]["CreateIndex"].clone();
    assert_eq!(
        rows,
        json!([{"ID": "", "Node": name, "Address": "10.1.1.1", "Datacenter": "dc1",
            "TaggedAddresses": {"wan": "1.2.3.4"}, "NodeMeta": {"k": "v"}, "ServiceKind": "",
            "ServiceID": service, "ServiceName": service, "ServiceTags": ["b", "A"], "ServiceAddress": "",
            "ServiceWeights": {"Passing": 1, "Warning": 1}, "ServiceMeta": {"x": "y"}, "ServicePort": 80,
            "ServiceSocketPath": "", "ServiceEnableTagOverride": false,
            "ServiceProxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "ServiceConnect": {},
            "ServiceLocality": null, "CreateIndex": index, "ModifyIndex": index}])
    );
    assert_eq!(answer.index().to_string(), index.to_string());
}

#[test]
fn absent_parts_are_null_empty_or_left_out() {
    let (name, service) = (unique("node"), unique("bare"));
    let _undo = node(&name);
    register(&json!({"Node": name, "Address": "10.1.1.1", "Service": {"Service": service}}));
    let row = agent().get(format!("/v1/catalog/service/{service}")).json()[0].clone();
    assert_eq!(row["TaggedAddresses"], json!(null));
    assert_eq!(row["NodeMeta"], json!(null));
    assert_eq!(row["ServiceTags"], json!([]));
    assert_eq!(row["ServiceMeta"], json!({}));
    assert_eq!(row["ServicePort"], json!(0));
    let whole = agent().get(format!("/v1/catalog/node/{name}")).json();
    let index = whole["Node"]["CreateIndex"].clone();
    assert_eq!(
        whole,
        json!({"Node": {"ID": "", "Node": name, "Address": "10.1.1.1", "Datacenter": "dc1",
                "TaggedAddresses": null, "Meta": null, "CreateIndex": index, "ModifyIndex": index},
            "Services": {service.clone(): {"ID": service, "Service": service, "Tags": [], "Address": "",
                "Meta": null, "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false,
                "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "Connect": {}, "PeerName": "",
                "CreateIndex": index, "ModifyIndex": index}}})
    );
    let listed = agent().get(format!("/v1/catalog/node-services/{name}")).json();
    assert_eq!(listed["Node"], whole["Node"]);
    assert_eq!(listed["Services"], json!([whole["Services"][&service]]));
}

#[test]
fn one_request_brings_node_service_and_checks() {
    let (name, service) = (unique("node"), unique("checked"));
    let _undo = node(&name);
    register(&json!({"Node": name, "Address": "10.1.1.1", "Service": {"Service": service},
        "Check": {"Node": name, "CheckID": "c1", "Name": "C1", "Status": "passing", "ServiceID": service}}));
    register(&json!({"Node": name, "Address": "10.1.1.1",
        "Checks": [{"CheckID": "c2", "Name": "C2", "Status": "warning"}, {"CheckID": "c3", "Name": "C3"}]}));
    let checks = agent().get(format!("/v1/health/node/{name}")).json();
    assert_eq!(names(&checks, "CheckID"), ["c1", "c2", "c3"]);
    assert_eq!(names(&checks, "Status"), ["passing", "warning", "critical"]);
    assert_eq!(checks[0]["ServiceName"], json!(service));
}

#[test]
fn tags_are_matched_without_case_and_all_of_them() {
    let (name, service) = (unique("node"), unique("tagged"));
    let _undo = node(&name);
    for (id, tags) in [("1", json!(["a", "B"])), ("2", json!(["a"])), ("3", json!([]))] {
        let id = format!("{service}{id}");
        register(
            &json!({"Node": name, "Address": "10.1.1.1", "Service": {"ID": id, "Service": service, "Tags": tags}}),
        );
    }
    let table = [("", 3), ("?tag=a", 2), ("?tag=A", 2), ("?tag=b", 1), ("?tag=a&tag=B", 1), ("?tag=a&tag=z", 0)];
    for (query, count) in table {
        let rows = agent().get(format!("/v1/catalog/service/{service}{query}")).json();
        assert_eq!(rows.as_array().map(Vec::len), Some(count), "{query}");
    }
    let tags = agent().get("/v1/catalog/services").json()[&service].clone();
    let mut tags: Vec<String> = tags.as_array().expect("a list").iter().map(|tag| tag.to_string()).collect();
    tags.sort();
    assert_eq!(tags, ["\"B\"", "\"a\""]);
}

#[test]
fn node_meta_and_filters_choose() {
    let (name, service) = (unique("node"), unique("meta"));
    let _undo = node(&name);
    register(&json!({"Node": name, "Address": "10.1.1.1", "NodeMeta": {"rack": name, "k": "v"},
        "Service": {"Service": service, "Port": 81}}));
    let found = |path: String| agent().get(path).json();
    assert_eq!(names(&found(format!("/v1/catalog/nodes?node-meta=rack:{name}")), "Node"), std::slice::from_ref(&name));
    assert_eq!(
        names(&found(format!("/v1/catalog/nodes?node-meta=rack:{name}&node-meta=k:v")), "Node"),
        std::slice::from_ref(&name)
    );
    assert_eq!(found(format!("/v1/catalog/nodes?node-meta=rack:{name}&node-meta=k:z")), json!([]));
    assert_eq!(found(format!("/v1/catalog/services?node-meta=rack:{name}")), json!({service.clone(): []}));
    assert_eq!(
        found(format!("/v1/catalog/services?filter=ServiceName==%22{service}%22")),
        json!({service.clone(): []})
    );
    assert_eq!(
        names(&found(format!("/v1/catalog/nodes?filter=Meta.rack==%22{name}%22")), "Node"),
        std::slice::from_ref(&name)
    );
    assert_eq!(found(format!("/v1/catalog/service/{service}?filter=ServicePort==80")), json!([]));
    assert_eq!(
        found(format!("/v1/catalog/service/{service}?filter=ServicePort==81")).as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(found(format!("/v1/catalog/node/{name}?filter=Port==80"))["Services"], json!({}));
}

#[test]
fn near_sorts_by_round_trip_and_puts_the_unplaced_last() {
    let name = unique("near");
    let nodes = ["far", "close", "here", "nowhere"].map(|place| format!("{name}-{place}"));
    let _undo = nodes.clone().map(|name| node(&name));
    for (name, seconds) in nodes.iter().zip([0.9, 0.2, 0.1, -1.0]) {
        register(&json!({"Node": name, "Address": "10.1.1.1", "NodeMeta": {"group": nodes[0]},
            "Service": {"Service": nodes[0]}}));
        if seconds > 0.0 {
            agent().place(name, seconds);
        }
    }
    let [far, close, here, nowhere] = &nodes;
    for path in [format!("nodes?node-meta=group:{far}&"), format!("service/{far}?")] {
        let sorted = |near: &str| names(&agent().get(format!("/v1/catalog/{path}near={near}")).json(), "Node");
        assert_eq!(sorted(here), [here, close, far, nowhere].map(String::clone), "{path}");
        assert_eq!(sorted(far), [far, close, here, nowhere].map(String::clone), "{path}");
        // From a place that is not known nothing can be sorted.
        assert_eq!(sorted(nowhere), [close, far, here, nowhere].map(String::clone), "{path}");
        assert_eq!(sorted("no-such-node"), [close, far, here, nowhere].map(String::clone), "{path}");
    }
    let all = names(&agent().get("/v1/catalog/nodes").json(), "Node");
    assert!(all.is_sorted_by_key(|name| name.to_lowercase()), "{all:?}");
}

#[test]
fn definitions_of_checks_are_carried() {
    let node = unique("defined");
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let body = json!({"Node": node, "Address": "10.0.0.1", "Check": {"Name": "c", "Definition": {"HTTP": "http://x",
        "Interval": "10s", "Timeout": "1s", "DeregisterCriticalServiceAfter": "1m", "Header": {"a": ["b"]}, "Zork": 1}}});
    agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    let answer = agent().get(format!("/v1/health/node/{node}")).status(200);
    assert_eq!((&answer.json()[0]["Type"], &answer.json()[0]["CheckID"]), (&json!("http"), &json!("c")));
    // The spans come before the rest.
    let text: String = answer.text().split_whitespace().collect();
    let definition = "\"Definition\":{\"Interval\":\"10s\",\"Timeout\":\"1s\",\"DeregisterCriticalServiceAfter\":\"1m0s\",\
                      \"HTTP\":\"http://x\",\"Header\":{\"a\":[\"b\"]}}";
    assert!(text.contains(definition), "{text}");
    let check = |check: Value| json!({"Node": node, "Address": "10.0.0.1", "Check": check});
    let table = [
        (
            json!({"Node": "other", "Name": "d"}),
            500,
            format!("Node 'other' for check 'd' doesn't match register request node '{node}'"),
        ),
        (json!({"ServiceID": "nope", "Name": "d"}), 500, "Unknown service ID 'nope' for check ID 'd'".to_owned()),
        (
            json!({"Definition": {"HTTP": 5}}),
            400,
            "Request decode failed: json: cannot unmarshal number into Go struct \
            field HealthCheck.Check.Definition.Alias.HTTP of type string"
                .to_owned(),
        ),
    ];
    for (wrong, status, text) in table {
        agent().put_json("/v1/catalog/register", &check(wrong)).expect(status, &text);
    }
    // An address says nothing here, and is taken.
    agent().put_json("/v1/catalog/deregister", &json!({"Node": node, "Address": "x"})).expect(200, "true");
    agent().get(format!("/v1/health/node/{node}")).expect(200, "[]");
}

#[test]
fn what_is_unknown_is_empty_in_its_own_way() {
    agent().get("/v1/catalog/service/no-such").expect(200, "[]");
    agent().get("/v1/catalog/connect/no-such").expect(200, "[]");
    agent().get("/v1/catalog/gateway-services/no-such").expect(200, "[]");
    agent().get("/v1/catalog/node/no-such").expect(200, "null");
    assert_eq!(agent().get("/v1/catalog/node-services/no-such").json(), json!({"Node": null, "Services": null}));
    assert_eq!(agent().get("/v1/catalog/services?node-meta=no:such").json(), json!({}));
    assert_eq!(agent().get("/v1/catalog/datacenters").json(), json!(["dc1"]));
}

#[test]
fn deregistration_takes_the_part_that_is_named() {
    let (name, service) = (unique("node"), unique("gone"));
    let _undo = node(&name);
    register(&json!({"Node": name, "Address": "10.1.1.1", "Service": {"ID": service, "Service": service}}));
    register(&json!({"Node": name, "Address": "10.1.1.1", "Checks": [
        {"CheckID": "n", "Name": "n"}, {"CheckID": "s", "Name": "s", "ServiceID": service}]}));
    let deregister = |mut body: Value| {
        body["Node"] = json!(name);
        agent().put_json("/v1/catalog/deregister", &body).expect(200, "true");
    };
    let checks = || names(&agent().get(format!("/v1/health/node/{name}")).json(), "CheckID");
    assert_eq!(checks(), ["n", "s"]);
    deregister(json!({"CheckID": "n"}));
    assert_eq!(checks(), ["s"]);
    deregister(json!({"ServiceID": "no-such"}));
    deregister(json!({"CheckID": "no-such"}));
    deregister(json!({"ServiceID": service}));
    assert!(checks().is_empty(), "the checks of a service go with it");
    assert_eq!(agent().get(format!("/v1/catalog/node/{name}")).json()["Services"], json!({}));
    deregister(json!({}));
    agent().get(format!("/v1/catalog/node/{name}")).expect(200, "null");
    deregister(json!({}));
}

#[test]
fn the_agents_own_node_is_there() {
    let whole = agent().get(format!("/v1/catalog/node/{}", agent().node())).json();
    assert_eq!(whole["Services"]["consul"]["Service"], json!("consul"));
    assert_eq!(whole["Node"]["Address"], json!("127.0.0.1"));
    assert_eq!(
        whole["Node"]["TaggedAddresses"],
        json!({"lan": "127.0.0.1", "lan_ipv4": "127.0.0.1", "wan": "127.0.0.1", "wan_ipv4": "127.0.0.1"})
    );
    let id = whole["Node"]["ID"].as_str().expect("an id");
    let by_id = agent().get(format!("/v1/catalog/node/{}", &id[..8])).json();
    assert_eq!(by_id["Node"]["ID"], json!(id), "a prefix of the id finds the node");
    assert_eq!(agent().get("/v1/catalog/services").json()["consul"], json!([]));
}

#[test]
fn refusals() {
    let (register, deregister) = ("/v1/catalog/register", "/v1/catalog/deregister");
    let feature = "Namespaces are a Consul Enterprise feature";
    let name = unique("refused");
    let _undo = node(&name);
    let with = |rest: &str| format!("{{\"Node\":\"{name}\",\"Address\":\"10.1.1.1\",{rest}}}");
    let table: &[(&str, String, u16, String)] = &[
        (register, String::new(), 400, "Request decode failed: EOF".into()),
        (register, "{".into(), 400, "Request decode failed: unexpected EOF".into()),
        (register, "{}".into(), 500, "Must provide node".into()),
        (register, r#"{"Node":"x"}"#.into(), 500, "Must provide address if SkipNodeUpdate is not set".into()),
        (register, r#"{"Address":"1.1.1.1"}"#.into(), 500, "Must provide node".into()),
        (register, with(r#""Zork":1"#), 400, "Request decode failed: json: unknown field \"Zork\"".into()),
        (
            register,
            with(r#""Namespace":"a""#),
            400,
            format!("Request decode failed: json: unknown field \"Namespace\" - {feature}"),
        ),
        (register, with(r#""ID":"xx""#), 500, "Bad node ID: uuid string is wrong length".into()),
        (
            register,
            with(r#""Check":{"CheckID":"c","ServiceID":"nope"}"#),
            500,
            "Unknown service ID 'nope' for check ID 'c'".into(),
        ),
        (
            register,
            with(r#""Check":{"Node":"other","CheckID":"c"}"#),
            500,
            format!("Node 'other' for check 'c' doesn't match register request node '{name}'"),
        ),
        (
            register,
            with(r#""Service":{"ID":"x"}"#),
            500,
            "Must provide service name (Service.Service) when service ID is provided".into(),
        ),
        (register, with(r#""Service":{"Service":"x","Address":"0.0.0.0"}"#), 500, "Invalid service address".into()),
        (register, with(r#""Datacenter":"nope""#), 500, "No path to datacenter".into()),
        (deregister, String::new(), 400, "Request decode failed: EOF".into()),
        (deregister, "{}".into(), 500, "Must provide node".into()),
    ];
    for (path, body, status, text) in table {
        agent().put(path, body).expect(*status, text);
    }
    agent().get("/v1/catalog/service/").expect(400, "Missing service name");
    agent().get("/v1/catalog/node/").expect(400, "Missing node name");
    agent().get("/v1/catalog/node-services/").expect(400, "Missing node name");
}
