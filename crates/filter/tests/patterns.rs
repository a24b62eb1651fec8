//! What patterns say of one text, and why they are refused, as Go's `regexp` does.

use filter::{Filter, Record, Shape, Value};

static ROW: Shape = Shape::Struct(&[("A", Shape::String)]);

struct Row;

impl Record for Row {
    fn field(&self, _name: &str) -> Value<'_> {
        Value::Str("a-é b")
    }
}

const ANSWERS: &[(&str, Result<bool, &str>)] = &[
    (r"\<", Ok(false)),
    (r"\x{e9}", Ok(true)),
    (r"^\x{e}-", Ok(false)),
    (r"\xe9", Ok(true)),
    (r"\x4", Err(r"invalid escape sequence: `\x4`")),
    (r"\xg", Err(r"invalid escape sequence: `\xg`")),
    (r"\x{110000}", Err(r"invalid escape sequence: `\x{110000`")),
    (r"\x{}", Err(r"invalid escape sequence: `\x{}`")),
    (r"\p{^L}\B", Ok(true)),
    (r"\pL", Ok(true)),
    (r"\p{Greek}", Ok(false)),
    (r"\p{Foo}", Err(r"invalid character class range: `\p{Foo}`")),
    (r"\p{L", Err(r"invalid character class range: `\p{L`")),
    (r"\p", Err(r"invalid character class range: `\p`")),
    (r"\P{^Lu}-", Ok(false)),
    ("(?)a", Ok(true)),
    ("(?-)", Err("invalid or unsupported Perl syntax: `(?-)`")),
    ("(?i-)", Err("invalid or unsupported Perl syntax: `(?i-)`")),
    ("(?ii)A-", Ok(true)),
    ("(?i-i)A-", Ok(false)),
    ("(?P<1>a)-", Ok(true)),
    ("(?P<>a)", Err("invalid named capture: `(?P<>`")),
    ("(?P<n", Err("invalid named capture: `(?P<n`")),
    ("(?<n>a)-", Ok(true)),
    ("(?<=a)", Err("invalid named capture: `(?<=a)`")),
    ("(?P=n)", Err("invalid or unsupported Perl syntax: `(?P`")),
    ("[a-", Err("missing closing ]: `[a-`")),
    ("[a-.]", Err("invalid character class range: `a-.`")),
    ("[z-a]", Err("invalid character class range: `z-a`")),
    ("[[:foo:]]", Err("invalid character class range: `[:foo:]`")),
    ("[[:alpha:]]-", Ok(true)),
    (r"[a-\d]", Err(r"invalid escape sequence: `\d`")),
    (r"[\d-a]", Ok(true)),
    (r"[a\]", Err(r"missing closing ]: `[a\]`")),
    ("[]a]-", Ok(true)),
    ("[^]a]-", Ok(false)),
    ("[a&&b]-", Ok(true)),
    (r"[\ud]", Err(r"invalid escape sequence: `\u`")),
    ("a{,2}", Ok(false)),
    ("a{01}", Ok(false)),
    ("a{1001}", Err("invalid repeat count: `{1001}`")),
    ("(a{100}){100}", Err("invalid repeat count: `{100}`")),
    ("(a{100}){0}", Ok(true)),
    ("(a{1000}){1}-", Ok(false)),
    ("a*(?i)*-", Ok(true)),
    ("a**", Err("invalid nested repetition operator: `**`")),
    ("a*?*", Err("invalid nested repetition operator: `*?*`")),
    ("(*a)", Err("missing argument to repetition operator: `*`")),
    ("a|*", Err("missing argument to repetition operator: `*`")),
    ("^*a", Ok(true)),
    (r"\Q.\E", Ok(false)),
    (r"\Qa-é b", Ok(true)),
    (r"\Q\E*", Err("missing argument to repetition operator: `*`")),
    (r"\8", Err(r"invalid escape sequence: `\8`")),
    (r"\1", Err(r"invalid escape sequence: `\1`")),
    (r"\12", Ok(false)),
    (r"\012", Ok(false)),
    (r"\C", Err(r"invalid escape sequence: `\C`")),
    (r"\Z", Err(r"invalid escape sequence: `\Z`")),
    (r"\é", Err(r"invalid escape sequence: `\é`")),
    (r"\ ", Ok(true)),
    (r"\", Err("trailing backslash at end of expression: ``")),
    ("a)", Err("unexpected ): `a)`")),
    ("(a", Err("missing closing ): `(a`")),
    (r"\d\D\w\W\s\S", Ok(false)),
    (r"^\w-\W\s\w$", Ok(true)),
    ("(?s).", Ok(true)),
    (r"[^\x00-\x{10FFFF}]", Ok(false)),
    (r"[\x{d800}-\x{dfff}]", Ok(false)),
    (r"é\b", Ok(false)),
    (r"-\B", Ok(true)),
];

#[test]
fn answers_are_the_references() {
    for (pattern, expected) in ANSWERS {
        let answer = Filter::parse(&format!("A matches `{pattern}`"), &ROW).map(|filter| filter.matches(&Row));
        let answer = answer.map_err(|error| {
            let words = error.to_string();
            words.split_once("error parsing regexp: ").map_or(words.clone(), |(_, why)| why.to_owned())
        });
        assert_eq!(answer, expected.map_err(str::to_owned), "{pattern}");
    }
}
