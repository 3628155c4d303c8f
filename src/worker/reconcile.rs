//! Compares every merchant's balances with the processor's from time to time. A lease says which replica does, and its
//! cursor when it was done last, so restarts and replicas keep one rhythm.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Progress, Worker, about};
use crate::app::App;
use crate::outbound::board::{CURSOR, LEASE_US};
use crate::outbound::reconcile;
use crate::store::cursor::{self, database_now_us};
use crate::store::reconcile::{last, last_us};

const LOOK: Duration = Duration::from_secs(5);

/// Reconciling, as often as the settings say.
pub struct Reconcile {
    pub app: Arc<App>,
    pub owner: String,
    /// When this process began: its first run waits as long as any other.
    pub began: Instant,
}

impl Worker for Reconcile {
    const NAME: &'static str = "reconciliation";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let app = &self.app;
        let every_us = app.settings.reconcile.every_s.saturating_mul(1_000_000);
        let up_us = i64::try_from(self.began.elapsed().as_micros())?;
        if every_us == 0 {
            return Ok(Progress::Idle);
        }
        self.show(up_us).await?;
        if up_us < every_us {
            return Ok(Progress::Idle);
        }
        let Some(turn) = cursor::take_turn(&app.db, CURSOR, &self.owner, every_us, LEASE_US).await? else {
            return Ok(Progress::Idle);
        };
        let due_us = turn.done_us.max(turn.now_us.saturating_sub(up_us)).saturating_add(every_us);
        for (id, name) in app.merchants() {
            // Taken again for each merchant: a slow processor must not make it run out. Another replica that was faster has
            // given it back.
            if cursor::take_turn(&app.db, CURSOR, &self.owner, every_us, LEASE_US).await?.is_none() {
                cursor::release(&app.db, CURSOR, &self.owner).await?;
                return Ok(Progress::Idle);
            }
            // Done before a step that ended half-way.
            if last(&app.db, id).await?.is_some_and(|run| run.began_us >= due_us) {
                continue;
            }
            let run = reconcile::run(app, id, "worker").await?;
            let open = run.lines.iter().filter(|line| line.verdict.differs()).count();
            match &run.error {
                Some(error) => warn!(merchant = name, error, "The processor could not be asked for its balances"),
                None => info!(merchant = name, currencies = run.lines.len(), open, "Compared the balances"),
            }
        }
        cursor::end_turn(&app.db, CURSOR, &self.owner, turn).await?;
        Ok(Progress::Idle)
    }

    async fn woken(&mut self) {
        about(LOOK).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(cursor::release(&self.app.db, CURSOR, &self.owner).await?)
    }
}

impl Reconcile {
    /// How long ago the merchant was compared whose turn is the longest ago; one that never was, since this process began.
    async fn show(&self, up_us: i64) -> anyhow::Result<()> {
        let now_us = database_now_us(&self.app.db).await?;
        let mut oldest_us = 0;
        for (id, _) in self.app.merchants() {
            let age_us = last_us(&self.app.db, id).await?.map_or(up_us, |last_us| now_us.saturating_sub(last_us));
            oldest_us = age_us.max(oldest_us);
        }
        self.app.metrics.reconciled_age_s.set(u64::try_from(oldest_us.div_euclid(1_000_000))?);
        Ok(())
    }
}
