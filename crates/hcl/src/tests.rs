//! Texts, trees and error texts; the latter as the reference prints them.

use super::{Kind, Object, Value, json, parse, parse_unique};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

/// The tree as compact JSON-like text: short to write in a test, and without positions.
fn show(object: &Object) -> String {
    let entries: Vec<String> =
        object.entries.iter().map(|entry| format!("{}:{}", entry.key, show_value(&entry.value))).collect();
    format!("{{{}}}", entries.join(","))
}

fn show_value(value: &Value) -> String {
    match &value.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(bool) => bool.to_string(),
        Kind::Integer(integer) => integer.to_string(),
        Kind::Float(float) => format!("{float:?}"),
        Kind::Text(text) => format!("{text:?}"),
        Kind::List(list) => format!("[{}]", list.iter().map(show_value).collect::<Vec<_>>().join(",")),
        Kind::Object(object) => show(object),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(show(&parse(text).expect("reads")), expected, "{text}");
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    assert_eq!(parse(text).expect_err("fails").to_string(), expected, "{text}");
}

#[track_caller]
fn json_fails(text: &str, expected: &str) {
    assert_eq!(json::parse(text).expect_err("fails").to_string(), expected, "{text}");
}

#[test]
fn assignments_blocks_and_labels() {
    check("", "{}");
    check("a = 1", "{a:1}");
    check("a = 1, b = 2", "{a:1,b:2}");
    check("a-b.c = 1", "{a-b.c:1}");
    check("\"a b\" = true", "{a b:true}");
    check("a { b = 1 }", "{a:{b:1}}");
    check("a = { b = 1 }", "{a:{b:1}}");
    check("a \"b\" { c = 1 }", "{a:{b:{c:1}}}");
    check("a b \"c\" { d = 1 }", "{a:{b:{c:{d:1}}}}");
    check("a { x = 1 }\na { x = 2 }", "{a:{x:1},a:{x:2}}");
    check("a = 1\na = 2", "{a:1,a:2}");
    check("a =", "{}");
}

#[test]
fn lists() {
    check("a = []", "{a:[]}");
    check("a = [1, 2,]", "{a:[1,2]}");
    check("a = [,1,,2]", "{a:[1,2]}");
    check("a = [[1], [2]]", "{a:[[1],[2]]}");
    check("a = [{b = 1}, {b = 2}]", "{a:[{b:1},{b:2}]}");
    check("a = [\"x\", # one\n \"y\" // two\n]", "{a:[\"x\",\"y\"]}");
}

#[test]
fn numbers() {
    check("a = 0x1F b = 017 c = -3 d = 0", "{a:31,b:15,c:-3,d:0}");
    check("a = 1.5 b = 1e3 c = -2.5E-1 d = .5 e = 0.25", "{a:1.5,b:1000.0,c:-0.25,d:0.5,e:0.25}");
    check("a = 9223372036854775807", "{a:9223372036854775807}");
    fails("a = 08", "strconv.ParseInt: parsing \"08\": invalid syntax");
    fails("a = 019", "At 1:7: illegal octal number");
    fails("a = 1e", "strconv.ParseFloat: parsing \"1e\": invalid syntax");
    fails("a = 99999999999999999999", "strconv.ParseInt: parsing \"99999999999999999999\": value out of range");
}

