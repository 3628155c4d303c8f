//! The callbacks that are sent: confirmed BTC deposits in the documented shape, about 1 KB, in the
//! encoding of PHP (compact, escaped slashes). Everything follows from a body's index, so that the
//! checker can say what must have been booked without keeping the bodies.

/// The first `id`; body number `i` has `FIRST_ID + i`.
pub(crate) const FIRST_ID: u64 = 130_000_000;
/// One more would have ten digits, and all bodies have the same length.
pub(crate) const BODIES_MAX: u64 = 1_000_000_000 - FIRST_ID;

/// Fields that no document names, and one kilobyte in all, as bodies with several fees have.
const PADDING: &str = r#","network":"bitcoin","note":"Unknown fields are stored and otherwise ignored.""#;

/// Who the callbacks are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) customers: u64,
    pub(crate) merchants: u64,
}

impl Crowd {
    /// Round robin, so that any stretch of bodies touches as many customers as it can.
    pub(crate) fn customer(self, index: u64) -> u64 {
        index % self.customers
    }

    pub(crate) fn merchant(self, index: u64) -> u64 {
        self.customer(index) % self.merchants
    }
}

/// In satoshi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    pub(crate) amount: u64,
    pub(crate) fee: u64,
}

impl Money {
    pub(crate) fn of(index: u64) -> Self {
        let amount = 1_000_000 + (index * 7_919) % 8_999_999;
        Self { amount, fee: amount * 3 / 1000 }
    }

    pub(crate) fn minus_fee(self) -> u64 {
        self.amount - self.fee
    }
}

pub(crate) fn foreign_id(customer: u64) -> String {
    format!("player-{customer:08}")
}

/// Body number `index`. The same index gives the same bytes, as the processor's repeats do.
pub(crate) fn body(crowd: Crowd, index: u64) -> String {
    let (id, part) = (FIRST_ID + index, 400_000_000 + index % 500_000_000);
    let customer = crowd.customer(index);
    let (foreign_id, money) = (foreign_id(customer), Money::of(index));
    let (amount, fee, minus) = (money.amount, money.fee, money.minus_fee());
    let address = address(customer);
    let (sender, txid) = (address_of(mix(index ^ 0x5e4d), mix(index ^ 0xe4)), txid(index));
    let crypto = 300_000_000 + customer;
    [
        format!(
            r#"{{"id":{id},"end_user_reference":"{customer:08}","type":"deposit","crypto_address":{{"id":{crypto},"#
        ),
        format!(r#""currency":"BTC","address":"{address}","foreign_id":"{foreign_id}","tag":null}},"#),
        format!(r#""currency_sent":{{"currency":"BTC","amount":"0.{amount:08}"}},"#),
        format!(
            r#""currency_received":{{"currency":"BTC","amount":"0.{amount:08}","amount_minus_fee":"0.{minus:08}"}},"#
        ),
        format!(r#""transactions":[{{"id":{part},"currency":"BTC","transaction_type":"blockchain","type":"deposit","#),
        format!(r#""address":"{address}","tag":null,"amount":"0.{amount:08}","txid":"{txid}","riskscore":"0.5","#),
        format!(r#""confirmations":"3","sender":{{"address":"{sender}"}}}}],"#),
        format!(r#""fees":[{{"type":"fee_crypto_deposit","currency":"BTC","amount":"0.{fee:08}"}}],"error":"","#),
        format!(r#""status":"confirmed","explorer":"https:\/\/explorer.example\/tx\/{txid}"{PADDING}}}"#),
    ]
    .concat()
}

pub(crate) fn address(customer: u64) -> String {
    address_of(mix(customer), mix(customer ^ 0xadd4))
}

fn address_of(left: u64, right: u64) -> String {
    format!("bc1qx{left:016x}{right:016x}x0x0x")
}

pub(crate) fn txid(index: u64) -> String {
    let (a, b) = (mix(index), mix(index ^ 0xa5a5_a5a5));
    format!("{a:016x}{b:016x}{:016x}{:016x}", mix(a), mix(b))
}

/// `SplitMix64`'s finisher: spreads neighbouring numbers over all 64 bits, each to one of its own.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{BODIES_MAX, Crowd, Money, body};

    #[test]
    fn all_bodies_are_json_of_one_length_and_the_fees_add_up() {
        let crowd = Crowd { customers: 10_000, merchants: 100 };
        let length = body(crowd, 0).len();
        assert!((980..1060).contains(&length), "{length} bytes");
        for index in [0, 1, 99, 10_000, 12_345_678, BODIES_MAX - 1] {
            let text = body(crowd, index);
            assert_eq!(text.len(), length, "{text}");
            let json: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
            let money = Money::of(index);
            assert_eq!(json["currency_received"]["amount"], format!("0.{:08}", money.amount));
            assert_eq!(money.minus_fee() + money.fee, money.amount);
        }
    }
}
