//! How well this member itself does (Lifeguard, "Local Health Aware Probe").
//!
//! A member that misses acks, nacks or accusations of itself is slow or badly connected, and gives others more time.
//!
//! Always true: 0 (all is well) ≤ score < max.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Awareness {
    score: u32,
    max: u32,
}

impl Awareness {
    /// A `max` of 0 or 1 keeps the score at 0.
    pub(super) fn new(max: u32) -> Awareness {
        Awareness { score: 0, max: max.max(1) }
    }

    pub(super) fn score(&self) -> u32 {
        self.score
    }

    /// Whether that changed anything.
    pub(super) fn worse_by(&mut self, points: u32) -> bool {
        let before = self.score;
        self.score = before.saturating_add(points).min(self.max - 1);
        self.score != before
    }

    /// Whether that changed anything.
    pub(super) fn better(&mut self) -> bool {
        let before = self.score;
        self.score = before.saturating_sub(1);
        self.score != before
    }

    pub(super) fn scale(&self, time: Duration) -> Duration {
        time.saturating_mul(self.score + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Awareness, Duration};

    #[test]
    fn the_score_stays_within_its_bounds_and_scales_time() {
        let mut awareness = Awareness::new(8);
        assert!(!awareness.better());
        assert!(awareness.worse_by(3));
        assert_eq!(awareness.scale(Duration::from_secs(1)), Duration::from_secs(4));
        assert!(awareness.worse_by(100));
        assert!(!awareness.worse_by(1));
        assert_eq!(awareness.score(), 7);
        assert!(awareness.better());
        assert_eq!(awareness.score(), 6);

        let mut off = Awareness::new(0);
        assert!(!off.worse_by(5));
        assert_eq!(off.scale(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
