//! What holds whatever is done in whatever order.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{
    World, at, delete_method, delete_policy, delete_role, delete_token, links, policy, role, set_binding, set_method,
    set_policy, set_role, set_token, token,
};
use crate::acl::{
    AclCommand, AuthMethodList, BindingRuleList, PolicyList, PolicyRead, RoleList, RoleRead, ServiceIdentity, Token,
    TokenList, TokenRead, resolve,
};
use crate::snapshot::Restore;
use crate::{Index, Limits, Query, Seen, State, Topic};

fn id(kind: char, number: u8) -> String {
    format!("{}-0000-0000-0000-00000000000{number}", kind.to_string().repeat(8))
}

fn number() -> impl Strategy<Value = u8> {
    0..3u8
}

fn ids(kind: char) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(number(), 0..3).prop_map(move |numbers| numbers.into_iter().map(|n| id(kind, n)).collect())
}

fn command() -> impl Strategy<Value = AclCommand> {
    let rules = prop_oneof![Just(""), Just("key \"a\" { policy = \"read\" }"), Just("acl = \"write\""), Just("bad {")];
    let linked = |ids: &[String]| links(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    prop_oneof![
        3 => (number(), number(), rules).prop_map(|(n, name, rules)| set_policy(policy(&id('a', n), &format!("p{name}"), rules))),
        1 => number().prop_map(|n| delete_policy(&id('a', n))),
        3 => (number(), number(), ids('a')).prop_map(move |(n, name, policies)| {
            set_role(crate::acl::Role { policies: linked(&policies), ..role(&id('b', n), &format!("r{name}"), &[]) })
        }),
        1 => number().prop_map(|n| delete_role(&id('b', n))),
        4 => (number(), number(), ids('a'), ids('b'), any::<bool>(), any::<bool>()).prop_map(
            move |(n, secret, policies, roles, method, service)| {
                set_token(Token {
                    policies: linked(&policies),
                    roles: linked(&roles),
                    auth_method: if method { "m0".to_owned() } else { String::new() },
                    service_identities: if service {
                        vec![ServiceIdentity { service_name: "web".to_owned(), ..ServiceIdentity::default() }]
                    } else {
                        Vec::new()
                    },
                    local: true,
                    ..token(&id('c', n), &id('d', secret), &[])
                })
            }
        ),
        1 => number().prop_map(|n| delete_token(&id('c', n))),
        1 => number().prop_map(|n| set_method(&format!("m{n}"))),
        1 => number().prop_map(|n| delete_method(&format!("m{n}"))),
        1 => (number(), number()).prop_map(|(n, method)| set_binding(&id('e', n), &format!("m{method}"))),
    ]
}

/// Every question about a state: its answer as text, its index, and what it looked at.
fn asked(state: &State) -> Vec<(String, Index, Seen)> {
    fn ask<Q: Query>(state: &State, query: &Q, show: impl Fn(&Q::Answer) -> String) -> (String, Index, Seen) {
        let mut seen = Seen::default();
        let found = query.run(state, &mut seen).unwrap();
        (show(&found.answer), found.index, seen)
    }
    fn show<T: std::fmt::Debug>(value: &T) -> String {
        format!("{value:?}")
    }
    let mut all = vec![
        ask(state, &TokenList::default(), show),
        ask(state, &TokenList { policy: id('a', 0), ..TokenList::default() }, show),
        ask(state, &TokenList { service_name: "web".to_owned(), ..TokenList::default() }, show),
        ask(state, &PolicyList {}, show),
        ask(state, &RoleList::default(), show),
        ask(state, &RoleList { policy: id('a', 1) }, show),
        ask(state, &BindingRuleList::default(), show),
        ask(state, &AuthMethodList {}, show),
        ask(state, &PolicyRead { policy_name: "p0".to_owned(), ..PolicyRead::default() }, show),
        ask(state, &RoleRead { role_name: "r0".to_owned(), ..RoleRead::default() }, show),
    ];
    for n in 0..3 {
        let read =
            |kind: &str, token_id: String, expanded| TokenRead { token_id, token_id_type: kind.to_owned(), expanded };
        all.push(ask(state, &read("accessor", id('c', n), false), show));
        all.push(ask(state, &read("accessor", id('c', n), true), show));
        all.push(ask(state, &read("secret", id('d', n), true), show));
        all.push(ask(state, &PolicyRead { policy_id: id('a', n), ..PolicyRead::default() }, show));
        all.push(ask(state, &RoleRead { role_id: id('b', n), ..RoleRead::default() }, show));
        let mut seen = Seen::default();
        let resolved = resolve(state, &id('d', n), "dc1", at(0), &mut seen);
        all.push((format!("{resolved:?}"), state.acl_version(), seen));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn who_asked_hears_of_what_changed(commands in prop::collection::vec(command(), 1..25)) {
        let mut world = World::new();
        let mut before = asked(&world.state);
        for command in commands {
            let version = world.state.acl_version();
            let applied = world.apply(command.clone());
            let after = asked(&world.state);
            for ((old, old_index, seen), (new, new_index, _)) in before.iter().zip(&after) {
                prop_assert!(new_index >= old_index);
                if old != new {
                    let told = applied.touched.topics().any(|topic: &Topic| seen.concerns(topic));
                    prop_assert!(told, "{command:?}\n{old}\n{new}");
                }
            }
            if applied.touched.is_empty() {
                prop_assert_eq!(world.state.acl_version(), version);
            }
            before = after;
        }
        let mut restore = Restore::new(Limits::default(), world.state.applied());
        world.state.records().for_each(|record| restore.add(record));
        let restored = asked(&restore.finish());
        for ((old, old_index, _), (new, new_index, _)) in before.iter().zip(&restored) {
            prop_assert_eq!(old, new);
            prop_assert_eq!(old_index, new_index);
        }
    }
}
