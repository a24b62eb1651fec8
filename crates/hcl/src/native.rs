//! Tokens of native HCL to a tree.
//!
//! Always true: nesting is bounded by [`MAX_DEPTH`]; a fault that the scanner noted wins over the parser's own.

use crate::scan::{Scanner, Token, TokenKind};
use crate::tree::{Entry, Kind, Object, Position, Value};
use crate::{Error, MAX_DEPTH, literal};

/// Whether one object may assign the same key twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    Allowed,
    Refused,
}

pub(crate) fn parse(text: &str, repeats: Repeats) -> Result<Object, Error> {
    let normalized;
    let text = if text.contains("\r\n") {
        normalized = text.replace("\r\n", "\n");
        &normalized
    } else {
        text
    };
    let mut parser = Parser { scanner: Scanner::new(text), peeked: None, repeats, depth: 0, malformed: None };
    let result = parser.entries(Within::Text);
    match parser.scanner.fault() {
        Some(fault) => Err(fault),
        None => result.and_then(|object| parser.malformed.map_or(Ok(object), Err)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Text,
    Braces,
}

struct Key<'a> {
    token: Token<'a>,
    name: String,
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    peeked: Option<Token<'a>>,
    repeats: Repeats,
    depth: usize,
    /// Compat: literals get their value after the whole text was parsed, so a syntax error elsewhere is told first.
    malformed: Option<Error>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Token<'a> {
        match self.peeked.take() {
            Some(token) => token,
            None => self.scanner.scan(),
        }
    }

    fn peek(&mut self) -> TokenKind {
        let token = self.next();
        self.peeked = Some(token);
        token.kind
    }

    fn entries(&mut self, within: Within) -> Result<Object, Error> {
        let mut object = Object::default();
        let mut assigned: Vec<&str> = Vec::new();
        loop {
            if within == Within::Braces && self.peek() == TokenKind::RightBrace {
                return Ok(object);
            }
            let Some((keys, opener)) = self.keys()? else {
                return Ok(object);
            };
            let value = match opener.kind {
                TokenKind::Assign => {
                    if self.repeats == Repeats::Refused {
                        for key in &keys {
                            if assigned.contains(&key.token.text) {
                                return Err(repeated(key));
                            }
                            assigned.push(key.token.text);
                        }
                    }
                    match self.value()? {
                        Some(value) => value,
                        // Compat: a key with `=` at the very end of the text is dropped without complaint.
                        None => return Ok(object),
                    }
                }
                _ => {
                    // Every label is one more level of the tree.
                    let labels = keys.len() - 1;
                    self.depth += labels;
                    let value = self.object(opener.position)?;
                    self.depth -= labels;
                    value
                }
            };
            object.entries.extend(nest(keys, value));
            if self.peek() == TokenKind::Comma {
                self.next();
            }
        }
    }

    /// The keys of one entry and the `=` or `{` after them; `None` at the end of the text.
    fn keys(&mut self) -> Result<Option<(Vec<Key<'a>>, Token<'a>)>, Error> {
        let mut keys: Vec<Key<'a>> = Vec::new();
        loop {
            let token = self.next();
            if self.depth + keys.len() > MAX_DEPTH {
                return Err(too_deep(token.position));
            }
            let message = match token.kind {
                TokenKind::Ident => {
                    keys.push(Key { token, name: token.text.to_owned() });
                    continue;
                }
                TokenKind::Text => {
                    let name = self.text_value(token);
                    keys.push(Key { token, name });
                    continue;
                }
                TokenKind::Eof if keys.is_empty() => return Ok(None),
                TokenKind::Eof | TokenKind::RightBrace if !keys.is_empty() => {
                    let names: Vec<&str> = keys.iter().map(|key| key.token.text).collect();
                    format!("key '{}' expected start of object ('{{') or assignment ('=')", names.join(" "))
                }
                TokenKind::Assign if keys.is_empty() => "no object keys found!".to_owned(),
                TokenKind::Assign if keys.len() > 1 => "nested object expected: LBRACE got: ASSIGN".to_owned(),
                TokenKind::LeftBrace if keys.is_empty() => "expected: IDENT | STRING got: LBRACE".to_owned(),
                TokenKind::Assign | TokenKind::LeftBrace => return Ok(Some((keys, token))),
                TokenKind::Illegal => "illegal character".to_owned(),
                other => format!("expected: IDENT | STRING | ASSIGN | LBRACE got: {}", other.name()),
            };
            return Err(Error::at(token.position, message));
        }
    }

    /// What stands after `=`; `None` at the end of the text.
    fn value(&mut self) -> Result<Option<Value>, Error> {
        let token = self.next();
        match token.kind {
            TokenKind::Eof => Ok(None),
            TokenKind::LeftBrace => self.object(token.position).map(Some),
            TokenKind::LeftBracket => self.list(token.position).map(Some),
            kind if is_scalar(kind) => Ok(Some(self.scalar(token))),
            kind => Err(Error::at(
                token.position,
                format!(
                    "Unknown token: {}:{} {} {}",
                    token.position.line,
                    token.position.column,
                    kind.name(),
                    token.text
                ),
            )),
        }
    }

    fn object(&mut self, position: Position) -> Result<Value, Error> {
        self.enter(position)?;
        let object = self.entries(Within::Braces)?;
        let closing = self.next();
        if closing.kind != TokenKind::RightBrace {
            return Err(Error::at(
                closing.position,
                format!("object expected closing RBRACE got: {}", closing.kind.name()),
            ));
        }
        self.depth -= 1;
        Ok(Value { position, kind: Kind::Object(object) })
    }

    fn list(&mut self, position: Position) -> Result<Value, Error> {
        self.enter(position)?;
        let mut list = Vec::new();
        let mut needs_comma = false;
        loop {
            let token = self.next();
            if needs_comma && !matches!(token.kind, TokenKind::Comma | TokenKind::RightBracket) {
                return Err(Error::at(
                    token.position,
                    format!("error parsing list, expected comma or list end, got: {}", token.kind.name()),
                ));
            }
            match token.kind {
                TokenKind::RightBracket => break,
                // Compat: commas may lead, trail and repeat.
                TokenKind::Comma => needs_comma = false,
                TokenKind::LeftBrace => {
                    list.push(self.object(token.position).map_err(|error| inside(token.position, "object", &error))?);
                    needs_comma = true;
                }
                // Compat: no comma is asked for after a list within a list.
                TokenKind::LeftBracket => {
                    list.push(self.list(token.position).map_err(|error| inside(token.position, "list", &error))?);
                }
                kind if is_scalar(kind) => {
                    list.push(self.scalar(token));
                    needs_comma = true;
                }
                kind => {
                    return Err(Error::at(
                        token.position,
                        format!("unexpected token while parsing list: {}", kind.name()),
                    ));
                }
            }
        }
        self.depth -= 1;
        Ok(Value { position, kind: Kind::List(list) })
    }

    fn scalar(&mut self, token: Token<'_>) -> Value {
        let position = token.position;
        let kind = match token.kind {
            TokenKind::Bool => Kind::Bool(token.text == "true"),
            TokenKind::Number => match literal::integer(token.text) {
                Ok(integer) => Kind::Integer(integer),
                Err(message) => {
                    self.malformed.get_or_insert(Error::bare(position, message));
                    Kind::Integer(0)
                }
            },
            TokenKind::Float => match token.text.parse() {
                Ok(float) => Kind::Float(float),
                Err(_) => {
                    let message = format!("strconv.ParseFloat: parsing {:?}: invalid syntax", token.text);
                    self.malformed.get_or_insert(Error::bare(position, message));
                    Kind::Float(0.0)
                }
            },
            TokenKind::Heredoc => Kind::Text(self.or_malformed(position, literal::heredoc(token.text))),
            _ => Kind::Text(self.text_value(token)),
        };
        Value { position, kind }
    }

    fn text_value(&mut self, token: Token<'_>) -> String {
        self.or_malformed(token.position, literal::unquote(token.text))
    }

    fn or_malformed(&mut self, position: Position, text: Option<String>) -> String {
        text.unwrap_or_else(|| {
            self.malformed.get_or_insert(Error::at(position, "invalid syntax"));
            String::new()
        })
    }

    fn enter(&mut self, position: Position) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep(position));
        }
        Ok(())
    }
}

/// Wraps the value into one object per label, innermost last.
fn nest(mut keys: Vec<Key<'_>>, value: Value) -> Option<Entry> {
    let innermost = keys.pop()?;
    let entry = Entry { key: innermost.name, position: innermost.token.position, value };
    Some(keys.into_iter().rev().fold(entry, |inner, key| Entry {
        key: key.name,
        position: key.token.position,
        value: Value { position: inner.position, kind: Kind::Object(Object { entries: vec![inner] }) },
    }))
}

fn repeated(key: &Key<'_>) -> Error {
    let Position { line, column } = key.token.position;
    Error::bare(
        key.token.position,
        format!(
            "The argument {:?} at {line}:{column} was already set. Each argument can only be defined once",
            key.token.text
        ),
    )
}

fn too_deep(position: Position) -> Error {
    Error::at(position, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn inside(position: Position, what: &str, error: &Error) -> Error {
    Error::at(position, format!("error while trying to parse {what} within list: {error}"))
}

fn is_scalar(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Number | TokenKind::Float | TokenKind::Bool | TokenKind::Text | TokenKind::Heredoc)
}
