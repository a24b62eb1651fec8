//! Binding rules: what a login through an auth method gives.
//!
//! Always true: a rule's auth method existed when the rule was written, and takes it along when it goes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::BINDING_RULES;
use super::identity::Variables;
use crate::{Apply, Error, Index, Indexes, State, Topic};

/// What a login gives (`structs.ACLBindingRule`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLBindingRule", rename_all = "PascalCase")]
pub struct BindingRule {
    #[serde(rename = "ID")]
    pub id: String,
    pub description: String,
    pub auth_method: String,
    /// A filter expression over what is known of who logs in; empty selects all.
    pub selector: String,
    /// `service`, `node`, `role`, `policy` or `templated-policy`.
    pub bind_type: String,
    /// May hold `${…}`.
    pub bind_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_vars: Option<Variables>,
    pub create_index: Index,
    pub modify_index: Index,
}

/// Log message type 25.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BindingRuleBatchSet {
    pub binding_rules: Vec<BindingRule>,
}

/// Log message type 26.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindingRuleBatchDelete {
    #[serde(rename = "BindingRuleIDs")]
    pub binding_rule_ids: Vec<String>,
}

pub(super) fn set(state: &mut State, apply: &mut Apply, mut rule: BindingRule) -> Result<(), Error> {
    if rule.id.is_empty() {
        return Err(Error::failed("Missing ACL Binding Rule ID"));
    }
    if rule.auth_method.is_empty() {
        return Err(Error::failed("Missing ACL Binding Rule Auth Method"));
    }
    if state.acl.auth_method(&rule.auth_method).is_none() {
        return Err(Error::failed("failed inserting acl binding rule: auth method not found"));
    }
    let existing = state.acl.binding_rule(&rule.id);
    rule.create_index = existing.map_or(apply.index, |existing| existing.create_index);
    rule.modify_index = apply.index;
    if let Some(existing) = existing
        && **existing == (BindingRule { modify_index: existing.modify_index, ..rule.clone() })
    {
        return Ok(());
    }
    touch(state, apply);
    state.acl.put_binding_rule(Arc::new(rule));
    Ok(())
}

pub(super) fn delete(state: &mut State, apply: &mut Apply, id: &str) {
    if state.acl.drop_binding_rule(id).is_some() {
        touch(state, apply);
    }
}

/// An auth method is going away: its rules go.
pub(super) fn method_gone(state: &mut State, apply: &mut Apply, method: &str) {
    let ids: Vec<String> = state.acl.binding_rules_of(method).map(|rule| rule.id.clone()).collect();
    for id in ids {
        delete(state, apply, &id);
    }
}

fn touch(state: &mut State, apply: &mut Apply) {
    state.indexes.raise(BINDING_RULES, apply.index);
    apply.touch(Topic::AclBindingRules);
}

pub(super) fn restore(table: &mut super::Table, rule: BindingRule, indexes: &mut Indexes) {
    indexes.raise(BINDING_RULES, rule.modify_index);
    table.put_binding_rule(Arc::new(rule));
}
