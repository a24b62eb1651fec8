//! Token texts to values: quoted texts, heredocs, numbers.
//!
//! Always true: `${…}` is passed through untouched. Bytes written as escapes that are no UTF-8 become U+FFFD.

/// The value of a quoted text (with its quotes), or `None` if it is malformed.
pub(crate) fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if quoted.len() < 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("${") {
            let end = interpolation_end(rest)?;
            bytes.extend_from_slice(&rest.as_bytes()[..end]);
            rest = &rest[end..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' | '"' => return None,
            '\\' => rest = unescape(rest, &mut bytes)?,
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// How many bytes `${…}` at the start of `text` takes.
fn interpolation_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(offset + 1);
        }
    }
    None
}

/// Reads what follows a backslash; gives the text after it.
fn unescape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let c = text.chars().next()?;
    let rest = &text[c.len_utf8()..];
    let byte = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '"' => c as u8,
        '0'..='7' => {
            bytes.push(u8::from_str_radix(text.get(..3)?, 8).ok()?);
            return text.get(3..);
        }
        'x' => {
            bytes.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
            return rest.get(2..);
        }
        'u' | 'U' => {
            let count = if c == 'u' { 4 } else { 8 };
            let code = u32::from_str_radix(rest.get(..count)?, 16).ok()?;
            let decoded = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            bytes.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            return rest.get(count..);
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(rest)
}

/// The value of a heredoc token (`<<EOF\n…EOF\n`), or `None` if it is malformed.
///
/// `<<-` takes the indentation of the closing line off every line, if every line has it.
pub(crate) fn heredoc(token: &str) -> Option<String> {
    let (opening, rest) = token.split_once('\n')?;
    let anchor = opening.strip_prefix("<<")?;
    let (indented, name) = match anchor.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, anchor),
    };
    let body = rest.strip_suffix('\n')?.trim_end_matches('\r').strip_suffix(name)?;
    if !indented {
        // Compat: spaces before the closing anchor stay in the value.
        return Some(body.to_owned());
    }
    let (lines, margin) = match body.rfind('\n') {
        Some(end) => body.split_at(end + 1),
        None => ("", body),
    };
    if !lines.lines().all(|line| line.starts_with(margin)) {
        return Some(lines.to_owned());
    }
    Some(lines.split_inclusive('\n').map(|line| &line[margin.len()..]).collect())
}

/// A whole number as Go's `strconv.ParseInt` with base 0 reads it: decimal, `0x` hexadecimal, `0` octal.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    i64::from_str_radix(&signed, radix).map_err(|error| {
        let reason = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing \"{text}\": {reason}")
    })
}
