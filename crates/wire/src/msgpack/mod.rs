//! Msgpack in the dialect of the old Go codec that Consul's RPC, raft log and snapshots use.
//!
//! Written: structs as maps in sorted key order, strings and bytes both as raw (`a0..bf`, `da`, `db`), the smallest
//! unsigned form of every integer that is not negative, the smallest signed form of the others, floats at their width.
//! Read: every form msgpack has, including `str8` and `bin`, and:
//! - nil stands for the zero value of anything (an empty string, slice, map or struct; `Option` stays `None`);
//! - unknown keys are skipped, missing keys are the type's business (`#[serde(default)]`);
//! - integers of any width when the value fits, 0 and 1 for booleans, integers for floats;
//! - raw bytes that are not UTF-8 survive in byte fields (`bytes::Bytes`) and become U+FFFD in `String` fields, which
//!   is what Consul's own JSON shows for them. A record is never lost for a bad byte in a check's output.
//!
//! Always true: decoding recurses at most [`MAX_DEPTH`] deep and allocates in proportion to the input, never to a
//! length that the input claims; `is_human_readable()` is false in both directions.
//! Not here: extension types beyond reading over them, canonical order of map entries (callers use ordered maps).

mod decode;
mod encode;
mod error;
mod marker;
mod raw;
mod scan;

pub use decode::{Decoder, from_slice};
pub use encode::{to_vec, write_to};
pub use error::Error;
pub use raw::RawValue;
pub use scan::{ValueScanner, skip_value};

/// How deep values may nest: Consul's own structures stay below 20, and a frame costs well under a KiB of stack.
pub const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests;
