//! `/v1/agent/service`: registration in every spelling, the agent's own view, health by service, maintenance.

use conformance::{Value, agent, cleanup, eventually, json, unique};
use std::time::Duration;

fn register(body: &Value) -> impl Drop + use<> {
    agent().put_json("/v1/agent/service/register", body).expect(200, "");
    let id = body["ID"].as_str().or(body["Name"].as_str()).expect("an id");
    let undo = format!("/v1/agent/service/deregister/{id}");
    cleanup(move || drop(agent().put(&undo, "").send()))
}

/// The agent's checks of a service, by id.
fn checks(service: &str) -> Value {
    agent().get(format!("/v1/agent/checks?filter=ServiceID==%22{service}%22")).json()
}

fn ids(map: &Value) -> Vec<&str> {
    map.as_object().expect("a map").keys().map(String::as_str).collect()
}

#[test]
fn the_least_and_the_most() {
    let name = unique("svc");
    let _undo = register(&json!({"Name": name}));
    let services = agent().get("/v1/agent/services").json();
    assert_eq!(
        services[&name],
        json!({"ID": name, "Service": name, "Tags": [], "Meta": {}, "Port": 0, "Address": "",
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "Datacenter": "dc1"})
    );
    let id = unique("svc-full");
    let _undo = register(&json!({"ID": id, "Name": name, "Tags": ["b", "a"], "Port": 80, "Address": "10.0.0.1",
        "Meta": {"k": "v"}, "TaggedAddresses": {"lan": {"Address": "10.0.0.9", "Port": 9}},
        "Weights": {"Passing": 3, "Warning": 2}, "EnableTagOverride": true}));
    let answer = agent().get(format!("/v1/agent/service/{id}")).status(200);
    let hash = answer.header("X-Consul-Contenthash").to_owned();
    assert!(!hash.is_empty());
    assert_eq!(
        answer.json(),
        json!({"ID": id, "Service": name, "Tags": ["b", "a"], "Meta": {"k": "v"}, "Port": 80,
            "Address": "10.0.0.1", "TaggedAddresses": {"lan": {"Address": "10.0.0.9", "Port": 9},
                "lan_ipv4": {"Address": "10.0.0.1", "Port": 80}, "wan_ipv4": {"Address": "10.0.0.1", "Port": 80}},
            "Weights": {"Passing": 3, "Warning": 2}, "EnableTagOverride": true, "ContentHash": hash,
            "Datacenter": "dc1"})
    );
    assert_eq!(answer.find("X-Consul-Index"), None);
}

#[test]
fn names_of_members_may_be_snake_case_or_any_case() {
    let name = unique("svc-snake");
    let _undo = register(&json!({"name": name, "Name": name, "PORT": 80, "enable_tag_override": true,
        "tagged_addresses": {"lan": {"address": "10.0.0.9", "port": 9}},
        "check": {"ttl": "1h", "checkid": format!("{name}-own"), "status": "passing"}}));
    let service = agent().get(format!("/v1/agent/service/{name}")).json();
    assert_eq!(service["Port"], json!(80));
    assert_eq!(service["EnableTagOverride"], json!(true));
    assert_eq!(service["TaggedAddresses"]["lan"], json!({"Address": "10.0.0.9", "Port": 9}));
    assert_eq!(ids(&checks(&name)), [format!("{name}-own")]);
}

