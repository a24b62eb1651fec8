//! The gossip pools of this agent: the LAN pool of its datacenter, and for servers the WAN pool of all of them.
//!
//! The machines are `gossip`'s, their sockets `net`'s. Here is what a pool means to an agent: joining at start and
//! later, leaving, keys, and the view of the members that everybody else reads.
//!
//! Always true: the view is a value that readers take without waiting; it follows every member event. A change of keys
//! is in its file before anybody is told that it is done.

mod join;
mod keys;
mod member;
mod record;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gossip::io::Peer;
use gossip::memberlist;
use gossip::serf::consul::{self, AgentTags, PoolKind, ServerTags};
use gossip::serf::member::MemberStatus;
use state::coordinate::Coord;
use tokio::sync::{Notify, mpsc};

pub use self::keys::{KeyringOperation, KeyringResponse};
use self::member::Pool;
use crate::Agent;

/// Events of members and users that wait for the agent.
const EVENTS_MAX: usize = 4096;

const NO_POOL: &str = "this agent is in no pool";
/// How often servers of the LAN pool are looked for in the WAN pool, besides at every change.
const FLOOD_INTERVAL: Duration = Duration::from_secs(30);

/// A member of a pool, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
    pub tags: BTreeMap<String, String>,
    /// 0 none, 1 alive, 2 leaving, 3 left, 4 failed.
    pub status: u8,
    pub protocol_min: u8,
    pub protocol_max: u8,
    pub protocol_cur: u8,
    pub delegate_min: u8,
    pub delegate_max: u8,
    pub delegate_cur: u8,
}

impl Member {
    fn of(member: &gossip::serf::member::Member) -> Member {
        let [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur] = member.versions;
        Member {
            name: member.name.clone(),
            address: member.address.ip(),
            port: member.address.port(),
            tags: member.tags.clone(),
            status: member.status as u8,
            protocol_min,
            protocol_max,
            protocol_cur,
            delegate_min,
            delegate_max,
            delegate_cur,
        }
    }
}

/// How to take part in one pool.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    pub kind: PoolKind,
    /// Unique in the pool.
    pub name: String,
    pub bind: SocketAddr,
    /// How long failed members are remembered; `None` is for three days.
    pub reconnect_timeout: Option<Duration>,
    pub rejoin_after_leave: bool,
    pub coordinates: bool,
    pub memberlist: memberlist::Config,
    pub join: JoinSettings,
}

/// Whom to join at start (`retry_join` and its kin).
#[derive(Debug, Clone, Default)]
pub struct JoinSettings {
    pub addresses: Vec<String>,
    pub interval: Duration,
    /// 0 for no limit.
    pub max_attempts: u64,
}

/// How to take part in gossip.
#[derive(Clone)]
pub struct GossipSettings {
    pub lan: PoolSettings,
    /// Servers only.
    pub wan: Option<PoolSettings>,
    pub tags: AgentTags,
    /// Absent for client agents.
    pub server: Option<ServerTags>,
    /// Base64 of the key of a new keyring.
    pub encrypt: Option<String>,
    pub verify_incoming: bool,
    pub verify_outgoing: bool,
    /// `disable_keyring_file`
    pub keyring_file: bool,
    /// Where snapshots and keyrings are kept; `None` keeps nothing (-dev).
    pub data_dir: Option<PathBuf>,
}

/// The pools that this agent is in.
pub(crate) struct Pools {
    lan: Pool,
    wan: Option<Pool>,
}

/// What the LAN pool tells the agent.
pub(crate) enum Told {
    /// Somebody came, went or changed.
    Members,
    User(gossip::serf::UserEvent),
}

impl Agent {
    /// Enters the pools. Returns once their sockets are open; joining goes on behind.
    pub async fn enter_pools(&self, settings: GossipSettings) -> Result<(), String> {
        let (told, events) = mpsc::channel(EVENTS_MAX);
        let lan = Pool::enter(&settings, &settings.lan, Some(told)).await?;
        let wan = match &settings.wan {
            Some(wan) => Some(Pool::enter(&settings, wan, None).await?),
            None => None,
        };
        let pools = Arc::new(Pools { lan, wan });
        if self.shared.pools.set(Arc::clone(&pools)).is_err() {
            return Err("the pools were entered before".to_owned());
        }
        let flood = Arc::new(Notify::new());
        tokio::spawn(self.clone().hear(events, Arc::clone(&flood)));
        tokio::spawn(self.clone().keep_flooding(flood));
        tokio::spawn(self.clone().report_coordinates());
        for (pool, settings) in [(Some(&pools.lan), Some(&settings.lan)), (pools.wan.as_ref(), settings.wan.as_ref())] {
            if let (Some(pool), Some(settings)) = (pool, settings)
                && !settings.join.addresses.is_empty()
            {
                tokio::spawn(pool.clone().keep_joining(settings.join.clone(), self.clone()));
            }
        }
        Ok(())
    }

    fn pool(&self, wan: bool) -> Option<&Pool> {
        let pools = self.shared.pools.get()?;
        if wan { pools.wan.as_ref() } else { Some(&pools.lan) }
    }

    /// The members of a pool; `None` if this agent is not in it.
    #[must_use]
    pub fn members(&self, wan: bool) -> Option<Vec<Member>> {
        Some(self.pool(wan)?.view().iter().map(Member::of).collect())
    }

    /// The LAN pool's members as gossip knows them.
    pub(crate) fn lan_view(&self) -> Option<Arc<Vec<gossip::serf::member::Member>>> {
        Some(self.pool(false)?.view())
    }

    /// Joins through these addresses (`host` or `host:port`); says how many were reached.
    pub async fn join(&self, addresses: &[String], wan: bool) -> Result<usize, String> {
        let pool = self.pool(wan).ok_or(if wan { "WAN Federation is disabled" } else { NO_POOL })?;
        pool.join(addresses).await
    }

