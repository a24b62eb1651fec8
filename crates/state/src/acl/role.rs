//! Roles: policies and identities under one name.
//!
//! Always true: no two roles share a name (case does not count).

use serde::{Deserialize, Serialize};

use super::hash::Content;
use super::identity::{self, Link, NodeIdentity, ServiceIdentity, TemplatedPolicy};
use super::{ROLES, bytes_or_text, fold, policy_links};
use crate::octets::Octets;
use crate::{Apply, Error, Index, Indexes, State, Topic};

/// Policies and identities under one name (`structs.ACLRole`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLRole", rename_all = "PascalCase")]
pub struct Role {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_identities: Vec<ServiceIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_identities: Vec<NodeIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templated_policies: Vec<TemplatedPolicy>,
    #[serde(deserialize_with = "bytes_or_text")]
    pub hash: Octets,
    pub create_index: Index,
    pub modify_index: Index,
}

/// Log message type 23.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RoleBatchSet {
    pub roles: Vec<Role>,
    /// Links to policies that do not exist are stored all the same (replication).
    pub allow_missing_links: bool,
}

/// Log message type 24.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleBatchDelete {
    #[serde(rename = "RoleIDs")]
    pub role_ids: Vec<String>,
}

impl Role {
    /// Computes the hash of what users set.
    pub fn set_hash(&mut self) {
        let mut content = Content::default();
        content.add(&self.name).add(&self.description);
        for link in &self.policies {
            content.add(&link.id);
        }
        self.service_identities.iter().for_each(|identity| identity.add_to(&mut content));
        self.node_identities.iter().for_each(|identity| identity.add_to(&mut content));
        self.templated_policies.iter().for_each(|policy| policy.add_to(&mut content));
        self.hash = content.hash();
    }
}

pub(super) fn set(state: &mut State, apply: &mut Apply, mut role: Role, allow_missing: bool) -> Result<(), Error> {
    if role.id.is_empty() {
        return Err(Error::failed("Missing ACL Role ID"));
    }
    if role.name.is_empty() {
        return Err(Error::failed("Missing ACL Role Name"));
    }
    if let Some(other) = state.acl.role_named(&role.name)
        && fold(&other.id) != fold(&role.id)
    {
        return Err(Error::failed(format!("A role with name {:?} already exists", role.name)));
    }
    policy_links(state, &mut role.policies, "Role", allow_missing)?;
    check_identities("Role", &role.service_identities, &role.node_identities)?;
    check_templated(&mut role)?;
    let existing = state.acl.stored_role(&role.id);
    role.create_index = existing.map_or(apply.index, |existing| existing.create_index);
    role.modify_index = apply.index;
    if let Some(existing) = existing
        && **existing == (Role { modify_index: existing.modify_index, ..role.clone() })
    {
        return Ok(());
    }
    touch(state, apply, &role.id);
    state.acl.put_role(role);
    Ok(())
}

/// What no endpoint lets through, and the store refuses once more.
pub(super) fn check_identities(of: &str, services: &[ServiceIdentity], nodes: &[NodeIdentity]) -> Result<(), Error> {
    let empty = |what: &str| Err(Error::failed(format!("Encountered a {of} with an empty {what} in the state store")));
    if services.iter().any(|identity| identity.service_name.is_empty()) {
        return empty("service identity name");
    }
    for identity in nodes {
        if identity.node_name.is_empty() {
            return empty("node identity name");
        }
        if identity.datacenter.is_empty() {
            return empty("node identity datacenter");
        }
    }
    Ok(())
}

fn check_templated(role: &mut Role) -> Result<(), Error> {
    let (name, id) = (&role.name, &role.id);
    for policy in &mut role.templated_policies {
        let of = &policy.template_name;
        if of.is_empty() {
            let text =
                format!("encountered a Role {name} ({id}) with an empty templated policy name in the state store");
            return Err(Error::failed(text));
        }
        let Some(template) = identity::template(of) else {
            let text = format!("encountered a Role {name} ({id}) with an invalid templated policy name {of:?}");
            return Err(Error::failed(text));
        };
        if policy.template_id.is_empty() {
            policy.template_id = template.id.to_owned();
        }
    }
    Ok(())
}

pub(super) fn delete(state: &mut State, apply: &mut Apply, id: &str) {
    if state.acl.drop_role(id).is_some() {
        touch(state, apply, id);
    }
}

fn touch(state: &mut State, apply: &mut Apply, id: &str) {
    state.indexes.raise(ROLES, apply.index);
    apply.touch(Topic::AclRoles);
    apply.touch(Topic::AclRole(fold(id)));
}

pub(super) fn restore(table: &mut super::Table, role: Role, indexes: &mut Indexes) {
    indexes.raise(ROLES, role.modify_index);
    table.put_role(role);
}
