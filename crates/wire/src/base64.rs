//! Byte fields in JSON: standard base64 with Go's decoding rules and error text.
//!
//! Invariant: accepts exactly what Go's `base64.StdEncoding` accepts (padding required, line breaks skipped, stray low
//! bits tolerated) and names the same input byte when it refuses.

use std::fmt;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Deserializer};
use serde::ser::Serializer;

/// Text that is no base64; displays as Go words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptInput {
    /// Offset of the offending byte.
    pub at: usize,
}

impl fmt::Display for CorruptInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "illegal base64 data at input byte {}", self.at)
    }
}

impl std::error::Error for CorruptInput {}

pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Encodes into the beginning of `out`, which has room for it.
pub(crate) fn encode_into<'o>(bytes: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    let length = STANDARD.encode_slice(bytes, out).expect("there is room");
    &out[..length]
}

pub fn decode(text: &[u8]) -> Result<Vec<u8>, CorruptInput> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut at = 0;
    while read_group(text, &mut at, &mut out)? {}
    Ok(out)
}

/// Reads four characters from `at` on into up to three bytes; answers whether more may follow.
fn read_group(text: &[u8], at: &mut usize, out: &mut Vec<u8>) -> Result<bool, CorruptInput> {
    let mut digits = [0u8; 4];
    let mut count = 0;
    while count < 4 {
        let Some(&byte) = text.get(*at) else {
            // Compat: at the end of the text Go names the first byte of the unfinished group.
            return if count == 0 { Ok(false) } else { Err(CorruptInput { at: *at - count }) };
        };
        *at += 1;
        match (value_of(byte), byte) {
            (Some(digit), _) => {
                digits[count] = digit;
                count += 1;
            }
            (None, b'\r' | b'\n') => {}
            (None, b'=') if count >= 2 => {
                read_padding(text, at, count)?;
                push_group(digits, count, out);
                return Ok(false);
            }
            (None, _) => return Err(CorruptInput { at: *at - 1 }),
        }
    }
    push_group(digits, count, out);
    Ok(true)
}

/// What may follow the first `=` of a group that holds `count` digits: a second one after two digits, then nothing
/// but line breaks.
fn read_padding(text: &[u8], at: &mut usize, count: usize) -> Result<(), CorruptInput> {
    skip_line_breaks(text, at);
    if count == 2 {
        match text.get(*at) {
            None => return Err(CorruptInput { at: text.len() }),
            Some(b'=') => *at += 1,
            Some(_) => return Err(CorruptInput { at: *at - 1 }),
        }
        skip_line_breaks(text, at);
    }
    if *at < text.len() { Err(CorruptInput { at: *at }) } else { Ok(()) }
}

fn skip_line_breaks(text: &[u8], at: &mut usize) {
    while matches!(text.get(*at), Some(b'\r' | b'\n')) {
        *at += 1;
    }
}

fn push_group(digits: [u8; 4], count: usize, out: &mut Vec<u8>) {
    let bits = digits.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit));
    let [_, bytes @ ..] = bits.to_be_bytes();
    out.extend_from_slice(&bytes[..count - 1]);
}

fn value_of(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// For `#[serde(with = "wire::base64")]` on [`Bytes`]: base64 in JSON (`""` for none), raw bytes in msgpack.
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&encode(bytes))
    } else {
        serializer.serialize_bytes(bytes)
    }
}

/// The reading half of [`serialize`]. Null is no bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_byte_buf(BytesVisitor)
}

struct BytesVisitor;

impl<'de> de::Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[]uint8")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes::from(bytes))
    }

    /// Plain `serde_json` hands strings over as text.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        decode(text.as_bytes()).map(Bytes::from).map_err(E::custom)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Bytes::from(bytes))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Bytes, E> {
        Ok(Bytes::new())
    }
}

/// For `#[serde(with = "wire::base64::or_null")]`: as [`super::base64`], but no bytes are written as null, which is
/// how Go writes a slice that was never set.
pub mod or_null {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        if bytes.is_empty() { serializer.serialize_unit() } else { super::serialize(bytes, serializer) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        super::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use proptest::collection;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn check(text: &str, expect: &str) {
        let got = match decode(text.as_bytes()) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "decoding {text:?}");
    }

    /// Expectations were printed by Go.
    #[test]
    fn decodes_and_refuses_as_go_does() {
        check("", "");
        check("aGVsbG8=", "hello");
        check("aGVs\r\nbG8=\n", "hello");
        check("aGVsbG9=", "hello");
        check("!!!", "illegal base64 data at input byte 0");
        check("a", "illegal base64 data at input byte 0");
        check("aGVsb", "illegal base64 data at input byte 4");
        check("aGVsbG8", "illegal base64 data at input byte 4");
        check("aGVsbG8=x", "illegal base64 data at input byte 8");
        check("aA=", "illegal base64 data at input byte 3");
        check("aA=x", "illegal base64 data at input byte 2");
        check("a===", "illegal base64 data at input byte 1");
        check("not base64", "illegal base64 data at input byte 3");
        check("aGVs\nb", "illegal base64 data at input byte 5");
    }

    proptest! {
        #[test]
        fn round_trips(bytes in collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Ok(bytes));
        }

        #[test]
        fn any_bytes_are_answered(bytes in collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
