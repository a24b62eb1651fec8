//! Regular expressions of `matches`: Go's syntax by a Rust engine.
//!
//! Both engines match in linear time. The text is read here as Go's `regexp/syntax` reads it, in the same order,
//! so that what is refused, and in which words, is Go's; and it is written anew in the syntax of our engine. What
//! our engine knows and Go's does not (edges of words `\<`, set operations in classes, Unicode `\d`) cannot get
//! through, since every character that we write was chosen here.
//!
//! Always true:
//! - Only whether a pattern matches is kept: groups lose their names, lazy marks are dropped.
//! - What all patterns of an expression take together is bounded, however many they are.
//!
//! Different from Go, all rare:
//! - A pattern of `\B` and nothing that takes a character also matches inside a character that is not ASCII.
//! - `\p{...}` also takes the short names of scripts, and the Unicode versions of the engines differ.
//! - Groups nest 100 deep, not 1000; "expression too large" has another threshold.

mod class;
mod escape;

use std::collections::BTreeSet;

use regex::bytes::{Regex, RegexBuilder};

use self::class::Property;
use crate::Error;
use crate::quote::quote;

/// What one compiled pattern may take. Fits `\S{1000}`, a thousand being the most that Go repeats.
const MAX_COMPILED_BYTES: usize = 10 * 1024 * 1024;
/// What all patterns of one expression may take, each getting an equal share.
const MAX_COMPILED_BYTES_TOTAL: usize = 32 * 1024 * 1024;
/// Named Unicode classes in one expression: each is a table of some hundred ranges before it is compiled.
const MAX_PROPERTIES: usize = 1000;
/// Go's engine refuses more repetitions than this, nested ones multiplied.
const MAX_REPEAT: u32 = 1000;
/// Groups and repetitions inside each other. Go takes 1000; our engine's compiler recurses.
const MAX_HEIGHT: usize = 100;
/// The engine also counts the alternations and sequences between them.
const ENGINE_NEST_LIMIT: u32 = 1000;

const TOO_LARGE: &str = "expression too large";

/// Compiles the patterns of one expression.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// The share of one pattern.
    share: usize,
    properties: usize,
    /// Names of Unicode classes that were found to exist.
    known: BTreeSet<String>,
}

impl Compiler {
    /// For an expression of so many patterns.
    pub(crate) fn new(patterns: usize) -> Self {
        let share = (MAX_COMPILED_BYTES_TOTAL / patterns.max(1)).min(MAX_COMPILED_BYTES);
        Compiler { share, properties: 0, known: BTreeSet::new() }
    }

    pub(crate) fn compile(&mut self, text: &str) -> Result<Regex, Error> {
        self.build(text).map_err(|why| {
            Error(format!("Failed to compile regular expression {}: error parsing regexp: {why}", quote(text)))
        })
    }

    /// Refuses what Go's engine refuses, without keeping anything.
    pub(crate) fn check(&mut self, text: &str) -> Result<(), Error> {
        self.build(text).map(drop).map_err(|why| Error(format!("error parsing regexp: {why}")))
    }

    fn build(&mut self, text: &str) -> Result<Regex, String> {
        let ours = Reader::new(text, self).read()?;
        RegexBuilder::new(&ours)
            .size_limit(self.share)
            .dfa_size_limit(self.share)
            .nest_limit(ENGINE_NEST_LIMIT)
            .build()
            .map_err(|_| refusal(TOO_LARGE, text))
    }
}

/// As Go shows what is wrong and where.
fn refusal(what: &str, place: &str) -> String {
    format!("{what}: `{place}`")
}

/// A group that is open, or the whole pattern, with what is known of its finished parts.
#[derive(Debug, Default)]
struct Group {
    /// Where it starts in what we write.
    start: usize,
    /// The most that repetitions inside multiply to.
    weight: u32,
    height: usize,
}

/// What a repetition would repeat: the last part, with its place in what we write.
#[derive(Debug)]
struct Atom {
    start: usize,
    end: usize,
    repeated: bool,
    weight: u32,
    height: usize,
}

