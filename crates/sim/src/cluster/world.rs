//! Servers, network, clocks, clients and faults, in steps of a millisecond, from one seed.
//!
//! Always true: nothing here but the seed decides what happens; what a server says or stores in one turn takes effect in
//! the order of the real shell: messages before the append, then the append, then the state is published, then answers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replica::{
    Change, Configuration, Error, Lease, LogStore, Moment, Outbox, Outgoing, Parcel, Peer, ProposalId, Replica,
    Settings, SnapshotMeta, Timing, Turn, Unwatched, codec, message, number_of,
};
use state::catalog::RegisterRequest;
use state::kv::{Entry, KvsRequest, Octets, Op};
use state::session::{Session, SessionRequest};
use state::{Command, Index, Limits, Outcome, State};

use crate::cluster::disk::{Disk, Trouble};
use crate::cluster::history::{Figures, History};
use crate::cluster::linear::Action;
use crate::cluster::plan::{Plan, Planted};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
/// A client waits so long for an answer.
const PATIENCE: u64 = 3 * SECOND;
/// After the faults everything has to come right within this.
const QUIET: u64 = 20 * SECOND;
const TTL_NS: u64 = 10 * SECOND;
/// Keys that are locked.
const LOCKS: u64 = 3;

/// What a server said, and how many appends it had made by then.
struct Said {
    outgoing: Outgoing,
    appends: u64,
}

struct Post {
    said: Arc<Mutex<Vec<Said>>>,
    disk: Disk,
}

