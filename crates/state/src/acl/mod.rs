//! Access control as stored: tokens, policies, roles, auth methods, binding rules (`/v1/acl`).
//!
//! Always true:
//! - A token's links may point at what is gone: they are put right when it is read, not when the policy goes.
//! - Names are unique per kind whatever their case, ids whatever the case of their digits.
//! - The rules of a policy are read once, when it is stored; a policy whose rules cannot be read gives nothing, and
//!   a token that has it is refused.
//! - Secrets are looked up by digest and compared in constant time.
//!
//! Not here: the rule language and what rules allow (crate `acl`), which token a request came with, caches of
//! resolved tokens, replication between datacenters, the verification of logins.

pub mod admit;
mod auth_method;
mod binding_rule;
pub mod duty;
mod hash;
mod identity;
mod legacy;
mod policy;
mod query;
mod resolve;
mod role;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use ::acl::{Authorizer, Need, Resource};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Deserializer};
use wire::time::GoTime;

pub use self::auth_method::{AuthMethod, AuthMethodBatchDelete, AuthMethodBatchSet, AuthMethodStub};
pub use self::binding_rule::{BindingRule, BindingRuleBatchDelete, BindingRuleBatchSet};
pub use self::identity::{
    Link, NODE_TEMPLATE, NodeIdentity, SERVICE_TEMPLATE, ServiceIdentity, TEMPLATES, Template, TemplatedPolicy,
    Variables, distinct_nodes, distinct_services, distinct_templated, template,
};
pub use self::legacy::{CLIENT, DELETE, LegacyRequest, LegacyToken, MANAGEMENT, SET};
pub use self::policy::{MANAGEMENT_ID, Policy, PolicyBatchDelete, PolicyBatchSet, PolicyStub, READ_ONLY_ID, builtin};
pub use self::query::{
    AuthMethodList, AuthMethodRead, BindingRuleList, BindingRuleRead, Expanded, PolicyBatchRead, PolicyList,
    PolicyRead, RoleBatchRead, RoleList, RoleRead, TokenAnswer, TokenBatchRead, TokenList, TokenRead,
};
pub use self::resolve::{Refused, Resolved, resolve};
pub use self::role::{Role, RoleBatchDelete, RoleBatchSet};
pub use self::token::{
    ANONYMOUS_ID, ANONYMOUS_SECRET, HIDDEN_SECRET, Token, TokenBatchDelete, TokenBatchSet, TokenBootstrap, TokenStub,
    anonymous,
};
use crate::octets::Octets;
use crate::snapshot::Record;
use crate::{Apply, Error, Index, Outcome, State};

/// Rows of the index table.
const TOKENS: &str = "acl-tokens";
const POLICIES: &str = "acl-policies";
const ROLES: &str = "acl-roles";
const AUTH_METHODS: &str = "acl-auth-methods";
const BINDING_RULES: &str = "acl-binding-rules";

/// All five tables; keys are folded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    tokens: OrdMap<Arc<str>, Arc<Token>>,
    /// Digest of the secret → accessor.
    by_secret: OrdMap<hash::Digest, Arc<str>>,
    by_method: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
    /// Local or not, end, accessor.
    expiring: OrdSet<(bool, GoTime, Arc<str>)>,
    policies: OrdMap<Arc<str>, policy::Stored>,
    policy_ids: OrdMap<Arc<str>, Arc<str>>,
    roles: OrdMap<Arc<str>, Arc<Role>>,
    role_ids: OrdMap<Arc<str>, Arc<str>>,
    auth_methods: OrdMap<Arc<str>, Arc<AuthMethod>>,
    binding_rules: OrdMap<Arc<str>, Arc<BindingRule>>,
}

/// Names and ids are the same whatever their case.
fn fold(name: &str) -> Arc<str> {
    crate::catalog::fold(name)
}

/// A hash in requests: Compat: there the reference takes the text as it is, and computes its own later.
fn bytes_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Octets, D::Error> {
    if deserializer.is_human_readable() {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        return Ok(Octets::copied(text.as_bytes()));
    }
    Octets::deserialize(deserializer)
}

/// Gives links to policies the names of today; says how many point at something.
fn policy_links(state: &State, links: &mut [Link], of: &str, allow_missing: bool) -> Result<usize, Error> {
    let mut valid = 0;
    for link in links {
        if link.id.is_empty() {
            let text = format!("Encountered a {of} with policies linked by Name in the state store");
            return Err(Error::failed(text));
        }
        match state.acl.policy(&link.id) {
            Some(policy) => {
                link.name.clone_from(&policy.name);
                valid += 1;
            }
            None if allow_missing => {}
            None => return Err(Error::failed(format!("No such policy with ID: {}", link.id))),
        }
    }
    Ok(valid)
}

