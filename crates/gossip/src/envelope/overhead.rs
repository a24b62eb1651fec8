//! What the framing of a packet costs, for whoever decides what still fits into one.
//!
//! Always true: these are upper bounds, except for the checksum and for packets of more than 255 messages, which the
//! reference leaves out of its budget too.
//! Not here: the framing itself.

/// Protocol limit of a packet: fits into an Ethernet frame with room for tunnels. `gossip_*` settings do not change it.
pub const PACKET_LIMIT: usize = 1400;
/// A compound's type byte and its number of parts.
pub const COMPOUND_HEADER: usize = 2;
/// Length of one part of a compound.
pub const COMPOUND_PART: usize = 2;
/// Type byte of a message of the layer above.
pub const USER_MESSAGE: usize = 1;
/// Type byte and sum. Compat: not part of the budget, so a full packet with a checksum is 1405 bytes long.
pub const CHECKSUM: usize = 5;
/// Messages that one compound can hold, since their number is a byte.
pub const COMPOUND_PARTS_MAX: usize = 255;

/// How packets are encrypted. Both are read; which is written follows from the protocol version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Padded to the cipher's block size; protocol version 1.
    Padded = 0,
    /// As long as the message; protocol version 2 and later.
    #[default]
    Plain = 1,
}

impl Version {
    pub fn of_protocol(protocol: u8) -> Version {
        if protocol == 1 { Version::Padded } else { Version::Plain }
    }
}

/// The most that encryption adds.
pub const fn encryption(version: Version) -> usize {
    match version {
        // Version, nonce, a full block of padding, tag.
        Version::Padded => 1 + 12 + 16 + 16,
        Version::Plain => 1 + 12 + 16,
    }
}

/// What a label in front of each packet adds.
pub const fn label(label: &str) -> usize {
    if label.is_empty() { 0 } else { 2 + label.len() }
}
