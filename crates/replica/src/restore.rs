//! A restored archive on its way through the log, so that all servers put the same state in the place of theirs at the
//! same entry.
//!
//! An archive travels in pieces. The entry that completes it replaces the state; indexes go on behind whatever both
//! states have seen, which is why the state's index may run ahead of raft's.
//!
//! Always true: pieces count only within one term and one restore, in order; what is not completed leaves no trace. No
//! snapshot is taken between the first piece and the last, since the pieces are not in it.

use serde::{Deserialize, Serialize};
use state::kv::Octets;
use state::{Error, Index, Limits, Outcome, State};
use wire::archive;
use wire::msgpack;

/// The type of these entries; the reference knows none above 43.
const RESTORE: u8 = 120;
/// Bytes of an archive in one entry.
pub const PIECE: usize = 512 << 10;
/// A larger archive is refused: every server holds it in memory while it is restored.
pub const ARCHIVE_MAX: usize = 1 << 30;
/// An archive may unpack to this much state.
const STATE_MAX: u64 = 16 << 30;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Piece {
    /// Which restore it belongs to.
    #[serde(rename = "ID")]
    id: u64,
    /// Where in the archive it stands.
    offset: u64,
    is_last: bool,
    data: Octets,
}

/// An archive as log entries, in order. `id` tells this restore from others.
pub fn entries(id: u64, archive: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let count = archive.len().div_ceil(PIECE).max(1);
    (0..count).map(move |at| {
        let offset = at * PIECE;
        let data = Octets::copied(&archive[offset..archive.len().min(offset + PIECE)]);
        let piece = Piece { id, offset: offset as u64, is_last: at + 1 == count, data };
        let mut entry = vec![RESTORE];
        // Numbers and bytes always fit.
        entry.extend(msgpack::to_vec(&piece).unwrap_or_default());
        entry
    })
}

/// Whether a log entry is one of these.
#[must_use]
pub(crate) fn is_piece(entry: &[u8]) -> bool {
    entry.first() == Some(&RESTORE)
}

/// What has arrived of an archive.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    id: u64,
    archive: Vec<u8>,
    under_way: bool,
}

impl Restoring {
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Another term begins: whoever sent the pieces sends no more.
    pub fn abandon(&mut self) {
        *self = Restoring::default();
    }

    /// Takes a piece in. Gives the state, once it is whole, that takes the place of one at `applied`; its index stands
    /// behind both.
    pub fn take(&mut self, entry: &[u8], applied: Index, limits: Limits) -> (Outcome, Option<State>) {
        let failed = |text: &str| (Outcome::Failed(Error::failed(text.to_owned())), None);
        let Some(Ok(piece)) = entry.get(1..).map(msgpack::from_slice::<Piece>) else {
            return failed("failed to restore snapshot: a piece cannot be read");
        };
        if piece.offset == 0 {
            *self = Restoring { id: piece.id, archive: Vec::new(), under_way: true };
        }
        let fits = self.archive.len() + piece.data.0.len() <= ARCHIVE_MAX;
        if !self.under_way || piece.id != self.id || piece.offset != self.archive.len() as u64 || !fits {
            return failed("failed to restore snapshot: another restore took over");
        }
        self.archive.extend_from_slice(&piece.data.0);
        if !piece.is_last {
            return (Outcome::Done, None);
        }
        let archive = std::mem::take(self).archive;
        match read(&archive, limits) {
            Ok((mut state, index)) => {
                state.advance(Index(index.0.max(applied.0) + 1));
                (Outcome::Done, Some(state))
            }
            Err(text) => failed(&text),
        }
    }
}

/// The state of an archive, verified, with the archive's own index.
pub fn read(bytes: &[u8], limits: Limits) -> Result<(State, Index), String> {
    let mut body = Vec::new();
    let meta = archive::read(bytes, &mut body, STATE_MAX).map_err(|error| error.to_string())?;
    let state =
        crate::codec::read_state(&body[..], limits).map_err(|error| format!("failed to restore snapshot: {error}"))?;
    let index = state.applied().max(Index(meta.index));
    Ok((state, index))
}
