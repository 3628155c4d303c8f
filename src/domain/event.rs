//! What others are told: CloudEvents 1.0 in structured JSON. Composed from stored columns that never change,
//! so that the same event is the same bytes on AMQP, over HTTP and when it is sent again.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::amount::Amount;
use super::callback::Head;
use super::claim;
use super::journal::EffectKey;
use super::payment::Family;
use super::reason::Reason;

macro_rules! events {
    ($($name:ident = $code:literal, $word:literal;)*) => {
        /// The types of event. The number is what the database stores.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventType { $($name,)* }

        impl EventType {
            /// Every type there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number the database stores.
            pub const fn code(self) -> i16 {
                match self { $(Self::$name => $code,)* }
            }

            /// The type as consumers see it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

events! {
    DepositPending = 1, "deposit.pending";
    DepositCredited = 2, "deposit.credited";
    DepositCancelled = 3, "deposit.cancelled";
    InvoicePending = 4, "invoice.pending";
    InvoiceCredited = 5, "invoice.credited";
    InvoiceFailed = 6, "invoice.failed";
    WithdrawalRequested = 7, "withdrawal.requested";
    WithdrawalPending = 8, "withdrawal.pending";
    WithdrawalSettled = 9, "withdrawal.settled";
    WithdrawalFailed = 10, "withdrawal.failed";
    ExchangeSettled = 11, "exchange.settled";
    PaymentHeld = 12, "payment.held";
    DiscrepancyOpened = 13, "discrepancy.opened";
    DiscrepancyResolved = 14, "discrepancy.resolved";
}

impl EventType {
    /// The type a stored number names.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.code() == code)
    }
}

/// The columns that an event is made of.
#[derive(Debug, Clone)]
pub struct Told<'a> {
    pub event: EventType,
    pub position: i64,
    pub at_us: i64,
    pub merchant: &'a str,
    pub key: &'a EffectKey,
    /// The customer's name; decides which consumer gets it where consumers share the work.
    pub customer: Option<&'a str>,
    pub head: &'a Head,
    pub callback_id: Option<i64>,
    pub currency: Option<&'a str>,
    pub amount: Option<Amount>,
    pub fee: Option<Amount>,
    pub balance_after: Option<Amount>,
    pub moved_money: bool,
    pub reason: Option<Reason>,
}

/// An event, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub event: EventType,
    pub position: i64,
    pub merchant: String,
    pub customer: Option<String>,
    pub currency: Option<String>,
    /// The CloudEvents JSON.
    pub body: Vec<u8>,
}

impl Event {
    /// `<type>.<currency>`, what consumers bind to. Always three words: a point inside a currency would make a fourth,
    /// which no `*.credited.*` matches.
    pub fn routing_key(&self) -> String {
        format!("{}.{}", self.event.word(), self.currency.as_deref().unwrap_or("none").replace('.', "_"))
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    datacontenttype: &'static str,
    dataschema: &'static str,
    sequence: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    merchant: &'a str,
    customer: Customer<'a>,
    payment: Payment<'a>,
    currency: Option<&'a str>,
    amount: Option<Amount>,
    fee: Option<Amount>,
    balance_after: Option<Amount>,
    transfer_id: Option<String>,
    callback_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Customer<'a> {
    foreign_id: Option<&'a str>,
    end_user_reference: Option<&'a str>,
}

#[derive(Serialize)]
struct Payment<'a> {
    r#type: Option<&'a str>,
    id: Option<&'a str>,
    status: Option<&'a str>,
    txids: &'a [String],
    address: Option<&'a str>,
    /// The merchant's name of a withdrawal or an invoice.
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign_id: Option<&'a str>,
}

/// What most bodies fit into, so that few are moved while they grow.
const BODY_BYTES: usize = 1024;

/// Makes the event. The same columns give the same bytes, for ever.
pub fn compose(told: &Told<'_>) -> Event {
    let head = told.head;
    // A pool address names nobody: whoever asked for it knows the request, which is its customer's name.
    let is_pooled = claim::pool(head).is_some();
    let foreign_id = if is_pooled { told.customer } else { head.foreign_id.as_deref() };
    let user = head.end_user_reference.as_deref().filter(|_| !is_pooled);
    let is_deposit = head.family() == Family::Deposit;
    let subject = if is_deposit { foreign_id.or(user) } else { user.or(foreign_id) }.or(head.payment_id.as_deref());
    let id = event_id(told.merchant, told.key);
    let envelope = Envelope {
        specversion: "1.0",
        id: &id,
        source: format!("/merchants/{}", told.merchant),
        r#type: told.event.word(),
        subject,
        time: rfc3339(told.at_us),
        datacontenttype: "application/json",
        dataschema: "urn:tallyhook:event:v1",
        sequence: told.position.to_string(),
        data: Data {
            merchant: told.merchant,
            customer: Customer { foreign_id: foreign_id.filter(|_| is_deposit), end_user_reference: user },
            payment: Payment {
                r#type: head.kind.as_deref(),
                id: head.payment_id.as_deref(),
                status: head.status.as_deref(),
                txids: &head.txids,
                address: head.address.as_deref(),
                foreign_id: foreign_id.filter(|_| !is_deposit),
            },
            currency: told.currency,
            amount: told.amount,
            fee: told.fee,
            balance_after: told.balance_after,
            transfer_id: told.moved_money.then(|| told.position.to_string()),
            callback_id: told.callback_id.map(|id| id.to_string()),
            reason: told.reason.map(Reason::word),
        },
    };
    let mut body = Vec::with_capacity(BODY_BYTES);
    serde_json::to_writer(&mut body, &envelope).expect("strings and numbers always serialise");
    Event {
        event: told.event,
        position: told.position,
        merchant: told.merchant.to_owned(),
        customer: told.customer.map(str::to_owned),
        currency: told.currency.map(str::to_owned),
        body,
        id,
    }
}

/// Made from the effect key alone, so that an event published again, or booked again after a restore, has the same id.
fn event_id(merchant: &str, key: &EffectKey) -> String {
    let digest = Sha256::new().chain_update(merchant).chain_update([0]).chain_update(key.to_string()).finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// RFC 3339 with microseconds and `Z`, from microseconds since 1970.
pub fn rfc3339(at_us: i64) -> String {
    let nanos = i128::from(at_us).saturating_mul(1_000);
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp_nanos(nanos) else { return at_us.to_string() };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}
