//! All of a Serf member but memberlist: what memberlist asks of it, what it hears, and what it tells.
//!
//! Always true: nothing here waits; what comes too early, too late or twice changes nothing; what was heard for the first time
//! is passed on once.
//! Not here: commands that need memberlist (`super`), queries (`query`), keys (`internal`, `key`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::broadcast::{BroadcastId, BroadcastQueue, transmit_limit};
use super::coalesce::{MemberCoalescer, UserCoalescer};
use super::config::Config;
use super::coordinates::Coordinates;
use super::event::{AskedId, Event, MemberEvent, MemberEventKind, UserEvent};
use super::events::{EVENT_SIZE_MAX, EventLog, QueryLog, Seen};
use super::lamport::{LamportClock, LamportTime};
use super::member::{Member, MemberStatus, Tags, decode_tags, encode_tags};
use super::message::{Join, Leave, Message, PushPull, UserEventMessage};
use super::query::{Asked, Running};
use super::roster::{LeaveIntent, Roster};
use super::snapshot::{Recorder, Replayed, SnapshotWrite};
use super::{Admission, KeyringChange, Output, internal};
use crate::coordinate::Rejected;
use crate::delegate::{Delegate, Node};
use crate::io::{self, Level, Now, Peer};
use crate::keyring::Keyring;

/// Memberlist's type byte of a message for the layer above.
const USER_MESSAGE: u8 = 8;
/// The least memberlist protocol that understands checksums of packets.
const CHECKSUM_SINCE: u8 = 5;
/// How long the member clock may run ahead of the snapshot.
const CLOCK_RECORD_DELAY: Duration = Duration::from_millis(500);
/// A queue is cut at once when it is this many times as long as it may be; else only at its regular check.
const QUEUE_SLACK: usize = 2;
/// How many messages to ourselves are handled in one go.
const LOOPBACK_MAX: usize = 1024;
/// How many complaints about what others send are logged in [`COMPLAINTS_EVERY`].
const COMPLAINTS_MAX: u32 = 10;
const COMPLAINTS_EVERY: Duration = Duration::from_secs(10);

/// Where this member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Alive,
    Leaving,
    Left,
    Shutdown,
}

/// What is passed on goes into one of three queues.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outbound {
    Intents,
    Queries,
    Events,
}

pub(super) struct Pool {
    pub(super) config: Config,
    pub(super) admission: Box<dyn Admission>,
    pub(super) rng: StdRng,
    pub(super) standing: Standing,
    pub(super) roster: Roster,
    pub(super) clock: LamportClock,
    pub(super) events: EventLog,
    pub(super) queries: QueryLog,
    /// In the order of [`Outbound`], which is the order in which they may fill a packet.
    queues: [BroadcastQueue; 3],
    /// Broadcasts that were passed on often enough, or dropped.
    pub(super) finished: Vec<BroadcastId>,
    pub(super) running: BTreeMap<LamportTime, Running>,
    pub(super) asked: BTreeMap<AskedId, Asked>,
    pub(super) keyring: Option<Keyring>,
    /// Changes of the keyring that are not in its file yet, and who waits for them.
    pub(super) unkept: BTreeMap<KeyringChange, AskedId>,
    pub(super) coordinates: Option<Coordinates>,
    member_events: Option<MemberCoalescer>,
    user_events: Option<UserCoalescer>,
    recorder: Option<Recorder>,
    record_clock_at: Option<Now>,
    /// Joins under way that want no events from before them.
    pub(super) ignoring_old: usize,
    /// A failed member to try again.
    pub(super) reconnect: Option<Peer>,
    pub(super) gossip_interval: Duration,
    retransmit_multiplier: u32,
    reap_at: Now,
    reconnect_at: Now,
    check_queues_at: Now,
    complaints: Complaints,
    /// Messages to ourselves.
    loopback: VecDeque<Bytes>,
    ids: u64,
    pub(super) out: Vec<Output>,
}

