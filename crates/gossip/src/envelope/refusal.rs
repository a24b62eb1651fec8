//! Why bytes from outside were not taken.
//!
//! Always true: the texts are those of the reference, because one of them travels back to whoever opened a stream and
//! is what operators know from their logs. No text holds a key or a payload.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A label header that ends early.
    LabelTruncated,
    /// A label header without a label.
    LabelEmpty,
    /// Another pool's label, or none where one is due.
    Label(String),
    /// Nothing where something encrypted was due.
    EncryptedEmpty,
    EncryptionVersion(u8),
    EncryptedShort(usize),
    /// Padding of version 0 that is longer than what it pads.
    Padding,
    /// None of our keys fits, or somebody changed the bytes.
    NoKey,
    /// Encrypted, and we have no keys.
    UnexpectedEncryption,
    /// Plain, and we insist on encryption.
    PlainStream,
    Checksum {
        computed: u32,
        stated: u32,
    },
    /// No type byte.
    Empty,
    CompoundLength,
    CompoundLengths,
    /// So many parts of a compound were cut off.
    CompoundTruncated(usize),
    /// Framing within framing, deeper than any member builds it.
    Depth,
    /// More parts than one packet may bring.
    Parts,
    Algorithm(u8),
    Compressed,
    /// More than fits: a decompressed packet, or a stream.
    TooLarge(u64),
    /// Msgpack that is none.
    Malformed(String),
    /// A type that has no business in a packet.
    PacketKind(u8),
    /// A type that has no business on a stream.
    StreamKind(u8),
}

impl Refusal {
    /// Is the other side of a stream told? The reference answers what goes wrong with encryption and compression.
    pub fn is_answered(&self) -> bool {
        matches!(
            self,
            Refusal::EncryptedEmpty
                | Refusal::EncryptionVersion(_)
                | Refusal::EncryptedShort(_)
                | Refusal::Padding
                | Refusal::NoKey
                | Refusal::UnexpectedEncryption
                | Refusal::PlainStream
                | Refusal::TooLarge(_)
                | Refusal::Algorithm(_)
                | Refusal::Compressed
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::LabelTruncated => f.write_str("cannot decode label; packet has been truncated"),
            Refusal::LabelEmpty => f.write_str("label header cannot be empty when present"),
            Refusal::Label(label) => write!(f, "discarding packet with unacceptable label {label:?}"),
            Refusal::EncryptedEmpty => f.write_str("Cannot decrypt empty payload"),
            Refusal::EncryptionVersion(version) => write!(f, "Unsupported encryption version {version}"),
            Refusal::EncryptedShort(len) => write!(f, "Payload is too small to decrypt: {len}"),
            Refusal::Padding => f.write_str("Payload is not padded as its version asks"),
            Refusal::NoKey => f.write_str("No installed keys could decrypt the message"),
            Refusal::UnexpectedEncryption => f.write_str("Remote state is encrypted and encryption is not configured"),
            Refusal::PlainStream => f.write_str("Encryption is configured but remote state is not encrypted"),
            Refusal::Checksum { computed, stated } => {
                write!(f, "Got invalid checksum for UDP packet: {computed:x}, {stated:x}")
            }
            Refusal::Empty => f.write_str("missing message type byte"),
            Refusal::CompoundLength => f.write_str("missing compound length byte"),
            Refusal::CompoundLengths => f.write_str("truncated len slice"),
            Refusal::CompoundTruncated(parts) => write!(f, "Compound request had {parts} truncated messages"),
            Refusal::Depth => f.write_str("messages are nested too deep"),
            Refusal::Parts => f.write_str("packet holds too many messages"),
            Refusal::Algorithm(algorithm) => write!(f, "Cannot decompress unknown algorithm {algorithm}"),
            Refusal::Compressed => f.write_str("lzw: invalid code"),
            Refusal::TooLarge(len) => write!(f, "Remote node state is larger than limit ({len})"),
            Refusal::Malformed(why) => f.write_str(why),
            Refusal::PacketKind(kind) => write!(f, "msg type ({kind}) not supported"),
            Refusal::StreamKind(kind) => write!(f, "Received invalid msgType ({kind})"),
        }
    }
}

impl std::error::Error for Refusal {}
