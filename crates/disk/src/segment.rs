//! The bytes of a log segment: records, each with a checked header and a checked body.
//!
//! A record is a header of 36 bytes and a body, all numbers little-endian:
//!
//! ```text
//! 0  magic "CuLg"     4  kind             5  flags (1)          6  append (2)       8  index (8)
//! 16 term (8)         24 body length (4)  28 body crc32 (4)     32 crc32 of bytes 0..32 (4)
//! ```
//!
//! Always true:
//! - The header is checked by itself, so that a damaged length is told from a record that was cut short.
//! - Appends are numbered, and the last record of each says that it is: an append is there as a whole or not at all.
//!   It starts only when the one before it is synced, so whatever stands before it was stable once, and damage to that
//!   is damage.
//! - Bodies are masked, so that a block of zeros is never data: it is a block that was never written.

use std::path::Path;

use replica::StoreError;

pub(crate) const HEADER: usize = 36;
const MAGIC: [u8; 4] = *b"CuLg";
/// No body is longer: the largest entry is a transaction or value far below this.
const BODY_MAX: u32 = 1 << 30;
/// Flag of the last record of an append.
const ENDS_APPEND: u8 = 1;
/// So many zeros at the end of a masked record are no chance.
const ZEROS_MIN: usize = 8;
/// Disks write at least this much at once.
const SECTOR: usize = 512;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A raft entry, encoded by the raft library.
    Entry,
    /// A hard state, likewise.
    HardState,
}

/// A record but for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    /// The number of its append, from 0 again after 65,535.
    pub append: u16,
    pub ends_append: bool,
    /// Of an entry its index; of a hard state see `log.rs`.
    pub index: u64,
    pub term: u64,
}

/// A header as it was read, with what it says of the body.
#[derive(Debug, Clone, Copy)]
struct Stored {
    header: Header,
    length: usize,
    crc: u32,
}

/// Adds a record to the bytes of an append.
pub(crate) fn put(out: &mut Vec<u8>, record: Header, body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(body);
    mask(&mut out[start + HEADER..]);
    let crc = crc32fast::hash(&out[start + HEADER..]);
    let header = &mut out[start..start + HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = match record.kind {
        Kind::Entry => 1,
        Kind::HardState => 2,
    };
    header[5] = if record.ends_append { ENDS_APPEND } else { 0 };
    header[6..8].copy_from_slice(&record.append.to_le_bytes());
    header[8..16].copy_from_slice(&record.index.to_le_bytes());
    header[16..24].copy_from_slice(&record.term.to_le_bytes());
    header[24..28].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    header[28..32].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
}

/// Masks a body, or takes the mask off again.
pub(crate) fn mask(body: &mut [u8]) {
    const STEP: usize = 64;
    const MASK: [u8; STEP] = {
        let mut mask = [0; STEP];
        let (mut at, mut value) = (0, 0x9du8);
        while at < STEP {
            // Odd and growing by an odd step in turns: no byte is zero, neighbours differ.
            mask[at] = value | 1;
            value = value.wrapping_mul(37).wrapping_add(91);
            at += 1;
        }
        mask
    };
    for part in body.chunks_mut(STEP) {
        part.iter_mut().zip(MASK).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A sound record; its body is still masked.
    Record(Header, &'a [u8]),
    /// The end of the segment.
    End,
    /// The file ends before the record does.
    Short,
    /// Something else than what was written; says what is wrong.
    Wrong(&'static str),
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
    if rest.len() < HEADER {
        return Found::Short;
    }
    let stored = match stored(rest) {
        Ok(stored) => stored,
        Err(reason) => return Found::Wrong(reason),
    };
    let Some(body) = rest.get(HEADER..HEADER + stored.length) else { return Found::Short };
    if crc32fast::hash(body) == stored.crc { Found::Record(stored.header, body) } else { Found::Wrong("body") }
}

/// Whether the unsound record at `at` of the newest segment is what a crash leaves behind, and not damage: it
/// belongs to the last append, whose number is `append`, and part of that append was never written.
pub(crate) fn is_unfinished(bytes: &[u8], at: usize, found: &Found<'_>, append: u16) -> bool {
    let rest = &bytes[at..];
    let mut headers = rest.windows(HEADER).filter(|window| window.starts_with(&MAGIC));
    if headers.any(|window| stored(window).is_ok_and(|stored| stored.header.append != append)) {
        return false;
    }
    if matches!(found, Found::Short | Found::End) {
        return true;
    }
    // Behind the append stand the zeros that were written ahead: they say nothing.
    let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let own = stored(rest).map_or(HEADER, |stored| HEADER + stored.length);
    let Some(append) = rest.get(..own.max(written)) else { return true };
    if own - own.min(written) >= (own - HEADER).clamp(1, ZEROS_MIN) {
        return true;
    }
    let missing = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    let (begun, sectors) = append.split_at((SECTOR - at % SECTOR).min(append.len()));
    missing(begun) || sectors.chunks(SECTOR).any(missing)
}

/// Whether nothing was written from `at` on but zeros, ahead of the appends to come.
pub(crate) fn is_blank(bytes: &[u8], at: usize) -> bool {
    bytes[at..].iter().all(|byte| *byte == 0)
}

fn stored(bytes: &[u8]) -> Result<Stored, &'static str> {
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
    let header = Header {
        kind,
        append: u16::from_le_bytes(number(bytes, 6)),
        ends_append: bytes[5] & ENDS_APPEND != 0,
        index: u64::from_le_bytes(number(bytes, 8)),
        term: u64::from_le_bytes(number(bytes, 16)),
    };
    Ok(Stored { header, length: length as usize, crc: u32::from_le_bytes(number(bytes, 28)) })
}

/// Damage as an error that says where.
pub(crate) fn damaged(path: &Path, at: usize, reason: &str) -> StoreError {
    StoreError::Broken(format!(
        "log segment {} is damaged at offset {at} ({reason} checksum or form is wrong); refusing to start",
        path.display()
    ))
}
