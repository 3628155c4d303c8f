//! The one decision: what a callback does to its payment and to the ledger. Pure, total, and the only place
//! that knows which status moves which money.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::account::{AccountKind, Posting};
use super::amount::Amount;
use super::callback::{Callback, Money, Part, Terms};
use super::customer::Owner;
use super::event::EventType;
use super::journal::Effect;
use super::obey::Own;
use super::payment::{Family, Payment, Phase, Status, phase};
use super::payout::{goes_elsewhere, is_anothers, is_not_requested, withdrawal};
pub use super::policy::{Credit, Policy, UnknownCustomer, Waived};
use super::reason::Reason;

/// What is known beside the callback.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub payment: Option<&'a Payment>,
    pub owner: Owner,
    /// Whom the body itself names: of a withdrawal that was requested through us, the owner is the request's customer.
    pub named: Owner,
    pub policy: Policy,
    /// Another payment with the same txid, address and amount is booked.
    pub has_twin: bool,
    /// The request that a withdrawal's callback answers, if it was made through us.
    pub own: Option<&'a Own>,
    /// The processor is asked before a callback like this is booked.
    pub must_verify: bool,
    /// It came to an address that was given up before: see [`is_retired`](super::retired::is_retired).
    pub is_retired: bool,
}

/// The answer to a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Apply(Applied),
    Ignore(Reason),
    Hold(Reason),
}

/// What an applied callback changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub status: Status,
    /// A digest of the money, once it is booked.
    pub facts: Option<i64>,
    pub entry: Option<NewEntry>,
}

/// An effect to be journaled: what is told, and what moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    pub event: EventType,
    pub effect: Effect,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
    pub fee: Option<Amount>,
    pub postings: Vec<Posting>,
    /// Why the money went to suspense, if it did.
    pub suspended: Option<Reason>,
}

impl NewEntry {
    /// The customer whose balance changes is told what it is afterwards.
    pub fn touches_customer(&self) -> bool {
        self.postings.iter().any(|posting| posting.debit.is_customers() || posting.credit.is_customers())
    }
}

/// Decides. Every status of every family, in every order, ends here.
pub fn decide(callback: &Callback, known: &Known<'_>) -> Decision {
    let family = callback.head.family();
    let terms = match &callback.terms {
        Ok(terms) => terms,
        Err(unclear) => return Decision::Hold(unclear.reason),
    };
    if family == Family::Other {
        return Decision::Hold(Reason::UnknownType);
    }
    if terms.is_legacy_futures {
        return Decision::Hold(Reason::LegacyFutures);
    }
    let Some(status) = callback.head.status.as_deref().and_then(Status::of) else {
        return Decision::Hold(unknown_status(family));
    };
    match phase(family, status) {
        Phase::Unknown => Decision::Hold(unknown_status(family)),
        Phase::InProgress => in_progress(family, status, (terms, callback), known),
        Phase::Closed => closed(family, status, (terms, callback), known),
        Phase::Confirmed => confirmed(family, status, terms, callback, known),
    }
}

const fn unknown_status(family: Family) -> Reason {
    match family {
        Family::PaymentRequest => Reason::PaymentRequest,
        Family::Deposit | Family::Withdrawal | Family::Exchange | Family::Invoice | Family::Other => {
            Reason::UnknownStatus
        }
    }
}

fn is_final(family: Family, status: Status) -> bool {
    phase(family, status) != Phase::InProgress
}

fn in_progress(family: Family, status: Status, (terms, callback): (&Terms, &Callback), known: &Known<'_>) -> Decision {
    // No reference is learnt from a step that moves nothing, so whom it names may be somebody else's later.
    let is_elsewhere = |own: &Own| known.policy.holds(Reason::ContradictsRequest) && goes_elsewhere(own, callback);
    match known.payment {
        Some(payment) if is_final(family, payment.status) => Decision::Ignore(Reason::Stale),
        Some(payment) if payment.status == status => Decision::Ignore(Reason::Repeat),
        Some(_) => Decision::Apply(Applied { status, facts: None, entry: None }),
        // Its money was given back: someone must look before it goes out after all.
        None if known.own.is_some_and(|own| own.is_failed) => Decision::Hold(Reason::ContradictsFinal),
        None if known.own.is_some_and(is_elsewhere) => Decision::Hold(Reason::ContradictsRequest),
        // Its end will wait for a person.
        None if is_given_up(family, known) => Decision::Ignore(Reason::AddressRetired),
        None => Decision::Apply(Applied { status, facts: None, entry: told(family, Phase::InProgress, terms) }),
    }
}

