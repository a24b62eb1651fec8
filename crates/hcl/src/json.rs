//! Strict JSON to the same tree as HCL.
//!
//! Always true: syntax errors use the words of Go's `encoding/json`, because that is what users and their scripts see;
//! a repeated key stays repeated (the last one counts); nesting is bounded by [`MAX_DEPTH`].
//!
//! Numbers without fraction and exponent that fit are [`Kind::Integer`], all others [`Kind::Float`].

use crate::tree::{Entry, Kind, Object, Position, Value};
use crate::{Error, MAX_DEPTH, MAX_TEXT_BYTES};

/// Reads one JSON object. Compat: a lone `null` reads as the empty object.
pub fn parse(text: &str) -> Result<Object, Error> {
    let value = parse_value(text)?;
    let what = match value.kind {
        Kind::Object(object) => return Ok(object),
        Kind::Null => return Ok(Object::default()),
        Kind::Bool(_) => "bool",
        Kind::Integer(_) | Kind::Float(_) => "number",
        Kind::Text(_) => "string",
        Kind::List(_) => "array",
    };
    Err(Error::bare(
        value.position,
        format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"),
    ))
}

/// Reads one JSON value of any kind.
pub fn parse_value(text: &str) -> Result<Value, Error> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::bare(Position::START, format!("text is longer than {MAX_TEXT_BYTES} bytes")));
    }
    let mut reader = Reader { text, offset: 0, line: 1, line_start: 0, depth: 0, out_of_range: None };
    reader.skip_space();
    let value = reader.value()?;
    reader.skip_space();
    match reader.peek() {
        Some(_) => Err(reader.unexpected("after top-level value")),
        None => reader.out_of_range.map_or(Ok(value), Err),
    }
}

struct Reader<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    line_start: usize,
    depth: usize,
    /// Compat: the reference checks the syntax of the whole text before it looks at any number.
    out_of_range: Option<Error>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn position(&self) -> Position {
        let column = self.text.get(self.line_start..self.offset).map_or(1, |line| line.chars().count() + 1);
        Position { line: self.line, column }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            if self.peek() == Some(b'\n') {
                self.line += 1;
                self.line_start = self.offset + 1;
            }
            self.offset += 1;
        }
    }

    /// The complaint about the next byte, or about the end of the text.
    fn unexpected(&self, context: &str) -> Error {
        match self.peek() {
            Some(byte) => Error::bare(self.position(), format!("invalid character {} {context}", quote(byte))),
            None => Error::bare(self.position(), "unexpected end of JSON input"),
        }
    }

    /// Like [`Reader::unexpected`] inside a token. Compat: there the end of the text counts as a space.
    fn unexpected_in_token(&self, context: &str) -> Error {
        let byte = self.peek().unwrap_or(b' ');
        Error::bare(self.position(), format!("invalid character {} {context}", quote(byte)))
    }

    fn value(&mut self) -> Result<Value, Error> {
        let position = self.position();
        let kind = match self.peek() {
            Some(b'{') => Kind::Object(self.nested(Reader::object)?),
            Some(b'[') => Kind::List(self.nested(Reader::list)?),
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Kind::Bool(true))?,
            Some(b'f') => self.word("false", Kind::Bool(false))?,
            Some(b'n') => self.word("null", Kind::Null)?,
            _ => return Err(self.unexpected("looking for beginning of value")),
        };
        Ok(Value { position, kind })
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::bare(self.position(), "exceeded max depth"));
        }
        self.offset += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Object, Error> {
        let mut object = Object::default();
        if self.peek() == Some(b'}') {
            self.offset += 1;
            return Ok(object);
        }
        loop {
            let position = self.position();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.offset += 1;
            self.skip_space();
            let value = self.value()?;
            object.entries.push(Entry { key, position, value });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.offset += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("after object key:value pair")),
            }
            self.skip_space();
        }
        self.offset += 1;
        Ok(object)
    }

    fn list(&mut self) -> Result<Vec<Value>, Error> {
        let mut list = Vec::new();
        if self.peek() == Some(b']') {
            self.offset += 1;
            return Ok(list);
        }
        loop {
            list.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.offset += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("after array element")),
            }
            self.skip_space();
        }
        self.offset += 1;
        Ok(list)
    }

    fn word(&mut self, word: &'static str, kind: Kind) -> Result<Kind, Error> {
        for wanted in word.bytes() {
            if self.peek() != Some(wanted) {
                let wanted = char::from(wanted);
                return Err(self.unexpected_in_token(&format!("in literal {word} (expecting '{wanted}')")));
            }
            self.offset += 1;
        }
        Ok(kind)
    }

    fn number(&mut self) -> Result<Kind, Error> {
        let start = self.offset;
        let mut whole = true;
        if self.peek() == Some(b'-') {
            self.offset += 1;
        }
        match self.peek() {
            Some(b'0') => self.offset += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.unexpected_in_token("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            whole = false;
            self.offset += 1;
            self.at_least_one_digit("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            whole = false;
            self.offset += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.offset += 1;
            }
            self.at_least_one_digit("in exponent of numeric literal")?;
        }
        let literal = &self.text[start..self.offset];
        if whole && let Ok(integer) = literal.parse() {
            return Ok(Kind::Integer(integer));
        }
        match literal.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Kind::Float(float)),
            _ => {
                let message = format!("json: cannot unmarshal number {literal} into Go value of type float64");
                let error = Error::bare(self.position(), message);
                self.out_of_range.get_or_insert(error);
                Ok(Kind::Float(0.0))
            }
        }
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.offset += 1;
        }
    }

    fn at_least_one_digit(&mut self, context: &str) -> Result<(), Error> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected_in_token(context));
        }
        self.skip_digits();
        Ok(())
    }

    fn string(&mut self) -> Result<String, Error> {
        self.offset += 1;
        let mut text = String::new();
        loop {
            let plain = self.offset;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.offset += 1;
            }
            text.push_str(&self.text[plain..self.offset]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.offset += 1;
                    text.push(self.escape()?);
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
        self.offset += 1;
        Ok(text)
    }

    /// What follows a backslash. Compat: half a surrogate pair reads as U+FFFD.
    fn escape(&mut self) -> Result<char, Error> {
        let plain = match self.peek() {
            Some(b'u') => {
                self.offset += 1;
                return self.unicode_escape();
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.unexpected_in_token("in string escape code")),
        };
        self.offset += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, Error> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.text.as_bytes()[self.offset..].starts_with(b"\\u") {
            let back = self.offset;
            self.offset += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.offset = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected_in_token("in \\u hexadecimal character escape"));
            };
            code = code * 16 + digit;
            self.offset += 1;
        }
        Ok(code)
    }
}

/// A byte as Go prints it in these errors: quoted, and on its own even if it is half a character.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        0x07 => "'\\a'".to_owned(),
        0x08 => "'\\b'".to_owned(),
        0x09 => "'\\t'".to_owned(),
        0x0a => "'\\n'".to_owned(),
        0x0b => "'\\v'".to_owned(),
        0x0c => "'\\f'".to_owned(),
        0x0d => "'\\r'".to_owned(),
        0x00..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
