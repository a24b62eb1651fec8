//! `/v1/config`: config entries, their spellings, rules and refusals.
//!
//! Entries of which there is only one (`proxy-defaults`, `mesh`, `exported-services`) are each touched by one test.

use conformance::{Answer, Value, agent, cleanup, eventually, json, unique};

fn write(entry: &Value) -> Answer {
    agent().put_json("/v1/config", entry).send()
}

/// Deletes an entry at the end, whatever became of it.
fn gone_after(kind: &str, name: &str) -> impl Drop + use<> {
    let path = format!("/v1/config/{kind}/{name}");
    cleanup(move || drop(agent().delete(&path).send()))
}

/// An entry without what no test can know.
fn read(kind: &str, name: &str) -> Value {
    let mut entry = agent().get(format!("/v1/config/{kind}/{name}")).json();
    let members = entry.as_object_mut().expect("an object");
    assert_eq!(members["Kind"], kind);
    for field in ["Hash", "CreateIndex", "ModifyIndex"] {
        let number = members.remove(field).expect(field);
        assert!(number.as_u64().expect("a number") > 0, "{field}");
    }
    entry
}

#[test]
fn keys_are_taken_in_either_spelling_and_shown_in_one() {
    let name = unique("resolver");
    let _undo = gone_after("service-resolver", &name);
    let shown = json!({"Kind": "service-resolver", "Name": name, "ConnectTimeout": "5s",
        "Subsets": {"v1": {"Filter": "Service.Meta.v == 1", "OnlyPassing": true}}});
    for entry in [
        json!({"kind": "service-resolver", "name": name, "connect_timeout": "5s",
            "subsets": {"v1": {"filter": "Service.Meta.v == 1", "only_passing": true}}}),
        json!({"Kind": "service-resolver", "Name": name, "ConnectTimeout": 5_000_000_000u64,
            "Subsets": {"v1": {"Filter": "Service.Meta.v == 1", "OnlyPassing": "true"}}}),
        // One thing for a list of one, and the other way round.
        json!({"Kind": "service-resolver", "NAME": [name], "connect_timeout": "5s",
            "Subsets": {"v1": [{"Filter": "Service.Meta.v == 1", "OnlyPassing": 1}]}}),
    ] {
        write(&entry).expect(200, "true");
        assert_eq!(read("service-resolver", &name), shown, "{entry}");
    }
}

