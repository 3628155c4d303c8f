//! Replays in the background: one at a time, a stretch of callbacks a step. What is held or failed goes to the booker,
//! as by hand; what is booked or ignored is only looked at again. While callbacks arrive, at any replica, it works a
//! tenth of the time. The lease and the cursor are in the database, so another process goes on where this one ends.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Progress, Worker};
use crate::booker::replay::{Change, Diff, ReplayError, incoming, replay};
use crate::booker::review::{Review, Reviewer};
use crate::booker::{self, Booker, Incoming};
use crate::domain::amount::Amount;
use crate::domain::ids::CallbackId;
use crate::domain::reason::Reason;
use crate::store::booking::State;
use crate::store::callbacks::{Scope, Stood, Stretch, stretch};
use crate::store::replays::{self, Batch, ChangeRow, Job};
use crate::store::{Db, StoreError};

/// Callbacks of a step while others arrive.
const STEP_BUSY: u64 = 100;
/// Held and failed ones that the booker gets at once: as long as they take, arriving ones wait.
const CHUNK: usize = 50;
const CHUNK_BUSY: usize = 10;
const LEASE_US: i64 = 15_000_000;
const POLL: Duration = Duration::from_secs(1);
/// Rests between steps while callbacks arrive: nine times what the step took, no longer than this.
const REST_MAX: Duration = Duration::from_secs(3);
/// Callbacks that arrived this long ago still mean that others do.
const BUSY_FOR: Duration = Duration::from_secs(1);

pub struct Replays {
    db: Db,
    booker: Booker,
    reviewer: Reviewer,
    clock: fn() -> i64,
    /// Callbacks of a step.
    most: u64,
    /// This process, as the lease knows it.
    owner: String,
    arrivals: Option<(i64, Instant)>,
    rest: Duration,
}

impl Replays {
    /// `parts` are those of the booker.
    pub fn new(booker: Booker, parts: booker::Parts, most: u64) -> Self {
        Self {
            db: parts.db.clone(),
            booker,
            most,
            clock: parts.clock,
            reviewer: Reviewer::new(parts),
            owner: uuid::Uuid::from_u128(rand::random()).to_string(),
            arrivals: None,
            rest: POLL,
        }
    }

    /// Whether callbacks arrive, at this or another replica.
    async fn is_busy(&mut self) -> Result<bool, StoreError> {
        let last = replays::last_callback(&self.db).await?;
        let now = Instant::now();
        match self.arrivals {
            Some((seen, at)) if seen == last => Ok(at.elapsed() < BUSY_FOR),
            Some(_) => {
                self.arrivals = Some((last, now));
                Ok(true)
            }
            None => {
                self.arrivals = Some((last, now.checked_sub(BUSY_FOR).unwrap_or(now)));
                Ok(false)
            }
        }
    }

    async fn batch(&mut self, job: &Job, is_busy: bool) -> anyhow::Result<Batch> {
        let limit = if is_busy { self.most.min(STEP_BUSY) } else { self.most };
        let scope: &Scope = &job.asked.scope;
        let Stretch { callbacks, pruned, cursor } = stretch(&self.db, scope, job.cursor, job.upto, limit).await?;
        let mut batch = Batch { cursor, ..Batch::default() };
        batch.counts.decided = i64::try_from(callbacks.len())?;
        batch.counts.pruned = i64::try_from(pruned.len())?;
        let is_waiting = |stood: &Stood| matches!(stood.state, State::Held | State::Failed);
        let (waiting, settled): (Vec<_>, Vec<_>) = callbacks.into_iter().partition(is_waiting);
        self.review(settled, &mut batch).await?;
        let waiting: Vec<_> = waiting.into_iter().map(|stood| stood.stored.id).collect();
        for ids in waiting.chunks(if is_busy { CHUNK_BUSY } else { CHUNK }) {
            self.decide(ids, job.asked.is_dry_run, &mut batch).await?;
        }
        batch.changes.sort_by_key(|change| change.callback);
        Ok(batch)
    }

