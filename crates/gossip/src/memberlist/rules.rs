//! What news about a member does to what we know of it.
//!
//! | news | changes | if its incarnation is |
//! | --- | --- | --- |
//! | alive | anybody | higher |
//! | suspect | the alive | not lower |
//! | dead | the alive and the suspected | not lower |
//!
//! News about ourselves that is not so is refuted with a higher incarnation. Who says of itself that it is dead has
//! left. Nobody takes the name of another one that is alive.
//!
//! Always true: what changed something is passed on, what did not is not.

use bytes::Bytes;

use super::message::{Alive, Dead, Packet, PushedNode, Suspect};
use super::roster::Entry;
use super::suspicion::{Suspicion, Terms};
use super::{Level, Memberlist, TellId, Turn};
use crate::delegate::{Delegate, Node, NodeState};
use crate::io::Now;

impl Memberlist {
    /// Tells that we are here, with a new incarnation and the metadata of now.
    pub(super) fn tell_alive<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, tell: Option<TellId>) {
        let meta = match self.own_meta(turn) {
            Some(meta) => meta,
            None => self.roster.get(&self.config.name).map(|own| own.node.meta.clone()).unwrap_or_default(),
        };
        self.incarnation = self.incarnation.saturating_add(1);
        let (incarnation, now) = (self.incarnation, turn.now);
        let own = Node {
            name: self.config.name.clone(),
            address: self.config.address,
            meta,
            state: NodeState::Alive,
            versions: self.config.versions(),
        };
        self.tell(&own.name, alive_of(&own, incarnation), tell);
        match self.roster.get_mut(&own.name) {
            None => {
                self.roster.insert(&mut self.rng, Entry { node: own.clone(), incarnation, changed: now });
                turn.delegate.joined(now, &own, turn.outputs);
            }
            Some(entry) => {
                entry.incarnation = incarnation;
                let old = std::mem::replace(&mut entry.node, own.clone());
                if old.meta != own.meta {
                    turn.delegate.updated(now, &own, turn.outputs);
                }
            }
        }
    }

    /// Tells that we leave, in the form that only the leaving itself uses.
    pub(super) fn tell_leave<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, tell: TellId) {
        let name = self.config.name.clone();
        self.take_dead(turn, Dead { incarnation: self.incarnation, node: name.clone(), from: name }, Some(tell));
    }

    pub(super) fn take_alive<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, alive: Alive) {
        let local = alive.node == self.config.name;
        // News from before we left may still be under way, and would bring us back.
        if local && self.leaving {
            return;
        }
        let Some(mut told) = self.admitted(turn, alive) else { return };
        let now = turn.now;
        let Some(known) = self.roster.get(&told.node.name) else {
            if told.incarnation > 0 {
                self.add(turn, told);
            }
            return;
        };
        let moved = known.node.address != told.node.address;
        if moved && !self.may_move(known, now) {
            let known = known.node.clone();
            self.complain(turn, Level::Error, || {
                format!(
                    "Conflicting address for {}. Mine: {} Theirs: {} Old state: {}",
                    known.name, known.address, told.node.address, known.state as u8
                )
            });
            turn.delegate.conflict(now, &known, &told.node, turn.outputs);
            return;
        }
        if local {
            self.refute_alive(turn, &told);
            return;
        }
        if told.incarnation <= known.incarnation && !moved {
            return;
        }
        if moved {
            let old = known.node.address;
            self.complain(turn, Level::Info, || {
                format!(
                    "Updating address for left or failed node {} from {old} to {}",
                    told.node.name, told.node.address
                )
            });
        }
        self.suspicions.remove(&told.node.name);
        self.tell(&told.node.name, alive_of(&told.node, told.incarnation), None);
        turn.count("memberlist.msg.alive", 1);
        let Some(known) = self.roster.get_mut(&told.node.name) else { return };
        if known.node.state == NodeState::Alive {
            told.changed = known.changed;
        }
        let old = std::mem::replace(known, told);
        let new = &known.node;
        if old.gone() {
            turn.delegate.joined(now, new, turn.outputs);
        } else if old.node.meta != new.meta {
            turn.delegate.updated(now, new, turn.outputs);
        }
    }

    /// What `alive` says, if it is sound and its subject may be here at all.
    fn admitted<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, alive: Alive) -> Option<Entry> {
        let Alive { incarnation, node: name, addr, port, meta, vsn } = alive;
        let port = if port == 0 { self.config.address.port() } else { port };
        let refused = match (addr, vsn) {
            (None, _) => "it has no address".to_owned(),
            (_, None) => "Vsn is not present".to_owned(),
            (_, Some([least, most, ..])) if least == 0 || most == 0 || least > most => {
                format!("protocol versions {least} to {most} are wrong")
            }
            (Some(address), _) if !self.config.allows(address) => format!("{address} is not allowed"),
            (Some(address), Some(versions)) => {
                let node = Node { name, address: (address, port).into(), meta, state: NodeState::Alive, versions };
                match turn.delegate.allow_alive(&node) {
                    Ok(()) => return Some(Entry { node, incarnation, changed: turn.now }),
                    Err(refused) => {
                        self.complain(turn, Level::Warn, || {
                            format!("ignoring alive message for '{}': {refused}", node.name)
                        });
                        return None;
                    }
                }
            }
        };
        self.complain(turn, Level::Warn, || format!("ignoring alive message for '{name}': {refused}"));
        None
    }

    fn add<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, entry: Entry) {
        if self.roster.is_full() {
            self.complain(turn, Level::Error, || format!("no room for another member: {}", entry.node.name));
            return;
        }
        self.tell(&entry.node.name, alive_of(&entry.node, entry.incarnation), None);
        turn.count("memberlist.msg.alive", 1);
        let node = entry.node.clone();
        self.roster.insert(&mut self.rng, entry);
        turn.delegate.joined(turn.now, &node, turn.outputs);
    }

    /// Whether another address may take the name.
    fn may_move(&self, known: &Entry, now: Now) -> bool {
        let reclaim = self.config.dead_node_reclaim_time;
        match known.node.state {
            NodeState::Left => true,
            NodeState::Dead => !reclaim.is_zero() && now.saturating_sub(known.changed) > reclaim,
            NodeState::Alive | NodeState::Suspect => false,
        }
    }

    /// Somebody remembers us otherwise than we are, as after a restart with other tags.
    fn refute_alive<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, told: &Entry) {
        let Some(own) = self.roster.get(&self.config.name) else { return };
        let same = told.node.meta == own.node.meta && told.node.versions == own.node.versions;
        if told.incarnation < own.incarnation || (told.incarnation == own.incarnation && same) {
            return;
        }
        self.complain(turn, Level::Warn, || format!("Refuting an alive message for '{}'", told.node.name));
        self.refute(turn, told.incarnation);
        turn.count("memberlist.msg.alive", 1);
    }

    pub(super) fn take_suspect<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, suspect: Suspect) {
        let Some(known) = self.roster.get(&suspect.node) else { return };
        if suspect.incarnation < known.incarnation {
            return;
        }
        // Independent suspicions confirm each other, so they are passed on even if what they say is known.
        if let Some(suspicion) = self.suspicions.get_mut(&suspect.node) {
            if suspicion.confirm(&suspect.from) {
                self.tell(&suspect.node.clone(), Packet::Suspect(suspect).encode(), None);
            }
            return;
        }
        if known.node.state != NodeState::Alive {
            return;
        }
        if suspect.node == self.config.name {
            self.complain(turn, Level::Warn, || format!("Refuting a suspect message (from: {})", suspect.from));
            self.refute(turn, suspect.incarnation);
            return;
        }
        let terms = Terms {
            mult: self.config.suspicion_mult,
            max_timeout_mult: self.config.suspicion_max_timeout_mult,
            probe_interval: self.config.probe_interval,
            members: self.roster.len(),
        };
        let now = turn.now;
        if let Some(known) = self.roster.get_mut(&suspect.node) {
            known.incarnation = suspect.incarnation;
            known.node.state = NodeState::Suspect;
            known.changed = now;
        }
        self.suspicions.insert(suspect.node.clone(), Suspicion::new(now, &suspect.from, terms));
        self.tell(&suspect.node.clone(), Packet::Suspect(suspect).encode(), None);
        turn.count("memberlist.msg.suspect", 1);
    }

    /// Declares those dead whose time to refute is over.
    pub(super) fn end_suspicions<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        let now = turn.now;
        let over = self.suspicions.iter().filter(|(_, suspicion)| suspicion.expires() <= now);
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for node in over {
            let Some(suspicion) = self.suspicions.remove(&node) else { continue };
            let Some(incarnation) = self.incarnation(&node) else { continue };
            if suspicion.lacks_confirmations() {
                turn.count("memberlist.degraded.timeout", 1);
            }
            self.complain(turn, Level::Info, || {
                let confirmed = suspicion.confirmed();
                format!("Marking {node} as failed, suspect timeout reached ({confirmed} peer confirmations)")
            });
            self.take_dead(turn, Dead { incarnation, node, from: self.config.name.clone() }, None);
        }
    }

    pub(super) fn take_dead<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, dead: Dead, tell: Option<TellId>) {
        let Some(known) = self.roster.get(&dead.node) else { return };
        if dead.incarnation < known.incarnation || known.gone() {
            return;
        }
        self.suspicions.remove(&dead.node);
        if dead.node == self.config.name && !self.leaving {
            self.complain(turn, Level::Warn, || format!("Refuting a dead message (from: {})", dead.from));
            self.refute(turn, dead.incarnation);
            return;
        }
        turn.count("memberlist.msg.dead", 1);
        let now = turn.now;
        if let Some(known) = self.roster.get_mut(&dead.node) {
            known.incarnation = dead.incarnation;
            known.node.state = if dead.node == dead.from { NodeState::Left } else { NodeState::Dead };
            known.changed = now;
            turn.delegate.left(now, &known.node, turn.outputs);
        }
        self.tell(&dead.node.clone(), Packet::Dead(dead).encode(), tell);
    }

    /// Says with an incarnation above `accused` that we are as we are. That it had to be said is a bad sign for our own
    /// connection.
    fn refute<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, accused: u32) {
        // At the end of the numbers there is nothing left to say; the reference begins anew and is not believed either.
        self.incarnation = self.incarnation.max(accused).saturating_add(1);
        self.health_worse(turn, 1);
        let incarnation = self.incarnation;
        let Some(own) = self.roster.get_mut(&self.config.name) else { return };
        own.incarnation = incarnation;
        let message = alive_of(&own.node, incarnation);
        self.tell(&self.config.name.clone(), message, None);
    }

    /// Takes what another member knows, with doubt about what is bad.
    pub(super) fn merge<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, nodes: Vec<PushedNode>) {
        for node in nodes {
            let PushedNode { name, addr, port, meta, incarnation, state, vsn } = node;
            match state {
                Some(NodeState::Alive) => {
                    self.take_alive(turn, Alive { incarnation, node: name, addr, port, meta, vsn });
                }
                Some(NodeState::Left) => {
                    self.take_dead(turn, Dead { incarnation, node: name.clone(), from: name }, None);
                }
                // The dead, too, are only suspected, so that they have the time to refute it.
                Some(NodeState::Suspect | NodeState::Dead) => {
                    let from = self.config.name.clone();
                    self.take_suspect(turn, Suspect { incarnation, node: name, from });
                }
                None => {}
            }
        }
    }

    fn tell(&mut self, about: &str, message: Bytes, tell: Option<TellId>) {
        self.news.push(about, message, tell);
    }
}

fn alive_of(node: &Node, incarnation: u32) -> Bytes {
    let alive = Alive {
        incarnation,
        node: node.name.clone(),
        addr: Some(node.address.ip()),
        port: node.address.port(),
        meta: node.meta.clone(),
        vsn: Some(node.versions),
    };
    Packet::Alive(alive).encode()
}
