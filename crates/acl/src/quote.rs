//! Quoted texts of error messages.

use std::fmt::Write;

/// `text` in double quotes as Go's `%q` writes it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            // The standard library escapes what cannot be shown, with other letters than Go.
            _ if letter.is_ascii() && !letter.is_ascii_control() || shown(letter) => out.push(letter),
            _ if (letter as u32) < 0x80 => escape(&mut out, format_args!("\\x{:02x}", letter as u32)),
            _ if (letter as u32) < 0x10000 => escape(&mut out, format_args!("\\u{:04x}", letter as u32)),
            _ => escape(&mut out, format_args!("\\U{:08x}", letter as u32)),
        }
    }
    out.push('"');
    out
}

fn shown(letter: char) -> bool {
    !letter.is_ascii() && letter.escape_debug().count() == 1
}

fn escape(out: &mut String, escaped: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(escaped);
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn go_words() {
        assert_eq!(quote("a'b\"c\\d\te\u{1}é\u{2028}"), r#""a'b\"c\\d\te\x01é\u2028""#);
    }
}
