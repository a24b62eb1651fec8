//! The cluster as an agent sees it: one place to write to and to read from, wherever that is done.
//!
//! A server answers what it may and hands the rest on to the leader; a client agent asks one of the servers it knows.
//!
//! Always true: a read that found nobody to answer it is asked again until `rpc_hold_timeout` is over; a write is
//! handed on again only while it cannot have been heard.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acl::{Authorizer, Need, Resource};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::rpc::{Carried, Far, Fields, Hold};
use server::{
    Answer, AnswerCache, Error, QueryMeta, RaftPeer, ReadMode, ReadOptions, Registration, Server, SharedAnswer,
};
use state::coordinate::Coordinate;
use state::session::Session;
use state::{Command, Index, Outcome, Seen, State, Topic};

use crate::client::Servers;
use crate::coordinates::{CoordinateBatches, Coordinates};

/// A call that does not block is given so long.
const CALL_WAIT: Duration = Duration::from_secs(30);

/// Where commands and queries go.
#[derive(Clone)]
pub enum Cluster {
    /// This agent is a server.
    Local { server: Server, coordinates: Coordinates, far: Far },
    /// This agent asks servers.
    Remote { far: Far, servers: Servers },
}

/// Who is to answer.
enum Answerer<'a> {
    Here(&'a Server),
    There(SocketAddr),
    Nobody,
}

impl Cluster {
    #[must_use]
    pub fn local(server: Server, batches: CoordinateBatches, far: Far) -> Self {
        let coordinates = Coordinates::new(server.clone(), batches);
        Cluster::Local { server, coordinates, far }
    }

    #[must_use]
    pub fn remote(far: Far, servers: Servers) -> Self {
        Cluster::Remote { far, servers }
    }

