//! Resolving discrepancies: what an operator asks for is checked, written down as a proposal, let pass by a second
//! person where money moves, and carried out by the booker as an order or a judgement. Carrying out the same proposal
//! again is the same order again, so it happens once whoever does it, and however often.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::replay::{ReplayError, incoming, judge};
use super::{Booker, Judgement, OrderError, Refusal};
use crate::config::admin::Admin;
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::customer::ReferenceKind;
use crate::domain::ids::CallbackId;
use crate::domain::order::{Correction, Order, Reference, Told};
use crate::store::audit_log::{self, Actor, Deed};
use crate::store::booking::State as CallbackState;
use crate::store::discrepancies::{self, Listed, NoteKind};
use crate::store::proposals::{self, Asked, Proposal, State};
use crate::store::{Db, StoreError, callbacks};

const NOT_DISMISSED: &str = "it is booked meanwhile, or its body is pruned";

/// What is to be done about a discrepancy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Money in suspense is this customer's.
    Assign { customer: Named },
    /// A held callback is booked although these reasons hold it.
    BookAnyway {
        #[serde(default)]
        although: Vec<String>,
    },
    /// A held callback books nothing, ever.
    Ignore,
    /// A held callback tells of a payment that is booked: it books nothing itself.
    Link { payment: Linked },
    /// One posting by hand; for money in suspense, where it goes.
    Correct { debit: AccountKind, credit: AccountKind, customer: Option<Named>, currency: String, amount: String },
    /// A withdrawal that is missing was never done.
    Refund,
    /// A withdrawal is over, and its callbacks can't say so.
    Conclude { settled: bool },
}

/// A customer, by one reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    EndUserReference(String),
    ForeignId(String),
}

/// A payment by the processor's name of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linked {
    pub r#type: String,
    pub id: String,
}

/// Why nothing was resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no {0}")]
    NotFound(String),
    /// What is asked for makes no sense for this discrepancy.
    #[error("{0}")]
    Unfit(String),
    #[error("{detail}")]
    Conflict { code: &'static str, detail: String },
    #[error("whoever asked can't be the one who lets it pass: another approver must")]
    SelfApproval,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReplayError> for ResolveError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Refused(refusal) => Self::Refused(refusal),
            ReplayError::Store(error) => Self::Store(error),
        }
    }
}

/// What resolving goes by.
pub struct Resolver<'a> {
    pub db: &'a Db,
    pub booker: &'a Booker,
    pub rules: &'a Admin,
    /// For how long the processor must have known nothing of a withdrawal.
    pub missing_us: i64,
    pub now_us: i64,
}

/// What asking came to.
#[derive(Debug)]
pub enum Asking {
    /// No money moves: it is done.
    Done,
    /// Written down, and carried out unless it waits for a second person.
    Proposed(Box<Proposal>),
}

impl Named {
    fn reference(&self) -> Reference {
        match self {
            Self::EndUserReference(value) => (ReferenceKind::EndUserReference, value.clone()),
            Self::ForeignId(value) => (ReferenceKind::ForeignId, value.clone()),
        }
    }
}

impl Action {
    pub const WORDS: [&'static str; 5] = ["assign", "book_anyway", "ignore", "link", "correct"];

    pub const fn word(&self) -> &'static str {
        match self {
            Self::Assign { .. } => "assign",
            Self::BookAnyway { .. } => "book_anyway",
            Self::Ignore => "ignore",
            Self::Link { .. } => "link",
            Self::Correct { .. } => "correct",
            Self::Refund => "refund",
            Self::Conclude { .. } => "conclude",
        }
    }
}

