//! A replica among its peers: their messages, the time, who leads, and changes of the configuration.
//!
//! Always true:
//! - What a peer says cannot make raft panic: kinds, terms and indexes are looked at before raft sees them.
//! - A server that has just begun, or begun again, gives nobody its vote for as long as a lease could last.
//! - Ticks are never closer together than [`Timing`] says, so that a lease ends before a follower's patience.

use std::collections::BTreeMap;

use raft::eraftpb::Message;
use raft::{INVALID_ID, Storage};
use raft::{SnapshotStatus, StateRole};
use state::State;

use crate::configuration::{Change, Configuration, PEERS_MAX, Peer, number_of};
use crate::message::Parcel;
use crate::{Error, MessageType, Moment, OWN, ProposalId, Replica, Snapshot, SnapshotMeta, Turn};

/// Confirmations that are under way; heartbeats go out every few ticks, and a leader that hears nothing steps down.
const ROUNDS_MAX: usize = 1024;

/// How patient servers are with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    tick_ns: i64,
}

impl Timing {
    /// Compat: `raft_multiplier` 1 is for the best of networks and the reference's default is 5; there the reference
    /// gives a leader up after one second times the multiplier, and begins an election after one to two.
    #[must_use]
    pub fn of_multiplier(multiplier: u32) -> Self {
        Timing { tick_ns: 75_000_000 * i64::from(multiplier.clamp(1, 10)) }
    }

    /// For tests and simulations.
    #[must_use]
    pub fn of_tick(tick_ns: i64) -> Self {
        Timing { tick_ns: tick_ns.max(1) }
    }

    #[must_use]
    pub fn tick_ns(self) -> i64 {
        self.tick_ns
    }

    pub(crate) fn election_ticks(self) -> usize {
        10
    }

    pub(crate) fn heartbeat_ticks(self) -> usize {
        2
    }

    /// Elections begin after so many ticks at most; the library allows up to twice the least.
    fn election_ticks_max(self) -> usize {
        16
    }

    /// A follower waits for at least nine whole ticks after it heard of a leader. A tenth of eight is for clocks that
    /// run at different speeds.
    pub(crate) fn lease_ns(self) -> i64 {
        self.tick_ns * 8 / 10 * 9
    }

    /// As long as a lease that was granted before this server began may last, by a clock that is slow by a tenth.
    pub(crate) fn silence_ns(self) -> i64 {
        self.tick_ns * 10
    }

    /// The shortest time without a leader before an election.
    #[must_use]
    pub fn election_ns(self) -> i64 {
        self.tick_ns * 10
    }
}

/// What raft takes this server for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
}

/// Something to say to a peer.
#[derive(Debug)]
pub struct Outgoing {
    /// To whom.
    pub peer: Peer,
    pub number: u64,
    pub parcel: Parcel,
    /// The state that goes behind the message, when it is a snapshot. Tell [`Replica::snapshot_sent`] what came of it.
    pub state: Option<State>,
}

/// Takes what a replica has to say; never waits, and may lose it.
pub trait Outbox: Send {
    fn send(&mut self, outgoing: Outgoing);
}

/// There is nobody to talk to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unconnected;

impl Outbox for Unconnected {
    fn send(&mut self, _outgoing: Outgoing) {}
}

/// Rounds of heartbeats that prove leadership, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    last: u64,
    /// Those who ask since the last round.
    asked: Vec<ProposalId>,
    sent: BTreeMap<u64, (Moment, Vec<ProposalId>)>,
}

impl Rounds {
    pub fn ask(&mut self, id: ProposalId) {
        self.asked.push(id);
    }

    pub fn answered(&mut self, round: u64) -> Option<(Moment, Vec<ProposalId>)> {
        self.sent.remove(&round)
    }

    fn begin(&mut self, now: Moment) -> u64 {
        self.last += 1;
        self.sent.insert(self.last, (now, std::mem::take(&mut self.asked)));
        self.last
    }

