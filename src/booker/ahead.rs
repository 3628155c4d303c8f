//! Batches that are planned by what is remembered alone, without asking the database anything. That takes no waiting, so
//! the next batch is planned while the one before is written.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::cache::{Cache, Learnt};
use super::desk::{Desk, in_time, no_connection};
use super::plan::{Member, Plan};
use super::ready::Ready;
use super::{Incoming, Parts, Receipt, Refusal, Request};
use crate::store::StoreError;
use crate::store::booking::own::Around;
use crate::store::booking::{Head, Key};

/// A smaller batch looks first: it has the time, and a repeat of long ago does not become an error in the database's log.
const WORTH_IT: usize = 8;
/// How often what has come meanwhile is planned: each time costs a little.
const EVERY: Duration = Duration::from_millis(1);

pub(super) type Answer = oneshot::Sender<Result<Receipt, Refusal>>;

/// What is booked together, and what comes after it.
#[derive(Default)]
pub(super) struct Batch {
    pub bodies: Vec<Incoming>,
    pub answers: Vec<Answer>,
    /// A request of another kind, which ends the batch.
    pub later: Option<Request>,
    ahead: Ahead,
}

#[derive(Default)]
enum Ahead {
    #[default]
    Unplanned,
    /// From which head, and the first of its members.
    Planned(Head, Box<Plan>),
    /// Something must be looked at.
    Unfit,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.bodies.is_empty() && self.later.is_none()
    }

    pub(super) fn add(&mut self, request: Request) {
        match request {
            Request::Receive { incoming, answer } => {
                self.bodies.push(*incoming);
                self.answers.push(answer);
            }
            Request::Decide { .. } | Request::Replace { .. } => self.later = Some(request),
        }
    }

    /// Takes what waits in the queue, up to a batch; a request of another kind ends it.
    pub(super) fn gather(&mut self, queue: &mut mpsc::Receiver<Request>, most: usize) {
        while self.bodies.len() < most && self.later.is_none() {
            let Ok(next) = queue.try_recv() else { break };
            self.add(next);
        }
    }

    /// Plans what is not planned yet, as far as memory goes.
    fn plan(&mut self, cache: &Cache, parts: &Parts) {
        if self.bodies.is_empty() {
            return;
        }
        if matches!(self.ahead, Ahead::Unplanned) {
            self.ahead = match cache.trusted_head() {
                Some(head) => Ahead::Planned(head, Box::new(Plan::new(head, 0, Around::default()))),
                None => Ahead::Unfit,
            };
        }
        let Ahead::Planned(_, plan) = &mut self.ahead else { return };
        let fresh = self.bodies.get(plan.outcomes.len()..).unwrap_or_default();
        let members: Vec<_> = fresh.iter().map(|incoming| parts.member(incoming)).collect();
        // Nothing is decided before it was received.
        plan.writes.now_us = (parts.clock)();
        if !extend(plan, cache, &members) {
            self.ahead = Ahead::Unfit;
        }
    }

    /// The whole of it, if it may be written without looking.
    fn ready(&mut self, cache: &Cache) -> Option<Ready<'_>> {
        let Ahead::Planned(head, plan) = std::mem::take(&mut self.ahead) else { return None };
        let bodies: Vec<_> = self.bodies.iter().collect();
        let mut ready = plan.ready(head, &bodies);
        if cache.trusted_head() != Some(head) || !ready.is_proven_by_writing() {
            return None;
        }
        let new = bodies.iter().zip(&ready.outcomes).filter(|(_, outcome)| !outcome.is_duplicate);
        let keys = new.map(|(incoming, _)| incoming.key());
        ready.writes.presumed = keys.filter(|key| key.fingerprint.is_some()).collect();
        Some(ready)
    }
}

/// Plans more members. `false`: something about them must be looked at.
fn extend(plan: &mut Plan, cache: &Cache, members: &[Member<'_>]) -> bool {
    if !members.iter().all(|member| is_plain(member.incoming) && cache.knows_customers(member.incoming)) {
        return false;
    }
    let keys: Vec<Key<'_>> = members.iter().map(|member| member.incoming.key()).collect();
    plan.know(cache, members);
    plan.decide_all(members, &cache.recall(&keys));
    plan.take_accounts(cache).is_empty() && plan.settle_all().is_ok()
}

/// Whether nothing but its payment and its customer decides what becomes of it.
fn is_plain(incoming: &Incoming) -> bool {
    incoming.order.is_none() && incoming.withdrawal().is_none() && incoming.pool().is_none()
}

impl Desk {
    /// Books a batch without looking first, and plans the `next` one meanwhile. `None`: nothing is written, because
    /// something must be looked at, or was not as remembered.
    pub(super) async fn book_from_memory(
        &mut self,
        queue: &mut mpsc::Receiver<Request>,
        batch: &mut Batch,
        next: &mut Batch,
    ) -> Result<Option<Vec<Receipt>>, StoreError> {
        if batch.bodies.len() >= WORTH_IT {
            batch.plan(&self.cache, &self.parts);
        } else {
            batch.ahead = Ahead::Unfit;
        }
        self.cache.grow_trust();
        let is_last = batch.later.is_some();
        let Some(Ready { before, after, writes, outcomes, customers, accounts }) = batch.ready(&self.cache) else {
            return Ok(None);
        };
        let (cache, owed, parts) = (&mut self.cache, &mut self.owed, &self.parts);
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        let mut taught = Some((customers, accounts));
        let mut learn = |cache: &mut Cache| {
            if let Some((customers, accounts)) = taught.take() {
                cache.learn(Learnt::new(after, customers, accounts, &writes));
            }
        };
        let meanwhile = async {
            owed.pay(&parts.metrics);
            learn(cache);
            loop {
                if !is_last {
                    next.gather(queue, parts.batch);
                    next.plan(cache, parts);
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        let written = tokio::select! {
            biased;
            written = in_time(connection.write(&writes, &before, &after, false)) => written,
            never = meanwhile => never_ends(never),
        };
        // The answer may have been there before there was a meanwhile.
        learn(&mut self.cache);
        if matches!(written, Ok(true)) {
            self.parts.metrics.recalled.increment();
            self.tell();
            return Ok(Some(self.receipts(&outcomes)));
        }
        next.ahead = Ahead::Unplanned;
        self.cache.unlearn();
        match written {
            // A refusal may be of a row that is there already.
            Ok(_) | Err(StoreError::Refused(_)) => {
                self.cache.doubt();
                self.parts.metrics.misremembered.increment();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn never_ends<T>(never: Infallible) -> T {
    match never {}
}
