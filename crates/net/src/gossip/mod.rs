//! Sockets under a gossip machine: packets over UDP, single messages over TCP, time, and commands from outside.
//!
//! Always true: nothing that arrives reaches a machine before its envelope was opened, and nothing leaves that was not
//! sealed by the envelope of that moment.
//! Not here: what messages mean (`gossip`), keyring and snapshot files (whoever takes the outputs above).

mod complaints;
mod driver;
mod sockets;
mod streams;

pub use driver::{Clock, EXCHANGES_MAX, Handle, Member, NotTaken, STREAM_TIMEOUT, STREAMS_MAX, Stopped, drive};
pub use sockets::{Sockets, bind};

/// A nonce that no key saw before: 96 bits of the thread's cryptographic generator.
fn nonce() -> [u8; 12] {
    rand::random()
}

#[cfg(test)]
mod tests;
