//! Docker checks: a program run inside a container through the engine's exec API; its exit code is the status.
//!
//! Always true: three requests (create, start, inspect), each on a connection of its own and all within one timeout;
//! of every answer only the tail is kept.
//!
//! Compat: the reference has no timeout here and would wait for a hung engine without end.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use net::http_client::{Client, HttpError, Request, Url};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::output::Tail;
use super::{Status, Verdict};

pub const HOST_DEFAULT: &str = "unix:///var/run/docker.sock";
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
pub const SHELL_DEFAULT: &str = "/bin/sh";
/// An engine that sends more than this for one check is not waited for.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    Unix(String),
    Tcp(String),
}

impl Engine {
    /// Reads `DOCKER_HOST`; empty means the usual socket.
    pub fn parse(host: &str) -> Result<Engine, String> {
        let host = if host.is_empty() { HOST_DEFAULT } else { host };
        match host.split_once("://") {
            None => Err(format!("unable to parse docker host `{host}`")),
            Some(("unix", path)) => Ok(Engine::Unix(path.to_owned())),
            Some(("tcp" | "http", rest)) => {
                let address = rest.split('/').next().unwrap_or_default();
                Ok(Engine::Tcp(address.to_owned()))
            }
            Some((other, _)) => Err(format!("unsupported docker host protocol {other}")),
        }
    }

