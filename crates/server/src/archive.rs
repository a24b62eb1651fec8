//! The whole state as a snapshot archive (`/v1/snapshot`).

use bytes::Bytes;
use replica::{Configuration, Stats, codec};
use state::State;
use wire::archive;

use crate::Error;

/// A state as an archive.
pub(crate) fn write(state: &State, configuration: &Configuration, stats: &Stats) -> Result<Bytes, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::BadArchive(format!("failed to save snapshot: {error}"));
    let mut body = Vec::new();
    codec::write_state(state, &mut body).map_err(|error| failed(&error))?;
    let servers = configuration.peers.values().map(|peer| archive::Server {
        suffrage: u8::from(!peer.voter).into(),
        id: peer.id.clone(),
        address: peer.address.clone(),
    });
    let servers = archive::Configuration { servers: servers.collect() };
    let taken_ms = now_millis();
    let meta = archive::SnapshotMeta::new(state.applied().0, stats.term, taken_ms, servers, configuration.index.max(1));
    let meta = meta.with_size(body.len() as u64);
    let mut out = Vec::new();
    archive::write(&mut out, &meta, &body[..], taken_ms / 1000).map_err(|error| failed(&error))?;
    Ok(out.into())
}

fn now_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
