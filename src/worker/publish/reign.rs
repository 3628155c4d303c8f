//! What a publisher knows while the lease is its own.

use std::time::Duration;

use tokio::time::Instant;

/// The lease as we count it: less the way to the database and back.
const LEASE_SAFE: Duration = Duration::from_millis(5_500);

pub(super) struct Reign {
    pub(super) renewed: Instant,
    until: Instant,
    /// Up to here events are sent, confirmed, and stored as confirmed.
    pub(super) sent: i64,
    pub(super) confirmed: i64,
    pub(super) saved: i64,
    pub(super) saved_at: Instant,
    pub(super) is_announced: bool,
}

impl Reign {
    /// `asked`: when the database was asked for the lease.
    pub(super) fn new(position: i64, asked: Instant) -> Self {
        let (sent, confirmed, saved) = (position, position, position);
        let until = until(asked);
        Self { renewed: asked, until, sent, confirmed, saved, saved_at: asked, is_announced: false }
    }

    pub(super) fn renew(&mut self, asked: Instant) {
        (self.renewed, self.until) = (asked, until(asked));
    }

    /// What is confirmed is stored, and the lease prolonged with it.
    pub(super) fn saved(&mut self, asked: Instant) {
        (self.saved, self.saved_at) = (self.confirmed, asked);
        self.renew(asked);
    }

    /// Whether the lease surely holds at that moment.
    pub(super) fn lasts_until(&self, moment: Instant) -> bool {
        moment < self.until
    }
}

fn until(asked: Instant) -> Instant {
    asked.checked_add(LEASE_SAFE).unwrap_or(asked)
}
