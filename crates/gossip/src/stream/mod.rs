//! Streams as they travel: a label header, then one message, perhaps compressed, perhaps encrypted.
//!
//! Always true: a reader keeps at most [`MESSAGE_MAX`] and a header of what arrived, and hands out one whole message; it
//! allocates for bytes that came, not for lengths that were claimed. Whatever follows the message is ignored.
//! Not here: what messages mean, deadlines.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use wire::msgpack::{self, ValueScanner};

use crate::envelope::{Envelope, NONCE, Refusal, compress, decompress, kind, open_sealed, seal, sealed_len};

/// The most that one stream may bring, sealed or unpacked. Compat: the reference bounds what is encrypted by this, and
/// leaves the rest without a bound.
pub const MESSAGE_MAX: usize = 20 * 1024 * 1024;
/// Type and length in front of what is encrypted; authenticated with it.
const ENCRYPTED_HEADER: usize = 5;

/// Reads one message from a stream that arrives piecemeal.
#[derive(Debug)]
pub struct StreamReader {
    envelope: Envelope,
    buffer: BytesMut,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Label,
    /// Which framing is it?
    Kind,
    Encrypted {
        len: usize,
    },
    /// Compressed, and not encrypted: the end is found by reading over it.
    Compressed(ValueScanner),
    Plain(MessageEnd),
    Over,
}

impl StreamReader {
    /// For a stream that somebody opened to us.
    pub fn incoming(envelope: Envelope) -> StreamReader {
        StreamReader { envelope, buffer: BytesMut::new(), stage: Stage::Label }
    }

    /// For the answer on a stream that we opened. Compat: answers carry no label header, though the label is still
    /// authenticated.
    pub fn reply(envelope: Envelope) -> StreamReader {
        StreamReader { envelope, buffer: BytesMut::new(), stage: Stage::Kind }
    }

    /// Did anything arrive yet? A stream that ends before is no error.
    pub fn is_untouched(&self) -> bool {
        self.buffer.is_empty() && matches!(self.stage, Stage::Label | Stage::Kind)
    }

    /// How many bytes are kept.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// More bytes of the stream. Answers the message, type byte first, once it is all there.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Bytes>, Refusal> {
        if matches!(self.stage, Stage::Over) {
            return Ok(None);
        }
        self.buffer.extend_from_slice(bytes);
        let result = self.advance();
        if !matches!(result, Ok(None)) {
            self.stage = Stage::Over;
            self.buffer = BytesMut::new();
        } else if self.buffer.len() > MESSAGE_MAX + ENCRYPTED_HEADER {
            self.stage = Stage::Over;
            let kept = std::mem::take(&mut self.buffer);
            return Err(Refusal::TooLarge(kept.len() as u64));
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let next = match &mut self.stage {
                Stage::Label => match label_end(&self.buffer)? {
                    None => return Ok(None),
                    Some(end) => {
                        let header = self.buffer.split_to(end);
                        self.envelope.accept_label(header.get(2..).unwrap_or_default())?;
                        Stage::Kind
                    }
                },
                Stage::Kind => match self.framing()? {
                    None => return Ok(None),
                    Some(stage) => stage,
                },
                Stage::Encrypted { len } => {
                    if self.buffer.len() < ENCRYPTED_HEADER + *len {
                        return Ok(None);
                    }
                    let end = ENCRYPTED_HEADER + *len;
                    return self.decrypt(end).and_then(unpack).map(Some);
                }
                Stage::Compressed(scanner) => {
                    let body = self.buffer.get(1..).unwrap_or_default();
                    return match scanner.advance(body).map_err(malformed)? {
                        None => Ok(None),
                        Some(_) => unpack(self.buffer.split().freeze()).map(Some),
                    };
                }
                Stage::Plain(end) => {
                    return Ok(end.advance(&self.buffer)?.map(|end| self.buffer.split_to(end).freeze()));
                }
                Stage::Over => return Ok(None),
            };
            self.stage = next;
        }
    }

    /// What the first byte behind the label announces.
    fn framing(&self) -> Result<Option<Stage>, Refusal> {
        let Some(first) = self.buffer.first() else {
            return Ok(None);
        };
        if *first == kind::ENCRYPT {
            if self.envelope.keyring.is_none() {
                return Err(Refusal::UnexpectedEncryption);
            }
            let Some([a, b, c, d]) = self.buffer.get(1..ENCRYPTED_HEADER) else {
                return Ok(None);
            };
            let stated = u32::from_be_bytes([*a, *b, *c, *d]);
            let len = usize::try_from(stated).ok().filter(|len| *len <= MESSAGE_MAX);
            return Ok(Some(Stage::Encrypted { len: len.ok_or(Refusal::TooLarge(u64::from(stated)))? }));
        }
        if self.envelope.keyring.is_some() && self.envelope.verify_incoming {
            return Err(Refusal::PlainStream);
        }
        Ok(Some(match *first {
            kind::COMPRESS => Stage::Compressed(ValueScanner::new()),
            first => Stage::Plain(MessageEnd::of(first)?),
        }))
    }

    fn decrypt(&mut self, end: usize) -> Result<Bytes, Refusal> {
        let keyring = self.envelope.keyring.as_deref().ok_or(Refusal::UnexpectedEncryption)?;
        let (header, sealed) = self.buffer[..end].split_at(ENCRYPTED_HEADER);
        let aad = [header, self.envelope.label.as_bytes()].concat();
        open_sealed(keyring, &aad, sealed).map(Bytes::from)
    }
}

