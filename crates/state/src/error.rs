//! Why a command or query was refused, in the reference's words.

use std::borrow::Cow;
use std::fmt;

/// A refusal. The kind decides the HTTP status, the text is what clients parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The request makes no sense (400).
    Invalid(Cow<'static, str>),
    /// The request makes sense but cannot be done now or to this object (500, as the reference answers).
    Failed(Cow<'static, str>),
    /// The object asked for does not exist (404).
    NotFound(Cow<'static, str>),
    /// The token does not grant it (403).
    Denied(acl::Denied),
}

impl Error {
    /// A request that makes no sense (400).
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Error::Invalid(text.into())
    }

    /// A request that cannot be done (500).
    pub fn failed(text: impl Into<Cow<'static, str>>) -> Self {
        Error::Failed(text.into())
    }

    /// A missing object (404).
    pub fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Error::NotFound(text.into())
    }
}

impl From<acl::Denied> for Error {
    fn from(denied: acl::Denied) -> Self {
        Error::Denied(denied)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(text) | Error::Failed(text) | Error::NotFound(text) => f.write_str(text),
            Error::Denied(denied) => denied.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
