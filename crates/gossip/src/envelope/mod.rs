//! Packets as they travel: label, encryption, checksum, compression and compound around plain messages.
//!
//! Always true: a packet that is refused moves nothing; one packet yields at most [`PARTS_MAX`] messages and unpacks to
//! at most [`INFLATED_MAX`] bytes, however often it compresses within itself; nothing nests deeper than [`DEPTH_MAX`].
//! Messages of an opened packet share its buffer: keep copies, not slices.
//! Not here: what messages mean, sockets, where nonces come from.

mod cipher;
mod lzw;
pub mod overhead;
mod refusal;

use std::sync::Arc;

use bytes::Bytes;

use crate::keyring::Keyring;
pub use overhead::Version;
pub use refusal::Refusal;

pub(crate) use cipher::{NONCE, open as open_sealed, seal, sealed_len};
pub(crate) use lzw::{compress, decompress};

/// Type bytes: of messages, and of what is wrapped around them.
pub mod kind {
    pub const PING: u8 = 0;
    pub const INDIRECT_PING: u8 = 1;
    pub const ACK: u8 = 2;
    pub const SUSPECT: u8 = 3;
    pub const ALIVE: u8 = 4;
    pub const DEAD: u8 = 5;
    pub const PUSH_PULL: u8 = 6;
    pub const COMPOUND: u8 = 7;
    pub const USER: u8 = 8;
    pub const COMPRESS: u8 = 9;
    pub const ENCRYPT: u8 = 10;
    pub const NACK: u8 = 11;
    pub const CHECKSUM: u8 = 12;
    pub const ERROR: u8 = 13;
    pub const LABEL: u8 = 244;
}

/// Messages that one packet may bring. Ours bring at most the 466 that fit.
pub const PARTS_MAX: usize = 1024;
/// Bytes that one packet may unpack to, all its compressed parts together: a packet's own limit.
pub const INFLATED_MAX: usize = 64 * 1024;
/// Framing within framing. Members build compound in compressed; we also put compounds into a compound.
pub const DEPTH_MAX: usize = 4;
/// A label's length is a byte.
pub const LABEL_MAX: usize = 255;

/// What pools that share a network are told apart by; most have none, which is "".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label(String);

impl Label {
    /// `None` if it is longer than its header can say.
    pub fn new(text: impl Into<String>) -> Option<Label> {
        let text = text.into();
        (text.len() <= LABEL_MAX).then_some(Label(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How packets and streams of one pool are wrapped. Cheap to clone; a changed keyring is a new envelope.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub label: Label,
    pub keyring: Option<Arc<Keyring>>,
    /// Refuse what is not encrypted, if there is a keyring.
    pub verify_incoming: bool,
    /// Encrypt, if there is a keyring.
    pub verify_outgoing: bool,
    pub compress: bool,
    pub version: Version,
}

impl Default for Envelope {
    fn default() -> Envelope {
        Envelope {
            label: Label::default(),
            keyring: None,
            verify_incoming: true,
            verify_outgoing: true,
            compress: true,
            version: Version::Plain,
        }
    }
}

/// What a packet held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// Type byte and body each, in order.
    pub messages: Vec<Bytes>,
    /// The first part that was left out. Compat: its neighbours count nevertheless.
    pub refused: Option<Refusal>,
}

/// What cannot be sent as one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsealable {
    /// No message at all.
    Nothing,
    /// A message, or all of them together, longer than framing can say.
    TooLong,
}

impl Envelope {
    /// The keys that what we send is encrypted with.
    pub(crate) fn sealing(&self) -> Option<&Keyring> {
        self.keyring.as_deref().filter(|_| self.verify_outgoing)
    }

    /// What messages of one packet and their [`overhead::COMPOUND_PART`]s may take together, of `limit` bytes.
    pub fn budget(&self, limit: usize) -> usize {
        let encryption = self.sealing().map_or(0, |_| overhead::encryption(self.version));
        limit.saturating_sub(overhead::COMPOUND_HEADER + overhead::label(self.label.as_str()) + encryption)
    }

