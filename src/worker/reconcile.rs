//! Compares every merchant's balances with the processor's from time to time. A lease says which replica does, and its
//! cursor when it was done last, so restarts and replicas keep one rhythm.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{Progress, Worker, about};
use crate::app::App;
use crate::outbound::board::{CURSOR, LEASE_US};
use crate::outbound::reconcile;
use crate::store::reconcile::last;
use crate::store::{StoreError, cursor};

const LOOK: Duration = Duration::from_secs(5);

/// Reconciling, as often as the settings say.
pub struct Reconcile {
    pub app: Arc<App>,
    pub owner: String,
    /// What is done when this process has just begun: the first run waits its turn.
    pub began_us: i64,
}

impl Worker for Reconcile {
    const NAME: &'static str = "reconciliation";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let app = &self.app;
        let every_us = app.settings.reconcile.every_s.saturating_mul(1_000_000);
        let done_us = cursor::state(&app.db, CURSOR).await?.position.max(self.began_us);
        let now_us = (app.clock)();
        if every_us == 0 || now_us < done_us.saturating_add(every_us) {
            return Ok(Progress::Idle);
        }
        let due_us = done_us.saturating_add(every_us);
        for (id, name) in app.merchants() {
            // Taken again for each merchant: a slow processor must not make it run out.
            let lease = cursor::take_lease(&app.db, CURSOR, &self.owner, LEASE_US).await?;
            let Some(position) = lease else { return Ok(Progress::Idle) };
            if position > done_us {
                // Another replica was faster, and has given the lease back.
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
        self.done(now_us).await?;
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
    async fn done(&self, now_us: i64) -> Result<(), StoreError> {
        cursor::advance(&self.app.db, CURSOR, &self.owner, now_us, LEASE_US).await?;
        cursor::release(&self.app.db, CURSOR, &self.owner).await
    }
}
