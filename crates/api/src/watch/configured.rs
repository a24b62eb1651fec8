//! A watch of a configuration: a plan, and what is run or called on its news.
//!
//! Always true: exactly one handler; what is wrong is told in the reference's words, in its order. A token is taken out of
//! the parameters before any of them are shown.
//! Not here: running it (`run`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};
use wire::duration::GoDuration;

use super::Plan;
use super::parameters::{Common, Invalid, Parameters, Rest};

/// How long a handler's HTTP server may take unless configured.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is done with news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handler {
    /// A line for a shell.
    Script(String),
    /// A program and its arguments.
    Arguments(Vec<String>),
    Http(HttpHandler),
}

/// What is called with news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpHandler {
    pub(super) path: String,
    pub(super) method: String,
    pub(super) timeout: Duration,
    pub(super) header: BTreeMap<String, Vec<String>>,
    pub(super) tls_skip_verify: bool,
}

/// One watch of a configuration, ready to run.
#[derive(Clone, Debug)]
pub struct Configured {
    pub(super) plan: Plan,
    pub(super) handler: Handler,
    /// It names its handler in the old way.
    pub is_old_style: bool,
}

impl Configured {
    /// Understands a watch as a configuration writes it.
    pub fn compile(mut parameters: Parameters) -> Result<Configured, String> {
        let written = parameters.entry("handler_type".to_owned()).or_insert_with(|| Value::from("script"));
        match written.as_str() {
            Some("http" | "script") => {}
            Some(other) => return Err(format!("Handler type '{other}' not recognized")),
            None => return Err(format!("Handler type '{written}' not recognized")),
        }
        // The service mesh needs thought about how its secrets would reach a handler.
        if let Some(kind) = parameters.get("type").and_then(Value::as_str).filter(|kind| kind.starts_with("connect_")) {
            return Err(format!("Watch type {kind} is not allowed in agent config"));
        }
        let mut rest = Rest(parameters);
        let (plan, handler, arguments, http) = parts(&mut rest).map_err(|error| {
            rest.0.remove("token");
            let shown: Map<String, Value> = rest.0.into_iter().collect();
            format!("Failed to parse watch ({}): {error}", go_syntax(&Value::Object(shown)))
        })?;

        let is_old_style = handler.is_some();
        let script = match handler {
            Some(Value::String(script)) => Some(script),
            Some(_) => return Err("Watch handler must be a string".to_owned()),
            None => None,
        };
        let arguments = arguments.map(words).transpose()?;
        let handler = match (script, arguments, http) {
            (Some(script), None, None) => Handler::Script(script),
            (None, Some(arguments), None) => Handler::Arguments(arguments),
            (None, None, Some(http)) => Handler::Http(http),
            (None, None, None) => return Err("Must define a watch handler".to_owned()),
            _ => return Err("Only one watch handler allowed".to_owned()),
        };
        Ok(Configured { plan, handler, is_old_style })
    }
}

type Parts = (Plan, Option<Value>, Option<Value>, Option<HttpHandler>);

fn parts(rest: &mut Rest) -> Result<Parts, String> {
    let common = Common::take(rest).map_err(|invalid| invalid.to_string())?;
    let kind = rest.text("handler_type").map_err(|invalid| invalid.to_string())?;
    let http = if kind == "http" {
        let Some(written) = rest.0.get("http_handler_config") else {
            return Err("Handler type 'http' requires 'http_handler_config' to be set".to_owned());
        };
        let http = http_handler(written).map_err(|error| format!("Failed to parse 'http_handler_config': {error}"))?;
        rest.0.remove("http_handler_config");
        Some(http)
    } else {
        None
    };
    let plan = common.plan(rest).map_err(|invalid| invalid.to_string())?;
    let (handler, arguments) = (rest.0.remove("handler"), rest.0.remove("args"));
    if !rest.0.is_empty() {
        return Err(Invalid::Unknown(rest.0.keys().cloned().collect()).to_string());
    }
    Ok((plan, handler, arguments, http))
}

fn words(written: Value) -> Result<Vec<String>, String> {
    let refusal = || "Watch args must be a list of strings".to_owned();
    match written {
        Value::String(word) => Ok(vec![word]),
        Value::Array(words) => words
            .into_iter()
            .map(|word| match word {
                Value::String(word) => Ok(word),
                _ => Err(refusal()),
            })
            .collect(),
        _ => Err(refusal()),
    }
}

