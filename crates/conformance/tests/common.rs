//! What every route has in common: methods, paths, parameters, headers, encodings of the answer.

use conformance::{agent, cleanup, json, unique};

const NAMESPACE: &str = "Namespaces are a Consul Enterprise feature";
const PARTITION: &str = "Partitions are a Consul Enterprise feature";

#[test]
fn wrong_methods_name_the_right_ones() {
    let table = [
        ("POST", "/v1/kv/x", "OPTIONS,GET,PUT,DELETE"),
        ("HEAD", "/v1/kv/x", "OPTIONS,GET,PUT,DELETE"),
        ("HEAD", "/v1/status/leader", "OPTIONS,GET"),
        ("PUT", "/v1/status/leader", "OPTIONS,GET"),
        ("PUT", "/v1/query", "OPTIONS,GET,POST"),
        // The routes below /v1/query/ find their methods themselves, and leave OPTIONS out.
        ("POST", "/v1/query/xx", "GET,PUT,DELETE"),
        ("POST", "/v1/query/xx/execute", "GET"),
        ("GET", "/v1/agent/service/register", "OPTIONS,PUT"),
        ("GET", "/v1/catalog/register", "OPTIONS,PUT"),
        ("DELETE", "/v1/session/list", "OPTIONS,GET"),
        ("PATCH", "/v1/operator/keyring", "OPTIONS,GET,POST,PUT,DELETE"),
        ("GET", "/v1/event/fire/x", "OPTIONS,PUT"),
    ];
    for (method, path, allow) in table {
        let answer = agent().call(method, path).send();
        let body = if method == "HEAD" { String::new() } else { format!("method {method} not allowed") };
        let answer = answer.expect(405, &body);
        assert_eq!(answer.header("Allow"), allow, "{method} {path}");
        assert_eq!(answer.header("Content-Type"), "text/plain; charset=utf-8");
    }
}

#[test]
fn options_tells_the_methods() {
    let table = [
        ("/v1/kv/x", "OPTIONS,GET,PUT,DELETE", ""),
        ("/v1/catalog/nodes", "OPTIONS,GET", ""),
        ("/v1/query", "OPTIONS,GET,POST", ""),
        ("/v1/agent/leave", "OPTIONS,PUT", ""),
        ("/v1/query/xx", "OPTIONS,GET,PUT,DELETE", "{}"),
        ("/v1/query/xx/execute", "OPTIONS,GET", "{}"),
        ("/v1/query/xx/explain", "OPTIONS,GET", "{}"),
    ];
    for (path, allow, body) in table {
        let answer = agent().call("OPTIONS", path).expect(200, body);
        assert_eq!(answer.header("Allow"), allow, "{path}");
        assert_eq!(answer.header("Content-Type"), "application/json", "{path}");
    }
}

#[test]
fn unknown_paths() {
    let prefix = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n";
    let endpoint = "Invalid URL path: not a recognized HTTP API endpoint\n";
    let table = [
        ("GET", "/zork", prefix),
        ("GET", "/v1", prefix),
        ("GET", "/v2/kv/x", prefix),
        ("GET", "/v1/zork", endpoint),
        ("PUT", "/v1/zork", endpoint),
        ("OPTIONS", "/v1/zork", endpoint),
        ("GET", "/v1/catalog/nodes/", endpoint),
        ("GET", "/v1/agent/zork", endpoint),
    ];
    for (method, path, text) in table {
        let answer = agent().call(method, path).expect(404, text);
        assert_eq!(answer.header("Content-Type"), "text/plain; charset=utf-8");
    }
}

#[test]
fn unclean_paths_are_redirected() {
    let table = [
        ("//v1/kv/x", "/v1/kv/x"),
        ("/v1/kv//x", "/v1/kv/x"),
        ("/v1/kv/../kv/x", "/v1/kv/x"),
        ("/v1/kv/./x?a=b", "/v1/kv/x?a=b"),
        ("/v1/kv/a//", "/v1/kv/a/"),
        ("/v1/kv", "/v1/kv/"),
    ];
    for (path, clean) in table {
        let answer = agent().get(path).expect(307, &format!("<a href=\"{clean}\">Temporary Redirect</a>.\n\n"));
        assert_eq!(answer.header("Location"), clean);
        assert_eq!(answer.header("Content-Type"), "text/html; charset=utf-8");
        let answer = agent().put(path, "v").expect(307, "");
        assert_eq!(answer.header("Location"), clean);
    }
}

