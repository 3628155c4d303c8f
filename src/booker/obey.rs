//! Orders in a batch: what is known about each, what it does, and the rows that it brings beside its journal entry.

use super::Incoming;
use super::plan::{Forced, Member, Of, Outcome, Pending, Plan};
use super::settle::legs;
use crate::domain::decide::{Applied, NewEntry};
use crate::domain::event::EventType;
use crate::domain::ids::{CallbackId, CustomerId, PaymentId};
use crate::domain::journal::Effect;
use crate::domain::obey::{Own, Surroundings, obey};
use crate::domain::order::{Order, Withdrawal};
use crate::domain::payment::{Phase, phase};
use crate::domain::reason::Reason;
use crate::store::booking::own::{ELSEWHERE, FAILED, NewWithdrawal, Owned, PENDING, REQUESTED, SETTLED, Turn};
use crate::store::booking::{Found, State};

impl Plan {
    /// An order is booked or declined: it is never held, and a declined one leaves nothing behind.
    pub(super) fn obey(&mut self, index: usize, member: &Member<'_>, order: &Order, found: &Found) -> Outcome {
        match member.forced {
            Some(Forced::Decline(reason) | Forced::Hold(reason)) => return declined(reason),
            Some(Forced::Fail | Forced::Dismiss | Forced::Correct) | None => {}
        }
        let incoming = member.incoming;
        let owner = self.owner(incoming, None);
        if matches!(order, Order::Customer { .. }) {
            return self.make_known(incoming, owner);
        }
        let customer = owner.customer();
        let own = self.own(incoming).cloned();
        let suspended = incoming.discrepancy().and_then(|at| self.around.suspended.get(&(incoming.merchant, at)));
        let payment = found.payment.as_ref();
        let known = Surroundings { customer, own: own.as_ref(), suspended, payment };
        match obey(order, &known) {
            Err(reason) => declined(reason),
            Ok(entry) => {
                let customer = if matches!(order, Order::Refund { .. } | Order::Conclude { .. }) {
                    own.as_ref().and_then(|own| own.customer)
                } else {
                    customer
                };
                let payment = payment.map(|payment| payment.id);
                self.carry_out(index, member, (order, own), (customer, payment), entry)
            }
        }
    }

    /// The withdrawal request that a member speaks of, as this batch has left it so far.
    pub(super) fn own(&self, incoming: &Incoming) -> Option<&Own> {
        let foreign_id = incoming.withdrawal()?;
        self.around.withdrawals.get(&(incoming.merchant, foreign_id.to_owned()))
    }

    fn carry_out(
        &mut self,
        index: usize,
        member: &Member<'_>,
        (order, own): (&Order, Option<Own>),
        (customer, payment): (Option<CustomerId>, Option<PaymentId>),
        entry: NewEntry,
    ) -> Outcome {
        let incoming = member.incoming;
        let merchant = incoming.merchant;
        let outcome = self.conclude(index, member, State::Booked, None, payment, customer);
        let id = outcome.id;
        let pending = Pending {
            member: index,
            event: entry.event,
            effect: entry.effect,
            subject: id.0,
            callback: id,
            payment,
            customer,
            reason: entry.suspended,
            legs: legs(merchant, customer, &entry),
            new: Some(entry.clone()),
            of: Of::from(incoming),
        };
        if matches!(order, Order::Assign { .. }) {
            let (event, effect) = (EventType::DiscrepancyResolved, Effect::Released);
            self.pending.push(Pending { event, effect, new: None, legs: Vec::new(), ..pending.clone() });
        }
        let subject = self.keep_order(incoming, (order, own.as_ref()), (id.0, customer, payment));
        self.pending.push(Pending { subject, ..pending });
        if let Some(at) = incoming.discrepancy() {
            let how = match order {
                Order::Assign { .. } => "assigned",
                Order::Settle { .. } => "settled",
                Order::Customer { .. }
                | Order::Withdrawal(_)
                | Order::Refund { .. }
                | Order::Conclude { .. }
                | Order::Correct(_)
                | Order::Report(_) => "corrected",
            };
            self.writes.resolved.push((at, how));
            if let Some(suspended) = self.around.suspended.get_mut(&(merchant, at)) {
                suspended.is_open = false;
            }
        }
        Outcome { is_order: true, entry: Some(entry), ..outcome }
    }

    /// The rows that an order brings beside its entry, and what its effect happens to.
    fn keep_order(
        &mut self,
        incoming: &Incoming,
        (order, own): (&Order, Option<&Own>),
        (id, customer, payment): (i64, Option<CustomerId>, Option<PaymentId>),
    ) -> i64 {
        let merchant = incoming.merchant;
        match order {
            Order::Customer { .. } | Order::Correct(_) | Order::Report(_) | Order::Settle { .. } => id,
            Order::Withdrawal(terms) => {
                self.request(incoming, terms, (id, customer));
                id
            }
            Order::Refund { error, .. } => {
                self.turn(incoming, None, FAILED, Some(error.clone()));
                own.map_or(id, |own| own.id)
            }
            Order::Conclude { is_settled, note, .. } => {
                self.turn(incoming, None, if *is_settled { SETTLED } else { FAILED }, Some(note.clone()));
                own.map_or(id, |own| own.id)
            }
            Order::Assign { payment: told, .. } => {
                let family = incoming.callback.head.family();
                let ext_id = told.payment_id.clone().unwrap_or_default();
                self.writes.owned.extend(customer.map(|customer| Owned { merchant, family, ext_id, customer }));
                payment.map_or(id, |payment| payment.0)
            }
        }
    }