#[derive(Debug, Default)]
struct Complaints {
    since: Now,
    made: u32,
    withheld: u64,
}

/// What a pool takes from the configuration of memberlist.
#[derive(Debug, Clone, Copy)]
pub(super) struct GossipPace {
    pub(super) interval: Duration,
    pub(super) retransmit_multiplier: u32,
}

impl Pool {
    pub(super) fn new(
        config: Config,
        admission: Box<dyn Admission>,
        keyring: Option<Keyring>,
        pace: GossipPace,
        seed: u64,
        now: Now,
        snapshot: Option<&Replayed>,
    ) -> Pool {
        let nothing = Replayed::default();
        let known = snapshot.unwrap_or(&nothing);
        let mut clock = LamportClock::new();
        clock.witness(known.clock);
        Pool {
            admission,
            rng: StdRng::seed_from_u64(seed),
            standing: Standing::Alive,
            roster: Roster::default(),
            clock,
            events: EventLog::new(known.event_clock),
            queries: QueryLog::new(known.query_clock),
            queues: Default::default(),
            finished: Vec::new(),
            running: BTreeMap::new(),
            asked: BTreeMap::new(),
            keyring,
            unkept: BTreeMap::new(),
            coordinates: config.coordinates.then(|| Coordinates::new(&config.name, seed)),
            member_events: config.coalesce.map(MemberCoalescer::new),
            user_events: config.user_coalesce.map(UserCoalescer::new),
            recorder: snapshot.map(|replayed| Recorder::new(replayed, config.rejoin_after_leave)),
            record_clock_at: None,
            ignoring_old: 0,
            reconnect: None,
            gossip_interval: pace.interval,
            retransmit_multiplier: pace.retransmit_multiplier,
            reap_at: now + config.reap_interval,
            reconnect_at: now + config.reconnect_interval,
            check_queues_at: now + config.queue_check_interval,
            complaints: Complaints::default(),
            loopback: VecDeque::new(),
            ids: 0,
            out: Vec::new(),
            config,
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(super) fn random_u32(&mut self) -> u32 {
        self.rng.random()
    }

    /// The address that others know us by.
    pub(super) fn local_address(&self) -> SocketAddr {
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        self.roster.get(&self.config.name).map_or(unknown, |member| member.address)
    }

    /// How many members memberlist takes for reachable, this one included.
    pub(super) fn reachable(&self) -> usize {
        self.roster.len() - self.roster.failed() - self.roster.left().len()
    }

    pub(super) fn log(&mut self, level: Level, line: String) {
        self.out.push(Output::Memberlist(io::Output::Log { level, line }));
    }

    /// Logs what is wrong with something that others sent, not too often.
    pub(super) fn complain(&mut self, now: Now, level: Level, line: impl FnOnce() -> String) {
        let complaints = &mut self.complaints;
        if now.saturating_sub(complaints.since) >= COMPLAINTS_EVERY {
            let withheld = std::mem::take(complaints).withheld;
            complaints.since = now;
            if withheld > 0 {
                self.log(Level::Warn, format!("serf: {withheld} more lines about messages of others withheld"));
            }
        }
        if self.complaints.made < COMPLAINTS_MAX {
            self.complaints.made += 1;
            self.log(level, line());
        } else {
            self.complaints.withheld += 1;
        }
    }

    pub(super) fn count(&mut self, name: &'static str, by: u64) {
        self.out.push(Output::Memberlist(io::Output::Count { name, by }));
    }

    pub(super) fn sample(&mut self, name: &'static str, value: f64) {
        self.out.push(Output::Memberlist(io::Output::Sample { name, value }));
    }

    /// Sends a message to one member over UDP.
    pub(super) fn send(&mut self, address: SocketAddr, name: &str, message: Bytes) {
        if name == self.config.name && address == self.local_address() {
            if self.loopback.len() < LOOPBACK_MAX {
                self.loopback.push_back(message);
            }
            return;
        }
        let checksum = self.roster.get(name).is_some_and(|member| member.versions[1] >= CHECKSUM_SINCE);
        let framed = [&[USER_MESSAGE], &message[..]].concat().into();
        let to = Peer { name: name.to_owned(), address };
        self.out.push(Output::Memberlist(io::Output::Packet { to, messages: vec![framed], checksum }));
    }

    /// Has a message passed on by gossip.
    pub(super) fn queue(&mut self, which: Outbound, message: Bytes, ticket: Option<BroadcastId>) {
        let most = self.queue_depth_max().saturating_mul(QUEUE_SLACK);
        let queue = &mut self.queues[which as usize];
        queue.push(message, ticket);
        if queue.len() > most {
            queue.prune(most, &mut self.finished);
        }
    }

    pub(super) fn queued(&self, which: Outbound) -> usize {
        self.queues[which as usize].len()
    }

    fn queue_depth_max(&self) -> usize {
        match self.config.queue_depth_min {
            0 => self.config.queue_depth_max,
            least => least.max(2 * self.roster.len()),
        }
    }

    /// Tells the agent, or handles what is Serf's own.
    pub(super) fn tell(&mut self, now: Now, event: Event) {
        self.record(&event);
        match event {
            Event::Query(query) if query.name.starts_with(internal::PREFIX) => self.answer_internal(now, &query),
            Event::User(event) if event.coalesce && self.user_events.is_some() => {
                if let Some(coalescer) = &mut self.user_events {
                    coalescer.add(now, event);
                }
            }
            Event::Members(event) if self.member_events.is_some() => {
                if let Some(coalescer) = &mut self.member_events {
                    coalescer.add(now, event);
                }
            }
            event => self.out.push(Output::Event(event)),
        }
    }

    fn tell_member(&mut self, now: Now, kind: MemberEventKind, member: Member) {
        self.tell(now, Event::Members(MemberEvent { kind, members: vec![member] }));
    }

    fn record(&mut self, event: &Event) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        let mut writes = Vec::new();
        match event {
            Event::Members(event) => {
                for member in &event.members {
                    match event.kind {
                        MemberEventKind::Join => recorder.joined(&member.name, member.address, &mut writes),
                        MemberEventKind::Leave | MemberEventKind::Failed => recorder.gone(&member.name, &mut writes),
                        MemberEventKind::Update | MemberEventKind::Reap => {}
                    }
                }
                recorder.clock(self.clock.time(), &mut writes);
            }
            Event::User(event) => recorder.user_event(event.time, &mut writes),
            Event::Query(query) => recorder.query(query.time, &mut writes),
        }
        self.out.extend(writes.into_iter().map(Output::Snapshot));
    }

    pub(super) fn record_leave(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            let mut writes: Vec<SnapshotWrite> = Vec::new();
            recorder.leave(&mut writes);
            self.out.extend(writes.into_iter().map(Output::Snapshot));
        }
    }

