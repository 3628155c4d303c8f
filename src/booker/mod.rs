//! Stop 2, and the only writer of the ledger. One task, one connection, one batch at a time:
//!
//! 1. wait for a request; take whatever else has queued up meanwhile (no timer, no lingering)
//! 2. look at the journal's head and at what the batch touches, or under load go by what is remembered of both; decide
//!    every member in order; write everything and the new head in one transaction, on condition that the head is still
//!    the same, and that what was not looked up is not there
//! 3. answer: a 200 goes out only from here, and only for what is on disk; when another batch is ready, once that is on
//!    its way
//!
//! While a batch is written, the next one is planned on what it comes to. When another replica was faster, nothing is
//! written; the head is then locked before looking, for this batch and the next few, so that replicas take turns. Either
//! way the head's row decides who books, and in which order.
//!
//! A batch that the database refuses is tried again member by member; a member that is refused alone is kept as
//! `failed` and the retry worker brings it back. When the database can't be reached nothing is kept in memory:
//! everybody waiting is told so (503), and the processor sends again.

mod ahead;
mod anyway;
mod by_hand;
mod cache;
mod customers;
pub mod declined;
mod desk;
pub mod ending;
mod incoming;
mod named;
mod obey;
mod owed;
mod plan;
mod ready;
pub mod replay;
pub mod resolve;
pub mod review;
mod settle;
mod single;

use std::collections::HashMap;
use std::sync::Arc;

use declined::{Declined, DeclinedOrder};
use desk::Desk;
pub use incoming::Incoming;
use plan::Member;
pub use plan::Outcome;
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::callback::Origin;
use crate::domain::decide::{Policy, Waived};
use crate::domain::ids::{CallbackId, CustomerId, MerchantId};
use crate::domain::order::Order;
use crate::domain::reason::Reason;
use crate::domain::verify::Verify;
use crate::metrics::Metrics;
use crate::processor::signature::Keyring;
use crate::store::Db;
use crate::store::booking::State;

/// Why a request was not booked. Nothing is lost: whoever sent it sends again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("too many callbacks are waiting to be booked")]
    Busy,
    #[error("the database can't be reached")]
    Unavailable,
    /// Of a dry run, and of what is stored already: it stands as it stood.
    #[error("the database refuses one of these callbacks; decide them one at a time to see which")]
    Refused,
    /// Of what is stored already: how it is to be decided only another replica, or another settings file, knows.
    #[error("the merchant of this callback is not configured here")]
    NotConfigured,
}

impl Refusal {
    /// The booker's or the database's trouble: asked again later, it may be decided. Otherwise only this callback's.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable)
    }
}

/// What a callback came to.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub id: CallbackId,
    pub state: State,
    pub reason: Option<Reason>,
    pub is_duplicate: bool,
    is_order: bool,
    declined: Option<Reason>,
    customer: Option<CustomerId>,
}

/// What an order came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Of the order's row, and of the withdrawal it requests; 0 for one that keeps no row.
    pub id: i64,
    /// The same order was booked before.
    pub is_duplicate: bool,
    pub customer: Option<CustomerId>,
}

impl Receipt {
    fn placed(self) -> Result<Placed, OrderError> {
        let Self { id, is_duplicate, customer, declined, .. } = self;
        declined.map_or(Ok(Placed { id: id.0, is_duplicate, customer }), |reason| Err(OrderError::Declined(reason)))
    }
}

/// Why an order was not booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Nothing is known: it may be asked again.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing was changed.
    #[error("declined: {}", .0.word())]
    Declined(Reason),
    #[error("the merchant is not configured here, so nothing can be sealed for it")]
    NoSeal,
}

/// What an operator decides about a held callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Book it although these reasons hold it.
    BookAnyway(Waived),
    /// It books nothing, ever.
    Dismiss,
}

/// What deciding a stored callback anew came to. Refused, it stands as it stood, whatever became of the others.
pub type Decided = (CallbackId, Result<Outcome, Refusal>);

enum Request {
    Receive {
        incoming: Box<Incoming>,
        answer: oneshot::Sender<Result<Receipt, Refusal>>,
    },
    /// An order in place of a held callback.
    Replace {
        id: CallbackId,
        held: Box<Incoming>,
        order: Box<Incoming>,
        answer: oneshot::Sender<Result<Receipt, Refusal>>,
    },
    Decide {
        stored: Vec<(CallbackId, Incoming)>,
        dry_run: bool,
        judgement: Option<Judgement>,
        answer: oneshot::Sender<Result<Vec<Decided>, Refusal>>,
    },
}

/// How the rest of the program speaks to the booker.
#[derive(Clone)]
pub struct Booker {
    requests: mpsc::Sender<Request>,
    position: watch::Receiver<i64>,
    metrics: Arc<Metrics>,
    keyring: Arc<Keyring>,
    clock: fn() -> i64,
    /// What the ledger declined lately.
    pub declined: Arc<Declined>,
}

