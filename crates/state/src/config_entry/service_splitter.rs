//! How the traffic for a service is divided (`service-splitter`).

use std::collections::BTreeSet;

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};
use wire::json::quote;

use super::service_resolver::{chain_needs, others};
use super::service_router::HeaderModifiers;
use super::{Meta, Rules, check_meta, unset};

/// `structs.ServiceSplitterConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceSplitter {
    pub name: String,
    pub splits: Option<Vec<Split>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Split {
    /// Per cent, in steps of a hundredth.
    pub weight: f32,
    #[serde(skip_serializing_if = "unset")]
    pub service: String,
    #[serde(skip_serializing_if = "unset")]
    pub service_subset: String,
    #[serde(skip_serializing_if = "unset")]
    pub namespace: String,
    #[serde(skip_serializing_if = "unset")]
    pub partition: String,
    #[serde(skip_serializing_if = "unset")]
    pub request_headers: Option<HeaderModifiers>,
    #[serde(skip_serializing_if = "unset")]
    pub response_headers: Option<HeaderModifiers>,
}

const WHOLE: i64 = 100 * 100;

#[allow(clippy::cast_possible_truncation, reason = "a weight out of bounds is out of bounds when cut too")]
fn scaled(weight: f32) -> i64 {
    f64::from(weight * 100.0).round() as i64
}

#[allow(clippy::cast_precision_loss, reason = "weights are small")]
fn unscaled(scaled: i64) -> f32 {
    scaled as f32 / 100.0
}

impl Rules for ServiceSplitter {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Service(&self.name))]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        chain_needs(&self.name, self.related())
    }

    fn related(&self) -> Vec<&str> {
        others(&self.name, self.splits.iter().flatten().map(|split| split.service.as_str()).collect())
    }

    fn normalize(&mut self) -> Result<(), String> {
        for split in self.splits.iter_mut().flatten() {
            split.weight = unscaled(scaled(split.weight));
        }
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("Name is required".into());
        }
        let splits = self.splits.as_deref().unwrap_or_default();
        if splits.is_empty() {
            return Err("no splits configured".into());
        }
        check_meta(meta)?;
        let mut known = BTreeSet::new();
        for split in splits {
            let service = if split.service.is_empty() { &self.name } else { &split.service };
            let place = (service, &split.service_subset, &split.namespace, &split.partition);
            // Compat: header changes are compared as objects, so two that have any are never the same.
            let has_headers = split.request_headers.is_some() || split.response_headers.is_some();
            if !has_headers && !known.insert(place) {
                let (service, subset, namespace, partition) = place;
                return Err(format!(
                    "split destination occurs more than once: service={}, subset={}, namespace={}, partition={}",
                    quote(service),
                    quote(subset),
                    quote(namespace),
                    quote(partition)
                ));
            }
        }
        let sum = splits.iter().fold(0i64, |sum, split| sum.saturating_add(scaled(split.weight)));
        if sum == WHOLE {
            return Ok(());
        }
        Err(format!("the sum of all split weights must be 100, not {:.6}", unscaled(sum)))
    }
}
