//! Orders in the audit: obeyed again from their own bodies, with what the audit itself has derived so far.

use std::collections::HashMap;

use super::Report;
use super::decisions::{Decisions, Expected, digest, money_digest};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::callback::Callback;
use crate::domain::decide::{Applied, NewEntry};
use crate::domain::ids::{CustomerId, MerchantId, PaymentId};
use crate::domain::order::{Order, Own, Surroundings, Suspended, obey};
use crate::domain::payment::{Family, Phase, phase};
use crate::store::proof::Stored;

/// What orders are about, as the decisions are made again.
#[derive(Default)]
pub(super) struct Around {
    withdrawals: HashMap<(MerchantId, String), Own>,
    suspended: HashMap<(MerchantId, i64), Suspended>,
}

impl Around {
    pub(super) fn own(&self, stored: &Stored, callback: &Callback) -> Option<&Own> {
        let head = &callback.head;
        let foreign_id = head.foreign_id.clone().filter(|_| head.family() == Family::Withdrawal)?;
        self.withdrawals.get(&(stored.merchant, foreign_id))
    }

    /// Money that went to suspense waits for an order.
    pub(super) fn suspend(&mut self, stored: &Stored, position: i64, entry: &NewEntry) {
        let moved = entry.postings.iter().filter(|posting| posting.credit == AccountKind::Suspense);
        let amount = moved.fold(Amount::ZERO, |sum, posting| sum.checked_add(posting.amount).unwrap_or(sum));
        let currency = entry.currency.clone().unwrap_or_default();
        let suspended = Suspended { currency, amount, fee: entry.fee, is_open: true };
        self.suspended.insert((stored.merchant, position), suspended);
    }

    /// A callback that was applied moves the request it speaks of.
    pub(super) fn answer(&mut self, stored: &Stored, callback: &Callback, applied: &Applied) {
        let head = &callback.head;
        let Some(foreign_id) = head.foreign_id.clone().filter(|_| head.family() == Family::Withdrawal) else { return };
        let Some(own) = self.withdrawals.get_mut(&(stored.merchant, foreign_id)) else { return };
        let payment = PaymentId(stored.payment.unwrap_or_default());
        if own.is_settled || own.is_failed || own.payment.is_some_and(|answered| answered != payment) {
            return;
        }
        own.payment = Some(payment);
        match phase(head.family(), applied.status) {
            Phase::Confirmed => own.is_settled = true,
            Phase::Closed => own.is_failed = true,
            Phase::InProgress | Phase::Unknown => {}
        }
    }
}

impl Decisions {
    pub(super) fn obey(&mut self, stored: &Stored, order: &Order, report: &mut Report) {
        let callback = order.told();
        let owner = self.owner(stored, order.customer().map(|(kind, value)| (*kind, value.as_str())).into_iter());
        let customer = owner.customer();
        let own = self.around.own(stored, &callback).cloned();
        let discrepancy = order.discrepancy();
        // A held callback's discrepancy has no money in suspense, but can be settled by a correction.
        let held = Suspended { currency: String::new(), amount: Amount::ZERO, fee: None, is_open: true };
        let suspended =
            discrepancy.map(|at| self.around.suspended.get(&(stored.merchant, at)).unwrap_or(&held).clone());
        let payment = self.payment_of(stored, &callback).cloned();
        let own = own.filter(|_| matches!(order, Order::Withdrawal(_) | Order::Refund { .. }));
        let known =
            Surroundings { customer, own: own.as_ref(), suspended: suspended.as_ref(), payment: payment.as_ref() };
        let entry = match obey(order, &known) {
            Ok(entry) => entry,
            Err(reason) => {
                return report.differs(format!("order {}: derived as declined ({})", stored.id, reason.word()));
            }
        };
        self.follow(stored, order, (customer, own, discrepancy), &entry);
    }

    fn follow(
        &mut self,
        stored: &Stored,
        order: &Order,
        (customer, own, discrepancy): (Option<CustomerId>, Option<Own>, Option<i64>),
        entry: &NewEntry,
    ) {
        let mut whose = customer;
        match order {
            Order::Withdrawal(terms) => {
                let (currency, amount) = (terms.currency.clone(), terms.amount);
                let (is_settled, is_failed, payment) = (false, false, None);
                let own = Own { id: stored.id, customer, currency, amount, is_settled, is_failed, payment };
                self.around.withdrawals.insert((stored.merchant, terms.foreign_id.clone()), own);
            }
            Order::Refund { foreign_id, .. } => {
                whose = own.and_then(|own| own.customer);
                if let Some(own) = self.around.withdrawals.get_mut(&(stored.merchant, foreign_id.clone())) {
                    own.is_failed = true;
                }
            }
            Order::Customer { .. }
            | Order::Assign { .. }
            | Order::Correct(_)
            | Order::Report(_)
            | Order::Settle { .. } => {}
        }
        if let Some(open) = discrepancy.and_then(|at| self.around.suspended.get_mut(&(stored.merchant, at))) {
            open.is_open = false;
        }
        let position = stored.position.saturating_add(i64::from(stored.entries.saturating_sub(1)));
        let customer = whose.filter(|_| entry.touches_customer());
        self.expected.insert(position, Expected { callback: stored.id, customer, money: money_digest(entry) });
    }

    /// A key for what a reference points at.
    pub(super) fn reference(merchant: MerchantId, kind: i16, value: &str) -> u64 {
        digest(&(merchant.0, kind, value))
    }
}
