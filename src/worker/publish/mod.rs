//! Stop 3: the journal goes to the broker, in order, each event at least once.
//!
//! - The outbox is a cursor over the journal. One replica at a time holds its lease; whoever takes it goes on from the
//!   stored position, never from memory. So does whoever lost the database for a moment: another server may answer
//!   since, one that lost the last commits, and what is confirmed but not stored is then not what it seems.
//! - A step reads one page and sends it, while the next page is read and the confirms of the last come in. At most
//!   `window` events are under way, two pages in memory.
//! - The cursor moves only past what is confirmed without a hole. No transaction is open while the network is.
//! - When event k fails, sending stops, the rest of the confirms is waited for, the cursor moves to k-1, and k is tried
//!   alone until it is confirmed: what came after it is sent a second time, with the same id, but only once.
//! - Between pages comes what somebody wants to have published again.

mod again;
mod gauges;
mod reign;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;

use again::Again;
use reign::Reign;

use super::link::Link;
use super::{Progress, Worker};
use crate::broker::{Flight, Settled};
use crate::config;
use crate::domain::event::Event;
use crate::metrics::Metrics;
use crate::store::events::MerchantNames;
use crate::store::{Db, StoreError, cursor, events, merchants};

/// Events read at once, and confirmed ones after which the cursor moves.
const PAGE: usize = 500;
const SAVE_EVENTS: i64 = 1_000;
/// The cursor moves after this long, however few they are: a commit for each would cost the booker its own.
const SAVE_EVERY: Duration = Duration::from_millis(200);
/// Events booked by other replicas are noticed after this long.
const POLL: Duration = Duration::from_millis(500);
/// Reads that don't fill a page are this far apart: under load a few larger ones cost the database less.
const PACE: Duration = Duration::from_millis(10);
const LEASE_US: i64 = 6_000_000;
const RENEW_EVERY: Duration = Duration::from_secs(2);
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// What the publisher needs.
pub struct Parts {
    pub db: Db,
    pub broker: config::Broker,
    pub metrics: Arc<Metrics>,
    /// The journal's last position, as far as this process books.
    pub position: watch::Receiver<i64>,
    pub clock: fn() -> i64,
}

pub struct Publisher {
    db: Db,
    metrics: Arc<Metrics>,
    position: watch::Receiver<i64>,
    clock: fn() -> i64,
    /// This process, as the lease knows it.
    owner: String,
    names: Option<Arc<MerchantNames>>,
    reign: Option<Reign>,
    link: Link,
    flight: Flight,
    ahead: Option<Vec<Event>>,
    /// After a failure a single event is sent, until it is confirmed.
    is_probing: bool,
    read_at: Instant,
    /// The journal's last position, as the database told it at `gauged_at`.
    told: i64,
    gauged_at: Option<Instant>,
    again: Again,
}

impl Publisher {
    pub fn new(parts: Parts) -> Self {
        let Parts { db, broker, metrics, position, clock } = parts;
        Self {
            link: Link::new(broker, Arc::clone(&metrics)),
            db,
            metrics,
            position,
            clock,
            owner: uuid::Uuid::from_u128(rand::random()).to_string(),
            names: None,
            reign: None,
            flight: Flight::default(),
            ahead: None,
            is_probing: false,
            read_at: Instant::now(),
            told: 0,
            gauged_at: None,
            again: Again::default(),
        }
    }

    async fn page(&mut self) -> anyhow::Result<Progress> {
        let reigns = self.reigns().await?;
        // Before anything that can fail: how much waits, and for how long, is what the alarm goes by.
        self.show_backlog().await?;
        if !reigns {
            return Ok(Progress::Idle);
        }
        self.connect().await?;
        self.announce()?;
        let events = match self.ahead.take() {
            Some(events) => events,
            None => self.read().await?,
        };
        self.show_pending()?;
        if events.is_empty() {
            self.settle().await?;
            self.save_when_due().await?;
            return self.again(true).await;
        }
        let is_full = events.len() >= PAGE;
        if is_full {
            let last = events.last().map_or(0, |event| event.position);
            let ahead = read(self.db.clone(), self.names().await?, last, PAGE);
            let (sent, ahead) = tokio::join!(self.send(events), ahead);
            sent?;
            self.ahead = Some(ahead?).filter(|events| !events.is_empty());
        } else {
            self.send(events).await?;
        }
        if self.ahead.is_none() {
            self.settle().await?;
            self.is_probing = false;
        }
        self.save_when_due().await?;
        self.again(false).await?;
        // Events of other replicas are not announced, so after one of them another read is due.
        let is_all = !is_full && self.reign()?.sent == *self.position.borrow();
        Ok(if is_all { Progress::Idle } else { Progress::More })
    }

