//! What tokens and roles hold besides links: service identities, node identities, templated policies.
//!
//! Each stands for a policy that is made from a template; the templates are built in.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::Policy;
use super::hash::Content;

/// A link to a policy or role. The id counts; the name is for people and may be stale.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLLink", rename_all = "PascalCase")]
pub struct Link {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
}

/// All that one needs to be a service (`structs.ACLServiceIdentity`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLServiceIdentity", rename_all = "PascalCase")]
pub struct ServiceIdentity {
    pub service_name: String,
    /// Where it holds; everywhere when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datacenters: Vec<String>,
}

/// All that one needs to be a node (`structs.ACLNodeIdentity`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLNodeIdentity", rename_all = "PascalCase")]
pub struct NodeIdentity {
    pub node_name: String,
    pub datacenter: String,
}

/// A policy made from a template (`structs.ACLTemplatedPolicy`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "ACLTemplatedPolicy", rename_all = "PascalCase")]
pub struct TemplatedPolicy {
    #[serde(rename = "TemplateID", skip_serializing_if = "String::is_empty")]
    pub template_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_variables: Option<Variables>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datacenters: Vec<String>,
}

/// What a template is filled with (`structs.ACLTemplatedPolicyVariables`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename = "ACLTemplatedPolicyVariables")]
pub struct Variables {
    #[serde(alias = "Name")]
    pub name: String,
}

impl Serialize for Variables {
    /// Compat: the one field whose name differs: `name` in JSON, omitted when empty, `Name` in stored bytes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serializer.is_human_readable();
        let shown = !json || !self.name.is_empty();
        let mut out = serializer.serialize_struct("ACLTemplatedPolicyVariables", usize::from(shown))?;
        if shown {
            out.serialize_field(if json { "name" } else { "Name" }, &self.name)?;
        }
        out.end()
    }
}

/// A built-in template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    pub name: &'static str,
    pub id: &'static str,
    /// JSON schema of the variables; empty where there are none.
    pub schema: &'static str,
    /// Rules with `{{.Name}}` where the name goes.
    pub rules: &'static str,
    pub description: &'static str,
}

const NAMED_SCHEMA: &str = "{\n\t\"type\": \"object\",\n\t\"properties\": {\n\t\t\"name\": { \"type\": \"string\", \"$ref\": \"#/definitions/min-length-one\" }\n\t},\n\t\"required\": [\"name\"],\n\t\"definitions\": {\n\t\t\"min-length-one\": {\n\t\t\t\t\"type\": \"string\",\n\t\t\t\t\"minLength\": 1\n\t\t}\n\t}\n}";

/// The name of the template behind service identities.
pub const SERVICE_TEMPLATE: &str = "builtin/service";
/// The name of the template behind node identities.
pub const NODE_TEMPLATE: &str = "builtin/node";

/// Every template, by name. Their texts are part of the API (`/v1/acl/templated-policies`).
pub const TEMPLATES: [Template; 6] = [
    Template {
        name: "builtin/api-gateway",
        id: "00000000-0000-0000-0000-000000000008",
        schema: NAMED_SCHEMA,
        rules: "mesh = \"read\"\nnode_prefix \"\" {\n\tpolicy = \"read\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}\nservice \"{{.Name}}\" {\n\tpolicy = \"write\"\n}",
        description: "Gives the token or role permissions for a Consul api gateway",
    },
    Template {
        name: "builtin/dns",
        id: "00000000-0000-0000-0000-000000000005",
        schema: "",
        rules: "\nnode_prefix \"\" {\n\tpolicy = \"read\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}\nquery_prefix \"\" {\n\tpolicy = \"read\"\n}",
        description: "Gives the token or role permissions for the Consul DNS to query services in the network.",
    },
    Template {
        name: NODE_TEMPLATE,
        id: "00000000-0000-0000-0000-000000000004",
        schema: NAMED_SCHEMA,
        rules: "\nnode \"{{.Name}}\" {\n\tpolicy = \"write\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}",
        description: "Gives the token or role permissions for a register an agent/node into the catalog. A node is typically a consul agent but can also be a physical server, cloud instance or a container.",
    },
    Template {
        name: "builtin/nomad-client",
        id: "00000000-0000-0000-0000-000000000009",
        schema: "",
        rules: "agent_prefix \"\" {\n  policy = \"read\"\n}\nnode_prefix \"\" {\n  policy = \"read\"\n}\nservice_prefix \"\" {\n  policy = \"write\"\n}\nkey_prefix \"\" {\n  policy = \"read\"\n}",
        description: "Gives the token or role permissions required for integration with a nomad client.",
    },
    Template {
        name: "builtin/nomad-server",
        id: "00000000-0000-0000-0000-000000000006",
        schema: "",
        rules: "\nacl = \"write\"\nagent_prefix \"\" {\n  policy = \"read\"\n}\nnode_prefix \"\" {\n  policy = \"read\"\n}\nservice_prefix \"\" {\n  policy = \"write\"\n}",
        description: "Gives the token or role permissions required for integration with a nomad server.",
    },
    Template {
        name: SERVICE_TEMPLATE,
        id: "00000000-0000-0000-0000-000000000003",
        schema: NAMED_SCHEMA,
        rules: "\nservice \"{{.Name}}\" {\n\tpolicy = \"write\"\n}\nservice \"{{.Name}}-sidecar-proxy\" {\n\tpolicy = \"write\"\n}\nservice_prefix \"\" {\n\tpolicy = \"read\"\n}\nnode_prefix \"\" {\n\tpolicy = \"read\"\n}",
        description: "Gives the token or role permissions to register a service and discover services in the Consul catalog. It also gives the specified service's sidecar proxy the permission to discover and route traffic to other services.",
    },
];

