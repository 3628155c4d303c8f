//! Fills a database by sending callbacks to the receiver itself, and measures windows in between.
//! Owns the count of what was sent, so that no body is sent twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::check::Sent;
use crate::deck::Recipe;
use crate::load::{self, Outcome, Plan};

/// Bodies signed and sent in one go.
const CHUNK: u64 = 100_000;
const FILLING_CONNECTIONS: usize = 256;

pub(crate) struct Filling {
    recipe: Recipe,
    next: u64,
    pub(crate) sent: Sent,
    pub(crate) refused: u64,
}

impl Filling {
    pub(crate) fn new(recipe: Recipe) -> Self {
        let sent = Sent::new(recipe.crowd);
        Self { recipe, next: 0, sent, refused: 0 }
    }

    /// Sends until this many bodies are acknowledged, saying how far it is.
    pub(crate) async fn fill(&mut self, to: SocketAddr, until: u64, aloud: bool) -> Result<()> {
        let begun = Instant::now();
        let mut stored = self.sent.acknowledged();
        // A server that refuses everything must not be asked for ever.
        for _ in 0..until.div_ceil(CHUNK) * 2 + 1 {
            if stored >= until {
                return Ok(());
            }
            let deck = Arc::new(self.recipe.sign(self.next, usize::try_from(CHUNK.min(until - stored))?)?);
            let outcome = load::send_all(&deck, to, FILLING_CONNECTIONS).await?;
            let rate = outcome.rate();
            self.take_in(&outcome)?;
            stored = self.sent.acknowledged();
            if aloud && (stored % 1_000_000 < CHUNK || stored >= until) {
                println!("{stored} of {until} stored after {:.0} s, now {rate:.0}/s", begun.elapsed().as_secs_f64());
            }
        }
        anyhow::bail!("only {stored} of {until} callbacks were acknowledged")
    }

    /// One measured window of fresh bodies.
    pub(crate) async fn window(
        &mut self,
        to: SocketAddr,
        connections: usize,
        seconds: u64,
        signed_per_second: u64,
    ) -> Result<Outcome> {
        let count = usize::try_from((seconds + 2) * signed_per_second)?;
        let deck = Arc::new(self.recipe.sign(self.next, count)?);
        let (warmup, measured) = (Duration::from_secs(1), Some(Duration::from_secs(seconds)));
        let plan = Plan { to, connections, rate: None, warmup, measured, repeats_permille: 0 };
        let limit = Duration::from_secs(seconds + 120);
        let outcome = tokio::time::timeout(limit, load::begin(&deck, plan)?.finish())
            .await
            .context("the last answers did not come")??;
        self.take_in(&outcome)?;
        Ok(outcome)
    }

    fn take_in(&mut self, outcome: &Outcome) -> Result<()> {
        self.sent.add(&outcome.fates)?;
        self.refused += outcome.not_200() + outcome.tally.broken;
        self.next = self.sent.end();
        Ok(())
    }
}
