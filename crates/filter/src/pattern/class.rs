//! Classes: `[...]`, `\d` and its like, `\p{...}`.
//!
//! Not here: single characters behind a backslash.

use std::fmt::Write;

use regex::Regex;

use super::escape::{character, escaped};
use super::{Compiler, MAX_PROPERTIES, Reader, TOO_LARGE, refusal};

/// Between brackets, what no character is. For ranges of surrogates, which Go can name and no text can hold.
const NOTHING: &str = "a&&b";

/// A named Unicode class, negated or not.
#[derive(Debug)]
pub(super) struct Property(String);

impl Property {
    /// Takes `\pN`, `\p{Name}` or `\p{^Name}` from the start of `rest`, if it stands there.
    pub(super) fn read(rest: &mut &str, compiler: &mut Compiler) -> Result<Option<Self>, String> {
        let text = *rest;
        let (after, mut negated) = match (text.strip_prefix(r"\p"), text.strip_prefix(r"\P")) {
            (Some(after), _) => (after, false),
            (_, Some(after)) => (after, true),
            _ => return Ok(None),
        };
        let (mut name, after) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| refusal("invalid character class range", text))?,
            None => after.split_at(after.chars().next().map_or(0, char::len_utf8)),
        };
        if let Some(rest) = name.strip_prefix('^') {
            (name, negated) = (rest, !negated);
        }
        compiler.properties += 1;
        if compiler.properties > MAX_PROPERTIES {
            return Err(refusal(TOO_LARGE, text));
        }
        let Some(name) = compiler.property(name) else {
            return Err(refusal("invalid character class range", &text[..text.len() - after.len()]));
        };
        *rest = after;
        Ok(Some(Property(format!(r"\{}{{{name}}}", if negated { 'P' } else { 'p' }))))
    }

    pub(super) fn written(&self) -> &str {
        &self.0
    }
}

impl Compiler {
    /// The category or script of this name, as our engine spells it.
    fn property(&mut self, name: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'_' | b'-');
        if !name.bytes().any(|byte| byte.is_ascii_alphabetic()) || !name.bytes().all(plain) {
            return None;
        }
        for kind in ["gc", "sc"] {
            let named = format!("{kind}={name}");
            if self.known.contains(&named) || Regex::new(&format!(r"\p{{{named}}}")).is_ok() {
                self.known.insert(named.clone());
                return Some(named);
            }
        }
        None
    }
}

/// `\d`, `\s`, `\w` and their opposites: ASCII, as in Go.
pub(super) fn shorthand(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r\x20]",
        'S' => r"[^\t\n\f\r\x20]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// A class of one character, which may be a surrogate.
pub(super) fn single(code: u32) -> String {
    let mut out = String::from("[");
    range(&mut out, code, code);
    if out.len() == 1 {
        out.push_str(NOTHING);
    }
    out.push(']');
    out
}

/// Writes a range without the surrogates in it.
fn range(out: &mut String, low: u32, high: u32) {
    for (least, most) in [(0, 0xD7FF), (0xE000, 0x0010_FFFF)] {
        let (low, high) = (low.max(least), high.min(most));
        if low <= high {
            // Writing to a string cannot fail.
            let _ = write!(out, r"\x{{{low:x}}}-\x{{{high:x}}}");
        }
    }
}

impl Reader<'_, '_> {
    /// Takes a class, from its `[`.
    pub(super) fn class(&mut self) -> Result<(), String> {
        let start = self.out.len();
        let whole = self.rest;
        self.rest = &whole[1..];
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        let empty = self.out.len();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            self.class_item(whole)?;
        }
        self.rest = &self.rest[1..];
        if self.out.len() == empty {
            self.out.push_str(NOTHING);
        }
        self.out.push(']');
        self.part(start);
        Ok(())
    }

    fn class_item(&mut self, whole: &str) -> Result<(), String> {
        if let Some(after) = self.rest.strip_prefix("[:")
            && let Some(end) = after.find(":]")
        {
            let (named, rest) = self.rest.split_at(end + 4);
            if !is_known(&after[..end]) {
                return Err(refusal("invalid character class range", named));
            }
            self.out.push_str(named);
            self.rest = rest;
            return Ok(());
        }
        if let Some(property) = self.property()? {
            self.out.push_str(property.written());
            return Ok(());
        }
        let mut chars = self.rest.chars();
        if chars.next() == Some('\\')
            && let Some(class) = chars.next().and_then(shorthand)
        {
            self.out.push_str(class);
            self.rest = chars.as_str();
            return Ok(());
        }
        let before = self.rest;
        let low = self.class_character(whole)?;
        let mut high = low;
        // A dash before the end of the class stands for itself.
        if let Some(after) = self.rest.strip_prefix('-')
            && !after.is_empty()
            && !after.starts_with(']')
        {
            self.rest = after;
            high = self.class_character(whole)?;
            if high < low {
                return Err(refusal("invalid character class range", &before[..before.len() - self.rest.len()]));
            }
        }
        range(&mut self.out, low, high);
        Ok(())
    }

    fn class_character(&mut self, whole: &str) -> Result<u32, String> {
        if self.rest.is_empty() {
            return Err(refusal("missing closing ]", whole));
        }
        if self.rest.starts_with('\\') { escaped(&mut self.rest) } else { Ok(character(&mut self.rest).unwrap_or(0)) }
    }
}

/// The names between `[:` and `:]`.
fn is_known(name: &str) -> bool {
    let names = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    names.contains(&name.strip_prefix('^').unwrap_or(name))
}
