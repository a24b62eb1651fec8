//! JSON as Go's `encoding/json` writes and reads it, through serde.
//!
//! Written: compact or indented by four spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped, floats as Go prints them,
//! bytes as base64. Read: into any serde type, with Go's rules and error texts:
//! - struct fields match by name, then without regard to case (with [`Options::aliases`] also without underscores);
//! - null leaves a field at its default; the last of duplicate keys wins;
//! - unknown fields, mismatches and syntax errors are worded as Go words them;
//! - byte fields (`bytes::Bytes`) are base64.
//!
//! Types take part by `#[serde(default, rename_all = "PascalCase")]`, never `flatten`. What Go's texts need to know
//! beyond that is said in the serde name of a type (`#[serde(rename = "...")]`):
//! - `Node` is printed as the type `structs.Node`, another package as `api.Node`; a newtype prints its own name only
//!   when that has a package (`types.NodeID`);
//! - `ServiceDefinition|Alias` is a struct that the reference decodes through a wrapper embedding it as `Alias`, which
//!   shows in paths (`.Alias.Name`); `ServiceDefinition|Alias|struct { ... }` adds how the wrapper's type is printed
//!   when the whole value is of the wrong kind.
//!
//! `i64` fields print as `int`, because that is what Go's structs mostly have.
//!
//! Always true: at most [`MAX_DEPTH`] levels deep, and memory in proportion to the input.
//! Not here: Go's element-wise merge of duplicate keys, `NaN` (which Go refuses and this writes as null).

mod decode;
mod encode;
mod error;
mod names;
mod probe;
mod scan;
mod tree;

pub use encode::{to_string, to_vec, to_vec_pretty};
pub use error::Error;
pub use names::quote;
pub use tree::Value;

use serde::de::DeserializeOwned;

/// How deep values may nest. Go stops at 10000; the deepest legitimate bodies stay below 20, and this much recursion
/// fits the stack of a runtime thread in an unoptimised build.
pub const MAX_DEPTH: usize = 128;

/// What to do with a key that no field of the struct answers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    #[default]
    Deny,
    Ignore,
}

/// Which of Go's two readers is imitated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// `json.Decoder`: one value is read, what follows it is not looked at; an empty input is `EOF`.
    #[default]
    Decoder,
    /// `json.Unmarshal`: the input is exactly one value.
    Unmarshal,
}

/// The default is what most of Consul's handlers use: a decoder that refuses unknown fields, without aliases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub unknown_fields: UnknownFields,
    /// Whether `script_args` answers to `ScriptArgs`.
    pub aliases: bool,
    pub mode: Mode,
}

impl Options {
    pub const STRICT: Options = Options { unknown_fields: UnknownFields::Deny, aliases: false, mode: Mode::Decoder };
    pub const LENIENT: Options = Options { unknown_fields: UnknownFields::Ignore, aliases: false, mode: Mode::Decoder };
    pub const STRICT_ALIASES: Options =
        Options { unknown_fields: UnknownFields::Deny, aliases: true, mode: Mode::Decoder };
}

/// Decodes a body.
pub fn from_slice<T: DeserializeOwned>(input: &[u8], options: Options) -> Result<T, Error> {
    Value::parse(input, options.mode)?.decode(options)
}

#[cfg(test)]
mod tests;
