//! What Serf agents say to each other: a type byte and a msgpack map.
//!
//! These bytes are the bodies of memberlist's user messages, except push/pull, which is the state that memberlist's
//! own push/pull carries along.
//!
//! Always true: decoding takes any bytes, never panics, never holds more than a small multiple of what came, and gives
//! no Lamport time past [`LamportTime::LIMIT`]. Encoding is byte for byte what the reference writes, but for two
//! things that no receiver can see: empty slots of the event buffer are left out of a push/pull, and maps are in
//! the order of their keys.
//! Not here: what the messages do (`pool`, `events`, `queries`, `key`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::msgpack;

use super::lamport::LamportTime;
use super::member::{Member, MemberStatus, Tags};

/// How many filters one query may carry.
const FILTERS_MAX: usize = 64;

/// The type byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Leave = 0,
    Join = 1,
    PushPull = 2,
    UserEvent = 3,
    Query = 4,
    QueryResponse = 5,
    ConflictResponse = 6,
    KeyRequest = 7,
    KeyResponse = 8,
    Relay = 9,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Leave(Leave),
    Join(Join),
    PushPull(PushPull),
    UserEvent(UserEventMessage),
    Query(QueryMessage),
    QueryResponse(QueryResponseMessage),
    /// Nobody by that name is known if there is none.
    ConflictResponse(Option<ConflictMember>),
    KeyRequest(KeyRequest),
    KeyResponse(KeyResponse),
    Relay(Relay),
}

/// A member means to leave, or is made to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Leave {
    #[serde(rename = "LTime")]
    pub time: LamportTime,
    pub node: String,
    /// Forget the member altogether.
    pub prune: bool,
}

/// A member has joined, or is still here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Join {
    #[serde(rename = "LTime")]
    pub time: LamportTime,
    pub node: String,
}

/// All that one agent knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PushPull {
    #[serde(rename = "LTime")]
    pub time: LamportTime,
    /// When each member last joined or left.
    #[serde(rename = "StatusLTimes", deserialize_with = "wire::nil_when_empty::deserialize")]
    pub status_times: BTreeMap<String, LamportTime>,
    #[serde(deserialize_with = "wire::nil_when_empty::deserialize")]
    pub left_members: Vec<String>,
    #[serde(rename = "EventLTime")]
    pub event_time: LamportTime,
    /// Recent user events. The reference sends the empty slots of its buffer too.
    #[serde(deserialize_with = "wire::nil_when_empty::deserialize")]
    pub events: Vec<Option<EventsAt>>,
    #[serde(rename = "QueryLTime")]
    pub query_time: LamportTime,
}

/// The user events of one Lamport time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EventsAt {
    #[serde(rename = "LTime")]
    pub time: LamportTime,
    #[serde(with = "wire::nil_when_empty")]
    pub events: Vec<PastEvent>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PastEvent {
    pub name: String,
    #[serde(with = "wire::nil_when_empty")]
    pub payload: Bytes,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UserEventMessage {
    #[serde(rename = "LTime")]
    pub time: LamportTime,
    pub name: String,
    #[serde(with = "wire::nil_when_empty")]
    pub payload: Bytes,
    /// Receivers may drop all but the newest of a name.
    #[serde(rename = "CC")]
    pub coalesce: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryMessage {
    #[serde(rename = "LTime")]
    pub time: LamportTime,
    #[serde(rename = "ID")]
    pub id: u32,
    /// Whom to answer: 4 or 16 bytes.
    pub addr: Bytes,
    pub port: u16,
    pub source_node: String,
    #[serde(with = "wire::nil_when_empty")]
    pub filters: Vec<Bytes>,
    pub flags: u32,
    pub relay_factor: u8,
    /// How long after its delivery a query may be answered, in nanoseconds.
    pub timeout: i64,
    pub name: String,
    #[serde(with = "wire::nil_when_empty")]
    pub payload: Bytes,
}

/// Of a query: each receiver is to acknowledge. Of a response: it is an acknowledgement.
pub const FLAG_ACK: u32 = 1;
/// Of a query: it is not to be passed on.
pub const FLAG_NO_BROADCAST: u32 = 2;

impl QueryMessage {
    /// Where the asker takes answers; nowhere if its address is none.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(ip_from_bytes(&self.addr)?, self.port))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryResponseMessage {
    #[serde(rename = "LTime")]
    pub time: LamportTime,
    #[serde(rename = "ID")]
    pub id: u32,
    pub from: String,
    pub flags: u32,
    #[serde(with = "wire::nil_when_empty")]
    pub payload: Bytes,
}

/// A member as a conflict response carries it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConflictMember {
    pub name: String,
    pub addr: Bytes,
    pub port: u16,
    #[serde(deserialize_with = "wire::nil_when_empty::deserialize")]
    pub tags: Tags,
    pub status: i64,
    pub protocol_min: u8,
    pub protocol_max: u8,
    pub protocol_cur: u8,
    pub delegate_min: u8,
    pub delegate_max: u8,
    pub delegate_cur: u8,
}

impl ConflictMember {
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(ip_from_bytes(&self.addr)?, self.port))
    }
}

