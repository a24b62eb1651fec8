//! The bytes of a log segment: records, each with a checked header and a checked body.
//!
//! A record is a header of 36 bytes and a body, all numbers little-endian:
//!
//! ```text
//! 0  magic "CuLg"     4  kind             5  zero (3)           8  index (8)
//! 16 term (8)         24 body length (4)  28 body crc32 (4)     32 crc32 of bytes 0..32 (4)
//! ```
//!
//! Because the header is checked by itself, a damaged length is told from a record that was cut short.

use std::path::Path;

use replica::StoreError;

pub(crate) const HEADER: usize = 36;
const MAGIC: [u8; 4] = *b"CuLg";
/// No body is longer: the largest entry is a transaction or value far below this.
const BODY_MAX: u32 = 1 << 30;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A raft entry, encoded by the raft library.
    Entry,
    /// A hard state, likewise.
    HardState,
}

/// A record's header, verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub index: u64,
    pub term: u64,
    pub length: u32,
    crc: u32,
}

/// Appends a record to `out`.
pub(crate) fn put(out: &mut Vec<u8>, kind: Kind, index: u64, term: u64, body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.push(match kind {
        Kind::Entry => 1,
        Kind::HardState => 2,
    });
    out.extend_from_slice(&[0; 3]);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&term.to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Record(Header, &'a [u8]),
    /// The end of the segment.
    End,
    /// A write that never finished: what is there is too short, or was never filled.
    Torn,
    /// Something else than what was written.
    Damaged(&'static str),
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

/// Reads the record at `at`.
pub(crate) fn read(bytes: &[u8], at: usize) -> Found<'_> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Found::End;
    }
    if rest.len() < HEADER || rest.iter().all(|byte| *byte == 0) {
        return Found::Torn;
    }
    let header = match header(rest) {
        Ok(header) => header,
        // A file may have grown before its bytes arrived: then zeros follow to the end.
        Err(_) if rest[HEADER..].iter().all(|byte| *byte == 0) && rest[HEADER - 8..HEADER] == [0; 8] => {
            return Found::Torn;
        }
        Err(reason) => return Found::Damaged(reason),
    };
    let Some(body) = rest.get(HEADER..HEADER + header.length as usize) else { return Found::Torn };
    if crc32fast::hash(body) == header.crc {
        return Found::Record(header, body);
    }
    let is_last = rest.len() == HEADER + body.len();
    if is_last && body.last() == Some(&0) && ends_in_zero_page(body) { Found::Torn } else { Found::Damaged("body") }
}

/// A page of zeros at the end: the file system had made room, but the bytes never came.
fn ends_in_zero_page(body: &[u8]) -> bool {
    const PAGE: usize = 512;
    let tail = &body[body.len().saturating_sub(PAGE)..];
    tail.iter().all(|byte| *byte == 0)
}

fn header(bytes: &[u8]) -> Result<Header, &'static str> {
    if u32::from_le_bytes(number(bytes, 32)) != crc32fast::hash(&bytes[..32]) {
        return Err("header");
    }
    if bytes[..4] != MAGIC {
        return Err("magic");
    }
    let kind = match bytes[4] {
        1 => Kind::Entry,
        2 => Kind::HardState,
        _ => return Err("kind"),
    };
    let length = u32::from_le_bytes(number(bytes, 24));
    if length > BODY_MAX {
        return Err("length");
    }
    Ok(Header {
        kind,
        index: u64::from_le_bytes(number(bytes, 8)),
        term: u64::from_le_bytes(number(bytes, 16)),
        length,
        crc: u32::from_le_bytes(number(bytes, 28)),
    })
}

/// Damage as an error that says where.
pub(crate) fn damaged(path: &Path, at: usize, reason: &str) -> StoreError {
    StoreError::Broken(format!(
        "log segment {} is damaged at offset {at} ({reason} checksum or form is wrong); refusing to start",
        path.display()
    ))
}
