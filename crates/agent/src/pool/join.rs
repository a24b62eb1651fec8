//! Joining: names become addresses, and whoever is named at start is tried until somebody answers.

use std::net::SocketAddr;
use std::time::Duration;

use gossip::io::Peer;
use tokio::time::Instant;

use super::JoinSettings;
use super::member::{Pool, name_of};
use crate::Agent;

/// A name that is not found so soon is not found.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Pauses between attempts to join differ from the configured one by up to this part of it.
const JITTER: f64 = 0.2;

impl Pool {
    /// Says how many were reached; fails if none was.
    pub(super) async fn join(&self, addresses: &[String]) -> Result<usize, String> {
        let mut peers = Vec::new();
        let mut errors = Vec::new();
        for written in addresses {
            match self.resolve(written).await {
                Ok(found) => peers.extend(found),
                Err(error) => errors.push(format!("Failed to resolve {written}: {error}")),
            }
        }
        let mut reached = 0;
        if !peers.is_empty() {
            let joined = self.join_peers(peers).await?;
            reached = joined.reached;
            errors.extend(joined.errors.into_iter().map(|(_, line)| line));
        }
        if reached > 0 {
            return Ok(reached);
        }
        let (count, word) = (errors.len(), if errors.len() == 1 { "error" } else { "errors" });
        let lines: String = errors.iter().map(|error| format!("\t* {error}\n")).collect();
        Err(format!("{count} {word} occurred:\n{lines}\n"))
    }

    async fn resolve(&self, written: &str) -> Result<Vec<Peer>, String> {
        // Compat: the port that is meant without one is the agent's own, whatever the other's may be.
        let (name, address) = parts(written, self.port())?;
        let (host, port) = net::dial::split_host_port(&address).map_err(|error| error.to_string())?;
        let port = port_number(port)?;
        let found =
            net::dial::lookup(host, Some(Instant::now() + LOOKUP_MAX)).await.map_err(|error| error.to_string())?;
        let peer = |ip| Peer { name: name.to_owned(), address: SocketAddr::new(ip, port) };
        Ok(found.into_iter().map(peer).collect())
    }

    /// Tries until somebody was reached, or as often as is allowed.
    pub(super) async fn keep_joining(self, settings: JoinSettings, agent: Agent) {
        let cluster = name_of(self.kind());
        tracing::info!(target: "agent", cluster, "Joining cluster...");
        let mut told = None;
        for attempt in 1_u64.. {
            let error = match self.join(&settings.addresses).await {
                Ok(reached) => {
                    tracing::info!(
                        target: "agent",
                        cluster,
                        num_agents = reached,
                        "Join cluster completed. Synced with initial agents"
                    );
                    return;
                }
                Err(error) => error,
            };
            if settings.max_attempts > 0 && attempt > settings.max_attempts {
                tracing::error!(target: "agent", error = %format!("agent: max join retry exhausted, exiting"), "Retry join failed");
                agent.shared.exhausted.notify_one();
                return;
            }
            // The same reason is told once; a new one, or none any more, is news.
            if told.as_ref() != Some(&error) {
                let retry = wire::duration::GoDuration::from(settings.interval);
                tracing::warn!(target: "agent", cluster, retry_interval = %retry, error, "Join cluster failed, will retry");
                told = Some(error);
            }
            // Agents that were started together do not come back together.
            let pause = settings.interval.mul_f64(rand::random_range(1.0 - JITTER..1.0 + JITTER));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop_token().cancelled() => return,
            }
        }
    }
}

/// The member's name, if it is given as `name/address`, and the address with a port.
fn parts(written: &str, own_port: u16) -> Result<(&str, String), String> {
    let (name, address) = match written.split_once('/') {
        Some(("", _)) => return Err("empty node name provided".to_owned()),
        Some(parts) => parts,
        None => ("", written),
    };
    let has_port = match address.strip_prefix('[') {
        Some(_) => address.rfind(':') > address.rfind(']'),
        None => address.matches(':').count() == 1,
    };
    if has_port {
        return Ok((name, address.to_owned()));
    }
    let host = address.trim_matches(['[', ']']);
    Ok((name, if host.contains(':') { format!("[{host}]:{own_port}") } else { format!("{host}:{own_port}") }))
}

/// Go's `strconv.ParseUint(text, 10, 16)`.
fn port_number(text: &str) -> Result<u16, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let reason = if is_number { "value out of range" } else { "invalid syntax" };
    let fault = || format!("strconv.ParseUint: parsing {}: {reason}", net::go_text::quote(text));
    if is_number { text.parse().map_err(|_| fault()) } else { Err(fault()) }
}

#[cfg(test)]
mod tests {
    use super::{parts, port_number};

    #[test]
    fn a_port_and_a_name_may_be_left_out() {
        for (written, name, address) in [
            ("10.0.0.1", "", "10.0.0.1:7"),
            ("10.0.0.1:8", "", "10.0.0.1:8"),
            ("[::1]", "", "[::1]:7"),
            ("::1", "", "[::1]:7"),
            ("[::1]:8", "", "[::1]:8"),
            ("n/host", "n", "host:7"),
            ("n/", "n", ":7"),
            ("a:b:c", "", "[a:b:c]:7"),
            ("", "", ":7"),
        ] {
            assert_eq!(parts(written, 7), Ok((name, address.to_owned())), "{written}");
        }
        assert_eq!(parts("/x", 7), Err("empty node name provided".to_owned()));
    }

    #[test]
    fn ports_are_refused_as_in_go() {
        assert_eq!(port_number("65535"), Ok(65535));
        for (text, reason) in [
            ("70000", "value out of range"),
            ("", "invalid syntax"),
            ("-1", "invalid syntax"),
            ("http", "invalid syntax"),
        ] {
            assert_eq!(port_number(text), Err(format!("strconv.ParseUint: parsing {text:?}: {reason}")));
        }
    }
}