impl From<&Member> for ConflictMember {
    fn from(member: &Member) -> ConflictMember {
        let [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur] = member.versions;
        ConflictMember {
            name: member.name.clone(),
            addr: ip_to_bytes(member.address.ip()),
            port: member.address.port(),
            tags: member.tags.clone(),
            status: match member.status {
                MemberStatus::None => 0,
                MemberStatus::Alive => 1,
                MemberStatus::Leaving => 2,
                MemberStatus::Left => 3,
                MemberStatus::Failed => 4,
            },
            protocol_min,
            protocol_max,
            protocol_cur,
            delegate_min,
            delegate_max,
            delegate_cur,
        }
    }
}

/// Payload of the key queries.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyRequest {
    pub key: Bytes,
}

impl fmt::Debug for KeyRequest {
    // A key is a secret: it cannot be printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest").finish_non_exhaustive()
    }
}

/// Payload of the responses to key queries. Keys are base64.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyResponse {
    pub result: bool,
    pub message: String,
    #[serde(with = "wire::nil_when_empty")]
    pub keys: Vec<String>,
    pub primary_key: String,
}

impl fmt::Debug for KeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyResponse")
            .field("result", &self.result)
            .field("message", &self.message)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// A message to be handed on to somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    pub to: SocketAddr,
    pub name: String,
    /// A whole message, type byte included.
    pub message: Bytes,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RelayHeader {
    dest_addr: RelayAddress,
    dest_name: String,
}

/// Go's `net.UDPAddr`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RelayAddress {
    #[serde(rename = "IP")]
    ip: Bytes,
    port: i64,
    zone: String,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    Empty,
    UnknownKind(u8),
    Malformed(Kind, String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Empty => f.write_str("empty message"),
            DecodeError::UnknownKind(kind) => write!(f, "message of unknown type {kind}"),
            DecodeError::Malformed(kind, why) => write!(f, "{kind:?} message: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl Message {
    /// Reads a message. Bytes behind it are passed over, as the reference does.
    pub fn decode(message: &[u8]) -> Result<Message, DecodeError> {
        let (&kind, body) = message.split_first().ok_or(DecodeError::Empty)?;
        match kind {
            0 => body_of(Kind::Leave, body).map(Message::Leave),
            1 => body_of(Kind::Join, body).map(Message::Join),
            2 => body_of(Kind::PushPull, body).map(Message::PushPull),
            3 => body_of(Kind::UserEvent, body).map(Message::UserEvent),
            4 => body_of(Kind::Query, body).map(Message::Query),
            5 => body_of(Kind::QueryResponse, body).map(Message::QueryResponse),
            6 => body_of(Kind::ConflictResponse, body).map(Message::ConflictResponse),
            7 => body_of(Kind::KeyRequest, body).map(Message::KeyRequest),
            8 => body_of(Kind::KeyResponse, body).map(Message::KeyResponse),
            9 => decode_relay(body).map(Message::Relay),
            unknown => Err(DecodeError::UnknownKind(unknown)),
        }
        .and_then(Message::bounded)
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Message::Leave(body) => encode(Kind::Leave, body),
            Message::Join(body) => encode(Kind::Join, body),
            Message::PushPull(body) => encode(Kind::PushPull, body),
            Message::UserEvent(body) => encode(Kind::UserEvent, body),
            Message::Query(body) => encode(Kind::Query, body),
            Message::QueryResponse(body) => encode(Kind::QueryResponse, body),
            Message::ConflictResponse(body) => encode(Kind::ConflictResponse, body),
            Message::KeyRequest(body) => encode(Kind::KeyRequest, body),
            Message::KeyResponse(body) => encode(Kind::KeyResponse, body),
            Message::Relay(relay) => encode_relay(relay),
        }
    }

    fn bounded(self) -> Result<Message, DecodeError> {
        let late = |time: LamportTime| time >= LamportTime::LIMIT;
        let (kind, far) = match &self {
            Message::Leave(leave) => (Kind::Leave, late(leave.time)),
            Message::Join(join) => (Kind::Join, late(join.time)),
            Message::PushPull(all) => (
                Kind::PushPull,
                [all.time, all.event_time, all.query_time].into_iter().any(late)
                    || all.status_times.values().copied().any(late)
                    || all.events.iter().flatten().any(|events| late(events.time)),
            ),
            Message::UserEvent(event) => (Kind::UserEvent, late(event.time)),
            Message::Query(query) => {
                if query.filters.len() > FILTERS_MAX {
                    return Err(DecodeError::Malformed(Kind::Query, "too many filters".to_owned()));
                }
                (Kind::Query, late(query.time))
            }
            Message::QueryResponse(response) => (Kind::QueryResponse, late(response.time)),
            Message::ConflictResponse(_) | Message::KeyRequest(_) | Message::KeyResponse(_) | Message::Relay(_) => {
                return Ok(self);
            }
        };
        if far {
            return Err(DecodeError::Malformed(kind, "Lamport time out of range".to_owned()));
        }
        Ok(self)
    }
}

