//! Go's quoted strings, read and written.

use std::fmt::Write;
use std::str::Chars;

/// `text` as Go's `%q` prints it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if !c.is_ascii() && !is_printable(c) => {
                let _ = match u32::from(c) {
                    code @ ..0x1_0000 => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation and symbols, to Rust's tables as to Go's.
fn is_printable(character: char) -> bool {
    // Marks are shown as such only behind another character.
    let mut shown = ['a', character].iter().collect::<String>().escape_debug().skip(1).collect::<String>();
    shown.pop() == Some(character) && shown.is_empty()
}

/// What a Go string literal, backquoted or double-quoted with its quotes, stands for. `None` where Go's
/// `strconv.Unquote` refuses. Also for escapes that give no valid UTF-8 (`"\xff"`), which Go takes: such a value
/// equals no field, and is of use only to look for halves of characters.
pub(crate) fn unquote(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        // Raw literals lose carriage returns.
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let body = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(character) = chars.next() {
        match character {
            '\n' | '"' => return None,
            '\\' => escape(&mut chars, &mut out)?,
            c => push(&mut out, c),
        }
    }
    String::from_utf8(out).ok()
}

fn escape(chars: &mut Chars<'_>, out: &mut Vec<u8>) -> Option<()> {
    let byte = match chars.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        'x' => u8::try_from(digits(chars, 2, 16, 0)?).ok()?,
        first @ '0'..='7' => u8::try_from(digits(chars, 2, 8, first.to_digit(8)?)?).ok()?,
        'u' => return char::from_u32(digits(chars, 4, 16, 0)?).map(|c| push(out, c)),
        'U' => return char::from_u32(digits(chars, 8, 16, 0)?).map(|c| push(out, c)),
        _ => return None,
    };
    out.push(byte);
    Some(())
}

fn digits(chars: &mut Chars<'_>, count: usize, radix: u32, first: u32) -> Option<u32> {
    (0..count).try_fold(first, |number, _| number.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?))
}

fn push(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn what_is_not_printable_is_escaped() {
        let cases = [
            ("a é \u{301} 😀", "\"a é \u{301} 😀\""),
            ("\u{7}\u{1b}\u{7f}", r#""\a\x1b\x7f""#),
            ("\u{80}\u{a0}\u{200b}\u{2028}", r#""\u0080\u00a0\u200b\u2028""#),
            ("\u{e0001}", r#""\U000e0001""#),
            ("\"\\`", "\"\\\"\\\\`\""),
        ];
        for (text, quoted) in cases {
            assert_eq!(quote(text), quoted);
        }
    }
}
