//! Why msgpack could not be read or written.

use std::fmt;

use serde::{de, ser};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The input ends inside a value: more bytes may make it whole.
    Truncated,
    /// Bytes follow the one value that was asked for.
    Trailing { at: usize },
    /// Nested deeper than [`super::MAX_DEPTH`].
    TooDeep,
    /// The byte that begins the value stands for something else than was asked for.
    Unexpected { marker: u8, wanted: &'static str },
    /// An integer outside the range of the field.
    OutOfRange { wanted: &'static str },
    /// Too large for a 32-bit length.
    TooLong,
    /// A value that the format cannot hold, or a refusal of the type that is read or written.
    Message(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Compat: the old Go codec answers with the reader's EOF.
            Error::Truncated => f.write_str("EOF"),
            Error::Trailing { at } => write!(f, "msgpack: bytes after the value at offset {at}"),
            Error::TooDeep => f.write_str("msgpack: nested too deep"),
            Error::Unexpected { marker, wanted } => {
                write!(f, "msgpack: byte {marker:#04x} does not begin {wanted}")
            }
            Error::OutOfRange { wanted } => write!(f, "msgpack: integer does not fit {wanted}"),
            Error::TooLong => f.write_str("msgpack: length does not fit 32 bits"),
            Error::Message(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::Message(message.to_string())
    }
}

impl ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::Message(message.to_string())
    }
}