#[test]
fn checks_that_come_with_a_service() {
    let name = unique("svc-checks");
    let _undo = register(&json!({"Name": name, "Tags": ["t"], "Check": {"TTL": "1h"}}));
    let found = checks(&name);
    assert_eq!(
        found,
        json!({format!("service:{name}"): {"Node": agent().node(), "CheckID": format!("service:{name}"),
            "Name": format!("Service '{name}' check"), "Status": "critical", "Notes": "", "Output": "",
            "ServiceID": name, "ServiceName": name, "ServiceTags": ["t"], "Type": "ttl", "Interval": "",
            "Timeout": "", "ExposedPort": 0, "Definition": {}, "CreateIndex": 0, "ModifyIndex": 0}})
    );
    // With more than one they are numbered: the single check first, a name of its own stays.
    let many = unique("svc-many");
    let _undo = register(&json!({"Name": many, "Check": {"TTL": "1h", "Notes": "single"},
        "Checks": [{"TTL": "1h", "Name": "second", "Status": "passing"}, {"CheckID": format!("{many}-own"), "TTL": "1h"}]}));
    let found = checks(&many);
    let (first, second, own) = (format!("service:{many}:1"), format!("service:{many}:2"), format!("{many}-own"));
    let mut expected = [own.as_str(), &first, &second];
    expected.sort_unstable();
    assert_eq!(ids(&found), expected);
    assert_eq!(found[&first]["Notes"], json!("single"));
    assert_eq!((&found[&second]["Name"], &found[&second]["Status"]), (&json!("second"), &json!("passing")));
    // Registered again the old ones stay, unless they are to be replaced.
    let again = json!({"Name": many, "Check": {"TTL": "1h"}});
    agent().put_json("/v1/agent/service/register", &again).expect(200, "");
    assert_eq!(ids(&checks(&many)).len(), 4);
    agent().put_json("/v1/agent/service/register?replace-existing-checks", &again).expect(200, "");
    assert_eq!(ids(&checks(&many)), [format!("service:{many}")]);
}

#[test]
fn a_service_brings_its_sidecar() {
    let name = unique("svc-mesh");
    let undo = register(&json!({"Name": name, "Port": 80, "Tags": ["a"], "Meta": {"k": "v"},
        "Connect": {"SidecarService": {}}}));
    let id = format!("{name}-sidecar-proxy");
    let sidecar = || agent().get(format!("/v1/agent/service/{id}")).json();
    let mut found = sidecar();
    let port = found["Port"].as_u64().expect("a port");
    assert!((21000..=21255).contains(&port), "{port}");
    found["ContentHash"] = json!("");
    assert_eq!(
        found,
        json!({"Kind": "connect-proxy", "ID": id, "Service": id, "Tags": ["a"], "Meta": {"k": "v"}, "Port": port,
            "Address": "", "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "ContentHash": "",
            "Proxy": {"DestinationServiceName": name, "DestinationServiceID": name, "LocalServiceAddress": "127.0.0.1",
                "LocalServicePort": 80, "MeshGateway": {}, "Expose": {}}, "Datacenter": "dc1"})
    );
    let found = checks(&id);
    let (first, second) = (format!("service:{id}:1"), format!("service:{id}:2"));
    assert_eq!(ids(&found), [&first, &second]);
    assert_eq!(found[&first]["Name"], json!("Connect Sidecar Listening"));
    assert_eq!((&found[&first]["Type"], &found[&first]["Interval"]), (&json!("tcp"), &json!("10s")));
    assert_eq!(found[&second]["Name"], json!(format!("Connect Sidecar Aliasing {name}")));
    assert_eq!((&found[&second]["Type"], &found[&second]["Interval"]), (&json!("alias"), &json!("")));
    assert_eq!(agent().get(format!("/v1/agent/service/{name}")).json()["Connect"], json!(null));
    for path in [format!("/v1/catalog/connect/{name}"), format!("/v1/health/connect/{name}")] {
        eventually("the sidecar stands for its service", || {
            (agent().get(&path).json().as_array().map(Vec::len) == Some(1)).then_some(())
        });
    }
    // Registered again it keeps its port; without the sidecar it keeps that too.
    agent()
        .put_json(
            "/v1/agent/service/register",
            &json!({"Name": name, "Port": 81, "Connect": {"sidecar_service": {"Name": "other", "Tags": ["z"]}}}),
        )
        .expect(200, "");
    let found = sidecar();
    assert_eq!((&found["Port"], &found["Service"], &found["Tags"]), (&json!(port), &json!("other"), &json!(["z"])));
    agent().put_json("/v1/agent/service/register", &json!({"Name": name, "Port": 82})).expect(200, "");
    assert_eq!(sidecar()["Proxy"]["LocalServicePort"], json!(81));
    drop(undo);
    agent().get(format!("/v1/agent/service/{id}")).expect(404, &format!("unknown service ID: {id}"));
}

