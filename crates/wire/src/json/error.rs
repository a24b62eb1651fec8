//! Why a JSON text could not be read, in Go's words.
//!
//! Invariant: a mismatch gathers its place on the way out, one struct field at a time, as Go's error context would
//! have held it at the moment of the failure.

use std::fmt;

use serde::{de, ser};

use super::names;

/// Boxed, because it travels through every `Result` of the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Kind>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing but white space.
    Eof,
    /// A text that is printed as it is.
    Message(String),
    /// A value of one kind where another was expected.
    Mismatch { value: String, go_type: String, place: Option<Place> },
    /// Not a failure: the name of the type that a seed asked for, see `probe`.
    TypeName(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    structure: String,
    /// Innermost first.
    path: Vec<String>,
    /// The next struct outward gives its own name, because in Go the error came out of a separate decoder.
    renamed_by_next: bool,
}

impl Error {
    pub(super) fn eof() -> Error {
        Error(Box::new(Kind::Eof))
    }

    pub(super) fn message(text: impl Into<String>) -> Error {
        Error(Box::new(Kind::Message(text.into())))
    }

    pub(super) fn mismatch(value: impl Into<String>, go_type: impl Into<String>) -> Error {
        Error(Box::new(Kind::Mismatch { value: value.into(), go_type: go_type.into(), place: None }))
    }

    pub(super) fn unknown_field(key: &str) -> Error {
        Error::message(format!("json: unknown field {}", names::quote(key)))
    }

    pub(super) fn type_name(name: impl Into<String>) -> Error {
        Error(Box::new(Kind::TypeName(name.into())))
    }

    pub(super) fn into_type_name(self) -> Option<String> {
        match *self.0 {
            Kind::TypeName(name) => Some(name),
            _ => None,
        }
    }

    /// Says that the failure lies within field `field` of the struct with serde name `structure`.
    pub(super) fn within(mut self, structure: &str, field: &str) -> Error {
        let Kind::Mismatch { place, .. } = &mut *self.0 else {
            return self;
        };
        let (own_name, embedded_as) = names::context(structure);
        let place = place.get_or_insert_with(|| Place {
            structure: own_name.to_owned(),
            path: Vec::new(),
            renamed_by_next: false,
        });
        if place.renamed_by_next {
            place.structure = own_name.to_owned();
            place.renamed_by_next = false;
        }
        place.path.push(field.to_owned());
        if let Some(embedded_as) = embedded_as {
            // Fields of the wrapper itself are the spellings in lower case; all others are reached through the
            // embedded struct.
            if !field.starts_with(|first: char| first.is_ascii_lowercase()) {
                place.path.push(embedded_as.to_owned());
            }
            place.renamed_by_next = true;
        }
        self
    }

    /// Whether the input was empty, which some handlers take for "nothing said".
    pub fn is_eof(&self) -> bool {
        matches!(*self.0, Kind::Eof)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Eof => f.write_str("EOF"),
            Kind::Message(text) => f.write_str(text),
            Kind::Mismatch { value, go_type, place: None } => {
                write!(f, "json: cannot unmarshal {value} into Go value of type {go_type}")
            }
            Kind::Mismatch { value, go_type, place: Some(place) } => {
                let path: Vec<&str> = place.path.iter().rev().map(String::as_str).collect();
                let (structure, path) = (&place.structure, path.join("."));
                write!(f, "json: cannot unmarshal {value} into Go struct field {structure}.{path} of type {go_type}")
            }
            Kind::TypeName(name) => write!(f, "json: type {name}"),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::message(message.to_string())
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Error {
        Error::mismatch(names::kind_of(unexpected), expected.to_string())
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Error {
        let value = match unexpected {
            de::Unexpected::Unsigned(value) => format!("number {value}"),
            de::Unexpected::Signed(value) => format!("number {value}"),
            de::Unexpected::Float(value) => format!("number {value}"),
            other => names::kind_of(other).to_owned(),
        };
        Error::mismatch(value, expected.to_string())
    }
}

impl ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::message(message.to_string())
    }
}
