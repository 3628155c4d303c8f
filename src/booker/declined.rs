//! The last withdrawals that the ledger declined, for the operator's eyes. A declined order leaves nothing behind in the
//! database, so this is in memory, capped, and each process has its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;
use crate::domain::order::{Api, Order};
use crate::domain::reason::Reason;

/// Remembered, newest last.
const KEPT: usize = 200;

/// A withdrawal that was asked for and is not to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclinedOrder {
    pub at_us: i64,
    pub merchant: MerchantId,
    pub foreign_id: String,
    /// The reference it was asked for under.
    pub customer: Option<String>,
    pub currency: String,
    pub amount: Amount,
    pub api: Api,
    pub reason: Option<Reason>,
}

#[derive(Default)]
pub struct Declined(Mutex<VecDeque<DeclinedOrder>>);

impl Declined {
    pub(super) fn add(&self, order: DeclinedOrder) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= KEPT {
            last.pop_front();
        }
        last.push_back(order);
    }

    /// Newest first.
    pub fn entries(&self) -> Vec<DeclinedOrder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

/// What would be told of an order if it were declined. Other orders are told of where they are asked for.
pub(super) fn told(merchant: MerchantId, order: &Order, at_us: i64) -> Option<DeclinedOrder> {
    let Order::Withdrawal(withdrawal) = order else { return None };
    Some(DeclinedOrder {
        at_us,
        merchant,
        foreign_id: withdrawal.foreign_id.clone(),
        customer: withdrawal.customer.as_ref().map(|(_, reference)| reference.clone()),
        currency: withdrawal.currency.clone(),
        amount: withdrawal.amount,
        api: withdrawal.api,
        reason: None,
    })
}
