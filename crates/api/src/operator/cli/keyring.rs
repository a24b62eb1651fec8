//! `keyring`: the keys that gossip is encrypted with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::cli::client::{CLIENT, Request};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Exit, Invocation};
use crate::operator::{RELAY_FACTOR_MAX, RELAY_FACTOR_RANGE};

const FLAGS: &[Flag] = &[
    Flag::new("install", Kind::Text, "Give this key to all members, in addition to those they have."),
    Flag::new("use", Kind::Text, "Encrypt with this key, which all members must have already."),
    Flag::new("remove", Kind::Text, "Take this key from all members; it must not be the one they encrypt with."),
    Flag::new("list", Kind::Bool, "Print the keys that members have."),
    Flag::new("list-primary", Kind::Bool, "Print the keys that members encrypt with."),
    Flag::new(
        "relay-factor",
        Kind::Int,
        "Through how many other members each member sends its answer a second time, for lossy networks; 5 at most.",
    ),
    Flag::new("local-only", Kind::Bool, "With -list: ask only the agents of this datacenter, through its own pool."),
];

pub const KEYRING: Command = Command {
    path: "keyring",
    synopsis: "Manages the encryption keys of gossip",
    shape: "[options]",
    about: "Looks at and changes the keys that gossip is encrypted with, in the pools of all datacenters.\nThe agent must \
            be a server. To change the key, install a new one, use it, and remove the old\none:\n\n    $ {name} keyring \
            -install $(consul keygen)\n\nThe exit code is 1 unless every member answers and does as it is asked.",
    flags: &[FLAGS, CLIENT],
    run: Some(run),
};

/// What is to be done; exactly one flag asks for it.
enum Action {
    List { primary: bool },
    Change { request: Request, key: String, saying: &'static str },
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Pool {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    segment: String,
    partition: String,
    messages: BTreeMap<String, String>,
    keys: BTreeMap<String, i64>,
    primary_keys: BTreeMap<String, i64>,
    num_nodes: i64,
}

impl Pool {
    fn shown(&self, primary: bool) -> String {
        let mut text = if self.wan { "\nWAN".to_owned() } else { format!("\n{} (LAN)", self.datacenter) };
        let partition = self.partition.as_str();
        // Writing to a text cannot fail.
        let _ = match (self.segment.as_str(), partition.is_empty() || partition.eq_ignore_ascii_case("default")) {
            ("", true) => Ok(()),
            ("", false) => write!(text, " [partition: {partition}]"),
            (segment, _) => write!(text, " [{segment}]"),
        };
        text.push_str(":\n");
        for (member, message) in &self.messages {
            let _ = writeln!(text, "  ===> {member}: {message}");
        }
        for (key, members) in if primary { &self.primary_keys } else { &self.keys } {
            let _ = writeln!(text, "  {key} [{members}/{}]", self.num_nodes);
        }
        text.trim_end_matches('\n').to_owned()
    }
}

fn actions(invocation: &Invocation<'_>) -> Vec<Action> {
    const PATH: &str = "/v1/operator/keyring";
    let parsed = &invocation.parsed;
    let mut actions = Vec::new();
    for (flag, primary) in [("list", false), ("list-primary", true)] {
        if parsed.bool(flag) {
            actions.push(Action::List { primary });
        }
    }
    for (flag, request, saying) in [
        ("install", Request::post(PATH), "Installing new gossip encryption key..."),
        ("use", Request::put(PATH), "Changing primary gossip encryption key..."),
        ("remove", Request::delete(PATH), "Removing gossip encryption key..."),
    ] {
        let key = parsed.text(flag).to_owned();
        if !key.is_empty() {
            actions.push(Action::Change { request, key, saying });
        }
    }
    actions
}

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let mut actions = actions(invocation);
    let Some(action) = actions.pop() else { return Err(invocation.help().into()) };
    if !actions.is_empty() {
        return Err("Only a single action is allowed".into());
    }
    let relay = invocation.parsed.int("relay-factor");
    if !(0..=RELAY_FACTOR_MAX).contains(&relay) {
        return Err(format!("Error parsing relay factor: {RELAY_FACTOR_RANGE}").into());
    }
    let local = invocation.parsed.bool("local-only");
    // Compat: -list-primary does not count as a list here.
    if local && !matches!(action, Action::List { primary: false }) {
        return Err("Error validating local-only: local-only can only be set for list requests".into());
    }
    invocation.connect()?;
    let relayed = |request: Request| if relay == 0 { request } else { request.with("relay-factor", relay.to_string()) };
    match action {
        Action::Change { request, key, saying } => {
            invocation.io.say(format_args!("==> {saying}"));
            let request = request.json(&Key { key }).map_err(|failure| format!("error: {failure}"))?;
            invocation.ask(relayed(request), "error")?;
        }
        Action::List { primary } => {
            let which = if primary { "primary " } else { "" };
            invocation.io.say(format_args!("==> Gathering installed {which}encryption keys..."));
            let mut request = relayed(Request::get("/v1/operator/keyring"));
            if local {
                request = request.with("local-only", "true");
            }
            let answer = invocation.ask(request, "error")?;
            let pools: Vec<Pool> = answer.json().map_err(|failure| format!("error: {failure}"))?;
            for pool in pools {
                invocation.io.say(pool.shown(primary));
            }
        }
    }
    Ok(0)
}
