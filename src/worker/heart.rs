//! The clock of reception: says every few seconds that callbacks are received here. A gap that no replica filled was an
//! outage; when callbacks of it can't come back by themselves, someone is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::{Progress, Worker};
use crate::app::App;
use crate::domain::outage::{Outlook, outlook, schedule_us};
use crate::outbound::outages;
use crate::store::outages::{self as store, Outage};

/// What it needs.
pub struct Heart {
    app: Arc<App>,
    /// Outages of before this process began are looked at once more.
    has_looked: bool,
}

impl Heart {
    pub const fn new(app: Arc<App>) -> Self {
        Self { app, has_looked: false }
    }
}

impl Worker for Heart {
    const NAME: &'static str = "clock of reception";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let app = &*self.app;
        let found = store::beat(&app.db, app.settings.reconcile.outage_s.saturating_mul(1_000_000)).await?;
        if let Some(span) = found {
            let seconds = span.length_us().div_euclid(1_000_000);
            warn!(seconds, "No callbacks could be received for a while; GET /api/outages says what comes back");
        }
        if found.is_some() || !self.has_looked {
            let since_us = (app.clock)().saturating_sub(schedule_us().saturating_mul(2));
            for outage in store::untold(&app.db, since_us).await? {
                tell(app, outage).await?;
            }
            self.has_looked = true;
        }
        outages::count(app).await?;
        Ok(Progress::Idle)
    }

    async fn woken(&mut self) {
        sleep(Duration::from_secs(self.app.settings.reconcile.heartbeat_s)).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Only what can't come back needs a person.
async fn tell(app: &App, outage: Outage) -> anyhow::Result<()> {
    let all = store::around(&app.db, outage.span).await?;
    let Outlook { lost, .. } = outlook(outage.span, &all);
    if lost.is_empty() {
        return Ok(());
    }
    outages::report(app, outage.span, &lost).await?;
    store::told(&app.db, outage.span, (app.clock)()).await?;
    info!("Someone is told of callbacks that can't come back");
    Ok(())
}
