//! `state.bin`, the state inside a snapshot: a header, then a type byte and a value for each record until the end.
//!
//! Invariant: reading holds one record at a time and grows its buffer only as bytes arrive, never past
//! [`MAX_RECORD`]; an end inside a record is an error, not an end.
//! Not here: what records mean, in which order they must come (`state`).

use std::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::log_entry::MessageType;
use crate::msgpack::{self, RawValue, ValueScanner};

/// The largest record: chunked raft entries in flight are kept in one, everything else is far smaller.
pub const MAX_RECORD: usize = 256 << 20;

/// How much is asked of the reader at once.
const CHUNK: usize = 64 << 10;

/// The first value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Header {
    /// The highest raft index that the state reflects.
    pub last_index: u64,
}

#[derive(Debug)]
pub enum Error {
    Io(io::Error),
    Decode(msgpack::Error),
    /// A record grew past [`MAX_RECORD`].
    TooLarge,
    /// A type byte with bit 128 set, which only log entries have.
    UnknownType(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => error.fmt(f),
            Error::Decode(error) => error.fmt(f),
            Error::TooLarge => write!(f, "snapshot record is larger than {MAX_RECORD} bytes"),
            // Compat: the reference's words.
            Error::UnknownType(number) => write!(f, "Unrecognized msg type {number}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<msgpack::Error> for Error {
    fn from(error: msgpack::Error) -> Error {
        Error::Decode(error)
    }
}

/// Writes a state, record by record.
pub struct Writer<W> {
    out: W,
    record: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header at once.
    pub fn new(out: W, header: Header) -> Result<Writer<W>, Error> {
        let mut writer = Writer { out, record: Vec::new(), written: 0 };
        msgpack::write_to(&mut writer.record, &header)?;
        writer.flush_record()?;
        Ok(writer)
    }

    pub fn write<T: Serialize + ?Sized>(&mut self, kind: MessageType, value: &T) -> Result<(), Error> {
        self.record.push(kind.number());
        msgpack::write_to(&mut self.record, value)?;
        self.flush_record()
    }

    /// How many bytes were written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Hands the output back; flushing it is the caller's.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn flush_record(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.record)?;
        self.written += self.record.len() as u64;
        self.record.clear();
        Ok(())
    }
}

/// Reads a state, record by record.
pub struct Reader<R> {
    input: R,
    /// Bytes that were read from `input`; those before `start` are spent.
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    header: Header,
}

impl<R: Read> Reader<R> {
    /// Reads the header at once.
    pub fn new(input: R) -> Result<Reader<R>, Error> {
        let mut reader = Reader { input, buffer: Vec::new(), start: 0, ended: false, header: Header::default() };
        let header = reader.value()?;
        reader.header = msgpack::from_slice(&header)?;
        Ok(reader)
    }

    pub fn header(&self) -> Header {
        self.header
    }

    /// The next record, or `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<(MessageType, RawValue)>, Error> {
        while self.start == self.buffer.len() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        let number = self.buffer[self.start];
        self.start += 1;
        let kind = MessageType::new(number).ok_or(Error::UnknownType(number))?;
        let value = RawValue::new(self.value()?)?;
        Ok(Some((kind, value)))
    }

    /// The bytes of the next value.
    fn value(&mut self) -> Result<Bytes, Error> {
        let mut scanner = ValueScanner::new();
        loop {
            if let Some(len) = scanner.advance(&self.buffer[self.start..])? {
                let value = Bytes::copy_from_slice(&self.buffer[self.start..self.start + len]);
                self.start += len;
                return Ok(value);
            }
            if scanner.needed() > MAX_RECORD {
                return Err(Error::TooLarge);
            }
            if !self.fill()? {
                return Err(Error::Decode(msgpack::Error::Truncated));
            }
        }
    }

    /// Reads some more, dropping what is spent; false at the end of the input.
    fn fill(&mut self) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        let read = self.input.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer)?;
        self.ended = read < CHUNK;
        Ok(self.buffer.len() > before)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Header, Reader, Writer};
    use crate::log_entry::MessageType;
    use crate::msgpack;
    use proptest::collection;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    /// The beginning of a state that the reference wrote.
    const GOLDEN: &str =
        concat!("81a94c617374496e646578ccd5", "10", "82a34b6579a56e6f646573a556616c756505", "02", "81a34b6579a178");

    #[test]
    fn reads_and_writes_records() {
        let golden = hex::decode(GOLDEN).unwrap();
        let mut reader = Reader::new(golden.as_slice()).unwrap();
        assert_eq!(reader.header(), Header { last_index: 213 });
        let mut writer = Writer::new(Vec::new(), reader.header()).unwrap();
        let mut kinds = Vec::new();
        while let Some((kind, value)) = reader.next_record().unwrap() {
            kinds.push(kind);
            writer.write(kind, &value).unwrap();
        }
        assert_eq!(kinds, [MessageType::INDEX, MessageType::KVS]);
        assert_eq!(writer.written(), golden.len() as u64);
        assert_eq!(writer.into_inner(), golden);
    }

    #[test]
    fn an_end_inside_a_record_is_an_error() {
        let golden = hex::decode(GOLDEN).unwrap();
        let ends: Vec<usize> = (0..=golden.len())
            .filter(|len| {
                let Ok(mut reader) = Reader::new(&golden[..*len]) else {
                    return false;
                };
                loop {
                    match reader.next_record() {
                        Ok(Some(_)) => {}
                        Ok(None) => return true,
                        Err(error) => {
                            assert!(matches!(error, Error::Decode(msgpack::Error::Truncated)));
                            return false;
                        }
                    }
                }
            })
            .collect();
        assert_eq!(ends, [13, 32, golden.len()], "only between records");
        assert!(matches!(Reader::new(&[0x80, 0x80, 0xc0][..]).unwrap().next_record(), Err(Error::UnknownType(128))));
    }

    #[test]
    fn a_record_that_promises_too_much_is_refused_at_once() {
        let bytes = [0x80, 2, 0xdb, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(Reader::new(&bytes[..]).unwrap().next_record(), Err(Error::TooLarge)));
    }

    proptest! {
        #[test]
        fn records_of_any_size_round_trip(sizes in collection::vec(0usize..200_000, 0..6)) {
            let mut writer = Writer::new(Vec::new(), Header { last_index: 1 }).unwrap();
            for size in &sizes {
                writer.write(MessageType::KVS, &"x".repeat(*size)).unwrap();
            }
            let bytes = writer.into_inner();
            let mut reader = Reader::new(bytes.as_slice()).unwrap();
            let mut read = Vec::new();
            while let Some((_, value)) = reader.next_record().unwrap() {
                read.push(value.decode::<String>().unwrap().len());
            }
            prop_assert_eq!(read, sizes);
        }

        #[test]
        fn any_bytes_are_answered(bytes in collection::vec(any::<u8>(), 0..200)) {
            if let Ok(mut reader) = Reader::new(bytes.as_slice()) {
                while let Ok(Some(_)) = reader.next_record() {}
            }
        }
    }
}