    /// The messages of one packet.
    pub fn open_packet(&self, packet: &[u8]) -> Result<Opened, Refusal> {
        let rest = self.check_label(packet)?;
        let plain = self.decrypt(rest)?;
        let plain = verify_checksum(plain)?;
        let mut opened = Opened::default();
        unpack(plain, &mut Room { depth: DEPTH_MAX, inflated: INFLATED_MAX }, &mut opened);
        match opened {
            Opened { messages, refused: Some(refusal) } if messages.is_empty() => Err(refusal),
            opened => Ok(opened),
        }
    }

    /// One packet of these messages. Checksums are for receivers that speak protocol version 5.
    pub fn seal_packet(&self, messages: &[Bytes], checksum: bool, nonce: [u8; NONCE]) -> Result<Bytes, Unsealable> {
        let mut plain = compound(messages)?;
        if self.compress
            && let Some(compressed) = compress(&plain)
            && compressed.len() < plain.len()
        {
            plain = compressed.into();
        }
        if checksum {
            let mut summed = Vec::with_capacity(overhead::CHECKSUM + plain.len());
            summed.push(kind::CHECKSUM);
            summed.extend_from_slice(&crc32fast::hash(&plain).to_be_bytes());
            summed.extend_from_slice(&plain);
            plain = summed.into();
        }
        let keyring = self.sealing();
        if keyring.is_none() && self.label.as_bytes().is_empty() {
            return Ok(plain);
        }
        let mut packet = self.label_header();
        match keyring {
            Some(keyring) => {
                seal(&mut packet, keyring.primary(), self.version, nonce, self.label.as_bytes(), &plain);
            }
            None => packet.extend_from_slice(&plain),
        }
        Ok(packet.into())
    }

    /// What stands in front of each packet and each stream that we open.
    pub(crate) fn label_header(&self) -> Vec<u8> {
        let label = self.label.as_bytes();
        if label.is_empty() {
            return Vec::new();
        }
        [&[kind::LABEL, label.len() as u8], label].concat()
    }

    fn check_label<'p>(&self, packet: &'p [u8]) -> Result<&'p [u8], Refusal> {
        let (label, rest) = match packet {
            [kind::LABEL, 0, ..] => return Err(Refusal::LabelEmpty),
            [kind::LABEL, len, rest @ ..] => rest.split_at_checked(usize::from(*len)).ok_or(Refusal::LabelTruncated)?,
            [kind::LABEL] => return Err(Refusal::LabelTruncated),
            _ => (&[][..], packet),
        };
        self.accept_label(label)?;
        Ok(rest)
    }

    pub(crate) fn accept_label(&self, label: &[u8]) -> Result<(), Refusal> {
        if label == self.label.as_bytes() {
            return Ok(());
        }
        Err(Refusal::Label(String::from_utf8_lossy(label).into_owned()))
    }

    fn decrypt(&self, rest: &[u8]) -> Result<Bytes, Refusal> {
        let Some(keyring) = &self.keyring else {
            return Ok(Bytes::copy_from_slice(rest));
        };
        match cipher::open(keyring, self.label.as_bytes(), rest) {
            Ok(plain) => Ok(plain.into()),
            // Compat: while a pool turns encryption on, plain packets are taken beside encrypted ones.
            Err(_) if !self.verify_incoming => Ok(Bytes::copy_from_slice(rest)),
            Err(refusal) => Err(refusal),
        }
    }
}

/// Checks and removes a checksum, if there is one.
fn verify_checksum(plain: Bytes) -> Result<Bytes, Refusal> {
    let [kind::CHECKSUM, a, b, c, d, rest @ ..] = &plain[..] else {
        return Ok(plain);
    };
    let stated = u32::from_be_bytes([*a, *b, *c, *d]);
    let computed = crc32fast::hash(rest);
    if computed != stated {
        return Err(Refusal::Checksum { computed, stated });
    }
    Ok(plain.slice(overhead::CHECKSUM..))
}

