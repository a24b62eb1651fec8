//! Bytes to a tree, failing where and how Go's scanner fails.
//!
//! Invariant: every refusal names the first byte at which the text cannot become JSON any more, with the context in
//! which it stands.

use std::borrow::Cow;

use super::error::Error;
use super::names::quote_byte;
use super::tree::Value;
use super::{MAX_DEPTH, Mode};

pub(super) fn parse(input: &[u8], mode: Mode) -> Result<Value<'_>, Error> {
    let mut scanner = Scanner { input, at: 0, depth: 0, mode };
    scanner.skip_space();
    let value = scanner.value()?;
    if mode == Mode::Unmarshal {
        scanner.skip_space();
        if let Some(&byte) = input.get(scanner.at) {
            return Err(syntax(byte, "after top-level value"));
        }
    }
    Ok(value)
}

struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
    depth: usize,
    mode: Mode,
}

/// How contexts begin in which white space may not stand.
const UNBROKEN: [&str; 2] = ["in ", "after decimal point"];

fn syntax(byte: u8, context: &str) -> Error {
    Error::message(format!("invalid character {} {context}", quote_byte(byte)))
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// The input ended inside a value.
    fn cut_short(&self) -> Error {
        if self.mode == Mode::Unmarshal {
            Error::message("unexpected end of JSON input")
        } else if self.input.iter().all(|byte| is_space(*byte)) {
            Error::eof()
        } else {
            Error::message("unexpected EOF")
        }
    }

    /// The current byte, or the end of the input, does not fit.
    fn refused(&self, context: &str) -> Error {
        match self.peek() {
            Some(byte) => syntax(byte, context),
            // Compat: Unmarshal tries a space at the end, and words that may not be broken by one blame it.
            None if self.mode == Mode::Unmarshal && UNBROKEN.iter().any(|start| context.starts_with(start)) => {
                syntax(b' ', context)
            }
            None => self.cut_short(),
        }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Value<'a>, Error> {
        match self.peek() {
            Some(b'{') => self.nested(Scanner::object),
            Some(b'[') => self.nested(Scanner::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.literal("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.literal("false").map(|()| Value::Bool(false)),
            Some(b'n') => self.literal("null").map(|()| Value::Null),
            _ => Err(self.refused("looking for beginning of value")),
        }
    }

    fn nested(&mut self, read: fn(&mut Scanner<'a>) -> Result<Value<'a>, Error>) -> Result<Value<'a>, Error> {
        if self.depth == MAX_DEPTH {
            return Err(self.refused("exceeded max depth"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Result<Value<'a>, Error> {
        let mut elements = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(elements));
        }
        loop {
            self.skip_space();
            elements.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(elements));
                }
                _ => return Err(self.refused("after array element")),
            }
        }
    }

    fn object(&mut self) -> Result<Value<'a>, Error> {
        let mut entries = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(entries));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.refused("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.refused("after object key"));
            }
            self.at += 1;
            self.skip_space();
            entries.push((key, self.value()?));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(entries));
                }
                _ => return Err(self.refused("after object key:value pair")),
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Error> {
        for (index, expected) in word.bytes().enumerate() {
            if self.peek() != Some(expected) && index > 0 {
                return Err(self.refused(&format!("in literal {word} (expecting '{}')", char::from(expected))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.refused("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        // Only ASCII was passed over.
        Ok(std::str::from_utf8(&self.input[start..self.at]).unwrap_or("0"))
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, context: &str) -> Result<(), Error> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.refused(context));
        }
        self.digits();
        Ok(())
    }

    /// The string whose opening quote is the current byte.
    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    let plain = decode_utf8(&self.input[start..self.at]);
                    self.at += 1;
                    return Ok(plain);
                }
                b'\\' => return self.escaped_string(start).map(Cow::Owned),
                0x00..=0x1f => return Err(self.refused("in string literal")),
                _ => self.at += 1,
            }
        }
        Err(self.cut_short())
    }

    /// A string that holds escapes; the current byte is the first of them.
    fn escaped_string(&mut self, start: usize) -> Result<String, Error> {
        let mut out = decode_utf8(&self.input[start..self.at]).into_owned();
        let mut plain_from = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    out.push_str(&decode_utf8(&self.input[plain_from..self.at]));
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    out.push_str(&decode_utf8(&self.input[plain_from..self.at]));
                    self.at += 1;
                    out.push(self.escape()?);
                    plain_from = self.at;
                }
                0x00..=0x1f => return Err(self.refused("in string literal")),
                _ => self.at += 1,
            }
        }
        Err(self.cut_short())
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, Error> {
        let c = match self.peek() {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'"') => '"',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex4()?;
                return Ok(self.complete_surrogate(unit));
            }
            _ => return Err(self.refused("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.refused("in \\u hexadecimal character escape"));
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    /// Joins a high surrogate with the low one that follows it; a lone surrogate becomes U+FFFD, as in Go.
    fn complete_surrogate(&mut self, unit: u32) -> char {
        if let Some(c) = char::from_u32(unit) {
            return c;
        }
        let low = self.input.get(self.at..self.at + 6).filter(|next| next.starts_with(b"\\u")).and_then(|next| {
            let digits = std::str::from_utf8(&next[2..]).ok().filter(|text| !text.starts_with('+'))?;
            u32::from_str_radix(digits, 16).ok()
        });
        let joined = low
            .filter(|low| unit < 0xdc00 && (0xdc00..0xe000).contains(low))
            .and_then(|low| char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)));
        match joined {
            Some(c) => {
                self.at += 6;
                c
            }
            None => char::REPLACEMENT_CHARACTER,
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Compat: each byte that is not UTF-8 becomes one U+FFFD (Rust's lossy conversion joins some).
fn decode_utf8(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(out)
}
