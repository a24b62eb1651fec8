//! What Serf tells the agent.

use bytes::Bytes;

use super::lamport::LamportTime;
use super::member::Member;
use crate::io::Now;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Members(MemberEvent),
    User(UserEvent),
    Query(QueryEvent),
}

/// The same happened to these members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEvent {
    pub kind: MemberEventKind,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberEventKind {
    Join,
    Leave,
    Failed,
    Update,
    /// Is no longer remembered.
    Reap,
}

impl MemberEventKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MemberEventKind::Join => "member-join",
            MemberEventKind::Leave => "member-leave",
            MemberEventKind::Failed => "member-failed",
            MemberEventKind::Update => "member-update",
            MemberEventKind::Reap => "member-reap",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    pub time: LamportTime,
    pub name: String,
    pub payload: Bytes,
    pub coalesce: bool,
}

/// Somebody asks; `Serf::respond` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryEvent {
    pub asked: AskedId,
    pub time: LamportTime,
    pub name: String,
    pub payload: Bytes,
    pub source_node: String,
    /// After this it is of no use to answer.
    pub deadline: Now,
}

/// A query that somebody asks us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskedId(pub u64);

/// A query that we ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub LamportTime);
