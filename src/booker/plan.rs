//! Turns a batch into rows, in memory: decides each member in order, gives out ids from the head, moves balances and
//! chains the journal. Pure: what it needs is loaded before, and
//! accounts between its two halves, `decide_all` and `settle_all`.

use foldhash::{HashMap, HashSet};

use super::Incoming;
use super::by_hand::how_released;
use super::settle::legs;

use crate::domain::amount::Amount;
use crate::domain::customer::Owner;
use crate::domain::decide::{Applied, Decision, Known, NewEntry, Policy, decide};
use crate::domain::event::EventType;
use crate::domain::ids::{AccountId, CallbackId, CustomerId, MerchantId, PaymentId};
use crate::domain::journal::Effect;
use crate::domain::payment::{Family, Payment, Status};
use crate::domain::reason::Reason;
use crate::store::booking::own::Around;
use crate::store::booking::{AccountKey, Found, Head, PaymentRow, ReferenceKey, Standing, State, Verdict, Writes};

/// A member of a batch: a new body, or one that is stored and decided anew.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub incoming: &'a Incoming,
    pub standing: Option<Standing>,
    pub policy: Policy,
    pub must_verify: bool,
    /// Set instead of deciding: booking it was tried and refused.
    pub forced: Option<Forced>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Forced {
    Hold(Reason),
    Fail,
    /// An operator decided that a held callback books nothing.
    Dismiss,
    /// People book its money by hand, in the same transaction.
    Correct,
    /// An order for which there is not enough money.
    Decline(Reason),
}

/// What became of a member.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub id: CallbackId,
    pub state: State,
    pub reason: Option<Reason>,
    pub is_duplicate: bool,
    /// Set when a stored callback stands as it stood.
    pub is_unchanged: bool,
    pub is_order: bool,
    /// Why an order changed nothing.
    pub declined: Option<Reason>,
    pub entry: Option<NewEntry>,
    pub customer: Option<CustomerId>,
}

/// Members whose money can't move, and what becomes of them instead.
pub(super) struct Unsettled(pub Vec<(usize, Forced)>);

/// An entry decided on, before its accounts are known.
#[derive(Clone)]
pub(super) struct Pending {
    pub member: usize,
    pub event: EventType,
    pub effect: Effect,
    pub subject: i64,
    pub callback: CallbackId,
    pub payment: Option<PaymentId>,
    pub customer: Option<CustomerId>,
    pub reason: Option<Reason>,
    pub new: Option<NewEntry>,
    /// Debit, credit and amount of each posting.
    pub legs: Vec<(AccountKey, AccountKey, Amount)>,
    pub of: Of,
}

/// Whose entry it is.
#[derive(Clone, Copy)]
pub(super) struct Of {
    pub merchant: MerchantId,
    pub digest: [u8; 32],
    pub is_order: bool,
}

impl From<&Incoming> for Of {
    fn from(incoming: &Incoming) -> Self {
        Self { merchant: incoming.merchant, digest: incoming.digest(), is_order: incoming.order.is_some() }
    }
}

pub(super) struct Plan {
    pub head: Head,
    /// Without the arrivals: these are `arrived`, until it is ready.
    pub writes: Writes<'static>,
    /// Which member, and what is decided of it.
    pub(super) arrived: Vec<(usize, Verdict)>,
    pub outcomes: Vec<Outcome>,
    /// References this batch gave to customers.
    pub learned: HashMap<ReferenceKey, CustomerId>,
    /// Every account this batch touched, with its balance afterwards.
    pub accounts: HashMap<AccountKey, (AccountId, Amount)>,
    payments: HashMap<(MerchantId, Family, String), usize>,
    seen: HashMap<(MerchantId, [u8; 32]), (CallbackId, State)>,
    fingerprints: HashSet<(MerchantId, i64)>,
    pub pending: Vec<Pending>,
    pub accounts_before: i64,
    pub customers_before: i64,
    /// The withdrawals and suspended payments that members speak of.
    pub(super) around: Around,
    /// References that were known before this batch.
    pub(super) known: HashMap<ReferenceKey, CustomerId>,
}

impl Plan {
    pub(super) fn new(head: Head, now_us: i64, around: Around) -> Self {
        let writes = Writes { now_us, released_before: head.position, ..Writes::default() };
        Self {
            head,
            writes,
            outcomes: Vec::new(),
            learned: HashMap::default(),
            accounts: HashMap::default(),
            payments: HashMap::default(),
            seen: HashMap::default(),
            fingerprints: HashSet::default(),
            pending: Vec::new(),
            accounts_before: head.account,
            customers_before: head.customer,
            around,
            known: HashMap::default(),
            arrived: Vec::new(),
        }
    }

