//! Wire names made from text: parts are joined, never interpolated and parsed again.
//!
//! Always true: what comes out is a name that fits the wire; what does not fit is `None`.

use bytes::Bytes;
use domain::base::Name;

const MAX_NAME_BYTES: usize = 255;
const MAX_LABEL_BYTES: usize = 63;

/// An absolute name; the final dot may be missing.
pub(crate) fn from_text(text: &str) -> Option<Name<Bytes>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut octets = Vec::with_capacity(text.len() + 2);
    if !text.is_empty() {
        push_labels(&mut octets, text)?;
    }
    octets.push(0);
    finish(octets)
}

/// The parts, each of which may hold several labels, below `zone`.
pub(crate) fn below(parts: &[&str], zone: &Name<Bytes>) -> Option<Name<Bytes>> {
    let room: usize = parts.iter().map(|part| part.len() + 1).sum();
    let mut octets = Vec::with_capacity(room + zone.as_slice().len());
    for part in parts {
        push_labels(&mut octets, part)?;
    }
    octets.extend_from_slice(zone.as_slice());
    finish(octets)
}

fn push_labels(octets: &mut Vec<u8>, text: &str) -> Option<()> {
    for label in text.as_bytes().split(|byte| *byte == b'.') {
        if label.is_empty() || label.len() > MAX_LABEL_BYTES || octets.len() > MAX_NAME_BYTES {
            return None;
        }
        octets.push(u8::try_from(label.len()).ok()?);
        octets.extend_from_slice(label);
    }
    Some(())
}

fn finish(octets: Vec<u8>) -> Option<Name<Bytes>> {
    Name::from_octets(Bytes::from(octets)).ok()
}

/// Where the labels of a wire name begin, the root label left out.
pub(crate) struct Starts {
    at: [u8; 128],
    len: usize,
}

impl Starts {
    pub(crate) fn of(wire: &[u8]) -> Self {
        let mut starts = Starts { at: [0; 128], len: 0 };
        let mut at = 0;
        while let Some(length) = wire.get(at).copied().filter(|length| *length != 0) {
            let (Some(slot), Ok(start)) = (starts.at.get_mut(starts.len), u8::try_from(at)) else { break };
            *slot = start;
            starts.len += 1;
            at += usize::from(length) + 1;
        }
        starts
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + '_ {
        self.at[..self.len].iter().map(|at| usize::from(*at))
    }

    /// Where the last `count` labels begin.
    pub(crate) fn of_last(&self, count: usize) -> Option<usize> {
        self.len.checked_sub(count).and_then(|index| self.at[..self.len].get(index)).map(|at| usize::from(*at))
    }
}
