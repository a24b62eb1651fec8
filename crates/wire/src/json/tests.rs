//! `go_texts.tsv` was printed by Go 1.26: an input (as a JSON string), what a strict `json.Decoder` answers, what
//! `json.Unmarshal` answers. The types here mirror the Go types it was decoded into.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use proptest::{collection, option};
use serde::{Deserialize, Serialize};

use super::{MAX_DEPTH, Mode, Options, UnknownFields, Value, from_slice, to_string, to_vec, to_vec_pretty};
use crate::duration::GoDuration;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "structs.NodeID")]
struct NodeId(String);

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Check {
    name: String,
    small: u8,
    args: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    port: i64,
    tags: Vec<String>,
    weights: Option<Weights>,
    meta: BTreeMap<String, String>,
    checks: Vec<Option<Check>>,
    #[serde(with = "crate::base64::or_null")]
    value: Bytes,
    proxy: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename = "Inner|Alias", rename_all = "PascalCase")]
struct Inner {
    name: String,
    #[serde(rename = "num_snake")]
    num_snake: i64,
    deep: Weights,
    bool: bool,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Request {
    node: String,
    #[serde(rename = "ID")]
    id: NodeId,
    service: Option<Service>,
    flags: u64,
    ratio: f64,
    on: bool,
    inner: Inner,
    inners: Vec<Inner>,
    any: serde_json::Value,
    ptr: Option<String>,
    mat: BTreeMap<String, Vec<String>>,
    #[serde(rename = "NW")]
    nw: BTreeMap<String, Weights>,
}

fn text_of<T>(outcome: Result<T, super::Error>) -> String {
    outcome.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
}

#[test]
fn answers_as_go_does() {
    let lenient = Options { unknown_fields: UnknownFields::Ignore, aliases: false, mode: Mode::Unmarshal };
    for line in include_str!("go_texts.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [input, decoder, unmarshal] = columns[..] else { panic!("three columns in {line:?}") };
        let input: String = serde_json::from_str(input).unwrap();
        let strict = from_slice::<Request>(input.as_bytes(), Options::STRICT);
        assert_eq!(text_of(strict), decoder, "Decoder on {input:?}");
        assert_eq!(text_of(from_slice::<Request>(input.as_bytes(), lenient)), unmarshal, "Unmarshal on {input:?}");
    }
}

#[test]
fn fields_match_whatever_their_case_and_with_aliases_their_underscores() {
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Definition {
        script_args: Vec<String>,
        enable_tag_override: bool,
        #[serde(rename = "ID", alias = "CheckID")]
        id: String,
    }
    let expect = Definition { script_args: vec!["a".to_owned()], enable_tag_override: true, id: "x".to_owned() };
    let snake = br#"{"script_args":["a"],"enable_tag_override":true,"check_id":"x"}"#;
    assert_eq!(from_slice::<Definition>(snake, Options::STRICT_ALIASES), Ok(expect));
    assert_eq!(text_of(from_slice::<Definition>(snake, Options::STRICT)), r#"json: unknown field "script_args""#);
    let both = br#"{"scriptargs":["b"],"ScriptArgs":null,"id":"x"}"#;
    assert_eq!(from_slice::<Definition>(both, Options::STRICT).unwrap().script_args, ["b"]);
}

/// Seen on Consul 1.22: PUT /v1/agent/service/register, /v1/catalog/deregister, /v1/txn.
#[test]
fn places_read_as_the_reference_words_them() {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, rename = "ServiceDefinition|Alias|struct { X bool }")]
    struct ServiceDefinition {
        #[serde(rename = "Name")]
        _name: String,
        #[serde(rename = "EnableTagOverride")]
        _override: bool,
        #[serde(rename = "Checks")]
        _checks: Vec<CheckType>,
        #[serde(rename = "Weights")]
        _weights: Option<Weights>,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, rename = "CheckType|Alias")]
    struct CheckType {
        #[serde(rename = "Name")]
        _name: String,
        #[serde(rename = "ScriptArgs")]
        _args: Vec<String>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(rename = "api.TxnOps")]
    struct TxnOps(#[expect(dead_code, reason = "only the refusal matters")] Vec<String>);

    let check = |input: &[u8], expect: &str| {
        let outcome = from_slice::<ServiceDefinition>(input, Options::STRICT_ALIASES);
        assert_eq!(text_of(outcome), format!("json: cannot unmarshal {expect}"));
    };
    check(br#"{"Name":1}"#, "number into Go struct field .Alias.Name of type string");
    check(br#"{"enable_tag_override":5}"#, "number into Go struct field .enable_tag_override of type bool");
    check(
        br#"{"Checks":[{"script_args":5}]}"#,
        "number into Go struct field .Alias.Checks.script_args of type []string",
    );
    check(br#"{"Weights":{"Passing":"x"}}"#, "string into Go struct field Weights.Alias.Weights.Passing of type int");
    check(b"[]", "array into Go value of type struct { X bool }");
    assert_eq!(
        text_of(from_slice::<TxnOps>(b"{}", Options::STRICT)),
        "json: cannot unmarshal object into Go value of type api.TxnOps"
    );
}

#[test]
fn null_leaves_defaults_and_the_last_duplicate_wins() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Tuned {
        limit: u32,
        name: String,
    }
    impl Default for Tuned {
        fn default() -> Tuned {
            Tuned { limit: 7, name: "d".to_owned() }
        }
    }
    let tuned: Tuned = from_slice(br#"{"Limit":null,"Name":"a","name":"b","NAME":null}"#, Options::STRICT).unwrap();
    assert_eq!(tuned, Tuned { limit: 7, name: "b".to_owned() });
    assert_eq!(from_slice::<Tuned>(b"null", Options::STRICT).unwrap(), Tuned::default());
    assert_eq!(from_slice::<Vec<String>>(b"[null,\"a\"]", Options::STRICT).unwrap(), ["", "a"]);
}

#[test]
fn durations_are_texts_or_numbers() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Spans {
        plain: GoDuration,
        #[serde(with = "crate::duration::as_string")]
        text: GoDuration,
        #[serde(with = "crate::duration::as_string_or_empty")]
        maybe: GoDuration,
    }
    let spans: Spans = from_slice(br#"{"Plain":"10s","Text":1e9,"Maybe":""}"#, Options::STRICT).unwrap();
    assert_eq!(to_string(&spans).unwrap(), r#"{"Plain":10000000000,"Text":"1s","Maybe":""}"#);
    let check = |input: &[u8], expect: &str| assert_eq!(text_of(from_slice::<Spans>(input, Options::STRICT)), expect);
    check(br#"{"Plain":"5y"}"#, "time: unknown unit \"y\" in duration \"5y\"");
    check(br#"{"Plain":true,"Text":[5],"Maybe":{"a":1}}"#, "ok");
}

#[test]
fn strings_are_unquoted_as_go_does() {
    let check = |input: &[u8], expect: &str| {
        assert_eq!(from_slice::<String>(input, Options::STRICT).unwrap(), expect, "reading {input:?}");
    };
    check(br#""\u0041\n\/\"\\\b\f\r\t""#, "A\n/\"\\\u{8}\u{c}\r\t");
    check(br#""\ud83d\ude00""#, "\u{1f600}");
    check(br#""\ud800""#, "\u{fffd}");
    check(br#""\ud800\u0041""#, "\u{fffd}A");
    check(br#""\ud800\ud800\udc00""#, "\u{fffd}\u{10000}");
    check(br#""\udc00x""#, "\u{fffd}x");
    check(b"\"a\xff\xe2\x82b\"", "a\u{fffd}\u{fffd}\u{fffd}b");
    check(b"\"\\n\xff\"", "\n\u{fffd}");
}

#[test]
fn numbers_of_interfaces_are_floats() {
    let check = |input: &str, expect: &str| {
        let value: serde_json::Value = from_slice(input.as_bytes(), Options::STRICT).unwrap();
        assert_eq!(to_string(&value).unwrap(), expect, "reading {input}");
    };
    check("5000", "5000");
    check("1.0", "1");
    check("-0", "-0");
    check("1e3", "1000");
    check("0.5", "0.5");
    check("9007199254740993", "9007199254740992");
    check("12345678901234567890123", "1.2345678901234568e+22");
}

#[test]
fn writes_as_go_does() {
    assert_eq!(
        to_string("<a href=\"x\">&\u{2028}\u{2029}\u{1}\n\u{e9}").unwrap(),
        "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\u2028\\u2029\\u0001\\n\u{e9}\""
    );
    for (number, expect) in [
        (1.0, "1"),
        (0.5, "0.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (-0.0, "-0"),
        (1e100, "1e+100"),
        (123456789.125, "123456789.125"),
        (5e-324, "5e-324"),
    ] {
        assert_eq!(to_string(&number).unwrap(), expect);
    }
    assert_eq!(to_string(&0.1f32).unwrap(), "0.1");
    assert_eq!(to_string(&Bytes::from_static(&[0xff, 0])).unwrap(), "\"/wA=\"");
    assert_eq!(
        to_string(&Service::default()).unwrap(),
        r#"{"ID":"","Port":0,"Tags":[],"Weights":null,"Meta":{},"Checks":[],"Value":null,"Proxy":{}}"#
    );
}

#[test]
fn indents_as_go_does() {
    let value = serde_json::json!({"a": [], "b": {}, "c": [1, {"d": null}]});
    let pretty = String::from_utf8(to_vec_pretty(&value).unwrap()).unwrap();
    assert_eq!(
        pretty,
        "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n        1,\n        {\n            \"d\": null\n        }\n    ]\n}"
    );
}

#[test]
fn depth_is_bounded() {
    let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let read = |depth| text_of(from_slice::<serde_json::Value>(nest(depth).as_bytes(), Options::STRICT));
    assert_eq!(read(MAX_DEPTH), "ok");
    assert_eq!(read(MAX_DEPTH + 1), "invalid character '[' exceeded max depth");
}

#[test]
fn a_document_can_be_looked_at_before_it_is_decoded() {
    let value = Value::parse(br#"{"kind":"x","Kind":"service-defaults","Name":5}"#, Mode::Decoder).unwrap();
    assert_eq!(value.member("Kind", false).and_then(Value::as_str), Some("service-defaults"));
    assert_eq!(value.member("Zork", false), None);
}

proptest! {
    #[test]
    fn structs_round_trip(
        node in ".*", port in any::<i64>(), tags in collection::vec(".*", 0..5), flags in any::<u64>(),
        value in collection::vec(any::<u8>(), 0..40), ratio in any::<f64>().prop_filter("finite", |x| x.is_finite()),
        ptr in option::of(".*"), mat in collection::btree_map(".*", collection::vec(".*", 0..3), 0..5),
    ) {
        let service = Service { port, tags, value: Bytes::from(value), ..Service::default() };
        let request = Request { node, service: Some(service), flags, ratio, ptr, mat, ..Request::default() };
        let compact = to_vec(&request).unwrap();
        prop_assert_eq!(&from_slice::<Request>(&compact, Options::STRICT).unwrap(), &request);
        let pretty = to_vec_pretty(&request).unwrap();
        prop_assert_eq!(from_slice::<Request>(&pretty, Options::STRICT).unwrap(), request);
    }

    #[test]
    fn arbitrary_bytes_are_answered(bytes in collection::vec(any::<u8>(), 0..100)) {
        let _ = from_slice::<Request>(&bytes, Options::LENIENT);
    }

    #[test]
    fn near_json_is_answered_and_accepted_only_if_it_is_json(text in "[\\[\\]{}:,\"a0-9eE+. \\\\un-]{0,20}") {
        let ours = Value::parse(text.as_bytes(), Mode::Unmarshal).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // Lone surrogates are the one thing that Go accepts and serde_json does not; \u is too rare here to matter.
        prop_assert_eq!(ours, theirs.is_ok() || text.contains("\\u") && ours);
        let _ = from_slice::<Request>(text.as_bytes(), Options::LENIENT);
    }
}