    fn url(&self, path: &str) -> Result<Url, HttpError> {
        match self {
            Engine::Unix(socket) => Ok(Url::over_unix(socket, path)),
            Engine::Tcp(address) => Ok(Url::parse(&format!("http://{address}{path}"))?),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Docker {
    pub engine: Engine,
    pub container: String,
    pub args: Vec<String>,
    pub timeout: Duration,
    pub output_bytes_max: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateExec<'a> {
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    tty: bool,
    cmd: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StartExec {
    detach: bool,
    tty: bool,
}

#[derive(Deserialize)]
struct Created {
    #[serde(alias = "ID", alias = "id", default)]
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "ExitCode", default)]
    exit_code: Option<i64>,
}

/// One answer of the engine.
struct Answer {
    code: u16,
    body: Tail,
    /// The body broke off.
    broken: Option<HttpError>,
}

impl Docker {
    pub async fn run(&self) -> Verdict {
        match self.exec().await {
            Ok((exit_code, output)) => {
                let status = match exit_code {
                    0 => Status::Passing,
                    1 => Status::Warning,
                    _ => Status::Critical,
                };
                Verdict::new(status, output)
            }
            Err(text) => Verdict::critical(text),
        }
    }

    async fn exec(&self) -> Result<(i64, String), String> {
        let deadline = Instant::now() + self.timeout;
        let id = self.create(deadline).await?;
        let output = self.start(&id, deadline).await?;
        let exit_code = self.inspect(&id, deadline).await?;
        Ok((exit_code, output))
    }

    async fn create(&self, deadline: Instant) -> Result<String, String> {
        let container = &self.container;
        let body =
            CreateExec { attach_stdin: false, attach_stdout: true, attach_stderr: true, tty: false, cmd: &self.args };
        let path = format!("/containers/{}/exec", query_escaped(container));
        let answer = self
            .call(Method::POST, &path, json_body(&body)?, deadline)
            .await
            .and_then(Answer::whole)
            .map_err(|error| format!("create exec failed for container {container}: {error}"))?;
        match answer.code {
            201 => serde_json::from_slice::<Created>(&answer.body.bytes())
                .map(|created| created.id)
                .map_err(|error| format!("create exec response for container {container} cannot be parsed: {error}")),
            404 => Err(format!("create exec failed for unknown container {container}")),
            409 => Err(format!("create exec failed since container {container} is paused or stopped")),
            code => {
                Err(format!("create exec failed for container {container} with status {code}: {}", answer.body.text()))
            }
        }
    }

    async fn start(&self, id: &str, deadline: Instant) -> Result<String, String> {
        let container = &self.container;
        let body = StartExec { detach: false, tty: true };
        let path = format!("/exec/{id}/start");
        let failed = |error: HttpError| format!("start exec failed for container {container}: {error}");
        let answer = self.call(Method::POST, &path, json_body(&body)?, deadline).await.map_err(failed)?;
        // Engines reset this connection when the program ends; what was read until then counts.
        let is_reset = |error: &HttpError| error.to_string().contains("connection reset by peer");
        let broken = match answer.broken {
            Some(error) if !is_reset(&error) => return Err(failed(error)),
            other => other.map_or("<nil>".to_owned(), |error| error.to_string()),
        };
        match answer.code {
            200 => Ok(answer.body.report()),
            404 => Err(format!("start exec failed for container {container}: invalid exec id {id}")),
            409 => Err(format!("start exec failed since container {container} is paused or stopped")),
            code => Err(format!(
                "start exec failed for container {container} with status {code}: body: {} err: {broken}",
                answer.body.text()
            )),
        }
    }

    async fn inspect(&self, id: &str, deadline: Instant) -> Result<i64, String> {
        let container = &self.container;
        let answer = self
            .call(Method::GET, &format!("/exec/{id}/json"), Bytes::new(), deadline)
            .await
            .and_then(Answer::whole)
            .map_err(|error| format!("inspect exec failed for container {container}: {error}"))?;
        match answer.code {
            200 => serde_json::from_slice::<Inspected>(&answer.body.bytes())
                .map(|inspected| inspected.exit_code.unwrap_or(0))
                .map_err(|error| format!("inspect exec response for container {container} cannot be parsed: {error}")),
            404 => Err(format!("inspect exec failed for container {container}: invalid exec id {id}")),
            code => {
                Err(format!("inspect exec failed for container {container} with status {code}: {}", answer.body.text()))
            }
        }
    }

    async fn call(&self, method: Method, path: &str, body: Bytes, deadline: Instant) -> Result<Answer, HttpError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut request = Request::new(method, self.engine.url(path)?);
        if let Engine::Unix(_) = self.engine {
            request.host = Some(HeaderValue::from_static("docker"));
        }
        if !body.is_empty() {
            request.header("Content-Type", "application/json")?;
        }
        request.body = body;
        let mut response = Client::plain(Some(left)).send(request).await?;
        let mut body = Tail::new(self.output_bytes_max);
        let broken = loop {
            match response.chunk().await {
                Ok(Some(piece)) => body.write(&piece),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            if body.written() >= ANSWER_BYTES_MAX {
                break None;
            }
        };
        Ok(Answer { code: response.status.as_u16(), body, broken })
    }
}

impl Answer {
    fn whole(self) -> Result<Answer, HttpError> {
        match self.broken {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

fn json_body(body: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| error.to_string())
}

/// Go's `url.QueryEscape`.
fn query_escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Docker, Engine};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    /// What the stand-in engine answers to create, start and inspect.
    type Script = [&'static str; 3];
    const CREATED: &str = "201 Created|{\"Id\":\"e1\"}";

    fn docker(engine: Engine, container: &str) -> Docker {
        Docker {
            engine,
            container: container.to_owned(),
            args: vec!["/bin/true".to_owned(), "x".to_owned()],
            timeout: Duration::from_millis(500),
            output_bytes_max: 20,
        }
    }

    async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, script: Script, log: &Mutex<String>) {
        let mut read = vec![0; 4096];
        let count = stream.read(&mut read).await.unwrap();
        let request = String::from_utf8_lossy(&read[..count]).into_owned();
        log.lock().unwrap().push_str(&request);
        let chosen = match request.split(' ').nth(1).unwrap_or_default() {
            path if path.starts_with("/containers/") => script[0],
            path if path.ends_with("/start") => script[1],
            _ => script[2],
        };
        if let Some((line, body)) = chosen.split_once('|') {
            let answer = format!("HTTP/1.1 {line}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        } else {
            // A hung engine: waits until the client leaves.
            let _ = stream.read(&mut read).await;
        }
    }

    /// Runs against an engine on a Unix socket; the verdict, and what the engine was asked.
    async fn run(script: Script) -> (String, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let engine_log = Arc::clone(&log);
        let engine = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, script, &engine_log).await;
            }
        });
        let engine_at = Engine::parse(&format!("unix://{}", path.display())).unwrap();
        let verdict = docker(engine_at, "abc/d e").run().await;
        engine.abort();
        let log = log.lock().unwrap().clone();
        let text = format!("{}|{}", verdict.status, verdict.output);
        let shown = path.display().to_string().replace('/', "%2F");
        (text.replace(&shown, "SOCKET"), log)
    }

    async fn check(script: Script, expect: &str) {
        assert_eq!(run(script).await.0, expect, "{script:?}");
    }

    #[tokio::test]
    async fn the_programs_exit_code_decides() {
        let inspected = |code: &'static str| -> Script { [CREATED, "200 OK|out\n", code] };
        check(inspected("200 OK|{\"ExitCode\":0}"), "passing|out\n").await;
        check(inspected("200 OK|{\"ExitCode\":1}"), "warning|out\n").await;
        check(inspected("200 OK|{\"ExitCode\":7}"), "critical|out\n").await;
        check(
            [CREATED, "200 OK|123456789012345678901234", "200 OK|{\"ExitCode\":0}"],
            "passing|Captured 20 of 24 bytes\n...\n56789012345678901234",
        )
        .await;
    }

    #[tokio::test]
    async fn the_engine_is_asked_as_the_reference_asks_it() {
        let (_, log) = run([CREATED, "200 OK|", "200 OK|{\"ExitCode\":0}"]).await;
        for part in [
            "POST /containers/abc%2Fd+e/exec HTTP/1.1\r\n",
            "Host: docker\r\n",
            "Content-Type: application/json\r\n",
            r#"{"AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"Cmd":["/bin/true","x"]}"#,
            "POST /exec/e1/start HTTP/1.1\r\n",
            r#"{"Detach":false,"Tty":true}"#,
            "GET /exec/e1/json HTTP/1.1\r\n",
        ] {
            assert!(log.contains(part), "{part} is missing in {log}");
        }
    }

    #[tokio::test]
    async fn refusals_are_told() {
        check(["404 Not Found|", "", ""], "critical|create exec failed for unknown container abc/d e").await;
        check(["409 Conflict|", "", ""], "critical|create exec failed since container abc/d e is paused or stopped")
            .await;
        check(["500 Oops|boom", "", ""], "critical|create exec failed for container abc/d e with status 500: boom")
            .await;
        check([CREATED, "404 Not Found|", ""], "critical|start exec failed for container abc/d e: invalid exec id e1")
            .await;
        check(
            [CREATED, "500 Oops|boom", ""],
            "critical|start exec failed for container abc/d e with status 500: body: boom err: <nil>",
        )
        .await;
        check(
            [CREATED, "200 OK|x", "500 Oops|boom"],
            "critical|inspect exec failed for container abc/d e with status 500: boom",
        )
        .await;
        check(
            [CREATED, "hang", ""],
            "critical|start exec failed for container abc/d e: Post \"http://SOCKET/exec/e1/start\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        )
        .await;
    }

    /// The expectation was read off the reference on a machine without an engine.
    #[tokio::test]
    async fn a_missing_engine_is_named() {
        let engine = Engine::Unix("/no/docker.sock".to_owned());
        let verdict = docker(engine, "abc/d e").run().await;
        assert_eq!(
            verdict.output,
            "create exec failed for container abc/d e: Post \"http://%2Fno%2Fdocker.sock/containers/abc%2Fd+e/exec\": dial unix /no/docker.sock: connect: no such file or directory"
        );
    }

    #[tokio::test]
    async fn engines_listen_on_tcp_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let engine = tokio::spawn(async move {
            let log = Mutex::new(String::new());
            for _ in 0..3 {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, [CREATED, "200 OK|hi", "200 OK|{\"ExitCode\":1}"], &log).await;
            }
        });
        let verdict = docker(Engine::parse(&host).unwrap(), "abc").run().await;
        assert_eq!(format!("{}|{}", verdict.status, verdict.output), "warning|hi");
        engine.await.unwrap();
    }

    #[test]
    fn hosts_parse() {
        assert_eq!(Engine::parse("").unwrap(), Engine::Unix("/var/run/docker.sock".to_owned()));
        assert_eq!(Engine::parse("tcp://h:1/x").unwrap(), Engine::Tcp("h:1".to_owned()));
        assert_eq!(Engine::parse("foo").unwrap_err(), "unable to parse docker host `foo`");
    }
}
