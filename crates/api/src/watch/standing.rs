//! Watches of a configuration: the agent itself follows them and runs their handlers.
//!
//! Questions go through the same pipeline as requests from outside, without a socket. Handlers of one watch run one
//! after another; news that come meanwhile are told together at the next turn.
//!
//! Always true: a watch that fails asks again, ever later; what a handler says is kept only so far.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use net::http_client::{Client, Redirects, Request};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use wire::duration::GoDuration;

use super::{Cursor, News, Parameters, Plan, Reply};
use crate::Api;
use crate::cli::child;

/// So much of what a handler writes is logged.
const OUTPUT_MAX: usize = 4 << 10;
/// An answer over this is a failure.
const ANSWER_MAX: usize = 64 << 20;
/// How long an HTTP handler may take unless told otherwise.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// As Go's clients do.
const REDIRECTS_MAX: usize = 10;
/// A blocking question waits this long before it is asked again.
const WAIT: &str = "300s";

/// A watch with what to do about news.
#[derive(Clone, Debug)]
pub struct Standing {
    plan: Plan,
    handler: Handler,
}

#[derive(Clone, Debug)]
enum Handler {
    /// A line for the shell.
    Line(String),
    /// A program and its arguments.
    Program(Vec<String>),
    Http {
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        timeout: Duration,
        skip_verify: bool,
    },
}

impl Standing {
    /// Reads one entry of `watches`; the warning is for those whose form is out of date.
    pub fn compile(mut written: Parameters) -> Result<(Standing, Option<&'static str>), String> {
        let kind = match written.remove("handler_type") {
            None => "script".to_owned(),
            Some(Value::String(kind)) if kind == "script" || kind == "http" => kind,
            Some(Value::String(kind)) => return Err(format!("Handler type '{kind}' not recognized")),
            Some(other) => return Err(format!("Handler type '{other}' not recognized")),
        };
        if let Some(Value::String(subject)) = written.get("type")
            && subject.starts_with("connect_")
        {
            return Err(format!("Watch type {subject} is not allowed in agent config"));
        }
        let line = match written.remove("handler") {
            None => None,
            Some(Value::String(line)) => Some(line),
            Some(_) => return Err("Watch handler must be a string".to_owned()),
        };
        let program = written.remove("args").map(words).transpose()?;
        let http = written.remove("http_handler_config");
        let plan = Plan::compile(written).map_err(|invalid| format!("Failed to parse watch: {invalid}"))?;
        let warning =
            line.is_some().then_some("The 'handler' field in watches has been deprecated and replaced with 'args'");
        let handler = match (line, program, kind == "http") {
            (Some(line), None, false) => Handler::Line(line),
            (None, Some(program), false) if !program.is_empty() => Handler::Program(program),
            (None, None, true) => http_handler(http)?,
            (None, _, _) if kind != "http" => return Err("Must define a watch handler".to_owned()),
            _ => return Err("Only one watch handler allowed".to_owned()),
        };
        Ok((Standing { plan, handler }, warning))
    }

