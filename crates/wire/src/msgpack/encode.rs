//! The encoder: a serde serializer into a growing buffer.
//!
//! Invariant: struct fields leave in bytewise order of their names, whatever order the type declares, because the
//! reference sorts them and equal records must be equal bytes.

use serde::ser::{self, Serialize};

use super::Error;
use super::marker::{
    ARRAY16, ARRAY32, FALSE, FLOAT32, FLOAT64, INT8, INT16, INT32, INT64, MAP16, MAP32, NIL, RAW16, RAW32, TRUE, UINT8,
    UINT16, UINT32, UINT64,
};
use super::raw;

/// The name under which `serde_json`, built with arbitrary precision, hands over a number as its text.
const JSON_NUMBER_TOKEN: &str = "$serde_json::private::Number";

/// Encodes one value.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write_to(&mut out, value)?;
    Ok(out)
}

/// Appends one value to `out`. After an error `out` may end in part of a value.
pub fn write_to<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    let mut encoder = Encoder { out, fields: Vec::new(), sorted: Vec::new(), verbatim: false };
    value.serialize(&mut encoder)
}

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    /// Name and start of every field written so far in the structs that are open, innermost last.
    fields: Vec<(&'static str, usize)>,
    /// Scratch space for putting fields in order.
    sorted: Vec<u8>,
    /// The next bytes are a whole value already.
    verbatim: bool,
}

