//! `/v1/query`: definition, execution, templates and refusals.

use conformance::{Value, agent, cleanup, json, unique};

fn create(body: &Value) -> (String, impl Drop + use<>) {
    let made = agent().post("/v1/query", body.to_string()).json();
    let id = made["ID"].as_str().expect("an id").to_owned();
    assert_eq!(made, json!({"ID": id}));
    let path = format!("/v1/query/{id}");
    (id, cleanup(move || drop(agent().delete(&path).send())))
}

/// A node with instances of a service, each with its tags and the status of its check.
fn instances(service: &str, table: &[(&str, &[&str], &str)]) -> impl Drop + use<> {
    let node = format!("{service}-node");
    for (id, tags, status) in table {
        let id = format!("{service}-{id}");
        let body = json!({"Node": node, "Address": "10.1.1.1",
            "Service": {"ID": id, "Service": service, "Tags": tags, "Meta": {"id": id}, "Port": 1},
            "Check": {"CheckID": id, "Name": "c", "Status": status, "ServiceID": id}});
        agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    }
    let undo = json!({"Node": node}).to_string();
    cleanup(move || drop(agent().put("/v1/catalog/deregister", &undo).send()))
}

/// The ids of the instances that a query finds, without the service's name, sorted.
fn found(service: &str, path: &str) -> Vec<String> {
    let answer = agent().get(path).json();
    let nodes = answer["Nodes"].as_array().expect("a list").iter();
    let mut ids: Vec<String> =
        nodes.map(|row| row["Service"]["ID"].as_str().expect("an id")[service.len() + 1..].to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn a_definition_is_kept_with_every_member() {
    let name = unique("query");
    let (id, undo) = create(&json!({"Name": name, "Service": {"Service": "web", "OnlyPassing": true,
        "Tags": ["a", "!b"], "NodeMeta": {"k": "v"}, "ServiceMeta": {"x": "y"}, "Near": "_agent",
        "IgnoreCheckIDs": ["c"], "Failover": {"NearestN": 3, "Datacenters": ["dc9"]}}, "DNS": {"TTL": "10s"}}));
    let answer = agent().get(format!("/v1/query/{id}")).status(200);
    let kept = answer.json();
    let index = kept[0]["CreateIndex"].clone();
    assert_eq!(
        kept,
        json!([{"ID": id, "Name": name, "Session": "", "Token": "",
            "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": false},
            "Service": {"Service": "web", "SamenessGroup": "",
                "Failover": {"NearestN": 3, "Datacenters": ["dc9"], "Targets": null}, "OnlyPassing": true,
                "IgnoreCheckIDs": ["c"], "Near": "_agent", "Tags": ["a", "!b"], "NodeMeta": {"k": "v"},
                "ServiceMeta": {"x": "y"}, "Connect": false, "Peer": ""},
            "DNS": {"TTL": "10s"}, "CreateIndex": index, "ModifyIndex": index}])
    );
    assert_eq!(answer.header("X-Consul-Effective-Consistency"), "leader");
    let all = agent().get("/v1/query").status(200);
    assert_eq!(all.header("X-Consul-Effective-Consistency"), "leader");
    assert!(all.json().as_array().expect("a list").contains(&kept[0]));
    // An update keeps the index of creation.
    let body = json!({"Name": name, "Service": {"Service": "other"}});
    agent().put_json(format!("/v1/query/{id}"), &body).expect(200, "");
    let updated = agent().get(format!("/v1/query/{id}")).json();
    assert_eq!(updated[0]["Service"]["Service"], json!("other"));
    assert_eq!(updated[0]["CreateIndex"], index);
    assert_ne!(updated[0]["ModifyIndex"], index);
    drop(undo);
    agent().get(format!("/v1/query/{id}")).expect(404, "Query not found");
}

#[test]
fn execution_leaves_out_what_fails() {
    let service = unique("query-run");
    let _nodes =
        instances(&service, &[("ok", &["a", "b"], "passing"), ("warn", &["a"], "warning"), ("bad", &[], "critical")]);
    let run = |rest: Value| {
        let mut body = json!({"Name": unique("q"), "Service": {"Service": service}});
        for (member, value) in rest.as_object().expect("a map") {
            body["Service"][member] = value.clone();
        }
        let (id, _undo) = create(&body);
        found(&service, &format!("/v1/query/{id}/execute"))
    };
    assert_eq!(run(json!({})), ["ok", "warn"]);
    assert_eq!(run(json!({"OnlyPassing": true})), ["ok"]);
    assert_eq!(run(json!({"Tags": ["a"]})), ["ok", "warn"]);
    assert_eq!(run(json!({"Tags": ["A", "b"]})), ["ok"]);
    assert_eq!(run(json!({"Tags": ["a", "!b"]})), ["warn"]);
    assert_eq!(run(json!({"ServiceMeta": {"id": format!("{service}-ok")}})), ["ok"]);
    assert_eq!(run(json!({"NodeMeta": {"k": "none"}})), [""; 0]);
    assert_eq!(run(json!({"IgnoreCheckIDs": [format!("{service}-bad")]})), ["bad", "ok", "warn"]);
}

#[test]
fn the_answer_carries_its_metadata() {
    let service = unique("query-meta");
    let _nodes = instances(&service, &[("1", &[], "passing"), ("2", &[], "passing")]);
    let name = unique("q");
    let (_id, _undo) = create(&json!({"Name": name, "Service": {"Service": service}, "DNS": {"TTL": "7s"}}));
    let answer = agent().get(format!("/v1/query/{name}/execute")).status(200);
    assert_eq!(answer.header("X-Consul-Effective-Consistency"), "leader");
    assert!(answer.index() > 0);
    let mut body = answer.json();
    assert_eq!(body["Nodes"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["Nodes"][0]["Checks"][0]["Status"], json!("passing"));
    assert_eq!(body["Nodes"][0]["Service"]["Tags"], json!([]));
    body["Nodes"] = json!(null);
    body["Index"] = json!(null);
    assert_eq!(
        body,
        json!({"Service": service, "Nodes": null, "DNS": {"TTL": "7s"}, "Datacenter": "dc1", "PeerName": "",
            "Failovers": 0, "Index": null, "LastContact": 0, "KnownLeader": true, "ConsistencyLevel": "leader",
            "NotModified": false, "Backend": 0, "ResultsFilteredByACLs": false})
    );
    let count = |limit: &str| found(&service, &format!("/v1/query/{name}/execute?limit={limit}")).len();
    assert_eq!((count("1"), count("0"), count("9")), (1, 2, 2));
    let cached = agent().get(format!("/v1/query/{name}/execute?cached")).status(200);
    assert!(cached.find("X-Cache").is_some());
    assert_eq!(found(&service, &format!("/v1/query/{name}/execute?connect=true")), [""; 0]);
    assert_eq!(found(&service, &format!("/v1/query/{name}/execute?connect")).len(), 2);
    agent()
        .get(format!("/v1/query/{name}/execute?connect=x"))
        .expect(500, "Error parsing 'connect' value: strconv.ParseBool: parsing \"x\": invalid syntax");
    // The name is found in any case.
    assert_eq!(found(&service, &format!("/v1/query/{}/execute", name.to_uppercase())).len(), 2);
}

#[test]
fn templates_take_the_longest_prefix() {
    let service = unique("tpl");
    let _nodes = instances(&service, &[("1", &["v1"], "passing")]);
    let prefix = format!("{}-", unique("find"));
    let (_a, _undo_a) = create(&json!({"Name": prefix, "Template": {"Type": "name_prefix_match",
        "Regexp": format!("^{prefix}(.*?)(?:_(.+))?$")}, "Service": {"Service": "${match(1)}", "Tags": ["${match(2)}"]}}));
    let tagged = format!("{prefix}{service}_v1");
    let explained = agent().get(format!("/v1/query/{tagged}/explain")).json();
    assert_eq!(explained["Query"]["Service"]["Service"], json!(service));
    assert_eq!(explained["Query"]["Service"]["Tags"], json!(["v1"]));
    assert_eq!(explained["Query"]["Name"], json!(prefix));
    assert_eq!(explained["KnownLeader"], json!(true));
    assert_eq!(found(&service, &format!("/v1/query/{tagged}/execute")), ["1"]);
    let longer = format!("{prefix}x-");
    let (_b, _undo_b) = create(&json!({"Name": longer, "Template": {"Type": "name_prefix_match"},
        "Service": {"Service": "${name.full}/${name.prefix}/${name.suffix}/${agent.segment}"}}));
    let explained = agent().get(format!("/v1/query/{longer}rest/explain")).json();
    assert_eq!(explained["Query"]["Service"]["Service"], json!(format!("{longer}rest/{longer}/rest/")));
}

#[test]
fn refusals() {
    let name = unique("refused");
    let (_id, _undo) = create(&json!({"Name": name, "Service": {"Service": "x"}}));
    let table: &[(String, u16, String)] = &[
        (String::new(), 400, "Request decode failed: EOF".into()),
        ("{}".into(), 500, "Invalid prepared query: Must be bound to a session".into()),
        (r#"{"Name":"q"}"#.into(), 500, "Invalid prepared query: Must provide a Service name to query".into()),
        (r#"{"Service":{"Service":"x"}}"#.into(), 500, "Invalid prepared query: Must be bound to a session".into()),
        (
            r#"{"Name":"q","Session":"nope","Service":{"Service":"x"}}"#.into(),
            500,
            "raft apply failed: invalid session \"nope\"".into(),
        ),
        (
            r#"{"Name":"q","Zork":1,"Service":{"Service":"x"}}"#.into(),
            400,
            "Request decode failed: json: unknown field \"Zork\"".into(),
        ),
        (
            r#"{"Name":"q","Service":{"Service":"x"},"DNS":{"TTL":"zz"}}"#.into(),
            500,
            "Invalid prepared query: Bad DNS TTL 'zz': time: invalid duration \"zz\"".into(),
        ),
        (
            r#"{"Name":"q","Service":{"Service":"x"},"DNS":{"TTL":"-1s"}}"#.into(),
            500,
            "Invalid prepared query: DNS TTL '-1000000000', must be >=0".into(),
        ),
        (
            r#"{"Name":"q","Service":{"Service":"x","Failover":{"NearestN":-1}}}"#.into(),
            500,
            "Invalid prepared query: Bad NearestN '-1', must be >= 0".into(),
        ),
        (
            r#"{"Name":"q","Service":{"Service":"x","SamenessGroup":"a"}}"#.into(),
            500,
            "Invalid prepared query: sameness-groups are an enterprise-only feature".into(),
        ),
        (
            r#"{"Name":"q","Template":{"Type":"name_prefix_match"},"Service":{"Service":"a ${bad"}}"#.into(),
            500,
            "raft apply failed: failed compiling template: Bad format 'a ${bad' in Service.Service: parse error at \
             1:8: expected \"}\" but found end of string"
                .into(),
        ),
        (
            r#"{"Name":"q","Template":{"Type":"name_prefix_match"},"Service":{"Service":"${zork}"}}"#.into(),
            500,
            "raft apply failed: failed compiling template: Bad evaluation for '${zork}' in Service.Service: 1:3: \
             unknown variable accessed: zork"
                .into(),
        ),
        (
            r#"{"Name":"q","Template":{"Type":"zork"},"Service":{"Service":"x"}}"#.into(),
            500,
            "raft apply failed: failed compiling template: Bad Template.Type 'zork'".into(),
        ),
        (
            r#"{"Name":"q","Template":{"Type":"name_prefix_match","Regexp":"("},"Service":{"Service":"x"}}"#.into(),
            500,
            "raft apply failed: failed compiling template: Bad Regexp: error parsing regexp: missing closing ): `(`"
                .into(),
        ),
        (
            json!({"Name": name, "Service": {"Service": "x"}}).to_string(),
            500,
            format!("raft apply failed: name '{name}' aliases an existing query name"),
        ),
    ];
    for (body, status, text) in table {
        agent().post("/v1/query", body).expect(*status, text);
    }
    let unknown = "4fe4f0c1-0000-0000-0000-000000000000";
    let bad_id = "failed prepared query lookup: index error: UUID must be 36 characters";
    let missing = format!("Cannot modify non-existent prepared query: '{unknown}'");
    let body = json!({"Name": "q", "Service": {"Service": "x"}});
    agent().get(format!("/v1/query/{unknown}")).expect(404, "Query not found");
    agent().put_json(format!("/v1/query/{unknown}"), &body).expect(500, &missing);
    agent().put(format!("/v1/query/{unknown}"), "").expect(500, &missing);
    agent().delete(format!("/v1/query/{unknown}")).expect(500, &missing);
    agent().get(format!("/v1/query/{name}")).expect(500, bad_id);
    agent().get("/v1/query/").expect(500, bad_id);
    agent().delete("/v1/query/nope").expect(500, &format!("Prepared Query lookup failed: {bad_id}"));
    agent().get("/v1/query/nope/execute").expect(404, "Query not found");
    agent().get("/v1/query/nope/explain").expect(404, "Query not found");
    agent()
        .get(format!("/v1/query/{name}/execute?limit=x"))
        .expect(500, "Bad limit: strconv.Atoi: parsing \"x\": invalid syntax");
}
