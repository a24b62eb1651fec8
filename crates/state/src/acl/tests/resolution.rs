//! From a secret to what it may do.

use ::acl::{AllowAll, Authorizer, Because, DefaultPolicy, Need, Resource};

use super::{
    P1, P2, R1, S1, T1, World, at, delete_policy, links, policy, role, set_policy, set_role, set_token, token,
};
use crate::acl::{
    AclCommand, CLIENT, LegacyRequest, LegacyToken, NodeIdentity, Policy, Refused, ServiceIdentity, TemplatedPolicy,
    Token, TokenRead, Variables, anonymous, resolve,
};
use crate::{Seen, execute};

#[track_caller]
fn may(world: &World, secret: &str, datacenter: &str, need: Need<'_>) -> bool {
    let resolved = resolve(&world.state, secret, datacenter, at(0), &mut Seen::default()).unwrap();
    resolved.authorizer(DefaultPolicy::Deny).allows(need)
}

const KEY: Need<'static> = Need::read(Resource::Key("a"));

#[test]
fn policies_of_token_and_roles_count_together() {
    let mut world = World::new();
    world.done(set_policy(policy(P1, "one", "key_prefix \"\" { policy = \"read\" }")));
    world.done(set_policy(policy(P2, "two", "node \"n\" { policy = \"write\" }")));
    world.done(set_role(role(R1, "role", &[P2])));
    world.done(set_token(Token { roles: links(&[R1]), ..token(T1, S1, &[P1]) }));
    let node = Need::write(Resource::Node("n"));
    assert!(may(&world, S1, "dc1", KEY) && may(&world, S1, "dc1", node));
    assert!(!may(&world, S1, "dc1", Need::read(Resource::Acl)));

    let mut seen = Seen::default();
    let resolved = resolve(&world.state, S1, "dc1", at(0), &mut seen).unwrap();
    let explained = resolved.authorizer(DefaultPolicy::Deny).grants().explain(node);
    let rule = "node \"n\" { policy = \"write\" }".to_owned();
    assert_eq!(explained.because, Because::Rule { policy: "two".into(), rule });
    let gone = world.done(delete_policy(P2));
    assert!(gone.touched.topics().any(|topic| seen.concerns(topic)), "who keeps the answer hears of it");
    assert!(!may(&world, S1, "dc1", node));
}

#[test]
fn policies_hold_in_their_datacenters() {
    let mut world = World::new();
    let there = Policy { datacenters: vec!["dc2".to_owned()], ..policy(P1, "one", "key \"a\" { policy = \"read\" }") };
    world.done(set_policy(there));
    let node = NodeIdentity { node_name: "n".to_owned(), datacenter: "dc1".to_owned() };
    world.done(set_token(Token { node_identities: vec![node], ..token(T1, S1, &[P1]) }));
    assert!(!may(&world, S1, "dc1", KEY) && may(&world, S1, "dc2", KEY));
    let node = Need::write(Resource::Node("n"));
    assert!(may(&world, S1, "dc1", node) && !may(&world, S1, "dc2", node));
}

