//! Memberlist: who is in the pool, who is reachable, and how news travels.
//!
//! Everybody probes somebody else every second, in a shuffled order; who does not answer, not by way of others and not
//! over TCP either, is suspected, and who does not refute that in time is declared dead. News rides along with probes
//! and with gossip to a few random members; now and then two members exchange all they know (SWIM, Lifeguard, and the
//! reference's rules beyond them).
//!
//! Reading order: `message`, `roster`, `rules` (what news does to a member), `probe` and `relay`, `suspicion` and
//! `awareness`, `gossip` (what leaves), `exchange` (streams).
//!
//! Always true: only the member itself raises its incarnation; news of an incarnation below the one that is known changes
//! nothing; every table and queue is bounded by [`message::MEMBERS_MAX`] or a bound of its own; the same seed and the
//! same inputs give the same outputs.
//!
//! Not here: framing and encryption (`envelope`), sockets (`net`), what members mean (the [`Delegate`]).

mod awareness;
mod broadcast;
pub mod budget;
mod config;
mod exchange;
mod gossip;
mod journal;
pub mod message;
mod probe;
mod relay;
mod roster;
mod rules;
mod suspicion;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use self::awareness::Awareness;
use self::broadcast::News;
pub use self::config::{Config, Network, PROTOCOL, PROTOCOL_MAX, PROTOCOL_MIN};
use self::exchange::Exchanges;
pub use self::exchange::{JoinId, Joined};
use self::journal::Journal;
use self::message::{META_MAX, Packet};
use self::probe::Probe;
use self::relay::Relays;
use self::roster::Roster;
use self::suspicion::Suspicion;
use crate::delegate::{Delegate, Node};
use crate::io::{ExchangeId, Input, Level, Now, Output, Peer};

/// News about ourselves whose end somebody may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TellId(u64);

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    UnknownMember,
    /// More than a packet holds.
    TooLong {
        length: usize,
        max: usize,
    },
    /// Too many exchanges are under way.
    Busy,
}

/// One member's view of the pool, and its part in it.
///
/// It begins with the first call that is given a delegate, at the latest when [`Memberlist::deadline`] has passed, which
/// is at once for a new one: then the member itself joins its own view.
#[derive(Debug)]
pub struct Memberlist {
    config: Config,
    rng: SmallRng,
    begun: bool,
    /// We have said that we leave.
    leaving: bool,
    /// Our own, as last told.
    incarnation: u32,
    seq_no: u32,
    roster: Roster,
    suspicions: BTreeMap<String, Suspicion>,
    news: News,
    tells: u64,
    awareness: Awareness,
    probe: Option<Probe>,
    relays: Relays,
    exchanges: Exchanges,
    journal: Journal,
    probe_at: Now,
    gossip_at: Now,
    push_pull_at: Now,
    check_queue_at: Now,
}

/// What every rule works with: who is told, when it is, what is to be done.
struct Turn<'a, D> {
    delegate: &'a mut D,
    now: Now,
    outputs: &'a mut Vec<Output>,
}

impl<D> Turn<'_, D> {
    fn count(&mut self, name: &'static str, by: u64) {
        self.outputs.push(Output::Count { name, by });
    }

    fn sample(&mut self, name: &'static str, value: f64) {
        self.outputs.push(Output::Sample { name, value });
    }
}

