//! The first half of the audit: each body's proof, and each decision made again in the order they were made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest, Sha256};

use super::Report;
use super::orders::Around;
use super::pool::Pools;
use crate::domain::callback::{Callback, Origin, fingerprint};
use crate::domain::customer::{Owner, ReferenceKind, identify, references};
use crate::domain::decide::{Applied, Decision, Known, NewEntry, Policy, UnknownCustomer, corrected, decide};
use crate::domain::ids::{CustomerId, MerchantId, PaymentId};
use crate::domain::journal::Effect;
use crate::domain::order::Order;
use crate::domain::payment::Payment;
use crate::domain::reason::Reason;
use crate::processor::signature::Keyring;
use crate::processor::wire;
use crate::store::booking::State;
use crate::store::proof::Stored;

/// What one body proves by itself.
pub(super) enum Reading {
    Pruned,
    Wrong(&'static str),
    Read(Box<Callback>),
    Order(Box<Order>),
}

impl Reading {
    pub(super) fn of(stored: &Stored, keyring: &Keyring) -> Self {
        let Some(body) = &stored.body else { return Self::Pruned };
        if Sha256::digest(body).as_slice() != stored.digest {
            return Self::Wrong("its body does not have its digest");
        }
        if !keyring.proves(stored.merchant, stored.origin, &stored.signature, body) {
            return Self::Wrong(
                "its signature fits none of the merchant's secrets (a secret that was retired since can be given \
                 as the previous one)",
            );
        }
        if stored.origin == Origin::Order {
            return Order::parse(body)
                .map_or(Self::Wrong("its order can't be read"), |order| Self::Order(Box::new(order)));
        }
        Self::Read(Box::new(wire::read(body)))
    }
}

/// What the journal must hold at a position.
pub(super) struct Expected {
    pub callback: i64,
    pub customer: Option<CustomerId>,
    /// Of the entry's money: see [`money_digest`].
    pub money: u64,
}

/// The state of every payment as the decisions are made again.
pub(super) struct Decisions {
    references: HashMap<u64, i64>,
    payments: HashMap<u64, Payment>,
    twins: HashMap<(i16, i64), u64>,
    /// Callbacks that were decided again later: they wait for their turn.
    late: HashSet<i64>,
    waiting: BTreeMap<i64, (Stored, Reading)>,
    pub expected: HashMap<i64, Expected>,
    /// Callbacks without a body, and those of payments whose story has such a gap: their entries are taken as they stand.
    pub taken: HashSet<i64>,
    /// The payments of callbacks without a body.
    gaps: HashSet<i64>,
    pub(super) around: Around,
    pools: Pools,
}

impl Decisions {
    pub(super) fn new(references: Vec<(i16, i16, String, i64)>, turns: &[(i64, i64)], pools: Pools) -> Self {
        let references = references
            .into_iter()
            .map(|(merchant, kind, value, id)| (Self::reference(MerchantId(merchant), kind, &value), id))
            .collect();
        // Ids and turns ascend together, except where a callback got a later turn.
        let mut least = i64::MAX;
        let mut late = HashSet::new();
        for (id, turn) in turns.iter().rev() {
            if *turn > least {
                late.insert(*id);
            }
            least = least.min(*turn);
        }
        Self {
            references,
            payments: HashMap::new(),
            twins: HashMap::new(),
            late,
            waiting: BTreeMap::new(),
            expected: HashMap::new(),
            taken: HashSet::new(),
            gaps: HashSet::new(),
            around: Around::default(),
            pools,
        }
    }

    /// The next callback in the order of ids.
    pub(super) fn take(&mut self, stored: Stored, reading: Reading, report: &mut Report) {
        if self.late.contains(&stored.id) {
            self.waiting.insert(stored.turn, (stored, reading));
            return;
        }
        while let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() < stored.turn) {
            let (stored, reading) = entry.remove();
            self.judge(&stored, &reading, report);
        }
        self.judge(&stored, &reading, report);
    }

