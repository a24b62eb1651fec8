//! Equal answers are encoded once: rendered bytes, shared by all who ask the same, until they are touched.
//!
//! Always true: an answer that is handed out was true at some moment after the asker asked; what is kept
//! stays below its bound in bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use state::{Index, Seen};

use crate::watch::{Registration, Registry};

/// Kept answers may take this many bytes together, keys included.
pub const BYTES_MAX: usize = 32 << 20;

/// An answer as it goes out.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub body: Bytes,
    pub index: Index,
}

#[derive(Debug)]
struct Kept {
    encoded: Encoded,
    registration: Registration,
}

/// The kept answers by question.
///
/// A reader-writer lock, since looking up is the common case by far.
#[derive(Debug)]
pub struct AnswerCache {
    registry: Arc<Registry>,
    kept: RwLock<HashMap<Box<str>, Kept>>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl AnswerCache {
    #[must_use]
    pub fn new(registry: Arc<Registry>, bytes_max: usize) -> Self {
        AnswerCache { registry, kept: RwLock::default(), bytes: AtomicUsize::new(0), bytes_max }
    }

    /// The answer to this question, if it is kept and nothing of it was touched since.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Encoded> {
        let kept = self.kept.read();
        let found = kept.get(key)?;
        (!found.registration.signal().is_touched()).then(|| found.encoded.clone())
    }

    /// Keeps an answer that was evaluated while nothing changed: `still_true` is asked after registering.
    pub fn put(&self, key: &str, seen: &Seen, encoded: Encoded, still_true: impl FnOnce() -> bool) {
        let size = cost(key, &encoded);
        if size > self.bytes_max / 8 {
            return;
        }
        let registration = self.registry.register(seen);
        if !still_true() {
            return;
        }
        let mut kept = self.kept.write();
        if self.bytes.load(Ordering::Relaxed) + size > self.bytes_max {
            // What was touched goes first; if that is not enough, everything: the next askers pay once.
            kept.retain(|_, kept| !kept.registration.signal().is_touched());
            let left: usize = kept.iter().map(|(key, kept)| cost(key, &kept.encoded)).sum();
            self.bytes.store(left, Ordering::Relaxed);
            if left + size > self.bytes_max {
                kept.clear();
                self.bytes.store(0, Ordering::Relaxed);
            }
        }
        let previous = kept.insert(key.into(), Kept { encoded, registration });
        let freed = previous.map_or(0, |previous| cost(key, &previous.encoded));
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }
}

/// What an entry takes, map overhead and registration included.
fn cost(key: &str, encoded: &Encoded) -> usize {
    key.len() + encoded.body.len() + 512
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use state::{Index, Seen, Topic, Touched};

    use super::{AnswerCache, Encoded};
    use crate::watch::Registry;

    fn encoded(size: usize) -> Encoded {
        Encoded { body: Bytes::from(vec![0; size]), index: Index(1) }
    }

    #[test]
    fn a_touched_answer_is_not_given() {
        let registry = Arc::new(Registry::default());
        let cache = AnswerCache::new(Arc::clone(&registry), 1 << 20);
        let (mut seen, mut touched) = (Seen::default(), Touched::default());
        seen.note(Topic::Nodes);
        touched.note(Topic::Nodes);
        cache.put("nodes", &seen, encoded(10), || true);
        assert!(cache.get("nodes").is_some());
        registry.wake(&touched);
        assert!(cache.get("nodes").is_none());
        cache.put("nodes", &seen, encoded(10), || false);
        assert!(cache.get("nodes").is_none(), "changed while it was evaluated");
    }

    #[test]
    fn it_stays_below_its_bound() {
        let cache = AnswerCache::new(Arc::new(Registry::default()), 100_000);
        for at in 0..1000 {
            cache.put(&at.to_string(), &Seen::default(), encoded(1000), || true);
            let total: usize = cache.kept.read().iter().map(|(key, kept)| super::cost(key, &kept.encoded)).sum();
            assert!(total <= 100_000);
        }
        cache.put("huge", &Seen::default(), encoded(90_000), || true);
        assert!(cache.get("huge").is_none());
    }
}
