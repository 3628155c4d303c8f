//! Whose money it is. A customer has references, each pointing at exactly one customer per merchant.

use serde::{Deserialize, Serialize};

use super::callback::Head;
use super::claim;
use super::ids::CustomerId;
use super::payment::Family;
use super::reason::Reason;

/// The kinds of reference. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceKind {
    EndUserReference,
    ForeignId,
    /// The `foreign_id` of an invoice that was created through us: the merchant's name of the invoice, not of the
    /// customer. It finds one, and never opens one or is learnt from a callback.
    Invoice,
}

impl ReferenceKind {
    /// Every kind there is.
    pub const ALL: [Self; 3] = [Self::EndUserReference, Self::ForeignId, Self::Invoice];

    /// The number the database stores.
    pub const fn code(self) -> i16 {
        match self {
            Self::EndUserReference => 1,
            Self::ForeignId => 2,
            Self::Invoice => 3,
        }
    }

    /// The word used outside.
    pub const fn word(self) -> &'static str {
        match self {
            Self::EndUserReference => "end_user_reference",
            Self::ForeignId => "foreign_id",
            Self::Invoice => "invoice",
        }
    }
}

/// The references by which a callback names its customer. Only deposits do so by `foreign_id`: for withdrawals and
/// invoices it is the merchant's name of the request, of which an invoice's may be known to us. What came to a pool
/// address names nobody.
pub fn references(head: &Head) -> impl Iterator<Item = (ReferenceKind, &str)> {
    let names_somebody = claim::pool(head).is_none();
    let kind = match head.family() {
        Family::Deposit => Some(ReferenceKind::ForeignId),
        Family::Invoice => Some(ReferenceKind::Invoice),
        Family::Withdrawal | Family::Exchange | Family::PaymentRequest | Family::Other => None,
    };
    let by_foreign_id = kind.and_then(|kind| Some((kind, head.foreign_id.as_deref()?)));
    let by_user = head.end_user_reference.as_deref().map(|value| (ReferenceKind::EndUserReference, value));
    by_user.into_iter().chain(by_foreign_id).filter(move |_| names_somebody)
}

/// What the references of a callback, or the windows of a pool address, say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// All known references agree; unknown ones beside them belong to the same customer from now on.
    Known(CustomerId),
    /// Named, but never seen.
    Unknown,
    /// The references belong to different customers.
    Contradictory,
    /// The body names nobody.
    Missing,
    /// A pool address: nobody, or one of several.
    Withheld(Reason),
}

impl Owner {
    pub const fn customer(self) -> Option<CustomerId> {
        match self {
            Self::Known(id) => Some(id),
            Self::Unknown | Self::Contradictory | Self::Missing | Self::Withheld(_) => None,
        }
    }
}

/// Judges what was found for each reference, in the order of [`references`]. An invoice that nobody told us of before
/// names nobody.
pub fn identify(found: impl Iterator<Item = (ReferenceKind, Option<CustomerId>)>) -> Owner {
    let mut owner = Owner::Missing;
    for (_, customer) in found.filter(|(kind, customer)| *kind != ReferenceKind::Invoice || customer.is_some()) {
        owner = match (owner, customer) {
            (Owner::Missing, None) => Owner::Unknown,
            (Owner::Missing | Owner::Unknown, Some(id)) => Owner::Known(id),
            (Owner::Known(known), Some(id)) if known != id => return Owner::Contradictory,
            (Owner::Unknown | Owner::Known(_) | Owner::Contradictory | Owner::Withheld(_), _) => owner,
        };
    }
    owner
}
