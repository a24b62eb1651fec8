//! `watch`: printing what changes, or running a program on it.
//!
//! Not here: what counts as a change (the plan), handlers of a configuration.

use std::cell::Cell;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use wire::duration::GoDuration;

use crate::cli::client::{CLIENT, Client, Request, SERVER};
use crate::cli::flags::{Flag, Kind, parse_bool};
use crate::cli::text::indented;
use crate::cli::{Command, Complaint, Exit, Invocation, Io, child};
use crate::watch::{Cursor, News, Parameters, Plan, Reply};

const FLAGS: &[Flag] = &[
    Flag::new("type", Kind::Text, "What to watch: key, keyprefix, services, nodes, service, checks or event."),
    Flag::new("key", Kind::Text, "The key, for type key."),
    Flag::new("prefix", Kind::Text, "The prefix, for type keyprefix."),
    Flag::new("service", Kind::Text, "The service, for type service; type checks may have one."),
    Flag::new("tag", Kind::List, "A tag that services must have, for type service. May be given several times."),
    Flag::new(
        "passingonly",
        Kind::Text,
        "Only instances whose checks all pass, for type service; one of `[true|false]`, otherwise false.",
    ),
    Flag::new("shell", Kind::Bool, "Run the program through a shell, the one that SHELL names or /bin/sh.").or("true"),
    Flag::new("state", Kind::Text, "The state that checks must have, for type checks."),
    Flag::new("name", Kind::Text, "The name that events must have, for type event."),
    Flag::new("filter", Kind::Text, "Filter expression for the query."),
];

pub const COMMANDS: &[Command] = &[Command {
    path: "watch",
    synopsis: "Watch for changes",
    shape: "[options] [child...]",
    about: "Watches a part of what the servers know. With a program, runs it now and after every\nchange, with the \
            data as JSON on its stdin and the index in CONSUL_INDEX. Without one,\nprints the data once.\n\nA type must \
            be given; what else is needed depends on it.",
    flags: &[FLAGS, CLIENT, SERVER],
    run: Some(run),
}];

fn parameters(invocation: &Invocation<'_>) -> Result<Parameters, Complaint> {
    let parsed = &invocation.parsed;
    let mut parameters = Parameters::new();
    for name in ["type", "datacenter", "key", "prefix", "service", "filter", "state", "name"] {
        if !parsed.text(name).is_empty() {
            parameters.insert(name.to_owned(), Value::from(parsed.text(name)));
        }
    }
    let tags = parsed.list("tag");
    if !tags.is_empty() {
        parameters.insert("tag".to_owned(), Value::from(tags));
    }
    if parsed.bool("stale") {
        parameters.insert("stale".to_owned(), Value::from(true));
    }
    let passing = parsed.text("passingonly");
    if !passing.is_empty() {
        let passing = parse_bool(passing).ok_or_else(|| {
            let quoted = net::go_text::quote(passing);
            format!("Failed to parse passingonly flag: strconv.ParseBool: parsing {quoted}: invalid syntax")
        })?;
        parameters.insert("passingonly".to_owned(), Value::from(passing));
    }
    Ok(parameters)
}

fn run(invocation: &mut Invocation<'_>) -> Exit {
    if invocation.parsed.text("type").is_empty() {
        return Err(Complaint::with_help("Watch type must be specified"));
    }
    let plan = Plan::compile(parameters(invocation)?).map_err(|invalid| invalid.to_string())?;
    if plan.is_for_agents_only() {
        return Err(format!("Type {} is not supported in the CLI tool", plan.kind).into());
    }
    // Asked first, so that an agent which cannot be reached is told at once instead of being tried again for ever.
    invocation.ask(Request::get("/v1/status/leader"), "Error querying Consul agent")?;
    let words = invocation.parsed.arguments.clone();
    let shell = invocation.parsed.bool("shell");
    invocation.block_on_with_io(async |client, io| {
        let running = Cell::new(None);
        tokio::select! {
            code = follow(plan, client, &words, shell, &running, io) => Ok(code),
            signal = child::interrupted_by() => {
                // The handler is told too, and may take its time after we are gone.
                if let Some(pid) = running.get() {
                    let _ = child::send(pid, signal);
                }
                Ok(0)
            }
        }
    })?
}

async fn follow(
    mut plan: Plan,
    client: Client,
    words: &[String],
    shell: bool,
    running: &Cell<Option<u32>>,
    io: &mut Io,
) -> i32 {
    loop {
        match ask(&mut plan, &client).await {
            Ok(None) => {}
            Ok(Some(news)) if words.is_empty() => {
                io.say(indented(&news.json, "    "));
                return 0;
            }
            Ok(Some(news)) => {
                if let Err(complaint) = handle(&news, words, shell, running, io).await {
                    io.complain(complaint);
                    return 1;
                }
            }
            Err(error) => {
                let wait = plan.failed();
                let (kind, error, retry) = (&plan.kind, error.replace('"', "\\\""), GoDuration::from(wait));
                io.log(
                    "ERROR",
                    "watch.watch",
                    format_args!("Watch errored: type={kind} error=\"{error}\" retry={retry}"),
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

pub(super) async fn ask(plan: &mut Plan, client: &Client) -> Result<Option<News>, String> {
    let question = plan.question();
    let mut request = Request::get(question.path);
    if plan.may_be_missing() {
        request = request.or_missing();
    }
    for (name, value) in question.parameters {
        request = request.with(name, value);
    }
    let answer = client.ask(request).await.map_err(|failure| failure.to_string())?;
    let hash = answer.headers.get("x-consul-contenthash").and_then(|hash| hash.to_str().ok()).unwrap_or_default();
    plan.answered(&Reply { missing: answer.missing, index: answer.index(), hash, body: &answer.body })
}

async fn handle(
    news: &News,
    words: &[String],
    shell: bool,
    running: &Cell<Option<u32>>,
    io: &mut Io,
) -> Result<(), String> {
    let mut command =
        child::command(words, shell, &io.environment).map_err(|error| format!("Error executing handler: {error}"))?;
    let index = match &news.cursor {
        Cursor::Index(index) => index.to_string(),
        Cursor::Hash(hash) => hash.clone(),
    };
    command.env("CONSUL_INDEX", index).stdin(Stdio::piped());
    let mut child =
        command.spawn().map_err(|error| format!("Error starting handler: {}", child::start_refusal(words, &error)))?;
    running.set(child.id());
    let input = child.stdin.take();
    let feed = async {
        if let Some(mut input) = input {
            // A handler need not read what it is given.
            let _ = input.write_all(news.json.as_bytes()).await;
            let _ = input.write_all(b"\n").await;
        }
    };
    let (status, ()) = tokio::join!(child.wait(), feed);
    running.set(None);
    let status = status.map_err(|error| format!("Error executing handler: {error}"))?;
    match child::ending(status) {
        Some(ending) => Err(format!("Error executing handler: {ending}")),
        None => Ok(()),
    }
}
