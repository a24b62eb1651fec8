//! From a verified identity to the token that it gets.

use std::collections::BTreeMap;

use acl::Denied;

use super::binding_rule::bound;
use super::is_role_name;
use crate::acl::auth_method::AuthMethod;
use crate::acl::identity::{Link, NodeIdentity, ServiceIdentity, TemplatedPolicy, template};
use crate::acl::token::Token;
use crate::{Error, State};

/// The token that a login through `method` gives, still to be admitted as a new one. `values` fill `${…}`, `selected`
/// says whether a rule's selector picks the identity. Who is given nothing is refused.
pub fn login(
    state: &State,
    method: &AuthMethod,
    values: &BTreeMap<String, String>,
    selected: impl Fn(&str) -> bool,
    datacenter: &str,
    description: &str,
) -> Result<Token, Error> {
    let mut token = Token {
        description: description.to_owned(),
        local: !method.makes_global_tokens(),
        auth_method: method.name.clone(),
        expiration_ttl: method.max_token_ttl,
        ..Token::default()
    };
    let link = |id: &str| Link { id: id.to_owned(), name: String::new() };
    for rule in state.acl.binding_rules_of(&method.name) {
        if !rule.selector.is_empty() && !selected(&rule.selector) {
            continue;
        }
        // Compat: at a login the name of a policy is held to what a role can be called.
        let (name, variables) = bound(rule, values, is_role_name)?;
        match rule.bind_type.as_str() {
            "service" => {
                token.service_identities.push(ServiceIdentity { service_name: name, ..ServiceIdentity::default() });
            }
            "node" => {
                token.node_identities.push(NodeIdentity { node_name: name, datacenter: datacenter.to_owned() });
            }
            // What does not exist today is passed over.
            "role" => token.roles.extend(state.acl.role_named(&name).map(|role| link(&role.id))),
            "policy" => token.policies.extend(state.acl.policy_named(&name).map(|policy| link(&policy.id))),
            _ => token.templated_policies.push(TemplatedPolicy {
                template_id: template(&name).map(|template| template.id.to_owned()).unwrap_or_default(),
                template_name: name,
                template_variables: variables,
                ..TemplatedPolicy::default()
            }),
        }
    }
    let nothing = token.service_identities.is_empty()
        && token.node_identities.is_empty()
        && token.templated_policies.is_empty()
        && token.roles.is_empty()
        && token.policies.is_empty();
    if nothing { Err(Denied::because("").into()) } else { Ok(token) }
}

/// What the description of a login's token says.
#[must_use]
pub fn description(meta: &BTreeMap<String, String>) -> String {
    let said = "token created via login";
    match wire::json::to_string(meta) {
        Ok(meta_text) if !meta.is_empty() => format!("{said}: {meta_text}"),
        _ => said.to_owned(),
    }
}
