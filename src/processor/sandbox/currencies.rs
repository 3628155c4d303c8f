//! What the simulator trades: codes, minimums, fees and prices. The prices never move, so every sum can be worked out
//! by hand. Sums have eight decimals, as the processor's do; what is beyond is cut off.

use crate::domain::amount::Amount;

/// What an address of a currency looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Bitcoin,
    Litecoin,
    BitcoinCash,
    Dogecoin,
    /// Ethereum and its relatives.
    Ethereum,
    Tron,
    Ripple,
    Cardano,
    Solana,
    /// Money of a state: no addresses.
    Fiat,
}

/// One currency. Amounts are in units of 10^-8, prices in units of 10^-8 EUR.
#[derive(Debug)]
pub struct Currency {
    pub id: i64,
    pub code: &'static str,
    pub network: Network,
    price: i128,
    deposit_min: i128,
    withdrawal_min: i128,
    pub confirmations: u8,
    /// Millionths of the amount.
    pub deposit_fee_ppm: u32,
    pub withdrawal_fee_ppm: u32,
    network_fee: i128,
}

/// (id, code, network, price, minimum of a deposit, of a withdrawal, confirmations, deposit fee, withdrawal fee, network fee)
type Row = (i64, &'static str, Network, i128, i128, i128, u8, u32, u32, i128);

const fn currency(row: Row) -> Currency {
    let (
        id,
        code,
        network,
        price,
        deposit_min,
        withdrawal_min,
        confirmations,
        deposit_fee_ppm,
        withdrawal_fee_ppm,
        fee,
    ) = row;
    Currency {
        id,
        code,
        network,
        price,
        deposit_min,
        withdrawal_min,
        confirmations,
        deposit_fee_ppm,
        withdrawal_fee_ppm,
        network_fee: fee,
    }
}

const EURO: i128 = 100_000_000;

pub static CURRENCIES: [Currency; 17] = [
    currency((1, "BTC", Network::Bitcoin, 60_000 * EURO, 10_000, 10_000, 1, 8_000, 1_000, 7_402)),
    currency((2, "LTC", Network::Litecoin, 80 * EURO, 1_000_000, 1_000_000, 6, 8_000, 1_000, 100_000)),
    currency((3, "BCH", Network::BitcoinCash, 400 * EURO, 100_000, 100_000, 2, 8_000, 1_000, 10_000)),
    currency((4, "DOGE", Network::Dogecoin, 12_500_000, EURO, EURO, 6, 8_000, 1_000, EURO)),
    currency((5, "ETH", Network::Ethereum, 2_500 * EURO, 1_000_000, 1_000_000, 10, 10_000, 0, 150_000)),
    currency((6, "XRP", Network::Ripple, 50_000_000, 100_000, 100_000, 1, 8_000, 1_000, 1_000_000)),
    currency((7, "ADA", Network::Cardano, 40_000_000, 2 * EURO, 2 * EURO, 15, 8_000, 1_000, 17_000_000)),
    currency((8, "TRX", Network::Tron, 10_000_000, 10 * EURO, 10 * EURO, 19, 8_000, 1_000, EURO)),
    currency((9, "SOL", Network::Solana, 150 * EURO, 1_000_000, 1_000_000, 32, 8_000, 1_000, 10_000)),
    currency((10, "BNB-BSC", Network::Ethereum, 500 * EURO, 1_000_000, 1_000_000, 25, 8_000, 1_000, 30_000)),
    currency((84, "USDTE", Network::Ethereum, 92_000_000, 5 * EURO, 5 * EURO, 10, 10_000, 0, 3 * EURO)),
    currency((85, "USDTT", Network::Tron, 92_000_000, 2 * EURO, 2 * EURO, 19, 10_000, 0, EURO)),
    currency((86, "USDTB", Network::Ethereum, 92_000_000, 5 * EURO, 5 * EURO, 25, 10_000, 0, EURO)),
    currency((87, "USDC", Network::Ethereum, 92_000_000, 5 * EURO, 5 * EURO, 10, 10_000, 0, 3 * EURO)),
    currency((200, "EUR", Network::Fiat, EURO, 0, 0, 0, 0, 8_000, 0)),
    currency((201, "USD", Network::Fiat, 92_000_000, 0, 0, 0, 0, 8_000, 0)),
    currency((202, "GBP", Network::Fiat, 117_000_000, 0, 0, 0, 0, 8_000, 0)),
];

/// Tokens whose transfer is paid in the coin of their chain: a fee in another currency.
const ERC20: [&str; 2] = ["USDTE", "USDC"];
const ERC20_TRANSFER_FEE: i128 = 35_000;

impl Currency {
    pub fn is_fiat(&self) -> bool {
        self.network == Network::Fiat
    }

    /// `crypto` or `fiat`, as the processor says.
    pub fn kind(&self) -> &'static str {
        if self.is_fiat() { "fiat" } else { "crypto" }
    }

    pub fn deposit_min(&self) -> Amount {
        coins(self.deposit_min)
    }

    pub fn withdrawal_min(&self) -> Amount {
        coins(self.withdrawal_min)
    }

    /// The least that an exchange takes: about 180 EUR.
    pub fn exchange_min(&self) -> Amount {
        let euro = 180_i128.saturating_mul(EURO).saturating_mul(EURO);
        coins(euro.checked_div(self.price).unwrap_or_default())
    }

    pub fn network_fee(&self) -> Amount {
        coins(self.network_fee)
    }

    /// What moving a deposited token costs, in ETH.
    pub fn transfer_fee(&self) -> Option<Amount> {
        ERC20.contains(&self.code).then(|| coins(ERC20_TRANSFER_FEE))
    }

    /// How much of `target` one gets for an amount of this.
    pub fn convert(&self, amount: Amount, target: &Self) -> Option<Amount> {
        let worth = sats(amount).checked_mul(self.price)?;
        worth.checked_div(target.price).map(coins)
    }

    /// How much of this must be given to get an amount of `target`, rounded up.
    pub fn needed(&self, amount: Amount, target: &Self) -> Option<Amount> {
        let worth = sats(amount).checked_mul(target.price)?;
        worth.checked_add(self.price)?.checked_sub(1)?.checked_div(self.price).map(coins)
    }
}

/// The currency of a code.
pub fn find(code: &str) -> Option<&'static Currency> {
    CURRENCIES.iter().find(|currency| currency.code == code)
}

/// The amount of so many units of 10^-8.
pub fn coins(sats: i128) -> Amount {
    sats.checked_mul(10_000_000_000).and_then(Amount::from_units).unwrap_or_default()
}

/// Whole units of 10^-8.
pub fn sats(amount: Amount) -> i128 {
    amount.units().div_euclid(10_000_000_000)
}

/// Some millionths of an amount, cut off after eight decimals.
pub fn share(amount: Amount, ppm: u32) -> Amount {
    coins(sats(amount).saturating_mul(i128::from(ppm)).div_euclid(1_000_000))
}

/// Eight decimals, as the processor prints amounts.
pub fn printed(amount: Amount) -> String {
    let all = sats(amount);
    let (sign, size) = (if all < 0 { "-" } else { "" }, all.unsigned_abs());
    format!("{sign}{}.{:08}", size.div_euclid(100_000_000), size.rem_euclid(100_000_000))
}
