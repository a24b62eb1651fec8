//! `kv`: reading, writing and moving entries of the key-value store.
//!
//! Always true: values are octets and are printed as they are; keys are sent as written, a leading slash is dropped
//! where the reference drops it.
//! Not here: what the operations mean (`state::kv`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cli::client::{Answer, CLIENT, Failure, NAMESPACE, PARTITION, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::{Tabs, indented};
use crate::cli::{Command, Exit, Invocation};

const CAS: Flag =
    Flag::new("cas", Kind::Bool, "Act only if the key is unchanged since -modify-index, which must be given too.");
const MODIFY_INDEX: Flag = Flag::new("modify-index", Kind::Uint, "The ModifyIndex that -cas compares with.");
const BASE64: Flag = Flag::new("base64", Kind::Bool, "Print values as base64.");

const DELETE: &[Flag] =
    &[CAS, MODIFY_INDEX, Flag::new("recurse", Kind::Bool, "Delete every key that starts with the given one.")];

const GET: &[Flag] = &[
    BASE64,
    Flag::new("detailed", Kind::Bool, "Print indexes, flags and the lock session beside the value."),
    Flag::new("keys", Kind::Bool, "Print only the names of the keys that start with the given prefix."),
    Flag::new("recurse", Kind::Bool, "Print every entry whose key starts with the given prefix."),
    Flag::new("separator", Kind::Text, "With -keys, names end at the first occurrence of this after the prefix.")
        .or("/"),
];

const IMPORT: &[Flag] = &[Flag::new("prefix", Kind::Text, "Put before the key of every imported entry.")];

const PUT: &[Flag] = &[
    CAS,
    MODIFY_INDEX,
    Flag::new("flags", Kind::Uint, "A number to keep with the entry; it means nothing to the store."),
    Flag::new("base64", Kind::Bool, "The data is base64 of what is to be written."),
    Flag::new("session", Kind::Text, "The session that -acquire and -release act for."),
    Flag::new("acquire", Kind::Bool, "Lock the key for -session, creating it if need be."),
    Flag::new("release", Kind::Bool, "Give up the lock that -session holds on the key."),
];

pub const COMMANDS: &[Command] = &[
    Command::group(
        "kv",
        "Interact with the key-value store",
        "Reads and writes the key-value store. For example:\n\n    $ {name} kv put app/limit 5\n    $ {name} kv get \
         app/limit\n    $ {name} kv get -detailed app/limit\n    $ {name} kv delete app/limit",
    ),
    Command {
        path: "kv delete",
        synopsis: "Removes data from the KV store",
        shape: "[options] KEY_OR_PREFIX",
        about: "Removes a key, or with -recurse all keys that start with the given text. It is no error if\nthere is \
                nothing to remove.\n\n    $ {name} kv delete -recurse app/",
        flags: &[DELETE, CLIENT, SERVER, NAMESPACE, PARTITION],
        run: Some(delete),
    },
    Command {
        path: "kv export",
        synopsis: "Exports a tree from the KV store as JSON",
        shape: "[KEY_OR_PREFIX]",
        about: "Prints the entries under a prefix as JSON that `{name} kv import` takes.\n\n    $ {name} kv export app/",
        flags: &[CLIENT, SERVER, NAMESPACE, PARTITION],
        run: Some(export),
    },
    Command {
        path: "kv get",
        synopsis: "Retrieves or lists data from the KV store",
        shape: "[options] [KEY_OR_PREFIX]",
        about: "Prints the value of a key, or with -recurse or -keys what lies under a prefix. A key that\ndoes not \
                exist is an error.\n\n    $ {name} kv get app/limit\n    $ {name} kv get -recurse app/",
        flags: &[GET, CLIENT, SERVER, NAMESPACE, PARTITION],
        run: Some(get),
    },
    Command {
        path: "kv import",
        synopsis: "Imports a tree stored as JSON to the KV store",
        shape: "[DATA]",
        about: "Writes the entries that `{name} kv export` printed. DATA is the JSON itself, @ and a file\nname, or - for \
                stdin.\n\n    $ {name} kv import @app.json",
        flags: &[IMPORT, CLIENT, SERVER, NAMESPACE, PARTITION],
        run: Some(import),
    },
    Command {
        path: "kv put",
        synopsis: "Sets or updates data in the KV store",
        shape: "[options] KEY [DATA]",
        about: "Writes a value. DATA is the value itself, @ and a file name, or - for stdin; without it the\nvalue is \
                empty.\n\n    $ {name} kv put app/limit 5\n    $ {name} kv put app/config @config.json",
        flags: &[PUT, CLIENT, SERVER, NAMESPACE, PARTITION],
        run: Some(put),
    },
];