#[test]
fn unreadable_addresses() {
    agent().get("/v1/kv/%01").expect(400, "");
    agent().get("/v1/kv/a%00b").expect(400, "");
    agent().get("/v1/kv/%zz").expect(400, "400 Bad Request");
    agent().get("/v1/catalog/nodes?%zz").expect(500, "");
    agent().get("/v1/catalog/nodes?a;b").expect(500, "");
}

#[test]
fn every_api_answer_has_these_headers() {
    for path in ["/v1/status/leader", "/v1/catalog/nodes", "/v1/agent/self", "/v1/kv/no-such-key"] {
        let answer = agent().get(path).send();
        assert_eq!(answer.header("Vary"), "Accept-Encoding", "{path}");
        assert_eq!(answer.header("X-Consul-Default-Acl-Policy"), "allow", "{path}");
        assert!(answer.header("Date").ends_with(" GMT"), "{path}");
    }
}

#[test]
fn consistency_is_told_where_the_reference_tells_it() {
    let table = [
        ("", "leader"),
        ("?stale", "stale"),
        ("?stale=false", "stale"),
        ("?consistent", "consistent"),
        ("?leader", "leader"),
        ("?max_stale=1s", "stale"),
    ];
    for (query, mode) in table {
        let answer = agent().get(format!("/v1/catalog/nodes{query}")).status(200);
        assert_eq!(answer.header("X-Consul-Effective-Consistency"), mode, "{query}");
        assert_eq!(answer.header("X-Consul-Knownleader"), "true");
        assert_eq!(answer.header("X-Consul-Lastcontact"), "0");
        assert_eq!(answer.header("X-Consul-Query-Backend"), "blocking-query");
        assert!(answer.index() > 0);
        assert_eq!(answer.find("X-Consul-Results-Filtered-By-Acls"), None);
        assert_eq!(answer.find("X-Cache"), None);
    }
    for path in ["/v1/kv/?recurse", "/v1/session/list", "/v1/coordinate/nodes"] {
        assert_eq!(agent().get(path).send().find("X-Consul-Effective-Consistency"), None, "{path}");
    }
}

#[test]
fn bad_parameters() {
    let bexpr = "Failed to create boolean expression evaluator: ";
    let table = [
        ("index=x", 400, "Invalid index".to_owned()),
        ("index=-1", 400, "Invalid index".to_owned()),
        ("wait=x", 400, "Invalid wait time".to_owned()),
        ("wait=10", 400, "Invalid wait time".to_owned()),
        ("stale&consistent", 400, "Cannot specify ?stale with ?consistent, conflicting semantics.".to_owned()),
        ("cached&consistent", 400, "Cannot specify ?cached with ?consistent, conflicting semantics.".to_owned()),
        ("max_stale=x", 400, "Invalid max_stale value \"x\"".to_owned()),
        ("partition=x", 400, format!("Invalid query parameter: \"partition\" - {PARTITION}")),
        ("dc=nope", 500, "No path to datacenter".to_owned()),
        ("datacenter=nope&dc=dc1", 500, "No path to datacenter".to_owned()),
        ("filter=zork==1", 500, format!("{bexpr}Selector \"zork\" is not valid")),
        (
            "filter=zork",
            500,
            format!(
                "{bexpr}1:5 (4): no match found, expected: \"!=\", \".\", \"==\", \"[\", [ \\t\\r\\n] or [a-zA-Z0-9_]"
            ),
        ),
        (
            "filter=%20",
            500,
            format!(
                "{bexpr}1:2 (1): no match found, expected: \"(\", \"-\", \"0\", \"\\\"\", \"`\", \"not\", [ \\t\\r\\n], [1-9] or [a-zA-Z]"
            ),
        ),
    ];
    for (query, status, text) in table {
        let answer = agent().get(format!("/v1/catalog/nodes?{query}")).expect(status, &text);
        assert_eq!(answer.header("Content-Type"), "text/plain; charset=utf-8", "{query}");
    }
    agent().get("/v1/catalog/nodes").header("Cache-Control", "max-age=zz").expect(400, "Invalid Cache-Control header.");
    agent()
        .get("/v1/catalog/nodes")
        .header("X-Consul-Partition", "x")
        .expect(400, &format!("Invalid header: \"X-Consul-Partition\" - {PARTITION}"));
}

