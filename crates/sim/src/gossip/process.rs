//! What runs at a place of the world: a memberlist alone, or a Serf member.

use std::time::Duration;

use bytes::Bytes;
use gossip::delegate::NodeState;
use gossip::io::{Input, Now, Output, Peer};
use gossip::memberlist::{Config, Memberlist};
use gossip::serf::member::{Member, MemberStatus, Tags};
use gossip::serf::snapshot::{SnapshotWrite, replay};
use gossip::serf::{self, Event, MemberEventKind, Open, Serf, Setup};

use super::witness::Witness;

pub trait Process: Sized {
    fn start(config: Config, seed: u64, now: Now, outputs: &mut Vec<Output>) -> Self;

    /// Starts again with what its former life left on disk.
    fn start_again(former: &Self, config: Config, seed: u64, now: Now, outputs: &mut Vec<Output>) -> Self;

    fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>);

    fn deadline(&self) -> Now;

    fn join(&mut self, now: Now, peer: Peer, outputs: &mut Vec<Output>);

    fn leave(&mut self, now: Now, outputs: &mut Vec<Output>);

    /// Whether it has ended by itself.
    fn has_ended(&self) -> bool;

    /// Whom it takes for being there, itself included.
    fn view(&self) -> impl Iterator<Item = (&str, NodeState)>;

    /// What was written down happened that much later by the process's own clock.
    fn shift(&mut self, by: Duration);

    /// Forgets what was written down.
    fn forget(&mut self);
}

/// A memberlist with a witness above it.
pub struct ListMember {
    pub machine: Memberlist,
    pub witness: Witness,
}

impl Process for ListMember {
    fn start(config: Config, seed: u64, now: Now, _outputs: &mut Vec<Output>) -> ListMember {
        ListMember { machine: Memberlist::new(config, seed, now), witness: Witness::default() }
    }

    fn start_again(_: &ListMember, config: Config, seed: u64, now: Now, outputs: &mut Vec<Output>) -> ListMember {
        ListMember::start(config, seed, now, outputs)
    }

    fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        self.machine.handle(&mut self.witness, now, input, outputs);
    }

    fn deadline(&self) -> Now {
        self.machine.deadline()
    }

    fn join(&mut self, now: Now, peer: Peer, outputs: &mut Vec<Output>) {
        self.machine.join(&mut self.witness, now, &[peer], outputs);
    }

    fn leave(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.machine.leave(&mut self.witness, now, outputs);
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn view(&self) -> impl Iterator<Item = (&str, NodeState)> {
        self.machine.members().map(|node| (node.name.as_str(), node.state))
    }

    fn shift(&mut self, by: Duration) {
        self.witness.sightings.iter_mut().for_each(|sighting| sighting.at += by);
    }

    fn forget(&mut self) {
        self.witness.sightings.clear();
    }
}

/// The three Lamport clocks of a Serf member: of intents, events and queries.
pub type Clocks = [u64; 3];

/// A Serf member, its disk, and what it told the agent.
pub struct SerfMember {
    pub serf: Serf,
    /// The snapshot file. All that was to be written is in it at once.
    file: String,
    /// In this life and those before it.
    pub told: Vec<Event>,
    /// The clocks after every step of this life, as often as they changed.
    pub clocks: Vec<Clocks>,
    ended: bool,
}

impl SerfMember {
    fn new(former: Option<&SerfMember>, memberlist: Config, seed: u64, now: Now, outputs: &mut Vec<Output>) -> Self {
        let file = former.map(|former| former.file.clone()).unwrap_or_default();
        let setup = Setup {
            config: serf::Config::consul(memberlist.name.clone(), tags()),
            memberlist,
            admission: Box::new(Open),
            keyring: None,
            seed,
            snapshot: Some(replay(file.as_bytes(), false)),
        };
        let mut out = Vec::new();
        let serf = Serf::new(setup, now, &mut out).expect("the configuration is Consul's");
        let told = former.map(|former| former.told.clone()).unwrap_or_default();
        let mut member = SerfMember { serf, file, told, clocks: Vec::new(), ended: false };
        member.take(out, outputs);
        member
    }

