//! The grammar, and the reference's words about text that does not follow it.
//!
//! Clients see the refusals of a generated parser, which lists everything it looked for at the furthest place it
//! reached. So this parser looks for the same things in the same order, by hand, and keeps the same list
//! ([`Text::seen`]). It differs in one thing: what the reference parses again from the same place, it parses
//! once, since neither the result nor the list would change.
//!
//! Not here: whether selectors, operators and values make sense for a row.

use std::collections::BTreeSet;

use crate::quote::{quote, unquote};
use crate::{Error, MAX_DEPTH};

/// An expression as written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Match { selector: Vec<String>, operator: Operator, value: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
    NotMatches,
}

impl Operator {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operator::Equal => "Equal",
            Operator::NotEqual => "Not Equal",
            Operator::In => "In",
            Operator::NotIn => "Not In",
            Operator::IsEmpty => "Is Empty",
            Operator::IsNotEmpty => "Is Not Empty",
            Operator::Matches => "Matches",
            Operator::NotMatches => "Not Matches",
        }
    }
}

/// Parses the whole of `text`.
pub(crate) fn parse(text: &str) -> Result<Expression, Error> {
    let mut parser = Parser { text: Text::new(text), depth: 0, too_deep: false };
    let parsed = parser.input();
    if parser.too_deep {
        return Err(Error(format!("expression nests deeper than {MAX_DEPTH} levels")));
    }
    match parsed {
        // What was found wrong on the way refuses the expression even where another reading succeeded.
        Some(expression) if parser.text.faults.is_empty() => Ok(expression),
        _ => Err(parser.text.refusal()),
    }
}

/// One thing that is looked for at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    Literal(&'static str),
    /// A class of characters, as the reference prints it.
    Class(&'static str),
    Any,
}

impl Want {
    fn shown(self) -> String {
        match self {
            Want::Literal(literal) => quote(literal),
            Want::Class(class) => class.to_owned(),
            Want::Any => ".".to_owned(),
        }
    }
}

/// The text with a position in it, and what was looked for at the furthest position.
struct Text<'t> {
    text: &'t str,
    at: usize,
    /// Inside a negative look-ahead: finding is what goes wrong there.
    inverted: bool,
    furthest: usize,
    wanted: BTreeSet<(bool, Want)>,
    /// Faults that the grammar names, in order of discovery, each once.
    faults: Vec<String>,
    known_faults: BTreeSet<(usize, &'static str)>,
}

impl<'t> Text<'t> {
    fn new(text: &'t str) -> Self {
        Text {
            text,
            at: 0,
            inverted: false,
            furthest: 0,
            wanted: BTreeSet::new(),
            faults: Vec::new(),
            known_faults: BTreeSet::new(),
        }
    }

    fn seen(&mut self, found: bool, at: usize, want: Want) {
        if found != self.inverted || at < self.furthest {
            return;
        }
        if at > self.furthest {
            self.furthest = at;
            self.wanted.clear();
        }
        self.wanted.insert((self.inverted, want));
    }

    fn literal(&mut self, literal: &'static str) -> bool {
        let found = self.text[self.at..].starts_with(literal);
        self.seen(found, self.at, Want::Literal(literal));
        if found {
            self.at += literal.len();
        }
        found
    }

    fn class(&mut self, shown: &'static str, belongs: fn(char) -> bool) -> bool {
        let next = self.text[self.at..].chars().next().filter(|next| belongs(*next));
        self.seen(next.is_some(), self.at, Want::Class(shown));
        self.at += next.map_or(0, char::len_utf8);
        next.is_some()
    }

    fn any(&mut self) -> bool {
        let next = self.text[self.at..].chars().next();
        self.seen(next.is_some(), self.at, Want::Any);
        self.at += next.map_or(0, char::len_utf8);
        next.is_some()
    }

    /// Whether `look` finds nothing here. Consumes nothing.
    fn absent(&mut self, look: impl FnOnce(&mut Self) -> bool) -> bool {
        let at = self.at;
        self.inverted = !self.inverted;
        let found = look(self);
        self.inverted = !self.inverted;
        self.at = at;
        !found
    }

    fn space(&mut self) -> bool {
        let space = |next| matches!(next, ' ' | '\t' | '\r' | '\n');
        let found = self.class(r"[ \t\r\n]", space);
        if found {
            while self.class(r"[ \t\r\n]", space) {}
        }
        found
    }

    fn end(&mut self) -> bool {
        self.absent(Self::any)
    }

    fn fault(&mut self, at: usize, rule: &'static str, what: &'static str) {
        if self.known_faults.insert((at, what)) {
            self.faults.push(format!("{}: rule \"{rule}\": {what}", self.place(at)));
        }
    }