impl Booker {
    /// Books a verified body, and returns once that is on disk.
    pub async fn receive(&self, incoming: Incoming) -> Result<Receipt, Refusal> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Receive { incoming: Box::new(incoming), answer };
        self.requests.try_send(request).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                self.metrics.queue_full.increment();
                Refusal::Busy
            }
            mpsc::error::TrySendError::Closed(_) => Refusal::Unavailable,
        })?;
        answered.await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// Books what the processor answered when it was asked, as the callback that it would have sent.
    pub async fn answered(&self, merchant: MerchantId, body: Vec<u8>) -> Result<Receipt, OrderError> {
        let seal = self.keyring.seal(merchant, Origin::Reconcile, &body).ok_or(OrderError::NoSeal)?;
        Ok(self.receive(Incoming::answer(merchant, seal, body, (self.clock)())).await?)
    }

    /// Asks something of our own ledger, and returns once that is on disk, or declined.
    pub async fn order(&self, merchant: MerchantId, order: Order) -> Result<Placed, OrderError> {
        let told = declined::told(merchant, &order, (self.clock)());
        let placed = self.receive(self.sealed(merchant, order)?).await?.placed();
        if let (Err(OrderError::Declined(reason)), Some(told)) = (placed, told) {
            self.declined.add(DeclinedOrder { reason: Some(reason), ..told });
        }
        placed
    }

    /// The same in place of a held callback, which books nothing from then on: both happen, or neither. Declined when it is
    /// not held any more, or when its payment was booked meanwhile.
    pub async fn replace(
        &self,
        merchant: MerchantId,
        (id, held): (CallbackId, Incoming),
        order: Order,
    ) -> Result<Placed, OrderError> {
        let order = Box::new(self.sealed(merchant, order)?);
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Request::Replace { id, held: Box::new(held), order, answer }).await;
        sent.map_err(|_closed| Refusal::Unavailable)?;
        answered.await.unwrap_or(Err(Refusal::Unavailable))?.placed()
    }

    fn sealed(&self, merchant: MerchantId, order: Order) -> Result<Incoming, OrderError> {
        let seal = self.keyring.seal(merchant, Origin::Order, &order.body()).ok_or(OrderError::NoSeal)?;
        Ok(Incoming::order(merchant, seal, order, (self.clock)()))
    }

    /// Decides stored callbacks anew: the same code, rolled back when it is a dry run.
    pub async fn decide(&self, stored: Vec<(CallbackId, Incoming)>, dry_run: bool) -> Result<Vec<Decided>, Refusal> {
        self.judge(stored, None, dry_run).await
    }

    /// The same under an operator's judgement.
    pub async fn judge(
        &self,
        stored: Vec<(CallbackId, Incoming)>,
        judgement: Option<Judgement>,
        dry_run: bool,
    ) -> Result<Vec<Decided>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Request::Decide { stored, dry_run, judgement, answer }).await;
        sent.map_err(|_closed| Refusal::Unavailable)?;
        answered.await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// The journal's last position as this process knows it; changes when this process books.
    pub fn position(&self) -> watch::Receiver<i64> {
        self.position.clone()
    }
}

/// What the booker needs.
#[derive(Clone)]
pub struct Parts {
    pub db: Db,
    pub policies: HashMap<MerchantId, Policy>,
    pub verify: HashMap<MerchantId, Verify>,
    pub queue: usize,
    pub batch: usize,
    pub metrics: Arc<Metrics>,
    /// Seals what the processor did not sign.
    pub keyring: Arc<Keyring>,
    pub clock: fn() -> i64,
}

impl Parts {
    /// Whether it is known here how this merchant's callbacks are to be decided.
    fn knows(&self, merchant: MerchantId) -> bool {
        self.policies.contains_key(&merchant)
    }

    fn member<'a>(&self, incoming: &'a Incoming) -> Member<'a> {
        let policy = self.policies.get(&incoming.merchant).copied().unwrap_or(Policy::from_code(0));
        // An answer of the processor needs no other to agree with it.
        let is_told = incoming.origin == Origin::Callback;
        let verify = self.verify.get(&incoming.merchant).filter(|_| is_told);
        let must_verify = verify.is_some_and(|verify| verify.wants(&incoming.callback));
        Member { incoming, standing: None, policy, must_verify, forced: None }
    }
}

/// Makes the handle, and the task to be spawned. The task ends when every handle is gone, after the last batch.
pub fn booker(parts: Parts) -> (Booker, impl Future<Output = ()> + Send) {
    let (requests, queue) = mpsc::channel(parts.queue);
    let (positions, position) = watch::channel(0);
    let metrics = Arc::clone(&parts.metrics);
    let (keyring, clock) = (Arc::clone(&parts.keyring), parts.clock);
    let desk = Desk::new(parts, positions);
    let declined = Arc::default();
    (Booker { requests, position, metrics, keyring, clock, declined }, desk.run(queue))
}