    fn abandon(&mut self) -> Vec<ProposalId> {
        let mut left = std::mem::take(&mut self.asked);
        left.extend(std::mem::take(&mut self.sent).into_values().flat_map(|(_, asked)| asked));
        left
    }
}

impl Replica {
    /// Takes in what a peer says. A snapshot comes with its state, which must be stable under the snapshot's name.
    pub fn step(&mut self, parcel: Parcel, state: Option<State>, now: Moment) -> Result<(), Error> {
        if let Some(reason) = &self.fenced {
            return Err(Error::Fatal(reason.clone()));
        }
        // Without room, nothing that raft answers would be true.
        if self.full.is_some() || parcel.message.to != self.me {
            return Ok(());
        }
        let Parcel { cluster, mut message, configuration } = parcel;
        use MessageType as M;
        let own = self.configuration();
        if own.cluster != 0 && own.cluster != cluster {
            return Ok(());
        }
        if let Some(configuration) = &configuration
            && own.peers.is_empty()
            && configuration.cluster == cluster
            && configuration.peers.contains_key(&self.me)
        {
            // The log begins behind what the cluster was founded with.
            self.take_configuration(configuration.clone())?;
            self.begin_again(now)?;
            // It has followed nobody yet.
            self.silent_until = now;
        }
        match message.get_msg_type() {
            M::MsgRequestVote | M::MsgRequestPreVote if now < self.silent_until => return Ok(()),
            M::MsgAppend => self.check_append(&message)?,
            // A server that lost its log would panic over what it once acknowledged.
            M::MsgHeartbeat => message.commit = message.commit.min(self.node.raft.raft_log.last_index()),
            M::MsgSnapshot => {
                let (Some(configuration), Some(state)) = (configuration, state) else { return Ok(()) };
                let meta = message.get_snapshot().get_metadata();
                self.incoming = Some((SnapshotMeta { index: meta.index, term: meta.term }, configuration, state));
            }
            _ => {}
        }
        if self.configuration().peers.is_empty() {
            // Nobody knows yet whose votes count.
            return Ok(());
        }
        let speaks_for_leader = matches!(message.get_msg_type(), M::MsgAppend | M::MsgHeartbeat | M::MsgSnapshot);
        let answers = matches!(message.get_msg_type(), M::MsgAppendResponse | M::MsgHeartbeatResponse);
        if answers && self.node.raft.prs().get(message.from).is_some() {
            self.answered.insert(message.from, now);
        }
        if speaks_for_leader && message.term >= self.node.raft.term {
            self.heard = Some(now);
        }
        // Errors are about peers that are not there any more.
        let _ = self.node.step(message);
        self.settle();
        Ok(())
    }

    /// Entries that contradict what is committed: one of the two servers has lost its memory.
    fn check_append(&mut self, message: &Message) -> Result<(), Error> {
        if message.term < self.node.raft.term {
            return Ok(());
        }
        let committed = self.node.raft.raft_log.committed;
        let first = self.node.store().first_index().unwrap_or(1);
        let known = message.entries.iter().filter(|entry| entry.index <= committed && entry.index >= first);
        let mut contradicts = None;
        for entry in known {
            if self.node.raft.raft_log.term(entry.index).is_ok_and(|term| term != entry.term) {
                contradicts = Some(entry.index);
                break;
            }
        }
        contradicts.map_or(Ok(()), |index| {
            Err(self.fence(format!("the leader's log entry {index} is another one than the one committed here")))
        })
    }

    /// What came of sending a snapshot.
    pub fn snapshot_sent(&mut self, peer: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(peer, status);
    }

    /// What was said to a peer is lost.
    pub fn unreachable(&mut self, peer: u64) {
        self.node.report_unreachable(peer);
    }