#[test]
fn a_sidecar_may_say_more() {
    let name = unique("svc-mesh-full");
    let _undo = register(&json!({"Name": name, "Port": 80, "Address": "10.1.1.1", "Connect": {"SidecarService": {
        "Port": 20999, "Check": {"TTL": "1h"}, "Proxy": {"Config": {"a": 1},
            "Upstreams": [{"destination_name": "db", "LocalBindPort": 9191}]}}}}));
    let id = format!("{name}-sidecar-proxy");
    let found = agent().get(format!("/v1/agent/service/{id}")).json();
    assert_eq!((&found["Port"], &found["Address"]), (&json!(20999), &json!("10.1.1.1")));
    assert_eq!(found["TaggedAddresses"]["lan_ipv4"], json!({"Address": "10.1.1.1", "Port": 20999}));
    assert_eq!(
        found["Proxy"]["Upstreams"],
        json!([{"DestinationType": "service", "DestinationName": "db", "LocalBindPort": 9191, "MeshGateway": {}}])
    );
    assert_eq!(found["Proxy"]["Config"], json!({"a": 1}));
    assert_eq!(ids(&checks(&id)), [format!("service:{id}")]);
    let refused = [
        (
            json!({"ID": "x"}),
            "Validation failed: 1 error occurred:\n\t* A SidecarService cannot specify an ID as this is \
            managed by the agent\n\n",
        ),
        (
            json!({"Connect": {"SidecarService": {}}}),
            "Validation failed: 1 error occurred:\n\t* A SidecarService cannot have a nested SidecarService\n\n",
        ),
        (json!({"Check": {"Interval": "10s"}}), "Invalid check in sidecar_service: TTL must be > 0 for TTL checks"),
        (json!({"Check": {"TTL": "1h", "Status": "x"}}), "Status for checks must 'passing', 'warning', 'critical'"),
        (
            json!({"Meta": {"consul-x": "y"}}),
            "Invalid SidecarService: Couldn't load metadata pair ('consul-x', 'y'): Key \
            prefix 'consul-' is reserved for internal use",
        ),
        (json!({"Zork": 1}), "Request decode failed: json: unknown field \"Zork\""),
        (
            json!({"Proxy": {"Upstreams": [{"DestinationName": "db"}]}}),
            "Failed Validation: 1 error occurred:\n\t* \
            upstream local bind port or local socket path must be defined and nonzero\n\n",
        ),
    ];
    for (sidecar, text) in refused {
        let body = json!({"Name": unique("svc-refused"), "Connect": {"SidecarService": sidecar}});
        agent().put_json("/v1/agent/service/register", &body).expect(400, text);
    }
}