struct Reader<'t, 'c> {
    whole: &'t str,
    rest: &'t str,
    out: String,
    /// The whole pattern, then the groups that are open.
    groups: Vec<Group>,
    atom: Option<Atom>,
    /// The text from the repetition that stands right before, if one does.
    repetition: Option<&'t str>,
    compiler: &'c mut Compiler,
}

impl<'t, 'c> Reader<'t, 'c> {
    fn new(whole: &'t str, compiler: &'c mut Compiler) -> Self {
        let groups = vec![Group::default()];
        Reader { whole, rest: whole, out: String::new(), groups, atom: None, repetition: None, compiler }
    }

    fn read(mut self) -> Result<String, String> {
        while let Some(next) = self.rest.chars().next() {
            let before = self.rest;
            let mut repetition = None;
            match next {
                '*' | '+' | '?' => {
                    repetition = Some(before);
                    self.repeat(1, None)?;
                }
                '{' => match Count::read(before) {
                    Some(count) => {
                        repetition = Some(before);
                        self.repeat(count.length, Some(count))?;
                    }
                    None => self.literal(next),
                },
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.settle();
                    self.copy(1);
                }
                '^' | '$' | '.' => {
                    let start = self.out.len();
                    self.copy(1);
                    self.part(start);
                }
                '[' => self.class()?,
                '\\' => self.escape()?,
                other => self.literal(other),
            }
            self.repetition = repetition;
        }
        if self.groups.len() > 1 {
            return Err(refusal("missing closing )", self.whole));
        }
        Ok(self.out)
    }

    /// Takes and writes bytes that mean the same in both syntaxes.
    fn copy(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at(length);
        self.out.push_str(text);
        self.rest = rest;
    }

    /// Takes the next character, which stands for itself.
    fn literal(&mut self, character: char) {
        let start = self.out.len();
        self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
        self.rest = &self.rest[character.len_utf8()..];
        self.part(start);
    }

    /// What was written from `start` on is a part that may be repeated.
    fn part(&mut self, start: usize) {
        self.settle();
        self.atom = Some(Atom { start, end: self.out.len(), repeated: false, weight: 1, height: 1 });
    }

    /// The last part can no longer be repeated.
    fn settle(&mut self) {
        if let Some(atom) = self.atom.take()
            && let Some(group) = self.groups.last_mut()
        {
            group.weight = group.weight.max(atom.weight);
            group.height = group.height.max(atom.height);
        }
    }

    fn repeat(&mut self, length: usize, count: Option<Count>) -> Result<(), String> {
        let before = self.rest;
        let (operator, rest) = before.split_at(length);
        let written = |rest: &str, from: &'t str| &from[..from.len() - rest.len()];
        if count.is_some_and(|count| !count.fits()) {
            return Err(refusal("invalid repeat count", operator));
        }
        self.rest = rest.strip_prefix('?').unwrap_or(rest);
        if let Some(last) = self.repetition {
            return Err(refusal("invalid nested repetition operator", written(self.rest, last)));
        }
        let Some(atom) = &mut self.atom else {
            return Err(refusal("missing argument to repetition operator", written(self.rest, before)));
        };
        // Flags may stand between two repetitions of the same part, which Go then nests.
        if atom.repeated {
            self.out.insert(atom.end, ')');
            self.out.insert_str(atom.start, "(?:");
            atom.end += 4;
            atom.height += 1;
        }
        self.out.insert_str(atom.end, operator);
        atom.end += operator.len();
        atom.repeated = true;
        atom.height += 1;
        if let Some(count) = count {
            atom.weight = count.times(atom.weight);
            if atom.weight > MAX_REPEAT {
                return Err(refusal("invalid repeat count", written(self.rest, before)));
            }
        }
        self.bounded(self.atom.as_ref().map_or(0, |atom| atom.height))
    }

    fn bounded(&self, height: usize) -> Result<(), String> {
        if height > MAX_HEIGHT { Err(refusal("expression nests too deeply", self.whole)) } else { Ok(()) }
    }

    /// What begins at a `(`: a group, or flags.
    fn open(&mut self) -> Result<(), String> {
        let before = self.rest;
        if !before.starts_with("(?") {
            self.rest = &before[1..];
            self.enter("(?:");
            return Ok(());
        }
        // Compat: `(?P<` needs one more character after it to count as a name, `(?<` too.
        let name = (before.strip_prefix("(?P<").or_else(|| before.strip_prefix("(?<"))).filter(|name| !name.is_empty());
        if let Some(name) = name {
            let Some(end) = name.find('>') else { return Err(refusal("invalid named capture", before)) };
            let after = &name[end + 1..];
            if end == 0 || !name[..end].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(refusal("invalid named capture", &before[..before.len() - after.len()]));
            }
            self.rest = after;
            self.enter("(?:");
            return Ok(());
        }
        self.flags(before)
    }

    /// `(?flags)` and `(?flags:`. Written anew, since our engine takes no flag twice and no empty list.
    fn flags(&mut self, before: &'t str) -> Result<(), String> {
        let (mut on, mut off) = (BTreeSet::new(), None::<BTreeSet<char>>);
        let mut chars = before[2..].char_indices();
        let mut end = before.len();
        for (at, flag) in chars.by_ref() {
            end = 2 + at + flag.len_utf8();
            match flag {
                'i' | 'm' | 's' | 'U' => {
                    off.as_mut().unwrap_or(&mut on).insert(flag);
                }
                '-' if off.is_none() => off = Some(BTreeSet::new()),
                ':' | ')' if !off.as_ref().is_some_and(BTreeSet::is_empty) => {
                    let off = off.unwrap_or_default();
                    let mut flags: String = on.difference(&off).collect();
                    if !off.is_empty() {
                        flags.push('-');
                        flags.extend(&off);
                    }
                    self.rest = &before[end..];
                    if flag == ':' {
                        self.enter(&format!("(?{flags}:"));
                    } else if !flags.is_empty() {
                        self.out.push_str(&format!("(?{flags})"));
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(refusal("invalid or unsupported Perl syntax", &before[..end]))
    }

    fn enter(&mut self, opening: &str) {
        self.settle();
        self.groups.push(Group { start: self.out.len(), weight: 1, height: 0 });
        self.out.push_str(opening);
    }

    fn close(&mut self) -> Result<(), String> {
        self.settle();
        let group = match self.groups.pop() {
            Some(group) if !self.groups.is_empty() => group,
            _ => return Err(refusal("unexpected )", self.whole)),
        };
        self.copy(1);
        let Group { start, weight, height } = group;
        let height = height + 1;
        self.atom = Some(Atom { start, end: self.out.len(), repeated: false, weight, height });
        self.bounded(height)
    }

    fn property(&mut self) -> Result<Option<Property>, String> {
        Property::read(&mut self.rest, self.compiler)
    }
}

/// `{n}`, `{n,}` or `{n,m}`.
#[derive(Debug, Clone, Copy)]
struct Count {
    least: u32,
    most: Option<u32>,
    length: usize,
}

impl Count {
    /// What stands at a `{`, if that is a count. Otherwise the brace stands for itself.
    fn read(text: &str) -> Option<Self> {
        let end = text.find('}')?;
        let body = &text[1..end];
        let number = |text: &str| {
            let leading_zero = text.len() > 1 && text.starts_with('0');
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // What does not fit is too much in any case.
            (digits && !leading_zero).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (least, most) = match body.split_once(',') {
            None => (number(body)?, Some(number(body)?)),
            Some((least, "")) => (number(least)?, None),
            Some((least, most)) => (number(least)?, Some(number(most)?)),
        };
        Some(Count { least, most, length: end + 1 })
    }

    fn fits(self) -> bool {
        self.least <= MAX_REPEAT && self.most.is_none_or(|most| most <= MAX_REPEAT && self.least <= most)
    }

    /// The weight of what had `weight` and is repeated so often. Compat: what is repeated zero times weighs nothing.
    fn times(self, weight: u32) -> u32 {
        match self.most.unwrap_or(self.least) {
            0 if self.most.is_some() => 1,
            factor => weight.saturating_mul(factor.max(1)),
        }
    }
}