    async fn review(&mut self, settled: Vec<Stood>, batch: &mut Batch) -> anyhow::Result<()> {
        let mut standing = Vec::with_capacity(settled.len());
        let mut bodies: Vec<Incoming> = Vec::with_capacity(settled.len());
        // What a person dismissed stays so, whatever the code says.
        for stood in settled.into_iter().filter(|stood| !stood.reason.is_some_and(Reason::is_by_hand)) {
            if !self.reviewer.knows(stood.stored.merchant) {
                refused(batch);
                continue;
            }
            standing.push((stood.stored.id, stood.state, stood.reason));
            bodies.push(incoming(stood.stored).1);
        }
        if bodies.is_empty() {
            return Ok(());
        }
        let reviews = self.reviewer.review(&bodies).await?;
        for ((callback, state, reason), review) in standing.into_iter().zip(reviews) {
            let Review::Differs(now, why) = review else { continue };
            batch.counts.differing = batch.counts.differing.saturating_add(1);
            batch.changes.push(ChangeRow { callback, was: (state, reason), now: (now, why), stays: true });
        }
        Ok(())
    }

    /// Decides what waits anew. When the database refuses one of a dry run, each is tried alone, to see which.
    async fn decide(&self, ids: &[CallbackId], is_dry_run: bool, batch: &mut Batch) -> anyhow::Result<()> {
        match replay(&self.db, &self.booker, ids, is_dry_run).await {
            Ok(diff) => {
                for (_, refusal) in &diff.refused {
                    // The step is taken again: what is decided by now stays so.
                    if refusal.is_passing() {
                        return Err((*refusal).into());
                    }
                    refused(batch);
                }
                add(batch, diff);
            }
            Err(ReplayError::Refused(refusal)) if !refusal.is_passing() && ids.len() > 1 => {
                for id in ids {
                    match replay(&self.db, &self.booker, &[*id], is_dry_run).await {
                        Ok(diff) => add(batch, diff),
                        Err(ReplayError::Refused(refusal)) if !refusal.is_passing() => refused(batch),
                        Err(other) => return Err(other.into()),
                    }
                }
            }
            Err(ReplayError::Refused(refusal)) if !refusal.is_passing() => refused(batch),
            Err(other) => return Err(other.into()),
        }
        Ok(())
    }
}

fn refused(batch: &mut Batch) {
    batch.counts.failed = batch.counts.failed.saturating_add(1);
}

fn add(batch: &mut Batch, diff: Diff) {
    for change in &diff.changes {
        note(batch, change);
    }
    for (account, by) in diff.balances {
        let key =
            (account.merchant, account.kind.name().to_owned(), account.customer.unwrap_or_default(), account.currency);
        let sum = batch.sums.entry(key).or_insert(Amount::ZERO);
        *sum = sum.checked_add(by).unwrap_or(*sum);
    }
}

fn note(batch: &mut Batch, change: &Change) {
    let counts = &mut batch.counts;
    if change.state == State::Failed {
        counts.failed = counts.failed.saturating_add(1);
    }
    let was: (State, Option<Reason>) = (change.before.state, change.before.reason);
    if change.is_unchanged && was.1 == change.reason {
        return;
    }
    counts.changed = counts.changed.saturating_add(1);
    for event in &change.events {
        let count: &mut i64 = counts.events.entry(event.word().to_owned()).or_default();
        *count = count.saturating_add(1);
    }
    let now = (change.state, change.reason);
    batch.changes.push(ChangeRow { callback: change.before.id, was, now, stays: false });
}

impl Worker for Replays {
    const NAME: &'static str = "replaying of callbacks";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let begun = Instant::now();
        self.rest = POLL;
        let Some(job) = replays::take(&self.db, &self.owner, LEASE_US).await? else { return Ok(Progress::Idle) };
        let is_busy = self.is_busy().await?;
        let batch = Box::pin(self.batch(&job, is_busy)).await?;
        let is_kept = replays::keep(&self.db, &job, &self.owner, &batch, (self.clock)()).await?;
        if is_kept && batch.cursor >= job.upto {
            tracing::info!(replay.id = job.id, "Replay {} is done", job.id);
        }
        if !is_busy {
            return Ok(Progress::More);
        }
        self.rest = begun.elapsed().saturating_mul(9).min(REST_MAX);
        Ok(Progress::Idle)
    }

    async fn woken(&mut self) {
        sleep(self.rest).await;
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(replays::release(&self.db, &self.owner).await?)
    }
}
