//! `/v1/agent/check`: registration, the TTL verbs, what the agent and the catalog then say.

use conformance::{Value, agent, cleanup, eventually, json, unique};

fn register(body: &Value) -> impl Drop + use<> {
    agent().put_json("/v1/agent/check/register", body).expect(200, "");
    let id = body["ID"].as_str().or(body["Name"].as_str()).expect("an id");
    let undo = format!("/v1/agent/check/deregister/{id}");
    cleanup(move || drop(agent().put(&undo, "").send()))
}

fn check(id: &str) -> Value {
    agent().get("/v1/agent/checks").json()[id].clone()
}

#[test]
fn a_ttl_check_starts_critical() {
    let id = unique("ttl");
    let _undo = register(&json!({"ID": id, "Name": "named", "TTL": "1h", "Notes": "n",
        "DeregisterCriticalServiceAfter": "10m"}));
    assert_eq!(
        check(&id),
        json!({"Node": agent().node(), "CheckID": id, "Name": "named", "Status": "critical", "Notes": "n",
            "Output": "", "ServiceID": "", "ServiceName": "", "ServiceTags": [], "Type": "ttl", "Interval": "0s",
            "Timeout": "0s", "ExposedPort": 0, "Definition": {}, "CreateIndex": 0, "ModifyIndex": 0})
    );
}

#[test]
fn the_verbs_set_status_and_note() {
    let id = unique("ttl");
    let _undo = register(&json!({"Name": id, "TTL": "1h", "Status": "passing"}));
    let state = || {
        let check = check(&id);
        (check["Status"].as_str().expect("a text").to_owned(), check["Output"].as_str().expect("a text").to_owned())
    };
    let is = |status: &str, output: &str| assert_eq!(state(), (status.to_owned(), output.to_owned()));
    is("passing", "");
    for (verb, status) in [("warn", "warning"), ("fail", "critical"), ("pass", "passing")] {
        agent().put(format!("/v1/agent/check/{verb}/{id}?note=a%20{verb}"), "").expect(200, "");
        is(status, &format!("a {verb}"));
    }
    agent().put(format!("/v1/agent/check/pass/{id}"), "").expect(200, "");
    is("passing", "");
    let update = |body: &Value| agent().put_json(format!("/v1/agent/check/update/{id}"), body).expect(200, "");
    update(&json!({"Status": "warning", "Output": "upd"}));
    is("warning", "upd");
    update(&json!({"Status": "critical"}));
    is("critical", "");
    update(&json!({"status": "passing", "output": "low"}));
    is("passing", "low");
}

#[test]
fn a_late_ttl_is_critical() {
    let id = unique("late");
    let _undo = register(&json!({"Name": id, "TTL": "300ms"}));
    agent().put(format!("/v1/agent/check/pass/{id}?note=fresh"), "").expect(200, "");
    let late = eventually("the TTL runs out", || {
        let check = check(&id);
        (check["Status"] == json!("critical")).then_some(check)
    });
    assert_eq!(late["Output"], json!("TTL expired (last output before timeout follows): fresh"));
}

#[test]
fn the_catalog_follows() {
    let id = unique("sync");
    let undo = register(&json!({"Name": id, "TTL": "1h", "Status": "passing"}));
    let path = format!("/v1/health/node/{}?filter=CheckID==%22{id}%22", agent().node());
    let row = |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(what, || {
            let rows = agent().get(&path).json();
            is(&rows).then_some(rows)
        })
    };
    row("it is there", &|rows| rows[0]["Status"] == json!("passing"));
    agent().put(format!("/v1/agent/check/fail/{id}?note=no"), "").expect(200, "");
    let rows = row("it fails", &|rows| rows[0]["Status"] == json!("critical"));
    assert_eq!(rows[0]["Output"], json!("no"));
    assert_eq!(rows[0]["Type"], json!("ttl"));
    drop(undo);
    row("it is gone", &|rows| *rows == json!([]));
}

#[test]
fn a_check_may_belong_to_a_service() {
    let service = unique("owner");
    let body = json!({"Name": service, "Tags": ["t"]});
    agent().put_json("/v1/agent/service/register", &body).expect(200, "");
    let id = format!("{service}-check");
    let _undo = register(&json!({"Name": id, "ServiceID": service, "TTL": "1h"}));
    let found = check(&id);
    assert_eq!((&found["ServiceID"], &found["ServiceName"]), (&json!(service), &json!(service)));
    assert_eq!(found["ServiceTags"], json!(["t"]));
    agent().put(format!("/v1/agent/service/deregister/{service}"), "").expect(200, "");
    assert_eq!(check(&id), json!(null), "it goes with its service");
}

