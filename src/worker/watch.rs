//! What every process tells of all of them: what waits for a person or another try, and whether the clocks agree.

use std::sync::Arc;
use std::time::Duration;

use super::{Progress, Worker, about};
use crate::app::App;
use crate::store::{callbacks, cursor, discrepancies};

const INTERVAL: Duration = Duration::from_secs(1);

/// Setting the gauges.
pub struct Watch {
    pub app: Arc<App>,
}

impl Worker for Watch {
    const NAME: &'static str = "watch";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let (db, metrics) = (&self.app.db, &self.app.metrics);
        let open = callbacks::open_counts(db).await?;
        metrics.held_open.set(open.held);
        metrics.failed_open.set(open.failed);
        metrics.discrepancies_open.set(discrepancies::open_count(db).await?);
        let theirs_us = cursor::database_now_us(db).await?;
        metrics.clock_apart_ms.set((self.app.clock)().abs_diff(theirs_us).div_euclid(1_000));
        Ok(Progress::Idle)
    }

    async fn woken(&mut self) {
        about(INTERVAL).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
