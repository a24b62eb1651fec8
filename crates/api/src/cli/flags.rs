//! Flags as Go's `flag` package reads them, in its words.
//!
//! Always true: `-x` and `--x` are one, a value follows as `-x v` or `-x=v`, a bool takes a value only as `-x=v`, the
//! first argument that is no flag ends the flags, `--` ends them and is dropped. Every value is checked when it is
//! read, so that the getters of [`Parsed`] cannot fail.
//! Not here: `-h`, which the dispatcher catches before any command sees it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wire::duration::GoDuration;

/// What a flag takes. The kinds differ in what they accept, in how Go words a refusal and in what the usage shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Text,
    Int,
    Uint,
    Duration,
    /// A repeatable text.
    List,
    /// A repeatable `key=value`.
    Map,
    /// The four below tell a flag that was not given from one given with its zero value.
    MaybeBool,
    MaybeText,
    MaybeUint,
    MaybeDuration,
}

impl Kind {
    fn is_bool(self) -> bool {
        matches!(self, Kind::Bool | Kind::MaybeBool)
    }

    /// What the usage shows for the value unless the text says otherwise in backquotes.
    fn placeholder(self) -> &'static str {
        match self {
            Kind::Bool | Kind::MaybeBool => "",
            Kind::Text => "string",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Duration => "duration",
            _ => "value",
        }
    }

    fn refusal(self, value: &str) -> Option<String> {
        match self {
            Kind::Text | Kind::MaybeText | Kind::List => None,
            Kind::Bool => parse_bool(value).is_none().then(|| "parse error".to_owned()),
            Kind::MaybeBool => {
                parse_bool(value).is_none().then(|| format!("strconv.ParseBool: parsing {value:?}: invalid syntax"))
            }
            Kind::Int => parse_int(value).err().map(|fault| fault.short().to_owned()),
            Kind::Uint => parse_uint(value).err().map(|fault| fault.short().to_owned()),
            Kind::MaybeUint => {
                parse_uint(value).err().map(|fault| format!("strconv.ParseUint: parsing {value:?}: {}", fault.long()))
            }
            Kind::Duration => GoDuration::parse(value).is_err().then(|| "parse error".to_owned()),
            Kind::MaybeDuration => GoDuration::parse(value).err().map(|fault| fault.to_string()),
            Kind::Map => (!value.contains('=')).then(|| format!("Missing \"=\" value in argument: {value}")),
        }
    }
}

/// One flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written on the command line; empty is the zero value.
    pub default: &'static str,
    pub usage: &'static str,
}

impl Flag {
    pub const fn new(name: &'static str, kind: Kind, usage: &'static str) -> Flag {
        Flag { name, kind, default: "", usage }
    }

    pub const fn or(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    /// The placeholder of the value, and the usage without its backquotes.
    pub fn shown(&self) -> (String, String) {
        let mut parts = self.usage.splitn(3, '`');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(before), Some(name), Some(after)) => (name.to_owned(), format!("{before}{name}{after}")),
            _ => (self.kind.placeholder().to_owned(), self.usage.to_owned()),
        }
    }
}

/// What was given on a command line.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    given: Vec<(&'static str, String)>,
    defaults: BTreeMap<&'static str, &'static str>,
    pub arguments: Vec<String>,
}