    pub(super) fn snapshot_text(&self) -> Option<String> {
        self.recorder.as_ref().map(Recorder::text)
    }

    fn record_clock(&mut self, now: Now) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        let time = self.clock.time();
        if !recorder.lags(time) {
            self.record_clock_at = None;
        } else if now >= *self.record_clock_at.get_or_insert(now + CLOCK_RECORD_DELAY) {
            self.record_clock_at = None;
            let mut writes = Vec::new();
            recorder.clock(time, &mut writes);
            self.out.extend(writes.into_iter().map(Output::Snapshot));
        }
    }

    pub(super) fn shut_down(&mut self) {
        self.standing = Standing::Shutdown;
    }

    /// Says that we are here, as of `time`.
    pub(super) fn announce(&mut self, now: Now, time: LamportTime) {
        self.clock.witness(time);
        let join = Join { time, node: self.config.name.clone() };
        self.roster.join_intent(now, &join.node, time);
        self.queue(Outbound::Intents, Message::Join(join).encode(), None);
    }

    /// Takes in that a member leaves, or is to be taken for one that left. Answers whether to pass it on.
    pub(super) fn leave_heard(&mut self, now: Now, leave: &Leave) -> bool {
        self.clock.witness(leave.time);
        let refute = leave.node == self.config.name && self.standing == Standing::Alive;
        let prune_at = leave.prune.then_some(now + self.config.broadcast_timeout + self.config.leave_propagate_delay);
        match self.roster.leave_intent(now, &leave.node, leave.time, refute, prune_at) {
            LeaveIntent::Old => false,
            LeaveIntent::News => {
                self.forget_pruned(now);
                true
            }
            LeaveIntent::Refute => {
                self.log(Level::Debug, "serf: Refuting an older leave intent".to_owned());
                self.announce(now, self.clock.time());
                false
            }
            LeaveIntent::Left(member) => {
                let line = format!("serf: EventMemberLeave (forced): {} {}", member.name, member.address.ip());
                self.log(Level::Info, line);
                self.tell_member(now, MemberEventKind::Leave, member);
                self.forget_pruned(now);
                true
            }
        }
    }

    fn join_heard(&mut self, now: Now, join: &Join) -> bool {
        self.clock.witness(join.time);
        self.roster.join_intent(now, &join.node, join.time)
    }

    fn forget_pruned(&mut self, now: Now) {
        for member in self.roster.take_pruned(now) {
            let line = format!("serf: EventMemberReap (forced): {} {}", member.name, member.address.ip());
            self.log(Level::Info, line);
            self.forgotten(now, member);
        }
    }

    fn forgotten(&mut self, now: Now, member: Member) {
        if let Some(coordinates) = &mut self.coordinates {
            coordinates.forget(&member.name);
        }
        self.tell_member(now, MemberEventKind::Reap, member);
    }

    /// Fires a user event.
    pub(super) fn fire(&mut self, now: Now, name: String, payload: Bytes, coalesce: bool) -> Result<(), String> {
        let limit = self.config.user_event_size_limit;
        let plain = name.len() + payload.len();
        if plain > limit {
            return Err(format!("user event exceeds configured limit of {limit} bytes before encoding"));
        }
        if plain > EVENT_SIZE_MAX {
            return Err(format!("user event exceeds sane limit of {EVENT_SIZE_MAX} bytes before encoding"));
        }
        let event = UserEventMessage { time: self.events.clock.time(), name, payload, coalesce };
        let raw = Message::UserEvent(event.clone()).encode();
        if raw.len() > limit {
            return Err(format!("encoded user event exceeds configured limit of {limit} bytes after encoding"));
        }
        if raw.len() > EVENT_SIZE_MAX {
            return Err(format!(
                "encoded user event exceeds reasonable limit of {EVENT_SIZE_MAX} bytes after encoding"
            ));
        }
        self.event_heard(now, event);
        self.queue(Outbound::Events, raw, None);
        Ok(())
    }

    fn event_heard(&mut self, now: Now, event: UserEventMessage) -> bool {
        match self.events.observe(&event) {
            Seen::New => {}
            Seen::Before => return false,
            Seen::TooOld => {
                let current = self.events.clock.time();
                self.complain(now, Level::Warn, || {
                    format!("serf: received old event {} from time {} (current: {current})", event.name, event.time)
                });
                return false;
            }
        }
        self.count("serf.events", 1);
        let UserEventMessage { time, name, payload, coalesce } = event;
        self.tell(now, Event::User(UserEvent { time, name, payload, coalesce }));
        true
    }

    /// Takes in one message and passes it on if it is news.
    fn heard(&mut self, now: Now, raw: &[u8]) {
        if raw.is_empty() {
            return;
        }
        self.sample("serf.msgs.received", raw.len() as f64);
        let message = match Message::decode(raw) {
            Ok(message) => message,
            Err(error) => {
                self.count("serf.msgs.refused", 1);
                self.complain(now, Level::Error, || format!("serf: Error decoding message: {error}"));
                return;
            }
        };
        let (pass_on, queue) = match message {
            Message::Leave(leave) => (self.leave_heard(now, &leave), Outbound::Intents),
            Message::Join(join) => (self.join_heard(now, &join), Outbound::Intents),
            Message::UserEvent(event) => (self.event_heard(now, event), Outbound::Events),
            Message::Query(query) => (self.query_heard(now, query), Outbound::Queries),
            Message::QueryResponse(response) => return self.response_heard(now, response),
            Message::Relay(relay) => return self.send(relay.to, &relay.name, relay.message),
            Message::PushPull(_) | Message::ConflictResponse(_) | Message::KeyRequest(_) | Message::KeyResponse(_) => {
                self.complain(now, Level::Warn, || format!("serf: Received message of unknown type: {}", raw[0]));
                return;
            }
        };
        if pass_on {
            self.queue(queue, Bytes::copy_from_slice(raw), None);
        }
    }

    /// Handles what we sent to ourselves.
    pub(super) fn hear_ourselves(&mut self, now: Now) {
        let mut left = LOOPBACK_MAX;
        while let Some(message) = self.loopback.pop_front() {
            self.heard(now, &message);
            left -= 1;
            if left == 0 {
                self.loopback.clear();
            }
        }
    }

    pub(super) fn deadline(&self) -> Now {
        let regular = self.reap_at.min(self.reconnect_at).min(self.check_queues_at);
        [
            self.query_deadline(),
            self.roster.prune_deadline(),
            self.record_clock_at,
            self.member_events.as_ref().and_then(MemberCoalescer::deadline),
            self.user_events.as_ref().and_then(UserCoalescer::deadline),
        ]
        .into_iter()
        .flatten()
        .fold(regular, Now::min)
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Now) {
        self.hear_ourselves(now);
        self.close_queries(now);
        self.forget_pruned(now);
        if now >= self.reap_at {
            self.reap_at = now + self.config.reap_interval;
            self.reap(now);
        }
        if now >= self.reconnect_at {
            self.reconnect_at = now + self.config.reconnect_interval;
            self.choose_reconnect();
        }
        if now >= self.check_queues_at {
            self.check_queues_at = now + self.config.queue_check_interval;
            self.check_queues();
        }
        self.record_clock(now);
        if let Some(coalescer) = &mut self.member_events {
            self.out.extend(coalescer.take(now).into_iter().map(|event| Output::Event(Event::Members(event))));
        }
        if let Some(coalescer) = &mut self.user_events {
            self.out.extend(coalescer.take(now).into_iter().map(|event| Output::Event(Event::User(event))));
        }
    }

    fn reap(&mut self, now: Now) {
        let (failed, left) = (self.config.reconnect_timeout, self.config.tombstone_timeout);
        let timeout_of = self.config.timeout_of;
        let timeout =
            |member: &Member| timeout_of(member, if member.status == MemberStatus::Failed { failed } else { left });
        for member in self.roster.reap(now, timeout, self.config.recent_intent_timeout) {
            self.log(Level::Info, format!("serf: EventMemberReap: {}", member.name));
            self.forgotten(now, member);
        }
    }

    /// Chooses a failed member to try again. All alive members together try each failed one about once an interval.
    fn choose_reconnect(&mut self) {
        let failed = self.roster.failed();
        if failed == 0 || self.standing != Standing::Alive {
            return;
        }
        let alive = self.reachable().max(1);
        if self.rng.random::<f64>() > failed as f64 / alive as f64 {
            self.log(Level::Debug, "serf: forgoing reconnect for random throttling".to_owned());
            return;
        }
        let at = self.rng.random_range(0..failed);
        if let Some(member) = self.roster.failed_member(at) {
            let peer = Peer { name: member.name.clone(), address: member.address };
            self.log(Level::Info, format!("serf: attempting reconnect to {} {}", peer.name, peer.address));
            self.reconnect = Some(peer);
        }
    }

    fn check_queues(&mut self) {
        let most = self.queue_depth_max();
        for (which, (name, metric)) in
            [("Intent", "serf.queue.Intent"), ("Query", "serf.queue.Query"), ("Event", "serf.queue.Event")]
                .into_iter()
                .enumerate()
        {
            let depth = self.queues[which].len();
            self.sample(metric, depth as f64);
            if depth >= self.config.queue_depth_warning {
                self.log(Level::Warn, format!("serf: {name} queue depth: {depth}"));
            }
            if depth > most {
                let line = format!("serf: {name} queue depth ({depth}) exceeds limit ({most}), dropping messages!");
                self.log(Level::Warn, line);
                self.queues[which].prune(most, &mut self.finished);
            }
        }
    }

    fn tags_of(&mut self, now: Now, node: &Node) -> Tags {
        decode_tags(&node.meta).unwrap_or_else(|error| {
            self.complain(now, Level::Error, || format!("serf: Failed to decode tags: {error}"));
            Tags::new()
        })
    }
}

