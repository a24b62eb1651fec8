//! Tokens: who asks, and what they were given.
//!
//! Always true: accessors and secrets are unique and stay; a token of an auth method goes with the method; the
//! anonymous token cannot be removed.
//!
//! Not here: the end of a token's life, which is a matter of time: [`crate::State::acl_tokens_due`] says which are
//! due, the leader deletes them.

use std::sync::Arc;

use acl::Secret;
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;
use wire::time::GoTime;

use super::hash::{Content, blake2b_256};
use super::identity::{Link, NodeIdentity, ServiceIdentity, TemplatedPolicy};
use super::{AuthMethod, TOKENS, bytes_or_text, fold, policy, policy_links, role};
use crate::octets::Octets;
use crate::{Apply, Error, Index, State, Topic};

/// Who asks, and what they were given (`structs.ACLToken`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLToken", rename_all = "PascalCase")]
pub struct Token {
    /// Names the token where its secret must not be shown.
    #[serde(rename = "AccessorID")]
    pub accessor_id: String,
    #[serde(rename = "SecretID", with = "acl::secret::exposed")]
    pub secret_id: Secret,
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_identities: Vec<ServiceIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_identities: Vec<NodeIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templated_policies: Vec<TemplatedPolicy>,
    /// Holds in its own datacenter only.
    pub local: bool,
    /// The auth method that made it at a login.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth_method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<GoTime>,
    /// Only in requests: `expiration_time` counted from `create_time`.
    #[serde(rename = "ExpirationTTL", skip_serializing_if = "GoDuration::is_zero")]
    pub expiration_ttl: GoDuration,
    pub create_time: GoTime,
    #[serde(deserialize_with = "bytes_or_text")]
    pub hash: Octets,
    pub create_index: Index,
    pub modify_index: Index,
    /// `client` or `management` for the tokens of Consul 1.3 and before, empty for all others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub r#type: String,
    /// The rules of a legacy client token, in the legacy dialect.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rules: String,
}

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TokenStub<'a> {
    #[serde(rename = "AccessorID")]
    pub accessor_id: &'a str,
    #[serde(rename = "SecretID", serialize_with = "exposed")]
    pub secret_id: &'a Secret,
    pub description: &'a str,
    #[serde(skip_serializing_if = "<[Link]>::is_empty")]
    pub policies: &'a [Link],
    #[serde(skip_serializing_if = "<[Link]>::is_empty")]
    pub roles: &'a [Link],
    #[serde(skip_serializing_if = "<[ServiceIdentity]>::is_empty")]
    pub service_identities: &'a [ServiceIdentity],
    #[serde(skip_serializing_if = "<[NodeIdentity]>::is_empty")]
    pub node_identities: &'a [NodeIdentity],
    #[serde(skip_serializing_if = "<[TemplatedPolicy]>::is_empty")]
    pub templated_policies: &'a [TemplatedPolicy],
    pub local: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub auth_method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<GoTime>,
    pub create_time: GoTime,
    pub hash: &'a Octets,
    pub create_index: Index,
    pub modify_index: Index,
    /// Compat: of 1.7; left out for all but legacy tokens.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
}

fn exposed<S: serde::Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    acl::secret::exposed::serialize(secret, to)
}

/// Log message type 17.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TokenBatchSet {
    pub tokens: Vec<Token>,
    /// Only if the stored token has the `modify_index` of the given one; zero for "none is stored".
    #[serde(rename = "CAS")]
    pub cas: bool,
    /// Links to what does not exist are stored all the same (logins, replication).
    pub allow_missing_links: bool,
    /// A token that would grant nothing is refused (logins).
    pub prohibit_unprivileged: bool,
    pub from_replication: bool,
}

/// Log message type 18.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenBatchDelete {
    /// Accessors.
    #[serde(rename = "TokenIDs")]
    pub token_ids: Vec<String>,
}

/// Log message type 11.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TokenBootstrap {
    pub token: Token,
    /// The index at which the cluster was bootstrapped, to do it again.
    pub reset_index: Index,
}

/// Accessor of the anonymous token, which holds for requests without one.
pub const ANONYMOUS_ID: &str = "00000000-0000-0000-0000-000000000002";
/// Secret of the anonymous token.
pub const ANONYMOUS_SECRET: &str = "anonymous";
/// Stands for a secret that the asker may not see.
pub const HIDDEN_SECRET: &str = "<hidden>";
/// The row of the index table that says when the cluster was bootstrapped.
const BOOTSTRAPPED: &str = "acl-token-bootstrap";

/// The anonymous token as the first leader writes it.
#[must_use]
pub fn anonymous(create_time: GoTime) -> Token {
    let mut token = Token {
        accessor_id: ANONYMOUS_ID.to_owned(),
        secret_id: Secret::new(ANONYMOUS_SECRET),
        description: "Anonymous Token".to_owned(),
        create_time,
        ..Token::default()
    };
    token.set_hash();
    token
}

