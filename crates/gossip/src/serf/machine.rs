//! A Serf member: [`Pool`] and memberlist together.
//!
//! Always true: what a call brings about is added to `out` before it returns; a leave goes through its three phases in
//! their order and ends in [`Output::Left`], whatever happens meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::seq::SliceRandom as _;

use super::broadcast::BroadcastId;
use super::config::Config;
use super::coordinates::Coordinates;
use super::event::{AskedId, QueryId};
use super::events::EVENT_SIZE_MAX;
use super::key::{KeyAnswer, KeyOperation};
use super::member::{Member, TAGS_MAX, Tags, encode_tags};
use super::message::{Leave, Message};
use super::pool::{GossipPace, Outbound, Pool, Standing};
use super::query::{Purpose, QueryError, QueryParams, RespondError};
use super::snapshot::Replayed;
use super::{Admission, JoinId, KeyringChange, Output};
use crate::coordinate::Coordinate;
use crate::io::{self, Input, Level, Now, Peer};
use crate::keyring::Keyring;
use crate::machine::{Machine, Route};
use crate::memberlist::{self, Joined, Memberlist, TellId};

/// Serf protocols that are understood.
pub const PROTOCOL_MIN: u8 = 2;
pub const PROTOCOL_MAX: u8 = 5;

pub struct Serf {
    pool: Pool,
    /// Acknowledges, suspects and gossips; all that it hears for us it gives to `pool`.
    list: Memberlist,
    /// Who was alive in an earlier life and was not tried yet, last first.
    previous: Vec<Peer>,
    /// Joins under way.
    joins: BTreeMap<memberlist::JoinId, Joining>,
    /// Broadcasts that somebody waits for, and until when.
    waiting: BTreeMap<BroadcastId, Now>,
    leaving: Option<Leaving>,
}

/// What a member starts with.
pub struct Setup {
    pub config: Config,
    /// Its name and the versions of the layer above are taken from `config`.
    pub memberlist: memberlist::Config,
    pub admission: Box<dyn Admission>,
    /// The keys of an encrypted pool. Whoever drives the member seals and opens with them; here they are only changed.
    pub keyring: Option<Keyring>,
    pub seed: u64,
    /// What an earlier life knew; empty for a first life, nothing if there is to be no snapshot.
    pub snapshot: Option<Replayed>,
}

/// What a join of memberlist is for.
#[derive(Debug)]
enum Joining {
    Asked { join: JoinId, ignore_old: bool },
    Previous(Peer),
    Reconnect,
}

/// How far a graceful leave got.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// The others are told that we mean to leave.
    Announcing { broadcast: BroadcastId, until: Now },
    /// Memberlist tells them that we are gone.
    Departing { tell: TellId, until: Now },
    /// They tell each other, and we still answer who has not heard.
    Lingering { until: Now },
}

impl Machine for Serf {
    type Output = Output;

    fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        Serf::handle(self, now, input, outputs);
    }

    fn deadline(&self) -> Now {
        Serf::deadline(self)
    }

    fn route(output: Output) -> Route<Output> {
        match output {
            Output::Memberlist(output) => Route::Sockets(output),
            above => Route::Above(above),
        }
    }
}

