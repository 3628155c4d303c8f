//! Answers, from their words into ours. Tolerant: fields of either type, fields that are missing where nothing depends
//! on them, fields nobody knows. Amounts are read exactly or not at all.

use super::{Answer, Trouble};
use crate::domain::amount::Amount;
use crate::processor::json::{self, Member, Node};

/// `currencies/list`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency {
    pub currency: String,
    /// `crypto` or `fiat`.
    pub kind: Option<String>,
    pub minimum_amount: Option<Amount>,
    /// As they stand: whether these are per cent or fractions is not documented.
    pub deposit_fee_percent: Option<String>,
    pub withdrawal_fee_percent: Option<String>,
    pub precision: Option<String>,
}

/// One side of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    pub currency: String,
    pub kind: Option<String>,
    pub min_amount: Option<Amount>,
    pub min_amount_deposit_with_exchange: Option<Amount>,
}

/// `currencies/pairs` and `currencies/rates`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub from: Side,
    pub to: Side,
    pub rate_from: String,
    pub rate_to: String,
}

/// `accounts/list`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub currency: String,
    pub kind: Option<String>,
    pub balance: Amount,
}

/// `addresses/take`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub id: Option<String>,
    pub currency: String,
    pub convert_to: Option<String>,
    pub address: String,
    pub tag: Option<String>,
    pub foreign_id: Option<String>,
    pub end_user_reference: Option<String>,
}

/// A withdrawal that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub id: String,
    pub foreign_id: Option<String>,
    pub kind: Option<String>,
    pub status: Option<String>,
    pub sender_currency: Option<String>,
    pub sender_amount: Option<Amount>,
    pub receiver_currency: Option<String>,
    /// Missing for some merchants.
    pub receiver_amount: Option<Amount>,
}

/// `exchange/calculate`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    pub sender_currency: String,
    pub sender_amount: Amount,
    pub receiver_currency: String,
    pub receiver_amount: Amount,
    pub fee_currency: Option<String>,
    pub fee_amount: Option<Amount>,
    pub price: String,
    /// Seconds since 1970 until which the price holds.
    pub ts_release: Option<String>,
}

/// `exchange/now` and `exchange/fixed`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    pub id: String,
    pub foreign_id: Option<String>,
    pub status: Option<String>,
    pub sender_currency: Option<String>,
    pub sender_amount: Option<Amount>,
    pub receiver_currency: Option<String>,
    pub receiver_amount: Option<Amount>,
}

/// `invoices/create`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    pub id: String,
    pub url: Option<String>,
    pub foreign_id: Option<String>,
    pub end_user_reference: Option<String>,
    pub status: Option<String>,
    pub address: Option<String>,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
    pub sender_currency: Option<String>,
    pub sender_amount: Option<Amount>,
    pub fixed_at: Option<String>,
    pub release_at: Option<String>,
}

/// What an answer's `data` is read into.
pub(super) trait Shape: Sized {
    fn of(fields: Fields<'_>) -> Option<Self>;
}

/// The object under `data`.
pub(super) fn one<T: Shape>(answer: &Answer) -> Result<T, Trouble> {
    let root = body(answer)?;
    let data = root.object().and_then(|root| root.object("data")).and_then(T::of);
    data.ok_or_else(garbled)
}

/// The id of what an answer's `data` tells, whatever it is.
pub fn operation_id(body: &[u8]) -> Option<String> {
    let root = json::read(body).map(Root).ok()?;
    root.object()?.object("data")?.text("id")
}

/// The list under `data`; all of its entries must be readable.
pub(super) fn list<T: Shape>(answer: &Answer) -> Result<Vec<T>, Trouble> {
    let root = body(answer)?;
    let Some(Node::List(entries)) = root.object().and_then(|root| root.get("data")) else { return Err(garbled()) };
    let entries = entries.iter().map(|entry| Root(entry.clone()).object().and_then(T::of));
    entries.collect::<Option<Vec<_>>>().ok_or_else(garbled)
}

/// The whole body of a success.
pub(super) fn body(answer: &Answer) -> Result<Root<'_>, Trouble> {
    if !matches!(answer.status, 200 | 201) {
        return Err(Trouble::of(answer));
    }
    json::read(&answer.body).map(Root).map_err(|_broken| garbled())
}

fn garbled() -> Trouble {
    Trouble::unknown("it answered success with a body that can't be read")
}

pub(super) struct Root<'n>(pub(super) Node<'n>);

