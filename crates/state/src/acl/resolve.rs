//! From a secret to what it may do.
//!
//! Always true: an expired token is not found; a policy that cannot be read refuses the token rather than being left
//! out, since it might have denied; links to what is gone give nothing.
//!
//! Not here: the tokens of configuration that no state holds (agent recovery, server management), and caches.

use std::fmt;
use std::sync::Arc;

use acl::rules::{Rules, Syntax};
use acl::{DefaultPolicy, Grants, Named, TokenAuthorizer};
use wire::time::GoTime;

use super::identity::{distinct_nodes, distinct_services, distinct_templated};
use super::token::{ANONYMOUS_ID, ANONYMOUS_SECRET, Token};
use super::{Policy, Role, fold};
use crate::{Seen, State, Topic};

/// Whose secret it is, and the rules that hold for them.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// `None` for the anonymous token where none is stored.
    pub token: Option<Arc<Token>>,
    /// The rules of every policy that holds here, by the policy's name.
    pub policies: Vec<Named>,
}

/// Why a secret gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Nobody has it, or its life is over.
    NotFound,
    /// It is a word that older versions kept for themselves.
    Root,
    /// One of its policies cannot be read.
    BadPolicy(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotFound => f.write_str("ACL not found"),
            Refused::Root => f.write_str("Cannot resolve root ACL"),
            Refused::BadPolicy(text) => write!(f, "failed to parse the ACL policies: {text}"),
        }
    }
}

impl std::error::Error for Refused {}

impl Resolved {
    /// What it may do.
    #[must_use]
    pub fn authorizer(&self, default: DefaultPolicy) -> TokenAuthorizer {
        let known = self.token.as_ref().filter(|token| !token.is_anonymous());
        let accessor = known.map(|token| token.accessor_id.as_str().into());
        TokenAuthorizer::new(accessor, Arc::new(Grants::compile(&self.policies, default)))
    }
}

/// What a secret may do in this datacenter at this time; the empty one is the anonymous token's. Everything that the
/// answer depends on, but for the time, is noted in `seen`.
pub fn resolve(
    state: &State,
    secret: &str,
    datacenter: &str,
    now: GoTime,
    seen: &mut Seen,
) -> Result<Resolved, Refused> {
    if matches!(secret, "allow" | "deny" | "manage") {
        return Err(Refused::Root);
    }
    let anonymous = secret.is_empty() || secret == ANONYMOUS_SECRET;
    let secret = if anonymous { ANONYMOUS_SECRET } else { secret };
    let Some(token) = state.acl.stored_token_by_secret(secret).filter(|token| !token.is_expired(now)) else {
        if anonymous {
            seen.note(Topic::AclToken(fold(ANONYMOUS_ID)));
            return Ok(Resolved { token: None, policies: Vec::new() });
        }
        seen.note(Topic::AclTokens);
        return Err(Refused::NotFound);
    };
    seen.note(Topic::AclToken(fold(&token.accessor_id)));
    let policies = policies(state, token, datacenter, seen)?;
    Ok(Resolved { token: Some(state.acl.linked_token(token)), policies })
}

fn policies(state: &State, token: &Token, datacenter: &str, seen: &mut Seen) -> Result<Vec<Named>, Refused> {
    let mut named = Vec::new();
    let mut roles: Vec<&Arc<Role>> = Vec::new();
    for link in &token.roles {
        seen.note(Topic::AclRole(fold(&link.id)));
        roles.extend(state.acl.stored_role(&link.id));
    }

    let mut ids: Vec<Arc<str>> =
        token.policies.iter().chain(roles.iter().flat_map(|role| &role.policies)).map(|link| fold(&link.id)).collect();
    ids.sort();
    ids.dedup();
    for id in ids {
        let stored = state.acl.stored_policy(&id);
        seen.note(Topic::AclPolicy(id));
        let Some(stored) = stored.filter(|stored| stored.policy.holds_in(datacenter)) else { continue };
        let name = &stored.policy.name;
        let unreadable = |error| Refused::BadPolicy(format!("failed to parse {name:?}: {error}"));
        let rules = stored.rules.clone().map_err(unreadable)?;
        named.push(Named { name: name.as_str().into(), rules });
    }

    for policy in synthetic(token, &roles).filter(|policy| policy.holds_in(datacenter)) {
        let unreadable = |error| Refused::BadPolicy(format!("failed to parse {:?}: {error}", policy.name));
        let rules = Rules::parse_stored(&policy.rules, Syntax::Current).map_err(unreadable)?;
        // Its own name is its whole text in hexadecimal digits; people are told what it was made from.
        named.push(Named { name: policy.description.as_str().into(), rules: Arc::new(rules) });
    }

    if token.is_legacy() && !token.rules.is_empty() {
        let unreadable = |error| Refused::BadPolicy(format!("failed to parse the rules of a legacy token: {error}"));
        let rules = Rules::parse_stored(&token.rules, Syntax::Legacy).map_err(unreadable)?;
        named.push(Named { name: "legacy token".into(), rules: Arc::new(rules) });
    }
    Ok(named)
}

/// The policies that the identities and templates of a token and of its roles stand for.
pub(super) fn synthetic<'a>(token: &'a Token, roles: &'a [&'a Arc<Role>]) -> impl Iterator<Item = Policy> + 'a {
    let services = token.service_identities.iter().chain(roles.iter().flat_map(|role| &role.service_identities));
    let nodes = token.node_identities.iter().chain(roles.iter().flat_map(|role| &role.node_identities));
    let templated = token.templated_policies.iter().chain(roles.iter().flat_map(|role| &role.templated_policies));
    let services = distinct_services(services.cloned()).into_iter().filter_map(|identity| identity.policy());
    let nodes = distinct_nodes(nodes.cloned()).into_iter().filter_map(|identity| identity.policy());
    let templated = distinct_templated(templated.cloned()).into_iter().filter_map(|policy| policy.policy());
    services.chain(nodes).chain(templated)
}
