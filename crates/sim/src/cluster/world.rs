//! Servers, network, clocks, clients and faults, in steps of a millisecond, from one seed.
//!
//! Always true: nothing here but the seed decides what happens; what a server says or stores in one turn takes effect in
//! the order of the real shell: messages before the append, then the append, then the state is published, then answers.

mod clients;
mod ending;
mod faults;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replica::{
    Configuration, Error, Lease, LogStore, Moment, Outbox, Outgoing, Parcel, Peer, ProposalId, Replica, Settings,
    SnapshotMeta, Timing, Turn, Unwatched, codec, message, number_of,
};
use state::kv::Octets;
use state::{Command, Index, Limits, State};

use crate::cluster::disk::Disk;
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
    Write { client: usize, command: Box<Command> },
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
    /// What was published when the last snapshot was taken, for one that lies.
    earlier: Option<State>,
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
                earlier: None,
                leads: false,
                rate: dice.random_range(0.953..1.047),
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
            if self.plan.planted == Planted::WildClocks {
                let local = self.local(at).0;
                self.servers[at].rate = 0.2;
                self.servers[at].leapt = local.saturating_sub((self.now as f64 * 0.2) as u64);
            }
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
