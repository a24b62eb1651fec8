//! `/v1/health`: checks by node, service and state; instances with their checks, passing or not.

use conformance::{Value, agent, cleanup, json, unique};

/// A node with two instances of a service: `<service>-ok` passing, `<service>-bad` critical, and a node check.
struct Fixture<D> {
    node: String,
    service: String,
    _undo: D,
}

fn fixture() -> Fixture<impl Drop> {
    let (node, service) = (unique("node"), unique("health"));
    let undo = json!({"Node": node}).to_string();
    let undo = cleanup(move || drop(agent().put("/v1/catalog/deregister", &undo).send()));
    for (id, port, tags, status) in [("bad", 81, json!([]), "critical"), ("ok", 80, json!(["v1", "x"]), "passing")] {
        let id = format!("{service}-{id}");
        let body = json!({"Node": node, "Address": "10.1.1.1", "NodeMeta": {"rack": node},
            "Service": {"ID": id, "Service": service, "Port": port, "Tags": tags},
            "Checks": [{"CheckID": format!("c-{id}"), "Name": "c", "Status": status, "ServiceID": id,
                "Output": "out", "Notes": "note"}]});
        agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    }
    let body = json!({"Node": node, "Address": "10.1.1.1", "NodeMeta": {"rack": node},
        "Check": {"CheckID": "alive", "Name": "alive", "Status": "passing"}});
    agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    Fixture { node, service, _undo: undo }
}

fn names(list: &Value, pointer: &str) -> Vec<String> {
    let rows = list.as_array().expect("a list").iter();
    rows.map(|row| row.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned()).collect()
}

#[test]
fn a_check_row() {
    let fixture = fixture();
    let (node, service) = (&fixture.node, &fixture.service);
    let checks = agent().get(format!("/v1/health/checks/{service}?filter=Status==passing")).json();
    let index = checks[0]["CreateIndex"].clone();
    assert_eq!(
        checks,
        json!([{"Node": node, "CheckID": format!("c-{service}-ok"), "Name": "c", "Status": "passing",
            "Notes": "note", "Output": "out", "ServiceID": format!("{service}-ok"), "ServiceName": service,
            "ServiceTags": ["v1", "x"], "Type": "", "Interval": "", "Timeout": "", "ExposedPort": 0,
            "Definition": {}, "CreateIndex": index, "ModifyIndex": index}])
    );
}

#[test]
fn an_instance_row() {
    let fixture = fixture();
    let (node, service) = (&fixture.node, &fixture.service);
    let answer = agent().get(format!("/v1/health/service/{service}?tag=v1")).status(200);
    let rows = answer.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    let row = &rows[0];
    assert_eq!(row.as_object().map(|row| row.len()), Some(3));
    assert_eq!(row["Node"]["Node"], json!(node));
    assert_eq!(row["Node"]["Meta"], json!({"rack": node}));
    let index = row["Service"]["CreateIndex"].clone();
    assert_eq!(
        row["Service"],
        json!({"ID": format!("{service}-ok"), "Service": service, "Tags": ["v1", "x"], "Address": "", "Meta": null,
            "Port": 80, "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false,
            "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "Connect": {}, "PeerName": "",
            "CreateIndex": index, "ModifyIndex": index})
    );
    // Checks of the node come before those of the service.
    assert_eq!(names(&row["Checks"], "/CheckID"), ["alive".to_owned(), format!("c-{service}-ok")]);
    assert_eq!(answer.header("X-Consul-Effective-Consistency"), "leader");
}

#[test]
fn passing_needs_every_check() {
    let fixture = fixture();
    let (node, service) = (&fixture.node, &fixture.service);
    let ids = |query: &str| names(&agent().get(format!("/v1/health/service/{service}{query}")).json(), "/Service/ID");
    let (bad, ok) = (format!("{service}-bad"), format!("{service}-ok"));
    assert_eq!(ids(""), [bad.clone(), ok.clone()]);
    for query in ["?passing", "?passing=true", "?passing=1", "?passing="] {
        assert_eq!(ids(query), std::slice::from_ref(&ok), "{query}");
    }
    for query in ["?passing=false", "?passing=0"] {
        assert_eq!(ids(query), [bad.clone(), ok.clone()], "{query}");
    }
    assert_eq!(ids("?passing&tag=V1"), std::slice::from_ref(&ok));
    assert_eq!(ids("?filter=Checks.Status==critical"), [bad]);
    assert_eq!(ids("?filter=Service.Port==80"), [ok]);
    assert_eq!(ids(&format!("?node-meta=rack:{node}")).len(), 2);
    assert_eq!(ids("?node-meta=rack:none").len(), 0);
    let body = json!({"Node": node, "SkipNodeUpdate": true,
        "Check": {"CheckID": "alive", "Name": "alive", "Status": "critical"}});
    agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    assert_eq!(ids("?passing").len(), 0, "a failing node takes its instances with it");
}

