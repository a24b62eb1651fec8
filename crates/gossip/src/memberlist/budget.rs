//! What a UDP packet has room for.
//!
//! A packet that needs IP fragments is lost when one of them is, so all is kept below what any path carries. `envelope`
//! adds what is counted here and, since compression is only used where it gains, never more.

/// What a packet may hold (the reference's `UDPBufferSize`).
pub const PACKET_MAX: usize = 1400;
/// Type byte and count of a compound message.
pub const COMPOUND_HEADER: usize = 2;
/// The length of each message in a compound one.
pub const COMPOUND_EACH: usize = 2;
/// The count is one byte.
pub const COMPOUND_MESSAGES_MAX: usize = 255;
/// The type byte of a message of the layer above.
pub const USER_EACH: usize = 1;
/// Type byte and CRC-32. The reference forgets it when it fills packets.
pub const CHECKSUM: usize = 5;
/// Type byte and length before a label.
pub const LABEL_HEADER: usize = 2;
/// Version, nonce and tag of AES-GCM without padding.
pub const ENCRYPTION: usize = 1 + 12 + 16;

/// What is around the messages of a packet.
#[must_use]
pub const fn envelope(label_len: usize, encrypted: bool) -> usize {
    let label = if label_len == 0 { 0 } else { LABEL_HEADER + label_len };
    let encryption = if encrypted { ENCRYPTION } else { 0 };
    CHECKSUM + label + encryption
}
