//! Lamport times: the order of intents, events and queries across a pool without clocks that agree.
//!
//! Always true: a clock never runs backwards and never wraps, whatever it witnesses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A time of a [`LamportClock`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LamportTime(pub u64);

impl LamportTime {
    /// Times past this are taken for garbage. A pool that makes a million events a second reaches it in 146,000
    /// years; without it, one forged message would put every clock at its end.
    pub const LIMIT: LamportTime = LamportTime(1 << 62);

    #[must_use]
    pub fn next(self) -> LamportTime {
        LamportTime(self.0.saturating_add(1))
    }

    /// The time before, and 0 before 0.
    #[must_use]
    pub fn previous(self) -> LamportTime {
        LamportTime(self.0.saturating_sub(1))
    }
}

impl fmt::Display for LamportTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A clock that is ahead of all that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LamportClock {
    now: LamportTime,
}

impl LamportClock {
    /// Starts at 1, so that time 0 is before everything.
    #[must_use]
    pub fn new() -> LamportClock {
        LamportClock { now: LamportTime(1) }
    }

    #[must_use]
    pub fn time(&self) -> LamportTime {
        self.now
    }

    /// The time of something that happens now, which nothing else here gets.
    pub fn stamp(&mut self) -> LamportTime {
        let stamp = self.now;
        self.now = stamp.next();
        stamp
    }

    /// After this, the clock is past `seen`.
    pub fn witness(&mut self, seen: LamportTime) {
        if seen >= self.now {
            self.now = seen.next();
        }
    }
}

impl Default for LamportClock {
    fn default() -> LamportClock {
        LamportClock::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::{LamportClock, LamportTime};

    #[test]
    fn a_clock_is_one_past_what_it_saw() {
        let mut clock = LamportClock::new();
        assert_eq!(clock.stamp(), LamportTime(1));
        clock.witness(LamportTime(1));
        assert_eq!(clock.time(), LamportTime(2));
        clock.witness(LamportTime(2));
        assert_eq!(clock.time(), LamportTime(3));
        clock.witness(LamportTime(41));
        assert_eq!(clock.time(), LamportTime(42));
    }

    proptest! {
        #[test]
        fn a_clock_never_runs_backwards(
            seen in proptest::collection::vec(
                prop_oneof![any::<u64>().prop_map(Some), (0..9u64).prop_map(Some), Just(None)],
                0..50,
            )
        ) {
            let mut clock = LamportClock::new();
            for step in seen {
                let before = clock.time();
                match step {
                    Some(time) => {
                        clock.witness(LamportTime(time));
                        assert!(clock.time() > LamportTime(time) || clock.time() == LamportTime(u64::MAX));
                    }
                    None => { clock.stamp(); }
                }
                assert!(clock.time() >= before);
            }
        }
    }
}
