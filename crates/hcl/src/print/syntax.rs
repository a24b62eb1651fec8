//! A text as its writer saw it: items in their places, with their comments.
//!
//! Always true: what is read here was read by the native parser before, so it is well formed; a comment belongs to the
//! item below it (lead), to the item on its line (line), or stands alone. Which it is follows the reference's parser
//! token by token.

use crate::scan::{Scanner, Token, TokenKind};

/// Where something stands. All zero in JSON, which keeps no places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: usize,
    pub line: usize,
}

impl Place {
    /// Compat: by offset or by line, so that a place at the end of everything is after all.
    pub(super) fn is_before(self, other: Place) -> bool {
        other.offset > self.offset || other.line > self.line
    }
}

#[derive(Debug, Clone)]
pub(super) struct Comment {
    pub place: Place,
    pub text: String,
}

/// Comments that stand together.
pub(super) type Group = Vec<Comment>;

/// The number of a group among all groups.
pub(super) type GroupId = usize;

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub keys: Vec<Key>,
    pub assigned: bool,
    pub value: Node,
    pub lead: Option<GroupId>,
    pub line: Option<GroupId>,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub place: Place,
    /// As written, with its quotes if it has any.
    pub text: String,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Literal(Literal),
    List { open: Place, members: Vec<Node> },
    Object { open: Place, items: Vec<Item>, close: Place },
}

#[derive(Debug, Clone)]
pub(super) struct Literal {
    pub place: Place,
    /// As written.
    pub text: String,
    pub kind: LiteralKind,
    pub lead: Option<GroupId>,
    pub line: Option<GroupId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LiteralKind {
    Heredoc,
    Quoted,
    Plain,
}

impl Node {
    pub(super) fn place(&self) -> Place {
        match self {
            Node::Literal(literal) => literal.place,
            Node::List { open, .. } | Node::Object { open, .. } => *open,
        }
    }
}

impl Item {
    pub(super) fn place(&self) -> Place {
        self.keys.first().map(|key| key.place).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Document {
    pub items: Vec<Item>,
    pub groups: Vec<Group>,
}

/// Reads a text that the native parser has read. `None` if the two disagree, which would be a fault of this one.
pub(super) fn read(text: &str) -> Option<Document> {
    let scanner = Scanner::new(text);
    let start = Token { kind: TokenKind::Eof, position: crate::Position { line: 0, column: 0 }, text: "", offset: 0 };
    let mut reader = Reader { scanner, token: start, again: false, lead: None, line: None, groups: Vec::new() };
    let items = reader.items(false)?;
    Some(Document { items, groups: reader.groups })
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    token: Token<'a>,
    /// The token is to be read once more.
    again: bool,
    /// The last comments that can belong to what comes next, and to what came before.
    lead: Option<GroupId>,
    line: Option<GroupId>,
    groups: Vec<Group>,
}

impl<'a> Reader<'a> {
    fn here(&self) -> Place {
        Place { offset: self.token.offset, line: self.token.position.line }
    }

    fn next(&mut self) -> Token<'a> {
        if std::mem::take(&mut self.again) {
            return self.token;
        }
        let before = self.token.position.line;
        self.token = self.scanner.scan_all();
        if self.token.kind != TokenKind::Comment {
            return self.token;
        }
        if self.token.position.line == before {
            // On the line of the token before: no lead comment, but perhaps a line comment.
            let (group, end_line) = self.group(0);
            if self.token.position.line != end_line {
                self.line = Some(group);
            }
        }
        let mut last = None;
        while self.token.kind == TokenKind::Comment {
            last = Some(self.group(1));
        }
        if let Some((group, end_line)) = last
            && end_line + 1 == self.token.position.line
            && !matches!(self.token.kind, TokenKind::RightBrace | TokenKind::RightBracket)
        {
            self.lead = Some(group);
        }
        self.token
    }

    /// Comments no further than `gap` lines apart, and the line on which they end.
    fn group(&mut self, gap: usize) -> (GroupId, usize) {
        let mut comments = Vec::new();
        let mut end_line = self.token.position.line;
        while self.token.kind == TokenKind::Comment && self.token.position.line <= end_line + gap {
            end_line = self.token.position.line;
            if self.token.text.starts_with("/*") {
                end_line += self.token.text.matches('\n').count();
            }
            comments.push(Comment { place: self.here(), text: self.token.text.to_owned() });
            self.token = self.scanner.scan_all();
        }
        self.groups.push(comments);
        (self.groups.len() - 1, end_line)
    }

    fn items(&mut self, within_braces: bool) -> Option<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            if within_braces {
                let ends = self.next().kind == TokenKind::RightBrace;
                self.again = true;
                if ends {
                    return Some(items);
                }
            }
            let Some(item) = self.item()? else { return Some(items) };
            items.push(item);
            if self.next().kind != TokenKind::Comma {
                self.again = true;
            }
        }
    }

    /// `Some(None)` at the end of the text.
    fn item(&mut self) -> Option<Option<Item>> {
        let mut keys = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::Ident | TokenKind::Text => {
                    keys.push(Key { place: self.here(), text: token.text.to_owned() });
                }
                TokenKind::Eof if keys.is_empty() => return Some(None),
                TokenKind::Assign | TokenKind::LeftBrace if !keys.is_empty() => break,
                _ => return None,
            }
        }
        let lead = self.lead.take();
        let assigned = self.token.kind == TokenKind::Assign;
        let value = if assigned {
            // A key with `=` at the very end of the text is dropped without complaint.
            if self.next().kind == TokenKind::Eof {
                return Some(None);
            }
            self.value()?
        } else {
            self.object()?
        };
        let mut line = self.line.take();
        self.next();
        if keys.first().is_some_and(|key| key.place.line == value.place().line) && self.line.is_some() {
            line = self.line.take();
        }
        self.again = true;
        Some(Some(Item { keys, assigned, value, lead, line }))
    }

    /// What stands after `=` or in a list; its first token was read.
    fn value(&mut self) -> Option<Node> {
        match self.token.kind {
            TokenKind::LeftBrace => self.object(),
            TokenKind::LeftBracket => self.list(),
            _ => self.literal().map(Node::Literal),
        }
    }

    fn literal(&self) -> Option<Literal> {
        let kind = match self.token.kind {
            TokenKind::Heredoc => LiteralKind::Heredoc,
            TokenKind::Text => LiteralKind::Quoted,
            TokenKind::Number | TokenKind::Float | TokenKind::Bool => LiteralKind::Plain,
            _ => return None,
        };
        Some(Literal { place: self.here(), text: self.token.text.to_owned(), kind, lead: None, line: None })
    }

    fn object(&mut self) -> Option<Node> {
        let open = self.here();
        let items = self.items(true)?;
        self.next();
        Some(Node::Object { open, items, close: self.here() })
    }

    fn list(&mut self) -> Option<Node> {
        let open = self.here();
        let mut members = Vec::new();
        loop {
            match self.next().kind {
                TokenKind::RightBracket => return Some(Node::List { open, members }),
                TokenKind::Comma => {
                    self.next();
                    if let Some(Node::Literal(last)) = members.last_mut()
                        && self.line.is_some()
                    {
                        last.line = self.line.take();
                    }
                    self.again = true;
                }
                TokenKind::LeftBrace | TokenKind::LeftBracket => members.push(self.value()?),
                _ => {
                    let mut literal = self.literal()?;
                    literal.lead = self.lead.take();
                    members.push(Node::Literal(literal));
                }
            }
        }
    }
}
