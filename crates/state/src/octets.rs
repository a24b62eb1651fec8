//! A byte string as the reference treats `[]byte`: raw in stored and sent bytes, standard base64 in JSON,
//! `null` when empty.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Shared bytes with Go's `[]byte` representation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Octets(pub Bytes);

impl Octets {
    /// A copy that keeps no larger buffer alive.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        Octets(Bytes::copy_from_slice(bytes))
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            serializer.serialize_none()
        } else {
            // JSON is written by `wire::json`, which spells bytes in base64: text would be searched for what to escape.
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Octets;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64 text")
            }
            fn visit_unit<E: Error>(self) -> Result<Octets, E> {
                Ok(Octets::default())
            }
            fn visit_none<E: Error>(self) -> Result<Octets, E> {
                Ok(Octets::default())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Octets, E> {
                let decoded = STANDARD.decode(text).map_err(|error| {
                    let at = match error {
                        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                        _ => text.len(),
                    };
                    E::custom(format_args!("illegal base64 data at input byte {at}"))
                })?;
                Ok(Octets(decoded.into()))
            }
        }
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Octets;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_unit<E: Error>(self) -> Result<Octets, E> {
                Ok(Octets::default())
            }
            fn visit_none<E: Error>(self) -> Result<Octets, E> {
                Ok(Octets::default())
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Octets, E> {
                Ok(Octets::copied(bytes))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Octets, E> {
                Ok(Octets::copied(text.as_bytes()))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Base64)
        } else {
            deserializer.deserialize_bytes(Raw)
        }
    }
}
