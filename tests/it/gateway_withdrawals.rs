//! Withdrawals of the gateway: set aside first, sent once for each idempotency key, refused before any call when short.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tallyhook::store::Db;

use crate::page::Browser;
use crate::support::gateway::{Client, SLOW, ask, deposit, foreign_ids, processor, start};
use crate::support::process::eventually;
use crate::support::upstream::Upstream;
use crate::support::{Backend, TestApp, VIEWER};

const TO: &str = "0x52908400098527886e0f7030069857d2e4169ee7";

/// A customer who has 100 USDT.
async fn funded(app: &TestApp, client: &Client, processor: &Upstream) {
    let mut wanted = ask("USDT", "ETH");
    wanted["user_identifier"] = json!("user_1");
    assert_eq!(client.post("/v1/deposit-addresses", &wanted).await.status, 200);
    let foreign_id = foreign_ids(processor)[0].clone();
    app.receive(&deposit(1, &foreign_id, "user_1", "confirmed", "100")).await;
}

fn withdrawal(amount: &str, key: &str) -> Value {
    json!({"currency": "USDT", "network": "ETH", "amount": amount, "to_address": TO, "user_identifier": "user_1",
        "idempotency_key": key})
}

fn calls(processor: &Upstream) -> usize {
    processor.seen().iter().filter(|seen| seen.path.ends_with("/withdrawal/crypto")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_is_set_aside_sent_once_and_shown() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let (app, client) = start(backend, &processor, &[]).await;
        funded(&app, &client, &processor).await;
        let made = client.post("/v1/withdrawals", &withdrawal("60", "pay_1")).await;
        assert_eq!((made.status, made.header("idempotency-replayed")), (200, None), "{}", made.text);
        let data = &made.json["data"];
        assert_eq!((data["status"].as_str(), data["amount_decimal"].as_str()), (Some("pending"), Some("60")));
        assert_eq!((data["to_address"].as_str(), data["user_identifier"].as_str()), (Some(TO), Some("user_1")));
        let balances = client.get("/v1/balances?user_identifier=user_1").await.json["data"].clone();
        assert_eq!(balances, json!([{"currency": "USDT", "network": "ETH", "available": "40", "held": "60"}]));
        let again = client.post("/v1/withdrawals", &withdrawal("10", "pay_1")).await;
        assert_eq!((&again.json, again.header("idempotency-replayed")), (&made.json, Some("true")));
        assert_eq!(again.header("idempotency-mismatch"), Some("amount"));
        let short = client.post("/v1/withdrawals", &withdrawal("41", "pay_2")).await;
        assert_eq!((short.status, short.message()), (400, "Insufficient balance"));
        let declined = app.rows("/api/declined").await;
        let told = ["amount", "currency", "customer", "api", "reason"].map(|field| declined[0][field].clone());
        let reason = "insufficient_balance";
        assert_eq!((declined.len(), json!(told)), (1, json!(["41", "USDTE", "user_1", "gateway", reason])));
        let seen = Browser::logged_in(&app, VIEWER).await.get("/withdrawals").await.text;
        assert!(seen.contains("Declined by the ledger") && seen.contains("insufficient balance"), "{seen}");
        assert_eq!(calls(&processor), 1, "a repeat and a short one ask nobody");
        let refused = client.post("/v1/withdrawals", &withdrawal("0.5", "pay_3")).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert!(refused.message().contains("The amount must be at least 1."), "{}", refused.text);
        let balances = client.get("/v1/balances?user_identifier=user_1").await.json["data"].clone();
        assert_eq!(balances[0]["available"], "40", "what the processor refuses is given back");
        let path = format!("/v1/withdrawals/{}", data["withdrawal_id"]);
        assert_eq!(client.get(&path).await.json, made.json);
        assert_eq!(client.get("/v1/withdrawals/4711").await.message(), "Withdrawal not found");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_withdrawals_at_once_under_one_key_are_one_payout() {
    let processor = processor().await;
    let (app, client) = start(Backend::Postgres, &processor, &[]).await;
    funded(&app, &client, &processor).await;
    let (first, second) = (withdrawal("60", "pay_1"), withdrawal("60", "pay_2"));
    let calls_made =
        (0..40).map(|number| client.post("/v1/withdrawals", if number % 2 == 0 { &first } else { &second }));
    let replies = futures_util::future::join_all(calls_made).await;
    let good: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(good.len(), 20, "one of the two keys has the money");
    assert!(good.iter().all(|reply| reply.json["data"]["withdrawal_id"] == good[0].json["data"]["withdrawal_id"]));
    assert!(replies.iter().all(|reply| reply.status == 200 || reply.message() == "Insufficient balance"));
    assert_eq!(calls(&processor), 1);
    app.finish().await;
}

/// A client without an idempotency key that is told to come again would be paid twice.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_gone_after_the_call_nobody_is_told_to_come_again() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let (app, client) = start(backend, &processor, &[]).await;
        funded(&app, &client, &processor).await;
        let db = Db::lazy(&app.url, 1).await.expect("a database");
        let run = async |sql: &str| db.orm.execute_unprepared(sql).await.map(drop).expect("the database takes it");
        let breaking = async {
            eventually("it is sent", Duration::from_secs(120), async || (calls(&processor) == 1).then_some(())).await;
            run("ALTER TABLE withdrawals RENAME TO withdrawals_gone").await;
            assert_eq!(client.get("/v1/withdrawals/1").await.status, 500, "nothing is found meanwhile");
        };
        let mut body = withdrawal(SLOW, "");
        body.as_object_mut().expect("an object").remove("idempotency_key");
        let (made, ()) = tokio::join!(client.post("/v1/withdrawals", &body), breaking);
        assert_eq!((made.status, made.header("retry-after")), (200, None), "{}", made.text);
        assert_eq!(
            (&made.json["data"]["status"], &made.json["data"]["amount_decimal"]),
            (&"pending".into(), &SLOW.into())
        );
        run("ALTER TABLE withdrawals_gone RENAME TO withdrawals").await;
        let path = format!("/v1/withdrawals/{}", made.json["data"]["withdrawal_id"]);
        assert_eq!(client.get(&path).await.json["data"]["to_address"], TO, "its number finds it afterwards");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_is_asked_for_wrongly_is_refused_in_the_documented_words() {
    let processor = processor().await;
    let (app, client) = start(Backend::Sqlite, &processor, &[]).await;
    let wrong = json!({"currency": "USDT", "network": "ETH", "amount": 0, "to_address": "short"});
    let wrong = client.post("/v1/withdrawals", &wrong).await;
    let documented = "amount: Input should be greater than 0; to_address: String should have at least 10 characters";
    assert_eq!((wrong.status, wrong.message()), (422, documented));
    let mut nobodys = withdrawal("1", "k");
    nobodys["user_identifier"] = Value::Null;
    let nobodys = client.post("/v1/withdrawals", &nobodys).await;
    assert_eq!((nobodys.status, nobodys.message()), (400, "user_identifier is required: it names whose balance pays"));
    let unknown = client.post("/v1/withdrawals", &withdrawal("1", "k")).await;
    assert_eq!((unknown.status, unknown.message()), (400, "Insufficient balance"), "nobody we know has anything");
    for (amount, message) in [
        (json!("1e5"), "amount: Input should be a valid decimal"),
        (json!("0.0000000000000000001"), "amount: Decimal input should have no more than 18 decimal places"),
        (json!("-1"), "amount: Input should be greater than 0"),
        (Value::Null, "amount: Field required"),
    ] {
        let mut body = withdrawal("1", "k");
        body["amount"] = amount;
        let reply = client.post("/v1/withdrawals", &body).await;
        assert_eq!((reply.status, reply.message()), (422, message));
    }
    assert_eq!(calls(&processor), 0);
    app.finish().await;
}
