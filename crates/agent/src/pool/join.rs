//! Joining: names become addresses, and whoever is named at start is tried until somebody answers.

use std::net::SocketAddr;

use gossip::io::Peer;

use super::JoinSettings;
use super::member::{Pool, name_of};
use crate::Agent;

/// Where pools listen unless told otherwise.
const LAN_PORT: u16 = 8301;
const WAN_PORT: u16 = 8302;

impl Pool {
    /// Says how many were reached; fails if none was.
    pub(super) async fn join(&self, addresses: &[String]) -> Result<usize, String> {
        let mut peers = Vec::new();
        let mut errors = Vec::new();
        for written in addresses {
            match self.resolve(written).await {
                Ok(found) => {
                    let peer = |address| Peer { name: String::new(), address };
                    peers.extend(found.into_iter().map(peer));
                }
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

    async fn resolve(&self, written: &str) -> Result<Vec<SocketAddr>, String> {
        // A member may be named as `name/address`.
        let written = written.rsplit_once('/').map_or(written, |(_, address)| address);
        if let Ok(address) = written.parse::<SocketAddr>() {
            return Ok(vec![address]);
        }
        let port = match self.kind() {
            gossip::serf::consul::PoolKind::Lan => LAN_PORT,
            gossip::serf::consul::PoolKind::Wan => WAN_PORT,
        };
        let bare = written.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let (host, port) = match written.rsplit_once(':') {
            Some((host, given)) => (host, given.parse().map_err(|_| format!("invalid port {given:?}"))?),
            None => (written, port),
        };
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<_> = found.map_err(|_| format!("lookup {host}: no such host"))?.collect();
        if found.is_empty() { Err(format!("lookup {host}: no such host")) } else { Ok(found) }
    }

    /// Tries until somebody was reached, or as often as is allowed.
    pub(super) async fn keep_joining(self, settings: JoinSettings, agent: Agent) {
        let cluster = name_of(self.kind());
        tracing::info!(target: "agent", cluster, "Joining cluster...");
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
            let retry = wire::duration::GoDuration::from(settings.interval);
            tracing::warn!(target: "agent", cluster, retry_interval = %retry, error, "Join cluster failed, will retry");
            tokio::select! {
                () = tokio::time::sleep(settings.interval) => {}
                () = self.stop_token().cancelled() => return,
            }
        }
    }
}
