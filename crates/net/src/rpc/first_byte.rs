//! What a connection to the RPC port is for, as its first byte says.
//!
//! Not here: TLS by its own first bytes; a ClientHello is none of these and ends the connection.

/// The kinds of connections that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstByte {
    /// One conversation of calls.
    Calls,
    /// Servers among themselves.
    Raft,
    /// A session whose streams are conversations of calls.
    Session,
    /// One snapshot, saved or restored.
    Snapshot,
}

impl FirstByte {
    pub fn byte(self) -> u8 {
        match self {
            FirstByte::Calls => 0,
            FirstByte::Raft => 1,
            FirstByte::Session => 4,
            FirstByte::Snapshot => 5,
        }
    }

    /// `None` for what is not served.
    pub fn of(byte: u8) -> Option<FirstByte> {
        [FirstByte::Calls, FirstByte::Raft, FirstByte::Session, FirstByte::Snapshot]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }
}