/// The links that still point at something, with the names of today; `None` when these are as stored.
fn relinked<'a>(links: &[Link], name_of: impl Fn(&str) -> Option<&'a str>) -> Option<Vec<Link>> {
    if links.iter().all(|link| name_of(&link.id) == Some(&link.name)) {
        return None;
    }
    let link = |link: &Link| Some(Link { id: link.id.clone(), name: name_of(&link.id)?.to_owned() });
    Some(links.iter().filter_map(link).collect())
}

impl Table {
    fn stored_token(&self, accessor: &str) -> Option<&Arc<Token>> {
        self.tokens.get(&fold(accessor))
    }

    fn stored_token_by_secret(&self, secret: &str) -> Option<&Arc<Token>> {
        let accessor = self.by_secret.get(&hash::blake2b_256(secret.as_bytes()))?;
        self.tokens.get(accessor).filter(|token| token.secret_id.matches(secret))
    }

    /// A stored token with its links put right.
    fn linked_token(&self, token: &Arc<Token>) -> Arc<Token> {
        let policies = relinked(&token.policies, |id| self.policy(id).map(|policy| policy.name.as_str()));
        let roles = relinked(&token.roles, |id| self.stored_role(id).map(|role| role.name.as_str()));
        if policies.is_none() && roles.is_none() {
            return Arc::clone(token);
        }
        let mut linked = Token::clone(token);
        linked.policies = policies.unwrap_or(linked.policies);
        linked.roles = roles.unwrap_or(linked.roles);
        Arc::new(linked)
    }

    /// Compat: tokens are listed in the order of their secrets.
    fn tokens_in_order(&self) -> Vec<&Arc<Token>> {
        let mut tokens: Vec<_> = self.tokens.values().collect();
        tokens.sort_by(|a, b| a.secret_id.expose().cmp(b.secret_id.expose()));
        tokens
    }

    fn tokens_of_method(&self, method: &str) -> impl Iterator<Item = &Arc<Token>> {
        let accessors = self.by_method.get(&fold(method)).into_iter().flatten();
        accessors.filter_map(|accessor| self.tokens.get(accessor))
    }

    /// Tokens that end, those that end first first.
    fn expiring(&self, local: bool) -> impl Iterator<Item = (GoTime, Arc<str>)> {
        let of_kind = self.expiring.iter().filter(move |(kind, ..)| *kind == local);
        of_kind.map(|(_, end, accessor)| (*end, Arc::clone(accessor)))
    }

    fn put_token(&mut self, token: Token) {
        let accessor = fold(&token.accessor_id);
        self.drop_token(&accessor);
        self.by_secret.insert(hash::blake2b_256(token.secret_id.expose().as_bytes()), Arc::clone(&accessor));
        if !token.auth_method.is_empty() {
            self.by_method.entry(fold(&token.auth_method)).or_default().insert(Arc::clone(&accessor));
        }
        if let Some(end) = token.expires() {
            self.expiring.insert((token.local, end, Arc::clone(&accessor)));
        }
        self.tokens.insert(accessor, Arc::new(token));
    }

    fn drop_token(&mut self, accessor: &str) -> Option<Arc<Token>> {
        let accessor = fold(accessor);
        let token = self.tokens.remove(&accessor)?;
        self.by_secret.remove(&hash::blake2b_256(token.secret_id.expose().as_bytes()));
        if let Some(end) = token.expires() {
            self.expiring.remove(&(token.local, end, Arc::clone(&accessor)));
        }
        let method = fold(&token.auth_method);
        if let Some(accessors) = self.by_method.get_mut(&method) {
            accessors.remove(&accessor);
            if accessors.is_empty() {
                self.by_method.remove(&method);
            }
        }
        Some(token)
    }

    fn policy(&self, id: &str) -> Option<&Arc<Policy>> {
        self.stored_policy(id).map(|stored| &stored.policy)
    }

    fn stored_policy(&self, id: &str) -> Option<&policy::Stored> {
        self.policies.get(&fold(id))
    }

    fn policy_named(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policy_ids.get(&fold(name)).and_then(|id| self.policy(id))
    }

