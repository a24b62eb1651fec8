//! The parameters of a watch as written, and what is wrong with them in the reference's words.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::watch::{Plan, Subject};

/// Parameters by name, as the command line or a configuration gives them.
pub type Parameters = BTreeMap<String, Value>;

/// A token of a watch: sent, never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Why the parameters make no watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    NoType,
    UnknownType(String),
    Missing(&'static str),
    ServiceAndState,
    NotText(&'static str),
    NotBool(&'static str),
    NotTexts(&'static str),
    NotTextAt(usize, &'static str),
    Unknown(Vec<String>),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::NoType => f.write_str("Watch type must be specified"),
            Invalid::UnknownType(kind) => write!(f, "Unsupported watch type: {kind}"),
            Invalid::Missing(what) => write!(f, "Must specify a single {what} to watch"),
            Invalid::ServiceAndState => f.write_str("Cannot specify service and state"),
            Invalid::NotText(name) => write!(f, "Expecting {name} to be a string"),
            Invalid::NotBool(name) => write!(f, "Expecting {name} to be a boolean"),
            Invalid::NotTexts(name) => write!(f, "Expecting {name} to be a string or []string"),
            Invalid::NotTextAt(index, name) => write!(f, "Index {index} of {name} expected to be string"),
            Invalid::Unknown(names) => write!(f, "Invalid parameters: [{}]", names.join(" ")),
        }
    }
}

impl std::error::Error for Invalid {}

/// Parameters are taken out one by one; what is left over is unknown.
pub(super) struct Rest(pub(super) Parameters);

impl Rest {
    pub(super) fn must_be_empty(self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid::Unknown(self.0.into_keys().collect())) }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<String, Invalid> {
        match self.0.remove(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Invalid::NotText(name)),
        }
    }

    fn required(&mut self, name: &'static str) -> Result<String, Invalid> {
        Some(self.text(name)?).filter(|text| !text.is_empty()).ok_or(Invalid::Missing(name))
    }

    fn bool(&mut self, name: &'static str) -> Result<bool, Invalid> {
        match self.0.remove(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(Invalid::NotBool(name)),
        }
    }

    fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Invalid> {
        match self.0.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(values)) => {
                let texts = values.into_iter().enumerate().map(|(index, value)| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(Invalid::NotTextAt(index, name)),
                });
                texts.collect()
            }
            Some(_) => Err(Invalid::NotTexts(name)),
        }
    }
}

pub(super) fn compile(parameters: Parameters) -> Result<Plan, Invalid> {
    let mut rest = Rest(parameters);
    let common = Common::take(&mut rest)?;
    let plan = common.plan(&mut rest)?;
    rest.must_be_empty()?;
    Ok(plan)
}

/// What every watch has.
pub(super) struct Common {
    datacenter: String,
    token: Token,
    kind: String,
}

impl Common {
    pub(super) fn take(rest: &mut Rest) -> Result<Common, Invalid> {
        let datacenter = rest.text("datacenter")?;
        let token = Token(rest.text("token")?);
        let kind = rest.text("type")?;
        if kind.is_empty() {
            return Err(Invalid::NoType);
        }
        Ok(Common { datacenter, token, kind })
    }

    /// Takes what the type needs.
    pub(super) fn plan(self, rest: &mut Rest) -> Result<Plan, Invalid> {
        let Common { datacenter, token, kind } = self;
        let can_be_stale = matches!(kind.as_str(), "key" | "keyprefix" | "services" | "nodes" | "service" | "checks");
        let stale = can_be_stale && rest.bool("stale")?;
        let can_filter = matches!(kind.as_str(), "services" | "nodes" | "service" | "checks");
        let filter = if can_filter { rest.text("filter")? } else { String::new() };
        let subject = match kind.as_str() {
            "key" => Subject::Key { key: rest.required("key")? },
            "keyprefix" => Subject::KeyPrefix { prefix: rest.required("prefix")? },
            "services" => Subject::Services { filter },
            "nodes" => Subject::Nodes { filter },
            "service" => Subject::Service {
                service: rest.required("service")?,
                tags: rest.texts("tag")?,
                passing_only: rest.bool("passingonly")?,
                filter,
            },
            "checks" => {
                let (service, state) = (rest.text("service")?, rest.text("state")?);
                let state = match (service.is_empty(), state.is_empty()) {
                    (false, false) => return Err(Invalid::ServiceAndState),
                    (true, true) => "any".to_owned(),
                    _ => state,
                };
                Subject::Checks { service, state, filter }
            }
            "event" => Subject::Event { name: rest.text("name")? },
            "connect_roots" => Subject::ConnectRoots,
            "connect_leaf" => Subject::ConnectLeaf { service: rest.text("service")? },
            "agent_service" => Subject::AgentService { id: rest.text("service_id")? },
            _ => return Err(Invalid::UnknownType(kind)),
        };
        Ok(Plan { kind, datacenter, token, stale, subject, cursor: None, last: None, failures: 0 })
    }
}