/// An entry as the API tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Entry {
    pub key: String,
    pub create_index: u64,
    pub modify_index: u64,
    pub lock_index: u64,
    pub flags: u64,
    /// Base64, absent when empty.
    pub value: Option<String>,
    pub session: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub partition: String,
}

impl Entry {
    pub fn octets(&self) -> Result<Vec<u8>, Failure> {
        let text = self.value.as_deref().unwrap_or_default();
        wire::base64::decode(text.as_bytes()).map_err(|error| Failure::Answer(error.to_string()))
    }
}

/// An entry as it is exported.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename = "*impexp.Entry")]
struct Exported {
    key: String,
    flags: u64,
    value: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    partition: String,
}

/// The path of a key.
pub fn path(key: &str) -> String {
    format!("/v1/kv/{}", key.strip_prefix('/').unwrap_or(key))
}

/// One entry, if it exists.
pub fn read(key: &str) -> Request {
    Request::get(path(key)).or_missing()
}

pub fn entries(answer: &Answer) -> Result<Vec<Entry>, Failure> {
    if answer.missing { Ok(Vec::new()) } else { answer.json() }
}

/// All entries under a prefix.
pub fn list(prefix: &str) -> Request {
    read(prefix).with("recurse", "")
}

/// A write; `key` must not begin with a slash.
pub fn write(key: &str, value: impl Into<Bytes>, flags: u64) -> Result<Request, Failure> {
    if key.starts_with('/') {
        return Err(Failure::Answer(format!("Invalid key. Key must not begin with a '/': {key}")));
    }
    let request = Request::put(path(key)).octets(value);
    Ok(if flags == 0 { request } else { request.with("flags", flags.to_string()) })
}

