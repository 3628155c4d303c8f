//! What we ask of our own ledger: withdrawals before they are sent, and what operators decide. An order is written down
//! as a body of its own, sealed and booked like a callback, so that the journal, the events and the audit know one path.

use serde::{Deserialize, Serialize};

use super::account::AccountKind;
use super::amount::Amount;
use super::callback::{Callback, Head, Terms};
use super::customer::ReferenceKind;
use super::payment::Family;

/// A customer by one of their references.
pub type Reference = (ReferenceKind, String);

/// What is asked. The JSON of it is the order's body: the same order is the same bytes, and happens once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// A customer is known from now on. Moves nothing, and is not kept as a row.
    Customer { references: Vec<Reference> },
    /// Money is set aside before the processor is asked to send it.
    Withdrawal(Withdrawal),
    /// The processor refused a withdrawal for certain: the money comes back.
    Refund { foreign_id: String, error: String },
    /// Money in suspense is this customer's.
    Assign { discrepancy: i64, customer: Reference, payment: Told, note: String, by: String },
    /// One posting by hand. `key` tells two equal corrections apart.
    Correct(Correction),
    /// Reconciliation found a difference: it is told and waits for someone. Nothing moves.
    Report(Finding),
    /// An operator ends a withdrawal whose callbacks can't: what was set aside is gone, or the customer's again.
    Conclude { foreign_id: String, is_settled: bool, note: String, by: String },
    /// A reported difference is gone, or explained.
    Settle { discrepancy: i64, note: String, by: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Tells two equal findings apart: when the difference began.
    pub key: String,
    /// The number of a [`Reason`](super::reason::Reason).
    pub reason: i16,
    /// Empty: it is about no money that can be named.
    pub currency: String,
    #[serde(with = "exact")]
    pub amount: Amount,
    /// What may explain it, for the eyes of whoever looks.
    pub note: String,
    /// The merchant's name of what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// The merchant's own name of the request: the processor's key against sending twice.
    pub foreign_id: String,
    /// `None`: the merchant named nobody, and nothing is set aside.
    pub customer: Option<Reference>,
    pub currency: String,
    #[serde(with = "exact")]
    pub amount: Amount,
    pub currency_to: Option<String>,
    pub address: String,
    pub tag: Option<String>,
    pub api: Api,
    /// Of the bytes that will be sent.
    pub request_sha256: String,
    /// The bytes themselves stand in the withdrawal's row.
    #[serde(skip)]
    pub request: Vec<u8>,
}

/// Through which door a withdrawal was asked for. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    DropIn,
    Gateway,
    Admin,
}

impl Api {
    pub const ALL: [Self; 3] = [Self::DropIn, Self::Gateway, Self::Admin];

    pub const fn code(self) -> i16 {
        match self {
            Self::DropIn => 1,
            Self::Gateway => 2,
            Self::Admin => 3,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::DropIn => "drop_in",
            Self::Gateway => "gateway",
            Self::Admin => "admin",
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.code() == code)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    pub key: String,
    pub debit: AccountKind,
    pub credit: AccountKind,
    pub customer: Option<Reference>,
    pub currency: String,
    #[serde(with = "exact")]
    pub amount: Amount,
    /// The discrepancy that it settles.
    pub discrepancy: Option<i64>,
    pub note: String,
    pub by: String,
}

/// What the callback of a suspended payment told, so that the credited event tells it too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    pub kind: Option<String>,
    pub status: Option<String>,
    pub payment_id: Option<String>,
    pub address: Option<String>,
    pub txids: Vec<String>,
}

impl Order {
    /// The discrepancy that it settles.
    pub const fn discrepancy(&self) -> Option<i64> {
        match self {
            Self::Assign { discrepancy, .. } | Self::Settle { discrepancy, .. } => Some(*discrepancy),
            Self::Correct(correction) => correction.discrepancy,
            Self::Customer { .. }
            | Self::Withdrawal(_)
            | Self::Refund { .. }
            | Self::Conclude { .. }
            | Self::Report(_) => None,
        }
    }

    /// The bytes that are kept, sealed and hashed.
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }

    /// The inverse of [`Order::body`], but for the bytes to be sent.
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The customer that the order names.
    pub fn customer(&self) -> Option<&Reference> {
        match self {
            Self::Customer { .. }
            | Self::Refund { .. }
            | Self::Conclude { .. }
            | Self::Report(_)
            | Self::Settle { .. } => None,
            Self::Withdrawal(withdrawal) => withdrawal.customer.as_ref(),
            Self::Assign { customer, .. } => Some(customer),
            Self::Correct(correction) => correction.customer.as_ref(),
        }
    }

    /// Who and what, in the words of a callback: this is what events and lists show.
    pub fn told(&self) -> Callback {
        let mut head = match self {
            Self::Customer { .. } => Head::default(),
            Self::Withdrawal(withdrawal) => Head {
                kind: Some("withdrawal".to_owned()),
                status: Some("requested".to_owned()),
                foreign_id: Some(withdrawal.foreign_id.clone()),
                address: Some(withdrawal.address.clone()),
                ..Head::default()
            },
            Self::Refund { foreign_id, .. } => Head {
                kind: Some("withdrawal".to_owned()),
                status: Some("refused".to_owned()),
                foreign_id: Some(foreign_id.clone()),
                ..Head::default()
            },
            Self::Conclude { foreign_id, is_settled, .. } => Head {
                kind: Some("withdrawal".to_owned()),
                status: Some(if *is_settled { "confirmed" } else { "failed" }.to_owned()),
                foreign_id: Some(foreign_id.clone()),
                ..Head::default()
            },
            Self::Assign { payment, .. } => Head {
                kind: payment.kind.clone(),
                status: payment.status.clone(),
                payment_id: payment.payment_id.clone(),
                address: payment.address.clone(),
                txids: payment.txids.clone(),
                ..Head::default()
            },
            Self::Correct(_) => Head { kind: Some("correction".to_owned()), ..Head::default() },
            Self::Report(finding) => Head {
                kind: Some("reconciliation".to_owned()),
                foreign_id: finding.foreign_id.clone(),
                ..Head::default()
            },
            Self::Settle { .. } => Head { kind: Some("reconciliation".to_owned()), ..Head::default() },
        };
        match self.customer() {
            Some((ReferenceKind::EndUserReference, value)) => head.end_user_reference = Some(value.clone()),
            // Only deposits tell a customer by `foreign_id`.
            Some((ReferenceKind::ForeignId, value)) if head.family() == Family::Deposit => {
                head.foreign_id = Some(value.clone());
            }
            Some((ReferenceKind::ForeignId | ReferenceKind::Invoice, _)) | None => {}
        }
        Callback { head, terms: Ok(Terms::default()) }
    }
}

/// Amounts as the strings they are everywhere outside.
mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use crate::domain::amount::Amount;

    pub(super) fn serialize<S: Serializer>(amount: &Amount, out: S) -> Result<S::Ok, S::Error> {
        amount.to_string().serialize(out)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(input: D) -> Result<Amount, D::Error> {
        let text = String::deserialize(input)?;
        Amount::parse(&text).map_err(de::Error::custom)
    }
}
