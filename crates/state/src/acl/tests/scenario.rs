//! What commands do, refuse and leave behind.

use ::acl::{AllowAll, Authorizer, DefaultPolicy, Grants, Named, Need, Resource, Rules, TokenAuthorizer};
use base64::Engine;

use super::{
    P1, P2, R1, S1, S2, T1, T2, World, at, delete_method, delete_policy, delete_role, delete_token, policy, role,
    set_binding, set_method, set_policy, set_role, set_token, token,
};
use crate::acl::{
    ANONYMOUS_ID, AclCommand, AuthMethodList, BindingRuleList, CLIENT, HIDDEN_SECRET, LegacyRequest, LegacyToken,
    MANAGEMENT, MANAGEMENT_ID, NodeIdentity, PolicyList, PolicyRead, RoleRead, ServiceIdentity, TemplatedPolicy, Token,
    TokenBatchRead, TokenBatchSet, TokenBootstrap, TokenList, TokenRead, Variables, anonymous, builtin,
};
use crate::octets::Octets;
use crate::snapshot::Restore;
use crate::{Command, Error, Index, Limits, Query, Seen, Topic, execute};

fn text(hash: &Octets) -> String {
    base64::engine::general_purpose::STANDARD.encode(&hash.0)
}

#[track_caller]
fn ask<Q: Query>(world: &World, query: &Q) -> (Index, Q::Answer) {
    let found = execute(query, &world.state, &mut Seen::default(), &AllowAll).unwrap();
    (found.index, found.answer)
}

fn by_accessor(accessor: &str) -> TokenRead {
    TokenRead { token_id: accessor.to_owned(), token_id_type: "accessor".to_owned(), expanded: false }
}

/// One who may only read access control.
fn reader() -> TokenAuthorizer {
    let rules = Rules::parse("acl = \"read\"").unwrap();
    let named = [Named { name: "reader".into(), rules: rules.into() }];
    TokenAuthorizer::new(Some("reader".into()), Grants::compile(&named, DefaultPolicy::Deny).into())
}

#[test]
fn hashes_are_those_of_the_reference() {
    let [management, read_only] = builtin();
    assert_eq!(text(&management.hash), "+TzVGrd3uSVx3Bl8FV5O0BsKc1idAee6ZpEw9WDfaW8=");
    assert_eq!(text(&read_only.hash), "4jtyawyzzig+Ys5HfPI91O3UHLHiXtPlNG7aHEmlesk=");
    assert_eq!(text(&anonymous(at(0)).hash), "RNVFSWnfd5DUOuB8vplp+imivlIna3fKQVnkUHh21cA=");
    let initial = Token::management(T1, ::acl::Secret::new(S1), "Initial Management Token", at(0));
    assert_eq!(text(&initial.hash), "tqqwFU6g05D0TFVusPUxoli6BJKS+EV1CCZnyxmjZpQ=");
    let api = |id: &str, name: &str, variables| TemplatedPolicy {
        template_id: id.to_owned(),
        template_name: name.to_owned(),
        template_variables: variables,
        ..TemplatedPolicy::default()
    };
    let mut role = crate::acl::Role {
        service_identities: vec![ServiceIdentity {
            service_name: "web".to_owned(),
            datacenters: vec!["dc1".to_owned()],
        }],
        node_identities: vec![NodeIdentity { node_name: "n1".to_owned(), datacenter: "dc1".to_owned() }],
        templated_policies: vec![
            api("00000000-0000-0000-0000-000000000003", "builtin/service", Some(Variables { name: "api".to_owned() })),
            api("00000000-0000-0000-0000-000000000005", "builtin/dns", None),
        ],
        ..role("", "r1", &[MANAGEMENT_ID])
    };
    role.set_hash();
    assert_eq!(text(&role.hash), "Mi34G39mJgDGsQn2w0UL8LxTohxekW7WmbSXww+UWmg=");
}

