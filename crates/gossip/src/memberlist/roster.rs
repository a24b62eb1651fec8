//! The members, in the order in which they are probed.
//!
//! Always true: names are unique; `places` says where each stands; there are at most [`MEMBERS_MAX`]; of those gone,
//! only the ones that went recently are kept beyond the end of a round.
//!
//! Not here: who may become what (`rules`).

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::message::MEMBERS_MAX;
use crate::delegate::{Node, NodeState};
use crate::io::Now;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) node: Node,
    /// Who is told about with the higher one is told about later. Only the member itself raises it.
    pub(super) incarnation: u32,
    /// When the state changed.
    pub(super) changed: Now,
}

impl Entry {
    pub(super) fn gone(&self) -> bool {
        matches!(self.node.state, NodeState::Dead | NodeState::Left)
    }
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    ring: Vec<Entry>,
    places: BTreeMap<String, usize>,
    /// Who is probed next.
    next: usize,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.ring.len() >= MEMBERS_MAX
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.places.get(name).and_then(|&place| self.ring.get(place))
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.places.get(name).and_then(|&place| self.ring.get_mut(place))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.ring.iter()
    }

    /// Adds a new member somewhere in the round. If all went to the end, the time until a member is first probed would
    /// be as long as it can be.
    pub(super) fn insert(&mut self, rng: &mut SmallRng, entry: Entry) {
        debug_assert!(!self.places.contains_key(&entry.node.name), "names are unique");
        let last = self.ring.len();
        let place = if last == 0 { 0 } else { rng.random_range(0..last) };
        self.places.insert(entry.node.name.clone(), place);
        self.ring.push(entry);
        self.ring.swap(place, last);
        if place != last {
            self.places.insert(self.ring[last].node.name.clone(), last);
        }
    }

    /// The next member to probe, if there is any but `local` that is not gone. At the end of a round everybody who is
    /// gone for longer than `keep` is forgotten and the order is another (SWIM section 4.3).
    pub(super) fn next_to_probe(
        &mut self,
        rng: &mut SmallRng,
        now: Now,
        local: &str,
        keep: Duration,
    ) -> Option<&Entry> {
        // The reference counts the end of a round like a member it passes over, and so leaves probes out in small pools.
        for _ in 0..2 {
            while let Some(entry) = self.ring.get(self.next) {
                let place = self.next;
                self.next += 1;
                if entry.node.name != local && !entry.gone() {
                    return self.ring.get(place);
                }
            }
            self.begin_round(rng, now, keep);
        }
        None
    }

    fn begin_round(&mut self, rng: &mut SmallRng, now: Now, keep: Duration) {
        self.next = 0;
        self.ring.retain(|entry| !entry.gone() || now.saturating_sub(entry.changed) <= keep);
        self.ring.shuffle(rng);
        self.places.clear();
        self.places.extend(self.ring.iter().enumerate().map(|(place, entry)| (entry.node.name.clone(), place)));
    }

    /// Up to `count` different members that are `eligible`. If few are, some may be missed.
    pub(super) fn sample(&self, rng: &mut SmallRng, count: usize, eligible: impl Fn(&Entry) -> bool) -> Vec<&Entry> {
        let mut places: Vec<usize> = Vec::with_capacity(count.min(self.ring.len()));
        // In a large pool the first few draws do; in a small one nobody should be missed.
        for _ in 0..3 * self.ring.len() {
            if places.len() >= count {
                break;
            }
            let place = rng.random_range(0..self.ring.len());
            if !places.contains(&place) && eligible(&self.ring[place]) {
                places.push(place);
            }
        }
        places.into_iter().map(|place| &self.ring[place]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use rand::SeedableRng as _;

    use super::{Duration, Entry, Node, NodeState, Roster, SmallRng};

    const KEEP: Duration = Duration::from_secs(30);

    fn entry(name: &str, state: NodeState, changed: u64) -> Entry {
        let address = "127.0.0.1:1".parse().unwrap();
        let node = Node { name: name.to_owned(), address, meta: Bytes::new(), state, versions: [0; 6] };
        Entry { node, incarnation: 1, changed: Duration::from_secs(changed) }
    }

    fn roster(rng: &mut SmallRng, members: usize) -> Roster {
        let mut roster = Roster::default();
        for number in 0..members {
            roster.insert(rng, entry(&format!("m{number}"), NodeState::Alive, 0));
        }
        roster
    }

    #[test]
    fn everybody_else_is_probed_once_in_every_round() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut roster = roster(&mut rng, 20);
        for _ in 0..5 {
            let mut seen = BTreeSet::new();
            for _ in 0..19 {
                let entry = roster.next_to_probe(&mut rng, Duration::ZERO, "m0", KEEP).unwrap();
                assert!(seen.insert(entry.node.name.clone()), "{} twice in a round", entry.node.name);
            }
            assert!(!seen.contains("m0"));
        }
        for name in roster.places.keys() {
            assert_eq!(&roster.get(name).unwrap().node.name, name);
        }
    }

    #[test]
    fn those_long_gone_are_forgotten_at_the_end_of_a_round() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut roster = roster(&mut rng, 2);
        roster.insert(&mut rng, entry("dead", NodeState::Dead, 0));
        roster.insert(&mut rng, entry("left", NodeState::Left, 10));
        let mut round = |roster: &mut Roster, now| {
            for _ in 0..2 {
                let next = roster.next_to_probe(&mut rng, Duration::from_secs(now), "m0", KEEP);
                assert_eq!(next.map(|entry| entry.node.name.as_str()), Some("m1"));
            }
        };
        round(&mut roster, 30);
        assert!(roster.get("dead").is_some());
        round(&mut roster, 31);
        assert!(roster.get("dead").is_none());
        assert!(roster.get("left").is_some());
        round(&mut roster, 41);
        assert_eq!(roster.len(), 2);
    }

    #[test]
    fn alone_there_is_nobody_to_probe() {
        let mut rng = SmallRng::seed_from_u64(1);
        assert!(Roster::default().next_to_probe(&mut rng, Duration::ZERO, "m0", KEEP).is_none());
        let mut roster = roster(&mut rng, 1);
        assert!(roster.next_to_probe(&mut rng, Duration::ZERO, "m0", KEEP).is_none());
        assert!(roster.sample(&mut rng, 3, |entry| entry.node.name != "m0").is_empty());
        assert!(Roster::default().sample(&mut rng, 3, |_| true).is_empty());
    }

    #[test]
    fn a_sample_has_no_member_twice() {
        let mut rng = SmallRng::seed_from_u64(1);
        let roster = roster(&mut rng, 10);
        for _ in 0..50 {
            let sample = roster.sample(&mut rng, 3, |entry| entry.node.name != "m0");
            let names: BTreeSet<_> = sample.iter().map(|entry| &entry.node.name).collect();
            assert_eq!(names.len(), 3);
            assert!(!names.contains(&"m0".to_owned()));
        }
    }
}
