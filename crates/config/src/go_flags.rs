//! Command-line flags as Go's `flag` package reads them.
//!
//! Always true: `-name` and `--name` are the same; `-name=value` and `-name value` too, except for bools, which take a value
//! only after `=`; the first argument that is no flag, or `--`, ends the flags; errors use Go's words.
//!
//! Not here: which flags a command has, and what they mean.

use std::fmt;

use wire::duration::GoDuration;

/// What kind of value a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Integer,
    Duration,
    Text,
    /// May be given many times; each adds a value.
    Texts,
}

/// One flag of a command.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// What the flag is for. A word in backquotes becomes the name of its value in the usage text.
    pub usage: &'static str,
    /// The default as the usage text shows it; empty for none.
    pub default: &'static str,
}

/// How errors speak about a malformed value. Compat: the reference's agent flags pass on the words of `strconv`, flags of
/// all other commands say only `parse error` or `value out of range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    Brief,
    Detailed,
}

/// The flags of one command.
#[derive(Debug, Clone)]
pub struct FlagSet {
    flags: Vec<Flag>,
    words: Words,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagError {
    /// `-h` or `-help` was given.
    Help,
    /// A fault in the flags, in Go's words; Go prints the usage after it.
    Fault(String),
    /// Arguments after the flags, where the command takes none.
    ExtraArguments(Vec<String>),
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlagError::Help => f.write_str("flag: help requested"),
            FlagError::Fault(message) => f.write_str(message),
            FlagError::ExtraArguments(arguments) => {
                write!(f, "Unexpected extra arguments: [{}]", arguments.join(" "))
            }
        }
    }
}

impl std::error::Error for FlagError {}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Checked {
    Bool(bool),
    Integer(i64),
    Duration(GoDuration),
    Text,
}

#[derive(Debug, Clone)]
struct Given {
    name: &'static str,
    text: String,
    checked: Checked,
}

/// What was given on a command line.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    given: Vec<Given>,
    /// The arguments after the flags.
    pub rest: Vec<String>,
}

impl FlagSet {
    pub fn new(flags: &[Flag], words: Words) -> FlagSet {
        let mut flags = flags.to_vec();
        flags.sort_by_key(|flag| flag.name);
        FlagSet { flags, words }
    }

    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    pub fn parse<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Parsed, FlagError> {
        let mut parsed = Parsed::default();
        let mut arguments = arguments.iter().map(AsRef::as_ref);
        while let Some(argument) = arguments.next() {
            let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else {
                parsed.rest.push(argument.to_owned());
                break;
            };
            if body == "-" {
                break;
            }
            let body = body.strip_prefix('-').unwrap_or(body);
            if body.starts_with(['-', '=']) {
                return Err(FlagError::Fault(format!("bad flag syntax: {argument}")));
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some(flag) = self.flags.iter().find(|flag| flag.name == name) else {
                if name == "help" || name == "h" {
                    return Err(FlagError::Help);
                }
                return Err(FlagError::Fault(format!("flag provided but not defined: -{name}")));
            };
            let value = match (value, flag.kind) {
                (Some(value), _) => value,
                (None, Kind::Bool) => "true",
                (None, _) => match arguments.next() {
                    Some(value) => value,
                    None => {
                        return Err(FlagError::Fault(format!("flag needs an argument: -{name}")));
                    }
                },
            };
            let checked = check(flag.kind, value).map_err(|fault| self.fault(flag, value, fault))?;
            parsed.given.push(Given { name: flag.name, text: value.to_owned(), checked });
        }
        parsed.rest.extend(arguments.map(str::to_owned));
        Ok(parsed)
    }

    fn fault(&self, flag: &Flag, value: &str, fault: ValueFault) -> FlagError {
        let reason = match self.words {
            Words::Brief => fault.brief.to_owned(),
            Words::Detailed => fault.detailed,
        };
        FlagError::Fault(match flag.kind {
            Kind::Bool => format!("invalid boolean value {value:?} for -{}: {reason}", flag.name),
            _ => format!("invalid value {value:?} for flag -{}: {reason}", flag.name),
        })
    }

    /// The flags as Go's `PrintDefaults` lists them.
    pub fn usage(&self) -> String {
        let mut text = String::new();
        for flag in &self.flags {
            let (value_name, usage) = self.value_name(flag);
            text.push_str("  -");
            text.push_str(flag.name);
            if !value_name.is_empty() {
                text.push(' ');
                text.push_str(&value_name);
            }
            // A bool of one letter has its usage on the same line.
            text.push_str(if flag.name.len() == 1 && value_name.is_empty() { "\t" } else { "\n    \t" });
            text.push_str(&usage.replace('\n', "\n    \t"));
            match flag.kind {
                _ if flag.default.is_empty() => {}
                Kind::Text | Kind::Texts => text.push_str(&format!(" (default {:?})", flag.default)),
                _ => text.push_str(&format!(" (default {})", flag.default)),
            }
            text.push('\n');
        }
        text
    }

    fn value_name(&self, flag: &Flag) -> (String, String) {
        let mut parts = flag.usage.splitn(3, '`');
        if let (Some(before), Some(name), Some(after)) = (parts.next(), parts.next(), parts.next()) {
            return (name.to_owned(), format!("{before}{name}{after}"));
        }
        let name = match (self.words, flag.kind) {
            (_, Kind::Bool) => "",
            (Words::Detailed, _) | (_, Kind::Texts) => "value",
            (Words::Brief, Kind::Integer) => "int",
            (Words::Brief, Kind::Duration) => "duration",
            (Words::Brief, Kind::Text) => "string",
        };
        (name.to_owned(), flag.usage.to_owned())
    }
}

impl Parsed {
    fn last(&self, name: &str) -> Option<&Given> {
        self.given.iter().rev().find(|given| given.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.last(name)?.checked {
            Checked::Bool(value) => Some(value),
            _ => None,
        }
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.last(name)?.checked {
            Checked::Integer(value) => Some(value),
            _ => None,
        }
    }

    pub fn duration(&self, name: &str) -> Option<GoDuration> {
        match self.last(name)?.checked {
            Checked::Duration(value) => Some(value),
            _ => None,
        }
    }

    /// The last value given, as written.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.last(name).map(|given| given.text.as_str())
    }

