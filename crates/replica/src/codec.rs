//! Commands and records as bytes: a message type byte and a msgpack body (protocols.md C1, C3).

use std::fmt;
use std::io::{Read, Write};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use state::snapshot::{Foreign, Record, Restore};
use state::{Command, Index, Limits, State};
use wire::msgpack;

/// Message type ids of the reference.
mod kind {
    pub const REGISTER: u8 = 0;
    pub const DEREGISTER: u8 = 1;
    pub const KVS: u8 = 2;
    pub const SESSION: u8 = 3;
    pub const TOMBSTONE: u8 = 5;
    pub const COORDINATES: u8 = 6;
    pub const PREPARED_QUERY: u8 = 7;
    pub const TXN: u8 = 8;
    pub const AUTOPILOT: u8 = 9;
    pub const INDEX: u8 = 16;
    /// The highest id that the reference is known to use.
    pub const LAST_KNOWN: u8 = 43;
    /// Set on entries that a version which does not know them may pass over.
    pub const IGNORABLE: u8 = 128;
}

/// Bytes that are no command or record.
#[derive(Debug)]
pub enum Error {
    Empty,
    UnknownKind(u8),
    Body(msgpack::Error),
    Io(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Empty => f.write_str("empty entry"),
            Error::UnknownKind(kind) => write!(f, "unknown message type {kind}"),
            Error::Body(error) => error.fmt(f),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<msgpack::Error> for Error {
    fn from(error: msgpack::Error) -> Self {
        Error::Body(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(error)
    }
}

/// A command as a log entry.
pub fn encode(command: &Command) -> Result<Vec<u8>, Error> {
    match command {
        Command::Register(request) => tagged(kind::REGISTER, request),
        Command::Deregister(request) => tagged(kind::DEREGISTER, request),
        Command::Kvs(request) => tagged(kind::KVS, request),
        Command::Session(request) => tagged(kind::SESSION, request),
        Command::Tombstone(request) => tagged(kind::TOMBSTONE, request),
        // Compat: the reference flags this one, for servers older than coordinates.
        Command::CoordinateBatchUpdate(batch) => tagged(kind::COORDINATES | kind::IGNORABLE, batch),
        Command::PreparedQuery(request) => tagged(kind::PREPARED_QUERY, request),
        Command::Txn(request) => tagged(kind::TXN, request),
        Command::Autopilot(request) => tagged(kind::AUTOPILOT, request),
    }
}

/// The word for a command in metric names (`consul.fsm.<word>`).
#[must_use]
pub fn word(command: &Command) -> &'static str {
    match command {
        Command::Register(_) => "register",
        Command::Deregister(_) => "deregister",
        Command::Kvs(_) => "kvs",
        Command::Session(_) => "session",
        Command::Tombstone(_) => "tombstone",
        Command::CoordinateBatchUpdate(_) => "coordinate.batch-update",
        Command::PreparedQuery(_) => "prepared-query",
        Command::Txn(_) => "txn",
        Command::Autopilot(_) => "autopilot",
    }
}

/// A log entry as a command; `None` when it may be passed over.
pub fn decode(entry: &[u8]) -> Result<Option<Command>, Error> {
    let (&tag, body) = entry.split_first().ok_or(Error::Empty)?;
    let command = match tag & !kind::IGNORABLE {
        kind::REGISTER => Command::Register(msgpack::from_slice(body)?),
        kind::DEREGISTER => Command::Deregister(msgpack::from_slice(body)?),
        kind::KVS => Command::Kvs(msgpack::from_slice(body)?),
        kind::SESSION => Command::Session(msgpack::from_slice(body)?),
        kind::TOMBSTONE => Command::Tombstone(msgpack::from_slice(body)?),
        kind::COORDINATES => Command::CoordinateBatchUpdate(msgpack::from_slice(body)?),
        kind::PREPARED_QUERY => Command::PreparedQuery(msgpack::from_slice(body)?),
        kind::TXN => Command::Txn(msgpack::from_slice(body)?),
        kind::AUTOPILOT => Command::Autopilot(msgpack::from_slice(body)?),
        _ if tag & kind::IGNORABLE != 0 => return Ok(None),
        unknown => return Err(Error::UnknownKind(unknown)),
    };
    Ok(Some(command))
}

fn tagged<T: Serialize>(kind: u8, body: &T) -> Result<Vec<u8>, Error> {
    let mut out = vec![kind];
    msgpack::write_to(&mut out, body)?;
    Ok(out)
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "LastIndex")]
    last_index: Index,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct IndexRow {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Value")]
    value: Index,
}

/// Writes a state as `state.bin`.
pub fn write_state(state: &State, out: &mut dyn Write) -> Result<(), Error> {
    let mut buffer = msgpack::to_vec(&Header { last_index: state.applied() })?;
    out.write_all(&buffer)?;
    for record in state.records() {
        buffer.clear();
        write_record(&mut buffer, &record)?;
        out.write_all(&buffer)?;
    }
    Ok(())
}

fn write_record(out: &mut Vec<u8>, record: &Record) -> Result<(), Error> {
    fn put<T: Serialize>(out: &mut Vec<u8>, kind: u8, body: &T) -> Result<(), Error> {
        out.push(kind);
        Ok(msgpack::write_to(out, body)?)
    }
    match record {
        Record::Register(request) => put(out, kind::REGISTER, request),
        Record::Coordinates(batch) => put(out, kind::COORDINATES, batch),
        Record::Session(session) => put(out, kind::SESSION, session),
        Record::Kv(entry) => put(out, kind::KVS, entry),
        Record::Tombstone(stone) => put(out, kind::TOMBSTONE, stone),
        Record::PreparedQuery(query) => put(out, kind::PREPARED_QUERY, query),
        Record::Autopilot(config) => put(out, kind::AUTOPILOT, config),
        Record::Index { name, value } => put(out, kind::INDEX, &IndexRow { key: name.clone(), value: *value }),
        Record::Foreign(foreign) => {
            out.push(foreign.kind);
            out.extend_from_slice(&foreign.body);
            Ok(())
        }
    }
}

/// How much of a `state.bin` is read at once.
const READ_STEP: usize = 256 * 1024;
/// No single record is longer than this: the largest body that an agent takes, many times over.
const RECORD_MAX: usize = 256 << 20;

/// Reads a `state.bin`. Unknown record types are refused; those of concepts that are not built yet are kept.
pub fn read_state(mut input: impl Read, limits: Limits) -> Result<State, Error> {
    let mut window = Window { bytes: Vec::new(), at: 0, ended: false };
    let header: Header = window.value(&mut input)?;
    let mut restore = Restore::new(limits, header.last_index);
    while let Some(kind) = window.byte(&mut input)? {
        restore.add(read_record(kind, &mut window, &mut input)?);
    }
    Ok(restore.finish())
}

fn read_record(kind: u8, window: &mut Window, input: &mut dyn Read) -> Result<Record, Error> {
    Ok(match kind {
        kind::REGISTER => Record::Register(window.value(input)?),
        kind::COORDINATES => Record::Coordinates(window.value(input)?),
        kind::SESSION => Record::Session(window.value(input)?),
        kind::KVS => Record::Kv(window.value(input)?),
        kind::TOMBSTONE => Record::Tombstone(window.value(input)?),
        kind::PREPARED_QUERY => Record::PreparedQuery(window.value(input)?),
        kind::AUTOPILOT => Record::Autopilot(window.value(input)?),
        kind::INDEX => {
            let row: IndexRow = window.value(input)?;
            Record::Index { name: row.key, value: row.value }
        }
        known if known <= kind::LAST_KNOWN => {
            let body = Bytes::copy_from_slice(window.raw(input)?);
            Record::Foreign(Foreign { kind: known, body })
        }
        unknown => return Err(Error::UnknownKind(unknown)),
    })
}

/// The part of the input that is being read.
struct Window {
    bytes: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Window {
    fn fill(&mut self, input: &mut dyn Read) -> Result<(), Error> {
        self.bytes.drain(..self.at);
        self.at = 0;
        if self.bytes.len() > RECORD_MAX {
            return Err(Error::Io(std::io::Error::other("a record is too long")));
        }
        let before = self.bytes.len();
        let step = READ_STEP.max(before);
        self.bytes.resize(before + step, 0);
        let mut filled = before;
        while filled < self.bytes.len() {
            match input.read(&mut self.bytes[filled..])? {
                0 => {
                    self.ended = true;
                    break;
                }
                count => filled += count,
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }

    fn byte(&mut self, input: &mut dyn Read) -> Result<Option<u8>, Error> {
        if self.at == self.bytes.len() && !self.ended {
            self.fill(input)?;
        }
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        Ok(byte)
    }

    /// The bytes of one value.
    fn raw(&mut self, input: &mut dyn Read) -> Result<&[u8], Error> {
        let mut scanner = msgpack::ValueScanner::new();
        loop {
            if let Some(length) = scanner.advance(&self.bytes[self.at..])? {
                let start = self.at;
                self.at += length;
                return Ok(&self.bytes[start..self.at]);
            }
            if self.ended {
                return Err(Error::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.fill(input)?;
        }
    }

    fn value<T: DeserializeOwned>(&mut self, input: &mut dyn Read) -> Result<T, Error> {
        Ok(msgpack::from_slice(self.raw(input)?)?)
    }
}

#[cfg(test)]
mod tests {
    use state::kv::{Entry, KvsRequest, Octets, Op};
    use state::{Command, Index, Limits, State};

    use super::{decode, encode, read_state, write_state};

    fn put(key: &str, value: &[u8]) -> Command {
        let dir_ent = Entry { key: key.into(), value: Octets::copied(value), ..Entry::default() };
        Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() })
    }

    #[test]
    fn commands_come_back_as_they_were() {
        let command = put("a/b", &[0, 255, 128]);
        assert_eq!(decode(&encode(&command).unwrap()).unwrap(), Some(command));
    }

    #[test]
    fn unknown_entries_are_refused_unless_flagged() {
        assert!(decode(&[99, 0xc0]).is_err());
        assert!(decode(&[]).is_err());
        assert_eq!(decode(&[128 | 99, 0xc0]).unwrap(), None);
    }

    #[test]
    fn a_state_survives_the_way_through_a_snapshot() {
        let mut state = State::default();
        for at in 0..2000u64 {
            state.apply(Index(at + 1), put(&format!("key/{at}"), &vec![7; usize::try_from(at).unwrap()]));
        }
        let mut bytes = Vec::new();
        write_state(&state, &mut bytes).unwrap();
        let restored = read_state(&bytes[..], Limits::default()).unwrap();
        assert!(state.records().eq(restored.records()));
        assert_eq!(restored.applied(), Index(2000));
        for cut in [bytes.len() - 1, bytes.len() / 2] {
            assert!(read_state(&bytes[..cut], Limits::default()).is_err());
        }
    }
}
