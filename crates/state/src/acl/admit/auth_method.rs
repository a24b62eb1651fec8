//! Auth methods on their way in.

use super::{Lifetimes, POLICY_NAME_MAX, is_plain_name, refuse};
use crate::acl::auth_method::AuthMethod;
use crate::{Error, State};

/// The types of auth methods, in the order in which refusals list them.
pub const AUTH_METHOD_TYPES: [&str; 3] = ["aws-iam", "jwt", "kubernetes"];

/// An auth method as it will be stored, its configuration unchecked. `primary`: this is the primary datacenter.
pub fn auth_method(
    state: &State,
    mut method: AuthMethod,
    lifetimes: Lifetimes,
    primary: bool,
) -> Result<AuthMethod, Error> {
    if method.name.is_empty() {
        return refuse("Invalid Auth Method: no Name is set");
    }
    if !is_plain_name(&method.name, POLICY_NAME_MAX) {
        return refuse("Invalid Auth Method: invalid Name. Only alphanumeric characters, '-' and '_' are allowed");
    }
    if let Some(existing) = state.acl.auth_method(&method.name) {
        if method.r#type.is_empty() {
            method.r#type.clone_from(&existing.r#type);
        } else if method.r#type != existing.r#type {
            return refuse("the Type field of an Auth Method is immutable");
        }
    }
    if !AUTH_METHOD_TYPES.contains(&method.r#type.as_str()) {
        let known = AUTH_METHOD_TYPES.join(" ");
        return refuse(format!("Invalid Auth Method: Type should be one of: [{known}]"));
    }
    let (ttl, Lifetimes { least, most }) = (method.max_token_ttl, lifetimes);
    if !ttl.is_zero() && ttl.0 > most.0 {
        return refuse(format!("MaxTokenTTL {ttl} cannot be more than {most}"));
    }
    if !ttl.is_zero() && ttl.0 < least.0 {
        return refuse(format!("MaxTokenTTL {ttl} cannot be less than {least}"));
    }
    match method.token_locality.as_str() {
        "" | "local" => Ok(method),
        "global" if primary => Ok(method),
        "global" => refuse("Invalid Auth Method: TokenLocality 'global' can only be used in the primary datacenter"),
        _ => refuse("Invalid Auth Method: TokenLocality should be one of 'local' or 'global'"),
    }
}