impl Serf {
    /// A member that starts at `now`. It knows itself at once, and tries whomever the snapshot names. The same setup and
    /// inputs give the same outputs.
    pub fn new(setup: Setup, now: Now, out: &mut Vec<Output>) -> Result<Serf, String> {
        let Setup { config, mut memberlist, admission, keyring, seed, snapshot } = setup;
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&config.protocol) {
            let (which, protocol) = (if config.protocol < PROTOCOL_MIN { "low" } else { "high" }, config.protocol);
            return Err(format!(
                "Protocol version '{protocol}' too {which}. Must be in range: [{PROTOCOL_MIN}, {PROTOCOL_MAX}]"
            ));
        }
        if config.user_event_size_limit > EVENT_SIZE_MAX {
            return Err(format!("user event size limit exceeds limit of {EVENT_SIZE_MAX} bytes"));
        }
        check_tags(config.protocol, &config.tags)?;
        memberlist.name.clone_from(&config.name);
        memberlist.delegate_versions = [PROTOCOL_MIN, PROTOCOL_MAX, config.protocol];
        let pace =
            GossipPace { interval: memberlist.gossip_interval, retransmit_multiplier: memberlist.retransmit_mult };
        let name = config.name.clone();
        let mut pool = Pool::new(config, admission, keyring, pace, seed, now, snapshot.as_ref());
        let mut list_out = Vec::new();
        let mut list = Memberlist::new(memberlist, seed, now);
        // It begins with the first input; we want to know ourselves at once.
        list.handle(&mut pool, now, Input::Tick, &mut list_out);
        let mut previous: Vec<Peer> = snapshot
            .into_iter()
            .flat_map(|replayed| replayed.alive)
            .filter(|(known, _)| *known != name)
            .filter_map(|(name, address)| Some(Peer { name, address: address.parse().ok()? }))
            .collect();
        // In any order, lest all ask the same one.
        previous.shuffle(&mut pool.rng);
        let mut serf = Serf { pool, list, previous, joins: BTreeMap::new(), waiting: BTreeMap::new(), leaving: None };
        serf.try_previous(now, &mut list_out);
        serf.settle(now, list_out, out);
        Ok(serf)
    }

    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let mut list_out = Vec::new();
        self.list.handle(&mut self.pool, now, input, &mut list_out);
        self.pool.tick(now);
        self.settle(now, list_out, out);
    }

    /// When to call [`Serf::handle`] with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Now {
        let leaving = self.leaving.map(|phase| match phase {
            Leaving::Announcing { until, .. } | Leaving::Departing { until, .. } | Leaving::Lingering { until } => {
                until
            }
        });
        let waiting = self.waiting.values().min().copied();
        [leaving, waiting].into_iter().flatten().fold(self.pool.deadline().min(self.list.deadline()), Now::min)
    }

    /// Joins the pools of these, all that answer. [`Output::Joined`] says what came of it.
    pub fn join(
        &mut self,
        now: Now,
        peers: Vec<Peer>,
        ignore_old: bool,
        out: &mut Vec<Output>,
    ) -> Result<JoinId, String> {
        if self.pool.standing != Standing::Alive {
            return Err("Serf can't Join after Leave or Shutdown".to_owned());
        }
        let join = JoinId(self.pool.next_id());
        self.pool.ignoring_old += usize::from(ignore_old);
        let mut list_out = Vec::new();
        self.start_join(now, peers, Joining::Asked { join, ignore_old }, &mut list_out);
        self.settle(now, list_out, out);
        Ok(join)
    }

    /// Leaves in three phases; [`Output::Left`] says that it is done.
    pub fn leave(&mut self, now: Now, out: &mut Vec<Output>) -> Result<(), String> {
        match self.pool.standing {
            Standing::Alive => {}
            Standing::Left => {
                out.push(Output::Left);
                return Ok(());
            }
            Standing::Leaving => return Err("Leave already in progress".to_owned()),
            Standing::Shutdown => return Err("Leave called after Shutdown".to_owned()),
        }
        self.pool.standing = Standing::Leaving;
        self.pool.record_leave();
        let name = self.pool.config.name.clone();
        let broadcast = self.announce_leave(now, name, false);
        let until = now + self.pool.config.broadcast_timeout;
        let mut list_out = Vec::new();
        match broadcast {
            Some(broadcast) => self.leaving = Some(Leaving::Announcing { broadcast, until }),
            None => self.depart(now, &mut list_out),
        }
        self.settle(now, list_out, out);
        Ok(())
    }

    /// Takes a failed member for one that left; with `prune` forgets it too. If there is somebody to tell,
    /// [`Output::Broadcast`] says whether it was passed on in time.
    pub fn force_leave(&mut self, now: Now, node: &str, prune: bool, out: &mut Vec<Output>) -> Option<BroadcastId> {
        let broadcast = self.announce_leave(now, node.to_owned(), prune);
        if let Some(broadcast) = broadcast {
            self.waiting.insert(broadcast, now + self.pool.config.broadcast_timeout);
        }
        self.settle(now, Vec::new(), out);
        broadcast
    }

    /// Says that `node` leaves. Nobody need be told if nobody else is there.
    fn announce_leave(&mut self, now: Now, node: String, prune: bool) -> Option<BroadcastId> {
        let leave = Leave { time: self.pool.clock.stamp(), node, prune };
        // The reference looks afterwards, and so never tells the only other member that it is taken for leaving.
        let heard_by_others = self.pool.roster.any_alive_but(&self.pool.config.name);
        self.pool.leave_heard(now, &leave);
        if !heard_by_others {
            return None;
        }
        let broadcast = BroadcastId(self.pool.next_id());
        self.pool.queue(Outbound::Intents, Message::Leave(leave).encode(), Some(broadcast));
        Some(broadcast)
    }

    /// Fires a user event, here first.
    pub fn user_event(
        &mut self,
        now: Now,
        name: &str,
        payload: Bytes,
        coalesce: bool,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        let fired = self.pool.fire(now, name.to_owned(), payload, coalesce);
        self.settle(now, Vec::new(), out);
        fired
    }

    /// Asks all, this member too. [`Output::Acked`] and [`Output::Responded`] come until [`Output::QueryDone`].
    pub fn query(&mut self, now: Now, params: QueryParams, out: &mut Vec<Output>) -> Result<QueryId, QueryError> {
        let asked = self.pool.ask(now, params, Purpose::Told);
        self.settle(now, Vec::new(), out);
        asked
    }

    /// Answers a query that came as an event.
    pub fn respond(
        &mut self,
        now: Now,
        asked: AskedId,
        payload: Bytes,
        out: &mut Vec<Output>,
    ) -> Result<(), RespondError> {
        let responded = self.pool.respond(now, asked, payload);
        self.settle(now, Vec::new(), out);
        responded
    }

    /// Has every member do this to a key; listing takes none. [`Output::KeysDone`] says what they made of it.
    pub fn change_keys(
        &mut self,
        now: Now,
        operation: KeyOperation,
        key: &[u8],
        relay_factor: u8,
        out: &mut Vec<Output>,
    ) -> Result<QueryId, QueryError> {
        let answer = KeyAnswer::new(self.pool.reachable());
        let asked = self.pool.ask(now, operation.params(key, relay_factor), Purpose::Keys(answer));
        self.settle(now, Vec::new(), out);
        asked
    }

    /// A keyring that changed is in its file now, or could not be written.
    pub fn keyring_kept(&mut self, now: Now, change: KeyringChange, result: Result<(), String>, out: &mut Vec<Output>) {
        self.pool.keyring_kept(now, change, result);
        self.settle(now, Vec::new(), out);
    }

    /// Says other things of this member from now on.
    pub fn set_tags(&mut self, now: Now, tags: Tags, out: &mut Vec<Output>) -> Result<(), String> {
        check_tags(self.pool.config.protocol, &tags)?;
        self.pool.config.tags = tags;
        let mut list_out = Vec::new();
        self.list.update_node(&mut self.pool, now, &mut list_out);
        self.settle(now, list_out, out);
        Ok(())
    }

    /// Other rules from now on for who may join.
    pub fn set_admission(&mut self, admission: Box<dyn Admission>) {
        self.pool.admission = admission;
    }

    /// Ends without a word; others will find that this member failed.
    pub fn shut_down(&mut self) {
        self.pool.shut_down();
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        self.pool.standing
    }

    /// All that are known, by name.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.pool.roster.members()
    }

    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.pool.roster.get(name)
    }

    /// This member as others know it.
    #[must_use]
    pub fn local_member(&self) -> Option<&Member> {
        self.member(&self.pool.config.name)
    }

    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.pool.config.tags
    }

    /// The keys, if the pool is encrypted.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.pool.keyring.as_ref()
    }

    /// The snapshot as short as it gets, to start its file anew.
    #[must_use]
    pub fn snapshot(&self) -> Option<String> {
        self.pool.snapshot_text()
    }

    /// What `consul info` shows of a pool.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<&'static str, String> {
        let pool = &self.pool;
        let mut stats = BTreeMap::from([
            ("members", pool.roster.len().to_string()),
            ("failed", pool.roster.failed().to_string()),
            ("left", pool.roster.left().len().to_string()),
            ("health_score", self.list.health_score().to_string()),
            ("member_time", pool.clock.time().to_string()),
            ("event_time", pool.events.clock.time().to_string()),
            ("query_time", pool.queries.clock.time().to_string()),
            ("intent_queue", pool.queued(Outbound::Intents).to_string()),
            ("event_queue", pool.queued(Outbound::Events).to_string()),
            ("query_queue", pool.queued(Outbound::Queries).to_string()),
            ("encrypted", pool.keyring.is_some().to_string()),
        ]);
        if let Some(coordinates) = &pool.coordinates {
            stats.insert("coordinate_resets", coordinates.resets().to_string());
        }
        stats
    }

    /// Where this member stands; nothing if coordinates are off.
    #[must_use]
    pub fn coordinate(&self) -> Option<&Coordinate> {
        self.pool.coordinates.as_ref().map(Coordinates::ours)
    }

    /// Where a member stood when it last answered a ping of ours.
    #[must_use]
    pub fn cached_coordinate(&self, name: &str) -> Option<&Coordinate> {
        self.pool.coordinates.as_ref()?.heard(name)
    }

    /// The round trip to expect between two members.
    #[must_use]
    pub fn rtt(&self, from: &str, to: &str) -> Option<Duration> {
        self.cached_coordinate(from)?.distance_to(self.cached_coordinate(to)?)
    }

    fn start_join(&mut self, now: Now, peers: Vec<Peer>, joining: Joining, list_out: &mut Vec<io::Output>) {
        let id = self.list.join(&mut self.pool, now, &peers, list_out);
        self.joins.insert(id, joining);
    }

    /// Tries the next member of an earlier life.
    fn try_previous(&mut self, now: Now, list_out: &mut Vec<io::Output>) {
        if let Some(peer) = self.previous.pop() {
            let line = format!("serf: Attempting re-join to previously known node: {}: {}", peer.name, peer.address);
            self.pool.log(Level::Info, line);
            self.start_join(now, vec![peer.clone()], Joining::Previous(peer), list_out);
        }
    }

    fn join_ended(&mut self, now: Now, joining: Joining, joined: Joined, list_out: &mut Vec<io::Output>) {
        let reached = joined.reached;
        match joining {
            Joining::Asked { join, ignore_old } => {
                self.pool.ignoring_old -= usize::from(ignore_old);
                if reached > 0 {
                    self.pool.announce(now, self.pool.clock.time());
                }
                self.pool.out.push(Output::Joined { join, joined });
            }
            Joining::Previous(peer) if reached > 0 => {
                self.previous.clear();
                let line = format!("serf: Re-joined to previously known node: {}: {}", peer.name, peer.address);
                self.pool.log(Level::Info, line);
            }
            Joining::Previous(_) if self.previous.is_empty() => {
                self.pool.log(Level::Warn, "serf: Failed to re-join any previously known node".to_owned());
            }
            Joining::Previous(_) => self.try_previous(now, list_out),
            Joining::Reconnect => {}
        }
    }

    /// Memberlist's part of a leave.
    fn depart(&mut self, now: Now, list_out: &mut Vec<io::Output>) {
        let until = now + self.pool.config.broadcast_timeout;
        let tell = self.list.leave(&mut self.pool, now, list_out);
        self.leaving = Some(Leaving::Departing { tell, until });
    }

    /// Goes on with a leave as far as it gets now.
    fn go_on_leaving(&mut self, now: Now, list_out: &mut Vec<io::Output>) {
        if let Some(Leaving::Announcing { broadcast, until }) = self.leaving {
            let announced = self.pool.finished.contains(&broadcast);
            if now >= until && !announced {
                self.pool.log(Level::Warn, "serf: timeout while waiting for graceful leave".to_owned());
            }
            if announced || now >= until {
                self.depart(now, list_out);
            }
        }
        if let Some(Leaving::Departing { tell, until }) = self.leaving {
            let departed = self.list.told(tell);
            if now >= until && !departed {
                let line = "serf: timeout waiting for leave broadcast: timeout waiting for leave broadcast";
                self.pool.log(Level::Warn, line.to_owned());
            }
            if departed || now >= until {
                self.leaving = Some(Leaving::Lingering { until: now + self.pool.config.leave_propagate_delay });
            }
        }
        if let Some(Leaving::Lingering { until }) = self.leaving
            && now >= until
        {
            self.leaving = None;
            if self.pool.standing != Standing::Shutdown {
                self.pool.standing = Standing::Left;
            }
            self.pool.out.push(Output::Left);
        }
    }

    /// Brings what happened to its end, and everything into `out`.
    fn settle(&mut self, now: Now, mut list_out: Vec<io::Output>, out: &mut Vec<Output>) {
        self.pool.hear_ourselves(now);
        // An ended join may start another, which may end at once.
        let ids: Vec<_> = self.joins.keys().copied().collect();
        for id in ids {
            if let Some(joined) = self.list.take_joined(id)
                && let Some(joining) = self.joins.remove(&id)
            {
                self.join_ended(now, joining, joined, &mut list_out);
            }
        }
        if let Some(peer) = self.pool.reconnect.take() {
            self.start_join(now, vec![peer], Joining::Reconnect, &mut list_out);
        }
        self.go_on_leaving(now, &mut list_out);
        for broadcast in std::mem::take(&mut self.pool.finished) {
            if self.waiting.remove(&broadcast).is_some() {
                self.pool.out.push(Output::Broadcast { broadcast, in_time: true });
            }
        }
        let late: Vec<_> = self.waiting.iter().filter(|(_, until)| now >= **until).map(|(id, _)| *id).collect();
        for broadcast in late {
            self.waiting.remove(&broadcast);
            self.pool.out.push(Output::Broadcast { broadcast, in_time: false });
        }
        out.append(&mut self.pool.out);
        out.extend(list_out.into_iter().map(Output::Memberlist));
    }
}

fn check_tags(protocol: u8, tags: &Tags) -> Result<(), String> {
    if encode_tags(protocol, tags).len() > TAGS_MAX {
        return Err(format!("Encoded length of tags exceeds limit of {TAGS_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
