//! The whole state as a stream of records, and back (protocols.md C3).
//!
//! `replica` maps a record to its type byte and msgpack body; which records there are, and in which order,
//! is decided here.

use bytes::Bytes;

/// A record whose concept is not built yet, kept verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The message type byte.
    pub kind: u8,
    /// The msgpack body as it came.
    pub body: Bytes,
}
