//! How long a suspicion lasts (Lifeguard, "Local Health Aware Suspicion").
//!
//! It begins with the longest time, in case this member alone is badly connected. Each other member that suspects
//! independently shortens it, logarithmically, until with as many as were hoped for it has its shortest time.
//!
//! Always true: `shortest` ≤ the time it lasts ≤ `longest`; one member confirms once, and at most `wanted` are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::io::Now;

#[derive(Debug)]
pub(super) struct Suspicion {
    since: Now,
    shortest: Duration,
    longest: Duration,
    /// How many confirmations make it as short as it gets.
    wanted: u32,
    confirmed: u32,
    /// Who suspects, the first one included: what it says may come back to us and confirms nothing.
    from: BTreeSet<String>,
}

/// How a suspicion is to be judged in a pool of so many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) mult: u32,
    pub(super) max_timeout_mult: u32,
    pub(super) probe_interval: Duration,
    pub(super) members: usize,
}

impl Terms {
    pub(super) fn shortest(&self) -> Duration {
        let members = u32::try_from(self.members.max(1)).unwrap_or(u32::MAX);
        let scale = f64::from(members).log10().max(1.0);
        // Thousandths are what the reference keeps of it.
        let thousandths = (scale * 1000.0).floor() / 1000.0;
        part(self.probe_interval.saturating_mul(self.mult), thousandths)
    }

    /// Two short of the multiplier, as there is no telling how the probes of others fall; none if there are not enough
    /// members beside us and the suspect.
    fn wanted(&self) -> u32 {
        let wanted = self.mult.saturating_sub(2);
        let others = self.members.saturating_sub(2);
        if others < wanted as usize { 0 } else { wanted }
    }
}

impl Suspicion {
    pub(super) fn new(now: Now, from: &str, terms: Terms) -> Suspicion {
        let shortest = terms.shortest();
        Suspicion {
            since: now,
            shortest,
            longest: shortest.saturating_mul(terms.max_timeout_mult.max(1)),
            wanted: terms.wanted(),
            confirmed: 0,
            from: BTreeSet::from([from.to_owned()]),
        }
    }

    /// Somebody else suspects, too. Whether that is news.
    pub(super) fn confirm(&mut self, from: &str) -> bool {
        if self.confirmed >= self.wanted || !self.from.insert(from.to_owned()) {
            return false;
        }
        self.confirmed += 1;
        true
    }

    pub(super) fn expires(&self) -> Now {
        self.since.saturating_add(self.lasts())
    }

    fn lasts(&self) -> Duration {
        if self.wanted == 0 {
            return self.shortest;
        }
        let share = f64::from(self.confirmed + 1).ln() / f64::from(self.wanted + 1).ln();
        let shortened = self.longest.saturating_sub(part(self.longest - self.shortest, share));
        shortened.max(self.shortest)
    }

    /// How many confirmed it.
    pub(super) fn confirmed(&self) -> u32 {
        self.confirmed
    }

    /// It was to be confirmed by more.
    pub(super) fn lacks_confirmations(&self) -> bool {
        self.confirmed < self.wanted
    }
}

/// A product that is as long as can be where it would be longer.
fn part(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Suspicion, Terms};

    fn terms(mult: u32, members: usize) -> Terms {
        Terms { mult, max_timeout_mult: 6, probe_interval: Duration::from_secs(1), members }
    }

    #[test]
    fn the_shortest_time_grows_with_the_logarithm_of_the_pool() {
        let check = |members, expect| assert_eq!(terms(4, members).shortest(), Duration::from_millis(expect));
        check(0, 4000);
        check(1, 4000);
        check(10, 4000);
        check(50, 6792);
        check(100, 8000);
        check(500, 10792);
        check(1000, 12000);
    }

    #[test]
    fn confirmations_shorten_it_and_no_member_confirms_twice() {
        let start = Duration::from_secs(100);
        let lasts = |suspicion: &Suspicion| suspicion.expires() - start;
        let mut suspicion = Suspicion::new(start, "first", terms(5, 10));
        assert_eq!(lasts(&suspicion), Duration::from_secs(30));
        assert!(!suspicion.confirm("first"));
        assert!(suspicion.confirm("second"));
        assert!(!suspicion.confirm("second"));
        assert_eq!(lasts(&suspicion), Duration::from_micros(17_500_000));
        assert!(suspicion.lacks_confirmations());
        assert!(suspicion.confirm("third"));
        assert!(suspicion.confirm("fourth"));
        assert_eq!(lasts(&suspicion), Duration::from_secs(5));
        assert!(!suspicion.confirm("fifth"));
        assert_eq!(suspicion.confirmed(), 3);
        assert!(!suspicion.lacks_confirmations());
    }

    #[test]
    fn with_too_few_members_to_confirm_it_has_the_shortest_time_at_once() {
        let mut suspicion = Suspicion::new(Duration::ZERO, "a", terms(4, 3));
        assert_eq!(suspicion.expires(), Duration::from_secs(4));
        assert!(!suspicion.confirm("b"));
        assert!(!suspicion.lacks_confirmations());
    }
}