impl Outbox for Post {
    fn send(&mut self, outgoing: Outgoing) {
        let said = Said { outgoing, appends: self.disk.appends() };
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
}

/// What a client asked of a server.
#[derive(Debug, Clone)]
enum Asked {
    Read { client: usize, consistent: bool },
    Write { client: usize, command: Command },
    Renew { client: usize },
}

/// What a server has yet to answer.
#[derive(Debug, Clone)]
enum Waiting {
    Write { client: usize },
    Read { client: usize },
    Nobody,
}

/// A turn whose append takes its time.
struct Unpublished {
    at: u64,
    turn: Turn,
    state: State,
    leads: bool,
}

struct Server {
    id: String,
    disk: Disk,
    replica: Option<Replica>,
    incarnation: u64,
    said: Arc<Mutex<Vec<Said>>>,
    lease: Lease,
    published: State,
    leads: bool,
    /// Nanoseconds of its clock for one of the world's.
    rate: f64,
    leapt: u64,
    down_until: u64,
    paused_until: u64,
    /// What an append takes.
    append_ns: u64,
    slow_until: u64,
    full_until: u64,
    unpublished: Option<Unpublished>,
    inbox: VecDeque<(Parcel, Option<State>)>,
    asked: VecDeque<Asked>,
    waiting: BTreeMap<u64, Waiting>,
    next_id: u64,
}

/// What a client waits for.
#[derive(Debug, Clone)]
struct Pending {
    key: String,
    began: u64,
    action: Action,
    /// Looks at it only, for sessions and locks.
    is_unchecked: bool,
}

#[derive(Debug, Default)]
struct Client {
    pending: Option<Pending>,
    server: usize,
    /// What it last read of a key: value and index.
    known: BTreeMap<String, (Option<u64>, u64)>,
    session: Option<String>,
    /// When the creation or renewal began that was last confirmed.
    renewed: u64,
    renews_until: u64,
    next_renewal: u64,
    destroyed: bool,
}

struct Delivery {
    to: usize,
    from: usize,
    parcel: Parcel,
    state: Option<State>,
}

struct World {
    plan: Plan,
    now: u64,
    dice: StdRng,
    servers: Vec<Server>,
    clients: Vec<Client>,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    deliveries: BTreeMap<u64, Delivery>,
    next_delivery: u64,
    blocked: BTreeSet<(usize, usize)>,
    heals_at: u64,
    next_value: u64,
    generation: u64,
    history: History,
    quiet: bool,
    clients_rest: bool,
    ended_sessions: BTreeSet<String>,
}

/// Runs a plan; gives what happened.
#[must_use]
pub fn run(plan: Plan) -> History {
    let mut world = World::new(plan);
    let end = plan.seconds * SECOND;
    while world.now < end && world.history.breaches.is_empty() {
        world.step();
    }
    world.come_right();
    world.history.check_order();
    world.history
}

/// Runs many seeds of a plan; gives the seeds that broke a rule, each with the first breach, and what was tried.
#[must_use]
pub fn run_seeds(seeds: impl Iterator<Item = u64>, plan: impl Fn(u64) -> Plan) -> (Vec<(u64, String)>, Figures) {
    let (mut wrong, mut figures) = (Vec::new(), Figures::default());
    for seed in seeds {
        let history = run(plan(seed));
        figures.add(&history.figures);
        if let Some(breach) = history.breaches.first() {
            wrong.push((seed, breach.clone()));
        }
    }
    (wrong, figures)
}

fn peer(id: &str, voter: bool) -> Peer {
    Peer { id: id.to_owned(), address: format!("{id}:8300"), voter }
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut dice = StdRng::seed_from_u64(plan.seed);
        let ids: Vec<String> = (0..plan.servers).map(|at| format!("server-{at}")).collect();
        let servers = ids
            .iter()
            .map(|id| Server {
                id: id.clone(),
                disk: Disk::new(plan.planted.lie()),
                replica: None,
                incarnation: 0,
                said: Arc::default(),
                lease: Lease::default(),
                published: State::new(Limits::default()),
                leads: false,
                rate: if plan.planted == Planted::WildClocks {
                    dice.random_range(0.2..1.5)
                } else {
                    dice.random_range(0.953..1.047)
                },
                leapt: dice.random_range(0..SECOND),
                down_until: 0,
                paused_until: 0,
                append_ns: 0,
                slow_until: 0,
                full_until: 0,
                unpublished: None,
                inbox: VecDeque::new(),
                asked: VecDeque::new(),
                waiting: BTreeMap::new(),
                next_id: 0,
            })
            .collect();
        let mut world = World {
            plan,
            now: MILLISECOND,
            dice,
            servers,
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            due: BinaryHeap::new(),
            deliveries: BTreeMap::new(),
            next_delivery: 0,
            blocked: BTreeSet::new(),
            heals_at: 0,
            next_value: 0,
            generation: 0,
            history: History::default(),
            quiet: false,
            clients_rest: false,
            ended_sessions: BTreeSet::new(),
        };
        for at in 0..plan.servers {
            world.start(at);
        }
        world
    }

    fn local(&self, at: usize) -> Moment {
        let server = &self.servers[at];
        Moment((self.now as f64 * server.rate) as u64 + server.leapt)
    }

    fn is_up(&self, at: usize) -> bool {
        self.servers[at].replica.is_some() && self.servers[at].paused_until <= self.now
    }

    fn start(&mut self, at: usize) {
        let founding = Configuration::founding(
            7,
            self.servers.iter().map(|server| (server.id.clone(), format!("{}:8300", server.id))),
        );
        let now = self.local(at);
        let seed = self.dice.random();
        let server = &mut self.servers[at];
        server.incarnation += 1;
        let settings = Settings {
            id: server.id.clone(),
            limits: Limits::default(),
            timing: Timing::of_multiplier(1),
            seed,
            founding: Some(founding),
        };
        server.said = Arc::default();
        let post = Post { said: Arc::clone(&server.said), disk: server.disk.clone() };
        let store: Box<dyn LogStore> = Box::new(server.disk.clone());
        match Replica::open(store, settings, now, Box::new(Unwatched), Box::new(post)) {
            Ok((replica, _)) => {
                server.lease = replica.lease();
                server.published = replica.state().clone();
                server.leads = false;
                server.replica = Some(replica);
            }
            Err(error) => {
                let text = format!("server {at} does not start: {error}");
                self.history.breach(text);
            }
        }
        self.history.unwatch(at as u64);
    }

