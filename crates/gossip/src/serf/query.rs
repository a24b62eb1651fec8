//! Queries: ours that are open, and those of others that may still be answered.
//!
//! A query floods the pool like a user event; answers come straight back, and with a relay factor through others too.
//!
//! Always true: of each member one acknowledgement and one response count; a query is answered at most once; the
//! number of open ones of both kinds is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::seq::IndexedRandom as _;
use regex::RegexBuilder;

use super::broadcast::digits;
use super::event::{AskedId, Event, QueryEvent, QueryId};
use super::events::Seen;
use super::key::KeyAnswer;
use super::lamport::LamportTime;
use super::member::{Member, MemberStatus};
use super::message::{
    FLAG_ACK, FLAG_NO_BROADCAST, Filter, Message, QueryMessage, QueryResponseMessage, Relay, ip_to_bytes,
};
use super::pool::{Outbound, Pool};
use super::{Output, internal};
use crate::io::{Level, Now};

/// How many of our own queries may be open.
const RUNNING_MAX: usize = 256;
/// How many queries of others may wait for our answer.
const ASKED_MAX: usize = 1024;
/// How many answers a query takes beyond one per member.
const ANSWERS_EXTRA: usize = 1024;
/// A query of somebody else can be answered no longer than this.
const ASKED_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// What the compiled expression of a tag filter may take.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;
/// The least memberlist protocol of members that relay.
const RELAYS_SINCE: u8 = 5;

/// What to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryParams {
    pub name: String,
    pub payload: Bytes,
    /// Only these nodes; all if empty.
    pub nodes: Vec<String>,
    /// Only nodes whose tags match these regular expressions.
    pub tags: BTreeMap<String, String>,
    pub ack: bool,
    /// Let nobody pass it on.
    pub no_broadcast: bool,
    /// Have answers come back through so many others as well.
    pub relay_factor: u8,
    /// A default by the size of the pool if `None`.
    pub timeout: Option<Duration>,
}

/// Why a query was not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// Serf protocols before 4 have none.
    Unsupported,
    TooLong {
        limit: usize,
    },
    TooManyOpen,
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QueryError::Unsupported => f.write_str("Feature not supported"),
            QueryError::TooLong { limit } => write!(f, "query exceeds limit of {limit} bytes"),
            QueryError::TooManyOpen => f.write_str("too many open queries"),
        }
    }
}

impl std::error::Error for QueryError {}

/// Why an answer was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RespondError {
    TooLong { limit: usize },
    Answered,
    TooLate,
}

impl std::fmt::Display for RespondError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RespondError::TooLong { limit } => write!(f, "response exceeds limit of {limit} bytes"),
            RespondError::Answered => f.write_str("response already sent"),
            RespondError::TooLate => f.write_str("response is past the deadline"),
        }
    }
}

impl std::error::Error for RespondError {}

/// A query of ours.
#[derive(Debug)]
pub(super) struct Running {
    id: u32,
    pub(super) deadline: Now,
    acks: Option<BTreeSet<String>>,
    responses: BTreeSet<String>,
    purpose: Purpose,
}

/// What becomes of the answers.
#[derive(Debug)]
pub(super) enum Purpose {
    /// They are told as they come.
    Told,
    Keys(KeyAnswer),
    /// Votes on who may keep our name: how many there were, and how many for us.
    Name {
        votes: usize,
        ours: usize,
    },
    /// It is over before its time; what still comes is of no interest.
    Over,
}

/// A query of somebody else.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) deadline: Now,
    time: LamportTime,
    id: u32,
    source: Option<SocketAddr>,
    source_node: String,
    relay_factor: u8,
    answered: bool,
}

impl Pool {
    /// How long a query is open in a pool of this size.
    pub(super) fn default_query_timeout(&self) -> Duration {
        self.gossip_interval * self.config.query_timeout_multiplier * digits(self.reachable())
    }

