//! One pool: the machine behind its handle, who waits for what it was asked, and the view of its members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gossip::coordinate::Coordinate;
use gossip::envelope::Envelope;
use gossip::memberlist::{Joined, budget};
use gossip::serf::consul::{self, LanAdmission, PoolKind, WanAdmission};
use gossip::serf::member::{Member, MemberStatus};
use gossip::serf::{Admission, BroadcastId, Config, Event, JoinId, KeyAnswer, Output, QueryId, Serf, Setup};
use net::gossip::{Clock, Handle, STREAM_TIMEOUT, bind, drive};
use parking_lot::Mutex;
use state::coordinate::Coord;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::keys::Keyrings;
use super::record::Record;
use super::{GossipSettings, PoolSettings, Told};

/// A leave that takes longer is over all the same.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// The view is looked over this often, should an event have been lost.
const REFRESH: Duration = Duration::from_secs(10);

/// A handle to a pool that this agent is in.
#[derive(Clone)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    kind: PoolKind,
    handle: Handle<Serf>,
    view: ArcSwap<Vec<Member>>,
    changed: Arc<Notify>,
    waiting: Arc<Mutex<Waiting>>,
    stop: CancellationToken,
}

/// Whom to tell what came of it.
#[derive(Default)]
struct Waiting {
    joins: BTreeMap<JoinId, oneshot::Sender<Joined>>,
    broadcasts: BTreeMap<BroadcastId, oneshot::Sender<bool>>,
    keys: BTreeMap<QueryId, oneshot::Sender<KeyAnswer>>,
    left: Vec<oneshot::Sender<()>>,
}

