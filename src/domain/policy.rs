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
    /// An operator looked at what this reason holds, and lets it pass.
    pub waived: Option<Reason>,
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
        self.waived.map_or(0, |reason| reason.code() << 2) | chosen
    }

    /// The policy a stored number names. The risk limit is not kept: where it decided, the reason tells.
    pub fn from_code(code: i16) -> Self {
        Self {
            credit: if code & 1 == 0 { Credit::Gross } else { Credit::Net },
            unknown_customer: if code & 2 == 0 { UnknownCustomer::Open } else { UnknownCustomer::Suspense },
            risk_limit: None,
            waived: Reason::from_code(code >> 2),
        }
    }

    pub(super) fn holds(self, reason: Reason) -> bool {
        self.waived != Some(reason)
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
