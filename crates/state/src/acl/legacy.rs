//! Commands of Consul 1.10 and before: tokens that are known by their secret alone and carry their rules.
//!
//! Always true: legacy and current tokens live in one table; a legacy command changes legacy tokens only.

use acl::Secret;
use serde::{Deserialize, Serialize};

use super::identity::Link;
use super::policy;
use super::token::{self, Token};
use crate::{Apply, Error, Index, State};

/// A legacy token (`structs.ACL` of 1.7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACL", rename_all = "PascalCase")]
pub struct LegacyToken {
    /// The secret; need not be a UUID.
    #[serde(rename = "ID", with = "acl::secret::exposed")]
    pub id: Secret,
    pub name: String,
    /// `client` or `management`.
    pub r#type: String,
    pub rules: String,
    pub create_index: Index,
    pub modify_index: Index,
}

/// Log message type 4.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegacyRequest {
    #[serde(rename = "Datacenter")]
    pub datacenter: String,
    /// `set`, `delete`, `bootstrap-init`, `bootstrap-now` or `force-set`.
    #[serde(rename = "Op")]
    pub op: String,
    #[serde(rename = "ACL")]
    pub acl: LegacyToken,
    /// The accessor that a new token gets, chosen by whoever proposes. Compat: ours alone; the reference passes over
    /// it, and where it is missing one is made up from the index.
    #[serde(rename = "AccessorID", skip_serializing_if = "String::is_empty")]
    pub accessor_id: String,
}

/// The words of [`LegacyRequest::op`].
pub const SET: &str = "set";
/// See [`SET`].
pub const DELETE: &str = "delete";
/// The types of legacy tokens.
pub const CLIENT: &str = "client";
/// See [`CLIENT`].
pub const MANAGEMENT: &str = "management";

impl Token {
    /// As the legacy endpoints show it: legacy tokens, and current ones that may do everything.
    #[must_use]
    pub fn as_legacy(&self) -> Option<LegacyToken> {
        let manages = self.policies.iter().any(|link| link.id == policy::MANAGEMENT_ID);
        let r#type = match self.r#type.as_str() {
            "" if manages => MANAGEMENT,
            "" => return None,
            known => known,
        };
        Some(LegacyToken {
            id: self.secret_id.clone(),
            name: self.description.clone(),
            r#type: r#type.to_owned(),
            rules: self.rules.clone(),
            create_index: self.create_index,
            modify_index: self.modify_index,
        })
    }
}

pub(super) fn run(state: &mut State, apply: &mut Apply, request: LegacyRequest) -> Result<(), Error> {
    match request.op.as_str() {
        SET | "force-set" => set(state, apply, request),
        DELETE => {
            let token = state.acl.stored_token_by_secret(request.acl.id.expose());
            match token.map(|token| token.accessor_id.clone()) {
                Some(accessor) => token::delete(state, apply, &accessor),
                None => Ok(()),
            }
        }
        "bootstrap-init" => Ok(()),
        "bootstrap-now" => {
            let token = convert(state, apply, request)?;
            token::bootstrap(state, apply, token::TokenBootstrap { token, ..Default::default() })
        }
        other => Err(Error::failed(format!("Invalid ACL operation '{other}'"))),
    }
}

fn set(state: &mut State, apply: &mut Apply, request: LegacyRequest) -> Result<(), Error> {
    let token = convert(state, apply, request)?;
    let rules = token::Rules { allow_missing_links: true, ..Default::default() };
    token::set(state, apply, token, rules)
}

fn convert(state: &State, apply: &Apply, request: LegacyRequest) -> Result<Token, Error> {
    let LegacyToken { id, name, r#type, rules, .. } = request.acl;
    if id.is_empty() {
        return Err(Error::failed("Missing ACL ID"));
    }
    let existing = state.acl.stored_token_by_secret(id.expose());
    if existing.is_some_and(|existing| !existing.is_legacy()) {
        return Err(Error::failed(
            "failed inserting acl token: cannot use legacy endpoint to modify a non-legacy token",
        ));
    }
    let accessor_id = match existing {
        Some(existing) => existing.accessor_id.clone(),
        None if request.accessor_id.is_empty() => token::invented_accessor(state, apply.index),
        None => request.accessor_id,
    };
    let mut token = Token {
        accessor_id,
        secret_id: id,
        description: name,
        policies: match r#type.as_str() {
            MANAGEMENT => vec![Link { id: policy::MANAGEMENT_ID.to_owned(), name: String::new() }],
            _ => Vec::new(),
        },
        r#type,
        rules,
        ..Token::default()
    };
    token.set_hash();
    Ok(token)
}
