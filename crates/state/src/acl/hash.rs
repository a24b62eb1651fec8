//! The hash that tokens, policies and roles carry: BLAKE2b with 256 bits (RFC 7693), without a key.
//!
//! Replication compares these hashes with those of the reference, so they must be the same. They protect nothing.

use bytes::Bytes;

use crate::octets::Octets;

const BLOCK_BYTES: usize = 128;
const DIGEST_BYTES: usize = 32;
const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
/// Columns, then diagonals, of the working matrix.
const QUARTERS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// What is written one after the other, to be hashed as one.
#[derive(Debug, Default)]
pub(super) struct Content(Vec<u8>);

impl Content {
    pub(super) fn add(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn hash(&self) -> Octets {
        Octets(Bytes::copy_from_slice(&blake2b_256(&self.0)))
    }
}

/// The digest under which a secret is looked up, so that no comparison stops where a guess goes wrong.
pub(super) type Digest = [u8; DIGEST_BYTES];

pub(super) fn blake2b_256(data: &[u8]) -> Digest {
    let mut state = IV;
    // Digest length, no key, one leaf, depth one.
    state[0] ^= 0x0101_0000 ^ DIGEST_BYTES as u64;
    let last = data.len().saturating_sub(1) / BLOCK_BYTES;
    let mut counter = 0u128;
    for at in 0..=last {
        let start = at * BLOCK_BYTES;
        let chunk = &data[start..data.len().min(start + BLOCK_BYTES)];
        let mut block = [0u8; BLOCK_BYTES];
        block[..chunk.len()].copy_from_slice(chunk);
        counter += chunk.len() as u128;
        compress(&mut state, &block, counter, at == last);
    }
    let mut digest = [0; DIGEST_BYTES];
    for (bytes, word) in digest.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

fn compress(state: &mut [u64; 8], block: &[u8; BLOCK_BYTES], counter: u128, last: bool) {
    let mut message = [0u64; 16];
    for (word, bytes) in message.iter_mut().zip(block.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    let mut v = [0u64; 16];
    v[..8].copy_from_slice(state);
    v[8..].copy_from_slice(&IV);
    v[12] ^= counter as u64;
    v[13] ^= (counter >> 64) as u64;
    if last {
        v[14] = !v[14];
    }
    for round in 0..12 {
        let order = &SIGMA[round % SIGMA.len()];
        for (at, quarter) in QUARTERS.iter().enumerate() {
            mix(&mut v, quarter, message[order[2 * at]], message[order[2 * at + 1]]);
        }
    }
    for at in 0..8 {
        state[at] ^= v[at] ^ v[at + 8];
    }
}

fn mix(v: &mut [u64; 16], &[a, b, c, d]: &[usize; 4], x: u64, y: u64) {
    for (word, turn_d, turn_b) in [(x, 32, 24), (y, 16, 63)] {
        v[a] = v[a].wrapping_add(v[b]).wrapping_add(word);
        v[d] = (v[d] ^ v[a]).rotate_right(turn_d);
        v[c] = v[c].wrapping_add(v[d]);
        v[b] = (v[b] ^ v[c]).rotate_right(turn_b);
    }
}

#[cfg(test)]
mod tests {
    use super::blake2b_256;

    fn hex(data: &[u8]) -> String {
        blake2b_256(data).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn known_digests() {
        assert_eq!(hex(b""), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
        assert_eq!(hex(b"abc"), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
        assert_eq!(hex(&[b'a'; 128]), "ae2aa48507885c4c950fb809b2076f959cde9f8ea6da260d9a3587df33dac450");
        assert_eq!(hex(&[b'a'; 129]), "2f64744a6de0d2c0b56e64cf6e29a5aaa255010d415d51c75ccc82f73dccd865");
        assert_eq!(hex(&[b'a'; 300]), "3c1292de00a518e36823f9ff908ac2da46be38718c018713403461df077e15f6");
    }
}