impl Resolver<'_> {
    /// Does it, or writes it down for a second person.
    pub async fn ask(&self, id: i64, action: &Action, note: &str, actor: &Actor) -> Result<Asking, ResolveError> {
        let none = || ResolveError::NotFound(format!("discrepancy {id}"));
        let listed = discrepancies::get(self.db, id).await?.ok_or_else(none)?;
        if listed.discrepancy.resolved_us.is_some() {
            return Err(conflict("not_open", "this discrepancy is resolved".to_owned()));
        }
        let mut action = action.clone();
        let moves = match &mut action {
            Action::Ignore | Action::Link { .. } => {
                self.dismiss(&listed, &action, note, actor).await?;
                return Ok(Asking::Done);
            }
            Action::Assign { .. } => suspended(&listed, &action)?,
            Action::BookAnyway { although } => {
                let (moves, reasons) = self.would_move(&listed).await?;
                *although = reasons.iter().map(|reason| reason.word().to_owned()).collect();
                moves
            }
            Action::Correct { debit, currency, amount, .. } => correction(&listed, *debit, currency, amount)?,
            Action::Refund | Action::Conclude { .. } => {
                return Err(ResolveError::Unfit("that is for withdrawals".to_owned()));
            }
        };
        let needs_second = moves.iter().any(|(currency, amount)| self.rules.needs_second(currency, *amount));
        let asked = Asked {
            merchant: listed.merchant,
            discrepancy: id,
            withdrawal: 0,
            action: action.word(),
            params: json(&action)?,
            note: note.to_owned(),
            moves: json(&moves)?,
            needs_second,
            at_us: self.now_us,
        };
        let Some(proposal) = proposals::ask(self.db, &asked, actor).await? else {
            return Err(conflict("proposal_open", "another proposal about this discrepancy is open".to_owned()));
        };
        Ok(Asking::Proposed(Box::new(self.carry_out(proposal, actor).await?)))
    }

    /// Lets a proposal pass and carries it out. One that was let pass before is carried out to its end, once.
    pub async fn approve(&self, id: i64, actor: &Actor) -> Result<Proposal, ResolveError> {
        let proposal = self.proposal(id).await?;
        if proposal.state == State::Waiting && proposal.asked_by == actor.name {
            return Err(ResolveError::SelfApproval);
        }
        proposals::decide(self.db, id, State::Approved, actor, self.now_us).await?;
        let proposal = self.carry_out(id, actor).await?;
        match proposal.state {
            State::Refused => Err(conflict("already_decided", "this proposal was refused".to_owned())),
            State::Waiting | State::Approved | State::Done | State::Declined => Ok(proposal),
        }
    }

    /// Refuses a proposal, or takes it back. One that was refused before stays so.
    pub async fn refuse(&self, id: i64, actor: &Actor) -> Result<Proposal, ResolveError> {
        proposals::decide(self.db, id, State::Refused, actor, self.now_us).await?;
        let proposal = self.proposal(id).await?;
        match proposal.state {
            State::Refused => Ok(proposal),
            State::Waiting | State::Approved | State::Done | State::Declined => {
                Err(conflict("already_decided", format!("this proposal is {}", proposal.state.word())))
            }
        }
    }

    async fn proposal(&self, id: i64) -> Result<Proposal, ResolveError> {
        let none = || ResolveError::NotFound(format!("proposal {id}"));
        proposals::get(self.db, id).await?.ok_or_else(none)
    }

    pub(super) async fn carry_out(&self, id: i64, actor: &Actor) -> Result<Proposal, ResolveError> {
        let proposal = self.proposal(id).await?;
        if proposal.state == State::Approved {
            let (state, outcome) = self.execute(&proposal).await?;
            proposals::end(self.db, id, state, &outcome, (actor, self.now_us)).await?;
        }
        self.proposal(id).await
    }

    /// What the ledger says to it. The order's bytes follow from the proposal alone.
    async fn execute(&self, proposal: &Proposal) -> Result<(State, String), ResolveError> {
        let action: Action = serde_json::from_str(&proposal.params)
            .map_err(|error| StoreError::Corrupt(format!("proposal {}: {error}", proposal.id)))?;
        if proposal.withdrawal != 0 {
            return self.execute_ending(proposal, &action).await;
        }
        let none = || ResolveError::NotFound(format!("discrepancy {}", proposal.discrepancy));
        let listed = discrepancies::get(self.db, proposal.discrepancy).await?.ok_or_else(none)?;
        let order = match action {
            Action::BookAnyway { although } => return self.book_anyway(&listed, &although).await,
            Action::Ignore | Action::Link { .. } | Action::Refund | Action::Conclude { .. } => {
                return Ok((State::Declined, "nothing to carry out".to_owned()));
            }
            Action::Assign { customer } => self.assignment(&listed, &customer, proposal).await?,
            Action::Correct { debit, credit, customer, currency, amount } => Order::Correct(Correction {
                key: format!("proposal/{}", proposal.id),
                debit,
                credit,
                customer: customer.as_ref().map(Named::reference),
                currency,
                amount: parse(&amount)?,
                discrepancy: (!is_hold(&listed)).then_some(proposal.discrepancy),
                note: proposal.note.clone(),
                by: people(proposal),
            }),
        };
        let placed = if is_hold(&listed) {
            let Some(held) = callbacks::load(self.db, &[listed.discrepancy.callback]).await?.pop() else {
                return Ok((State::Declined, NOT_DISMISSED.to_owned()));
            };
            self.booker.replace(proposal.merchant, incoming(held), order).await
        } else {
            self.booker.order(proposal.merchant, order).await
        };
        match placed {
            Ok(placed) => Ok((State::Done, format!("booked as {}", placed.id))),
            Err(OrderError::Declined(reason)) => Ok((State::Declined, reason.word().to_owned())),
            Err(OrderError::Refused(refusal)) => Err(refusal.into()),
            Err(error @ OrderError::NoSeal) => Ok((State::Declined, error.to_string())),
        }
    }

    async fn assignment(&self, listed: &Listed, customer: &Named, proposal: &Proposal) -> Result<Order, ResolveError> {
        let callback = listed.discrepancy.callback;
        let none = || ResolveError::NotFound(format!("callback {callback}"));
        let detail = callbacks::get(self.db, callback).await?.ok_or_else(none)?;
        Ok(Order::Assign {
            discrepancy: proposal.discrepancy,
            customer: customer.reference(),
            payment: Told {
                kind: detail.summary.kind,
                status: detail.summary.status,
                payment_id: detail.summary.payment_id,
                address: detail.address,
                txids: detail.txids,
            },
            note: proposal.note.clone(),
            by: people(proposal),
        })
    }

    /// Dismisses a held callback; one that was dismissed before stays so.
    async fn is_dismissed(&self, listed: &Listed) -> Result<bool, ResolveError> {
        let ids: [CallbackId; 1] = [listed.discrepancy.callback];
        let diff = judge(self.db, self.booker, &ids, Some(Judgement::Dismiss), false).await?;
        Ok(diff.changes.first().is_some_and(|change| change.state == CallbackState::Ignored))
    }

    /// What was found moved nothing, and is explained.
    async fn settle(&self, listed: &Listed, note: &str, actor: &Actor) -> Result<(), ResolveError> {
        let (discrepancy, note, by) = (listed.discrepancy.id, note.to_owned(), actor.name.clone());
        match self.booker.order(listed.merchant, Order::Settle { discrepancy, note, by }).await {
            Ok(_) => Ok(()),
            Err(OrderError::Refused(refusal)) => Err(refusal.into()),
            Err(error @ (OrderError::Declined(_) | OrderError::NoSeal)) => Err(conflict("not_open", error.to_string())),
        }
    }

    /// What books nothing needs nobody else.
    async fn dismiss(&self, listed: &Listed, action: &Action, note: &str, actor: &Actor) -> Result<(), ResolveError> {
        if listed.is_suspense {
            let why = "money in suspense must go somewhere: assign it, or correct it";
            return Err(ResolveError::Unfit(why.to_owned()));
        }
        let Listed { discrepancy, merchant, .. } = listed;
        let (id, at) = (discrepancy.id, (actor, self.now_us));
        if let Action::Link { payment } = action {
            let name = format!("{}/{}", payment.r#type, payment.id);
            if !callbacks::is_payment(self.db, *merchant, &payment.r#type, &payment.id).await? {
                return Err(ResolveError::Unfit(format!("there is no payment {name}")));
            }
            discrepancies::say(self.db, id, NoteKind::Link, &name, at).await?;
        }
        if listed.is_found {
            self.settle(listed, note, actor).await?;
        } else if !self.is_dismissed(listed).await? {
            return Err(conflict("not_open", NOT_DISMISSED.to_owned()));
        }
        let deed = Deed {
            action: "discrepancy.resolve",
            subject: format!("discrepancy/{id}"),
            before: Some(format!("{}: {}", listed.kind(), discrepancy.reason.word())),
            after: Some(format!("{}: {note}", action.word())),
            at_us: self.now_us,
        };
        Ok(audit_log::note(&self.db.orm, actor, deed).await?)
    }
}

