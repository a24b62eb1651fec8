//! `/v1/txn`: all or nothing, what each verb answers, and where the reads differ from the writes.

use conformance::{Answer, Value, agent, base64, cleanup, json, unique};

fn prefix() -> (String, impl Drop) {
    let prefix = format!("{}/", unique("txn"));
    let undo = format!("/v1/kv/{prefix}?recurse");
    (prefix, cleanup(move || drop(agent().delete(&undo).send())))
}

fn txn(operations: Value) -> Answer {
    agent().put_json("/v1/txn", &operations).send()
}

fn whats(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["Errors"].clone();
    errors.as_array().expect("a list").iter().map(|e| e["What"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn writes_answer_without_values_and_without_metadata() {
    let (prefix, _undo) = prefix();
    let key = format!("{prefix}a");
    let answer = txn(json!([
        {"KV": {"Verb": "set", "Key": key, "Value": base64("a"), "Flags": 3}},
        {"KV": {"Verb": "get", "Key": key}},
        {"KV": {"Verb": "delete", "Key": format!("{prefix}none")}}
    ]))
    .status(200);
    let index = answer.json()["Results"][0]["KV"]["ModifyIndex"].clone();
    let entry = |value: Value| {
        json!({"KV": {"LockIndex": 0, "Key": key, "Flags": 3, "Value": value,
            "CreateIndex": index, "ModifyIndex": index}})
    };
    assert_eq!(answer.json(), json!({"Results": [entry(json!(null)), entry(json!(base64("a")))], "Errors": null}));
    assert_eq!(answer.find("X-Consul-Index"), None);
}

#[test]
fn reads_carry_metadata_in_the_body() {
    let (prefix, _undo) = prefix();
    let key = format!("{prefix}a");
    agent().put(format!("/v1/kv/{key}"), "v").expect(200, "true");
    for query in ["", "?stale", "?consistent"] {
        let operations = json!([{"KV": {"Verb": "get", "Key": key}}]);
        let answer = agent().put_json(format!("/v1/txn{query}"), &operations).status(200);
        let mut body = answer.json();
        assert!(body["Index"].is_u64(), "{query}");
        assert_eq!(body["Results"][0]["KV"]["Value"], json!(base64("v")));
        body["Results"] = json!(null);
        body["Index"] = json!(0);
        assert_eq!(
            body,
            json!({"Results": null, "Errors": null, "Index": 0, "LastContact": 0, "KnownLeader": true,
                "ConsistencyLevel": "", "NotModified": false, "Backend": 0, "ResultsFilteredByACLs": false})
        );
        assert_eq!(answer.header("X-Consul-Knownleader"), "true");
    }
}

#[test]
fn trees_and_absent_keys() {
    let (prefix, _undo) = prefix();
    for key in ["a", "b/1", "b/2"] {
        agent().put(format!("/v1/kv/{prefix}{key}"), key).expect(200, "true");
    }
    let answer = txn(json!([
        {"KV": {"Verb": "get-tree", "Key": format!("{prefix}b/")}},
        {"KV": {"Verb": "get-or-empty", "Key": format!("{prefix}none")}}
    ]))
    .status(200)
    .json();
    let keys: Vec<&Value> = answer["Results"].as_array().expect("a list").iter().map(|row| &row["KV"]["Key"]).collect();
    assert_eq!(keys, [&json!(format!("{prefix}b/1")), &json!(format!("{prefix}b/2")), &json!(format!("{prefix}none"))]);
    assert_eq!(answer["Results"][2]["KV"]["Value"], json!(null));
    txn(json!([{"KV": {"Verb": "delete-tree", "Key": format!("{prefix}b/")}}])).status(200);
    let left = agent().get(format!("/v1/kv/{prefix}?keys")).json();
    assert_eq!(left, json!([format!("{prefix}a")]));
}

#[test]
fn one_failure_undoes_all_and_every_failure_is_told() {
    let (prefix, _undo) = prefix();
    let key = format!("{prefix}a");
    agent().put(format!("/v1/kv/{key}"), "v").expect(200, "true");
    let index = agent().get(format!("/v1/kv/{key}")).send().index();
    let answer = txn(json!([
        {"KV": {"Verb": "set", "Key": format!("{prefix}new"), "Value": base64("n")}},
        {"KV": {"Verb": "cas", "Key": key, "Value": base64("w"), "Index": 1}},
        {"KV": {"Verb": "check-index", "Key": key, "Index": 1}},
        {"KV": {"Verb": "check-not-exists", "Key": key}},
        {"KV": {"Verb": "check-session", "Key": key, "Session": "x"}},
        {"KV": {"Verb": "lock", "Key": key, "Session": "x"}},
        {"KV": {"Verb": "unlock", "Key": key, "Session": "x"}},
        {"KV": {"Verb": "delete-cas", "Key": key, "Index": 1}},
        {"KV": {"Verb": "get", "Key": format!("{prefix}none")}}
    ]))
    .status(409);
    assert_eq!(
        answer.json(),
        json!({"Results": null, "Errors": [
            {"OpIndex": 1, "What": format!("failed to set key \"{key}\", index is stale")},
            {"OpIndex": 2, "What": format!("failed index check for key \"{key}\", current modify index {index} != 1")},
            {"OpIndex": 3, "What": format!("key \"{key}\" exists")},
            {"OpIndex": 4, "What": format!("failed session check for key \"{key}\", current session \"\" != \"x\"")},
            {"OpIndex": 5, "What": "invalid session \"x\""},
            {"OpIndex": 6, "What": format!("failed to unlock key \"{key}\", lock isn't held, or is held by another session")},
            {"OpIndex": 7, "What": format!("failed to delete key \"{key}\", index is stale")},
            {"OpIndex": 8, "What": format!("key \"{prefix}none\" doesn't exist")}
        ]})
    );
    agent().get(format!("/v1/kv/{prefix}new")).expect(404, "");
    assert_eq!(agent().get(format!("/v1/kv/{key}")).send().index(), index);
}

#[test]
fn conditions_that_hold() {
    let (prefix, _undo) = prefix();
    let key = format!("{prefix}a");
    let session = agent().put("/v1/session/create", "").json()["ID"].clone();
    txn(json!([
        {"KV": {"Verb": "check-not-exists", "Key": key}},
        {"KV": {"Verb": "lock", "Key": key, "Value": base64("1"), "Session": session}},
        {"KV": {"Verb": "check-session", "Key": key, "Session": session}},
        {"KV": {"Verb": "unlock", "Key": key, "Value": base64("2"), "Session": session}}
    ]))
    .status(200);
    let entry = agent().get(format!("/v1/kv/{key}")).json();
    assert_eq!((&entry[0]["LockIndex"], &entry[0]["Value"]), (&json!(1), &json!(base64("2"))));
    let index = &entry[0]["ModifyIndex"];
    txn(json!([
        {"KV": {"Verb": "check-index", "Key": key, "Index": index}},
        {"KV": {"Verb": "cas", "Key": key, "Index": index, "Value": base64("3")}},
        {"KV": {"Verb": "cas", "Key": format!("{prefix}b"), "Index": 0, "Value": base64("3")}}
    ]))
    .status(200);
    let index = agent().get(format!("/v1/kv/{key}")).json()[0]["ModifyIndex"].clone();
    txn(json!([{"KV": {"Verb": "delete-cas", "Key": key, "Index": index}}])).status(200);
    agent().get(format!("/v1/kv/{key}")).expect(404, "");
    let id = session.as_str().expect("an id");
    agent().put(format!("/v1/session/destroy/{id}"), "").expect(200, "true");
}

#[test]
fn nodes_services_and_checks() {
    let node = unique("txn-node");
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let answer = txn(json!([
        {"Node": {"Verb": "set", "Node": {"Node": node, "Address": "10.9.9.9"}}},
        {"Service": {"Verb": "set", "Node": node, "Service": {"Service": "txn-web", "Port": 3}}},
        {"Check": {"Verb": "set", "Check": {"Node": node, "CheckID": "c", "Name": "c", "Status": "passing"}}}
    ]))
    .status(200)
    .json();
    let index = answer["Results"][0]["Node"]["ModifyIndex"].clone();
    assert_eq!(
        answer["Results"][0],
        json!({"Node": {"ID": "", "Node": node, "Address": "10.9.9.9", "Datacenter": "dc1",
            "TaggedAddresses": null, "Meta": null, "CreateIndex": index, "ModifyIndex": index}})
    );
    assert_eq!(
        answer["Results"][1],
        json!({"Service": {"ID": "txn-web", "Service": "txn-web", "Tags": null, "Address": "", "Meta": null,
            "Port": 3, "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false,
            "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "Connect": {}, "PeerName": "",
            "CreateIndex": index, "ModifyIndex": index}})
    );
    assert_eq!(answer["Results"][2]["Check"]["Status"], json!("passing"));
    let read = txn(json!([
        {"Node": {"Verb": "get", "Node": {"Node": node}}},
        {"Service": {"Verb": "get", "Node": node, "Service": {"ID": "txn-web"}}},
        {"Check": {"Verb": "get", "Check": {"Node": node, "CheckID": "c"}}}
    ]))
    .status(200)
    .json();
    assert_eq!(read["Results"], answer["Results"]);
    let stale = txn(json!([
        {"Node": {"Verb": "cas", "Node": {"Node": node, "Address": "1.1.1.1"}}},
        {"Service": {"Verb": "cas", "Node": node, "Service": {"Service": "txn-web", "Port": 3, "ModifyIndex": 1}}},
        {"Check": {"Verb": "cas", "Check": {"Node": node, "CheckID": "c", "ModifyIndex": 1}}}
    ]))
    .status(409);
    assert_eq!(
        whats(&stale),
        [
            format!("failed to set node \"{node}\", index is stale"),
            format!("failed to set service \"txn-web\" on node \"{node}\", index is stale"),
            format!("failed to set check \"c\" on node \"{node}\", index is stale")
        ]
    );
    let absent = txn(json!([
        {"Node": {"Verb": "get", "Node": {"Node": "nope"}}},
        {"Service": {"Verb": "get", "Node": node, "Service": {"ID": "nope"}}},
        {"Check": {"Verb": "get", "Check": {"Node": node, "CheckID": "nope"}}}
    ]))
    .status(409);
    assert_eq!(
        whats(&absent),
        [
            "node \"nope\" doesn't exist".to_owned(),
            format!("service \"nope\" on node \"{node}\" doesn't exist"),
            format!("check \"nope\" on node \"{node}\" doesn't exist")
        ]
    );
    txn(json!([
        {"Check": {"Verb": "delete", "Check": {"Node": node, "CheckID": "c"}}},
        {"Service": {"Verb": "delete", "Node": node, "Service": {"ID": "txn-web", "Service": "txn-web"}}},
        {"Node": {"Verb": "delete", "Node": {"Node": node}}}
    ]))
    .status(200);
    agent().get(format!("/v1/catalog/node/{node}")).expect(200, "null");
}

#[test]
fn rows_are_taken_in_the_forms_of_the_client_library() {
    let node = unique("txn-form");
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let answer = txn(json!([
        {"Node": {"Verb": "set", "Node": {"Node": node, "Address": "10.9.9.9", "Partition": "p"}}},
        {"Service": {"Verb": "set", "Node": node, "Service": {"Service": "web", "Namespace": "n", "Datacenter": "x",
            "ContentHash": "y", "Weights": {"Passing": 5}}}},
        {"Check": {"Verb": "set", "Check": {"Node": node, "CheckID": "c", "Namespace": "n", "Partition": "p",
            "Definition": {"HTTP": "http://x", "Interval": "10s", "Zork": 1}}}}
    ]))
    .status(200)
    .json();
    assert_eq!(answer["Results"][1]["Service"]["Weights"], json!({"Passing": 5, "Warning": 0}));
    let check = &answer["Results"][2]["Check"];
    // Other than in a registration the type is not told from the definition, and no tags are null.
    assert_eq!((&check["Type"], &check["ServiceTags"]), (&json!(""), &json!(null)));
    assert_eq!(check["Definition"], json!({"Interval": "10s", "HTTP": "http://x"}));
    let table = [
        (json!({"Check": {"Verb": "set", "Check": {"Interval": "1s"}}}), "json: unknown field \"Interval\""),
        (
            json!({"Service": {"Verb": "set", "Service": 5}}),
            "json: cannot unmarshal number into Go struct field \
            ServiceTxnOp.Service.Service of type api.AgentService",
        ),
        (
            json!({"Node": {"Verb": "set", "Node": {"ID": 5}}}),
            "json: cannot unmarshal number into Go struct field \
            Node.Node.Node.ID of type string",
        ),
    ];
    for (operation, text) in table {
        txn(json!([operation])).expect(400, &format!("Failed to parse body: {text}"));
    }
}

#[test]
fn unknown_verbs() {
    let answer = txn(json!([{"KV": {"Verb": "zork", "Key": "a"}}])).status(409);
    assert_eq!(whats(&answer), ["unknown KV operation: zork"]);
    assert_eq!(answer.json()["KnownLeader"], json!(false));
    assert_eq!(answer.header("X-Consul-Knownleader"), "false");
    let answer = txn(json!([
        {"Node": {"Verb": "zork", "Node": {"Node": "n"}}},
        {"Service": {"Verb": "zork", "Node": "n", "Service": {"ID": "n"}}},
        {"Check": {"Verb": "zork", "Check": {"Node": "n", "CheckID": "n"}}}
    ]))
    .status(409);
    assert_eq!(
        answer.json(),
        json!({"Results": null, "Errors": [
            {"OpIndex": 0, "What": "unknown node operation: zork"},
            {"OpIndex": 1, "What": "unknown service operation: zork"},
            {"OpIndex": 2, "What": "unknown check operation: zork"}]})
    );
}

#[test]
fn refusals() {
    let table: &[(&str, u16, &str)] = &[
        ("", 400, "Failed to parse body: EOF"),
        ("{}", 400, "Failed to parse body: json: cannot unmarshal object into Go value of type api.TxnOps"),
        (
            r#"[{"KV":{"Verb":"set","Key":"a","Value":"!!"}}]"#,
            400,
            "Failed to parse body: illegal base64 data at input byte 0",
        ),
        (r#"[{"KV":{"Verb":"set","Key":"a","Zork":1}}]"#, 400, "Failed to parse body: json: unknown field \"Zork\""),
    ];
    for (body, status, text) in table {
        agent().put("/v1/txn", body).expect(*status, text);
    }
    let errors = |operations: Value| whats(&txn(operations).status(409));
    assert_eq!(errors(json!([{"KV": {"Verb": "set", "Key": ""}}])), ["Must provide key"]);
    assert_eq!(
        errors(json!([{"Service": {"Verb": "set", "Node": "nope", "Service": {"Service": "s"}}}])),
        ["Missing node registration"]
    );
    assert_eq!(
        errors(json!([{"Service": {"Verb": "delete", "Node": "nope", "Service": {"ID": "s"}}}])),
        ["Must provide service name (Service.Service) when service ID is provided"]
    );
    let get = json!({"KV": {"Verb": "get", "Key": "k"}});
    agent()
        .put_json("/v1/txn", &json!(vec![get; 129]))
        .expect(413, "Transaction contains too many operations (129 > 128)");
    assert_eq!(txn(json!([])).status(200).json()["Results"], json!([]));
    agent().get("/v1/txn").expect(405, "method GET not allowed");
}
