//! Answers that are written without the HTTP library: whole ones, to clients who said nothing special.
//!
//! To write one answer the library needs its buffers and a request before it; a crowd of waiting clients that is told of a
//! change pays for both all at once.
//!
//! Always true: what is written here is what the library writes, to the byte; where that is in doubt there is no such
//! answer.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderName, StatusCode, Version};

use super::encode::{Contents, Wire};

/// What the library has rules for.
const FRAMING: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING];

/// Whether the answer to this request is framed as all others are.
pub(super) fn is_plain(request: &http::request::Parts) -> bool {
    request.version == Version::HTTP_11
        && request.method == http::Method::GET
        && !request.headers.contains_key(CONNECTION)
}

/// The head of an answer, and the body behind it.
pub(super) fn written(wire: &Wire) -> Option<(Vec<u8>, &Bytes)> {
    let Contents::Whole(body) = wire.body() else { return None };
    let headers = wire.headers();
    if wire.status() != StatusCode::OK || FRAMING.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        put_title_case(name.as_str(), &mut head);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    for part in ["Content-Length: ", &body.len().to_string(), "\r\nDate: ", &date, "\r\n\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    Some((head, body))
}

fn put_title_case(name: &str, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(name.as_bytes());
    let mut before = b'-';
    for byte in &mut out[begin..] {
        if before == b'-' {
            byte.make_ascii_uppercase();
        }
        before = *byte;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, StatusCode};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::written;
    use crate::http::encode::{Contents, Wire};

    fn wire(headers: &[(&'static str, &'static str)], body: &'static str) -> Wire {
        let mut wire = http::Response::new(Contents::Whole(Bytes::from_static(body.as_bytes())));
        for (name, value) in headers {
            wire.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        wire
    }

    /// Lines, without the seconds of the date.
    fn lines(answer: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(answer).unwrap();
        let dated = |line: &str| line.strip_prefix("Date: ").map(|date| format!("Date: {}", date.len()));
        text.split("\r\n").map(|line| dated(line).unwrap_or_else(|| line.to_owned())).collect()
    }

    #[tokio::test]
    async fn it_is_what_the_library_writes() {
        let cases: &[(&[_], _)] = &[
            (&[], ""),
            (&[("content-type", "application/json"), ("x-consul-index", "17")], "[{\"a\": 1}]"),
            (&[("x-a-b--c", "1"), ("vary", "Accept-Encoding"), ("x-a-b--c", "2"), ("a1-z", "")], "body"),
        ];
        for (headers, body) in cases {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            let service = service_fn(|_| async { Ok::<_, Infallible>(wire(headers, body)) });
            let mut builder = http1::Builder::new();
            builder
                .title_case_headers(true)
                .half_close(true)
                .serve_connection(TokioIo::new(server), service)
                .await
                .unwrap();
            let mut theirs = Vec::new();
            client.read_to_end(&mut theirs).await.unwrap();
            let answer = wire(headers, body);
            let (mut ours, rest) = written(&answer).unwrap();
            ours.extend_from_slice(rest);
            assert_eq!(lines(&ours), lines(&theirs));
        }
    }

    #[test]
    fn what_is_framed_otherwise_is_left_to_the_library() {
        for name in ["connection", "content-length", "date", "trailer", "transfer-encoding"] {
            assert!(written(&wire(&[(name, "1")], "")).is_none());
        }
        let mut missing = wire(&[], "");
        *missing.status_mut() = StatusCode::NOT_FOUND;
        assert!(written(&missing).is_none());
    }
}
