//! Keeps what searches and statements go by close behind the ledger: account lines follow the journal, terms the
//! callbacks. While callbacks arrive or events pile up it takes a part of one core at most: whoever reads adds what is not
//! followed yet, so being behind costs them time, never rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Progress, Worker};
use crate::metrics::Metrics;
use crate::store::{Db, lines, replays, terms};

/// Following is not urgent: under load a few larger steps cost the database less.
const PACE: Duration = Duration::from_millis(250);
/// Entries of other replicas are noticed after this long.
const POLL: Duration = Duration::from_secs(2);
/// What one step follows. In a rush less, so that nobody waits long for it.
const STEP: i64 = 500;
const STEP_RUSH: i64 = 50;
/// For each moment of work while others have the database first, so many of rest, in a rush more.
const REST: u32 = 9;
const REST_RUSH: u32 = 50;
/// Callbacks a second that are a rush.
const RUSH: u128 = 3_000;
const REST_MAX: Duration = Duration::from_secs(3);

/// Events that wait while publishing is behind, not merely under way.
const EVENTS_BEHIND: u64 = 5_000;

/// What following needs.
pub struct Index {
    /// Whose commits need not wait for the disk: what is lost with the power is followed again.
    db: Db,
    metrics: Arc<Metrics>,
    /// The journal's last position, as far as this process books.
    position: watch::Receiver<i64>,
    /// When a step ended last that left something, and the last callback then, at any replica.
    left: Option<(Instant, i64)>,
    is_rush: bool,
}

impl Index {
    pub fn new(db: Db, metrics: Arc<Metrics>, position: watch::Receiver<i64>) -> Self {
        Self { db, metrics, position, left: None, is_rush: false }
    }

    /// Rests while callbacks arrive or events pile up.
    async fn give_way(&mut self, work: Duration) -> anyhow::Result<()> {
        let last = replays::last_callback(&self.db).await?;
        let (since, before) = self.left.replace((Instant::now(), last)).unwrap_or((Instant::now(), last));
        let is_blocked = self.metrics.publishing_blocked.get() > 0;
        let is_publishing = !is_blocked && self.metrics.outbox_pending.get() > EVENTS_BEHIND;
        let arrived = u128::try_from(last.saturating_sub(before)).unwrap_or_default();
        self.is_rush = arrived.saturating_mul(1_000_000) >= since.elapsed().as_micros().max(1).saturating_mul(RUSH);
        if arrived > 0 || is_publishing {
            let rest = if self.is_rush { REST_RUSH } else { REST };
            sleep(work.saturating_mul(rest).min(REST_MAX)).await;
        }
        Ok(())
    }
}

impl Worker for Index {
    const NAME: &'static str = "indexing";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        self.position.mark_unchanged();
        let begun = Instant::now();
        let step = if self.is_rush { STEP_RUSH } else { STEP };
        let lines = lines::follow(&self.db, step).await?;
        let terms = terms::follow(&self.db, step).await?;
        let pending = lines.pending.saturating_add(terms.pending);
        self.metrics.index_pending.set(u64::try_from(pending).unwrap_or_default());
        let is_behind = pending > 0;
        if is_behind {
            self.give_way(begun.elapsed()).await?;
        } else {
            self.is_rush = false;
        }
        Ok(if is_behind { Progress::More } else { Progress::Idle })
    }

    async fn woken(&mut self) {
        sleep(PACE).await;
        tokio::select! {
            Ok(()) = self.position.changed() => {}
            () = sleep(POLL) => {}
        }
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
