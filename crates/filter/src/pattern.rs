//! Regular expressions of `matches`: Go's syntax by a Rust engine.

use regex::{Regex, RegexBuilder};

use crate::Error;
use crate::quote::quote;

/// A compiled expression takes no more memory than this. Both engines match in linear time.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;

pub(crate) fn compile(text: &str) -> Result<Regex, Error> {
    RegexBuilder::new(text).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Error(format!("Failed to compile regular expression {}: error parsing regexp: {why}", quote(text)))
    })
}
