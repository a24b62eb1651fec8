//! One HTTP/1.1 request, written byte by byte: method, path, headers and framing are exactly what the test says.
//!
//! Each call opens its own connection and asks the server to close it, so nothing of one test reaches another.

use crate::Answer;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest time a single request may take; blocking queries of the tests stay far below.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer that is read; a snapshot of a dev agent is far smaller.
const MAX_ANSWER: u64 = 64 << 20;

/// A request that has not been sent.
#[derive(Clone)]
#[must_use = "a call does nothing until it is sent"]
pub struct Call {
    to: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
}

impl Call {
    pub(crate) fn new(to: SocketAddr, method: &str, path: &str) -> Self {
        Self { to, method: method.into(), path: path.into(), headers: Vec::new(), body: None, chunked: false }
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends these bytes with a Content-Length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Sends the body as one chunk instead of with a Content-Length.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.method, self.path, self.to);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.as_deref().unwrap_or_default();
        let mut bytes = if self.chunked {
            text.push_str(&format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()));
            text.into_bytes()
        } else {
            if self.body.is_some() {
                text.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            text.push_str("\r\n");
            text.into_bytes()
        };
        bytes.extend_from_slice(body);
        if self.chunked {
            bytes.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        bytes
    }

    /// Sends the request and reads the whole answer.
    pub fn send(self) -> Answer {
        let start = Instant::now();
        let label = format!("{} {}", self.method, self.path);
        let fail = |step: &str, error: std::io::Error| -> ! { panic!("{label}: {step}: {error}") };
        let mut stream =
            TcpStream::connect_timeout(&self.to, CALL_TIMEOUT).unwrap_or_else(|error| fail("connect", error));
        stream
            .set_read_timeout(Some(CALL_TIMEOUT))
            .and_then(|()| stream.set_nodelay(true))
            .unwrap_or_else(|error| fail("socket options", error));
        // A server may answer and close before it has read a body that it refuses: the answer is what counts.
        let written = stream.write_all(&self.bytes());
        let mut bytes = Vec::new();
        let read = (&mut stream).take(MAX_ANSWER).read_to_end(&mut bytes);
        if bytes.is_empty() {
            if let Err(error) = written {
                fail("write", error);
            }
            if let Err(error) = read {
                fail("read", error);
            }
        }
        Answer::parse(label, &self.method, &bytes, start.elapsed())
    }

    /// Sends, and asserts status and exact body.
    #[track_caller]
    pub fn expect(self, status: u16, body: &str) -> Answer {
        self.send().expect(status, body)
    }

    /// Sends, and asserts the status only.
    #[track_caller]
    pub fn status(self, status: u16) -> Answer {
        self.send().status(status)
    }

    /// Sends, asserts 200 and parses the body.
    #[track_caller]
    pub fn json(self) -> Value {
        self.send().status(200).json()
    }
}