#[test]
fn links_follow_what_they_point_at() {
    let mut world = World::new();
    world.done(set_policy(policy(P1, "one", "")));
    world.done(set_role(role(R1, "role", &[P1])));
    world.done(set_token(Token { roles: super::links(&[R1]), ..token(T1, S1, &[P1, MANAGEMENT_ID]) }));
    let names = |world: &World| {
        let token = ask(world, &by_accessor(T1)).1.token.unwrap();
        let role = ask(world, &RoleRead { role_id: R1.to_owned(), ..RoleRead::default() }).1;
        let names = |links: &[super::Link]| links.iter().map(|link| link.name.clone()).collect::<Vec<_>>().join(" ");
        format!(
            "{} | {} | {}",
            names(&token.policies),
            names(&token.roles),
            role.map(|role| names(&role.policies)).unwrap_or_default()
        )
    };
    assert_eq!(names(&world), "one global-management | role | one");

    let mut seen = Seen::default();
    execute(&by_accessor(T1), &world.state, &mut seen, &AllowAll).unwrap();
    let renamed = world.done(set_policy(policy(P1, "first", "")));
    assert!(renamed.touched.topics().any(|topic| seen.concerns(topic)), "a watcher of the token sees the new name");
    assert_eq!(names(&world), "first global-management | role | first");
    assert_eq!(ask(&world, &by_accessor(T1)).0, Index(4), "the token's own table did not change");

    world.done(delete_policy(P1));
    assert_eq!(names(&world), "global-management | role | ");
    world.done(delete_role(R1));
    assert_eq!(names(&world), "global-management |  | ");
}

#[test]
fn names_and_links_are_checked() {
    let mut world = World::new();
    world.done(set_policy(policy(P1, "one", "")));
    let upsert = "Failed to apply policy upsert request: ";
    world.refused(set_policy(policy(P2, "ONE", "")), &format!("{upsert}A policy with name \"ONE\" already exists"));
    world.refused(set_policy(policy("", "x", "")), &format!("{upsert}Missing ACL Policy ID"));
    world.refused(set_policy(policy(P2, "", "")), &format!("{upsert}Missing ACL Policy Name"));
    let missing = format!("No such policy with ID: {P2}");
    world.refused(set_role(role(R1, "r", &[P2])), &format!("Failed to apply role upsert request: {missing}"));
    world.refused(set_token(token(T1, S1, &[P2])), &format!("Failed to apply token write request: {missing}"));
    world.refused(set_token(token(T1, "", &[])), "Failed to apply token write request: Missing ACL Token SecretID");
    world.refused(
        set_binding(P1, "none"),
        "Failed to apply binding rule upsert request: failed inserting acl binding rule: auth method not found",
    );
    world.refused(
        AclCommand::TokenSet(TokenBatchSet {
            tokens: vec![token(T1, S1, &[P2])],
            allow_missing_links: true,
            prohibit_unprivileged: true,
            ..TokenBatchSet::default()
        }),
        "Failed to apply token write request: ACL token has no privileges",
    );
}

#[test]
fn builtin_policies_and_the_anonymous_token_stay() {
    let mut world = World::new();
    world.done(set_token(anonymous(at(1))));
    world.refused(
        delete_policy(MANAGEMENT_ID),
        "Failed to apply policy delete request: Deletion of the builtin global-management policy is not permitted",
    );
    world.refused(
        delete_token(ANONYMOUS_ID),
        "Failed to apply token delete request: Deletion of the builtin anonymous token is not permitted",
    );
    let [management, _] = builtin();
    world.refused(
        set_policy(crate::acl::Policy { rules: String::new(), ..management.clone() }),
        "Failed to apply policy upsert request: Changing the Rules for the builtin global-management policy is not \
         permitted",
    );
    world.done(set_policy(crate::acl::Policy { name: "root".to_owned(), ..management }));
    let named = |name: &str| PolicyRead { policy_name: name.to_owned(), ..PolicyRead::default() };
    assert!(ask(&world, &named("Root")).1.is_some() && ask(&world, &named("global-management")).1.is_none());
}

