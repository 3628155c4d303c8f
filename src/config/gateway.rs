//! The settings of `/v1`: who may call it and what each may do, its windows, and how (currency, network) is called by
//! the processor. It never checks a signature.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::Settings;
use super::read::{Reader, list, names};

#[derive(Debug, Clone)]
pub struct Gateway {
    pub keys: Vec<Arc<GatewayKey>>,
    pub tolerance_s: u64,
    pub proxies: Vec<Network>,
    pub windows: Windows,
    pub strict_idempotency: bool,
    /// What can be asked for, in the order of the settings.
    pub networks: Vec<Listed>,
}

/// How long an address is whose, in seconds after it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    pub display_s: i64,
    pub monitoring_s: i64,
    pub reuse_s: i64,
    /// How late a callback may be: what the processor tells late is still about the time before.
    pub delay_s: i64,
}

/// A client of `/v1`.
#[derive(Debug, Clone)]
pub struct GatewayKey {
    pub name: String,
    pub key: String,
    pub secret: SecretString,
    /// The name of the merchant.
    pub merchant: String,
    pub permissions: Vec<Permission>,
    /// Requests a minute.
    pub rate_limit: u32,
    /// Empty: from anywhere.
    pub ips: Vec<Network>,
    /// What may be deposited: (currency, network), either `None` for any.
    currencies: Vec<(Option<String>, Option<String>)>,
}

impl GatewayKey {
    /// Whether it may take addresses for deposits of this.
    pub fn may_deposit(&self, listed: &Listed) -> bool {
        self.currencies.iter().any(|(currency, network)| {
            currency.as_ref().is_none_or(|currency| *currency == listed.currency)
                && network.as_ref().is_none_or(|network| *network == listed.network)
        })
    }
}

/// One currency on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub currency: String,
    pub network: String,
    /// The processor's name of it.
    pub code: String,
    pub contract: Option<String>,
}

macro_rules! permissions {
    ($($name:ident, $word:literal;)*) => {
        /// What a key may do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Permission { $($name,)* }

        impl Permission {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word used outside.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

permissions! {
    RequestDepositAddress, "request_deposit_address";
    RequestWithdrawalFundingAddress, "request_withdrawal_funding_address";
    Withdraw, "withdraw";
    ReadBalance, "read_balance";
    ReadDepositStatus, "read_deposit_status";
    ReadWithdrawalStatus, "read_withdrawal_status";
    ListTransactions, "list_transactions";
    ListCurrencies, "list_currencies";
}

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(longest), |bits| bits.parse().ok().filter(|bits| *bits <= longest))?;
        Some(Self { address, bits })
    }

    /// Whether an address belongs to it. An IPv4 address that came in IPv6's clothes is what it is.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Gateway {
    let longest = 10_u64.pow(9);
    Gateway {
        keys: names(reader.given, "gateway").into_iter().map(|name| Arc::new(key(reader, name))).collect(),
        tolerance_s: reader.number("gateway.tolerance_s", 1..=86_400),
        proxies: addresses(reader, "gateway.proxies"),
        windows: Windows {
            display_s: reader.number("gateway.display_s", 1..=longest),
            monitoring_s: reader.number("gateway.monitoring_s", 1..=longest),
            reuse_s: reader.number("gateway.reuse_s", 0..=longest),
            delay_s: reader.number("gateway.delay_s", 0..=longest),
        },
        strict_idempotency: reader.choice("gateway.strict_idempotency", &[("true", true), ("false", false)], false),
        networks: listed(reader, "gateway.networks"),
    }
}

fn key(reader: &mut Reader<'_>, name: &str) -> GatewayKey {
    reader.name("gateway", name);
    let of = |part: &str| format!("gateway.{name}.{part}");
    let key = reader.text(&of("key")).to_owned();
    if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        reader.fault(&of("key"), "be a key id of your choice, 1 to 255 letters, digits and signs");
    }
    GatewayKey {
        name: name.to_owned(),
        key,
        secret: reader.secret(&of("secret")),
        merchant: merchant(reader, &of("merchant")),
        permissions: permissions(reader, &of("permissions")),
        rate_limit: reader.number(&of("rate_limit"), 1..=10_000_000),
        ips: addresses(reader, &of("ips")),
        currencies: currencies(reader, &of("currencies")),
    }
}

