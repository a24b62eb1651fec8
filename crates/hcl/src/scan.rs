//! Text to tokens of native HCL.
//!
//! Always true: scanning terminates at the end of the text, every token lies on character boundaries, and the scanner
//! never stops at a fault: it notes it ([`Scanner::fault`]) and goes on. Compat: the last noted fault wins over whatever
//! the parser complained about, because that is what the reference prints.

use crate::{Error, Position};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Illegal,
    Eof,
    Ident,
    Number,
    Float,
    Bool,
    Text,
    Heredoc,
    LeftBracket,
    LeftBrace,
    Comma,
    Period,
    RightBracket,
    RightBrace,
    Assign,
    Add,
    Sub,
    /// Only [`Scanner::scan_all`] gives it.
    Comment,
}

impl TokenKind {
    /// The name that error texts use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TokenKind::Illegal => "ILLEGAL",
            TokenKind::Eof => "EOF",
            TokenKind::Ident => "IDENT",
            TokenKind::Number => "NUMBER",
            TokenKind::Float => "FLOAT",
            TokenKind::Bool => "BOOL",
            TokenKind::Text => "STRING",
            TokenKind::Heredoc => "HEREDOC",
            TokenKind::LeftBracket => "LBRACK",
            TokenKind::LeftBrace => "LBRACE",
            TokenKind::Comma => "COMMA",
            TokenKind::Period => "PERIOD",
            TokenKind::RightBracket => "RBRACK",
            TokenKind::RightBrace => "RBRACE",
            TokenKind::Assign => "ASSIGN",
            TokenKind::Add => "ADD",
            TokenKind::Sub => "SUB",
            TokenKind::Comment => "COMMENT",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) position: Position,
    pub(crate) text: &'a str,
    /// Bytes of the text before it.
    pub(crate) offset: usize,
}

