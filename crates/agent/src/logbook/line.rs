//! One line of the log, as text and as JSON.
//!
//! Text: `2006-01-02T15:04:05.000Z [INFO]  agent.http: message: key=value`. JSON: an object with `@level`, `@message`,
//! `@module`, `@timestamp` and the fields.
//!
//! Always true: a field's value cannot end a line or look like another field; values that need it are quoted, and
//! values of several lines are indented behind a bar.
//! Not here: where lines go. Times are in UTC, also where the reference would write the host's zone.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;
use tracing::Event;
use tracing::field::{Field, Visit};
use wire::time::GoTime;

use super::{Level, module};

#[derive(Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    time: SystemTime,
    module: String,
    message: String,
    /// In the order of the call site.
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    pub(super) fn of(event: &Event<'_>, time: SystemTime) -> Line {
        let metadata = event.metadata();
        let mut line = Line {
            level: Level::of(*metadata.level()),
            time,
            module: module::name(metadata.target()).into_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        line
    }

    pub(super) fn to_text(&self) -> Bytes {
        // Padded to one width, with the pad after the bracket.
        let level = match self.level {
            Level::Trace => "[TRACE]",
            Level::Debug => "[DEBUG]",
            Level::Info => "[INFO] ",
            Level::Warn => "[WARN] ",
            Level::Error => "[ERROR]",
        };
        let mut text = format!("{} {level} {}", timestamp(self.time, 3), self.module);
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        if !self.fields.is_empty() {
            text.push(':');
        }
        for (key, value) in &self.fields {
            write_field(&mut text, key, value);
        }
        text.push('\n');
        Bytes::from(text)
    }

    pub(super) fn to_json(&self) -> Bytes {
        let level = match self.level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        // Sorted by key, as Go writes maps.
        let mut object: BTreeMap<&str, Value> = BTreeMap::from([
            ("@level", level.into()),
            ("@message", self.message.as_str().into()),
            ("@module", self.module.as_str().into()),
            ("@timestamp", timestamp(self.time, 6).into()),
        ]);
        object.extend(self.fields.iter().map(|(key, value)| (*key, value.clone())));
        // Strings, numbers and booleans can always be written.
        let mut line = wire::json::to_vec(&object).unwrap_or_default();
        line.push(b'\n');
        Bytes::from(line)
    }

    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        // A field may be written with `r#` when its name is a word of the language.
        let name = field.name();
        self.fields.push((name.strip_prefix("r#").unwrap_or(name), value.into()));
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.push(field, text) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" { value.clone_into(&mut self.message) } else { self.push(field, value) }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }
}

fn write_field(text: &mut String, key: &str, value: &Value) {
    let value = match value {
        Value::String(value) if value.is_empty() => "\"\"".to_owned(),
        Value::String(value) if value.contains('\n') => return write_several_lines(text, key, value),
        Value::String(value) if !value.chars().all(|c| ('-'..='~').contains(&c)) => {
            format!("\"{}\"", escaped(value, true))
        }
        Value::String(value) => value.clone(),
        other => other.to_string(),
    };
    // Writing to a string cannot fail, here and below.
    let _ = write!(text, " {key}={value}");
}

fn write_several_lines(text: &mut String, key: &str, value: &str) {
    let _ = write!(text, "\n  {key}=\n");
    let value = value.strip_suffix('\n').unwrap_or(value);
    for line in value.split('\n') {
        let _ = writeln!(text, "  | {}", escaped(line, false));
    }
    text.push_str("  ");
}

/// Compat: only in a value that has something to escape is anything escaped, and a backslash never is.
fn escaped(value: &str, quotes: bool) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' if quotes => text.push_str("\\\""),
            _ if is_print(c) => text.push(c),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{b}' => text.push_str("\\v"),
            _ => {
                let code = u32::from(c);
                let _ = match code {
                    0..0x20 => write!(text, "\\x{code:02x}"),
                    0x20..0x1_0000 => write!(text, "\\u{code:04x}"),
                    _ => write!(text, "\\U{code:08x}"),
                };
            }
        }
    }
    text
}

/// Whether a character can be seen (or is the plain space).
fn is_print(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ if c.is_control() || c.is_whitespace() => false,
        // The standard library escapes by code point what cannot be seen.
        _ => !c.escape_debug().to_string().starts_with("\\u"),
    }
}

/// RFC 3339 in UTC with that many digits of the second.
pub fn timestamp(time: SystemTime, digits: usize) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let whole = GoTime::from_unix(seconds, 0).to_string();
    let nanos = format!("{:09}", since.subsec_nanos());
    format!("{}.{}Z", whole.trim_end_matches('Z'), &nanos[..digits])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::{Value, json};

    use super::{Level, Line};

    fn line(level: Level, message: &str, fields: &[(&'static str, Value)]) -> Line {
        Line {
            level,
            // 2026-11-23T05:42:22.869673Z
            time: UNIX_EPOCH + Duration::from_nanos(1_795_412_542_869_673_999),
            module: "agent.router.manager".to_owned(),
            message: message.to_owned(),
            fields: fields.to_vec(),
        }
    }

    fn check(level: Level, message: &str, fields: &[(&'static str, Value)], expected: &str) {
        let text = line(level, message, fields).to_text();
        assert_eq!(std::str::from_utf8(&text).unwrap(), format!("2026-11-23T05:42:22.869Z {expected}\n"));
    }

    #[test]
    fn levels_are_padded() {
        check(Level::Info, "Started", &[], "[INFO]  agent.router.manager: Started");
        check(Level::Warn, "Started", &[], "[WARN]  agent.router.manager: Started");
        check(Level::Trace, "Started", &[], "[TRACE] agent.router.manager: Started");
        check(Level::Error, "", &[], "[ERROR] agent.router.manager");
    }

    #[test]
    fn fields_are_quoted_where_needed() {
        let check = |value: Value, expected: &str| {
            check(Level::Debug, "m", &[("k", value)], &format!("[DEBUG] agent.router.manager: m: k={expected}"));
        };
        check(json!("net/rpc"), "net/rpc");
        check(json!(""), "\"\"");
        check(json!("vm.dc1 (Addr: tcp/127.0.0.1:18300)"), "\"vm.dc1 (Addr: tcp/127.0.0.1:18300)\"");
        check(json!("say \"no\"\\"), "\"say \\\"no\\\"\\\"");
        check(json!("a,b"), "\"a,b\"");
        check(json!("tab\there \u{1b}[0m"), "\"tab\\there \\x1b[0m\"");
        check(json!("grün \u{2028}"), "\"grün \\u2028\"");
        check(json!(12), "12");
        check(json!(false), "false");
        check(json!(0.5), "0.5");
    }

    #[test]
    fn values_of_several_lines_stand_behind_a_bar() {
        let fields = [("k", json!("one\n\ttwo\n")), ("l", json!(1))];
        check(Level::Debug, "m", &fields, "[DEBUG] agent.router.manager: m:\n  k=\n  | one\n  | \\ttwo\n   l=1");
    }

    #[test]
    fn json_is_sorted_and_escaped_as_go_does() {
        let fields = [("number_of_servers", json!(1)), ("active_server", json!("vm<1>"))];
        let json = line(Level::Debug, "Rebalanced", &fields).to_json();
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            concat!(
                r#"{"@level":"debug","@message":"Rebalanced","@module":"agent.router.manager","#,
                r#""@timestamp":"2026-11-23T05:42:22.869673Z","active_server":"vm\u003c1\u003e","#,
                "\"number_of_servers\":1}\n"
            )
        );
    }
}