    pub(super) fn ask(&mut self, now: Now, params: QueryParams, purpose: Purpose) -> Result<QueryId, QueryError> {
        if self.config.protocol < 4 {
            return Err(QueryError::Unsupported);
        }
        if self.running.len() >= RUNNING_MAX {
            return Err(QueryError::TooManyOpen);
        }
        let timeout = params.timeout.filter(|asked| !asked.is_zero()).unwrap_or_else(|| self.default_query_timeout());
        let mut filters = Vec::new();
        if !params.nodes.is_empty() {
            filters.push(Filter::Nodes(params.nodes).encode());
        }
        filters.extend(params.tags.into_iter().map(|(tag, expression)| Filter::Tag { tag, expression }.encode()));
        let local = self.local_address();
        let query = QueryMessage {
            time: self.queries.clock.time(),
            // The reference takes 31 bits.
            id: self.random_u32() >> 1,
            addr: ip_to_bytes(local.ip()),
            port: local.port(),
            source_node: self.config.name.clone(),
            filters,
            flags: if params.ack { FLAG_ACK } else { 0 } | if params.no_broadcast { FLAG_NO_BROADCAST } else { 0 },
            relay_factor: params.relay_factor,
            timeout: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
            name: params.name,
            payload: params.payload,
        };
        let message = Message::Query(query.clone());
        let raw = message.encode();
        let limit = self.config.query_size_limit;
        if raw.len() > limit {
            return Err(QueryError::TooLong { limit });
        }
        // Registered before it is handled: our own answer comes within.
        let running = Running {
            id: query.id,
            deadline: now + timeout,
            acks: params.ack.then(BTreeSet::new),
            responses: BTreeSet::new(),
            purpose,
        };
        self.running.insert(query.time, running);
        let time = query.time;
        self.query_heard(now, query);
        self.queue(Outbound::Queries, raw, None);
        Ok(QueryId(time))
    }

    /// Somebody asks. Answers whether to pass it on.
    pub(super) fn query_heard(&mut self, now: Now, query: QueryMessage) -> bool {
        match self.queries.observe(query.time, query.id) {
            Seen::New => {}
            Seen::Before => return false,
            Seen::TooOld => {
                let current = self.queries.clock.time();
                self.complain(now, Level::Warn, || {
                    format!("serf: received old query {} from time {} (current: {current})", query.name, query.time)
                });
                return false;
            }
        }
        self.count("serf.queries", 1);
        let pass_on = query.flags & FLAG_NO_BROADCAST == 0;
        if !self.concerns_us(now, &query.filters) {
            return pass_on;
        }
        let asked = Asked {
            deadline: now + Duration::from_nanos(u64::try_from(query.timeout).unwrap_or(0)).min(ASKED_TIMEOUT_MAX),
            time: query.time,
            id: query.id,
            source: query.source(),
            source_node: query.source_node.clone(),
            relay_factor: query.relay_factor,
            answered: false,
        };
        if query.flags & FLAG_ACK != 0 {
            self.send_answer(now, &asked, FLAG_ACK, Bytes::new()).unwrap_or_else(|error| {
                self.complain(now, Level::Error, || format!("serf: failed to send ack: {error}"));
            });
        }
        if self.asked.len() >= ASKED_MAX
            && let Some(soonest) = self.asked.iter().min_by_key(|(_, asked)| asked.deadline).map(|(id, _)| *id)
        {
            self.asked.remove(&soonest);
        }
        let asked_id = AskedId(self.next_id());
        let event = QueryEvent {
            asked: asked_id,
            time: query.time,
            name: query.name,
            payload: query.payload,
            source_node: query.source_node,
            deadline: asked.deadline,
        };
        self.asked.insert(asked_id, asked);
        self.tell(now, Event::Query(event));
        pass_on
    }

