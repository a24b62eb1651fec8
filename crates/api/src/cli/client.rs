//! The HTTP client of the command line: where the agent is, on whose behalf we ask, and what its answers mean.
//!
//! Always true: flags win over the environment, a token file over a token; failures read as Go's client words them;
//! tokens and passwords travel in headers only and have no printed form.
//! Not here: what is asked (each concept's `cli.rs`), connecting and TLS (`net`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use net::{dial, go_text, tls};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::cli::Environment;
use crate::cli::flags::{Flag, Kind, Parsed, parse_bool};

/// The flags that say how to reach the agent.
pub const CLIENT: &[Flag] = &[
    Flag::new(
        "http-addr",
        Kind::MaybeText,
        "The `address` of the agent's HTTP API: host and port, optionally behind http:// or https://, or unix:// and a \
         socket path. Environment: CONSUL_HTTP_ADDR; CONSUL_HTTP_SSL=true chooses HTTPS. Otherwise \
         http://127.0.0.1:8500.",
    ),
    Flag::new("token", Kind::MaybeText, "ACL token to send. Environment: CONSUL_HTTP_TOKEN."),
    Flag::new(
        "token-file",
        Kind::MaybeText,
        "File with the ACL token to send; it wins over -token. Environment: CONSUL_HTTP_TOKEN_FILE.",
    ),
    Flag::new("ca-file", Kind::MaybeText, "File with the authorities to trust with TLS. Environment: CONSUL_CACERT."),
    Flag::new(
        "ca-path",
        Kind::MaybeText,
        "Directory with the authorities to trust with TLS. Environment: CONSUL_CAPATH.",
    ),
    Flag::new(
        "client-cert",
        Kind::MaybeText,
        "Certificate to show when the agent verifies its clients. Environment: CONSUL_CLIENT_CERT.",
    ),
    Flag::new("client-key", Kind::MaybeText, "Key of -client-cert. Environment: CONSUL_CLIENT_KEY."),
    Flag::new(
        "tls-server-name",
        Kind::MaybeText,
        "Name to expect in the agent's certificate. Environment: CONSUL_TLS_SERVER_NAME.",
    ),
];

/// The flags that say which servers answer.
pub const SERVER: &[Flag] = &[
    Flag::new("datacenter", Kind::MaybeText, "Datacenter to ask; otherwise the agent's own."),
    Flag::new("stale", Kind::MaybeBool, "Let any server answer a read, which may then be behind the leader."),
];

pub const NAMESPACE: &[Flag] =
    &[Flag::new("namespace", Kind::MaybeText, "Namespace to ask (an Enterprise feature; `default` otherwise).")];

pub const PARTITION: &[Flag] =
    &[Flag::new("partition", Kind::MaybeText, "Admin partition to ask (an Enterprise feature; `default` otherwise).")];

/// The longest answer that is taken into memory; snapshots and logs are streamed instead.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// The longest error text that is shown.
const ERROR_BYTES_MAX: usize = 1 << 20;

/// How many redirections Go's client follows.
const REDIRECTS_MAX: u32 = 10;

/// A token, or a user and password: sent, never shown.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[derive(Clone, Debug)]
enum Target {
    Tcp(String),
    Unix(PathBuf),
}

/// Where and how to ask.
#[derive(Clone, Debug)]
pub struct Settings {
    target: Target,
    encrypted: bool,
    path_prefix: String,
    token: Option<Secret>,
    basic: Option<Secret>,
    datacenter: String,
    namespace: String,
    partition: String,
    tls: tls::Settings,
    /// Settings of the environment that make no sense and were left out.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Asks at `host:port` without encryption, with this token if it is not empty.
    pub fn plain(address: &str, token: &str) -> Settings {
        Settings::to(Target::Tcp(address.to_owned()), token)
    }

    /// As [`Settings::plain`], at a Unix socket.
    pub fn unix(path: impl Into<PathBuf>, token: &str) -> Settings {
        Settings::to(Target::Unix(path.into()), token)
    }

    fn to(target: Target, token: &str) -> Settings {
        Settings {
            target,
            encrypted: false,
            path_prefix: String::new(),
            token: Some(token).filter(|token| !token.is_empty()).map(|token| Secret(token.to_owned())),
            basic: None,
            datacenter: String::new(),
            namespace: String::new(),
            partition: String::new(),
            tls: tls::Settings::default(),
            warnings: Vec::new(),
        }
    }

