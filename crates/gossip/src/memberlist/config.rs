//! How a memberlist behaves, and the three sets of defaults of the reference.
//!
//! The names of Consul's `gossip_lan` and `gossip_wan` are kept for what an operator can set.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::budget;
use super::message::Versions;

/// Memberlist protocols that are understood, and the one that is spoken.
pub const PROTOCOL_MIN: u8 = 1;
pub const PROTOCOL_MAX: u8 = 5;
pub const PROTOCOL: u8 = 2;

#[derive(Debug, Clone)]
pub struct Config {
    /// Unique in the pool.
    pub name: String,
    /// Where others reach this member.
    pub address: SocketAddr,
    /// Least, most and spoken version of the layer above.
    pub delegate_versions: [u8; 3],

    /// How often a member is probed, and how long an ack over UDP may take.
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    /// How many others are asked to probe a member that did not answer.
    pub indirect_checks: usize,
    /// Ping over TCP, too, if UDP brought nothing.
    pub tcp_pings: bool,
    /// The health score stays below this; the probe interval grows by one of itself with each point.
    /// 1 turns local health awareness off.
    pub awareness_max_multiplier: u32,

    /// A suspicion without confirmations lasts `suspicion_mult` probe intervals times the logarithm of the members,
    /// times `suspicion_max_timeout_mult`; every confirmation brings it nearer to the first of the two products.
    pub suspicion_mult: u32,
    /// 1 turns dynamic suspicion off.
    pub suspicion_max_timeout_mult: u32,

    pub gossip_interval: Duration,
    /// How many members hear each round of gossip.
    pub gossip_nodes: usize,
    /// For how long the dead are told, so that who is not dead can say so; then they are forgotten.
    pub gossip_to_the_dead_time: Duration,
    /// News is sent so many times the logarithm of the members.
    pub retransmit_mult: u32,

    /// How often everything is exchanged with somebody, if there are no more than 32 members.
    pub push_pull_interval: Duration,
    pub tcp_timeout: Duration,

    /// After so long the name of a dead member may be taken by another address; never if zero.
    pub dead_node_reclaim_time: Duration,
    /// Members may only be in these networks; anywhere if none is named.
    pub allowed_networks: Vec<Network>,

    /// What a packet may hold with everything around it, and what of this `envelope` takes ([`budget::envelope`]).
    pub packet_max: usize,
    pub packet_overhead: usize,
    pub queue_check_interval: Duration,
}

/// Addresses whose first `prefix` bits are those of `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub base: IpAddr,
    pub prefix: u32,
}

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => (base.to_bits() ^ address.to_bits()).leading_zeros(),
            (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits() ^ address.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= self.prefix
    }
}

impl Config {
    /// Machines of one network.
    #[must_use]
    pub fn lan(name: impl Into<String>, address: SocketAddr) -> Config {
        Config {
            name: name.into(),
            address,
            delegate_versions: [0, 0, 0],
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_checks: 3,
            tcp_pings: true,
            awareness_max_multiplier: 8,
            suspicion_mult: 4,
            suspicion_max_timeout_mult: 6,
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_the_dead_time: Duration::from_secs(30),
            retransmit_mult: 4,
            push_pull_interval: Duration::from_secs(30),
            tcp_timeout: Duration::from_secs(10),
            dead_node_reclaim_time: Duration::ZERO,
            allowed_networks: Vec::new(),
            packet_max: budget::PACKET_MAX,
            packet_overhead: budget::envelope(0, false),
            queue_check_interval: Duration::from_secs(30),
        }
    }

    /// Machines across the world.
    #[must_use]
    pub fn wan(name: impl Into<String>, address: SocketAddr) -> Config {
        Config {
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            suspicion_mult: 6,
            gossip_interval: Duration::from_millis(500),
            gossip_nodes: 4,
            gossip_to_the_dead_time: Duration::from_secs(60),
            push_pull_interval: Duration::from_secs(60),
            tcp_timeout: Duration::from_secs(30),
            ..Config::lan(name, address)
        }
    }

    /// One machine.
    #[must_use]
    pub fn local(name: impl Into<String>, address: SocketAddr) -> Config {
        Config {
            probe_timeout: Duration::from_millis(200),
            indirect_checks: 1,
            suspicion_mult: 3,
            gossip_interval: Duration::from_millis(100),
            gossip_to_the_dead_time: Duration::from_secs(15),
            retransmit_mult: 2,
            push_pull_interval: Duration::from_secs(15),
            tcp_timeout: Duration::from_secs(1),
            ..Config::lan(name, address)
        }
    }

    pub(super) fn versions(&self) -> Versions {
        let [least, most, spoken] = self.delegate_versions;
        [PROTOCOL_MIN, PROTOCOL_MAX, PROTOCOL, least, most, spoken]
    }

    pub(super) fn allows(&self, address: IpAddr) -> bool {
        self.allowed_networks.is_empty() || self.allowed_networks.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn networks() {
        let check = |base: &str, prefix, address: &str, expect| {
            let network = Network { base: base.parse().unwrap(), prefix };
            assert_eq!(network.contains(address.parse().unwrap()), expect, "{base}/{prefix} {address}");
        };
        check("10.1.0.0", 16, "10.1.255.7", true);
        check("10.1.0.0", 16, "10.2.0.0", false);
        check("10.1.0.0", 16, "::ffff:10.1.0.1", true);
        check("10.1.0.1", 32, "10.1.0.1", true);
        check("0.0.0.0", 0, "192.0.2.1", true);
        check("0.0.0.0", 0, "2001:db8::1", false);
        check("2001:db8::", 32, "2001:db8:1::", true);
        check("2001:db8::", 32, "2001:db9::", false);
    }
}