#[test]
fn it_reaches_the_catalog_and_leaves_it() {
    let name = unique("svc-sync");
    let undo = register(&json!({"Name": name, "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}));
    let path = format!("/v1/health/service/{name}?passing");
    let rows = eventually("the service is in the catalog", || {
        let rows = agent().get(&path).json();
        (rows != json!([])).then_some(rows)
    });
    assert_eq!(rows[0]["Service"]["Port"], json!(80));
    assert_eq!(rows[0]["Node"]["Node"], json!(agent().node()));
    drop(undo);
    let path = format!("/v1/catalog/service/{name}");
    eventually("the service is gone", || (agent().get(&path).json() == json!([])).then_some(()));
    agent().get(format!("/v1/agent/service/{name}")).expect(404, &format!("unknown service ID: {name}"));
    assert_eq!(checks(&name), json!({}));
}

#[test]
fn health_is_the_worst_check() {
    let name = unique("svc-health");
    let _undo = register(&json!({"Name": name, "Check": {"TTL": "1h"}}));
    let table = [("pass", 200, "passing"), ("warn", 429, "warning"), ("fail", 503, "critical")];
    for (verb, status, word) in table {
        agent().put(format!("/v1/agent/check/{verb}/service:{name}?note=n"), "").expect(200, "");
        for by in ["id", "name"] {
            let path = format!("/v1/agent/health/service/{by}/{name}");
            let text = agent().get(format!("{path}?format=text")).expect(status, word);
            assert_eq!(text.header("Content-Type"), "text/plain");
            assert_eq!(text.header("X-Consul-Reason"), word);
            agent().get(&path).header("Accept", "text/plain").expect(status, word);
            let full = agent().get(&path).status(status);
            assert_eq!(full.header("X-Consul-Reason"), word);
            let body = full.json();
            let row = if by == "name" { &body[0] } else { &body };
            assert_eq!(row["AggregatedStatus"], json!(word));
            assert_eq!(row["Service"]["ID"], json!(name));
            assert_eq!(row["Checks"][0]["Output"], json!("n"));
        }
    }
    let unknown = agent().get("/v1/agent/health/service/id/nope").status(404);
    assert_eq!(unknown.json(), json!({"AggregatedStatus": "critical", "Service": null, "Checks": null}));
    assert_eq!(unknown.header("X-Consul-Reason"), "ServiceId nope not found");
    let unknown = agent().get("/v1/agent/health/service/name/nope").expect(404, "[]");
    assert_eq!(unknown.header("X-Consul-Reason"), "ServiceName nope Not Found");
    agent().get("/v1/agent/health/service/name/nope?format=text").expect(404, "ServiceName nope Not Found");
}

#[test]
fn maintenance_is_a_critical_check() {
    let name = unique("svc-maint");
    let _undo = register(&json!({"Name": name}));
    let path = format!("/v1/agent/service/maintenance/{name}");
    let id = format!("_service_maintenance:{name}");
    agent().put(format!("{path}?enable=true&reason=why"), "").expect(200, "");
    assert_eq!(
        checks(&name)[&id],
        json!({"Node": agent().node(), "CheckID": id, "Name": "Service Maintenance Mode", "Status": "critical",
            "Notes": "why", "Output": "", "ServiceID": name, "ServiceName": name, "ServiceTags": [],
            "Type": "maintenance", "Interval": "", "Timeout": "", "ExposedPort": 0, "Definition": {},
            "CreateIndex": 0, "ModifyIndex": 0})
    );
    agent().get(format!("/v1/agent/health/service/id/{name}?format=text")).expect(503, "maintenance");
    agent().put(format!("{path}?enable=false"), "").expect(200, "");
    assert_eq!(checks(&name), json!({}));
    agent().put(format!("{path}?enable=true"), "").expect(200, "");
    assert_eq!(
        checks(&name)[&id]["Notes"],
        json!("Maintenance mode is enabled for this service, but no reason was provided. This is a default message.")
    );
}

#[test]
fn waiting_on_the_hash() {
    let name = unique("svc-hash");
    let _undo = register(&json!({"Name": name, "Port": 1}));
    let path = format!("/v1/agent/service/{name}");
    let hash = agent().get(&path).send().header("X-Consul-Contenthash").to_owned();
    let same = agent().get(format!("{path}?hash={hash}&wait=300ms")).status(200);
    assert!(same.took >= Duration::from_millis(300), "{:?}", same.took);
    assert_eq!(same.header("X-Consul-Contenthash"), hash);
    let wait = agent().get(format!("{path}?hash={hash}&wait=10s"));
    let waiter = std::thread::spawn(move || wait.send());
    std::thread::sleep(Duration::from_millis(200));
    agent().put_json("/v1/agent/service/register", &json!({"Name": name, "Port": 2})).expect(200, "");
    let changed = waiter.join().expect("the waiter ends").status(200);
    assert_eq!(changed.json()["Port"], json!(2));
    assert_ne!(changed.header("X-Consul-Contenthash"), hash);
    assert!(changed.took < Duration::from_secs(5));
}

#[test]
fn refusals() {
    let unknown =
        |id: &str| format!("Unknown service ID \"{id}\". Ensure that the service ID is passed, not the service name.");
    let interval = "Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks";
    let register: &[(&str, u16, &str)] = &[
        ("", 400, "Request decode failed: EOF"),
        ("{}", 400, "Missing service name"),
        (r#"{"Name":""}"#, 400, "Missing service name"),
        (r#"{"Name":"q","Zork":1}"#, 400, "Request decode failed: json: unknown field \"Zork\""),
        (r#"{"Name":"q","Namespace":"a"}"#, 400, "Request decode failed: json: unknown field \"Namespace\""),
        (
            r#"{"Name":"q","Port":"80"}"#,
            400,
            "Request decode failed: json: cannot unmarshal string into Go struct field .Alias.Port of type int",
        ),
        (r#"{"Name":"q","check":{"check_id":"x"}}"#, 400, "Request decode failed: json: unknown field \"check_id\""),
        (r#"{"Name":"q","Address":"0.0.0.0"}"#, 400, "Invalid service address"),
        (r#"{"Name":"q","Address":"::"}"#, 400, "Invalid service address"),
        (r#"{"Name":"q","Weights":{"Passing":-1}}"#, 400, "Invalid Weights: Passing must be greater than 0"),
        (
            r#"{"Name":"q","Weights":{"Passing":70000,"Warning":1}}"#,
            400,
            "Invalid Weights: DNS Weight must be between 0 and 65535",
        ),
        (
            r#"{"Name":"q","Meta":{"":"v"}}"#,
            400,
            "Invalid Service Meta: Couldn't load metadata pair ('', 'v'): Key cannot be blank",
        ),
        (
            r#"{"Name":"q","Check":{"TTL":"10s","Status":"zork"}}"#,
            400,
            "Status for checks must 'passing', 'warning', 'critical'",
        ),
        (r#"{"Name":"q","Checks":[{}]}"#, 400, "Invalid check: TTL must be > 0 for TTL checks"),
        (
            r#"{"Name":"q","Locality":{"Zone":"x"}}"#,
            400,
            "Validation failed: 1 error occurred:\n\t* zone cannot be set without region\n\n",
        ),
        (
            r#"{"Name":"q","Kind":"connect-proxy"}"#,
            400,
            "Validation failed: 2 errors occurred:\n\t* Port or SocketPath must be set for a connect-proxy\n\t* \
             Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\n",
        ),
        (r#"{"Name":"q","Check":{"Interval":"10s"}}"#, 400, "Invalid check: TTL must be > 0 for TTL checks"),
        (r#"{"Name":"q","Check":{"HTTP":"http://x"}}"#, 400, interval),
        (
            r#"{"Name":"q","Check":{"Args":["true"],"Interval":"10s"}}"#,
            500,
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        ),
    ];
    for (body, status, text) in register {
        agent().put("/v1/agent/service/register", body).expect(*status, text);
    }
    agent().put("/v1/agent/service/deregister/nope", "").expect(404, &unknown("nope"));
    agent().put("/v1/agent/service/deregister/", "").expect(404, &unknown(""));
    agent().put("/v1/agent/service/maintenance/nope?enable=true", "").expect(404, &unknown("nope"));
    agent().put("/v1/agent/service/maintenance/x", "").expect(400, "Missing value for enable");
    agent().put("/v1/agent/service/maintenance/x?enable=zork", "").expect(400, "Invalid value for enable: \"zork\"");
    agent().put("/v1/agent/service/maintenance/?enable=true", "").expect(400, "Missing service ID");
    agent().get("/v1/agent/service/nope").expect(404, "unknown service ID: nope");
    agent().get("/v1/agent/service/").expect(404, "unknown service ID: ");
    agent().get("/v1/agent/health/service/id/").expect(500, "Missing serviceID");
    agent().get("/v1/agent/health/service/name/").expect(500, "Missing service Name");
    agent()
        .get("/v1/agent/services?filter=zork==1")
        .expect(500, "Failed to create boolean expression evaluator: Selector \"zork\" is not valid");
}