impl Parsed {
    /// The last value given, or `None` when the flag is absent.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// The last value given to any of `names`, which set one and the same thing.
    pub fn given_last(&self, names: &[&str]) -> Option<&str> {
        self.given.iter().rev().find(|(flag, _)| names.contains(flag)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self, name: &str) -> &str {
        self.given(name).or_else(|| self.defaults.get(name).copied()).unwrap_or_default()
    }

    pub fn bool(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    pub fn int(&self, name: &str) -> i64 {
        parse_int(self.text(name)).unwrap_or(0)
    }

    pub fn uint(&self, name: &str) -> u64 {
        parse_uint(self.text(name)).unwrap_or(0)
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        self.given.iter().filter(|(flag, _)| *flag == name).map(|(_, value)| value.clone()).collect()
    }

    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        let pairs = self.given.iter().filter(|(flag, _)| *flag == name).filter_map(|(_, value)| value.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// Reads a command line; the error is Go's.
pub fn parse<'a>(flags: impl Iterator<Item = &'a Flag> + Clone, arguments: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    for flag in flags.clone() {
        parsed.defaults.insert(flag.name, flag.default);
    }
    let mut rest = arguments.iter();
    while let Some(argument) = rest.as_slice().first() {
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else { break };
        rest.next();
        if argument == "--" {
            break;
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {argument}"));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(flag) = flags.clone().find(|flag| flag.name == name) else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = match inline {
            Some(value) => value,
            None if flag.kind.is_bool() => "true",
            None => rest.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?,
        };
        if let Some(refusal) = flag.kind.refusal(value) {
            let what = if flag.kind.is_bool() {
                format!("invalid boolean value {value:?} for -{name}")
            } else {
                format!("invalid value {value:?} for flag -{name}")
            };
            return Err(format!("{what}: {refusal}"));
        }
        parsed.given.push((flag.name, value.to_owned()));
    }
    parsed.arguments = rest.cloned().collect();
    Ok(parsed)
}

/// The list of flags that Go prints under an error.
pub fn defaults<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    let mut out = String::from("Usage:\n");
    let mut sorted: Vec<&Flag> = flags.collect();
    sorted.sort_by_key(|flag| flag.name);
    for flag in sorted {
        let (placeholder, usage) = flag.shown();
        let mut line = format!("  -{}", flag.name);
        if !placeholder.is_empty() {
            let _ = write!(line, " {placeholder}");
        }
        let gap = if line.len() <= 4 { "\t" } else { "\n    \t" };
        let _ = write!(out, "{line}{gap}{}", usage.replace('\n', "\n    \t"));
        if !flag.default.is_empty() {
            let _ = match flag.kind {
                Kind::Text => write!(out, " (default {:?})", flag.default),
                _ => write!(out, " (default {})", flag.default),
            };
        }
        out.push('\n');
    }
    out
}

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberFault {
    Syntax,
    Range,
}

impl NumberFault {
    fn short(self) -> &'static str {
        match self {
            NumberFault::Syntax => "parse error",
            NumberFault::Range => "value out of range",
        }
    }

    fn long(self) -> &'static str {
        match self {
            NumberFault::Syntax => "invalid syntax",
            NumberFault::Range => "value out of range",
        }
    }
}

/// Go's `strconv.ParseUint(text, 0, 64)`: prefixes `0x`, `0o`, `0b` and `0`, underscores between digits.
fn parse_uint(text: &str) -> Result<u64, NumberFault> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix, prefixed) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16, true),
        [b'0', b'o', ..] => (&lower[2..], 8, true),
        [b'0', b'b', ..] => (&lower[2..], 2, true),
        [b'0', _, ..] => (&lower[1..], 8, true),
        _ => (lower.as_str(), 10, false),
    };
    let misplaced = digits.ends_with('_') || digits.contains("__") || (digits.starts_with('_') && !prefixed);
    let plain = digits.replace('_', "");
    if misplaced || plain.is_empty() || !plain.chars().all(|digit| digit.is_digit(radix)) {
        return Err(NumberFault::Syntax);
    }
    u64::from_str_radix(&plain, radix).map_err(|_| NumberFault::Range)
}

/// Go's `strconv.ParseInt(text, 0, 64)`.
fn parse_int(text: &str) -> Result<i64, NumberFault> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = parse_uint(magnitude)?;
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
        .ok_or(NumberFault::Range)
}

#[cfg(test)]
mod tests {
    use super::{Flag, Kind, Parsed, defaults, parse};

