//! `SHA256SUMS`: a line `<hex>  <name>` for each of the other files.

use super::{Error, META, STATE};
use crate::json;

pub(super) type Hash = [u8; 32];

pub(super) struct Sums {
    pub(super) meta: Hash,
    pub(super) state: Hash,
}

impl Sums {
    pub(super) fn encode(&self) -> String {
        format!("{}  {META}\n{}  {STATE}\n", hex::encode(self.meta), hex::encode(self.state))
    }
}

/// A file as it was read; no hash matches one that did not come exactly once.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) name: &'static str,
    pub(super) hash: Option<Hash>,
}

/// Checks that every line is true and that there is one for both files.
pub(super) fn verify(sums: &str, meta: Seen, state: Seen) -> Result<(), Error> {
    let files = [meta, state];
    let mut listed = [false; 2];
    for line in sums.lines() {
        let (hash, name) = read_line(line)?;
        let Some(at) = files.iter().position(|file| file.name == name) else {
            return Err(Error::new(format!("list missing hash for {}", json::quote(name))));
        };
        if files[at].hash.as_ref().map(<[u8; 32]>::as_slice) != Some(hash.as_slice()) {
            return Err(Error::new(format!("hash check failed for {}", json::quote(name))));
        }
        listed[at] = true;
    }
    match files.iter().zip(listed).find(|(_, listed)| !listed) {
        Some((file, _)) => Err(Error::new(format!("file missing for {}", json::quote(file.name)))),
        None => Ok(()),
    }
}

/// Compat: the reference scans with `%x  %s`, whose failures show.
fn read_line(line: &str) -> Result<(Vec<u8>, &str), Error> {
    let digits = line.bytes().take_while(u8::is_ascii_hexdigit).count() & !1;
    if line.is_empty() {
        return Err(Error::new("EOF"));
    }
    let hash = hex::decode(&line[..digits]).unwrap_or_default();
    if hash.is_empty() {
        return Err(Error::new("no hex data for %x string"));
    }
    match line[digits..].split_whitespace().next() {
        Some(name) if line[digits..].starts_with(' ') => Ok((hash, name)),
        Some(_) => Err(Error::new("expected space in input to match format")),
        None => Err(Error::new("unexpected EOF")),
    }
}
