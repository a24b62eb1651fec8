//! The servers of this datacenter as a cluster: it is founded, servers are taken in as gossip brings them, and taken out
//! as they leave.
//!
//! A duty driven by levels: raft's configuration is compared with the members of the pool, and one step is taken. Events
//! only say when to look.
//!
//! Always true: only a leader changes the configuration; a server that belongs to a cluster founds none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use gossip::serf::consul;
use gossip::serf::member::{Member, MemberStatus};
use rand::Rng;
use server::{Founding, Server};

use crate::Agent;
use crate::autopilot::{Autopilot, Facts, Report, Step, Told};

/// How often the servers are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// While there is no cluster yet, it is looked for this often, give or take a half.
const FOUNDING: Duration = Duration::from_millis(500);
/// Who is in the configuration since an earlier life has this long to be met again.
const REUNION: Duration = Duration::from_secs(60);
/// A leader that leaves waits for another one for so long.
const HAND_OVER: Duration = Duration::from_secs(5);
/// After a change could not be made.
const RETRY: Duration = Duration::from_millis(500);

impl Agent {
    /// Founds the cluster, or waits to be taken in; as a leader, looks after the servers. Runs until the agent stops.
    /// `expect` is the number of servers that found the cluster; zero for a server that waits to be taken in.
    pub async fn keep_servers_together(self, server: Server, expect: usize) {
        let mut position = server.position();
        let mut autopilot = Autopilot::default();
        let (mut told, mut refused) = (String::new(), BTreeSet::new());
        let mut leads_since = None;
        loop {
            let (leads, is_member) = {
                let position = position.borrow_and_update();
                (position.leads, !position.configuration.peers.is_empty())
            };
            let members = self.lan_view().unwrap_or_default();
            let alive = members.iter().filter(|member| member.status == MemberStatus::Alive);
            for known in alive.filter_map(consul::server) {
                server.introduce(&known.id, &known.address.to_string());
            }
            let pause = if !is_member && expect > 0 {
                self.found(&server, expect, &mut told).await;
                FOUNDING.mul_f64(rand::rng().random_range(0.5..1.5))
            } else if leads {
                if leads_since.is_none() {
                    self.announce_leadership().await;
                }
                let since = *leads_since.get_or_insert_with(Instant::now);
                self.look_after(&server, &mut autopilot, &mut refused, since.elapsed() >= REUNION).await
            } else {
                leads_since = None;
                autopilot = Autopilot::default();
                self.shared.report.store(None);
                LOOK
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = position.changed() => if changed.is_err() { return },
                () = self.shared.servers_changed.notified() => {}
                () = self.stopped() => return,
            }
        }
    }

    /// Tells the pool of the new leader (protocols.md B2). A hint: whoever does not hear it finds out by asking.
    async fn announce_leadership(&self) {
        let name = self.settings().node_name.clone().into_bytes();
        if let Err(error) = self.gossip_event(consul::NEW_LEADER.to_owned(), name.into()).await {
            tracing::debug!(target: "agent.server", %error, "nobody was told of the new leader");
        }
    }