/// Neither money in suspense nor something that reconciliation found: a callback that waits.
pub(super) fn is_hold(listed: &Listed) -> bool {
    !listed.is_suspense && !listed.is_found
}

fn suspended(listed: &Listed, action: &Action) -> Result<BTreeMap<String, Amount>, ResolveError> {
    let money = listed.money.clone().filter(|_| listed.is_suspense);
    let unfit = || ResolveError::Unfit(format!("only money in suspense can be the subject of `{}`", action.word()));
    Ok(BTreeMap::from([money.ok_or_else(unfit)?]))
}

/// For money in suspense, the posting must take exactly what stands there.
fn correction(
    listed: &Listed,
    debit: AccountKind,
    currency: &str,
    amount: &str,
) -> Result<BTreeMap<String, Amount>, ResolveError> {
    let amount = parse(amount)?;
    if !amount.is_positive() {
        return Err(ResolveError::Unfit("`amount` must be above zero".to_owned()));
    }
    let fits = listed.money.as_ref().is_none_or(|(held, sum)| held == currency && *sum == amount);
    if listed.is_suspense && (debit != AccountKind::Suspense || !fits) {
        return Err(ResolveError::Unfit("the posting must take out of suspense what stands there".to_owned()));
    }
    Ok(BTreeMap::from([(currency.to_owned(), amount)]))
}

fn parse(amount: &str) -> Result<Amount, ResolveError> {
    Amount::parse(amount).map_err(|error| ResolveError::Unfit(format!("`amount` {amount}: {error}")))
}

pub(super) fn conflict(code: &'static str, detail: String) -> ResolveError {
    ResolveError::Conflict { code, detail }
}

/// Who asked, and who let it pass.
pub(super) fn people(proposal: &Proposal) -> String {
    match proposal.decided_by.as_ref().filter(|by| **by != proposal.asked_by) {
        Some(second) => format!("{} with {second}", proposal.asked_by),
        None => proposal.asked_by.clone(),
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("what can't be written as JSON: {error}")))
}