    /// In the order of their names.
    fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policy_ids.values().filter_map(|id| self.policy(id))
    }

    fn put_policy(&mut self, policy: Policy) {
        let id = fold(&policy.id);
        self.drop_policy(&id);
        self.policy_ids.insert(fold(&policy.name), Arc::clone(&id));
        self.policies.insert(id, policy::Stored::new(policy));
    }

    fn drop_policy(&mut self, id: &str) {
        if let Some(stored) = self.policies.remove(&fold(id)) {
            self.policy_ids.remove(&fold(&stored.policy.name));
        }
    }

    fn stored_role(&self, id: &str) -> Option<&Arc<Role>> {
        self.roles.get(&fold(id))
    }

    fn role_named(&self, name: &str) -> Option<&Arc<Role>> {
        self.role_ids.get(&fold(name)).and_then(|id| self.roles.get(id))
    }

    /// A stored role with its links put right.
    fn linked_role(&self, role: &Arc<Role>) -> Arc<Role> {
        match relinked(&role.policies, |id| self.policy(id).map(|policy| policy.name.as_str())) {
            None => Arc::clone(role),
            Some(policies) => Arc::new(Role { policies, ..Role::clone(role) }),
        }
    }

    /// In the order of their names.
    fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.role_ids.values().filter_map(|id| self.roles.get(id))
    }

    fn put_role(&mut self, role: Role) {
        let id = fold(&role.id);
        self.drop_role(&id);
        self.role_ids.insert(fold(&role.name), Arc::clone(&id));
        self.roles.insert(id, Arc::new(role));
    }

    fn drop_role(&mut self, id: &str) -> Option<Arc<Role>> {
        let role = self.roles.remove(&fold(id))?;
        self.role_ids.remove(&fold(&role.name));
        Some(role)
    }

    fn auth_method(&self, name: &str) -> Option<&Arc<AuthMethod>> {
        self.auth_methods.get(&fold(name))
    }

    fn put_auth_method(&mut self, method: Arc<AuthMethod>) {
        self.auth_methods.insert(fold(&method.name), method);
    }

    fn drop_auth_method(&mut self, name: &str) {
        self.auth_methods.remove(&fold(name));
    }

    fn binding_rule(&self, id: &str) -> Option<&Arc<BindingRule>> {
        self.binding_rules.get(&fold(id))
    }

    fn binding_rules_of(&self, method: &str) -> impl Iterator<Item = &Arc<BindingRule>> {
        let method = fold(method);
        self.binding_rules.values().filter(move |rule| fold(&rule.auth_method) == method)
    }

    fn put_binding_rule(&mut self, rule: Arc<BindingRule>) {
        self.binding_rules.insert(fold(&rule.id), rule);
    }

    fn drop_binding_rule(&mut self, id: &str) -> Option<Arc<BindingRule>> {
        self.binding_rules.remove(&fold(id))
    }
}

/// A change of access control: one log message type each.
#[derive(Debug, Clone, PartialEq)]
pub enum AclCommand {
    /// Type 4.
    Legacy(LegacyRequest),
    /// Type 11.
    Bootstrap(TokenBootstrap),
    /// Type 17.
    TokenSet(TokenBatchSet),
    /// Type 18.
    TokenDelete(TokenBatchDelete),
    /// Type 19.
    PolicySet(PolicyBatchSet),
    /// Type 20.
    PolicyDelete(PolicyBatchDelete),
    /// Type 23.
    RoleSet(RoleBatchSet),
    /// Type 24.
    RoleDelete(RoleBatchDelete),
    /// Type 25.
    BindingRuleSet(BindingRuleBatchSet),
    /// Type 26.
    BindingRuleDelete(BindingRuleBatchDelete),
    /// Type 27.
    AuthMethodSet(AuthMethodBatchSet),
    /// Type 28.
    AuthMethodDelete(AuthMethodBatchDelete),
}

impl AclCommand {
    /// Everything but the first step, which nobody can have a token for, needs `acl:write`.
    pub(crate) fn authorize(&self, may: &dyn Authorizer) -> Result<(), Error> {
        match self {
            AclCommand::Bootstrap(_) => Ok(()),
            _ => Ok(may.require(Need::write(Resource::Acl))?),
        }
    }

    /// Compat: what the reference says in front of what its store refuses.
    fn complaint(&self) -> &'static str {
        match self {
            AclCommand::Legacy(_) => "Failed to apply ACL: ",
            AclCommand::Bootstrap(_) => "",
            AclCommand::TokenSet(_) => "Failed to apply token write request: ",
            AclCommand::TokenDelete(_) => "Failed to apply token delete request: ",
            AclCommand::PolicySet(_) => "Failed to apply policy upsert request: ",
            AclCommand::PolicyDelete(_) => "Failed to apply policy delete request: ",
            AclCommand::RoleSet(_) => "Failed to apply role upsert request: ",
            AclCommand::RoleDelete(_) => "Failed to apply role delete request: ",
            AclCommand::BindingRuleSet(_) => "Failed to apply binding rule upsert request: ",
            AclCommand::BindingRuleDelete(_) => "Failed to apply binding rule delete request: ",
            AclCommand::AuthMethodSet(_) => "Failed to apply auth method upsert request: ",
            AclCommand::AuthMethodDelete(_) => "Failed to apply auth method delete request: ",
        }
    }
}

