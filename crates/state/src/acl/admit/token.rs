//! Tokens on their way in and out.

use std::sync::Arc;

use acl::{Denied, Secret};
use wire::duration::GoDuration;
use wire::json::quote;
use wire::time::GoTime;

use super::{
    Lifetimes, RESERVED_PREFIX, by_id, check_node_identity, check_service_name, check_variables, not_found, policy_id,
    refuse, role_id, uuid,
};
use crate::acl::identity::{distinct_nodes, distinct_services, distinct_templated, template};
use crate::acl::token::Token;
use crate::{Error, State};

/// Ids for a new token that brings none of its own.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub accessor_id: String,
    pub secret_id: Secret,
}

/// Where a new token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody wrote it down.
    Request,
    /// An auth method made it at a login.
    Login,
}

/// A new token as it will be stored. Those of a login may link to what does not exist
/// (see `allow_missing_links` and `prohibit_unprivileged` of the command).
pub fn new_token(
    state: &State,
    mut token: Token,
    fresh: Fresh,
    now: GoTime,
    lifetimes: Lifetimes,
    origin: Origin,
) -> Result<Token, Error> {
    if token.accessor_id.is_empty() {
        token.accessor_id = fresh.accessor_id;
    } else {
        check_new_id(state, &token.accessor_id, "AccessorID")?;
    }
    if token.secret_id.is_empty() {
        token.secret_id = fresh.secret_id;
    } else {
        check_new_id(state, token.secret_id.expose(), "SecretID")?;
    }
    token.create_time = now;
    set_end(&mut token, lifetimes)?;
    match origin {
        Origin::Login if token.auth_method.is_empty() => refuse("AuthMethod field is required during login"),
        Origin::Request if !token.auth_method.is_empty() => refuse("AuthMethod field is disallowed outside of login"),
        _ => normalized(state, token),
    }
}

fn check_new_id(state: &State, id: &str, field: &str) -> Result<(), Error> {
    if id.starts_with(RESERVED_PREFIX) {
        let prefix = quote(RESERVED_PREFIX);
        return refuse(format!("Invalid Token: {field} - UUIDs with the prefix {prefix} are reserved"));
    }
    if uuid(id).is_err() {
        return refuse(format!("Invalid Token: {field} - not a valid UUID"));
    }
    if state.acl.stored_token(id).is_some() || state.acl.stored_token_by_secret(id).is_some() {
        return refuse(format!("Invalid Token: {field} is already in use"));
    }
    Ok(())
}

fn set_end(token: &mut Token, lifetimes: Lifetimes) -> Result<(), Error> {
    let ttl = token.expiration_ttl;
    if ttl.0 < 0 {
        return refuse(format!("Token Expiration TTL '{ttl}' should be > 0"));
    }
    if ttl.0 > 0 {
        if token.expires().is_some() {
            return refuse("Token Expiration TTL and Expiration Time cannot both be set");
        }
        token.expiration_time = Some(token.create_time.plus(ttl));
        token.expiration_ttl = GoDuration(0);
    }
    let Some(end) = token.expires() else { return Ok(()) };
    if end < token.create_time {
        return refuse("ExpirationTime cannot be before CreateTime");
    }
    let lives = end.since(&token.create_time);
    let Lifetimes { least, most } = lifetimes;
    if lives.0 > most.0 {
        return refuse(format!("ExpirationTime cannot be more than {most} in the future (was {lives})"));
    }
    if lives.0 < least.0 {
        return refuse(format!("ExpirationTime cannot be less than {least} in the future (was {lives})"));
    }
    Ok(())
}

/// A change of the token that it names, as it will be stored.
pub fn changed_token(state: &State, mut token: Token, now: GoTime) -> Result<Token, Error> {
    let accessor = token.accessor_id.clone();
    if uuid(&accessor).is_err() {
        return refuse("AccessorID is not a valid UUID");
    }
    if matches!(token.secret_id.expose(), "allow" | "deny" | "manage") {
        return Err(Denied::because("Cannot modify root ACL").into());
    }
    let Some(existing) = state.acl.stored_token(&accessor).filter(|existing| !existing.is_expired(now)) else {
        return refuse(format!("Cannot find token {}", quote(&accessor)));
    };
    if token.secret_id.is_empty() {
        token.secret_id = existing.secret_id.clone();
    } else if token.secret_id != existing.secret_id {
        return refuse("Changing a token's SecretID is not permitted");
    }
    if token.local != existing.local {
        return refuse(format!("Cannot toggle local mode of {accessor}"));
    }
    if token.auth_method.is_empty() {
        token.auth_method.clone_from(&existing.auth_method);
    } else if token.auth_method != existing.auth_method {
        return refuse(format!("Cannot change AuthMethod of {accessor}"));
    }
    let other_end = token.expires().is_some_and(|end| existing.expires() != Some(end));
    if !token.expiration_ttl.is_zero() || other_end {
        return refuse(format!("Cannot change expiration time of {accessor}"));
    }
    token.expiration_time = existing.expiration_time;
    token.create_time = existing.create_time;
    // A legacy token stays one until it is given something that legacy tokens cannot have.
    if token.r#type.is_empty() && token.policies == existing.policies {
        token.r#type.clone_from(&existing.r#type);
        token.rules.clone_from(&existing.rules);
    }
    normalized(state, token)
}

