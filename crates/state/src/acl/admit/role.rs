//! Roles on their way in and out.

use wire::json::quote;

use super::{
    by_id, check_node_identity, check_service_name, check_variables, is_role_name, not_found, policy_id, refuse, uuid,
};
use crate::acl::identity::{distinct_nodes, distinct_services, distinct_templated, template};
use crate::acl::role::Role;
use crate::prepared_query::check_uuid;
use crate::{Error, State};

/// A role as it will be stored: a new one, with `fresh_id`, when it has no id, else a change of the one it names.
pub fn role(state: &State, mut role: Role, fresh_id: &str) -> Result<Role, Error> {
    if role.name.is_empty() {
        return refuse("Invalid Role: no Name is set");
    }
    if !is_role_name(&role.name) {
        return refuse("Invalid Role: invalid Name. Only alphanumeric characters, '-' and '_' are allowed");
    }
    let same_name = state.acl.role_named(&role.name);
    if role.id.is_empty() {
        role.id = fresh_id.to_owned();
        if same_name.is_some() {
            return refuse(format!("Invalid Role: A Role with Name {} already exists", quote(&role.name)));
        }
    } else {
        if uuid(&role.id).is_err() {
            return refuse("Role ID invalid UUID");
        }
        let Some(existing) = state.acl.stored_role(&role.id) else {
            return refuse(format!("cannot find role {}", role.id));
        };
        if existing.name != role.name && same_name.is_some() {
            return refuse(format!("Invalid Role: A role with name {} already exists", quote(&role.name)));
        }
    }
    // Compat: that policies linked by id exist is found out when the role is stored.
    role.policies = by_id(&role.policies, "policy", |name| policy_id(state, name), None)?;
    for identity in &role.service_identities {
        check_service_name(&identity.service_name, "role")?;
    }
    role.service_identities = distinct_services(role.service_identities);
    for identity in &role.node_identities {
        check_node_identity(identity, "role")?;
    }
    role.node_identities = distinct_nodes(role.node_identities);
    for policy in &mut role.templated_policies {
        if policy.template_name.is_empty() {
            return refuse("templated policy is missing the template name field on this role");
        }
        let Some(template) = template(&policy.template_name) else {
            let name = &policy.template_name;
            return refuse(format!("templated policy with an invalid templated name: {name} for this role"));
        };
        if policy.template_id.is_empty() {
            policy.template_id = template.id.to_owned();
        }
        check_variables(policy, template)
            .map_err(|error| Error::failed(format!("encountered role with invalid templated policy: {error}")))?;
    }
    role.templated_policies = distinct_templated(role.templated_policies);
    role.set_hash();
    Ok(role)
}

/// Whether the role of this id can be removed.
pub fn deletable_role(state: &State, id: &str) -> Result<(), Error> {
    check_uuid(id).map_err(|reason| Error::failed(format!("failed acl role lookup: index error: {reason}")))?;
    state.acl.stored_role(id).map(|_| ()).ok_or_else(|| not_found("role"))
}