    fn crash(&mut self, at: usize) {
        let server = &mut self.servers[at];
        if server.replica.take().is_none() {
            return;
        }
        self.history.figures.crashes += 1;
        self.history.note("crash", &[at as u64, self.now]);
        server.disk.crash();
        server.leads = false;
        server.lease = Lease::default();
        server.unpublished = None;
        server.inbox.clear();
        server.asked.clear();
        server.paused_until = 0;
        let waiting = std::mem::take(&mut server.waiting);
        server.down_until = self.now + self.dice.random_range(20..3000) * MILLISECOND;
        for waiting in waiting.into_values() {
            if let Waiting::Write { client } | Waiting::Read { client } = waiting {
                self.lost(client);
            }
        }
    }

    fn step(&mut self) {
        self.now += MILLISECOND;
        if !self.quiet {
            self.make_trouble();
        }
        self.deliver();
        for at in 0..self.servers.len() {
            self.run_server(at);
        }
        for client in 0..self.clients.len() {
            if !self.clients_rest {
                self.run_client(client);
            }
        }
        let holders = (0..self.servers.len())
            .filter(|at| self.servers[*at].replica.is_some() && self.servers[*at].lease.holds(self.local(*at)));
        let holders: Vec<usize> = holders.collect();
        if holders.len() > 1 {
            self.history.breach(format!("servers {holders:?} hold a lease at once"));
        }
    }

    // ---- servers ----

    fn run_server(&mut self, at: usize) {
        let now = self.now;
        if self.servers[at].replica.is_none() {
            if self.servers[at].down_until <= now {
                self.start(at);
            }
            return;
        }
        if self.servers[at].paused_until > now {
            return;
        }
        // Readers do not wait for the replica's thread.
        self.read_now(at);
        if let Some(unpublished) = &self.servers[at].unpublished {
            if unpublished.at > now {
                return;
            }
            let Some(unpublished) = self.servers[at].unpublished.take() else { return };
            self.publish(at, unpublished);
        }
        let local = self.local(at);
        let server = &mut self.servers[at];
        let Some(replica) = &mut server.replica else { return };
        let has_work = !server.inbox.is_empty()
            || !server.asked.is_empty()
            || replica.deadline().is_some_and(|deadline| deadline <= local);
        if has_work {
            self.turn(at, local);
        }
    }

    /// Answers the `default` reads that need no proof but the lease.
    fn read_now(&mut self, at: usize) {
        let local = self.local(at);
        let asked = std::mem::take(&mut self.servers[at].asked);
        for asked in asked {
            let server = &self.servers[at];
            let holds = server.leads && server.lease.holds(local);
            let planted = self.plan.planted;
            match asked {
                Asked::Read { client, consistent: false }
                    if holds
                        || (planted == Planted::ReadsWithoutLease && server.leads)
                        || planted == Planted::ReadsFromFollowers =>
                {
                    self.answer_read(at, client);
                }
                Asked::Read { client, consistent: true } if planted == Planted::ConfirmsUnasked && server.leads => {
                    self.answer_read(at, client);
                }
                Asked::Read { client, .. } if !server.leads => self.refused(client),
                other => self.servers[at].asked.push_back(other),
            }
        }
    }

