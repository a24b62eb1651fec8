//! Sessions and the locks bound to them (`/v1/session`).

use std::sync::Arc;

use acl::Authorizer;
use serde::{Deserialize, Serialize};

use crate::{Apply, Error, Index, Outcome, State};

/// A session (`structs.Session`). `LockDelay` is a number of nanoseconds everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Session {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub node: String,
    pub lock_delay: i64,
    /// `release` or `delete`.
    pub behavior: String,
    #[serde(rename = "TTL")]
    pub ttl: String,
    pub node_checks: Option<Vec<String>>,
    pub service_checks: Option<Vec<ServiceCheck>>,
    /// The form of 1.1 to 1.6 requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    pub create_index: Index,
    pub modify_index: Index,
}

/// A service check that a session is bound to (`structs.ServiceCheck`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceCheck {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
}

/// Log message type 3: `create` or `destroy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionRequest {
    pub datacenter: String,
    pub op: String,
    pub session: Session,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {}

impl Table {
    /// `Ok` when the session exists, else the refusal that lock commands answer.
    pub(crate) fn require(&self, id: &str) -> Result<(), Error> {
        Err(Error::failed(format!("invalid session {id:?}")))
    }

    /// A key's lock moved from one session to another; `""` means free.
    pub(crate) fn lock_moved(&mut self, _key: &Arc<str>, _from: &str, _to: &str) {}
}

impl SessionRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }
}

pub(crate) fn apply(_state: &mut State, _apply: &mut Apply, _request: SessionRequest) -> Outcome {
    Outcome::Failed(Error::failed("wall"))
}

/// A check turned critical or went away: sessions that are bound to it end.
pub(crate) fn check_lost(_state: &mut State, _apply: &mut Apply, _node: &str, _check_id: &str) {}

/// A node went away: its sessions end.
pub(crate) fn node_gone(_state: &mut State, _apply: &mut Apply, _node: &str) {}