impl Delegate for Pool {
    fn node_meta(&self, limit: usize) -> Bytes {
        let mut meta = encode_tags(self.config.protocol, &self.config.tags);
        // `Serf::new` and `Serf::set_tags` let in no more.
        meta.truncate(limit);
        meta
    }

    fn message(&mut self, now: Now, message: &[u8], _outputs: &mut Vec<io::Output>) {
        self.heard(now, message);
    }

    fn broadcasts(&mut self, overhead: usize, limit: usize) -> Vec<Bytes> {
        let transmissions = transmit_limit(self.retransmit_multiplier, self.roster.len());
        let mut taken = Vec::new();
        let mut used = 0;
        for queue in &mut self.queues {
            let more = queue.take(overhead, limit.saturating_sub(used), transmissions, &mut self.finished);
            used += more.iter().map(|message| overhead + message.len()).sum::<usize>();
            taken.extend(more);
        }
        for message in &taken {
            self.out
                .push(Output::Memberlist(io::Output::Sample { name: "serf.msgs.sent", value: message.len() as f64 }));
        }
        taken
    }

    fn local_state(&mut self, _now: Now, _join: bool) -> Bytes {
        let status_times = self.roster.entries().map(|entry| (entry.member.name.clone(), entry.status_time)).collect();
        Message::PushPull(PushPull {
            time: self.clock.time(),
            status_times,
            left_members: self.roster.left().iter().cloned().collect(),
            event_time: self.events.clock.time(),
            events: self.events.recent(),
            query_time: self.queries.clock.time(),
        })
        .encode()
    }

