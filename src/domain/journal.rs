//! The journal: one order for the whole deployment. Each entry is one effect, told as one event, with the postings
//! that move its money, and carries a hash chained to the entry before it.

use std::fmt;

use sha2::{Digest, Sha256};

use super::amount::Amount;
use super::event::EventType;
use super::ids::{AccountId, CallbackId, CustomerId, MerchantId, PaymentId};
use super::payment::Family;
use super::reason::Reason;

macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal;)*) => {
        /// What can happen once to a subject. (subject, effect) is unique in the database.
        /// Which kind of id the subject is follows from the effect, so their numbers cannot be confused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Effect { $($(#[$doc])* $name,)* }

        impl Effect {
            /// Every effect there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number the database stores.
            pub const fn code(self) -> i16 {
                match self { $(Self::$name => $code,)* }
            }

            /// The last word of the effect key.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

effects! {
    /// A payment was seen before it is final.
    Pending = 1, "pending";
    /// A payment's money reached a customer.
    Credited = 2, "credited";
    /// A withdrawal or exchange was carried out.
    Settled = 3, "settled";
    /// A payment ended without money.
    Closed = 4, "closed";
    /// A payment's money is here, but nobody's yet.
    Suspended = 5, "suspense";
    /// A callback waits for an operator.
    Held = 32, "held";
    /// A callback that waited was booked after all.
    Released = 33, "released";
    /// A withdrawal was asked for, and its money set aside.
    Requested = 34, "requested";
    /// A withdrawal was refused before it began, and its money given back.
    Refunded = 35, "refunded";
    /// An operator moved money by hand, or a difference that was found is settled.
    Corrected = 36, "corrected";
    /// Reconciliation found a difference.
    Reported = 37, "reported";
    /// An operator ended a withdrawal as carried out.
    Concluded = 38, "concluded";
}

impl Effect {
    /// Whether it happens to a callback, an order or a withdrawal rather than to a payment.
    pub const fn is_of_callback(self) -> bool {
        self.code() >= 32
    }

    /// The effect a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|effect| effect.code() == code)
    }
}

/// Names an effect for ever, across restores and versions: `deposit/2686563/credited`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectKey {
    OfPayment { family: Family, payment_id: String, effect: Effect },
    OfCallback { digest: [u8; 32], effect: Effect },
}

impl fmt::Display for EffectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfPayment { family, payment_id, effect } => {
                write!(out, "{}/{payment_id}/{}", family.name(), effect.word())
            }
            Self::OfCallback { digest, effect } => {
                write!(out, "callback/{}/{}", const_hex::encode(digest), effect.word())
            }
        }
    }
}

/// One entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub position: i64,
    pub event: EventType,
    pub merchant: MerchantId,
    /// The payment, callback, withdrawal or order that `effect` happened to.
    pub subject: i64,
    pub effect: Effect,
    pub callback: CallbackId,
    pub payment: Option<PaymentId>,
    pub customer: Option<CustomerId>,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
    pub fee: Option<Amount>,
    pub balance_after: Option<Amount>,
    pub reason: Option<Reason>,
    pub at_us: i64,
    pub postings: Vec<Booked>,
}

/// A posting between accounts as they are stored. The currency is the accounts'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booked {
    pub debit: AccountId,
    pub credit: AccountId,
    pub amount: Amount,
}

/// The hash that chains `entry` to the one before it. `digest` is that of the callback's body.
pub fn chain(previous: &[u8; 32], entry: &Entry, digest: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(digest);
    let none = i64::MIN;
    for number in [
        entry.position,
        i64::from(entry.event.code()),
        i64::from(entry.merchant.0),
        entry.subject,
        i64::from(entry.effect.code()),
        entry.callback.0,
        entry.payment.map_or(none, |id| id.0),
        entry.customer.map_or(none, |id| id.0),
        entry.reason.map_or(none, |reason| i64::from(reason.code())),
        entry.at_us,
    ] {
        hash.update(number.to_le_bytes());
    }
    hash.update(entry.currency.as_deref().unwrap_or_default());
    hash.update([0]);
    for amount in [entry.amount, entry.fee, entry.balance_after] {
        hash.update(amount.map_or(i128::MIN, Amount::units).to_le_bytes());
    }
    for posting in &entry.postings {
        hash.update(posting.debit.0.to_le_bytes());
        hash.update(posting.credit.0.to_le_bytes());
        hash.update(posting.amount.units().to_le_bytes());
    }
    hash.finalize().into()
}