impl Encoder<'_> {
    fn put_unsigned(&mut self, value: u64) {
        if let Ok(small) = u8::try_from(value) {
            if small > 0x7f {
                self.out.push(UINT8);
            }
            self.out.push(small);
        } else if let Ok(value) = u16::try_from(value) {
            self.out.push(UINT16);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.out.push(UINT32);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else {
            self.out.push(UINT64);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    }

    fn put_signed(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.put_unsigned(value);
        } else if let Ok(small) = i8::try_from(value) {
            if small < -32 {
                self.out.push(INT8);
            }
            self.out.push(small.cast_unsigned());
        } else if let Ok(value) = i16::try_from(value) {
            self.out.push(INT16);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.out.push(INT32);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else {
            self.out.push(INT64);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    }

    fn put_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match u32::try_from(bytes.len()).map_err(|_| Error::TooLong)? {
            len @ 0..=31 => self.out.push(0xa0 | len.to_be_bytes()[3]),
            len => self.put_wide_length(len, RAW16, RAW32),
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn put_length(&mut self, len: usize, fixed: u8, wide16: u8, wide32: u8) -> Result<(), Error> {
        match u32::try_from(len).map_err(|_| Error::TooLong)? {
            len @ 0..=15 => self.out.push(fixed | len.to_be_bytes()[3]),
            len => self.put_wide_length(len, wide16, wide32),
        }
        Ok(())
    }

    fn put_wide_length(&mut self, len: u32, wide16: u8, wide32: u8) {
        if let Ok(len) = u16::try_from(len) {
            self.out.push(wide16);
            self.out.extend_from_slice(&len.to_be_bytes());
        } else {
            self.out.push(wide32);
            self.out.extend_from_slice(&len.to_be_bytes());
        }
    }

    fn put_array_length(&mut self, len: usize) -> Result<(), Error> {
        self.put_length(len, 0x90, ARRAY16, ARRAY32)
    }

    fn put_map_length(&mut self, len: usize) -> Result<(), Error> {
        self.put_length(len, 0x80, MAP16, MAP32)
    }

    /// Puts the fields written since `first` in order of their names; `first` indexes `self.fields`.
    fn sort_fields(&mut self, first: usize) {
        let end = self.out.len();
        let fields = &mut self.fields[first..];
        if !fields.is_sorted_by(|left, right| left.0 <= right.0) {
            let start = fields[0].1;
            // In order of position each field ends where the next begins.
            let mut spans: Vec<(&'static str, usize, usize)> = Vec::with_capacity(fields.len());
            for (index, (name, from)) in fields.iter().enumerate() {
                let to = fields.get(index + 1).map_or(end, |next| next.1);
                spans.push((name, *from, to));
            }
            spans.sort_by(|left, right| left.0.cmp(right.0));
            self.sorted.clear();
            for (_, from, to) in spans {
                self.sorted.extend_from_slice(&self.out[from..to]);
            }
            self.out[start..end].copy_from_slice(&self.sorted);
        }
        self.fields.truncate(first);
    }
}

impl<'a, 'o> ser::Serializer for &'a mut Encoder<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Elements<'a, 'o>;
    type SerializeTuple = Elements<'a, 'o>;
    type SerializeTupleStruct = Elements<'a, 'o>;
    type SerializeTupleVariant = Elements<'a, 'o>;
    type SerializeMap = Entries<'a, 'o>;
    type SerializeStruct = Fields<'a, 'o>;
    type SerializeStructVariant = Fields<'a, 'o>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.out.push(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.put_signed(i64::from(value));
        Ok(())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.put_signed(i64::from(value));
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.put_signed(i64::from(value));
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.put_signed(value);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.put_unsigned(u64::from(value));
        Ok(())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.put_unsigned(u64::from(value));
        Ok(())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.put_unsigned(u64::from(value));
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.put_unsigned(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.out.push(FLOAT32);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.out.push(FLOAT64);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.put_raw(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        if self.verbatim {
            self.out.extend_from_slice(value);
            return Ok(());
        }
        self.put_raw(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.push(NIL);
        Ok(())
    }

    /// An empty struct, as Go writes one.
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.put_map_length(0)
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Error> {
        if name == raw::TOKEN {
            self.verbatim = true;
            let written = value.serialize(&mut *self);
            self.verbatim = false;
            return written;
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.put_map_length(1)?;
        self.put_raw(variant.as_bytes())?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'a, 'o>, Error> {
        Ok(Elements { open: Open::begin(self, len, Encoder::put_array_length)? })
    }

    fn serialize_tuple(self, len: usize) -> Result<Elements<'a, 'o>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Elements<'a, 'o>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Elements<'a, 'o>, Error> {
        self.put_map_length(1)?;
        self.put_raw(variant.as_bytes())?;
        self.serialize_seq(Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'a, 'o>, Error> {
        Ok(Entries { open: Open::begin(self, len, Encoder::put_map_length)? })
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'a, 'o>, Error> {
        if name == JSON_NUMBER_TOKEN {
            return Ok(Fields::JsonNumber { encoder: self });
        }
        self.put_map_length(len)?;
        let first = self.fields.len();
        Ok(Fields::Struct { encoder: self, first, declared: len })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a, 'o>, Error> {
        self.put_map_length(1)?;
        self.put_raw(variant.as_bytes())?;
        self.serialize_struct(name, len)
    }
}

/// A container whose head is being filled: counted, because serde may not know the length beforehand.
struct Open<'a, 'o> {
    encoder: &'a mut Encoder<'o>,
    head_at: usize,
    body_at: usize,
    declared: usize,
    count: usize,
    put_head: fn(&mut Encoder<'o>, usize) -> Result<(), Error>,
}

impl<'a, 'o> Open<'a, 'o> {
    fn begin(
        encoder: &'a mut Encoder<'o>,
        len: Option<usize>,
        put_head: fn(&mut Encoder<'o>, usize) -> Result<(), Error>,
    ) -> Result<Open<'a, 'o>, Error> {
        let head_at = encoder.out.len();
        let declared = len.unwrap_or(0);
        put_head(encoder, declared)?;
        let body_at = encoder.out.len();
        Ok(Open { encoder, head_at, body_at, declared, count: 0, put_head })
    }

    /// Rewrites the head if another length was announced than came.
    fn finish(self) -> Result<(), Error> {
        if self.count == self.declared {
            return Ok(());
        }
        let body = self.encoder.out.split_off(self.body_at);
        self.encoder.out.truncate(self.head_at);
        (self.put_head)(self.encoder, self.count)?;
        self.encoder.out.extend_from_slice(&body);
        // Field positions of open structs lie before this container, so they stay true.
        Ok(())
    }
}

struct Elements<'a, 'o> {
    open: Open<'a, 'o>,
}

impl Elements<'_, '_> {
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.open.count += 1;
        value.serialize(&mut *self.open.encoder)
    }
}

impl ser::SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.put(value)
    }

    fn end(self) -> Result<(), Error> {
        self.open.finish()
    }
}

impl ser::SerializeTuple for Elements<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.put(value)
    }

    fn end(self) -> Result<(), Error> {
        self.open.finish()
    }
}

impl ser::SerializeTupleStruct for Elements<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.put(value)
    }

    fn end(self) -> Result<(), Error> {
        self.open.finish()
    }
}

impl ser::SerializeTupleVariant for Elements<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.put(value)
    }

    fn end(self) -> Result<(), Error> {
        self.open.finish()
    }
}

struct Entries<'a, 'o> {
    open: Open<'a, 'o>,
}

impl ser::SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.open.count += 1;
        key.serialize(&mut *self.open.encoder)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.open.encoder)
    }

    fn end(self) -> Result<(), Error> {
        self.open.finish()
    }
}

enum Fields<'a, 'o> {
    Struct { encoder: &'a mut Encoder<'o>, first: usize, declared: usize },
    JsonNumber { encoder: &'a mut Encoder<'o> },
}

impl Fields<'_, '_> {
    fn put<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        match self {
            Fields::Struct { encoder, .. } => {
                let at = encoder.out.len();
                encoder.fields.push((key, at));
                encoder.put_raw(key.as_bytes())?;
                value.serialize(&mut **encoder)
            }
            Fields::JsonNumber { encoder } => {
                let text = serde_json::to_value(value).map_err(ser::Error::custom)?;
                encoder.put_json_number(text.as_str().unwrap_or("0"))
            }
        }
    }

    fn finish(self) -> Result<(), Error> {
        let Fields::Struct { encoder, first, declared } = self else {
            return Ok(());
        };
        if encoder.fields.len() - first != declared {
            return Err(Error::Message("msgpack: struct with another number of fields than announced".to_owned()));
        }
        encoder.sort_fields(first);
        Ok(())
    }
}

impl Encoder<'_> {
    /// A number from a JSON document: an integer if it is one, else a double, as Go holds it.
    fn put_json_number(&mut self, text: &str) -> Result<(), Error> {
        if let Ok(value) = text.parse::<u64>() {
            self.put_unsigned(value);
        } else if let Ok(value) = text.parse::<i64>() {
            self.put_signed(value);
        } else {
            let value: f64 = text.parse().map_err(|_| Error::Message(format!("msgpack: {text:?} is no number")))?;
            self.out.push(FLOAT64);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
        Ok(())
    }
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.put(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

impl ser::SerializeStructVariant for Fields<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.put(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}
