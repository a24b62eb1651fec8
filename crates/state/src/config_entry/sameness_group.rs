//! Services that count as the same across clusters (`sameness-group`): known, and refused, as in every edition of the
//! reference but one.

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};

use super::{Meta, Rules, unset};

/// `structs.SamenessGroupConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SamenessGroup {
    pub name: String,
    #[serde(skip_serializing_if = "unset")]
    pub default_for_failover: bool,
    #[serde(skip_serializing_if = "unset")]
    pub include_local: bool,
    pub members: Option<Vec<Member>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Member {
    #[serde(skip_serializing_if = "unset")]
    pub partition: String,
    #[serde(skip_serializing_if = "unset")]
    pub peer: String,
}

impl Rules for SamenessGroup {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Mesh)]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn normalize(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn validate(&self, _meta: &Meta) -> Result<(), String> {
        Err("sameness-groups are an enterprise-only feature".into())
    }
}