    /// Holds the lease, or tries to get it. What is known from before counts only if it did not run out meanwhile.
    async fn reigns(&mut self) -> anyhow::Result<bool> {
        if self.reign.as_ref().is_some_and(|reign| reign.renewed.elapsed() < RENEW_EVERY) {
            return Ok(true);
        }
        let asked = Instant::now();
        let taken = cursor::take_lease(&self.db, cursor::RABBITMQ, &self.owner, LEASE_US).await;
        let Some(position) = taken.context("the publishing lease can't be asked for")? else {
            if self.reign.is_some() {
                self.abdicate();
                info!("Another replica publishes now");
            }
            return Ok(false);
        };
        match &mut self.reign {
            Some(reign) if reign.saved == position && reign.lasts_until(Instant::now()) => reign.renew(asked),
            _ => {
                self.abdicate();
                self.reign = Some(Reign::new(position, asked));
            }
        }
        Ok(true)
    }

    /// Forgets everything about publishing. What is still under way would mix with what is sent next: it goes with
    /// its connection.
    fn abdicate(&mut self) {
        self.reign = None;
        self.ahead = None;
        if !self.flight.is_empty() {
            self.flight = Flight::default();
            self.link.give_up();
        }
    }

    fn reign(&mut self) -> anyhow::Result<&mut Reign> {
        self.reign.as_mut().context("the publishing lease is gone")
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        if self.link.is_up() {
            return Ok(());
        }
        if !self.flight.is_empty() {
            return Err(self.fail().await);
        }
        let connected = self.link.connect().await;
        if connected.is_err() {
            // Another replica may reach the broker where this one can't.
            self.abdicate();
            cursor::release(&self.db, cursor::RABBITMQ, &self.owner).await?;
        }
        connected
    }

    /// Said once the broker is there: while it is not, the lease changes hands with each try.
    fn announce(&mut self) -> anyhow::Result<()> {
        let reign = self.reign()?;
        if !std::mem::replace(&mut reign.is_announced, true) {
            info!(position = reign.saved, "This replica publishes now");
        }
        Ok(())
    }

    async fn names(&mut self) -> anyhow::Result<Arc<MerchantNames>> {
        if self.names.is_none() {
            self.names = Some(Arc::new(merchants::all(&self.db).await?));
        }
        self.names.as_ref().map(Arc::clone).context("the merchants' names were just loaded")
    }

    async fn read(&mut self) -> anyhow::Result<Vec<Event>> {
        sleep_until(self.read_at.checked_add(PACE).unwrap_or(self.read_at)).await;
        self.read_at = Instant::now();
        self.position.mark_unchanged();
        let limit = if self.is_probing { 1 } else { PAGE };
        let (names, sent) = (self.names().await?, self.reign()?.sent);
        Ok(read(self.db.clone(), names, sent, limit).await?)
    }

    async fn send(&mut self, events: Vec<Event>) -> anyhow::Result<()> {
        let now_s = u64::try_from((self.clock)()).unwrap_or(0).div_euclid(1_000_000);
        for event in events {
            while self.flight.len() >= self.link.window() {
                self.confirm(Instant::now()).await?;
            }
            let reign = self.reign.as_mut().context("the publishing lease is gone")?;
            if !reign.lasts_until(Instant::now()) {
                self.abdicate();
                bail!("the publishing lease ran out: the database was too slow to prolong it");
            }
            let position = event.position;
            self.link.publish(&mut self.flight, event, now_s)?;
            reign.sent = position;
        }
        Ok(())
    }

    /// Waits for the oldest confirm, since `begun`. The lease is kept while the broker takes its time.
    async fn confirm(&mut self, begun: Instant) -> anyhow::Result<()> {
        loop {
            match self.flight.settle().await {
                Settled::Confirmed { count, position } => {
                    self.reign()?.confirmed = position;
                    self.link.confirmed();
                    self.metrics.events_published.add(count);
                    return Ok(());
                }
                Settled::Nothing if begun.elapsed() < CONFIRM_TIMEOUT => {
                    // Without a flight the lease is a new one, which goes on from what is stored.
                    if !self.reigns().await? || self.flight.is_empty() {
                        bail!("the publishing lease changed hands while RabbitMQ was waited for");
                    }
                }
                Settled::Nothing | Settled::Failed => return Err(self.fail().await),
            }
        }
    }

