//! gRPC checks: the standard health service, `grpc.health.v1.Health/Check`.
//!
//! Always true: one run is one call on a connection of its own, bounded by its timeout; an answer larger than a
//! status is refused.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use tokio::time::Instant;

use super::h2_link::{Link, Seen};
use super::{Verdict, tcp};

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A health status is a few bytes; its frame adds five.
const ANSWER_BYTES_MAX: usize = 4096;
const FRAME_HEAD_BYTES: usize = 5;
const PATH: &str = "/grpc.health.v1.Health/Check";
const SERVING: i32 = 1;

#[derive(Clone, Debug)]
pub struct Grpc {
    /// `host:port` or `host:port/service`; what the call asks for.
    pub target: String,
    /// Dialled instead, and shown, when checks are exposed through a proxy.
    pub proxy_target: Option<String>,
    pub tls: Option<net::tls::ClientConfig>,
    /// The name in `tls`, if it expects one; it is the call's authority too.
    pub authority: Option<String>,
    pub timeout: Duration,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub service: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// What came back of a call.
struct Answer {
    http_status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    body: BytesMut,
}

impl Grpc {
    pub async fn run(&self) -> Verdict {
        let target = self.proxy_target.as_ref().unwrap_or(&self.target);
        match self.serving_status(target).await {
            Ok(SERVING) => Verdict::passing(format!("gRPC check {target}: success")),
            Ok(status) => Verdict::critical(format!("gRPC {target} serving status: {}", status_name(status))),
            Err(text) => Verdict::critical(text),
        }
    }

    async fn serving_status(&self, target: &str) -> Result<i32, String> {
        let deadline = Instant::now() + self.timeout;
        let server = target.split('/').next().unwrap_or_default();
        let service = self.target.split_once('/').map_or("", |(_, service)| service);
        let stream = tcp::connect(server, self.tls.as_ref(), self.timeout).await.map_err(|error| {
            if error.timed_out {
                return not_ready_text();
            }
            let stage = if error.in_handshake {
                "transport: authentication handshake failed"
            } else {
                "transport: Error while dialing"
            };
            connection_text(&format!("{stage}: {}", error.text))
        })?;
        let seen = Seen::default();
        let authority = self.authority.as_deref().unwrap_or(server);
        let call = async {
            let link = Link::open(stream, &seen).await?;
            let call = call(link.sender, self.tls.is_some(), authority, service);
            link.driver.until(call).await
        };
        match tokio::time::timeout_at(deadline, call).await {
            Ok(Ok(answer)) => answer.status(),
            Ok(Err(error)) => Err(connection_text(&format!("error reading server preface: {}", seen.explain(error)))),
            Err(_) if seen.anything() => {
                Err("rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned())
            }
            Err(_) => Err(not_ready_text()),
        }
    }
}

fn connection_text(cause: &str) -> String {
    let cause = net::go_text::quote(cause);
    format!("rpc error: code = Unavailable desc = connection error: desc = {cause}")
}

/// The time was over before the server had shown itself.
fn not_ready_text() -> String {
    "rpc error: code = DeadlineExceeded desc = received context error while waiting for new LB policy update: context deadline exceeded"
        .to_owned()
}

async fn call(
    sender: SendRequest<Bytes>,
    encrypted: bool,
    authority: &str,
    service: &str,
) -> Result<Answer, h2::Error> {
    let scheme = if encrypted { "https" } else { "http" };
    let request = Request::builder()
        .method("POST")
        .uri(format!("{scheme}://{authority}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|_| h2::Error::from(h2::Reason::INTERNAL_ERROR))?;
    let message = HealthCheckRequest { service: service.to_owned() };
    let mut sender = sender.ready().await?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(framed(&message), true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut answer = Answer { http_status: head.status, headers: head.headers, trailers: None, body: BytesMut::new() };
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        if answer.body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM));
        }
        answer.body.extend_from_slice(&piece);
    }
    answer.trailers = body.trailers().await?;
    Ok(answer)
}

/// Not compressed, then the length, then the message.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_BYTES + message.encoded_len());
    frame.put_u8(0);
    // Our own messages are far below the limit of 32 bits.
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

impl Answer {
    fn status(&self) -> Result<i32, String> {
        let said = |name: &str| {
            let trailers = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
            trailers.or_else(|| self.headers.get(name))
        };
        let Some(code) = said("grpc-status") else {
            return Err(self.not_grpc());
        };
        let code = String::from_utf8_lossy(code.as_bytes()).into_owned();
        if code != "0" {
            let message = said("grpc-message").map_or(String::new(), |message| unescaped(message.as_bytes()));
            return Err(format!("rpc error: code = {} desc = {message}", code_name(&code)));
        }
        let message = self.body.get(FRAME_HEAD_BYTES..).unwrap_or_default();
        HealthCheckResponse::decode(message).map(|response| response.status).map_err(|error| {
            format!("rpc error: code = Internal desc = grpc: failed to unmarshal the received message: {error}")
        })
    }