impl Token {
    /// A token that may do everything (bootstrapping, tokens of the configuration).
    #[must_use]
    pub fn management(accessor_id: &str, secret_id: Secret, description: &str, create_time: GoTime) -> Token {
        let mut token = Token {
            accessor_id: accessor_id.to_owned(),
            secret_id,
            description: description.to_owned(),
            policies: vec![Link { id: policy::MANAGEMENT_ID.to_owned(), name: String::new() }],
            create_time,
            ..Token::default()
        };
        token.set_hash();
        token
    }

    /// Computes the hash of what users set.
    pub fn set_hash(&mut self) {
        let mut content = Content::default();
        content.add(&self.description).add(if self.local { "local" } else { "global" });
        for link in self.policies.iter().chain(&self.roles) {
            content.add(&link.id);
        }
        self.service_identities.iter().for_each(|identity| identity.add_to(&mut content));
        self.node_identities.iter().for_each(|identity| identity.add_to(&mut content));
        self.templated_policies.iter().for_each(|policy| policy.add_to(&mut content));
        self.hash = content.hash();
    }

    /// When it ends, if it does.
    #[must_use]
    pub fn expires(&self) -> Option<GoTime> {
        self.expiration_time.filter(|time| !time.is_zero())
    }

    /// Whether its life is over.
    #[must_use]
    pub fn is_expired(&self, now: GoTime) -> bool {
        self.expires().is_some_and(|end| end < now)
    }

    /// Whether it is one of Consul 1.3 and before.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        !self.r#type.is_empty()
    }

    /// Whether it is the token of those who give none.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.accessor_id == ANONYMOUS_ID
    }

    /// As lists show it.
    #[must_use]
    pub fn stub(&self) -> TokenStub<'_> {
        TokenStub {
            accessor_id: &self.accessor_id,
            secret_id: &self.secret_id,
            description: &self.description,
            policies: &self.policies,
            roles: &self.roles,
            service_identities: &self.service_identities,
            node_identities: &self.node_identities,
            templated_policies: &self.templated_policies,
            local: self.local,
            auth_method: &self.auth_method,
            expiration_time: self.expiration_time,
            create_time: self.create_time,
            hash: &self.hash,
            create_index: self.create_index,
            modify_index: self.modify_index,
            legacy: self.is_legacy(),
        }
    }

    /// The service names that `?servicename=` finds it by.
    pub(super) fn service_names(&self) -> impl Iterator<Item = &str> {
        let of_template = self.templated_policies.iter().filter_map(|policy| {
            let name = &policy.template_variables.as_ref()?.name;
            (policy.template_name == super::identity::SERVICE_TEMPLATE).then_some(name.as_str())
        });
        self.service_identities.iter().map(|identity| identity.service_name.as_str()).chain(of_template)
    }
}

/// Puts the first management token in place.
pub(super) fn bootstrap(state: &mut State, apply: &mut Apply, request: TokenBootstrap) -> Result<(), Error> {
    let done = state.indexes.get(BOOTSTRAPPED);
    if !done.is_zero() {
        if request.reset_index.is_zero() {
            return Err(Error::failed("ACL bootstrap no longer allowed"));
        }
        if request.reset_index != done {
            return Err(Error::failed("Invalid ACL bootstrap reset index"));
        }
    }
    let token = request.token;
    set(state, apply, token, Rules::default())
        .map_err(|error| Error::failed(format!("failed inserting bootstrap token: {error}")))?;
    state.indexes.raise(BOOTSTRAPPED, apply.index);
    Ok(())
}

/// The rules that a token is held to on its way into the table; those of [`TokenBatchSet`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    pub cas: bool,
    pub allow_missing_links: bool,
    pub prohibit_unprivileged: bool,
    pub from_replication: bool,
}

pub(super) fn set(state: &mut State, apply: &mut Apply, mut token: Token, rules: Rules) -> Result<(), Error> {
    if token.secret_id.is_empty() {
        return Err(Error::failed("Missing ACL Token SecretID"));
    }
    if token.accessor_id.is_empty() {
        return Err(Error::failed("Missing ACL Token AccessorID"));
    }
    if rules.from_replication && token.local {
        return Err(Error::failed("Cannot replicate local tokens"));
    }
    let existing = state.acl.stored_token(&token.accessor_id).cloned();
    if rules.cas {
        let stored = existing.as_ref().map(|existing| existing.modify_index).unwrap_or_default();
        if stored != token.modify_index {
            return Ok(());
        }
    }
    let policies = policy_links(state, &mut token.policies, "Token", rules.allow_missing_links)?;
    let roles = role_links(state, &mut token.roles, rules.allow_missing_links)?;
    if !token.auth_method.is_empty() && !rules.from_replication && state.acl.auth_method(&token.auth_method).is_none() {
        return Err(Error::failed(format!("No such auth method with Name: {}", token.auth_method)));
    }
    role::check_identities("Token", &token.service_identities, &token.node_identities)?;
    if rules.prohibit_unprivileged
        && policies + roles == 0
        && token.service_identities.is_empty()
        && token.node_identities.is_empty()
        && token.templated_policies.is_empty()
    {
        return Err(Error::failed("ACL token has no privileges"));
    }
    if let Some(existing) = &existing
        && token.secret_id != existing.secret_id
    {
        return Err(Error::failed("The ACL Token SecretID field is immutable"));
    }
    // Two tokens of one secret would make it a matter of luck what the secret may do. The reference's index of
    // secrets would forget the first.
    if let Some(other) = state.acl.stored_token_by_secret(token.secret_id.expose())
        && existing.as_ref().is_none_or(|existing| existing.accessor_id != other.accessor_id)
    {
        return Err(Error::failed("Invalid Token: SecretID is already in use"));
    }
    if token.hash.0.is_empty() {
        token.set_hash();
    }
    token.create_index = existing.as_ref().map_or(apply.index, |existing| existing.create_index);
    token.modify_index = apply.index;
    if let Some(existing) = &existing
        && **existing == (Token { modify_index: existing.modify_index, ..token.clone() })
    {
        return Ok(());
    }
    touch(state, apply, &token.accessor_id);
    state.acl.put_token(token);
    Ok(())
}

