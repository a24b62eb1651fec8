//! What is refused, in which words. The texts were read off a Consul 1.22.

use acl::{Access, Authorizer, Need, Resource};

use super::{deregister, refused, register, run, text, try_register};
use crate::catalog::{CatalogListNodes, CatalogServiceNodes, NodesQuery, RegisterRequest};
use crate::health::HealthServiceNodes;
use crate::{Command, Seen, State, execute};

#[test]
fn bad_registrations_are_refused_in_the_words_of_the_reference() {
    let state = &mut State::default();
    register(state, 5, r#"{"Node":"Foo","Address":"1.1.1.1","Service":{}}"#);
    let mut check = |request: &str, expected: &str| {
        let before: Vec<_> = state.indexes.iter().map(|(name, index)| (name.to_owned(), index)).collect();
        assert_eq!(refused(try_register(state, 6, request)), expected);
        let after: Vec<_> = state.indexes.iter().map(|(name, index)| (name.to_owned(), index)).collect();
        assert_eq!(before, after);
    };
    check(r#"{"Address":"1.1.1.1"}"#, "Must provide node");
    check(r#"{"Node":"x"}"#, "Must provide address if SkipNodeUpdate is not set");
    check(r#"{"Node":"x","PeerName":"p","Address":"1"}"#, "cannot register requests with PeerName in them");
    check(r#"{"Node":"Foo","ID":"zz","Address":"1"}"#, "Bad node ID: uuid string is wrong length");
    check(
        r#"{"Node":"Foo","ID":"0000000g-0000-0000-0000-000000000000","Address":"1.1.1.1"}"#,
        "Bad node ID: encoding/hex: invalid byte: U+0067 'g'",
    );
    check(
        r#"{"Node":"Foo","Address":"1.1.1.1","Check":{"Status":"passing"}}"#,
        "failed inserting check on node \"Foo\": failed health check lookup: index error: object is missing a value \
         for this index",
    );
    check(
        r#"{"Node":"Foo","Address":"1.1.1.1","Check":{"Name":"c1","ServiceID":"nope"}}"#,
        "Unknown service ID 'nope' for check ID 'c1'",
    );
    check(
        r#"{"Node":"Foo","Address":"1.1.1.1","Check":{"Node":"bar","Name":"c1"}}"#,
        "Node 'bar' for check 'c1' doesn't match register request node 'Foo'",
    );
    check(
        r#"{"Node":"Foo","SkipNodeUpdate":true,"Service":{"ID":"q"}}"#,
        "Must provide service name (Service.Service) when service ID is provided",
    );
    check(
        r#"{"Node":"Foo","SkipNodeUpdate":true,"Service":{"Service":"q","Address":"0.0.0.0"}}"#,
        "Invalid service address",
    );
    check(
        r#"{"Node":"new","Address":"1.1.1.1","Service":{"Service":"m","Meta":{"consul-x":"1","a b":"2"}}}"#,
        "failed inserting service: Invalid Service Meta for node new and serviceID m: Couldn't load metadata pair \
         ('a b', '2'): Key contains invalid characters",
    );
    check(
        r#"{"Node":"Foo","Address":"1.1.1.1","Service":{"Service":"web-proxy","Kind":"connect-proxy",
            "Proxy":{"Upstreams":[{"DestinationName":"db"}]}}}"#,
        "3 errors occurred:\n\t* Port or SocketPath must be set for a connect-proxy\n\t* \
         Proxy.DestinationServiceName must be non-empty for Connect proxy services\n\t* upstream local bind port or \
         local socket path must be defined and nonzero\n\n",
    );
    check(
        r#"{"Node":"Foo","SkipNodeUpdate":true,"Service":{"Service":"gw","Kind":"mesh-gateway",
            "Proxy":{"LocalServicePort":3}}}"#,
        "2 errors occurred:\n\t* Port must be non-zero for a mesh-gateway\n\t* The Proxy.LocalServicePort \
         configuration is invalid for a mesh-gateway\n\n",
    );
    check(
        r#"{"Node":"Foo","SkipNodeUpdate":true,"Service":{"Service":"nat","Connect":{"Native":true},
            "Locality":{"Zone":"z"}}}"#,
        "2 errors occurred:\n\t* zone cannot be set without region\n\t* Port or SocketPath must be set for a Connect \
         native service.\n\n",
    );
    // Nothing of a refused registration stays, not even the node that was good.
    assert!(state.catalog.node("new").is_none());
}

