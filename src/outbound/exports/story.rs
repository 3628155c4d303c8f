//! Payments of the ledger in the words of the matcher: what an entry of the journal says, and, where that is not enough,
//! what the callback behind it says.

use std::num::NonZeroU64;

use crate::domain::amount::Amount;
use crate::domain::callback::{Money, Terms};
use crate::domain::decide::{Credit, fees_by_currency, sole_part};
use crate::domain::matching::{Code, Currencies, Ours, Story, reference_of, transaction_of};
use crate::domain::payment::Family;
use crate::processor::wire;
use crate::store::heard::{Heard, Told};

/// A payment as its entry tells it. `credit`: what the merchant credits decides whether the entry has the fee in it.
pub(super) fn ours(heard: &Heard, currencies: &mut Currencies, credit: Credit) -> Ours {
    let is_income = matches!(heard.family, Family::Deposit | Family::Invoice);
    let money = heard.money.as_ref().map(|(currency, amount, fee)| {
        let is_net = is_income && credit == Credit::Net;
        let gross = if is_net { amount.checked_add(*fee).unwrap_or(*amount) } else { *amount };
        (currencies.code(currency), gross, *fee)
    });
    let Heard { payment, family, status, seen_us, decided_us, .. } = heard;
    Ours { payment: *payment, family: *family, status: *status, seen_us: *seen_us, decided_us: *decided_us, money }
}

/// The same with what its callback told.
pub(super) fn story(heard: Heard, told: Option<Told>, currencies: &mut Currencies, credit: Credit) -> Story {
    let ours = ours(&heard, currencies, credit);
    let told = told.unwrap_or_default();
    let callback = told.body.as_deref().map(wire::read);
    let terms = callback.as_ref().and_then(|callback| callback.terms.as_ref().ok());
    let mut code = |money: &Money| (currencies.code(&money.currency), money.amount);
    let mut sums: Vec<(Code, Amount)> = Vec::new();
    let mut fees: Vec<(Code, Amount)> = Vec::new();
    if let Some(terms) = terms {
        sums.extend(worth(heard.family, terms).iter().map(&mut code));
        fees.extend(fees_by_currency(terms).unwrap_or_default().iter().map(&mut code));
        let kept = terms.received.as_ref().zip(terms.minus_fee);
        fees.extend(kept.and_then(|(received, net)| Some((code(received).0, received.amount.checked_sub(net)?))));
    }
    if let Some((code, amount, fee)) = ours.money {
        if sums.is_empty() {
            sums.push((code, amount));
        }
        if fees.is_empty() && !fee.is_zero() {
            fees.push((code, fee));
        }
    }
    let transactions = transactions(&told, terms);
    let reference = told.foreign_id.as_deref().and_then(|foreign_id| reference_of(heard.family, foreign_id));
    Story { ours, id: heard.ext_id, sums, fees, transactions, reference }
}

/// What a row of the export may tell as the amount: one for each currency.
fn worth(family: Family, terms: &Terms) -> Vec<Money> {
    let (first, second) = match family {
        Family::Withdrawal | Family::Exchange => (&terms.sent, &terms.received),
        Family::Deposit | Family::Invoice | Family::PaymentRequest | Family::Other => (&terms.received, &terms.sent),
    };
    let mut worth: Vec<Money> = first.iter().cloned().collect();
    worth.extend(second.iter().filter(|second| first.iter().all(|first| first.currency != second.currency)).cloned());
    if worth.is_empty() {
        worth.extend(sole_part(terms));
    }
    worth
}

fn transactions(told: &Told, terms: Option<&Terms>) -> Vec<NonZeroU64> {
    let address = told.address.as_deref().unwrap_or_default();
    let by_head = told.txids.iter().filter_map(|txid| transaction_of(txid, address));
    let parts = terms.map(|terms| terms.parts.as_slice()).unwrap_or_default();
    let by_part = parts
        .iter()
        .filter_map(|part| transaction_of(part.txid.as_deref()?, part.address.as_deref().unwrap_or(address)));
    let mut all: Vec<NonZeroU64> = by_head.chain(by_part).collect();
    all.sort_unstable();
    all.dedup();
    all
}
