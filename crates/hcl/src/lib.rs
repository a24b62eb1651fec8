//! HCL 1 and JSON, read into one tree with positions.
//!
//! Configuration files and ACL rules are both written in this language. [`parse`] reads native HCL and, as the
//! reference does, switches to JSON when the first visible character is `{`; [`json::parse`] reads strict JSON and speaks
//! of errors in the words of Go's `encoding/json`.
//!
//! Always true: a block with labels (`key "foo" { … }`) and the nested object that says the same
//! (`{"key": {"foo": {…}}}`) give the same tree, entries stay in the order written, repeated keys stay repeated, and
//! neither text length nor nesting can exhaust memory or stack ([`MAX_TEXT_BYTES`], [`MAX_DEPTH`]).
//!
//! Not here: no interpolation (`${…}` stays as written), no schema, no decoding into structs.

pub mod json;
mod literal;
mod native;
pub mod print;
mod scan;
pub mod tree;

use std::fmt;

pub use tree::{Entry, Kind, Object, Position, Value};

/// Longest text that is read: far above any real configuration file, far below what could hurt.
pub const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// Deepest nesting of objects and lists: the parsers recurse, and nobody writes this by hand.
pub const MAX_DEPTH: usize = 128;

/// Why a text could not be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// Compat: HCL errors are printed with their position, JSON errors and a few others without.
    shows_position: bool,
}

impl Error {
    pub(crate) fn at(position: Position, message: impl Into<String>) -> Error {
        Error { line: position.line, column: position.column, message: message.into(), shows_position: true }
    }

    pub(crate) fn bare(position: Position, message: impl Into<String>) -> Error {
        Error { shows_position: false, ..Error::at(position, message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shows_position {
            write!(f, "At {}:{}: {}", self.line, self.column, self.message)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl std::error::Error for Error {}

/// Reads HCL (or JSON, if the text starts with `{`); a repeated key is kept as a repeated entry.
pub fn parse(text: &str) -> Result<Object, Error> {
    read(text, native::Repeats::Allowed)
}

/// Like [`parse`], but assigning the same key twice in one object is an error (blocks may repeat).
/// Compat: the reference reads ACL rules this way.
pub fn parse_unique(text: &str) -> Result<Object, Error> {
    read(text, native::Repeats::Refused)
}

fn read(text: &str, repeats: native::Repeats) -> Result<Object, Error> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::bare(Position::START, format!("text is longer than {MAX_TEXT_BYTES} bytes")));
    }
    if text.trim_start().starts_with('{') {
        return json::parse(text).map_err(|error| Error { shows_position: true, ..error });
    }
    native::parse(text, repeats)
}

#[cfg(test)]
mod tests;