/// What one packet may still unpack to.
struct Room {
    depth: usize,
    inflated: usize,
}

fn unpack(part: Bytes, room: &mut Room, opened: &mut Opened) {
    if let Err(refusal) = unpack_kind(part, room, opened) {
        opened.refused.get_or_insert(refusal);
    }
}

fn unpack_kind(part: Bytes, room: &mut Room, opened: &mut Opened) -> Result<(), Refusal> {
    match part.first() {
        None => Err(Refusal::Empty),
        Some(&kind::COMPOUND) => nested(room, |room| unpack_compound(part.slice(1..), room, opened)),
        Some(&kind::COMPRESS) => nested(room, |room| {
            let plain = decompress(&part[1..], room.inflated)?;
            room.inflated -= plain.len();
            unpack_kind(plain.into(), room, opened)
        }),
        Some(
            &(kind::PING
            | kind::INDIRECT_PING
            | kind::ACK
            | kind::SUSPECT
            | kind::ALIVE
            | kind::DEAD
            | kind::USER
            | kind::NACK),
        ) => {
            if opened.messages.len() >= PARTS_MAX {
                return Err(Refusal::Parts);
            }
            opened.messages.push(part);
            Ok(())
        }
        Some(other) => Err(Refusal::PacketKind(*other)),
    }
}

fn nested(room: &mut Room, within: impl FnOnce(&mut Room) -> Result<(), Refusal>) -> Result<(), Refusal> {
    room.depth = room.depth.checked_sub(1).ok_or(Refusal::Depth)?;
    let result = within(room);
    room.depth += 1;
    result
}

fn unpack_compound(body: Bytes, room: &mut Room, opened: &mut Opened) -> Result<(), Refusal> {
    let parts = usize::from(*body.first().ok_or(Refusal::CompoundLength)?);
    let lengths = body.get(1..1 + 2 * parts).ok_or(Refusal::CompoundLengths)?;
    let mut at = 1 + 2 * parts;
    for (index, length) in lengths.chunks_exact(2).enumerate() {
        let end = at + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if end > body.len() {
            return Err(Refusal::CompoundTruncated(parts - index));
        }
        unpack(body.slice(at..end), room, opened);
        at = end;
    }
    Ok(())
}

/// The messages as one: a lone message as it is, else a compound, else a compound of compounds.
fn compound(messages: &[Bytes]) -> Result<Bytes, Unsealable> {
    match messages {
        [] => Err(Unsealable::Nothing),
        [message] => Ok(message.clone()),
        messages if messages.len() <= overhead::COMPOUND_PARTS_MAX => one_compound(messages),
        messages => {
            let inner: Vec<Bytes> =
                messages.chunks(overhead::COMPOUND_PARTS_MAX).map(one_compound).collect::<Result<_, _>>()?;
            if inner.len() > overhead::COMPOUND_PARTS_MAX {
                return Err(Unsealable::TooLong);
            }
            one_compound(&inner)
        }
    }
}

/// At most [`overhead::COMPOUND_PARTS_MAX`] messages.
fn one_compound(messages: &[Bytes]) -> Result<Bytes, Unsealable> {
    let bodies: usize = messages.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(overhead::COMPOUND_HEADER + messages.len() * overhead::COMPOUND_PART + bodies);
    out.push(kind::COMPOUND);
    out.push(messages.len() as u8);
    for message in messages {
        let length = u16::try_from(message.len()).map_err(|_| Unsealable::TooLong)?;
        out.extend_from_slice(&length.to_be_bytes());
    }
    for message in messages {
        out.extend_from_slice(message);
    }
    Ok(out.into())
}

#[cfg(test)]
pub(crate) mod tests;
