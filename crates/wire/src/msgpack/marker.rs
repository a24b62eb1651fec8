//! What the first byte of a msgpack value says, and reading the fixed-size part that follows it.
//!
//! Invariant: `read_head` consumes the whole head (marker, length, scalar) and nothing of a body.

use super::Error;

pub(super) const NIL: u8 = 0xc0;
pub(super) const FALSE: u8 = 0xc2;
pub(super) const TRUE: u8 = 0xc3;
pub(super) const FLOAT32: u8 = 0xca;
pub(super) const FLOAT64: u8 = 0xcb;
pub(super) const UINT8: u8 = 0xcc;
pub(super) const UINT16: u8 = 0xcd;
pub(super) const UINT32: u8 = 0xce;
pub(super) const UINT64: u8 = 0xcf;
pub(super) const INT8: u8 = 0xd0;
pub(super) const INT16: u8 = 0xd1;
pub(super) const INT32: u8 = 0xd2;
pub(super) const INT64: u8 = 0xd3;
pub(super) const RAW16: u8 = 0xda;
pub(super) const RAW32: u8 = 0xdb;
pub(super) const ARRAY16: u8 = 0xdc;
pub(super) const ARRAY32: u8 = 0xdd;
pub(super) const MAP16: u8 = 0xde;
pub(super) const MAP32: u8 = 0xdf;

/// A value's head: the scalar itself, or the size of what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// `text` is false for the `bin` family, which says that the bytes are no text.
    Raw {
        len: usize,
        text: bool,
    },
    Array(usize),
    Map(usize),
    /// An extension value of this many bytes, its type byte already read.
    Ext(usize),
}

/// Reads the head at the front of `input`; answers it and its length in bytes.
pub(super) fn read_head(input: &[u8]) -> Result<(Head, usize), Error> {
    let marker = *input.first().ok_or(Error::Truncated)?;
    let head = match marker {
        0x00..=0x7f => Head::Unsigned(u64::from(marker)),
        0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
        0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
        0xa0..=0xbf => Head::Raw { len: usize::from(marker & 0x1f), text: true },
        NIL => Head::Nil,
        FALSE => Head::Bool(false),
        TRUE => Head::Bool(true),
        // The old codec never writes positive values in signed form, newer ones do: normalise them here once.
        0xe0..=0xff => Head::Signed(i64::from(marker.cast_signed())),
        INT8 => return Ok((signed(i64::from(i8::from_be_bytes(array(input)?))), 2)),
        INT16 => return Ok((signed(i64::from(i16::from_be_bytes(array(input)?))), 3)),
        INT32 => return Ok((signed(i64::from(i32::from_be_bytes(array(input)?))), 5)),
        INT64 => return Ok((signed(i64::from_be_bytes(array(input)?)), 9)),
        UINT8 => {
            return Ok((Head::Unsigned(u64::from(u8::from_be_bytes(array(input)?))), 2));
        }
        UINT16 => {
            return Ok((Head::Unsigned(u64::from(u16::from_be_bytes(array(input)?))), 3));
        }
        UINT32 => {
            return Ok((Head::Unsigned(u64::from(u32::from_be_bytes(array(input)?))), 5));
        }
        UINT64 => return Ok((Head::Unsigned(u64::from_be_bytes(array(input)?)), 9)),
        FLOAT32 => return Ok((Head::Float(f64::from(f32::from_be_bytes(array(input)?))), 5)),
        FLOAT64 => return Ok((Head::Float(f64::from_be_bytes(array(input)?)), 9)),
        0xc4 => {
            return Ok((Head::Raw { len: length8(input)?, text: false }, 2));
        }
        0xc5 => {
            return Ok((Head::Raw { len: length16(input)?, text: false }, 3));
        }
        0xc6 => {
            return Ok((Head::Raw { len: length32(input)?, text: false }, 5));
        }
        0xd9 => {
            return Ok((Head::Raw { len: length8(input)?, text: true }, 2));
        }
        RAW16 => {
            return Ok((Head::Raw { len: length16(input)?, text: true }, 3));
        }
        RAW32 => {
            return Ok((Head::Raw { len: length32(input)?, text: true }, 5));
        }
        ARRAY16 => return Ok((Head::Array(length16(input)?), 3)),
        ARRAY32 => return Ok((Head::Array(length32(input)?), 5)),
        MAP16 => return Ok((Head::Map(length16(input)?), 3)),
        MAP32 => return Ok((Head::Map(length32(input)?), 5)),
        0xc7 => return ext(input, length8(input)?, 3),
        0xc8 => return ext(input, length16(input)?, 4),
        0xc9 => return ext(input, length32(input)?, 6),
        0xd4..=0xd8 => return ext(input, 1 << (marker - 0xd4), 2),
        0xc1 => {
            return Err(Error::Unexpected { marker, wanted: "a value" });
        }
    };
    Ok((head, 1))
}

fn signed(value: i64) -> Head {
    u64::try_from(value).map_or(Head::Signed(value), Head::Unsigned)
}

fn ext(input: &[u8], len: usize, head_len: usize) -> Result<(Head, usize), Error> {
    if input.len() < head_len {
        return Err(Error::Truncated);
    }
    Ok((Head::Ext(len), head_len))
}

/// The `N` bytes after the marker.
fn array<const N: usize>(input: &[u8]) -> Result<[u8; N], Error> {
    input[1..].first_chunk::<N>().copied().ok_or(Error::Truncated)
}

fn length8(input: &[u8]) -> Result<usize, Error> {
    Ok(usize::from(u8::from_be_bytes(array(input)?)))
}

fn length16(input: &[u8]) -> Result<usize, Error> {
    Ok(usize::from(u16::from_be_bytes(array(input)?)))
}

fn length32(input: &[u8]) -> Result<usize, Error> {
    usize::try_from(u32::from_be_bytes(array(input)?)).map_err(|_| Error::TooLong)
}
