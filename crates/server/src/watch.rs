//! Who waits for what: topics to sleepers.
//!
//! Always true:
//! - A sleeper is woken by the first change after the state that it looked at, whether that change comes before or
//!   after its registration.
//! - A change wakes those that noted a topic which it touched, and nobody else.
//! - A dropped registration leaves nothing behind.
//!
//! A sleeping watcher costs its [`Signal`] and one list entry per topic.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;
use state::{Index, Seen, Topic, Touched};
use tokio::sync::Notify;

/// So many touched topics are remembered for those who register after the change.
const RECENT_TOPICS_MAX: usize = 4096;

const UNTOUCHED: u8 = 0;
const TOUCHED: u8 = 1;
const REPLACED: u8 = 2;

/// Set once when something that was looked at changed.
#[derive(Debug)]
pub struct Signal {
    /// The state that was looked at had everything up to here.
    evaluated: Index,
    is_answer: bool,
    touched: AtomicU8,
    wake: Notify,
}

impl Signal {
    /// Whether something changed since the state that was looked at.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire) != UNTOUCHED
    }

    /// Whether a restore has put another state in the place of the one that was looked at.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.touched.load(Ordering::Acquire) == REPLACED
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

    fn touch(&self, how: u8) {
        self.touched.fetch_max(how, Ordering::AcqRel);
        // One waiter per signal: the permit is kept if it has not gone to sleep yet.
        self.wake.notify_one();
    }
}

/// Sleepers of one topic, ordered by registration number. Who leaves makes a hole, and half a list of holes is closed
/// up: a crowd that leaves costs as much as it has members.
#[derive(Debug, Default)]
struct Sleepers {
    list: Vec<(u64, Option<Arc<Signal>>)>,
    holes: usize,
}

impl Sleepers {
    fn leave(&mut self, number: u64) {
        let Ok(at) = self.list.binary_search_by_key(&number, |(number, _)| *number) else { return };
        if self.list[at].1.take().is_some() {
            self.holes += 1;
        }
        if self.holes * 2 >= self.list.len() {
            self.list.retain(|(_, signal)| signal.is_some());
            self.list.shrink_to(self.list.len() * 2);
            self.holes = 0;
        }
    }

    fn signals(&self) -> impl Iterator<Item = &Arc<Signal>> {
        self.list.iter().filter_map(|(_, signal)| signal.as_ref())
    }
}

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Topic, Sleepers>,
    prefixes: HashMap<Arc<str>, Sleepers>,
    /// How many watched prefixes there are of each length: a touched key is cut at these lengths only.
    lengths: BTreeMap<usize, usize>,
    next: u64,
    /// The newest changes with the index of the state that has them, oldest first.
    recent: VecDeque<(Index, Touched)>,
    recent_topics: usize,
    /// Changes up to this index are forgotten.
    forgotten: Index,
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

/// Whom a change has woken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Woken {
    pub watchers: usize,
    /// Kept answers that are not true any more.
    pub answers: usize,
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
    /// Registers for everything that was seen in a state which had all changes up to `evaluated`.
    #[must_use]
    pub fn register(self: &Arc<Self>, seen: &Seen, evaluated: Index) -> Registration {
        self.enter(seen, evaluated, false)
    }

    /// The same for an answer that is kept: it does not count as a watcher.
    pub(crate) fn register_answer(self: &Arc<Self>, seen: &Seen, evaluated: Index) -> Registration {
        self.enter(seen, evaluated, true)
    }

    fn enter(self: &Arc<Self>, seen: &Seen, evaluated: Index, is_answer: bool) -> Registration {
        let signal = Signal { evaluated, is_answer, touched: AtomicU8::new(UNTOUCHED), wake: Notify::new() };
        let signal = Arc::new(signal);
        let topics: Box<[Topic]> = seen.topics().cloned().collect();
        let mut table = self.table.lock();
        if let Some(how) = table.missed(seen, evaluated) {
            signal.touch(how);
        }
        let number = table.next;
        table.next += 1;
        for topic in &topics {
            table.enter(topic, number, &signal);
        }
        drop(table);
        if !is_answer {
            self.parked.fetch_add(1, Ordering::Relaxed);
        }
        Registration { registry: Arc::clone(self), number, topics, signal }
    }

    /// Wakes everybody whom a change concerns. `index` is that of the state which has it, and is published.
    pub fn wake(&self, touched: Touched, index: Index) -> Woken {
        let mut woken = Woken::default();
        if touched.is_empty() {
            return woken;
        }
        let mut table = self.table.lock();
        let signals = table.concerned(&touched);
        table.remember(touched, index);
        drop(table);
        // Nobody waits for the table while the crowd is woken.
        for (signal, how) in signals {
            if signal.evaluated >= index || signal.is_touched() {
                continue;
            }
            signal.touch(how);
            *(if signal.is_answer { &mut woken.answers } else { &mut woken.watchers }) += 1;
        }
        woken
    }

    /// How many watchers are registered.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }
}

