//! The decoder: a serde deserializer over a parsed tree.
//!
//! Invariant: errors come in document order, as Go saves the first one it meets.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};

use super::error::Error;
use super::names::{find_field, go_type, is_lenient, matches};
use super::probe;
use super::tree::Value;
use super::{Options, UnknownFields};
use crate::base64;

pub(super) struct TreeDeserializer<'v> {
    value: &'v Value<'v>,
    options: Options,
    /// The Go name of the newtype being read, if it has one of its own.
    newtype: Option<&'static str>,
}

impl<'v> TreeDeserializer<'v> {
    pub(super) fn new<'a: 'v>(value: &'v Value<'a>, options: Options) -> TreeDeserializer<'v> {
        TreeDeserializer { value, options, newtype: None }
    }

    fn child(&self, value: &'v Value<'v>) -> TreeDeserializer<'v> {
        TreeDeserializer { value, options: self.options, newtype: None }
    }

    fn mismatch(&self, go_type: &str) -> Error {
        Error::mismatch(self.value.kind(), self.newtype.unwrap_or(go_type))
    }

    /// An integer field; null is zero.
    fn integer<T: std::str::FromStr + Default>(&self, go_type: &str) -> Result<T, Error> {
        match self.value {
            Value::Null => Ok(T::default()),
            // Rust would take a leading plus, but the scanner let none through.
            Value::Number(text) => {
                text.parse().map_err(|_| Error::mismatch(format!("number {text}"), self.newtype.unwrap_or(go_type)))
            }
            _ => Err(self.mismatch(go_type)),
        }
    }

    fn float(&self, go_type: &str, max: f64) -> Result<f64, Error> {
        match self.value {
            Value::Null => Ok(0.0),
            Value::Number(text) => match text.parse::<f64>() {
                Ok(number) if number.abs() <= max => Ok(number),
                _ => Err(Error::mismatch(format!("number {text}"), self.newtype.unwrap_or(go_type))),
            },
            _ => Err(self.mismatch(go_type)),
        }
    }

    fn visit_elements<V: Visitor<'v>>(self, elements: &'v [Value<'v>], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { elements: elements.iter(), parent: self })
    }

    fn visit_entries<V: Visitor<'v>>(self, entries: &'v [Entry<'v>], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Entries { entries: entries.iter(), value: None, parent: self })
    }
}

type Entry<'v> = (Cow<'v, str>, Value<'v>);

/// The largest integer up to which every integer is a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'v> Deserializer<'v> for TreeDeserializer<'v> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(text) => {
                // Compat: in an interface every number is a float64, large integers lose their last digits.
                let number = self.float("float64", f64::MAX)?;
                let negative_zero = number == 0.0 && text.starts_with('-');
                if number.fract() == 0.0 && number.abs() <= EXACT && !negative_zero {
                    visitor.visit_i64(number as i64)
                } else {
                    visitor.visit_f64(number)
                }
            }
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(elements) => self.visit_elements(elements, visitor),
            Value::Object(entries) => self.visit_entries(entries, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn deserialize_i8<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i8(self.integer("int8")?)
    }

    fn deserialize_i16<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i16(self.integer("int16")?)
    }

    fn deserialize_i32<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(self.integer("int32")?)
    }

    fn deserialize_i64<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.integer("int")?)
    }

    fn deserialize_u8<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u8(self.integer("uint8")?)
    }

    fn deserialize_u16<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u16(self.integer("uint16")?)
    }

    fn deserialize_u32<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.integer("uint32")?)
    }

    fn deserialize_u64<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.integer("uint64")?)
    }

    fn deserialize_f32<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f32(self.float("float32", f64::from(f32::MAX))? as f32)
    }

    fn deserialize_f64<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float("float64", f64::MAX)?)
    }

    fn deserialize_char<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_borrowed_str(""),
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => Err(self.mismatch("string")),
        }
    }

    fn deserialize_string<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_borrowed_bytes(&[]),
            Value::String(text) => {
                let bytes = base64::decode(text.as_bytes()).map_err(de::Error::custom)?;
                visitor.visit_byte_buf(bytes)
            }
            Value::Array(elements) => self.visit_elements(elements, visitor),
            _ => Err(self.mismatch("[]uint8")),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'v>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'v>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        let newtype = if name.contains('.') { Some(name) } else { self.newtype };
        visitor.visit_newtype_struct(TreeDeserializer { newtype, ..self })
    }

    fn deserialize_seq<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
            Value::Array(elements) => self.visit_elements(elements, visitor),
            _ => Err(self.mismatch(&probe::slice_name(visitor))),
        }
    }

    fn deserialize_tuple<V: Visitor<'v>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'v>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
            Value::Object(entries) => self.visit_entries(entries, visitor),
            _ => Err(self.mismatch(&probe::map_name(visitor))),
        }
    }

    fn deserialize_struct<V: Visitor<'v>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
            Value::Object(entries) => {
                let unknown_fields =
                    if is_lenient(name) { UnknownFields::Ignore } else { self.options.unknown_fields };
                let members = plan(entries, fields, Options { unknown_fields, ..self.options });
                visitor.visit_map(Members {
                    members: members.into_iter(),
                    current: None,
                    structure: name,
                    parent: self,
                })
            }
            _ => Err(self.mismatch(&go_type(name))),
        }
    }

    fn deserialize_enum<V: Visitor<'v>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_enum("".into_deserializer()),
            Value::String(text) => visitor.visit_enum(BorrowedStrDeserializer::new(text)),
            Value::Object(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant { name: &entries[0].0, content: self.child(&entries[0].1) })
            }
            _ => Err(self.mismatch(&go_type(name))),
        }
    }

    fn deserialize_identifier<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

