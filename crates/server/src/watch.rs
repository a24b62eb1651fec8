//! Who waits for what: topics to sleepers.
//!
//! Always true:
//! - A sleeper that registered before a change was published is woken by it.
//! - A change wakes those that noted a topic which it touched, and nobody else.
//! - A dropped registration leaves nothing behind.
//!
//! A sleeping watcher costs its [`Signal`] and one map entry per topic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use state::{Seen, Topic, Touched};
use tokio::sync::Notify;

/// Set once when something that was looked at changed.
#[derive(Debug, Default)]
pub struct Signal {
    touched: AtomicBool,
    wake: Notify,
}

impl Signal {
    /// Whether something changed since registration.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }

    /// Returns when something changed.
    pub async fn touched(&self) {
        loop {
            let woken = self.wake.notified();
            if self.is_touched() {
                return;
            }
            woken.await;
        }
    }

    fn touch(&self) {
        self.touched.store(true, Ordering::Release);
        // One waiter per signal: the permit is kept if it has not gone to sleep yet.
        self.wake.notify_one();
    }
}

/// Sleepers of one topic, by registration number.
type Sleepers = Vec<(u64, Arc<Signal>)>;

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Topic, Sleepers>,
    prefixes: HashMap<Arc<str>, Sleepers>,
    /// How many watched prefixes there are of each length: a touched key is cut at these lengths only.
    lengths: BTreeMap<usize, usize>,
    next: u64,
}

/// The table of sleepers.
///
/// A mutex, since the writer takes it once per batch and readers for a few map operations; readers of the
/// state never come here.
#[derive(Debug, Default)]
pub struct Registry {
    table: Mutex<Table>,
    parked: AtomicUsize,
}

/// A place in the table; leaving it removes it.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    number: u64,
    topics: Box<[Topic]>,
    signal: Arc<Signal>,
}

impl Registry {
    /// Registers for everything that was seen. Evaluate again afterwards, or check the state's index: what
    /// changed in between is not told.
    #[must_use]
    pub fn register(self: &Arc<Self>, seen: &Seen) -> Registration {
        let signal = Arc::new(Signal::default());
        let topics: Box<[Topic]> = seen.topics().cloned().collect();
        let mut table = self.table.lock();
        let number = table.next;
        table.next += 1;
        for topic in &topics {
            let entry = (number, Arc::clone(&signal));
            if let Topic::KeyPrefix(prefix) = topic {
                let sleepers = table.prefixes.entry(Arc::clone(prefix)).or_default();
                let is_new = sleepers.is_empty();
                sleepers.push(entry);
                if is_new {
                    *table.lengths.entry(prefix.len()).or_default() += 1;
                }
            } else {
                table.exact.entry(topic.clone()).or_default().push(entry);
            }
        }
        drop(table);
        self.parked.fetch_add(1, Ordering::Relaxed);
        Registration { registry: Arc::clone(self), number, topics, signal }
    }

    /// Wakes everybody whom a change concerns; says how many.
    pub fn wake(&self, touched: &Touched) -> usize {
        if touched.is_empty() {
            return 0;
        }
        let mut woken = 0;
        let table = self.table.lock();
        let mut touch_all = |sleepers: &Sleepers| {
            for (_, signal) in sleepers.iter().filter(|(_, signal)| !signal.is_touched()) {
                signal.touch();
                woken += 1;
            }
        };
        for topic in touched.topics() {
            match topic {
                Topic::Everything => table.exact.values().chain(table.prefixes.values()).for_each(&mut touch_all),
                Topic::Key(key) => {
                    table.exact.get(topic).into_iter().for_each(&mut touch_all);
                    for length in table.lengths.keys().take_while(|length| **length <= key.len()) {
                        if let Some(sleepers) = key.get(..*length).and_then(|prefix| table.prefixes.get(prefix)) {
                            touch_all(sleepers);
                        }
                    }
                }
                other => table.exact.get(other).into_iter().for_each(&mut touch_all),
            }
        }
        woken
    }

    /// How many registrations there are.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    fn remove(&self, number: u64, topics: &[Topic]) {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        for topic in topics {
            if let Topic::KeyPrefix(prefix) = topic {
                if leave(&mut table.prefixes, prefix, number)
                    && let Some(count) = table.lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        table.lengths.remove(&prefix.len());
                    }
                }
            } else {
                leave(&mut table.exact, topic, number);
            }
        }
        drop(guard);
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a number out; says whether the list was the last of its key.
fn leave<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Sleepers>, key: &K, number: u64) -> bool {
    let Some(sleepers) = map.get_mut(key) else { return false };
    // Numbers grow, so the list is ordered.
    if let Ok(at) = sleepers.binary_search_by_key(&number, |(number, _)| *number) {
        sleepers.remove(at);
    }
    if sleepers.is_empty() {
        map.remove(key);
        return true;
    }
    if sleepers.capacity() > 64 && sleepers.len() * 4 < sleepers.capacity() {
        sleepers.shrink_to(sleepers.len() * 2);
    }
    false
}

impl Registration {
    /// The signal of this registration.
    #[must_use]
    pub fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.remove(self.number, &self.topics);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use state::{Seen, Topic, Touched};

    use super::{Registration, Registry};

    fn seen(topics: &[Topic]) -> Seen {
        let mut seen = Seen::default();
        topics.iter().cloned().for_each(|topic| seen.note(topic));
        seen
    }

    fn touched(topic: Topic) -> Touched {
        let mut touched = Touched::default();
        touched.note(topic);
        touched
    }

    fn is_touched(registration: &Registration) -> bool {
        registration.signal().is_touched()
    }

    #[test]
    fn only_those_concerned_wake() {
        let registry = Arc::new(Registry::default());
        let key = registry.register(&seen(&[Topic::Key("a/b".into())]));
        let below = registry.register(&seen(&[Topic::KeyPrefix("a/".into())]));
        let all = registry.register(&seen(&[Topic::KeyPrefix("".into())]));
        let other = registry.register(&seen(&[Topic::Key("a".into()), Topic::KeyPrefix("a/b/".into())]));
        assert_eq!(registry.wake(&touched(Topic::Key("a/b".into()))), 3);
        assert!(is_touched(&key) && is_touched(&below) && is_touched(&all));
        assert!(!is_touched(&other));
        assert_eq!(registry.wake(&touched(Topic::Everything)), 1);
    }

    #[test]
    fn nothing_is_left_behind() {
        let registry = Arc::new(Registry::default());
        let registrations: Vec<_> = (0..100)
            .map(|at: i32| registry.register(&seen(&[Topic::Key("k".into()), Topic::KeyPrefix(at.to_string().into())])))
            .collect();
        assert_eq!(registry.parked(), 100);
        drop(registrations);
        let table = registry.table.lock();
        assert!(table.exact.is_empty() && table.prefixes.is_empty() && table.lengths.is_empty());
        assert_eq!(registry.parked(), 0);
    }

    #[tokio::test]
    async fn a_touch_before_the_wait_is_not_lost() {
        let registry = Arc::new(Registry::default());
        let registration = registry.register(&seen(&[Topic::Nodes]));
        registry.wake(&touched(Topic::Nodes));
        registration.signal().touched().await;
    }
}
