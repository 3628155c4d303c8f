//! Orders in a batch: what is known about each, what it does, and the rows that it brings beside its journal entry.

use super::Incoming;
use super::plan::{Forced, Member, Outcome, Pending, Plan, legs, next};
use crate::domain::claim;
use crate::domain::customer::{Owner, identify};
use crate::domain::decide::{Applied, NewEntry};
use crate::domain::event::EventType;
use crate::domain::ids::{CallbackId, CustomerId, PaymentId};
use crate::domain::journal::Effect;
use crate::domain::order::{Order, Own, Surroundings, obey};
use crate::domain::payment::{Payment, Phase, phase};
use crate::domain::reason::Reason;
use crate::store::booking::own::{FAILED, NewWithdrawal, Owned, PENDING, SETTLED, Turn};
use crate::store::booking::{Found, State};

impl<'a> Plan<'a> {
    /// An order is booked or declined: it is never held, and a declined one leaves nothing behind.
    pub(super) fn obey(&mut self, index: usize, member: &Member<'a>, order: &'a Order, found: &Found) -> Outcome {
        match member.forced {
            Some(Forced::Decline(reason) | Forced::Hold(reason)) => return declined(reason),
            Some(Forced::Fail | Forced::Dismiss) | None => {}
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
                let customer = if matches!(order, Order::Refund { .. }) {
                    own.as_ref().and_then(|own| own.customer)
                } else {
                    customer
                };
                let payment = payment.map(|payment| payment.id);
                self.carry_out(index, member, (order, own), (customer, payment), entry)
            }
        }
    }

    pub(super) fn owner(&self, incoming: &Incoming, payment: Option<&Payment>) -> Owner {
        if let Some(address) = incoming.pool() {
            let windows = self.around.windows.get(&(incoming.merchant, address.to_owned()));
            return claim::owner(windows.map_or(&[][..], Vec::as_slice), payment, incoming.received_us);
        }
        let customer_of = |key| self.learned.get(key).or_else(|| self.known.get(key)).copied();
        identify(incoming.references.iter().map(|key| (key.kind, customer_of(key))))
    }

    /// The withdrawal request that a member speaks of, as this batch has left it so far.
    pub(super) fn own(&self, incoming: &Incoming) -> Option<&Own> {
        let foreign_id = incoming.withdrawal()?;
        self.around.withdrawals.get(&(incoming.merchant, foreign_id.to_owned()))
    }

    fn make_known(&mut self, incoming: &Incoming, owner: Owner) -> Outcome {
        let before = self.writes.references.len();
        let customer = match owner {
            Owner::Known(id) => {
                self.attach(incoming, id);
                id
            }
            Owner::Unknown => self.open(incoming),
            Owner::Contradictory => return declined(Reason::CustomerContradictory),
            Owner::Missing => return declined(Reason::CustomerMissing),
            Owner::Withheld(reason) => return declined(reason),
        };
        let is_new = self.writes.references.len() > before;
        if is_new {
            // Another replica that looked before must look again.
            next(&mut self.head.turn);
        }
        Outcome { is_duplicate: !is_new, customer: Some(customer), ..booked(CallbackId(0)) }
    }

    fn carry_out(
        &mut self,
        index: usize,
        member: &Member<'a>,
        (order, own): (&'a Order, Option<Own>),
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
            incoming,
        };
        let subject = match order {
            Order::Customer { .. } | Order::Correct(_) | Order::Report(_) | Order::Settle { .. } => id.0,
            Order::Withdrawal(terms) => {
                let made = Own {
                    id: id.0,
                    customer,
                    currency: terms.currency.clone(),
                    amount: terms.amount,
                    is_settled: false,
                    is_failed: false,
                    payment: None,
                };
                self.around.withdrawals.insert((merchant, terms.foreign_id.clone()), made);
                self.writes.new_withdrawals.push(NewWithdrawal { id: id.0, merchant, customer, terms });
                id.0
            }
            Order::Refund { error, .. } => {
                let subject = own.as_ref().map_or(id.0, |own| own.id);
                self.turn(incoming, None, FAILED, Some(error.clone()));
                subject
            }
            Order::Assign { payment: told, .. } => {
                let family = incoming.callback.head.family();
                let ext_id = told.payment_id.clone().unwrap_or_default();
                self.writes.owned.extend(customer.map(|customer| Owned { merchant, family, ext_id, customer }));
                self.pending.push(Pending {
                    event: EventType::DiscrepancyResolved,
                    effect: Effect::Released,
                    new: None,
                    legs: Vec::new(),
                    ..pending.clone()
                });
                payment.map_or(id.0, |payment| payment.0)
            }
        };
        self.pending.push(Pending { subject, ..pending });
        if let Some(at) = incoming.discrepancy() {
            let how = match order {
                Order::Assign { .. } => "assigned",
                Order::Settle { .. } => "settled",
                Order::Customer { .. }
                | Order::Withdrawal(_)
                | Order::Refund { .. }
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

    /// A callback that was applied moves the request it speaks of.
    pub(super) fn answer_request(&mut self, incoming: &Incoming, applied: &Applied, payment: PaymentId) {
        let is_answered = self.own(incoming).is_some_and(|own| {
            own.is_settled || own.is_failed || own.payment.is_some_and(|answered| answered != payment)
        });
        if self.own(incoming).is_none() || is_answered {
            return;
        }
        let state = match phase(incoming.callback.head.family(), applied.status) {
            Phase::Confirmed => SETTLED,
            Phase::Closed => FAILED,
            Phase::InProgress | Phase::Unknown => PENDING,
        };
        let error = incoming.callback.terms.as_ref().ok().map(|terms| terms.error.clone());
        self.turn(incoming, Some(payment), state, error.filter(|error| !error.is_empty()));
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

fn booked(id: CallbackId) -> Outcome {
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

fn declined(reason: Reason) -> Outcome {
    Outcome { state: State::Ignored, declined: Some(reason), is_unchanged: true, ..booked(CallbackId(0)) }
}