    fn take(&mut self, out: Vec<serf::Output>, outputs: &mut Vec<Output>) {
        for output in out {
            match output {
                serf::Output::Memberlist(output) => outputs.push(output),
                serf::Output::Event(event) => self.told.push(event),
                serf::Output::Snapshot(SnapshotWrite::Append(line) | SnapshotWrite::AppendDurably(line)) => {
                    self.file.push_str(&line);
                }
                serf::Output::Snapshot(SnapshotWrite::Replace(text)) => self.file = text,
                serf::Output::Left => self.ended = true,
                _ => {}
            }
        }
        let stats = self.serf.stats();
        let time = |clock: &str| stats[clock].parse().expect("a clock is a number");
        let clocks = ["member_time", "event_time", "query_time"].map(time);
        if self.clocks.last() != Some(&clocks) {
            self.clocks.push(clocks);
        }
    }

    /// Fires a user event.
    pub fn fire(&mut self, now: Now, name: &str, outputs: &mut Vec<Output>) {
        let mut out = Vec::new();
        let payload = Bytes::from_static(b"payload");
        self.serf.user_event(now, name, payload, false, &mut out).expect("the event is short");
        self.take(out, outputs);
    }

    #[must_use]
    pub fn status(&self, subject: &str) -> MemberStatus {
        self.serf.member(subject).map_or(MemberStatus::None, |member| member.status)
    }

    /// The names of the user events it was told, in order.
    #[must_use]
    pub fn events(&self) -> Vec<&str> {
        let user = |event: &Event| matches!(event, Event::User(_));
        let events = self.told.iter().filter(|event| user(event));
        events
            .filter_map(|event| if let Event::User(event) = event { Some(event.name.as_str()) } else { None })
            .collect()
    }

    /// What it was told of a member, in order.
    #[must_use]
    pub fn fate(&self, subject: &str) -> Vec<MemberEventKind> {
        let concerns = |members: &[Member]| members.iter().any(|member| member.name == subject);
        let fate = self.told.iter().filter_map(|event| match event {
            Event::Members(event) if concerns(&event.members) => Some(event.kind),
            _ => None,
        });
        fate.collect()
    }
}

/// As many as a client agent has, about.
fn tags() -> Tags {
    let tags = [("role", "node"), ("dc", "dc1"), ("id", "5c3a1b8e-3c59-4d3b-9f0e-8a1f2b7c6d5e"), ("vsn", "2")];
    tags.into_iter().map(|(tag, value)| (tag.to_owned(), value.to_owned())).collect()
}

impl Process for SerfMember {
    fn start(config: Config, seed: u64, now: Now, outputs: &mut Vec<Output>) -> SerfMember {
        SerfMember::new(None, config, seed, now, outputs)
    }

    fn start_again(former: &SerfMember, config: Config, seed: u64, now: Now, outputs: &mut Vec<Output>) -> SerfMember {
        SerfMember::new(Some(former), config, seed, now, outputs)
    }

    fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        let mut out = Vec::new();
        self.serf.handle(now, input, &mut out);
        self.take(out, outputs);
    }

    fn deadline(&self) -> Now {
        self.serf.deadline()
    }

    fn join(&mut self, now: Now, peer: Peer, outputs: &mut Vec<Output>) {
        let mut out = Vec::new();
        self.serf.join(now, vec![peer], false, &mut out).expect("it has not left");
        self.take(out, outputs);
    }

    fn leave(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let mut out = Vec::new();
        self.serf.leave(now, &mut out).expect("it leaves once");
        self.take(out, outputs);
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn view(&self) -> impl Iterator<Item = (&str, NodeState)> {
        let here = |member: &&Member| matches!(member.status, MemberStatus::Alive | MemberStatus::Leaving);
        self.serf.members().filter(here).map(|member| (member.name.as_str(), NodeState::Alive))
    }

    fn shift(&mut self, _by: Duration) {}

    fn forget(&mut self) {
        self.told.clear();
    }
}
