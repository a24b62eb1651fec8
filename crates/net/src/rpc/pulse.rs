//! Whether the other side of a session still lives: whether anything was heard of it, and how long it has taken nothing.
//!
//! Always true: time is what the runtime says, so tests can move it.
//! Not here: asking it for a sign of life; the multiplexing library does when it is polled and ten seconds have passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Nothing is waiting to be written.
const NOT_STUCK: u64 = u64::MAX;

pub(super) struct Pulse {
    born: Instant,
    /// How often something came.
    heard: AtomicU64,
    /// Milliseconds from `born` to when a write had to wait.
    stuck_ms: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse { born: Instant::now(), heard: AtomicU64::new(0), stuck_ms: AtomicU64::new(NOT_STUCK) }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(NOT_STUCK - 1)
    }

    pub(super) fn heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// A write was tried, and some of it taken or not.
    pub(super) fn wrote(&self, taken: bool) {
        if taken {
            self.stuck_ms.store(NOT_STUCK, Ordering::Relaxed);
        } else if self.stuck_ms.load(Ordering::Relaxed) == NOT_STUCK {
            self.stuck_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// How often something came; the same number twice means silence between.
    pub(super) fn beats(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// How long nothing was taken of what we have to say.
    pub(super) fn stuck(&self) -> Duration {
        match self.stuck_ms.load(Ordering::Relaxed) {
            NOT_STUCK => Duration::ZERO,
            since => Duration::from_millis(self.now_ms().saturating_sub(since)),
        }
    }
}
