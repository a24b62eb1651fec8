//! Requests and what a running 1.22 says to them, word for word.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wire::time::GoTime;

use super::super::{AuthMethod, BindingRule, Policy, Role, Token, anonymous, builtin};
use super::binding_rule::bound;
use super::{
    Fresh, Lifetimes, Origin, auth_method, binding_rule, changed_token, cloned_token, deletable_policy, deletable_role,
    deletable_token, description, interpolated, is_role_name, login, logout, new_token, policy, role, uuid,
};
use crate::acl::{AclCommand, AuthMethodBatchSet, PolicyBatchSet, RoleBatchSet, TokenBatchSet};
use crate::{Command, Error, Index, Outcome, State};

const KNOWN: &str = "22222222-2222-2222-2222-222222222222";
const SECRET: &str = "33333333-3333-3333-3333-333333333333";
const OTHER: &str = "44444444-4444-4444-4444-444444444444";
const POLICY: &str = "55555555-5555-5555-5555-555555555555";
const ROLE: &str = "66666666-6666-6666-6666-666666666666";
const MANAGEMENT: &str = "00000000-0000-0000-0000-000000000001";

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    let text = value.to_string();
    wire::json::from_slice(text.as_bytes(), wire::json::Options::STRICT).unwrap()
}

fn now() -> GoTime {
    GoTime::parse("2026-11-23T12:00:00Z").unwrap()
}

/// A policy `p2`, a role `r1`, a token that ends, an auth method `j`.
fn state() -> State {
    let mut state = State::default();
    let mut policies = builtin().to_vec();
    policies.push(read(&json!({"ID": POLICY, "Name": "p2"})));
    let token = json!({"AccessorID": KNOWN, "SecretID": SECRET, "Roles": [{"ID": ROLE}],
                       "ExpirationTime": "2026-11-23T13:00:00Z"});
    let commands = [
        AclCommand::PolicySet(PolicyBatchSet { policies }),
        AclCommand::RoleSet(RoleBatchSet {
            roles: vec![read(&json!({"ID": ROLE, "Name": "r1"}))],
            allow_missing_links: false,
        }),
        AclCommand::AuthMethodSet(AuthMethodBatchSet {
            auth_methods: vec![read(&json!({"Name": "j", "Type": "jwt"}))],
        }),
        AclCommand::TokenSet(TokenBatchSet {
            tokens: vec![anonymous(now()), read(&token)],
            ..TokenBatchSet::default()
        }),
    ];
    for (index, command) in (1..).zip(commands) {
        assert_eq!(state.apply(Index(index), Command::Acl(command)).outcome, Outcome::Done);
    }
    state
}

fn fresh() -> Fresh {
    Fresh { accessor_id: OTHER.to_owned(), secret_id: ::acl::Secret::new(OTHER) }
}

fn create(request: &Value) -> Result<Token, Error> {
    new_token(&state(), read(request), fresh(), now(), Lifetimes::default(), Origin::Request)
}

fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.map_or_else(|error| error.to_string(), |admitted| format!("admitted: {admitted:?}"))
}

#[track_caller]
fn refuses<T: std::fmt::Debug>(request: &Value, admit: impl Fn(&Value) -> Result<T, Error>, expected: &str) {
    assert_eq!(text(admit(request)), expected, "{request}");
}