/// Answers [`Outcome::Done`]. A batch happens as a whole or not at all.
pub(crate) fn apply(state: &mut State, apply: &mut Apply, command: AclCommand) -> Outcome {
    let before = state.clone();
    let complaint = command.complaint();
    match run(state, apply, command) {
        Ok(()) => Outcome::Done,
        Err(error) => {
            *state = before;
            Outcome::Failed(Error::failed(format!("{complaint}{error}")))
        }
    }
}

fn run(state: &mut State, apply: &mut Apply, command: AclCommand) -> Result<(), Error> {
    match command {
        AclCommand::Legacy(request) => legacy::run(state, apply, request)?,
        AclCommand::Bootstrap(request) => token::bootstrap(state, apply, request)?,
        AclCommand::TokenSet(batch) => {
            let TokenBatchSet { tokens, cas, allow_missing_links, prohibit_unprivileged, from_replication } = batch;
            let rules = token::Rules { cas, allow_missing_links, prohibit_unprivileged, from_replication };
            for token in tokens {
                token::set(state, apply, token, rules)?;
            }
        }
        AclCommand::TokenDelete(batch) => {
            for accessor in batch.token_ids {
                token::delete(state, apply, &accessor)?;
            }
        }
        AclCommand::PolicySet(batch) => {
            for policy in batch.policies {
                policy::set(state, apply, policy)?;
            }
        }
        AclCommand::PolicyDelete(batch) => {
            for id in batch.policy_ids {
                policy::delete(state, apply, &id)?;
            }
        }
        AclCommand::RoleSet(batch) => {
            for role in batch.roles {
                role::set(state, apply, role, batch.allow_missing_links)?;
            }
        }
        AclCommand::RoleDelete(batch) => batch.role_ids.iter().for_each(|id| role::delete(state, apply, id)),
        AclCommand::BindingRuleSet(batch) => {
            for rule in batch.binding_rules {
                binding_rule::set(state, apply, rule)?;
            }
        }
        AclCommand::BindingRuleDelete(batch) => {
            batch.binding_rule_ids.iter().for_each(|id| binding_rule::delete(state, apply, id));
        }
        AclCommand::AuthMethodSet(batch) => {
            for method in batch.auth_methods {
                auth_method::set(state, apply, method)?;
            }
        }
        AclCommand::AuthMethodDelete(batch) => {
            batch.auth_method_names.iter().for_each(|name| auth_method::delete(state, apply, name));
        }
    }
    Ok(())
}

/// Every record, in the reference's order of writing.
pub(crate) fn records(state: &State) -> impl Iterator<Item = Record> + '_ {
    let table = &state.acl;
    let tokens = table.tokens.values().map(|token| Record::AclToken(Box::new(Token::clone(token))));
    let policies = table.policies.values().map(|stored| Record::AclPolicy(Box::new(Policy::clone(&stored.policy))));
    let roles = table.roles.values().map(|role| Record::AclRole(Box::new(Role::clone(role))));
    let methods = table.auth_methods.values();
    let methods = methods.map(|method| Record::AclAuthMethod(Box::new(AuthMethod::clone(method))));
    let rules = table.binding_rules.values();
    let rules = rules.map(|rule| Record::AclBindingRule(Box::new(BindingRule::clone(rule))));
    tokens.chain(policies).chain(roles).chain(rules).chain(methods)
}

pub(crate) fn restore_token(state: &mut State, token: Token) {
    token::restore(state, token);
}

pub(crate) fn restore_policy(state: &mut State, policy: Policy) {
    policy::restore(&mut state.acl, policy, &mut state.indexes);
}

pub(crate) fn restore_role(state: &mut State, role: Role) {
    role::restore(&mut state.acl, role, &mut state.indexes);
}

pub(crate) fn restore_auth_method(state: &mut State, method: AuthMethod) {
    auth_method::restore(&mut state.acl, method, &mut state.indexes);
}

pub(crate) fn restore_binding_rule(state: &mut State, rule: BindingRule) {
    binding_rule::restore(&mut state.acl, rule, &mut state.indexes);
}

impl State {
    /// Changes whenever a token could resolve to something else: what caches of resolved tokens are kept by.
    #[must_use]
    pub fn acl_version(&self) -> Index {
        self.indexes.max(&[TOKENS, POLICIES, ROLES])
    }
}