    /// Looks whether all servers that are to found the cluster are there, and does it or leaves it to another one.
    async fn found(&self, server: &Server, expect: usize, told: &mut String) {
        let mut tell = |text: String| {
            if *told != text {
                tracing::info!(target: "agent.server", "{text}");
                *told = text;
            }
        };
        let members = self.lan_view().unwrap_or_default();
        let alive = members.iter().filter(|member| member.status == MemberStatus::Alive);
        let servers: Vec<_> = alive.filter_map(consul::server).collect();
        if let Some(other) = servers.iter().find(|other| other.expect != 0 && other.expect != expect as i64) {
            tell(format!(
                "Member has a conflicting expect value. All nodes should expect the same number. member={}",
                other.name
            ));
            return;
        }
        if let Some(other) = servers.iter().find(|other| other.bootstrap) {
            tell(format!("Member has bootstrap mode. Expect disabled. member={}", other.name));
            return;
        }
        let founders: Vec<_> = servers
            .iter()
            .filter(|server| server.expect != 0 && !server.read_replica)
            .map(|server| (server.id.clone(), server.address.to_string()))
            .collect();
        if founders.len() < expect {
            tell(format!("waiting for servers to found the cluster: {} of {expect} are there", founders.len()));
            return;
        }
        match server.try_to_found(founders).await {
            Ok(Founding::Done) => tell("the cluster is founded".to_owned()),
            Ok(Founding::LeftTo(id)) => tell(format!("the cluster is founded by server {id}")),
            Ok(Founding::Exists(id)) => {
                tell(format!("server {id} belongs to a cluster already; waiting to be taken in"));
            }
            Ok(Founding::NotYet(reason)) => tell(format!("the cluster cannot be founded yet: {reason}")),
            Err(error) => tell(format!("the cluster cannot be founded: {error}")),
        }
    }

