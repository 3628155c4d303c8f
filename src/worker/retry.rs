//! Brings callbacks back that the database refused: their stored bytes go to the booker again, which decides them like
//! any other, under its lock. When to try is kept beside each, so that replicas and restarts agree.

use std::time::Duration;

use super::{Progress, Worker, about};
use crate::booker::Booker;
use crate::booker::replay::incoming;
use crate::domain::ids::MerchantId;
use crate::store::{Db, callbacks};

/// Callbacks that are tried in one step.
const BATCH: u64 = 50;
const INTERVAL: Duration = Duration::from_secs(1);

/// What retrying needs.
pub struct Retry {
    pub db: Db,
    pub booker: Booker,
    /// Those that are configured here: others' callbacks are other replicas' to decide.
    pub merchants: Vec<MerchantId>,
    pub clock: fn() -> i64,
}

impl Worker for Retry {
    const NAME: &'static str = "retrying of failed callbacks";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let due = callbacks::due_failures(&self.db, &self.merchants, (self.clock)(), BATCH).await?;
        let stored: Vec<_> = callbacks::load(&self.db, &due).await?.into_iter().map(incoming).collect();
        if !stored.is_empty() {
            for (_, outcome) in self.booker.decide(stored, false).await? {
                // One that is refused stands as it stood, and the log says so.
                if let Err(refusal) = outcome.map(drop)
                    && refusal.is_passing()
                {
                    return Err(refusal.into());
                }
            }
        }
        // Those that fail again are due later, so this comes to an end.
        let is_all = u64::try_from(due.len()).is_ok_and(|due| due < BATCH);
        Ok(if is_all { Progress::Idle } else { Progress::More })
    }

    async fn woken(&mut self) {
        about(INTERVAL).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