fn closed(family: Family, status: Status, (terms, callback): (&Terms, &Callback), known: &Known<'_>) -> Decision {
    match known.payment {
        Some(payment) if payment.status == status => Decision::Ignore(Reason::Repeat),
        Some(payment) if is_final(family, payment.status) => Decision::Hold(Reason::ContradictsFinal),
        Some(_) | None => {
            let entry = match known.own {
                Some(own) if is_anothers(own, known) => return Decision::Hold(Reason::PossibleDuplicate),
                Some(own) if own.is_settled => return Decision::Hold(Reason::ContradictsFinal),
                Some(own) if own.is_failed => None,
                Some(own) if is_not_requested(own, callback, known) => {
                    return Decision::Hold(Reason::ContradictsRequest);
                }
                Some(own) => Some(own.given_back(Effect::Closed)),
                None => told(family, Phase::Closed, terms),
            };
            Decision::Apply(Applied { status, facts: None, entry })
        }
    }
}

/// First heard of after its address was given up.
fn is_given_up(family: Family, known: &Known<'_>) -> bool {
    let is_first = family == Family::Deposit && known.payment.is_none();
    is_first && known.is_retired && known.policy.holds(Reason::AddressRetired)
}

/// The entry of a step that moves no money. Some have none: no type of event speaks of them.
fn told(family: Family, phase: Phase, terms: &Terms) -> Option<NewEntry> {
    let is_closed = phase == Phase::Closed;
    let event = match family {
        Family::Deposit if is_closed => EventType::DepositCancelled,
        Family::Deposit => EventType::DepositPending,
        Family::Withdrawal if is_closed => EventType::WithdrawalFailed,
        Family::Withdrawal => EventType::WithdrawalPending,
        Family::Invoice if is_closed => EventType::InvoiceFailed,
        Family::Invoice => EventType::InvoicePending,
        Family::Exchange | Family::PaymentRequest | Family::Other => return None,
    };
    let money = match family {
        Family::Withdrawal => terms.sent.clone().or_else(|| sole_part(terms)),
        Family::Deposit | Family::Invoice | Family::Exchange | Family::PaymentRequest | Family::Other => {
            terms.received.clone().or_else(|| sole_part(terms))
        }
    };
    let effect = if is_closed { Effect::Closed } else { Effect::Pending };
    let (currency, amount) = money.map_or((None, None), |money| (Some(money.currency), Some(money.amount)));
    Some(NewEntry { event, effect, currency, amount, fee: None, postings: Vec::new(), suspended: None })
}

fn confirmed(family: Family, status: Status, terms: &Terms, callback: &Callback, known: &Known<'_>) -> Decision {
    let facts = facts(terms);
    if let Some(payment) = known.payment.filter(|payment| is_final(family, payment.status)) {
        let is_same = payment.status == status && payment.facts == Some(facts);
        return if is_same { Decision::Ignore(Reason::Repeat) } else { Decision::Hold(Reason::ContradictsFinal) };
    }
    if !terms.error.is_empty() && known.policy.holds(Reason::ConfirmedWithError) {
        return Decision::Hold(Reason::ConfirmedWithError);
    }
    if is_given_up(family, known) {
        return Decision::Hold(Reason::AddressRetired);
    }
    let entry = match family {
        Family::Deposit => deposit(terms, callback, known),
        Family::Invoice => invoice(terms, known),
        Family::Withdrawal => withdrawal(terms, callback, known),
        Family::Exchange => exchange(terms),
        Family::PaymentRequest | Family::Other => Err(unknown_status(family)),
    };
    match entry {
        Ok(entry) => Decision::Apply(Applied { status, facts: Some(facts), entry: Some(entry) }),
        Err(reason) => Decision::Hold(reason),
    }
}

/// What becomes of a payment whose money was booked by hand instead of by the callback that was held: it is over, so what
/// is heard of it later is a repeat, or contradicts. `None`: it was over before, or the callback names none.
pub fn corrected(callback: &Callback, payment: Option<&Payment>) -> Option<Applied> {
    let family = callback.head.family();
    let is_over = payment.is_some_and(|payment| is_final(family, payment.status));
    if is_over || family == Family::Other || callback.head.payment_id.is_none() {
        return None;
    }
    let facts = callback.terms.as_ref().ok().map(facts);
    Some(Applied { status: Status::Confirmed, facts, entry: None })
}

