//! Regular expressions of `matches`: Go's syntax by a Rust engine.
//!
//! Both engines match in linear time and agree on most of the syntax. Where they differ, the text is rewritten to
//! say to ours what it says to Go's: `\d`, `\w`, `\s` and `\b` are ASCII, and a class has no operators.
//!
//! Not here: the texts of rare refusals, which are our engine's.

use std::fmt::Write;
use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

use regex::{Regex, RegexBuilder};

use crate::Error;
use crate::quote::quote;

/// A compiled expression takes no more memory than this.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// Go's engine refuses more repetitions than this.
const MAX_REPEAT: u32 = 1000;
/// To name the range that was refused, no more than this many are tried.
const MAX_RANGES_TRIED: usize = 100;

pub(crate) fn compile(text: &str) -> Result<Regex, Error> {
    build(text).map_err(|why| {
        Error(format!("Failed to compile regular expression {}: error parsing regexp: {why}", quote(text)))
    })
}

fn build(text: &str) -> Result<Regex, String> {
    let chars = text.char_indices().peekable();
    let mut rewriter = Rewriter { text, chars, out: String::new(), open: 0, ranges: Vec::new() };
    rewriter.rewrite()?;
    RegexBuilder::new(&rewriter.out).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "expression too large".to_owned(),
        error => rewriter.bad_range().unwrap_or_else(|| {
            let why = error.to_string();
            why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }),
    })
}

struct Rewriter<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
    out: String,
    /// Groups that are not closed yet.
    open: usize,
    /// Ranges and named sets: where they are in the rewritten text, and how they were written.
    ranges: Vec<(Range<usize>, Range<usize>)>,
}

