//! Learning the Go name of the type that a serde seed wants, for error texts.
//!
//! A sequence's visitor does not tell what its elements are. Asked for one element, it hands out a seed; the seed asks
//! a deserializer for the type it wants; that deserializer fails with the type's name. Nothing is ever built.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::Error;
use super::names::go_type;

/// Stands for any type whose name cannot be learnt.
const UNKNOWN: &str = "interface {}";

/// The Go name of a slice with this visitor.
pub(super) fn slice_name<'de, V: Visitor<'de>>(visitor: V) -> String {
    format!("[]{}", name_of(visitor.visit_seq(Probe)))
}

/// The Go name of a map with this visitor.
pub(super) fn map_name<'de, V: Visitor<'de>>(visitor: V) -> String {
    format!("map[string]{}", name_of(visitor.visit_map(Probe)))
}

fn name_of<T>(outcome: Result<T, Error>) -> String {
    outcome.err().and_then(Error::into_type_name).unwrap_or_else(|| UNKNOWN.to_owned())
}

struct Probe;

impl<'de> SeqAccess<'de> for Probe {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        seed.deserialize(Probe).map(Some)
    }
}

impl<'de> MapAccess<'de> for Probe {
    type Error = Error;

    /// Keys are strings or numbers in text; both are made from "0", so that the visitor goes on to the value.
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        seed.deserialize(super::decode::KeyDeserializer::new("0")).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Probe)
    }
}

fn named<T>(name: &str) -> Result<T, Error> {
    Err(Error::type_name(name))
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named(UNKNOWN)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("bool")
    }

    fn deserialize_i8<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("int8")
    }

    fn deserialize_i16<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("int16")
    }

    fn deserialize_i32<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("int32")
    }

    fn deserialize_i64<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("int")
    }

    fn deserialize_u8<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("uint8")
    }

    fn deserialize_u16<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("uint16")
    }

    fn deserialize_u32<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("uint32")
    }

    fn deserialize_u64<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("uint64")
    }

    fn deserialize_f32<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("float32")
    }

    fn deserialize_f64<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("float64")
    }

    fn deserialize_char<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("string")
    }

    fn deserialize_str<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("string")
    }

    fn deserialize_string<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("string")
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("[]uint8")
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("[]uint8")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let inner = name_of(visitor.visit_some(Probe));
        Err(Error::type_name(format!("*{inner}")))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named(UNKNOWN)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::type_name(go_type(name)))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name.contains('.') {
            return named(name);
        }
        visitor.visit_newtype_struct(Probe)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Err(Error::type_name(slice_name(visitor)))
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
        Err(Error::type_name(map_name(visitor)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(Error::type_name(go_type(name)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(Error::type_name(go_type(name)))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        named("string")
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("nothing is wanted"))
    }
}
