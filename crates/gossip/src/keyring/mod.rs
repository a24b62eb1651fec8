//! The keys of a pool: one that we encrypt with, and others that we also read.
//!
//! Always true: a ring holds at least one key and none twice; the first is the primary; no key is printed, and two keys
//! are compared in constant time.
//! Not here: asking other members to change theirs, writing the file.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use wire::base64;

/// Where an agent keeps the ring of its LAN pool, under its data directory.
pub const LAN_FILE: &str = "serf/local.keyring";
/// Where a server keeps the ring of the WAN pool.
pub const WAN_FILE: &str = "serf/remote.keyring";

/// Keys that one ring may hold: each is tried for every packet that does not open, so garbage costs us this much.
pub const KEYS_MAX: usize = 64;

/// A key of 16, 24 or 32 bytes. Clones share it.
#[derive(Clone)]
pub struct Key(Arc<Secret>);

struct Secret {
    bytes: Vec<u8>,
    cipher: LessSafeKey,
}

impl Key {
    pub fn new(bytes: &[u8]) -> Result<Key, KeyringError> {
        let algorithm = match bytes.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return Err(KeyringError::Size),
        };
        let cipher = UnboundKey::new(algorithm, bytes).map_err(|_| KeyringError::Size)?;
        Ok(Key(Arc::new(Secret { bytes: bytes.to_vec(), cipher: LessSafeKey::new(cipher) })))
    }

    /// The key that users write: `consul keygen` makes 32 bytes.
    pub fn from_base64(text: &str) -> Result<Key, KeyringError> {
        Key::new(&base64::decode(text.as_bytes()).map_err(KeyringError::Base64)?)
    }

    /// For the file and for whoever lists keys; not for logs.
    pub fn to_base64(&self) -> String {
        base64::encode(&self.0.bytes)
    }

    /// For the query that installs it elsewhere.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Encrypts in place and answers the tag.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; 16] {
        let tag = self
            .0
            .cipher
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), in_out)
            .expect("AES-GCM refuses only messages beyond 64 GiB");
        let mut out = [0; 16];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Decrypts `ciphertext` into `plain`, which is as long; false if this is not the key, or the bytes were changed.
    pub(crate) fn open(&self, nonce: [u8; 12], aad: &[u8], ciphertext: &[u8], tag: &[u8], plain: &mut [u8]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.cipher.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plain).is_ok()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        verify_slices_are_equal(&self.0.bytes, &other.0.bytes).is_ok()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(<{} bytes hidden>)", self.0.bytes.len())
    }
}

/// What cannot be done to a ring. The texts travel in answers to `_serf_*-key` queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyringError {
    Size,
    Base64(base64::CorruptInput),
    /// The key to be used was never installed.
    Unknown,
    RemovingPrimary,
    /// A file without a key.
    Empty,
    /// [`KEYS_MAX`].
    Full,
    /// A file that is no list of texts; why.
    File(String),
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyringError::Size => f.write_str("key size must be 16, 24 or 32 bytes"),
            KeyringError::Base64(error) => error.fmt(f),
            KeyringError::Unknown => f.write_str("Requested key is not in the keyring"),
            KeyringError::RemovingPrimary => f.write_str("Removing the primary key is not allowed"),
            KeyringError::Empty => f.write_str("no keys present in keyring"),
            KeyringError::Full => write!(f, "keyring holds {KEYS_MAX} keys already"),
            KeyringError::File(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for KeyringError {}

/// At least one key, the primary first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    pub fn new(primary: Key) -> Keyring {
        Keyring { keys: vec![primary] }
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn primary(&self) -> &Key {
        self.keys.first().expect("a ring is made with a key, and its primary is never removed")
    }

    /// The key can be read from now on. One that is there already stays where it is.
    pub fn install(&mut self, key: Key) -> Result<(), KeyringError> {
        if self.keys.contains(&key) {
            return Ok(());
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(KeyringError::Full);
        }
        self.keys.push(key);
        Ok(())
    }

    /// The key is what we encrypt with; the others keep their order behind it.
    pub fn use_key(&mut self, key: &Key) -> Result<(), KeyringError> {
        let at = self.keys.iter().position(|known| known == key).ok_or(KeyringError::Unknown)?;
        self.keys[..=at].rotate_right(1);
        Ok(())
    }

    /// The key is gone. Compat: removing a key that was never there succeeds.
    pub fn remove(&mut self, key: &Key) -> Result<(), KeyringError> {
        if self.primary() == key {
            return Err(KeyringError::RemovingPrimary);
        }
        self.keys.retain(|known| known != key);
        Ok(())
    }

    /// Reads a keyring file: a JSON list of keys in base64, the primary first.
    pub fn from_file(text: &[u8]) -> Result<Keyring, KeyringError> {
        let texts: Option<Vec<String>> =
            serde_json::from_slice(text).map_err(|error| KeyringError::File(error.to_string()))?;
        let keys = texts.unwrap_or_default();
        let keys = keys.iter().map(|text| Key::from_base64(text)).collect::<Result<Vec<_>, _>>()?;
        let mut keys = keys.into_iter();
        let mut ring = Keyring::new(keys.next().ok_or(KeyringError::Empty)?);
        keys.try_for_each(|key| ring.install(key))?;
        Ok(ring)
    }

    /// The file after a change: indented, without a line break at its end.
    pub fn to_file(&self) -> String {
        let lines: Vec<String> = self.keys.iter().map(|key| format!("  \"{}\"", key.to_base64())).collect();
        format!("[\n{}\n]", lines.join(",\n"))
    }

    /// The file as an agent first makes it from `-encrypt`: on one line.
    pub fn to_first_file(&self) -> String {
        let texts: Vec<String> = self.keys.iter().map(|key| format!("\"{}\"", key.to_base64())).collect();
        format!("[{}]", texts.join(","))
    }
}

#[cfg(test)]
mod tests;
