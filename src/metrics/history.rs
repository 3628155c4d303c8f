//! The last hour of traffic, for the page's charts: differences of the counters, sampled. In memory, capped, and gone
//! with the process; whoever needs more has Prometheus read `/metrics`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Metrics;

/// Seconds from one sample to the next.
pub const EVERY_S: u64 = 5;
/// An hour of them.
const SAMPLES: usize = 720;

/// What came since the sample before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    pub at_us: i64,
    pub taken: u64,
    pub refused: u64,
    /// Of ten requests answered, how long five and of a hundred how long 99 took at most; 0 when there was none.
    pub p50_us: u64,
    pub p99_us: u64,
}

#[derive(Debug, Default)]
struct Ring {
    samples: VecDeque<Sample>,
    taken: u64,
    refused: u64,
    latency: Vec<u64>,
}

#[derive(Debug, Default)]
pub struct History(Mutex<Ring>);

impl History {
    /// Adds a sample, and forgets the oldest.
    pub fn sample(&self, metrics: &Metrics, at_us: i64) {
        let (taken, refused, latency) = (metrics.taken(), metrics.refused(), metrics.callback_us.counts());
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ring.latency.iter().copied().chain(std::iter::repeat(0));
        let since: Vec<u64> = latency.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
        let sample = Sample {
            at_us,
            taken: taken.saturating_sub(ring.taken),
            refused: refused.saturating_sub(ring.refused),
            p50_us: metrics.callback_us.bound_of(&since, 50),
            p99_us: metrics.callback_us.bound_of(&since, 99),
        };
        if ring.samples.len() >= SAMPLES {
            ring.samples.pop_front();
        }
        ring.samples.push_back(sample);
        (ring.taken, ring.refused, ring.latency) = (taken, refused, latency);
    }

    /// Oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).samples.iter().copied().collect()
    }
}