pub(crate) struct Scanner<'a> {
    text: &'a str,
    offset: usize,
    /// Where the next character stands.
    here: Position,
    /// Where the last character that was taken stands: where faults are reported.
    last: Position,
    fault: Option<Error>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, offset: 0, here: Position::START, last: Position::START, fault: None }
    }

    pub(crate) fn fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// The next token that is no comment.
    pub(crate) fn scan(&mut self) -> Token<'a> {
        loop {
            let token = self.scan_all();
            if token.kind != TokenKind::Comment {
                return token;
            }
        }
    }

    /// The next token, comments included.
    pub(crate) fn scan_all(&mut self) -> Token<'a> {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        let offset = self.offset;
        let position = self.here;
        let Some(c) = self.take() else {
            return Token { kind: TokenKind::Eof, position, text: "", offset };
        };
        let kind = match c {
            '#' | '/' => {
                self.skip_comment(c);
                TokenKind::Comment
            }
            _ => self.token(c),
        };
        let text = &self.text[offset..self.offset];
        let kind = if kind == TokenKind::Ident && matches!(text, "true" | "false") { TokenKind::Bool } else { kind };
        Token { kind, position, text, offset }
    }

    fn token(&mut self, first: char) -> TokenKind {
        match first {
            c if is_letter(c) => {
                self.take_while(|c| is_letter(c) || is_digit(c) || c == '-' || c == '.');
                if self.peek().is_none() {
                    self.take();
                }
                TokenKind::Ident
            }
            c if c.is_ascii_digit() => self.number(c),
            '-' => match self.peek() {
                Some(c) if c.is_ascii_digit() => {
                    self.take();
                    self.number(c)
                }
                _ => TokenKind::Sub,
            },
            '.' => match self.peek() {
                Some(c) if c.is_ascii_digit() => {
                    self.take_while(|c| c.is_ascii_digit());
                    self.exponent();
                    TokenKind::Float
                }
                _ => TokenKind::Period,
            },
            '"' => {
                self.quoted();
                TokenKind::Text
            }
            '<' => {
                self.heredoc();
                TokenKind::Heredoc
            }
            '[' => TokenKind::LeftBracket,
            ']' => TokenKind::RightBracket,
            '{' => TokenKind::LeftBrace,
            '}' => TokenKind::RightBrace,
            ',' => TokenKind::Comma,
            '=' => TokenKind::Assign,
            '+' => TokenKind::Add,
            '\0' => {
                self.note("unexpected null character (0x00)");
                TokenKind::Illegal
            }
            _ => {
                self.note("illegal char");
                TokenKind::Illegal
            }
        }
    }

    fn number(&mut self, first: char) -> TokenKind {
        let start = self.offset - first.len_utf8();
        if first == '0' && matches!(self.peek(), Some('x' | 'X')) {
            self.take();
            if self.take_while(|c| c.is_ascii_hexdigit()) == 0 {
                self.note("illegal hexadecimal number");
            }
            return TokenKind::Number;
        }
        self.take_while(|c| c.is_ascii_digit());
        let whole = &self.text[start..self.offset];
        let mut kind = TokenKind::Number;
        if self.peek() == Some('.') {
            kind = TokenKind::Float;
            self.take();
            self.take_while(|c| c.is_ascii_digit());
        }
        if self.exponent() {
            kind = TokenKind::Float;
        }
        // Compat: the first digit after the zero is not looked at here; reading the number refuses it later.
        let octal = if first == '0' { whole.get(2..) } else { None };
        if kind == TokenKind::Number && octal.is_some_and(|digits| digits.contains(['8', '9'])) {
            self.note("illegal octal number");
        }
        kind
    }

    fn exponent(&mut self) -> bool {
        if !matches!(self.peek(), Some('e' | 'E')) {
            return false;
        }
        self.take();
        if matches!(self.peek(), Some('+' | '-')) {
            self.take();
        }
        self.take_while(|c| c.is_ascii_digit());
        true
    }

    /// The rest of a quoted text. Inside `${…}` quotes and line ends are ordinary characters.
    fn quoted(&mut self) {
        let mut braces = 0usize;
        loop {
            match self.take() {
                None => return self.note("literal not terminated"),
                Some('\n') if braces == 0 => return self.note("literal not terminated"),
                Some('"') if braces == 0 => return,
                Some('$') if braces == 0 && self.peek() == Some('{') => {
                    self.take();
                    braces = 1;
                }
                Some('{') if braces > 0 => braces += 1,
                Some('}') if braces > 0 => braces -= 1,
                Some('\\') => self.escape(),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) {
        let well_formed = match self.take() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '"') => true,
            Some('0'..='7') => self.take_digits(8, 2),
            Some('x') => self.take_digits(16, 2),
            Some('u') => self.take_digits(16, 4),
            Some('U') => self.take_digits(16, 8),
            _ => false,
        };
        if !well_formed {
            self.note("illegal char escape");
        }
    }

    fn take_digits(&mut self, radix: u32, count: usize) -> bool {
        for _ in 0..count {
            match self.peek() {
                Some(c) if c.is_digit(radix) => self.take(),
                _ => return false,
            };
        }
        true
    }

    /// The rest of `<<ANCHOR … ANCHOR`, up to and with the line end after the closing anchor.
    fn heredoc(&mut self) {
        if self.take() != Some('<') {
            return self.note("heredoc expected second '<', didn't see it");
        }
        let start = self.offset;
        if self.peek() == Some('-') {
            self.take();
        }
        self.take_while(|c| is_letter(c) || is_digit(c));
        let anchor = &self.text[start..self.offset];
        match self.take() {
            None => return self.note("heredoc not terminated"),
            Some('\n') => {}
            Some(_) => return self.note("invalid characters in heredoc anchor"),
        }
        let name = anchor.strip_prefix('-').unwrap_or(anchor);
        if name.is_empty() {
            return self.note("zero-length heredoc anchor");
        }
        loop {
            let line_start = self.offset;
            self.take_while(|c| c != '\n');
            let line = &self.text[line_start..self.offset];
            if self.take().is_none() {
                return self.note("heredoc not terminated");
            }
            // Compat: the closing line must be as long as the anchor with its dash, so `<<-EOF` is not closed by an
            // unindented `EOF`.
            let closes = line.trim_end_matches('\r').trim_start_matches(is_posix_space) == name;
            if closes && line.len() >= anchor.len() {
                return;
            }
        }
    }

    fn skip_comment(&mut self, first: char) {
        if first == '/' && self.peek() == Some('*') {
            self.take();
            let mut star = false;
            loop {
                match self.take() {
                    None => return self.note("comment not terminated"),
                    Some('/') if star => return,
                    Some(c) => star = c == '*',
                }
            }
        }
        if first == '/' && self.peek() != Some('/') {
            return self.note("expected '/' for comment");
        }
        self.take_while(|c| c != '\n');
    }

    fn peek(&self) -> Option<char> {
        self.text[self.offset..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        self.last = self.here;
        let Some(c) = self.peek() else {
            // Compat: each look past the end moves the column, and errors at the end show it.
            self.here.column += 1;
            return None;
        };
        self.offset += c.len_utf8();
        if c == '\n' {
            self.here = Position { line: self.here.line + 1, column: 1 };
        } else {
            self.here.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> usize {
        let mut taken = 0;
        while self.peek().is_some_and(&wanted) {
            self.take();
            taken += 1;
        }
        taken
    }

    fn note(&mut self, message: &str) {
        self.fault = Some(Error::at(self.last, message));
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || !c.is_ascii() && c.is_numeric()
}

fn is_posix_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
