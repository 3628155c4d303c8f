//! The booker's own desk: its connection, what it remembers between batches, and the batches themselves.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::ahead::Batch;
use super::cache::{Cache, Learnt};
use super::named::{addresses, pools, requests, suspended, unknown_references};
use super::owed::Owed;
use super::plan::{Member, Outcome, Plan, Unsettled};
use super::ready::Ready;
use super::{Incoming, Parts, Receipt, Refusal, Request};
use crate::store::StoreError;
use crate::store::booking::{Connection, Key, Seen};

/// A batch that takes longer is given up; the session's own limits (5 s) strike first.
const BATCH_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After another replica was faster, this many batches lock the head first.
const WARY_BATCHES: u32 = 64;

pub(super) struct Desk {
    pub(super) parts: Parts,
    pub(super) connection: Option<Connection>,
    pub(super) cache: Cache,
    positions: watch::Sender<i64>,
    pub(super) owed: Owed,
    /// Batches that still lock the head first.
    wary: u32,
}

/// What is done before deciding. Without the lock, the write checks that nobody booked in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// The head is locked, then looked at with all that the batch touches.
    Locked,
    /// Looked at only.
    Unlocked,
    /// Only to see what would be decided: every member as if it had just come, nothing locked, nothing written.
    Review,
}

