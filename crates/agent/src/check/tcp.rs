//! TCP checks: passing when a connection (and, if asked for, a TLS session) comes about.
//!
//! Always true: connecting and the handshake share one timeout; nothing is sent beyond the handshake.

use std::time::Duration;

use net::dial;
use tokio::time::Instant;

use super::Verdict;

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Tcp {
    pub address: String,
    pub tls: Option<net::tls::ClientConfig>,
    pub timeout: Duration,
}

impl Tcp {
    pub async fn run(&self) -> Verdict {
        match connect(&self.address, self.tls.as_ref(), self.timeout).await {
            Ok(_) => {
                let kind = if self.tls.is_some() { "TCP+TLS" } else { "TCP" };
                Verdict::passing(format!("{kind} connect {}: Success", self.address))
            }
            Err(error) => Verdict::critical(error.text),
        }
    }
}

/// A connection that failed, and at which stage.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub text: String,
    pub in_handshake: bool,
    pub timed_out: bool,
}

/// Connects, and encrypts if told to. Other kinds start the same way.
pub(super) async fn connect(
    address: &str,
    tls: Option<&net::tls::ClientConfig>,
    timeout: Duration,
) -> Result<dial::Stream, ConnectError> {
    let started = Instant::now();
    let stream = dial::tcp(address, Some(timeout)).await.map_err(|error| ConnectError {
        text: error.to_string(),
        in_handshake: false,
        timed_out: error.is_timeout(),
    })?;
    let Some(tls) = tls else {
        return Ok(stream);
    };
    // What was just dialled splits.
    let host = dial::split_host_port(address).map_or(address, |(host, _)| host);
    let left = timeout.saturating_sub(started.elapsed());
    tls.connect(stream, host, Some(left)).await.map_err(|error| ConnectError {
        text: error.to_string(),
        in_handshake: true,
        timed_out: error == net::tls::TlsError::Timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::Tcp;
    use crate::check::stand_in;
    use std::time::Duration;

    async fn check(port: u16, tls: Option<net::tls::Settings>, expect: &str) {
        let tcp = Tcp {
            address: format!("127.0.0.1:{port}"),
            tls: tls.map(|settings| settings.when_needed()),
            timeout: Duration::from_millis(500),
        };
        let verdict = tcp.run().await;
        let got = format!("{}|{}", verdict.status, verdict.output);
        assert_eq!(got.replace(&format!(":{port}"), ":PORT"), expect);
    }

    /// The expectations were read off the reference's checks of such servers.
    #[tokio::test]
    async fn connecting_is_enough() {
        let open = stand_in::answering("x").await;
        let silent = stand_in::silent().await;
        let encrypted = stand_in::tls(&["localhost"]).await;
        let skip = net::tls::Settings { skip_verify: true, ..Default::default() };
        let verify = net::tls::Settings { ca_pem: Some(encrypted.pem.clone()), ..Default::default() };
        check(open, None, "passing|TCP connect 127.0.0.1:PORT: Success").await;
        check(1, None, "critical|dial tcp 127.0.0.1:PORT: connect: connection refused").await;
        check(1, Some(skip.clone()), "critical|dial tcp 127.0.0.1:PORT: connect: connection refused").await;
        check(open, Some(skip.clone()), "critical|tls: first record does not look like a TLS handshake").await;
        check(silent, Some(skip.clone()), "critical|context deadline exceeded").await;
        check(encrypted.port, Some(skip), "passing|TCP+TLS connect 127.0.0.1:PORT: Success").await;
        check(
            encrypted.port,
            Some(verify),
            "critical|tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
        )
        .await;
    }
}
