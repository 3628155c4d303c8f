//! Which confirmed deposits are compared with what the processor answers before they are booked, and what the comparison
//! finds. Pure: whoever holds the signing key of callbacks can lie in them, but not in an answer that we ask for.

use std::collections::{BTreeMap, BTreeSet};

use super::amount::Amount;
use super::callback::{Callback, Money, Part, Terms};
use super::decide::{credited, fees_by_currency, is_same_address, less_fees};
use super::payment::{Family, Phase, Status, phase};

/// What a merchant chose. Nothing set: every deposit is booked as it comes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verify {
    /// By currency: a deposit of more is compared first.
    pub above: BTreeMap<String, Amount>,
    /// One with a higher risk score is, or with one that can't be read.
    pub risk: Option<Amount>,
}

/// What the processor says of a deposit that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    Agrees,
    /// It is not final there: a callback may be ahead of the rest of the processor.
    NotYet,
    /// What differs, in words: each of them a reason not to book it.
    Differs(Vec<String>),
}

impl Verify {
    /// Whether this callback is compared before it is booked.
    pub fn wants(&self, callback: &Callback) -> bool {
        if (self.above.is_empty() && self.risk.is_none()) || callback.head.family() != Family::Deposit {
            return false;
        }
        let Ok(terms) = &callback.terms else { return false };
        let money = credited(terms).ok();
        let is_above = |money: &Money| self.above.get(&money.currency).is_some_and(|above| money.amount > *above);
        let is_over = |limit: Amount| {
            let is_risky = |score: &str| Amount::parse(score).map_or(true, |score| score > limit);
            terms.parts.iter().filter_map(|part| part.risk_score.as_deref()).any(is_risky)
        };
        money.as_ref().is_some_and(is_above) || self.risk.is_some_and(is_over)
    }
}

/// Compares a callback with the processor's answer, which is the body of its last callback. Id, type, status, money and all
/// that says whose it is must be the same: the references, each of which may decide who is credited even where another
/// beside it is true, and the address. Fees and transactions must be where both tell them,
/// and the callback may not tell of less risk.
pub fn compare(callback: &Callback, answer: &Callback) -> Comparison {
    let (ours, theirs) = (&callback.head, &answer.head);
    let mut found = Vec::new();
    same(&mut found, "the id", ours.payment_id.as_deref(), theirs.payment_id.as_deref());
    same(&mut found, "the type", ours.kind.as_deref(), theirs.kind.as_deref());
    let status = theirs.status.as_deref().and_then(Status::of);
    if found.is_empty() && status.is_some_and(|status| phase(Family::Deposit, status) == Phase::InProgress) {
        return Comparison::NotYet;
    }
    same(&mut found, "the status", ours.status.as_deref(), theirs.status.as_deref());
    same(&mut found, "the foreign id", ours.foreign_id.as_deref(), theirs.foreign_id.as_deref());
    let (user, theirs_user) = (ours.end_user_reference.as_deref(), theirs.end_user_reference.as_deref());
    same(&mut found, "the end user reference", user, theirs_user);
    let (place, theirs_place) = (ours.address.as_deref(), theirs.address.as_deref());
    if !place.zip(theirs_place).is_some_and(|(ours, theirs)| is_same_address(ours, theirs)) {
        same(&mut found, "the address", place, theirs_place);
    }
    match (&callback.terms, &answer.terms) {
        (Ok(ours), Ok(theirs)) => money(&mut found, ours, theirs),
        (Err(_), _) | (_, Err(_)) => found.push("one of the two can't be read exactly".to_owned()),
    }
    if found.is_empty() { Comparison::Agrees } else { Comparison::Differs(found) }
}

fn same(found: &mut Vec<String>, what: &str, ours: Option<&str>, theirs: Option<&str>) {
    if ours != theirs {
        found.push(format!("{what} is {} in the callback, {} at the processor", word(ours), word(theirs)));
    }
}

fn word(text: Option<&str>) -> &str {
    text.unwrap_or("missing")
}

fn money(found: &mut Vec<String>, ours: &Terms, theirs: &Terms) {
    let gross = [ours, theirs].map(|terms| credited(terms).ok());
    let [our_gross, their_gross] = gross.each_ref().map(Option::as_ref);
    let told = |money: Option<&Money>| money.map(|money| format!("{} {}", money.amount, money.currency));
    same(found, "the amount", told(our_gross).as_deref(), told(their_gross).as_deref());
    // What is left after fees follows from the fees where it is not told.
    if theirs.minus_fee.is_some() || !theirs.fees.is_empty() {
        let (ours, theirs) = (net(ours, our_gross), net(theirs, their_gross));
        same(found, "what is left after fees", ours.as_deref(), theirs.as_deref());
    }
    if !theirs.fees.is_empty() {
        same(found, "the fee", fees(ours).as_deref(), fees(theirs).as_deref());
    }
    let [our_txids, their_txids] = [ours, theirs].map(txids);
    if !our_txids.is_empty() && !their_txids.is_empty() && our_txids != their_txids {
        found.push("the transactions are others at the processor".to_owned());
    }
    if ours.error != theirs.error {
        found.push("the error is another one at the processor".to_owned());
    }
    if risk(theirs) > risk(ours) {
        found.push("the risk is higher at the processor".to_owned());
    }
}

/// The highest risk score, with those that can't be read above all others.
fn risk(terms: &Terms) -> Option<(bool, Amount)> {
    let score = |text: &str| Amount::parse(text).map_or((true, Amount::ZERO), |score| (false, score));
    terms.parts.iter().filter_map(|part| part.risk_score.as_deref()).map(score).max()
}

fn net(terms: &Terms, gross: Option<&Money>) -> Option<String> {
    let of_fees = || less_fees(gross?, &fees_by_currency(terms).ok()?).ok();
    Some(terms.minus_fee.or_else(of_fees)?.to_string())
}

fn fees(terms: &Terms) -> Option<String> {
    let mut sums = fees_by_currency(terms).ok()?;
    sums.sort_unstable_by(|one, other| one.currency.cmp(&other.currency));
    let sums: Vec<_> = sums.iter().map(|fee| format!("{} {}", fee.amount, fee.currency)).collect();
    Some(sums.join(" and ")).filter(|sums| !sums.is_empty())
}

fn txids(terms: &Terms) -> BTreeSet<&str> {
    let of_chain = |part: &&Part| !part.is_exchange;
    terms.parts.iter().filter(of_chain).filter_map(|part| part.txid.as_deref()).collect()
}