/// A new token that may do what another one may; it still has to be admitted as a new one.
pub fn cloned_token(state: &State, accessor: &str, description: &str, now: GoTime) -> Result<Token, Error> {
    let Some(token) = state.acl_token(accessor) else { return Err(not_found("token")) };
    if token.is_expired(now) {
        return Err(Error::not_found("token is expired: ACL not found"));
    }
    if !token.auth_method.is_empty() {
        return refuse("Cannot clone a token created from an auth method");
    }
    Ok(Token {
        policies: token.policies.clone(),
        roles: token.roles.clone(),
        service_identities: token.service_identities.clone(),
        node_identities: token.node_identities.clone(),
        templated_policies: token.templated_policies.clone(),
        local: token.local,
        description: if description.is_empty() { token.description.clone() } else { description.to_owned() },
        expiration_time: token.expiration_time,
        r#type: token.r#type.clone(),
        rules: token.rules.clone(),
        ..Token::default()
    })
}

/// Whether the token of this accessor can be removed by one who came with the secret `asker`.
pub fn deletable_token(state: &State, accessor: &str, asker: &str) -> Result<(), Error> {
    if uuid(accessor).is_err() {
        return refuse("Accessor ID is missing or an invalid UUID");
    }
    if accessor == crate::acl::ANONYMOUS_ID {
        return refuse("Delete operation not permitted on the anonymous token");
    }
    let token = state.acl.stored_token(accessor).ok_or_else(|| not_found("token"))?;
    if token.secret_id.matches(asker) {
        return refuse("Deletion of the request's authorization token is not permitted");
    }
    Ok(())
}

/// The token of this secret, if it can be given back: only those of a login can.
pub fn logout(state: &State, secret: &str) -> Result<Arc<Token>, Error> {
    if secret.is_empty() {
        return Err(Error::not_found("no valid token ID provided: ACL not found"));
    }
    let Some(token) = state.acl.stored_token_by_secret(secret) else { return Err(Error::not_found("ACL not found")) };
    if token.auth_method.is_empty() {
        return Err(Denied::because("token wasn't created via login").into());
    }
    Ok(Arc::clone(token))
}

fn normalized(state: &State, mut token: Token) -> Result<Token, Error> {
    let role_exists = |id: &str| state.acl.stored_role(id).is_some();
    token.roles = by_id(&token.roles, "role", |name| role_id(state, name), Some(&role_exists))?;
    let policy_exists = |id: &str| state.acl.policy(id).is_some();
    token.policies = by_id(&token.policies, "policy", |name| policy_id(state, name), Some(&policy_exists))?;
    for identity in &token.service_identities {
        let name = &identity.service_name;
        if token.local && !name.is_empty() && !identity.datacenters.is_empty() {
            let name = quote(name);
            return refuse(format!("Service identity {name} cannot specify a list of datacenters on a local token"));
        }
        check_service_name(name, "token")?;
    }
    token.service_identities = distinct_services(token.service_identities);
    for identity in &token.node_identities {
        check_node_identity(identity, "token")?;
    }
    token.node_identities = distinct_nodes(token.node_identities);
    for policy in &mut token.templated_policies {
        let name = &policy.template_name;
        if name.is_empty() {
            return refuse("templated policy is missing the template name field on this token");
        }
        let Some(template) = template(name) else {
            return refuse(format!("no such ACL templated policy with Name {}", quote(name)));
        };
        check_variables(policy, template).map_err(|error| {
            Error::failed(format!("validation error for templated policy {}: {error}", quote(name)))
        })?;
        policy.template_id = template.id.to_owned();
    }
    token.templated_policies = distinct_templated(token.templated_policies);
    token.set_hash();
    Ok(token)
}