impl Pool {
    pub(super) async fn enter(
        all: &GossipSettings,
        settings: &PoolSettings,
        told: Option<mpsc::Sender<Told>>,
    ) -> Result<Pool, String> {
        let sockets = bind(settings.bind).await.map_err(|error| {
            let (pool, address) = (name_of(settings.kind), settings.bind);
            let reason = net::go_text::reason(&error);
            format!(
                "Failed to start Consul server: Failed to start {pool} Serf: Failed to create memberlist: Could not set \
                 up network transport: failed to obtain an address: Failed to start TCP listener on {:?} port {}: listen \
                 tcp {address}: bind: {reason}",
                address.ip().to_string(),
                address.port()
            )
        })?;
        let keyrings = Keyrings::open(all, settings.kind)?;
        let record = Record::open(all.data_dir.as_deref(), settings.kind, settings.rejoin_after_leave)?;
        let keyring = keyrings.current();
        let envelope = |keyring| Envelope {
            keyring,
            verify_incoming: all.verify_incoming,
            verify_outgoing: all.verify_outgoing,
            ..Envelope::default()
        };
        let shown_envelope = Arc::new(ArcSwap::from_pointee(envelope(keyring.clone().map(Arc::new))));
        let mut memberlist = settings.memberlist.clone();
        memberlist.packet_overhead = budget::envelope(0, keyring.is_some());
        let clock = Clock::start();
        let mut outputs = Vec::new();
        let usual = Config::consul(&settings.name, tags(all, settings.kind));
        let setup = Setup {
            config: Config {
                reconnect_timeout: settings.reconnect_timeout.unwrap_or(usual.reconnect_timeout),
                rejoin_after_leave: settings.rejoin_after_leave,
                coordinates: settings.coordinates,
                ..usual
            },
            memberlist,
            admission: admission(all, settings),
            keyring,
            seed: rand::random(),
            snapshot: record.replayed(),
        };
        let machine = Serf::new(setup, clock.now(), &mut outputs)?;
        let view = machine.members().cloned().collect();
        let (changed, waiting) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Waiting::default())));
        let stop = CancellationToken::new();
        let (record, keyrings) = (record.keep(), Arc::new(keyrings));
        let (kept, mut changes) = mpsc::channel(16);
        let above = {
            let told = told.clone();
            let (changed, waiting, sealing) = (Arc::clone(&changed), Arc::clone(&waiting), Arc::clone(&shown_envelope));
            let (verify_incoming, verify_outgoing) = (all.verify_incoming, all.verify_outgoing);
            move |output: Output| match output {
                // The machine has said so in the log.
                Output::Event(Event::Members(_)) => changed.notify_one(),
                Output::Event(Event::User(event)) => {
                    if let Some(told) = &told
                        && told.try_send(Told::User(event)).is_err()
                    {
                        tracing::warn!("a user event was lost: too many wait");
                    }
                }
                Output::Snapshot(write) => record.take(write),
                Output::KeyringChanged { change, keyring } => {
                    let keyring_now = Some(Arc::new(keyring.clone()));
                    let envelope =
                        Envelope { keyring: keyring_now, verify_incoming, verify_outgoing, ..Envelope::default() };
                    sealing.store(Arc::new(envelope));
                    // If too many wait, whoever asked hears nothing and asks again.
                    let _ = kept.try_send((change, keyring));
                }
                Output::Joined { join, joined } => answer(waiting.lock().joins.remove(&join), joined),
                Output::Broadcast { broadcast, in_time } => {
                    answer(waiting.lock().broadcasts.remove(&broadcast), in_time);
                }
                Output::KeysDone { query, answer: keys } => answer(waiting.lock().keys.remove(&query), keys),
                Output::Left => {
                    for left in std::mem::take(&mut waiting.lock().left) {
                        let _ = left.send(());
                    }
                }
                Output::NameLost => tracing::error!("another member has this one's name"),
                Output::Event(Event::Query(_))
                | Output::Acked { .. }
                | Output::Responded { .. }
                | Output::QueryDone { .. }
                | Output::Memberlist(_) => {}
            }
        };
        let member = net::gossip::Member {
            machine,
            outputs,
            clock,
            envelope: shown_envelope,
            above,
            stream_timeout: STREAM_TIMEOUT,
            stop: stop.clone(),
        };
        let (handle, _task) = drive(sockets, member);
        let shared = Shared { kind: settings.kind, handle, view: ArcSwap::from_pointee(view), changed, waiting, stop };
        let pool = Pool { shared: Arc::new(shared) };
        let keeper = pool.clone();
        tokio::spawn(async move {
            while let Some((change, keyring)) = changes.recv().await {
                let result = keyrings.write(&keyring);
                let kept =
                    move |serf: &mut Serf, now, out: &mut Vec<Output>| serf.keyring_kept(now, change, result, out);
                if keeper.shared.handle.run(kept).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(pool.clone().follow(told));
        Ok(pool)
    }

    /// Keeps the view up to date.
    async fn follow(self, told: Option<mpsc::Sender<Told>>) {
        loop {
            tokio::select! {
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(REFRESH) => {}
                () = self.shared.stop.cancelled() => return,
            }
            let all = |serf: &mut Serf, _, _: &mut Vec<Output>| serf.members().cloned().collect::<Vec<_>>();
            let Ok(members) = self.shared.handle.run(all).await else { return };
            if **self.shared.view.load() == members {
                continue;
            }
            self.shared.view.store(Arc::new(members));
            if let Some(told) = &told
                && told.send(Told::Members).await.is_err()
            {
                return;
            }
        }
    }

    pub(super) fn view(&self) -> Arc<Vec<Member>> {
        self.shared.view.load_full()
    }

    pub(super) fn kind(&self) -> PoolKind {
        self.shared.kind
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.shared.handle.address().port()
    }

    pub(super) fn stop_token(&self) -> &CancellationToken {
        &self.shared.stop
    }

    pub(super) fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Joins the pools of these; the answer comes once each was tried.
    pub(super) async fn join_peers(&self, peers: Vec<gossip::io::Peer>) -> Result<Joined, String> {
        let (sender, joined) = oneshot::channel();
        let waiting = Arc::clone(&self.shared.waiting);
        let join = move |serf: &mut Serf, now, out: &mut Vec<Output>| {
            // Events of before this life are old news.
            let join = serf.join(now, peers, true, out)?;
            waiting.lock().joins.insert(join, sender);
            Ok::<_, String>(())
        };
        self.shared.handle.run(join).await.map_err(|stopped| stopped.to_string())??;
        joined.await.map_err(|_| "gossip has stopped".to_owned())
    }

    pub(super) async fn force_leave(&self, node: &str, prune: bool) -> Result<(), String> {
        let (sender, passed_on) = oneshot::channel();
        let (waiting, node) = (Arc::clone(&self.shared.waiting), node.to_owned());
        let leave = move |serf: &mut Serf, now, out: &mut Vec<Output>| match serf.force_leave(now, &node, prune, out) {
            Some(broadcast) => {
                waiting.lock().broadcasts.insert(broadcast, sender);
            }
            // Nobody is there to be told.
            None => answer(Some(sender), true),
        };
        self.shared.handle.run(leave).await.map_err(|stopped| stopped.to_string())?;
        self.shared.changed.notify_one();
        match passed_on.await {
            Ok(true) => Ok(()),
            _ => Err("timed out broadcasting node removal".to_owned()),
        }
    }

    pub(super) async fn leave(&self) {
        let (sender, left) = oneshot::channel();
        let waiting = Arc::clone(&self.shared.waiting);
        let leave = move |serf: &mut Serf, now, out: &mut Vec<Output>| {
            waiting.lock().left.push(sender);
            serf.leave(now, out)
        };
        let is_alone = self.view().iter().filter(|member| member.status == MemberStatus::Alive).count() < 2;
        let leaving = self.shared.handle.run(leave).await;
        // Nobody need hear of it if nobody is there.
        if matches!(leaving, Ok(Ok(()))) && !is_alone {
            let _ = tokio::time::timeout(LEAVE_MAX, left).await;
        }
        self.stop();
    }

    pub(super) async fn user_event(&self, name: String, payload: Bytes) -> Result<(), String> {
        let fire = move |serf: &mut Serf, now, out: &mut Vec<Output>| serf.user_event(now, &name, payload, false, out);
        self.shared.handle.run(fire).await.map_err(|stopped| stopped.to_string())?
    }

    pub(super) async fn stats(&self) -> Option<BTreeMap<String, String>> {
        let stats = |serf: &mut Serf, _, _: &mut Vec<Output>| serf.stats();
        let stats = self.shared.handle.run(stats).await.ok()?;
        Some(stats.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(super) async fn own_coordinate(&self) -> Option<Coord> {
        let own = |serf: &mut Serf, _, _: &mut Vec<Output>| serf.coordinate().map(coord);
        self.shared.handle.run(own).await.ok()?
    }

    pub(super) async fn coordinate_of(&self, name: &str) -> Option<Coord> {
        let name = name.to_owned();
        let known = move |serf: &mut Serf, _, _: &mut Vec<Output>| serf.cached_coordinate(&name).map(coord);
        self.shared.handle.run(known).await.ok()?
    }

    /// Asks every member to do something with a key.
    pub(super) async fn change_keys(
        &self,
        operation: gossip::serf::KeyOperation,
        key: Vec<u8>,
        relay_factor: u8,
    ) -> Result<KeyAnswer, String> {
        let (sender, done) = oneshot::channel();
        let waiting = Arc::clone(&self.shared.waiting);
        let change = move |serf: &mut Serf, now, out: &mut Vec<Output>| {
            let query = serf.change_keys(now, operation, &key, relay_factor, out).map_err(|error| error.to_string())?;
            waiting.lock().keys.insert(query, sender);
            Ok::<_, String>(())
        };
        self.shared.handle.run(change).await.map_err(|stopped| stopped.to_string())??;
        done.await.map_err(|_| "gossip has stopped".to_owned())
    }
}

fn answer<T>(waiting: Option<oneshot::Sender<T>>, value: T) {
    if let Some(waiting) = waiting {
        // Whoever asked may have gone meanwhile.
        let _ = waiting.send(value);
    }
}

fn coord(coordinate: &Coordinate) -> Coord {
    Coord {
        vec: coordinate.vec.to_vec(),
        error: coordinate.error,
        adjustment: coordinate.adjustment,
        height: coordinate.height,
    }
}

pub(super) fn name_of(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::Lan => "LAN",
        PoolKind::Wan => "WAN",
    }
}

fn tags(all: &GossipSettings, kind: PoolKind) -> gossip::serf::member::Tags {
    match &all.server {
        Some(server) => consul::server_tags(&all.tags, server, kind),
        None => consul::client_tags(&all.tags, None),
    }
}

fn admission(all: &GossipSettings, settings: &PoolSettings) -> Box<dyn Admission> {
    let datacenter = all.tags.datacenter.clone();
    match settings.kind {
        PoolKind::Lan => {
            Box::new(LanAdmission { datacenter, node_id: all.tags.node_id.clone(), node_name: settings.name.clone() })
        }
        PoolKind::Wan => Box::new(WanAdmission { datacenter, federation_disabled: false }),
    }
}
