//! What memberlists say to each other: a type byte and a msgpack map with the names of the reference's fields.
//!
//! [`Packet`] is what travels alone or among others over UDP, [`Stream`] is the one message of either direction of a
//! TCP stream. Framing (compound, checksum, compression, encryption, labels) is `envelope`'s.
//!
//! Always true: decoding takes any bytes, never panics, never holds more than a small multiple of what came, skips
//! fields that it does not know; names, metadata and counts of what it gives are within the bounds below. Encoding is
//! byte for byte what the reference writes.
//! Not here: what the messages do (`rules`, `probe`, `exchange`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use wire::msgpack;

use crate::delegate::NodeState;

/// Metadata of a member (the reference's bound for its own; ours for all).
pub const META_MAX: usize = 512;
/// Bytes of a member's name. Serf allows 128, memberlist any; `<node>.<dc>` of the WAN pool fits.
pub const NAME_MAX: usize = 512;
/// Members in one push/pull, and in the machine. The largest pools known have some ten thousand.
pub const MEMBERS_MAX: usize = 1 << 16;
/// Bytes of an error that is shown in our log.
const ERROR_TEXT_MAX: usize = 512;

/// The type byte. `envelope` knows the framing ones that are left out here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ping = 0,
    IndirectPing = 1,
    Ack = 2,
    Suspect = 3,
    Alive = 4,
    Dead = 5,
    PushPull = 6,
    User = 8,
    Nack = 11,
    Error = 13,
}

/// A message over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Ping(Ping),
    IndirectPing(IndirectPing),
    Ack(Ack),
    Nack(Nack),
    Suspect(Suspect),
    Alive(Alive),
    Dead(Dead),
    /// For the layer above.
    User(Bytes),
}

/// The message of one direction of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    Ping(Ping),
    Ack(Ack),
    PushPull(PushPull),
    User(Bytes),
    /// What kept the other side from answering.
    Error(String),
}

/// Six protocol versions: least, most, spoken, then the same of the layer above.
pub type Versions = [u8; 6];

/// Who asks, so that the answer finds the way back whatever the packet's own source says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ping {
    pub seq_no: u32,
    /// Who is meant: another one that has its address by now keeps silent. Anybody if empty.
    #[serde(deserialize_with = "name")]
    pub node: String,
    #[serde(with = "address", skip_serializing_if = "Option::is_none")]
    pub source_addr: Option<IpAddr>,
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    #[serde(deserialize_with = "name", skip_serializing_if = "String::is_empty")]
    pub source_node: String,
}