    fn not_grpc(&self) -> String {
        let content_type = self
            .headers
            .get("content-type")
            .map_or(String::new(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let code = match self.http_status.as_u16() {
            400 => "Internal",
            401 => "Unauthenticated",
            403 => "PermissionDenied",
            404 => "Unimplemented",
            429 | 502 | 503 | 504 => "Unavailable",
            _ => "Unknown",
        };
        format!(
            "rpc error: code = {code} desc = unexpected HTTP status code received from server: {} ({}); transport: received unexpected content-type {}",
            self.http_status.as_str(),
            self.http_status.canonical_reason().unwrap_or_default(),
            net::go_text::quote(&content_type)
        )
    }
}

/// `grpc-message` escapes bytes as `%NN`.
fn unescaped(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    super::output::as_text(&out)
}

fn status_name(status: i32) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        1 => "SERVING".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    }
}

fn code_name(code: &str) -> String {
    let name = match code {
        "1" => "Canceled",
        "2" => "Unknown",
        "3" => "InvalidArgument",
        "4" => "DeadlineExceeded",
        "5" => "NotFound",
        "6" => "AlreadyExists",
        "7" => "PermissionDenied",
        "8" => "ResourceExhausted",
        "9" => "FailedPrecondition",
        "10" => "Aborted",
        "11" => "OutOfRange",
        "12" => "Unimplemented",
        "13" => "Internal",
        "14" => "Unavailable",
        "15" => "DataLoss",
        "16" => "Unauthenticated",
        other => return format!("Code({other})"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::Grpc;
    use crate::check::stand_in::{self, Health};
    use std::time::Duration;

    async fn check(port: u16, service: &str, encrypt: bool, expect: &str) {
        let settings = net::tls::Settings { skip_verify: true, ..Default::default() };
        let grpc = Grpc {
            target: format!("127.0.0.1:{port}{service}"),
            proxy_target: None,
            tls: encrypt.then(|| settings.when_needed()),
            authority: None,
            timeout: Duration::from_millis(500),
        };
        let verdict = grpc.run().await;
        let got = format!("{}|{}", verdict.status, verdict.output);
        assert_eq!(got.replace(&format!(":{port}"), ":PORT"), expect);
    }

    #[tokio::test]
    async fn the_serving_status_decides() {
        let serving = stand_in::http2(Health::Status(1)).await;
        check(serving, "", false, "passing|gRPC check 127.0.0.1:PORT: success").await;
        check(serving, "/a/b", false, "passing|gRPC check 127.0.0.1:PORT/a/b: success").await;
        let stopping = stand_in::http2(Health::Status(2)).await;
        check(stopping, "", false, "critical|gRPC 127.0.0.1:PORT serving status: NOT_SERVING").await;
        let unknown = stand_in::http2(Health::Refused(5, "unknown service%21")).await;
        check(unknown, "/x", false, "critical|rpc error: code = NotFound desc = unknown service!").await;
        let silent = stand_in::http2(Health::Silent).await;
        check(silent, "", false, "critical|rpc error: code = DeadlineExceeded desc = context deadline exceeded").await;
    }

    /// The expectations were read off the reference's checks of such servers.
    #[tokio::test]
    async fn connections_fail_in_grpcs_words() {
        check(
            1,
            "/foo",
            false,
            r#"critical|rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:PORT: connect: connection refused""#,
        )
        .await;
        let http1 = stand_in::answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        check(
            http1,
            "",
            false,
            r#"critical|rpc error: code = Unavailable desc = connection error: desc = "error reading server preface: http2: failed reading the frame payload: %!w(<nil>), note that the frame header looked like an HTTP/1.1 header""#,
        )
        .await;
        check(
            http1,
            "",
            true,
            r#"critical|rpc error: code = Unavailable desc = connection error: desc = "transport: authentication handshake failed: tls: first record does not look like a TLS handshake""#,
        )
        .await;
        let silent = stand_in::silent().await;
        for encrypt in [false, true] {
            check(
                silent,
                "",
                encrypt,
                "critical|rpc error: code = DeadlineExceeded desc = received context error while waiting for new LB policy update: context deadline exceeded",
            )
            .await;
        }
        let closing = stand_in::answering("").await;
        check(
            closing,
            "",
            false,
            r#"critical|rpc error: code = Unavailable desc = connection error: desc = "error reading server preface: EOF""#,
        )
        .await;
    }
}
