//! Auth methods: how somebody else's word becomes a token.
//!
//! Always true: when a method goes, its binding rules and the tokens that it made go with it.
//!
//! Not here: what the configuration of a method means, which is whoever verifies logins'.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::duration::GoDuration;

use super::{AUTH_METHODS, binding_rule, token};
use crate::{Apply, Error, Index, Indexes, State, Topic};

/// A way to log in (`structs.ACLAuthMethod`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename = "ACLAuthMethod", rename_all = "PascalCase")]
pub struct AuthMethod {
    /// How long tokens of this method live at most; zero is for ever.
    #[serde(rename = "MaxTokenTTL", with = "wire::duration::as_string", skip_serializing_if = "GoDuration::is_zero")]
    pub max_token_ttl: GoDuration,
    pub name: String,
    pub r#type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `local` (also when empty) or `global`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_locality: String,
    pub config: Option<Map<String, Value>>,
    pub create_index: Index,
    pub modify_index: Index,
}

/// A method without its configuration, as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuthMethodStub<'a> {
    #[serde(rename = "MaxTokenTTL", with = "wire::duration::as_string", skip_serializing_if = "GoDuration::is_zero")]
    pub max_token_ttl: GoDuration,
    pub name: &'a str,
    pub r#type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub display_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub token_locality: &'a str,
    pub create_index: Index,
    pub modify_index: Index,
}

/// Log message type 27.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthMethodBatchSet {
    pub auth_methods: Vec<AuthMethod>,
}

/// Log message type 28.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthMethodBatchDelete {
    pub auth_method_names: Vec<String>,
}

impl AuthMethod {
    /// Whether its tokens are global.
    #[must_use]
    pub fn makes_global_tokens(&self) -> bool {
        self.token_locality == "global"
    }

    /// Without its configuration.
    #[must_use]
    pub fn stub(&self) -> AuthMethodStub<'_> {
        AuthMethodStub {
            max_token_ttl: self.max_token_ttl,
            name: &self.name,
            r#type: &self.r#type,
            display_name: &self.display_name,
            description: &self.description,
            token_locality: &self.token_locality,
            create_index: self.create_index,
            modify_index: self.modify_index,
        }
    }
}

pub(super) fn set(state: &mut State, apply: &mut Apply, mut method: AuthMethod) -> Result<(), Error> {
    if method.name.is_empty() {
        return Err(Error::failed("Missing ACL Auth Method Name"));
    }
    if method.r#type.is_empty() {
        return Err(Error::failed("Missing ACL Auth Method Type"));
    }
    let existing = state.acl.auth_method(&method.name);
    method.create_index = existing.map_or(apply.index, |existing| existing.create_index);
    method.modify_index = apply.index;
    if let Some(existing) = existing
        && **existing == (AuthMethod { modify_index: existing.modify_index, ..method.clone() })
    {
        return Ok(());
    }
    touch(state, apply);
    state.acl.put_auth_method(Arc::new(method));
    Ok(())
}

pub(super) fn delete(state: &mut State, apply: &mut Apply, name: &str) {
    let Some(method) = state.acl.auth_method(name).cloned() else { return };
    binding_rule::method_gone(state, apply, &method.name);
    token::method_gone(state, apply, &method);
    state.acl.drop_auth_method(name);
    touch(state, apply);
}

fn touch(state: &mut State, apply: &mut Apply) {
    state.indexes.raise(AUTH_METHODS, apply.index);
    apply.touch(Topic::AclAuthMethods);
}

pub(super) fn restore(table: &mut super::Table, method: AuthMethod, indexes: &mut Indexes) {
    indexes.raise(AUTH_METHODS, method.modify_index);
    table.put_auth_method(Arc::new(method));
}
