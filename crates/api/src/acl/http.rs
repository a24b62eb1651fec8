//! `/v1/acl` and what else is about access control only.
//!
//! Always true: with access control off every route answers 401 before it looks at anything but the method, as the
//! reference does. Both generations of the API are here: that of 1.22, and that of 1.1 which 1.22 dropped.

use http::StatusCode;

use crate::Api;
use crate::http::{Asker, Failure, Guard, Reply, Request, Route};

const GET: &[&str] = &["GET"];
const PUT: &[&str] = &["PUT"];
const POST: &[&str] = &["POST"];
const CRUD: &[&str] = &["GET", "PUT", "DELETE"];

const PATTERNS: &[(&str, &[&str])] = &[
    ("/v1/acl/bootstrap", PUT),
    ("/v1/acl/login", POST),
    ("/v1/acl/logout", POST),
    ("/v1/acl/replication", GET),
    ("/v1/acl/policies", GET),
    ("/v1/acl/policy", PUT),
    ("/v1/acl/policy/", CRUD),
    ("/v1/acl/policy/name/", GET),
    ("/v1/acl/roles", GET),
    ("/v1/acl/role", PUT),
    ("/v1/acl/role/", CRUD),
    ("/v1/acl/role/name/", GET),
    ("/v1/acl/binding-rules", GET),
    ("/v1/acl/binding-rule", PUT),
    ("/v1/acl/binding-rule/", CRUD),
    ("/v1/acl/auth-methods", GET),
    ("/v1/acl/auth-method", PUT),
    ("/v1/acl/auth-method/", CRUD),
    ("/v1/acl/tokens", GET),
    ("/v1/acl/token", PUT),
    ("/v1/acl/token/", CRUD),
    ("/v1/acl/token/self", GET),
    ("/v1/acl/templated-policies", GET),
    ("/v1/acl/templated-policy/name/", GET),
    ("/v1/acl/templated-policy/preview/", POST),
    ("/v1/agent/token/", PUT),
    ("/v1/internal/acl/authorize", POST),
    // Compat: the API of 1.1 to 1.10.
    ("/v1/acl/create", PUT),
    ("/v1/acl/update", PUT),
    ("/v1/acl/destroy/", PUT),
    ("/v1/acl/info/", GET),
    ("/v1/acl/clone/", PUT),
    ("/v1/acl/list", GET),
    ("/v1/acl/rules/translate", POST),
    ("/v1/acl/rules/translate/", GET),
];

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    let route = |&(pattern, methods)| Route {
        pattern,
        methods,
        guard: Guard::Open("nothing but a refusal is behind it"),
        handler: |api, req, asker| Box::pin(disabled(api, req, asker)),
    };
    PATTERNS.iter().map(route).collect()
}

async fn disabled(_api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    Err(Failure::new(StatusCode::UNAUTHORIZED, "ACL support disabled"))
}