    /// One look at the servers and at most one step; says when to look again.
    async fn look_after(
        &self,
        server: &Server,
        autopilot: &mut Autopilot,
        told: &mut BTreeSet<(String, String)>,
        reunion_is_over: bool,
    ) -> Duration {
        let Ok(facts) = self.server_facts(server).await else { return RETRY };
        let config = server.state().autopilot_config().cloned().unwrap_or_default();
        let now = Instant::now();
        for (facts, reason) in facts.iter().filter_map(|facts| Some((facts, facts.foreign.as_ref()?))) {
            if told.insert((facts.id.clone(), reason.clone())) {
                tracing::error!(target: "agent.server", member = facts.name, reason, "a server is not taken in");
            }
        }
        told.retain(|(id, _)| facts.iter().any(|facts| facts.id == *id && facts.foreign.is_some()));
        let report = autopilot.look(facts, &config, now, SystemTime::now());
        let step = autopilot.decide(&report, &config, now, reunion_is_over);
        self.shared.report.store(Some(std::sync::Arc::new(report)));
        let Some(step) = step else { return LOOK };
        let done = match &step {
            Step::Put(peer) => {
                tracing::info!(target: "agent.server", id = peer.id, address = peer.address, voter = peer.voter, "adding server");
                server.put_peer(peer.clone()).await
            }
            Step::Remove(id) => {
                tracing::info!(target: "agent.server", id, "removing server");
                server.remove_peer(id).await
            }
            Step::ForceLeave(name) => {
                tracing::info!(target: "agent.server.autopilot", name, "Attempting removal of failed server node");
                if let Err(error) = self.force_leave(name, false, false).await {
                    tracing::warn!(target: "agent.server.autopilot", name, %error, "a failed server could not be made to leave");
                }
                return LOOK;
            }
        };
        match done {
            Ok(()) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(target: "agent.server", %error, ?step, "the configuration could not be changed");
                RETRY
            }
        }
    }

    async fn server_facts(&self, server: &Server) -> Result<Vec<Facts>, server::Error> {
        let progress = server.progress().await?;
        let term = server.stats().last_log_term;
        let position = server.position().borrow().clone();
        let leader = position.leader.as_ref().map(|peer| peer.id.as_str());
        let members = self.lan_view().unwrap_or_default();
        let state = server.state();
        let meta = |name: &str| state.node_by_name(name).and_then(|node| node.meta.clone()).unwrap_or_default();
        let known = members.iter().filter_map(|member| Some((member, consul::server(member)?)));
        let alive = |member: &&Member| member.status == MemberStatus::Alive;
        let bootstraps =
            members.iter().filter(alive).filter_map(consul::server).filter(|server| server.bootstrap).count();
        let mut facts: Vec<Facts> = known
            .map(|(member, known)| Facts {
                id: known.id.clone(),
                name: member.name.clone(),
                version: version(member),
                status: Some(member.status),
                address: known.address.to_string(),
                peer: position.configuration.peer(&known.id).cloned(),
                is_leader: leader == Some(known.id.as_str()),
                read_replica: known.read_replica,
                foreign: (known.bootstrap && bootstraps > 1).then(|| {
                    "Two nodes are in bootstrap mode. Only one node should be in bootstrap mode, not adding Raft peer."
                        .to_owned()
                }),
                last_contact: None,
                last_index: 0,
                last_term: 0,
                meta: meta(&member.name),
            })
            .collect();
        for peer in position.configuration.peers.values() {
            if !facts.iter().any(|known| known.id.eq_ignore_ascii_case(&peer.id)) {
                let is_leader = leader == Some(peer.id.as_str());
                facts.push(Facts {
                    id: peer.id.clone(),
                    name: if is_leader { self.settings().node_name.clone() } else { String::new() },
                    version: String::new(),
                    // A server without a pool is alive itself.
                    status: is_leader.then_some(MemberStatus::Alive),
                    address: peer.address.clone(),
                    peer: Some(peer.clone()),
                    is_leader,
                    read_replica: false,
                    foreign: None,
                    last_contact: None,
                    last_index: 0,
                    last_term: 0,
                    meta: Default::default(),
                });
            }
        }
        for facts in &mut facts {
            if let Some(known) = progress.iter().find(|known| known.id.eq_ignore_ascii_case(&facts.id)) {
                facts.last_index = known.last_index;
                facts.last_contact = known.last_contact;
                facts.last_term = if known.last_contact.is_some() { term } else { 0 };
            }
        }
        for facts in &mut facts {
            if facts.peer.is_none() && facts.status == Some(MemberStatus::Alive) && facts.foreign.is_none() {
                facts.foreign = server.why_foreign(&facts.address).await;
            }
        }
        Ok(facts)
    }

    /// A server that leaves hands leadership over first, so that the others go on without an election. The new leader
    /// takes it out of the configuration when gossip says that it has left.
    pub(crate) async fn leave_servers(&self) {
        let Some(server) = self.cluster().server() else { return };
        let mut position = server.position();
        let is_one_of_several = |position: &server::Position| position.leads && position.configuration.voters() > 1;
        if !is_one_of_several(&position.borrow_and_update()) {
            return;
        }
        if let Err(error) = server.hand_over(None).await {
            tracing::warn!(target: "agent.server", %error, "leadership could not be handed over");
            return;
        }
        let handed_over = position.wait_for(|position| !position.leads && position.leader.is_some());
        if tokio::time::timeout(HAND_OVER, handed_over).await.is_err() {
            tracing::warn!(target: "agent.server", "nobody has taken the leadership over");
        }
    }

    /// How the servers are, as the leader sees it.
    pub async fn autopilot_report(&self) -> Result<Told, server::Error> {
        if let Some(report) = self.own_report().await {
            return Ok(report.told());
        }
        let asked = self.cluster().call_leader("Curule.AutopilotReport", &wire::rpc::Empty {}).await;
        asked.unwrap_or(Err(server::Error::NoLeader))
    }

    /// The same, where this agent leads.
    pub(crate) async fn own_report(&self) -> Option<std::sync::Arc<Report>> {
        let begin = Instant::now();
        loop {
            let report = self.shared.report.load_full();
            // Who has just begun to lead looks at once.
            if report.is_some() || !self.cluster().server().is_some_and(Server::is_leader) || begin.elapsed() > LOOK {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The node names of the servers that gossip knows, by their node ids.
    #[must_use]
    pub fn server_names(&self) -> BTreeMap<String, String> {
        let members = self.lan_view().unwrap_or_default();
        let servers = members.iter().filter_map(consul::server).map(|server| (server.id, server.name));
        let settings = self.settings();
        servers.chain([(settings.node_id.clone(), settings.node_name.clone())]).collect()
    }
}

fn version(member: &Member) -> String {
    member.tag("build").split(':').next().unwrap_or_default().to_owned()
}