fn malformed(error: msgpack::Error) -> Refusal {
    Refusal::Malformed(error.to_string())
}

/// Where a label header ends: at 0 if there is none.
fn label_end(buffer: &[u8]) -> Result<Option<usize>, Refusal> {
    Ok(match buffer {
        [] | [kind::LABEL] => None,
        [kind::LABEL, 0, ..] => return Err(Refusal::LabelEmpty),
        [kind::LABEL, len, rest @ ..] => (rest.len() >= usize::from(*len)).then_some(2 + usize::from(*len)),
        _ => Some(0),
    })
}

/// What was all there once: decompressed if need be, and without what follows the message.
fn unpack(plain: Bytes) -> Result<Bytes, Refusal> {
    let message = match plain.first() {
        Some(&kind::COMPRESS) => decompress(&plain[1..], MESSAGE_MAX)?.into(),
        _ => plain,
    };
    let first = *message.first().ok_or(Refusal::Empty)?;
    let end = MessageEnd::of(first)?.advance(&message)?.ok_or_else(|| malformed(msgpack::Error::Truncated))?;
    Ok(message.slice(..end))
}

/// Finds where a plain message ends.
#[derive(Debug)]
struct MessageEnd {
    kind: u8,
    /// Where the value begins that is being read over.
    at: usize,
    scanner: ValueScanner,
    /// Values still to come, the one being read over included.
    values: usize,
    /// The header of push/pull and user messages, once read.
    counted: bool,
    /// Bytes behind the last value.
    tail: usize,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Header {
    #[serde(rename = "Nodes")]
    nodes: i64,
    #[serde(rename = "UserStateLen")]
    state_len: i64,
    #[serde(rename = "UserMsgLen")]
    message_len: i64,
}

impl MessageEnd {
    fn of(kind: u8) -> Result<MessageEnd, Refusal> {
        let counted = match kind {
            kind::PING | kind::ACK | kind::ERROR => true,
            kind::PUSH_PULL | kind::USER => false,
            other => return Err(Refusal::StreamKind(other)),
        };
        Ok(MessageEnd { kind, at: 1, scanner: ValueScanner::new(), values: 1, counted, tail: 0 })
    }

    /// The message's length if `message`, which begins with its type byte, is all there.
    fn advance(&mut self, message: &[u8]) -> Result<Option<usize>, Refusal> {
        while self.values > 0 {
            let value = message.get(self.at..).unwrap_or_default();
            let Some(len) = self.scanner.advance(value).map_err(malformed)? else {
                return Ok(None);
            };
            self.values -= 1;
            if !self.counted {
                self.count(&value[..len])?;
            }
            self.at += len;
            self.scanner = ValueScanner::new();
        }
        let end = self.at + self.tail;
        if end > MESSAGE_MAX {
            return Err(Refusal::TooLarge(end as u64));
        }
        Ok((end <= message.len()).then_some(end))
    }

    fn count(&mut self, header: &[u8]) -> Result<(), Refusal> {
        let header: Header = msgpack::from_slice(header).map_err(malformed)?;
        let within = |count: i64| {
            usize::try_from(count).ok().filter(|count| *count <= MESSAGE_MAX).ok_or(Refusal::TooLarge(count as u64))
        };
        self.counted = true;
        // Compat: a negative length of what follows is taken for none.
        if self.kind == kind::PUSH_PULL {
            self.values = within(header.nodes)?;
            self.tail = within(header.state_len.max(0))?;
        } else {
            self.tail = within(header.message_len.max(0))?;
        }
        Ok(())
    }
}

impl Envelope {
    /// What opens a stream of ours: the label header and the message.
    pub fn seal_stream(&self, message: &[u8], nonce: [u8; NONCE]) -> Bytes {
        self.seal_behind(self.label_header(), message, nonce)
    }

    /// What answers on a stream that was opened to us: no label header.
    pub fn seal_reply(&self, message: &[u8], nonce: [u8; NONCE]) -> Bytes {
        self.seal_behind(Vec::new(), message, nonce)
    }

    fn seal_behind(&self, mut out: Vec<u8>, message: &[u8], nonce: [u8; NONCE]) -> Bytes {
        // Compat: streams are compressed even where that makes them longer.
        let compressed = if self.compress { compress(message) } else { None };
        let plain = compressed.as_deref().unwrap_or(message);
        match self.sealing() {
            None => out.extend_from_slice(plain),
            Some(keyring) => {
                let header = out.len();
                out.push(kind::ENCRYPT);
                // Beyond 4 GiB no receiver reads on: its limit is MESSAGE_MAX.
                let len = u32::try_from(sealed_len(self.version, plain.len())).unwrap_or(u32::MAX);
                out.extend_from_slice(&len.to_be_bytes());
                let aad = [&out[header..], self.label.as_bytes()].concat();
                seal(&mut out, keyring.primary(), self.version, nonce, &aad, plain);
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests;