impl Desk {
    pub(super) fn new(parts: Parts, positions: watch::Sender<i64>) -> Self {
        Self { parts, connection: None, cache: Cache::default(), positions, owed: Owed::default(), wary: 0 }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut next = Batch::default();
        loop {
            next.gather(&mut queue, self.parts.batch);
            if next.is_empty() {
                self.pay();
                let Some(first) = queue.recv().await else { break };
                next.add(first);
                next.gather(&mut queue, self.parts.batch);
            }
            let mut batch = std::mem::take(&mut next);
            if !batch.bodies.is_empty() {
                self.receive(&mut queue, &mut batch, &mut next).await;
            }
            if batch.later.is_some() {
                self.pay();
            }
            let has_gone = match batch.later {
                Some(Request::Decide { stored, dry_run, judgement, answer }) => {
                    answer.send(self.decide_again(&stored, dry_run, judgement).await).is_err()
                }
                Some(Request::Replace { id, held, order, answer }) => {
                    answer.send(self.replace(id, &held, &order).await).is_err()
                }
                Some(Request::Receive { .. }) | None => false,
            };
            if has_gone {
                info!("Whoever asked for a decision has gone");
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    async fn receive(&mut self, queue: &mut mpsc::Receiver<Request>, batch: &mut Batch, next: &mut Batch) {
        let goes_unlocked = self.goes_unlocked();
        let mut booked = if goes_unlocked { self.book_from_memory(queue, batch, next).await } else { Ok(None) };
        // Whoever was not answered while that was written is answered before anything else is asked.
        self.pay();
        if goes_unlocked && matches!(booked, Ok(None)) {
            booked = self.book_batch(&batch.bodies, Lock::Unlocked).await;
        }
        if matches!(booked, Ok(None)) {
            let locked = self.begin().await;
            // Whatever queued up while the head was waited for joins the batch, or shares its refusal; but nobody overtakes.
            if next.is_empty() {
                batch.gather(queue, self.parts.batch);
            }
            booked = match locked {
                Ok(()) => self.book_batch(&batch.bodies, Lock::Locked).await,
                Err(error) => Err(error),
            };
        }
        let bodies = &batch.bodies;
        let receipts = match booked {
            Ok(receipts) => receipts.unwrap_or_default().into_iter().map(Ok).collect(),
            Err(StoreError::Refused(source)) => {
                warn!(
                    error = %source,
                    members = bodies.len(),
                    "The database refused a batch; booking its members one by one"
                );
                self.parts.metrics.fallbacks.increment();
                self.roll_back().await;
                self.one_by_one(bodies).await
            }
            Err(other) => {
                self.give_up(&other);
                bodies.iter().map(|_| Err(Refusal::Unavailable)).collect()
            }
        };
        self.owed = Owed::new(receipts, std::mem::take(&mut batch.answers));
    }

    fn pay(&mut self) {
        self.owed.pay(&self.parts.metrics);
    }

    /// Whether to spare the lock's round trips: nobody else has booked lately.
    fn goes_unlocked(&mut self) -> bool {
        self.wary = self.wary.saturating_sub(1);
        self.wary == 0 && self.connection.as_ref().is_some_and(Connection::can_go_unlocked)
    }

    /// The whole batch in one transaction. `None`: nothing is written, and the lock is needed.
    async fn book_batch(&mut self, bodies: &[Incoming], lock: Lock) -> Result<Option<Vec<Receipt>>, StoreError> {
        let members: Vec<_> = bodies.iter().map(|incoming| self.member(incoming)).collect();
        let outcomes = match lock {
            Lock::Locked => {
                let outcomes = self.book_locked(&members).await?;
                self.commit().await?;
                outcomes
            }
            Lock::Unlocked | Lock::Review => {
                let Some(outcomes) = self.book(lock, &members).await? else { return Ok(None) };
                self.tell();
                outcomes
            }
        };
        Ok(Some(self.receipts(&outcomes)))
    }

    /// Of a batch that is committed.
    pub(super) fn receipts(&self, outcomes: &[Outcome]) -> Vec<Receipt> {
        self.parts.metrics.batches.increment();
        self.parts.metrics.batch_size.observe(u64::try_from(outcomes.len()).unwrap_or(u64::MAX));
        outcomes.iter().map(receipt).collect()
    }

    pub(super) fn member<'a>(&self, incoming: &'a Incoming) -> Member<'a> {
        self.parts.member(incoming)
    }

    /// Books the members by what is stored now. Whatever is not planned `ahead` takes this path to the ledger.
    pub(super) async fn book(
        &mut self,
        lock: Lock,
        members: &[Member<'_>],
    ) -> Result<Option<Vec<Outcome>>, StoreError> {
        in_time(self.book_within(lock, members)).await
    }

    async fn book_within(&mut self, lock: Lock, members: &[Member<'_>]) -> Result<Option<Vec<Outcome>>, StoreError> {
        let now_us = (self.parts.clock)();
        let mut members = members.to_vec();
        self.stand_under_lock(&mut members).await?;
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        let keys: Vec<Key<'_>> = members.iter().map(|member| member.incoming.key()).collect();
        let references = unknown_references(&self.cache, &members);
        let Seen { head, mut found, customers } = connection.look(&keys, &references).await?;
        self.cache.notice_customers(customers);
        self.cache.check(&head);
        match lock {
            Lock::Locked | Lock::Unlocked => self.cache.notice(&keys, &found),
            Lock::Review => found.iter_mut().for_each(|found| found.callback = None),
        }
        let mut around = connection.around(&requests(&members), &suspended(&members)).await?;
        around.windows = connection.windows(&pools(&members)).await?;
        if head.retirements > 0 {
            around.retired = connection.retired(&addresses(&members)).await?;
        }
        loop {
            let mut plan = Plan::new(head, now_us, around.clone());
            plan.know(&self.cache, &members);
            plan.decide_all(&members, &found);
            let unknown = plan.take_accounts(&self.cache);
            if !unknown.is_empty() {
                let loaded = connection.accounts_of(&unknown).await?;
                plan.accounts.extend(loaded.into_iter().map(|(key, id, balance)| (key, (id, balance))));
            }
            if let Err(Unsettled(unsettled)) = plan.settle_all() {
                for (index, forced) in unsettled {
                    if let Some(member) = members.get_mut(index) {
                        member.forced = Some(forced);
                    }
                }
                continue;
            }
            if lock == Lock::Review {
                return Ok(Some(plan.outcomes));
            }
            // A decline alone writes nothing, so nothing tells whether all of it was seen at one moment: what the order
            // speaks of may have been settled since the head was looked at, by the same order at another replica.
            let is_declined = plan.outcomes.iter().any(|outcome| outcome.declined.is_some());
            if lock == Lock::Unlocked && is_declined && plan.writes.decides_nothing() {
                return Ok(None);
            }
            let bodies: Vec<_> = members.iter().map(|member| member.incoming).collect();
            return self.write(lock, plan.ready(head, &bodies)).await;
        }
    }

    /// `None`: another replica was faster, and nothing is written. After an error the caller empties the cache.
    async fn write(&mut self, lock: Lock, ready: Ready<'_>) -> Result<Option<Vec<Outcome>>, StoreError> {
        let Ready { before, after, writes, outcomes, customers, accounts } = ready;
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        let cache = &mut self.cache;
        let (written, ()) = tokio::join!(
            connection.write(&writes, &before, &after, lock == Lock::Locked),
            // While the database works.
            async { cache.learn(Learnt::new(after, customers, accounts, &writes)) },
        );
        if !written? {
            self.cache.unlearn();
            self.wary = WARY_BATCHES;
            return Ok(None);
        }
        Ok(Some(outcomes))
    }

    /// A stored callback is decided by how it stands now that the head is ours, not by how it stood when asked for.
    async fn stand_under_lock(&mut self, members: &mut [Member<'_>]) -> Result<(), StoreError> {
        let ids: Vec<_> = members.iter().filter_map(|member| member.standing.map(|standing| standing.id)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let now = self.connection()?.standing(&ids).await?;
        for member in members {
            member.standing =
                member.standing.and_then(|was| now.iter().find(|standing| standing.id == was.id).copied());
        }
        Ok(())
    }

    pub(super) fn hang_up(&mut self) {
        self.connection = None;
        self.cache = Cache::default();
    }

    pub(super) async fn connect(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            let opened = timeout(CONNECT_TIMEOUT, self.parts.db.booking_connection()).await;
            let opened = opened.map_err(|_elapsed| StoreError::Unreachable(sqlx::Error::PoolTimedOut))?;
            self.connection = Some(opened?);
        }
        Ok(())
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.connection.as_mut().ok_or_else(no_connection)
    }

    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        self.connect().await?;
        match timeout(BATCH_TIMEOUT, self.connection()?.begin()).await {
            Ok(begun) => begun,
            Err(_elapsed) => Err(StoreError::Unreachable(sqlx::Error::PoolTimedOut)),
        }
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        match timeout(BATCH_TIMEOUT, self.connection()?.commit()).await {
            Ok(committed) => committed?,
            Err(_elapsed) => return Err(StoreError::Unreachable(sqlx::Error::PoolTimedOut)),
        }
        self.tell();
        Ok(())
    }

    /// Wakes who waits for events: they are committed.
    pub(super) fn tell(&self) {
        let booked = self.cache.position();
        self.positions.send_if_modified(|position| std::mem::replace(position, booked) != booked);
    }

    pub(super) async fn roll_back(&mut self) {
        self.cache = Cache::default();
        let Some(connection) = self.connection.as_mut() else { return };
        if !matches!(timeout(CONNECT_TIMEOUT, connection.roll_back()).await, Ok(Ok(()))) {
            self.connection = None;
        }
    }

    /// Drops the connection, and with it the open transaction; the next request opens another.
    pub(super) fn give_up(&mut self, error: &StoreError) {
        self.parts.metrics.database_errors.increment();
        warn!(
            error = %anyhow::Chain::new(error).map(ToString::to_string).collect::<Vec<_>>().join(": "),
            "The database can't book; callbacks are answered 503 until it can"
        );
        self.connection = None;
        self.cache = Cache::default();
    }
}

pub(super) fn receipt(outcome: &Outcome) -> Receipt {
    let Outcome { id, state, reason, is_duplicate, is_order, declined, customer, .. } = *outcome;
    Receipt { id, state, reason, is_duplicate, is_order, declined, customer }
}

pub(super) fn no_connection() -> StoreError {
    StoreError::Unreachable(sqlx::Error::PoolClosed)
}

/// What a batch asks of the database, given up when it takes too long.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match timeout(BATCH_TIMEOUT, work).await {
        Ok(done) => done,
        Err(elapsed) => {
            let elapsed = std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed);
            Err(StoreError::Unreachable(sqlx::Error::Io(elapsed)))
        }
    }
}
