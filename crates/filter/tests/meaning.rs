//! What expressions say of a row with every kind of field. The answers are go-bexpr 0.1.2's, asked about the same row.

use std::collections::BTreeMap;

use filter::{Entries, Filter, Record, Shape, Value};
use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};
use proptest::{prop_assert_eq, prop_assume};

const PART: &[(&str, Shape)] =
    &[("A", Shape::String), ("N", Shape::Int), ("T", Shape::List(&Shape::String)), ("M", Shape::Map(&Shape::String))];

static ROW: Shape = Shape::Struct(&[
    ("A", Shape::String),
    ("B", Shape::Bool),
    ("P", Shape::Uint16),
    ("L", Shape::List(&Shape::String)),
    ("Addr", Shape::List(&Shape::Uint8)),
    ("M", Shape::Map(&Shape::String)),
    ("NM", Shape::Map(&Shape::String)),
    ("S", Shape::Struct(PART)),
    ("LS", Shape::List(&Shape::Struct(PART))),
    ("ES", Shape::List(&Shape::Struct(PART))),
    ("MS", Shape::Map(&Shape::Struct(PART))),
    ("LM", Shape::List(&Shape::Map(&Shape::String))),
    ("LLS", Shape::List(&Shape::List(&Shape::Struct(PART)))),
    ("ML", Shape::Map(&Shape::List(&Shape::String))),
    ("MM", Shape::Map(&Shape::Map(&Shape::String))),
]);

/// A value of any kind. A named one is a struct's or a map's.
enum Tree {
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(&'static str),
    List(Vec<Tree>),
    Struct(Named),
    Map(Named),
}

struct Named(BTreeMap<&'static str, Tree>);

impl Tree {
    fn value(&self) -> Value<'_> {
        match self {
            Tree::Nil => Value::Nil,
            Tree::Bool(flag) => Value::Bool(*flag),
            Tree::Int(number) => Value::Int(*number),
            Tree::Uint(number) => Value::Uint(*number),
            Tree::Text(text) => Value::Str(text),
            Tree::List(items) => Value::List(Box::new(items.iter().map(Tree::value))),
            Tree::Struct(fields) => Value::Struct(fields),
            Tree::Map(entries) => Value::Map(entries),
        }
    }
}

impl Record for Named {
    fn field(&self, name: &str) -> Value<'_> {
        self.0.get(name).map_or(Value::Nil, Tree::value)
    }
}