impl Table {
    fn enter(&mut self, topic: &Topic, number: u64, signal: &Arc<Signal>) {
        let sleepers = match topic {
            Topic::KeyPrefix(prefix) => {
                let sleepers = self.prefixes.entry(Arc::clone(prefix)).or_default();
                if sleepers.list.is_empty() {
                    *self.lengths.entry(prefix.len()).or_default() += 1;
                }
                sleepers
            }
            exact => self.exact.entry(exact.clone()).or_default(),
        };
        sleepers.list.push((number, Some(Arc::clone(signal))));
    }

    fn leave(&mut self, topic: &Topic, number: u64) {
        match topic {
            Topic::KeyPrefix(prefix) => {
                if leave(&mut self.prefixes, prefix, number)
                    && let Some(count) = self.lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&prefix.len());
                    }
                }
            }
            exact => {
                leave(&mut self.exact, exact, number);
            }
        }
    }

    fn concerned(&self, touched: &Touched) -> Vec<(Arc<Signal>, u8)> {
        let mut found = Vec::new();
        let mut take = |sleepers: &Sleepers, how| found.extend(sleepers.signals().map(|signal| (Arc::clone(signal), how)));
        for topic in touched.topics() {
            match topic {
                Topic::Everything => {
                    let all = self.exact.values().chain(self.prefixes.values());
                    all.for_each(|sleepers| take(sleepers, REPLACED));
                }
                Topic::Key(key) => {
                    self.exact.get(topic).into_iter().for_each(|sleepers| take(sleepers, TOUCHED));
                    for length in self.lengths.keys().take_while(|length| **length <= key.len()) {
                        let below = key.get(..*length).and_then(|prefix| self.prefixes.get(prefix));
                        below.into_iter().for_each(|sleepers| take(sleepers, TOUCHED));
                    }
                }
                other => self.exact.get(other).into_iter().for_each(|sleepers| take(sleepers, TOUCHED)),
            }
        }
        found
    }

    fn remember(&mut self, touched: Touched, index: Index) {
        self.recent_topics += touched.topics().count();
        self.recent.push_back((index, touched));
        while self.recent_topics > RECENT_TOPICS_MAX
            && let Some((index, oldest)) = self.recent.pop_front()
        {
            self.recent_topics -= oldest.topics().count();
            self.forgotten = index;
        }
    }

    /// Whether something of what was seen has changed after `evaluated`. What is forgotten counts as a change.
    fn missed(&self, seen: &Seen, evaluated: Index) -> Option<u8> {
        if evaluated < self.forgotten {
            return Some(TOUCHED);
        }
        let later = self.recent.iter().rev().take_while(|(index, _)| *index > evaluated);
        let concerns = |topic: &&Topic| seen.concerns(topic);
        let how = |topic: &Topic| if *topic == Topic::Everything { REPLACED } else { TOUCHED };
        later.filter_map(|(_, touched)| touched.topics().filter(concerns).map(how).max()).max()
    }
}

/// Takes a number out; says whether nobody is left.
fn leave<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Sleepers>, key: &K, number: u64) -> bool {
    let Some(sleepers) = map.get_mut(key) else { return false };
    sleepers.leave(number);
    if sleepers.list.is_empty() {
        map.remove(key);
        return true;
    }
    false
}