    /// All values given under any of these names, in the order given.
    pub fn texts(&self, names: &[&str]) -> Vec<String> {
        self.given.iter().filter(|given| names.contains(&given.name)).map(|given| given.text.clone()).collect()
    }
}

struct ValueFault {
    brief: &'static str,
    detailed: String,
}

fn check(kind: Kind, value: &str) -> Result<Checked, ValueFault> {
    match kind {
        Kind::Text | Kind::Texts => Ok(Checked::Text),
        Kind::Bool => parse_bool(value).map(Checked::Bool).ok_or_else(|| ValueFault {
            brief: "parse error",
            detailed: format!("strconv.ParseBool: parsing {value:?}: invalid syntax"),
        }),
        Kind::Integer => value.parse().map(Checked::Integer).map_err(|error: std::num::ParseIntError| {
            let out_of_range =
                matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow);
            let reason = if out_of_range { "value out of range" } else { "invalid syntax" };
            ValueFault {
                brief: if out_of_range { "value out of range" } else { "parse error" },
                detailed: format!("strconv.Atoi: parsing {value:?}: {reason}"),
            }
        }),
        Kind::Duration => GoDuration::parse(value)
            .map(Checked::Duration)
            .map_err(|error| ValueFault { brief: "parse error", detailed: error.to_string() }),
    }
}

/// A bool as Go's `strconv.ParseBool` reads it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Flag, FlagError, FlagSet, Kind, Words};

    const FLAGS: &[Flag] = &[
        Flag { name: "dev", kind: Kind::Bool, usage: "Development mode.", default: "" },
        Flag { name: "port", kind: Kind::Integer, usage: "A port.", default: "8500" },
        Flag { name: "wait", kind: Kind::Duration, usage: "How long.", default: "" },
        Flag { name: "join", kind: Kind::Texts, usage: "An `address` to join.", default: "" },
        Flag { name: "node", kind: Kind::Text, usage: "A name.", default: "x" },
        Flag { name: "q", kind: Kind::Bool, usage: "Quiet.", default: "" },
    ];

    #[track_caller]
    fn fails(arguments: &[&str], brief: &str, detailed: &str) {
        for (words, expected) in [(Words::Brief, brief), (Words::Detailed, detailed)] {
            let error = FlagSet::new(FLAGS, words).parse(arguments).expect_err("fails");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn values_are_read_in_all_spellings() {
        let set = FlagSet::new(FLAGS, Words::Brief);
        let parsed = set
            .parse(&[
                "-dev", "--port=1", "-wait", "5s", "-join", "a", "-join=b", "-node", "-x", "-port", "2", "z", "-q",
            ])
            .expect("parses");
        assert_eq!(parsed.bool("dev"), Some(true));
        assert_eq!(parsed.integer("port"), Some(2));
        assert_eq!(parsed.duration("wait").map(|wait| wait.0), Some(5_000_000_000));
        assert_eq!(parsed.texts(&["join"]), ["a", "b"]);
        assert_eq!(parsed.text("node"), Some("-x"));
        assert_eq!(parsed.rest, ["z", "-q"]);
        assert!(!parsed.has("q"));
        assert_eq!(set.parse(&["-dev=F"]).expect("parses").bool("dev"), Some(false));
        assert_eq!(set.parse(&["--", "-dev"]).expect("parses").rest, ["-dev"]);
        assert_eq!(set.parse(&["-"]).expect("parses").rest, ["-"]);
    }

    #[test]
    fn errors_use_the_words_of_go() {
        let undefined = "flag provided but not defined: -zork";
        fails(&["-zork"], undefined, undefined);
        fails(&["---x"], "bad flag syntax: ---x", "bad flag syntax: ---x");
        fails(&["-=x"], "bad flag syntax: -=x", "bad flag syntax: -=x");
        fails(&["--port"], "flag needs an argument: -port", "flag needs an argument: -port");
        fails(
            &["-dev=maybe"],
            "invalid boolean value \"maybe\" for -dev: parse error",
            "invalid boolean value \"maybe\" for -dev: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        );
        fails(
            &["-port", "abc"],
            "invalid value \"abc\" for flag -port: parse error",
            "invalid value \"abc\" for flag -port: strconv.Atoi: parsing \"abc\": invalid syntax",
        );
        fails(
            &["-port", "99999999999999999999"],
            "invalid value \"99999999999999999999\" for flag -port: value out of range",
            "invalid value \"99999999999999999999\" for flag -port: strconv.Atoi: parsing \
             \"99999999999999999999\": value out of range",
        );
        assert_eq!(FlagSet::new(FLAGS, Words::Brief).parse(&["-h"]).expect_err("help"), FlagError::Help);
        assert_eq!(FlagSet::new(FLAGS, Words::Brief).parse(&["--help"]).expect_err("help"), FlagError::Help);
    }

    #[test]
    fn usage_looks_like_go() {
        assert_eq!(
            FlagSet::new(FLAGS, Words::Brief).usage(),
            "  -dev\n    \tDevelopment mode.\n  -join address\n    \tAn address to join.\n  -node string\n    \tA name. \
             (default \"x\")\n  -port int\n    \tA port. (default 8500)\n  -q\tQuiet.\n  -wait duration\n    \tHow long.\n"
        );
    }
}
