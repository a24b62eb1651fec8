//! Log lines about what strangers send: at most so many in a while, then how many were left out.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// Lines in [`EVERY`]; enough to see what is wrong, too few to fill a disk.
const LINES: u32 = 10;
const EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Complaints {
    since: Option<Instant>,
    lines: u32,
    withheld: u64,
}

impl Complaints {
    pub(super) fn say(&mut self, from: impl fmt::Display, what: impl fmt::Display) {
        if self.may_speak(Instant::now()) {
            tracing::warn!("memberlist: {what} from={from}");
        }
    }

    /// May one more line be written? Says how many were withheld when a new while begins.
    fn may_speak(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= EVERY) {
            if self.withheld > 0 {
                tracing::warn!("memberlist: refused {} more packets and streams", self.withheld);
            }
            *self = Complaints { since: Some(now), ..Complaints::default() };
        }
        let speaks = self.lines < LINES;
        if speaks {
            self.lines += 1;
        } else {
            self.withheld += 1;
        }
        speaks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_few_lines() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let spoken = (0..1000).filter(|_| complaints.may_speak(start)).count();
        assert_eq!((spoken, complaints.withheld), (10, 990));
        assert!(complaints.may_speak(start + EVERY));
        assert_eq!(complaints.withheld, 0);
    }
}
