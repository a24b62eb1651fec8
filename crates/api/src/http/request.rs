//! One request, parsed once: canonical path, decoded query, capped body.
//!
//! Always true: the path is decoded here and nowhere else; routing, authorization and logging see the same
//! text (CVE-2025-11392, CVE-2021-28156). A body is capped before it is read, with or without a length.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::HeaderName;
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

use super::Failure;

/// Between two parts of a body a client may pause this long.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// The request headers that mean something to a route.
const LOOKED_AT: &[&str] = &[
    "accept",
    "authorization",
    "cache-control",
    "content-length",
    "x-consul-namespace",
    "x-consul-partition",
    "x-consul-token",
    "x-forwarded-for",
];

/// The body of a request: from the network, or given whole by a test.
pub type Incoming = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// A request as handlers see it.
pub struct Request {
    pub method: Method,
    /// Percent-decoded path.
    pub path: String,
    /// The undecoded query text, for messages that echo it and as part of cache keys.
    pub raw_query: String,
    query: Vec<(String, String)>,
    headers: Vec<(&'static str, Box<str>)>,
    pub remote: Option<SocketAddr>,
    /// In a mutex only because a body can be sent but not shared between threads; nobody contends for it.
    body: Mutex<Option<Incoming>>,
}

/// The query text cannot be decoded (a stray `%`): answered before anything else looks at it.
#[derive(Debug)]
pub struct BadQuery;

impl Request {
    /// Parses the head, whose path was decoded before; the body stays on the network.
    ///
    /// What is looked at later is copied, and the head given back: a parked request must not keep the
    /// connection's read buffer alive.
    pub fn new(
        head: http::request::Parts,
        path: String,
        remote: Option<SocketAddr>,
        body: Incoming,
    ) -> Result<Self, BadQuery> {
        let method = head.method;
        let raw_query = head.uri.query().unwrap_or("").to_owned();
        let query = parse_query(&raw_query)?;
        let known = |name: &HeaderName| LOOKED_AT.iter().find(|known| name == **known);
        let headers = head.headers.keys().filter_map(|name| {
            let known = known(name)?;
            Some((*known, head.headers.get(name)?.to_str().ok()?.into()))
        });
        let headers = headers.collect();
        Ok(Request { method, path, raw_query, query, headers, remote, body: Mutex::new(Some(body)) })
    }

    /// The first value of a query parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value, unless it is empty.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.param(name).filter(|value| !value.is_empty())
    }

    /// Whether there are any parameters.
    #[must_use]
    pub fn has_params(&self) -> bool {
        !self.query.is_empty()
    }

    /// Whether the parameter is there at all, whatever its value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// Every value of a repeatable parameter, in order.
    pub fn params<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All parameters in order.
    pub fn all_params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// One of the headers that routes look at, in lower case; `None` when absent or not ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        debug_assert!(LOOKED_AT.contains(&name), "{name} is not copied from the head");
        self.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| &**value)
    }

    /// What of the path lies behind `prefix`.
    #[must_use]
    pub fn rest(&self, prefix: &str) -> &str {
        self.path.strip_prefix(prefix).unwrap_or("")
    }

    /// The announced body length, if any.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length").and_then(|text| text.parse().ok())
    }

    /// Reads the whole body, refusing more than `limit` bytes with `too_large`.
    pub async fn body(&mut self, limit: usize, too_large: impl Fn(u64) -> Failure) -> Result<Bytes, Failure> {
        if let Some(length) = self.content_length()
            && length > limit as u64
        {
            return Err(too_large(length));
        }
        let Some(mut body) = self.body.get_mut().take() else { return Ok(Bytes::new()) };
        let expected = body.size_hint().exact().unwrap_or(0);
        let mut whole = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0).min(limit));
        loop {
            let frame = tokio::time::timeout(BODY_WAIT, body.frame()).await;
            let frame =
                frame.map_err(|_| Failure::new(http::StatusCode::REQUEST_TIMEOUT, "request body is too slow"))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| Failure::new(http::StatusCode::BAD_REQUEST, error.to_string()))?;
            if let Ok(chunk) = frame.into_data() {
                if whole.len() + chunk.len() > limit {
                    return Err(too_large((whole.len() + chunk.len()) as u64));
                }
                if whole.is_empty() && expected == chunk.len() as u64 {
                    return Ok(chunk);
                }
                whole.extend_from_slice(&chunk);
            }
        }
        Ok(whole.freeze())
    }

    /// Takes the body to stream it (snapshot restore).
    pub fn take_body(&mut self) -> Option<Incoming> {
        self.body.get_mut().take()
    }
}

/// Decodes `a=b&c` as Go's `url.ParseQuery` does: `+` is a space, `;` and a bad escape are errors.
fn parse_query(raw: &str) -> Result<Vec<(String, String)>, BadQuery> {
    let mut pairs = Vec::new();
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        if part.contains(';') {
            return Err(BadQuery);
        }
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((unescape(key)?, unescape(value)?));
    }
    Ok(pairs)
}

fn unescape(text: &str) -> Result<String, BadQuery> {
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let bad = bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'%' && !matches!(bytes.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit))
    });
    if bad {
        return Err(BadQuery);
    }
    Ok(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_query;

    #[test]
    fn queries_decode_as_in_go() {
        let pairs = parse_query("a=1&b=x%2Fy+z&c&a=2").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x/y z"), ("c", ""), ("a", "2")]);
        assert!(parse_query("%zz").is_err());
        assert!(parse_query("a=%4").is_err());
        assert!(parse_query("a;b").is_err());
    }
}
