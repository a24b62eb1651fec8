//! What holds of any text: parsing ends, never panics, keeps its bounds, and says where it stopped.

use filter::{Entries, Filter, MAX_DEPTH, MAX_TEXT_BYTES, Record, Shape, Value};
use proptest::prelude::{Strategy, any, prop, proptest};

static ROW: Shape = Shape::Struct(&[
    ("A", Shape::String),
    ("N", Shape::Int),
    ("U", Shape::Uint),
    ("F", Shape::Float),
    ("B", Shape::Bool),
    ("L", Shape::List(&Shape::String)),
    ("I", Shape::List(&Shape::Int)),
    ("M", Shape::Map(&Shape::String)),
    ("O", Shape::Map(&Shape::Opaque)),
]);

struct Row;

impl Record for Row {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "A" => Value::Str("a-é"),
            "N" => Value::Int(i64::MIN),
            "U" => Value::Uint(u64::MAX),
            "F" => Value::Float(1.5),
            "B" => Value::Bool(true),
            "I" => Value::List(Box::new([1, 2].into_iter().map(Value::Int))),
            "O" => Value::Map(self),
            _ => Value::Nil,
        }
    }
}

impl Entries for Row {
    fn entry(&self, key: &str) -> Option<Value<'_>> {
        (key == "k").then_some(Value::Nil)
    }

    fn is_empty(&self) -> bool {
        false
    }
}

fn refusal(text: &str) -> String {
    Filter::parse(text, &ROW).map_or_else(|error| error.to_string(), |_| "taken".to_owned())
}

#[test]
fn scalars_of_every_kind() {
    let cases = [
        ("N == -9223372036854775808", Ok(true)),
        ("N == 9223372036854775808", Err("strconv.ParseInt: parsing \"9223372036854775808\": value out of range")),
        ("U == 18446744073709551615", Ok(true)),
        ("U == -1", Err("strconv.ParseUint: parsing \"-1\": invalid syntax")),
        ("F == 1.5", Ok(true)),
        ("F != 1.50", Ok(false)),
        ("F == x", Err("strconv.ParseFloat: parsing \"x\": invalid syntax")),
        ("B == 1", Ok(true)),
        ("2 in I", Ok(true)),
        ("3 in I", Ok(false)),
        ("x in I", Err("strconv.ParseInt: parsing \"x\": invalid syntax")),
        ("I is empty", Ok(false)),
        ("k in O", Ok(true)),
        ("O.k == 1", Err("Selector \"O.k\" is not valid")),
        ("L.a == 1", Err("Selector \"L.a\" is not valid")),
        ("M is empty", Ok(true)),
        ("M.x is empty", Err("Invalid match operator \"Is Empty\" for selector \"M.x\"")),
        ("A matches `^a-.$`", Ok(true)),
        (r"A matches `^\w-\W$`", Ok(true)),
    ];
    for (text, expected) in cases {
        let answer = Filter::parse(text, &ROW).map(|filter| filter.matches(&Row));
        match (answer, expected) {
            (Ok(answer), Ok(expected)) => assert_eq!(answer, expected, "{text}"),
            (Err(error), Err(words)) => assert!(error.to_string().ends_with(words), "{text}: {error}"),
            (answer, _) => panic!("{text}: {answer:?}"),
        }
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |depth: usize| format!("{}A == a{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(refusal(&nested(MAX_DEPTH)), "taken");
    assert!(refusal(&nested(MAX_DEPTH + 2)).contains("nests deeper"));
    assert!(refusal(&"not ".repeat(10_000)).contains("nests deeper"));
    assert!(refusal(&"(".repeat(MAX_TEXT_BYTES)).contains("nests deeper"));
    assert!(refusal(&" ".repeat(MAX_TEXT_BYTES + 1)).contains("longer"));
    let chain = vec!["A == a"; 2000].join(" or ");
    assert_eq!(refusal(&chain), "taken");
    assert!(refusal(r"A matches `(\pL\pL){1000}`").ends_with(r"expression too large: `(\pL\pL){1000}`"));
    assert!(refusal(&format!("A matches `{}`", r"\pL".repeat(2000))).contains("expression too large"));
    let groups = |depth: usize| format!("A matches `{}a{}`", "(".repeat(depth), "|b)+".repeat(depth));
    assert_eq!(refusal(&groups(49)), "taken");
    assert!(refusal(&groups(51)).contains("expression nests too deeply"));
    assert!(refusal(&groups(5000)).contains("expression nests too deeply"));
    assert!(refusal(&format!("A matches `{}`", "(".repeat(60_000))).contains("missing closing )"));
}

#[test]
fn many_patterns_share_one_bound() {
    // One of these fits, and its share of the bound is smaller among many.
    let pattern = r"A matches `\S{1000}`";
    assert_eq!(refusal(pattern), "taken");
    assert!(refusal(&vec![pattern; 1000].join(" or ")).contains("expression too large"));
    assert_eq!(refusal(&vec!["A matches `^web-`"; 1000].join(" or ")), "taken");
}

#[test]
fn unclosed_groups_do_not_multiply_the_work() {
    // Parsing each group twice would take 2^63 steps, and never end.
    let text = format!("{}A == a", "(".repeat(MAX_DEPTH - 1));
    assert!(refusal(&text).ends_with("rule \"grouping\": Unmatched parentheses"));
}

fn tokens() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "A",
        "N",
        "L",
        "M",
        ".",
        "[",
        "]",
        "(",
        ")",
        " ",
        " ",
        " ",
        "\n",
        "\t",
        "==",
        "!=",
        "in",
        "not",
        "and",
        "or",
        "is",
        "empty",
        "contains",
        "matches",
        "\"",
        "`",
        "\\",
        "-",
        "0",
        "1",
        "1.5",
        "é",
        "{",
        "}",
        "*",
        "?",
        "^",
        "\\d",
        "[:alpha:]",
        "\\pL",
        "(?P<n>",
        "{2}",
        "\\Q",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        if let Ok(filter) = Filter::parse(&text, &ROW) {
            let _ = filter.matches(&Row);
        }
    }

    #[test]
    fn any_run_of_tokens_is_answered(text in tokens()) {
        if let Ok(filter) = Filter::parse(&text, &ROW) {
            let _ = filter.matches(&Row);
        }
    }

    #[test]
    fn any_pattern_is_answered(pattern in tokens().prop_map(|text| text.replace('`', ""))) {
        if let Ok(filter) = Filter::parse(&format!("A matches `{pattern}`"), &ROW) {
            let _ = filter.matches(&Row);
        }
    }
}