    async fn follow(mut self, api: Arc<Api>) {
        loop {
            match ask(&mut self.plan, &api).await {
                Ok(None) => {}
                Ok(Some(news)) => self.handler.run(&news).await,
                Err(error) => {
                    let retry = self.plan.failed();
                    let kind = &self.plan.kind;
                    tracing::error!(target: "agent", r#type = %kind, error, retry = %GoDuration::from(retry), "Watch errored");
                    tokio::time::sleep(retry).await;
                }
            }
        }
    }
}

fn words(written: Value) -> Result<Vec<String>, String> {
    let refusal = || "Watch args must be a list of strings".to_owned();
    let Value::Array(words) = written else { return Err(refusal()) };
    words.into_iter().map(|word| if let Value::String(word) = word { Ok(word) } else { Err(refusal()) }).collect()
}

/// An object, or the list of one that HCL makes of a block.
fn object(written: Option<Value>) -> Option<serde_json::Map<String, Value>> {
    match written? {
        Value::Object(object) => Some(object),
        Value::Array(mut blocks) if blocks.len() == 1 => object(blocks.pop()),
        _ => None,
    }
}

/// `http_handler_config`, whose keys come in either spelling.
fn http_handler(written: Option<Value>) -> Result<Handler, String> {
    let written = object(written).ok_or("Failed to parse http_handler_config")?;
    let mut lower: BTreeMap<String, Value> =
        written.into_iter().map(|(name, value)| (name.to_lowercase().replace('_', ""), value)).collect();
    let given = object(lower.remove("header")).unwrap_or_default();
    let text = |name: &str| lower.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("path").is_empty() {
        return Err("Requires 'path' to be set".to_owned());
    }
    let timeout = match lower.get("timeout") {
        None => HTTP_TIMEOUT,
        Some(Value::String(span)) => span
            .parse::<GoDuration>()
            .map(GoDuration::to_std)
            .map_err(|error| format!("Failed to parse timeout: {error}"))?,
        Some(span) => Duration::from_nanos(span.as_u64().unwrap_or_default()),
    };
    let mut headers = Vec::new();
    for (name, values) in &given {
        for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
            headers.push((name.clone(), value.to_owned()));
        }
    }
    Ok(Handler::Http {
        method: if text("method").is_empty() { "POST".to_owned() } else { text("method").to_owned() },
        url: text("path").to_owned(),
        headers,
        timeout: if timeout.is_zero() { HTTP_TIMEOUT } else { timeout },
        skip_verify: lower.get("tlsskipverify").and_then(Value::as_bool).unwrap_or_default(),
    })
}

/// Follows watches until it is dropped; handlers that are running then may finish.
#[derive(Debug, Default)]
pub struct Watches {
    followed: JoinSet<()>,
}

impl Watches {
    /// Follows these in place of those.
    pub fn replace(&mut self, standing: Vec<Standing>, api: &Arc<Api>) {
        self.followed.abort_all();
        self.followed = JoinSet::new();
        for standing in standing {
            self.followed.spawn(standing.follow(Arc::clone(api)));
        }
    }
}

async fn ask(plan: &mut Plan, api: &Api) -> Result<Option<News>, String> {
    let question = plan.question();
    let mut pairs = percent_encoded(&question.parameters);
    pairs.push_str(&format!("wait={WAIT}"));
    let mut request = http::Request::get(format!("{}?{pairs}", question.path)).header(http::header::HOST, "watch");
    if !plan.token().is_empty() {
        request = request.header("x-consul-token", plan.token());
    }
    let (head, ()) = request.body(()).map_err(|error| error.to_string())?.into_parts();
    let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    let (head, body) = crate::http::answer(api, head, empty, None).await.into_parts();
    let body = http_body_util::Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| error.to_string())?;
    let body = body.to_bytes();
    let missing = head.status == http::StatusCode::NOT_FOUND;
    if head.status != http::StatusCode::OK && !(missing && plan.may_be_missing()) {
        let text = String::from_utf8_lossy(&body);
        return Err(format!("Unexpected response code: {} ({text})", head.status.as_u16()));
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let index = header("x-consul-index").parse().unwrap_or(0);
    plan.answered(&Reply { missing, index, hash: header("x-consul-contenthash"), body: &body })
}

fn percent_encoded(pairs: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        text.push_str(&format!("{name}={value}&"));
    }
    text
}

impl Handler {
    async fn run(&self, news: &News) {
        let index = match &news.cursor {
            Cursor::Index(index) => index.to_string(),
            Cursor::Hash(hash) => hash.clone(),
        };
        match self {
            Handler::Line(line) => run_program(std::slice::from_ref(line), true, &index, &news.json).await,
            Handler::Program(words) => run_program(words, false, &index, &news.json).await,
            Handler::Http { .. } => self.post(&index, &news.json).await,
        }
    }

