//! Reads of sessions.

use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use super::Session;
use crate::{Error, Found, Query, Seen, State, Topic};

/// One session; unknown gives an empty list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionGet {
    #[serde(rename = "SessionID")]
    pub session_id: String,
}

impl Query for SessionGet {
    const METHOD: &'static str = "Session.Get";
    type Answer = Vec<Arc<Session>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Session(self.session_id.as_str().into()));
        let session = state.session.get(&self.session_id);
        // Compat: the index of one session is that of the whole table when it does not exist.
        let index = session.map_or_else(|| state.indexes.get("sessions"), |session| session.modify_index);
        Ok(Found::new(index, session.cloned().into_iter().collect()))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// All sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SessionList {}

impl Query for SessionList {
    const METHOD: &'static str = "Session.List";
    type Answer = Vec<Arc<Session>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Sessions);
        Ok(Found::new(state.indexes.get("sessions"), state.session.iter().cloned().collect()))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// The sessions of one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeSessions {
    pub node: String,
}

impl Query for NodeSessions {
    const METHOD: &'static str = "Session.NodeSessions";
    type Answer = Vec<Arc<Session>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::NodeSessions(self.node.to_lowercase().into()));
        Ok(Found::new(state.indexes.get("sessions"), state.session.of_node(&self.node).cloned().collect()))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

fn keep_readable(sessions: &mut Vec<Arc<Session>>, may: &dyn Authorizer) -> bool {
    let before = sessions.len();
    sessions.retain(|session| may.allows(Need::read(Resource::Session(&session.node))));
    sessions.len() != before
}
