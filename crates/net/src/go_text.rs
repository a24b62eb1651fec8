//! Texts of Go's runtime that users see: operating system errors and quoted strings.
//!
//! Always true: pure functions of their input.
//! Not here: whole error sentences; those stand where the error arises.

use std::io;

/// The operating system's reason as Go prints it: `connection refused`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    // std prints `Connection refused (os error 111)`.
    let bare = match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(cut)) => &text[..cut],
        _ => return text,
    };
    let mut letters = bare.chars();
    match (letters.next(), letters.next()) {
        // Go keeps abbreviations such as `RFS specific error`, but starts words in lower case.
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase(), &bare[1..])
        }
        _ => bare.to_owned(),
    }
}

/// A string as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

/// Bytes as Go's `%q` prints a string of them: what is not UTF-8 becomes `\xNN`.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            quote_char(letter, &mut out);
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

fn quote_char(letter: char, out: &mut String) {
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
        ' ' => out.push(' '),
        low if low < ' ' || low == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(low))),
        // Go asks its Unicode tables what is printable; control and blank characters cover what occurs in practice.
        odd if odd.is_control() || odd.is_whitespace() => {
            out.push_str(&format!("\\u{:04x}", u32::from(odd)));
        }
        plain => out.push(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::{quote, quote_bytes, reason};
    use std::io;

    #[test]
    fn system_errors_read_as_in_go() {
        assert_eq!(reason(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(reason(&io::Error::from_raw_os_error(101)), "network is unreachable");
        assert_eq!(reason(&io::Error::other("own words")), "own words");
    }

    #[test]
    fn quoting_is_gos() {
        assert_eq!(quote("a\"b\\c\n"), r#""a\"b\\c\n""#);
        assert_eq!(quote("\u{1}\u{7f}é"), "\"\\x01\\x7fé\"");
        assert_eq!(quote_bytes(b"a\xff\x15"), r#""a\xff\x15""#);
    }
}
