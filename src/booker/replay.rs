//! Deciding stored callbacks anew, and the money diff of it. The one way for replays by hand and for the retry worker:
//! what is decided and written is the booker's, here it is only brought and told.

use std::collections::BTreeMap;

use super::{Booker, Incoming, Judgement, Outcome, Refusal};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::customer::references;
use crate::domain::decide::NewEntry;
use crate::domain::event::EventType;
use crate::domain::ids::CallbackId;
use crate::domain::reason::Reason;
use crate::store::booking::State;
use crate::store::callbacks::{self, StoredBody, Summary};
use crate::store::{Db, StoreError};

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What deciding anew did, or would do.
#[derive(Debug, Default)]
pub struct Diff {
    /// Oldest first.
    pub changes: Vec<Change>,
    /// What changes by all of them together: zero changes are left out.
    pub balances: BTreeMap<Account, Amount>,
    /// Callbacks whose body is pruned: they stand as they stand.
    pub pruned: Vec<CallbackId>,
    /// Callbacks that could not be decided while others were: they stand as they stood.
    pub refused: Vec<(CallbackId, Refusal)>,
}

/// One callback before and after.
#[derive(Debug)]
pub struct Change {
    pub before: Summary,
    pub state: State,
    pub reason: Option<Reason>,
    pub is_unchanged: bool,
    pub postings: Vec<Moved>,
    /// What is told.
    pub events: Vec<EventType>,
}

/// A posting with the names of its accounts.
#[derive(Debug)]
pub struct Moved {
    pub debit: Account,
    pub credit: Account,
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    pub merchant: String,
    pub kind: AccountKind,
    /// The customer's name.
    pub customer: Option<String>,
    pub currency: String,
}

/// Decides these callbacks anew, oldest first. Those that don't exist are left out.
pub async fn replay(db: &Db, booker: &Booker, ids: &[CallbackId], is_dry_run: bool) -> Result<Diff, ReplayError> {
    judge(db, booker, ids, None, is_dry_run).await
}

/// The same under an operator's judgement.
pub async fn judge(
    db: &Db,
    booker: &Booker,
    ids: &[CallbackId],
    judgement: Option<Judgement>,
    is_dry_run: bool,
) -> Result<Diff, ReplayError> {
    let before = callbacks::of_ids(db, ids).await?;
    let stored: Vec<_> = callbacks::load(db, ids).await?.into_iter().map(incoming).collect();
    let pruned = before.iter().map(|summary| summary.id).filter(|id| !stored.iter().any(|(kept, _)| kept == id));
    let pruned = pruned.collect();
    let fallbacks: BTreeMap<CallbackId, String> = stored.iter().filter_map(first_reference).collect();
    let decided = if stored.is_empty() { Vec::new() } else { booker.judge(stored, judgement, is_dry_run).await? };
    let (mut outcomes, mut refused) = (Vec::new(), Vec::new());
    for (id, outcome) in decided {
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(refusal) => refused.push((id, refusal)),
        }
    }
    if let (true, Some((_, refusal))) = (outcomes.is_empty(), refused.first()) {
        return Err((*refusal).into());
    }
    let names = callbacks::customer_names(db, outcomes.iter().filter_map(|outcome| Some(outcome.customer?.0))).await?;
    let mut diff = Diff { pruned, refused, ..Diff::default() };
    for before in before {
        let Some(outcome) = outcomes.iter().find(|outcome| outcome.id == before.id) else { continue };
        // A customer that a dry run would open has no row to be named by.
        let name = outcome.customer.and_then(|id| names.get(&id.0).or_else(|| fallbacks.get(&before.id)).cloned());
        diff.add(before, outcome, name.as_deref());
    }
    diff.balances.retain(|_, change| !change.is_zero());
    Ok(diff)
}

/// What the booker takes, from what is stored.
pub fn incoming(stored: StoredBody) -> (CallbackId, Incoming) {
    let StoredBody { id, merchant, origin, signature, headers, body, received_us } = stored;
    let mut incoming = Incoming::new(merchant, signature, headers, body, received_us);
    incoming.origin = origin;
    (id, incoming)
}

fn first_reference((id, incoming): &(CallbackId, Incoming)) -> Option<(CallbackId, String)> {
    references(&incoming.callback.head).next().map(|(_, value)| (*id, value.to_owned()))
}

impl Diff {
    fn add(&mut self, before: Summary, outcome: &Outcome, customer: Option<&str>) {
        let booked: Option<&NewEntry> = outcome.entry.as_ref().filter(|_| !outcome.is_unchanged);
        let account = |kind: AccountKind, currency: &str| Account {
            merchant: before.merchant.clone(),
            kind,
            customer: customer.filter(|_| kind.is_customers()).map(str::to_owned),
            currency: currency.to_owned(),
        };
        let postings: Vec<_> = booked
            .iter()
            .flat_map(|entry| &entry.postings)
            .map(|posting| Moved {
                debit: account(posting.debit, &posting.currency),
                credit: account(posting.credit, &posting.currency),
                amount: posting.amount,
            })
            .collect();
        for moved in &postings {
            self.change(&moved.debit, moved.amount, moved.debit.kind.grows_by_debit());
            self.change(&moved.credit, moved.amount, !moved.credit.kind.grows_by_debit());
        }
        // One that was booked or ignored before is not decided at all, and keeps its reason.
        let reason = outcome.reason.or(before.reason.filter(|_| outcome.is_unchanged));
        let (state, is_unchanged) = (outcome.state, outcome.is_unchanged);
        let events = events(&before, outcome, booked.map(|entry| entry.event));
        self.changes.push(Change { before, state, reason, is_unchanged, postings, events });
    }

    fn change(&mut self, account: &Account, amount: Amount, grows: bool) {
        let change = self.balances.entry(account.clone()).or_default();
        // The booker held every balance inside the bound, and a change is the difference of two balances.
        let changed = if grows { change.checked_add(amount) } else { change.checked_sub(amount) };
        *change = changed.unwrap_or(*change);
    }
}

/// Holding and releasing are told beside what is booked.
fn events(before: &Summary, outcome: &Outcome, booked: Option<EventType>) -> Vec<EventType> {
    let turned = match (before.state, outcome.state) {
        (State::Held, State::Booked | State::Ignored) => Some(EventType::DiscrepancyResolved),
        (State::Failed, State::Held) => Some(EventType::PaymentHeld),
        (State::Booked | State::Ignored | State::Held | State::Failed, _) => None,
    };
    turned.into_iter().chain(booked).collect()
}
