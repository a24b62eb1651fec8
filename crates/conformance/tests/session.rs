//! `/v1/session`: creation with defaults and refusals, listing, renewal, destruction, and what ends a session.

use conformance::{Cleanup, Value, agent, cleanup, eventually, json, unique};

fn create(body: &Value) -> (String, Cleanup<impl FnMut() + use<>>) {
    let made = agent().put_json("/v1/session/create", body).json();
    let id = made["ID"].as_str().expect("an id").to_owned();
    assert_eq!(made, json!({"ID": id}));
    assert_eq!(id.len(), 36);
    let undo = format!("/v1/session/destroy/{id}");
    (id, cleanup(move || drop(agent().put(&undo, "").send())))
}

fn info(id: &str) -> Value {
    agent().get(format!("/v1/session/info/{id}")).json()
}

#[test]
fn defaults() {
    let made = agent().put("/v1/session/create", "").json();
    let id = made["ID"].as_str().expect("an id");
    let answer = agent().get(format!("/v1/session/info/{id}")).status(200);
    let session = answer.json();
    let created = session[0]["CreateIndex"].clone();
    agent().put(format!("/v1/session/destroy/{id}"), "").expect(200, "true");
    assert_eq!(
        session,
        json!([{"ID": id, "Name": "", "Node": agent().node(), "LockDelay": 15_000_000_000u64,
            "Behavior": "release", "TTL": "", "NodeChecks": ["serfHealth"], "ServiceChecks": null,
            "CreateIndex": created, "ModifyIndex": created}])
    );
    assert!(answer.index() >= created.as_u64().expect("a number"));
    assert_eq!(info(id), json!([]));
}

#[test]
fn every_member_is_kept() {
    let name = unique("session");
    let (id, _undo) = create(&json!({"Name": name, "TTL": "30s", "Behavior": "delete", "LockDelay": "2m",
        "NodeChecks": [], "Node": agent().node()}));
    let session = info(&id)[0].clone();
    assert_eq!(session["Name"], json!(name));
    assert_eq!(session["TTL"], json!("30s"));
    assert_eq!(session["Behavior"], json!("delete"));
    assert_eq!(session["LockDelay"], json!(120_000_000_000u64));
    assert_eq!(session["NodeChecks"], json!([]));
}

#[test]
fn lock_delay_is_text_seconds_or_nanoseconds() {
    let table = [
        (json!("10ms"), json!(10_000_000)),
        (json!("0s"), json!(0)),
        (json!(30), json!(30_000_000_000u64)),
        (json!(999), json!(999_000_000_000u64)),
        (json!(1000), json!(1000)),
        (json!(-5), json!(-5_000_000_000i64)),
    ];
    for (given, kept) in table {
        let (id, _undo) = create(&json!({"LockDelay": given}));
        assert_eq!(info(&id)[0]["LockDelay"], kept, "{given}");
    }
}

#[test]
fn lists_hold_it_and_lose_it() {
    let (id, undo) = create(&json!({}));
    let listed = |path: String| {
        let all = agent().get(&path).json();
        all.as_array().expect("a list").iter().any(|session| session["ID"] == json!(id))
    };
    let paths = ["/v1/session/list".to_owned(), format!("/v1/session/node/{}", agent().node())];
    for path in &paths {
        assert!(listed(path.clone()), "{path}");
    }
    drop(undo);
    for path in &paths {
        assert!(!listed(path.clone()), "{path}");
    }
    agent().get("/v1/session/node/no-such-node").expect(200, "[]");
}

#[test]
fn renewal_gives_the_session_back() {
    let (id, undo) = create(&json!({"TTL": "20s"}));
    assert_eq!(agent().put(format!("/v1/session/renew/{id}"), "").json(), info(&id));
    drop(undo);
    agent().put(format!("/v1/session/renew/{id}"), "").expect(404, &format!("Session id '{id}' not found"));
}

#[test]
fn a_critical_check_of_its_own_ends_it() {
    let check = unique("session-check");
    let body = json!({"Name": check, "TTL": "1m", "Status": "passing"});
    agent().put_json("/v1/agent/check/register", &body).expect(200, "");
    let undo = format!("/v1/agent/check/deregister/{check}");
    let _undo = cleanup(|| drop(agent().put(&undo, "").send()));
    let checks = format!("/v1/health/node/{}", agent().node());
    eventually("the check reaches the catalog", || agent().get(&checks).send().text().contains(&check).then_some(()));
    let (id, _end) = create(&json!({"NodeChecks": [check]}));
    assert_eq!(info(&id)[0]["NodeChecks"], json!([check]));
    agent().put(format!("/v1/agent/check/fail/{check}"), "").expect(200, "");
    eventually("the session ends with its check", || (info(&id) == json!([])).then_some(()));
    // It cannot be bound to a check that is critical now.
    let (node, check) = (agent().node(), &check);
    eventually("the failure reaches the catalog", || {
        let text = agent().put_json("/v1/session/create", &json!({"NodeChecks": [check]})).send();
        let refused = format!("apply failed: Check '{check}' is in critical state");
        assert!(text.code != 200 || node.is_empty(), "bound to a critical check");
        (text.text() == refused).then_some(())
    });
}

#[test]
fn refusals() {
    let create = "/v1/session/create";
    let table: &[(&str, &str, &str, u16, &str)] = &[
        ("PUT", create, r#"{"TTL":"5s"}"#, 500, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"),
        ("PUT", create, r#"{"TTL":"25h"}"#, 500, "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]"),
        ("PUT", create, r#"{"TTL":"xx"}"#, 500, "Session TTL 'xx' invalid: time: invalid duration \"xx\""),
        ("PUT", create, r#"{"Behavior":"x"}"#, 500, "Invalid Behavior setting 'x'"),
        ("PUT", create, r#"{"Node":"nope"}"#, 500, "apply failed: Missing node registration"),
        ("PUT", create, r#"{"Checks":["nope"]}"#, 500, "apply failed: Missing check 'nope' registration"),
        ("PUT", create, r#"{"ServiceChecks":[{"ID":"nope"}]}"#, 500, "apply failed: Missing check 'nope' registration"),
        ("PUT", create, "{", 400, "Request decode failed: unexpected EOF"),
        ("PUT", create, r#"{"LockDelay":"xx"}"#, 400, "Request decode failed: time: invalid duration \"xx\""),
        (
            "PUT",
            create,
            r#"{"Name":5}"#,
            400,
            "Request decode failed: json: cannot unmarshal number into Go struct field .Alias.Name of type string",
        ),
        ("PUT", "/v1/session/destroy/", "", 400, "Missing session"),
        ("PUT", "/v1/session/destroy/abc", "", 200, "true"),
        ("PUT", "/v1/session/renew/", "", 400, "Missing session"),
        ("PUT", "/v1/session/renew/abc", "", 404, "Session id 'abc' not found"),
        ("GET", "/v1/session/info/", "", 400, "Missing session"),
        ("GET", "/v1/session/info/abc", "", 200, "[]"),
        ("GET", "/v1/session/node/", "", 400, "Missing node name"),
        ("POST", create, "", 405, "method POST not allowed"),
        ("GET", create, "", 405, "method GET not allowed"),
        ("DELETE", "/v1/session/list", "", 405, "method DELETE not allowed"),
    ];
    for (method, path, body, status, text) in table {
        agent().call(method, path).body(body).expect(*status, text);
    }
}