    const FLAGS: &[Flag] = &[
        Flag::new("base64", Kind::Bool, "Encode."),
        Flag::new("shell", Kind::Bool, "Use a shell.").or("true"),
        Flag::new("separator", Kind::Text, "Between keys.").or("/"),
        Flag::new("n", Kind::Int, "How many.").or("1"),
        Flag::new("flags", Kind::Uint, "Opaque."),
        Flag::new("timeout", Kind::Duration, "How long."),
        Flag::new("tag", Kind::List, "A tag."),
        Flag::new("node-meta", Kind::Map, "A `key=value` pair."),
        Flag::new("stale", Kind::MaybeBool, "Any server."),
        Flag::new("min-quorum", Kind::MaybeUint, "Servers."),
        Flag::new("threshold", Kind::MaybeDuration, "Time."),
    ];

    fn read(line: &str) -> Result<Parsed, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(FLAGS.iter(), &arguments)
    }

    #[test]
    fn values_follow_or_are_joined() {
        let parsed = read("-separator : --tag=a --tag b -node-meta k=v=w -base64 key -shell=false").unwrap();
        assert_eq!(parsed.text("separator"), ":");
        assert_eq!(parsed.list("tag"), ["a", "b"]);
        assert_eq!(parsed.map("node-meta")["k"], "v=w");
        assert!(parsed.bool("base64"));
        assert!(parsed.bool("shell"), "what follows the first argument is no flag");
        assert_eq!(parsed.arguments, ["key", "-shell=false"]);
    }

    #[test]
    fn two_dashes_end_the_flags_and_one_is_an_argument() {
        assert_eq!(read("-base64 -- -h").unwrap().arguments, ["-h"]);
        assert_eq!(read("-base64 - -n").unwrap().arguments, ["-", "-n"]);
    }

    #[test]
    fn defaults_stand_until_given() {
        let parsed = read("-n 0x10").unwrap();
        assert_eq!((parsed.int("n"), parsed.uint("flags"), parsed.text("separator")), (16, 0, "/"));
        assert_eq!(parsed.given("stale"), None);
        assert_eq!(read("-flags 1_000").unwrap().uint("flags"), 1000);
        assert_eq!(read("-n=-9223372036854775808").unwrap().int("n"), i64::MIN);
    }

    #[test]
    fn refusals_are_worded_as_go_words_them() {
        for (line, text) in [
            ("-zork", "flag provided but not defined: -zork"),
            ("--zork=1", "flag provided but not defined: -zork"),
            ("---x", "bad flag syntax: ---x"),
            ("-=x", "bad flag syntax: -=x"),
            ("-timeout", "flag needs an argument: -timeout"),
            ("-timeout=a", "invalid value \"a\" for flag -timeout: parse error"),
            ("-n=99999999999999999999", "invalid value \"99999999999999999999\" for flag -n: value out of range"),
            ("-flags=-1", "invalid value \"-1\" for flag -flags: parse error"),
            ("-base64=x", "invalid boolean value \"x\" for -base64: parse error"),
            ("-stale=x", "invalid boolean value \"x\" for -stale: strconv.ParseBool: parsing \"x\": invalid syntax"),
            (
                "-min-quorum=x",
                "invalid value \"x\" for flag -min-quorum: strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
            ("-threshold=x", "invalid value \"x\" for flag -threshold: time: invalid duration \"x\""),
            ("-node-meta=x", "invalid value \"x\" for flag -node-meta: Missing \"=\" value in argument: x"),
        ] {
            assert_eq!(read(line).unwrap_err(), text, "{line}");
        }
    }

    #[test]
    fn the_list_under_an_error_is_sorted_and_shows_defaults() {
        let shown = defaults(FLAGS[2..4].iter().chain(&FLAGS[7..8]).chain(&FLAGS[..1]));
        assert_eq!(
            shown,
            "Usage:\n  -base64\n    \tEncode.\n  -n int\n    \tHow many. (default 1)\n  -node-meta key=value\n    \tA \
             key=value pair.\n  -separator string\n    \tBetween keys. (default \"/\")\n"
        );
    }
}
