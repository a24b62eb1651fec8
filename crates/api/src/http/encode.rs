//! The last step: JSON indentation, compression, and the answers that no handler gives.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, SizeHint};

use super::{Body, Failure, JSON, PLAIN, Reply};
use crate::Api;

/// An answer as hyper sends it.
pub type Wire = Response<Contents>;

/// The body of an answer. What is known as a whole is not boxed.
pub enum Contents {
    Whole(Bytes),
    Stream(UnsyncBoxBody<Bytes, std::io::Error>),
}

impl http_body::Body for Contents {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Contents::Whole(whole) if whole.is_empty() => Poll::Ready(None),
            Contents::Whole(whole) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(whole))))),
            Contents::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Contents::Whole(whole) => whole.is_empty(),
            Contents::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Contents::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Contents::Stream(stream) => stream.size_hint(),
        }
    }
}

/// Smaller bodies are not worth compressing (the reference's gzip handler uses the same size).
const GZIP_MIN: usize = 1400;

/// Turns a handler's reply into bytes.
pub fn finish(api: &Api, reply: Reply, pretty: bool, is_gzip: bool) -> Wire {
    let Reply { status, mut headers, body, is_json } = reply;
    let body = match body {
        Body::Empty => {
            // Compat: the reference names a type for answers without a body too.
            if status == StatusCode::OK {
                headers.entry(header::CONTENT_TYPE).or_insert(JSON);
            }
            full(Bytes::new())
        }
        Body::Full(mut bytes) => {
            if is_json && (pretty || api.settings.is_dev) {
                bytes = indented(&bytes, pretty);
            }
            if is_gzip && bytes.len() >= GZIP_MIN {
                bytes = gzip(&bytes);
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            full(bytes)
        }
        Body::Stream(receiver) => {
            let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|chunk| (chunk.map(Frame::data), receiver))
            });
            Contents::Stream(StreamBody::new(frames.fuse()).boxed_unsync())
        }
    };
    build(status, headers, body)
}

/// A refusal: bare text, no newline.
pub(super) fn failure(failure: Failure) -> Wire {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, PLAIN);
    headers.extend(failure.headers);
    let text = match failure.text {
        std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        std::borrow::Cow::Owned(text) => Bytes::from(text),
    };
    build(failure.status, headers, full(text))
}

/// A request that is no HTTP; the connection ends with it.
pub(super) fn malformed(text: &'static str) -> Wire {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, PLAIN);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    build(StatusCode::BAD_REQUEST, headers, full(Bytes::from_static(text.as_bytes())))
}

/// A status and nothing else.
pub(super) fn bare(status: StatusCode) -> Wire {
    build(status, HeaderMap::new(), full(Bytes::new()))
}

/// Sends a client to the canonical path, as Go's `ServeMux` does.
pub(super) fn redirect(status: StatusCode, method: &Method, path: &str, query: Option<&str>) -> Wire {
    // Everything but the path's own separators is escaped: a location never carries raw bytes.
    let mut location = percent_encoding::utf8_percent_encode(path, PATH).to_string();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, value);
    }
    let mut body = Bytes::new();
    if *method == Method::GET || *method == Method::HEAD {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    if *method == Method::GET {
        let reason = status.canonical_reason().unwrap_or("");
        body = format!("<a href=\"{}\">{reason}</a>.\n\n", escape_html(&location)).into();
    }
    build(status, headers, full(body))
}

/// What lies outside the table.
pub(super) fn unrouted(api: &Api, method: &Method, path: &str) -> Wire {
    if path == "/" {
        if let Some(ui) = &api.settings.ui_path {
            return redirect(StatusCode::MOVED_PERMANENTLY, method, ui, None);
        }
        let text = "Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent configuration and \
                    restart.";
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, PLAIN);
        return build(StatusCode::OK, headers, full(Bytes::from_static(text.as_bytes())));
    }
    let text = if path.contains("/v1/") {
        "Invalid URL path: not a recognized HTTP API endpoint\n"
    } else {
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, PLAIN);
    build(StatusCode::NOT_FOUND, headers, full(Bytes::from_static(text.as_bytes())))
}

/// Whether the client takes gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0_f32));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
    })
}

/// Four spaces a level, as Go's `json.MarshalIndent` shows it; a newline at the end for `?pretty`.
#[must_use]
pub fn indented(json: &[u8], newline: bool) -> Bytes {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for (at, &byte) in json.iter().enumerate() {
        if in_text {
            out.push(byte);
            (in_text, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        let next = json.get(at + 1).copied();
        match byte {
            b'"' => {
                in_text = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !matches!(next, Some(b'}' | b']')) {
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(json.get(at.wrapping_sub(1)), Some(b'{' | b'[')) {
                    new_line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            other => out.push(other),
        }
    }
    if newline {
        out.push(b'\n');
    }
    out.into()
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + depth * 4, b' ');
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail").into()
}

fn full(bytes: Bytes) -> Contents {
    Contents::Whole(bytes)
}

fn build(status: StatusCode, headers: HeaderMap, body: Contents) -> Wire {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What Go's `url.URL.String` leaves as it is in a path.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b':')
    .remove(b'=')
    .remove(b'@');

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::ACCEPT_ENCODING;

    use super::{accepts_gzip, indented};

    #[test]
    fn json_is_indented_like_go_does() {
        let json = br#"{"a":[1,{"b":"x\\\",{["}],"c":{},"d":[]}"#;
        let pretty = "{\n    \"a\": [\n        1,\n        {\n            \"b\": \"x\\\\\\\",{[\"\n        }\n    ],\n    \"c\": {},\n    \"d\": []\n}";
        assert_eq!(indented(json, false), pretty);
        assert_eq!(indented(b"true", true), "true\n");
    }

    #[test]
    fn gzip_is_negotiated() {
        for (value, takes) in
            [("gzip", true), ("deflate, gzip;q=0.5", true), ("gzip;q=0", false), ("br", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), takes, "{value}");
        }
    }
}