    /// Asks for a change of the configuration; a later turn answers in [`Turn::confirmed`] once it is applied.
    pub fn change(&mut self, id: ProposalId, change: &Change) -> Result<(), Error> {
        if let Some(error) = self.refuses_writes() {
            return Err(error);
        }
        if !self.is_leader() {
            return Err(Error::NotLeader);
        }
        let configuration = self.configuration();
        let known = configuration.peer(change.id());
        let refusal = match change {
            Change::Put(peer) if configuration.peers.contains_key(&number_of(&peer.id)) && known.is_none() => {
                Some(format!("server id {:?} cannot be told from another one", peer.id))
            }
            Change::Put(_) if known.is_none() && configuration.peers.len() >= PEERS_MAX => {
                Some("there are too many servers".to_owned())
            }
            Change::Put(peer)
                if known.is_some_and(|known| known.voter) && !peer.voter && configuration.voters() == 1 =>
            {
                Some("need at least one voter in configuration".to_owned())
            }
            Change::Remove(id) if known.is_none() => Some(format!("id {id:?} was not found in the Raft configuration")),
            Change::Remove(_) if known.is_some_and(|known| known.voter) && configuration.voters() == 1 => {
                Some("need at least one voter in configuration: {[]}".to_owned())
            }
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Err(Error::NoChange(refusal));
        }
        // Raft would quietly put nothing in its place.
        if self.node.raft.has_pending_conf() {
            return Err(Error::NoChange("another change of the configuration is under way".to_owned()));
        }
        self.node.propose_conf_change(Vec::new(), change.to_raft()).map_err(|_| Error::NotLeader)?;
        let index = self.node.raft.raft_log.last_index();
        self.pending.insert(index, (self.node.raft.term, id));
        Ok(())
    }

    /// Begins to hand leadership over to another voter. Whether it takes it shows in [`Replica::leader`].
    pub fn hand_over(&mut self, id: &str) -> Result<(), Error> {
        if !self.is_leader() {
            return Err(Error::NotLeader);
        }
        let number = number_of(id);
        if number == self.me {
            return Err(Error::NoChange("cannot transfer leadership to itself".to_owned()));
        }
        if !self.configuration().votes(number) {
            return Err(Error::NoChange(format!("cannot find peer: {id}")));
        }
        // From now on the other may campaign whenever it likes.
        self.lease_is_void_in = self.node.raft.term;
        self.lease.revoke();
        self.node.transfer_leader(number);
        self.settle();
        Ok(())
    }

    /// The most advanced voter besides this one.
    #[must_use]
    pub fn heir(&self) -> Option<&Peer> {
        let progress = |number: u64| self.node.raft.prs().get(number).map_or(0, |progress| progress.matched);
        let others = self.configuration().peers.iter().filter(|(number, peer)| **number != self.me && peer.voter);
        others.max_by_key(|(number, _)| progress(**number)).map(|(_, peer)| peer)
    }

    /// What a leader knows of a server's log: the last index that it has, and when it last answered.
    #[must_use]
    pub fn progress(&self, id: &str, now: Moment) -> Option<(u64, Option<Moment>)> {
        let number = number_of(id);
        let progress = self.node.raft.prs().get(number)?;
        let answered = if number == self.me { Some(now) } else { self.answered.get(&number).copied() };
        self.leads.then_some((progress.matched, answered))
    }

