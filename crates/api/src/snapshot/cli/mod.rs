//! `snapshot`: saving, restoring and inspecting the whole state.
//!
//! Always true: a saved file was read back and verified before it gets its name; states are streamed, never held whole.
//! Not here: the formats (`wire::archive`, `wire::state_bin`).

mod inspect;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use net::go_text::reason;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use crate::cli::client::{CLIENT, Request, RequestBody, SERVER, index};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Complaint, Exit, Invocation};

/// The largest state that is verified or inspected: far more than a server could hold in memory.
const STATE_BYTES_MAX: u64 = 1 << 40;

/// How much of a file is sent at a time.
const PIECE_BYTES: usize = 64 << 10;

const SAVE: &[Flag] = &[Flag::new(
    "append-filename",
    Kind::MaybeText,
    "Put facts into the file's name, before its extension: version, dc, or both with a comma between.",
)];

pub const COMMANDS: &[Command] = &[
    Command::group(
        "snapshot",
        "Saves, restores and inspects snapshots of server state",
        "Saves, restores and inspects the state of the servers, for disaster recovery.\n\n    $ {name} snapshot save \
         backup.snap\n    $ {name} snapshot inspect backup.snap\n    $ {name} snapshot restore backup.snap",
    ),
    inspect::INSPECT,
    Command {
        path: "snapshot restore",
        synopsis: "Restores snapshot of server state",
        shape: "[options] FILE",
        about: "Replaces the state of the servers of a datacenter by the one in a file. What was written\nsince it was \
                saved is lost.",
        flags: &[CLIENT, SERVER],
        run: Some(restore),
    },
    Command {
        path: "snapshot save",
        synopsis: "Saves snapshot of server state",
        shape: "[options] FILE",
        about: "Saves the state of the servers of a datacenter to a file. With -stale any server may\nprovide it, even \
                while there is no leader.",
        flags: &[SAVE, CLIENT, SERVER],
        run: Some(save),
    },
];

fn file_argument(invocation: &Invocation<'_>) -> Result<String, Complaint> {
    invocation.at_most(1)?;
    invocation.argument(0).map(str::to_owned).ok_or_else(|| "Missing FILE argument".into())
}

fn opening(path: &str, error: &io::Error) -> String {
    format!("open {path}: {}", reason(error))
}

fn restore(invocation: &mut Invocation<'_>) -> Exit {
    let path = file_argument(invocation)?;
    invocation.connect()?;
    let file = File::open(&path).map_err(|error| format!("Error opening snapshot file: {}", opening(&path, &error)))?;
    let request = Request::put("/v1/snapshot").stream(pieces(file));
    invocation.ask(request, "Error restoring snapshot")?;
    invocation.io.say("Restored snapshot");
    Ok(0)
}

/// A file as the body of a request.
fn pieces(file: File) -> RequestBody {
    let file = tokio::fs::File::from_std(file);
    let pieces = stream::unfold(file, |mut file| async {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        match file.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Frame::data(Bytes::from(piece))), file)),
            Err(error) => Some((Err(error), file)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn save(invocation: &mut Invocation<'_>) -> Exit {
    let path = file_argument(invocation)?;
    invocation.connect()?;
    let path = named(invocation, path)?;
    let request = Request::get("/v1/snapshot").with_if(invocation.stale(), "stale");
    let unverified = format!("{path}.unverified");
    let saved_index = invocation.block_on(async |client| {
        let (headers, body) =
            client.open(request).await.map_err(|failure| format!("Error saving snapshot: {failure}"))?;
        write_file(body, &unverified)
            .await
            .map_err(|error| format!("Error writing unverified snapshot file: {error}"))?;
        Ok::<u64, String>(index(&headers))
    })?;
    let kept = saved_index.and_then(|index| keep(&unverified, &path).map(|()| index));
    // After success it has the other name; after a failure it is worth nothing.
    let _ = std::fs::remove_file(&unverified);
    let index = kept?;
    invocation.io.say(format_args!("Saved and verified snapshot to index {index}"));
    Ok(0)
}

/// A snapshot holds secrets: only its owner may read it.
const FILE_MODE: u32 = 0o600;

async fn write_file(mut body: Incoming, path: &str) -> Result<(), String> {
    let create = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path);
    let mut file = create.map_err(|error| opening(path, &error))?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| "unexpected EOF")?;
        if let Ok(piece) = frame.into_data() {
            file.write_all(&piece).map_err(|error| format!("write {path}: {}", reason(&error)))?;
        }
    }
    file.sync_all().map_err(|error| format!("sync {path}: {}", reason(&error)))
}

/// Verifies the file and gives it its name.
fn keep(unverified: &str, path: &str) -> Result<(), String> {
    let file = File::open(unverified)
        .map_err(|error| format!("Error opening snapshot file for verify: {}", opening(unverified, &error)))?;
    wire::archive::read(io::BufReader::new(file), &mut io::sink(), STATE_BYTES_MAX)
        .map_err(|error| format!("Error verifying snapshot file: {error}"))?;
    std::fs::rename(unverified, path).map_err(|error| {
        let (from, to) = (net::go_text::quote(unverified), net::go_text::quote(path));
        format!("Error renaming {from} to {to}: rename {unverified} {path}: {}", reason(&error))
    })?;
    // The new name is durable once the directory is.
    let directory = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Ok(directory) = File::open(directory.unwrap_or(Path::new("."))) {
        let _ = directory.sync_all();
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Health {
    servers: Vec<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Server {
    leader: bool,
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Itself {
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    datacenter: String,
}

/// The file's name with the facts that `-append-filename` asks for.
fn named(invocation: &mut Invocation<'_>, path: String) -> Result<String, Complaint> {
    let asked = invocation.parsed.text("append-filename").to_owned();
    if asked.is_empty() {
        return Ok(path);
    }
    let asked: Vec<&str> = asked.split(',').collect();
    // Go's notion of an extension: from the last dot of the last part, even if that is all there is.
    let name_start = path.rfind('/').map_or(0, |slash| slash + 1);
    let extension_start = path[name_start..].rfind('.').map_or(path.len(), |dot| name_start + dot);
    let (stem, extension) = path.split_at(extension_start);
    let mut named = stem.to_owned();
    if asked.contains(&"version") {
        const WORDS: &str = "Error fetching version of Consul agent Leader";
        let answer = invocation.ask(Request::get("/v1/operator/autopilot/health").or_unwell(), WORDS)?;
        let health: Health = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
        let leader = health.servers.into_iter().find(|server| server.leader).unwrap_or_default();
        named.push_str(&format!("-{}", leader.version));
    }
    if asked.contains(&"dc") {
        const WORDS: &str = "Error connecting to Consul agent and fetching datacenter/version";
        let answer = invocation.ask(Request::get("/v1/agent/self"), WORDS)?;
        let itself: Itself = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
        named.push_str(&format!("-{}", itself.config.datacenter));
    }
    Ok(named + extension)
}

/// The directory that a `state.bin` of a server's own snapshots lies in.
fn beside(path: &str, name: &str) -> PathBuf {
    Path::new(path).with_file_name(name)
}

#[cfg(test)]
mod tests;