impl Registration {
    /// The signal of this registration.
    #[must_use]
    pub fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Returns when something that was seen has changed.
    pub async fn touched(&self) {
        self.signal.touched().await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.registry.table.lock();
        for topic in &self.topics {
            table.leave(topic, self.number);
        }
        drop(table);
        if !self.signal.is_answer {
            self.registry.parked.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use state::{Index, Seen, Topic, Touched};

    use super::{RECENT_TOPICS_MAX, Registration, Registry};

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
        let key = registry.register(&seen(&[Topic::Key("a/b".into())]), Index(1));
        let below = registry.register(&seen(&[Topic::KeyPrefix("a/".into())]), Index(1));
        let all = registry.register(&seen(&[Topic::KeyPrefix("".into())]), Index(1));
        let other = registry.register(&seen(&[Topic::Key("a".into()), Topic::KeyPrefix("a/b/".into())]), Index(1));
        let answer = registry.register_answer(&seen(&[Topic::Key("a/b".into())]), Index(1));
        assert_eq!(registry.parked(), 4);
        let woken = registry.wake(touched(Topic::Key("a/b".into())), Index(2));
        assert_eq!((woken.watchers, woken.answers), (3, 1));
        assert!([&key, &below, &all, &answer].into_iter().all(is_touched));
        assert!(!is_touched(&other));
        assert_eq!(registry.wake(touched(Topic::Everything), Index(3)).watchers, 1);
        assert!(other.signal().is_replaced());
        assert!(!key.signal().is_replaced(), "woken before");
    }

    #[test]
    fn a_change_between_looking_and_registering_is_not_missed() {
        let registry = Arc::new(Registry::default());
        let watch = |topic: Topic, evaluated| registry.register(&seen(&[topic]), Index(evaluated));
        registry.wake(touched(Topic::Key("a".into())), Index(5));
        registry.wake(touched(Topic::Nodes), Index(6));
        assert!(is_touched(&watch(Topic::Key("a".into()), 4)));
        assert!(!is_touched(&watch(Topic::Key("a".into()), 5)), "it saw the change");
        assert!(is_touched(&watch(Topic::KeyPrefix("".into()), 4)));
        assert!(!is_touched(&watch(Topic::Key("b".into()), 1)), "it is not concerned");
        // The state is published before its watchers wake: who looked at it already sleeps on.
        let early = watch(Topic::Nodes, 7);
        registry.wake(touched(Topic::Nodes), Index(7));
        assert!(!is_touched(&early));
        registry.wake(touched(Topic::Everything), Index(8));
        assert!(watch(Topic::Nodes, 7).signal().is_replaced());
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let registry = Arc::new(Registry::default());
        for at in 0..2 * RECENT_TOPICS_MAX as u64 {
            registry.wake(touched(Topic::Key(at.to_string().into())), Index(at + 1));
        }
        let last = 2 * RECENT_TOPICS_MAX as u64;
        assert!(is_touched(&registry.register(&seen(&[Topic::Nodes]), Index(1))));
        assert!(!is_touched(&registry.register(&seen(&[Topic::Nodes]), Index(last - 10))));
        let table = registry.table.lock();
        assert!(table.recent.len() <= RECENT_TOPICS_MAX);
    }

    #[test]
    fn nothing_is_left_behind() {
        let registry = Arc::new(Registry::default());
        let mut registrations: Vec<_> = (0..1000)
            .map(|at: i32| {
                let topics = [Topic::Key("k".into()), Topic::KeyPrefix((at % 50).to_string().into())];
                registry.register(&seen(&topics), Index(1))
            })
            .collect();
        assert_eq!(registry.parked(), 1000);
        // Not in the order in which they came.
        while !registrations.is_empty() {
            registrations.swap_remove(registrations.len() * 7 / 11);
            let woken = registry.table.lock().exact.get(&Topic::Key("k".into())).map_or(0, |list| list.signals().count());
            assert_eq!(woken, registrations.len());
        }
        let table = registry.table.lock();
        assert!(table.exact.is_empty() && table.prefixes.is_empty() && table.lengths.is_empty());
        assert_eq!(registry.parked(), 0);
    }

    #[tokio::test]
    async fn a_touch_before_the_wait_is_not_lost() {
        let registry = Arc::new(Registry::default());
        let registration = registry.register(&seen(&[Topic::Nodes]), Index(1));
        registry.wake(touched(Topic::Nodes), Index(2));
        registration.touched().await;
    }
}