#[test]
fn by_node_and_by_state() {
    let fixture = fixture();
    let (node, service) = (&fixture.node, &fixture.service);
    let (bad, ok) = (format!("c-{service}-bad"), format!("c-{service}-ok"));
    let checks = |path: String| names(&agent().get(path).json(), "/CheckID");
    assert_eq!(checks(format!("/v1/health/node/{node}")), ["alive".to_owned(), bad.clone(), ok.clone()]);
    assert_eq!(checks(format!("/v1/health/node/{node}?filter=Status==critical")), std::slice::from_ref(&bad));
    let meta = format!("node-meta=rack:{node}");
    assert_eq!(checks(format!("/v1/health/state/critical?{meta}")), [bad]);
    assert_eq!(checks(format!("/v1/health/state/passing?{meta}")).len(), 2);
    assert_eq!(checks(format!("/v1/health/state/any?{meta}")).len(), 3);
    assert_eq!(checks(format!("/v1/health/state/warning?{meta}")).len(), 0);
    assert_eq!(checks(format!("/v1/health/checks/{service}?{meta}")).len(), 2);
}

#[test]
fn what_is_unknown_is_an_empty_list() {
    for path in ["node/nope", "checks/nope", "service/nope", "connect/nope", "ingress/nope", "state/nope"] {
        let answer = agent().get(format!("/v1/health/{path}")).expect(200, "[]");
        assert!(answer.index() > 0);
    }
}

#[test]
fn the_agents_node_is_alive() {
    let checks = agent().get(format!("/v1/health/node/{}?filter=CheckID==serfHealth", agent().node())).json();
    let check = &checks[0];
    assert_eq!(check["Name"], json!("Serf Health Status"));
    assert_eq!(check["Status"], json!("passing"));
    assert_eq!(check["Output"], json!("Agent alive and reachable"));
    assert_eq!(agent().get("/v1/health/service/consul?passing").json().as_array().map(Vec::len), Some(1));
}

#[test]
fn near_the_agent_comes_first() {
    let fixture = fixture();
    let body = json!({"Name": fixture.service, "ID": format!("{}-zz", fixture.service), "Port": 1});
    agent().put_json("/v1/agent/service/register", &body).expect(200, "");
    let undo = format!("/v1/agent/service/deregister/{}-zz", fixture.service);
    let _undo = cleanup(|| drop(agent().put(&undo, "").send()));
    agent().place(agent().node(), 0.0);
    let path = format!("/v1/health/service/{}?near=_agent", fixture.service);
    conformance::eventually("the agent's own instance comes first", || {
        let rows = agent().get(&path).json();
        (rows.as_array().map(Vec::len) == Some(3)).then(|| {
            assert_eq!(rows[0]["Node"]["Node"], json!(agent().node()));
        })
    });
}

#[test]
fn refusals() {
    let table = [
        ("node/", 400, "Missing node name"),
        ("checks/", 400, "Missing service name"),
        ("service/", 400, "Missing service name"),
        ("state/", 400, "Missing check state"),
        ("service/x?passing=zork", 400, "Invalid value for ?passing"),
        ("service/x?dc=nope", 500, "No path to datacenter"),
        (
            "service/x?filter=zork==1",
            500,
            "Failed to create boolean expression evaluator: Selector \"zork\" is not valid",
        ),
        (
            "state/any?filter=zork==1",
            500,
            "Failed to create boolean expression evaluator: Selector \"zork\" is not valid",
        ),
    ];
    for (rest, status, text) in table {
        agent().get(format!("/v1/health/{rest}")).expect(status, text);
    }
}
