//! UDP checks: critical when the peer's machine says that nobody listens, passing otherwise.
//!
//! Always true: silence is no failure, because UDP promises nothing.
//!
//! Compat: the reference waits for an answer without end, so that a silent server never gets a status; it means to
//! take silence for success after the timeout, and here it does.

use std::time::Duration;

use net::dial;

use super::Verdict;

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Udp {
    pub address: String,
    pub timeout: Duration,
}

impl Udp {
    pub async fn run(&self) -> Verdict {
        match tokio::time::timeout(self.timeout, self.exchange()).await {
            Ok(Err(text)) => Verdict::critical(text),
            Ok(Ok(())) | Err(_) => Verdict::passing(format!("UDP connect {}: Success", self.address)),
        }
    }

    /// Sends an empty datagram and waits for anything to come back.
    async fn exchange(&self) -> Result<(), String> {
        let socket = dial::udp(&self.address, None).await.map_err(|error| error.to_string())?;
        let end = |address: std::io::Result<std::net::SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        let route = format!("udp {}->{}", end(socket.local_addr()), end(socket.peer_addr()));
        socket.send(&[]).await.map_err(|error| dial::operation_error("write", &route, error).to_string())?;
        let mut byte = [0];
        socket.recv(&mut byte).await.map_err(|error| dial::operation_error("read", &route, error).to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Udp;
    use std::time::Duration;
    use tokio::net::UdpSocket;

    async fn run(port: u16) -> String {
        let udp = Udp { address: format!("127.0.0.1:{port}"), timeout: Duration::from_millis(300) };
        let verdict = udp.run().await;
        format!("{}|{}", verdict.status, verdict.output).replace(&port.to_string(), "PORT")
    }

    #[tokio::test]
    async fn only_a_refusal_is_critical() {
        let answering = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = answering.local_addr().unwrap().port();
        let answer = async {
            let mut read = [0; 9];
            let (count, peer) = answering.recv_from(&mut read).await.unwrap();
            assert_eq!(count, 0);
            answering.send_to(b"yo", peer).await.unwrap();
        };
        let (got, ()) = tokio::join!(run(port), answer);
        assert_eq!(got, "passing|UDP connect 127.0.0.1:PORT: Success");
        let got = run(silent.local_addr().unwrap().port()).await;
        assert_eq!(got, "passing|UDP connect 127.0.0.1:PORT: Success");
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let got = run(port).await;
        assert!(got.starts_with("critical|read udp 127.0.0.1:"), "{got}");
        assert!(got.ends_with("->127.0.0.1:PORT: read: connection refused"), "{got}");
    }

    #[tokio::test]
    async fn bad_addresses_are_named() {
        let udp = Udp { address: "127.0.0.1".to_owned(), timeout: Duration::from_secs(1) };
        let verdict = udp.run().await;
        assert_eq!(verdict.output, "dial udp: address 127.0.0.1: missing port in address");
    }
}