    /// Puts flags and environment together; the error completes `Error connecting to Consul agent: `.
    pub fn of(parsed: &Parsed, environment: &Environment) -> Result<Settings, String> {
        let env = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let either = |flag: &str, name: &str| {
            parsed.given(flag).filter(|value| !value.is_empty()).or_else(|| env(name)).unwrap_or_default().to_owned()
        };
        let mut warnings = Vec::new();
        let mut switch = |name: &str| {
            let value = env(name)?;
            let read = parse_bool(value);
            if read.is_none() {
                let error = format!("strconv.ParseBool: parsing {}: invalid syntax", go_text::quote(value));
                warnings.push(format!("could not parse {name}: error={}", go_text::quote(&error)));
            }
            read
        };
        let mut encrypted = switch("CONSUL_HTTP_SSL").unwrap_or(false);
        // Compat: an unreadable CONSUL_HTTP_SSL_VERIFY would switch verification off in the reference. We warn and keep
        // verifying: a typing mistake must not make a connection unsafe.
        let skip_verify = switch("CONSUL_HTTP_SSL_VERIFY") == Some(false);

        let mut address = either("http-addr", "CONSUL_HTTP_ADDR");
        if address.is_empty() {
            address = "127.0.0.1:8500".to_owned();
        }
        let mut path_prefix = String::new();
        let target = match address.split_once("://") {
            None => Target::Tcp(address),
            Some(("unix", path)) => Target::Unix(PathBuf::from(path)),
            Some((scheme @ ("http" | "https"), rest)) => {
                // Plain http never takes back TLS that was asked for.
                encrypted |= scheme == "https";
                let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if rest.contains('/') {
                    path_prefix = format!("/{prefix}");
                }
                Target::Tcp(host.to_owned())
            }
            Some((scheme, _)) => return Err(format!("Unknown protocol scheme: {scheme}")),
        };
        let path =
            |flag: &str, name: &str| Some(PathBuf::from(either(flag, name))).filter(|p| !p.as_os_str().is_empty());
        let tls = tls::Settings {
            ca_file: path("ca-file", "CONSUL_CACERT"),
            ca_path: path("ca-path", "CONSUL_CAPATH"),
            cert_file: path("client-cert", "CONSUL_CLIENT_CERT"),
            key_file: path("client-key", "CONSUL_CLIENT_KEY"),
            server_name: Some(either("tls-server-name", "CONSUL_TLS_SERVER_NAME")).filter(|name| !name.is_empty()),
            skip_verify,
            ..tls::Settings::default()
        };
        Ok(Settings {
            target,
            encrypted,
            path_prefix,
            token: token(parsed, environment)?,
            basic: env("CONSUL_HTTP_AUTH").map(|pair| Secret(pair.to_owned())),
            datacenter: parsed.text("datacenter").to_owned(),
            namespace: either("namespace", "CONSUL_NAMESPACE"),
            partition: either("partition", "CONSUL_PARTITION"),
            tls,
            warnings,
        })
    }
}

/// The order of precedence: file flag, token flag, file of the environment, token of the environment.
fn token(parsed: &Parsed, environment: &Environment) -> Result<Option<Secret>, String> {
    let set = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    let env = |name: &str| set(environment.get(name).map(String::as_str));
    let plain = set(parsed.given("token"));
    let file =
        set(parsed.given("token-file")).or_else(|| if plain.is_some() { None } else { env("CONSUL_HTTP_TOKEN_FILE") });
    if let Some(file) = file {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("Error loading token file {file} : open {file}: {}", go_text::reason(&error)))?;
        if !text.trim().is_empty() {
            return Ok(Some(Secret(text.trim().to_owned())));
        }
    }
    Ok(plain.or_else(|| env("CONSUL_HTTP_TOKEN")).map(Secret))
}

/// A body as it is sent.
pub type RequestBody = UnsyncBoxBody<Bytes, std::io::Error>;

enum Body {
    /// Can be sent again.
    Whole(Bytes),
    Stream(RequestBody),
}

/// One question to the agent.
pub struct Request {
    method: Method,
    path: String,
    parameters: BTreeMap<&'static str, Vec<String>>,
    content_type: Option<&'static str>,
    body: Body,
    missing_is_fine: bool,
    unwell_is_fine: bool,
}

