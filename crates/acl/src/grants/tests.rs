//! What rules mean together: cases, a naive model, and what may never happen.

use std::sync::Arc;

use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Because, DefaultPolicy, Grants, Named, TokenAuthorizer};
use crate::{Access, Authorizer, Need, Resource, Rules};

fn named(name: &str, text: &str) -> Named {
    Named { name: name.into(), rules: Arc::new(Rules::parse(text).unwrap()) }
}

fn grants(texts: &[&str]) -> Grants {
    let policies: Vec<Named> = texts.iter().enumerate().map(|(at, text)| named(&format!("p{at}"), text)).collect();
    Grants::compile(&policies, DefaultPolicy::Deny)
}

#[track_caller]
fn check(texts: &[&str], allowed: &[&str], refused: &[&str]) {
    let grants = grants(texts);
    for (words, expected) in allowed.iter().map(|words| (words, true)).chain(refused.iter().map(|words| (words, false)))
    {
        assert_eq!(grants.allows(need(words)), expected, "{words}");
    }
}

/// `key:read a/b`
fn need(words: &str) -> Need<'_> {
    let (what, name) = words.split_once(' ').unwrap_or((words, ""));
    let (resource, access) = what.split_once(':').unwrap();
    match resource {
        "every-node" => Need { resource: Resource::EveryNode, access: word(access) },
        "every-service" => Need { resource: Resource::EveryService, access: word(access) },
        "any-service" => Need { resource: Resource::AnyService, access: word(access) },
        _ => Need::parse(resource, name, access).unwrap(),
    }
}

fn word(access: &str) -> Access {
    if access == "read" { Access::Read } else { Access::Write }
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    check(&[""], &[], &["acl:read", "key:read a", "node:read a", "mesh:read", "intention:read *", "any-service:write"]);
    let lenient = Grants::compile(&[], DefaultPolicy::Allow);
    assert!(lenient.allows(need("key:write a")) && lenient.allows(need("operator:write")));
    assert!(!lenient.allows(need("acl:read")), "the default policy never opens the ACLs");
    assert!(!lenient.allows_everything());
}

#[test]
fn exact_over_prefix_and_longer_over_shorter() {
    let rules = r#"key_prefix "" { policy = "read" } key_prefix "a/" { policy = "write" } key "a/b" { policy = "deny" }
                   key_prefix "a/b" { policy = "list" }"#;
    check(
        &[rules],
        &["key:read x", "key:write a/", "key:write a/a", "key:list a/bc", "key:read a/b/c"],
        &["key:write a", "key:read a/b", "key:write a/b/c"],
    );
}

#[test]
fn several_policies_merge_by_rank() {
    check(
        &["node \"a\" { policy = \"read\" } acl = \"read\"", "node \"a\" { policy = \"write\" } acl = \"deny\""],
        &["node:write a"],
        &["acl:read"],
    );
    check(&["node \"a\" { policy = \"deny\" }", "node \"a\" { policy = \"write\" }"], &[], &["node:read a"]);
    // A level in upper case grants where it stands alone, and loses to any other; a deny wins, however written.
    check(&["key \"a\" { policy = \"WRITE\" }"], &["key:write a"], &[]);
    check(&["key \"a\" { policy = \"WRITE\" }", "key \"a\" { policy = \"read\" }"], &["key:read a"], &["key:write a"]);
    check(&["key \"a\" { policy = \"DENY\" }", "key \"a\" { policy = \"write\" }"], &[], &["key:read a"]);
    check(&["acl = \"READ\""], &[], &["acl:read"]);
}

#[test]
fn a_recursive_delete_needs_every_key_below() {
    let rules = r#"key_prefix "a/" { policy = "write" } key "a/x/secret" { policy = "read" }"#;
    check(
        &[rules],
        &["key:write-prefix a/b", "key:write-prefix a/y/"],
        &["key:write-prefix a/", "key:write-prefix a/x/", "key:write-prefix a", "key:write-prefix"],
    );
    check(&["key \"a\" { policy = \"write\" }"], &["key:write a"], &["key:write-prefix a"]);
}

#[test]
fn intentions_follow_their_service() {
    check(
        &["service \"a\" { policy = \"write\" } service \"b\" { policy = \"read\" intentions = \"write\" }"],
        &["intention:read a", "intention:write b", "intention:read *", "any-service:write"],
        &["intention:write a", "intention:write *", "intention:read c", "every-service:read"],
    );
    check(
        &["service_prefix \"\" { policy = \"write\" intentions = \"write\" }", "service \"x\" { policy = \"deny\" }"],
        &["intention:write a"],
        &["intention:write *", "intention:read x", "every-service:read"],
    );
}