/// What becomes of one entry of an object that is read as a struct.
enum Member<'v> {
    Field(FieldValue<'v>),
    Unknown { key: &'v str },
}

struct FieldValue<'v> {
    field: &'static str,
    /// What an error's place calls the field: its name, or the alias that was used.
    label: Cow<'static, str>,
    value: &'v Value<'v>,
}

impl<'v> FieldValue<'v> {
    fn new(key: &str, field: &'static str, value: &'v Value<'v>) -> FieldValue<'v> {
        let aliased = key.contains('_') && !field.contains('_');
        let label = if aliased { Cow::Owned(key.to_ascii_lowercase()) } else { Cow::Borrowed(field) };
        FieldValue { field, label, value }
    }
}

/// Maps entries to fields: the last of duplicates stays, null says nothing, unknown keys stay only to be refused.
fn plan<'v>(entries: &'v [Entry<'v>], fields: &'static [&'static str], options: Options) -> Vec<Member<'v>> {
    let mut members: Vec<Member<'v>> = Vec::with_capacity(entries.len().min(fields.len()));
    for (key, value) in entries {
        match find_field(key, fields, options.aliases) {
            Some(_) if *value == Value::Null => {}
            Some(field) => {
                // A spelling with underscores is an alias of the field without.
                let same = |member: &Member<'_>| matches!(member, Member::Field(seen) if matches(seen.field, field, true));
                let member = Member::Field(FieldValue::new(key, field, value));
                match members.iter().position(same) {
                    Some(at) => members[at] = member,
                    None => members.push(member),
                }
            }
            None if options.unknown_fields == UnknownFields::Deny => {
                // Nothing behind the first refusal will be read.
                members.push(Member::Unknown { key });
                break;
            }
            None => {}
        }
    }
    members
}

struct Members<'v> {
    members: std::vec::IntoIter<Member<'v>>,
    current: Option<FieldValue<'v>>,
    structure: &'static str,
    parent: TreeDeserializer<'v>,
}

impl<'v> MapAccess<'v> for Members<'v> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        match self.members.next() {
            Some(Member::Field(found)) => {
                let field = found.field;
                self.current = Some(found);
                seed.deserialize(field.into_deserializer()).map(Some)
            }
            Some(Member::Unknown { key }) => Err(Error::unknown_field(key)),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let found = self.current.take().ok_or_else(|| Error::message("json: value before key"))?;
        seed.deserialize(self.parent.child(found.value)).map_err(|error| error.within(self.structure, &found.label))
    }
}

struct Elements<'v> {
    elements: std::slice::Iter<'v, Value<'v>>,
    parent: TreeDeserializer<'v>,
}

impl<'v> SeqAccess<'v> for Elements<'v> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.elements.next().map(|value| seed.deserialize(self.parent.child(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

struct Entries<'v> {
    entries: std::slice::Iter<'v, Entry<'v>>,
    value: Option<&'v Value<'v>>,
    parent: TreeDeserializer<'v>,
}

impl<'v> MapAccess<'v> for Entries<'v> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(KeyDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let value = self.value.take().ok_or_else(|| Error::message("json: value before key"))?;
        seed.deserialize(self.parent.child(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A key of a map: text, or a number in text.
pub(super) struct KeyDeserializer<'k> {
    key: &'k str,
}

impl<'k> KeyDeserializer<'k> {
    pub(super) fn new(key: &'k str) -> KeyDeserializer<'k> {
        KeyDeserializer { key }
    }

    fn integer<T: std::str::FromStr>(&self, go_type: &str) -> Result<T, Error> {
        self.key.parse().map_err(|_| Error::mismatch(format!("number {}", self.key), go_type))
    }
}

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.key)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.integer("int")?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(self.integer("int32")?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.integer("uint64")?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.integer("uint32")?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u16(self.integer("uint16")?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.key.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 u8 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// An enum variant with content: an object of one entry.
struct Variant<'v> {
    name: &'v str,
    content: TreeDeserializer<'v>,
}

impl<'v> de::EnumAccess<'v> for Variant<'v> {
    type Error = Error;
    type Variant = TreeDeserializer<'v>;

    fn variant_seed<S: DeserializeSeed<'v>>(self, seed: S) -> Result<(S::Value, TreeDeserializer<'v>), Error> {
        let name: BorrowedStrDeserializer<'v, Error> = BorrowedStrDeserializer::new(self.name);
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'v> de::VariantAccess<'v> for TreeDeserializer<'v> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'v>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'v>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'v>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_struct("", fields, visitor)
    }
}