impl Request {
    fn new(method: Method, path: impl Into<String>) -> Request {
        let body = Body::Whole(Bytes::new());
        Request {
            method,
            path: path.into(),
            parameters: BTreeMap::new(),
            content_type: None,
            body,
            missing_is_fine: false,
            unwell_is_fine: false,
        }
    }

    /// `path` as meant; it is encoded here.
    pub fn get(path: impl Into<String>) -> Request {
        Request::new(Method::GET, path)
    }

    pub fn put(path: impl Into<String>) -> Request {
        Request::new(Method::PUT, path)
    }

    pub fn post(path: impl Into<String>) -> Request {
        Request::new(Method::POST, path)
    }

    pub fn delete(path: impl Into<String>) -> Request {
        Request::new(Method::DELETE, path)
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Request {
        self.parameters.entry(name).or_default().push(value.into());
        self
    }

    /// The parameter, unless its value is empty.
    pub fn with_some(self, name: &'static str, value: &str) -> Request {
        if value.is_empty() { self } else { self.with(name, value) }
    }

    pub fn with_if(self, condition: bool, name: &'static str) -> Request {
        if condition { self.with(name, "") } else { self }
    }

    /// Node metadata as `node-meta=key:value`.
    pub fn with_node_meta(mut self, pairs: &BTreeMap<String, String>) -> Request {
        for (key, value) in pairs {
            self = self.with("node-meta", format!("{key}:{value}"));
        }
        self
    }

    pub fn octets(mut self, body: impl Into<Bytes>) -> Request {
        self.content_type = Some("application/octet-stream");
        self.body = Body::Whole(body.into());
        self
    }

    pub fn json<T: serde::Serialize>(mut self, body: &T) -> Result<Request, Failure> {
        let body = wire::json::to_vec(body).map_err(|error| Failure::Answer(error.to_string()))?;
        self.content_type = Some("application/json");
        self.body = Body::Whole(Bytes::from(body));
        Ok(self)
    }

    pub fn stream(mut self, body: RequestBody) -> Request {
        self.content_type = Some("application/octet-stream");
        self.body = Body::Stream(body);
        self
    }

    /// Takes 404 as an answer.
    pub fn or_missing(mut self) -> Request {
        self.missing_is_fine = true;
        self
    }

    /// Takes 429 as an answer, with which health is told that is not good.
    pub fn or_unwell(mut self) -> Request {
        self.unwell_is_fine = true;
        self
    }
}

/// An answer that was taken whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub missing: bool,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        wire::json::from_slice(&self.body, wire::json::Options::LENIENT)
            .map_err(|error| Failure::Answer(error.to_string()))
    }

    /// `X-Consul-Index`, 0 when absent.
    pub fn index(&self) -> u64 {
        index(&self.headers)
    }

    /// What conditional writes answer.
    pub fn says_true(&self) -> bool {
        self.body.windows(4).any(|window| window == b"true")
    }
}

pub fn index(headers: &HeaderMap) -> u64 {
    headers.get("x-consul-index").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Why there is no answer; displays as Go's client words it.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Nothing came back.
    Transport(String),
    Status {
        code: u16,
        body: String,
    },
    /// What came back makes no sense.
    Answer(String),
}

impl Failure {
    /// Whether asking again may help: the network, or a server that is not well.
    pub fn is_passing(&self) -> bool {
        match self {
            Failure::Transport(_) => true,
            Failure::Status { code, .. } => *code == 500,
            Failure::Answer(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Transport(text) | Failure::Answer(text) => f.write_str(text),
            Failure::Status { code, body } => write!(f, "Unexpected response code: {code} ({body})"),
        }
    }
}

impl std::error::Error for Failure {}

type Sender = SendRequest<RequestBody>;

/// Asks one agent. Cheap to clone; clones share at most one idle connection.
#[derive(Clone, Debug)]
pub struct Client {
    settings: Arc<Settings>,
    tls: Option<tls::ClientConfig>,
    /// A connection that has just answered and may carry the next request.
    idle: Arc<Mutex<Option<Sender>>>,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Client, String> {
        // The files are looked at even without TLS, so that a wrong path is told at once.
        let named = settings.tls.ca_file.is_some()
            || settings.tls.ca_path.is_some()
            || settings.tls.cert_file.is_some()
            || settings.tls.key_file.is_some();
        let tls = if settings.encrypted || named {
            Some(settings.tls.load().map_err(|error| tls_refusal(&settings.tls, error))?)
        } else {
            None
        };
        Ok(Client { tls: tls.filter(|_| settings.encrypted), settings: Arc::new(settings), idle: Arc::default() })
    }

