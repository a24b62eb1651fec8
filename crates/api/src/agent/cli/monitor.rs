//! `monitor`: the agent's log as it is written.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::cli::client::{CLIENT, Request};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Exit, Invocation, Io, child};

const FLAGS: &[Flag] = &[
    Flag::new("log-level", Kind::Text, "The least level to print.").or("INFO"),
    Flag::new("log-json", Kind::Bool, "Print lines as JSON."),
];

pub const MONITOR: Command = Command {
    path: "monitor",
    synopsis: "Stream logs from an agent",
    shape: "[options]",
    about: "Prints what the agent logs until interrupted. The level may be lower than the one the agent\nitself logs \
            at.",
    flags: &[FLAGS, CLIENT],
    run: Some(run),
};

/// The longest line that is kept waiting for its end; longer ones are printed in pieces.
const LINE_BYTES_MAX: usize = 1 << 20;

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let json = invocation.parsed.bool("log-json");
    let words = if json { "Error starting JSON monitor" } else { "Error starting monitor" };
    let mut request = Request::get("/v1/agent/monitor").with_some("loglevel", invocation.parsed.text("log-level"));
    if json {
        request = request.with("logjson", "true");
    }
    let interrupted = invocation.block_on_with_io(async |client, io| {
        let (_, body) = client.open(request).await.map_err(|failure| format!("{words}: {failure}"))?;
        tokio::select! {
            () = print_lines(body, io) => Ok::<bool, String>(false),
            () = child::interrupted() => Ok(true),
        }
    })??;
    if interrupted {
        return Ok(0);
    }
    invocation
        .io
        .say("\nRemote side ended the monitor! This usually means that the\nremote side has exited or crashed.");
    Ok(1)
}

async fn print_lines(mut body: Incoming, io: &mut Io) {
    let mut line: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(piece) = frame.into_data() else { continue };
        for byte in piece {
            if byte == b'\n' || line.len() >= LINE_BYTES_MAX {
                print_line(&mut line, io);
            }
            if byte != b'\n' {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        print_line(&mut line, io);
    }
}

fn print_line(line: &mut Vec<u8>, io: &mut Io) {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    // Compat: the reference cannot tell an empty line from the end and prints a blank instead.
    io.say(if text.is_empty() { " " } else { text });
    line.clear();
}
