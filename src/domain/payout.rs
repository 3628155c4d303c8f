//! The part of the decision that is about money going out: withdrawals, and the requests that they answer.

use super::account::{AccountKind, Posting};
use super::amount::Amount;
use super::callback::{Callback, Money, Terms};
use super::customer::Owner;
use super::decide::{Known, NewEntry, charged, fees_by_currency, is_same_address, sole_part};
use super::event::EventType;
use super::journal::Effect;
use super::obey::Own;
use super::reason::Reason;

pub(super) fn withdrawal(terms: &Terms, callback: &Callback, known: &Known<'_>) -> Result<NewEntry, Reason> {
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
    let postings = match known.own {
        Some(own) => set_aside(own, &debited, paid, callback, known)?,
        None => paid.into_iter().collect(),
    };
    Ok(NewEntry {
        event: EventType::WithdrawalSettled,
        effect: Effect::Settled,
        currency: Some(debited.currency),
        amount: Some(debited.amount),
        fee: Some(fee),
        postings: postings.into_iter().chain(fees.iter().filter_map(charged)).collect(),
        suspended: None,
    })
}

/// The postings of a withdrawal that was requested through us.
fn set_aside(
    own: &Own,
    debited: &Money,
    paid: Option<Posting>,
    callback: &Callback,
    known: &Known<'_>,
) -> Result<Vec<Posting>, Reason> {
    if is_anothers(own, known) && known.policy.holds(Reason::PossibleDuplicate) {
        return Err(Reason::PossibleDuplicate);
    }
    if is_anothers(own, known) {
        return Ok(paid.into_iter().collect());
    }
    if own.is_failed || own.is_settled {
        return Err(Reason::ContradictsFinal);
    }
    if is_not_requested(own, callback, known) {
        return Err(Reason::ContradictsRequest);
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

/// Whether a body speaks of another withdrawal than the one that was requested under its name: the merchant may have used
/// the name before, elsewhere. Once an operator has let that pass, it is the request's.
pub(super) fn is_not_requested(own: &Own, callback: &Callback, known: &Known<'_>) -> bool {
    let is_anothers_customer = match (own.customer, known.named.customer()) {
        (Some(whose), Some(named)) => whose != named,
        (None, _) | (_, None) => false,
    };
    known.policy.holds(Reason::ContradictsRequest) && (is_anothers_customer || goes_elsewhere(own, callback))
}

/// The same by the address and its tag alone, as far as the body tells them.
pub(super) fn goes_elsewhere(own: &Own, callback: &Callback) -> bool {
    let terms = callback.terms.as_ref().ok();
    let of_part = || terms?.parts.iter().find(|part| !part.is_exchange)?.address.as_deref();
    let address = callback.head.address.as_deref().or_else(of_part);
    let tag = terms.and_then(|terms| terms.tag.as_deref());
    address.is_some_and(|told| !is_same_place(&own.address, told))
        || own.tag.as_deref().zip(tag).is_some_and(|(asked, told)| !is_same_tag(asked, told))
}

/// An address may be written with its scheme (`bitcoincash:`), and one of a single case in the other case.
fn is_same_place(asked: &str, told: &str) -> bool {
    let (asked, told) = (bare(asked), bare(told));
    let is_one_case = |text: &str| {
        !(text.contains(|letter: char| letter.is_ascii_lowercase())
            && text.contains(|letter: char| letter.is_ascii_uppercase()))
    };
    is_same_address(asked, told) || (is_one_case(asked) && is_one_case(told) && asked.eq_ignore_ascii_case(told))
}

fn bare(address: &str) -> &str {
    match address.trim().split_once(':') {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => rest,
        Some(_) | None => address.trim(),
    }
}

/// Tags are numbers on most networks, and texts on some.
fn is_same_tag(asked: &str, told: &str) -> bool {
    let is_number = |tag: &str| tag.bytes().all(|byte| byte.is_ascii_digit());
    let same_number = || asked.trim_start_matches('0') == told.trim_start_matches('0');
    asked == told || (is_number(asked) && is_number(told) && same_number())
}
