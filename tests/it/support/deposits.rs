//! Deposits to send: bodies in the processor's encoding, and what must be booked for them. Money is counted here by
//! itself, in whole units of 10^-18, so that the product's arithmetic is not checked by itself.

use secrecy::SecretString;
use tallyhook::processor::signature::sign;

use super::SECRET;

const CUSTOMERS: u64 = 20;
const UNITS_PER_SAT: i128 = 10_000_000_000;
const DECIMALS: usize = 18;

/// One payment; its callbacks follow from its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deposit {
    pub(crate) number: u64,
}

impl Deposit {
    /// The processor's name of the payment.
    pub(crate) fn id(self) -> u64 {
        self.number.wrapping_add(7_000_000)
    }

    pub(crate) fn user(self) -> String {
        format!("user-{:02}", self.number % CUSTOMERS)
    }

    pub(crate) fn currency(self) -> &'static str {
        match self.number % 3 {
            0 => "BTC",
            1 => "ETH",
            _ => "LTC",
        }
    }

    fn sats(self) -> u64 {
        (self.number.wrapping_mul(7_919) % 8_999_999).wrapping_add(1_000_000)
    }

    fn fee_sats(self) -> u64 {
        self.sats() / 125
    }

    /// What the customer is credited: the merchant bears the fee.
    pub(crate) fn amount(self) -> i128 {
        i128::from(self.sats()).wrapping_mul(UNITS_PER_SAT)
    }

    pub(crate) fn fee(self) -> i128 {
        i128::from(self.fee_sats()).wrapping_mul(UNITS_PER_SAT)
    }

    pub(crate) fn announced(self) -> String {
        self.told("not_confirmed", 0, 0)
    }

    pub(crate) fn confirmed(self) -> String {
        self.told("confirmed", self.fee_sats(), 3)
    }

    fn told(self, status: &str, fee: u64, confirmations: u8) -> String {
        let (id, user, currency) = (self.id(), self.user(), self.currency());
        let (place, amount) = (self.number % CUSTOMERS, self.sats());
        let net = amount.wrapping_sub(fee);
        let fees = match fee {
            0 => String::new(),
            _ => format!(r#"{{"type":"fee_crypto_deposit","currency":"{currency}","amount":"0.{fee:08}"}}"#),
        };
        [
            format!(r#"{{"id":{id},"end_user_reference":"{user}","type":"deposit","crypto_address":{{"id":{place},"#),
            format!(r#""currency":"{currency}","address":"address-{place:02}","tag":null,"#),
            format!(r#""foreign_id":"player-{place:02}"}},"#),
            format!(r#""currency_sent":{{"currency":"{currency}","amount":"0.{amount:08}"}},"#),
            format!(r#""currency_received":{{"currency":"{currency}","amount":"0.{amount:08}","#),
            format!(r#""amount_minus_fee":"0.{net:08}"}},"transactions":[{{"id":{id},"currency":"{currency}","#),
            format!(r#""transaction_type":"blockchain","type":"deposit","address":"address-{place:02}","tag":null,"#),
            format!(r#""amount":"0.{amount:08}","txid":"transaction-{id}","confirmations":"{confirmations}"}}],"#),
            format!(r#""fees":[{fees}],"error":"","status":"{status}"}}"#),
        ]
        .concat()
    }
}

/// The header of a body, as the merchant `main` expects it.
pub(crate) fn signature(body: &[u8]) -> String {
    sign(&SecretString::from(SECRET), body)
}

/// A decimal number as whole units of 10^-18.
pub(crate) fn units(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(rest.len() <= DECIMALS && !whole.is_empty(), "{text} is no amount");
    let number: i128 = format!("{whole}{rest:0<DECIMALS$}").parse().expect("digits only");
    number.checked_mul(sign).expect("small enough")
}