#[test]
fn what_cannot_be_read_is_told_at_once() {
    let table = [
        ("", "EOF"),
        ("[]", "'' expected a map, got 'slice'"),
        ("\"x\"", "'' expected a map, got 'string'"),
        ("null", "Payload does not contain a kind/Kind key at the top level"),
        (r#"{"Name":"x"}"#, "Payload does not contain a kind/Kind key at the top level"),
        (r#"{"Kind":5}"#, "Kind value in payload is not a string"),
        (r#"{"Kind":"zork"}"#, "invalid config entry kind: zork"),
        (r#"{"Kind":"mesh","Zork":1}"#, "1 error occurred:\n\t* invalid config key \"Zork\"\n\n"),
        (
            r#"{"Kind":"service-splitter","Name":{},"Splits":[{"Weight":"x"}],"Meta":{"a":[1,2]}}"#,
            "3 error(s) decoding:\n\n\
             * 'Meta[a]' expected type 'string', got unconvertible type '[]interface {}', value: '[1 2]'\n\
             * 'Name' expected type 'string', got unconvertible type 'map[string]interface {}', value: 'map[]'\n\
             * cannot parse 'Splits[0].Weight' as float: strconv.ParseFloat: parsing \"x\": invalid syntax",
        ),
        (
            r#"{"Kind":"service-resolver","Name":"x","ConnectTimeout":"x"}"#,
            "1 error(s) decoding:\n\n* error decoding 'ConnectTimeout': time: invalid duration \"x\"",
        ),
    ];
    for (body, reason) in table {
        agent().put("/v1/config", body).expect(400, &format!("Request decoding failed: {reason}"));
    }
}

#[test]
fn each_kind_has_its_rules() {
    let table = [
        (json!({"Kind": "service-defaults"}), "Name is required"),
        (
            json!({"Kind": "service-defaults", "Name": "x", "Protocol": "zork"}),
            "1 error occurred:\n\t* invalid value for protocol: zork\n\n",
        ),
        (
            json!({"Kind": "service-defaults", "Name": "x", "RateLimits": {}}),
            "1 error occurred:\n\t* invalid rate_limits config. Rate limiting is a consul enterprise feature\n\n",
        ),
        (
            json!({"Kind": "service-defaults", "Name": "x", "MutualTLSMode": "zork"}),
            "Invalid MutualTLSMode \"zork\". Must be one of \"\", \"strict\", or \"permissive\".",
        ),
        (json!({"Kind": "proxy-defaults", "Name": "x"}), "invalid name (\"x\"), only \"global\" is supported"),
        (
            json!({"Kind": "mesh", "TLS": {"Incoming": {"TLSMinVersion": "TLSv1_3", "CipherSuites": ["x"]}}}),
            "error in incoming TLS configuration: configuring CipherSuites is only applicable to connections \
             negotiated with TLS 1.2 or earlier, TLSMinVersion is set to TLSv1_3",
        ),
        (
            json!({"Kind": "service-resolver", "Name": "x", "DefaultSubset": "y"}),
            "DefaultSubset \"y\" is not a valid subset",
        ),
        (json!({"Kind": "service-resolver", "Name": "x", "Redirect": {}}), "Redirect is empty"),
        (
            json!({"Kind": "service-resolver", "Name": "x", "Failover": {"y": {"Service": "z"}}}),
            "Bad Failover[\"y\"]: not a valid subset subset",
        ),
        (json!({"Kind": "service-splitter", "Name": "x"}), "no splits configured"),
        (
            json!({"Kind": "service-splitter", "Name": "x", "Splits": [{"Weight": 99.5}]}),
            "the sum of all split weights must be 100, not 99.500000",
        ),
        (
            json!({"Kind": "service-router", "Name": "x", "Routes": [{"Match": {"HTTP": {"PathExact": "y"}}}]}),
            "Route[0] PathExact doesn't start with '/': \"y\"",
        ),
        (
            json!({"Kind": "ingress-gateway", "Name": "x", "Listeners": [{"Port": 80}]}),
            "No service declared for listener with port 80",
        ),
        (
            json!({"Kind": "terminating-gateway", "Name": "x", "Services": [{"Name": "y", "CertFile": "z"}]}),
            "Service \"y\" must have a CertFile, CAFile, and KeyFile specified for TLS origination",
        ),
        (json!({"Kind": "service-intentions", "Name": "x"}), "At least one source is required"),
        (
            json!({"Kind": "service-intentions", "Name": "x", "Sources": [{"Name": "y", "Action": "zork"}]}),
            "Sources[0].Action must be set to 'allow' or 'deny'",
        ),
        (json!({"Kind": "jwt-provider", "Name": "x"}), "JSONWebKeySet is required"),
        (json!({"Kind": "exported-services", "Name": "x"}), "exported-services Name must be \"default\""),
        (json!({"Kind": "sameness-group", "Name": "x"}), "sameness-groups are an enterprise-only feature"),
    ];
    for (entry, text) in table {
        write(&entry).expect(500, text);
    }
}

#[test]
fn an_entry_is_written_only_if_its_index_is_known() {
    let name = unique("defaults");
    let _undo = gone_after("service-defaults", &name);
    let path = format!("/v1/config/service-defaults/{name}");
    let entry = |protocol: &str| json!({"Kind": "service-defaults", "Name": name, "Protocol": protocol});
    let index = || agent().get(&path).json()["ModifyIndex"].as_u64().expect("an index");
    let cas = |index: u64, protocol: &str| agent().put_json(format!("/v1/config?cas={index}"), &entry(protocol));
    cas(7, "tcp").expect(200, "false");
    cas(0, "tcp").expect(200, "true");
    let first = index();
    cas(0, "http").expect(200, "false");
    cas(first + 1, "http").expect(200, "false");
    cas(first, "http").expect(200, "true");
    assert!(index() > first);
    // What is there already has been written, whatever index is asked for; and it moves nothing.
    let second = index();
    cas(first, "http").expect(200, "true");
    assert_eq!(index(), second);
    agent().put_json("/v1/config?cas=x", &entry("tcp")).expect(500, "strconv.ParseUint: parsing \"x\": invalid syntax");
    agent().delete(format!("{path}?cas={first}")).expect(200, "false");
    agent().delete(format!("{path}?cas={second}")).expect(200, "true");
    // What is not there counts as deleted.
    agent().delete(format!("{path}?cas={second}")).expect(200, "true");
    agent().delete(&path).expect(200, "{}");
}

#[test]
fn names_are_one_name_in_any_case() {
    let name = unique("Case");
    let _undo = gone_after("service-defaults", &name);
    write(&json!({"Kind": "service-defaults", "Name": name})).expect(200, "true");
    write(&json!({"Kind": "service-defaults", "Name": name.to_uppercase(), "Protocol": "GRPC"})).expect(200, "true");
    let kept = read("service-defaults", &name.to_lowercase());
    assert_eq!(
        kept,
        json!({"Kind": "service-defaults", "Name": name.to_uppercase(), "Protocol": "grpc", "TransparentProxy": {},
            "MeshGateway": {}, "Expose": {}})
    );
}

#[test]
fn what_is_not_there_is_named() {
    let name = unique("none");
    let answer = agent().get(format!("/v1/config/service-defaults/{name}"));
    let answer = answer.expect(404, &format!("Config entry not found for \"service-defaults\" / \"{name}\""));
    assert!(answer.index() > 0);
    agent().get("/v1/config/zork").expect(500, "invalid config entry kind: zork");
    agent().get("/v1/config/zork/x").expect(500, "invalid config entry kind: zork");
    agent().delete("/v1/config/zork/x").expect(400, "invalid config entry kind: zork");
    agent().delete("/v1/config/mesh").expect(404, "Must provide both a kind and name to delete");
    agent().get("/v1/config").expect(405, "method GET not allowed");
    agent().put("/v1/config/mesh", "").expect(405, "method PUT not allowed");
}

#[test]
fn one_kind_can_be_filtered() {
    let (one, other) = (unique("filter"), unique("filter"));
    let _undo = (gone_after("service-defaults", &one), gone_after("service-defaults", &other));
    write(&json!({"Kind": "service-defaults", "Name": one, "Meta": {"team": one}})).expect(200, "true");
    write(&json!({"Kind": "service-defaults", "Name": other})).expect(200, "true");
    let names = |filter: &str| {
        let filter = filter.replace(' ', "%20").replace('"', "%22");
        let rows = agent().get(format!("/v1/config/service-defaults?filter={filter}")).json();
        let rows = rows.as_array().expect("a list").iter();
        rows.map(|row| row["Name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&format!("Name == \"{other}\"")), [other.as_str()]);
    assert_eq!(names(&format!("Meta.team == \"{one}\" and MutualTLSMode == \"\"")), [one.as_str()]);
    agent()
        .get("/v1/config/service-defaults?filter=Zork==x")
        .expect(500, "Failed to create boolean expression evaluator: Selector \"Zork\" is not valid");
    agent()
        .get("/v1/config/service-resolver?filter=Name==x")
        .expect(500, "filtering not supported for config entry kind=service-resolver");
}

#[test]
fn a_chain_must_lead_somewhere() {
    let (web, db) = (unique("web"), unique("db"));
    let _undo = (gone_after("service-defaults", &web), gone_after("service-defaults", &db));
    let _chains = (gone_after("service-resolver", &web), gone_after("service-splitter", &web));
    for (name, protocol) in [(&web, "http"), (&db, "grpc")] {
        write(&json!({"Kind": "service-defaults", "Name": name, "Protocol": protocol})).expect(200, "true");
    }
    let splits = |splits: Value| write(&json!({"Kind": "service-splitter", "Name": web, "Splits": splits}));
    splits(json!([{"Weight": 50}, {"Weight": 50, "ServiceSubset": "v2"}]))
        .expect(500, &format!("service \"{web}\" does not have a subset named \"v2\""));
    splits(json!([{"Weight": 50}, {"Weight": 50, "Service": db}])).expect(
        500,
        &format!(
            "discovery chain \"{web}\" uses inconsistent protocols; service \"{db}\" has \"grpc\" which is not \"http\""
        ),
    );
    write(&json!({"Kind": "service-resolver", "Name": web, "Subsets": {"v2": {}}})).expect(200, "true");
    splits(json!([{"Weight": 50}, {"Weight": 50, "ServiceSubset": "v2"}])).expect(200, "true");
    // What others stand on cannot go.
    agent()
        .delete(format!("/v1/config/service-resolver/{web}"))
        .expect(500, &format!("service \"{web}\" does not have a subset named \"v2\""));
    write(&json!({"Kind": "service-defaults", "Name": web, "Protocol": "tcp"})).expect(
        500,
        &format!(
            "discovery chain \"{web}\" uses a protocol \"tcp\" that does not permit advanced routing or splitting behavior"
        ),
    );
}

#[test]
fn gateways_and_intentions_mind_the_protocol() {
    let (gateway, web) = (unique("gateway"), unique("web"));
    let _undo = (gone_after("service-intentions", &web), gone_after("ingress-gateway", &gateway));
    let _service = gone_after("service-defaults", &web);
    let listener = json!({"Kind": "ingress-gateway", "Name": gateway, "Listeners": [{"Port": 80, "Protocol": "http",
            "Services": [{"Name": web}]}]});
    let refused =
        format!("service \"{web}\" has protocol \"tcp\", which does not match defined listener protocol \"http\"");
    write(&listener).expect(500, &refused);
    let intentions = json!({"Kind": "service-intentions", "Name": web, "Sources": [
        {"Name": "*", "Action": "deny"},
        {"Name": "a", "Permissions": [{"Action": "allow", "HTTP": {"Methods": ["get"]}}]}]});
    write(&intentions).expect(
        500,
        &format!("service \"{web}\" has protocol \"tcp\", which is incompatible with L7 intentions permissions"),
    );
    write(&json!({"Kind": "service-defaults", "Name": web, "Protocol": "http"})).expect(200, "true");
    write(&listener).expect(200, "true");
    write(&intentions).expect(200, "true");
    assert_eq!(
        read("ingress-gateway", &gateway),
        json!({"Kind": "ingress-gateway", "Name": gateway, "TLS": {"Enabled": false}, "Listeners": [
            {"Port": 80, "Protocol": "http", "Services": [{"Name": web, "Hosts": null}]}]})
    );
    // The more is said exactly, the earlier it counts.
    assert_eq!(
        read("service-intentions", &web)["Sources"],
        json!([
            {"Name": "a", "Permissions": [{"Action": "allow", "HTTP": {"Methods": ["GET"]}}], "Precedence": 9,
                "Type": "consul"},
            {"Name": "*", "Action": "deny", "Precedence": 8, "Type": "consul"}])
    );
    let clash = json!({"Kind": "terminating-gateway", "Name": gateway});
    write(&clash).expect(
        500,
        &format!(
            "cannot create a \"terminating-gateway\" config entry with name \"{gateway}\", a \"ingress-gateway\" config \
             entry with that name already exists"
        ),
    );
}

#[test]
fn a_jwt_provider_stays_while_it_is_named() {
    let (provider, web) = (unique("provider"), unique("web"));
    let _undo = (gone_after("service-intentions", &web), gone_after("jwt-provider", &provider));
    let intentions = json!({"Kind": "service-intentions", "Name": web, "JWT": {"Providers": [{"Name": provider}]},
        "Sources": [{"Name": "a", "Action": "allow"}]});
    write(&intentions)
        .status(500)
        .contains(&format!("Referenced JWT Provider does not exist. Provider Name: {provider}"));
    let keys = json!({"Kind": "jwt-provider", "Name": provider, "JSONWebKeySet": {"Local": {"JWKS": "e30="}}});
    write(&keys).expect(200, "true");
    assert_eq!(read("jwt-provider", &provider)["ClockSkewSeconds"], 30);
    write(&intentions).expect(200, "true");
    let path = format!("/v1/config/jwt-provider/{provider}");
    agent().delete(&path).expect(
        500,
        &format!(
            "cannot delete jwt provider config entry referenced by an intention. Provider name: {provider}, intention \
             name: {web}"
        ),
    );
    agent().delete(format!("/v1/config/service-intentions/{web}")).expect(200, "{}");
    agent().delete(&path).expect(200, "{}");
}

#[test]
fn exports_are_one_entry() {
    let _undo = gone_after("exported-services", "default");
    let export =
        |services: Value| write(&json!({"Kind": "exported-services", "Name": "default", "Services": services}));
    export(json!([{"Name": "web"}])).expect(500, "Services[0]: must have at least one consumer");
    export(json!([{"Name": "web", "Consumers": [{"Peer": "*"}]}]))
        .expect(500, "Services[0].Consumers[0]: exporting to all peers (wildcard) is not supported");
    export(json!([{"Name": "web", "Consumers": [{"SamenessGroup": "x"}]}]))
        .expect(500, "Services[0].Consumers[0]: sameness-groups are an enterprise-only feature");
    let services = json!([{"Name": "web", "Consumers": [{"Peer": "east"}, {"Peer": "west"}]}]);
    export(services.clone()).expect(200, "true");
    assert_eq!(
        read("exported-services", "default"),
        json!({"Kind": "exported-services", "Name": "default", "Services": services})
    );
}

#[test]
fn a_read_waits_for_its_own_entry() {
    let (name, other) = (unique("watched"), unique("other"));
    let _undo = (gone_after("service-defaults", &name), gone_after("service-defaults", &other));
    write(&json!({"Kind": "service-defaults", "Name": name})).expect(200, "true");
    let path = format!("/v1/config/service-defaults/{name}");
    let index = agent().get(&path).status(200).index();
    let waiting = {
        let path = format!("{path}?index={index}&wait=60s");
        std::thread::spawn(move || agent().get(path).json())
    };
    write(&json!({"Kind": "service-defaults", "Name": other})).expect(200, "true");
    write(&json!({"Kind": "service-defaults", "Name": name, "Protocol": "http"})).expect(200, "true");
    let seen = waiting.join().expect("an answer");
    // The write to the other may have come before the wait.
    let seen = if seen["Protocol"] == "http" {
        seen
    } else {
        eventually("the change", || Some(agent().get(&path).json()).filter(|entry| entry["Protocol"] == "http"))
    };
    assert_eq!(seen["Protocol"], "http");
}

#[test]
fn central_defaults_complete_a_proxy_when_asked_for() {
    let (node, web) = (unique("node"), unique("web"));
    let proxy = format!("{web}-proxy");
    let _undo = (gone_after("service-defaults", &web), gone_after("proxy-defaults", "global"));
    let undo = json!({"Node": node}).to_string();
    let _node = cleanup(move || drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let body = json!({"Node": node, "Address": "10.1.1.1", "Service": {"Kind": "connect-proxy", "Service": proxy,
        "Port": 1, "Proxy": {"DestinationServiceName": web, "Config": {"own": 1},
            "Upstreams": [{"DestinationName": "db", "LocalBindPort": 2}]}}});
    agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    write(&json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"own": 2, "all": {"a": "b"}},
        "MeshGateway": {"Mode": "local"}}))
    .expect(200, "true");
    write(&json!({"Kind": "service-defaults", "Name": web, "Protocol": "http", "MaxInboundConnections": 5,
        "UpstreamConfig": {"Defaults": {"ConnectTimeoutMs": 9}}}))
    .expect(200, "true");
    let read = |path: String| agent().get(path).json()[0]["Service"]["Proxy"].clone();
    let plain = read(format!("/v1/health/service/{proxy}"));
    assert_eq!(plain["Config"], json!({"own": 1}));
    let merged = read(format!("/v1/health/service/{proxy}?merge-central-config"));
    assert_eq!(
        merged["Config"],
        json!({"own": 1, "all": {"a": "b"}, "protocol": "http", "max_inbound_connections": 5})
    );
    assert_eq!(merged["MeshGateway"], json!({"Mode": "local"}));
    assert_eq!(
        merged["Upstreams"],
        json!([{"DestinationType": "", "DestinationName": "db", "Datacenter": "", "LocalBindPort": 2,
            "Config": {"connect_timeout_ms": 9}, "MeshGateway": {"Mode": "local"}}])
    );
    // Compat: a row of the catalog then says nothing of its node but the name.
    let row = agent().get(format!("/v1/catalog/service/{proxy}?merge-central-config")).json()[0].clone();
    assert_eq!((&row["Node"], &row["Address"]), (&json!(node), &json!("")));
    assert_eq!(row["ServiceProxy"], merged);
}

#[test]
fn gateways_stand_before_what_their_entries_say() {
    let (node, inside, outside) = (unique("node"), unique("inside"), unique("outside"));
    let (ingress, edge) = (unique("ingress"), unique("edge"));
    let _undo = (gone_after("ingress-gateway", &ingress), gone_after("terminating-gateway", &edge));
    let undo = json!({"Node": node}).to_string();
    let _node = cleanup(move || drop(agent().put("/v1/catalog/deregister", &undo).send()));
    for (kind, name) in [("", &inside), ("ingress-gateway", &ingress), ("terminating-gateway", &edge)] {
        let body = json!({"Node": node, "Address": "10.1.1.1",
            "Service": {"Kind": kind, "Service": name, "Port": 1}});
        agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    }
    let path = format!("/v1/catalog/gateway-services/{ingress}");
    agent().get(&path).expect(200, "[]");
    write(&json!({"Kind": "ingress-gateway", "Name": ingress, "Listeners": [{"Port": 80,
        "Services": [{"Name": inside}]}]}))
    .expect(200, "true");
    write(&json!({"Kind": "terminating-gateway", "Name": edge, "Services": [{"Name": outside, "SNI": "x"},
        {"Name": inside}]}))
    .expect(200, "true");
    let rows = |path: &str| {
        let mut rows = agent().get(path).json();
        for row in rows.as_array_mut().expect("a list") {
            let row = row.as_object_mut().expect("an object");
            assert!(row.remove("CreateIndex").is_some() && row.remove("ModifyIndex").is_some());
        }
        rows
    };
    assert_eq!(
        rows(&path),
        json!([{"Gateway": {"Name": ingress}, "Service": {"Name": inside}, "GatewayKind": "ingress-gateway",
            "Port": 80, "Protocol": "tcp"}])
    );
    assert_eq!(
        rows(&format!("/v1/catalog/gateway-services/{edge}")),
        json!([{"Gateway": {"Name": edge}, "Service": {"Name": inside}, "GatewayKind": "terminating-gateway",
                "ServiceKind": "service", "AutoHostRewrite": true},
            {"Gateway": {"Name": edge}, "Service": {"Name": outside}, "GatewayKind": "terminating-gateway", "SNI": "x",
                "AutoHostRewrite": true}])
    );
    let found = |path: String| {
        let rows = agent().get(path).json();
        let rows = rows.as_array().expect("a list").iter();
        rows.map(|row| row["Service"]["Service"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(format!("/v1/health/ingress/{inside}")), [ingress.as_str()]);
    assert_eq!(found(format!("/v1/health/connect/{outside}")), [edge.as_str()]);
    assert_eq!(found(format!("/v1/health/ingress/{outside}")), Vec::<String>::new());
}

#[test]
fn an_agent_completes_its_own_proxies() {
    let name = unique("local");
    let proxy = format!("{name}-sidecar-proxy");
    let _undo = gone_after("service-defaults", &name);
    let _service = {
        let path = format!("/v1/agent/service/deregister/{name}");
        cleanup(move || drop(agent().put(&path, "").send()))
    };
    let register = || {
        let body = json!({"Name": name, "Port": 80, "Connect": {"SidecarService": {}}});
        agent().put_json("/v1/agent/service/register", &body).expect(200, "");
    };
    register();
    write(&json!({"Kind": "service-defaults", "Name": name, "Protocol": "grpc"})).expect(200, "true");
    let protocol_of = |path: &str, field: &str| {
        let answer = agent().get(path).json();
        let shown = if answer.is_array() { answer[0].clone() } else { answer };
        shown[field]["Config"]["protocol"].as_str().map(str::to_owned)
    };
    let shown = || protocol_of(&format!("/v1/agent/service/{proxy}"), "Proxy");
    let kept = || protocol_of(&format!("/v1/catalog/service/{proxy}"), "ServiceProxy");
    eventually("the agent to show it", || shown().filter(|protocol| protocol == "grpc"));
    eventually("the catalog to show it", || kept().filter(|protocol| protocol == "grpc"));
    // Registered again it is the same.
    register();
    assert_eq!(shown().as_deref(), Some("grpc"));
    agent().delete(format!("/v1/config/service-defaults/{name}")).expect(200, "{}");
    eventually("the agent to forget it", || shown().is_none().then_some(()));
    eventually("the catalog to forget it", || kept().is_none().then_some(()));
}
