//! Publishing again what somebody asked for: the same events with the same ids and bytes, between two pages of new
//! ones. Its turn comes when nothing else is under way, a short stretch at a time, so new events hardly wait and what
//! comes back is known to be ours. The cursor of publishing stays where it is; how far this has come is kept apart.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{DRAIN_TIMEOUT, POLL, Progress, Publisher, read};
use crate::broker::Flight;
use crate::store::redelivery::{self, Redelivery};

/// Events of a stretch …
const STRETCH: i64 = 200;
/// … and how far apart stretches are while there are new events.
const PACE_BUSY: Duration = Duration::from_millis(100);
const PAUSE_FAILED: Duration = Duration::from_secs(3);

/// When to look next, and what went wrong last, so that it is told once.
#[derive(Default)]
pub(super) struct Again {
    at: Option<Instant>,
    trouble: Option<String>,
}

impl Publisher {
    /// A stretch of what is to be published again, if it is time. What fails waits, and new events don't wait for it.
    pub(super) async fn again(&mut self, is_idle: bool) -> anyhow::Result<Progress> {
        let now = Instant::now();
        let is_safe =
            now.checked_add(DRAIN_TIMEOUT).is_some_and(|end| self.reign().is_ok_and(|reign| reign.lasts_until(end)));
        if self.again.at.is_some_and(|at| now < at) || self.is_probing || !is_safe {
            return Ok(Progress::Idle);
        }
        let next = redelivery::next(&self.db).await?;
        // What the cursor has not passed is not told for the first time yet.
        let saved = self.reign()?.saved;
        let Some(asked) = next.filter(|asked| asked.position < saved) else {
            self.again.at = now.checked_add(POLL);
            return Ok(Progress::Idle);
        };
        self.settle().await?;
        let reached = self.stretch(&asked, saved).await?;
        if redelivery::reached(&self.db, &asked, reached, (self.clock)()).await? && reached >= asked.last {
            info!(redelivery.id = asked.id, "Redelivery {} is done", asked.id);
        }
        let is_fine = self.again.trouble.is_none();
        let pause = if !is_fine {
            PAUSE_FAILED
        } else if is_idle {
            Duration::ZERO
        } else {
            PACE_BUSY
        };
        self.again.at = Instant::now().checked_add(pause);
        Ok(if is_fine && is_idle { Progress::More } else { Progress::Idle })
    }

    /// Sends the next events of it, waits for them all, and says up to where they are confirmed.
    async fn stretch(&mut self, asked: &Redelivery, saved: i64) -> anyhow::Result<i64> {
        let window = i64::try_from(self.link.window()).unwrap_or(STRETCH);
        let last = asked.position.saturating_add(STRETCH.min(window)).min(asked.last).min(saved);
        let count = usize::try_from(last.saturating_sub(asked.position))?;
        let events = read(self.db.clone(), self.names().await?, asked.position, count).await?;
        let now_s = u64::try_from((self.clock)()).unwrap_or(0).div_euclid(1_000_000);
        let mut flight = Flight::default();
        for event in events {
            self.link.publish(&mut flight, event, now_s)?;
        }
        let Some(failed) = flight.drain(DRAIN_TIMEOUT).await else {
            self.again.trouble = None;
            self.metrics.events_redelivered.add(u64::try_from(count)?);
            return Ok(last);
        };
        self.metrics.events_returned.add(failed.returned);
        self.metrics.broker_nacks.add(failed.refused);
        self.link.failed(&failed).await;
        let trouble = failed.failure.to_string();
        if self.again.trouble.as_ref() != Some(&trouble) {
            warn!(redelivery.id = asked.id, error = trouble, "Publishing again waits, and is tried until it succeeds");
            self.again.trouble = Some(trouble);
        }
        let reached = failed.position.saturating_sub(1).clamp(asked.position, last);
        let confirmed = reached.saturating_sub(asked.position);
        self.metrics.events_redelivered.add(u64::try_from(confirmed)?);
        Ok(reached)
    }
}
