//! Ends the windows of deposit requests: what is no longer shown, what is no longer watched, which pool address may be
//! given out again. Also forgets signatures that are too old to be sent again, and answers that were kept long enough
//! under their idempotency keys. All of it is marked by its own moment, so that it does not matter who does it, when, or
//! how often.

use std::time::Duration;

use super::{Progress, Worker, about};
use crate::store::addresses::sweep;
use crate::store::{Db, answers, signatures};

const INTERVAL: Duration = Duration::from_secs(1);
/// How long an idempotency key means the same request: a week.
const ANSWERS_US: i64 = 7 * 86_400_000_000;

/// What sweeping needs.
pub struct Windows {
    pub db: Db,
    pub clock: fn() -> i64,
}

impl Worker for Windows {
    const NAME: &'static str = "ending of windows";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let now_us = (self.clock)();
        let swept = sweep(&self.db, now_us).await?;
        signatures::forget(&self.db, now_us).await?;
        answers::forget(&self.db, now_us.saturating_sub(ANSWERS_US)).await?;
        Ok(if swept.is_full() { Progress::More } else { Progress::Idle })
    }

    async fn woken(&mut self) {
        about(INTERVAL).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
