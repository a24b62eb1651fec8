//! The parameters that choose and order rows: `?filter`, `?node-meta`, `?near`.

use std::collections::BTreeMap;
use std::sync::Arc;

use filter::{Filter, Record, Shape};
use state::coordinate::Source;

use super::{Failure, Request, failed};
use crate::Api;

/// `?filter`, parsed for one kind of row. Without the parameter everything is kept.
pub struct Filtering(Option<Filter>);

impl Filtering {
    /// Keeps everything.
    #[must_use]
    pub fn none() -> Self {
        Filtering(None)
    }

    /// The same where the reference finds out about selectors only when it meets a row: then the refusal comes
    /// without its usual beginning.
    pub fn of_rows(req: &Request, shape: &'static Shape, any_rows: bool) -> Result<Self, Failure> {
        let Some(text) = req.filled("filter") else { return Ok(Filtering(None)) };
        filter::check_syntax(text)
            .map_err(|error| Failure::internal(format!("Failed to create boolean expression evaluator: {error}")))?;
        if !any_rows {
            return Ok(Filtering(None));
        }
        let filter = Filter::parse(text, shape).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Filtering(Some(filter)))
    }

    /// Parses the expression, or refuses it in the reference's words.
    pub fn of(req: &Request, shape: &'static Shape) -> Result<Self, Failure> {
        let Some(text) = req.filled("filter") else { return Ok(Filtering(None)) };
        Filter::parse(text, shape).map(|filter| Filtering(Some(filter))).map_err(|error| {
            failed(req, Failure::internal(format!("Failed to create boolean expression evaluator: {error}")))
        })
    }

    /// Whether a row stays.
    pub fn keeps(&self, row: &dyn Record) -> bool {
        self.0.as_ref().is_none_or(|filter| filter.matches(row))
    }

    /// Drops the rows that do not match.
    pub fn retain<T: Record>(&self, rows: &mut Vec<T>) {
        if self.0.is_some() {
            rows.retain(|row| self.keeps(row));
        }
    }

    /// Drops the shared rows that do not match.
    pub fn retain_arcs<T: Record>(&self, rows: &mut Vec<Arc<T>>) {
        if self.0.is_some() {
            rows.retain(|row| self.keeps(&**row));
        }
    }
}

/// `?node-meta=key:value`, repeatable.
#[must_use]
pub fn node_meta(req: &Request) -> BTreeMap<String, String> {
    req.params("node-meta")
        .map(|pair| {
            let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// `?near`: a node name, or `_agent`.
#[must_use]
pub fn source(api: &Api, req: &Request) -> Source {
    let node = match req.param("near") {
        None => return Source::default(),
        Some("_agent") => api.settings.node_name.clone(),
        Some(node) => node.to_owned(),
    };
    Source { datacenter: api.settings.datacenter.clone(), node, ..Source::default() }
}

/// Names an answer for the encode-once cache: what is asked, with every parameter that changes it. `None` when
/// the order depends on coordinates, which move without touching the answer.
#[must_use]
pub fn answer_key(req: &Request, what: &str) -> Option<String> {
    if req.has("near") {
        return None;
    }
    let mut key = format!("{what} {}", req.path);
    for name in ["node-meta", "tag", "passing", "filter", "peer", "merge-central-config"] {
        for value in req.params(name) {
            key.push('\n');
            key.push_str(name);
            key.push('=');
            key.push_str(value);
        }
    }
    Some(key)
}
