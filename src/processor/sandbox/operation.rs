//! One operation of the simulated processor, and the body that tells of it: the shapes, fields and order of real
//! callbacks. It knows no clock and moves no balance.

use super::currencies::{self, Currency, printed};
use super::php::{Value, object};
use crate::domain::amount::Amount;
use crate::domain::callback::Money;

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Deposit,
    DepositExchange,
    Withdrawal,
    WithdrawalExchange,
    WithdrawalInstant,
    WithdrawalInstantExchange,
    Exchange,
    Invoice,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::DepositExchange => "deposit_exchange",
            Self::Withdrawal => "withdrawal",
            Self::WithdrawalExchange => "withdrawal_exchange",
            Self::WithdrawalInstant => "withdrawal_instant",
            Self::WithdrawalInstantExchange => "withdrawal_instant_exchange",
            Self::Exchange => "exchange",
            Self::Invoice => "invoice",
        }
    }

    pub const fn is_deposit(self) -> bool {
        matches!(self, Self::Deposit | Self::DepositExchange)
    }

    pub const fn is_withdrawal(self) -> bool {
        matches!(
            self,
            Self::Withdrawal | Self::WithdrawalExchange | Self::WithdrawalInstant | Self::WithdrawalInstantExchange
        )
    }

    /// Whether what is sent may be another currency than what is received.
    pub const fn converts(self) -> bool {
        matches!(
            self,
            Self::DepositExchange | Self::WithdrawalExchange | Self::WithdrawalInstantExchange | Self::Exchange
        )
    }
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Created,
    NotConfirmed,
    Processing,
    Pending,
    Confirmed,
    Cancelled,
    Declined,
    Failed,
}

impl Status {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::NotConfirmed => "not_confirmed",
            Self::Processing => "processing",
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Declined => "declined",
            Self::Failed => "failed",
        }
    }

    pub const fn is_final(self) -> bool {
        matches!(self, Self::Confirmed | Self::Cancelled | Self::Declined | Self::Failed)
    }
}

/// The `crypto_address` of a body.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub id: i64,
    pub currency: String,
    pub convert_to: Option<String>,
    pub address: String,
    pub tag: Option<String>,
    pub foreign_id: Option<String>,
    pub is_cross_currency: bool,
}

/// One entry of `transactions`.
#[derive(Debug, Clone)]
pub struct Part {
    pub id: i64,
    pub money: Money,
    /// An exchange: what the money became. Otherwise it moved on a chain, or inside.
    pub became: Option<Money>,
    pub is_internal: bool,
    pub txid: Option<String>,
    pub risk_score: Option<String>,
    pub confirmations: u8,
}

/// One entry of `fees`.
#[derive(Debug, Clone)]
pub struct Fee {
    pub kind: &'static str,
    pub money: Money,
}

/// What only invoices have.
#[derive(Debug, Clone)]
pub struct Invoice {
    pub title: String,
    pub code: String,
    pub takes_instalments: bool,
    pub sender_currency: Option<String>,
    pub paid: Amount,
    pub fixed_at_s: Option<i64>,
    pub expires_at_s: Option<i64>,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: i64,
    pub merchant: usize,
    pub kind: Kind,
    pub status: Status,
    pub scenario: &'static str,
    pub foreign_id: Option<String>,
    pub user: Option<String>,
    pub place: Option<Place>,
    pub sent: Money,
    pub received: Money,
    pub parts: Vec<Part>,
    pub fees: Vec<Fee>,
    pub error: String,
    /// Told without sums and fees, as some confirmed withdrawals are.
    pub is_bare: bool,
    pub invoice: Option<Invoice>,
    /// The last callback that was made of it, delivered or not.
    pub latest: Option<usize>,
    /// What it took from or gave to the merchant's balances so far.
    pub moved: Vec<Money>,
    pub created_us: i64,
    /// When its status changed last.
    pub updated_us: i64,
}

impl Operation {
    /// Fees in one currency.
    pub fn fees_in(&self, currency: &str) -> Amount {
        let of = self.fees.iter().filter(|fee| fee.money.currency == currency);
        of.fold(Amount::ZERO, |sum, fee| sum.checked_add(fee.money.amount).unwrap_or(sum))
    }

    /// What is still to be paid of an invoice.
    pub fn remaining(&self) -> Amount {
        let paid = self.invoice.as_ref().map_or(Amount::ZERO, |invoice| invoice.paid);
        self.sent.amount.checked_sub(paid).unwrap_or_default().max(Amount::ZERO)
    }

    /// The callback's body as things stand.
    pub fn body(&self) -> Value {
        let mut body = Vec::with_capacity(14);
        let mut set = |name: &str, value: Value| body.push((name.to_owned(), value));
        set("id", Value::int(self.id));
        if let Some(foreign_id) = self.foreign_id.as_deref().filter(|_| self.names_foreign_id()) {
            set("foreign_id", Value::text(foreign_id));
        }
        if let Some(user) = self.user.as_deref().filter(|_| self.kind != Kind::Exchange) {
            set("end_user_reference", Value::text(user));
        }
        set("type", Value::text(self.kind.word()));
        if let Some(place) = &self.place {
            set("crypto_address", crypto_address(place));
            if place.is_cross_currency {
                set("expected_currency", Value::text(&place.currency));
            }
        }
        if self.shows_sums() {
            set("currency_sent", self.sent_shown());
            set("currency_received", self.received_shown());
        }
        set("transactions", Value::List(self.parts.iter().map(|part| self.part(part)).collect()));
        let fees = self.fees.iter().filter(|_| self.status == Status::Confirmed).map(|fee| {
            let (currency, amount) = (Value::text(&fee.money.currency), Value::Text(printed(fee.money.amount)));
            object([("type", Value::text(fee.kind)), ("currency", currency), ("amount", amount)])
        });
        set("fees", Value::List(fees.collect()));
        set("error", Value::text(&self.error));
        set("status", Value::text(self.status.word()));
        let invoice = self.invoice.as_ref();
        if let Some((fixed, expires)) = invoice.and_then(|invoice| invoice.fixed_at_s.zip(invoice.expires_at_s)) {
            set("fixed_at", Value::int(fixed));
            set("expires_at", Value::int(expires));
        }
        Value::Object(body)
    }

