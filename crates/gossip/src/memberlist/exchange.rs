//! What goes over streams: push/pull, joins, pings, long messages.
//!
//! Always true: at most [`EXCHANGES_MAX`] of ours are under way, and as many results of joins wait to be taken; the peers of
//! one join are asked one after another, each hearing what the ones before it said.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::message::{Ack, PushPull, PushedNode, Stream};
use super::{Config, ExchangeId, Level, Memberlist, SendError, Turn, peer_of};
use crate::delegate::{Delegate, Node, NodeState};
use crate::io::{ExchangeError, Now, Output, Peer, StreamId};

const EXCHANGES_MAX: usize = 1024;
/// Above so many members exchanges become rarer, so that their sum does not grow with the square of the pool.
const SCALE_PUSH_PULL_ABOVE: usize = 32;

/// A join that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub u64);

/// What a join came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// How many of the peers were reached. The join failed if none was.
    pub reached: usize,
    /// The others, and why not, as a line to show.
    pub errors: Vec<(Peer, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Exchanges {
    running: BTreeMap<ExchangeId, Running>,
    started: u64,
    joins: BTreeMap<JoinId, Joining>,
    /// Oldest first.
    joined: VecDeque<(JoinId, Joined)>,
}

#[derive(Debug)]
struct Running {
    purpose: Purpose,
    to: Peer,
    since: Now,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    Ping,
    PushPull,
    Join(JoinId),
    User,
}

#[derive(Debug)]
struct Joining {
    peers: VecDeque<Peer>,
    result: Joined,
}

impl Exchanges {
    fn start(&mut self, running: Running) -> Option<ExchangeId> {
        if self.running.len() >= EXCHANGES_MAX {
            return None;
        }
        self.started += 1;
        let exchange = ExchangeId(self.started);
        self.running.insert(exchange, running);
        Some(exchange)
    }

    /// None if too many are under way.
    pub(super) fn start_ping(
        &mut self,
        now: Now,
        to: Peer,
        message: Bytes,
        timeout: Duration,
        outputs: &mut Vec<Output>,
    ) -> Option<ExchangeId> {
        let exchange = self.start(Running { purpose: Purpose::Ping, to: to.clone(), since: now })?;
        outputs.push(Output::Exchange { exchange, to, message, reply: true, timeout });
        Some(exchange)
    }

    pub(super) fn send_user(
        &mut self,
        config: &Config,
        now: Now,
        to: Peer,
        body: &[u8],
        outputs: &mut Vec<Output>,
    ) -> Result<(), SendError> {
        let running = Running { purpose: Purpose::User, to: to.clone(), since: now };
        let exchange = self.start(running).ok_or(SendError::Busy)?;
        let message = Stream::User(Bytes::copy_from_slice(body)).encode();
        outputs.push(Output::Exchange { exchange, to, message, reply: false, timeout: config.tcp_timeout });
        Ok(())
    }

    pub(super) fn take_joined(&mut self, join: JoinId) -> Option<Joined> {
        let place = self.joined.iter().position(|(id, _)| *id == join)?;
        self.joined.remove(place).map(|(_, joined)| joined)
    }

    fn keep_joined(&mut self, join: JoinId, joined: Joined) {
        if self.joined.len() >= EXCHANGES_MAX {
            self.joined.pop_front();
        }
        self.joined.push_back((join, joined));
    }
}

impl Memberlist {
    pub(super) fn start_join<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, peers: &[Peer]) -> JoinId {
        self.exchanges.started += 1;
        let join = JoinId(self.exchanges.started);
        let peers = peers.iter().cloned().collect();
        self.exchanges.joins.insert(join, Joining { peers, result: Joined::default() });
        self.continue_join(turn, join, None);
        join
    }

    /// Takes what the last peer of a join came to, and turns to the next one.
    fn continue_join<D: Delegate>(
        &mut self,
        turn: &mut Turn<'_, D>,
        join: JoinId,
        mut last: Option<(Peer, Result<(), String>)>,
    ) {
        loop {
            let Some(joining) = self.exchanges.joins.get_mut(&join) else { return };
            match last.take() {
                None => {}
                Some((_, Ok(()))) => joining.result.reached += 1,
                Some((peer, Err(error))) => {
                    let line = format!("Failed to join {}: {error}", peer.address);
                    joining.result.errors.push((peer, line));
                }
            }
            let Some(peer) = joining.peers.pop_front() else {
                let result = self.exchanges.joins.remove(&join).map(|joining| joining.result);
                self.exchanges.keep_joined(join, result.unwrap_or_default());
                return;
            };
            if self.start_push_pull(turn, peer.clone(), Purpose::Join(join)) {
                return;
            }
            last = Some((peer, Err("too many exchanges are under way".to_owned())));
        }
    }

    pub(super) fn push_pull_pace(&self) -> Duration {
        let mut factor = 1;
        let mut members = SCALE_PUSH_PULL_ABOVE;
        while members < self.roster.len() {
            members = members.saturating_mul(2);
            factor += 1;
        }
        self.config.push_pull_interval.saturating_mul(factor).max(Duration::from_millis(1))
    }

    /// The regular exchange, if the last one is over.
    pub(super) fn push_pull<D: Delegate>(&mut self, turn: &mut Turn<'_, D>) {
        if self.exchanges.running.values().any(|running| matches!(running.purpose, Purpose::PushPull)) {
            return;
        }
        let chosen = self.roster.sample(&mut self.rng, 1, |entry| {
            entry.node.state == NodeState::Alive && entry.node.name != self.config.name
        });
        if let Some(to) = chosen.first().map(|entry| peer_of(&entry.node)) {
            self.start_push_pull(turn, to, Purpose::PushPull);
        }
    }

    fn start_push_pull<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, to: Peer, purpose: Purpose) -> bool {
        let Some(exchange) = self.exchanges.start(Running { purpose, to: to.clone(), since: turn.now }) else {
            return false;
        };
        let message = self.state(turn, matches!(purpose, Purpose::Join(_)));
        turn.outputs.push(Output::Exchange { exchange, to, message, reply: true, timeout: self.config.tcp_timeout });
        true
    }

    /// All that we know.
    fn state<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, join: bool) -> Bytes {
        let nodes = self.roster.iter().map(|entry| {
            let node = entry.node.clone();
            PushedNode {
                name: node.name,
                addr: Some(node.address.ip()),
                port: node.address.port(),
                meta: node.meta,
                incarnation: entry.incarnation,
                state: Some(node.state),
                vsn: Some(node.versions),
            }
        });
        let nodes = nodes.collect();
        let user_state = turn.delegate.local_state(turn.now, join);
        Stream::PushPull(PushPull { join, nodes, user_state }).encode()
    }

    pub(super) fn take_stream<D: Delegate>(
        &mut self,
        turn: &mut Turn<'_, D>,
        stream: StreamId,
        from: SocketAddr,
        message: &Bytes,
    ) {
        let refused = match Stream::decode(message) {
            Ok(Stream::PushPull(theirs)) => {
                // They judge our state themselves, so it goes out whatever we think of theirs.
                let message = self.state(turn, theirs.join);
                turn.outputs.push(Output::Answer { stream, message });
                if let Err(error) = self.merge_state(turn, theirs) {
                    self.complain(turn, Level::Error, || format!("Failed push/pull merge: {error} from={from}"));
                }
                return;
            }
            Ok(Stream::Ping(ping)) if ping.node.is_empty() || ping.node == self.config.name => {
                let message = Stream::Ack(Ack { seq_no: ping.seq_no, ..Ack::default() }).encode();
                turn.outputs.push(Output::Answer { stream, message });
                return;
            }
            Ok(Stream::Ping(ping)) => format!("Got ping for unexpected node {} from={from}", ping.node),
            Ok(Stream::User(body)) => {
                if !body.is_empty() {
                    turn.delegate.message(turn.now, &body, turn.outputs);
                }
                turn.outputs.push(Output::Hangup { stream });
                return;
            }
            Ok(Stream::Ack(_) | Stream::Error(_)) => format!("an answer that was not asked for from={from}"),
            Err(error) => format!("{error} from={from}"),
        };
        turn.outputs.push(Output::Hangup { stream });
        self.complain(turn, Level::Error, || refused);
    }

    pub(super) fn take_exchanged<D: Delegate>(
        &mut self,
        turn: &mut Turn<'_, D>,
        exchange: ExchangeId,
        result: Result<Option<Bytes>, ExchangeError>,
    ) {
        let Some(Running { purpose, to, since }) = self.exchanges.running.remove(&exchange) else { return };
        let result = result.map_err(|error| match error {
            ExchangeError::Unreachable(error) | ExchangeError::Refused(error) => error,
            ExchangeError::TimedOut => "i/o timeout".to_owned(),
        });
        if let Purpose::User = purpose {
            if let Err(error) = result {
                self.complain(turn, Level::Error, || format!("Failed to send to {}: {error}", to.name));
            }
            return;
        }
        let reply = result.and_then(|reply| match reply {
            Some(reply) => Stream::decode(&reply).map_err(|error| error.to_string()),
            None => Err("EOF".to_owned()),
        });
        match purpose {
            Purpose::User => {}
            Purpose::Ping => {
                let acked = match reply {
                    Ok(Stream::Ack(ack)) => Some(ack.seq_no),
                    _ => None,
                };
                self.take_fallback(exchange, acked);
            }
            Purpose::PushPull => {
                let result = self.take_state(turn, reply, false, since);
                if let Err(error) = result {
                    self.complain(turn, Level::Error, || format!("Push/Pull with {} failed: {error}", to.name));
                }
            }
            Purpose::Join(join) => {
                let result = self.take_state(turn, reply, true, since);
                self.continue_join(turn, join, Some((to, result)));
            }
        }
    }

    fn take_state<D: Delegate>(
        &mut self,
        turn: &mut Turn<'_, D>,
        reply: Result<Stream, String>,
        join: bool,
        since: Now,
    ) -> Result<(), String> {
        let took = turn.now.saturating_sub(since);
        turn.sample("memberlist.pushPullNode", took.as_secs_f64() * 1000.0);
        match reply? {
            // What we asked for decides, not what the other side says that it was.
            Stream::PushPull(theirs) => self.merge_state(turn, PushPull { join, ..theirs }),
            Stream::Error(error) => Err(format!("remote error: {error}")),
            Stream::Ping(_) | Stream::Ack(_) | Stream::User(_) => Err("the answer is no push/pull".to_owned()),
        }
    }

    fn merge_state<D: Delegate>(&mut self, turn: &mut Turn<'_, D>, theirs: PushPull) -> Result<(), String> {
        self.verify_versions(&theirs.nodes)?;
        if theirs.join {
            let peers: Vec<Node> = theirs.nodes.iter().filter_map(|node| self.as_node(node)).collect();
            turn.delegate.allow_merge(&peers)?;
        }
        self.merge(turn, theirs.nodes);
        if !theirs.user_state.is_empty() {
            turn.delegate.merge_remote_state(turn.now, &theirs.user_state, theirs.join, turn.outputs);
        }
        Ok(())
    }

    fn as_node(&self, node: &PushedNode) -> Option<Node> {
        let port = if node.port == 0 { self.config.address.port() } else { node.port };
        Some(Node {
            name: node.name.clone(),
            address: (node.addr?, port).into(),
            meta: node.meta.clone(),
            state: node.state?,
            versions: node.vsn.unwrap_or_default(),
        })
    }
}
