//! The roll-up of recorded values: count, sum, extremes and spread, and a sketch for quantiles.
//!
//! Always true: adding is constant time for the roll-up and bounded for the sketch; merging gives what one roll-up of
//! all values would hold (up to rounding).
//! Not here: clocks and locks; whoever owns a roll-up decides when it ends.

/// Count, sums and extremes of the values of one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Aggregate {
    pub(super) count: u64,
    pub(super) sum: f64,
    sum_of_squares: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Aggregate {
    pub(super) fn add(&mut self, value: f64) {
        if self.count == 0 || value < self.min {
            self.min = value;
        }
        if self.count == 0 || value > self.max {
            self.max = value;
        }
        self.count += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    pub(super) fn merge(&mut self, other: &Aggregate) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.sum_of_squares += other.sum_of_squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    pub(super) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The standard deviation of a sample, 0 for fewer than two values.
    pub(super) fn stddev(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let count = self.count as f64;
        let spread = count * self.sum_of_squares - self.sum * self.sum;
        // Rounding can leave a tiny negative number where all values are equal; Go would print NaN and fail.
        (spread.max(0.0) / (count * (count - 1.0))).sqrt()
    }
}

/// How many low bits of a single-precision number one bucket spans: 6 of 23 fraction bits stay, so a bucket is at most
/// 1.6 % wide and its middle at most 0.8 % off. This also bounds the buckets to 2^14 for positive numbers.
const BUCKET_SHIFT: u32 = 17;

/// Counts by logarithmic bucket; answers quantiles within 0.8 %.
#[derive(Debug, Clone, Default)]
pub(super) struct Sketch {
    /// Sorted by bucket. A timer touches a few dozen, so this is smaller and faster than a tree.
    buckets: Vec<(u32, u64)>,
    range: Aggregate,
}

impl Sketch {
    pub(super) fn add(&mut self, value: f64) {
        self.range.add(value);
        // Durations and sizes are never negative; what is falls into the first bucket.
        self.count_in((value.max(0.0) as f32).to_bits() >> BUCKET_SHIFT, 1);
    }

    fn count_in(&mut self, bucket: u32, times: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += times,
            Err(at) => self.buckets.insert(at, (bucket, times)),
        }
    }

    pub(super) fn merge(&mut self, other: &Sketch) {
        self.range.merge(&other.range);
        for (bucket, times) in &other.buckets {
            self.count_in(*bucket, *times);
        }
    }

    /// NaN when nothing was recorded.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        if self.range.count == 0 {
            return f64::NAN;
        }
        let rank = ((quantile * self.range.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, times) in &self.buckets {
            seen += times;
            if seen >= rank {
                let middle = (bucket << BUCKET_SHIFT) | (1 << (BUCKET_SHIFT - 1));
                return f64::from(f32::from_bits(middle)).clamp(self.range.min, self.range.max);
            }
        }
        self.range.max
    }
}

#[cfg(test)]
mod tests {
    use super::{Aggregate, Sketch};

    fn of(values: &[f64]) -> Aggregate {
        let mut all = Aggregate::default();
        values.iter().for_each(|value| all.add(*value));
        all
    }

    #[test]
    fn spread_and_extremes() {
        let all = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((all.count, all.sum, all.min, all.max, all.mean()), (8, 40.0, 2.0, 9.0, 5.0));
        assert!((all.stddev() - 2.138_089_935).abs() < 1e-6);
        assert_eq!(of(&[3.0]).stddev(), 0.0);
        assert_eq!(of(&[-3.0, -5.0]).max, -3.0);
        // Equal values that are not exact in binary must not become NaN.
        assert!(of(&[0.1; 7]).stddev() < 1e-8);
    }

    #[test]
    fn merging_is_like_recording_together() {
        let mut left = of(&[1.0, 9.0]);
        left.merge(&of(&[0.5]));
        left.merge(&Aggregate::default());
        assert_eq!(left, of(&[1.0, 9.0, 0.5]));
    }

    #[test]
    fn quantiles_are_close() {
        let mut sketch = Sketch::default();
        assert!(sketch.quantile(0.5).is_nan());
        for value in 1..=1000 {
            sketch.add(f64::from(value));
        }
        for (quantile, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = sketch.quantile(quantile);
            assert!((found - expected).abs() / expected < 0.01, "{quantile}: {found}");
        }
        let mut single = Sketch::default();
        single.add(1.25);
        assert_eq!(single.quantile(0.99), 1.25);
        single.add(f64::INFINITY);
        single.add(f64::NAN);
        single.add(-1.0);
        assert!(single.buckets.len() <= 4);
    }
}