    fn merge_remote_state(&mut self, now: Now, state: &[u8], join: bool, _outputs: &mut Vec<io::Output>) {
        let all = match Message::decode(state) {
            Ok(Message::PushPull(all)) => all,
            Ok(_) => {
                return self
                    .complain(now, Level::Error, || format!("serf: Remote state has bad type prefix: {}", state[0]));
            }
            Err(error) => {
                return self.complain(now, Level::Error, || format!("serf: Failed to decode remote state: {error}"));
            }
        };
        // Nothing of these very times was sent yet.
        for (clock, time) in [
            (&mut self.clock, all.time),
            (&mut self.events.clock, all.event_time),
            (&mut self.queries.clock, all.query_time),
        ] {
            if time > LamportTime(0) {
                clock.witness(time.previous());
            }
        }
        // Those who left come first. When they left is not said, but it was after they joined.
        let left: BTreeSet<&String> = all.left_members.iter().collect();
        for node in &left {
            let joined = all.status_times.get(*node).copied().unwrap_or_default();
            self.leave_heard(now, &Leave { time: joined.next(), node: (*node).clone(), prune: false });
        }
        for (node, time) in &all.status_times {
            if !left.contains(node) {
                self.join_heard(now, &Join { time: *time, node: node.clone() });
            }
        }
        if join && self.ignoring_old > 0 {
            self.events.ignore_before(all.event_time);
        }
        for events in all.events.into_iter().flatten() {
            for event in events.events {
                let time = events.time;
                self.event_heard(
                    now,
                    UserEventMessage { time, name: event.name, payload: event.payload, coalesce: false },
                );
            }
        }
    }

