//! What should be over by now, and how the processor is asked about it. Pure: kinds, how long to wait, and whether an
//! answer says anything new.

use super::callback::Head;
use super::payment::{Family, Phase, Status, phase};

/// The first two questions are this far apart, the later ones ever further.
const WAIT_MIN_US: i64 = 300_000_000;
const WAIT_MAX_US: i64 = 21_600_000_000;
/// For a deposit that waits for its check.
const CHECK_MIN_US: i64 = 5_000_000;
const CHECK_MAX_US: i64 = 1_800_000_000;

/// What is asked about. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A withdrawal that the processor took.
    Withdrawal,
    /// An invoice that is neither paid nor over.
    Invoice,
    /// A deposit that was seen and is not final.
    Deposit,
    /// An exchange that the processor took.
    Exchange,
    /// A confirmed deposit that is checked before it is booked.
    Check,
}

impl Expected {
    pub const ALL: [Self; 5] = [Self::Withdrawal, Self::Invoice, Self::Deposit, Self::Exchange, Self::Check];

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::Withdrawal => 1,
            Self::Invoice => 2,
            Self::Deposit => 3,
            Self::Exchange => 4,
            Self::Check => 5,
        }
    }

    /// The word used outside.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Withdrawal => "withdrawal",
            Self::Invoice => "invoice",
            Self::Deposit => "deposit",
            Self::Exchange => "exchange",
            Self::Check => "check",
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|expected| expected.code() == code)
    }

    pub const fn family(self) -> Family {
        match self {
            Self::Withdrawal => Family::Withdrawal,
            Self::Invoice => Family::Invoice,
            Self::Deposit | Self::Check => Family::Deposit,
            Self::Exchange => Family::Exchange,
        }
    }

    /// How long to wait after so many questions: 5 min, 10 min … up to 6 h; a check 5 s, 10 s … up to half an hour.
    pub fn wait_us(self, attempts: i32) -> i64 {
        let (least, most) = match self {
            Self::Check => (CHECK_MIN_US, CHECK_MAX_US),
            Self::Withdrawal | Self::Invoice | Self::Deposit | Self::Exchange => (WAIT_MIN_US, WAIT_MAX_US),
        };
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or_default().min(20);
        least.saturating_mul(2_i64.saturating_pow(doublings)).min(most)
    }
}

/// By what the processor is asked. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its own id.
    Id,
    /// The merchant's name: only withdrawals are found by it.
    ForeignId,
    /// The number of a callback of ours, which has the processor's id.
    Callback,
}

impl By {
    pub const fn code(self) -> i16 {
        match self {
            Self::Id => 1,
            Self::ForeignId => 2,
            Self::Callback => 3,
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Id, Self::ForeignId, Self::Callback].into_iter().find(|by| by.code() == code)
    }
}

/// Whether an answer says more than is known: one that is on its way still is not worth a row each time, and an invoice
/// that is merely created has no callback that says so.
pub fn is_news(known: Option<Status>, told: &Head) -> bool {
    let family = told.family();
    if family == Family::Invoice && told.status.as_deref() == Some("created") {
        return false;
    }
    let Some(status) = told.status.as_deref().and_then(Status::of) else { return true };
    phase(family, status) != Phase::InProgress || known.is_none_or(|known| known != status)
}