    fn concerns_us(&mut self, now: Now, filters: &[Bytes]) -> bool {
        for filter in filters {
            let passes = match Filter::decode(filter) {
                Ok(Filter::Nodes(nodes)) => nodes.contains(&self.config.name),
                Ok(Filter::Tag { tag, expression }) => {
                    let value = self.config.tags.get(&tag).map_or("", String::as_str);
                    match RegexBuilder::new(&expression).size_limit(EXPRESSION_BYTES_MAX).build() {
                        Ok(expression) => expression.is_match(value),
                        Err(error) => {
                            self.complain(now, Level::Warn, || {
                                format!("serf: failed to compile filter regex ({expression}): {error}")
                            });
                            false
                        }
                    }
                }
                Err(error) => {
                    self.complain(now, Level::Warn, || format!("serf: failed to decode query filter: {error}"));
                    false
                }
            };
            if !passes {
                return false;
            }
        }
        true
    }

    /// Answers a query that was told as an event, or is our own business.
    pub(super) fn respond(&mut self, now: Now, id: AskedId, payload: Bytes) -> Result<(), RespondError> {
        let asked = self.asked.get(&id).ok_or(RespondError::TooLate)?;
        if asked.answered {
            return Err(RespondError::Answered);
        }
        if now > asked.deadline {
            return Err(RespondError::TooLate);
        }
        let asked = asked.clone();
        self.send_answer(now, &asked, 0, payload)?;
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.answered = true;
        }
        Ok(())
    }

    /// How long an answer with this payload would be.
    pub(super) fn answer_length(&self, id: AskedId, payload: Bytes) -> usize {
        self.asked.get(&id).map_or(0, |asked| self.encode_answer(asked, 0, payload).len())
    }

    fn encode_answer(&self, asked: &Asked, flags: u32, payload: Bytes) -> Bytes {
        let from = self.config.name.clone();
        Message::QueryResponse(QueryResponseMessage { time: asked.time, id: asked.id, from, flags, payload }).encode()
    }

    fn send_answer(&mut self, now: Now, asked: &Asked, flags: u32, payload: Bytes) -> Result<(), RespondError> {
        let raw = self.encode_answer(asked, flags, payload);
        let limit = self.config.query_response_size_limit;
        if raw.len() > limit {
            return Err(RespondError::TooLong { limit });
        }
        let Some(source) = asked.source else {
            self.complain(now, Level::Error, || {
                format!("serf: query of {} has no address to answer to", asked.source_node)
            });
            return Ok(());
        };
        self.send(source, &asked.source_node, raw.clone());
        self.relay(now, asked.relay_factor, source, &asked.source_node, raw);
        Ok(())
    }

    /// Sends an answer through others too, unless there are too few.
    fn relay(&mut self, now: Now, factor: u8, to: SocketAddr, name: &str, answer: Bytes) {
        if factor == 0 || self.roster.len() < usize::from(factor) + 1 {
            return;
        }
        let raw = Message::Relay(Relay { to, name: name.to_owned(), message: answer }).encode();
        let limit = self.config.query_response_size_limit;
        if raw.len() > limit {
            self.complain(now, Level::Error, || format!("serf: relayed response exceeds limit of {limit} bytes"));
            return;
        }
        let can_relay = |member: &&Member| {
            member.status == MemberStatus::Alive
                && member.versions[1] >= RELAYS_SINCE
                && member.name != self.config.name
        };
        let able: Vec<_> = self.roster.members().filter(can_relay).collect();
        let chosen: Vec<_> = able
            .choose_multiple(&mut self.rng, factor.into())
            .map(|member| (member.address, member.name.clone()))
            .collect();
        for (address, name) in chosen {
            self.send(address, &name, raw.clone());
        }
    }

    /// Somebody answers.
    pub(super) fn response_heard(&mut self, now: Now, response: QueryResponseMessage) {
        let most = 2 * self.roster.len() + ANSWERS_EXTRA;
        let Some(running) = self.running.get_mut(&response.time) else {
            self.complain(now, Level::Warn, || {
                format!(
                    "serf: reply for non-running query (LTime: {}, ID: {}) From: {}",
                    response.time, response.id, response.from
                )
            });
            return;
        };
        if running.id != response.id {
            let local = running.id;
            self.complain(now, Level::Warn, || {
                format!("serf: query reply ID mismatch (Local: {local}, Response: {})", response.id)
            });
            return;
        }
        if now > running.deadline {
            return;
        }
        let query = QueryId(response.time);
        if response.flags & FLAG_ACK != 0 {
            let Some(acks) = running.acks.as_mut().filter(|acks| acks.len() < most) else {
                return;
            };
            if !acks.insert(response.from.clone()) {
                self.count("serf.query_duplicate_acks", 1);
                return;
            }
            if matches!(running.purpose, Purpose::Told) {
                self.out.push(Output::Acked { query, from: response.from });
            }
            self.count("serf.query_acks", 1);
            return;
        }
        if running.responses.len() >= most {
            return;
        }
        if !running.responses.insert(response.from.clone()) {
            self.count("serf.query_duplicate_responses", 1);
            return;
        }
        match &mut running.purpose {
            Purpose::Told => {
                self.out.push(Output::Responded { query, from: response.from, payload: response.payload });
            }
            Purpose::Keys(answer) => {
                if answer.take_in(&response.from, &response.payload) {
                    let answer = std::mem::take(answer);
                    running.purpose = Purpose::Over;
                    self.out.push(Output::KeysDone { query, answer });
                }
            }
            Purpose::Name { .. } => self.take_vote(now, response),
            Purpose::Over => {}
        }
        self.count("serf.query_responses", 1);
    }

    /// A vote on who has our name.
    fn take_vote(&mut self, now: Now, response: QueryResponseMessage) {
        let us = self.local_address();
        let vote = match Message::decode(&response.payload) {
            Ok(Message::ConflictResponse(vote)) => vote,
            _ => {
                self.complain(now, Level::Error, || {
                    format!("serf: Invalid conflict query response from {}", response.from)
                });
                return;
            }
        };
        let for_us = vote.and_then(|member| member.address()) == Some(us);
        if let Some(Running { purpose: Purpose::Name { votes, ours }, .. }) = self.running.get_mut(&response.time) {
            *votes += 1;
            *ours += usize::from(for_us);
        }
    }

    /// Asks the others whose our name is.
    pub(super) fn resolve_conflict(&mut self, now: Now) {
        if self.running.values().any(|running| matches!(running.purpose, Purpose::Name { .. })) {
            return;
        }
        let params = QueryParams {
            name: internal::CONFLICT.to_owned(),
            payload: Bytes::from(self.config.name.clone()),
            ..QueryParams::default()
        };
        if let Err(error) = self.ask(now, params, Purpose::Name { votes: 0, ours: 0 }) {
            self.complain(now, Level::Error, || format!("serf: Failed to start name resolution query: {error}"));
        }
    }

    pub(super) fn query_deadline(&self) -> Option<Now> {
        let running = self.running.values().map(|running| running.deadline);
        let asked = self.asked.values().map(|asked| asked.deadline);
        // The deadline itself still counts.
        running.chain(asked).min().map(|deadline| deadline + Duration::from_nanos(1))
    }

    /// Closes what is past its deadline.
    pub(super) fn close_queries(&mut self, now: Now) {
        self.asked.retain(|_, asked| now <= asked.deadline);
        let over: Vec<_> =
            self.running.iter().filter(|(_, running)| now > running.deadline).map(|(time, _)| *time).collect();
        for time in over {
            let Some(running) = self.running.remove(&time) else {
                continue;
            };
            let query = QueryId(time);
            match running.purpose {
                Purpose::Told => self.out.push(Output::QueryDone { query }),
                Purpose::Keys(answer) => self.out.push(Output::KeysDone { query, answer }),
                Purpose::Name { votes, ours } => self.name_decided(votes, ours),
                Purpose::Over => {}
            }
        }
    }

    fn name_decided(&mut self, votes: usize, ours: usize) {
        if ours > votes / 2 {
            self.log(Level::Info, format!("serf: majority in name conflict resolution [{ours} / {votes}]"));
            return;
        }
        self.log(Level::Warn, format!("serf: minority in name conflict resolution, quiting [{ours} / {votes}]"));
        self.shut_down();
        self.out.push(Output::NameLost);
    }
}
