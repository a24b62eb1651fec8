//! How much of a check's output is kept, and what the rest leaves behind.
//!
//! Always true: memory is bounded by the limit, however much is written; the tail is what survives, because that is
//! where programs say what went wrong.

use std::collections::VecDeque;

/// The agent's own limit unless configured.
pub const DEFAULT_BYTES_MAX: usize = 4096;

/// A check may ask for less than the agent allows, never for more.
pub fn bytes_max(agent: usize, check: i64) -> usize {
    let agent = if agent == 0 { DEFAULT_BYTES_MAX } else { agent };
    match usize::try_from(check) {
        Ok(own) if own > 0 => own.min(agent),
        _ => agent,
    }
}

/// The last bytes of everything written.
#[derive(Debug)]
pub struct Tail {
    kept: VecDeque<u8>,
    bytes_max: usize,
    written: u64,
}

impl Tail {
    pub fn new(bytes_max: usize) -> Tail {
        Tail { kept: VecDeque::new(), bytes_max: bytes_max.max(1), written: 0 }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.written = self.written.saturating_add(bytes.len() as u64);
        let news = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        let overflow = (self.kept.len() + news.len()).saturating_sub(self.bytes_max);
        self.kept.drain(..overflow);
        self.kept.extend(news);
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    /// What was kept.
    pub fn bytes(&self) -> Vec<u8> {
        self.kept.iter().copied().collect()
    }

    /// What was kept, as text.
    pub fn text(&self) -> String {
        as_text(&self.bytes())
    }

    /// What was kept, and how much is missing if something is.
    pub fn report(&self) -> String {
        if self.written > self.kept.len() as u64 {
            let (kept, written) = (self.bytes_max, self.written);
            format!("Captured {kept} of {written} bytes\n...\n{}", self.text())
        } else {
            self.text()
        }
    }
}

/// Compat: Go's JSON replaces each byte that is not UTF-8 by one U+FFFD, where Rust's own conversion replaces a broken
/// sequence by one.
pub fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    text
}

/// The output a TTL check is updated with: its head, and how much there was.
pub fn head(text: &str, bytes_max: usize) -> String {
    let total = text.len();
    if total <= bytes_max {
        return text.to_owned();
    }
    let head = as_text(&text.as_bytes()[..bytes_max]);
    format!("{head} ... (captured {bytes_max} of {total} bytes)")
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_BYTES_MAX, Tail, as_text, bytes_max, head};

    fn check(pieces: &[&str], bytes_max: usize, expect: &str) {
        let mut tail = Tail::new(bytes_max);
        for piece in pieces {
            tail.write(piece.as_bytes());
        }
        assert_eq!(tail.report(), expect, "writing {pieces:?}");
    }

    #[test]
    fn the_tail_survives() {
        check(&["12345"], 5, "12345");
        check(&["1234567890\n"], 5, "Captured 5 of 11 bytes\n...\n7890\n");
        check(&["123", "456", "7"], 5, "Captured 5 of 7 bytes\n...\n34567");
        check(&["123", "45", ""], 5, "12345");
        check(&[], 5, "");
        let mut tail = Tail::new(4);
        for _ in 0..100_000 {
            tail.write(b"xyz");
        }
        assert_eq!(tail.report(), "Captured 4 of 300000 bytes\n...\nzxyz");
    }

    #[test]
    fn a_check_may_only_lower_the_limit() {
        assert_eq!(bytes_max(0, 0), DEFAULT_BYTES_MAX);
        assert_eq!(bytes_max(100, 0), 100);
        assert_eq!(bytes_max(100, 50), 50);
        assert_eq!(bytes_max(100, 200), 100);
        assert_eq!(bytes_max(100, -1), 100);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_one_by_one() {
        assert_eq!(as_text(b"a\xe2\x82b\xff"), "a\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn updates_keep_their_head() {
        assert_eq!(head("12345", 5), "12345");
        assert_eq!(head("123456", 5), "12345 ... (captured 5 of 6 bytes)");
        assert_eq!(head("1234é", 5), "1234\u{fffd} ... (captured 5 of 6 bytes)");
    }
}
