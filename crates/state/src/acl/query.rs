//! Reads of access control.
//!
//! Compat: the index of every answer is that of its whole table. Lists and lookups show what exists, expired tokens
//! too: only who asks knows the time, and passes over them (see [`Token::is_expired`]).

use std::sync::Arc;

use acl::{Authorizer, Need, Resource, Secret};
use serde::{Deserialize, Serialize};

use super::resolve::synthetic;
use super::token::{HIDDEN_SECRET, Token};
use super::{AUTH_METHODS, AuthMethod, BINDING_RULES, BindingRule, POLICIES, Policy, ROLES, Role, TOKENS, fold};
use crate::prepared_query::check_uuid;
use crate::{Error, Found, Query, Seen, State, Topic};

fn may_read(may: &dyn Authorizer) -> Result<(), Error> {
    Ok(may.require(Need::read(Resource::Acl))?)
}

/// Refuses ids that are none, in the words of the reference's index.
fn check_id(id: &str, of: &str) -> Result<(), Error> {
    check_uuid(id).map_err(|reason| Error::failed(format!("failed acl {of} lookup: index error: {reason}")))
}

/// Hides the secrets of tokens from those who may only read; says nothing about rows, none is left out.
fn hide_secrets<'a>(tokens: impl IntoIterator<Item = &'a mut Arc<Token>>, may: &dyn Authorizer) {
    if may.allows(Need::write(Resource::Acl)) {
        return;
    }
    for token in tokens {
        Arc::make_mut(token).secret_id = Secret::new(HIDDEN_SECRET);
    }
}

/// A token with its links put right; its answer depends on what they point at.
fn linked(state: &State, token: &Arc<Token>, seen: &mut Seen) -> Arc<Token> {
    for link in &token.policies {
        seen.note(Topic::AclPolicy(fold(&link.id)));
    }
    for link in &token.roles {
        seen.note(Topic::AclRole(fold(&link.id)));
    }
    state.acl.linked_token(token)
}

fn linked_role(state: &State, role: &Arc<Role>, seen: &mut Seen) -> Arc<Role> {
    for link in &role.policies {
        seen.note(Topic::AclPolicy(fold(&link.id)));
    }
    state.acl.linked_role(role)
}

/// One token (`structs.ACLTokenGetRequest`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TokenRead {
    /// An accessor, or a secret.
    #[serde(rename = "TokenID")]
    pub token_id: String,
    /// `accessor` or `secret`. Who knows a secret may read its token.
    #[serde(rename = "TokenIDType")]
    pub token_id_type: String,
    /// With the policies and roles behind it.
    pub expanded: bool,
}

/// See [`TokenRead::token_id_type`].
pub const BY_ACCESSOR: &str = "accessor";

/// A token and, when asked for, what is behind its links.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenAnswer {
    pub token: Option<Arc<Token>>,
    pub expanded: Option<Expanded>,
}

/// The policies and roles of a token, synthetic policies included.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expanded {
    pub policies: Vec<Arc<Policy>>,
    pub roles: Vec<Arc<Role>>,
}

impl Query for TokenRead {
    const METHOD: &'static str = "ACL.TokenRead";
    type Answer = TokenAnswer;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        if self.token_id_type == BY_ACCESSOR { may_read(may) } else { Ok(()) }
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let token = if self.token_id_type == BY_ACCESSOR {
            check_id(&self.token_id, "token")?;
            seen.note(Topic::AclToken(fold(&self.token_id)));
            state.acl.stored_token(&self.token_id)
        } else {
            let token = state.acl.stored_token_by_secret(&self.token_id);
            seen.note(token.map_or(Topic::AclTokens, |token| Topic::AclToken(fold(&token.accessor_id))));
            token
        };
        let token = token.map(|token| linked(state, token, seen));
        let expanded = token.as_ref().filter(|_| self.expanded).map(|token| expand(state, token, seen));
        Ok(Found::new(state.indexes.get(TOKENS), TokenAnswer { token, expanded }))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        if self.token_id_type == BY_ACCESSOR {
            hide_secrets(&mut answer.token, may);
        }
        false
    }
}

fn expand(state: &State, token: &Token, seen: &mut Seen) -> Expanded {
    let stored: Vec<&Arc<Role>> = token.roles.iter().filter_map(|link| state.acl.stored_role(&link.id)).collect();
    let mut ids: Vec<&str> = Vec::new();
    for link in token.policies.iter().chain(stored.iter().flat_map(|role| &role.policies)) {
        seen.note(Topic::AclPolicy(fold(&link.id)));
        if !ids.contains(&link.id.as_str()) {
            ids.push(&link.id);
        }
    }
    let real = ids.into_iter().filter_map(|id| state.acl.policy(id).cloned());
    Expanded {
        policies: real.chain(synthetic(token, &stored).map(Arc::new)).collect(),
        roles: stored.iter().map(|role| state.acl.linked_role(role)).collect(),
    }
}

