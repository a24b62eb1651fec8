//! Who may do what.
//!
//! Everything that Curule answers is asked for with a [`Need`]: a resource and an access. An
//! [`Authorizer`] says whether the asker's token grants it. While ACLs are off [`AllowAll`] stands in
//! that place; the rule language and token resolution come with the ACL issue and change nothing here.
//!
//! Always true: a `Need` names exactly one resource; a refusal carries the need that was refused, so its
//! text never has to be put together by a caller.

use std::fmt;

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
    /// One node; `""` asks for any node.
    Node(&'a str),
    Operator,
    Peering,
    PreparedQuery(&'a str),
    /// One service; `""` asks for any service.
    Service(&'a str),
    Session(&'a str),
    Intention(&'a str),
}

/// How a resource is used. `List` exists for keys only (`acl.enable_key_list_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    List,
    Write,
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
}

/// Decides needs for one token.
pub trait Authorizer: Send + Sync {
    /// Whether the token grants `need`.
    fn allows(&self, need: Need<'_>) -> bool;

    /// What a refusal calls the asker: the accessor id, or `None` for the anonymous token.
    fn accessor(&self) -> Option<&str>;

    /// Whether every need is granted, so that rows need not be filtered one by one.
    fn allows_everything(&self) -> bool {
        false
    }

    /// `Ok` when granted, else a refusal that says what was needed.
    fn require(&self, need: Need<'_>) -> Result<(), Denied> {
        if self.allows(need) { Ok(()) } else { Err(Denied::new(self.accessor(), need)) }
    }
}

/// The authorizer while ACLs are off: grants everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn allows(&self, _need: Need<'_>) -> bool {
        true
    }

    fn accessor(&self) -> Option<&str> {
        None
    }

    fn allows_everything(&self) -> bool {
        true
    }
}

/// A refused need, in the reference's words (HTTP 403).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    text: String,
}

impl Denied {
    fn new(accessor: Option<&str>, need: Need<'_>) -> Self {
        let (resource, name) = match need.resource {
            Resource::Acl => ("acl", ""),
            Resource::Agent(name) => ("agent", name),
            Resource::Event(name) => ("event", name),
            Resource::Key(name) | Resource::KeyPrefix(name) => ("key", name),
            Resource::Keyring => ("keyring", ""),
            Resource::Mesh => ("mesh", ""),
            Resource::Node(name) => ("node", name),
            Resource::Operator => ("operator", ""),
            Resource::Peering => ("peering", ""),
            Resource::PreparedQuery(name) => ("query", name),
            Resource::Service(name) => ("service", name),
            Resource::Session(name) => ("session", name),
            Resource::Intention(name) => ("intention", name),
        };
        let access = match need.access {
            Access::Read => "read",
            Access::List => "list",
            Access::Write => "write",
        };
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

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::{Authorizer, Need, Resource};

    struct Nobody;
    impl Authorizer for Nobody {
        fn allows(&self, _need: Need<'_>) -> bool {
            false
        }
        fn accessor(&self) -> Option<&str> {
            None
        }
    }

    #[test]
    fn a_refusal_names_what_was_needed() {
        let denied = Nobody.require(Need::write(Resource::Key("a/b"))).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "Permission denied: anonymous token lacks permission 'key:write' on \"a/b\". The anonymous token is \
             used implicitly when a request does not specify a token."
        );
    }
}
