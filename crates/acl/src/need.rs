//! What somebody wants to do: a resource and an access.
//!
//! Always true: a [`Need`] names exactly one resource; a refusal carries the need that was refused, so its text
//! never has to be put together by a caller.

use std::fmt;

use crate::quote::quote;

/// What a rule of the policy language can be about (ACL rules reference, "Rule specification").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    Acl,
    Agent(&'a str),
    Event(&'a str),
    /// One key.
    Key(&'a str),
    /// Every key below a prefix, present and future.
    KeyPrefix(&'a str),
    Keyring,
    Mesh,
    /// One node.
    Node(&'a str),
    /// Every node, present and future.
    EveryNode,
    Operator,
    Peering,
    PreparedQuery(&'a str),
    /// One service.
    Service(&'a str),
    /// Every service, present and future.
    EveryService,
    /// At least one service, whichever.
    AnyService,
    /// The sessions of one node.
    Session(&'a str),
    /// Intentions whose destination is this service; `*` reads any and writes all.
    Intention(&'a str),
}

impl<'a> Resource<'a> {
    /// The word that the policy language and refusals have for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Resource::Acl => "acl",
            Resource::Agent(_) => "agent",
            Resource::Event(_) => "event",
            Resource::Key(_) | Resource::KeyPrefix(_) => "key",
            Resource::Keyring => "keyring",
            Resource::Mesh => "mesh",
            Resource::Node(_) | Resource::EveryNode => "node",
            Resource::Operator => "operator",
            Resource::Peering => "peering",
            Resource::PreparedQuery(_) => "query",
            Resource::Service(_) | Resource::EveryService | Resource::AnyService => "service",
            Resource::Session(_) => "session",
            Resource::Intention(_) => "intention",
        }
    }

    /// Its name as refusals show it; empty for what there is only one of.
    const fn name(self) -> &'a str {
        match self {
            Resource::Agent(name)
            | Resource::Event(name)
            | Resource::Key(name)
            | Resource::KeyPrefix(name)
            | Resource::Node(name)
            | Resource::PreparedQuery(name)
            | Resource::Service(name)
            | Resource::Session(name)
            | Resource::Intention(name) => name,
            Resource::EveryNode => "all nodes",
            Resource::EveryService => "all services",
            Resource::AnyService => "any service",
            Resource::Acl | Resource::Keyring | Resource::Mesh | Resource::Operator | Resource::Peering => "",
        }
    }
}

/// How a resource is used. `List` exists for keys only (`acl.enable_key_list_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    List,
    Write,
}

impl Access {
    /// The word that the policy language and refusals have for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::List => "list",
            Access::Write => "write",
        }
    }
}

/// One permission: a resource and what is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    pub resource: Resource<'a>,
    pub access: Access,
}

impl<'a> Need<'a> {
    #[must_use]
    pub const fn read(resource: Resource<'a>) -> Self {
        Need { resource, access: Access::Read }
    }

    #[must_use]
    pub const fn list(resource: Resource<'a>) -> Self {
        Need { resource, access: Access::List }
    }

    #[must_use]
    pub const fn write(resource: Resource<'a>) -> Self {
        Need { resource, access: Access::Write }
    }

    /// The need that these words of `/v1/internal/acl/authorize` stand for. Errors are the reference's texts.
    pub fn parse(resource: &str, segment: &'a str, access: &str) -> Result<Self, String> {
        let of = match resource {
            "acl" => Resource::Acl,
            "agent" => Resource::Agent(segment),
            "event" => Resource::Event(segment),
            "intention" => Resource::Intention(segment),
            "key" => Resource::Key(segment),
            "keyring" => Resource::Keyring,
            "mesh" => Resource::Mesh,
            "node" => Resource::Node(segment),
            "operator" => Resource::Operator,
            "peering" => Resource::Peering,
            "query" => Resource::PreparedQuery(segment),
            "service" => Resource::Service(segment),
            "session" => Resource::Session(segment),
            _ => return Err(format!("Invalid ACL resource requested: {}", quote(resource))),
        };
        match (of, access.to_lowercase().as_str()) {
            (_, "read") => Ok(Need::read(of)),
            (_, "write") => Ok(Need::write(of)),
            (Resource::Key(_), "list") => Ok(Need::list(of)),
            (Resource::Key(prefix), "write-prefix") => Ok(Need::write(Resource::KeyPrefix(prefix))),
            _ => Err(format!("Invalid access level for {resource} resource: {access}")),
        }
    }
}

/// A refused need, in the reference's words (HTTP 403).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    text: String,
}

impl Denied {
    pub(crate) fn new(accessor: Option<&str>, need: Need<'_>) -> Self {
        let (resource, name, access) = (need.resource.word(), need.resource.name(), need.access.word());
        let mut text = match accessor {
            Some(id) => {
                format!("Permission denied: token with AccessorID '{id}' lacks permission '{resource}:{access}'")
            }
            None => format!("Permission denied: anonymous token lacks permission '{resource}:{access}'"),
        };
        if !name.is_empty() {
            text.push_str(&format!(" on \"{name}\""));
        }
        if accessor.is_none() {
            text.push_str(". The anonymous token is used implicitly when a request does not specify a token.");
        }
        Denied { text }
    }
}

impl Denied {
    /// A refusal that is not about a need: of a login that gives nothing, of changing what is nobody's to change.
    #[must_use]
    pub fn because(reason: &str) -> Self {
        let colon = if reason.is_empty() { "" } else { ": " };
        Denied { text: format!("Permission denied{colon}{reason}") }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::{Denied, Need, Resource};

    #[test]
    fn refusals_without_a_need() {
        assert_eq!(Denied::because("").to_string(), "Permission denied");
        assert_eq!(Denied::because("no").to_string(), "Permission denied: no");
    }

    #[test]
    fn words_of_the_authorize_endpoint() {
        assert_eq!(Need::parse("key", "a", "LIST"), Ok(Need::list(Resource::Key("a"))));
        assert_eq!(Need::parse("key", "a/", "write-prefix"), Ok(Need::write(Resource::KeyPrefix("a/"))));
        assert_eq!(Need::parse("acl", "x", "read"), Ok(Need::read(Resource::Acl)));
        assert_eq!(Need::parse("foo", "x", "read").unwrap_err(), "Invalid ACL resource requested: \"foo\"");
        assert_eq!(Need::parse("node", "x", "list").unwrap_err(), "Invalid access level for node resource: list");
    }
}