    /// The server in this process, if this agent is one.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        match self {
            Cluster::Local { server, .. } => Some(server),
            Cluster::Remote { .. } => None,
        }
    }

    /// How many servers are known.
    #[must_use]
    pub fn known_servers(&self) -> usize {
        match self {
            Cluster::Local { server, .. } => server.raft_configuration().len(),
            Cluster::Remote { servers, .. } => servers.len(),
        }
    }

    pub(crate) fn far(&self) -> &Far {
        match self {
            Cluster::Local { far, .. } | Cluster::Remote { far, .. } => far,
        }
    }

    /// Who answers what only a leader, or any server, may answer.
    fn answerer(&self, needs_leader: bool) -> Answerer<'_> {
        match self {
            Cluster::Local { server, .. } if !needs_leader || server.is_leader() => Answerer::Here(server),
            Cluster::Local { server, .. } => {
                let leader = server.leader().filter(|leader| leader.id != server.node_id());
                let address = leader.and_then(|leader| server.address_of(&leader).parse().ok());
                address.map_or(Answerer::Nobody, Answerer::There)
            }
            Cluster::Remote { servers, .. } => servers.pick().map_or(Answerer::Nobody, Answerer::There),
        }
    }

    /// Asks until somebody answers, or the time is over. `again` says which failures are worth another attempt.
    async fn ask<T, F>(
        &self,
        needs_leader: bool,
        again: fn(&Error) -> bool,
        mut attempt: impl FnMut(Answerer<'_>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut hold = Hold::begin(self.far().hold);
        loop {
            let answerer = self.answerer(needs_leader);
            let there = if let Answerer::There(server) = &answerer { Some(*server) } else { None };
            let failed = match answerer {
                Answerer::Nobody => Error::NoLeader,
                answerer => match attempt(answerer).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
            };
            if let (Cluster::Remote { servers, .. }, Some(server), true) = (self, there, is_unreachable(&failed)) {
                servers.failed(server);
            }
            if !again(&failed) || !hold.pause().await {
                // Compat: who cannot reach anybody knows of no leader either, or of no server at all.
                return Err(match (failed, self) {
                    (Error::Unreachable(_), Cluster::Local { .. }) => Error::NoLeader,
                    (Error::NoLeader, Cluster::Remote { servers, .. }) if servers.is_empty() => {
                        Error::Unreachable("No known Consul servers".to_owned())
                    }
                    (failed, _) => failed,
                });
            }
        }
    }

    /// Replicates a command; returns what it came to.
    pub async fn write(&self, command: Command, may: &dyn Authorizer) -> Result<Outcome, Error> {
        let mut command = command;
        if let Some(server) = self.server() {
            if server.is_leader() {
                // Where there are others, one of them may have taken over.
                let again = server.has_peers().then(|| command.clone());
                match (server.write(command, may).await, again) {
                    (Err(Error::NoLeader), Some(again)) => command = again,
                    (outcome, _) => return outcome,
                }
            }
            // What makes no sense anywhere is refused here, in the same way as where it would be done.
            let state = server.state();
            command.authorize(&state, may)?;
            if let Err(error @ state::Error::Invalid(_)) = command.clone().prepare(&state) {
                return Err(Error::Refused(error));
            }
        }
        let (far, command) = (self.far(), &command);
        self.ask(true, was_not_heard, |answerer| {
            let here = if let Answerer::Here(server) = &answerer { Some((*server).clone()) } else { None };
            let there = if let Answerer::There(address) = answerer { Some(address) } else { None };
            async move {
                match (here, there) {
                    (Some(server), _) => server.write(command.clone(), may).await,
                    (None, Some(address)) => far.write(address, command).await,
                    (None, None) => Err(Error::NoLeader),
                }
            }
        })
        .await
    }

    /// Evaluates a query.
    pub async fn read<Q: Carried>(
        &self,
        query: &Q,
        options: &ReadOptions,
        may: &Arc<dyn Authorizer>,
    ) -> Result<Answer<Q::Answer>, Error> {
        match self.read_shared(query, options, may, None).await? {
            SharedAnswer::Fresh { answer, .. } | SharedAnswer::Far(answer) => Ok(answer),
            SharedAnswer::Kept(_) => unreachable!("a kept answer is given for a key only"),
        }
    }

    /// Evaluates a query, or takes the kept answer to the question `key`.
    pub async fn read_shared<Q: Carried>(
        &self,
        query: &Q,
        options: &ReadOptions,
        may: &Arc<dyn Authorizer>,
        key: Option<&str>,
    ) -> Result<SharedAnswer<Q::Answer>, Error> {
        let needs_leader = options.mode != ReadMode::Stale;
        if let Some(server) = self.server().filter(|server| !needs_leader || server.is_leader()) {
            match server.read_shared(query, options, may, key).await {
                Err(Error::NoLeader) => {}
                answer => return answer,
            }
        }
        let far = self.far();
        self.ask(needs_leader, may_be_asked_again, |answerer| {
            let here = if let Answerer::Here(server) = &answerer { Some((*server).clone()) } else { None };
            let there = if let Answerer::There(address) = answerer { Some(address) } else { None };
            async move {
                match (here, there) {
                    (Some(server), _) => server.read_shared(query, options, may, key).await,
                    (None, Some(address)) => far.read(address, query, options).await.map(SharedAnswer::Far),
                    (None, None) => Err(Error::NoLeader),
                }
            }
        })
        .await
    }

    /// Calls a method of the leader's agent, or of a server's; `None` when this agent is the one to answer.
    pub async fn call_leader<A: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        args: &A,
    ) -> Option<Result<R, Error>> {
        if self.server().is_some_and(Server::is_leader) {
            return None;
        }
        let unreadable = |error: wire::msgpack::Error| Error::Remote(error.to_string());
        let far = self.far();
        let called = async {
            let args = wire::msgpack::to_vec(args).map_err(unreadable)?;
            let args = &args;
            let body = self
                .ask(true, was_not_heard, |answerer| {
                    let there = if let Answerer::There(address) = answerer { Some(address) } else { None };
                    async move {
                        let address = there.ok_or(Error::NoLeader)?;
                        far.call(address, method, args.clone(), CALL_WAIT + far.hold).await
                    }
                })
                .await?;
            wire::msgpack::from_slice(&body).map_err(unreadable)
        };
        Some(called.await)
    }

    /// Kept answers, where there are any.
    #[must_use]
    pub fn answers(&self) -> Option<&AnswerCache> {
        self.server().map(Server::answers)
    }

    /// Whether a kept answer may be given in this mode.
    #[must_use]
    pub fn may_answer_from_memory(&self, mode: ReadMode) -> bool {
        self.server().is_some_and(|server| server.may_answer_from_memory(mode))
    }

    /// [`Registration::touched`] returns once another state was put in the place of the present one; `None` where no
    /// state is.
    #[must_use]
    pub fn watch_restore(&self) -> Option<Registration> {
        let mut seen = Seen::default();
        seen.note(Topic::Everything);
        self.server().map(|server| server.watch(&seen, &server.state()))
    }

    /// The facts of an answer at an index.
    #[must_use]
    pub fn meta(&self, index: Index, mode: ReadMode) -> QueryMeta {
        match self.server() {
            Some(server) => server.meta(index, mode),
            None => QueryMeta { index, mode, ..QueryMeta::default() },
        }
    }

    /// The leader's RPC address; empty if there is none.
    pub async fn leader_address(&self) -> Result<String, Error> {
        match self {
            Cluster::Local { server, .. } => Ok(server.leader_address().unwrap_or_default()),
            Cluster::Remote { .. } => self.status("Status.Leader").await,
        }
    }

    /// The RPC addresses of the servers in raft's configuration.
    pub async fn peer_addresses(&self) -> Result<Vec<String>, Error> {
        match self {
            Cluster::Local { server, .. } => {
                Ok(server.raft_configuration().into_iter().map(|peer| peer.address).collect())
            }
            Cluster::Remote { .. } => self.status("Status.Peers").await,
        }
    }

    async fn status<R: DeserializeOwned + Default>(&self, method: &str) -> Result<R, Error> {
        let asked = Fields::of("Datacenter", &*self.far().datacenter).unwrap_or_default();
        let args = asked.encode().unwrap_or_default();
        let (far, args) = (self.far(), &args);
        let body = self
            .ask(false, may_be_asked_again, |answerer| {
                let there = if let Answerer::There(address) = answerer { Some(address) } else { None };
                async move {
                    let address = there.ok_or(Error::NoLeader)?;
                    far.call(address, method, args.clone(), CALL_WAIT).await
                }
            })
            .await?;
        wire::msgpack::from_slice(&body).map_err(|error| Error::Remote(error.to_string()))
    }

    /// Raft's configuration; empty where this agent is no server.
    #[must_use]
    pub fn raft_configuration(&self) -> Vec<RaftPeer> {
        self.server().map(Server::raft_configuration).unwrap_or_default()
    }

    /// Removes a server from raft's configuration.
    pub async fn remove_server(&self, id: &str) -> Result<(), Error> {
        self.server().ok_or(Error::NoLeader)?.remove_peer(id).await
    }

    /// Hands leadership to another server, to the most advanced one without `id`.
    pub async fn transfer_leadership(&self, id: Option<&str>) -> Result<(), Error> {
        let server = self.server().ok_or(Error::NoLeader)?;
        if let Some(id) = id
            && !self.raft_configuration().iter().any(|server| server.id == id)
        {
            let fault = format!("Could not find address for server id {id}");
            return Err(Error::Refused(state::Error::failed(fault)));
        }
        server.hand_over(id).await
    }

    /// Resets the expiry of a session; `None` when it does not exist.
    pub async fn renew_session(&self, id: &str, may: &dyn Authorizer) -> Result<Option<Arc<Session>>, Error> {
        let far = self.far();
        self.ask(true, may_be_asked_again, |answerer| {
            let here = if let Answerer::Here(server) = &answerer { Some((*server).clone()) } else { None };
            let there = if let Answerer::There(address) = answerer { Some(address) } else { None };
            async move {
                match (here, there) {
                    (Some(server), _) => server.renew_session(id, may).await,
                    (None, Some(address)) => far.renew(address, id).await,
                    (None, None) => Err(Error::NoLeader),
                }
            }
        })
        .await
    }

    /// Takes a coordinate in; the leader writes it with others shortly.
    pub async fn update_coordinate(&self, coordinate: Coordinate, may: &dyn Authorizer) -> Result<(), Error> {
        may.require(Need::write(Resource::Node(&coordinate.node))).map_err(state::Error::from)?;
        if let Cluster::Local { server, coordinates, .. } = self
            && server.is_leader()
        {
            return coordinates.update(coordinate);
        }
        let sent: Option<Result<wire::rpc::Empty, Error>> = self.call_leader("Coordinate.Update", &coordinate).await;
        sent.unwrap_or(Err(Error::NoLeader)).map(drop)
    }

    /// The whole state as an archive.
    pub async fn save_snapshot(&self, mode: ReadMode) -> Result<(Bytes, QueryMeta), Error> {
        let far = self.far();
        self.ask(mode != ReadMode::Stale, may_be_asked_again, |answerer| {
            let here = if let Answerer::Here(server) = &answerer { Some((*server).clone()) } else { None };
            let there = if let Answerer::There(address) = answerer { Some(address) } else { None };
            async move {
                match (here, there) {
                    (Some(server), _) => {
                        let (archive, index) = server.save_snapshot().await?;
                        Ok((archive, server.meta(index, mode)))
                    }
                    (None, Some(address)) => far.save(address, mode).await,
                    (None, None) => Err(Error::NoLeader),
                }
            }
        })
        .await
    }

    /// Puts an archive's state in the place of the present one.
    pub async fn restore_snapshot(&self, archive: Bytes) -> Result<(), Error> {
        let (far, archive) = (self.far(), &archive);
        self.ask(true, was_not_heard, |answerer| {
            let here = if let Answerer::Here(server) = &answerer { Some((*server).clone()) } else { None };
            let there = if let Answerer::There(address) = answerer { Some(address) } else { None };
            async move {
                match (here, there) {
                    (Some(server), _) => server.restore_snapshot(archive.clone()).await,
                    (None, Some(address)) => far.restore(address, archive).await,
                    (None, None) => Err(Error::NoLeader),
                }
            }
        })
        .await
    }

    /// The state of the server in this process.
    #[must_use]
    pub fn state(&self) -> Option<Arc<State>> {
        self.server().map(Server::state)
    }
}

fn is_unreachable(error: &Error) -> bool {
    matches!(error, Error::Unreachable(_) | Error::Interrupted(_) | Error::TimedOut)
}

/// Nothing came of it, so that it may be asked again whatever it does.
fn was_not_heard(error: &Error) -> bool {
    matches!(error, Error::NoLeader | Error::Unreachable(_))
}

/// For what changes nothing.
fn may_be_asked_again(error: &Error) -> bool {
    was_not_heard(error) || matches!(error, Error::Interrupted(_))
}
