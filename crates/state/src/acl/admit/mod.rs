//! What the endpoints ask of a request before they propose it, and what they fill in.
//!
//! Always true: what is admitted here is taken by `apply` unless the state changes in between; every refusal is the
//! reference's text (asked of a running 1.22). The time, new ids and limits are arguments.
//!
//! Not here: whether the asker may, and the configuration of auth methods, which is whoever verifies logins'.

mod auth_method;
mod binding_rule;
mod login;
mod policy;
mod role;
#[cfg(test)]
mod tests;
mod token;

use wire::duration::GoDuration;
use wire::json::quote;

pub use self::auth_method::{AUTH_METHOD_TYPES, auth_method};
pub use self::binding_rule::{binding_rule, interpolated};
pub use self::login::{description, login};
pub use self::policy::{deletable_policy, policy};
pub use self::role::{deletable_role, role};
pub use self::token::{Fresh, Origin, changed_token, cloned_token, deletable_token, logout, new_token};
use super::identity::{Link, NODE_TEMPLATE, NodeIdentity, SERVICE_TEMPLATE, Template, TemplatedPolicy};
use crate::prepared_query::check_uuid;
use crate::{Error, State};

/// How long tokens may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub least: GoDuration,
    pub most: GoDuration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const MINUTE_NS: i64 = 60_000_000_000;
        Lifetimes { least: GoDuration(MINUTE_NS), most: GoDuration(i64::MAX) }
    }
}

/// Ids with this prefix are for what is built in.
const RESERVED_PREFIX: &str = "00000000-0000-0000-0000-0000000000";
/// Longest name of a service or node identity, and of a role.
const IDENTITY_NAME_MAX: usize = 256;
/// Longest name of a policy and of an auth method.
const POLICY_NAME_MAX: usize = 128;

fn refuse<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::failed(text.into()))
}

/// Compat: what is missing is a kind of its own, since endpoints answer for it with different statuses.
fn not_found(what: &str) -> Error {
    Error::not_found(format!("{what} does not exist: ACL not found"))
}

/// Refuses what is no UUID: 36 characters, hyphens where they belong, hexadecimal digits elsewhere.
pub fn uuid(text: &str) -> Result<(), Error> {
    if text.len() != 36 {
        return refuse("uuid string is wrong length");
    }
    let bytes = text.as_bytes();
    if [8, 13, 18, 23].iter().any(|&at| bytes[at] != b'-') {
        return refuse("uuid is improperly formatted");
    }
    let digits = bytes.iter().enumerate().filter(|(at, _)| ![8, 13, 18, 23].contains(at));
    match digits.map(|(_, byte)| *byte).find(|byte| !byte.is_ascii_hexdigit()) {
        Some(byte) => {
            refuse(format!("encoding/hex: invalid byte: U+{byte:04X} '{}'", char::from(byte).escape_default()))
        }
        None => Ok(()),
    }
}

/// Whether a service or node identity can have this name.
#[must_use]
pub fn is_identity_name(name: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= IDENTITY_NAME_MAX
        && bytes.first().is_some_and(|byte| lower(*byte))
        && bytes.last().is_some_and(|byte| lower(*byte))
        && bytes.iter().all(|byte| lower(*byte) || matches!(byte, b'-' | b'_'))
}

fn is_plain_name(name: &str, longest: usize) -> bool {
    !name.is_empty()
        && name.len() <= longest
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a role can have this name.
#[must_use]
pub fn is_role_name(name: &str) -> bool {
    is_plain_name(name, IDENTITY_NAME_MAX)
}

/// Whether a policy can have this name.
#[must_use]
pub fn is_policy_name(name: &str) -> bool {
    policy::check_name(name).is_ok()
}

/// Resolves links by name into links by id and drops repetitions. The name is not stored: it may change.
fn by_id(
    links: &[Link],
    what: &str,
    id_of_name: impl Fn(&str) -> Option<String>,
    exists: Option<&dyn Fn(&str) -> bool>,
) -> Result<Vec<Link>, Error> {
    let mut resolved: Vec<Link> = Vec::new();
    for link in links {
        let id = if link.id.is_empty() {
            let Some(id) = id_of_name(&link.name) else {
                return refuse(format!("No such ACL {what} with name {}", quote(&link.name)));
            };
            id
        } else {
            if let Some(exists) = exists {
                check_uuid(&link.id).map_err(|reason| {
                    let id = quote(&link.id);
                    let text = format!(
                        "Error looking up {what} for ID: {id}: failed acl {what} lookup: index error: {reason}"
                    );
                    Error::failed(text)
                })?;
                if !exists(&link.id) {
                    return refuse(format!("No such ACL {what} with ID {}", quote(&link.id)));
                }
            }
            link.id.clone()
        };
        if resolved.iter().all(|known| known.id != id) {
            resolved.push(Link { id, name: String::new() });
        }
    }
    Ok(resolved)
}

fn policy_id(state: &State, name: &str) -> Option<String> {
    state.acl.policy_named(name).map(|policy| policy.id.clone())
}

fn role_id(state: &State, name: &str) -> Option<String> {
    state.acl.role_named(name).map(|role| role.id.clone())
}

fn check_service_name(name: &str, of: &str) -> Result<(), Error> {
    if name.is_empty() {
        return refuse(format!("Service identity is missing the service name field on this {of}"));
    }
    if !is_identity_name(name) {
        return refuse(format!(
            "Service identity {} has an invalid name. Only lowercase alphanumeric characters, '-' and '_' are allowed",
            quote(name)
        ));
    }
    Ok(())
}

fn check_node_identity(identity: &NodeIdentity, of: &str) -> Result<(), Error> {
    if identity.node_name.is_empty() {
        return refuse(format!("Node identity is missing the node name field on this {of}"));
    }
    if identity.datacenter.is_empty() {
        return refuse(format!("Node identity is missing the datacenter field on this {of}"));
    }
    if !is_identity_name(&identity.node_name) {
        return refuse(
            "Node identity has an invalid name. Only lowercase alphanumeric characters, '-' and '_' are allowed",
        );
    }
    Ok(())
}

/// Whether the template has the variables that it needs. Compat: the texts are those of a JSON schema's validator.
fn check_variables(policy: &TemplatedPolicy, template: &Template) -> Result<(), Error> {
    if template.schema.is_empty() {
        return Ok(());
    }
    let Some(variables) = &policy.template_variables else {
        return refuse("1 error occurred:\n\t* Invalid type. Expected: object, given: null\n\n");
    };
    let (name, valid) = (quote(&variables.name), is_identity_name(&variables.name));
    let allowed = "Only lowercase alphanumeric characters, '-' and '_' are allowed";
    match template.name {
        SERVICE_TEMPLATE if !valid => refuse(format!("service identity {name} has an invalid name. {allowed}")),
        // Compat: two spaces.
        NODE_TEMPLATE if !valid => refuse(format!("node identity {name}  has an invalid name. {allowed}")),
        _ if variables.name.is_empty() => refuse("1 error occurred:\n\t* name is required\n\n"),
        _ => Ok(()),
    }
}
