//! Finding where a value ends without interpreting it.
//!
//! Invariant: iterative, so nesting costs no stack; every step consumes at least one byte.

use super::Error;
use super::marker::{Head, read_head};

/// Finds the end of one value in bytes that arrive piecemeal, without looking at any byte twice.
///
/// Call [`ValueScanner::advance`] with the whole buffer so far (always beginning with the value's first byte) each time
/// it has grown; it answers the value's length once it is all there.
#[derive(Clone, Debug)]
pub struct ValueScanner {
    /// Where the next head or body byte is to be looked for; may lie past the buffer inside a long raw.
    position: usize,
    /// Values still to be passed over.
    open: u64,
}

impl Default for ValueScanner {
    fn default() -> ValueScanner {
        ValueScanner { position: 0, open: 1 }
    }
}

impl ValueScanner {
    pub fn new() -> ValueScanner {
        ValueScanner::default()
    }

    /// The length of the value if `buffer` holds all of it, `None` if more bytes are needed.
    pub fn advance(&mut self, buffer: &[u8]) -> Result<Option<usize>, Error> {
        while self.open > 0 {
            let Some(rest) = buffer.get(self.position..).filter(|rest| !rest.is_empty()) else {
                return Ok(None);
            };
            let (head, head_len) = match read_head(rest) {
                Ok(found) => found,
                Err(Error::Truncated) => return Ok(None),
                Err(error) => return Err(error),
            };
            let (body_len, children) = match head {
                Head::Raw { len, .. } | Head::Ext(len) => (len, 0),
                Head::Array(len) => (0, len as u64),
                Head::Map(len) => (0, len as u64 * 2),
                _ => (0, 0),
            };
            self.position = self.position.checked_add(head_len + body_len).ok_or(Error::TooLong)?;
            self.open = (self.open - 1).checked_add(children).ok_or(Error::TooLong)?;
        }
        Ok((self.position <= buffer.len()).then_some(self.position))
    }

    /// How many bytes the value needs at the least, from what was seen so far.
    pub fn needed(&self) -> usize {
        self.position.saturating_add(usize::try_from(self.open).unwrap_or(usize::MAX))
    }
}

/// The length of the value at the front of `input`.
pub fn skip_value(input: &[u8]) -> Result<usize, Error> {
    ValueScanner::new().advance(input)?.ok_or(Error::Truncated)
}