#[test]
fn new_tokens() {
    let refuses = |request: Value, expected: &str| refuses(&request, create, expected);
    refuses(json!({"AccessorID": "x"}), "Invalid Token: AccessorID - not a valid UUID");
    refuses(json!({"SecretID": "x"}), "Invalid Token: SecretID - not a valid UUID");
    refuses(
        json!({"AccessorID": "00000000-0000-0000-0000-00000000000a"}),
        r#"Invalid Token: AccessorID - UUIDs with the prefix "00000000-0000-0000-0000-0000000000" are reserved"#,
    );
    refuses(json!({"AccessorID": KNOWN}), "Invalid Token: AccessorID is already in use");
    refuses(json!({"SecretID": KNOWN}), "Invalid Token: SecretID is already in use");
    refuses(json!({"SecretID": SECRET}), "Invalid Token: SecretID is already in use");
    refuses(json!({"Policies": [{"Name": "nope"}]}), r#"No such ACL policy with name "nope""#);
    refuses(json!({"Policies": [{"ID": OTHER}]}), &format!("No such ACL policy with ID \"{OTHER}\""));
    refuses(
        json!({"Policies": [{"ID": "abc"}]}),
        r#"Error looking up policy for ID: "abc": failed acl policy lookup: index error: UUID must be 36 characters"#,
    );
    refuses(json!({"Roles": [{"Name": "nope"}]}), r#"No such ACL role with name "nope""#);
    refuses(json!({"Roles": [{"ID": OTHER}]}), &format!("No such ACL role with ID \"{OTHER}\""));
    refuses(json!({"ServiceIdentities": [{}]}), "Service identity is missing the service name field on this token");
    refuses(
        json!({"ServiceIdentities": [{"ServiceName": "A b"}]}),
        r#"Service identity "A b" has an invalid name. Only lowercase alphanumeric characters, '-' and '_' are allowed"#,
    );
    refuses(
        json!({"ServiceIdentities": [{"ServiceName": "a", "Datacenters": ["x"]}], "Local": true}),
        r#"Service identity "a" cannot specify a list of datacenters on a local token"#,
    );
    refuses(json!({"NodeIdentities": [{}]}), "Node identity is missing the node name field on this token");
    refuses(
        json!({"NodeIdentities": [{"NodeName": "a"}]}),
        "Node identity is missing the datacenter field on this token",
    );
    refuses(
        json!({"NodeIdentities": [{"NodeName": "A", "Datacenter": "x"}]}),
        "Node identity has an invalid name. Only lowercase alphanumeric characters, '-' and '_' are allowed",
    );
    refuses(json!({"AuthMethod": "j"}), "AuthMethod field is disallowed outside of login");
}

#[test]
fn templates_of_new_tokens() {
    let refuses =
        |template: Value, expected: &str| refuses(&json!({"TemplatedPolicies": [template]}), create, expected);
    let named = |name: &str, variables: Value| json!({"TemplateName": name, "TemplateVariables": variables});
    let error = |name: &str, text: &str| format!("validation error for templated policy \"{name}\": {text}");
    refuses(json!({}), "templated policy is missing the template name field on this token");
    refuses(json!({"TemplateName": "x"}), r#"no such ACL templated policy with Name "x""#);
    let absent = "1 error occurred:\n\t* Invalid type. Expected: object, given: null\n\n";
    refuses(json!({"TemplateName": "builtin/service"}), &error("builtin/service", absent));
    refuses(
        named("builtin/api-gateway", json!({})),
        &error("builtin/api-gateway", "1 error occurred:\n\t* name is required\n\n"),
    );
    let allowed = "Only lowercase alphanumeric characters, '-' and '_' are allowed";
    refuses(
        named("builtin/service", json!({"Name": "A"})),
        &error("builtin/service", &format!("service identity \"A\" has an invalid name. {allowed}")),
    );
    refuses(
        named("builtin/node", json!({"Name": "A"})),
        &error("builtin/node", &format!("node identity \"A\"  has an invalid name. {allowed}")),
    );
    refuses(
        named("builtin/service", json!({})),
        &error("builtin/service", &format!("service identity \"\" has an invalid name. {allowed}")),
    );
}

#[test]
fn lives_of_new_tokens() {
    let refuses = |request: Value, expected: &str| refuses(&request, create, expected);
    refuses(json!({"ExpirationTTL": "1s"}), "ExpirationTime cannot be less than 1m0s in the future (was 1s)");
    refuses(json!({"ExpirationTTL": "-1s"}), "Token Expiration TTL '-1s' should be > 0");
    refuses(
        json!({"ExpirationTTL": "48h", "ExpirationTime": "2030-01-01T00:00:00Z"}),
        "Token Expiration TTL and Expiration Time cannot both be set",
    );
    refuses(json!({"ExpirationTime": "2000-01-01T00:00:00Z"}), "ExpirationTime cannot be before CreateTime");
    let token = create(&json!({"ExpirationTTL": "1h"})).unwrap();
    assert_eq!(token.expires(), GoTime::parse("2026-11-23T13:00:00Z").ok());
    assert!(token.expiration_ttl.is_zero());
}

#[test]
fn what_a_new_token_is_given() {
    let token = create(&json!({
        "Policies": [{"Name": "P2"}, {"ID": POLICY}, {"Name": "global-management"}], "Roles": [{"Name": "r1"}],
        "ServiceIdentities": [{"ServiceName": "web", "Datacenters": ["b"]}, {"ServiceName": "web", "Datacenters": ["a"]}],
        "TemplatedPolicies": [{"TemplateName": "builtin/dns"}, {"TemplateName": "builtin/dns"}],
    }))
    .unwrap();
    assert_eq!((token.accessor_id.as_str(), token.secret_id.expose()), (OTHER, OTHER));
    let ids: Vec<&str> = token.policies.iter().map(|link| link.id.as_str()).collect();
    assert_eq!(ids, [POLICY, MANAGEMENT]);
    assert_eq!(token.service_identities[0].datacenters, ["a", "b"]);
    assert_eq!((token.service_identities.len(), token.templated_policies.len()), (1, 1));
    assert_eq!(token.templated_policies[0].template_id, "00000000-0000-0000-0000-000000000005");
    assert_eq!(token.hash.0.len(), 32);
    let mut state = state();
    let batch = TokenBatchSet { tokens: vec![token], ..TokenBatchSet::default() };
    let applied = state.apply(Index(9), Command::Acl(AclCommand::TokenSet(batch)));
    assert_eq!(applied.outcome, Outcome::Done);
}

#[test]
fn changed_tokens() {
    let state = state();
    let change = |request: &Value| changed_token(&state, read::<Token>(request), now());
    let refuses = |mut request: Value, expected: &str| {
        if request.get("AccessorID").is_none() {
            request["AccessorID"] = json!(KNOWN);
        }
        refuses(&request, change, expected);
    };
    refuses(json!({"AccessorID": OTHER}), &format!("Cannot find token \"{OTHER}\""));
    refuses(json!({"AccessorID": "xyz"}), "AccessorID is not a valid UUID");
    refuses(json!({"Local": true}), &format!("Cannot toggle local mode of {KNOWN}"));
    refuses(json!({"SecretID": OTHER}), "Changing a token's SecretID is not permitted");
    refuses(json!({"ExpirationTTL": "2h"}), &format!("Cannot change expiration time of {KNOWN}"));
    refuses(json!({"ExpirationTime": "2030-01-01T00:00:00Z"}), &format!("Cannot change expiration time of {KNOWN}"));
    refuses(json!({"AuthMethod": "x"}), &format!("Cannot change AuthMethod of {KNOWN}"));
    let later = GoTime::parse("2026-11-23T13:00:01Z").unwrap();
    let token = read::<Token>(&json!({"AccessorID": KNOWN}));
    assert_eq!(text(changed_token(&state, token, later)), format!("Cannot find token \"{KNOWN}\""));
    let token = change(&json!({"AccessorID": KNOWN, "Description": "new"})).unwrap();
    assert_eq!((token.secret_id.expose(), token.expires().is_some()), (SECRET, true));
}

#[test]
fn cloned_and_deleted_tokens() {
    let state = state();
    assert_eq!(cloned_token(&state, OTHER, "", now()), Err(Error::not_found("token does not exist: ACL not found")));
    let clone = cloned_token(&state, KNOWN, "copy", now()).unwrap();
    assert!(clone.secret_id.is_empty() && clone.roles.len() == 1 && clone.description == "copy");
    let delete = |id: &str, asker: &str| text(deletable_token(&state, id, asker));
    assert_eq!(delete(OTHER, ""), "token does not exist: ACL not found");
    assert_eq!(delete("x", ""), "Accessor ID is missing or an invalid UUID");
    assert_eq!(delete(super::super::ANONYMOUS_ID, ""), "Delete operation not permitted on the anonymous token");
    assert_eq!(delete(KNOWN, SECRET), "Deletion of the request's authorization token is not permitted");
    assert!(deletable_token(&state, KNOWN, OTHER).is_ok());
}

#[test]
fn policies() {
    let state = state();
    let admit = |request: &Value| policy(&state, read::<Policy>(request), OTHER);
    let refuses = |request: Value, expected: &str| refuses(&request, admit, expected);
    refuses(json!({}), "Invalid Policy: no Name is set");
    let allowed = "Only alphanumeric characters, a single '/', '-' and '_' are allowed";
    refuses(json!({"Name": "a b"}), &format!("Invalid Policy: invalid Name. {allowed}"));
    refuses(json!({"Name": "a/b/c"}), &format!("Invalid Policy: invalid Name. {allowed}"));
    for name in ["/a", "builtin/x"] {
        refuses(json!({"Name": name}), "Invalid Policy: invalid Name. Names cannot be prefixed with '/' or 'builtin/'");
    }
    refuses(
        json!({"Name": "a".repeat(129)}),
        "Invalid Policy: invalid Name. Length must be greater than 0 and less than 128",
    );
    let taken = |word: &str| format!("Invalid Policy: A {word} \"global-management\" already exists");
    refuses(json!({"Name": "global-management"}), &taken("Policy with Name"));
    refuses(json!({"Name": "global-management", "ID": POLICY}), &taken("policy with name"));
    refuses(json!({"Name": "x", "ID": OTHER}), &format!("cannot find policy {OTHER}"));
    refuses(json!({"Name": "x", "ID": "xyz"}), "Policy ID invalid UUID");
    refuses(
        json!({"Name": "global-management", "ID": MANAGEMENT, "Rules": ""}),
        "Changing the Rules for the builtin global-management policy is not permitted",
    );
    refuses(json!({"Name": "x", "Rules": "acl = \"x\""}), "Invalid acl policy: \"x\"");
    assert_eq!(admit(&json!({"Name": "a/b", "Rules": "acl = \"read\""})).unwrap().id, OTHER);

    let delete = |id: &str| text(deletable_policy(&state, id));
    assert_eq!(delete(OTHER), "policy does not exist: ACL not found");
    assert_eq!(delete(MANAGEMENT), "Delete operation not permitted on the builtin global-management policy");
    assert_eq!(delete("x"), "failed acl policy lookup: index error: UUID must be 36 characters");
    assert!(deletable_policy(&state, POLICY).is_ok());
}

#[test]
fn roles() {
    let state = state();
    let admit = |request: &Value| role(&state, read::<Role>(request), OTHER);
    let refuses = |request: Value, expected: &str| refuses(&request, admit, expected);
    refuses(json!({}), "Invalid Role: no Name is set");
    refuses(
        json!({"Name": "a b"}),
        "Invalid Role: invalid Name. Only alphanumeric characters, '-' and '_' are allowed",
    );
    refuses(json!({"Name": "r1"}), "Invalid Role: A Role with Name \"r1\" already exists");
    refuses(json!({"Name": "x", "ID": OTHER}), &format!("cannot find role {OTHER}"));
    refuses(json!({"Name": "x", "ID": "x"}), "Role ID invalid UUID");
    refuses(json!({"Name": "q", "Policies": [{"Name": "nope"}]}), "No such ACL policy with name \"nope\"");
    assert!(admit(&json!({"Name": "q", "Policies": [{"ID": OTHER}]})).is_ok(), "found out when it is stored");
    refuses(
        json!({"Name": "q", "ServiceIdentities": [{}]}),
        "Service identity is missing the service name field on this role",
    );
    refuses(
        json!({"Name": "q", "TemplatedPolicies": [{"TemplateName": "nope"}]}),
        "templated policy with an invalid templated name: nope for this role",
    );
    refuses(
        json!({"Name": "q", "TemplatedPolicies": [{"TemplateName": "builtin/api-gateway"}]}),
        "encountered role with invalid templated policy: 1 error occurred:\n\t* Invalid type. Expected: object, given: \
         null\n\n",
    );
    refuses(
        json!({"Name": "q", "TemplatedPolicies": [{}]}),
        "templated policy is missing the template name field on this role",
    );
    assert_eq!(text(deletable_role(&state, OTHER)), "role does not exist: ACL not found");
    assert_eq!(text(deletable_role(&state, "x")), "failed acl role lookup: index error: UUID must be 36 characters");
}

#[test]
fn auth_methods() {
    let state = state();
    let admit = |request: &Value| auth_method(&state, read::<AuthMethod>(request), Lifetimes::default(), false);
    let refuses = |request: Value, expected: &str| refuses(&request, admit, expected);
    refuses(json!({}), "Invalid Auth Method: no Name is set");
    refuses(
        json!({"Name": "a b"}),
        "Invalid Auth Method: invalid Name. Only alphanumeric characters, '-' and '_' are allowed",
    );
    let types = "Invalid Auth Method: Type should be one of: [aws-iam jwt kubernetes]";
    refuses(json!({"Name": "a", "Type": "oidc"}), types);
    refuses(json!({"Name": "a"}), types);
    refuses(json!({"Name": "a", "Type": "jwt", "MaxTokenTTL": "1s"}), "MaxTokenTTL 1s cannot be less than 1m0s");
    refuses(
        json!({"Name": "a", "Type": "jwt", "TokenLocality": "x"}),
        "Invalid Auth Method: TokenLocality should be one of 'local' or 'global'",
    );
    refuses(
        json!({"Name": "a", "Type": "jwt", "TokenLocality": "global"}),
        "Invalid Auth Method: TokenLocality 'global' can only be used in the primary datacenter",
    );
    refuses(json!({"Name": "j", "Type": "kubernetes"}), "the Type field of an Auth Method is immutable");
    assert_eq!(admit(&json!({"Name": "j"})).unwrap().r#type, "jwt");
}

#[test]
fn binding_rules() {
    let state = state();
    let admit = |request: &Value| {
        let select = |selector: &str| if selector == "bad" { Err("1:1: bad".to_owned()) } else { Ok(()) };
        binding_rule(&state, read::<BindingRule>(request), OTHER, &["value.user"], select)
    };
    let refuses = |request: Value, expected: &str| refuses(&request, admit, expected);
    refuses(json!({}), "Invalid Binding Rule: no AuthMethod is set");
    refuses(json!({"AuthMethod": "nope"}), "cannot find auth method with name \"nope\"");
    refuses(json!({"AuthMethod": "j"}), "Invalid Binding Rule: no BindType is set");
    refuses(json!({"AuthMethod": "j", "BindType": "service"}), "Invalid Binding Rule: no BindName is set");
    refuses(json!({"AuthMethod": "j", "Selector": "bad"}), "invalid Binding Rule: Selector is invalid: 1:1: bad");
    refuses(json!({"AuthMethod": "j", "ID": OTHER}), &format!("cannot find binding rule {OTHER}"));
    refuses(json!({"AuthMethod": "j", "ID": "x"}), "Binding Rule ID invalid UUID");
    refuses(
        json!({"AuthMethod": "j", "BindType": "service", "BindName": "y", "BindVars": {"Name": "x"}}),
        "invalid Binding Rule: BindVars cannot be set when bind type is not templated-policy.",
    );
    let refuses_bound = |r#type: &str, name: &str, expected: &str| {
        refuses(
            json!({"AuthMethod": "j", "BindType": r#type, "BindName": name}),
            &format!("Invalid Binding Rule: invalid BindName or BindVars: {expected}"),
        );
    };
    let failed = |r#type: &str, text: &str| format!("failed to validate bindType \"{type}\": {text}");
    refuses_bound("x", "y", "invalid Binding Rule: unknown BindType \"x\"");
    refuses_bound("service", "Y", &failed("service", "invalid bind name: \"Y\""));
    refuses_bound("role", "a b", &failed("role", "invalid bind name: \"a b\""));
    let reading = |text: &str| failed("service", &format!("error interpreting template: {text}"));
    refuses_bound("service", "${nope}", &reading("1:3: unknown variable accessed: nope"));
    refuses_bound("service", "${value.user", &reading("parse error at 1:13: expected \"}\" but found end of string"));
    refuses_bound(
        "templated-policy",
        "nope",
        &failed(
            "templated-policy",
            "Bind name for templated-policy bind type does not match existing template name: nope",
        ),
    );
    refuses_bound(
        "templated-policy",
        "builtin/service",
        &failed(
            "templated-policy",
            "templated policy failed validation: 1 error occurred:\n\t* Invalid type. Expected: object, given: null\n\n",
        ),
    );
    let rule = admit(&json!({"AuthMethod": "j", "BindType": "service", "BindName": "svc-${value.user}"})).unwrap();
    let values = BTreeMap::from([("value.user".to_owned(), "Ann".to_owned())]);
    assert_eq!(bound(&rule, &values, is_role_name), Ok(("svc-ann".to_owned(), None)));
    let rule = json!({"AuthMethod": "j", "BindType": "templated-policy", "BindName": "builtin/node",
                      "BindVars": {"Name": "n-${value.user}"}});
    let (name, variables) = bound(&admit(&rule).unwrap(), &values, is_role_name).unwrap();
    assert_eq!((name.as_str(), variables.unwrap().name.as_str()), ("builtin/node", "n-ann"));
}

#[test]
fn interpolation() {
    let values = BTreeMap::from([("a".to_owned(), "X".to_owned()), ("b.c".to_owned(), "y".to_owned())]);
    let check = |text: &str, expected: &str| assert_eq!(interpolated(text, &values).unwrap(), expected, "{text}");
    check("plain", "plain");
    check("$a}", "$a}");
    check("${a}-${ b.c }${a}", "x-yx");
    check("$${a}", "${a}");
}

#[test]
fn ids() {
    assert!(uuid(OTHER).is_ok());
    assert_eq!(text(uuid("x")), "uuid string is wrong length");
    assert_eq!(text(uuid(&"x".repeat(36))), "uuid is improperly formatted");
    assert_eq!(text(uuid("4444444x-4444-4444-4444-444444444444")), "encoding/hex: invalid byte: U+0078 'x'");
}

#[test]
fn logins() {
    let mut state = state();
    let rule = |id: u8, r#type: &str, name: &str, selector: &str| {
        let id = format!("77777777-7777-7777-7777-7777777777{id:02}");
        json!({"ID": id, "AuthMethod": "j", "BindType": r#type, "BindName": name, "Selector": selector})
    };
    let method = state.acl.auth_method("j").unwrap().clone();
    let values = BTreeMap::from([("user".to_owned(), "Ann".to_owned())]);
    let come = |state: &State| login(state, &method, &values, |selector| selector != "no", "dc1", "d");
    assert_eq!(text(come(&state)), "Permission denied");

    let rules = [
        rule(1, "service", "svc-${user}", ""),
        rule(2, "node", "${user}", "yes"),
        rule(3, "role", "r1", ""),
        rule(4, "role", "none", ""),
        rule(5, "policy", "p2", ""),
        rule(6, "service", "never", "no"),
        rule(7, "templated-policy", "builtin/dns", ""),
    ];
    let binding_rules = rules.iter().map(read).collect();
    let batch = crate::acl::BindingRuleBatchSet { binding_rules };
    state.apply(Index(9), Command::Acl(AclCommand::BindingRuleSet(batch)));
    let token = come(&state).unwrap();
    assert_eq!(token.service_identities[0].service_name, "svc-ann");
    assert_eq!(
        (token.node_identities[0].node_name.as_str(), token.node_identities[0].datacenter.as_str()),
        ("ann", "dc1")
    );
    assert_eq!((token.roles.len(), token.roles[0].id.as_str(), token.policies[0].id.as_str()), (1, ROLE, POLICY));
    assert_eq!((token.service_identities.len(), token.templated_policies.len(), token.local), (1, 1, true));

    let token = new_token(&state, token, fresh(), now(), Lifetimes::default(), Origin::Login).unwrap();
    let batch = TokenBatchSet { tokens: vec![token], ..TokenBatchSet::default() };
    state.apply(Index(10), Command::Acl(AclCommand::TokenSet(batch)));
    assert_eq!(logout(&state, OTHER).unwrap().auth_method, "j");
    assert_eq!(text(logout(&state, SECRET)), "Permission denied: token wasn't created via login");
    assert_eq!(text(logout(&state, "none")), "ACL not found");
    assert_eq!(text(logout(&state, "")), "no valid token ID provided: ACL not found");
}

#[test]
fn descriptions_of_logins() {
    assert_eq!(description(&BTreeMap::new()), "token created via login");
    let meta = BTreeMap::from([("a".to_owned(), "<b>".to_owned())]);
    assert_eq!(description(&meta), r#"token created via login: {"a":"\u003cb\u003e"}"#);
}
