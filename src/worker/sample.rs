//! Looking at the counters every few seconds, for the page's charts.

use std::sync::Arc;
use std::time::Duration;

use super::{Progress, Worker};
use crate::metrics::Metrics;
use crate::metrics::history::EVERY_S;

pub struct Sampler {
    pub metrics: Arc<Metrics>,
    pub clock: fn() -> i64,
}

impl Worker for Sampler {
    const NAME: &'static str = "sampling";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        self.metrics.history.sample(&self.metrics, (self.clock)());
        Ok(Progress::Idle)
    }

    async fn woken(&mut self) {
        tokio::time::sleep(Duration::from_secs(EVERY_S)).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