impl Entries for Named {
    fn entry(&self, key: &str) -> Option<Value<'_>> {
        self.0.get(key).map(Tree::value)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn named<const N: usize>(entries: [(&'static str, Tree); N]) -> Named {
    Named(BTreeMap::from(entries))
}

fn texts<const N: usize>(entries: [(&'static str, &'static str); N]) -> Tree {
    Tree::Map(named(entries.map(|(key, text)| (key, Tree::Text(text)))))
}

fn part(a: &'static str, n: i64, tags: &[&'static str], meta: Tree) -> Tree {
    let tags = Tree::List(tags.iter().map(|tag| Tree::Text(tag)).collect());
    Tree::Struct(named([("A", Tree::Text(a)), ("N", Tree::Int(n)), ("T", tags), ("M", meta)]))
}

fn row() -> Named {
    let plain = || part("s", 1, &[], Tree::Nil);
    let other = part("u", 2, &["t"], texts([("q", "r"), ("a", "z")]));
    named([
        ("A", Tree::Text("a-é b")),
        ("B", Tree::Bool(true)),
        ("P", Tree::Uint(8500)),
        ("L", Tree::List(["x", "y.z", ""].map(Tree::Text).into())),
        ("Addr", Tree::List([127, 0, 0, 1].map(Tree::Uint).into())),
        ("M", texts([("a", "1"), ("", "e"), ("k k", "v\nw")])),
        ("NM", Tree::Nil),
        ("S", part("s", 3, &["t"], texts([("q", "r")]))),
        ("LS", Tree::List(vec![plain(), other])),
        ("ES", Tree::List(Vec::new())),
        ("MS", Tree::Map(named([("a", plain()), ("b", part("", -1, &["", "x"], texts([])))]))),
        ("LM", Tree::List(vec![texts([("a", "1")]), texts([])])),
        ("LLS", Tree::List(vec![Tree::List(vec![plain()]), Tree::List(Vec::new())])),
        ("ML", Tree::Map(named([("a", Tree::List(vec![Tree::Text("x")])), ("b", Tree::List(Vec::new()))]))),
        ("MM", Tree::Map(named([("a", texts([("b", "c")])), ("e", texts([]))]))),
    ])
}

const ANSWERS: &[(&str, Result<bool, &str>)] = &[
    ("A == `a-é b`", Ok(true)),
    ("A != foo", Ok(true)),
    ("A contains `-é`", Ok(true)),
    ("`é b` in A", Ok(true)),
    ("x in A", Ok(false)),
    ("A matches `^a.*b$`", Ok(true)),
    ("A not matches `^b`", Ok(true)),
    ("L contains `y.z`", Ok(true)),
    ("y.z in L", Ok(true)),
    ("y in L", Ok(false)),
    ("L is not empty", Ok(true)),
    ("M.a == 1", Ok(true)),
    (r#"M[""] == e"#, Ok(true)),
    (r#"M["k k"] matches `v.w`"#, Ok(false)),
    (r#"M["k k"] matches `(?s)v.w`"#, Ok(true)),
    ("M.none == 1", Ok(false)),
    ("M.none != 1", Ok(true)),
    ("M.none matches x", Ok(true)),
    ("M.none not matches x", Ok(true)),
    ("x in M.none", Ok(false)),
    ("x not in M.none", Ok(true)),
    ("k in M", Ok(false)),
    ("a in M", Ok(true)),
    ("NM is empty", Ok(true)),
    ("a in NM", Ok(false)),
    ("a not in NM", Ok(true)),
    ("NM.a == 1", Ok(false)),
    ("NM.a != 1", Ok(true)),
    ("S.A == s", Ok(true)),
    ("S.T contains t", Ok(true)),
    ("S.M.q == r", Ok(true)),
    ("LS.A == s", Ok(true)),
    ("LS.A != s", Ok(true)),
    ("not LS.A == s", Ok(false)),
    ("LS.A == u and LS.N == 1", Ok(true)),
    ("LS.T is empty", Ok(true)),
    ("LS.T is not empty", Ok(true)),
    ("LS.M.a == z", Ok(true)),
    ("ES is empty", Ok(true)),
    ("ES.A == s", Ok(false)),
    ("ES.A != s", Ok(false)),
    ("ES.M is empty", Ok(false)),
    ("MS.a.N == 1", Ok(true)),
    ("MS.b.N == `-1`", Ok(true)),
    ("MS.b.T contains x", Ok(true)),
    ("MS.c.A == s", Ok(false)),
    ("MS.c.A != s", Ok(true)),
    ("MS.c.T is empty", Ok(true)),
    ("MS is empty", Ok(false)),
    ("a in MS", Ok(true)),
    ("MM.a.b == c", Ok(true)),
    ("MM.e.b != c", Ok(true)),
    ("MM.e is empty", Ok(true)),
    ("MM.x is empty", Ok(true)),
    ("MM.x.b is empty", Err(r#"Invalid match operator "Is Empty" for selector "MM.x.b""#)),
    ("ML.a contains x", Ok(true)),
    ("x in ML.z", Ok(false)),
    ("LLS.A == s", Ok(true)),
    ("LM.a == 1", Ok(true)),
    ("P == 8500", Ok(true)),
    ("P == 65535", Ok(false)),
    (
        "P == 65536",
        Err(
            r#"Failed to coerce value "65536" for selector "P": strconv.ParseUint: parsing "65536": value out of range"#,
        ),
    ),
    (r#"P == "0x2134""#, Ok(true)),
    ("127 in Addr", Ok(true)),
    (
        "256 in Addr",
        Err(
            r#"Failed to coerce value "256" for selector "Addr": strconv.ParseUint: parsing "256": value out of range"#,
        ),
    ),
    ("B", Err(r#"1:2 (1): no match found, expected: "!=", ".", "==", "[", [ \t\r\n] or [a-zA-Z0-9_]"#)),
    ("B == t", Ok(true)),
    (
        "B == yes",
        Err(r#"Failed to coerce value "yes" for selector "B": strconv.ParseBool: parsing "yes": invalid syntax"#),
    ),
    ("A == foo or B == true and P == 1", Ok(false)),
    ("(A == foo or B == true) and P == 1", Ok(false)),
    ("A == foo and P == 1 or B == true", Ok(true)),
    ("A == foo and (P == 1 or B == true)", Ok(false)),
    ("not A == foo and P == 1", Ok(false)),
    ("not (A == foo and P == 1)", Ok(true)),
    ("not not B == true", Ok(true)),
    ("not A == foo or B == true", Ok(true)),
];

fn ask(expression: &str, row: &Named) -> Result<bool, String> {
    Filter::parse(expression, &ROW).map(|filter| filter.matches(row)).map_err(|error| error.to_string())
}

#[test]
fn answers_are_the_references() {
    let row = row();
    for (expression, expected) in ANSWERS {
        assert_eq!(ask(expression, &row), expected.map_err(str::to_owned), "{expression}");
    }
}

#[test]
fn stored_expressions_are_checked_for_their_grammar_only() {
    assert!(filter::check_syntax("zork == 1 or Service.Meta.x matches `(`").is_ok());
    let refused = filter::check_syntax("zork == ").map_err(|error| error.to_string());
    let words = r#"1:9 (8): no match found, expected: "-", "0", "\"", "`", [ \t\r\n], [1-9] or [a-zA-Z]"#;
    assert_eq!(refused, Err(words.to_owned()));
}

/// An expression of the table that is taken.
fn taken() -> impl Strategy<Value = &'static str> {
    let taken: Vec<&str> = ANSWERS.iter().filter(|(_, answer)| answer.is_ok()).map(|(text, _)| *text).collect();
    prop::sample::select(taken)
}

/// Expressions with their meaning, worked out beside the parser. No `or` stands bare inside an `and`, nor any of
/// the two inside a `not`, so that the text says the meaning by precedence.
fn with_meaning() -> impl Strategy<Value = (String, bool)> {
    let leaf = prop_oneof![Just(("B == true".to_owned(), true)), Just(("B != true".to_owned(), false))];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let unit = inner.clone().prop_map(|(text, is)| (format!("({text})"), is)).boxed();
        let not = (unit.clone(), 0..4_usize)
            .prop_map(|((text, is), nots)| (format!("{}{text}", "not ".repeat(nots)), is != (nots % 2 == 1)));
        let join = |word: &'static str, start: bool| {
            move |parts: Vec<(String, bool)>| {
                let is = parts.iter().fold(start, |all, (_, is)| if start { all && *is } else { all || *is });
                (parts.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join(word), is)
            }
        };
        let and = prop::collection::vec(not, 1..4).prop_map(join(" and ", true)).boxed();
        prop::collection::vec(and, 1..4).prop_map(join(" or ", false))
    })
}

proptest! {
    #[test]
    fn not_is_the_negation(expression in taken()) {
        let row = row();
        let plain = ask(expression, &row).expect("the table says that it is taken");
        prop_assert_eq!(ask(&format!("not ({expression})"), &row), Ok(!plain));
        prop_assert_eq!(ask(&format!("not not ({expression})"), &row), Ok(plain));
        prop_assert_eq!(ask(&format!("( ({expression} ) )"), &row), Ok(plain));
    }

    #[test]
    fn words_join_as_logic_does(left in taken(), right in taken()) {
        let row = row();
        let (l, r) = (ask(left, &row).expect("the table says that it is taken"), ask(right, &row).expect("the table says that it is taken"));
        prop_assert_eq!(ask(&format!("({left}) and ({right})"), &row), Ok(l && r));
        prop_assert_eq!(ask(&format!("({left}) or ({right})"), &row), Ok(l || r));
        prop_assert_eq!(ask(&format!("not (({left}) and ({right}))"), &row), Ok(!l || !r));
    }

    #[test]
    fn not_binds_tighter_than_and_and_that_tighter_than_or((expression, meaning) in with_meaning()) {
        prop_assume!(expression.len() < 4096);
        prop_assert_eq!(ask(&expression, &row()), Ok(meaning), "{}", expression);
    }
}
