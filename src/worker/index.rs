//! Keeps what searches and statements go by close behind the ledger: account lines follow the journal. It takes at most
//! a part of one core: whoever reads adds what is not followed yet, so being behind costs them time, never rows.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Progress, Worker};
use crate::store::{Db, lines};

/// Following is not urgent: under load a few larger steps cost the database less.
const PACE: Duration = Duration::from_millis(250);
/// Entries of other replicas are noticed after this long.
const POLL: Duration = Duration::from_secs(2);
/// For each moment of work, this many of rest: booking has the database first.
const REST: u32 = 3;

/// What following needs.
pub struct Index {
    pub db: Db,
    /// The journal's last position, as far as this process books.
    pub position: watch::Receiver<i64>,
}

impl Worker for Index {
    const NAME: &'static str = "indexing";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        self.position.mark_unchanged();
        let begun = Instant::now();
        let is_behind = lines::follow(&self.db).await?.is_behind;
        if is_behind {
            sleep(begun.elapsed().saturating_mul(REST)).await;
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
