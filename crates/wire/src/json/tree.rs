//! A parsed JSON document that still borrows from its text.
//!
//! Useful by itself where the type to decode into depends on the content: look at a member, then decode the whole.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::decode::TreeDeserializer;
use super::error::Error;
use super::{Mode, Options, names, scan};

#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    /// As it is spelled.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    /// In document order, duplicates included.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Parses a text; only its syntax is judged.
    pub fn parse(input: &'a [u8], mode: Mode) -> Result<Value<'a>, Error> {
        scan::parse(input, mode)
    }

    /// Reads the document into a type. `options.mode` has no say any more.
    pub fn decode<T: DeserializeOwned>(&self, options: Options) -> Result<T, Error> {
        T::deserialize(TreeDeserializer::new(self, options))
    }

    /// The member that a struct field of this name would take: the last one whose key matches regardless of case
    /// (and underscores, with aliases).
    pub fn member(&self, field: &'static str, aliases: bool) -> Option<&Value<'a>> {
        let Value::Object(entries) = self else {
            return None;
        };
        let matches = |key: &str| names::matches(key, field, aliases);
        entries.iter().rev().find(|(key, _)| matches(key)).map(|(_, value)| value)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Go's word for the kind of this value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }
}
