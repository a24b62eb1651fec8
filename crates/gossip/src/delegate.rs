//! What memberlist asks of, and tells, the layer above it (Serf, or a test).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::io::{Now, Output};

/// A member as memberlist knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    /// What the layer above says of it: Serf's encoded tags. At most 512 bytes.
    pub meta: Bytes,
    pub state: NodeState,
    /// Memberlist protocol: least, most, spoken; then the same of the layer above.
    pub versions: [u8; 6],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeState {
    Alive = 0,
    Suspect = 1,
    Dead = 2,
    Left = 3,
}

/// The layer above. All calls come from within one call of the machine, so none may wait; what the layer wants done
/// it adds to `outputs`.
pub trait Delegate {
    /// Metadata of this node, at most `limit` bytes.
    fn node_meta(&self, limit: usize) -> Bytes;
    /// A user message, from a packet, a stream or the end of a compound.
    fn message(&mut self, now: Now, message: &[u8], outputs: &mut Vec<Output>);
    /// Messages of the layer above (bodies of user messages) to be sent along, each costing `overhead` beside its
    /// length, all within `limit` bytes.
    fn broadcasts(&mut self, overhead: usize, limit: usize) -> Vec<Bytes>;
    /// State of the layer above for a push/pull.
    fn local_state(&mut self, now: Now, join: bool) -> Bytes;
    /// What the other side of a push/pull sent.
    fn merge_remote_state(&mut self, now: Now, state: &[u8], join: bool, outputs: &mut Vec<Output>);
    /// May this set of members be merged with ours? The text says why not.
    fn allow_merge(&mut self, peers: &[Node]) -> Result<(), String>;
    /// May this member be taken as alive?
    fn allow_alive(&mut self, peer: &Node) -> Result<(), String>;
    fn joined(&mut self, now: Now, node: &Node, outputs: &mut Vec<Output>);
    /// Died (`NodeState::Dead`) or left (`NodeState::Left`).
    fn left(&mut self, now: Now, node: &Node, outputs: &mut Vec<Output>);
    /// Metadata changed.
    fn updated(&mut self, now: Now, node: &Node, outputs: &mut Vec<Output>);
    /// Another address claims the name of `existing`.
    fn conflict(&mut self, now: Now, existing: &Node, other: &Node, outputs: &mut Vec<Output>);
    /// Sent with each ack to a ping over UDP.
    fn ack_payload(&mut self) -> Bytes;
    /// A ping over UDP was answered by `node` itself.
    fn ping_complete(&mut self, now: Now, node: &Node, rtt: Duration, payload: &[u8]);
}
