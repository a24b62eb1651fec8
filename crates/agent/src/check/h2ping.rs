//! HTTP/2 ping checks: passing when a PING frame is answered.
//!
//! Always true: connecting, the handshake and the ping share one timeout.

use std::time::Duration;

use h2::Ping;
use tokio::time::Instant;

use super::h2_link::{Link, Seen};
use super::{Verdict, tcp};

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct H2Ping {
    pub target: String,
    /// Offers `h2` to the server.
    pub tls: Option<net::tls::ClientConfig>,
    pub timeout: Duration,
}

impl H2Ping {
    pub async fn run(&self) -> Verdict {
        let deadline = Instant::now() + self.timeout;
        let stream = match tcp::connect(&self.target, self.tls.as_ref(), self.timeout).await {
            Ok(stream) => stream,
            Err(error) => {
                let text = format!("Failed to dial to {}: {}", self.target, error.text);
                return Verdict::critical(text);
            }
        };
        let seen = Seen::default();
        let ping = async {
            let mut link = Link::open(stream, &seen).await?;
            let _sender = link.sender;
            link.driver.until(link.ping.ping(Ping::opaque())).await
        };
        match tokio::time::timeout_at(deadline, ping).await {
            Ok(Ok(_)) => Verdict::passing("HTTP2 ping was successful"),
            Ok(Err(error)) => Verdict::critical(format!("HTTP2 ping failed: {}", seen.explain(error))),
            Err(_) => Verdict::critical("HTTP2 ping failed: context deadline exceeded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::H2Ping;
    use crate::check::stand_in;
    use std::time::Duration;

    async fn check(port: u16, encrypt: bool, expect: &str) {
        let settings = net::tls::Settings { skip_verify: true, alpn: vec![b"h2".to_vec()], ..Default::default() };
        let ping = H2Ping {
            target: format!("127.0.0.1:{port}"),
            tls: encrypt.then(|| settings.when_needed()),
            timeout: Duration::from_millis(500),
        };
        let verdict = ping.run().await;
        let got = format!("{}|{}", verdict.status, verdict.output);
        assert_eq!(got.replace(&format!(":{port}"), ":PORT"), expect);
    }

    /// The expectations were read off the reference's checks of such servers.
    #[tokio::test]
    async fn an_answered_ping_passes() {
        let http2 = stand_in::http2(stand_in::Health::Silent).await;
        let http1 = stand_in::answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let silent = stand_in::silent().await;
        check(http2, false, "passing|HTTP2 ping was successful").await;
        check(
            http1,
            false,
            "critical|HTTP2 ping failed: http2: failed reading the frame payload: %!w(<nil>), note that the frame header looked like an HTTP/1.1 header",
        )
        .await;
        check(silent, false, "critical|HTTP2 ping failed: context deadline exceeded").await;
        check(silent, true, "critical|Failed to dial to 127.0.0.1:PORT: context deadline exceeded").await;
        check(
            http1,
            true,
            "critical|Failed to dial to 127.0.0.1:PORT: tls: first record does not look like a TLS handshake",
        )
        .await;
        check(
            1,
            true,
            "critical|Failed to dial to 127.0.0.1:PORT: dial tcp 127.0.0.1:PORT: connect: connection refused",
        )
        .await;
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_critical() {
        let closing = stand_in::answering("").await;
        check(closing, false, "critical|HTTP2 ping failed: EOF").await;
    }
}
