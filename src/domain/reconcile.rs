//! What a difference between our ledger and the processor's accounts means. Pure: two balances, what is on its way, and
//! since when they differ.

use super::amount::Amount;

/// A currency of a merchant, on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// The ledger's `processor` account.
    pub ours: Amount,
    pub theirs: Amount,
    /// Of withdrawals that were sent and are not over: the processor may have taken them already, or not.
    pub in_flight: Amount,
}

/// What a run came to for one currency. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Equal to the last digit.
    Matched,
    /// No more is missing than is on its way.
    Explained,
    /// They differ, but not for long: a callback may be on its way.
    Waiting,
    /// They differ, and someone must look.
    Open,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Matched, Self::Explained, Self::Waiting, Self::Open];

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::Matched => 1,
            Self::Explained => 2,
            Self::Waiting => 3,
            Self::Open => 4,
        }
    }

    /// The word used outside.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Explained => "explained",
            Self::Waiting => "waiting",
            Self::Open => "open",
        }
    }

    /// The verdict a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.code() == code)
    }

    /// Whether the two sides differ by more than what is on its way.
    pub const fn differs(self) -> bool {
        matches!(self, Self::Waiting | Self::Open)
    }
}

impl Sides {
    /// What the processor has more than we know of: a lost credit. Below zero: a false credit, or money that went out
    /// without our knowing. `None`: beyond any balance.
    pub fn difference(self) -> Option<Amount> {
        self.theirs.checked_sub(self.ours)
    }

    /// What the processor has more than we know of, or zero.
    pub fn surplus(self) -> Amount {
        self.difference().filter(|difference| difference.is_positive()).unwrap_or_default()
    }

    /// Of two looks at the same, what counts. A deposit that the processor has and that is not booked yet only ever adds to
    /// a surplus, so of two surpluses the smaller one is nearer to the truth.
    pub fn or_later(self, later: Self) -> Self {
        if later.surplus() < self.surplus() { later } else { self }
    }

    /// What is told of a difference that has lasted. A deficit as it is. Of a surplus only as much as was there at every run
    /// within the patience (`before`): a callback that is on its way has come by then, so that much is none, and what
    /// there is beyond it at one run or another may be.
    pub fn lasting(self, before: &[Self]) -> Amount {
        let surpluses = before.iter().map(|sides| sides.surplus());
        let difference = self.difference().unwrap_or_default();
        if difference.is_positive() { surpluses.fold(difference, Ord::min) } else { difference }
    }

    /// `age_us`: for how long they have differed; `patience_us`: for how long a callback may be on its way.
    pub fn judge(self, age_us: i64, patience_us: i64) -> Verdict {
        let Some(difference) = self.difference() else { return Verdict::Open };
        if difference.is_zero() {
            return Verdict::Matched;
        }
        let is_missing = difference < Amount::ZERO;
        if is_missing && difference.negated() <= self.in_flight {
            return Verdict::Explained;
        }
        if age_us < patience_us { Verdict::Waiting } else { Verdict::Open }
    }
}
