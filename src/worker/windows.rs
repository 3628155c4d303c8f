//! Ends the windows of deposit requests: what is no longer shown, what is no longer watched, which pool address may be
//! given out again. Also forgets signatures that are too old to be sent again. All of it is marked by its own moment, so
//! that it does not matter who does it, when, or how often.

use std::time::Duration;

use tokio::time::sleep;

use super::{Progress, Worker};
use crate::store::addresses::sweep;
use crate::store::{Db, signatures};

const INTERVAL: Duration = Duration::from_secs(1);

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
        Ok(if swept.is_full() { Progress::More } else { Progress::Idle })
    }

    async fn woken(&mut self) {
        sleep(INTERVAL).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
