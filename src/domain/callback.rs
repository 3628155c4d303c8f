//! A callback in our words. `processor::wire` makes it from bytes; `decide` judges it; nothing here guesses.

use super::amount::Amount;
use super::payment::Family;
use super::reason::Reason;

/// How a body came to us. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Sent and signed by the processor.
    Callback,
    /// The processor's answer when we asked.
    Reconcile,
    /// Asked for by us.
    Order,
}

impl Origin {
    pub const ALL: [Self; 3] = [Self::Callback, Self::Reconcile, Self::Order];

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::Callback => 0,
            Self::Reconcile => 1,
            Self::Order => 2,
        }
    }

    /// The word used outside.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Reconcile => "reconcile",
            Self::Order => "order",
        }
    }

    /// What a seal is made over before the body. A callback's body starts with `{`: neither passes for the other.
    pub const fn domain(self) -> &'static [u8] {
        match self {
            Self::Callback => b"",
            Self::Reconcile => b"tallyhook reconcile\n",
            Self::Order => b"tallyhook order\n",
        }
    }

    /// The origin a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.code() == code)
    }
}

/// What one signed body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    pub head: Head,
    /// The money, or why it can't be read exactly.
    pub terms: Result<Terms, Unclear>,
}

/// Who and what: kept beside the raw bytes for lists and searches, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The processor's `type`, as it came.
    pub kind: Option<String>,
    /// The processor's `status`, as it came.
    pub status: Option<String>,
    /// The processor's id of the payment; a number for most types, a uuid for payment requests.
    pub payment_id: Option<String>,
    /// The merchant's own reference: of the address (deposits), or of the request (withdrawals, invoices).
    pub foreign_id: Option<String>,
    /// The merchant's persistent name of the customer.
    pub end_user_reference: Option<String>,
    pub address: Option<String>,
    pub txids: Vec<String>,
}

impl Head {
    /// The family of payments that `kind` belongs to.
    pub fn family(&self) -> Family {
        self.kind.as_deref().map_or(Family::Other, Family::of)
    }
}

/// Why the money of a body can't be read, with the place for the operator's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    pub reason: Reason,
    pub detail: String,
}

/// The money of a body, exactly as it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    pub sent: Option<Money>,
    /// Still to be paid: invoices only.
    pub remaining: Option<Amount>,
    pub received: Option<Money>,
    /// What the processor credits to the merchant: deposits only.
    pub minus_fee: Option<Amount>,
    pub parts: Vec<Part>,
    pub fees: Vec<Money>,
    /// What goes with the address on some networks: a memo, a destination tag.
    pub tag: Option<String>,
    /// Empty when all is well.
    pub error: String,
    /// The address converts what it receives: the amount of a blockchain part is then not what is credited.
    pub converts: bool,
    pub is_legacy_futures: bool,
}

/// An amount of a currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    pub currency: String,
    pub amount: Amount,
}

/// One entry of `transactions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub is_exchange: bool,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
    pub address: Option<String>,
    pub txid: Option<String>,
    /// As it came: it decides nothing unless the merchant set a limit.
    pub risk_score: Option<String>,
}

/// A digest of (txid, address, amount) of a deposit: two payments with the same one are the same money told twice.
/// `None` where the body does not name exactly one such transaction.
pub fn fingerprint(callback: &Callback) -> Option<i64> {
    use sha2::{Digest, Sha256};

    let terms = callback.terms.as_ref().ok().filter(|_| callback.head.family() == Family::Deposit)?;
    let mut parts = terms.parts.iter().filter(|part| !part.is_exchange);
    let part = parts.next().filter(|_| parts.next().is_none())?;
    let amount = part.amount?.to_string();
    let words = [part.txid.as_deref()?, part.address.as_deref()?, part.currency.as_deref()?, &amount];
    let digest: [u8; 32] = Sha256::digest(words.join("\0")).into();
    digest.first_chunk().map(|head| i64::from_be_bytes(*head))
}