/// A request to ping somebody else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndirectPing {
    pub seq_no: u32,
    #[serde(with = "address")]
    pub target: Option<IpAddr>,
    pub port: u16,
    #[serde(deserialize_with = "name")]
    pub node: String,
    /// Tell, too, if nothing was heard.
    pub nack: bool,
    #[serde(with = "address", skip_serializing_if = "Option::is_none")]
    pub source_addr: Option<IpAddr>,
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    #[serde(deserialize_with = "name", skip_serializing_if = "String::is_empty")]
    pub source_node: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ack {
    pub seq_no: u32,
    /// Of the layer above (coordinates).
    #[serde(with = "wire::nil_when_empty")]
    pub payload: Bytes,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Nack {
    pub seq_no: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Suspect {
    pub incarnation: u32,
    #[serde(deserialize_with = "name")]
    pub node: String,
    /// Who suspects: only different ones confirm each other.
    #[serde(deserialize_with = "name")]
    pub from: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Alive {
    pub incarnation: u32,
    #[serde(deserialize_with = "name")]
    pub node: String,
    #[serde(with = "address")]
    pub addr: Option<IpAddr>,
    pub port: u16,
    #[serde(serialize_with = "wire::nil_when_empty::serialize", deserialize_with = "meta")]
    pub meta: Bytes,
    #[serde(with = "versions")]
    pub vsn: Option<Versions>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Dead {
    pub incarnation: u32,
    #[serde(deserialize_with = "name")]
    pub node: String,
    /// Who says so: the node itself if it leaves.
    #[serde(deserialize_with = "name")]
    pub from: String,
}

/// All that one side knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushPull {
    /// The beginning of a membership, not upkeep.
    pub join: bool,
    pub nodes: Vec<PushedNode>,
    /// Of the layer above.
    pub user_state: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PushedNode {
    #[serde(deserialize_with = "name")]
    pub name: String,
    #[serde(with = "address")]
    pub addr: Option<IpAddr>,
    pub port: u16,
    #[serde(serialize_with = "wire::nil_when_empty::serialize", deserialize_with = "meta")]
    pub meta: Bytes,
    pub incarnation: u32,
    /// None if it is one that only later versions know: such a node changes nothing.
    #[serde(with = "state")]
    pub state: Option<NodeState>,
    #[serde(with = "versions")]
    pub vsn: Option<Versions>,
}

impl Default for PushedNode {
    fn default() -> PushedNode {
        PushedNode {
            name: String::new(),
            addr: None,
            port: 0,
            meta: Bytes::new(),
            incarnation: 0,
            state: Some(NodeState::Alive),
            vsn: None,
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PushPullHeader {
    nodes: i64,
    user_state_len: i64,
    join: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct UserHeader {
    user_msg_len: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ErrorText {
    error: String,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    Empty,
    /// No message of that type belongs here.
    Type(u8),
    Body {
        what: &'static str,
        error: msgpack::Error,
    },
    /// A length or count that is negative or beyond its bound.
    Bound {
        what: &'static str,
        length: i64,
    },
    /// Fewer bytes than announced.
    Short {
        what: &'static str,
        wanted: usize,
        found: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Empty => f.write_str("no message type byte"),
            DecodeError::Type(kind) => write!(f, "message type ({kind}) does not belong here"),
            DecodeError::Body { what, error } => write!(f, "cannot decode {what}: {error}"),
            DecodeError::Bound { what, length } => write!(f, "{what} of {length} is out of bounds"),
            DecodeError::Short { what, wanted, found } => write!(f, "{what} ends after {found} of {wanted} bytes"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl Packet {
    /// With its type byte.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Packet::Ping(body) => encode(Kind::Ping, body),
            Packet::IndirectPing(body) => encode(Kind::IndirectPing, body),
            Packet::Ack(body) => encode(Kind::Ack, body),
            Packet::Nack(body) => encode(Kind::Nack, body),
            Packet::Suspect(body) => encode(Kind::Suspect, body),
            Packet::Alive(body) => encode(Kind::Alive, body),
            Packet::Dead(body) => encode(Kind::Dead, body),
            Packet::User(body) => user(body),
        }
    }

    pub fn decode(message: &Bytes) -> Result<Packet, DecodeError> {
        let (&kind, body) = message.split_first().ok_or(DecodeError::Empty)?;
        Ok(match kind {
            0 => Packet::Ping(read("a ping", body)?),
            1 => Packet::IndirectPing(read("an indirect ping", body)?),
            2 => Packet::Ack(read("an ack", body)?),
            3 => Packet::Suspect(read("a suspect message", body)?),
            4 => Packet::Alive(read("an alive message", body)?),
            5 => Packet::Dead(read("a dead message", body)?),
            8 => Packet::User(message.slice(1..)),
            11 => Packet::Nack(read("a nack", body)?),
            other => return Err(DecodeError::Type(other)),
        })
    }
}

/// A user message as it stands in a packet.
#[must_use]
pub fn user(body: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(1 + body.len());
    message.push(Kind::User as u8);
    message.extend_from_slice(body);
    message.into()
}

impl Stream {
    /// With its type byte.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Stream::Ping(body) => encode(Kind::Ping, body),
            Stream::Ack(body) => encode(Kind::Ack, body),
            Stream::Error(text) => encode(Kind::Error, &ErrorText { error: text.clone() }),
            Stream::User(body) => {
                let mut out = vec![Kind::User as u8];
                write(&mut out, &UserHeader { user_msg_len: signed(body.len()) });
                out.extend_from_slice(body);
                out.into()
            }
            Stream::PushPull(state) => {
                let header = PushPullHeader {
                    nodes: signed(state.nodes.len()),
                    user_state_len: signed(state.user_state.len()),
                    join: state.join,
                };
                let mut out = vec![Kind::PushPull as u8];
                write(&mut out, &header);
                for node in &state.nodes {
                    write(&mut out, node);
                }
                out.extend_from_slice(&state.user_state);
                out.into()
            }
        }
    }

    pub fn decode(message: &Bytes) -> Result<Stream, DecodeError> {
        let (&kind, body) = message.split_first().ok_or(DecodeError::Empty)?;
        Ok(match kind {
            0 => Stream::Ping(read("a ping", body)?),
            2 => Stream::Ack(read("an ack", body)?),
            6 => Stream::PushPull(read_push_pull(message)?),
            8 => {
                let mut decoder = msgpack::Decoder::new(body);
                let header: UserHeader = next("the header of a user message", &mut decoder)?;
                Stream::User(tail("a user message", message, decoder.rest(), header.user_msg_len)?)
            }
            13 => {
                let ErrorText { mut error } = read("an error", body)?;
                error.truncate(error.floor_char_boundary(ERROR_TEXT_MAX));
                Stream::Error(error)
            }
            other => return Err(DecodeError::Type(other)),
        })
    }
}

fn read_push_pull(message: &Bytes) -> Result<PushPull, DecodeError> {
    let mut decoder = msgpack::Decoder::new(&message[1..]);
    let header: PushPullHeader = next("the header of a push/pull", &mut decoder)?;
    let count = within("the number of members", header.nodes, MEMBERS_MAX)?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(next("a member of a push/pull", &mut decoder)?);
    }
    let user_state = tail("the state of the layer above", message, decoder.rest(), header.user_state_len)?;
    Ok(PushPull { join: header.join, nodes, user_state })
}

/// The first `length` bytes of `rest`, which is the end of `message`.
fn tail(what: &'static str, message: &Bytes, rest: &[u8], length: i64) -> Result<Bytes, DecodeError> {
    let length = within(what, length, usize::MAX)?;
    let found = rest.len().min(length);
    if found < length {
        return Err(DecodeError::Short { what, wanted: length, found });
    }
    let start = message.len() - rest.len();
    Ok(message.slice(start..start + length))
}

fn within(what: &'static str, length: i64, most: usize) -> Result<usize, DecodeError> {
    match usize::try_from(length) {
        Ok(count) if count <= most => Ok(count),
        _ => Err(DecodeError::Bound { what, length }),
    }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Compat: bytes behind the map do not matter.
fn read<'de, T: Deserialize<'de>>(what: &'static str, body: &'de [u8]) -> Result<T, DecodeError> {
    next(what, &mut msgpack::Decoder::new(body))
}

fn next<'de, T: Deserialize<'de>>(what: &'static str, decoder: &mut msgpack::Decoder<'de>) -> Result<T, DecodeError> {
    decoder.decode().map_err(|error| DecodeError::Body { what, error })
}

fn encode<T: Serialize>(kind: Kind, body: &T) -> Bytes {
    let mut out = vec![kind as u8];
    write(&mut out, body);
    out.into()
}

fn write<T: Serialize>(out: &mut Vec<u8>, body: &T) {
    msgpack::write_to(out, body).expect("bodies are flat maps of integers and short strings");
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(port: &u16) -> bool {
    *port == 0
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.len() > NAME_MAX { Err(too_long("a name", name.len())) } else { Ok(name) }
}

fn meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let meta: Bytes = wire::nil_when_empty::deserialize(deserializer)?;
    if meta.len() > META_MAX { Err(too_long("metadata", meta.len())) } else { Ok(meta) }
}

fn too_long<E: serde::de::Error>(what: &str, length: usize) -> E {
    E::custom(format_args!("{what} of {length} bytes is too long"))
}

/// An address as its 4 or 16 bytes; none as nothing.
mod address {
    use serde::{Serializer, de::Error as _};

    use super::{Bytes, Deserializer, IpAddr, Ipv4Addr, Ipv6Addr, Serialize as _};

    pub(super) fn serialize<S: Serializer>(address: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        match address {
            None => serializer.serialize_unit(),
            Some(IpAddr::V4(address)) => Bytes::copy_from_slice(&address.octets()).serialize(serializer),
            Some(IpAddr::V6(address)) => Bytes::copy_from_slice(&address.octets()).serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
        let bytes: Bytes = wire::nil_when_empty::deserialize(deserializer)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Ok(octets) = <[u8; 4]>::try_from(&bytes[..]) {
            return Ok(Some(Ipv4Addr::from(octets).into()));
        }
        let octets = <[u8; 16]>::try_from(&bytes[..])
            .map_err(|_| D::Error::custom(format_args!("an address of {} bytes", bytes.len())))?;
        // Go has two forms of an IPv4 address, and either may come.
        Ok(Some(Ipv6Addr::from(octets).to_canonical()))
    }
}

mod versions {
    use serde::{Serializer, de::Error as _};

    use super::{Bytes, Deserializer, Serialize as _, Versions};

    pub(super) fn serialize<S: Serializer>(versions: &Option<Versions>, serializer: S) -> Result<S::Ok, S::Error> {
        match versions {
            None => serializer.serialize_unit(),
            Some(versions) => Bytes::copy_from_slice(versions).serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Versions>, D::Error> {
        let bytes: Bytes = wire::nil_when_empty::deserialize(deserializer)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        match bytes.first_chunk() {
            Some(versions) => Ok(Some(*versions)),
            // The reference stops the whole process here.
            None => Err(D::Error::custom(format_args!("{} of 6 versions", bytes.len()))),
        }
    }
}

mod state {
    use serde::{Deserialize as _, Serialize as _, Serializer};

    use super::{Deserializer, NodeState};

    pub(super) fn serialize<S: Serializer>(state: &Option<NodeState>, serializer: S) -> Result<S::Ok, S::Error> {
        state.map_or(u8::MAX, |state| state as u8).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NodeState>, D::Error> {
        Ok(match i64::deserialize(deserializer)? {
            0 => Some(NodeState::Alive),
            1 => Some(NodeState::Suspect),
            2 => Some(NodeState::Dead),
            3 => Some(NodeState::Left),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