/// The template of this name.
#[must_use]
pub fn template(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

impl ServiceIdentity {
    /// The policy that this identity stands for.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        let variables = Some(Variables { name: self.service_name.clone() });
        of_template(SERVICE_TEMPLATE, variables, self.datacenters.clone()).policy()
    }

    pub(super) fn add_to(&self, content: &mut Content) {
        content.add(&self.service_name);
        self.datacenters.iter().for_each(|datacenter| {
            content.add(datacenter);
        });
    }
}

impl NodeIdentity {
    /// The policy that this identity stands for.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        let variables = Some(Variables { name: self.node_name.clone() });
        of_template(NODE_TEMPLATE, variables, vec![self.datacenter.clone()]).policy()
    }

    pub(super) fn add_to(&self, content: &mut Content) {
        content.add(&self.node_name).add(&self.datacenter);
    }
}

fn of_template(name: &str, template_variables: Option<Variables>, datacenters: Vec<String>) -> TemplatedPolicy {
    TemplatedPolicy { template_name: name.to_owned(), template_variables, datacenters, ..TemplatedPolicy::default() }
}

impl TemplatedPolicy {
    /// The policy that the filled template gives; `None` for an unknown template, and for one that lacks the
    /// variables it needs.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        let template = template(&self.template_name)?;
        let rules = match &self.template_variables {
            Some(variables) => template.rules.replace("{{.Name}}", &variables.name),
            None if template.schema.is_empty() => template.rules.to_owned(),
            None => return None,
        };
        // Compat: meant to be a hash, this is the text itself with the hash of nothing behind it.
        const NOTHING_HASHED: &str = "6c62272e07bb014262b821756295c58d";
        let id: String = rules.bytes().map(|byte| format!("{byte:02x}")).chain([NOTHING_HASHED.to_owned()]).collect();
        let mut policy = Policy {
            name: format!("synthetic-policy-{id}"),
            id,
            description: format!("synthetic policy generated from templated policy: {}", self.template_name),
            rules,
            datacenters: self.datacenters.clone(),
            ..Policy::default()
        };
        policy.set_hash();
        Some(policy)
    }

    pub(super) fn add_to(&self, content: &mut Content) {
        content.add(&self.template_id).add(&self.template_name);
        if let Some(variables) = &self.template_variables {
            content.add(&variables.name);
        }
        self.datacenters.iter().for_each(|datacenter| {
            content.add(datacenter);
        });
    }
}

/// Identities of one service become one, valid in the datacenters of all of them.
///
/// Compat: "everywhere" (no datacenters) and a list become the list.
#[must_use]
pub fn distinct_services(identities: impl IntoIterator<Item = ServiceIdentity>) -> Vec<ServiceIdentity> {
    let mut distinct: Vec<ServiceIdentity> = Vec::new();
    for mut identity in identities {
        match distinct.iter_mut().find(|known| known.service_name == identity.service_name) {
            Some(known) => {
                known.datacenters.append(&mut identity.datacenters);
                known.datacenters.sort();
                known.datacenters.dedup();
            }
            None => {
                identity.datacenters.sort();
                distinct.push(identity);
            }
        }
    }
    distinct
}

/// Each identity once.
#[must_use]
pub fn distinct_nodes(identities: impl IntoIterator<Item = NodeIdentity>) -> Vec<NodeIdentity> {
    let mut distinct: Vec<NodeIdentity> = Vec::new();
    for identity in identities {
        if !distinct.contains(&identity) {
            distinct.push(identity);
        }
    }
    distinct
}

/// Each template once for the same variables; of several the first.
#[must_use]
pub fn distinct_templated(policies: impl IntoIterator<Item = TemplatedPolicy>) -> Vec<TemplatedPolicy> {
    let mut distinct: Vec<TemplatedPolicy> = Vec::new();
    for policy in policies {
        let named = template(&policy.template_name).is_none_or(|template| !template.schema.is_empty());
        let same = |known: &TemplatedPolicy| {
            known.template_name == policy.template_name
                && (!named || known.template_variables == policy.template_variables)
        };
        if !distinct.iter().any(same) {
            distinct.push(policy);
        }
    }
    distinct
}