    pub(super) fn finish(&mut self, report: &mut Report) {
        while let Some((_, (stored, reading))) = self.waiting.pop_first() {
            self.judge(&stored, &reading, report);
        }
    }

    fn judge(&mut self, stored: &Stored, reading: &Reading, report: &mut Report) {
        let callback = match reading {
            Reading::Pruned => {
                report.pruned = report.pruned.saturating_add(1);
                self.taken.insert(stored.id);
                self.gaps.extend(stored.payment);
                return;
            }
            Reading::Wrong(what) => return report.differs(format!("callback {}: {what}", stored.id)),
            Reading::Order(order) => return self.obey(stored, order, report),
            Reading::Read(callback) => callback,
        };
        let head = &callback.head;
        let columns = (&stored.ext_id, &stored.foreign_id, &stored.end_user_reference);
        if columns != (&head.payment_id, &head.foreign_id, &head.end_user_reference) {
            return report.differs(format!("callback {}: its columns are not what its body says", stored.id));
        }
        // A story with a gap can't be derived, nor what was the same as one that is gone.
        let is_twin = stored.reason == Some(Reason::PossibleDuplicate) && !self.gaps.is_empty();
        if is_twin || stored.payment.is_some_and(|payment| self.gaps.contains(&payment)) {
            self.taken.insert(stored.id);
            return;
        }
        // Failed ones have no effect yet; a balance limit depends on the balances, which the second half derives; one that
        // was dismissed was held for something that may be known by now.
        if stored.state == State::Failed || matches!(stored.reason, Some(Reason::BalanceLimit | Reason::Dismissed)) {
            return;
        }
        let (decision, owner) = self.decide(stored, callback);
        if stored.reason == Some(Reason::Corrected) {
            if let Some(applied) = corrected(callback, self.payment_of(stored, callback)) {
                self.keep(stored, callback, &applied, owner);
                let key = payment_key(stored, callback);
                self.twins.extend(fingerprint(callback).map(|print| ((stored.merchant.0, print), key)));
            }
            return;
        }
        if recorded(&decision) != (stored.state, stored.reason) {
            let (state, reason) = recorded(&decision);
            let word = |reason: Option<Reason>| reason.map_or("-", Reason::word);
            report.differs(format!(
                "callback {}: stored as {} ({}), derived as {} ({})",
                stored.id,
                stored.state.word(),
                word(stored.reason),
                state.word(),
                word(reason)
            ));
        }
        if let Decision::Apply(applied) = decision {
            self.apply(stored, callback, applied, owner);
        }
    }

    fn decide(&self, stored: &Stored, callback: &Callback) -> (Decision, Owner) {
        let mut policy = Policy::from_code(stored.policy);
        let own = self.around.own(stored, callback).filter(|own| own.is_ours);
        let its_own = own.and_then(|own| own.customer);
        let key = payment_key(stored, callback);
        let payment = self.payments.get(&key);
        let pooled = || self.pools.owner(stored, callback, payment);
        let named = pooled().unwrap_or_else(|| self.owner_then(stored, callback));
        let mut owner = its_own.map_or(named, Owner::Known);
        match stored.reason {
            // What was unknown then may be known by now.
            Some(Reason::CustomerUnknown | Reason::UnknownCustomer) if its_own.is_none() => {
                owner = match owner {
                    Owner::Known(_) | Owner::Unknown | Owner::Contradictory => Owner::Unknown,
                    Owner::Missing | Owner::Withheld(_) => owner,
                };
                policy.unknown_customer = UnknownCustomer::Suspense;
            }
            // The limit is not kept; that there is a score is.
            Some(Reason::RiskScore) => policy.risk_limit = crate::domain::amount::Amount::from_units(-1),
            Some(_) | None => {}
        }
        let twin = fingerprint(callback).and_then(|print| self.twins.get(&(stored.merchant.0, print)));
        let has_twin = twin.is_some_and(|twin| *twin != key);
        // Whether it had to wait is not kept: that it did is.
        let must_verify = stored.reason == Some(Reason::AwaitsVerification);
        let is_retired = self.pools.is_retired(stored, callback);
        let known = Known { payment, owner, named, policy, has_twin, own, must_verify, is_retired };
        (decide(callback, &known), owner)
    }

