//! What clients ask, and what they are told.

use rand::Rng;
use replica::{Error, Moment, ProposalId, codec};
use state::catalog::RegisterRequest;
use state::kv::{Entry, KvsRequest, Octets, Op};
use state::session::{Session, SessionRequest};
use state::{Command, Index, Outcome};

use super::{Asked, LOCKS, PATIENCE, Pending, SECOND, Waiting, World, value_of};
use crate::cluster::linear::Action;
use crate::cluster::plan::Planted;
impl World {
    pub(super) fn take(&mut self, at: usize, asked: Asked, local: Moment) {
        let server = &mut self.servers[at];
        let Some(replica) = &mut server.replica else { return };
        server.next_id += 1;
        let id = server.next_id;
        match asked {
            Asked::Read { client, .. } => match replica.confirm(ProposalId(id)) {
                Ok(()) => {
                    server.waiting.insert(id, Waiting::Read { client });
                }
                Err(_) => self.refused(client),
            },
            Asked::Write { client, command } => {
                let Ok(data) = codec::encode(&command) else { return };
                match replica.propose(ProposalId(id), data) {
                    Ok(()) => {
                        server.waiting.insert(id, Waiting::Write { client });
                        if self.plan.planted == Planted::AcknowledgesEarly && self.dice.random_bool(0.2) {
                            self.answer_write(client, Ok(Outcome::Done));
                        }
                    }
                    Err(_) => self.refused(client),
                }
            }
            Asked::Renew { client } => {
                let Some(session) = self.clients[client].session.clone() else { return };
                let renewed = replica.is_leader() && replica.renew(&session, local).is_some();
                let counts = renewed && server.lease.holds(local);
                let began = self.clients[client].pending.as_ref().map_or(0, |pending| pending.began);
                if counts {
                    self.clients[client].renewed = self.clients[client].renewed.max(began);
                }
                self.clients[client].pending = None;
            }
        }
    }

    pub(super) fn answer_read(&mut self, at: usize, client: usize) {
        let Some(pending) = self.clients[client].pending.take() else { return };
        let state = &self.servers[at].published;
        let entry = state.records().find_map(|record| match record {
            state::snapshot::Record::Kv(entry) if *entry.key == *pending.key => Some(entry),
            _ => None,
        });
        let value = entry.as_ref().and_then(|entry| value_of(&entry.value));
        let index = entry.map_or(0, |entry| entry.modify_index.0);
        self.history.figures.answered += 1;
        self.history.note("read", &[client as u64, self.now, value.unwrap_or(0)]);
        self.history.operation(&pending.key, pending.began, Some(self.now), Action::Read(value));
        self.clients[client].known.insert(pending.key, (value, index));
    }

    pub(super) fn answer_write(&mut self, client: usize, outcome: Result<Outcome, Error>) {
        let done = match outcome {
            Ok(Outcome::Decided(done)) => done,
            Ok(Outcome::Failed(_)) => false,
            Ok(_) => true,
            Err(Error::Lost | Error::Fatal(_)) => {
                self.lost(client);
                return;
            }
            Err(_) => {
                self.refused(client);
                return;
            }
        };
        let Some(pending) = self.clients[client].pending.take() else { return };
        self.history.figures.answered += 1;
        self.history.note("write", &[client as u64, self.now, u64::from(done)]);
        if pending.is_unchecked {
            if pending.key == "session" && done {
                self.clients[client].renewed = pending.began;
            }
            return;
        }
        let action = match pending.action {
            Action::Replace { expected, new, .. } => Action::Replace { expected, new, done },
            other => other,
        };
        self.history.operation(&pending.key, pending.began, Some(self.now), action);
    }

    pub(super) fn lost(&mut self, client: usize) {
        let Some(pending) = self.clients[client].pending.take() else { return };
        self.history.figures.lost += 1;
        if !pending.is_unchecked {
            self.history.operation(&pending.key, pending.began, None, pending.action);
        } else if pending.key == "session" {
            self.clients[client].session = None;
        }
    }

    pub(super) fn refused(&mut self, client: usize) {
        self.history.figures.refused += 1;
        if let Some(pending) = self.clients[client].pending.take()
            && pending.key == "session"
        {
            self.clients[client].session = None;
        }
    }

