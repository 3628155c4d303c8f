//! What an order does, or why it is declined: the counterpart of `decide`. Pure; whether a balance suffices shows when the
//! money moves.

use super::account::{AccountKind, Posting};
use super::amount::Amount;
use super::decide::NewEntry;
use super::event::EventType;
use super::ids::{CustomerId, PaymentId};
use super::journal::Effect;
use super::order::{Correction, Finding, Order, Told, Withdrawal};
use super::payment::{Family, Payment};
use super::reason::Reason;

/// A withdrawal that was requested through us, as it stands when something is decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub id: i64,
    /// Requested through us; otherwise only its name is taken.
    pub is_ours: bool,
    /// Whose money is set aside.
    pub customer: Option<CustomerId>,
    pub currency: String,
    pub amount: Amount,
    /// Where it goes.
    pub address: String,
    pub tag: Option<String>,
    pub is_settled: bool,
    pub is_failed: bool,
    /// The payment whose callbacks spoke of it.
    pub payment: Option<PaymentId>,
}

/// What a discrepancy is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// What opened it: [`Effect::Suspended`], [`Effect::Held`] or [`Effect::Reported`].
    pub effect: Effect,
    pub payment: Option<PaymentId>,
    pub currency: String,
    /// What stands in suspense: what the postings moved there.
    pub amount: Amount,
    pub fee: Option<Amount>,
    pub is_open: bool,
}

/// What is known beside an order.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    pub customer: Option<CustomerId>,
    pub own: Option<&'a Own>,
    pub suspended: Option<&'a Suspended>,
    pub payment: Option<&'a Payment>,
}

/// What an order does, or why it is declined. Whether the balance suffices shows when the money moves.
pub fn obey(order: &Order, known: &Surroundings<'_>) -> Result<NewEntry, Reason> {
    if order.customer().is_some() && known.customer.is_none() {
        return Err(Reason::UnknownCustomer);
    }
    match order {
        Order::Customer { .. } => Err(Reason::NotOpen),
        Order::Withdrawal(withdrawal) => request(withdrawal, known),
        Order::Refund { .. } => refund(known),
        Order::Conclude { is_settled, .. } => conclude(*is_settled, known),
        Order::Assign { payment, .. } => assign(payment, known),
        Order::Correct(correction) => correct(correction, known),
        Order::Report(finding) => Ok(report(finding)),
        Order::Settle { .. } => settle(known),
    }
}

fn request(withdrawal: &Withdrawal, known: &Surroundings<'_>) -> Result<NewEntry, Reason> {
    if known.own.is_some() {
        return Err(Reason::ForeignIdTaken);
    }
    if !withdrawal.amount.is_positive() {
        return Err(Reason::AmountOutOfRange);
    }
    let held = Posting::new(AccountKind::Available, AccountKind::Held, &withdrawal.currency, withdrawal.amount);
    Ok(NewEntry {
        event: EventType::WithdrawalRequested,
        effect: Effect::Requested,
        currency: Some(withdrawal.currency.clone()),
        amount: Some(withdrawal.amount),
        fee: None,
        postings: held.filter(|_| known.customer.is_some()).into_iter().collect(),
        suspended: None,
    })
}

fn refund(known: &Surroundings<'_>) -> Result<NewEntry, Reason> {
    let own = known.own.filter(|own| own.is_ours).ok_or(Reason::NotFound)?;
    if own.is_settled || own.is_failed || own.payment.is_some() {
        return Err(Reason::NotOpen);
    }
    Ok(own.given_back(Effect::Refunded))
}

fn conclude(is_settled: bool, known: &Surroundings<'_>) -> Result<NewEntry, Reason> {
    let own = known.own.filter(|own| own.is_ours).ok_or(Reason::NotFound)?;
    if own.is_settled || own.is_failed {
        return Err(Reason::NotOpen);
    }
    let back = own.given_back(Effect::Refunded);
    if !is_settled {
        return Ok(back);
    }
    let paid = Posting::new(AccountKind::Held, AccountKind::Processor, &own.currency, own.amount);
    let postings = paid.filter(|_| own.customer.is_some()).into_iter().collect();
    Ok(NewEntry { event: EventType::WithdrawalSettled, effect: Effect::Concluded, postings, ..back })
}

