//! How often somebody may ask: a bucket of tokens that fills by the minute. Pure: what time it is, the caller says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const MINUTE_US: i64 = 60_000_000;

/// What is left after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a minute.
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until all of them may be used again.
    pub reset_s: i64,
    /// Whether this request was one too many.
    pub is_exceeded: bool,
}

/// One bucket for each name. There are as many as the settings name, so none is ever removed.
#[derive(Debug, Default)]
pub struct Buckets(Mutex<HashMap<String, Bucket>>);

/// What was used, in microseconds of filling up, and when that was.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    used_us: i64,
    at_us: i64,
}

impl Buckets {
    /// Takes one token of `limit` a minute.
    pub fn take(&self, name: &str, limit: u32, now_us: i64) -> Rate {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(name.to_owned()).or_default();
        // A clock that goes back fills nothing.
        let passed = now_us.saturating_sub(bucket.at_us).max(0);
        let used = bucket.used_us.saturating_sub(passed).max(0);
        let cost = MINUTE_US.checked_div(i64::from(limit)).unwrap_or(MINUTE_US);
        let wanted = used.saturating_add(cost);
        let is_exceeded = wanted > MINUTE_US;
        let used = if is_exceeded { used } else { wanted };
        *bucket = Bucket { used_us: used, at_us: now_us };
        let left = MINUTE_US.saturating_sub(used).checked_div(cost).unwrap_or_default();
        Rate {
            limit,
            remaining: u32::try_from(left).unwrap_or_default().min(limit),
            reset_s: used.saturating_add(999_999).div_euclid(1_000_000),
            is_exceeded,
        }
    }
}
