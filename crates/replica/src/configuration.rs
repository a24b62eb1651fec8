//! Which servers make up the cluster, and when their votes count.
//!
//! Always true: a configuration changes by one server at a time, and only by a committed log entry; the newest one that
//! this server applied is stable before its votes count ([`crate::LogStore::set_configuration`]).

use std::collections::BTreeMap;

use raft::eraftpb::{ConfChange, ConfChangeType, ConfState};
use serde::{Deserialize, Serialize};
use wire::msgpack;

/// More servers than this are in no cluster.
pub const PEERS_MAX: usize = 256;
/// An id or address that is longer is none.
const TEXT_MAX: usize = 256;

/// One server of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Peer {
    /// The node id, a UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Where its RPC port is, `ip:port`.
    pub address: String,
    /// Whether its vote counts. One without learns the log and nothing else.
    pub voter: bool,
}

/// The number under which raft knows the server with this node id: FNV-1a of 64 bits, never zero.
#[must_use]
pub fn number_of(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

/// The servers of a cluster as of one log index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Configuration {
    /// Drawn when the cluster was formed; servers of different clusters do not talk to each other. Zero: none yet.
    pub cluster: u64,
    /// Which log entry made it so; zero for what the cluster began with.
    pub index: u64,
    pub peers: BTreeMap<u64, Peer>,
}

impl Configuration {
    /// What a cluster begins with: these servers, all of them voters.
    #[must_use]
    pub fn founding(cluster: u64, peers: impl IntoIterator<Item = (String, String)>) -> Self {
        let peers = peers.into_iter().map(|(id, address)| (number_of(&id), Peer { id, address, voter: true }));
        Configuration { cluster, index: 0, peers: peers.collect() }
    }

    /// Whether `number` is the only one whose vote counts and there is nobody else to keep up to date.
    #[must_use]
    pub fn is_only(&self, number: u64) -> bool {
        self.peers.len() == 1 && self.votes(number)
    }

    /// Whether this server's vote counts.
    #[must_use]
    pub fn votes(&self, number: u64) -> bool {
        self.peers.get(&number).is_some_and(|peer| peer.voter)
    }

    /// How many votes there are.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.peers.values().filter(|peer| peer.voter).count()
    }

    /// The server with this node id.
    #[must_use]
    pub fn peer(&self, id: &str) -> Option<&Peer> {
        self.peers.get(&number_of(id)).filter(|peer| peer.id.eq_ignore_ascii_case(id))
    }

    /// As raft has it.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        let numbers = |voter| self.peers.iter().filter(move |(_, peer)| peer.voter == voter).map(|(number, _)| *number);
        ConfState { voters: numbers(true).collect(), learners: numbers(false).collect(), ..ConfState::default() }
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and maps always fit.
        msgpack::to_vec(self).unwrap_or_default()
    }

    /// `None` for bytes that are no configuration.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let configuration: Configuration = msgpack::from_slice(bytes).ok()?;
        let fits = configuration.peers.len() <= PEERS_MAX
            && configuration.peers.iter().all(|(number, peer)| peer.is_sound() && *number == number_of(&peer.id));
        fits.then_some(configuration)
    }

    /// Takes in a change that was committed.
    pub(crate) fn apply(&mut self, index: u64, change: &Change) {
        self.index = index;
        match change {
            Change::Put(peer) => {
                self.peers.insert(number_of(&peer.id), peer.clone());
            }
            Change::Remove(id) => {
                self.peers.remove(&number_of(id));
            }
        }
    }
}

impl Peer {
    fn is_sound(&self) -> bool {
        !self.id.is_empty() && self.id.len() <= TEXT_MAX && self.address.len() <= TEXT_MAX
    }
}

/// One step from a configuration to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds a server, or gives one that is there another address or the right to vote.
    Put(Peer),
    /// Removes the server with this node id.
    Remove(String),
}

impl Change {
    pub(crate) fn to_raft(&self) -> ConfChange {
        let mut change = ConfChange::default();
        match self {
            Change::Put(peer) => {
                let kind = if peer.voter { ConfChangeType::AddNode } else { ConfChangeType::AddLearnerNode };
                change.set_change_type(kind);
                change.node_id = number_of(&peer.id);
                change.context = msgpack::to_vec(peer).unwrap_or_default().into();
            }
            Change::Remove(id) => {
                change.set_change_type(ConfChangeType::RemoveNode);
                change.node_id = number_of(id);
                change.context = id.clone().into_bytes().into();
            }
        }
        change
    }

    /// What a log entry asks for; `None` when it is none of ours.
    pub(crate) fn from_raft(change: &ConfChange) -> Option<Self> {
        let made = match change.get_change_type() {
            ConfChangeType::RemoveNode => Change::Remove(String::from_utf8(change.context.to_vec()).ok()?),
            kind => {
                let peer: Peer = msgpack::from_slice(&change.context).ok()?;
                let is_same = peer.voter == (kind == ConfChangeType::AddNode);
                Change::Put(Some(peer).filter(|peer| is_same && peer.is_sound())?)
            }
        };
        (number_of(made.id()) == change.node_id).then_some(made)
    }

    /// Whom it is about.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Change::Put(peer) => &peer.id,
            Change::Remove(id) => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Configuration, Peer, number_of};

    fn peer(id: &str, voter: bool) -> Peer {
        Peer { id: id.to_owned(), address: "127.0.0.1:8300".to_owned(), voter }
    }

    #[test]
    fn changes_travel_through_raft() {
        for change in [Change::Put(peer("a", true)), Change::Put(peer("b", false)), Change::Remove("a".to_owned())] {
            assert_eq!(Change::from_raft(&change.to_raft()), Some(change));
        }
        let mut strange = Change::Remove("a".to_owned()).to_raft();
        strange.node_id = 7;
        assert_eq!(Change::from_raft(&strange), None);
    }

    #[test]
    fn configurations_travel_as_bytes() {
        let mut configuration = Configuration::founding(9, [("a".to_owned(), "x:1".to_owned())]);
        assert!(configuration.is_only(number_of("A")));
        configuration.apply(4, &Change::Put(peer("b", false)));
        assert!(!configuration.is_only(number_of("a")));
        assert_eq!(configuration.voters(), 1);
        assert_eq!(Configuration::decode(&configuration.encode()), Some(configuration.clone()));
        configuration.apply(5, &Change::Remove("a".to_owned()));
        assert_eq!(configuration.peer("a"), None);
        assert_eq!(Configuration::decode(b"\x81"), None);
    }
}