/// Compat: names are taken in any case, unknown ones are passed over.
fn http_handler(written: &Value) -> Result<HttpHandler, String> {
    let mut handler = HttpHandler {
        path: String::new(),
        method: String::new(),
        timeout: TIMEOUT,
        header: BTreeMap::new(),
        tls_skip_verify: false,
    };
    let fault = |name: &str, expected: &str, value: &Value| {
        let kind = go_kind(value);
        let name = name.to_lowercase();
        format!(
            "1 error(s) decoding:\n\n* '{name}' expected type '{expected}', got unconvertible type '{kind}', value: '{}'",
            value.to_string().trim_matches('"')
        )
    };
    let Value::Object(written) = written else {
        return Err(format!("'' expected a map, got '{}'", go_kind(written)));
    };
    let mut timeout = "";
    for (name, value) in written {
        let text = || value.as_str().ok_or_else(|| fault(name, "string", value));
        match name.to_ascii_lowercase().as_str() {
            "path" => handler.path = text()?.to_owned(),
            "method" => handler.method = text()?.to_owned(),
            "timeout" => timeout = text()?,
            "tls_skip_verify" => {
                handler.tls_skip_verify = value.as_bool().ok_or_else(|| fault(name, "bool", value))?;
            }
            "header" => {
                let Value::Object(headers) = value else { return Err(fault(name, "map[string][]string", value)) };
                for (name, values) in headers {
                    let values = words(values.clone()).map_err(|_| fault("header", "[]string", values))?;
                    handler.header.insert(name.clone(), values);
                }
            }
            _ => {}
        }
    }
    if handler.path.is_empty() {
        return Err("Requires 'path' to be set".to_owned());
    }
    if handler.method.is_empty() {
        handler.method = "POST".to_owned();
    }
    if !timeout.is_empty() {
        let timeout = GoDuration::parse(timeout).map_err(|error| format!("Failed to parse timeout: {error}"))?;
        handler.timeout = timeout.to_std();
    }
    Ok(handler)
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go would write it in a program, which is how the reference shows parameters.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => net::go_text::quote(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", values.join(", "))
        }
        Value::Object(values) => {
            let mut out = "map[string]interface {}{".to_owned();
            for (number, (name, value)) in values.iter().enumerate() {
                let comma = if number == 0 { "" } else { ", " };
                let _ = write!(out, "{comma}{}:{}", net::go_text::quote(name), go_syntax(value));
            }
            out.push('}');
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{Configured, Handler};

    fn compiled(parameters: Value) -> Result<Configured, String> {
        let Value::Object(parameters) = parameters else { panic!("no parameters") };
        Configured::compile(parameters.into_iter().collect())
    }

    #[test]
    fn handlers_are_told_apart() {
        let script = compiled(json!({"type": "nodes", "handler": "a | b"})).unwrap();
        assert_eq!(script.handler, Handler::Script("a | b".to_owned()));
        assert!(script.is_old_style);
        for arguments in [json!("a"), json!(["a"])] {
            let program = compiled(json!({"type": "nodes", "handler_type": "script", "args": arguments})).unwrap();
            assert_eq!(program.handler, Handler::Arguments(vec!["a".to_owned()]));
            assert!(!program.is_old_style);
        }
        let http = json!({"path": "http://a", "Header": {"X-A": ["1", "2"]}, "timeout": "3s", "tls_skip_verify": true});
        let http = compiled(json!({"type": "nodes", "handler_type": "http", "http_handler_config": http})).unwrap();
        let Handler::Http(http) = http.handler else { panic!("{:?}", http.handler) };
        assert_eq!((http.path.as_str(), http.method.as_str()), ("http://a", "POST"));
        assert_eq!((http.timeout, http.tls_skip_verify), (Duration::from_secs(3), true));
        assert_eq!(http.header["X-A"], ["1", "2"]);
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_reference() {
        let map = "Failed to parse watch (map[string]interface {}";
        let config = "Failed to parse 'http_handler_config'";
        for (parameters, text) in [
            (json!({"type": "key", "key": "a"}), "Must define a watch handler".to_owned()),
            (json!({"type": "key"}), format!("{map}{{}}): Must specify a single key to watch")),
            (
                json!({"type": "zork", "args": ["a"], "token": "secret"}),
                format!("{map}{{\"args\":[]interface {{}}{{\"a\"}}}}): Unsupported watch type: zork"),
            ),
            (json!({"token": "x"}), format!("{map}{{\"handler_type\":\"script\"}}): Watch type must be specified")),
            (
                json!({"type": "nodes", "args": "a", "bogus": 1}),
                format!("{map}{{\"bogus\":1}}): Invalid parameters: [bogus]"),
            ),
            (json!({"type": "nodes", "args": ["a"], "handler": "b"}), "Only one watch handler allowed".to_owned()),
            (json!({"type": "nodes", "handler": 1}), "Watch handler must be a string".to_owned()),
            (json!({"type": "nodes", "args": [1]}), "Watch args must be a list of strings".to_owned()),
            (json!({"type": "nodes", "handler_type": "x"}), "Handler type 'x' not recognized".to_owned()),
            (
                json!({"type": "connect_roots", "args": ["a"]}),
                "Watch type connect_roots is not allowed in agent config".to_owned(),
            ),
            (
                json!({"type": "nodes", "handler_type": "http"}),
                format!("{map}{{}}): Handler type 'http' requires 'http_handler_config' to be set"),
            ),
            (
                json!({"type": "nodes", "handler_type": "http", "http_handler_config": {}}),
                format!(
                    "{map}{{\"http_handler_config\":map[string]interface {{}}{{}}}}): {config}: Requires 'path' to be set"
                ),
            ),
            (
                json!({"type": "nodes", "handler_type": "http", "args": ["a"], "http_handler_config": {"path": "http://a"}}),
                "Only one watch handler allowed".to_owned(),
            ),
        ] {
            assert_eq!(compiled(parameters.clone()).err().as_deref(), Some(text.as_str()), "{parameters}");
        }
    }
}
