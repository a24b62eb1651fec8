//! HTTP checks: passing for 2xx, warning for 429, critical for everything else.
//!
//! Always true: one run is bounded by its timeout, redirects and body included; no more than [`BODY_BYTES_MAX`] of a
//! body is read and no more than the output's limit is kept; each run has its own connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use net::http_client::{Client, HttpError, Redirects, Request};

use super::output::Tail;
use super::{Status, Verdict};

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A body that goes on beyond this is left; its tail so far is the output.
const BODY_BYTES_MAX: usize = 16 << 20;
const USER_AGENT: &str = "Consul Health Check";
const ACCEPT: &str = "text/plain, text/*, */*";

#[derive(Clone, Debug)]
pub struct Http {
    pub url: String,
    /// Empty for GET.
    pub method: String,
    pub header: BTreeMap<String, Vec<String>>,
    pub body: String,
    pub disable_redirects: bool,
    pub timeout: Duration,
    pub output_bytes_max: usize,
    pub tls: net::tls::ClientConfig,
}

impl Http {
    pub async fn run(&self) -> Verdict {
        let client = Client {
            tls: Some(self.tls.clone()),
            redirects: if self.disable_redirects { Redirects::Off } else { Redirects::DEFAULT },
            timeout: Some(self.timeout),
        };
        let sent = match self.request() {
            Ok(request) => client.send(request).await,
            Err(error) => Err(error),
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Verdict::critical(error.to_string()),
        };
        let mut tail = Tail::new(self.output_bytes_max);
        // Compat: a body that breaks off or trickles beyond the timeout does not change the verdict.
        while let Ok(Some(piece)) = response.chunk().await {
            tail.write(&piece);
            if tail.written() >= BODY_BYTES_MAX as u64 {
                break;
            }
        }
        let status = match response.status.as_u16() {
            200..=299 => Status::Passing,
            429 => Status::Warning,
            _ => Status::Critical,
        };
        let output = format!("HTTP {} {}: {} Output: {}", self.method(), self.url, response.status_line(), tail.text());
        Verdict::new(status, output)
    }

    fn method(&self) -> &str {
        if self.method.is_empty() { "GET" } else { &self.method }
    }

