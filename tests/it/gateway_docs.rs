//! The samples of docs/gateway.md, run with curl as they stand there; and the routes that only read, and invoices.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::support::gateway::{SECRET, ask, deposit, foreign_ids, processor, start};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, TestApp};

/// Fields whose values no document can foresee: only their kind is compared.
const FREE: [&str; 4] = ["address", "created_at", "display_expires_at", "url"];

/// The document's blocks of one language with the text of the next `json` block before another block.
pub(crate) fn samples(document: &str) -> Vec<(String, Option<Value>)> {
    let mut samples: Vec<(String, Option<Value>)> = Vec::new();
    for block in document.split("```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').expect("a language");
        match language {
            "sh" => samples.push((text.to_owned(), None)),
            "json" => {
                let last = samples.last_mut().expect("an answer follows a request");
                last.1 = Some(serde_json::from_str(text).expect("JSON"));
            }
            _ => {}
        }
    }
    samples
}

fn run(app: &TestApp, script: &str) -> String {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]);
    command.env("BASE", &app.public).env("KEY", "key-shop").env("SECRET", SECRET).env("no_proxy", "127.0.0.1");
    let output = command.output().expect("bash starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}\n{error}");
    String::from_utf8(output.stdout).expect("text")
}

/// The same keys in both, and the same values where they can be foreseen.
fn assert_alike(given: &Value, documented: &Value, place: &str) {
    match (given, documented) {
        (Value::Object(given), Value::Object(documented)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(given), keys(documented), "{place}");
            for (key, value) in documented {
                assert_alike(&given[key], value, &format!("{place}.{key}"));
            }
        }
        (Value::String(_), Value::String(_)) if FREE.iter().any(|free| place.ends_with(free)) => {}
        (Value::Number(_), Value::Number(_)) if place.ends_with("withdrawal_id") => {}
        (given, documented) => assert_eq!(given, documented, "{place}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_of_the_document_work_as_they_stand() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gateway.md")).expect("it is there");
    let processor = processor().await;
    let (app, _) = start(Backend::Sqlite, &processor, &[]).await;
    let mut samples = samples(&document).into_iter();
    let (cpg, _) = samples.next().expect("the function that signs");
    let mut answered: usize = 0;
    for (script, documented) in samples {
        if script.contains("/v1/withdrawals") {
            // The customer of the first sample has been paid something meanwhile.
            app.receive(&deposit(1, &foreign_ids(&processor)[0], "user_8721", "confirmed", "100")).await;
        }
        let app = &app;
        let output = tokio::task::block_in_place(|| run(app, &format!("{cpg}\n{script}")));
        let answers: Vec<Value> = serde_json::Deserializer::from_str(&output)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{script}: {error}: {output}"));
        assert!(answers.iter().all(|answer| answer["success"] == true), "{script}: {output}");
        if let (Some(documented), [given]) = (documented, &answers[..]) {
            assert_alike(given, &documented, "answer");
            answered = answered.saturating_add(1);
        }
    }
    assert!(answered >= 5, "{answered} samples have an answer");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_come_in_pages_newest_first() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let (app, client) = start(backend, &processor, &[]).await;
        let mut wanted = ask("USDT", "ETH");
        wanted["user_identifier"] = json!("user_1");
        assert_eq!(client.post("/v1/deposit-addresses", &wanted).await.status, 200);
        let foreign_id = foreign_ids(&processor)[0].clone();
        for id in 1..=5 {
            app.receive(&deposit(id, &foreign_id, "user_1", "confirmed", &id.to_string())).await;
        }
        let mut seen = Vec::new();
        let mut path = "/v1/transactions?limit=2".to_owned();
        loop {
            let page = client.get(&path).await.json;
            let rows = page["data"].as_array().expect("a list").clone();
            assert_eq!(page["data_count"], json!(rows.len()));
            seen.extend(rows.iter().map(|row| row["amount_decimal"].as_str().expect("text").to_owned()));
            assert_eq!(page["has_more"], json!(!page["next_cursor"].is_null()));
            let Some(cursor) = page["next_cursor"].as_i64() else { break };
            path = format!("/v1/transactions?limit=2&cursor={cursor}");
        }
        assert_eq!(seen, ["5", "4", "3", "2", "1"]);
        let first = client.get("/v1/transactions?limit=1").await.json["data"][0].clone();
        assert_eq!((first["type"].as_str(), first["status"].as_str()), (Some("deposit"), Some("credited")));
        assert_eq!((first["currency"].as_str(), first["network"].as_str()), (Some("USDT"), Some("ETH")));
        assert_eq!((first["user_identifier"].as_str(), first["tx_hash"].as_str()), (Some("user_1"), Some("0xtx5")));
        let balances = client.get("/v1/balances").await.json;
        assert_eq!(balances["data"], json!([{"currency": "USDT", "network": "ETH", "balance": "15"}]));
        assert_eq!(balances["data_count"], 1);
        for (query, message) in [
            ("cursor=x", "cursor: Input should be a valid integer"),
            ("limit=0", "limit: Input should be greater than 0"),
        ] {
            let reply = client.get(&format!("/v1/transactions?{query}")).await;
            assert_eq!((reply.status, reply.message()), (422, message));
        }
        let nobody = client.get("/v1/balances?user_identifier=nobody").await;
        assert_eq!((nobody.status, nobody.message()), (404, "User not found"));
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_made_once_for_its_idempotency_key() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let processor = processor().await;
        let (app, client) = start(backend, &processor, &[]).await;
        let invoice = |amount: &str| {
            json!({"currency": "EUR", "amount": amount, "user_identifier": "user_1", "title": "Order", "timer": true,
                "email": "buyer@example.com", "success_url": "https://shop.example/paid",
                "fail_url": "https://shop.example/failed", "idempotency_key": "order_42"})
        };
        let wrong = client.post("/v1/invoices", &json!({"currency": "EUR", "amount": "0", "timer": 1})).await;
        assert_eq!(wrong.status, 422);
        assert!(wrong.message().starts_with("amount: Input should be greater than 0; user_identifier: Field required"));
        assert!(wrong.message().ends_with("timer: Input should be a valid boolean"), "{}", wrong.text);
        let refused = client.post("/v1/invoices", &invoice("1")).await;
        assert_eq!((refused.status, processor.seen().len()), (400, 1), "{}", refused.text);
        assert!(refused.message().contains("The amount is too small."), "{}", refused.text);
        let made = client.post("/v1/invoices", &invoice("100")).await;
        assert_eq!((made.status, made.header("idempotency-replayed")), (200, None), "{}", made.text);
        let again = client.post("/v1/invoices", &invoice("200")).await;
        assert_eq!((&again.json, again.header("idempotency-replayed")), (&made.json, Some("true")));
        assert_eq!(again.header("idempotency-mismatch"), Some("amount"));
        assert_eq!(processor.seen().len(), 2, "the repeat asks nobody");
        let path = format!("/v1/invoices/{}", made.json["data"]["invoice_id"]);
        assert_eq!(client.get(&path).await.json, made.json);
        assert_eq!(client.get("/v1/invoices/4711").await.message(), "Invoice not found");
        app.finish().await;
    }
}