#[test]
fn a_secret_is_one_tokens_for_ever() {
    let mut world = World::new();
    world.done(set_token(token(T1, S1, &[])));
    world.refused(
        set_token(token(T2, S1, &[])),
        "Failed to apply token write request: Invalid Token: SecretID is already in use",
    );
    world.refused(
        set_token(token(T1, S2, &[])),
        "Failed to apply token write request: The ACL Token SecretID field is immutable",
    );
    world.done(delete_token(T1));
    world.done(set_token(token(T2, S1, &[])));
    assert_eq!(world.state.acl_token_by_secret(S1).unwrap().accessor_id, T2);
}

#[test]
fn writing_what_is_there_changes_nothing() {
    let mut world = World::new();
    let commands = [
        set_policy(policy(P1, "one", "")),
        set_role(role(R1, "role", &[P1])),
        set_token(token(T1, S1, &[P1])),
        set_method("jwt"),
        set_binding(P2, "jwt"),
    ];
    for command in commands {
        assert!(!world.done(command.clone()).touched.is_empty());
        let before: Vec<_> = world.state.records().collect();
        assert!(world.done(command.clone()).touched.is_empty(), "{command:?}");
        assert!(world.state.records().eq(before));
    }
}

#[test]
fn bootstrapping_happens_once_unless_reset() {
    let mut world = World::new();
    assert_eq!(world.state.acl_bootstrapped(), None);
    let first = |accessor: &str, secret: &str, reset_index| {
        AclCommand::Bootstrap(TokenBootstrap { token: token(accessor, secret, &[MANAGEMENT_ID]), reset_index })
    };
    world.done(first(T1, S1, Index(0)));
    assert_eq!(world.state.acl_bootstrapped(), Some(Index(2)));
    world.refused(first(T2, S2, Index(0)), "ACL bootstrap no longer allowed");
    world.refused(first(T2, S2, Index(7)), "Invalid ACL bootstrap reset index");
    world.done(first(T2, S2, Index(2)));
    assert_eq!(world.state.acl_bootstrapped(), Some(Index(5)));
}