    /// A deposit's reference is that of its address; an exchange's is never told.
    const fn names_foreign_id(&self) -> bool {
        self.kind.is_withdrawal() || matches!(self.kind, Kind::Invoice)
    }

    fn shows_sums(&self) -> bool {
        match self.kind {
            Kind::Invoice | Kind::Exchange => true,
            Kind::Deposit | Kind::DepositExchange => {
                !self.is_bare && matches!(self.status, Status::NotConfirmed | Status::Confirmed)
            }
            Kind::Withdrawal | Kind::WithdrawalExchange | Kind::WithdrawalInstant | Kind::WithdrawalInstantExchange => {
                !self.is_bare && self.status == Status::Confirmed
            }
        }
    }

    fn sent_shown(&self) -> Value {
        let mut sent = money(&self.sent);
        if let (Value::Object(members), Kind::Invoice) = (&mut sent, self.kind) {
            members.push(("remaining_amount".to_owned(), Value::Text(printed(self.remaining()))));
        }
        sent
    }

    fn received_shown(&self) -> Value {
        let mut received = money(&self.received);
        if let (Value::Object(members), true) = (&mut received, self.kind.is_deposit()) {
            let is_charged = self.status == Status::Confirmed;
            let fees = if is_charged { self.fees_in(&self.received.currency) } else { Amount::ZERO };
            let net = self.received.amount.checked_sub(fees).unwrap_or_default();
            members.push(("amount_minus_fee".to_owned(), Value::Text(printed(net))));
        }
        received
    }

    fn part(&self, part: &Part) -> Value {
        let (currency, amount) = (Value::text(&part.money.currency), Value::Text(printed(part.money.amount)));
        if let Some(became) = &part.became {
            return object([
                ("id", Value::int(part.id)),
                ("currency", currency),
                ("currency_to", Value::text(&became.currency)),
                ("transaction_type", Value::text("exchange")),
                ("type", Value::text("exchange")),
                ("amount", amount),
                ("amount_to", Value::Text(printed(became.amount))),
            ]);
        }
        let (address, tag) = self.place.as_ref().map_or((Value::Null, Value::Null), |place| {
            (Value::text(&place.address), Value::maybe(place.tag.as_deref()))
        });
        let way = if part.is_internal { "internal" } else { "blockchain" };
        let direction = if self.kind.is_withdrawal() { "withdrawal" } else { "deposit" };
        let is_settled = self.status == Status::Confirmed || self.kind == Kind::Invoice;
        let confirmations = if is_settled { part.confirmations } else { 0 };
        let mut body = object([
            ("id", Value::int(part.id)),
            ("currency", currency),
            ("transaction_type", Value::text(way)),
            ("type", Value::text(direction)),
            ("address", address),
            ("tag", tag),
            ("amount", amount),
            ("txid", Value::maybe(part.txid.as_deref())),
        ]);
        if let Value::Object(members) = &mut body {
            members.extend(part.risk_score.as_deref().map(|score| ("riskscore".to_owned(), Value::text(score))));
            members.push(("confirmations".to_owned(), Value::Text(confirmations.to_string())));
        }
        body
    }
}

fn money(money: &Money) -> Value {
    object([("currency", Value::text(&money.currency)), ("amount", Value::Text(printed(money.amount)))])
}

fn crypto_address(place: &Place) -> Value {
    let mut members = vec![("id".to_owned(), Value::int(place.id))];
    let mut set = |name: &str, value: Value| members.push((name.to_owned(), value));
    set("currency", Value::text(&place.currency));
    if let Some(target) = &place.convert_to {
        set("convert_to", Value::text(target));
    }
    set("address", Value::text(&place.address));
    set("tag", Value::maybe(place.tag.as_deref()));
    if let Some(foreign_id) = &place.foreign_id {
        set("foreign_id", Value::text(foreign_id));
    }
    if place.is_cross_currency {
        set("cross_currency", Value::Bool(true));
    }
    Value::Object(members)
}

/// A sum of a currency.
pub(super) fn sum(currency: &str, amount: Amount) -> Money {
    Money { currency: currency.to_owned(), amount }
}

/// The fee for a deposit in the currency it is received in, and what moving a token costs.
pub(super) fn deposit_fees(sent: &Currency, received: &Money, is_internal: bool) -> Vec<Fee> {
    let kind = match (is_internal, received.currency == sent.code) {
        (true, _) => "fee_crypto_deposit_internal",
        (false, true) => "fee_crypto_deposit",
        (false, false) => "fee_crypto_deposit_to_fiat",
    };
    let own = currencies::share(received.amount, sent.deposit_fee_ppm);
    let own = Fee { kind, money: sum(&received.currency, own) };
    let transfer =
        sent.transfer_fee().filter(|_| !is_internal).map(|fee| Fee { kind: "transfer", money: sum("ETH", fee) });
    std::iter::once(own).chain(transfer).filter(|fee| fee.money.amount.is_positive()).collect()
}
