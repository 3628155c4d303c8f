//! A callback on its way to the booker: verified bytes with what was read from them. Made on the caller's thread,
//! so that the one writer only decides and writes.

use sha2::{Digest, Sha256};

use crate::domain::callback::{Callback, Origin, fingerprint};
use crate::domain::claim::pool;
use crate::domain::customer::references;
use crate::domain::ids::MerchantId;
use crate::domain::order::Order;
use crate::domain::payment::Family;
use crate::processor::wire;
use crate::store::booking::{Arrival, Key, ReferenceKey};

/// One verified body, or one order of ours.
#[derive(Debug)]
pub struct Incoming {
    pub merchant: MerchantId,
    pub signature: [u8; 64],
    /// The headers worth keeping, as JSON.
    pub headers: String,
    pub body: Vec<u8>,
    pub received_us: i64,
    pub callback: Callback,
    pub origin: Origin,
    pub order: Option<Order>,
    digest: [u8; 32],
    locality: i64,
    fingerprint: Option<i64>,
    pub(super) references: Vec<ReferenceKey>,
}

impl Incoming {
    /// Reads the body. Never fails: what can't be read is held.
    pub fn new(merchant: MerchantId, signature: [u8; 64], headers: String, body: Vec<u8>, received_us: i64) -> Self {
        let callback = wire::read(&body);
        let digest: [u8; 32] = Sha256::digest(&body).into();
        let locality = locality(callback.head.payment_id.as_deref(), &digest);
        let fingerprint = fingerprint(&callback);
        let key = |(kind, value): (_, &str)| ReferenceKey { merchant, kind, value: value.to_owned() };
        let references = references(&callback.head).map(key).collect();
        let (origin, order) = (Origin::Callback, None);
        Self {
            merchant,
            signature,
            headers,
            body,
            received_us,
            callback,
            origin,
            order,
            digest,
            locality,
            fingerprint,
            references,
        }
    }

    /// What the processor answered when it was asked: booked like a callback, under a seal of ours.
    pub fn answer(merchant: MerchantId, seal: [u8; 64], body: Vec<u8>, received_us: i64) -> Self {
        Self { origin: Origin::Reconcile, ..Self::new(merchant, seal, "{}".to_owned(), body, received_us) }
    }

    /// What we ask of our own ledger.
    pub fn order(merchant: MerchantId, seal: [u8; 64], order: Order, received_us: i64) -> Self {
        let (body, callback) = (order.body(), order.told());
        let digest: [u8; 32] = Sha256::digest(&body).into();
        let key = |(kind, value): &(_, String)| ReferenceKey { merchant, kind: *kind, value: value.clone() };
        let references = match &order {
            Order::Customer { references } => references.iter().map(key).collect(),
            Order::Withdrawal(_)
            | Order::Refund { .. }
            | Order::Conclude { .. }
            | Order::Assign { .. }
            | Order::Correct(_)
            | Order::Report(_)
            | Order::Settle { .. } => order.customer().map(key).into_iter().collect(),
        };
        Self {
            merchant,
            signature: seal,
            headers: "{}".to_owned(),
            locality: locality(None, &digest),
            fingerprint: None,
            origin: Origin::Order,
            order: Some(order),
            body,
            received_us,
            callback,
            digest,
            references,
        }
    }

    /// The withdrawal request that this speaks of, by the merchant's name of it.
    pub(super) fn withdrawal(&self) -> Option<&str> {
        match &self.order {
            Some(Order::Withdrawal(_) | Order::Refund { .. } | Order::Conclude { .. }) => {
                self.callback.head.foreign_id.as_deref()
            }
            Some(_) => None,
            None => {
                let head = &self.callback.head;
                head.foreign_id.as_deref().filter(|_| head.family() == Family::Withdrawal)
            }
        }
    }

    /// The pool address that a deposit came to, by its foreign id.
    pub(super) fn pool(&self) -> Option<&str> {
        pool(&self.callback.head).filter(|_| self.order.is_none())
    }

    /// The discrepancy that an order settles.
    pub(super) fn discrepancy(&self) -> Option<i64> {
        self.order.as_ref()?.discrepancy()
    }

    pub(super) fn key(&self) -> Key<'_> {
        let head = &self.callback.head;
        Key {
            merchant: self.merchant,
            locality: self.locality,
            digest: &self.digest,
            family: head.family(),
            ext_id: head.payment_id.as_deref(),
            fingerprint: self.fingerprint,
        }
    }

    pub(super) fn arrival(&self) -> Arrival<'_> {
        Arrival {
            merchant: self.merchant,
            locality: self.locality,
            digest: &self.digest,
            origin: self.origin,
            signature: &self.signature,
            head: &self.callback.head,
            headers: &self.headers,
            body: &self.body,
            received_us: self.received_us,
        }
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// A number that keeps callbacks of neighbouring payments together in the index that recognises repeats: the payment's
/// id where it is a number, which ascends as the processor gives them out; otherwise a part of the digest, below zero.
fn locality(payment_id: Option<&str>, digest: &[u8; 32]) -> i64 {
    let by_id = payment_id.and_then(|id| id.parse::<i64>().ok()).filter(|id| *id >= 0);
    by_id.unwrap_or_else(|| digest.first_chunk().map_or(-1, |head| i64::from_be_bytes(*head) | i64::MIN))
}
