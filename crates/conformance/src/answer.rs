//! One HTTP answer, as it came: status, header lines with their spelling, body bytes after de-chunking.

use serde_json::Value;
use std::io::Read;
use std::time::Duration;

/// What came back for a call.
#[derive(Debug)]
pub struct Answer {
    /// `METHOD path`, for failure messages.
    pub label: String,
    /// Status code.
    pub code: u16,
    /// Header lines in order, names as spelled on the wire.
    pub headers: Vec<(String, String)>,
    /// The body without transfer framing.
    pub body: Vec<u8>,
    /// From connect to the last byte.
    pub took: Duration,
}

impl Answer {
    pub(crate) fn parse(label: String, method: &str, bytes: &[u8], took: Duration) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("{label}: no end of headers in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let code = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("{label}: bad status line {status_line:?}"));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer = Self { label, code, headers, body: bytes[end + 4..].to_vec(), took };
        if method == "HEAD" {
            assert!(answer.body.is_empty(), "{}: HEAD was answered with a body", answer.label);
        } else if answer.find("Transfer-Encoding").is_some_and(|coding| coding == "chunked") {
            answer.body = unchunk(&answer.label, &answer.body);
        } else if let Some(length) = answer.find("Content-Length") {
            assert_eq!(length, answer.body.len().to_string(), "{}: Content-Length and body differ", answer.label);
        }
        answer
    }

    /// The value of a header in any spelling.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a header that must be there, spelled exactly so.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        match self.headers.iter().find(|(have, _)| have == name) {
            Some((_, value)) => value,
            None => panic!("{}: no header {name} in {:#?}", self.label, self.headers),
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{}: {error} in {:?}", self.label, self.text()),
        }
    }

    /// The blocking-query index.
    #[track_caller]
    pub fn index(&self) -> u64 {
        match self.header("X-Consul-Index").parse() {
            Ok(index) => index,
            Err(error) => panic!("{}: X-Consul-Index: {error}", self.label),
        }
    }

    /// The body with gzip taken off.
    #[track_caller]
    pub fn gunzip(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        if let Err(error) = flate2::read::MultiGzDecoder::new(&self.body[..]).read_to_end(&mut plain) {
            panic!("{}: not gzip: {error}", self.label);
        }
        plain
    }

    /// Asserts the status.
    #[track_caller]
    pub fn status(self, code: u16) -> Self {
        assert_eq!(self.code, code, "status of {}; body {:?}", self.label, self.text());
        self
    }

    /// Asserts status and exact body.
    #[track_caller]
    pub fn expect(self, code: u16, body: &str) -> Self {
        assert_eq!((self.code, self.text().as_str()), (code, body), "got (left), expected (right) for {}", self.label);
        self
    }

    /// Asserts that the body contains a text.
    #[track_caller]
    pub fn contains(self, part: &str) -> Self {
        assert!(self.text().contains(part), "{}: no {part:?} in {:?}", self.label, self.text());
        self
    }
}

fn unchunk(label: &str, mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest
            .windows(2)
            .position(|two| two == b"\r\n")
            .unwrap_or_else(|| panic!("{label}: answer ends inside a chunk header"));
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("{label}: chunk size {size:?}"));
        rest = &rest[end + 2..];
        if size == 0 {
            return body;
        }
        assert!(rest.len() >= size + 2, "{label}: answer ends inside a chunk");
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}