#[test]
fn a_failed_catalog_read_still_tells_of_the_leader() {
    for query in ["dc=nope", "filter=zork==1"] {
        let answer = agent().get(format!("/v1/catalog/nodes?{query}")).status(500);
        assert_eq!(answer.header("X-Consul-Knownleader"), "false");
        assert_eq!(answer.header("X-Consul-Query-Backend"), "blocking-query");
        assert_eq!(answer.header("X-Consul-Index"), "1");
    }
    let unknown = "11111111-2222-3333-4444-555555555555";
    for path in [
        "/v1/health/node/x",
        "/v1/health/checks/x",
        "/v1/health/state/any",
        "/v1/coordinate/nodes",
        "/v1/coordinate/node/x",
        "/v1/session/list",
        "/v1/query",
        "/v1/catalog/gateway-services/x",
    ] {
        let answer = agent().get(format!("{path}?dc=nope")).expect(500, "No path to datacenter");
        assert_eq!(answer.header("X-Consul-Index"), "1", "{path}");
    }
    // python-consul reads the index of whatever comes back.
    for path in [format!("/v1/query/{unknown}"), format!("/v1/query/{unknown}/execute"), "/v1/query/x/explain".into()] {
        assert_eq!(agent().get(&path).expect(404, "Query not found").header("X-Consul-Index"), "1", "{path}");
    }
    agent().get(format!("/v1/query/{unknown}/execute?cached")).expect(500, "Query not found");
    for path in ["/v1/kv/x?dc=nope", "/v1/health/service/x?dc=nope", "/v1/health/connect/x?filter=zork==1"] {
        assert_eq!(agent().get(path).status(500).find("X-Consul-Knownleader"), None, "{path}");
    }
    // What is asked is understood before it is looked for.
    agent().get("/v1/catalog/nodes?dc=nope&wait=z").expect(400, "Invalid wait time");
    agent().get("/v1/operator/usage?dc=nope").status(200);
}

#[test]
fn namespaces_are_refused_or_ignored() {
    let refusing = [
        ("GET", "/v1/kv/x"),
        ("PUT", "/v1/kv/x"),
        ("GET", "/v1/catalog/services"),
        ("GET", "/v1/catalog/service/x"),
        ("GET", "/v1/catalog/node/x"),
        ("PUT", "/v1/catalog/register"),
        ("GET", "/v1/health/node/x"),
        ("GET", "/v1/health/service/x"),
        ("GET", "/v1/health/state/any"),
        ("GET", "/v1/session/list"),
        ("PUT", "/v1/session/create"),
        ("GET", "/v1/agent/services"),
        ("GET", "/v1/agent/checks"),
        ("PUT", "/v1/agent/service/register"),
        ("GET", "/v1/operator/usage"),
    ];
    for (method, path) in refusing {
        for value in ["a", "default"] {
            agent()
                .call(method, &format!("{path}?ns={value}"))
                .expect(400, &format!("Invalid query parameter: \"ns\" - {NAMESPACE}"));
        }
        agent()
            .call(method, path)
            .header("X-Consul-Namespace", "a")
            .expect(400, &format!("Invalid header: \"X-Consul-Namespace\" - {NAMESPACE}"));
    }
    let ignoring = [
        "/v1/catalog/nodes",
        "/v1/catalog/datacenters",
        "/v1/query",
        "/v1/event/list",
        "/v1/agent/members",
        "/v1/agent/self",
        "/v1/coordinate/nodes",
        "/v1/status/leader",
        "/v1/operator/raft/configuration",
    ];
    for path in ["/v1/catalog/nodes", "/v1/agent/members", "/v1/coordinate/nodes"] {
        let partition = format!("Invalid query parameter: \"partition\" - {PARTITION}");
        agent().get(format!("{path}?partition=a")).expect(400, &partition);
    }
    for path in ["/v1/agent/self", "/v1/event/list", "/v1/query", "/v1/status/leader", "/v1/operator/autopilot/health"]
    {
        agent().get(format!("{path}?partition=a&ns=b")).status(200);
    }
    let refused: Vec<&str> =
        ignoring.into_iter().filter(|path| agent().get(format!("{path}?ns=a")).send().code != 200).collect();
    assert!(refused.is_empty(), "refused, and must not be: {refused:?}");
}

