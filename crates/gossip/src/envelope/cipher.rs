//! AES-GCM of packets and streams: version byte, nonce, ciphertext, tag.
//!
//! Always true: nothing is handed out that was not authenticated; keys are tried in their order, the primary first.
//! Not here: nonces (the caller's, never twice for a key), the length header of streams.

use super::Refusal;
use super::overhead::{self, Version};
use crate::keyring::{Key, Keyring};

pub(crate) const NONCE: usize = 12;
const TAG: usize = 16;
const BLOCK: usize = 16;

/// How long `len` bytes are once sealed.
pub(crate) fn sealed_len(version: Version, len: usize) -> usize {
    let padding = match version {
        Version::Padded => BLOCK - len % BLOCK,
        Version::Plain => 0,
    };
    1 + NONCE + len + padding + TAG
}

/// Appends the sealed form of `plain` to `out`.
pub(crate) fn seal(out: &mut Vec<u8>, key: &Key, version: Version, nonce: [u8; NONCE], aad: &[u8], plain: &[u8]) {
    out.reserve(sealed_len(version, plain.len()));
    out.push(version as u8);
    out.extend_from_slice(&nonce);
    let begin = out.len();
    out.extend_from_slice(plain);
    if version == Version::Padded {
        let padding = BLOCK - plain.len() % BLOCK;
        out.resize(out.len() + padding, padding as u8);
    }
    let tag = key.seal(nonce, aad, &mut out[begin..]);
    out.extend_from_slice(&tag);
}

/// What `sealed` holds, if one of the keys made it for this `aad`.
pub(crate) fn open(keyring: &Keyring, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let version = match sealed.first() {
        None => return Err(Refusal::EncryptedEmpty),
        Some(0) => Version::Padded,
        Some(1) => Version::Plain,
        Some(other) => return Err(Refusal::EncryptionVersion(*other)),
    };
    if sealed.len() < overhead::encryption(version) {
        return Err(Refusal::EncryptedShort(sealed.len()));
    }
    let (header, rest) = sealed.split_at(1 + NONCE);
    let (ciphertext, tag) = rest.split_at(rest.len() - TAG);
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&header[1..]);
    let mut plain = vec![0; ciphertext.len()];
    if !keyring.keys().iter().any(|key| key.open(nonce, aad, ciphertext, tag, &mut plain)) {
        return Err(Refusal::NoKey);
    }
    if version == Version::Padded {
        // Compat: only the last byte counts; whoever knows the key may pad with anything.
        let padding = plain.last().map_or(0, |last| usize::from(*last));
        let len = plain.len().checked_sub(padding).ok_or(Refusal::Padding)?;
        plain.truncate(len);
    }
    Ok(plain)
}
