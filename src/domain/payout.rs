//! The part of the decision that is about money going out: withdrawals, and the requests that they answer.

use super::account::{AccountKind, Posting};
use super::amount::Amount;
use super::callback::{Money, Terms};
use super::customer::Owner;
use super::decide::{Known, NewEntry, charged, fees_by_currency, sole_part};
use super::event::EventType;
use super::journal::Effect;
use super::obey::Own;
use super::reason::Reason;

pub(super) fn withdrawal(terms: &Terms, known: &Known<'_>) -> Result<NewEntry, Reason> {
    let debited = match &terms.sent {
        Some(sent) => sent.clone(),
        None => {
            let is_plain = !terms.converts && terms.received.is_none();
            // Without a hold the request may name what is received, which is not what it costs.
            let own = known.own.filter(|own| own.customer.is_some());
            let asked = own.map(|own| Money { currency: own.currency.clone(), amount: own.amount });
            sole_part(terms).filter(|_| is_plain).or(asked).ok_or(Reason::AmountUnclear)?
        }
    };
    if !debited.amount.is_positive() {
        return Err(Reason::AmountOutOfRange);
    }
    // Money that went out is nobody's debt but a customer's we know: it never opens one.
    if !matches!(known.owner, Owner::Known(_)) {
        return Err(Reason::UnknownCustomer);
    }
    let fees = fees_by_currency(terms)?;
    let fee = fees.iter().find(|fee| fee.currency == debited.currency).map_or(Amount::ZERO, |fee| fee.amount);
    let paid = Posting::new(AccountKind::Available, AccountKind::Processor, &debited.currency, debited.amount);
    let paid = known.own.map_or(Ok(paid.clone().into_iter().collect()), |own| set_aside(own, &debited, paid, known))?;
    Ok(NewEntry {
        event: EventType::WithdrawalSettled,
        effect: Effect::Settled,
        currency: Some(debited.currency),
        amount: Some(debited.amount),
        fee: Some(fee),
        postings: paid.into_iter().chain(fees.iter().filter_map(charged)).collect(),
        suspended: None,
    })
}

/// The postings of a withdrawal that was requested through us.
fn set_aside(own: &Own, debited: &Money, paid: Option<Posting>, known: &Known<'_>) -> Result<Vec<Posting>, Reason> {
    if is_anothers(own, known) && known.policy.holds(Reason::PossibleDuplicate) {
        return Err(Reason::PossibleDuplicate);
    }
    if is_anothers(own, known) {
        return Ok(paid.into_iter().collect());
    }
    if own.is_failed || own.is_settled {
        return Err(Reason::ContradictsFinal);
    }
    if own.customer.is_none() {
        return Ok(paid.into_iter().collect());
    }
    let posting = |debit, credit| Posting::new(debit, credit, &own.currency, own.amount);
    if own.currency == debited.currency && own.amount == debited.amount {
        return Ok(posting(AccountKind::Held, AccountKind::Processor).into_iter().collect());
    }
    if known.policy.holds(Reason::ContradictsRequest) {
        return Err(Reason::ContradictsRequest);
    }
    let back = posting(AccountKind::Held, AccountKind::Available);
    Ok(back.into_iter().chain(paid).collect())
}

/// Whether another payment already answered the request.
pub(super) fn is_anothers(own: &Own, known: &Known<'_>) -> bool {
    own.payment.is_some() && own.payment != known.payment.map(|payment| payment.id)
}