/// Whether a correction would be the second time that the payment's money moves: it was booked while the callback was held.
pub fn is_booked_meanwhile(callback: &Callback, payment: Option<&Payment>, held_for: Option<Reason>) -> bool {
    let is_over = payment.is_some_and(|payment| is_final(callback.head.family(), payment.status));
    is_over && held_for != Some(Reason::ContradictsFinal)
}

/// A digest of everything that decides how much money moves, so that other money under the same status is noticed.
fn facts(terms: &Terms) -> i64 {
    let mut text = String::with_capacity(256);
    let mut add = |place: &str, money: &Money| {
        write!(text, "{place} {}={};", money.currency, money.amount).expect("a string takes all");
    };
    // Each sum is named by its place: a fee of 1 is not 1 received.
    terms.sent.iter().for_each(|money| add("sent", money));
    terms.received.iter().for_each(|money| add("received", money));
    terms.fees.iter().for_each(|money| add("fee", money));
    sole_part(terms).iter().for_each(|money| add("part", money));
    let [minus_fee, remaining] = [terms.minus_fee, terms.remaining].map(Option::unwrap_or_default);
    write!(text, "{minus_fee};{remaining}").expect("a string takes all");
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest.first_chunk().map_or(0, |head| i64::from_be_bytes(*head))
}

/// The one transaction that is not an exchange: what a body without `currency_sent` and `currency_received` moves.
pub fn sole_part(terms: &Terms) -> Option<Money> {
    let mut parts = terms.parts.iter().filter(|part| !part.is_exchange);
    let part = parts.next().filter(|_| parts.next().is_none())?;
    Some(Money { currency: part.currency.clone()?, amount: part.amount? })
}

/// Fees summed by currency, in order of first appearance. A negative fee is nothing we understand.
pub fn fees_by_currency(terms: &Terms) -> Result<Vec<Money>, Reason> {
    let mut sums: Vec<Money> = Vec::new();
    for fee in &terms.fees {
        if fee.amount < Amount::ZERO {
            return Err(Reason::AmountOutOfRange);
        }
        match sums.iter_mut().find(|sum| sum.currency == fee.currency) {
            Some(sum) => sum.amount = sum.amount.checked_add(fee.amount).ok_or(Reason::AmountOutOfRange)?,
            None => sums.push(fee.clone()),
        }
    }
    Ok(sums)
}

fn deposit(terms: &Terms, callback: &Callback, known: &Known<'_>) -> Result<NewEntry, Reason> {
    let gross = credited(terms)?;
    let fees = fees_by_currency(terms)?;
    let net = match terms.minus_fee.filter(|_| terms.received.is_some()) {
        Some(net) => net,
        None => less_fees(&gross, &fees)?,
    };
    if known.has_twin && known.policy.holds(Reason::PossibleDuplicate) {
        return Err(Reason::PossibleDuplicate);
    }
    let suspended = suspicion(terms, callback, known.policy).or_else(|| ownerless(known));
    let entry = income(&gross, net, &fees, known.policy.credit, suspended, EventType::DepositCredited)?;
    // Last: only what would be booked is worth the question.
    if known.must_verify && known.policy.holds(Reason::AwaitsVerification) {
        return Err(Reason::AwaitsVerification);
    }
    Ok(entry)
}

fn invoice(terms: &Terms, known: &Known<'_>) -> Result<NewEntry, Reason> {
    let is_short = terms.remaining.is_some_and(|remaining| !remaining.is_zero());
    if is_short && known.policy.holds(Reason::InvoiceRemaining) {
        return Err(Reason::InvoiceRemaining);
    }
    let gross = credited(terms)?;
    let fees = fees_by_currency(terms)?;
    let net = less_fees(&gross, &fees)?;
    income(&gross, net, &fees, known.policy.credit, ownerless(known), EventType::InvoiceCredited)
}

/// What arrived, before fees: only ever the received amount, never the sent one.
pub(super) fn credited(terms: &Terms) -> Result<Money, Reason> {
    let gross = match &terms.received {
        Some(received) => received.clone(),
        None if terms.converts || terms.sent.is_some() => return Err(Reason::AmountUnclear),
        None => sole_part(terms).ok_or(Reason::AmountUnclear)?,
    };
    if gross.amount.is_positive() { Ok(gross) } else { Err(Reason::AmountOutOfRange) }
}

pub(super) fn less_fees(gross: &Money, fees: &[Money]) -> Result<Amount, Reason> {
    let same = fees.iter().find(|fee| fee.currency == gross.currency).map_or(Amount::ZERO, |fee| fee.amount);
    gross.amount.checked_sub(same).ok_or(Reason::AmountOutOfRange)
}

