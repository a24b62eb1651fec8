//! How a leader looks after the servers: who is healthy, who gets a vote, who is taken out.
//!
//! Pure: facts and time go in, a report and the next step come out. One step at a time; the next one is decided on what
//! is there then.
//!
//! Always true: a server gets its vote only after it was healthy for the stabilization time; at most a minority of the
//! voters is taken out, and never so many that fewer than `min_quorum` are left; this server is never taken out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use gossip::serf::member::MemberStatus;
use serde::{Deserialize, Serialize};
use server::Peer;
use state::autopilot::Config;

/// What is known of a server at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its node id.
    pub id: String,
    /// Its node name; empty when gossip does not know it.
    pub name: String,
    pub version: String,
    /// What gossip says; `None` when it does not know it.
    pub status: Option<MemberStatus>,
    /// Its RPC address as gossip says it; the configuration's when gossip does not know it.
    pub address: String,
    /// As it stands in raft's configuration, if it does.
    pub peer: Option<Peer>,
    pub is_leader: bool,
    /// It is never to vote.
    pub read_replica: bool,
    /// Why it cannot be taken in, if it cannot.
    pub foreign: Option<String>,
    pub last_contact: Option<Duration>,
    pub last_index: u64,
    pub last_term: u64,
    pub meta: BTreeMap<String, String>,
}

/// A server with its health.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    pub facts: Facts,
    pub healthy: bool,
    /// Since when it is what it is.
    pub stable_since: SystemTime,
}

/// How the servers are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// In the order of their ids.
    pub servers: Vec<Health>,
    pub healthy: bool,
    /// So many healthy voters may be lost.
    pub failure_tolerance: usize,
}

/// A report as it travels to agents that do not lead.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Told {
    pub healthy: bool,
    pub failure_tolerance: u64,
    /// The servers of raft's configuration, in the order of their ids.
    pub servers: Vec<ToldServer>,
}

/// One server of a report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ToldServer {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub address: String,
    pub version: String,
    /// Gossip's word for its status; `none` when gossip does not know it.
    pub serf_status: String,
    pub leader: bool,
    pub voter: bool,
    pub read_replica: bool,
    /// Nanoseconds since it was heard of; `None` when it never was.
    pub last_contact: Option<i64>,
    pub last_index: u64,
    pub last_term: u64,
    pub healthy: bool,
    /// Nanoseconds since 1970.
    pub stable_since: i64,
    pub meta: BTreeMap<String, String>,
}

