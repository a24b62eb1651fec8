//! Binding rules on their way in, and the names that they bind.

use std::collections::BTreeMap;

use wire::json::quote;

use super::{check_variables, is_identity_name, is_policy_name, is_role_name, refuse, uuid};
use crate::acl::binding_rule::BindingRule;
use crate::acl::identity::{TemplatedPolicy, Variables, template};
use crate::{Error, State};

/// A binding rule as it will be stored: a new one, with `fresh_id`, when it has no id, else a change of the one it
/// names. `variables` are the names that `${…}` may use, and `selects` says what is wrong with a selector: both are
/// known to the auth method, which is why they come after it was found.
pub fn binding_rule(
    state: &State,
    mut rule: BindingRule,
    fresh_id: &str,
    variables: &[&str],
    selects: impl FnOnce(&str) -> Result<(), String>,
) -> Result<BindingRule, Error> {
    if rule.id.is_empty() {
        rule.id = fresh_id.to_owned();
    } else {
        if uuid(&rule.id).is_err() {
            return refuse("Binding Rule ID invalid UUID");
        }
        let Some(existing) = state.acl.binding_rule(&rule.id) else {
            return refuse(format!("cannot find binding rule {}", rule.id));
        };
        if rule.auth_method.is_empty() {
            rule.auth_method.clone_from(&existing.auth_method);
        } else if rule.auth_method != existing.auth_method {
            return refuse("the AuthMethod field of an Binding Rule is immutable");
        }
    }
    if rule.auth_method.is_empty() {
        return refuse("Invalid Binding Rule: no AuthMethod is set");
    }
    if state.acl.auth_method(&rule.auth_method).is_none() {
        return refuse(format!("cannot find auth method with name {}", quote(&rule.auth_method)));
    }
    if !rule.selector.is_empty() {
        selects(&rule.selector)
            .map_err(|reason| Error::failed(format!("invalid Binding Rule: Selector is invalid: {reason}")))?;
    }
    if rule.bind_type.is_empty() {
        return refuse("Invalid Binding Rule: no BindType is set");
    }
    if rule.bind_name.is_empty() {
        return refuse("Invalid Binding Rule: no BindName is set");
    }
    if rule.bind_type != "templated-policy" && rule.bind_vars.is_some() {
        return refuse("invalid Binding Rule: BindVars cannot be set when bind type is not templated-policy.");
    }
    let fake: BTreeMap<String, String> = variables.iter().map(|name| ((*name).to_owned(), "fake".to_owned())).collect();
    let invalid = |error: Error| Error::failed(format!("Invalid Binding Rule: invalid BindName or BindVars: {error}"));
    if !BIND_TYPES.contains(&rule.bind_type.as_str()) {
        let unknown = format!("invalid Binding Rule: unknown BindType {}", quote(&rule.bind_type));
        return Err(invalid(Error::failed(unknown)));
    }
    bound(&rule, &fake, is_policy_name).map_err(|error| {
        invalid(Error::failed(format!("failed to validate bindType {}: {error}", quote(&rule.bind_type))))
    })?;
    Ok(rule)
}

const BIND_TYPES: [&str; 5] = ["service", "node", "role", "policy", "templated-policy"];

/// What a rule binds for one who logs in with these values: the name that stands in its place, and for a template the
/// variables that fill it. `is_policy` says which names a policy can have.
pub(super) fn bound(
    rule: &BindingRule,
    values: &BTreeMap<String, String>,
    is_policy: fn(&str) -> bool,
) -> Result<(String, Option<Variables>), Error> {
    let valid = match rule.bind_type.as_str() {
        "service" | "node" => is_identity_name,
        "role" => is_role_name,
        "policy" => is_policy,
        _ => return bound_template(rule, values),
    };
    let name = interpolated(&rule.bind_name, values)?;
    if valid(&name) { Ok((name, None)) } else { refuse(format!("invalid bind name: {}", quote(&name))) }
}

fn bound_template(rule: &BindingRule, values: &BTreeMap<String, String>) -> Result<(String, Option<Variables>), Error> {
    let Some(template) = template(&rule.bind_name) else {
        let name = &rule.bind_name;
        return refuse(format!(
            "Bind name for templated-policy bind type does not match existing template name: {name}"
        ));
    };
    let variables = match &rule.bind_vars {
        Some(variables) if !variables.name.is_empty() => {
            let name = interpolated(&variables.name, values)
                .map_err(|error| Error::failed(format!("failed to interpret templated policy variables: {error}")))?;
            Some(Variables { name })
        }
        other => other.clone(),
    };
    let policy = TemplatedPolicy {
        template_name: rule.bind_name.clone(),
        template_variables: variables.clone(),
        ..TemplatedPolicy::default()
    };
    check_variables(&policy, template)
        .map_err(|error| Error::failed(format!("templated policy failed validation: {error}")))?;
    Ok((rule.bind_name.clone(), variables))
}

/// `text` with each `${name}` replaced, values in lower case; `$${` stands for itself.
pub fn interpolated(text: &str, values: &BTreeMap<String, String>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let column = |rest: &str| text.len() - rest.len() + 1;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start - 1]);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else {
            let text = format!(
                "error interpreting template: parse error at 1:{}: expected \"}}\" but found end of string",
                text.len() + 1
            );
            return refuse(text);
        };
        let name = inside[..end].trim();
        let Some(value) = values.get(name) else {
            let at = column(inside) + (inside.len() - inside.trim_start().len());
            return refuse(format!("error interpreting template: 1:{at}: unknown variable accessed: {name}"));
        };
        // Compat: bound names are lower case, whatever the identity's own spelling.
        out.push_str(&value.to_lowercase());
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}
