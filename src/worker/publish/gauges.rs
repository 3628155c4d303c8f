//! How far publishing is behind, for those who watch.

use std::time::Duration;

use tokio::time::Instant;

use super::Publisher;
use crate::store::{StoreError, cursor, events};

const GAUGES_EVERY: Duration = Duration::from_secs(1);

impl Publisher {
    /// As far as this process knows: what it books itself, and what the database told last.
    pub(super) fn show_pending(&mut self) -> anyhow::Result<()> {
        let known = self.told.max(*self.position.borrow());
        let reign = self.reign()?;
        let pending = u64::try_from(known.max(reign.sent).saturating_sub(reign.confirmed)).unwrap_or(0);
        self.metrics.outbox_pending.set(pending);
        if pending == 0 {
            self.metrics.outbox_oldest_ms.set(0);
        }
        Ok(())
    }

    /// As the database knows, which also knows what other replicas book and publish.
    pub(super) async fn show_backlog(&mut self) -> Result<(), StoreError> {
        if self.gauged_at.is_some_and(|at| at.elapsed() < GAUGES_EVERY) {
            return Ok(());
        }
        self.gauged_at = Some(Instant::now());
        let position = match &self.reign {
            Some(reign) => reign.confirmed,
            None => cursor::state(&self.db, cursor::RABBITMQ).await?.position,
        };
        let backlog = events::backlog(&self.db, position).await?;
        self.told = position.saturating_add(backlog.pending);
        let age_us = backlog.oldest_us.map_or(0, |at_us| (self.clock)().saturating_sub(at_us));
        self.metrics.outbox_pending.set(u64::try_from(backlog.pending).unwrap_or(0));
        self.metrics.outbox_oldest_ms.set(u64::try_from(age_us.div_euclid(1000)).unwrap_or(0));
        Ok(())
    }
}
