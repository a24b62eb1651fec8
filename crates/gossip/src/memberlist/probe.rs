//! Asking one member whether it is there.
//!
//! ```text
//! sent ── probe_timeout ── asked others, TCP ────────────── deadline
//!  ping    an ack ends it    an ack ends it                  TCP reached it: fine; else it is suspected
//! ```
//!
//! The deadline is the probe interval, longer if this member itself does badly; one probe runs at a time.
//! How it ends tells something about ourselves, too: others that were asked send a nack at least, unless it is us who
//! hear nothing.

use std::time::Duration;

use super::message::{Ack, IndirectPing, Nack, Packet, Ping, Stream, Suspect};
use super::{Memberlist, Turn, gossip, peer_of};
use crate::delegate::{Delegate, Node, NodeState};
use crate::io::{ExchangeId, Level, Now, Output};

/// The least memberlist protocols that answer pings over TCP, and that send nacks.
const TCP_PING_SINCE: u8 = 3;
const NACK_SINCE: u8 = 4;

#[derive(Debug)]
pub(super) struct Probe {
    seq_no: u32,
    target: Node,
    incarnation: u32,
    sent: Now,
    ends: Now,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Direct { until: Now },
    Indirect { nacks_wanted: u32, nacks: u32, fallback: Fallback },
}

#[derive(Debug)]
enum Fallback {
    None,
    Waiting(ExchangeId),
    Reached,
}

impl Probe {
    pub(super) fn deadline(&self) -> Now {
        match self.phase {
            Phase::Direct { until } => until,
            Phase::Indirect { .. } => self.ends,
        }
    }
}