    fn turn(&mut self, at: usize, local: Moment) {
        let inbox = std::mem::take(&mut self.servers[at].inbox);
        let asked = std::mem::take(&mut self.servers[at].asked);
        let appends = self.servers[at].disk.appends();
        for (parcel, state) in inbox {
            let server = &mut self.servers[at];
            if let Some(state) = &state {
                self.history.figures.installs += 1;
                let meta = parcel.message.get_snapshot().get_metadata();
                let meta = SnapshotMeta { index: meta.index, term: meta.term };
                server.disk.write_snapshot(meta, bytes_of(state));
            }
            let Some(replica) = &mut server.replica else { return };
            if let Err(error) = replica.step(parcel, state, local) {
                self.stopped(at, &error);
                return;
            }
        }
        for asked in asked {
            self.take(at, asked, local);
        }
        let server = &mut self.servers[at];
        let Some(replica) = &mut server.replica else { return };
        let turned = replica.turn(local);
        let said = std::mem::take(&mut *server.said.lock().unwrap_or_else(PoisonError::into_inner));
        let (turn, leads, state) = match turned {
            Ok(turn) => (turn, replica.is_leader(), replica.state().clone()),
            Err(error) => {
                // What was said before the append was said.
                self.say(at, said.into_iter().filter(|said| said.appends == appends).collect(), appends, 0);
                self.stopped(at, &error);
                return;
            }
        };
        let takes = server.append_ns * (server.disk.appends() - appends);
        self.say(at, said, appends, takes);
        let unpublished = Unpublished { at: self.now + takes, turn, state, leads };
        if takes > 0 {
            self.servers[at].unpublished = Some(unpublished);
        } else {
            self.publish(at, unpublished);
        }
    }

    fn stopped(&mut self, at: usize, error: &Error) {
        if self.servers[at].disk.has_died() {
            self.crash(at);
        } else {
            self.history.breach(format!("server {at} has fenced itself: {error}"));
        }
    }

