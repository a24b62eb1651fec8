//! Compression: a message `{Algo, Buf}` around LZW with GIF's bit order and eight-bit literals.
//!
//! Always true: decompression stops at the bound that it is given, before it has allocated more.
//! Not here: whether compressing was worth it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weezl::{BitOrder, LzwStatus};
use wire::msgpack;

use super::{Refusal, kind};

const LITERAL_BITS: u8 = 8;
const ALGORITHM: u8 = 0;
/// Output grows by this much at a time, so that a bomb costs no more than the bound.
const CHUNK: usize = 4096;

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Compressed {
    #[serde(rename = "Algo")]
    algorithm: u8,
    #[serde(rename = "Buf")]
    buffer: Bytes,
}

/// The message, type byte first, that holds `plain` compressed.
pub(crate) fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    let buffer = weezl::encode::Encoder::new(BitOrder::Lsb, LITERAL_BITS).encode(plain).ok()?;
    let mut out = vec![kind::COMPRESS];
    msgpack::write_to(&mut out, &Compressed { algorithm: ALGORITHM, buffer: buffer.into() }).ok()?;
    Some(out)
}

/// What a compressed message's body (without its type byte) holds, if that is at most `limit` bytes.
pub(crate) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    // Compat: bytes behind the msgpack value are ignored.
    let compressed: Compressed =
        msgpack::Decoder::new(body).decode().map_err(|error| Refusal::Malformed(error.to_string()))?;
    if compressed.algorithm != ALGORITHM {
        return Err(Refusal::Algorithm(compressed.algorithm));
    }
    let mut decoder = weezl::decode::Decoder::new(BitOrder::Lsb, LITERAL_BITS);
    let mut input = &compressed.buffer[..];
    let mut out = Vec::new();
    loop {
        let filled = out.len();
        out.resize(filled + CHUNK, 0);
        let step = decoder.decode_bytes(input, &mut out[filled..]);
        out.truncate(filled + step.consumed_out);
        input = &input[step.consumed_in..];
        if out.len() > limit {
            return Err(Refusal::TooLarge(out.len() as u64));
        }
        match step.status {
            Ok(LzwStatus::Done) => return Ok(out),
            Ok(LzwStatus::Ok) if step.consumed_in > 0 || step.consumed_out > 0 => {}
            // Out of input before the end code, or no code at all.
            Ok(_) | Err(_) => return Err(Refusal::Compressed),
        }
    }
}
