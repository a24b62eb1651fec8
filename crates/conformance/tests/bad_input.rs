//! Bodies and parameters that are not what they should be: status and exact text, route by route.

use conformance::agent;

const SERVICE: (&str, &str) = ("PUT", "/v1/agent/service/register");
const CHECK: (&str, &str) = ("PUT", "/v1/agent/check/register");
const UPDATE: (&str, &str) = ("PUT", "/v1/agent/check/update/x");
const REGISTER: (&str, &str) = ("PUT", "/v1/catalog/register");
const DEREGISTER: (&str, &str) = ("PUT", "/v1/catalog/deregister");
const TXN: (&str, &str) = ("PUT", "/v1/txn");
const QUERY: (&str, &str) = ("POST", "/v1/query");
const COORDINATE: (&str, &str) = ("PUT", "/v1/coordinate/update");
const AUTOPILOT: (&str, &str) = ("PUT", "/v1/operator/autopilot/configuration");
const SESSION: (&str, &str) = ("PUT", "/v1/session/create");

/// Route, body, status, text. A text that ends in `*` is only a beginning: the rest would spell out a type of the
/// reference that has no name.
#[rustfmt::skip]
const BODIES: &[((&str, &str), &str, u16, &str)] = &[
    (SERVICE, "[1]", 400, "Request decode failed: json: cannot unmarshal array into Go value of type *"),
    (SERVICE, r#""x""#, 400, "Request decode failed: json: cannot unmarshal string into Go value of type *"),
    (SERVICE, "null", 400, "Missing service name"),
    (SERVICE, r#"{"Name":"a""#, 400, "Request decode failed: unexpected EOF"),
    (SERVICE, r#"{"Name":5}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field .Alias.Name of type string"),
    (SERVICE, r#"{"Name":"q","Tags":"x"}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field .Alias.Tags of type []string"),
    (SERVICE, r#"{"Name":"q","Tags":[1]}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field .Alias.Tags of type string"),
    (SERVICE, r#"{"Name":"q","Port":1.5}"#, 400, "Request decode failed: json: cannot unmarshal number 1.5 into Go struct field .Alias.Port of type int"),
    (SERVICE, r#"{"Name":"q","Port":99999999999999999999}"#, 400, "Request decode failed: json: cannot unmarshal number 99999999999999999999 into Go struct field .Alias.Port of type int"),
    (SERVICE, r#"{"Name":"q","Meta":[]}"#, 400, "Request decode failed: json: cannot unmarshal array into Go struct field .Alias.Meta of type map[string]string"),
    (SERVICE, r#"{"Name":"q","Meta":{"a":1}}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field .Alias.Meta of type string"),
    (SERVICE, r#"{"Name":"q","EnableTagOverride":"x"}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field .Alias.EnableTagOverride of type bool"),
    (SERVICE, r#"{"Name":"q","Check":[]}"#, 400, "Request decode failed: json: cannot unmarshal array into Go struct field .Alias.Check of type *"),
    (SERVICE, r#"{"Name":"q","Checks":{}}"#, 400, "Request decode failed: json: cannot unmarshal object into Go struct field .Alias.Checks of type structs.CheckTypes"),
    (SERVICE, r#"{"Name":"q","Check":{"Zork":5}}"#, 400, r#"Request decode failed: json: unknown field "Zork""#),
    (SERVICE, r#"{Name:"q"}"#, 400, "Request decode failed: invalid character 'N' looking for beginning of object key string"),
    (SERVICE, r#"{"Name":'q'}"#, 400, "Request decode failed: invalid character '\\'' looking for beginning of value"),
    (SERVICE, r#"{"Name":"q",}"#, 400, "Request decode failed: invalid character '}' looking for beginning of object key string"),
    (SERVICE, "<xml/>", 400, "Request decode failed: invalid character '<' looking for beginning of value"),
    (CHECK, "[1]", 400, "Request decode failed: json: cannot unmarshal array into Go value of type *"),
    (CHECK, r#"{"Name":"q","Interval":true}"#, 400, "Invalid check: TTL must be > 0 for TTL checks"),
    (CHECK, r#"{"Name":"q","Header":{"a":"b"}}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field .Alias.Header of type []string"),
    (CHECK, r#"{"Name":"q","Args":"x"}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field .args of type []string"),
    (UPDATE, "[1]", 400, "Request decode failed: json: cannot unmarshal array into Go value of type agent.checkUpdate"),
    (UPDATE, r#"{"Zork":1}"#, 400, r#"Request decode failed: json: unknown field "Zork""#),
    (UPDATE, r#"{"Status":1}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field checkUpdate.Status of type string"),
    (REGISTER, "[1]", 400, "Request decode failed: json: cannot unmarshal array into Go value of type structs.RegisterRequest"),
    (REGISTER, r#"{"Node":1}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field RegisterRequest.Node of type string"),
    (REGISTER, r#"{"Node":"n","Address":"a","Service":5}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field RegisterRequest.Service of type structs.NodeService"),
    (REGISTER, r#"{"Node":"n","Address":"a","Service":{"Port":"x"}}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field NodeService.Service.Port of type int"),
    (REGISTER, r#"{"Node":"n","Address":"a","Check":{"Status":5}}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field HealthCheck.Check.Status of type string"),
    (REGISTER, r#"{"Node":"n","Address":"a","Checks":{}}"#, 400, "Request decode failed: json: cannot unmarshal object into Go struct field RegisterRequest.Checks of type structs.HealthChecks"),
    (REGISTER, r#"{"Node":"n","Address":"a","NodeMeta":{"k":1}}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field RegisterRequest.NodeMeta of type string"),
    (REGISTER, "<x", 400, "Request decode failed: invalid character '<' looking for beginning of value"),
    (DEREGISTER, "[1]", 400, "Request decode failed: json: cannot unmarshal array into Go value of type *"),
    (DEREGISTER, r#"{"Node":5}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field .Alias.Node of type string"),
    (DEREGISTER, r#"{"Zork":5}"#, 400, r#"Request decode failed: json: unknown field "Zork""#),
    (TXN, "5", 400, "Failed to parse body: json: cannot unmarshal number into Go value of type api.TxnOps"),
    (TXN, "[5]", 400, "Failed to parse body: json: cannot unmarshal number into Go value of type api.TxnOp"),
    (TXN, r#"[{"Zork":{}}]"#, 400, r#"Failed to parse body: json: unknown field "Zork""#),
    (TXN, r#"[{"KV":5}]"#, 400, "Failed to parse body: json: cannot unmarshal number into Go struct field TxnOp.KV of type api.KVTxnOp"),
    (TXN, r#"[{"KV":{"Verb":5}}]"#, 400, "Failed to parse body: json: cannot unmarshal number into Go struct field KVTxnOp.KV.Verb of type api.KVOp"),
    (TXN, r#"[{"KV":{"Index":"x"}}]"#, 400, "Failed to parse body: json: cannot unmarshal string into Go struct field KVTxnOp.KV.Index of type uint64"),
    (TXN, r#"[{"KV":{"Verb":"set","Key":"a","Index":-1}}]"#, 400, "Failed to parse body: json: cannot unmarshal number -1 into Go struct field KVTxnOp.KV.Index of type uint64"),
    (QUERY, "[1]", 400, "Request decode failed: json: cannot unmarshal array into Go value of type structs.PreparedQuery"),
    (QUERY, r#"{"Name":5}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field PreparedQuery.Name of type string"),
    (QUERY, r#"{"Service":5}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field PreparedQuery.Service of type structs.ServiceQuery"),
    (QUERY, r#"{"Service":{"Failover":{"NearestN":"x"}}}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field QueryFailoverOptions.Service.Failover.NearestN of type int"),
    (QUERY, r#"{"Service":{"Tags":"x"}}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field ServiceQuery.Service.Tags of type []string"),
    (COORDINATE, "[1]", 400, "Request decode failed: json: cannot unmarshal array into Go value of type structs.CoordinateUpdateRequest"),
    (COORDINATE, r#"{"Coord":{"Vec":"x"}}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field Coordinate.Coord.Vec of type []float64"),
    (AUTOPILOT, "[1]", 400, "Error parsing autopilot config: json: cannot unmarshal array into Go value of type api.AutopilotConfiguration"),
    (AUTOPILOT, r#"{"MaxTrailingLogs":-1}"#, 400, "Error parsing autopilot config: json: cannot unmarshal number -1 into Go struct field AutopilotConfiguration.MaxTrailingLogs of type uint64"),
    (AUTOPILOT, r#"{"MaxTrailingLogs":"x"}"#, 400, "Error parsing autopilot config: json: cannot unmarshal string into Go struct field AutopilotConfiguration.MaxTrailingLogs of type uint64"),
    (SESSION, r#"{"NodeChecks":"x"}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field .Alias.NodeChecks of type []string"),
    (SESSION, r#"{"TTL":10}"#, 400, "Request decode failed: json: cannot unmarshal number into Go struct field .Alias.TTL of type string"),
    (SESSION, r#"{"TTL":"-10s"}"#, 500, "Invalid Session TTL '-10000000000', must be between [10s=24h0m0s]"),
    (SESSION, r#"{"ServiceChecks":["x"]}"#, 400, "Request decode failed: json: cannot unmarshal string into Go struct field .Alias.ServiceChecks of type structs.ServiceCheck"),
];

#[test]
fn bodies() {
    let mut wrong = Vec::new();
    for ((method, path), body, status, text) in BODIES {
        let answer = agent().call(method, path).body(body).send();
        let got = answer.text();
        let right = text.strip_suffix('*').map_or(got == *text, |start| got.starts_with(start));
        if answer.code != *status || !right {
            wrong.push(format!(
                "{method} {path} {body}\n   expected {status} {text}\n   got      {} {got}",
                answer.code
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), BODIES.len(), wrong.join("\n"));
}

#[test]
fn what_follows_the_first_value_is_not_read() {
    let name = conformance::unique("trailing");
    for rest in [" {\"Name\":\"other\"}", " trailing", "]"] {
        agent().put("/v1/agent/service/register", format!("{{\"Name\":\"{name}\"}}{rest}")).expect(200, "");
    }
    agent().put(format!("/v1/agent/service/deregister/{name}"), "").expect(200, "");
}

#[test]
fn parameters() {
    let bexpr = "Failed to create boolean expression evaluator: ";
    let health = "/v1/health/service/consul?filter=";
    let table = [
        ("/v1/kv/x?index=99999999999999999999".to_owned(), 400, "Invalid index".to_owned()),
        ("/v1/kv/x?index=1.5".into(), 400, "Invalid index".into()),
        ("/v1/kv/x?wait=5".into(), 400, "Invalid wait time".into()),
        ("/v1/kv/x?wait=1x".into(), 400, "Invalid wait time".into()),
        (
            format!("{health}((("),
            500,
            format!(
                "{bexpr}1:4 (3): no match found, expected: \"(\", \"-\", \"0\", \"\\\"\", \"`\", \"not\", [ \\t\\r\\n], [1-9] or [a-zA-Z]"
            ),
        ),
        (format!("{health}x%20in"), 500, format!("{bexpr}1:5 (4): no match found, expected: [ \\t\\r\\n]")),
        (
            format!("{health}Service.Port%20==%20abc"),
            500,
            format!(
                "{bexpr}Failed to coerce value \"abc\" for selector \"Service.Port\": strconv.ParseInt: parsing \"abc\": invalid syntax"
            ),
        ),
        (
            format!("{health}Service.Service%20matches%20%22(%22"),
            500,
            format!("{bexpr}Failed to compile regular expression \"(\": error parsing regexp: missing closing ): `(`"),
        ),
    ];
    for (path, status, text) in table {
        agent().get(path).expect(status, &text);
    }
    for query in ["wait=99999h", "wait=1.5s", "wait=", "index=", "index=0"] {
        agent().get(format!("/v1/kv/no-such-key?{query}")).expect(404, "");
    }
}