impl Memberlist {
    pub(super) fn start_probe<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        let now = turn.now;
        let keep = self.config.gossip_to_the_dead_time;
        let Some(next) = self.roster.next_to_probe(&mut self.rng, now, &self.config.name, keep) else { return };
        let (target, incarnation) = (next.node.clone(), next.incarnation);
        let interval = self.awareness.scale(self.config.probe_interval);
        if interval > self.config.probe_interval {
            turn.count("memberlist.degraded.probe", 1);
        }
        let seq_no = self.next_seq_no();
        let ping = Packet::Ping(self.ping(seq_no, &target.name)).encode();
        if target.state == NodeState::Alive {
            self.send(turn, peer_of(&target), ping);
        } else {
            // Whom others suspect learns of it from us as well (Lifeguard, "Buddy System").
            let from = self.config.name.clone();
            let suspect = Packet::Suspect(Suspect { incarnation, node: target.name.clone(), from }).encode();
            let (to, checksum) = (peer_of(&target), gossip::takes_checksum(&target));
            turn.outputs.push(Output::Packet { to, messages: vec![ping, suspect], checksum });
        }
        let ends = now + interval;
        // Longer waiting does not bring lost packets, so health has no part in this one.
        let until = ends.min(now + self.config.probe_timeout);
        let phase = Phase::Direct { until };
        self.probe = Some(Probe { seq_no, target, incarnation, sent: now, ends, phase });
    }

    /// A ping that says where the answer is to go.
    pub(super) fn ping(&self, seq_no: u32, node: &str) -> Ping {
        Ping {
            seq_no,
            node: node.to_owned(),
            source_addr: Some(self.config.address.ip()),
            source_port: self.config.address.port(),
            source_node: self.config.name.clone(),
        }
    }

    pub(super) fn continue_probe<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        let Some(probe) = self.probe.take_if(|probe| probe.deadline() <= turn.now) else { return };
        match probe.phase {
            Phase::Direct { .. } => self.probe_indirectly(turn, probe),
            Phase::Indirect { nacks_wanted, nacks, ref fallback } => {
                let reached = matches!(fallback, Fallback::Reached);
                self.finish_probe(turn, &probe);
                if reached {
                    let name = &probe.target.name;
                    self.complain(turn, Level::Warn, || {
                        format!(
                            "Was able to connect to {name} over TCP but UDP probes failed, network may be misconfigured"
                        )
                    });
                    self.health_better(turn);
                } else {
                    self.fail_probe(turn, probe.target.name, probe.incarnation, nacks_wanted, nacks);
                }
            }
        }
    }

    /// Asks others to probe it, and tries TCP.
    fn probe_indirectly<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, mut probe: Probe) {
        let target = &probe.target;
        self.complain(turn, Level::Debug, || format!("Failed UDP ping: {} (timeout reached)", target.name));
        let helpers = self.roster.sample(&mut self.rng, self.config.indirect_checks, |entry| {
            let node = &entry.node;
            node.state == NodeState::Alive && node.name != self.config.name && node.name != target.name
        });
        let helpers: Vec<Node> = helpers.into_iter().map(|entry| entry.node.clone()).collect();
        let mut nacks_wanted = 0;
        for helper in helpers {
            let nack = helper.versions[1] >= NACK_SINCE;
            nacks_wanted += u32::from(nack);
            let asked = IndirectPing {
                seq_no: probe.seq_no,
                target: Some(target.address.ip()),
                port: target.address.port(),
                node: target.name.clone(),
                nack,
                source_addr: Some(self.config.address.ip()),
                source_port: self.config.address.port(),
                source_node: self.config.name.clone(),
            };
            self.send(turn, peer_of(&helper), Packet::IndirectPing(asked).encode());
        }
        let left = probe.ends.saturating_sub(turn.now);
        let mut fallback = Fallback::None;
        if self.config.tcp_pings && target.versions[1] >= TCP_PING_SINCE && left > Duration::ZERO {
            let ping = Stream::Ping(self.ping(probe.seq_no, &target.name)).encode();
            let exchange = self.exchanges.start_ping(turn.now, peer_of(target), ping, left, turn.outputs);
            fallback = exchange.map_or(Fallback::None, Fallback::Waiting);
        }
        probe.phase = Phase::Indirect { nacks_wanted, nacks: 0, fallback };
        self.probe = Some(probe);
        // If the deadline is past as well, there was nothing to wait for.
        self.continue_probe_if_over(turn);
    }

    fn continue_probe_if_over<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        if self.probe.as_ref().is_some_and(|probe| probe.ends <= turn.now && probe.sent < probe.ends) {
            self.continue_probe(turn);
        }
    }

    fn fail_probe<D: Delegate>(
        &mut self,
        turn: &mut Turn<'_, D>,
        node: String,
        incarnation: u32,
        nacks_wanted: u32,
        nacks: u32,
    ) {
        // Without others to tell, every failure counts against us a little.
        let missed = if nacks_wanted == 0 { 1 } else { nacks_wanted.saturating_sub(nacks) };
        self.health_worse(turn, missed);
        self.complain(turn, Level::Info, || format!("Suspect {node} has failed, no acks received"));
        let from = self.config.name.clone();
        self.take_suspect(turn, Suspect { incarnation, node, from });
    }

    fn finish_probe<D>(&mut self, turn: &mut Turn<'_, D>, probe: &Probe) {
        let took = turn.now.saturating_sub(probe.sent);
        turn.sample("memberlist.probeNode", took.as_secs_f64() * 1000.0);
    }

    pub(super) fn take_ack<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, ack: &Ack) {
        let Some(probe) = self.probe.take_if(|probe| probe.seq_no == ack.seq_no) else {
            self.relay_ack(turn, ack.seq_no);
            return;
        };
        self.finish_probe(turn, &probe);
        self.health_better(turn);
        // A later one may have come by way of others, and says nothing about the time it took.
        if matches!(probe.phase, Phase::Direct { .. }) {
            let rtt = turn.now.saturating_sub(probe.sent);
            turn.delegate.ping_complete(turn.now, &probe.target, rtt, &ack.payload);
        }
    }

    pub(super) fn take_nack(&mut self, nack: &Nack) {
        if let Some(Probe { seq_no, phase: Phase::Indirect { nacks_wanted, nacks, .. }, .. }) = &mut self.probe
            && *seq_no == nack.seq_no
        {
            *nacks = (*nacks + 1).min(*nacks_wanted);
        }
    }

    /// What a ping over TCP brought: the sequence number of an ack, if any.
    pub(super) fn take_fallback(&mut self, exchange: ExchangeId, acked: Option<u32>) {
        let Some(probe) = &mut self.probe else { return };
        if let Phase::Indirect { fallback, .. } = &mut probe.phase
            && matches!(fallback, Fallback::Waiting(waiting) if *waiting == exchange)
        {
            *fallback = if acked == Some(probe.seq_no) { Fallback::Reached } else { Fallback::None };
        }
    }
}