#[test]
fn mesh_and_peering_follow_the_operator() {
    check(&["operator = \"write\""], &["mesh:write", "peering:write"], &["keyring:read", "acl:read"]);
    check(
        &["operator = \"write\" mesh = \"deny\" peering = \"read\""],
        &["peering:read"],
        &["mesh:read", "peering:write"],
    );
}

#[test]
fn a_decision_can_be_explained() {
    let grants =
        grants(&["key_prefix \"a/\" { policy = \"read\" }", "key \"a/b\" { policy = \"deny\" } operator = \"read\""]);
    let explained = grants.explain(need("key:read a/b"));
    assert!(!explained.allowed);
    assert_eq!(explained.because.to_string(), "policy \"p1\": key \"a/b\" { policy = \"deny\" }");
    assert_eq!(explained.needed, "key \"a/b\" { policy = \"read\" }");
    assert_eq!(
        grants.explain(need("key:read a/c")).because.to_string(),
        "policy \"p0\": key_prefix \"a/\" { policy = \"read\" }"
    );
    let mesh = grants.explain(need("mesh:write"));
    assert_eq!(mesh.because, Because::Rule { policy: "p1".into(), rule: "operator = \"read\"".to_owned() });
    assert_eq!((mesh.allowed, mesh.needed.as_str()), (false, "mesh = \"write\""));
    assert_eq!(grants.explain(need("node:read x")).because, Because::Default(DefaultPolicy::Deny));
    let tree = grants.explain(need("key:write-prefix a/"));
    assert_eq!((tree.allowed, tree.needed.as_str()), (false, "key_prefix \"a/\" { policy = \"write\" }"));
}

/// The rules of the built-in policy `global-management`.
const MANAGEMENT: &str = r#"
acl = "write" keyring = "write" operator = "write" mesh = "write" peering = "write"
agent_prefix "" { policy = "write" } event_prefix "" { policy = "write" } key_prefix "" { policy = "write" }
node_prefix "" { policy = "write" } query_prefix "" { policy = "write" } session_prefix "" { policy = "write" }
service_prefix "" { policy = "write" intentions = "write" }"#;

#[test]
fn management_may_do_everything() {
    let management = grants(&[MANAGEMENT]);
    assert!(management.allows_everything());
    let token = TokenAuthorizer::new(Some("id".into()), Arc::new(management));
    assert!(token.require(need("acl:write")).is_ok());
    for less in [
        "key \"a\" { policy = \"deny\" }",
        "acl = \"deny\"",
        "mesh = \"deny\"",
        "service \"x\" { policy = \"write\" intentions = \"deny\" }",
    ] {
        assert!(!grants(&[MANAGEMENT, less]).allows_everything(), "{less}");
    }
    let reader = TokenAuthorizer::new(Some("id".into()), Arc::new(grants(&["key \"a\" { policy = \"read\" }"])));
    assert_eq!(
        reader.require(need("key:write a")).unwrap_err().to_string(),
        "Permission denied: token with AccessorID 'id' lacks permission 'key:write' on \"a\""
    );
}

const WORDS: [&str; 7] = ["agent", "event", "key", "node", "query", "service", "session"];
const SINGLES: [&str; 5] = ["acl", "keyring", "mesh", "operator", "peering"];

#[derive(Debug, Clone)]
struct Spoken {
    word: &'static str,
    prefix: bool,
    name: String,
    level: &'static str,
    intentions: &'static str,
}

impl Spoken {
    fn text(&self) -> String {
        let Spoken { word, name, level, intentions, .. } = self;
        if SINGLES.contains(word) {
            return format!("{word} = \"{level}\"");
        }
        let suffix = if self.prefix { "_prefix" } else { "" };
        let more = match (*word, *intentions) {
            ("service", more) if !more.is_empty() => format!("intentions = \"{more}\""),
            _ => String::new(),
        };
        format!("{word}{suffix} \"{name}\" {{ policy = \"{level}\" {more} }}")
    }
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "/"]), 0..5).prop_map(|parts| parts.concat())
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["deny", "read", "write"])
}

fn spoken() -> impl Strategy<Value = Spoken> {
    let words = prop_oneof![4 => prop::sample::select(WORDS.to_vec()), 1 => prop::sample::select(SINGLES.to_vec())];
    (words, prop::bool::ANY, name(), level(), prop_oneof![Just(""), level()])
        .prop_map(|(word, prefix, name, level, intentions)| Spoken { word, prefix, name, level, intentions })
}