    /// Asks and takes the whole answer.
    pub async fn ask(&self, request: Request) -> Result<Answer, Failure> {
        let (response, sender, subject) = self.send(request).await?;
        let missing = response.status() == StatusCode::NOT_FOUND;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| broken(&subject, &*error))?;
        *self.idle.lock().await = Some(sender);
        Ok(Answer { missing, headers: head.headers, body: body.to_bytes() })
    }

    /// Asks and leaves the body to the caller to read.
    pub async fn open(&self, request: Request) -> Result<(HeaderMap, Incoming), Failure> {
        let (response, _, _) = self.send(request).await?;
        let (head, body) = response.into_parts();
        Ok((head.headers, body))
    }

    /// Sends, follows where the agent says that the same thing is found elsewhere, and refuses what is no answer.
    async fn send(&self, request: Request) -> Result<(http::Response<Incoming>, Sender, String), Failure> {
        let mut path = self.path_and_query(&request);
        let (missing_is_fine, unwell_is_fine) = (request.missing_is_fine, request.unwell_is_fine);
        let mut method = request.method;
        let (mut whole, mut stream) = match request.body {
            Body::Whole(bytes) => (bytes, None),
            Body::Stream(body) => (Bytes::new(), Some(body)),
        };
        let can_repeat = stream.is_none();
        let mut redirects = 0;
        loop {
            let scheme = if self.settings.encrypted { "https" } else { "http" };
            let verb = format!("{}{}", &method.as_str()[..1], method.as_str()[1..].to_ascii_lowercase());
            let subject = format!("{verb} {}", go_text::quote(&format!("{scheme}://{}{path}", self.host())));
            let body = stream
                .take()
                .unwrap_or_else(|| Full::new(whole.clone()).map_err(|never| match never {}).boxed_unsync());
            let built = self.build(method.clone(), &path, request.content_type, body);
            let built = built.map_err(|error| Failure::Transport(format!("{subject}: {error}")))?;
            let exchanged = self.exchange(built).await;
            let (response, sender) = exchanged.map_err(|text| Failure::Transport(format!("{subject}: {text}")))?;
            let status = response.status();
            let is_fine = status == StatusCode::OK
                || (missing_is_fine && status == StatusCode::NOT_FOUND)
                || (unwell_is_fine && status == StatusCode::TOO_MANY_REQUESTS);
            if is_fine {
                return Ok((response, sender, subject));
            }
            if let Some(elsewhere) = self.elsewhere(&response).filter(|_| can_repeat && redirects < REDIRECTS_MAX) {
                if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
                    (method, whole) = (Method::GET, Bytes::new());
                }
                path = elsewhere;
                redirects += 1;
                continue;
            }
            let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await;
            let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
            return Err(Failure::Status { code: status.as_u16(), body });
        }
    }

    /// Where a redirection leads, as a path of the same host. Another host would be handed our token.
    fn elsewhere(&self, response: &http::Response<Incoming>) -> Option<String> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location: Uri = response.headers().get(LOCATION)?.to_str().ok()?.parse().ok()?;
        let same = location.authority().is_none_or(|authority| authority.as_str() == self.host());
        let path = location.path_and_query().map(|path| path.as_str().to_owned())?;
        (same && path.starts_with('/')).then_some(path)
    }

    /// One request on the idle connection or a new one.
    async fn exchange(
        &self,
        request: http::Request<RequestBody>,
    ) -> Result<(http::Response<Incoming>, Sender), String> {
        let mut idle = self.idle.lock().await.take();
        if let Some(sender) = &mut idle
            && sender.ready().await.is_err()
        {
            idle = None;
        }
        let mut sender = match idle {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, sender)),
            Err(mut failed) => match failed.take_message() {
                // The idle connection had been closed under us; the request was not sent.
                Some(request) => {
                    sender = self.connect().await?;
                    let response = sender.send_request(request).await.map_err(|error| connection_text(&error))?;
                    Ok((response, sender))
                }
                None => Err(connection_text(&failed.into_error())),
            },
        }
    }

    fn host(&self) -> &str {
        match &self.settings.target {
            Target::Tcp(host) => host,
            Target::Unix(_) => "localhost",
        }
    }

    fn path_and_query(&self, request: &Request) -> String {
        let settings = &self.settings;
        let mut parameters = request.parameters.clone();
        for (name, value) in
            [("dc", &settings.datacenter), ("ns", &settings.namespace), ("partition", &settings.partition)]
        {
            if !value.is_empty() {
                parameters.entry(name).or_insert_with(|| vec![value.clone()]);
            }
        }
        let path = format!("{}{}", settings.path_prefix, request.path);
        let mut out = utf8_percent_encode(&path, PATH).to_string();
        let pairs = parameters.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        for (number, (name, value)) in pairs.enumerate() {
            out.push(if number == 0 { '?' } else { '&' });
            out.push_str(name);
            out.push('=');
            out.push_str(&utf8_percent_encode(value, QUERY).to_string().replace("%20", "+"));
        }
        out
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: RequestBody,
    ) -> Result<http::Request<RequestBody>, http::Error> {
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text)?;
            value.set_sensitive(true);
            Ok::<_, http::Error>(value)
        };
        let mut built = http::Request::builder()
            .method(method)
            .uri(path.parse::<Uri>()?)
            .header(HOST, self.host())
            .header("user-agent", "curule-cli");
        if let Some(token) = &self.settings.token {
            built = built.header("x-consul-token", secret(&token.0)?);
        }
        if let Some(pair) = &self.settings.basic {
            let pair = if pair.0.contains(':') { pair.0.clone() } else { format!("{}:", pair.0) };
            built = built.header(AUTHORIZATION, secret(&format!("Basic {}", wire::base64::encode(pair.as_bytes())))?);
        }
        if let Some(content_type) = content_type {
            built = built.header(CONTENT_TYPE, content_type);
        }
        built.body(body)
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = match &self.settings.target {
            Target::Unix(path) => dial::unix(path).await.map_err(|error| error.to_string())?,
            Target::Tcp(host) => {
                let port = if self.settings.encrypted { 443 } else { 80 };
                // Without a port Go's client goes to the usual one.
                let bare = dial::split_host_port(host).is_err();
                let address = if bare { format!("{host}:{port}") } else { host.clone() };
                dial::tcp(&address, Some(CONNECT_TIME_MAX)).await.map_err(|error| error.to_string())?
            }
        };
        let stream = match &self.tls {
            None => stream,
            Some(tls) => {
                let host = dial::split_host_port(self.host()).map_or(self.host(), |(host, _)| host);
                tls.connect(stream, host, Some(HANDSHAKE_TIME_MAX)).await.map_err(|error| match error {
                    tls::TlsError::NotTls { http: true } => {
                        "http: server gave HTTP response to HTTPS client".to_owned()
                    }
                    other => other.to_string(),
                })?
            }
        };
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| connection_text(&error))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Compat: a file without a certificate is told as one that could not be loaded.
fn tls_refusal(settings: &tls::Settings, error: tls::SettingsError) -> String {
    match error {
        tls::SettingsError::CaPem(path) => {
            let is_file = settings.ca_file.as_ref().is_some_and(|file| file.display().to_string() == path);
            let what = if is_file { "File" } else { "Path" };
            format!("Error loading CA {what}: Couldn't parse PEM in: {path}")
        }
        other => other.to_string(),
    }
}

/// How long Go's default client tries to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);
/// How long Go's default client waits for a TLS handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// What Go leaves alone in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// What Go leaves alone in a query; blanks become `+` afterwards.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The innermost reason of a failed exchange; a connection that just ended is Go's `EOF`.
fn connection_text(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "EOF".to_owned();
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    match reason.downcast_ref::<std::io::Error>() {
        Some(error) => tls::io_error_text(error),
        None => reason.to_string(),
    }
}

fn broken(subject: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    if error.is::<LengthLimitError>() {
        return Failure::Answer(format!("{subject}: the answer is longer than {ANSWER_BYTES_MAX} bytes"));
    }
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_incomplete_message() => Failure::Transport("unexpected EOF".to_owned()),
        Some(error) => Failure::Transport(connection_text(error)),
        None => Failure::Transport(error.to_string()),
    }
}