impl Memberlist {
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Now) -> Memberlist {
        let mut rng = SmallRng::seed_from_u64(seed);
        // Members that were started together should not act together.
        let mut stagger = |interval: Duration| now + interval.mul_f64(rng.random::<f64>());
        Memberlist {
            probe_at: stagger(config.probe_interval) + config.probe_interval,
            gossip_at: stagger(config.gossip_interval) + config.gossip_interval,
            push_pull_at: stagger(config.push_pull_interval) + config.push_pull_interval,
            check_queue_at: now + config.queue_check_interval,
            rng,
            begun: false,
            leaving: false,
            incarnation: 0,
            seq_no: 0,
            roster: Roster::default(),
            suspicions: BTreeMap::new(),
            news: News::default(),
            tells: 0,
            awareness: Awareness::new(config.awareness_max_multiplier),
            probe: None,
            relays: Relays::default(),
            exchanges: Exchanges::default(),
            journal: Journal::default(),
            config,
        }
    }

    /// Takes what happened, then does what is due.
    pub fn handle<D: Delegate>(&mut self, delegate: &mut D, now: Now, input: Input, outputs: &mut Vec<Output>) {
        let turn = &mut Turn { delegate, now, outputs };
        self.begin(turn);
        match input {
            Input::Packet { from, messages } => {
                for message in &messages {
                    match Packet::decode(message) {
                        Ok(packet) => self.take_packet(turn, from, packet),
                        Err(error) => self.complain(turn, Level::Error, || format!("{error} from={from}")),
                    }
                }
            }
            Input::Stream { stream, from, message } => self.take_stream(turn, stream, from, &message),
            Input::Exchanged { exchange, result } => self.take_exchanged(turn, exchange, result),
            Input::Tick => {}
        }
        self.do_what_is_due(turn);
    }

    /// When [`Input::Tick`] is due if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Now {
        if !self.begun {
            return Now::ZERO;
        }
        // A probe under way keeps the next one waiting.
        let probe = self.probe.as_ref().map_or(self.probe_at, Probe::deadline);
        let regular = probe.min(self.gossip_at).min(self.push_pull_at).min(self.check_queue_at);
        let suspicion = self.suspicions.values().map(Suspicion::expires).min();
        [self.relays.deadline(), suspicion].into_iter().flatten().fold(regular, Now::min)
    }

    /// Exchanges everything with each of `peers`, one after another. [`Memberlist::take_joined`] has the result.
    pub fn join<D: Delegate>(
        &mut self,
        delegate: &mut D,
        now: Now,
        peers: &[Peer],
        outputs: &mut Vec<Output>,
    ) -> JoinId {
        let turn = &mut Turn { delegate, now, outputs };
        self.begin(turn);
        self.start_join(turn, peers)
    }

    /// What a join came to, once; none as long as it is under way.
    pub fn take_joined(&mut self, join: JoinId) -> Option<Joined> {
        self.exchanges.take_joined(join)
    }

    /// Tells that we leave. We stay, to pass that on, until whoever drives us stops: see [`Memberlist::told`].
    pub fn leave<D: Delegate>(&mut self, delegate: &mut D, now: Now, outputs: &mut Vec<Output>) -> TellId {
        let turn = &mut Turn { delegate, now, outputs };
        self.begin(turn);
        let tell = self.next_tell();
        if !self.leaving {
            self.leaving = true;
            self.tell_leave(turn, tell);
        }
        tell
    }

    /// Tells our metadata anew.
    pub fn update_node<D: Delegate>(&mut self, delegate: &mut D, now: Now, outputs: &mut Vec<Output>) -> TellId {
        let turn = &mut Turn { delegate, now, outputs };
        self.begin(turn);
        let tell = self.next_tell();
        if !self.leaving {
            self.tell_alive(turn, Some(tell));
        }
        tell
    }

    /// Whether that news was sent often enough, or there is nobody to hear it.
    #[must_use]
    pub fn told(&self, tell: TellId) -> bool {
        !self.news.waits(tell) || !self.any_other_alive()
    }

    /// Sends a message of the layer above to one member, over UDP or, if `reliable`, over a stream.
    pub fn send_to(
        &mut self,
        node: &str,
        body: &[u8],
        reliable: bool,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<(), SendError> {
        let node = &self.roster.get(node).ok_or(SendError::UnknownMember)?.node;
        if reliable {
            return self.exchanges.send_user(&self.config, now, peer_of(node), body, outputs);
        }
        let max = self.packet_room().saturating_sub(budget::USER_EACH);
        if body.len() > max {
            return Err(SendError::TooLong { length: body.len(), max });
        }
        let (to, checksum) = (peer_of(node), gossip::takes_checksum(node));
        outputs.push(Output::Packet { to, messages: vec![message::user(body)], checksum });
        Ok(())
    }

    /// Everybody who is not known to be gone, ourselves included.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.roster.iter().filter(|entry| !entry.gone()).map(|entry| &entry.node)
    }

    /// A member, be it gone, as long as it is remembered.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Node> {
        self.roster.get(name).map(|entry| &entry.node)
    }

    /// As that member last told it.
    #[must_use]
    pub fn incarnation(&self, name: &str) -> Option<u32> {
        self.roster.get(name).map(|entry| entry.incarnation)
    }

    /// How many are remembered, those recently gone included.
    #[must_use]
    pub fn known(&self) -> usize {
        self.roster.len()
    }

    /// 0 if this member keeps up with the protocol, more if not.
    #[must_use]
    pub fn health_score(&self) -> u32 {
        self.awareness.score()
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn begin<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        if !self.begun {
            self.begun = true;
            self.tell_alive(turn, None);
        }
    }

    fn do_what_is_due<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        let now = turn.now;
        self.end_relays(turn);
        self.continue_probe(turn);
        self.end_suspicions(turn);
        if self.probe.is_none() && now >= self.probe_at {
            self.probe_at = next_after(self.probe_at, self.config.probe_interval, now);
            self.start_probe(turn);
        }
        if now >= self.gossip_at {
            self.gossip_at = next_after(self.gossip_at, self.config.gossip_interval, now);
            self.gossip(turn);
        }
        if now >= self.push_pull_at {
            self.push_pull_at = now + self.push_pull_pace();
            self.push_pull(turn);
        }
        if now >= self.check_queue_at {
            self.check_queue_at = next_after(self.check_queue_at, self.config.queue_check_interval, now);
            turn.sample("memberlist.queue.broadcasts", f64::from(u32::try_from(self.news.len()).unwrap_or(u32::MAX)));
        }
    }

    fn next_tell(&mut self) -> TellId {
        self.tells += 1;
        TellId(self.tells)
    }

    fn next_seq_no(&mut self) -> u32 {
        self.seq_no = self.seq_no.wrapping_add(1);
        self.seq_no
    }

    fn any_other_alive(&self) -> bool {
        self.roster.iter().any(|entry| !entry.gone() && entry.node.name != self.config.name)
    }

    /// What the layer above says of us; none if it says too much.
    fn own_meta<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) -> Option<Bytes> {
        let meta = turn.delegate.node_meta(META_MAX);
        if meta.len() <= META_MAX {
            return Some(meta);
        }
        let length = meta.len();
        self.complain(turn, Level::Error, || format!("our own metadata of {length} bytes is too long to be told"));
        None
    }

    fn complain<D>(&mut self, turn: &mut Turn<'_, D>, level: Level, line: impl FnOnce() -> String) {
        self.journal.line(turn.now, turn.outputs, level, line);
    }

    fn health_worse<D>(&mut self, turn: &mut Turn<'_, D>, points: u32) {
        if self.awareness.worse_by(points) {
            turn.sample("memberlist.health.score", self.awareness.score().into());
        }
    }

    fn health_better<D>(&mut self, turn: &mut Turn<'_, D>) {
        if self.awareness.better() {
            turn.sample("memberlist.health.score", self.awareness.score().into());
        }
    }
}

fn peer_of(node: &Node) -> Peer {
    Peer { name: node.name.clone(), address: node.address }
}

/// The first of `at`, `at + interval`, … that is after `now`: rounds that were missed are not made up for.
fn next_after(at: Now, interval: Duration, now: Now) -> Now {
    let interval = interval.max(Duration::from_millis(1));
    let missed = now.saturating_sub(at).as_nanos() / interval.as_nanos();
    at + interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX)) + interval
}

#[cfg(test)]
mod tests;
