//! The cluster as an agent sees it: one place to write to and to read from.
//!
//! Today an agent is always a server itself; an agent that reaches its servers over RPC comes with the
//! cluster issue, as another variant behind the same methods.

use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use bytes::Bytes;
use server::{
    Answer, AnswerCache, Error, QueryMeta, RaftPeer, ReadMode, ReadOptions, Registration, Server, SharedAnswer,
};
use state::coordinate::Coordinate;
use state::session::Session;
use state::{Command, Index, Outcome, Query, Seen, State, Topic};

use crate::coordinates::{CoordinateBatches, Coordinates};

/// Where commands and queries go.
#[derive(Clone)]
pub enum Cluster {
    /// This agent is a server.
    Local { server: Server, coordinates: Coordinates },
}

impl Cluster {
    #[must_use]
    pub fn local(server: Server, batches: CoordinateBatches) -> Self {
        let coordinates = Coordinates::new(server.clone(), batches);
        Cluster::Local { server, coordinates }
    }

    /// The server in this process.
    #[must_use]
    pub fn server(&self) -> &Server {
        let Cluster::Local { server, .. } = self;
        server
    }

    /// Replicates a command; returns what it came to.
    pub async fn write(&self, command: Command, may: &dyn Authorizer) -> Result<Outcome, Error> {
        self.server().write(command, may).await
    }

    /// Evaluates a query.
    pub async fn read<Q: Query>(
        &self,
        query: &Q,
        options: &ReadOptions,
        may: &Arc<dyn Authorizer>,
    ) -> Result<Answer<Q::Answer>, Error> {
        Ok(self.read_seen(query, options, may, &mut Seen::default()).await?.0)
    }

    /// Evaluates a query; says what it looked at and on which state.
    pub async fn read_seen<Q: Query>(
        &self,
        query: &Q,
        options: &ReadOptions,
        may: &Arc<dyn Authorizer>,
        seen: &mut Seen,
    ) -> Result<(Answer<Q::Answer>, Arc<State>), Error> {
        self.server().read(query, options, may, seen).await
    }

    /// Evaluates a query, or takes the kept answer to the question `key`.
    pub async fn read_shared<Q: Query>(
        &self,
        query: &Q,
        options: &ReadOptions,
        may: &Arc<dyn Authorizer>,
        key: Option<&str>,
    ) -> Result<SharedAnswer<Q::Answer>, Error> {
        self.server().read_shared(query, options, may, key).await
    }

    /// Kept answers.
    #[must_use]
    pub fn answers(&self) -> &AnswerCache {
        self.server().answers()
    }

    /// Whether a kept answer may be given in this mode.
    #[must_use]
    pub fn may_answer_from_memory(&self, mode: ReadMode) -> bool {
        self.server().may_answer_from_memory(mode)
    }

    /// The newest state that this agent knows.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.server().state()
    }

    /// [`Registration::touched`] returns once another state was put in the place of the present one.
    #[must_use]
    pub fn watch_restore(&self) -> Registration {
        let mut seen = Seen::default();
        seen.note(Topic::Everything);
        self.server().watch(&seen, &self.state())
    }

    /// The facts of an answer at an index.
    #[must_use]
    pub fn meta(&self, index: Index, mode: ReadMode) -> QueryMeta {
        self.server().meta(index, mode)
    }

    /// The leader's RPC address, if there is a leader.
    #[must_use]
    pub fn leader_address(&self) -> Option<String> {
        self.server().leader_address()
    }

    /// Raft's configuration.
    #[must_use]
    pub fn raft_configuration(&self) -> Vec<RaftPeer> {
        self.server().raft_configuration()
    }

    /// Removes a server from raft's configuration.
    pub async fn remove_server(&self, id: &str) -> Result<(), Error> {
        self.server().remove_peer(id).await
    }

    /// Hands leadership to another server, to the most advanced one without `id`.
    pub async fn transfer_leadership(&self, id: Option<&str>) -> Result<(), Error> {
        if let Some(id) = id
            && !self.raft_configuration().iter().any(|server| server.id == id)
        {
            let fault = format!("Could not find address for server id {id}");
            return Err(Error::Refused(state::Error::failed(fault)));
        }
        self.server().hand_over(id).await
    }

    /// Resets the expiry of a session; `None` when it does not exist.
    pub async fn renew_session(&self, id: &str, may: &dyn Authorizer) -> Result<Option<Arc<Session>>, Error> {
        self.server().renew_session(id, may).await
    }

    /// Takes a coordinate in; it is written with others shortly.
    pub fn update_coordinate(&self, coordinate: Coordinate, may: &dyn Authorizer) -> Result<(), Error> {
        let Cluster::Local { coordinates, .. } = self;
        may.require(Need::write(Resource::Node(&coordinate.node))).map_err(state::Error::from)?;
        coordinates.update(coordinate)
    }

    /// The whole state as an archive.
    pub async fn save_snapshot(&self, mode: ReadMode) -> Result<(Bytes, QueryMeta), Error> {
        if mode != ReadMode::Stale && !self.server().is_leader() {
            return Err(Error::NoLeader);
        }
        let (archive, index) = self.server().save_snapshot().await?;
        Ok((archive, self.meta(index, mode)))
    }

    /// Puts an archive's state in the place of the present one.
    pub async fn restore_snapshot(&self, archive: Bytes) -> Result<(), Error> {
        self.server().restore_snapshot(archive).await
    }
}
