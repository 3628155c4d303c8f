//! The gateway from end to end, against the simulated processor: an address that is paid to, a withdrawal that settles,
//! an invoice that is paid, and books that agree with the processor's accounts. On both databases.

use serde_json::{Value, json};

use crate::support::deposits::units;
use crate::support::gateway::{Client, SETTINGS};
use crate::support::sandbox::{TestSandbox, options};
use crate::support::{Backend, TestApp, told};

stories!(an_address_a_withdrawal_and_an_invoice_end_well);

const TO: &str = "0x52908400098527886e0f7030069857d2e4169ee7";

async fn beside(backend: Backend) -> (TestApp, TestSandbox, Client) {
    let sandbox = TestSandbox::with(options("http://127.0.0.1:9"));
    let api = sandbox.sandbox.api();
    let settings = [&SETTINGS[..], &[("TALLYHOOK_ALPHAPO__BASE_URL", api.as_str())]].concat();
    let app = TestApp::with(backend, &settings).await;
    sandbox.sandbox.send_callbacks_to(&format!("{}/callbacks/alphapo", app.public));
    let client = Client::new(&app.public);
    (app, sandbox, client)
}

async fn post(client: &Client, path: &str, body: &Value) -> Value {
    let answer = client.post(path, body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json["data"].clone()
}

async fn get(client: &Client, path: &str) -> Value {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json["data"].clone()
}

async fn an_address_a_withdrawal_and_an_invoice_end_well(backend: Backend) {
    let (app, sandbox, client) = beside(backend).await;
    let wanted = json!({"currency": "USDT", "network": "ETH", "user_identifier": "user_1"});
    let address = post(&client, "/v1/deposit-addresses", &wanted).await;
    sandbox.control("POST", "/deposits", "", &json!({"address": address["address"], "amount": "100"}));
    sandbox.until_idle().await;
    let request = get(&client, &format!("/v1/deposit-requests/{}", address["request_id"])).await;
    let came = &request["transactions"][0];
    assert_eq!((&came["amount_decimal"], &came["status"]), (&json!("100"), &json!("confirmed")), "{request}");

    let withdrawal = json!({"currency": "USDT", "network": "ETH", "amount": "60", "to_address": TO,
        "user_identifier": "user_1", "idempotency_key": "pay_1"});
    let mut too_much = withdrawal.clone();
    (too_much["amount"], too_much["idempotency_key"]) = ("100.00000001".into(), "pay_0".into());
    let short = client.post("/v1/withdrawals", &too_much).await;
    assert_eq!((short.status, short.message()), (400, "Insufficient balance"));
    let asked = post(&client, "/v1/withdrawals", &withdrawal).await;
    assert_eq!(asked["status"], "pending", "{asked}");
    let balances = get(&client, "/v1/balances?user_identifier=user_1").await;
    assert_eq!(balances, json!([{"currency": "USDT", "network": "ETH", "available": "40", "held": "60"}]));
    sandbox.until_idle().await;
    let sent = get(&client, &format!("/v1/withdrawals/{}", asked["withdrawal_id"])).await;
    assert!(sent["status"] == "settled" && sent["tx_hash"].is_string(), "{sent}");

    sandbox.control("POST", "/scenarios", "", &json!({"invoice": "paid"}));
    let invoice = json!({"currency": "EUR", "amount": "100", "user_identifier": "user_1", "title": "Order", "timer": true,
        "email": "buyer@example.com", "success_url": "https://shop.example/paid",
        "fail_url": "https://shop.example/failed", "idempotency_key": "order_42"});
    let made = post(&client, "/v1/invoices", &invoice).await;
    assert_eq!(made["amount_decimal"], "100", "{made}");
    sandbox.until_idle().await;
    let paid = get(&client, &format!("/v1/invoices/{}", made["invoice_id"])).await;
    assert_eq!(paid["status"], "confirmed", "{paid}");

    let balances = get(&client, "/v1/balances?user_identifier=user_1").await;
    let has = |currency: &str| {
        let row = balances.as_array().expect("a list").iter().find(|row| row["currency"] == currency);
        row.map(|row| (row["available"].clone(), row["held"].clone()))
    };
    assert_eq!((has("USDT"), has("EUR")), (Some((json!("40"), json!("0"))), Some((json!("100"), json!("0")))));
    let events = told(&app.events().await);
    for event in ["deposit.credited", "withdrawal.requested", "withdrawal.settled", "invoice.credited"] {
        assert_eq!(events.matches(event).count(), 1, "{event}: {events}");
    }
    assert_eq!(app.rows("/api/discrepancies").await, Vec::<Value>::new());
    for row in app.rows("/api/balances").await.iter().filter(|row| row["kind"] == "processor") {
        let currency = row["currency"].as_str().expect("a code");
        let theirs = sandbox.holdings().get(currency).copied().unwrap_or_default();
        let ours = units(row["balance"].as_str().expect("an amount"));
        assert_eq!(theirs, ours.saturating_add(units("10000")), "{currency}, to the last digit");
    }
    app.finish().await;
}