/// Tokens, all or those of one policy, role, auth method or service (`structs.ACLTokenListRequest`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TokenList {
    /// All are listed when this and `include_global` are equal.
    pub include_local: bool,
    pub include_global: bool,
    /// An id.
    pub policy: String,
    /// An id.
    pub role: String,
    pub auth_method: String,
    pub service_name: String,
}

impl Query for TokenList {
    const METHOD: &'static str = "ACL.TokenList";
    type Answer = Vec<Arc<Token>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let filters = [&self.policy, &self.role, &self.auth_method, &self.service_name];
        if filters.iter().filter(|filter| !filter.is_empty()).count() > 1 {
            return Err(Error::failed("can only filter by one of policy, role, serviceName, or methodName at a time"));
        }
        for id in [&self.policy, &self.role].into_iter().filter(|id| !id.is_empty()) {
            check_id(id, "token")?;
        }
        seen.note(Topic::AclTokens);
        let everywhere = self.include_local == self.include_global;
        let linked_to = |links: &[super::Link], id: &str| links.iter().any(|link| fold(&link.id) == fold(id));
        let wanted = |token: &Token| {
            (everywhere || token.local == self.include_local)
                && (self.policy.is_empty() || linked_to(&token.policies, &self.policy))
                && (self.role.is_empty() || linked_to(&token.roles, &self.role))
                && (self.auth_method.is_empty() || fold(&token.auth_method) == fold(&self.auth_method))
                && (self.service_name.is_empty()
                    || token.service_names().any(|name| fold(name) == fold(&self.service_name)))
        };
        let tokens = state.acl.tokens_in_order().into_iter().filter(|token| wanted(token));
        let tokens = tokens.map(|token| linked(state, token, seen)).collect();
        Ok(Found::new(state.indexes.get(TOKENS), tokens))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        hide_secrets(answer, may);
        false
    }
}

/// Tokens by accessor; those that do not exist are left out. Replication asks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenBatchRead {
    #[serde(rename = "AccessorIDs")]
    pub accessor_ids: Vec<String>,
}

impl Query for TokenBatchRead {
    const METHOD: &'static str = "ACL.TokenBatchRead";
    type Answer = Vec<Arc<Token>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let mut tokens = Vec::new();
        for accessor in &self.accessor_ids {
            check_id(accessor, "token")?;
            seen.note(Topic::AclToken(fold(accessor)));
            tokens.extend(state.acl.stored_token(accessor).map(|token| linked(state, token, seen)));
        }
        Ok(Found::new(state.indexes.get(TOKENS), tokens))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        if keep_readable(answer, may) {
            return true;
        }
        hide_secrets(answer, may);
        false
    }
}

/// All rows or none: there is one permission to read access control.
fn keep_readable<T>(rows: &mut Vec<T>, may: &dyn Authorizer) -> bool {
    if rows.is_empty() || may.allows(Need::read(Resource::Acl)) {
        return false;
    }
    rows.clear();
    true
}

/// One policy, by id or by name (`structs.ACLPolicyGetRequest`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PolicyRead {
    #[serde(rename = "PolicyID")]
    pub policy_id: String,
    /// Counts when there is no id.
    pub policy_name: String,
}

impl Query for PolicyRead {
    const METHOD: &'static str = "ACL.PolicyRead";
    type Answer = Option<Arc<Policy>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let policy = if self.policy_id.is_empty() {
            seen.note(Topic::AclPolicies);
            state.acl.policy_named(&self.policy_name)
        } else {
            check_id(&self.policy_id, "policy")?;
            seen.note(Topic::AclPolicy(fold(&self.policy_id)));
            state.acl.policy(&self.policy_id)
        };
        Ok(Found::new(state.indexes.get(POLICIES), policy.cloned()))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// All policies, in the order of their names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PolicyList {}

impl Query for PolicyList {
    const METHOD: &'static str = "ACL.PolicyList";
    type Answer = Vec<Arc<Policy>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::AclPolicies);
        Ok(Found::new(state.indexes.get(POLICIES), state.acl.policies().cloned().collect()))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// Policies by id; those that do not exist are left out. Replication asks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyBatchRead {
    #[serde(rename = "PolicyIDs")]
    pub policy_ids: Vec<String>,
}

