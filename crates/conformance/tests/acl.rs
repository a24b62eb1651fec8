//! `/v1/acl` and agent tokens while access control is off: every route is there and says so.

use conformance::agent;

const CRUD: &str = "OPTIONS,GET,PUT,DELETE";
const GET: &str = "OPTIONS,GET";
const PUT: &str = "OPTIONS,PUT";
const POST: &str = "OPTIONS,POST";

/// A path, its methods, a method that it does not have.
const ROUTES: &[(&str, &str, &str)] = &[
    ("/v1/acl/bootstrap", PUT, "GET"),
    ("/v1/acl/login", POST, "PUT"),
    ("/v1/acl/logout", POST, "PUT"),
    ("/v1/acl/replication", GET, "PUT"),
    ("/v1/acl/policies", GET, "PUT"),
    ("/v1/acl/policy", PUT, "GET"),
    ("/v1/acl/policy/x", CRUD, "POST"),
    ("/v1/acl/policy/", CRUD, "POST"),
    ("/v1/acl/policy/name/x", GET, "PUT"),
    ("/v1/acl/roles", GET, "PUT"),
    ("/v1/acl/role", PUT, "GET"),
    ("/v1/acl/role/x", CRUD, "POST"),
    ("/v1/acl/role/name/x", GET, "PUT"),
    ("/v1/acl/binding-rules", GET, "PUT"),
    ("/v1/acl/binding-rule", PUT, "GET"),
    ("/v1/acl/binding-rule/x", CRUD, "POST"),
    ("/v1/acl/auth-methods", GET, "PUT"),
    ("/v1/acl/auth-method", PUT, "GET"),
    ("/v1/acl/auth-method/x", CRUD, "POST"),
    ("/v1/acl/tokens", GET, "PUT"),
    ("/v1/acl/token", PUT, "GET"),
    ("/v1/acl/token/x", CRUD, "POST"),
    ("/v1/acl/token/x/clone", CRUD, "POST"),
    ("/v1/acl/token/self", GET, "PUT"),
    ("/v1/acl/templated-policies", GET, "PUT"),
    ("/v1/acl/templated-policy/name/x", GET, "PUT"),
    ("/v1/acl/templated-policy/preview/x", POST, "PUT"),
    ("/v1/agent/token/default", PUT, "GET"),
    ("/v1/agent/token/zork", PUT, "GET"),
    ("/v1/internal/acl/authorize", POST, "GET"),
];

#[test]
fn every_route_is_off() {
    for (path, allow, other) in ROUTES {
        for method in allow.split(',').skip(1) {
            for body in ["", "zork"] {
                let answer = agent().call(method, path).body(body).expect(401, "ACL support disabled");
                assert_eq!(answer.header("Content-Type"), "text/plain; charset=utf-8");
                assert_eq!(answer.find("X-Consul-Index"), None);
            }
            agent().call(method, &format!("{path}?ns=a&stale&consistent")).expect(401, "ACL support disabled");
        }
        let answer = agent().call(other, path).expect(405, &format!("method {other} not allowed"));
        assert_eq!(answer.header("Allow"), *allow, "{path}");
        assert_eq!(agent().call("OPTIONS", path).expect(200, "").header("Allow"), *allow, "{path}");
    }
}

#[test]
fn tokens_in_requests_are_not_looked_at() {
    agent().get("/v1/agent/self").header("X-Consul-Token", "zork").status(200);
    agent().get("/v1/catalog/services?token=zork").status(200);
    agent().get("/v1/acl/zork").expect(404, "Invalid URL path: not a recognized HTTP API endpoint\n");
}
