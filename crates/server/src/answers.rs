//! Equal answers are encoded once: rendered bytes, shared by all who ask the same, until they are touched.
//!
//! Always true: an answer that is handed out was true at some moment after the asker asked; what is kept
//! stays below its bound in bytes, and what is touched goes soon.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use state::{Index, Seen, State};

use crate::watch::{Registration, Registry};

/// Kept answers may take this many bytes together, keys included.
pub const BYTES_MAX: usize = 32 << 20;
/// What an entry takes besides key and body: map, registration, topics.
const ENTRY_OVERHEAD: usize = 512;
/// So many touched answers may lie around before they are cleared away, or a quarter of all.
const DEAD_MAX: usize = 32;

/// So many questions are remembered for a while without their answers. Power of two.
const ASKED_MAX: usize = 1024;

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

#[derive(Debug, Default)]
struct Answers {
    by_question: HashMap<Box<str>, Kept>,
    bytes: usize,
    /// How many of them are touched, at most.
    dead: usize,
}

/// The kept answers by question.
///
/// A reader-writer lock, since looking up is the common case by far.
#[derive(Debug)]
pub struct AnswerCache {
    registry: Arc<Registry>,
    kept: RwLock<Answers>,
    bytes_max: usize,
    /// Hashes of questions, each in the place that it names; a later one takes the place over.
    asked: Box<[AtomicU64]>,
    hashing: RandomState,
}

impl AnswerCache {
    #[must_use]
    pub fn new(registry: Arc<Registry>, bytes_max: usize) -> Self {
        let asked = std::iter::repeat_with(AtomicU64::default).take(ASKED_MAX).collect();
        AnswerCache { registry, kept: RwLock::default(), bytes_max, asked, hashing: RandomState::new() }
    }

    /// Whether this question was asked lately: an answer that nobody asks for again is not worth keeping. May be wrong
    /// either way.
    #[must_use]
    pub fn was_asked(&self, key: &str) -> bool {
        let hash = self.hashing.hash_one(key);
        let place = &self.asked[hash as usize & (ASKED_MAX - 1)];
        // Most questions that are asked again find themselves: nothing is written that others read.
        place.load(Ordering::Relaxed) == hash || place.swap(hash, Ordering::Relaxed) == hash
    }

    /// The answer to this question, if it is kept and nothing of it was touched since.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Encoded> {
        let kept = self.kept.read();
        let found = kept.by_question.get(key)?;
        (!found.registration.signal().is_touched()).then(|| found.encoded.clone())
    }

    /// Keeps an answer that was evaluated on a state, unless something of it was touched since.
    pub fn put(&self, key: &str, seen: &Seen, state: &State, encoded: Encoded) {
        let size = cost(key, &encoded);
        if size > self.bytes_max / 8 {
            return;
        }
        let registration = self.registry.register_answer(seen, state.applied());
        if registration.signal().is_touched() {
            return;
        }
        let mut kept = self.kept.write();
        if kept.bytes + size > self.bytes_max {
            // What was touched goes first; if that is not enough, everything: the next askers pay once.
            kept.clear_dead();
            if kept.bytes + size > self.bytes_max {
                *kept = Answers::default();
            }
        }
        kept.bytes += size;
        if let Some(previous) = kept.by_question.insert(key.into(), Kept { encoded, registration }) {
            kept.bytes -= cost(key, &previous.encoded);
        }
    }

    /// Takes note that so many kept answers were touched.
    pub(crate) fn touched(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut kept = self.kept.write();
        kept.dead += count;
        if kept.dead > DEAD_MAX.max(kept.by_question.len() / 4) {
            kept.clear_dead();
        }
    }
}

impl Answers {
    fn clear_dead(&mut self) {
        self.by_question.retain(|_, kept| !kept.registration.signal().is_touched());
        self.bytes = self.by_question.iter().map(|(key, kept)| cost(key, &kept.encoded)).sum();
        self.dead = 0;
    }
}

/// What an entry takes.
fn cost(key: &str, encoded: &Encoded) -> usize {
    key.len() + encoded.body.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use state::{Index, Seen, State, Topic, Touched};

    use super::{AnswerCache, DEAD_MAX, Encoded};
    use crate::watch::Registry;

    fn encoded(size: usize) -> Encoded {
        Encoded { body: Bytes::from(vec![0; size]), index: Index(1) }
    }

    fn state(applied: u64) -> State {
        let mut state = State::default();
        state.advance(Index(applied));
        state
    }

    fn touch(topic: Topic) -> Touched {
        let mut touched = Touched::default();
        touched.note(topic);
        touched
    }

    #[test]
    fn a_touched_answer_is_not_given() {
        let registry = Arc::new(Registry::default());
        let cache = AnswerCache::new(Arc::clone(&registry), 1 << 20);
        let mut seen = Seen::default();
        seen.note(Topic::Nodes);
        cache.put("nodes", &seen, &state(1), encoded(10));
        assert!(cache.get("nodes").is_some());
        registry.wake(touch(Topic::Services), Index(2));
        assert!(cache.get("nodes").is_some());
        registry.wake(touch(Topic::Nodes), Index(3));
        assert!(cache.get("nodes").is_none());
        cache.put("nodes", &seen, &state(2), encoded(10));
        assert!(cache.get("nodes").is_none(), "touched between evaluation and now");
        cache.put("nodes", &seen, &state(3), encoded(10));
        assert!(cache.get("nodes").is_some());
    }

    #[test]
    fn the_second_time_is_noticed() {
        let cache = AnswerCache::new(Arc::new(Registry::default()), 1 << 20);
        for key in ["a", "b"] {
            assert!(!cache.was_asked(key));
            assert!(cache.was_asked(key));
        }
        let asked: Vec<_> = (0..100_000).map(|at| at.to_string()).filter(|key| cache.was_asked(key)).collect();
        assert!(asked.is_empty(), "{asked:?}");
    }

    #[test]
    fn what_is_touched_is_cleared_away() {
        let registry = Arc::new(Registry::default());
        let cache = AnswerCache::new(Arc::clone(&registry), 1 << 20);
        for at in 0..1000u64 {
            let mut seen = Seen::default();
            seen.note(Topic::Key("k".into()));
            cache.put(&at.to_string(), &seen, &state(at), encoded(10));
            let woken = registry.wake(touch(Topic::Key("k".into())), Index(at + 1));
            cache.touched(woken.answers);
            assert!(cache.kept.read().by_question.len() <= DEAD_MAX + 1);
        }
        assert_eq!(registry.parked(), 0, "answers are no watchers");
    }

    #[test]
    fn it_stays_below_its_bound() {
        let cache = AnswerCache::new(Arc::new(Registry::default()), 100_000);
        for at in 0..1000 {
            cache.put(&at.to_string(), &Seen::default(), &state(1), encoded(1000));
            let kept = cache.kept.read();
            let total: usize = kept.by_question.iter().map(|(key, kept)| super::cost(key, &kept.encoded)).sum();
            assert!(total <= 100_000 && total == kept.bytes);
        }
        cache.put("huge", &Seen::default(), &state(1), encoded(90_000));
        assert!(cache.get("huge").is_none());
    }
}
