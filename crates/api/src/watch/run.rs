//! Running a watch of a configuration: ask the agent, hand what is new to the handler, until told to stop.
//!
//! Always true: one question and one run of the handler at a time; of what a handler says the last few KiB are kept; a
//! failing handler or agent ends nothing. Being told to stop ends a question at once, a running handler is let finish.
//! Not here: what counts as news (the plan).

use std::future::Future;
use std::process::Stdio;
use std::sync::Arc;

use agent::check::output::Tail;
use bytes::Bytes;
use net::http_client::{self, Redirects};
use net::tls;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use wire::duration::GoDuration;

use super::configured::{Configured, Handler, HttpHandler};
use super::{Cursor, News};
use crate::cli::client::{Client, Settings};
use crate::cli::{Environment, child};

/// How much of a handler's output is kept.
const OUTPUT_BYTES: usize = 4 * 1024;
/// How much of it is read at a time.
const PIECE_BYTES: usize = 4 * 1024;

/// Where an agent asks itself.
#[derive(Clone, Debug)]
pub enum Own {
    /// `host:port`
    Tcp(String),
    Unix(std::path::PathBuf),
}

impl Configured {
    /// Runs until `stopped` ends.
    pub async fn run(self, own: Own, environment: Arc<Environment>, stopped: impl Future<Output = ()>) {
        let Configured { mut plan, handler, .. } = self;
        let settings = match own {
            Own::Tcp(address) => Settings::plain(&address, plan.token()),
            Own::Unix(path) => Settings::unix(path, plan.token()),
        };
        let client = match Client::new(settings) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(target: "agent", error, "Failed to run watch");
                return;
            }
        };
        tokio::pin!(stopped);
        loop {
            let answered = tokio::select! {
                biased;
                () = &mut stopped => return,
                answered = super::cli::ask(&mut plan, &client) => answered,
            };
            match answered {
                Ok(None) => {}
                Ok(Some(news)) => handler.handle(&news, &environment).await,
                Err(error) => {
                    let wait = plan.failed();
                    let (kind, retry) = (&plan.kind, GoDuration::from(wait).to_string());
                    tracing::error!(target: "agent.watch.watch", r#type = kind, error, retry, "Watch errored");
                    tokio::select! {
                        () = &mut stopped => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }
}

/// Compat: what has a hash instead of an index is told as index 0.
fn index(news: &News) -> u64 {
    match news.cursor {
        Cursor::Index(index) => index,
        Cursor::Hash(_) => 0,
    }
}

impl Handler {
    async fn handle(&self, news: &News, environment: &Environment) {
        match self {
            Handler::Script(line) => execute(std::slice::from_ref(line), true, news, environment).await,
            Handler::Arguments(words) => execute(words, false, news, environment).await,
            Handler::Http(http) => http.call(news).await,
        }
    }
}

async fn execute(words: &[String], shell: bool, news: &News, environment: &Environment) {
    let handler = if shell { words.join(" ") } else { format!("[{}]", words.join(", ")) };
    let mut command = match child::command(words, shell, environment) {
        Ok(command) => command,
        Err(error) => {
            tracing::error!(target: "agent", error, "Failed to setup watch");
            return;
        }
    };
    command.env("CONSUL_INDEX", index(news).to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let error = child::start_refusal(words, &error);
            tracing::error!(target: "agent", watch_handler = handler, error, "Failed to run watch handler");
            return;
        }
    };
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut input) = input {
            // A handler need not read what it is given.
            let _ = input.write_all(news.json.as_bytes()).await;
            let _ = input.write_all(b"\n").await;
        }
    };
    let tail = parking_lot::Mutex::new(Tail::new(OUTPUT_BYTES));
    let (status, (), (), ()) = tokio::join!(child.wait(), feed, drain(out, &tail), drain(err, &tail));
    let ending = match status {
        Ok(status) => child::ending(status),
        Err(error) => Some(net::go_text::reason(&error)),
    };
    if let Some(error) = ending {
        tracing::error!(target: "agent", watch_handler = handler, error, "Failed to run watch handler");
    }
    let output = tail.lock().report();
    tracing::debug!(target: "agent", watch_handler = handler, output, "watch handler output");
}

async fn drain(stream: Option<impl AsyncRead + Unpin>, tail: &parking_lot::Mutex<Tail>) {
    let Some(mut stream) = stream else { return };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        tail.lock().write(&piece[..length]);
    }
}

impl HttpHandler {
    async fn call(&self, news: &News) {
        let watch = &self.path;
        match self.exchange(news).await {
            Err(error) => tracing::error!(target: "agent", watch, error, "Failed to invoke http watch handler"),
            Ok((status, true, output)) => {
                tracing::trace!(target: "agent", watch, status, output, "http watch handler output");
            }
            Ok((status, false, output)) => {
                tracing::error!(target: "agent", watch, status, output, "http watch handler failed with output");
            }
        }
    }

    /// The status line, whether it means success, and the end of the answer.
    async fn exchange(&self, news: &News) -> Result<(String, bool, String), String> {
        let told = |error: http_client::HttpError| error.to_string();
        let mut request = http_client::Request::parse(&self.method, &self.path).map_err(told)?;
        request.header("Content-Type", "application/json").map_err(told)?;
        request.header("X-Consul-Index", &index(news).to_string()).map_err(told)?;
        for (name, values) in &self.header {
            for value in values {
                request.header(name, value).map_err(told)?;
            }
        }
        request.body = Bytes::from(format!("{}\n", news.json));
        let tls = tls::Settings { skip_verify: self.tls_skip_verify, ..tls::Settings::default() };
        let client = http_client::Client {
            tls: Some(tls.when_needed()),
            redirects: Redirects::DEFAULT,
            timeout: Some(self.timeout),
        };
        let mut response = client.send(request).await.map_err(told)?;
        let mut tail = Tail::new(OUTPUT_BYTES);
        // Compat: an answer that breaks off counts as what arrived of it.
        while let Ok(Some(piece)) = response.chunk().await {
            tail.write(&piece);
        }
        Ok((response.status_line(), response.status.is_success(), tail.report()))
    }
}
