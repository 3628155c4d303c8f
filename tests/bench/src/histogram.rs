//! Latencies in microseconds, in buckets whose width grows with the value: at most 1.6 % off,
//! 30 KB whatever is counted, mergeable. Never drops or clamps a value.

use std::time::Duration;

/// Each power of two is cut into this many buckets; below it each value has its own.
const PARTS: u64 = 64;
const PARTS_LOG2: u32 = PARTS.ilog2();
const BUCKETS: usize = 64 * 60;

#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, largest: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
        self.largest = self.largest.max(micros);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.largest = self.largest.max(other.largest);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The upper end of the bucket in which the given share (0 to 1) of all values is reached.
    pub(crate) fn millis(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil();
        let mut seen = 0_u64;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return upper(i as u64).min(self.largest) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(value: u64) -> usize {
    if value < PARTS {
        return usize::try_from(value).unwrap_or(0);
    }
    let shift = value.ilog2() - PARTS_LOG2;
    let place = u64::from(shift) * PARTS + (value >> shift);
    usize::try_from(place).map_or(BUCKETS - 1, |place| place.min(BUCKETS - 1))
}

fn upper(bucket: u64) -> u64 {
    if bucket < PARTS * 2 {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    (((bucket % PARTS) + PARTS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, upper};
    use std::time::Duration;

    #[test]
    fn a_bucket_holds_its_own_upper_end_and_nothing_above() {
        for value in [0, 1, 63, 64, 127, 128, 129, 1000, 65_535, 1_000_000, 60_000_000] {
            let place = bucket(value);
            let end = upper(place as u64);
            assert!(end >= value && end - value <= value / 64, "{value} in a bucket up to {end}");
            assert_eq!(bucket(end), place);
            assert_eq!(bucket(end + 1), place + 1);
        }
    }

    #[test]
    fn percentiles_of_one_to_a_thousand_milliseconds() {
        let mut all = Histogram::new();
        (1..=1000).for_each(|ms| all.record(Duration::from_millis(ms)));
        assert!((all.millis(0.5) - 500.0).abs() < 8.0);
        assert!((all.millis(0.99) - 990.0).abs() < 16.0);
        assert!((all.millis(1.0) - 1000.0).abs() < f64::EPSILON);
    }
}
