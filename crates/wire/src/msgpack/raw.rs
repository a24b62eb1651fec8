//! One value kept as its bytes: carried, not interpreted.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Error as _, Serialize, Serializer};

use super::{Error, marker, skip_value};

/// By this name the serializer and the deserializer of this module recognise a [`RawValue`].
pub(super) const TOKEN: &str = "$wire::msgpack::RawValue";

/// The bytes of exactly one msgpack value, written back verbatim.
///
/// It exists in msgpack only: writing it as JSON is an error.
#[derive(Clone, PartialEq, Eq)]
pub struct RawValue(Bytes);

impl RawValue {
    /// Takes bytes that are exactly one whole value.
    pub fn new(bytes: Bytes) -> Result<RawValue, Error> {
        let len = skip_value(&bytes)?;
        if len == bytes.len() { Ok(RawValue(bytes)) } else { Err(Error::Trailing { at: len }) }
    }

    /// Encodes a value and keeps its bytes.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<RawValue, Error> {
        super::to_vec(value).map(|bytes| RawValue(Bytes::from(bytes)))
    }

    /// Interprets the bytes after all.
    pub fn decode<T: de::DeserializeOwned>(&self) -> Result<T, Error> {
        super::from_slice(&self.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    pub fn is_nil(&self) -> bool {
        self.0.first() == Some(&marker::NIL)
    }
}

impl Default for RawValue {
    fn default() -> RawValue {
        RawValue(Bytes::from_static(&[marker::NIL]))
    }
}

impl fmt::Debug for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawValue({} bytes)", self.0.len())
    }
}

/// Makes the inner call `serialize_bytes`, which the serializer copies verbatim under [`TOKEN`].
struct Verbatim<'a>(&'a [u8]);

impl Serialize for Verbatim<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for RawValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Err(S::Error::custom("a raw msgpack value has no JSON form"));
        }
        serializer.serialize_newtype_struct(TOKEN, &Verbatim(&self.0))
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_newtype_struct(TOKEN, RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a msgpack value")
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<RawValue, E> {
        RawValue::new(Bytes::copy_from_slice(bytes)).map_err(E::custom)
    }
}
