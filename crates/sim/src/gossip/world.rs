//! A pool of members, their network and their time.
//!
//! Always true: events happen in the order of their times, those of one time in the order in which they were caused; a
//! run depends on its seed and on what the test does to it, on nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use gossip::delegate::NodeState;
use gossip::io::{ExchangeError, ExchangeId, Input, Now, Output, Peer, StreamId};
use gossip::memberlist::message::Packet;
use gossip::memberlist::{Config, budget};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::network::{Network, Place};
use super::process::{ListMember, Process, SerfMember};
use super::witness::Sighting;

/// What a stopped process's socket keeps for it.
const BACKLOG_MAX: usize = 512;
/// How long members that were started together take to know each other, at most.
const SETTLING: Duration = Duration::from_secs(600);

pub struct World<P = ListMember> {
    pub now: Now,
    pub network: Network,
    pub members: Vec<Member<P>>,
    configure: fn(&mut Config),
    rng: SmallRng,
    events: BTreeMap<(Now, u64), Event>,
    caused: u64,
    streams: BTreeMap<StreamId, OpenStream>,
    /// Exchanges whose end was not told yet.
    exchanges: BTreeSet<(Place, u32, ExchangeId)>,
    /// Packets sent, and their bytes.
    pub packets: u64,
    pub bytes: u64,
}

pub struct Member<P> {
    pub process: P,
    state: Running,
    /// Which start of the process this is.
    life: u32,
    tick_at: Option<Now>,
    /// How far its clock is ahead of the world's.
    ahead: Duration,
}

impl<P> Member<P> {
    fn new(process: P, life: u32) -> Member<P> {
        Member { process, state: Running::Up, life, tick_at: None, ahead: Duration::ZERO }
    }
}

#[derive(Debug)]
enum Running {
    Up,
    Paused {
        backlog: Vec<Input>,
    },
    /// Its timers run, and no message gets in or out.
    Clogged {
        backlog: Vec<Input>,
        held: Vec<Output>,
        waits: bool,
    },
    Down,
}

enum Event {
    Tick {
        place: Place,
    },
    Input {
        place: Place,
        life: u32,
        input: Input,
    },
    /// An exchange ends so, if it has not ended otherwise.
    End {
        place: Place,
        life: u32,
        exchange: ExchangeId,
        result: Result<Option<Bytes>, ExchangeError>,
    },
}

struct OpenStream {
    from: Place,
    life: u32,
    exchange: ExchangeId,
    to: Place,
}

/// The declaration that a member is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    pub at: Now,
    pub observer: Place,
    pub subject: Place,
}

#[must_use]
pub fn name(place: Place) -> String {
    format!("member-{place}")
}

fn place(name: &str) -> Place {
    name.rsplit('-').next().and_then(|number| number.parse().ok()).expect("all members are named by `name`")
}

fn is_ping(output: &Output) -> bool {
    let Output::Packet { messages, .. } = output else { return false };
    messages.first().is_some_and(|message| matches!(Packet::decode(message), Ok(Packet::Ping(_))))
}

fn address(place: Place) -> SocketAddr {
    let [.., high, middle, low] = (place as u64).to_be_bytes();
    ([10, high, middle, low], 7946).into()
}