fn body_of<T: for<'de> Deserialize<'de>>(kind: Kind, body: &[u8]) -> Result<T, DecodeError> {
    msgpack::Decoder::new(body).decode().map_err(|error| DecodeError::Malformed(kind, error.to_string()))
}

fn encode<T: Serialize>(kind: Kind, body: &T) -> Bytes {
    let mut out = vec![kind as u8];
    msgpack::write_to(&mut out, body).expect("these types have only what msgpack has, shorter than 4 GiB");
    out.into()
}

fn decode_relay(body: &[u8]) -> Result<Relay, DecodeError> {
    let malformed = |why: String| DecodeError::Malformed(Kind::Relay, why);
    let mut decoder = msgpack::Decoder::new(body);
    let header: RelayHeader = decoder.decode().map_err(|error| malformed(error.to_string()))?;
    let ip = ip_from_bytes(&header.dest_addr.ip).ok_or_else(|| malformed("no address".to_owned()))?;
    let port = u16::try_from(header.dest_addr.port).map_err(|_| malformed("no port".to_owned()))?;
    Ok(Relay { to: SocketAddr::new(ip, port), name: header.dest_name, message: Bytes::copy_from_slice(decoder.rest()) })
}

fn encode_relay(relay: &Relay) -> Bytes {
    let header = RelayHeader {
        dest_addr: RelayAddress {
            ip: ip_to_bytes(relay.to.ip()),
            port: i64::from(relay.to.port()),
            zone: String::new(),
        },
        dest_name: relay.name.clone(),
    };
    let mut out = encode(Kind::Relay, &header).to_vec();
    out.extend_from_slice(&relay.message);
    out.into()
}

/// An address as Go's `net.IP`: 4 bytes if it can be had in 4.
#[must_use]
pub fn ip_to_bytes(ip: IpAddr) -> Bytes {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}

#[must_use]
pub fn ip_from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())
}

/// Whom a query is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// These nodes.
    Nodes(Vec<String>),
    /// Nodes whose tag matches a regular expression; a tag that is not there is empty.
    Tag { tag: String, expression: String },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TagFilter {
    tag: String,
    expr: String,
}

impl Filter {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (kind, written) = match self {
            Filter::Nodes(nodes) => (0, msgpack::to_vec(nodes)),
            Filter::Tag { tag, expression } => {
                (1, msgpack::to_vec(&TagFilter { tag: tag.clone(), expr: expression.clone() }))
            }
        };
        let body = written.expect("names and patterns are strings shorter than 4 GiB");
        [&[kind], body.as_slice()].concat().into()
    }

    pub fn decode(filter: &[u8]) -> Result<Filter, DecodeError> {
        match filter.split_first().ok_or(DecodeError::Empty)? {
            (0, body) => {
                let nodes: Option<Vec<String>> = body_of(Kind::Query, body)?;
                Ok(Filter::Nodes(nodes.unwrap_or_default()))
            }
            (1, body) => {
                let filter: TagFilter = body_of(Kind::Query, body)?;
                Ok(Filter::Tag { tag: filter.tag, expression: filter.expr })
            }
            (&unknown, _) => Err(DecodeError::UnknownKind(unknown)),
        }
    }
}

#[cfg(test)]
mod tests;