    /// The first half: a verdict for each member.
    pub(super) fn decide_all(&mut self, members: &[Member<'_>], found: &[Found]) {
        for (member, found) in members.iter().zip(found) {
            let index = self.outcomes.len();
            let outcome = self.unchanged(member, found).unwrap_or_else(|| self.decide_one(index, member, found));
            self.outcomes.push(outcome);
        }
    }

    /// A body that is stored already is another delivery; a stored one that is booked or ignored stays so.
    fn unchanged(&mut self, member: &Member<'_>, found: &Found) -> Option<Outcome> {
        let (id, state, is_duplicate) = match member.standing {
            // Only what is held can be dismissed: what failed is money that the database refused, and is tried again.
            Some(standing)
                if matches!(member.forced, Some(Forced::Dismiss | Forced::Correct))
                    && standing.state != State::Held =>
            {
                (standing.id, standing.state, false)
            }
            Some(standing) if matches!(standing.state, State::Booked | State::Ignored) => {
                (standing.id, standing.state, false)
            }
            Some(_) => return None,
            None => match (found.callback, self.seen.get(&(member.incoming.merchant, member.incoming.digest()))) {
                (Some(id), _) => (id, State::Booked, true),
                (None, Some((id, state))) => (*id, *state, true),
                (None, None) => return None,
            },
        };
        let is_order = member.incoming.order.is_some();
        if is_duplicate && !is_order {
            self.writes.redeliveries.push(id);
        }
        let (is_unchanged, declined, entry) = (true, None, None);
        Some(Outcome { id, state, reason: None, is_duplicate, is_unchanged, is_order, declined, entry, customer: None })
    }

    fn decide_one(&mut self, index: usize, member: &Member<'_>, found: &Found) -> Outcome {
        let incoming = member.incoming;
        if let Some(order) = &incoming.order {
            return self.obey(index, member, order, found);
        }
        let callback = &incoming.callback;
        let payment = self.payment(incoming).or_else(|| found.payment.clone());
        let own = self.own(incoming).filter(|own| own.is_ours);
        let named = self.owner(incoming, payment.as_ref());
        let owner = own.and_then(|own| own.customer).map_or(named, Owner::Known);
        let is_twin_here =
            incoming.key().fingerprint.is_some_and(|print| self.fingerprints.contains(&(incoming.merchant, print)));
        let has_twin = found.has_twin || is_twin_here;
        // What was waived before stays waived when more is.
        let before = member.standing.filter(|_| !member.policy.waived.is_nothing());
        let waived = before.map_or(member.policy.waived, |standing| standing.waived.and(member.policy.waived));
        let member = &Member { policy: Policy { waived, ..member.policy }, ..*member };
        let Member { policy, must_verify, .. } = *member;
        let is_retired = self.is_retired(incoming);
        let known = Known { payment: payment.as_ref(), owner, named, policy, has_twin, own, must_verify, is_retired };
        let decision = match member.forced {
            Some(Forced::Hold(reason) | Forced::Decline(reason)) => Decision::Hold(reason),
            Some(Forced::Fail) => return self.fail(index, member),
            Some(Forced::Dismiss) => Decision::Ignore(Reason::Dismissed),
            Some(Forced::Correct) => return self.correct(index, member, (payment, has_twin), owner.customer()),
            None => decide(callback, &known),
        };
        let customer = owner.customer();
        match decision {
            Decision::Apply(applied) => self.apply(index, member, applied, payment, owner),
            Decision::Ignore(reason) => {
                self.conclude(index, member, State::Ignored, Some(reason), payment.map(|payment| payment.id), customer)
            }
            Decision::Hold(reason) => {
                self.conclude(index, member, State::Held, Some(reason), payment.map(|payment| payment.id), customer)
            }
        }
    }

    /// The payment as this batch has left it so far.
    fn payment(&self, incoming: &Incoming) -> Option<Payment> {
        let key = incoming.key();
        let row =
            self.writes.payments.get(*self.payments.get(&(key.merchant, key.family, key.ext_id?.to_owned()))?)?;
        Some(Payment { id: row.id, status: row.status, facts: row.facts, customer: row.customer })
    }

    fn apply(
        &mut self,
        index: usize,
        member: &Member<'_>,
        applied: Applied,
        payment: Option<Payment>,
        owner: Owner,
    ) -> Outcome {
        let incoming = member.incoming;
        let touches = applied.entry.as_ref().is_some_and(NewEntry::touches_customer);
        let customer = match owner {
            Owner::Known(id) => {
                // What is not what was requested may name somebody else: nothing is learnt from it.
                if touches && !member.policy.lets(Reason::ContradictsRequest) {
                    self.attach(incoming, id);
                }
                Some(id)
            }
            Owner::Unknown if touches => Some(self.open(incoming)),
            Owner::Unknown | Owner::Contradictory | Owner::Missing | Owner::Withheld(_) => None,
        };
        let suspended = applied.entry.as_ref().and_then(|entry| entry.suspended);
        let customer = customer.filter(|_| suspended.is_none());
        let id = self.keep_payment(incoming, &applied, payment, customer);
        let outcome = self.conclude(index, member, State::Booked, suspended, Some(id), customer);
        self.answer_request(incoming, &applied, (id, outcome.id));
        let Some(entry) = applied.entry else { return outcome };
        self.pending.push(Pending {
            member: index,
            event: entry.event,
            effect: entry.effect,
            subject: id.0,
            callback: outcome.id,
            payment: Some(id),
            customer,
            reason: suspended,
            legs: legs(incoming.merchant, customer, &entry),
            new: Some(entry.clone()),
            of: Of::from(incoming),
        });
        Outcome { entry: Some(entry), ..outcome }
    }

    pub(super) fn keep_payment(
        &mut self,
        incoming: &Incoming,
        applied: &Applied,
        payment: Option<Payment>,
        customer: Option<CustomerId>,
    ) -> PaymentId {
        let key = incoming.key();
        let is_new = payment.is_none();
        let id = payment.map_or_else(|| PaymentId(next(&mut self.head.payment)), |payment| payment.id);
        // What people booked by hand in place of it came in as well.
        let is_income = match &applied.entry {
            Some(entry) => matches!(entry.effect, Effect::Credited | Effect::Suspended),
            None => applied.status == Status::Confirmed,
        };
        let fingerprint = key.fingerprint.filter(|_| is_income);
        self.fingerprints.extend(fingerprint.map(|print| (incoming.merchant, print)));
        let ext_id = key.ext_id.unwrap_or_default();
        let row = PaymentRow {
            id,
            merchant: incoming.merchant,
            family: key.family,
            ext_id: ext_id.to_owned(),
            status: applied.status,
            facts: applied.facts,
            fingerprint,
            customer,
            is_new,
        };
        let place = self.payments.entry((incoming.merchant, key.family, ext_id.to_owned()));
        let place = *place.or_insert(self.writes.payments.len());
        match self.writes.payments.get_mut(place) {
            Some(kept) => *kept = PaymentRow { is_new: kept.is_new, ..row },
            None => self.writes.payments.push(row),
        }
        id
    }

    /// The row of the verdict, and the entries that holding or releasing it brings.
    pub(super) fn conclude(
        &mut self,
        index: usize,
        member: &Member<'_>,
        state: State,
        reason: Option<Reason>,
        payment: Option<PaymentId>,
        customer: Option<CustomerId>,
    ) -> Outcome {
        let incoming = member.incoming;
        let was = member.standing.map(|standing| standing.state);
        let id = self.stand(index, member, (state, reason), (payment, customer));
        let turned = match (was, state) {
            (Some(State::Held), State::Held) | (None | Some(State::Failed), State::Booked | State::Ignored) => None,
            (_, State::Held) => Some((EventType::PaymentHeld, Effect::Held)),
            (Some(State::Held), _) => Some((EventType::DiscrepancyResolved, Effect::Released)),
            (_, State::Booked | State::Ignored | State::Failed) => None,
        };
        if let Some((event, effect)) = turned {
            if effect == Effect::Released {
                self.writes.released.push((id, how_released(state, reason, member.policy)));
            }
            self.pending.push(Pending {
                member: index,
                event,
                effect,
                subject: id.0,
                callback: id,
                payment,
                customer,
                reason,
                new: None,
                legs: Vec::new(),
                of: Of::from(incoming),
            });
        }
        let is_unchanged = was == Some(state);
        Outcome {
            id,
            state,
            reason,
            is_duplicate: false,
            is_unchanged,
            is_order: false,
            declined: None,
            entry: None,
            customer,
        }
    }

    /// Kept without a decision: the worker tries again.
    fn fail(&mut self, index: usize, member: &Member<'_>) -> Outcome {
        let (state, reason) = (State::Failed, Some(Reason::BookingFailed));
        let id = self.stand(index, member, (state, reason), (None, None));
        let (is_duplicate, is_unchanged, is_order) = (false, false, false);
        Outcome { id, state, reason, is_duplicate, is_unchanged, is_order, declined: None, entry: None, customer: None }
    }

    fn stand(
        &mut self,
        index: usize,
        member: &Member<'_>,
        (state, reason): (State, Option<Reason>),
        (payment, customer): (Option<PaymentId>, Option<CustomerId>),
    ) -> CallbackId {
        let incoming = member.incoming;
        let id = member.standing.map_or_else(|| CallbackId(next(&mut self.head.callback)), |standing| standing.id);
        let detail = incoming.callback.terms.as_ref().err().map(|unclear| unclear.detail.clone());
        let verdict = Verdict {
            id,
            state,
            reason,
            detail,
            policy: member.policy.code(),
            entries: 0,
            position: 0,
            turn: next(&mut self.head.turn),
            payment,
            customer,
            decided_us: self.writes.now_us,
        };
        if member.standing.is_some() {
            self.writes.verdicts.push(verdict);
        } else {
            self.seen.insert((incoming.merchant, incoming.digest()), (id, state));
            self.arrived.push((index, verdict));
        }
        id
    }
}

pub(super) fn next(counter: &mut i64) -> i64 {
    *counter = counter.checked_add(1).expect("a journal does not reach 2^63 entries");
    *counter
}