/// Go's `path.Join`: joined by a slash, then without empty, `.` and `..` parts.
pub fn joined(prefix: &str, rest: &str) -> String {
    let whole = match (prefix.is_empty(), rest.is_empty()) {
        (true, true) => return String::new(),
        (true, false) => rest.to_owned(),
        (false, true) => prefix.to_owned(),
        (false, false) => format!("{prefix}/{rest}"),
    };
    let rooted = whole.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The one optional key of a command, without a leading slash.
fn key_argument(invocation: &Invocation<'_>) -> Result<String, crate::cli::Complaint> {
    invocation.at_most(1)?;
    let key = invocation.argument(0).unwrap_or_default();
    Ok(key.strip_prefix('/').unwrap_or(key).to_owned())
}

fn delete(invocation: &mut Invocation<'_>) -> Exit {
    let key = key_argument(invocation)?;
    let (cas, recurse) = (invocation.parsed.bool("cas"), invocation.parsed.bool("recurse"));
    let modify_index = invocation.parsed.uint("modify-index");
    if key.is_empty() && !recurse {
        return Err("Error! Missing KEY argument".into());
    }
    if cas && modify_index == 0 {
        // Compat: "than than" is the reference's.
        return Err("Cannot delete a key that does not exist. Provide a -modify-index greater than than 0.".into());
    }
    if modify_index != 0 && !cas {
        return Err("Cannot specify -modify-index without -cas!".into());
    }
    if recurse && cas {
        return Err("Cannot specify both -cas and -recurse!".into());
    }
    let request = Request::delete(path(&key));
    if recurse {
        invocation.ask(request.with("recurse", ""), &format!("Error! Did not delete prefix {key}"))?;
        invocation.io.say(format_args!("Success! Deleted keys with prefix: {key}"));
    } else if cas {
        let words = format!("Error! Did not delete key {key}");
        if !invocation.ask(request.with("cas", modify_index.to_string()), &words)?.says_true() {
            return Err(format!("{words}: CAS failed").into());
        }
        invocation.io.say(format_args!("Success! Deleted key: {key}"));
    } else {
        invocation.ask(request, &format!("Error deleting key {key}"))?;
        invocation.io.say(format_args!("Success! Deleted key: {key}"));
    }
    Ok(0)
}

const QUERYING: &str = "Error querying Consul agent";

fn listed(invocation: &mut Invocation<'_>, prefix: &str) -> Result<Vec<Entry>, crate::cli::Complaint> {
    let request = list(prefix).with_if(invocation.stale(), "stale");
    let answer = invocation.ask(request, QUERYING)?;
    entries(&answer).map_err(|failure| format!("{QUERYING}: {failure}").into())
}

fn export(invocation: &mut Invocation<'_>) -> Exit {
    let prefix = key_argument(invocation)?;
    let exported = listed(invocation, &prefix)?.into_iter().map(|entry| Exported {
        key: entry.key,
        flags: entry.flags,
        value: entry.value.unwrap_or_default(),
        namespace: entry.namespace,
        partition: entry.partition,
    });
    let exported: Vec<Exported> = exported.collect();
    let compact = wire::json::to_string(&exported).map_err(|error| format!("Error exporting KV data: {error}"))?;
    invocation.io.say(indented(&compact, "\t"));
    Ok(0)
}

fn get(invocation: &mut Invocation<'_>) -> Exit {
    let key = key_argument(invocation)?;
    let flag = |name: &str| invocation.parsed.bool(name);
    let (base64, detailed, keys, recurse) = (flag("base64"), flag("detailed"), flag("keys"), flag("recurse"));
    if key.is_empty() && !recurse && !keys {
        return Err("Error! Missing KEY argument".into());
    }
    if keys && !recurse {
        let separator = invocation.parsed.text("separator").to_owned();
        let request = read(&key).with("keys", "").with_some("separator", &separator);
        let answer = invocation.ask(request.with_if(invocation.stale(), "stale"), QUERYING)?;
        let names: Vec<String> = if answer.missing {
            Vec::new()
        } else {
            answer.json().map_err(|failure| format!("{QUERYING}: {failure}"))?
        };
        for name in names {
            invocation.io.say(name);
        }
        return Ok(0);
    }
    let found = if recurse {
        listed(invocation, &key)?
    } else {
        let answer = invocation.ask(read(&key).with_if(invocation.stale(), "stale"), QUERYING)?;
        let mut found = entries(&answer).map_err(|failure| format!("{QUERYING}: {failure}"))?;
        if found.is_empty() {
            return Err(format!("Error! No key exists at: {key}").into());
        }
        found.truncate(1);
        found
    };
    let last = found.len().saturating_sub(1);
    for (number, entry) in found.iter().enumerate() {
        let value = match (&entry.value, base64) {
            (value, true) => value.clone().unwrap_or_default().into_bytes(),
            _ => entry.octets().map_err(|failure| format!("{QUERYING}: {failure}"))?,
        };
        let mut out = match (detailed, keys, recurse) {
            (true, _, _) => detail(entry, (!keys).then_some(value.as_slice())),
            (false, true, _) => entry.key.clone().into_bytes(),
            (false, false, true) => [entry.key.as_bytes(), b":", &value].concat(),
            (false, false, false) => value,
        };
        out.push(b'\n');
        if detailed && number < last {
            out.push(b'\n');
        }
        let _ = invocation.io.out.write_all(&out);
    }
    Ok(0)
}

/// Everything known about an entry, in two columns.
fn detail(entry: &Entry, value: Option<&[u8]>) -> Vec<u8> {
    let session = if entry.session.is_empty() { "-" } else { &entry.session };
    let mut rows = format!(
        "CreateIndex\t{}\nFlags\t{}\nKey\t{}\nLockIndex\t{}\nModifyIndex\t{}\nSession\t{session}\n",
        entry.create_index, entry.flags, entry.key, entry.lock_index, entry.modify_index
    );
    for (name, text) in [("Partition", &entry.partition), ("Namespace", &entry.namespace)] {
        if !text.is_empty() {
            rows.push_str(&format!("{name}\t{text}\n"));
        }
    }
    let Some(value) = value else { return Tabs::USUAL.expand(&rows).into_bytes() };
    // Octets that are text share the columns; others are only appended, since columns are counted in characters.
    match std::str::from_utf8(value) {
        Ok(text) => Tabs::USUAL.expand(&format!("{rows}Value\t{text}")).into_bytes(),
        Err(_) => {
            let mut out = Tabs::USUAL.expand(&format!("{rows}Value\tx")).into_bytes();
            out.pop();
            out.extend_from_slice(value);
            out
        }
    }
}

fn import(invocation: &mut Invocation<'_>) -> Exit {
    let given = match invocation.parsed.arguments.as_slice() {
        [] => return Err("Error! Missing DATA argument".into()),
        [data] if data.is_empty() => return Err("Error! Empty DATA argument".into()),
        [data] => data.clone(),
        more => return Err(format!("Error! Too many arguments (expected 1, got {})", more.len()).into()),
    };
    let data = invocation.data_bytes(&given).map_err(|error| format!("Error! {error}"))?;
    invocation.connect()?;
    let options = wire::json::Options { mode: wire::json::Mode::Unmarshal, ..wire::json::Options::LENIENT };
    let exported: Option<Vec<Exported>> =
        wire::json::from_slice(&data, options).map_err(|error| format!("Cannot unmarshal data: {error}"))?;
    let prefix = invocation.parsed.text("prefix").to_owned();
    for entry in exported.unwrap_or_default() {
        let value = wire::base64::decode(entry.value.as_bytes())
            .map_err(|error| format!("Error base 64 decoding value for key {}: {error}", entry.key))?;
        let mut key = joined(&prefix, &entry.key);
        if entry.key.ends_with('/') {
            key.push('/');
        }
        let words = format!("Error! Failed writing data for key {key}");
        let request = write(&key, value, entry.flags).map_err(|failure| format!("{words}: {failure}"))?;
        invocation.ask(request.with_some("ns", &entry.namespace), &words)?;
        invocation.io.say(format_args!("Imported: {key}"));
    }
    Ok(0)
}

fn put(invocation: &mut Invocation<'_>) -> Exit {
    let (key, data) = match invocation.parsed.arguments.as_slice() {
        [] => return Err("Error! Missing KEY argument".into()),
        [key] => (key.clone(), String::new()),
        [key, data] => (key.clone(), data.clone()),
        more => return Err(format!("Error! Too many arguments (expected 1 or 2, got {})", more.len()).into()),
    };
    let mut value = invocation.data_bytes(&data).map_err(|error| format!("Error! {error}"))?;
    if invocation.parsed.bool("base64") {
        // Compat: the reference goes on after this message and writes what it could decode; we stop.
        value = wire::base64::decode(&value).map_err(|error| format!("Error! Cannot base 64 decode data: {error}"))?;
    }
    let flag = |name: &str| invocation.parsed.bool(name);
    let (cas, acquire, release) = (flag("cas"), flag("acquire"), flag("release"));
    let session = invocation.parsed.text("session").to_owned();
    if (acquire || release) && session.is_empty() {
        return Err("Error! Missing -session (required with -acquire and -release)".into());
    }
    invocation.connect()?;
    let modify_index = invocation.parsed.uint("modify-index");
    let did_not = format!("Error! Did not write to {key}");
    let failed = "Error! Failed writing data".to_owned();
    let request = write(&key, value, invocation.parsed.uint("flags"));
    let (request, words, success) = if cas {
        (request.map(|request| request.with("cas", modify_index.to_string())), did_not.clone(), "Data written to")
    } else if acquire {
        (request.map(|request| request.with("acquire", session)), failed, "Lock acquired on")
    } else if release {
        (request.map(|request| request.with("release", session)), failed, "Lock released on")
    } else {
        (request, failed, "Data written to")
    };
    let outcome = match request {
        Ok(request) => invocation.attempt(request)?,
        Err(failure) => Err(failure),
    };
    let answer = match outcome {
        Ok(answer) => answer,
        // Compat: releasing names the key where the others name the reason.
        Err(_) if release && !cas && !acquire => return Err(format!("{words}: {key}").into()),
        Err(failure) => return Err(format!("{words}: {failure}").into()),
    };
    if !answer.says_true() && (cas || acquire || release) {
        return Err(match (cas, acquire) {
            (true, _) if modify_index == 0 => {
                format!("{did_not}: CAS performed with index=0 and key already exists.")
            }
            (true, _) => format!("{did_not}: CAS failed"),
            (false, true) => "Error! Did not acquire lock".to_owned(),
            (false, false) => "Error! Did not release lock".to_owned(),
        }
        .into());
    }
    invocation.io.say(format_args!("Success! {success}: {key}"));
    Ok(0)
}

#[cfg(test)]
mod tests;