#[test]
fn what_is_known_outlasts_a_registration() {
    let id = unique("again");
    let _undo = register(&json!({"Name": id, "TTL": "1h", "Status": "passing"}));
    agent().put(format!("/v1/agent/check/warn/{id}?note=hello"), "").expect(200, "");
    let again =
        json!({"Name": id, "HTTP": "http://127.0.0.1:1/", "Interval": "1h", "Timeout": "3s", "Status": "passing"});
    agent().put_json("/v1/agent/check/register", &again).expect(200, "");
    let found = check(&id);
    assert_eq!((&found["Status"], &found["Output"]), (&json!("warning"), &json!("hello")));
    assert_eq!((&found["Interval"], &found["Timeout"]), (&json!("1h0m0s"), &json!("3s")));
}

#[test]
fn selectors_are_looked_at_row_by_row() {
    let id = unique("filter");
    let _undo = register(&json!({"Name": id, "TTL": "1h"}));
    let path = "/v1/agent/checks?filter=";
    agent().get(format!("{path}zork==1")).expect(500, "Selector \"zork\" is not valid");
    agent().get(format!("{path}CreateIndex==1")).expect(500, "Selector \"CreateIndex\" is not valid");
    let text = agent().get(format!("{path}zork")).status(500).text();
    assert!(text.starts_with("Failed to create boolean expression evaluator: 1:5 (4): no match found"), "{text}");
    assert_eq!(agent().get(format!("{path}CheckID==%22{id}%22")).json()[&id]["Name"], json!(id));
}

#[test]
fn long_output_is_cut() {
    let id = unique("long");
    let _undo = register(&json!({"Name": id, "TTL": "1h", "OutputMaxSize": 10}));
    let body = json!({"Status": "passing", "Output": "0123456789abcdef"});
    agent().put_json(format!("/v1/agent/check/update/{id}"), &body).expect(200, "");
    assert_eq!(check(&id)["Output"], json!("0123456789 ... (captured 10 of 16 bytes)"));
}

#[test]
fn refusals() {
    let unknown =
        |id: &str| format!("Unknown check ID \"{id}\". Ensure that the check ID is passed, not the check name.");
    let interval = "Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks";
    let register: &[(&str, u16, &str)] = &[
        ("", 400, "Request decode failed: EOF"),
        ("{}", 400, "Missing check name"),
        (r#"{"Name":"q"}"#, 400, "Invalid check: TTL must be > 0 for TTL checks"),
        (r#"{"Name":"q","TTL":"10s","Status":"zork"}"#, 400, "Bad check status"),
        (r#"{"Name":"q","TTL":"10s","ServiceID":"nope"}"#, 404, "ServiceID \"nope\" does not exist"),
        (r#"{"Name":"q","TTL":"xx"}"#, 400, "Request decode failed: time: invalid duration \"xx\""),
        (r#"{"Name":"q","HTTP":"http://127.0.0.1:1"}"#, 400, interval),
        (r#"{"Name":"q","TCP":"127.0.0.1:1","Interval":"0s"}"#, 400, interval),
        (r#"{"Name":"q","Script":"x","Interval":"9s"}"#, 400, "Request decode failed: json: unknown field \"Script\""),
        (
            r#"{"Name":"q","TTL":"10s","Interval":"10s"}"#,
            400,
            "Invalid check: Interval and TTL cannot both be specified",
        ),
        (r#"{"Name":"q","OutputMaxSize":-1,"TTL":"10s"}"#, 400, "Invalid check: MaxOutputMaxSize must be positive"),
        (
            r#"{"Name":"q","Args":["true"],"Interval":"10s"}"#,
            500,
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        ),
    ];
    for (body, status, text) in register {
        agent().put("/v1/agent/check/register", body).expect(*status, text);
    }
    for verb in ["pass", "warn", "fail", "deregister"] {
        agent().put(format!("/v1/agent/check/{verb}/nope"), "").expect(404, &unknown("nope"));
        agent().put(format!("/v1/agent/check/{verb}/"), "").expect(404, &unknown(""));
    }
    let update = "/v1/agent/check/update/nope";
    agent().put(update, r#"{"Status":"passing"}"#).expect(404, &unknown("nope"));
    agent().put(update, r#"{"Status":"zork"}"#).expect(400, "Invalid check status: 'zork'");
    agent().put(update, "{}").expect(400, "Invalid check status: ''");
    agent().put(update, "").expect(400, "Request decode failed: EOF");
    let id = unique("not-ttl");
    let _undo = register_http(&id);
    agent()
        .put(format!("/v1/agent/check/pass/{id}"), "")
        .expect(500, &format!("CheckID \"{id}\" does not have associated TTL"));
}

fn register_http(id: &str) -> impl Drop + use<> {
    register(&json!({"Name": id, "HTTP": "http://127.0.0.1:1/", "Interval": "1h"}))
}