impl Rewriter<'_> {
    fn rewrite(&mut self) -> Result<(), String> {
        // Whether something stands before that can be repeated, and the repetition that stands there already.
        let (mut repeatable, mut repetition) = (false, None::<usize>);
        while let Some((at, character)) = self.chars.next() {
            let mut repeated = None;
            match character {
                '*' | '+' | '?' => repeated = Some(at),
                '{' => match self.count(at)? {
                    Some(length) => {
                        self.chars.by_ref().take(length - 1).for_each(drop);
                        repeated = Some(at);
                    }
                    // What is no count stands for itself.
                    None => self.out.push_str(r"\{"),
                },
                '}' => self.out.push_str(r"\}"),
                '\\' => self.escape(at)?,
                '[' => self.class(at)?,
                '(' => {
                    if !self.group(at)? {
                        // Flags change nothing about what may be repeated.
                        continue;
                    }
                    self.open += 1;
                }
                ')' => {
                    self.open = self.open.checked_sub(1).ok_or_else(|| format!("unexpected ): `{}`", self.text))?;
                    self.out.push(')');
                }
                other => self.out.push(other),
            }
            let Some(start) = repeated else {
                (repeatable, repetition) = (!matches!(character, '(' | '|'), None);
                continue;
            };
            self.chars.next_if(|(_, next)| *next == '?');
            let end = self.here();
            if !repeatable {
                return Err(format!("missing argument to repetition operator: `{}`", &self.text[start..end]));
            }
            if let Some(before) = repetition {
                return Err(format!("invalid nested repetition operator: `{}`", &self.text[before..end]));
            }
            self.out.push_str(&self.text[start..end]);
            repetition = Some(start);
        }
        if self.open > 0 {
            return Err(format!("missing closing ): `{}`", self.text));
        }
        Ok(())
    }

    /// The first range that our engine refuses by itself.
    fn bad_range(&self) -> Option<String> {
        let bad =
            |(ours, _): &&(Range<usize>, Range<usize>)| Regex::new(&format!("[{}]", &self.out[ours.clone()])).is_err();
        let (_, written) = self.ranges.iter().take(MAX_RANGES_TRIED).find(bad)?;
        Some(format!("invalid character class range: `{}`", &self.text[written.clone()]))
    }

    fn here(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    /// The length of `{n}`, `{n,}` or `{n,m}` at `at`, if that is what stands there.
    fn count(&self, at: usize) -> Result<Option<usize>, String> {
        let Some(end) = self.text[at..].find('}') else { return Ok(None) };
        let body = &self.text[at + 1..at + end];
        let (least, most) = match body.split_once(',') {
            None => (body, Some(body)),
            Some((least, "")) => (least, None),
            Some((least, most)) => (least, Some(most)),
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(least) || !most.is_none_or(digits) {
            return Ok(None);
        }
        let bound = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= MAX_REPEAT);
        let fits = match (bound(least), most.map(bound)) {
            (Some(_), None) => true,
            (Some(least), Some(Some(most))) => least <= most,
            _ => false,
        };
        if fits { Ok(Some(end + 1)) } else { Err(format!("invalid repeat count: `{{{body}}}`")) }
    }

    /// What opens at a `(`, with its name or flags. Answers whether a group is open now; flags alone open none.
    fn group(&mut self, at: usize) -> Result<bool, String> {
        let rest = &self.text[at..];
        let Some(after) = rest.strip_prefix("(?") else {
            self.out.push('(');
            return Ok(true);
        };
        let bare = || after.strip_prefix('<').filter(|name| !name.starts_with(['=', '!']));
        let length = if let Some(name) = after.strip_prefix("P<").or_else(bare) {
            let end = name.find('>').ok_or_else(|| format!("invalid named capture: `{rest}`"))?;
            let length = rest.len() - name.len() + end + 1;
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if end == 0 || !name[..end].bytes().all(word) {
                return Err(format!("invalid named capture: `{}`", &rest[..length]));
            }
            length
        } else {
            let flags = after.find(|flag| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-')).unwrap_or(after.len());
            let length = 2 + flags + after[flags..].chars().next().map_or(0, char::len_utf8);
            if !after[flags..].starts_with([':', ')']) {
                return Err(format!("invalid or unsupported Perl syntax: `{}`", &rest[..length]));
            }
            length
        };
        let opening = &rest[..length];
        self.out.push_str(opening);
        self.chars.by_ref().take(opening.chars().count() - 1).for_each(drop);
        Ok(!opening.ends_with(')'))
    }

    fn escape(&mut self, at: usize) -> Result<(), String> {
        let Some((_, next)) = self.chars.next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        match next {
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            's' => self.out.push_str(r"[\t\n\f\r ]"),
            'S' => self.out.push_str(r"[^\t\n\f\r ]"),
            'b' => self.out.push_str(r"(?-u:\b)"),
            // Without Unicode our engine could stop inside a character here.
            'B' => self.out.push_str(r"\B"),
            'Q' => self.quoted(),
            'A' | 'z' => {
                self.out.push('\\');
                self.out.push(next);
            }
            next => self.literal_escape(at, next)?,
        }
        Ok(())
    }

    /// `\Q...\E`, which our engine does not know.
    fn quoted(&mut self) {
        while let Some((at, character)) = self.chars.next() {
            if self.text[at..].starts_with(r"\E") {
                self.chars.next();
                return;
            }
            self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
        }
    }

    /// Escapes that mean the same inside and outside of classes.
    fn literal_escape(&mut self, at: usize, next: char) -> Result<(), String> {
        let refused = || format!("invalid escape sequence: `\\{next}`");
        match next {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' => {
                self.out.push('\\');
                self.out.push(next);
            }
            'p' | 'P' => {
                self.out.push('\\');
                self.out.push(next);
                let rest = &self.text[at + 2..];
                let length = match rest.strip_prefix('{') {
                    Some(name) => name.find('}').map_or(rest.len(), |end| end + 2),
                    None => rest.chars().next().map_or(0, char::len_utf8),
                };
                let name = &rest[..length];
                let start = self.out.len() - 2;
                self.out.push_str(name);
                self.ranges.push((start..self.out.len(), at..at + 2 + length));
                self.chars.by_ref().take(name.chars().count()).for_each(drop);
            }
            // Octal: a zero and up to two more digits, or three digits.
            '0'..='7' => {
                let digits = &self.text[at + 1..];
                let length = digits.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                if next != '0' && length < 2 {
                    return Err(refused());
                }
                let number = u32::from_str_radix(&digits[..length], 8).map_err(|_| refused())?;
                // Writing to a string cannot fail.
                let _ = write!(self.out, r"\x{{{number:x}}}");
                self.chars.by_ref().take(length - 1).for_each(drop);
            }
            c if c.is_ascii_punctuation() => {
                self.out.push('\\');
                self.out.push(c);
            }
            _ => return Err(refused()),
        }
        Ok(())
    }

    /// A class, from after its `[`.
    fn class(&mut self, at: usize) -> Result<(), String> {
        let text = self.text;
        let unclosed = format!("missing closing ]: `{}`", &text[at..]);
        self.out.push('[');
        if self.chars.next_if(|(_, next)| *next == '^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        // Where an item stands, written and rewritten, that a dash makes the start of a range.
        let mut start: Option<(usize, usize)> = None;
        let mut in_range = false;
        loop {
            let Some((from, next)) = self.chars.next() else { return Err(unclosed) };
            let out_from = self.out.len();
            let mut single = true;
            match next {
                ']' if !first => break,
                '-' if start.is_some() && !in_range && self.chars.peek().is_some_and(|(_, next)| *next != ']') => {
                    self.out.push('-');
                    in_range = true;
                    continue;
                }
                '[' if text[from..].starts_with("[:") && text[from + 2..].contains(":]") => {
                    let end = text[from + 2..].find(":]").map_or(text.len(), |end| from + end + 4);
                    let named = &text[from..end];
                    if !known(named) {
                        return Err(format!("invalid character class range: `{named}`"));
                    }
                    self.out.push_str(named);
                    self.chars.by_ref().take(named.chars().count() - 1).for_each(drop);
                    single = false;
                }
                '\\' => single = self.class_escape(from, &unclosed)?,
                c if c.is_ascii_punctuation() => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                c => self.out.push(c),
            }
            first = false;
            if in_range && let Some((written, ours)) = start {
                let end = self.here();
                self.ranges.push((ours..self.out.len(), written..end));
            }
            start = (single && !in_range).then_some((from, out_from));
            in_range = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// Answers whether it was a single character, which may start a range.
    fn class_escape(&mut self, at: usize, unclosed: &str) -> Result<bool, String> {
        let Some((_, next)) = self.chars.next() else { return Err(unclosed.to_owned()) };
        match next {
            'd' => self.out.push_str("0-9"),
            'w' => self.out.push_str("0-9A-Za-z_"),
            's' => self.out.push_str(r"\t\n\f\r\x20"),
            'D' => self.out.push_str("[^0-9]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            'S' => self.out.push_str(r"[^\t\n\f\r\x20]"),
            next => {
                self.literal_escape(at, next)?;
                return Ok(!matches!(next, 'p' | 'P'));
            }
        }
        Ok(false)
    }
}

fn known(named: &str) -> bool {
    let name = named.trim_start_matches("[:").trim_start_matches('^').trim_end_matches(":]");
    let names = ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space"];
    names.contains(&name) || ["upper", "word", "xdigit"].contains(&name)
}