    /// Waits for all confirms, first for the newest: they come in many steps, and waking for each costs the processor.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let mut begun = Instant::now();
        self.flight.newest().await;
        while !self.flight.is_empty() {
            self.confirm(begun).await?;
            begun = Instant::now();
        }
        Ok(())
    }

    /// An event failed: everything under way is waited for, and the cursor moved to the last before it.
    async fn fail(&mut self) -> anyhow::Error {
        self.ahead = None;
        self.is_probing = true;
        let Some(failed) = self.flight.drain(DRAIN_TIMEOUT).await else {
            return self.late().await;
        };
        if let Some(reign) = &mut self.reign {
            // Nothing that is stored as confirmed can fail: the flight was looked through before it was stored.
            reign.confirmed = failed.position.saturating_sub(1).max(reign.saved);
            reign.sent = reign.confirmed;
        }
        self.metrics.events_returned.add(failed.returned);
        self.metrics.broker_nacks.add(failed.refused);
        let position = failed.position;
        self.link.failed(&failed).await;
        let error = anyhow::Error::new(failed.failure);
        match self.store().await {
            Ok(()) => error,
            Err(other) => other.context(format!("event {position} failed ({error}), and the cursor can't be moved")),
        }
    }

    /// Everything under way was confirmed after all, a little too late: so all that was sent is.
    async fn late(&mut self) -> anyhow::Error {
        self.link.give_up();
        if let Some(reign) = &mut self.reign {
            let count = reign.sent.saturating_sub(reign.confirmed);
            self.metrics.events_published.add(u64::try_from(count).unwrap_or_default());
            reign.confirmed = reign.sent;
        }
        let error = anyhow!("RabbitMQ confirmed only when it was given up; going on with another connection");
        match self.store().await {
            Ok(()) => error,
            Err(other) => other.context(error.to_string()),
        }
    }

    async fn save_when_due(&mut self) -> anyhow::Result<()> {
        let reign = self.reign()?;
        let unsaved = reign.confirmed.saturating_sub(reign.saved);
        let is_due = unsaved >= SAVE_EVENTS || (unsaved > 0 && reign.saved_at.elapsed() >= SAVE_EVERY);
        if is_due { self.save().await } else { Ok(()) }
    }

    async fn save(&mut self) -> anyhow::Result<()> {
        if self.flight.has_failed() {
            return Err(self.fail().await);
        }
        self.store().await
    }

    async fn store(&mut self) -> anyhow::Result<()> {
        let Some(reign) = &mut self.reign else { return Ok(()) };
        let asked = Instant::now();
        let moved = cursor::advance(&self.db, cursor::RABBITMQ, &self.owner, reign.confirmed, LEASE_US).await?;
        if !moved {
            self.abdicate();
            bail!("another replica took over publishing, or the journal lost its last entries");
        }
        reign.saved(asked);
        self.show_pending()
    }
}

impl Worker for Publisher {
    const NAME: &'static str = "publishing";

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let outcome = self.page().await;
        self.metrics.publishing_blocked.raise(outcome.is_err());
        if let Err(error) = &outcome {
            self.ahead = None;
            if error.chain().filter_map(|cause| cause.downcast_ref()).any(StoreError::is_passing) {
                self.abdicate();
            }
            // A merchant that another replica added is a reason to fail.
            self.names = None;
        }
        outcome
    }

    async fn woken(&mut self) {
        let has_unsaved = self.reign.as_ref().is_some_and(|reign| reign.confirmed > reign.saved);
        tokio::select! {
            Ok(()) = self.position.changed() => {}
            () = sleep(if has_unsaved { SAVE_EVERY } else { POLL }) => {}
        }
    }

    /// Confirms that are under way are waited for, the cursor moved, the lease given back.
    async fn finish(&mut self) -> anyhow::Result<()> {
        // While a failure is being dealt with, the cursor stays where that left it.
        let is_sound = self.reign.is_some() && !self.is_probing;
        let settled = if is_sound { self.settle().await } else { Ok(()) };
        let saved = if is_sound && settled.is_ok() { self.save().await } else { Ok(()) };
        cursor::release(&self.db, cursor::RABBITMQ, &self.owner).await?;
        self.link.close().await;
        settled.and(saved)
    }
}

async fn read(db: Db, names: Arc<MerchantNames>, after: i64, limit: usize) -> Result<Vec<Event>, StoreError> {
    events::after(&db, &names, after, u64::try_from(limit).unwrap_or(u64::MAX)).await
}
