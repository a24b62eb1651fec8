//! The layer above a simulated memberlist: it writes down who came and went, and wants nothing.

use std::time::Duration;

use bytes::Bytes;
use gossip::delegate::{Delegate, Node, NodeState};
use gossip::io::{Now, Output};

/// What one member came to think of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub at: Now,
    pub subject: String,
    /// Alive, Dead or Left.
    pub state: NodeState,
}

#[derive(Debug, Default)]
pub struct Witness {
    pub sightings: Vec<Sighting>,
    /// How many conflicts of names were reported.
    pub conflicts: usize,
    /// Acks in time.
    pub pings: usize,
}

impl Witness {
    fn saw(&mut self, at: Now, node: &Node) {
        self.sightings.push(Sighting { at, subject: node.name.clone(), state: node.state });
    }
}

impl Delegate for Witness {
    fn node_meta(&self, _limit: usize) -> Bytes {
        // About what Consul's tags take: it fills packets as real members do.
        Bytes::from_static(&[b'm'; 200])
    }

    fn message(&mut self, _now: Now, _message: &[u8], _outputs: &mut Vec<Output>) {}

    fn broadcasts(&mut self, _overhead: usize, _limit: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn local_state(&mut self, _now: Now, _join: bool) -> Bytes {
        Bytes::new()
    }

    fn merge_remote_state(&mut self, _now: Now, _state: &[u8], _join: bool, _outputs: &mut Vec<Output>) {}

    fn allow_merge(&mut self, _peers: &[Node]) -> Result<(), String> {
        Ok(())
    }

    fn allow_alive(&mut self, _peer: &Node) -> Result<(), String> {
        Ok(())
    }

    fn joined(&mut self, now: Now, node: &Node, _outputs: &mut Vec<Output>) {
        self.saw(now, node);
    }

    fn left(&mut self, now: Now, node: &Node, _outputs: &mut Vec<Output>) {
        self.saw(now, node);
    }

    fn updated(&mut self, _now: Now, _node: &Node, _outputs: &mut Vec<Output>) {}

    fn conflict(&mut self, _now: Now, _existing: &Node, _other: &Node, _outputs: &mut Vec<Output>) {
        self.conflicts += 1;
    }

    fn ack_payload(&mut self) -> Bytes {
        // As long as an encoded coordinate.
        Bytes::from_static(&[0; 120])
    }

    fn ping_complete(&mut self, _now: Now, _node: &Node, _rtt: Duration, _payload: &[u8]) {
        self.pings += 1;
    }
}