/// What the row says and what the processor has must be one invoice, whatever became of the first answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_whose_answer_was_lost_is_never_made_with_other_values() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let asked = AtomicU64::new(0);
        let processor = Upstream::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Other(500, "text/plain", "Internal server error".into()),
            _ => Reply::Json(422, r#"{"errors":{"foreign_id":"The foreign id has already been taken."}}"#.into()),
        })
        .await;
        let (app, client) = start(backend, &processor, &[]).await;
        let invoice = |amount: &str| {
            json!({"currency": "EUR", "amount": amount, "user_identifier": "user_1", "title": "Order", "timer": true,
                "email": "buyer@example.com", "success_url": "https://shop.example/paid",
                "fail_url": "https://shop.example/failed", "idempotency_key": "order_42"})
        };
        assert_eq!(client.post("/v1/invoices", &invoice("100")).await.status, 502);
        let other = client.post("/v1/invoices", &invoice("10")).await;
        assert_eq!((other.status, processor.seen().len()), (409, 1), "nobody is asked: {}", other.text);
        assert!(other.message().contains("another amount"), "{}", other.text);
        let again = client.post("/v1/invoices", &invoice("100")).await;
        assert_eq!((again.status, processor.seen().len()), (502, 2), "it may still be under way: {}", again.text);

        let db = &app.running.as_ref().expect("it runs").app.db.orm;
        db.execute_unprepared("UPDATE gateway_invoices SET created_us = 1").await.expect("SQL");
        let lost = client.post("/v1/invoices", &invoice("100")).await;
        assert_eq!((lost.status, processor.seen().len()), (409, 3), "{}", lost.text);
        assert!(lost.message().contains("use another idempotency key"), "{}", lost.text);
        app.finish().await;
    }
}