#[test]
fn quoted_texts() {
    check(r#"a = "x\n\t\"\\é\x41\101é""#, r#"{a:"x\n\t\"\\éAAé"}"#);
    check(r#"a = "${b("c")} \" ${d}""#, r#"{a:"${b(\"c\")} \" ${d}"}"#);
    check("a = \"${x\ny}\"", r#"{a:"${x\ny}"}"#);
    check(r#"a = "$x {y}""#, r#"{a:"$x {y}"}"#);
    check(r#"a = "\xc3\xa9""#, "{a:\"é\"}");
    fails("a = \"x\ny\"", "At 2:3: literal not terminated");
    fails("x = \"\\q\"", "At 1:7: illegal char escape");
}

#[test]
fn heredocs() {
    check("a = <<EOF\none\n  two\nEOF\nb = 1", r#"{a:"one\n  two\n",b:1}"#);
    check("a = <<EOF\r\none\r\nEOF\r\n", r#"{a:"one\n"}"#);
    check("a = <<-EOF\n  one\n    two\n  EOF\n", r#"{a:"one\n  two\n"}"#);
    check("a = <<-EOF\none\n  two\n  EOF\n", r#"{a:"one\n  two\n"}"#);
    check("a = <<EOF\nEOF\n", r#"{a:""}"#);
    check("a = [<<EOF\nx\nEOF\n, 2]", r#"{a:["x\n",2]}"#);
    fails("a = <<-EOF\nfoo\nEOF\n", "At 4:1: heredoc not terminated");
    fails("a = <<EOF\nfoo\nEOF", "At 3:4: heredoc not terminated");
    fails("a = <<\nfoo\n", "At 1:7: zero-length heredoc anchor");
}

#[test]
fn comments() {
    check("# x\n// y\n/* z\n * w **/ a = 1 # v", "{a:1}");
    fails("/* x", "At 1:5: comment not terminated");
    fails("/ x", "At 1:1: expected '/' for comment");
}

#[test]
fn errors_stand_where_the_reference_says() {
    fails("a : 1", "At 1:3: illegal char");
    fails("a : 1\nb = foo", "At 1:3: illegal char");
    fails("zork = foo", "At 1:8: Unknown token: 1:8 IDENT foo");
    fails("a = [1 2]", "At 1:8: error parsing list, expected comma or list end, got: NUMBER");
    fails("a = {", "At 1:7: object expected closing RBRACE got: EOF");
    fails("a \"b\" {", "At 1:9: object expected closing RBRACE got: EOF");
    fails("a = { b = }", "At 1:11: Unknown token: 1:11 RBRACE }");
    fails("\"a\" \"b\" = 1", "At 1:9: nested object expected: LBRACE got: ASSIGN");
    fails("a b", "At 1:5: key 'a b' expected start of object ('{') or assignment ('=')");
    fails("x = {y", "At 1:8: key 'y' expected start of object ('{') or assignment ('=')");
    fails("} a=1", "At 1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE");
    fails("= 1", "At 1:1: no object keys found!");
    fails(
        "a = [{b=1,]",
        "At 1:6: error while trying to parse object within list: At 1:11: \
         expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACK",
    );
}

#[test]
fn unique_reading_refuses_repeated_assignments_but_not_blocks() {
    assert!(parse_unique("k \"a\" { p = 1 }\nk \"b\" { p = 1 }").is_ok());
    assert!(parse("a = 1\na = 2").is_ok());
    assert_eq!(
        parse_unique("a = 1\na = 2").expect_err("refused").to_string(),
        "The argument \"a\" at 2:1 was already set. Each argument can only be defined once"
    );
}

#[test]
fn json_and_hcl_give_the_same_tree() {
    for (hcl, json) in [
        ("a = 1 b = \"x\" c = [1, 2] d = 1.5 e = true", r#"{"a":1,"b":"x","c":[1,2],"d":1.5,"e":true}"#),
        ("key \"foo\" { policy = \"read\" }", r#"{"key":{"foo":{"policy":"read"}}}"#),
        ("s = { c = [{ i = \"1s\" }] }", "{ \"s\" : {\"c\": [ {\"i\": \"1s\"} ] } }"),
    ] {
        assert_eq!(show(&parse(hcl).expect("hcl")), show(&json::parse(json).expect("json")));
        assert_eq!(show(&parse(json).expect("json as hcl")), show(&json::parse(json).expect("json")));
    }
}

#[test]
fn labelled_blocks_are_found_in_every_spelling() {
    for text in [
        "key \"a\" { p = 1 } key \"b\" { p = 2 }",
        r#"{"key": {"a": {"p": 1}, "b": {"p": 2}}}"#,
        r#"{"KEY": [{"a": {"p": 1}}, {"b": {"p": 2}}]}"#,
    ] {
        let object = parse(text).expect("reads");
        let labels: Vec<&str> = object.labelled("key").iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(labels, ["a", "b"], "{text}");
    }
}

#[test]
fn json_errors_use_the_words_of_go() {
    json_fails("", "unexpected end of JSON input");
    json_fails("{", "unexpected end of JSON input");
    json_fails("{\"a\" 1}", "invalid character '1' after object key");
    json_fails("{\"a\":1}x", "invalid character 'x' after top-level value");
    json_fails("{\"a\":1,}", "invalid character '}' looking for beginning of object key string");
    json_fails("{\"a\" : nul}", "invalid character '}' in literal null (expecting 'l')");
    json_fails("{\"a\":tru", "invalid character ' ' in literal true (expecting 'e')");
    json_fails("{\"a\": 01}", "invalid character '1' after object key:value pair");
    json_fails("{\"a\": \"\\q\"}", "invalid character 'q' in string escape code");
    json_fails("{\"a\": \"\n\"}", "invalid character '\\n' in string literal");
    json_fails("{\"a\":\"\u{1}\"}", "invalid character '\\x01' in string literal");
    json_fails("{\"a\":[1 2]}", "invalid character '2' after array element");
    json_fails("{a:1}", "invalid character 'a' looking for beginning of object key string");
    json_fails("{'a':1}", "invalid character '\\'' looking for beginning of object key string");
    json_fails("{\"a\": -}", "invalid character '}' in numeric literal");
    json_fails("{\"a\": 1.}", "invalid character '}' after decimal point in numeric literal");
    json_fails("{\"a\":1e400}", "json: cannot unmarshal number 1e400 into Go value of type float64");
    json_fails("[1]", "json: cannot unmarshal array into Go value of type map[string]interface {}");
    assert_eq!(show(&json::parse("null").expect("null")), "{}");
    assert_eq!(show(&json::parse(r#"{"a":"\ud83d\ude00\ud800"}"#).expect("pairs")), "{a:\"😀\u{fffd}\"}");
}

#[test]
fn nesting_is_bounded() {
    let deep = 200_000;
    assert!(parse(&format!("a = {}", "[".repeat(deep))).is_err());
    assert!(parse(&"a {".repeat(deep)).is_err());
    assert!(json::parse(&"{\"a\":".repeat(deep)).is_err());
    let labels = format!("{} {{}}", "a ".repeat(deep));
    assert!(parse(&labels).is_err());
    assert!(parse(&format!("{} {{", "a ".repeat(100)).repeat(2)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = parse(&text);
        let _ = json::parse_value(&text);
    }

    #[test]
    fn hcl_like_text_is_answered(parts in prop::collection::vec(
        prop::sample::select(vec![
            "a", "\"b\"", "=", "{", "}", "[", "]", ",", "<<E\n", "<<-E\n", "\nE\n", " ", "\n", "#", "/*", "*/", "//",
            "0x", "08", "1.", "e", "-", "\\", "${", "\"", "\r\n", "é", "\0", ":", "true", "null", "\\u12", "\\x",
        ]), 0..40))
    {
        let text = parts.concat();
        let _ = parse(&text);
        let _ = json::parse_value(&text);
    }

    #[test]
    fn quoted_text_comes_back(value in any::<String>()) {
        let escaped: String = value.chars().map(|c| format!("\\U{:08x}", c as u32)).collect();
        let object = parse(&format!("a = \"{escaped}\""));
        prop_assert!(object.is_ok());
        let object = object.expect("checked");
        prop_assert!(object.last("a").and_then(Value::as_text) == Some(value.as_str()));
    }
}
