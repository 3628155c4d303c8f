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
/// For each moment of work while others have the database first, this many of rest.
const REST: u32 = 9;
const REST_MAX: Duration = Duration::from_secs(3);

/// Events that wait while publishing is behind, not merely under way.
const EVENTS_BEHIND: u64 = 5_000;

/// What following needs.
pub struct Index {
    /// Whose commits need not wait for the disk: what is lost with the power is followed again.
    pub db: Db,
    pub metrics: Arc<Metrics>,
    /// The journal's last position, as far as this process books.
    pub position: watch::Receiver<i64>,
    /// The last callback, at any replica, when a step ended.
    pub last: i64,
}

impl Worker for Index {
    const NAME: &'static str = "indexing";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        self.position.mark_unchanged();
        let begun = Instant::now();
        let lines = lines::follow(&self.db).await?;
        let terms = terms::follow(&self.db).await?;
        let pending = lines.pending.saturating_add(terms.pending);
        self.metrics.index_pending.set(u64::try_from(pending).unwrap_or_default());
        let is_behind = pending > 0;
        if is_behind {
            let last = replays::last_callback(&self.db).await?;
            let is_receiving = std::mem::replace(&mut self.last, last) != last;
            let is_blocked = self.metrics.publishing_blocked.get() > 0;
            let is_publishing = !is_blocked && self.metrics.outbox_pending.get() > EVENTS_BEHIND;
            if is_receiving || is_publishing {
                sleep(begun.elapsed().saturating_mul(REST).min(REST_MAX)).await;
            }
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