    fn request(&self) -> Result<Request, HttpError> {
        let mut request = Request::parse(self.method(), &self.url)?;
        for (name, values) in &self.header {
            for value in values {
                // An empty Host means the address's own.
                if !(name.eq_ignore_ascii_case("host") && value.is_empty()) {
                    request.header(name, value)?;
                }
            }
        }
        for (name, value) in [("User-Agent", USER_AGENT), ("Accept", ACCEPT)] {
            if request.headers.get(name).is_none_or(|given| given.is_empty()) {
                request.headers.remove(name);
                request.header(name, value)?;
            }
        }
        request.body = Bytes::from(self.body.clone());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::Http;
    use crate::check::stand_in;
    use std::time::Duration;

    fn http(port: u16) -> Http {
        Http {
            url: format!("http://127.0.0.1:{port}"),
            method: String::new(),
            header: Default::default(),
            body: String::new(),
            disable_redirects: false,
            timeout: Duration::from_secs(10),
            output_bytes_max: 4096,
            tls: net::tls::Settings::default().when_needed(),
        }
    }

    async fn outcome(http: &Http, port: u16) -> String {
        let verdict = http.run().await;
        format!("{}|{}", verdict.status, verdict.output).replace(&port.to_string(), "PORT")
    }

    async fn check(answer: &str, expect: &str) {
        let port = stand_in::answering(answer).await;
        assert_eq!(outcome(&http(port), port).await, expect, "answering {answer:?}");
    }

    /// The expectations were read off the reference, asked to check servers with these answers.
    #[tokio::test]
    async fn the_status_decides_and_the_output_tells() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "passing|HTTP GET http://127.0.0.1:PORT: 200 OK Output: hi",
        )
        .await;
        check(
            "HTTP/1.0 404 File not found\r\n\r\nnope",
            "critical|HTTP GET http://127.0.0.1:PORT: 404 File not found Output: nope",
        )
        .await;
        check(
            "HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n",
            "warning|HTTP GET http://127.0.0.1:PORT: 429 Slow Down Output: ",
        )
        .await;
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",
            "passing|HTTP GET http://127.0.0.1:PORT: 200 OK Output: hi",
        )
        .await;
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
            "passing|HTTP GET http://127.0.0.1:PORT: 200 OK Output: hello",
        )
        .await;
        check(
            "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
            "critical|Get \"/next\": stopped after 10 redirects",
        )
        .await;
        check("", "critical|Get \"http://127.0.0.1:PORT\": EOF").await;
    }

    #[tokio::test]
    async fn a_redirect_that_is_not_followed_is_critical() {
        let port = stand_in::answering("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n").await;
        let off = Http { disable_redirects: true, ..http(port) };
        assert_eq!(outcome(&off, port).await, "critical|HTTP GET http://127.0.0.1:PORT: 302 Found Output: ");
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_named() {
        for (url, method, expect) in [
            (
                "http://127.0.0.1:1/p",
                "POST",
                "Post \"http://127.0.0.1:1/p\": dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            ("127.0.0.1:80", "", "parse \"127.0.0.1:80\": first path segment in URL cannot contain colon"),
            ("unix:///tmp/none.sock", "", "Get \"unix:///tmp/none.sock\": unsupported protocol scheme \"unix\""),
        ] {
            let unreachable = Http { url: url.to_owned(), method: method.to_owned(), ..http(1) };
            let verdict = unreachable.run().await;
            assert_eq!(verdict.output, expect);
        }
    }

    #[tokio::test]
    async fn requests_carry_the_usual_headers_unless_given() {
        let port = stand_in::answering("HTTP/1.1 200 OK\r\n\r\n{echo}").await;
        let got = outcome(&http(port), port).await;
        for line in [
            "Output: GET / HTTP/1.1\r\n",
            "Host: 127.0.0.1:PORT\r\n",
            "User-Agent: Consul Health Check\r\n",
            "Accept: text/plain, text/*, */*\r\n",
        ] {
            assert!(got.contains(line), "{line:?} is missing in {got}");
        }
        let mut given = http(port);
        given.method = "PUT".to_owned();
        given.body = "hello".to_owned();
        for (name, value) in [("Host", "foo.bar"), ("User-Agent", "me"), ("Accept", "a/b")] {
            given.header.insert(name.to_owned(), vec![value.to_owned()]);
        }
        let got = outcome(&given, port).await;
        for line in [
            "Output: PUT / HTTP/1.1\r\n",
            "Host: foo.bar\r\n",
            "User-Agent: me\r\n",
            "Accept: a/b\r\n",
            "Content-Length: 5\r\n",
            "\r\n\r\nhello",
        ] {
            assert!(got.contains(line), "{line:?} is missing in {got}");
        }
    }

    #[tokio::test]
    async fn the_tail_of_a_large_body_is_kept() {
        let body = format!("{}END", "x".repeat(5000));
        let port = stand_in::answering(&format!("HTTP/1.1 200 OK\r\n\r\n{body}")).await;
        let verdict = http(port).run().await;
        let (_, kept) = verdict.output.split_once("Output: ").unwrap();
        assert_eq!(kept.len(), 4096);
        assert!(kept.ends_with("xEND"));
    }

    #[tokio::test]
    async fn the_timeout_ends_silence_and_trickles() {
        let quick = |port| Http { timeout: Duration::from_millis(200), ..http(port) };
        let port = stand_in::answering("{hang}").await;
        assert_eq!(
            outcome(&quick(port), port).await,
            "critical|Get \"http://127.0.0.1:PORT\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        );
        let port = stand_in::answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi{hang}").await;
        assert_eq!(outcome(&quick(port), port).await, "passing|HTTP GET http://127.0.0.1:PORT: 200 OK Output: hi");
    }
}
