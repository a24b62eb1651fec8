//! Probing for somebody else.
//!
//! Always true: at most [`RELAYS_MAX`] at a time; each ends after the probe timeout, with a nack if one was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::message::{Ack, IndirectPing, Nack, Packet};
use super::{Level, Memberlist, Turn};
use crate::delegate::Delegate;
use crate::io::{Now, Peer};

/// Each lasts half a second; nobody honest asks for more than a few of them.
const RELAYS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Relays {
    /// By our own sequence number.
    open: BTreeMap<u32, Relay>,
    /// In the order in which they end. Those acked are not open any more.
    order: VecDeque<(Now, u32)>,
}

#[derive(Debug)]
struct Relay {
    origin: Peer,
    seq_no: u32,
    nack: bool,
}

impl Relays {
    pub(super) fn deadline(&self) -> Option<Now> {
        self.order.front().map(|&(ends, _)| ends)
    }
}

impl Memberlist {
    pub(super) fn take_indirect_ping<D: Delegate>(
        &mut self,
        turn: &mut Turn<'_, D>,
        from: SocketAddr,
        asked: IndirectPing,
    ) {
        let Some(target) = asked.target else {
            self.complain(turn, Level::Error, || format!("an indirect ping without a target from={from}"));
            return;
        };
        if self.relays.order.len() >= RELAYS_MAX {
            self.complain(turn, Level::Warn, || format!("too many indirect pings, one dropped from={from}"));
            return;
        }
        let port = if asked.port == 0 { self.config.address.port() } else { asked.port };
        let to = Peer { name: asked.node, address: (target, port).into() };
        let origin = answer_to(asked.source_addr, asked.source_port, asked.source_node, from);
        let own = self.next_seq_no();
        self.relays.open.insert(own, Relay { origin, seq_no: asked.seq_no, nack: asked.nack });
        self.relays.order.push_back((turn.now + self.config.probe_timeout, own));
        let ping = Packet::Ping(self.ping(own, &to.name)).encode();
        self.send(turn, to, ping);
    }

    pub(super) fn relay_ack<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, own: u32) {
        let Some(relay) = self.relays.open.remove(&own) else { return };
        // The payload is of the target's relation to us, not to who asked.
        let ack = Packet::Ack(Ack { seq_no: relay.seq_no, ..Ack::default() }).encode();
        self.send(turn, relay.origin, ack);
    }

    pub(super) fn end_relays<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        while let Some((_, own)) = self.relays.order.pop_front_if(|(ends, _)| *ends <= turn.now) {
            let Some(relay) = self.relays.open.remove(&own) else { continue };
            if relay.nack {
                let nack = Packet::Nack(Nack { seq_no: relay.seq_no }).encode();
                self.send(turn, relay.origin, nack);
            }
        }
    }
}

/// Where an answer goes: where the message says, or where it came from.
pub(super) fn answer_to(address: Option<IpAddr>, port: u16, name: String, from: SocketAddr) -> Peer {
    let address = match address {
        Some(address) if port > 0 => (address, port).into(),
        _ => from,
    };
    Peer { name, address }
}