    pub(super) fn run_client(&mut self, client: usize) {
        if let Some(pending) = &self.clients[client].pending {
            if pending.began + PATIENCE < self.now {
                self.lost(client);
            }
            return;
        }
        if !self.dice.random_bool(0.02) {
            return;
        }
        let leading: Vec<usize> = (0..self.servers.len()).filter(|at| self.servers[*at].leads).collect();
        let server = if leading.is_empty() || self.dice.random_bool(0.15) {
            self.dice.random_range(0..self.servers.len())
        } else {
            leading[self.dice.random_range(0..leading.len())]
        };
        self.clients[client].server = server;
        let asked = if self.dice.random_bool(0.15) { self.with_session(client) } else { self.with_key(client) };
        let Some((asked, pending)) = asked else { return };
        self.clients[client].pending = Some(pending);
        // One that is down refuses; one that sleeps takes it in when it wakes.
        if self.servers[server].replica.is_some() {
            self.servers[server].asked.push_back(asked);
        } else {
            self.refused(client);
        }
    }

    pub(super) fn with_key(&mut self, client: usize) -> Option<(Asked, Pending)> {
        let mut key = format!("key-{}-{}", self.generation, self.dice.random_range(0..3));
        if !self.history.has_room(&key) {
            self.generation += 1;
            key = format!("key-{}-{}", self.generation, self.dice.random_range(0..3));
        }
        self.next_value += 1;
        let value = self.next_value;
        let known = self.clients[client].known.get(&key).copied();
        let kvs = |op, value: Option<u64>, index| {
            let dir_ent = Entry {
                key: key.as_str().into(),
                value: Octets::copied(&value.unwrap_or(0).to_be_bytes()),
                modify_index: Index(index),
                ..Entry::default()
            };
            Command::Kvs(KvsRequest { op, dir_ent, ..KvsRequest::default() })
        };
        let (asked, action) = match (self.dice.random_range(0..10), known) {
            (0..4, _) => (Asked::Read { client, consistent: false }, Action::Read(None)),
            (4, _) => (Asked::Read { client, consistent: true }, Action::Read(None)),
            (5, _) => (Asked::Write { client, command: Box::new(kvs(Op::Delete, None, 0)) }, Action::Write(None)),
            (6..8, Some((expected, index))) => {
                let action = Action::Replace { expected, new: Some(value), done: false };
                (Asked::Write { client, command: Box::new(kvs(Op::Cas, Some(value), index)) }, action)
            }
            _ => (Asked::Write { client, command: Box::new(kvs(Op::Set, Some(value), 0)) }, Action::Write(Some(value))),
        };
        Some((asked, Pending { key, began: self.now, action, is_unchecked: false }))
    }

    /// Sessions that are renewed for some time and then left to expire, and locks taken with them.
    pub(super) fn with_session(&mut self, client: usize) -> Option<(Asked, Pending)> {
        let now = self.now;
        let state = &mut self.clients[client];
        let pending =
            |key: &str| Pending { key: key.to_owned(), began: now, action: Action::Write(None), is_unchecked: true };
        let is_over = state.session.as_ref().is_none_or(|id| self.ended_sessions.contains(id));
        if is_over {
            self.next_value += 1;
            let id = format!("session-{}", self.next_value);
            let session = Session {
                id: id.clone(),
                node: "node".to_owned(),
                ttl: "10s".to_owned(),
                lock_delay: 1_000_000_000,
                ..Session::default()
            };
            state.session = Some(id);
            state.renewed = 0;
            state.renews_until = now + self.dice.random_range(0..20) * SECOND;
            let request = SessionRequest { op: "create".to_owned(), session, ..SessionRequest::default() };
            let known = self.servers.iter().any(|server| server.published.node_by_name("node").is_some());
            let command = if known {
                Command::Session(request)
            } else {
                state.session = None;
                let node =
                    RegisterRequest { node: "node".to_owned(), address: "10.0.0.1".to_owned(), ..Default::default() };
                return Some((Asked::Write { client, command: Box::new(Command::Register(node)) }, pending("node")));
            };
            return Some((Asked::Write { client, command: Box::new(command) }, pending("session")));
        }
        let id = state.session.clone()?;
        if state.renewed == 0 {
            return None;
        }
        if now < state.renews_until && now >= state.next_renewal {
            state.next_renewal = now + self.dice.random_range(1..4) * SECOND;
            return Some((Asked::Renew { client }, pending("renew")));
        }
        let dir_ent = Entry {
            key: format!("lock-{}", self.dice.random_range(0..LOCKS)).as_str().into(),
            session: id.as_str().into(),
            ..Entry::default()
        };
        let op = if self.dice.random_bool(0.6) { Op::Lock } else { Op::Unlock };
        let command = Command::Kvs(KvsRequest { op, dir_ent, ..KvsRequest::default() });
        Some((Asked::Write { client, command: Box::new(command) }, pending("lock")))
    }
}