/// Grants by rules such as `node n write`.
struct Rules(&'static [(&'static str, &'static str, Access)]);

impl Authorizer for Rules {
    fn allows(&self, need: Need<'_>) -> bool {
        let (kind, name) = match need.resource {
            Resource::Node(name) => ("node", name),
            Resource::Service(name) => ("service", name),
            _ => return false,
        };
        self.0.iter().any(|(k, n, access)| *k == kind && *n == name && *access == need.access)
    }

    fn accessor(&self) -> Option<&str> {
        Some("me")
    }
}

fn denied(what: &str) -> String {
    format!("Permission denied: token with AccessorID 'me' lacks permission '{what}")
}

#[test]
fn a_registration_needs_the_right_to_everything_it_changes() {
    let state = &mut State::default();
    register(state, 5, r#"{"Node":"n","Address":"1","Service":{"ID":"x","Service":"taken"}}"#);
    let ask = |request: &str, rules| {
        let mut command = Command::Register(serde_json::from_str::<RegisterRequest>(request).unwrap());
        command.prepare(state).unwrap();
        text(command.authorize(state, &Rules(rules)))
    };
    let web = r#"{"Node":"n","Address":"1","Service":{"Service":"web"}}"#;
    assert_eq!(ask(web, &[]), denied("service:write' on \"web\""));
    // The node is only repeated, so that no right to it is needed.
    assert_eq!(ask(web, &[("service", "web", Access::Write)]), "");
    let moved = r#"{"Node":"n","Address":"2","Service":{"Service":"web"}}"#;
    assert_eq!(ask(moved, &[("service", "web", Access::Write)]), denied("node:write' on \"n\""));
    let takeover = r#"{"Node":"n","Address":"1","Service":{"ID":"X","Service":"web"}}"#;
    assert_eq!(ask(takeover, &[("service", "web", Access::Write)]), denied("service:write' on \"taken\""));
    let proxy = r#"{"Node":"n","Address":"1","Service":{"Service":"web","Kind":"connect-proxy","Port":1,
        "Proxy":{"DestinationServiceName":"db"}}}"#;
    assert_eq!(ask(proxy, &[("service", "web", Access::Write)]), denied("service:write' on \"db\""));
    let other = r#"{"Node":"n","Address":"1","Check":{"Name":"c","ServiceID":"x"}}"#;
    assert_eq!(ask(other, &[]), denied("service:write' on \"taken\""));
    let of_node = r#"{"Node":"n","Address":"1","Check":{"Name":"c"}}"#;
    assert_eq!(ask(of_node, &[]), denied("node:write' on \"n\""));
}

#[test]
fn a_deregistration_needs_the_right_to_the_node_or_to_what_goes() {
    let state = &mut State::default();
    register(
        state,
        5,
        r#"{"Node":"n","Address":"1","Service":{"ID":"x","Service":"web"},
            "Checks":[{"CheckID":"s","ServiceID":"x"},{"CheckID":"n"}]}"#,
    );
    let ask = |request: &str, rules| {
        let command = Command::Deregister(serde_json::from_str(request).unwrap());
        text(command.authorize(state, &Rules(rules)))
    };
    let service: &[_] = &[("service", "web", Access::Write)];
    assert_eq!(ask(r#"{"Node":"n"}"#, &[("node", "n", Access::Write)]), "");
    assert_eq!(ask(r#"{"Node":"n"}"#, service), denied("node:write' on \"n\""));
    assert_eq!(ask(r#"{"Node":"n","ServiceID":"x"}"#, service), "");
    assert_eq!(ask(r#"{"Node":"n","ServiceID":"x"}"#, &[]), denied("service:write' on \"web\""));
    assert_eq!(ask(r#"{"Node":"n","ServiceID":"y"}"#, service), "Unknown service ID 'y'");
    assert_eq!(ask(r#"{"Node":"n","CheckID":"s"}"#, service), "");
    assert_eq!(ask(r#"{"Node":"n","CheckID":"n"}"#, service), denied("node:write' on \"n\""));
    assert_eq!(ask(r#"{"Node":"n","CheckID":"y"}"#, service), "Unknown check ID 'y'");
}

#[test]
fn answers_leave_out_what_may_not_be_read() {
    let state = &mut State::default();
    register(state, 5, r#"{"Node":"a","Address":"1","Service":{"Service":"web"}}"#);
    register(state, 6, r#"{"Node":"b","Address":"1","Service":{"Service":"web"}}"#);
    let rules = Rules(&[("node", "a", Access::Read), ("service", "web", Access::Read)]);
    let found = execute(&HealthServiceNodes(super::service("web")), state, &mut Seen::default(), &rules).unwrap();
    assert_eq!((found.answer.len(), found.filtered), (1, true));
    let found = execute(&CatalogListNodes(NodesQuery::default()), state, &mut Seen::default(), &rules).unwrap();
    assert_eq!((found.answer.len(), found.filtered), (1, true));
    let nobody = Rules(&[]);
    let proxies = execute(&CatalogServiceNodes(super::connect("web")), state, &mut Seen::default(), &nobody).unwrap();
    assert_eq!((proxies.answer.len(), proxies.filtered), (0, false));
    assert!(execute(&HealthServiceNodes(super::connect("web")), state, &mut Seen::default(), &nobody).is_err());
    assert_eq!(run(state, &CatalogListNodes(NodesQuery::default())).1.len(), 2);
    deregister(state, 7, r#"{"Node":"a"}"#);
    assert_eq!(run(state, &CatalogListNodes(NodesQuery::default())).1.len(), 1);
}
