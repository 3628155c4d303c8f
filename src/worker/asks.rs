//! Asks the processor about what should be over by now, one question at a time, as often as the settings allow. Each
//! question is taken by one replica.

use std::sync::Arc;
use std::time::Duration;

use super::{Progress, Worker, about};
use crate::app::App;
use crate::outbound::asks::{ask_one, enrol, enrol_checks};
use crate::store::asks::{self, Due};

const INTERVAL: Duration = Duration::from_millis(500);
/// What is overdue is looked for this often.
const LOOK_US: i64 = 10_000_000;

/// What asking needs.
pub struct Asker {
    app: Arc<App>,
    looked_us: i64,
}

impl Asker {
    pub const fn new(app: Arc<App>) -> Self {
        Self { app, looked_us: 0 }
    }
}

impl Worker for Asker {
    const NAME: &'static str = "asking about what is overdue";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let app = &*self.app;
        let now_us = (app.clock)();
        if now_us >= self.looked_us.saturating_add(LOOK_US) {
            if !enrol(app).await? {
                self.looked_us = now_us;
            }
            let (open, unknown) = asks::counts(&app.db).await?;
            app.metrics.asks_open.set(open);
            app.metrics.asks_unknown.set(unknown);
        }
        enrol_checks(app).await?;
        let asked = ask_one(app, Due::Now).await?;
        let is_behind = self.looked_us < now_us.saturating_sub(LOOK_US);
        Ok(if asked.is_some() || is_behind { Progress::More } else { Progress::Idle })
    }

    async fn woken(&mut self) {
        about(INTERVAL).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