fn merchant(reader: &mut Reader<'_>, key: &str) -> String {
    let merchants: Vec<String> = names(reader.given, "merchants").into_iter().map(str::to_owned).collect();
    let named = reader.text(key).trim().to_lowercase();
    match merchants.as_slice() {
        [only] if !reader.is_given(key) => only.clone(),
        _ if merchants.contains(&named) => named,
        _ => {
            reader.fault(key, "be the name of one of the merchants");
            named
        }
    }
}

fn permissions(reader: &mut Reader<'_>, key: &str) -> Vec<Permission> {
    let text = reader.text(key).to_lowercase();
    if text.trim() == "all" {
        return Permission::ALL.to_vec();
    }
    let find = |word: &str| Permission::ALL.iter().copied().find(|permission| permission.word() == word);
    let permissions: Option<Vec<_>> = list(&text).map(find).collect();
    permissions.unwrap_or_else(|| {
        let words: Vec<_> = Permission::ALL.iter().map(|permission| permission.word()).collect();
        reader.fault(key, &format!("be `all`, or some of {}, with commas", words.join(", ")));
        Vec::new()
    })
}

fn addresses(reader: &mut Reader<'_>, key: &str) -> Vec<Network> {
    let addresses: Option<Vec<_>> = list(reader.text(key)).map(Network::parse).collect();
    addresses.unwrap_or_else(|| {
        reader.fault(key, "be addresses such as 10.0.0.1 and networks such as 10.0.0.0/8, with commas");
        Vec::new()
    })
}

fn currencies(reader: &mut Reader<'_>, key: &str) -> Vec<(Option<String>, Option<String>)> {
    let text = reader.text(key).to_uppercase();
    let one = |text: &str| {
        let (currency, network) = text.split_once('/').map_or((text, "*"), |pair| pair);
        let part = |part: &str| (part != "*").then(|| part.to_owned());
        (part(currency), part(network))
    };
    list(&text).map(one).collect()
}

fn listed(reader: &mut Reader<'_>, key: &str) -> Vec<Listed> {
    let is_name = |text: &str| (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let one = |text: &str| {
        let (pair, rest) = text.split_once('=')?;
        let (currency, network) = pair.split_once('/')?;
        let (code, contract) = rest.split_once('@').map_or((rest, None), |(code, contract)| (code, Some(contract)));
        let is_fine = [currency, network, code].into_iter().all(is_name) && contract != Some("");
        is_fine.then(|| Listed {
            currency: currency.to_uppercase(),
            network: network.to_uppercase(),
            code: code.to_owned(),
            contract: contract.map(str::to_owned),
        })
    };
    let rows: Option<Vec<Listed>> = list(reader.text(key)).map(one).collect();
    let is_twice = |rows: &[Listed]| {
        let mut pairs: Vec<_> = rows.iter().map(|row| (&row.currency, &row.network)).collect();
        pairs.sort_unstable();
        pairs.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
    };
    rows.filter(|rows| !is_twice(rows)).unwrap_or_else(|| {
        reader.fault(key, "be a list such as BTC/BTC=BTC,USDT/ETH=USDTE@0xdac1…, each pair once");
        Vec::new()
    })
}

/// What is fine alone and not together.
pub(super) fn clashes(settings: &Settings, faults: &mut Vec<String>) {
    let keys = &settings.gateway.keys;
    for (at, key) in keys.iter().enumerate() {
        for other in keys.iter().skip(at.saturating_add(1)) {
            let (name, other_name) = (&key.name, &other.name);
            if key.key == other.key && !key.key.is_empty() {
                faults
                    .push(format!("gateway.{name}.key and gateway.{other_name}.key are the same: give each its own."));
            }
            // A signature is refused when it comes again, so that of one key must never be another's.
            let secret = key.secret.expose_secret();
            if secret == other.secret.expose_secret() && !secret.is_empty() {
                let both = format!("gateway.{name}.secret and gateway.{other_name}.secret");
                faults.push(format!("{both} are the same: give each key its own."));
            }
        }
    }
}
