//! What a merchant chose, and the number by which a choice is kept with each decision.

use super::amount::Amount;
use super::reason::Reason;

/// What a merchant chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub credit: Credit,
    pub unknown_customer: UnknownCustomer,
    /// Deposits with a higher risk score go to suspense.
    pub risk_limit: Option<Amount>,
    /// An operator looked at what these reasons hold, and lets it pass.
    pub waived: Waived,
}

impl Policy {
    /// The number kept with each decision, so that `ledger verify` can decide again.
    pub fn code(self) -> i16 {
        let chosen = match (self.credit, self.unknown_customer) {
            (Credit::Gross, UnknownCustomer::Open) => 0,
            (Credit::Net, UnknownCustomer::Open) => 1,
            (Credit::Gross, UnknownCustomer::Suspense) => 2,
            (Credit::Net, UnknownCustomer::Suspense) => 3,
        };
        (self.waived.0 << 2) | chosen
    }

    /// The policy a stored number names. The risk limit is not kept: where it decided, the reason tells.
    pub fn from_code(code: i16) -> Self {
        Self {
            credit: if code & 1 == 0 { Credit::Gross } else { Credit::Net },
            unknown_customer: if code & 2 == 0 { UnknownCustomer::Open } else { UnknownCustomer::Suspense },
            risk_limit: None,
            waived: Waived(code >> 2),
        }
    }

    pub(super) fn holds(self, reason: Reason) -> bool {
        !self.lets(reason)
    }

    /// Whether an operator let this reason pass.
    pub const fn lets(self, reason: Reason) -> bool {
        self.waived.0 & Waived::of(reason).0 != 0
    }
}

/// The reasons that an operator waived: a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waived(i16);

impl Waived {
    /// Nothing, for a reason that says that nothing can be booked as it stands.
    pub const fn of(reason: Reason) -> Self {
        Self(if matches!(reason, Reason::ConfirmedWithError) {
            1
        } else if matches!(reason, Reason::PossibleDuplicate) {
            2
        } else if matches!(reason, Reason::InvoiceRemaining) {
            4
        } else if matches!(reason, Reason::ContradictsRequest) {
            8
        } else if matches!(reason, Reason::AwaitsVerification) {
            16
        } else if matches!(reason, Reason::AddressRetired) {
            32
        } else {
            0
        })
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

/// Who bears the processor's fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credit {
    /// The merchant: the customer is credited what they sent.
    Gross,
    /// The customer.
    Net,
}

/// What a first payment of an unknown customer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownCustomer {
    /// Opens the customer: the reference was chosen by the merchant's own system and is signed.
    Open,
    /// Goes to suspense.
    Suspense,
}
