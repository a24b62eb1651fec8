//! Policies: named texts of rules.
//!
//! Always true: no two policies share a name (case does not count); the built-in ones keep their rules and stay.

use std::sync::Arc;

use acl::rules::{BadRules, Rules, Syntax};
use serde::{Deserialize, Serialize};

use super::hash::Content;
use super::{POLICIES, bytes_or_text, fold};
use crate::octets::Octets;
use crate::{Apply, Error, Index, Indexes, State, Topic};

/// A named text of rules (`structs.ACLPolicy`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLPolicy", rename_all = "PascalCase")]
pub struct Policy {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub description: String,
    pub rules: String,
    /// Where it holds; everywhere when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datacenters: Vec<String>,
    #[serde(deserialize_with = "bytes_or_text")]
    pub hash: Octets,
    pub create_index: Index,
    pub modify_index: Index,
}

/// A policy without its rules, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyStub<'a> {
    #[serde(rename = "ID")]
    pub id: &'a str,
    pub name: &'a str,
    pub description: &'a str,
    /// Compat: null rather than left out.
    pub datacenters: Option<&'a [String]>,
    pub hash: &'a Octets,
    pub create_index: Index,
    pub modify_index: Index,
}

/// Log message type 19.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PolicyBatchSet {
    pub policies: Vec<Policy>,
}

/// Log message type 20.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyBatchDelete {
    #[serde(rename = "PolicyIDs")]
    pub policy_ids: Vec<String>,
}

/// The policy that may do everything.
pub const MANAGEMENT_ID: &str = "00000000-0000-0000-0000-000000000001";
/// The policy that may read everything.
pub const READ_ONLY_ID: &str = "00000000-0000-0000-0000-000000000002";

/// The policies that every cluster has.
#[must_use]
pub fn builtin() -> [Policy; 2] {
    let policy = |id: &str, name: &str, level: &str, grants: &str| {
        let mut policy = Policy {
            id: id.to_owned(),
            name: name.to_owned(),
            description: format!("A built-in policy that grants {grants} access to all Consul features"),
            rules: everything(level),
            ..Policy::default()
        };
        policy.set_hash();
        policy
    };
    [
        policy(MANAGEMENT_ID, "global-management", "write", "read and write"),
        policy(READ_ONLY_ID, "builtin/global-read-only", "read", "read-only"),
    ]
}

/// One level on every resource. Compat: the text is seen by users, compared with on every update, and hashed.
fn everything(level: &str) -> String {
    let prefix = |word: &str| format!("{word} \"\" {{\n\tpolicy = \"{level}\"\n}}\n");
    let single = |word: &str| format!("{word} = \"{level}\"\n");
    let mut text = String::from("\n");
    text += &single("acl");
    text += &(prefix("agent_prefix") + &prefix("event_prefix") + &prefix("key_prefix"));
    text += &(single("keyring") + &prefix("node_prefix"));
    text += &(single("operator") + &single("mesh") + &single("peering") + &prefix("query_prefix"));
    text += &format!("service_prefix \"\" {{\n\tpolicy = \"{level}\"\n\tintentions = \"{level}\"\n}}\n");
    text += prefix("session_prefix").trim_end();
    text
}

/// The name under which the built-in policy of this id was born.
pub(super) fn builtin_name(id: &str) -> Option<&'static str> {
    match id {
        MANAGEMENT_ID => Some("global-management"),
        READ_ONLY_ID => Some("builtin/global-read-only"),
        _ => None,
    }
}

impl Policy {
    /// Computes the hash of what users set.
    pub fn set_hash(&mut self) {
        let mut content = Content::default();
        content.add(&self.name).add(&self.description).add(&self.rules);
        self.datacenters.iter().for_each(|datacenter| {
            content.add(datacenter);
        });
        self.hash = content.hash();
    }

    /// Without its rules.
    #[must_use]
    pub fn stub(&self) -> PolicyStub<'_> {
        PolicyStub {
            id: &self.id,
            name: &self.name,
            description: &self.description,
            datacenters: Some(self.datacenters.as_slice()).filter(|list| !list.is_empty()),
            hash: &self.hash,
            create_index: self.create_index,
            modify_index: self.modify_index,
        }
    }

    /// Whether it holds in this datacenter.
    #[must_use]
    pub fn holds_in(&self, datacenter: &str) -> bool {
        self.datacenters.is_empty() || self.datacenters.iter().any(|known| known == datacenter)
    }
}

/// A stored policy, its rules read once.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub policy: Arc<Policy>,
    pub rules: Result<Arc<Rules>, BadRules>,
}

impl Stored {
    pub(super) fn new(policy: Policy) -> Self {
        let rules = Rules::parse_stored(&policy.rules, Syntax::Current).map(Arc::new);
        Stored { policy: Arc::new(policy), rules }
    }
}

pub(super) fn set(state: &mut State, apply: &mut Apply, mut policy: Policy) -> Result<(), Error> {
    if policy.id.is_empty() {
        return Err(Error::failed("Missing ACL Policy ID"));
    }
    if policy.name.is_empty() {
        return Err(Error::failed("Missing ACL Policy Name"));
    }
    let existing = state.acl.policy(&policy.id);
    if let Some(name) = builtin_name(&policy.id).filter(|_| existing.is_some()) {
        // Compared with what this version calls the rules, so that an upgrade can change them.
        if builtin().iter().all(|builtin| builtin.id != policy.id || builtin.rules != policy.rules) {
            return Err(Error::failed(format!("Changing the Rules for the builtin {name} policy is not permitted")));
        }
        if !policy.datacenters.is_empty() {
            return Err(Error::failed(format!(
                "Changing the Datacenters of the builtin {name} policy is not permitted"
            )));
        }
    }
    if let Some(other) = state.acl.policy_named(&policy.name)
        && fold(&other.id) != fold(&policy.id)
    {
        return Err(Error::failed(format!("A policy with name {:?} already exists", policy.name)));
    }
    policy.create_index = existing.map_or(apply.index, |existing| existing.create_index);
    policy.modify_index = apply.index;
    if let Some(existing) = existing
        && **existing == (Policy { modify_index: existing.modify_index, ..policy.clone() })
    {
        return Ok(());
    }
    touch(state, apply, &policy.id);
    state.acl.put_policy(policy);
    Ok(())
}

pub(super) fn delete(state: &mut State, apply: &mut Apply, id: &str) -> Result<(), Error> {
    let Some(policy) = state.acl.policy(id) else { return Ok(()) };
    if let Some(name) = builtin_name(&policy.id) {
        return Err(Error::failed(format!("Deletion of the builtin {name} policy is not permitted")));
    }
    let id = policy.id.clone();
    state.acl.drop_policy(&id);
    touch(state, apply, &id);
    Ok(())
}

fn touch(state: &mut State, apply: &mut Apply, id: &str) {
    state.indexes.raise(POLICIES, apply.index);
    apply.touch(Topic::AclPolicies);
    apply.touch(Topic::AclPolicy(fold(id)));
}

pub(super) fn restore(table: &mut super::Table, policy: Policy, indexes: &mut Indexes) {
    indexes.raise(POLICIES, policy.modify_index);
    table.put_policy(policy);
}