impl Own {
    /// The entry by which the money that was set aside is the customer's again.
    pub fn given_back(&self, effect: Effect) -> NewEntry {
        let back = Posting::new(AccountKind::Held, AccountKind::Available, &self.currency, self.amount);
        NewEntry {
            event: EventType::WithdrawalFailed,
            effect,
            currency: Some(self.currency.clone()),
            amount: Some(self.amount),
            fee: None,
            postings: back.filter(|_| self.customer.is_some()).into_iter().collect(),
            suspended: None,
        }
    }
}

fn assign(payment: &Told, known: &Surroundings<'_>) -> Result<NewEntry, Reason> {
    let suspended = known.suspended.ok_or(Reason::NotFound)?;
    let is_its_payment = suspended.payment.is_some() && suspended.payment == known.payment.map(|payment| payment.id);
    if !suspended.is_open || suspended.effect != Effect::Suspended || !is_its_payment {
        return Err(Reason::NotOpen);
    }
    let family = payment.kind.as_deref().map_or(Family::Other, Family::of);
    let event = if family == Family::Invoice { EventType::InvoiceCredited } else { EventType::DepositCredited };
    let moved = Posting::new(AccountKind::Suspense, AccountKind::Available, &suspended.currency, suspended.amount);
    Ok(NewEntry {
        event,
        effect: Effect::Credited,
        currency: Some(suspended.currency.clone()),
        amount: Some(suspended.amount),
        fee: suspended.fee,
        postings: vec![moved.ok_or(Reason::NotOpen)?],
        suspended: None,
    })
}

fn correct(correction: &Correction, known: &Surroundings<'_>) -> Result<NewEntry, Reason> {
    let Correction { debit, credit, currency, amount, .. } = correction;
    let touches = debit.is_customers() || credit.is_customers();
    if touches != known.customer.is_some() {
        return Err(Reason::UnknownCustomer);
    }
    // What is set aside belongs to a withdrawal, and only that may move it.
    if debit == credit || *debit == AccountKind::Held || *credit == AccountKind::Held {
        return Err(Reason::NotOpen);
    }
    let open = known.suspended.filter(|suspended| suspended.is_open);
    if correction.discrepancy.is_some() && open.is_none() {
        return Err(Reason::NotOpen);
    }
    // Suspense is the sum of what waits there: it is left whole, by who names it. A hold is dismissed, then corrected.
    let is_in_suspense = open.is_some_and(|open| open.effect == Effect::Suspended);
    let is_whole = open.is_some_and(|open| open.currency == *currency && open.amount == *amount);
    let is_held = open.is_some_and(|open| open.effect == Effect::Held);
    let leaves = *debit == AccountKind::Suspense;
    if *credit == AccountKind::Suspense || is_held || leaves != is_in_suspense || (leaves && !is_whole) {
        return Err(Reason::NotOpen);
    }
    let posting = Posting::new(*debit, *credit, currency, *amount).ok_or(Reason::AmountOutOfRange)?;
    Ok(NewEntry {
        event: EventType::DiscrepancyResolved,
        effect: Effect::Corrected,
        currency: Some(currency.clone()),
        amount: Some(*amount),
        fee: None,
        postings: vec![posting],
        suspended: None,
    })
}

/// Some findings are about no currency.
fn report(finding: &Finding) -> NewEntry {
    let is_money = !finding.currency.is_empty();
    NewEntry {
        event: EventType::DiscrepancyOpened,
        effect: Effect::Reported,
        currency: is_money.then(|| finding.currency.clone()),
        amount: is_money.then_some(finding.amount),
        fee: None,
        postings: Vec::new(),
        suspended: Reason::from_code(finding.reason),
    }
}

/// Only what moved no money ends without moving any.
fn settle(known: &Surroundings<'_>) -> Result<NewEntry, Reason> {
    let reported = known.suspended.ok_or(Reason::NotFound)?;
    if !reported.is_open || reported.effect != Effect::Reported {
        return Err(Reason::NotOpen);
    }
    Ok(NewEntry {
        event: EventType::DiscrepancyResolved,
        effect: Effect::Corrected,
        currency: None,
        amount: None,
        fee: None,
        postings: Vec::new(),
        suspended: None,
    })
}
