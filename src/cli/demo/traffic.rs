//! The demo's merchant: it takes addresses, its customers pay to them, some withdraw. The processor's part is the
//! sandbox's; only what a sandbox can't do, a forged request and a type from the future, is posted by hand.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::Merchant;
use crate::processor::sandbox::Sandbox;
use crate::processor::sandbox::currencies::coins;
use crate::processor::sandbox::deposits::Arrival;
use crate::processor::signature::sign;

const CUSTOMERS: [&str; 5] = ["ada", "grace", "edsger", "barbara", "donald"];
/// With the least of a deposit, in units of 10^-8, and where a withdrawal goes.
const BTC: (&str, i128, &str) = ("BTC", 50_000, "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc");
const CURRENCIES: [(&str, i128, &str); 4] = [
    BTC,
    ("ETH", 2_000_000, "0x52908400098527886e0f7030069857d2e4169ee7"),
    ("USDTT", 2_000_000_000, "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"),
    ("LTC", 20_000_000, "tltc1q0000000000000000000000000000000000"),
];
/// How a payment goes: mostly well.
const DAYS: [&str; 10] =
    ["normal", "normal", "normal", "normal", "instant", "instant", "internal", "double_spend", "below_minimum", "slow"];

/// What the merchant has to hand.
pub(super) struct Shop {
    pub sandbox: Sandbox,
    /// The processor's API as the merchant has it configured: our drop-in.
    pub api: String,
    pub callbacks: String,
    pub merchant: Merchant,
    /// Payments a second.
    pub rate: u64,
}

/// The deposit of the printed `curl`: without an apostrophe, so that a shell takes it as it is.
pub(super) fn hello() -> String {
    let (address, txid) = ("tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc", "5f".repeat(32));
    format!(
        r#"{{"id":100,"end_user_reference":"you","type":"deposit","crypto_address":{{"id":100,"currency":"BTC","address":"{address}","tag":null,"foreign_id":"player:you"}},"currency_sent":{{"currency":"BTC","amount":"0.01250000"}},"currency_received":{{"currency":"BTC","amount":"0.01250000","amount_minus_fee":"0.01240000"}},"transactions":[{{"id":100,"currency":"BTC","transaction_type":"blockchain","type":"deposit","address":"{address}","tag":null,"amount":"0.01250000","txid":"{txid}","confirmations":"3"}}],"fees":[{{"type":"fee_crypto_deposit","currency":"BTC","amount":"0.00010000"}}],"error":"","status":"confirmed"}}"#
    )
}

/// Trades until told to stop.
pub(super) async fn run(shop: Shop, stop: CancellationToken) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000_u64.checked_div(shop.rate).unwrap_or(1)));
    let mut addresses = HashMap::new();
    for turn in 0_u64.. {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = pace.tick() => {}
        }
        let scene = async {
            match turn.checked_rem(25) {
                Some(9) => shop.withdraw(&client, turn).await,
                Some(15) => shop.post(&client, &hello().replace("0.0125", "9.0125"), Some("0".repeat(128))).await,
                Some(20) => {
                    let future = hello().replace("\"deposit\"", "\"deposit_from_the_future\"");
                    shop.post(&client, &future.replace(":100,", &format!(":{turn},")), None).await;
                }
                Some(23) => shop.withdraw(&client, turn).await,
                _ => shop.deposit(&client, &mut addresses).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = scene => {}
        }
    }
    Ok(())
}

impl Shop {
    /// A customer pays to their address; the first time they get one.
    async fn deposit(&self, client: &reqwest::Client, addresses: &mut HashMap<(&str, &str), String>) {
        let customer = CUSTOMERS.choose(&mut rand::rng()).copied().unwrap_or("ada");
        let (currency, least, _) = CURRENCIES.choose(&mut rand::rng()).copied().unwrap_or(BTC);
        let address = match addresses.get(&(customer, currency)) {
            Some(address) => String::clone(address),
            None => {
                let Some(address) = self.take(client, customer, currency).await else { return };
                addresses.insert((customer, currency), address.clone());
                address
            }
        };
        let amount = coins(least.saturating_mul(rand::rng().random_range(1..400)));
        let scenario = DAYS.choose(&mut rand::rng()).map(|day| (*day).to_owned());
        let arrival = Arrival { address, tag: None, amount, currency: None, scenario };
        if let Err(error) = self.sandbox.with(|world, now| world.deposit(now, &arrival)) {
            tracing::debug!(error, "A sample payment was not made");
        }
    }

    async fn take(&self, client: &reqwest::Client, customer: &str, currency: &str) -> Option<String> {
        let foreign_id = format!("player:{customer}");
        let wanted = json!({"currency": currency, "foreign_id": foreign_id, "end_user_reference": customer});
        let taken = self.ask(client, "/addresses/take", &wanted).await?;
        Some(taken.get("data")?.get("address")?.as_str()?.to_owned())
    }

    /// A customer takes a little out.
    async fn withdraw(&self, client: &reqwest::Client, turn: u64) {
        let customer = CUSTOMERS.choose(&mut rand::rng()).copied().unwrap_or("ada");
        let (currency, least, address) = CURRENCIES.choose(&mut rand::rng()).copied().unwrap_or(BTC);
        let amount = coins(least.saturating_mul(2));
        let wanted = json!({"currency": currency, "amount": amount, "address": address, "foreign_id": format!("payout:{turn}"), "end_user_reference": customer});
        self.ask(client, "/withdrawal/crypto", &wanted).await;
    }

    /// A signed request of the processor's API.
    async fn ask(&self, client: &reqwest::Client, path: &str, body: &Value) -> Option<Value> {
        let body = body.to_string();
        let request = client
            .post(format!("{}{path}", self.api))
            .header("X-Processing-Key", &self.merchant.key)
            .header("X-Processing-Signature", sign(&self.merchant.secret, body.as_bytes()))
            .header("Content-Type", "application/json")
            .body(body);
        let answer = request.send().await.ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// A callback from nowhere.
    async fn post(&self, client: &reqwest::Client, body: &str, signature: Option<String>) {
        let signature = signature.unwrap_or_else(|| sign(&self.merchant.secret, body.as_bytes()));
        let request = client
            .post(&self.callbacks)
            .header("X-Processing-Key", &self.merchant.key)
            .header("X-Processing-Signature", signature)
            .header("Content-Type", "application/json")
            .body(body.to_owned());
        if let Err(error) = request.send().await {
            tracing::debug!(%error, "A sample callback was not taken");
        }
    }
}
