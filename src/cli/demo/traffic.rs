//! The demo's sample traffic: deposits of a few customers in the processor's encoding, with repeats, with a confirmation
//! that overtakes its announcement, and with a few that are refused or held.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::config::Merchant;
use crate::processor::signature::sign;

const CUSTOMERS: [&str; 5] = ["ada", "grace", "edsger", "barbara", "donald"];
const CURRENCIES: [(&str, u64); 4] = [("BTC", 500), ("ETH", 9_000), ("USDTT", 25_000_000), ("LTC", 40_000)];

/// The deposit of the printed `curl`: without an apostrophe, so that a shell takes it as it is.
pub(super) fn hello() -> String {
    deposit(&Deposit { id: 100, customer: "you", currency: "BTC", sats: 1_250_000, status: "confirmed" })
}

struct Deposit<'a> {
    id: u64,
    customer: &'a str,
    currency: &'a str,
    /// In units of 10^-8.
    sats: u64,
    status: &'a str,
}

/// Sends until told to stop.
pub(super) async fn run(
    listen: String,
    merchants: Vec<Merchant>,
    rate: u64,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let url = format!("http://{listen}/callbacks/alphapo");
    let Some(merchant) = merchants.into_iter().next() else { return Ok(()) };
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000_u64.checked_div(rate).unwrap_or(1)));
    for id in 1_000_u64.. {
        for (body, signature) in scene(id, &merchant.secret) {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = pace.tick() => {}
            }
            let request = client
                .post(&url)
                .header("X-Processing-Key", &merchant.key)
                .header("X-Processing-Signature", signature)
                .header("Content-Type", "application/json")
                .body(body);
            if let Err(error) = request.send().await {
                tracing::debug!(%error, "A sample callback was not taken");
            }
        }
    }
    Ok(())
}

/// The callbacks of one payment, as a processor on a good or a bad day sends them.
fn scene(id: u64, secret: &SecretString) -> Vec<(String, String)> {
    let mut dice = rand::rng();
    let customer = CUSTOMERS.choose(&mut dice).copied().unwrap_or("ada");
    let (currency, unit) = CURRENCIES.choose(&mut dice).copied().unwrap_or(("BTC", 500));
    let sats = unit.saturating_mul(dice.random_range(100..10_000));
    let told = |status| deposit(&Deposit { id, customer, currency, sats, status });
    let signed = |body: String| {
        let signature = sign(secret, body.as_bytes());
        (body, signature)
    };
    let (announced, confirmed) = (signed(told("not_confirmed")), signed(told("confirmed")));
    match id.checked_rem(10) {
        Some(3) => vec![confirmed.clone(), announced, confirmed],
        Some(5) => vec![announced, signed(told("cancelled"))],
        Some(7) => vec![confirmed, signed(told("cancelled"))],
        Some(8) => vec![(confirmed.0, "0".repeat(128))],
        Some(9) => vec![signed(told("confirmed").replace("\"deposit\"", "\"deposit_from_the_future\""))],
        _ => vec![announced.clone(), announced, confirmed.clone(), confirmed],
    }
}

/// A deposit as PHP prints it.
fn deposit(deposit: &Deposit<'_>) -> String {
    let Deposit { id, customer, currency, sats, status } = deposit;
    let is_confirmed = *status == "confirmed";
    let fee = if is_confirmed { sats.checked_div(125).unwrap_or(0) } else { 0 };
    let (amount, net) = (coins(*sats), coins(sats.saturating_sub(fee)));
    let money = if *status == "cancelled" {
        String::new()
    } else {
        format!(
            r#""currency_sent":{{"currency":"{currency}","amount":"{amount}"}},"currency_received":{{"currency":"{currency}","amount":"{amount}","amount_minus_fee":"{net}"}},"#
        )
    };
    let fees = if is_confirmed {
        format!(r#"{{"type":"fee_crypto_deposit","currency":"{currency}","amount":"{}"}}"#, coins(fee))
    } else {
        String::new()
    };
    let error = if *status == "cancelled" { "Transaction amount less than minimum deposit" } else { "" };
    let confirmations = if is_confirmed { 3 } else { 0 };
    format!(
        r#"{{"id":{id},"end_user_reference":"{customer}","type":"deposit","crypto_address":{{"id":{id},"currency":"{currency}","address":"demo-address-of-{customer}","tag":null,"foreign_id":"player:{customer}"}},{money}"transactions":[{{"id":{id},"currency":"{currency}","transaction_type":"blockchain","type":"deposit","address":"demo-address-of-{customer}","tag":null,"amount":"{amount}","txid":"demo-transaction-{id}","confirmations":"{confirmations}"}}],"fees":[{fees}],"error":"{error}","status":"{status}"}}"#
    )
}

/// Eight decimals.
fn coins(sats: u64) -> String {
    let unit = 100_000_000;
    format!("{}.{:08}", sats.div_euclid(unit), sats.rem_euclid(unit))
}