impl Root<'_> {
    pub(super) fn object(&self) -> Option<Fields<'_>> {
        match &self.0 {
            Node::Object(members) => Some(Fields(members)),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_) => None,
        }
    }

    /// `null`, `{}` or `[]`.
    pub(super) fn is_empty(&self) -> bool {
        match &self.0 {
            Node::Null => true,
            Node::List(items) => items.is_empty(),
            Node::Object(members) => members.is_empty(),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) => false,
        }
    }
}

/// The members of an object.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n>(&'n [Member<'n>]);

impl<'n> Fields<'n> {
    pub(super) fn get(self, name: &str) -> Option<&'n Node<'n>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    fn object(self, name: &str) -> Option<Self> {
        match self.get(name) {
            Some(Node::Object(members)) => Some(Self(members)),
            None | Some(Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_)) => None,
        }
    }

    /// A text or a number's token; an empty one is none.
    pub(super) fn text(self, name: &str) -> Option<String> {
        let text = match self.get(name) {
            Some(Node::Text(text)) => text,
            Some(Node::Number(token)) => *token,
            None | Some(Node::Null | Node::Bool(_) | Node::List(_) | Node::Object(_)) => "",
        };
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    fn amount(self, name: &str) -> Option<Amount> {
        Amount::parse(&self.text(name)?).ok()
    }
}

impl Shape for Currency {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            currency: fields.text("currency")?,
            kind: fields.text("type"),
            minimum_amount: fields.amount("minimum_amount"),
            deposit_fee_percent: fields.text("deposit_fee_percent"),
            withdrawal_fee_percent: fields.text("withdrawal_fee_percent"),
            precision: fields.text("precision"),
        })
    }
}

impl Shape for Side {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            currency: fields.text("currency")?,
            kind: fields.text("type"),
            min_amount: fields.amount("min_amount"),
            min_amount_deposit_with_exchange: fields.amount("min_amount_deposit_with_exchange"),
        })
    }
}

impl Shape for Pair {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            from: fields.object("currency_from").and_then(Side::of)?,
            to: fields.object("currency_to").and_then(Side::of)?,
            rate_from: fields.text("rate_from")?,
            rate_to: fields.text("rate_to")?,
        })
    }
}

impl Shape for Account {
    fn of(fields: Fields<'_>) -> Option<Self> {
        let kind = fields.text("type");
        Some(Self { currency: fields.text("currency")?, kind, balance: fields.amount("balance")? })
    }
}

impl Shape for Address {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            id: fields.text("id"),
            currency: fields.text("currency")?,
            convert_to: fields.text("convert_to"),
            address: fields.text("address")?,
            tag: fields.text("tag"),
            foreign_id: fields.text("foreign_id"),
            end_user_reference: fields.text("end_user_reference"),
        })
    }
}

impl Shape for Placed {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            id: fields.text("id")?,
            foreign_id: fields.text("foreign_id"),
            kind: fields.text("type"),
            status: fields.text("status"),
            sender_currency: fields.text("sender_currency"),
            sender_amount: fields.amount("sender_amount").or_else(|| fields.amount("amount")),
            receiver_currency: fields.text("receiver_currency"),
            receiver_amount: fields.amount("receiver_amount"),
        })
    }
}

impl Shape for Quote {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            sender_currency: fields.text("sender_currency")?,
            sender_amount: fields.amount("sender_amount")?,
            receiver_currency: fields.text("receiver_currency")?,
            receiver_amount: fields.amount("receiver_amount")?,
            fee_currency: fields.text("fee_currency"),
            fee_amount: fields.amount("fee_amount"),
            price: fields.text("price")?,
            ts_release: fields.text("ts_release"),
        })
    }
}

impl Shape for Exchanged {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            id: fields.text("id")?,
            foreign_id: fields.text("foreign_id"),
            status: fields.text("status"),
            sender_currency: fields.text("sender_currency"),
            sender_amount: fields.amount("sender_amount"),
            receiver_currency: fields.text("receiver_currency"),
            receiver_amount: fields.amount("receiver_amount"),
        })
    }
}

impl Shape for Invoice {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            id: fields.text("id")?,
            url: fields.text("url"),
            foreign_id: fields.text("foreign_id"),
            end_user_reference: fields.text("end_user_reference"),
            status: fields.text("status"),
            address: fields.text("address"),
            currency: fields.text("currency"),
            amount: fields.amount("amount"),
            sender_currency: fields.text("sender_currency"),
            sender_amount: fields.amount("sender_amount"),
            fixed_at: fields.text("fixed_at"),
            release_at: fields.text("release_at"),
        })
    }
}