    /// What raft takes this server for.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.node.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower,
        }
    }

    /// Time passes for raft; a leader proves its leadership.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.is_alone() {
            self.ask_round(now);
            return;
        }
        if self.next_tick <= now {
            // Never two for one: who slept does not know what its peers said meanwhile.
            self.next_tick = now.after_ns(self.settings.timing.tick_ns());
            self.ticks += 1;
            self.node.tick();
            self.settle();
            if self.ticks.is_multiple_of(self.settings.timing.heartbeat_ticks() as u64) {
                self.begin_round(now);
            }
        }
        self.ask_round(now);
    }

    fn ask_round(&mut self, now: Moment) {
        if !self.rounds.asked.is_empty() {
            self.begin_round(now);
        }
    }

    fn begin_round(&mut self, now: Moment) {
        if self.node.raft.state == StateRole::Leader
            && self.node.raft.commit_to_current_term()
            && self.rounds.sent.len() < ROUNDS_MAX
        {
            let round = self.rounds.begin(now);
            self.node.read_index(round.to_be_bytes().to_vec());
        }
    }

    /// A quorum has answered what was sent at a moment.
    pub(crate) fn extend_lease(&self, sent: Moment) {
        let leads = self.node.raft.state == StateRole::Leader;
        if leads && self.lease_is_void_in != self.node.raft.term && !self.is_alone() {
            self.lease.extend(sent.after_ns(self.settings.timing.lease_ns()));
        }
    }

    /// After whatever may have changed raft's mind: who does not lead has no lease, and elections begin when the seed
    /// says so, not when the library's own dice do.
    pub(crate) fn settle(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader {
            self.lease.revoke();
        }
        let timing = self.settings.timing;
        let span = timing.election_ticks_max() - timing.election_ticks();
        let dice = mix(self.settings.seed ^ self.me ^ raft.term.rotate_left(32) ^ raft.state as u64);
        let extra = usize::try_from(dice % span as u64).unwrap_or(0);
        raft.set_randomized_election_timeout(timing.election_ticks() + extra);
    }

    pub(crate) fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let number = message.to;
            let Some(peer) = self.peer_or_sender(number) else { continue };
            let mut parcel = Parcel { cluster: self.configuration().cluster, message, configuration: None };
            let mut state = None;
            if self.may_be_news(number, parcel.message.get_msg_type()) {
                parcel.configuration = Some(self.configuration().clone());
            }
            if parcel.message.get_msg_type() == MessageType::MsgSnapshot {
                // The newest state is as good as the one that raft has asked about, and better.
                let view = self.node.store();
                let meta = parcel.message.mut_snapshot().mut_metadata();
                (meta.index, meta.term) = (view.applied.index, view.applied.term);
                meta.set_conf_state(view.configuration.conf_state());
                parcel.configuration = Some(view.configuration.clone());
                state = Some(self.state.clone());
            }
            self.outbox.send(Outgoing { peer, number, parcel, state });
        }
    }

    /// Whether a peer may not know the configuration: it is new to the cluster, or the cluster is.
    fn may_be_news(&self, number: u64, kind: MessageType) -> bool {
        match kind {
            MessageType::MsgAppend | MessageType::MsgHeartbeat => {
                self.node.raft.prs().get(number).is_some_and(|progress| progress.matched == 0)
            }
            MessageType::MsgRequestPreVote | MessageType::MsgRequestVote => self.configuration().index == 0,
            _ => false,
        }
    }

    /// Promises this server, which belongs to no cluster, to one that is about to be founded. The promise is stable
    /// when this returns; as long as it stands, no other cluster can have this server.
    pub fn promise(&mut self, cluster: u64) -> Result<(), Error> {
        let own = self.configuration();
        if !own.peers.is_empty() || cluster == 0 || (own.cluster != 0 && own.cluster != cluster) {
            return Err(Error::NoChange("this server belongs to another cluster".to_owned()));
        }
        if own.cluster == cluster {
            return Ok(());
        }
        self.take_configuration(Configuration { cluster, ..Configuration::default() })
    }

    /// Takes a promise back, of which whoever asked for it made no use.
    pub fn release(&mut self, cluster: u64) -> Result<(), Error> {
        let own = self.configuration();
        if own.peers.is_empty() && own.cluster == cluster && cluster != 0 {
            return self.take_configuration(Configuration::default());
        }
        Ok(())
    }

    /// Founds a cluster of which every server has given its [`Replica::promise`].
    pub fn found(&mut self, configuration: &Configuration, now: Moment) -> Result<Turn, Error> {
        let own = self.configuration();
        let may = own.peers.is_empty() && (own.cluster == 0 || own.cluster == configuration.cluster);
        if !may
            || !configuration.votes(self.me)
            || configuration.cluster == 0
            || self.node.raft.raft_log.last_index() > 0
        {
            return Err(Error::NoChange("this server belongs to another cluster".to_owned()));
        }
        self.take_configuration(configuration.clone())?;
        self.begin_again(now)?;
        let mut turn = Turn { changed_hands: true, ..Turn::default() };
        // Nobody else can lead yet.
        self.silent_until = now;
        self.campaign(now, &mut turn)?;
        self.look_around(now, &mut turn);
        Ok(turn)
    }

    /// Whom a number stands for. A server that is not taken in yet answers a leader of whom it knows the number only.
    fn peer_or_sender(&self, number: u64) -> Option<Peer> {
        let known = self.configuration().peers.get(&number).cloned();
        known.or_else(|| (number != INVALID_ID).then(Peer::default))
    }

    /// The state of a snapshot takes the place of this server's.
    pub(crate) fn install(&mut self, snapshot: &Snapshot, now: Moment, turn: &mut Turn) -> Result<(), Error> {
        let meta = snapshot.get_metadata();
        let meta = SnapshotMeta { index: meta.index, term: meta.term };
        let Some((_, configuration, mut state)) = self.incoming.take().filter(|(incoming, ..)| *incoming == meta)
        else {
            return Err(self.fence(format!("the state of the snapshot at index {} is not there", meta.index)));
        };
        self.take_configuration(Configuration { index: meta.index, ..configuration })?;
        let view = self.node.mut_store();
        if let Err(error) = view.restart_behind(meta) {
            return Err(self.fence(error.to_string()));
        }
        state.advance(state::Index(meta.index));
        self.ahead = state.applied().0.saturating_sub(meta.index);
        self.restoring.abandon();
        self.state = state;
        self.duties.lead(&self.state, now);
        self.probe.installed();
        turn.changed = true;
        turn.changed_hands = true;
        turn.touched.note(state::Topic::Everything);
        Ok(())
    }

    /// Notes who leads, and begins or ends what only a leader does.
    pub(crate) fn look_around(&mut self, now: Moment, turn: &mut Turn) {
        if self.node.raft.state == StateRole::Leader && !self.configuration().votes(self.me) {
            // It was removed, and the others have been told.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, INVALID_ID);
            self.settle();
        }
        let raft = &self.node.raft;
        let alone = self.is_alone();
        let is_ready = raft.state == StateRole::Leader && raft.commit_to_current_term() && raft.apply_to_current_term();
        let leads = is_ready || (alone && self.full.is_some());
        let known_leader = if leads { self.me } else { raft.leader_id };
        if leads && alone {
            self.lease.extend(Moment(u64::MAX));
        } else if self.was_alone {
            // Somebody else has a say from now on.
            self.lease.revoke();
        }
        self.was_alone = alone;
        if leads && !self.leads {
            self.answered.clear();
            self.duties.lead(&self.state, now);
        }
        if self.leads && !leads {
            self.duties.not_done(now);
        }
        if raft.state != StateRole::Leader && !(alone && self.full.is_some()) {
            let lost = std::mem::take(&mut self.pending).into_values().map(|(_, id)| (id, Err(Error::Lost)));
            turn.answers.extend(lost.filter(|(id, _)| id.0 < OWN));
            let unconfirmed = self.rounds.abandon().into_iter().map(|id| (id, Err(Error::NotLeader)));
            turn.answers.extend(unconfirmed);
        }
        turn.changed_hands |= leads != self.leads || known_leader != self.known_leader;
        (self.leads, self.known_leader) = (leads, known_leader);
    }
}

/// Spreads a number's bits (the finalizer of SplitMix64).
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
