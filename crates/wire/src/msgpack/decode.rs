//! The decoder: a serde deserializer over a byte slice.
//!
//! Invariant: position only moves forward, and after a value was read it stands behind all of it.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Visitor};

use super::marker::{Head, read_head};
use super::{Error, MAX_DEPTH, raw, skip_value};

/// Decodes exactly one value; bytes after it are an error.
pub fn from_slice<T: DeserializeOwned>(input: &[u8]) -> Result<T, Error> {
    let mut decoder = Decoder::new(input);
    let value = decoder.decode()?;
    if decoder.is_empty() { Ok(value) } else { Err(Error::Trailing { at: decoder.position() }) }
}

/// Reads values that follow each other in one buffer.
pub struct Decoder<'de> {
    input: &'de [u8],
    position: usize,
    depth: usize,
}

impl<'de> Decoder<'de> {
    pub fn new(input: &'de [u8]) -> Decoder<'de> {
        Decoder { input, position: 0, depth: 0 }
    }

    /// The next value. After an error the position is somewhere inside it.
    pub fn decode<T: Deserialize<'de>>(&mut self) -> Result<T, Error> {
        self.depth = 0;
        T::deserialize(self)
    }

    /// The bytes of the next value, uninterpreted.
    pub fn skip(&mut self) -> Result<&'de [u8], Error> {
        let rest = self.rest();
        let len = skip_value(rest)?;
        self.position += len;
        Ok(&rest[..len])
    }

    /// The next byte, if it is not part of a value (the type bytes of a snapshot).
    pub fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.rest().first().ok_or(Error::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    /// How many bytes were read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'de [u8] {
        &self.input[self.position..]
    }

    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn head(&mut self) -> Result<Head, Error> {
        let (head, len) = read_head(self.rest())?;
        self.position += len;
        Ok(head)
    }

    fn take(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let taken = self.rest().get(..len).ok_or(Error::Truncated)?;
        self.position += len;
        Ok(taken)
    }

    /// The first byte of the value whose head was read from `start`, for errors.
    fn unexpected(&self, start: usize, wanted: &'static str) -> Error {
        Error::Unexpected { marker: self.input.get(start).copied().unwrap_or(0), wanted }
    }

    /// Refuses counts that the rest of the input cannot hold, each item being `size` bytes at the least.
    fn admit(&self, count: usize, size: usize) -> Result<(), Error> {
        if count > self.rest().len() / size { Err(Error::Truncated) } else { Ok(()) }
    }

    fn nested<R>(&mut self, read: impl FnOnce(&mut Decoder<'de>) -> Result<R, Error>) -> Result<R, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn unsigned(&mut self, wanted: &'static str) -> Result<u64, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => Ok(0),
            Head::Unsigned(value) => Ok(value),
            Head::Signed(_) => Err(Error::OutOfRange { wanted }),
            _ => Err(self.unexpected(start, wanted)),
        }
    }

    fn signed(&mut self, wanted: &'static str) -> Result<i64, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => Ok(0),
            Head::Unsigned(value) => i64::try_from(value).map_err(|_| Error::OutOfRange { wanted }),
            Head::Signed(value) => Ok(value),
            _ => Err(self.unexpected(start, wanted)),
        }
    }

    fn float(&mut self) -> Result<f64, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => Ok(0.0),
            Head::Float(value) => Ok(value),
            Head::Unsigned(value) => Ok(value as f64),
            Head::Signed(value) => Ok(value as f64),
            _ => Err(self.unexpected(start, "a number")),
        }
    }

    /// A string or bytes value; nil is empty.
    fn raw(&mut self, wanted: &'static str) -> Result<&'de [u8], Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => Ok(&[]),
            Head::Raw { len, .. } => self.take(len),
            _ => Err(self.unexpected(start, wanted)),
        }
    }

    fn text(&mut self) -> Result<Cow<'de, str>, Error> {
        Ok(String::from_utf8_lossy(self.raw("a string")?))
    }

    fn visit_text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.text()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn visit_array<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.admit(len, 1)?;
        self.nested(|decoder| {
            let mut elements = Elements { decoder, left: len };
            let value = visitor.visit_seq(&mut elements)?;
            elements.finish()?;
            Ok(value)
        })
    }

    fn visit_entries<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.admit(len, 2)?;
        self.nested(|decoder| {
            let mut entries = Entries { decoder, left: len };
            let value = visitor.visit_map(&mut entries)?;
            entries.finish()?;
            Ok(value)
        })
    }
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Unsigned(value) => visitor.visit_u64(value),
            Head::Signed(value) => visitor.visit_i64(value),
            Head::Float(value) => visitor.visit_f64(value),
            // Compat: Consul's decoder makes strings of raw values that go into an interface.
            Head::Raw { len, text: true } => match String::from_utf8_lossy(self.take(len)?) {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Head::Raw { len, text: false } => visitor.visit_borrowed_bytes(self.take(len)?),
            Head::Array(len) => self.visit_array(len, visitor),
            Head::Map(len) => self.visit_entries(len, visitor),
            Head::Ext(len) => {
                let bytes = self.take(len)?;
                visitor.visit_borrowed_bytes(bytes)
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil | Head::Bool(false) | Head::Unsigned(0) => visitor.visit_bool(false),
            Head::Bool(true) | Head::Unsigned(1) => visitor.visit_bool(true),
            _ => Err(self.unexpected(start, "a bool")),
        }
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.signed("int8")?;
        visitor.visit_i8(i8::try_from(value).map_err(|_| Error::OutOfRange { wanted: "int8" })?)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.signed("int16")?;
        visitor.visit_i16(i16::try_from(value).map_err(|_| Error::OutOfRange { wanted: "int16" })?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.signed("int32")?;
        visitor.visit_i32(i32::try_from(value).map_err(|_| Error::OutOfRange { wanted: "int32" })?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.signed("int64")?;
        visitor.visit_i64(value)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.unsigned("uint8")?;
        visitor.visit_u8(u8::try_from(value).map_err(|_| Error::OutOfRange { wanted: "uint8" })?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.unsigned("uint16")?;
        visitor.visit_u16(u16::try_from(value).map_err(|_| Error::OutOfRange { wanted: "uint16" })?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.unsigned("uint32")?;
        visitor.visit_u32(u32::try_from(value).map_err(|_| Error::OutOfRange { wanted: "uint32" })?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.unsigned("uint64")?;
        visitor.visit_u64(value)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.float()?;
        visitor.visit_f32(value as f32)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.float()?;
        visitor.visit_f64(value)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => visitor.visit_borrowed_bytes(&[]),
            Head::Raw { len, .. } | Head::Ext(len) => visitor.visit_borrowed_bytes(self.take(len)?),
            // A byte slice may also come as an array of small integers.
            Head::Array(len) => self.visit_array(len, visitor),
            _ => Err(self.unexpected(start, "bytes")),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.rest().first() == Some(&super::marker::NIL) {
            self.position += 1;
            return visitor.visit_none();
        }
        // An Option adds a frame without consuming input, so it counts like a container.
        self.nested(|decoder| visitor.visit_some(decoder))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_ignored_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_ignored_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == raw::TOKEN {
            let bytes = self.skip()?;
            return visitor.visit_borrowed_bytes(bytes);
        }
        self.nested(|decoder| visitor.visit_newtype_struct(decoder))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => self.visit_array(0, visitor),
            Head::Array(len) => self.visit_array(len, visitor),
            // A `Vec<u8>` field asks for a sequence where Go wrote raw bytes.
            Head::Raw { len, .. } => {
                let bytes = self.take(len)?;
                visitor.visit_seq(de::value::SeqDeserializer::new(bytes.iter().copied()))
            }
            _ => Err(self.unexpected(start, "an array")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => self.visit_entries(0, visitor),
            Head::Map(len) => self.visit_entries(len, visitor),
            _ => Err(self.unexpected(start, "a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => self.visit_entries(0, visitor),
            Head::Map(len) => self.visit_entries(len, visitor),
            _ => Err(self.unexpected(start, "a struct")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let start = self.position;
        match self.head()? {
            Head::Nil => visitor.visit_enum("".into_deserializer()),
            Head::Raw { len, .. } => {
                let bytes = self.take(len)?;
                match String::from_utf8_lossy(bytes) {
                    Cow::Borrowed(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
                    Cow::Owned(name) => visitor.visit_enum(name.into_deserializer()),
                }
            }
            Head::Map(1) => self.nested(|decoder| visitor.visit_enum(Variant { decoder })),
            _ => Err(self.unexpected(start, "a name")),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }
}

struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl Elements<'_, '_> {
    /// Passes over what the visitor left, as Go does with an array longer than its target.
    fn finish(&mut self) -> Result<(), Error> {
        while self.left > 0 {
            self.left -= 1;
            self.decoder.skip()?;
        }
        Ok(())
    }
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        // At most one element a byte of input, see `admit`; serde caps the allocation in bytes besides.
        Some(self.left)
    }
}

struct Entries<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl Entries<'_, '_> {
    fn finish(&mut self) -> Result<(), Error> {
        while self.left > 0 {
            self.left -= 1;
            self.decoder.skip()?;
            self.decoder.skip()?;
        }
        Ok(())
    }
}

impl<'de> de::MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant with content: a map of one entry.
struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Error;
    type Variant = Variant<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Variant<'a, 'de>), Error> {
        let name = self.decoder.text()?;
        let value = seed.deserialize(StrDeserializer::<Error>::new(&name))?;
        Ok((value, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.decoder.skip()?;
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.decoder)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_tuple(self.decoder, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_struct(self.decoder, "", fields, visitor)
    }
}
