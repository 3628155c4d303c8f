//! Reads about withdrawals of which nobody knows whether they were done, until it is known. It never sends one.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::{Progress, Worker, about};
use crate::app::App;
use crate::outbound::missing;
use crate::outbound::withdrawals::{counts, resolve};
use crate::store::withdrawals;

/// Withdrawals that are read about in one step, one after another.
const BATCH: i64 = 20;
const INTERVAL: Duration = Duration::from_secs(1);
/// Another replica leaves them alone for as long as all of these calls may take.
const LEASE_US: i64 = 60_000_000;

/// What resolving needs.
pub struct Resolver {
    app: Arc<App>,
    /// Missing ones that were told of.
    told: u64,
}

impl Resolver {
    pub const fn new(app: Arc<App>) -> Self {
        Self { app, told: 0 }
    }
}

impl Worker for Resolver {
    const NAME: &'static str = "asking about unknown withdrawals";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let app = &*self.app;
        let (now_us, settings) = ((app.clock)(), &app.settings.outbound);
        let stuck_us = i64::try_from(settings.stuck_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        withdrawals::give_up_stuck(&app.db, now_us.saturating_sub(stuck_us), now_us).await?;
        let due = withdrawals::due(&app.db, now_us, now_us.saturating_add(LEASE_US), BATCH).await?;
        for open in &due {
            // One that can't be ended now comes again with its next turn, and holds up no other.
            if let Err(failure) = resolve(app, open).await {
                warn!(
                    withdrawal = open.id,
                    error = format!("{failure:#}"),
                    "An unknown withdrawal could not be resolved"
                );
            }
        }
        missing::tell(app).await?;
        missing::settle(app).await?;
        self.count().await?;
        let is_all = i64::try_from(due.len()).is_ok_and(|due| due < BATCH);
        Ok(if is_all { Progress::Idle } else { Progress::More })
    }

    async fn woken(&mut self) {
        about(INTERVAL).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Resolver {
    async fn count(&mut self) -> anyhow::Result<()> {
        let (unknown, missing) = counts(&self.app).await?;
        self.app.metrics.withdrawals_unknown.set(unknown);
        self.app.metrics.withdrawals_missing.set(missing);
        if missing > self.told {
            error!(missing, "The processor knows nothing of withdrawals that were sent: someone must look");
        }
        self.told = missing;
        Ok(())
    }
}