#[test]
fn tokens_that_end_are_listed_in_time() {
    let mut world = World::new();
    for (accessor, secret, end, local) in [(T1, S1, 50, false), (T2, S2, 40, true)] {
        let token = Token { expiration_time: Some(at(end)), local, ..token(accessor, secret, &[]) };
        world.done(set_token(token));
    }
    let due = |world: &World, local, now| {
        let due = world.state.acl_tokens_due(local, at(now), 10);
        due.iter().map(|accessor| accessor.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(due(&world, false, 50), [] as [&str; 0]);
    assert_eq!(due(&world, false, 51), [T1]);
    assert_eq!(due(&world, true, 51), [T2]);
    assert_eq!(world.state.acl_tokens_next_due(true), Some(at(40)));
    world.done(delete_token(T2));
    assert_eq!(world.state.acl_tokens_next_due(true), None);
}

#[test]
fn an_auth_method_takes_its_rules_and_tokens_along() {
    let mut world = World::new();
    world.done(set_method("jwt"));
    world.done(set_binding(P1, "jwt"));
    let made = |accessor, secret, local| Token { auth_method: "jwt".to_owned(), local, ..token(accessor, secret, &[]) };
    world.done(set_token(made(T1, S1, true)));
    world.done(set_token(made(T2, S2, false)));
    world.refused(
        set_token(Token { auth_method: "none".to_owned(), ..token(P1, P1, &[]) }),
        "Failed to apply token write request: No such auth method with Name: none",
    );
    world.done(delete_method("JWT"));
    assert!(ask(&world, &BindingRuleList::default()).1.is_empty());
    assert!(ask(&world, &AuthMethodList {}).1.is_empty());
    assert!(world.state.acl_token(T1).is_none());
    assert!(world.state.acl_token(T2).is_some(), "made by a method of another datacenter");
}

#[test]
fn lists_and_what_readers_see_of_them() {
    let mut world = World::new();
    world.done(set_policy(policy(P1, "a", "")));
    world.done(set_token(token(T1, S2, &[P1])));
    let web = ServiceIdentity { service_name: "web".to_owned(), ..ServiceIdentity::default() };
    world.done(set_token(Token { service_identities: vec![web], local: true, ..token(T2, S1, &[]) }));
    let list = |query: &TokenList| {
        let (index, tokens) = ask(&world, query);
        assert_eq!(index, Index(4));
        tokens.iter().map(|token| token.accessor_id.clone()).collect::<Vec<_>>()
    };
    let all = TokenList::default();
    assert_eq!(list(&all), [T2, T1], "in the order of their secrets");
    assert_eq!(list(&TokenList { policy: P1.to_uppercase(), ..all.clone() }), [T1]);
    assert_eq!(list(&TokenList { service_name: "Web".to_owned(), ..all.clone() }), [T2]);
    assert_eq!(list(&TokenList { include_global: true, ..all.clone() }), [T1]);
    assert_eq!(list(&TokenList { include_local: true, include_global: true, ..all.clone() }), [T2, T1]);

    let bad = TokenList { policy: "abc".to_owned(), ..all.clone() };
    let failed = |error: Result<_, Error>| error.map(|_: crate::Found<_>| ()).unwrap_err().to_string();
    assert_eq!(
        failed(execute(&bad, &world.state, &mut Seen::default(), &AllowAll)),
        "failed acl token lookup: index error: UUID must be 36 characters"
    );
    let two = TokenList { policy: P1.to_owned(), role: R1.to_owned(), ..all.clone() };
    assert_eq!(
        failed(execute(&two, &world.state, &mut Seen::default(), &AllowAll)),
        "can only filter by one of policy, role, serviceName, or methodName at a time"
    );

    let names: Vec<_> = ask(&world, &PolicyList {}).1.iter().map(|policy| policy.name.clone()).collect();
    assert_eq!(names, ["a", "builtin/global-read-only", "global-management"]);

    let reader = reader();
    let shown = execute(&all, &world.state, &mut Seen::default(), &reader).unwrap().answer;
    assert!(shown.iter().all(|token| token.secret_id.matches(HIDDEN_SECRET)));
    assert!(world.state.acl_token(T1).unwrap().secret_id.matches(S2), "the stored one is another");
    let own = TokenRead { token_id: S1.to_owned(), token_id_type: "secret".to_owned(), expanded: false };
    let nobody = TokenAuthorizer::new(None, Grants::compile(&[], DefaultPolicy::Deny).into());
    let own = execute(&own, &world.state, &mut Seen::default(), &nobody).unwrap().answer.token.unwrap();
    assert!(own.secret_id.matches(S1), "who knows a secret may read its token");
    let refusal = execute(&all, &world.state, &mut Seen::default(), &nobody).unwrap_err();
    assert!(refusal.to_string().contains("lacks permission 'acl:read'"), "{refusal}");
    let batch = TokenBatchRead { accessor_ids: vec![T1.to_owned()] };
    let found = execute(&batch, &world.state, &mut Seen::default(), &nobody).unwrap();
    assert!(found.answer.is_empty() && found.filtered);
}

#[test]
fn commands_need_the_right_to_write() {
    let world = World::new();
    let reader = reader();
    assert!(reader.allows(Need::read(Resource::Acl)));
    for command in [set_policy(policy(P1, "a", "")), delete_token(T1), set_method("x")] {
        assert!(Command::Acl(command).authorize(&world.state, &reader).is_err());
    }
    let first = AclCommand::Bootstrap(TokenBootstrap { token: token(T1, S1, &[]), reset_index: Index(0) });
    assert!(Command::Acl(first).authorize(&world.state, &reader).is_ok());
}

#[test]
fn check_and_set_looks_at_the_stored_index() {
    let mut world = World::new();
    world.done(set_token(token(T1, S1, &[])));
    let cas = |description: &str, modify_index| {
        let token = Token { description: description.to_owned(), modify_index, ..token(T1, S1, &[]) };
        AclCommand::TokenSet(TokenBatchSet { tokens: vec![token], cas: true, ..TokenBatchSet::default() })
    };
    assert!(world.done(cas("x", Index(0))).touched.is_empty());
    assert!(world.done(cas("x", Index(9))).touched.is_empty());
    assert!(!world.done(cas("x", Index(2))).touched.is_empty());
}

#[test]
fn legacy_tokens_live_among_the_others() {
    let mut world = World::new();
    let set = |id: &str, r#type: &str, rules: &str| {
        AclCommand::Legacy(LegacyRequest {
            op: "set".to_owned(),
            acl: LegacyToken {
                id: ::acl::Secret::new(id),
                name: "old".to_owned(),
                r#type: r#type.to_owned(),
                rules: rules.to_owned(),
                ..LegacyToken::default()
            },
            ..LegacyRequest::default()
        })
    };
    world.done(set("not-a-uuid", CLIENT, "key \"a\" { policy = \"read\" }"));
    let first = world.state.acl_token_by_secret("not-a-uuid").unwrap();
    assert_eq!((first.accessor_id.len(), first.stub().legacy), (36, true));
    world.done(set("not-a-uuid", MANAGEMENT, ""));
    let second = world.state.acl_token_by_secret("not-a-uuid").unwrap();
    assert_eq!(first.accessor_id, second.accessor_id);
    assert_eq!(second.policies[0].id, MANAGEMENT_ID);
    assert_eq!(second.as_legacy().unwrap().r#type, MANAGEMENT);
    world.done(set_token(token(T1, S1, &[])));
    world.refused(
        set(S1, CLIENT, ""),
        "Failed to apply ACL: failed inserting acl token: cannot use legacy endpoint to modify a non-legacy token",
    );
    assert_eq!(world.state.acl_token(T1).unwrap().as_legacy(), None);
    let delete = LegacyRequest {
        op: "delete".to_owned(),
        acl: LegacyToken { id: ::acl::Secret::new("not-a-uuid"), ..LegacyToken::default() },
        ..LegacyRequest::default()
    };
    world.done(AclCommand::Legacy(delete.clone()));
    assert!(world.done(AclCommand::Legacy(delete)).touched.is_empty());
    assert!(world.state.acl_token_by_secret("not-a-uuid").is_none());
}

#[test]
fn everything_survives_a_snapshot() {
    let mut world = World::new();
    world.done(set_policy(policy(P1, "one", "key \"a\" { policy = \"read\" }")));
    world.done(set_role(role(R1, "role", &[P1])));
    world.done(set_method("jwt"));
    world.done(set_binding(P2, "jwt"));
    world.done(set_token(Token {
        auth_method: "jwt".to_owned(),
        expiration_time: Some(at(9)),
        local: true,
        ..token(T1, S1, &[P1])
    }));
    let mut restore = Restore::new(Limits::default(), world.state.applied());
    world.state.records().for_each(|record| restore.add(record));
    let restored = restore.finish();
    assert!(restored.records().eq(world.state.records()));
    assert_eq!(restored.acl_tokens_next_due(true), Some(at(9)));
    assert_eq!(restored.acl_token_by_secret(S1), world.state.acl_token_by_secret(S1));
    assert_eq!(restored.acl_version(), world.state.acl_version());
    let mut world = World { state: restored, index: world.index };
    let touched = world.done(delete_method("jwt")).touched;
    assert!(touched.topics().any(|topic| *topic == Topic::AclToken(T1.into())));
}