    /// `line:column (byte)`. Compat: a line feed itself counts as column 0 of the line it begins.
    fn place(&self, at: usize) -> String {
        let here = self.text[at..].chars().next();
        let line = 1 + self.text[..at].matches('\n').count() + usize::from(here == Some('\n'));
        let column = match here {
            Some('\n') => 0,
            _ => 1 + self.text[..at].rsplit('\n').next().map_or(0, |line| line.chars().count()),
        };
        format!("{line}:{column} ({at})")
    }

    fn refusal(&self) -> Error {
        if !self.faults.is_empty() {
            return Error(self.faults.join("\n"));
        }
        let end = (true, Want::Any);
        let mut wanted: Vec<String> = (self.wanted.iter().filter(|want| **want != end))
            .map(|(inverted, want)| format!("{}{}", if *inverted { "!" } else { "" }, want.shown()))
            .collect();
        wanted.sort();
        if self.wanted.contains(&end) {
            wanted.push("EOF".to_owned());
        }
        let list = match wanted.split_last() {
            None => String::new(),
            Some((only, [])) => only.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        };
        Error(format!("{}: no match found, expected: {list}", self.place(self.furthest)))
    }
}

/// Every method either takes what it is named after, or stays where it was and answers `None`.
struct Parser<'t> {
    text: Text<'t>,
    depth: usize,
    too_deep: bool,
}

type Words = (&'static [&'static str], Operator);