    fn request(&mut self, incoming: &Incoming, terms: &Withdrawal, (id, customer): (i64, Option<CustomerId>)) {
        let (merchant, currency, amount) = (incoming.merchant, terms.currency.clone(), terms.amount);
        let (is_settled, is_failed, payment) = (false, false, None);
        let own = Own {
            id,
            is_ours: true,
            customer,
            currency: currency.clone(),
            amount,
            address: terms.address.clone(),
            tag: terms.tag.clone(),
            is_settled,
            is_failed,
            payment,
        };
        self.around.withdrawals.insert((merchant, terms.foreign_id.clone()), own);
        self.writes.new_withdrawals.push(NewWithdrawal {
            id,
            merchant,
            customer,
            state: REQUESTED,
            api: terms.api.code(),
            foreign_id: terms.foreign_id.clone(),
            currency,
            amount,
            currency_to: terms.currency_to.clone(),
            address: terms.address.clone(),
            tag: terms.tag.clone(),
            request: terms.request.clone(),
            payment: None,
            processor_id: None,
        });
    }

    /// A callback that was applied moves the request it speaks of. One that was made elsewhere takes its name.
    pub(super) fn answer_request(
        &mut self,
        incoming: &Incoming,
        applied: &Applied,
        (payment, id): (PaymentId, CallbackId),
    ) {
        let Some(foreign_id) = incoming.withdrawal() else { return };
        let state = match phase(incoming.callback.head.family(), applied.status) {
            Phase::Confirmed => SETTLED,
            Phase::Closed => FAILED,
            Phase::InProgress | Phase::Unknown => PENDING,
        };
        let Some(own) = self.own(incoming) else {
            return self.take_name(incoming, foreign_id, applied, (payment, id, state));
        };
        if own.is_settled || own.is_failed || own.payment.is_some_and(|answered| answered != payment) {
            return;
        }
        let error = incoming.callback.terms.as_ref().ok().map(|terms| terms.error.clone());
        self.turn(incoming, Some(payment), state, error.filter(|error| !error.is_empty()));
    }

    fn take_name(
        &mut self,
        incoming: &Incoming,
        foreign_id: &str,
        applied: &Applied,
        (payment, id, state): (PaymentId, CallbackId, i16),
    ) {
        let merchant = incoming.merchant;
        let entry = applied.entry.as_ref();
        let currency = entry.and_then(|entry| entry.currency.clone()).unwrap_or_default();
        let amount = entry.and_then(|entry| entry.amount).unwrap_or_default();
        let own = Own {
            id: id.0,
            is_ours: false,
            customer: None,
            currency: currency.clone(),
            amount,
            address: incoming.callback.head.address.clone().unwrap_or_default(),
            tag: None,
            is_settled: state == SETTLED,
            is_failed: state == FAILED,
            payment: Some(payment),
        };
        self.around.withdrawals.insert((merchant, foreign_id.to_owned()), own);
        let head = &incoming.callback.head;
        self.writes.new_withdrawals.push(NewWithdrawal {
            id: id.0,
            merchant,
            customer: None,
            state,
            api: ELSEWHERE,
            foreign_id: foreign_id.to_owned(),
            currency,
            amount,
            currency_to: None,
            address: head.address.clone().unwrap_or_default(),
            tag: None,
            request: Vec::new(),
            payment: Some(payment),
            processor_id: head.payment_id.clone(),
        });
    }

    fn turn(&mut self, incoming: &Incoming, payment: Option<PaymentId>, state: i16, error: Option<String>) {
        let Some(foreign_id) = incoming.withdrawal() else { return };
        let Some(own) = self.around.withdrawals.get_mut(&(incoming.merchant, foreign_id.to_owned())) else { return };
        own.payment = own.payment.or(payment);
        own.is_settled = state == SETTLED;
        own.is_failed = state == FAILED;
        let processor_id = incoming.callback.head.payment_id.clone();
        self.writes.turns.push(Turn { id: own.id, state, payment, processor_id, error });
    }
}

pub(super) fn booked(id: CallbackId) -> Outcome {
    Outcome {
        id,
        state: State::Booked,
        reason: None,
        is_duplicate: false,
        is_unchanged: false,
        is_order: true,
        declined: None,
        entry: None,
        customer: None,
    }
}

pub(super) fn declined(reason: Reason) -> Outcome {
    Outcome { state: State::Ignored, declined: Some(reason), is_unchanged: true, ..booked(CallbackId(0)) }
}