    fn allow_merge(&mut self, peers: &[Node]) -> Result<(), String> {
        let members: Vec<_> = peers.iter().map(Member::candidate).collect();
        self.admission.admit(&members)
    }

    fn allow_alive(&mut self, peer: &Node) -> Result<(), String> {
        self.admission.admit(&[Member::candidate(peer)])
    }

    fn joined(&mut self, now: Now, node: &Node, _outputs: &mut Vec<io::Output>) {
        let tags = self.tags_of(now, node);
        let joined = self.roster.joined(now, node, tags);
        if joined.failed_for.is_some_and(|failed_for| failed_for < self.config.flap_timeout) {
            self.count("serf.member.flap", 1);
        }
        self.count("serf.member.join", 1);
        self.log(Level::Info, format!("serf: EventMemberJoin: {} {}", node.name, node.address.ip()));
        self.tell_member(now, MemberEventKind::Join, joined.member);
    }

    fn left(&mut self, now: Now, node: &Node, _outputs: &mut Vec<io::Output>) {
        let Some(member) = self.roster.gone(now, &node.name) else {
            return;
        };
        let (kind, metric, what) = if member.status == MemberStatus::Left {
            (MemberEventKind::Leave, "serf.member.left", "EventMemberLeave")
        } else {
            (MemberEventKind::Failed, "serf.member.failed", "EventMemberFailed")
        };
        self.count(metric, 1);
        self.log(Level::Info, format!("serf: {what}: {} {}", member.name, member.address.ip()));
        self.tell_member(now, kind, member);
    }