impl Parser<'_> {
    fn input(&mut self) -> Option<Expression> {
        // The reference first tries the text as one group. That group is the same one that `group` would find,
        // but what follows it is looked at differently, which shows in the list.
        self.text.space();
        if self.text.literal("(") {
            self.text.space();
            if let Some(expression) = self.or() {
                self.text.space();
                if self.text.literal(")") {
                    self.text.space();
                    if self.text.end() {
                        return Some(expression);
                    }
                }
            }
        }
        self.text.at = 0;
        self.text.space();
        let expression = self.or()?;
        self.text.space();
        self.text.end().then_some(expression)
    }

    fn or(&mut self) -> Option<Expression> {
        self.chain("or", Self::and, Expression::Or)
    }

    fn and(&mut self) -> Option<Expression> {
        self.chain("and", Self::not, Expression::And)
    }

    fn chain(
        &mut self,
        word: &'static str,
        part: fn(&mut Self) -> Option<Expression>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Option<Expression> {
        let first = part(self)?;
        let mut parts = vec![first];
        loop {
            let at = self.text.at;
            if self.text.space()
                && self.text.literal(word)
                && self.text.space()
                && let Some(next) = part(self)
            {
                parts.push(next);
                continue;
            }
            self.text.at = at;
            return if parts.len() == 1 { parts.pop() } else { Some(join(parts)) };
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            self.too_deep = true;
        }
        if self.too_deep {
            return None;
        }
        self.depth += 1;
        let found = inner(self);
        self.depth -= 1;
        found
    }

    fn not(&mut self) -> Option<Expression> {
        let at = self.text.at;
        if self.text.literal("not")
            && self.text.space()
            && let Some(inner) = self.deeper(Self::not)
        {
            return Some(Expression::Not(Box::new(inner)));
        }
        self.text.at = at;
        self.group()
    }

    fn group(&mut self) -> Option<Expression> {
        let at = self.text.at;
        let mut unclosed = None;
        if self.text.literal("(") {
            self.text.space();
            if let Some(inner) = self.deeper(Self::or) {
                self.text.space();
                if self.text.literal(")") {
                    return Some(inner);
                }
                unclosed = Some(self.text.at);
            }
        }
        self.text.at = at;
        if let Some(found) = self.comparison() {
            return Some(found);
        }
        if let Some(unclosed) = unclosed {
            self.text.fault(unclosed, "grouping", "Unmatched parentheses");
        }
        None
    }

    fn comparison(&mut self) -> Option<Expression> {
        const OPERATORS: [Words; 4] = [
            (&["contains"], Operator::In),
            (&["not", "contains"], Operator::NotIn),
            (&["matches"], Operator::Matches),
            (&["not", "matches"], Operator::NotMatches),
        ];
        const STATES: [Words; 2] =
            [(&["is", "empty"], Operator::IsEmpty), (&["is", "not", "empty"], Operator::IsNotEmpty)];
        const MEMBERSHIP: [Words; 2] = [(&["in"], Operator::In), (&["not", "in"], Operator::NotIn)];

        let at = self.text.at;
        if let Some(selector) = self.selector() {
            let operator = self
                .sign("==", Operator::Equal)
                .or_else(|| self.sign("!=", Operator::NotEqual))
                .or_else(|| self.words(&OPERATORS, true));
            if let Some(operator) = operator
                && let Some(value) = self.value()
            {
                return Some(Expression::Match { selector, operator, value: Some(value) });
            }
        }
        self.text.at = at;
        if let Some(selector) = self.selector()
            && let Some(operator) = self.words(&STATES, false)
        {
            return Some(Expression::Match { selector, operator, value: None });
        }
        self.text.at = at;
        if let Some(value) = self.value()
            && let Some(operator) = self.words(&MEMBERSHIP, true)
        {
            if let Some(selector) = self.selector() {
                return Some(Expression::Match { selector, operator, value: Some(value) });
            }
            self.text.fault(self.text.at, "match", "Invalid selector");
        }
        self.text.at = at;
        None
    }

    fn sign(&mut self, sign: &'static str, operator: Operator) -> Option<Operator> {
        let at = self.text.at;
        self.text.space();
        if self.text.literal(sign) {
            self.text.space();
            return Some(operator);
        }
        self.text.at = at;
        None
    }

    fn words(&mut self, choices: &[Words], space_after: bool) -> Option<Operator> {
        let at = self.text.at;
        for (words, operator) in choices {
            if words.iter().all(|word| self.text.space() && self.text.literal(word))
                && (!space_after || self.text.space())
            {
                return Some(*operator);
            }
            self.text.at = at;
        }
        None
    }

    fn selector(&mut self) -> Option<Vec<String>> {
        let mut names = vec![self.identifier()?];
        loop {
            let at = self.text.at;
            if self.text.literal(".")
                && let Some(name) = self.identifier()
            {
                names.push(name);
                continue;
            }
            self.text.at = at;
            match self.index() {
                Some(key) => names.push(key),
                None => return Some(names),
            }
        }
    }

    fn identifier(&mut self) -> Option<String> {
        let at = self.text.at;
        if !self.text.class("[a-zA-Z]", |next| next.is_ascii_alphabetic()) {
            return None;
        }
        while self.text.class("[a-zA-Z0-9_]", |next| next.is_ascii_alphanumeric() || next == '_') {}
        Some(self.text.text[at..self.text.at].to_owned())
    }

    fn index(&mut self) -> Option<String> {
        let at = self.text.at;
        if self.text.literal("[") {
            self.text.space();
            match self.string() {
                None => self.text.fault(self.text.at, "index", "Invalid index"),
                Some(key) => {
                    self.text.space();
                    if self.text.literal("]") {
                        return Some(key);
                    }
                    self.text.fault(self.text.at, "index", "Unclosed index expression");
                }
            }
        }
        self.text.at = at;
        None
    }

    fn value(&mut self) -> Option<String> {
        // A bare word is a selector to the grammar, and means its own text.
        (self.selector().map(|names| names.join("."))).or_else(|| self.number()).or_else(|| self.string())
    }

    fn number(&mut self) -> Option<String> {
        let at = self.text.at;
        self.text.literal("-");
        if self.digits() {
            let after = self.text.at;
            let ended = self.text.space() || self.text.end() || self.text.literal(")");
            self.text.at = after;
            if ended {
                return Some(self.text.text[at..after].to_owned());
            }
            self.text.fault(after, "number", "Invalid number literal");
        }
        self.text.at = at;
        None
    }

    fn digits(&mut self) -> bool {
        const ANY_DIGIT: (&str, fn(char) -> bool) = ("[0-9]", |next| next.is_ascii_digit());
        if !self.text.literal("0") {
            if !self.text.class("[1-9]", |next| matches!(next, '1'..='9')) {
                return false;
            }
            while self.text.class(ANY_DIGIT.0, ANY_DIGIT.1) {}
        }
        let whole = self.text.at;
        if self.text.literal(".") && self.text.class(ANY_DIGIT.0, ANY_DIGIT.1) {
            while self.text.class(ANY_DIGIT.0, ANY_DIGIT.1) {}
        } else {
            self.text.at = whole;
        }
        true
    }

    fn string(&mut self) -> Option<String> {
        let at = self.text.at;
        for quote in ["`", "\""] {
            if !self.text.literal(quote) {
                continue;
            }
            // A backslash does not hide a quote: the literal ends, and is then refused.
            while self.text.absent(|text| text.literal(quote)) && self.text.any() {}
            if self.text.literal(quote) {
                return Some(unquote(&self.text.text[at..self.text.at]).unwrap_or_else(|| {
                    self.text.fault(at, "string", "invalid syntax");
                    String::new()
                }));
            }
            self.text.fault(self.text.at, "string", "Unterminated string literal");
            self.text.at = at;
        }
        None
    }
}
