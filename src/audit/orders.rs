//! Orders in the audit: obeyed again from their own bodies, with what the audit itself has derived so far.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::Report;
use super::decisions::{Decisions, Expected, digest, money_digest};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::callback::Callback;
use crate::domain::decide::{Applied, NewEntry};
use crate::domain::ids::{CustomerId, MerchantId, PaymentId};
use crate::domain::journal::Effect;
use crate::domain::obey::{Own, Surroundings, Suspended, obey};
use crate::domain::order::{Order, Withdrawal};
use crate::domain::payment::{Family, Phase, phase};
use crate::store::proof::{Stored, WithdrawalRow};

/// What orders are about, as the decisions are made again.
#[derive(Default)]
pub(super) struct Around {
    withdrawals: HashMap<(MerchantId, String), Own>,
    suspended: HashMap<(MerchantId, i64), Suspended>,
    /// A digest of what each withdrawal's order said.
    requests: HashMap<i64, u64>,
}

impl Around {
    pub(super) fn own(&self, stored: &Stored, callback: &Callback) -> Option<&Own> {
        let head = &callback.head;
        let foreign_id = head.foreign_id.clone().filter(|_| head.family() == Family::Withdrawal)?;
        self.withdrawals.get(&(stored.merchant, foreign_id))
    }

    /// A withdrawal's row must be what its sealed order said, to the bytes that are sent, and end as its callbacks said.
    pub(super) fn check(&mut self, row: &WithdrawalRow, report: &mut Report) {
        let request_sha256 = const_hex::encode(Sha256::digest(&row.request));
        let told = (&row.foreign_id, &row.currency, &row.amount, &row.address, &row.tag, &request_sha256);
        if self.requests.remove(&row.id) != Some(digest(&told)) {
            report.differs(format!("withdrawal {}: its row is not what its order says", row.id));
        }
        let own = self.withdrawals.get(&(row.merchant, row.foreign_id.clone()));
        if own.is_none_or(|own| (own.is_settled, own.is_failed) != (row.is_settled, row.is_failed)) {
            report.differs(format!("withdrawal {}: it did not end as its callbacks and orders say", row.id));
        }
    }

    /// What must hold at the end.
    pub(super) fn finish(&self, report: &mut Report) {
        for id in self.requests.keys() {
            report.differs(format!("withdrawal {id}: its row is missing"));
        }
    }

    /// Money that went to suspense waits for an order.
    pub(super) fn suspend(&mut self, stored: &Stored, position: i64, entry: &NewEntry) {
        let moved = entry.postings.iter().filter(|posting| posting.credit == AccountKind::Suspense);
        let amount = moved.fold(Amount::ZERO, |sum, posting| sum.checked_add(posting.amount).unwrap_or(sum));
        let currency = entry.currency.clone().unwrap_or_default();
        let (effect, payment) = (Effect::Suspended, stored.payment.map(PaymentId));
        let suspended = Suspended { effect, payment, currency, amount, fee: entry.fee, is_open: true };
        self.suspended.insert((stored.merchant, position), suspended);
    }

    /// A callback that was applied moves the request it speaks of.
    pub(super) fn answer(&mut self, stored: &Stored, callback: &Callback, applied: &Applied) {
        let head = &callback.head;
        let Some(foreign_id) = head.foreign_id.clone().filter(|_| head.family() == Family::Withdrawal) else { return };
        let payment = PaymentId(stored.payment.unwrap_or_default());
        // One that was made elsewhere takes its name.
        let elsewhere = Own {
            id: stored.id,
            is_ours: false,
            customer: None,
            currency: String::new(),
            amount: Amount::ZERO,
            address: String::new(),
            tag: None,
            is_settled: false,
            is_failed: false,
            payment: None,
        };
        let own = self.withdrawals.entry((stored.merchant, foreign_id)).or_insert(elsewhere);
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
        let head = &callback.head;
        let columns = (&stored.ext_id, &stored.foreign_id, &stored.end_user_reference);
        if columns != (&head.payment_id, &head.foreign_id, &head.end_user_reference) {
            return report.differs(format!("order {}: its columns are not what its body says", stored.id));
        }
        let owner = self.owner(stored, order.customer().map(|(kind, value)| (*kind, value.as_str())).into_iter());
        let customer = owner.customer();
        let own = self.around.own(stored, &callback).cloned();
        let discrepancy = order.discrepancy();
        let suspended = discrepancy.and_then(|at| self.around.suspended.get(&(stored.merchant, at)).cloned());
        let payment = self.payment_of(stored, &callback).cloned();
        let about = matches!(order, Order::Withdrawal(_) | Order::Refund { .. } | Order::Conclude { .. });
        let own = own.filter(|_| about);
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
                let own = Own {
                    id: stored.id,
                    is_ours: true,
                    customer,
                    currency: terms.currency.clone(),
                    amount: terms.amount,
                    address: terms.address.clone(),
                    tag: terms.tag.clone(),
                    is_settled: false,
                    is_failed: false,
                    payment: None,
                };
                self.around.withdrawals.insert((stored.merchant, terms.foreign_id.clone()), own);
                let amount = terms.amount.to_string();
                let Withdrawal { foreign_id, currency, address, tag, request_sha256, .. } = terms;
                let told = digest(&(foreign_id, currency, &amount, address, tag, request_sha256));
                self.around.requests.insert(stored.id, told);
            }
            Order::Refund { foreign_id, .. } => {
                whose = own.and_then(|own| own.customer);
                if let Some(own) = self.around.withdrawals.get_mut(&(stored.merchant, foreign_id.clone())) {
                    own.is_failed = true;
                }
            }
            Order::Conclude { foreign_id, is_settled, .. } => {
                whose = own.and_then(|own| own.customer);
                if let Some(own) = self.around.withdrawals.get_mut(&(stored.merchant, foreign_id.clone())) {
                    own.is_settled = *is_settled;
                    own.is_failed = !*is_settled;
                }
            }
            Order::Report(finding) => {
                let (currency, amount) = (finding.currency.clone(), Amount::ZERO);
                let effect = Effect::Reported;
                let reported = Suspended { effect, payment: None, currency, amount, fee: None, is_open: true };
                let position = stored.position.saturating_add(i64::from(stored.entries.saturating_sub(1)));
                self.around.suspended.insert((stored.merchant, position), reported);
            }
            Order::Customer { .. } | Order::Assign { .. } | Order::Correct(_) | Order::Settle { .. } => {}
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
