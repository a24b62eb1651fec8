//! The language of `?filter=`: boolean expressions over the fields of a row.
//!
//! A [`Filter`] is parsed once, checked against the [`Shape`] of the rows it will see, and then asked about each
//! [`Record`]. Nothing is copied while it looks.
//!
//! Always true:
//! - What parses cannot fail later: selectors, operators, numbers and regular expressions were checked before.
//! - Parsing takes time in proportion to the text, whatever the text; it never panics and its depth is bounded.
//! - What the patterns of one expression take together is bounded.
//! - Refusals are in the reference's words (`hashicorp/go-bexpr` 0.1), positions and expectations included.
//!
//! Not here: which rows an endpoint filters, and which fields a row has.

mod check;
mod evaluate;
mod grammar;
mod number;
mod pattern;
mod quote;
mod record;
mod shape;

use std::fmt;

pub use self::record::{Entries, Record, Value};
pub use self::shape::Shape;

/// Longer expressions are refused. Chains of a thousand `or`s, which tools do send, fit well.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Parentheses and `not`s nest no deeper. The reference's parser takes exponential time here, so that nothing
/// that works there comes near this.
pub const MAX_DEPTH: usize = 64;

/// A parsed and checked expression.
#[derive(Debug, Clone)]
pub struct Filter(check::Test);

/// Why an expression is refused, as the reference says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Filter {
    /// Parses `text` for rows of `shape`, which is a [`Shape::Struct`].
    pub fn parse(text: &str, shape: &'static Shape) -> Result<Filter, Error> {
        check::check(parsed(text)?, shape).map(Filter)
    }

    /// Whether `record` satisfies the expression.
    #[must_use]
    pub fn matches(&self, record: &dyn Record) -> bool {
        evaluate::test(&self.0, record)
    }
}

/// Whether `text` follows the grammar, for rows of any shape: what is checked of an expression that is stored now
/// and applied later. Selectors and regular expressions are not looked at.
pub fn check_syntax(text: &str) -> Result<(), Error> {
    parsed(text).map(|_| ())
}

/// Whether Go's engine takes `text` as a regular expression; refused in its words, `error parsing regexp: ...`.
pub fn check_pattern(text: &str) -> Result<(), Error> {
    pattern::Compiler::new(1).check(text)
}

fn parsed(text: &str) -> Result<grammar::Expression, Error> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error(format!("expression is longer than {MAX_TEXT_BYTES} bytes")));
    }
    grammar::parse(text)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
