//! An answer on its way out: status, headers, body.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

/// What a body is made of.
pub enum Body {
    /// Nothing; the reference names a content type all the same.
    Empty,
    /// Known bytes, perhaps shared with other answers.
    Full(Bytes),
    /// Bytes as they come (log and metric streams, archives).
    Stream(tokio::sync::mpsc::Receiver<Result<Bytes, std::io::Error>>),
}

/// An answer of a handler.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
    /// JSON still has to be indented for `?pretty` and -dev agents.
    pub is_json: bool,
}

/// How the whole agent shows JSON.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How errors are shown.
pub const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl Reply {
    /// 200 without a body.
    #[must_use]
    pub fn empty() -> Self {
        // Room for what a read says about itself.
        let headers = HeaderMap::with_capacity(8);
        Reply { status: StatusCode::OK, headers, body: Body::Empty, is_json: false }
    }

    /// A status without a body.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Reply { status, ..Reply::empty() }
    }

    /// 200 with `value` as Go would encode it.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        Reply::encoded(wire::json::to_vec(value).expect("what we answer can be encoded").into())
    }

    /// 200 with JSON that is encoded already.
    #[must_use]
    pub fn encoded(json: Bytes) -> Self {
        let mut reply = Reply { body: Body::Full(json), is_json: true, ..Reply::empty() };
        reply.headers.insert(header::CONTENT_TYPE, JSON);
        reply
    }

    /// 200 with plain text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        let mut reply = Reply { body: Body::Full(text.into()), ..Reply::empty() };
        reply.headers.insert(header::CONTENT_TYPE, PLAIN);
        reply
    }

    /// 200 with raw bytes of the given type.
    pub fn bytes(content_type: &'static str, bytes: Bytes) -> Self {
        let mut reply = Reply { body: Body::Full(bytes), ..Reply::empty() };
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        reply
    }

    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets a header; a value that HTTP cannot carry is left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}