    /// Whom the references of a body or an order name.
    pub(super) fn owner<'a>(&self, stored: &Stored, named: impl Iterator<Item = (ReferenceKind, &'a str)>) -> Owner {
        let customer = |(kind, value): (ReferenceKind, &str)| {
            self.references.get(&Self::reference(stored.merchant, kind.code(), value)).map(|id| CustomerId(*id))
        };
        identify(named.map(|reference| (reference.0, customer(reference))))
    }

    /// The same for a callback, as it was when it was decided: an invoice may have been named only afterwards.
    fn owner_then(&self, stored: &Stored, callback: &Callback) -> Owner {
        let owner = self.owner(stored, references(&callback.head));
        let is_later = match stored.reason {
            Some(Reason::CustomerMissing) => true,
            Some(Reason::CustomerContradictory) => false,
            Some(_) | None => owner == Owner::Contradictory,
        };
        if !is_later {
            return owner;
        }
        self.owner(stored, references(&callback.head).filter(|(kind, _)| *kind != ReferenceKind::Invoice))
    }

    pub(super) fn payment_of(&self, stored: &Stored, callback: &Callback) -> Option<&Payment> {
        self.payments.get(&payment_key(stored, callback))
    }

    fn keep(&mut self, stored: &Stored, callback: &Callback, applied: &Applied, owner: Owner) {
        let (id, customer) = (PaymentId(stored.payment.unwrap_or_default()), owner.customer());
        let payment = Payment { id, status: applied.status, facts: applied.facts, customer };
        self.payments.insert(payment_key(stored, callback), payment);
    }

    fn apply(&mut self, stored: &Stored, callback: &Callback, applied: Applied, owner: Owner) {
        let key = payment_key(stored, callback);
        let customer = owner.customer();
        self.keep(stored, callback, &applied, owner);
        self.around.answer(stored, callback, &applied);
        let Some(entry) = applied.entry else { return };
        if matches!(entry.effect, Effect::Credited | Effect::Suspended) {
            self.twins.extend(fingerprint(callback).map(|print| ((stored.merchant.0, print), key)));
        }
        // The released entry, if there is one, stands before the callback's own.
        let position = stored.position.saturating_add(i64::from(stored.entries.saturating_sub(1)));
        if entry.effect == Effect::Suspended {
            self.around.suspend(stored, position, &entry);
        }
        let customer = customer.filter(|_| entry.touches_customer());
        let expected = Expected { callback: stored.id, customer, money: money_digest(&entry) };
        self.expected.insert(position, expected);
    }
}

/// How a decision is recorded with its callback.
fn recorded(decision: &Decision) -> (State, Option<Reason>) {
    match decision {
        Decision::Apply(applied) => (State::Booked, applied.entry.as_ref().and_then(|entry| entry.suspended)),
        Decision::Ignore(reason) => (State::Ignored, Some(*reason)),
        Decision::Hold(reason) => (State::Held, Some(*reason)),
    }
}

fn payment_key(stored: &Stored, callback: &Callback) -> u64 {
    digest(&(stored.merchant.0, callback.head.family().code(), &callback.head.payment_id))
}

/// What an entry says and moves, by kinds of account.
pub(super) fn money_digest(entry: &NewEntry) -> u64 {
    let postings: Vec<_> = entry
        .postings
        .iter()
        .map(|posting| (posting.debit.code(), posting.credit.code(), posting.currency.as_str(), posting.amount))
        .collect();
    digest(&(entry.event.code(), entry.effect.code(), entry.currency.as_deref(), entry.amount, entry.fee, postings))
}

pub(super) fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