    fn say(&mut self, at: usize, said: Vec<Said>, appends: u64, takes: u64) {
        for Said { outgoing, appends: by_then } in said {
            let later = if by_then > appends { takes } else { 0 };
            let Some(to) = self.servers.iter().position(|server| number_of(&server.id) == outgoing.number) else {
                continue;
            };
            let mut bytes = Vec::new();
            message::encode(&outgoing.parcel, &mut bytes);
            let Some(parcel) = message::decode(&bytes) else {
                self.history.breach(format!("a message cannot be read: {:?}", outgoing.parcel));
                continue;
            };
            let is_lost = !self.quiet && self.dice.random_bool(0.01);
            if self.blocked.contains(&(at, to)) || is_lost {
                if outgoing.state.is_some() {
                    self.snapshot_sent(at, to, false);
                }
                continue;
            }
            let copies = if outgoing.state.is_none() && self.dice.random_bool(0.01) { 2 } else { 1 };
            for _ in 0..copies {
                let delay = match self.dice.random_range(0..100) {
                    0 => self.dice.random_range(50..400),
                    1..10 => self.dice.random_range(5..50),
                    _ => self.dice.random_range(0..4),
                };
                let due = self.now + later + delay * MILLISECOND;
                self.next_delivery += 1;
                let delivery = Delivery { to, from: at, parcel: parcel.clone(), state: outgoing.state.clone() };
                self.deliveries.insert(self.next_delivery, delivery);
                self.due.push(Reverse((due, self.next_delivery)));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(Reverse((due, number))) = self.due.peek().copied() {
            if due > self.now {
                return;
            }
            self.due.pop();
            let Some(Delivery { to, from, parcel, state }) = self.deliveries.remove(&number) else { continue };
            let arrives = self.servers[to].replica.is_some() && !self.blocked.contains(&(from, to));
            if state.is_some() {
                self.snapshot_sent(from, to, arrives);
            }
            if arrives {
                self.servers[to].inbox.push_back((parcel, state));
            }
        }
    }

    fn snapshot_sent(&mut self, from: usize, to: usize, arrived: bool) {
        let number = number_of(&self.servers[to].id);
        if let Some(replica) = &mut self.servers[from].replica {
            replica.snapshot_sent(number, arrived);
        }
    }

    /// State first, then watchers, then answers.
    fn publish(&mut self, at: usize, unpublished: Unpublished) {
        let Unpublished { turn, state, leads, .. } = unpublished;
        if leads && !self.servers[at].leads {
            self.history.figures.elections += 1;
            self.history.note("leads", &[at as u64, self.now]);
        }
        self.servers[at].leads = leads;
        if turn.changed {
            self.servers[at].published = state;
            self.look_at_state(at);
        }
        for (ProposalId(id), outcome) in turn.answers {
            match self.servers[at].waiting.remove(&id) {
                Some(Waiting::Write { client }) => self.answer_write(client, outcome),
                Some(Waiting::Read { client }) => self.refused(client),
                Some(Waiting::Nobody) | None => {}
            }
        }
        for ProposalId(id) in turn.confirmed {
            if let Some(Waiting::Read { client }) = self.servers[at].waiting.remove(&id) {
                self.answer_read(at, client);
            }
        }
    }

    /// What must be true of every state, and of equal indexes.
    fn look_at_state(&mut self, at: usize) {
        let state = &self.servers[at].published;
        let index = state.applied().0;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for chunk in bytes_of(state).chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        let mut breaches = Vec::new();
        let mut watched = Vec::new();
        for record in state.records() {
            if let state::snapshot::Record::Kv(entry) = record {
                if !entry.session.is_empty() && state.session_by_id(&entry.session).is_none() {
                    breaches.push(format!("{} is held by a session that is gone", entry.key));
                }
                watched.push((entry.key.to_string(), entry.modify_index.0, value_of(&entry.value)));
            }
        }
        // A session that went without being asked to has had its time.
        let mut ended = Vec::new();
        for client in &self.clients {
            let Some(id) = client.session.as_ref().filter(|_| client.renewed > 0 && !client.destroyed) else {
                continue;
            };
            if state.session_by_id(id).is_none() && !self.ended_sessions.contains(id) && state.applied() >= Index(index)
            {
                let lived = self.now - client.renewed;
                ended.push((id.clone(), lived, at));
            }
        }
        self.history.applied(at as u64, index, hash);
        for (key, index, value) in watched {
            self.history.watched(at as u64, &key, index, value);
        }
        for (id, lived, at) in ended {
            // Others may lag; who leads has everything.
            if self.servers[at].leads {
                self.history.figures.expired += 1;
                self.ended_sessions.insert(id.clone());
                if lived < TTL_NS * 9 / 10 {
                    breaches.push(format!("session {id} ended {} ms after it was renewed", lived / MILLISECOND));
                }
            }
        }
        self.history.breaches.extend(breaches);
    }

    // ---- clients ----

    fn take(&mut self, at: usize, asked: Asked, local: Moment) {
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

    fn answer_read(&mut self, at: usize, client: usize) {
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

    fn answer_write(&mut self, client: usize, outcome: Result<Outcome, Error>) {
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

    fn lost(&mut self, client: usize) {
        let Some(pending) = self.clients[client].pending.take() else { return };
        self.history.figures.lost += 1;
        if !pending.is_unchecked {
            self.history.operation(&pending.key, pending.began, None, pending.action);
        } else if pending.key == "session" {
            self.clients[client].session = None;
        }
    }

    fn refused(&mut self, client: usize) {
        self.history.figures.refused += 1;
        if let Some(pending) = self.clients[client].pending.take()
            && pending.key == "session"
        {
            self.clients[client].session = None;
        }
    }

    fn run_client(&mut self, client: usize) {
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

    fn with_key(&mut self, client: usize) -> Option<(Asked, Pending)> {
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
            (5, _) => (Asked::Write { client, command: kvs(Op::Delete, None, 0) }, Action::Write(None)),
            (6..8, Some((expected, index))) => {
                let action = Action::Replace { expected, new: Some(value), done: false };
                (Asked::Write { client, command: kvs(Op::Cas, Some(value), index) }, action)
            }
            _ => (Asked::Write { client, command: kvs(Op::Set, Some(value), 0) }, Action::Write(Some(value))),
        };
        Some((asked, Pending { key, began: self.now, action, is_unchecked: false }))
    }

    /// Sessions that are renewed for some time and then left to expire, and locks taken with them.
    fn with_session(&mut self, client: usize) -> Option<(Asked, Pending)> {
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
                return Some((Asked::Write { client, command: Command::Register(node) }, pending("node")));
            };
            return Some((Asked::Write { client, command }, pending("session")));
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
        Some((Asked::Write { client, command }, pending("lock")))
    }

    // ---- faults ----

    fn happens(&mut self, per_second: f64) -> bool {
        self.dice.random_bool((per_second * self.plan.faults / 1000.0).min(1.0))
    }

    fn make_trouble(&mut self) {
        let count = self.servers.len();
        let now = self.now;
        let victim = self.dice.random_range(0..count);
        if self.happens(0.25) {
            self.crash(victim);
        }
        if self.happens(0.2) {
            let trouble = if self.dice.random_bool(0.5) { Trouble::DieBefore } else { Trouble::DieAfter };
            self.servers[victim].disk.trouble(trouble);
        }
        if self.happens(0.05) {
            // All at once: power is lost.
            for at in 0..count {
                self.crash(at);
            }
        }
        if self.blocked.is_empty() && self.happens(0.25) {
            self.part();
        }
        if !self.blocked.is_empty() && now >= self.heals_at {
            self.blocked.clear();
        }
        if self.happens(0.2) {
            self.history.figures.pauses += 1;
            self.servers[victim].paused_until = now + self.dice.random_range(50..3000) * MILLISECOND;
        }
        if self.happens(0.05) {
            self.history.figures.leaps += 1;
            self.servers[victim].leapt += self.dice.random_range(1..5000) * MILLISECOND;
        }
        if self.happens(0.15) {
            self.history.figures.slow_disks += 1;
            self.servers[victim].append_ns = self.dice.random_range(1..800) * MILLISECOND;
            self.servers[victim].slow_until = now + self.dice.random_range(100..4000) * MILLISECOND;
        }
        if self.happens(0.05) {
            self.history.figures.full_disks += 1;
            self.servers[victim].disk.trouble(Trouble::Full);
            self.servers[victim].full_until = now + self.dice.random_range(100..4000) * MILLISECOND;
        }
        for server in &mut self.servers {
            if server.append_ns > 0 && server.slow_until <= now {
                server.append_ns = 0;
            }
            if server.full_until > 0 && server.full_until <= now {
                server.full_until = 0;
                server.disk.trouble(Trouble::None);
            }
        }
        if self.happens(0.5) {
            self.snapshot(victim);
        }
        if self.happens(0.15) {
            self.hand_over();
        }
        if self.happens(0.4) {
            self.change_configuration();
        }
    }

    fn part(&mut self) {
        self.history.figures.partitions += 1;
        let count = self.servers.len();
        self.heals_at = self.now + self.dice.random_range(100..5000) * MILLISECOND;
        let side: Vec<bool> = (0..count).map(|_| self.dice.random_bool(0.5)).collect();
        let one_way = self.dice.random_bool(0.3);
        for from in 0..count {
            for to in 0..count {
                if side[from] != side[to] && (!one_way || side[from]) {
                    self.blocked.insert((from, to));
                }
            }
        }
    }

    fn snapshot(&mut self, at: usize) {
        if !self.is_up(at) || self.servers[at].unpublished.is_some() {
            return;
        }
        let trailing = self.dice.random_range(0..30);
        let server = &mut self.servers[at];
        let Some(replica) = &mut server.replica else { return };
        if replica.is_restoring() || replica.snapshot_meta().index == 0 {
            return;
        }
        let meta = replica.snapshot_meta();
        server.disk.write_snapshot(meta, bytes_of(replica.state()));
        self.history.figures.snapshots += 1;
        if let Err(error) = replica.snapshot_taken(meta, trailing) {
            self.history.breach(format!("server {at} cannot compact: {error}"));
        }
    }

    fn leader(&self) -> Option<usize> {
        (0..self.servers.len()).find(|at| self.servers[*at].leads && self.is_up(*at))
    }

    fn hand_over(&mut self) {
        let Some(leader) = self.leader() else { return };
        let heir = self.servers[self.dice.random_range(0..self.servers.len())].id.clone();
        if let Some(replica) = &mut self.servers[leader].replica
            && replica.hand_over(&heir).is_ok()
        {
            self.history.figures.hand_overs += 1;
        }
    }

    /// Takes a server out, or back in, or gives it its vote.
    fn change_configuration(&mut self) {
        let Some(leader) = self.leader() else { return };
        let id = self.servers[self.dice.random_range(0..self.servers.len())].id.clone();
        let takes_out = self.dice.random_bool(0.3);
        let server = &mut self.servers[leader];
        let Some(replica) = &mut server.replica else { return };
        let known = replica.configuration().peer(&id).cloned();
        let change = match known {
            Some(known) if known.voter && takes_out && replica.configuration().voters() > 2 => Change::Remove(id),
            Some(known) if known.voter => return,
            Some(_) => Change::Put(peer(&id, true)),
            None => Change::Put(peer(&id, false)),
        };
        server.next_id += 1;
        let number = server.next_id;
        if replica.change(ProposalId(number), &change).is_ok() {
            self.history.figures.changes += 1;
            server.waiting.insert(number, Waiting::Nobody);
        }
    }

    // ---- the end ----

    /// No more faults: everybody comes back, one leads, all agree, and every key is read once more.
    fn come_right(&mut self) {
        if !self.history.breaches.is_empty() {
            return;
        }
        self.quiet = true;
        self.blocked.clear();
        for server in &mut self.servers {
            server.down_until = 0;
            server.paused_until = 0;
            server.append_ns = 0;
            server.disk.trouble(Trouble::None);
        }
        let end = self.now + QUIET;
        while self.now < end && self.history.breaches.is_empty() {
            self.step();
        }
        if !self.history.breaches.is_empty() {
            return;
        }
        for client in 0..self.clients.len() {
            self.lost(client);
        }
        let Some(leader) = self.leader() else {
            self.history.breach("nobody leads after the faults are over".to_owned());
            return;
        };
        // Whoever is in the configuration has what the leader has.
        let settled = self.now + 2 * SECOND;
        self.clients_rest = true;
        while self.now < settled {
            self.step();
        }
        let Some(configuration) = self.servers[leader].replica.as_ref().map(|replica| replica.configuration().clone())
        else {
            return;
        };
        let behind: Vec<String> = self
            .servers
            .iter()
            .filter(|server| configuration.peer(&server.id).is_some())
            .filter(|server| server.published.applied() != self.servers[leader].published.applied())
            .map(|server| format!("{} is at {:?}", server.id, server.published.applied()))
            .collect();
        if !behind.is_empty() {
            let at = self.servers[leader].published.applied();
            self.history.breach(format!("after the faults are over the leader is at {at:?}, but {behind:?}"));
        }
        let keys: Vec<String> = self.history.operations.keys().cloned().collect();
        for key in keys {
            let pending = Pending { key, began: self.now, action: Action::Read(None), is_unchecked: false };
            self.clients[0].pending = Some(pending);
            self.now += MILLISECOND;
            self.answer_read(leader, 0);
        }
    }
}

fn bytes_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    // To memory, of what was read from bytes: it always fits.
    let _ = codec::write_state(state, &mut bytes);
    bytes
}

fn value_of(value: &Octets) -> Option<u64> {
    value.0.as_ref().try_into().ok().map(u64::from_be_bytes)
}