fn place_of(address: SocketAddr) -> Option<Place> {
    match address.ip() {
        std::net::IpAddr::V4(ip) => {
            let [_, high, middle, low] = ip.octets();
            Some(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
        }
        std::net::IpAddr::V6(_) => None,
    }
}

impl World {
    /// Memberlists that were just started and know nobody.
    #[must_use]
    pub fn new(seed: u64, members: usize, configure: fn(&mut Config)) -> World {
        World::started(seed, members, configure)
    }

    /// Memberlists that know each other, over a good network.
    #[must_use]
    pub fn settled(seed: u64, members: usize, configure: fn(&mut Config)) -> World {
        let mut world = World::new(seed, members, configure);
        world.settle(seed);
        world
    }
}

impl World<SerfMember> {
    /// Serf members that know each other, over a good network.
    #[must_use]
    pub fn pool(seed: u64, members: usize) -> World<SerfMember> {
        let mut world = World::started(seed, members, |_| {});
        world.settle(seed);
        world
    }

    /// That member fires a user event.
    pub fn fire(&mut self, place: Place, event: &str) {
        self.act(place, |process, now, outputs| process.fire(now, event, outputs));
    }
}

impl<P: Process> World<P> {
    fn started(seed: u64, members: usize, configure: fn(&mut Config)) -> World<P> {
        let mut world = World {
            now: Duration::ZERO,
            network: Network::default(),
            members: Vec::new(),
            configure,
            rng: SmallRng::seed_from_u64(seed),
            events: BTreeMap::new(),
            caused: 0,
            streams: BTreeMap::new(),
            exchanges: BTreeSet::new(),
            packets: 0,
            bytes: 0,
        };
        for place in 0..members {
            let mut outputs = Vec::new();
            let (config, seed) = world.setup(place);
            let process = P::start(config, seed, world.now, &mut outputs);
            world.members.push(Member::new(process, 0));
            world.perform(place, outputs);
            world.input(place, Input::Tick);
        }
        world
    }

    fn settle(&mut self, seed: u64) {
        for place in 1..self.members.len() {
            self.join(place, place - 1);
            self.run_for(Duration::from_millis(20));
        }
        // What gossip has missed comes with the regular exchanges.
        assert!(self.run_until(SETTLING, World::all_agree), "seed {seed}: not all have met");
        self.members.iter_mut().for_each(|member| member.process.forget());
    }

    fn setup(&mut self, place: Place) -> (Config, u64) {
        let mut config = Config::lan(name(place), address(place));
        (self.configure)(&mut config);
        (config, self.rng.random())
    }

    /// Has a member do something at its own time.
    fn act(&mut self, place: Place, act: impl FnOnce(&mut P, Now, &mut Vec<Output>)) {
        let mut outputs = Vec::new();
        let Member { process, ahead, .. } = &mut self.members[place];
        act(process, self.now + *ahead, &mut outputs);
        self.perform(place, outputs);
    }

    pub fn join(&mut self, place: Place, peer: Place) {
        let peer = Peer { name: String::new(), address: address(peer) };
        self.act(place, |process, now, outputs| process.join(now, peer, outputs));
    }

    pub fn leave(&mut self, place: Place) {
        self.act(place, P::leave);
    }

    /// The process ends without a word.
    pub fn crash(&mut self, place: Place) {
        self.members[place].state = Running::Down;
        self.members[place].tick_at = None;
    }

    /// It comes back with its name and what is on its disk.
    pub fn restart(&mut self, place: Place) {
        let life = self.members[place].life + 1;
        let (config, seed) = self.setup(place);
        let mut outputs = Vec::new();
        let process = P::start_again(&self.members[place].process, config, seed, self.now, &mut outputs);
        self.members[place] = Member::new(process, life);
        self.perform(place, outputs);
        self.input(place, Input::Tick);
    }

    /// Its clock steps forward, as after a suspension of the machine. A monotonic clock steps in no other direction.
    pub fn leap(&mut self, place: Place, by: Duration) {
        let Member { process, ahead, .. } = &mut self.members[place];
        *ahead += by;
        // What it saw before keeps its place in the world's time.
        process.shift(by);
        if self.is_up(place) {
            self.input(place, Input::Tick);
        }
    }

    /// The process does nothing for a while; its sockets keep what comes.
    pub fn pause(&mut self, place: Place) {
        if self.is_up(place) {
            self.members[place].state = Running::Paused { backlog: Vec::new() };
        }
    }

    pub fn resume(&mut self, place: Place) {
        let state = std::mem::replace(&mut self.members[place].state, Running::Up);
        let Running::Paused { backlog } = state else {
            self.members[place].state = state;
            return;
        };
        // The worst order: its timers find nothing although all came in time.
        self.input(place, Input::Tick);
        for input in backlog {
            self.input(place, input);
        }
    }

    /// The process's messages stop on their way in and out, as in the paper on Lifeguard: its timers go on until it waits
    /// for a ping to be sent, as the reference's probing does; so one probe begins in vain.
    pub fn clog(&mut self, place: Place) {
        if self.is_up(place) {
            let state = Running::Clogged { backlog: Vec::new(), held: Vec::new(), waits: false };
            self.members[place].state = state;
        }
    }

    pub fn unclog(&mut self, place: Place) {
        let state = std::mem::replace(&mut self.members[place].state, Running::Up);
        let Running::Clogged { backlog, held, .. } = state else {
            self.members[place].state = state;
            return;
        };
        self.perform(place, held);
        self.input(place, Input::Tick);
        for input in backlog {
            self.input(place, input);
        }
    }

    #[must_use]
    pub fn is_up(&self, place: Place) -> bool {
        matches!(self.members[place].state, Running::Up)
    }

    /// Says something to a member in nobody's name.
    pub fn forge(&mut self, to: Place, packet: &Packet) {
        let from = ([192, 0, 2, 1], 7946).into();
        self.input(to, Input::Packet { from, messages: vec![packet.encode()] });
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    /// Runs until `done`, or for `most`. Whether it is done.
    pub fn run_until(&mut self, most: Duration, done: impl Fn(&World<P>) -> bool) -> bool {
        self.run_until_by(Duration::from_millis(100), most, done)
    }

    /// The same, looking that often.
    pub fn run_until_by(&mut self, grain: Duration, most: Duration, done: impl Fn(&World<P>) -> bool) -> bool {
        let end = self.now + most;
        while !done(self) {
            if self.now >= end {
                return false;
            }
            self.run_for(grain);
        }
        true
    }

    fn cause(&mut self, after: Duration, event: Event) {
        self.caused += 1;
        self.events.insert((self.now + after, self.caused), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { place } => {
                let member = &mut self.members[place];
                let runs = matches!(member.state, Running::Up | Running::Clogged { waits: false, .. });
                if member.tick_at == Some(self.now) && runs {
                    self.input(place, Input::Tick);
                }
            }
            Event::Input { place, life, input } => {
                if self.members[place].life == life {
                    self.arrive(place, input);
                }
            }
            Event::End { place, life, exchange, result } => {
                if self.exchanges.remove(&(place, life, exchange)) && self.members[place].life == life {
                    self.arrive(place, Input::Exchanged { exchange, result });
                }
            }
        }
    }

    fn arrive(&mut self, place: Place, input: Input) {
        match &mut self.members[place].state {
            Running::Up => self.input(place, input),
            Running::Paused { backlog } | Running::Clogged { backlog, .. } => {
                if backlog.len() < BACKLOG_MAX {
                    backlog.push(input);
                }
            }
            Running::Down => {}
        }
    }

    fn input(&mut self, place: Place, input: Input) {
        self.act(place, |process, now, outputs| process.handle(now, input, outputs));
    }

    fn perform(&mut self, place: Place, mut outputs: Vec<Output>) {
        if let Running::Clogged { held, waits, .. } = &mut self.members[place].state {
            *waits |= outputs.iter().any(is_ping);
            held.append(&mut outputs);
        }
        for output in outputs {
            match output {
                Output::Packet { to, messages, .. } => self.send(place, &to, messages),
                Output::Exchange { exchange, to, message, reply, timeout } => {
                    self.exchange(place, exchange, &to, message, reply, timeout);
                }
                Output::Answer { stream, message } => self.answer(stream, Ok(Some(message))),
                Output::Hangup { stream } => {
                    self.answer(stream, Err(ExchangeError::Refused("EOF".to_owned())));
                }
                Output::Log { .. } | Output::Count { .. } | Output::Sample { .. } => {}
            }
        }
        let Member { process, ahead, .. } = &self.members[place];
        if process.has_ended() {
            self.crash(place);
            return;
        }
        let at = process.deadline().saturating_sub(*ahead).max(self.now + Duration::from_micros(1));
        if self.members[place].tick_at.is_none_or(|tick| tick != at) {
            self.members[place].tick_at = Some(at);
            self.cause(at - self.now, Event::Tick { place });
        }
    }

    fn send(&mut self, from: Place, to: &Peer, messages: Vec<Bytes>) {
        let length: usize = messages.iter().map(|message| message.len() + budget::COMPOUND_EACH).sum();
        let length = length + budget::COMPOUND_HEADER;
        assert!(length <= budget::PACKET_MAX, "a packet of {length} bytes to {}", to.name);
        assert!(!messages.is_empty(), "an empty packet to {}", to.name);
        self.packets += 1;
        self.bytes += length as u64;
        let Some(to) = place_of(to.address).filter(|to| *to < self.members.len()) else { return };
        let life = self.members[to].life;
        for after in self.network.carry(&mut self.rng, from, to) {
            let input = Input::Packet { from: address(from), messages: messages.clone() };
            self.cause(after, Event::Input { place: to, life, input });
        }
    }

    fn exchange(
        &mut self,
        from: Place,
        exchange: ExchangeId,
        to: &Peer,
        message: Bytes,
        reply: bool,
        timeout: Duration,
    ) {
        let life = self.members[from].life;
        self.exchanges.insert((from, life, exchange));
        let late = Err(ExchangeError::TimedOut);
        self.cause(timeout, Event::End { place: from, life, exchange, result: late });
        let Some(to) = place_of(to.address).filter(|to| *to < self.members.len()) else { return };
        let Some(after) = self.network.stream(&mut self.rng, from, to) else { return };
        let target = &self.members[to];
        if matches!(target.state, Running::Down) {
            let result = Err(ExchangeError::Unreachable("connection refused".to_owned()));
            self.cause(2 * after, Event::End { place: from, life, exchange, result });
            return;
        }
        let target_life = target.life;
        self.caused += 1;
        let stream = StreamId(self.caused);
        self.streams.insert(stream, OpenStream { from, life, exchange, to });
        let input = Input::Stream { stream, from: address(from), message };
        self.cause(after, Event::Input { place: to, life: target_life, input });
        if !reply {
            self.cause(2 * after, Event::End { place: from, life, exchange, result: Ok(None) });
        }
    }

    fn answer(&mut self, stream: StreamId, result: Result<Option<Bytes>, ExchangeError>) {
        let Some(OpenStream { from, life, exchange, to }) = self.streams.remove(&stream) else { return };
        if let Some(after) = self.network.stream(&mut self.rng, to, from) {
            self.cause(after, Event::End { place: from, life, exchange, result });
        }
    }

    /// Whom that member takes for alive, itself included.
    #[must_use]
    pub fn view(&self, place: Place) -> Vec<Place> {
        let view = self.members[place].process.view();
        let mut view: Vec<Place> = view.map(|(name, _)| self::place(name)).collect();
        view.sort_unstable();
        view
    }

    /// Whether all that are up see exactly those that are up, and suspect nobody.
    #[must_use]
    pub fn all_agree(&self) -> bool {
        let up = (0..self.members.len()).filter(|place| self.is_up(*place)).count();
        (0..self.members.len()).filter(|place| self.is_up(*place)).all(|observer| {
            let mut seen = 0;
            self.members[observer].process.view().all(|(name, state)| {
                seen += 1;
                state == NodeState::Alive && self.is_up(place(name))
            }) && seen == up
        })
    }
}

impl World {
    /// What that member takes another one for, if it remembers it.
    #[must_use]
    pub fn opinion(&self, observer: Place, subject: Place) -> Option<NodeState> {
        self.members[observer].process.machine.member(&name(subject)).map(|node| node.state)
    }

    /// Everybody's declarations that somebody is dead, in order.
    #[must_use]
    pub fn deaths(&self) -> Vec<Death> {
        let mut deaths = Vec::new();
        for (observer, member) in self.members.iter().enumerate() {
            let dead = |sighting: &&Sighting| sighting.state == NodeState::Dead;
            deaths.extend(member.process.witness.sightings.iter().filter(dead).map(|sighting| Death {
                at: sighting.at.saturating_sub(member.ahead),
                observer,
                subject: place(&sighting.subject),
            }));
        }
        deaths.sort_by_key(|death| (death.at, death.observer, death.subject));
        deaths
    }
}