    /// Takes a failed member for one that left; with `wan` only in that pool, else in both.
    pub async fn force_leave(&self, node: &str, prune: bool, wan: bool) -> Result<(), String> {
        let datacenter = &self.settings().datacenter;
        let is_full = wan || node.ends_with(&format!(".{datacenter}"));
        let there = if is_full { node.to_owned() } else { consul::wan_name(node, datacenter) };
        let here = self.pool(false).filter(|_| !wan).map(|pool| (pool, node.to_owned(), "LAN"));
        let mut found = false;
        let mut faults = String::new();
        for (pool, name, kind) in here.into_iter().chain(self.pool(true).map(|pool| (pool, there, "WAN"))) {
            // Compat: case makes no difference for who is known, but does for who is removed.
            if pool.view().iter().any(|member| member.name.to_lowercase() == name.to_lowercase()) {
                found = true;
                if let Err(error) = pool.force_leave(&name, prune).await {
                    faults.push_str(&format!("\t* could not remove failed node from {kind}: {error}\n"));
                }
            }
        }
        match (found, faults.matches('\n').count()) {
            // Compat: of the WAN pool the name is not said.
            (false, _) => Err(format!("agent: No node found with name '{}'", if wan { "" } else { node })),
            (true, 0) => Ok(()),
            (true, 1) => Err(format!("1 error occurred:\n{faults}\n")),
            (true, count) => Err(format!("{count} errors occurred:\n{faults}\n")),
        }
    }

    /// Leaves all pools.
    pub async fn leave(&self) {
        self.leave_servers().await;
        let Some(pools) = self.shared.pools.get() else { return };
        let wan = async {
            if let Some(wan) = &pools.wan {
                wan.leave().await;
            }
        };
        tokio::join!(wan, pools.lan.leave());
    }

    /// Ends gossip without a word.
    pub fn abandon_pools(&self) {
        let Some(pools) = self.shared.pools.get() else { return };
        for pool in pools.wan.iter().chain([&pools.lan]) {
            pool.stop();
        }
    }

    /// Serf's own figures.
    pub async fn pool_stats(&self, wan: bool) -> Option<BTreeMap<String, String>> {
        self.pool(wan)?.stats().await
    }

    /// Where this agent is in the pool's network coordinates.
    pub async fn own_coordinate(&self, wan: bool) -> Option<Coord> {
        self.pool(wan)?.own_coordinate().await
    }

    /// Where another member is, as far as this one has heard.
    pub async fn cached_coordinate(&self, name: &str, wan: bool) -> Option<Coord> {
        self.pool(wan)?.coordinate_of(name).await
    }

    /// Does something to the keys of every member of every pool, or with `local_only` of the LAN pool.
    pub async fn keyring(
        &self,
        operation: KeyringOperation,
        relay_factor: u8,
        local_only: bool,
    ) -> Vec<KeyringResponse> {
        let Some(pools) = self.shared.pools.get() else { return Vec::new() };
        let mut answers = Vec::new();
        // The WAN pool first, as the reference lists them.
        for pool in pools.wan.iter().filter(|_| !local_only).chain([&pools.lan]) {
            answers.push(pool.keys(&operation, relay_factor, &self.settings().datacenter).await);
        }
        answers
    }

    /// Sends a user event to the LAN pool.
    pub(crate) async fn gossip_event(&self, name: String, payload: bytes::Bytes) -> Result<(), String> {
        let Some(pool) = self.pool(false) else { return Err(NO_POOL.to_owned()) };
        pool.user_event(name, payload).await
    }

    async fn hear(self, mut events: mpsc::Receiver<Told>, flood: Arc<Notify>) {
        loop {
            tokio::select! {
                told = events.recv() => match told {
                    Some(Told::Members) => {
                        self.shared.members_changed.notify_one();
                        self.shared.servers_changed.notify_one();
                        flood.notify_one();
                    }
                    Some(Told::User(event)) => self.take_user_event(&event),
                    None => return,
                },
                () = self.stopped() => return,
            }
        }
    }

    /// A task of its own, since a server that does not answer holds it up.
    async fn keep_flooding(self, flood: Arc<Notify>) {
        loop {
            tokio::select! {
                () = flood.notified() => {}
                () = tokio::time::sleep(FLOOD_INTERVAL) => {}
                () = self.stopped() => return,
            }
            self.flood().await;
        }
    }

    /// Brings the servers of the LAN pool into the WAN pool: one join of either pool is enough.
    async fn flood(&self) {
        let (Some(lan), Some(wan)) = (self.pool(false), self.pool(true)) else { return };
        let there = wan.view();
        let is_there = |name: &str| there.iter().any(|known| known.name == name && known.status == MemberStatus::Alive);
        let lan = lan.view();
        let alive = lan.iter().filter(|member| member.status == MemberStatus::Alive);
        let missing = alive.filter_map(consul::server).filter(|server| {
            server.wan_join_port != 0 && !is_there(&consul::wan_name(&server.name, &server.datacenter))
        });
        let peers: Vec<Peer> = missing
            .map(|server| Peer {
                name: consul::wan_name(&server.name, &server.datacenter),
                address: SocketAddr::new(server.address.ip(), server.wan_join_port),
            })
            .collect();
        if peers.is_empty() {
            return;
        }
        match wan.join_peers(peers).await {
            Ok(joined) => {
                for (_, error) in joined.errors {
                    tracing::debug!(error, "a server of the LAN pool is not reached in the WAN pool");
                }
            }
            Err(error) => tracing::debug!(error, "servers of the LAN pool cannot be brought into the WAN pool"),
        }
    }
}
