//! Names: matching keys to fields as Go does, and printing types and texts as Go does.

use serde::de::Unexpected;

/// The field that `key` means. An exact match wins over one that differs in case.
pub(super) fn find_field(key: &str, fields: &'static [&'static str], aliases: bool) -> Option<&'static str> {
    fields
        .iter()
        .find(|field| **field == key)
        .or_else(|| fields.iter().find(|field| folded_eq(key, field, aliases)))
        .copied()
}

fn folded_eq(key: &str, field: &str, skip_underscores: bool) -> bool {
    fn folded(text: &str, skip_underscores: bool) -> impl Iterator<Item = char> {
        text.chars().filter(move |c| !(skip_underscores && *c == '_')).map(fold)
    }
    folded(key, skip_underscores).eq(folded(field, skip_underscores))
}

/// Compat: Unicode folds the Kelvin sign and the long s onto ASCII letters, and so does Go.
fn fold(c: char) -> char {
    match c {
        '\u{212a}' => 'K',
        '\u{17f}' => 'S',
        c => c.to_ascii_uppercase(),
    }
}

/// Structs whose own reader takes unknown fields, whatever is asked of the rest.
const LENIENT: &[&str] = &["HealthCheckDefinition"];

/// Whether the reader of the struct with this serde name takes unknown fields.
pub(super) fn is_lenient(serde_name: &str) -> bool {
    LENIENT.contains(&serde_name.split('|').next().unwrap_or_default())
}

/// The Go type of a struct or enum with this serde name.
pub(super) fn go_type(serde_name: &str) -> String {
    let mut parts = serde_name.splitn(3, '|');
    let name = parts.next().unwrap_or_default();
    match parts.nth(1) {
        Some(wrapper) => wrapper.to_owned(),
        None if name.contains('.') => name.to_owned(),
        None => format!("structs.{name}"),
    }
}

/// How a struct appears in an error's place: its name without package (a wrapper has none), and what it is embedded
/// as when it decodes through a wrapper.
pub(super) fn context(serde_name: &str) -> (&str, Option<&str>) {
    let mut parts = serde_name.splitn(3, '|');
    let name = parts.next().unwrap_or_default();
    match parts.next() {
        Some(embedded_as) => ("", Some(embedded_as)),
        None => (name.rsplit('.').next().unwrap_or_default(), None),
    }
}

/// Go's word for a kind of JSON value.
pub(super) fn kind_of(unexpected: Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "number",
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "string",
        Unexpected::Seq => "array",
        Unexpected::Map => "object",
        _ => "null",
    }
}

/// Text in double quotes as Go's `%q` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_quoted(&mut out, c, '"');
    }
    out.push('"');
    out
}

/// How Go names one byte of the input in a syntax error.
pub(super) fn quote_byte(byte: u8) -> String {
    match byte {
        b'"' => "'\"'".to_owned(),
        b'\'' => "'\\''".to_owned(),
        // Compat: Go makes a rune of the byte, so the first byte of an umlaut reads as a Latin-1 letter.
        byte => {
            let mut out = String::from("'");
            push_quoted(&mut out, char::from(byte), '\'');
            out.push('\'');
            out
        }
    }
}

fn push_quoted(out: &mut String, c: char, delimiter: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{b}' => out.push_str("\\v"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c == delimiter => out.extend(['\\', c]),
        c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if is_print(c) => out.push(c),
        c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Go's `strconv.IsPrint` without its tables: spaces other than U+0020, controls, the common format characters and
/// private use are not printable. Unassigned characters are taken for printable.
fn is_print(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_whitespace() || c.is_control() || invisible)
}

/// Whether a key means this field.
pub(super) fn matches(key: &str, field: &str, aliases: bool) -> bool {
    key == field || folded_eq(key, field, aliases)
}