fn asked() -> impl Strategy<Value = String> {
    let resource = prop::sample::select(vec![
        "acl",
        "agent",
        "event",
        "intention",
        "key",
        "keyring",
        "mesh",
        "node",
        "operator",
        "peering",
        "query",
        "service",
        "session",
        "every-node",
        "every-service",
        "any-service",
    ]);
    let access = prop_oneof![Just("read"), Just("write"), Just("write-prefix")];
    (resource, access, prop_oneof![4 => name(), 1 => Just("*".to_owned())]).prop_map(|(resource, access, name)| {
        let access = if access == "write-prefix" && resource != "key" { "write" } else { access };
        format!("{resource}:{access} {name}")
    })
}

fn default() -> impl Strategy<Value = DefaultPolicy> {
    prop_oneof![Just(DefaultPolicy::Deny), Just(DefaultPolicy::Allow)]
}

fn compile(rules: &[Spoken], default: DefaultPolicy) -> Grants {
    // Two rules to a policy, so that both kinds of merging are met.
    let texts = rules.chunks(2).map(|rules| rules.iter().map(|rule| rule.text() + "\n").collect::<String>());
    let policies: Vec<Named> = texts
        .map(|text| Named {
            name: "p".into(),
            rules: Arc::new(Rules::parse_stored(&text, crate::rules::Syntax::Current).unwrap()),
        })
        .collect();
    Grants::compile(&policies, default)
}

fn rank(level: &str) -> u8 {
    match level {
        "deny" => 3,
        "write" => 2,
        _ => 1,
    }
}

/// One resource of a kind that has names, decided by looking at every rule.
fn naive(rules: &[Spoken], word: &str, name: &str, write: bool) -> Option<bool> {
    let speaking = rules.iter().filter(|rule| rule.word == word);
    let best = speaking
        .filter(|rule| if rule.prefix { name.starts_with(&rule.name) } else { name == rule.name })
        .max_by_key(|rule| (!rule.prefix, rule.name.len(), rank(rule.level)))?;
    Some(best.level == "write" || best.level == "read" && !write)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn lookups_agree_with_a_naive_model(
        rules in prop::collection::vec(spoken(), 0..12), default in default(), word in prop::sample::select(WORDS.to_vec()),
        name in name(), write in prop::bool::ANY,
    ) {
        // A policy cannot assign one word twice; singles are not looked at here.
        let rules: Vec<Spoken> = rules.into_iter().filter(|rule| WORDS.contains(&rule.word)).collect();
        let words = format!("{word}:{} {name}", if write { "write" } else { "read" });
        let expected = naive(&rules, word, &name, write).unwrap_or(default == DefaultPolicy::Allow);
        prop_assert_eq!(compile(&rules, default).allows(need(&words)), expected);
    }

    #[test]
    fn a_tree_may_be_deleted_only_if_each_key_may(
        rules in prop::collection::vec(spoken(), 0..12), default in default(), prefix in name(), below in name(),
    ) {
        let grants = compile(&rules, default);
        if grants.allows(Need::write(Resource::KeyPrefix(&prefix))) {
            let key = format!("{prefix}{below}");
            prop_assert!(grants.allows(Need::write(Resource::Key(&key))), "{}", key);
        }
    }

    #[test]
    fn a_deny_never_allows_more(
        rules in prop::collection::vec(spoken(), 0..8), at in 0usize..9, deny in spoken(), default in default(),
        asked in asked(), upper in prop::bool::ANY,
    ) {
        let before = compile(&rules, default);
        let mut more = rules.clone();
        let level = if upper { "DENY" } else { "deny" };
        more.insert(at.min(rules.len()), Spoken { level, intentions: "", ..deny });
        let after = compile(&more, default);
        prop_assert!(before.allows(need(&asked)) || !after.allows(need(&asked)), "{}", asked);
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(
        rules in prop::collection::vec(spoken(), 0..8), default in default(), asked in asked(),
    ) {
        let grants = compile(&rules, default);
        let explained = grants.explain(need(&asked));
        prop_assert_eq!(explained.allowed, grants.allows(need(&asked)));
        // What is said to be needed is a rule, and it helps one who has no other.
        if !asked.contains('*') {
            let helped = Grants::compile(&[named("new", &explained.needed)], DefaultPolicy::Deny);
            prop_assert!(helped.allows(need(&asked)), "{}", explained.needed);
        }
    }

    #[test]
    fn who_may_do_everything_may_do_anything(rules in prop::collection::vec(spoken(), 0..3), asked in asked()) {
        let mut all: Vec<Spoken> = WORDS.iter().map(|&word| Spoken { word, prefix: true, name: String::new(), level: "write", intentions: "write" }).collect();
        all.extend(SINGLES.iter().map(|&word| Spoken { word, prefix: false, name: String::new(), level: "write", intentions: "" }));
        all.extend(rules);
        let grants = compile(&all, DefaultPolicy::Deny);
        if grants.allows_everything() {
            prop_assert!(grants.explain(need(&asked)).allowed, "{}", asked);
        }
    }
}