impl Report {
    /// The report without what raft does not know.
    #[must_use]
    pub fn told(&self) -> Told {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        let servers = self.servers.iter().filter_map(|server| {
            let facts = &server.facts;
            let since = server.stable_since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Some(ToldServer {
                id: facts.id.clone(),
                name: facts.name.clone(),
                address: facts.address.clone(),
                version: facts.version.clone(),
                serf_status: facts.status.map_or("none", MemberStatus::name).to_owned(),
                leader: facts.is_leader,
                voter: facts.peer.as_ref()?.voter,
                read_replica: facts.read_replica,
                last_contact: if facts.is_leader { Some(0) } else { facts.last_contact.map(nanos) },
                last_index: facts.last_index,
                last_term: facts.last_term,
                healthy: server.healthy,
                stable_since: nanos(since),
                meta: facts.meta.clone(),
            })
        });
        Told {
            healthy: self.healthy,
            failure_tolerance: u64::try_from(self.failure_tolerance).unwrap_or(u64::MAX),
            servers: servers.collect(),
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Add a server, give it its vote, or another address.
    Put(Peer),
    /// Take the server with this node id out.
    Remove(String),
    /// Have gossip forget a member that failed; its server is taken out when it is gone.
    ForceLeave(String),
}

#[derive(Debug, Clone, Copy)]
struct Since {
    healthy: bool,
    at: Instant,
    wall: SystemTime,
}

/// What is remembered between looks.
#[derive(Debug, Default)]
pub struct Autopilot {
    since: BTreeMap<String, Since>,
}

impl Autopilot {
    /// Takes in the facts of one moment.
    pub fn look(&mut self, facts: Vec<Facts>, config: &Config, now: Instant, wall: SystemTime) -> Report {
        let leader_index = facts.iter().find(|server| server.is_leader).map_or(0, |server| server.last_index);
        let threshold = config.last_contact_threshold.to_std();
        let is_healthy = |server: &Facts| {
            let is_near = server.last_contact.is_some_and(|ago| ago <= threshold);
            let has_kept_up = server.last_index.saturating_add(config.max_trailing_logs) >= leader_index;
            server.status == Some(MemberStatus::Alive) && server.peer.is_some() && is_near && has_kept_up
        };
        self.since.retain(|id, _| facts.iter().any(|server| server.id == *id));
        let mut servers = Vec::new();
        for facts in facts {
            let healthy = is_healthy(&facts);
            let since = self.since.entry(facts.id.clone()).or_insert(Since { healthy, at: now, wall });
            if since.healthy != healthy {
                *since = Since { healthy, at: now, wall };
            }
            servers.push(Health { healthy, stable_since: since.wall, facts });
        }
        servers.sort_by(|one, other| one.facts.id.cmp(&other.facts.id));
        let voters = || servers.iter().filter(|server| server.facts.peer.as_ref().is_some_and(|peer| peer.voter));
        let healthy_voters = voters().filter(|server| server.healthy).count();
        let quorum = voters().count() / 2 + 1;
        let in_raft = || servers.iter().filter(|server| server.facts.peer.is_some());
        Report {
            healthy: in_raft().all(|server| server.healthy) && in_raft().next().is_some(),
            failure_tolerance: healthy_voters.saturating_sub(quorum),
            servers,
        }
    }

    /// What to do next. `reunion_is_over`: who is unknown to gossip had time enough to be met again.
    #[must_use]
    pub fn decide(&self, report: &Report, config: &Config, now: Instant, reunion_is_over: bool) -> Option<Step> {
        let servers = || report.servers.iter().map(|server| (&server.facts, server.healthy));
        // Who is new, or has moved.
        for (facts, _) in servers().filter(|(facts, _)| facts.status == Some(MemberStatus::Alive)) {
            let peer = Peer { id: facts.id.clone(), address: facts.address.clone(), voter: false };
            match &facts.peer {
                None if facts.foreign.is_some() => {}
                None => return Some(Step::Put(peer)),
                Some(known) if known.address != facts.address && !facts.is_leader => {
                    return Some(Step::Put(Peer { voter: known.voter, ..peer }));
                }
                Some(_) => {}
            }
        }
        let voters = servers().filter(|(facts, _)| facts.peer.as_ref().is_some_and(|peer| peer.voter)).count();
        // Who has left of its own will.
        let left =
            |facts: &Facts| facts.status == Some(MemberStatus::Left) || (facts.status.is_none() && reunion_is_over);
        let may_go = |voter: bool| {
            let enough = u64::try_from(voters).unwrap_or(u64::MAX) > config.min_quorum;
            !voter || (voters.saturating_sub(1) / 2 >= 1 && enough)
        };
        for (facts, _) in servers().filter(|(facts, _)| !facts.is_leader) {
            let Some(peer) = &facts.peer else { continue };
            let has_left = facts.status == Some(MemberStatus::Left);
            // Compat: a server that left is taken out whatever autopilot is told; one that is unknown is a dead one.
            if has_left || (left(facts) && config.cleanup_dead_servers && may_go(peer.voter)) {
                return Some(Step::Remove(facts.id.clone()));
            }
        }
        let patience = config.server_stabilization_time.to_std();
        for (facts, healthy) in servers() {
            let is_waiting = facts.peer.as_ref().is_some_and(|peer| !peer.voter) && !facts.read_replica;
            let is_stable = self.since.get(&facts.id).is_some_and(|since| now.duration_since(since.at) >= patience);
            if healthy && is_waiting && is_stable {
                let peer = Peer { id: facts.id.clone(), address: facts.address.clone(), voter: true };
                return Some(Step::Put(peer));
            }
        }
        if config.cleanup_dead_servers {
            let failed = servers().filter(|(facts, _)| facts.status == Some(MemberStatus::Failed) && !facts.is_leader);
            for (facts, _) in failed {
                if facts.peer.as_ref().is_some_and(|peer| may_go(peer.voter)) {
                    return Some(Step::ForceLeave(facts.name.clone()));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use gossip::serf::member::MemberStatus;
    use server::Peer;
    use state::autopilot::Config;

    use super::{Autopilot, Facts, Step};

    fn facts(id: &str, voter: Option<bool>, status: Option<MemberStatus>) -> Facts {
        let address = format!("{id}:8300");
        Facts {
            id: id.to_owned(),
            name: id.to_owned(),
            version: "1.22.0".to_owned(),
            status,
            peer: voter.map(|voter| Peer { id: id.to_owned(), address: address.clone(), voter }),
            address,
            is_leader: id == "a",
            read_replica: false,
            foreign: None,
            last_contact: (status == Some(MemberStatus::Alive)).then_some(Duration::from_millis(20)),
            last_index: 1000,
            last_term: 2,
            meta: Default::default(),
        }
    }

    const ALIVE: Option<MemberStatus> = Some(MemberStatus::Alive);
    const FAILED: Option<MemberStatus> = Some(MemberStatus::Failed);

    fn step(autopilot: &mut Autopilot, facts: Vec<Facts>, config: &Config, now: Instant) -> Option<Step> {
        let report = autopilot.look(facts, config, now, SystemTime::UNIX_EPOCH);
        autopilot.decide(&report, config, now, true)
    }

    #[test]
    fn a_new_server_waits_for_its_vote() {
        let (mut autopilot, config, now) = (Autopilot::default(), Config::default(), Instant::now());
        let new = vec![facts("a", Some(true), ALIVE), facts("b", None, ALIVE)];
        let added = step(&mut autopilot, new, &config, now);
        assert_eq!(added, Some(Step::Put(Peer { id: "b".into(), address: "b:8300".into(), voter: false })));
        let mut foreign = vec![facts("a", Some(true), ALIVE), facts("b", None, ALIVE)];
        foreign[1].foreign = Some("of another cluster".into());
        assert_eq!(step(&mut autopilot, foreign, &config, now), None);
        let waiting = || vec![facts("a", Some(true), ALIVE), facts("b", Some(false), ALIVE)];
        assert_eq!(step(&mut autopilot, waiting(), &config, now), None);
        assert_eq!(step(&mut autopilot, waiting(), &config, now + Duration::from_secs(9)), None);
        let promoted = step(&mut autopilot, waiting(), &config, now + Duration::from_secs(10));
        assert_eq!(promoted, Some(Step::Put(Peer { id: "b".into(), address: "b:8300".into(), voter: true })));
        // One that lags is not healthy, and waits from when it has caught up.
        let mut late = waiting();
        late[1].last_index = 10;
        assert_eq!(step(&mut autopilot, late, &config, now + Duration::from_secs(30)), None);
        assert_eq!(step(&mut autopilot, waiting(), &config, now + Duration::from_secs(31)), None);
        let mut replica = waiting();
        replica[1].read_replica = true;
        assert_eq!(step(&mut autopilot, replica, &config, now + Duration::from_secs(99)), None);
    }

    #[test]
    fn a_minority_of_dead_servers_is_taken_out() {
        let (mut autopilot, config, now) = (Autopilot::default(), Config::default(), Instant::now());
        let three = |b, c| vec![facts("a", Some(true), ALIVE), facts("b", Some(true), b), facts("c", Some(true), c)];
        assert_eq!(step(&mut autopilot, three(FAILED, ALIVE), &config, now), Some(Step::ForceLeave("b".into())));
        let left = three(Some(MemberStatus::Left), ALIVE);
        assert_eq!(step(&mut autopilot, left, &config, now), Some(Step::Remove("b".into())));
        let two = vec![facts("a", Some(true), ALIVE), facts("b", Some(true), FAILED)];
        assert_eq!(step(&mut autopilot, two, &config, now), None);
        let careful = Config { min_quorum: 3, ..Config::default() };
        assert_eq!(step(&mut autopilot, three(FAILED, ALIVE), &careful, now), None);
        let idle = Config { cleanup_dead_servers: false, ..Config::default() };
        assert_eq!(step(&mut autopilot, three(FAILED, None), &idle, now), None);
        let report = autopilot.look(three(ALIVE, ALIVE), &config, now, SystemTime::UNIX_EPOCH);
        assert!(report.healthy && report.failure_tolerance == 1);
        assert_eq!(autopilot.decide(&report, &config, now, true), None);
    }
}
