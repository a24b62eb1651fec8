//! What a backslash begins.

use super::class::{shorthand, single};
use super::{Reader, refusal};

impl Reader<'_, '_> {
    /// Takes what begins with a `\`, outside of classes.
    pub(super) fn escape(&mut self) -> Result<(), String> {
        let start = self.out.len();
        let mut after = self.rest.chars();
        after.next();
        let letter = after.next();
        match letter {
            Some('Q') => {
                self.quoted(after.as_str());
                return Ok(());
            }
            Some('A') => self.out.push_str(r"\A"),
            Some('z') => self.out.push_str(r"\z"),
            Some('b') => self.out.push_str(r"(?-u:\b)"),
            Some('B') => self.out.push_str(r"(?-u:\B)"),
            _ => {
                if let Some(property) = self.property()? {
                    self.out.push_str(property.written());
                } else if let Some(class) = letter.and_then(shorthand) {
                    self.out.push_str(class);
                    self.rest = after.as_str();
                } else {
                    let code = escaped(&mut self.rest)?;
                    self.out.push_str(&single(code));
                }
                self.part(start);
                return Ok(());
            }
        }
        self.rest = after.as_str();
        self.part(start);
        Ok(())
    }

    /// `\Q...\E`: every character stands for itself.
    fn quoted(&mut self, after: &str) {
        let (text, rest) = after.split_once(r"\E").unwrap_or((after, ""));
        for character in text.chars() {
            let start = self.out.len();
            self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
            self.part(start);
        }
        self.rest = &self.rest[self.rest.len() - rest.len()..];
    }
}

/// Takes one character.
pub(super) fn character(rest: &mut &str) -> Option<u32> {
    let next = rest.chars().next()?;
    *rest = &rest[next.len_utf8()..];
    Some(u32::from(next))
}

/// Takes an escape that stands for one character, from its `\`: the character's code, which may be a surrogate's.
pub(super) fn escaped(rest: &mut &str) -> Result<u32, String> {
    let before = *rest;
    *rest = &before[1..];
    let code = match rest.chars().next() {
        None => return Err(refusal("trailing backslash at end of expression", "")),
        Some(next) => {
            *rest = &rest[next.len_utf8()..];
            code(next, rest)
        }
    };
    code.ok_or_else(|| refusal("invalid escape sequence", &before[..before.len() - rest.len()]))
}

/// The code of an escape after its first character. Where it is none, `rest` is left behind the culprit.
fn code(first: char, rest: &mut &str) -> Option<u32> {
    Some(match first {
        // Octal: up to three digits, and no fewer than two unless it begins with a zero.
        '0'..='7' => {
            let mut code = first.to_digit(8)?;
            if first != '0' && !rest.starts_with(|next: char| next.is_digit(8)) {
                return None;
            }
            for _ in 0..2 {
                let Some(digit) = rest.chars().next().and_then(|next| next.to_digit(8)) else { break };
                code = code * 8 + digit;
                *rest = &rest[1..];
            }
            code
        }
        'x' => return hexadecimal(rest),
        'a' => 7,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => u32::from(other),
        _ => return None,
    })
}

/// `\xF` is none; `\xFF` and `\x{...}` are.
fn hexadecimal(rest: &mut &str) -> Option<u32> {
    let digit = |code: u32| char::from_u32(code).and_then(|next| next.to_digit(16));
    let first = character(rest)?;
    if first != u32::from('{') {
        let second = character(rest);
        return Some(digit(first)? * 16 + digit(second?)?);
    }
    let mut code = None::<u32>;
    loop {
        let next = character(rest)?;
        if next == u32::from('}') {
            return code;
        }
        let sum = code.unwrap_or(0) * 16 + digit(next)?;
        if sum > u32::from(char::MAX) {
            return None;
        }
        code = Some(sum);
    }
}