fn role_links(state: &State, links: &mut [Link], allow_missing: bool) -> Result<usize, Error> {
    let mut valid = 0;
    for link in links {
        if link.id.is_empty() {
            return Err(Error::failed("Encountered a Token with roles linked by Name in the state store"));
        }
        match state.acl.stored_role(&link.id) {
            Some(role) => {
                link.name.clone_from(&role.name);
                valid += 1;
            }
            None if allow_missing => {}
            None => return Err(Error::failed(format!("No such role with ID: {}", link.id))),
        }
    }
    Ok(valid)
}

pub(super) fn delete(state: &mut State, apply: &mut Apply, accessor: &str) -> Result<(), Error> {
    let Some(token) = state.acl.stored_token(accessor) else { return Ok(()) };
    if token.is_anonymous() {
        return Err(Error::failed("Deletion of the builtin anonymous token is not permitted"));
    }
    state.acl.drop_token(accessor);
    touch(state, apply, accessor);
    Ok(())
}

/// An auth method is going away: the tokens that it made go. Those that another datacenter's method of the same name
/// made, and replication brought here, stay.
pub(super) fn method_gone(state: &mut State, apply: &mut Apply, method: &AuthMethod) {
    let of_method = state.acl.tokens_of_method(&method.name);
    let doomed: Vec<String> = of_method
        .filter(|token| token.local != method.makes_global_tokens())
        .map(|token| token.accessor_id.clone())
        .collect();
    for accessor in doomed {
        state.acl.drop_token(&accessor);
        touch(state, apply, &accessor);
    }
}

fn touch(state: &mut State, apply: &mut Apply, accessor: &str) {
    state.indexes.raise(TOKENS, apply.index);
    apply.touch(Topic::AclTokens);
    apply.touch(Topic::AclToken(fold(accessor)));
}

/// An accessor for a token that has none: legacy tokens had only their secret. It tells nothing of the secret.
pub(super) fn invented_accessor(state: &State, index: Index) -> String {
    let mut attempt = 0u32;
    loop {
        let digest = blake2b_256(format!("accessor of a legacy token {index} {attempt}").as_bytes());
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let accessor = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        if state.acl.stored_token(&accessor).is_none() {
            return accessor;
        }
        // Ends: only as many are taken as there are tokens.
        attempt += 1;
    }
}

pub(super) fn restore(state: &mut State, mut token: Token) {
    if token.accessor_id.is_empty() {
        token.accessor_id = invented_accessor(state, token.create_index);
    }
    state.indexes.raise(TOKENS, token.modify_index);
    state.acl.put_token(token);
}

impl State {
    /// The token of this accessor, its links as they are now.
    #[must_use]
    pub fn acl_token(&self, accessor: &str) -> Option<Arc<Token>> {
        self.acl.stored_token(accessor).map(|token| self.acl.linked_token(token))
    }

    /// The token of this secret, its links as they are now. Expired ones are found too.
    #[must_use]
    pub fn acl_token_by_secret(&self, secret: &str) -> Option<Arc<Token>> {
        self.acl.stored_token_by_secret(secret).map(|token| self.acl.linked_token(token))
    }

    /// Accessors of tokens whose life is over, those that ended first first. The leader deletes them.
    #[must_use]
    pub fn acl_tokens_due(&self, local: bool, now: GoTime, most: usize) -> Vec<Arc<str>> {
        self.acl.expiring(local).take_while(|(end, _)| *end < now).take(most).map(|(_, accessor)| accessor).collect()
    }

    /// When the next token ends.
    #[must_use]
    pub fn acl_tokens_next_due(&self, local: bool) -> Option<GoTime> {
        self.acl.expiring(local).next().map(|(end, _)| end)
    }

    /// The index at which the cluster was bootstrapped, which is what a reset must name; `None` while it can be.
    #[must_use]
    pub fn acl_bootstrapped(&self) -> Option<Index> {
        Some(self.indexes.get(BOOTSTRAPPED)).filter(|index| !index.is_zero())
    }
}
