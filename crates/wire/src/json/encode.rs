//! The encoder: `serde_json`'s serializer with Go's spelling.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use super::Error;
use crate::base64;

/// Encodes on one line without white space.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    write(value, CompactFormatter)
}

/// As [`to_vec`], as text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    String::from_utf8(to_vec(value)?).map_err(|error| Error::message(error.to_string()))
}

/// Encodes with an indent of four spaces and no newline at the end.
pub fn to_vec_pretty<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    write(value, PrettyFormatter::with_indent(b"    "))
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, layout: F) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoSpelling { layout });
    value.serialize(&mut serializer).map_err(|error| Error::message(error.to_string()))?;
    Ok(out)
}

/// Leaves the white space to `layout` and spells scalars as Go does.
struct GoSpelling<F> {
    layout: F,
}

impl<F: Formatter> Formatter for GoSpelling<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let bytes = fragment.as_bytes();
        // Without an early end this runs over many bytes at a time, and nearly all fragments end here.
        if !bytes.iter().fold(false, |any, byte| any | may_begin_escape(*byte)) {
            return writer.write_all(bytes);
        }
        let mut plain_from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| must_escape(*c)) {
            writer.write_all(&bytes[plain_from..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            plain_from = at + c.len_utf8();
        }
        writer.write_all(&bytes[plain_from..])
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            write_exponent(writer, &format!("{value:e}"))
        } else {
            write!(writer, "{value}")
        }
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            write_exponent(writer, &format!("{value:e}"))
        } else {
            write!(writer, "{value}")
        }
    }

    /// Numbers of a `serde_json::Value`, which carries them as text.
    fn write_number_str<W: ?Sized + Write>(&mut self, writer: &mut W, value: &str) -> io::Result<()> {
        if value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return writer.write_all(value.as_bytes());
        }
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() => self.write_f64(writer, number),
            _ => writer.write_all(value.as_bytes()),
        }
    }

    fn write_byte_array<W: ?Sized + Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        /// Read and written at a time; the first is a multiple of three, so that only the end is padded.
        const PIECE: usize = 768;
        const PIECE_ENCODED: usize = PIECE / 3 * 4;
        writer.write_all(b"\"")?;
        let mut encoded = [0; PIECE_ENCODED];
        for piece in value.chunks(PIECE) {
            writer.write_all(base64::encode_into(piece, &mut encoded))?;
        }
        writer.write_all(b"\"")
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.layout.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.layout.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.layout.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.layout.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.layout.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.layout.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.layout.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.layout.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.layout.end_object_value(writer)
    }
}

/// What Go escapes beyond the standard, so that JSON may stand inside HTML and JavaScript.
fn must_escape(c: char) -> bool {
    matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

/// Whether what [`must_escape`] may begin with this byte of UTF-8.
fn may_begin_escape(byte: u8) -> bool {
    (byte == b'<') | (byte == b'>') | (byte == b'&') | (byte == 0xe2)
}

/// Rust spells `1e21` and `1e-7`; Go `1e+21` and `1e-7`.
fn write_exponent<W: ?Sized + Write>(writer: &mut W, spelled: &str) -> io::Result<()> {
    match spelled.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            write!(writer, "{digits}e+{exponent}")
        }
        _ => writer.write_all(spelled.as_bytes()),
    }
}
