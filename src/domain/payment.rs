//! A payment's life: which families there are, what a status means for each, and what is remembered between callbacks.

use super::ids::{CustomerId, PaymentId};

/// Types that share one range of ids and one life. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Deposit,
    Withdrawal,
    Exchange,
    Invoice,
    PaymentRequest,
    /// A type we do not know: kept and held.
    Other,
}

impl Family {
    /// Every family there is.
    pub const ALL: [Self; 6] =
        [Self::Deposit, Self::Withdrawal, Self::Exchange, Self::Invoice, Self::PaymentRequest, Self::Other];

    /// The family of a `type` as the processor spells it.
    pub fn of(kind: &str) -> Self {
        match kind {
            "deposit" | "deposit_exchange" => Self::Deposit,
            "withdrawal" | "withdrawal_exchange" | "withdrawal_instant" | "withdrawal_instant_exchange" => {
                Self::Withdrawal
            }
            "exchange" => Self::Exchange,
            "invoice" => Self::Invoice,
            "payment_request" => Self::PaymentRequest,
            _ => Self::Other,
        }
    }

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::Other => 0,
            Self::Deposit => 1,
            Self::Withdrawal => 2,
            Self::Exchange => 3,
            Self::Invoice => 4,
            Self::PaymentRequest => 5,
        }
    }

    /// The family a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.code() == code)
    }

    /// The word in effect keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Exchange => "exchange",
            Self::Invoice => "invoice",
            Self::PaymentRequest => "payment_request",
        }
    }
}

/// A status in our words. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    NotConfirmed,
    Pending,
    Processing,
    Confirmed,
    Cancelled,
    Declined,
    Failed,
}

impl Status {
    /// Every status there is.
    pub const ALL: [Self; 7] = [
        Self::NotConfirmed,
        Self::Pending,
        Self::Processing,
        Self::Confirmed,
        Self::Cancelled,
        Self::Declined,
        Self::Failed,
    ];

    /// The status as the processor spells it; `None` for words we do not know.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    /// The processor's spelling.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotConfirmed => "not_confirmed",
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Declined => "declined",
            Self::Failed => "failed",
        }
    }

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::NotConfirmed => 1,
            Self::Pending => 2,
            Self::Processing => 3,
            Self::Confirmed => 10,
            Self::Cancelled => 11,
            Self::Declined => 12,
            Self::Failed => 13,
        }
    }

    /// The status a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

/// What a status means for a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    InProgress,
    Confirmed,
    /// Final, and no money came of it.
    Closed,
    /// Not a status of this family: an operator decides.
    Unknown,
}

/// The phase that `status` puts a payment of `family` in. Tolerant of any in-progress word for any family.
pub const fn phase(family: Family, status: Status) -> Phase {
    match (family, status) {
        (_, Status::NotConfirmed | Status::Pending | Status::Processing) => Phase::InProgress,
        (Family::Deposit | Family::Withdrawal | Family::Exchange | Family::Invoice, Status::Confirmed) => {
            Phase::Confirmed
        }
        (Family::Deposit, Status::Cancelled)
        | (Family::Withdrawal, Status::Cancelled | Status::Declined | Status::Failed)
        | (Family::Invoice, Status::Failed | Status::Cancelled) => Phase::Closed,
        (Family::Deposit, Status::Declined | Status::Failed)
        | (Family::Exchange, Status::Cancelled | Status::Declined | Status::Failed)
        | (Family::Invoice, Status::Declined)
        | (
            Family::PaymentRequest | Family::Other,
            Status::Confirmed | Status::Cancelled | Status::Declined | Status::Failed,
        ) => Phase::Unknown,
    }
}

/// What is remembered of a payment between its callbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub id: PaymentId,
    pub status: Status,
    /// A digest of the money that was booked, so that the same final status with other money is noticed.
    pub facts: Option<i64>,
    pub customer: Option<CustomerId>,
}
