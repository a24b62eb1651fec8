//! The one table from errors to statuses and texts.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

/// A refusal on its way out. Its body is the bare text, without a newline.
#[derive(Debug)]
pub struct Failure {
    pub status: StatusCode,
    pub text: Cow<'static, str>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Failure { status, text: text.into(), headers: Vec::new() }
    }

    /// 400
    pub fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404
    pub fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Failure::new(StatusCode::NOT_FOUND, text)
    }

    /// 500
    pub fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// 413 with the reference's words for a body over its limit.
    #[must_use]
    pub fn body_too_large(size: u64, limit: usize, see: &str) -> Self {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body({size} bytes) too large, max size: {limit} bytes. See {see}."),
        )
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<acl::Denied> for Failure {
    fn from(denied: acl::Denied) -> Self {
        Failure::new(StatusCode::FORBIDDEN, denied.to_string())
    }
}

impl From<state::Error> for Failure {
    fn from(error: state::Error) -> Self {
        let status = match &error {
            state::Error::Invalid(_) => StatusCode::BAD_REQUEST,
            state::Error::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            state::Error::NotFound(_) => StatusCode::NOT_FOUND,
            state::Error::Denied(_) => StatusCode::FORBIDDEN,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<server::Error> for Failure {
    fn from(error: server::Error) -> Self {
        match error {
            server::Error::Refused(error) => error.into(),
            server::Error::Busy => Failure::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()),
            other => Failure::internal(other.to_string()),
        }
    }
}