/// Why the money of a deposit should not reach the customer on its own.
fn suspicion(terms: &Terms, callback: &Callback, policy: Policy) -> Option<Reason> {
    let address = callback.head.address.as_deref();
    let is_elsewhere = |part: &Part| match (address, part.address.as_deref().filter(|_| !part.is_exchange)) {
        (Some(ours), Some(theirs)) => !is_same_address(ours, theirs),
        _ => false,
    };
    if terms.parts.iter().any(is_elsewhere) {
        return Some(Reason::AddressContradictory);
    }
    let limit = policy.risk_limit?;
    let is_risky = |score: &str| Amount::parse(score).map_or(true, |score| score > limit);
    terms.parts.iter().filter_map(|part| part.risk_score.as_deref()).any(is_risky).then_some(Reason::RiskScore)
}

/// Addresses of the Ethereum kind are hex, in which upper case is only a checksum.
pub(super) fn is_same_address(left: &str, right: &str) -> bool {
    left == right || (left.starts_with("0x") && left.eq_ignore_ascii_case(right))
}

/// Why nobody can be credited.
const fn ownerless(known: &Known<'_>) -> Option<Reason> {
    match (known.owner, known.policy.unknown_customer) {
        (Owner::Known(_), _) | (Owner::Unknown, UnknownCustomer::Open) => None,
        (Owner::Unknown, UnknownCustomer::Suspense) => Some(Reason::CustomerUnknown),
        (Owner::Contradictory, _) => Some(Reason::CustomerContradictory),
        (Owner::Missing, _) => Some(Reason::CustomerMissing),
        (Owner::Withheld(reason), _) => Some(reason),
    }
}

/// Money that came in: to the customer, or to suspense.
fn income(
    gross: &Money,
    net: Amount,
    fees: &[Money],
    credit: Credit,
    suspended: Option<Reason>,
    event: EventType,
) -> Result<NewEntry, Reason> {
    let fee = gross.amount.checked_sub(net).ok_or(Reason::AmountOutOfRange)?;
    let amount = match credit {
        Credit::Gross => gross.amount,
        Credit::Net => net,
    };
    if net < Amount::ZERO || fee < Amount::ZERO || !amount.is_positive() {
        return Err(Reason::AmountOutOfRange);
    }
    let target = if suspended.is_some() { AccountKind::Suspense } else { AccountKind::Available };
    let borne = if credit == Credit::Gross { fee } else { Amount::ZERO };
    let elsewhere = fees.iter().filter(|fee| fee.currency != gross.currency);
    let postings = [
        Posting::new(AccountKind::Processor, target, &gross.currency, net),
        Posting::new(AccountKind::Fees, target, &gross.currency, borne),
    ];
    let postings = postings.into_iter().flatten().chain(elsewhere.filter_map(charged)).collect();
    let (event, effect) = match suspended {
        Some(_) => (EventType::DiscrepancyOpened, Effect::Suspended),
        None => (event, Effect::Credited),
    };
    let currency = Some(gross.currency.clone());
    Ok(NewEntry { event, effect, currency, amount: Some(amount), fee: Some(fee), postings, suspended })
}

/// A fee that the processor took from what it holds for us.
pub(super) fn charged(fee: &Money) -> Option<Posting> {
    Posting::new(AccountKind::Fees, AccountKind::Processor, &fee.currency, fee.amount)
}

fn exchange(terms: &Terms) -> Result<NewEntry, Reason> {
    let (Some(sent), Some(received)) = (&terms.sent, &terms.received) else { return Err(Reason::AmountUnclear) };
    if !sent.amount.is_positive() || !received.amount.is_positive() {
        return Err(Reason::AmountOutOfRange);
    }
    let fees = fees_by_currency(terms)?;
    let fee = fees.iter().find(|fee| fee.currency == received.currency).map_or(Amount::ZERO, |fee| fee.amount);
    let moved = [
        Posting::new(AccountKind::Exchange, AccountKind::Processor, &sent.currency, sent.amount),
        Posting::new(AccountKind::Processor, AccountKind::Exchange, &received.currency, received.amount),
    ];
    Ok(NewEntry {
        event: EventType::ExchangeSettled,
        effect: Effect::Settled,
        currency: Some(received.currency.clone()),
        amount: Some(received.amount),
        fee: Some(fee),
        postings: moved.into_iter().flatten().chain(fees.iter().filter_map(charged)).collect(),
        suspended: None,
    })
}