    async fn post(&self, index: &str, json: &str) {
        let Handler::Http { method, url, headers, timeout, skip_verify } = self else { return };
        let sent = async {
            let mut request = Request::parse(method, url)?;
            request.header("Content-Type", "application/json")?;
            request.header("X-Consul-Index", index)?;
            for (name, value) in headers {
                request.header(name, value)?;
            }
            request.body = Bytes::copy_from_slice(json.as_bytes());
            let tls = net::tls::Settings { skip_verify: *skip_verify, ..net::tls::Settings::default() };
            let client = Client {
                tls: Some(tls.when_needed()),
                redirects: Redirects::UpTo(REDIRECTS_MAX),
                timeout: Some(*timeout),
            };
            let mut response = client.send(request).await?;
            let output = response.read_to_end(OUTPUT_MAX).await.unwrap_or_default();
            Ok::<_, net::http_client::HttpError>((response.status, output))
        };
        match sent.await {
            Err(error) => {
                tracing::error!(target: "agent", watch = url, %error, "Failed to invoke http watch handler");
            }
            Ok((status, output)) => {
                let output = String::from_utf8_lossy(&output);
                if status.is_success() {
                    tracing::trace!(target: "agent", watch = url, %output, "http watch handler output");
                } else {
                    tracing::error!(target: "agent", watch = url, %status, %output, "http watch handler failed with output");
                }
            }
        }
    }
}

async fn run_program(words: &[String], shell: bool, index: &str, json: &str) {
    let shown = words.join(" ");
    let environment = std::env::vars().collect();
    let started = child::command(words, shell, &environment).and_then(|mut command| {
        command.env("CONSUL_INDEX", index);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| child::start_refusal(words, &error))
    });
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(target: "agent", watch = shown, error, "Failed to run watch handler");
            return;
        }
    };
    let (input, out, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut input) = input {
            // A handler need not read what it is given.
            let _ = input.write_all(json.as_bytes()).await;
            let _ = input.write_all(b"\n").await;
        }
    };
    let (status, (), out, errors) = tokio::join!(child.wait(), feed, last_of(out), last_of(errors));
    let ended = status.map_err(|error| error.to_string()).map(child::ending);
    if let Err(error) | Ok(Some(error)) = ended {
        tracing::error!(target: "agent", watch = shown, error, "Failed to run watch handler");
    }
    let output = format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&errors));
    tracing::debug!(target: "agent", watch = shown, output, "watch handler output");
}

/// Reads to the end and keeps the last part.
async fn last_of(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        let over = kept.len().saturating_sub(OUTPUT_MAX);
        kept.drain(..over);
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Handler, Standing};

    fn compile(written: Value) -> Result<Standing, String> {
        let written = written.as_object().cloned().unwrap_or_default();
        Standing::compile(written.into_iter().collect()).map(|(standing, _)| standing)
    }

    #[test]
    fn one_handler_is_needed_and_one_only() {
        for (written, refusal) in [
            (json!({"type": "key", "key": "a"}), "Must define a watch handler"),
            (json!({"type": "key", "key": "a", "args": ["x"], "handler": "y"}), "Only one watch handler allowed"),
            (
                json!({"type": "key", "key": "a", "args": ["x"], "handler_type": "http"}),
                "Only one watch handler allowed",
            ),
            (json!({"type": "key", "key": "a", "handler": 1}), "Watch handler must be a string"),
            (json!({"type": "key", "key": "a", "args": "x"}), "Watch args must be a list of strings"),
            (json!({"type": "key", "key": "a", "handler_type": "zork"}), "Handler type 'zork' not recognized"),
            (
                json!({"type": "connect_roots", "args": ["x"]}),
                "Watch type connect_roots is not allowed in agent config",
            ),
            (json!({"type": "key", "args": ["x"]}), "Failed to parse watch: Must specify a single key to watch"),
            (
                json!({"type": "key", "key": "a", "args": ["x"], "b": 1}),
                "Failed to parse watch: Invalid parameters: [b]",
            ),
            (
                json!({"type": "key", "key": "a", "handler_type": "http", "http_handler_config": {}}),
                "Requires 'path' to be set",
            ),
        ] {
            assert_eq!(compile(written.clone()).unwrap_err(), refusal, "{written}");
        }
    }

    #[test]
    fn http_handlers_are_read_from_objects_and_blocks() {
        let object = json!({"path": "http://a/b", "method": "PUT", "timeout": "2s", "header": {"x": ["1", "2"]}});
        for config in [object.clone(), json!([object])] {
            let written = json!({"type": "nodes", "handler_type": "http", "http_handler_config": config});
            let Handler::Http { method, url, headers, timeout, .. } = compile(written).unwrap().handler else {
                panic!()
            };
            assert_eq!((method.as_str(), url.as_str(), timeout.as_secs(), headers.len()), ("PUT", "http://a/b", 2, 2));
        }
    }
}
