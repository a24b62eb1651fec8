//! Failures of HTTP requests in Go's words: `Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused`.
//!
//! Always true: the text names the operation and the address, never a password.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::dial::DialError;
use crate::go_text::{quote, quote_bytes};
use crate::http_client::url::ParseUrlError;
use crate::tls::{self, TlsError};

/// Why a request got no answer.
#[derive(Debug)]
pub struct HttpError {
    /// The request's method and the address it failed at; absent when the request could not even be built.
    pub at: Option<(String, String)>,
    pub cause: Cause,
}

#[derive(Debug)]
pub enum Cause {
    Url(ParseUrlError),
    /// The request or its address makes no sense; the text is Go's.
    Request(String),
    Dial(Box<DialError>),
    Tls(TlsError),
    /// The time was over before the answer's headers were complete.
    TimeoutAwaitingHeaders,
    TimeoutReadingBody,
    /// The peer closed without an answer.
    Closed,
    /// The connection broke, or the peer does not speak HTTP; the text is Go's.
    Broken(String),
    TooManyRedirects(usize),
    BodyTooLarge(usize),
}

impl HttpError {
    pub(crate) fn unbuilt(text: String) -> HttpError {
        HttpError { at: None, cause: Cause::Request(text) }
    }

    pub fn is_timeout(&self) -> bool {
        match &self.cause {
            Cause::TimeoutAwaitingHeaders | Cause::TimeoutReadingBody => true,
            Cause::Dial(error) => error.is_timeout(),
            _ => false,
        }
    }

    pub fn is_connection_refused(&self) -> bool {
        matches!(&self.cause, Cause::Dial(error) if error.is_refused())
    }

    /// Whether the connection ended before an answer: a request on a reused connection may then be sent again.
    pub(crate) fn is_lost_connection(&self) -> bool {
        matches!(&self.cause, Cause::Closed | Cause::Broken(_))
    }
}

impl From<ParseUrlError> for HttpError {
    fn from(error: ParseUrlError) -> HttpError {
        HttpError { at: None, cause: Cause::Url(error) }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((method, url)) = &self.at {
            write!(f, "{} {}: ", operation(method), quote(url))?;
        }
        self.cause.fmt(f)
    }
}

/// Go prints `GET` as `Get`.
fn operation(method: &str) -> String {
    let mut letters = method.chars();
    match letters.next() {
        Some(first) => format!("{first}{}", letters.as_str().to_lowercase()),
        None => "Get".to_owned(),
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Url(error) => error.fmt(f),
            Cause::Request(text) | Cause::Broken(text) => f.write_str(text),
            Cause::Dial(error) => error.fmt(f),
            Cause::Tls(TlsError::NotTls { http: true }) => {
                f.write_str("http: server gave HTTP response to HTTPS client")
            }
            Cause::Tls(error) => error.fmt(f),
            Cause::TimeoutAwaitingHeaders => {
                f.write_str("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
            }
            Cause::TimeoutReadingBody => {
                f.write_str("context deadline exceeded (Client.Timeout or context cancellation while reading body)")
            }
            Cause::Closed => f.write_str("EOF"),
            Cause::TooManyRedirects(limit) => write!(f, "stopped after {limit} redirects"),
            Cause::BodyTooLarge(limit) => write!(f, "response body is larger than {limit} bytes"),
        }
    }
}

impl StdError for HttpError {}

/// What hyper's failure means. `received` is the beginning of what the peer sent.
pub(crate) fn from_hyper(error: &hyper::Error, received: &[u8]) -> Cause {
    if let Some(inner) = io_source(error) {
        return match inner.kind() {
            io::ErrorKind::UnexpectedEof if received.is_empty() => Cause::Closed,
            io::ErrorKind::UnexpectedEof => Cause::Broken("unexpected EOF".to_owned()),
            _ => Cause::Broken(tls::io_error_text(inner)),
        };
    }
    if error.is_parse() {
        return Cause::Broken(malformed(received));
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return if received.is_empty() { Cause::Closed } else { Cause::Broken("unexpected EOF".to_owned()) };
    }
    Cause::Broken(error.to_string())
}

pub(crate) fn io_source<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut next = error.source();
    while let Some(inner) = next {
        if let Some(found) = inner.downcast_ref::<io::Error>() {
            return Some(found);
        }
        next = inner.source();
    }
    None
}

/// Go's complaint about an answer that is no HTTP.
fn malformed(received: &[u8]) -> String {
    let end = received.iter().position(|byte| *byte == b'\n').unwrap_or(received.len());
    let line = received[..end].strip_suffix(b"\r").unwrap_or(&received[..end]);
    let complaint = if !line.starts_with(b"HTTP/") || !line.contains(&b' ') {
        format!("malformed HTTP response {}", quote_bytes(line))
    } else {
        let code = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if code.len() == 3 && code.iter().all(u8::is_ascii_digit) {
            let mut headers = received[end..]
                .split(|byte| *byte == b'\n')
                .map(|header| header.strip_suffix(b"\r").unwrap_or(header))
                .skip(1)
                .take_while(|header| !header.is_empty());
            let header = headers.find(|header| !header.contains(&b':'));
            let version = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            match header {
                Some(header) => format!("malformed MIME header: missing colon: {}", quote_bytes(header)),
                None if !version.starts_with(b"HTTP/1.") => {
                    format!("malformed HTTP version {}", quote_bytes(version))
                }
                None => "malformed MIME header line".to_owned(),
            }
        } else {
            format!("malformed HTTP status code {}", quote_bytes(code))
        }
    };
    format!("net/http: HTTP/1.x transport connection broken: {complaint}")
}