impl Query for PolicyBatchRead {
    const METHOD: &'static str = "ACL.PolicyBatchRead";
    type Answer = Vec<Arc<Policy>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let mut policies = Vec::new();
        for id in &self.policy_ids {
            check_id(id, "policy")?;
            seen.note(Topic::AclPolicy(fold(id)));
            policies.extend(state.acl.policy(id).cloned());
        }
        Ok(Found::new(state.indexes.get(POLICIES), policies))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// One role, by id or by name (`structs.ACLRoleGetRequest`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RoleRead {
    #[serde(rename = "RoleID")]
    pub role_id: String,
    /// Counts when there is no id.
    pub role_name: String,
}

impl Query for RoleRead {
    const METHOD: &'static str = "ACL.RoleRead";
    type Answer = Option<Arc<Role>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let role = if self.role_id.is_empty() {
            seen.note(Topic::AclRoles);
            state.acl.role_named(&self.role_name)
        } else {
            check_id(&self.role_id, "role")?;
            seen.note(Topic::AclRole(fold(&self.role_id)));
            state.acl.stored_role(&self.role_id)
        };
        let role = role.map(|role| linked_role(state, role, seen));
        Ok(Found::new(state.indexes.get(ROLES), role))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// Roles in the order of their names, all or those with one policy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RoleList {
    /// An id.
    pub policy: String,
}

impl Query for RoleList {
    const METHOD: &'static str = "ACL.RoleList";
    type Answer = Vec<Arc<Role>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::AclRoles);
        if !self.policy.is_empty() {
            check_id(&self.policy, "role")?;
        }
        let policy = fold(&self.policy);
        let wanted = |role: &&Arc<Role>| policy.is_empty() || role.policies.iter().any(|link| fold(&link.id) == policy);
        let roles = state.acl.roles().filter(wanted).map(|role| linked_role(state, role, seen)).collect();
        Ok(Found::new(state.indexes.get(ROLES), roles))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// Roles by id; those that do not exist are left out. Replication asks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleBatchRead {
    #[serde(rename = "RoleIDs")]
    pub role_ids: Vec<String>,
}

impl Query for RoleBatchRead {
    const METHOD: &'static str = "ACL.RoleBatchRead";
    type Answer = Vec<Arc<Role>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let mut roles = Vec::new();
        for id in &self.role_ids {
            check_id(id, "role")?;
            seen.note(Topic::AclRole(fold(id)));
            roles.extend(state.acl.stored_role(id).map(|role| linked_role(state, role, seen)));
        }
        Ok(Found::new(state.indexes.get(ROLES), roles))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// One binding rule (`structs.ACLBindingRuleGetRequest`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BindingRuleRead {
    #[serde(rename = "BindingRuleID")]
    pub binding_rule_id: String,
}

impl Query for BindingRuleRead {
    const METHOD: &'static str = "ACL.BindingRuleRead";
    type Answer = Option<Arc<BindingRule>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        check_id(&self.binding_rule_id, "binding rule")?;
        seen.note(Topic::AclBindingRules);
        Ok(Found::new(state.indexes.get(BINDING_RULES), state.acl.binding_rule(&self.binding_rule_id).cloned()))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// Binding rules in the order of their ids, all or those of one auth method.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BindingRuleList {
    pub auth_method: String,
}

impl Query for BindingRuleList {
    const METHOD: &'static str = "ACL.BindingRuleList";
    type Answer = Vec<Arc<BindingRule>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::AclBindingRules);
        let method = fold(&self.auth_method);
        let all = state.acl.binding_rules.values();
        let rules = all.filter(|rule| method.is_empty() || fold(&rule.auth_method) == method).cloned().collect();
        Ok(Found::new(state.indexes.get(BINDING_RULES), rules))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// One auth method (`structs.ACLAuthMethodGetRequest`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthMethodRead {
    pub auth_method_name: String,
}

impl Query for AuthMethodRead {
    const METHOD: &'static str = "ACL.AuthMethodRead";
    type Answer = Option<Arc<AuthMethod>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::AclAuthMethods);
        Ok(Found::new(state.indexes.get(AUTH_METHODS), state.acl.auth_method(&self.auth_method_name).cloned()))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// All auth methods, in the order of their names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AuthMethodList {}

impl Query for AuthMethodList {
    const METHOD: &'static str = "ACL.AuthMethodList";
    type Answer = Vec<Arc<AuthMethod>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        may_read(may)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::AclAuthMethods);
        Ok(Found::new(state.indexes.get(AUTH_METHODS), state.acl.auth_methods.values().cloned().collect()))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}
