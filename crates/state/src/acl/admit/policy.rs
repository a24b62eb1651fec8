//! Policies on their way in and out.

use acl::Rules;
use wire::json::quote;

use super::{POLICY_NAME_MAX, not_found, refuse, uuid};
use crate::acl::policy::{Policy, builtin_name};
use crate::prepared_query::check_uuid;
use crate::{Error, State};

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > POLICY_NAME_MAX {
        return refuse(format!(
            "Invalid Policy: invalid Name. Length must be greater than 0 and less than {POLICY_NAME_MAX}"
        ));
    }
    if name.starts_with('/') || name.starts_with("builtin/") {
        return refuse("Invalid Policy: invalid Name. Names cannot be prefixed with '/' or 'builtin/'");
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
    if !name.bytes().all(known) || name.bytes().filter(|byte| *byte == b'/').count() > 1 {
        return refuse(
            "Invalid Policy: invalid Name. Only alphanumeric characters, a single '/', '-' and '_' are allowed",
        );
    }
    Ok(())
}

/// A policy as it will be stored: a new one, with `fresh_id`, when it has no id, else a change of the one it names.
pub fn policy(state: &State, mut policy: Policy, fresh_id: &str) -> Result<Policy, Error> {
    if policy.name.is_empty() {
        return refuse("Invalid Policy: no Name is set");
    }
    check_name(&policy.name)?;
    let same_name = state.acl.policy_named(&policy.name);
    if policy.id.is_empty() {
        policy.id = fresh_id.to_owned();
        if same_name.is_some() {
            return refuse(format!("Invalid Policy: A Policy with Name {} already exists", quote(&policy.name)));
        }
    } else {
        if uuid(&policy.id).is_err() {
            return refuse("Policy ID invalid UUID");
        }
        let Some(existing) = state.acl.policy(&policy.id) else {
            return refuse(format!("cannot find policy {}", policy.id));
        };
        if existing.name != policy.name && same_name.is_some() {
            return refuse(format!("Invalid Policy: A policy with name {} already exists", quote(&policy.name)));
        }
        if let Some(name) = builtin_name(&policy.id) {
            if !policy.datacenters.is_empty() {
                return refuse(format!("Changing the Datacenters of the {name} policy is not permitted"));
            }
            if policy.rules != existing.rules {
                return refuse(format!("Changing the Rules for the builtin {name} policy is not permitted"));
            }
        }
    }
    Rules::parse(&policy.rules).map_err(|error| Error::failed(error.to_string()))?;
    policy.set_hash();
    Ok(policy)
}

/// Whether the policy of this id can be removed.
pub fn deletable_policy(state: &State, id: &str) -> Result<(), Error> {
    check_uuid(id).map_err(|reason| Error::failed(format!("failed acl policy lookup: index error: {reason}")))?;
    let policy = state.acl.policy(id).ok_or_else(|| not_found("policy"))?;
    match builtin_name(&policy.id) {
        Some(name) => refuse(format!("Delete operation not permitted on the builtin {name} policy")),
        None => Ok(()),
    }
}
