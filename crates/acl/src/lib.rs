//! Who may do what.
//!
//! Everything that Curule answers is asked for with a [`Need`]: a resource and an access. An [`Authorizer`] says
//! whether the asker's token grants it. While ACLs are off [`AllowAll`] stands in that place; else it is a
//! [`TokenAuthorizer`] over [`Grants`], compiled from the [`Rules`] of the token's policies.
//!
//! Always true: without a rule that grants it (and without a default policy that does) nothing is allowed; adding a
//! `deny` never allows more; deciding allocates nothing.
//!
//! Not here: tokens, policies and roles as stored objects (they are `state`'s), and who asks (that is `server`'s).

mod grants;
mod need;
mod quote;
pub mod rules;
pub mod secret;

pub use grants::{Because, DefaultPolicy, Explanation, Grants, Named, TokenAuthorizer};
pub use need::{Access, Denied, Need, Resource};
pub use rules::Rules;
pub use secret::Secret;

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
