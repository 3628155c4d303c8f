//! The kinds of account and the posting: one debit, one credit, one positive amount, one currency.
//! An unbalanced posting cannot be written down, so an unbalanced transfer cannot either.

use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// What an account is for. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum AccountKind {
    /// What AlphaPo holds for us.
    Processor = 1,
    /// What the processor charged.
    Fees = 2,
    /// The other side of our own exchanges.
    Exchange = 3,
    /// Money that is real but nobody's yet.
    Suspense = 4,
    /// What a customer may spend.
    Available = 5,
    /// What a customer asked to withdraw and the processor has not settled.
    Held = 6,
}

impl AccountKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Processor, Self::Fees, Self::Exchange, Self::Suspense, Self::Available, Self::Held];

    /// The number the database stores.
    #[expect(clippy::as_conversions, reason = "a fieldless repr(i16) enum has no other way to its number")]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The kind a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The word used outside.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Fees => "fees",
            Self::Exchange => "exchange",
            Self::Suspense => "suspense",
            Self::Available => "available",
            Self::Held => "held",
        }
    }

    /// Kept per customer rather than per merchant.
    pub const fn is_customers(self) -> bool {
        matches!(self, Self::Available | Self::Held)
    }

    /// Debits make it larger: what we own and what we spent. Credits make the others larger: what we owe.
    pub const fn grows_by_debit(self) -> bool {
        matches!(self, Self::Processor | Self::Fees)
    }
}

/// One movement between two accounts of one merchant. `Available` and `Held` mean those of the transfer's customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub debit: AccountKind,
    pub credit: AccountKind,
    pub currency: String,
    pub amount: Amount,
}

impl Posting {
    /// `None` when there is nothing to move: a posting's amount is positive, always.
    pub fn new(debit: AccountKind, credit: AccountKind, currency: &str, amount: Amount) -> Option<Self> {
        amount.is_positive().then(|| Self { debit, credit, currency: currency.to_owned(), amount })
    }
}