#[test]
fn identities_and_templates_are_policies() {
    let mut world = World::new();
    let web = |datacenters: &[&str]| ServiceIdentity {
        service_name: "web".to_owned(),
        datacenters: datacenters.iter().map(|name| (*name).to_owned()).collect(),
    };
    let templated = |name: &str, variables: Option<&str>| TemplatedPolicy {
        template_name: name.to_owned(),
        template_variables: variables.map(|name| Variables { name: name.to_owned() }),
        ..TemplatedPolicy::default()
    };
    world.done(set_role(crate::acl::Role { service_identities: vec![web(&["dc1"])], ..role(R1, "role", &[]) }));
    world.done(set_token(Token {
        roles: links(&[R1]),
        service_identities: vec![web(&[])],
        templated_policies: vec![
            templated("builtin/node", Some("n1")),
            templated("builtin/dns", None),
            // Neither of these can be filled in; the rest holds all the same.
            templated("builtin/service", None),
            templated("builtin/unknown", None),
        ],
        ..token(T1, S1, &[])
    }));
    for name in ["web", "web-sidecar-proxy"] {
        let write = Need::write(Resource::Service(name));
        assert!(may(&world, S1, "dc1", write));
        assert!(!may(&world, S1, "dc2", write), "everywhere and dc1 together are dc1");
    }
    assert!(may(&world, S1, "dc1", Need::write(Resource::Node("n1"))));
    assert!(may(&world, S1, "dc2", Need::read(Resource::PreparedQuery("any"))));
    assert!(!may(&world, S1, "dc1", Need::write(Resource::Service("db"))));

    let query = TokenRead { token_id: T1.to_owned(), token_id_type: "accessor".to_owned(), expanded: true };
    let answer = execute(&query, &world.state, &mut Seen::default(), &AllowAll).unwrap().answer;
    let expanded = answer.expanded.unwrap();
    assert_eq!((expanded.policies.len(), expanded.roles.len()), (3, 1));
    let dns = &expanded.policies[2];
    assert!(dns.name.starts_with("synthetic-policy-0a6e6f64655f70726566697820"), "{}", dns.name);
    assert!(dns.id.ends_with("64220a7d6c62272e07bb014262b821756295c58d"), "{}", dns.id);
    assert_eq!(dns.description, "synthetic policy generated from templated policy: builtin/dns");
}

#[test]
fn who_is_refused() {
    let mut world = World::new();
    let refused = |world: &World, secret: &str, now| {
        resolve(&world.state, secret, "dc1", at(now), &mut Seen::default()).map(|_| ()).unwrap_err()
    };
    assert_eq!(refused(&world, S1, 0), Refused::NotFound);
    world.done(set_token(Token { expiration_time: Some(at(10)), ..token(T1, S1, &[]) }));
    assert!(resolve(&world.state, S1, "dc1", at(10), &mut Seen::default()).is_ok());
    assert_eq!(refused(&world, S1, 11).to_string(), "ACL not found");
    assert_eq!(refused(&world, "manage", 0).to_string(), "Cannot resolve root ACL");
    world.done(set_policy(policy(P1, "broken", "key \"a\" {")));
    world.done(set_token(token(T1, S1, &[P1])));
    assert_eq!(
        refused(&world, S1, 0).to_string(),
        "failed to parse the ACL policies: failed to parse \"broken\": Failed to parse ACL rules: At 1:11: object \
         expected closing RBRACE got: EOF"
    );
}

#[test]
fn who_gives_no_token_is_the_anonymous_one() {
    let mut world = World::new();
    assert!(!may(&world, "", "dc1", KEY));
    world.done(set_policy(policy(P1, "one", "key \"a\" { policy = \"read\" }")));
    world.done(set_token(Token { policies: links(&[P1]), ..anonymous(at(0)) }));
    assert!(may(&world, "", "dc1", KEY));
    let resolved = resolve(&world.state, "", "dc1", at(0), &mut Seen::default()).unwrap();
    let refusal = resolved.authorizer(DefaultPolicy::Deny).require(Need::read(Resource::Acl)).unwrap_err();
    assert!(refusal.to_string().starts_with("Permission denied: anonymous token lacks"), "{refusal}");
}

#[test]
fn legacy_rules_speak_of_prefixes() {
    let mut world = World::new();
    world.done(AclCommand::Legacy(LegacyRequest {
        op: "set".to_owned(),
        acl: LegacyToken {
            id: ::acl::Secret::new("old"),
            r#type: CLIENT.to_owned(),
            rules: "key \"a\" { policy = \"read\" }".to_owned(),
            ..LegacyToken::default()
        },
        ..LegacyRequest::default()
    }));
    assert!(may(&world, "old", "dc1", Need::read(Resource::Key("abc"))));
    assert!(!may(&world, "old", "dc1", Need::write(Resource::Key("abc"))));
}
