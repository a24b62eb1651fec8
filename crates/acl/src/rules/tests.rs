//! Texts that are refused, in the words of the reference (asked of a running 1.22), and what odd ones mean.

use super::{Level, Rules, Syntax};

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(Rules::parse(text).unwrap_err().to_string(), expected, "{text}");
}

#[track_caller]
fn read(text: &str, expected: &str) {
    assert_eq!(show(&Rules::parse(text).unwrap()), expected, "{text}");
}

fn show(rules: &Rules) -> String {
    let single = super::Single::ALL
        .into_iter()
        .filter_map(|of| Some(format!("{}={}", of.word(), rules.single(of)?.level.word())));
    let named = rules.named.iter().map(|rule| {
        let word = if rule.exact { rule.kind.word() } else { rule.kind.prefix_word() };
        let intentions = rule.intentions.map(|written| format!("+{}", written.level.word())).unwrap_or_default();
        format!("{word}:{}={}{intentions}", rule.name, rule.level.level.word())
    });
    single.chain(named).collect::<Vec<_>>().join(" ")
}

#[test]
fn unknown_levels_are_refused() {
    refused(
        "key \"a\" { policy = \"reed\" }",
        r#"Invalid key policy: &acl.KeyRule{Prefix:"a", Policy:"reed", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        "key \"a\" { }",
        r#"Invalid key policy: &acl.KeyRule{Prefix:"a", Policy:"", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        "key_prefix \"a\" { policy = \"x\" }",
        r#"Invalid key_prefix policy: &acl.KeyRule{Prefix:"a", Policy:"x", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused("agent \"a\" { policy = \"list\" }", r#"Invalid agent policy: &acl.AgentRule{Node:"a", Policy:"list"}"#);
    refused(
        "agent_prefix \"a\" { policy = \"\" }",
        r#"Invalid agent_prefix policy: &acl.AgentRule{Node:"a", Policy:""}"#,
    );
    refused(
        "service \"a\" { policy = \"read\" intentions = \"foo\" }",
        r#"Invalid service intentions policy: &acl.ServiceRule{Name:"a", Policy:"read", Intentions:"foo", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        "service_prefix \"a\" { policy = \"list\" }",
        r#"Invalid service_prefix policy: &acl.ServiceRule{Name:"a", Policy:"list", Intentions:"", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        "node \"a\" { policy = \"x\" }",
        r#"Invalid node policy: &acl.NodeRule{Name:"a", Policy:"x", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        "session_prefix \"a\" {policy=\"x\"}",
        r#"Invalid session_prefix policy: &acl.SessionRule{Node:"a", Policy:"x"}"#,
    );
    refused("event \"a\" {policy=\"x\"}", r#"Invalid event policy: &acl.EventRule{Event:"a", Policy:"x"}"#);
    refused(
        "query_prefix \"a\" {policy=\"x\"}",
        r#"Invalid query_prefix policy: &acl.PreparedQueryRule{Prefix:"a", Policy:"x"}"#,
    );
    refused(
        "key \"a\" { policy = 3 }",
        r#"Invalid key policy: &acl.KeyRule{Prefix:"a", Policy:"3", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        "service \"A B\\\"c\" { policy = \"zz\" }",
        r#"Invalid service policy: &acl.ServiceRule{Name:"A B\"c", Policy:"zz", Intentions:"", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        "service \"é\u{2028}\" { policy = \"z\\tz\" }",
        r#"Invalid service policy: &acl.ServiceRule{Name:"é\u2028", Policy:"z\tz", Intentions:"", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    refused(
        r#"{"key_prefix":{"":{"policy":"read"},"b":{"policy":"x"}}}"#,
        r#"Invalid key_prefix policy: &acl.KeyRule{Prefix:"b", Policy:"x", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
    for word in ["acl", "keyring", "operator", "mesh", "peering"] {
        refused(&format!("{word} = \"list\""), &format!("Invalid {word} policy: \"list\""));
    }
    refused("acl = 3", "Invalid acl policy: \"3\"");
}

#[test]
fn the_order_of_complaints() {
    refused("operator = \"x\" service \"a\" { policy = \"y\" } acl = \"z\"", "Invalid acl policy: \"z\"");
    refused(
        "operator = \"x\" keyring = true",
        "Failed to parse ACL rules: At 1:26: root.keyring: unknown type for string *ast.LiteralType",
    );
    refused(
        "key_prefix \"a\" {} key \"b\" {}",
        r#"Invalid key policy: &acl.KeyRule{Prefix:"b", Policy:"", EnterpriseRule:acl.EnterpriseRule{}}"#,
    );
}

#[test]
fn wrong_shapes_are_refused() {
    refused("key = \"read\"", "Failed to parse ACL rules: At 1:7: unknown slice type: *ast.LiteralType");
    refused("identity = \"x\"", "Failed to parse ACL rules: At 1:12: unknown slice type: *ast.LiteralType");
    refused("acl = true", "Failed to parse ACL rules: At 1:7: root.acl: unknown type for string *ast.LiteralType");
    refused("acl = [ \"read\" ]", "Failed to parse ACL rules: At 1:7: root.acl: unknown type for string *ast.ListType");
    refused(
        "acl { policy = \"read\" }",
        "Failed to parse ACL rules: At 1:7: root.acl: unknown type for string *ast.ObjectList",
    );
    refused(
        "acl \"x\" { policy = \"read\" }",
        "Failed to parse ACL rules: At 1:5: root.acl: unknown type for string *ast.ObjectList",
    );
    refused("acl = {}", "Failed to parse ACL rules: At -: root.acl: unknown type for string *ast.ObjectList");
    refused(
        "key \"a\" { policy = [\"read\"] }",
        "Failed to parse ACL rules: At 1:20: root.key[0].Policy: unknown type for string *ast.ListType",
    );
    refused(
        "service \"a\" { policy=\"read\" intentions=true }",
        "Failed to parse ACL rules: At 1:40: root.service[0].Intentions: unknown type for string *ast.LiteralType",
    );
    refused(
        "service = [ { web = { policy = \"zz\" } } ]",
        "Failed to parse ACL rules: At 1:15: root.service[0]: Name asked for 'key', impossible",
    );
    refused(
        "query = [{ policy = \"read\" }]",
        "Failed to parse ACL rules: At 1:12: root.query[0]: Prefix asked for 'key', impossible",
    );
    refused(
        "key = [1]",
        "Failed to parse ACL rules: At 1:8: root.key[0]: not an object type for struct (*ast.LiteralType)",
    );
    refused(
        "key { a = [ { policy = \"read\" } ] }",
        "Failed to parse ACL rules: At 1:11: root.key[0]: not an object type for struct (*ast.ListType)",
    );
    refused(r#"{"key": null}"#, "Failed to parse ACL rules: At -: unknown slice type: *ast.LiteralType");
    refused(
        r#"{"key":{"a":[]}}"#,
        "Failed to parse ACL rules: At -: root.key[0]: not an object type for struct (*ast.ListType)",
    );
    refused(
        r#"{"acl":{"x":"y"}}"#,
        "Failed to parse ACL rules: At -: root.acl: unknown type for string *ast.ObjectList",
    );
    refused("bad", "Failed to parse ACL rules: At 1:5: key 'bad' expected start of object ('{') or assignment ('=')");
    refused("key \"a\" = \"b\"", "Failed to parse ACL rules: At 1:9: nested object expected: LBRACE got: ASSIGN");
    refused(
        "acl = \"read\" acl = \"write\"",
        "Failed to parse ACL rules: The argument \"acl\" at 1:14 was already set. Each argument can only be defined once",
    );
}

#[test]
fn what_is_read() {
    read("", "");
    read(" # nothing", "");
    read("namespace \"a\" { acl = \"read\" } partition \"x\" {} foo = 3", "");
    read("identity \"x\" { policy = \"bogus\" }", "");
    read("acl = \"READ\" keyring = \"deny\" operator = \"\"", "acl=read keyring=deny");
    read("mesh = \"write\" peering = \"read\"", "mesh=write peering=read");
    read("KEY \"a\" { POLICY = \"list\" }", "key:a=list");
    read("key { policy = \"read\" a { policy = \"deny\" } }", "key:policy=read key:a=deny");
    read("service_prefix \"\" { policy = \"read\" intentions = \"write\" }", "service_prefix:=read+write");
    read("key \"a\" { policy = \"read\" } key \"a\" { policy = \"write\" }", "key:a=read key:a=write");
    read(r#"{"acl":"read","acl":"write"}"#, "acl=write");
    read(r#"{"acl":null,"key":[]}"#, "");
    read(r#"{"key":[[{"a":{"policy":"read"}}]]}"#, "key:a=read");
    read(r#"{"key":{"a":[{"policy":"read"},{"policy":"write"}]}}"#, "key:a=read key:a=write");
    read("key \"a\" { sentinel { code = \"x\" } policy = \"read\" }", "key:a=read");
}

#[test]
fn stored_rules_forgive_repetition() {
    let rules = Rules::parse_stored("acl = \"read\" acl = \"write\"", Syntax::Current).unwrap();
    assert_eq!(show(&rules), "acl=write");
}

#[test]
fn legacy_names_are_prefixes() {
    let text =
        "key \"foo\" { policy = \"write\" } service \"\" { policy = \"read\" } operator = \"read\" acl = \"write\"";
    let rules = Rules::parse_stored(text, Syntax::Legacy).unwrap();
    assert_eq!(show(&rules), "operator=read key_prefix:foo=write service_prefix:=read");
    let error = Rules::parse_stored("agent \"x\" { policy = \"list\" }", Syntax::Legacy).unwrap_err();
    assert_eq!(error.to_string(), r#"Invalid agent policy: &acl.AgentRule{Node:"x", Policy:"list"}"#);
    assert_eq!(Level::Deny.word(), "deny");
}