    fn updated(&mut self, now: Now, node: &Node, _outputs: &mut Vec<io::Output>) {
        let tags = self.tags_of(now, node);
        let Some(member) = self.roster.updated(node, tags) else {
            return;
        };
        self.count("serf.member.update", 1);
        self.log(Level::Info, format!("serf: EventMemberUpdate: {}", member.name));
        self.tell_member(now, MemberEventKind::Update, member);
    }

    fn conflict(&mut self, now: Now, existing: &Node, other: &Node, _outputs: &mut Vec<io::Output>) {
        if existing.name != self.config.name {
            self.complain(now, Level::Warn, || {
                format!(
                    "serf: Name conflict for '{}' both {} and {} are claiming",
                    existing.name, existing.address, other.address
                )
            });
            return;
        }
        let resolve = self.config.resolve_name_conflicts;
        self.complain(now, Level::Error, || {
            format!(
                "serf: Node name conflicts with another node at {}. Names must be unique! (Resolution enabled: \
                 {resolve})",
                other.address
            )
        });
        if resolve {
            self.resolve_conflict(now);
        }
    }

    fn ack_payload(&mut self) -> Bytes {
        self.coordinates.as_ref().map(Coordinates::payload).unwrap_or_default()
    }

    fn ping_complete(&mut self, now: Now, node: &Node, rtt: Duration, payload: &[u8]) {
        let Some(coordinates) = &mut self.coordinates else {
            return;
        };
        match coordinates.observe(&node.name, rtt, payload) {
            Ok(None) => {}
            Ok(Some(moved_ms)) => self.sample("serf.coordinate.adjustment-ms", moved_ms),
            Err(why @ (Rejected::Version(_) | Rejected::Malformed(_))) => {
                self.complain(now, Level::Error, || format!("serf: {why}"));
            }
            Err(why) => {
                self.count("serf.coordinate.rejected", 1);
                self.complain(now, Level::Debug, || format!("serf: Rejected coordinate from {}: {why}", node.name));
            }
        }
    }
}

#[cfg(test)]
mod tests;
