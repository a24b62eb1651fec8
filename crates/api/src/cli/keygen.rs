//! `keygen`: a fresh gossip key.

use rand::RngCore as _;

use crate::cli::{Command, Exit, Invocation};

/// AES-256.
const KEY_BYTES: usize = 32;

pub const COMMANDS: &[Command] = &[Command {
    path: "keygen",
    synopsis: "Generates a new encryption key",
    shape: "",
    about: "Prints a new 32-byte key for encrypting gossip, in the form that the agent's `encrypt`\nsetting takes.",
    flags: &[],
    run: Some(run),
}];

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let mut key = [0u8; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    invocation.io.say(wire::base64::encode(&key));
    Ok(0)
}
