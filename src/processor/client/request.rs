//! The bodies of what we ask. Each is made once, as the bytes that are signed, stored and sent; it signs and sends
//! nothing itself.

use serde::{Serialize, Serializer};

use crate::domain::amount::Amount;

/// `addresses/take`
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewAddress {
    pub currency: String,
    pub foreign_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_user_reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convert_to: Option<String>,
    /// Of a Lightning invoice only; documented as a number.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_number")]
    pub amount: Option<Amount>,
}

/// `withdrawal/crypto`
#[derive(Debug, Clone, Serialize)]
pub struct NewWithdrawal {
    pub currency: String,
    #[serde(serialize_with = "as_text")]
    pub amount: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convert_to: Option<String>,
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    pub foreign_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_user_reference: Option<String>,
}

/// Which of the instant endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instant {
    Same,
    Exchanged,
}

/// The side of a trade that is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Sent(Amount),
    Received(Amount),
}

/// `exchange/calculate`
#[derive(Debug, Clone)]
pub struct Trade {
    pub sender_currency: String,
    pub receiver_currency: String,
    pub want: Want,
}

/// `exchange/now`, and with a price `exchange/fixed`
#[derive(Debug, Clone)]
pub struct NewExchange {
    pub trade: Trade,
    pub foreign_id: String,
    /// As `calculate` gave it: a token, not money.
    pub price: Option<String>,
}

/// `invoices/create`
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewInvoice {
    pub timer: bool,
    pub title: String,
    pub currency: String,
    #[serde(serialize_with = "as_text")]
    pub amount: Amount,
    pub foreign_id: String,
    pub end_user_reference: String,
    pub url_success: String,
    pub url_failed: String,
    pub email_user: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_currency: Option<String>,
}

/// What `transactions/info` is asked about.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Id(i64),
    ForeignId(String),
    Txid(String),
}

/// The flat form of a trade.
#[derive(Serialize)]
struct TradeBody<'a> {
    sender_currency: &'a str,
    receiver_currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver_amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<&'a str>,
}

impl NewAddress {
    pub fn body(&self) -> Vec<u8> {
        bytes(self)
    }
}

impl NewWithdrawal {
    pub fn body(&self) -> Vec<u8> {
        bytes(self)
    }
}

impl NewInvoice {
    pub fn body(&self) -> Vec<u8> {
        bytes(self)
    }
}

impl Subject {
    pub fn body(&self) -> Vec<u8> {
        bytes(self)
    }
}

impl Trade {
    pub fn body(&self) -> Vec<u8> {
        bytes(&self.flat())
    }

    fn flat(&self) -> TradeBody<'_> {
        let (sent, received) = match self.want {
            Want::Sent(amount) => (Some(amount), None),
            Want::Received(amount) => (None, Some(amount)),
        };
        TradeBody {
            sender_currency: &self.sender_currency,
            receiver_currency: &self.receiver_currency,
            sender_amount: sent.map(|amount| amount.to_string()),
            receiver_amount: received.map(|amount| amount.to_string()),
            foreign_id: None,
            price: None,
        }
    }
}

impl NewExchange {
    pub fn body(&self) -> Vec<u8> {
        bytes(&TradeBody { foreign_id: Some(&self.foreign_id), price: self.price.as_deref(), ..self.trade.flat() })
    }
}

impl Instant {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Same => "/crypto/withdrawal_instant",
            Self::Exchanged => "/crypto/withdrawal_instant_exchange",
        }
    }
}

fn bytes(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("texts and numbers always serialise")
}

fn as_text<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

fn as_number<S: Serializer>(amount: &Option<Amount>, serializer: S) -> Result<S::Ok, S::Error> {
    let token = amount.map(|amount| serde_json::value::RawValue::from_string(amount.to_string()));
    token.transpose().map_err(serde::ser::Error::custom)?.serialize(serializer)
}
