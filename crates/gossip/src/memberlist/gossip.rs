//! What comes and goes in packets, and how news fills them.

use std::net::SocketAddr;

use bytes::Bytes;

use super::broadcast::transmit_limit;
use super::message::{self, Ack, Alive, Packet};
use super::relay::answer_to;
use super::{Level, Memberlist, Turn, budget, peer_of};
use crate::delegate::{Delegate, Node, NodeState};
use crate::io::{Output, Peer};

/// The least memberlist protocol that understands checksums.
const CHECKSUM_SINCE: u8 = 5;

pub(super) fn takes_checksum(node: &Node) -> bool {
    node.versions[1] >= CHECKSUM_SINCE
}

impl Memberlist {
    pub(super) fn take_packet<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, from: SocketAddr, packet: Packet) {
        match packet {
            Packet::Ping(ping) => {
                if !ping.node.is_empty() && ping.node != self.config.name {
                    self.complain(turn, Level::Warn, || {
                        format!("Got ping for unexpected node '{}' from={from}", ping.node)
                    });
                    return;
                }
                let payload = turn.delegate.ack_payload();
                let to = answer_to(ping.source_addr, ping.source_port, ping.source_node, from);
                self.send(turn, to, Packet::Ack(Ack { seq_no: ping.seq_no, payload }).encode());
            }
            Packet::IndirectPing(asked) => self.take_indirect_ping(turn, from, asked),
            Packet::Ack(ack) => self.take_ack(turn, &ack),
            Packet::Nack(nack) => self.take_nack(&nack),
            Packet::Suspect(suspect) => self.take_suspect(turn, suspect),
            Packet::Alive(alive) => self.take_alive_from(turn, from, alive),
            Packet::Dead(dead) => self.take_dead(turn, dead, None),
            Packet::User(body) => turn.delegate.message(turn.now, &body, turn.outputs),
        }
    }

    fn take_alive_from<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, from: SocketAddr, alive: Alive) {
        if self.config.allows(from.ip()) {
            self.take_alive(turn, alive);
        } else {
            self.complain(turn, Level::Debug, || format!("Blocked alive message: {} is not allowed", from.ip()));
        }
    }

    /// Bytes for messages in a packet, beside what is around them and the first one's place.
    pub(super) fn packet_room(&self) -> usize {
        self.config.packet_max.saturating_sub(self.config.packet_overhead + budget::COMPOUND_HEADER)
    }

    /// Sends a message with as much news as fits beside it.
    pub(super) fn send<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, to: Peer, message: Bytes) {
        let room = self.packet_room().saturating_sub(budget::COMPOUND_EACH + message.len());
        let mut messages = vec![message];
        messages.extend(self.take_news(turn, room));
        messages.truncate(budget::COMPOUND_MESSAGES_MAX);
        let checksum = self.roster.get(&to.name).is_some_and(|entry| takes_checksum(&entry.node));
        turn.outputs.push(Output::Packet { to, messages, checksum });
    }

    /// One round: news goes to a few members who may not have it. The recently dead are told, too: if they live, they
    /// hear of their death and can refute it.
    pub(super) fn gossip<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        let now = turn.now;
        let hearers = self.roster.sample(&mut self.rng, self.config.gossip_nodes, |entry| {
            entry.node.name != self.config.name
                && match entry.node.state {
                    NodeState::Alive | NodeState::Suspect => true,
                    NodeState::Dead => now.saturating_sub(entry.changed) <= self.config.gossip_to_the_dead_time,
                    NodeState::Left => false,
                }
        });
        let hearers: Vec<(Peer, bool)> =
            hearers.into_iter().map(|entry| (peer_of(&entry.node), takes_checksum(&entry.node))).collect();
        for (to, checksum) in hearers {
            let news = self.take_news(turn, self.packet_room());
            if news.is_empty() {
                return;
            }
            for messages in news.chunks(budget::COMPOUND_MESSAGES_MAX) {
                turn.outputs.push(Output::Packet { to: to.clone(), messages: messages.to_vec(), checksum });
            }
        }
    }

    /// News of ours first, then of the layer above, all within `room`.
    fn take_news<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, room: usize) -> Vec<Bytes> {
        let limit = transmit_limit(self.config.retransmit_mult, self.roster.len());
        let mut news = self.news.take(budget::COMPOUND_EACH, room, limit);
        let used: usize = news.iter().map(|message| message.len() + budget::COMPOUND_EACH).sum();
        let overhead = budget::COMPOUND_EACH + budget::USER_EACH;
        let room = room.saturating_sub(used);
        if room > overhead {
            let bodies = turn.delegate.broadcasts(overhead, room);
            news.extend(bodies.iter().map(|body| message::user(body)));
        }
        news
    }
}
