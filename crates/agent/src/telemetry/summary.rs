//! What `/v1/agent/metrics` answers about one interval: plain values with Go's field names.
//!
//! Always true: the lists are sorted by name and labels, and are never null, nor are the labels.
//! Not here: how values are collected (`series`), how they become text (the caller encodes with `wire::json`).

use std::collections::BTreeMap;

use serde::Serialize;

/// One interval of ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricsSummary {
    /// The start of the interval, as Go prints a time in UTC.
    pub timestamp: String,
    pub gauges: Vec<GaugeValue>,
    /// Compat: nothing records points, neither here nor in the reference; the empty list is part of the answer.
    pub points: Vec<PointValue>,
    pub counters: Vec<SampledValue>,
    pub samples: Vec<SampledValue>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GaugeValue {
    pub name: String,
    /// Compat: single precision, as the reference keeps and prints it.
    pub value: f32,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PointValue {
    pub name: String,
    pub points: Vec<f32>,
}

/// A counter or a sample, rolled up over the interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SampledValue {
    pub name: String,
    pub count: u64,
    /// Sum per second of the interval.
    pub rate: f64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub stddev: f64,
    pub labels: BTreeMap<String, String>,
}