#[test]
fn only_some_routes_are_cached() {
    for path in ["/v1/catalog/services", "/v1/catalog/service/x", "/v1/health/service/x", "/v1/catalog/datacenters"] {
        assert!(agent().get(format!("{path}?cached")).status(200).find("X-Cache").is_some(), "{path}");
        assert_eq!(agent().get(path).status(200).find("X-Cache"), None, "{path}");
    }
    for path in ["/v1/catalog/nodes", "/v1/catalog/node/x", "/v1/health/state/any", "/v1/session/list", "/v1/query"] {
        assert_eq!(agent().get(format!("{path}?cached")).status(200).find("X-Cache"), None, "{path}");
    }
}

#[test]
fn only_some_routes_filter() {
    for path in ["/v1/coordinate/nodes", "/v1/session/list", "/v1/session/node/x", "/v1/event/list", "/v1/query"] {
        agent().get(format!("{path}?filter=zork")).status(200);
    }
}

#[test]
fn tokens_are_not_asked_for_without_acls() {
    for call in [
        agent().get("/v1/catalog/nodes?token=abc"),
        agent().get("/v1/catalog/nodes").header("X-Consul-Token", "abc"),
        agent().get("/v1/catalog/nodes").header("Authorization", "Bearer abc"),
    ] {
        call.status(200);
    }
}

#[test]
fn pretty_ends_with_a_newline() {
    for query in ["?pretty", "?pretty=false", "?pretty=1"] {
        let text = agent().get(format!("/v1/catalog/datacenters{query}")).status(200).text();
        assert_eq!(text, "[\n    \"dc1\"\n]\n", "{query}");
    }
}

#[test]
fn gzip_from_half_a_kilobyte_on() {
    let key = unique("gzip");
    let undo = format!("/v1/kv/{key}?recurse");
    let _undo = cleanup(|| drop(agent().delete(&undo).send()));
    for (name, size, packed) in [("small", 400, false), ("large", 2000, true)] {
        let path = format!("/v1/kv/{key}/{name}?raw");
        let value = "v".repeat(size);
        agent().put(format!("/v1/kv/{key}/{name}"), &value).expect(200, "true");
        let answer = agent().get(&path).header("Accept-Encoding", "gzip").status(200);
        assert_eq!(answer.find("Content-Encoding"), packed.then_some("gzip"), "{name}");
        if packed {
            assert_eq!(answer.gunzip(), value.as_bytes());
        }
        let plain = agent().get(&path).expect(200, &value);
        assert_eq!(plain.find("Content-Encoding"), None);
        let refused = agent().get(&path).header("Accept-Encoding", "gzip;q=0").expect(200, &value);
        assert_eq!(refused.find("Content-Encoding"), None);
    }
}

#[test]
fn json_is_escaped_as_go_escapes_it() {
    let node = unique("escape");
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let body = json!({"Node": node, "Address": "10.0.0.1", "NodeMeta": {"k": "<a>&\u{2028}\u{e9}\"\\"}});
    agent().put_json("/v1/catalog/register", &body).status(200);
    agent()
        .get(format!("/v1/catalog/node/{node}"))
        .status(200)
        .contains("\"k\": \"\\u003ca\\u003e\\u0026\\u2028\u{e9}\\\"\\\\\"");
}

#[test]
fn raw_bytes_in_addresses() {
    // What curl sends when nobody encodes it: Go reads these bytes as they stand.
    for filter in ["Node==\"no-such\"", "Node==`no-such`", "Node==\"{|}\"", "Node==\"<\u{e9}>\""] {
        agent().get(format!("/v1/catalog/nodes?filter={filter}")).expect(200, "[]");
    }
    agent().get("/v1/kv/no-such\"<>{}|^`\u{e9}").expect(404, "");
}
