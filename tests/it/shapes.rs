//! Every documented shape of body, each for a merchant of its own, pinned by what it does to the ledger and what is
//! told: the same on both databases. With a folder of published samples, every one of those too.

use std::fmt::Write as _;

use reqwest::StatusCode;
use serde_json::json;
use tallyhook::domain::payment::Family;
use tallyhook::processor::wire::read;

use crate::support::{Backend, SECRET, TestApp, table, told};
use crate::wire::fixtures;

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_shape_does_what_the_snapshot_says_on_sqlite() {
    every_fixture(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_shape_does_what_the_snapshot_says_on_postgres() {
    every_fixture(Backend::Postgres).await;
}

async fn every_fixture(backend: Backend) {
    let fixtures = fixtures();
    let settings = merchants(fixtures.len());
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let app = TestApp::with(backend, &settings).await;
    let mut seen = String::new();
    for (index, (name, body)) in fixtures.iter().enumerate() {
        let merchant = format!("m{index}");
        introduce(&app, &merchant, body).await;
        assert_eq!(app.receive_for(&merchant, body).await, StatusCode::OK, "{name}");
        let row = app.rows("/api/callbacks").await.into_iter().next().expect("a callback");
        let of_merchant = |rows: Vec<serde_json::Value>| -> Vec<serde_json::Value> {
            rows.into_iter().filter(|row| row["merchant"] == merchant.as_str()).collect()
        };
        let balances = of_merchant(app.rows("/api/balances").await);
        let source = format!("/merchants/{merchant}");
        let events: Vec<_> =
            app.events().await.into_iter().filter(|event| event["source"] == source.as_str()).collect();
        let word = |field: &str| row[field].as_str().unwrap_or("-").to_owned();
        writeln!(seen, "# {name}: {} {}", word("state"), word("reason")).expect("a String takes every write");
        for part in [table(&balances), told(&events)] {
            part.lines().for_each(|line| writeln!(seen, "  {line}").expect("a String takes every write"));
        }
    }
    insta::assert_snapshot!("every_documented_shape", seen);
    app.finish().await;
}

/// A withdrawal's customer is known by a deposit before it, or it would be held.
async fn introduce(app: &TestApp, merchant: &str, body: &[u8]) {
    let head = read(body).head;
    let Some(user) =
        head.end_user_reference.filter(|_| Family::of(head.kind.as_deref().unwrap_or("")) == Family::Withdrawal)
    else {
        return;
    };
    let money = json!({"currency": "FIRST", "amount": "1", "amount_minus_fee": "1"});
    let deposit = json!({"id": 1, "type": "deposit", "end_user_reference": user, "currency_received": money,
        "transactions": [], "fees": [], "error": "", "status": "confirmed"});
    assert_eq!(app.receive_for(merchant, deposit.to_string().as_bytes()).await, StatusCode::OK);
}

/// A merchant for each of `count` bodies.
fn merchants(count: usize) -> Vec<(String, String)> {
    (0..count)
        .flat_map(|index| {
            let name = format!("TALLYHOOK_MERCHANTS__M{index}");
            [(format!("{name}__KEY"), format!("key-m{index}")), (format!("{name}__SECRET"), SECRET.to_owned())]
        })
        .collect()
}

/// `tests/run.sh --samples DIR`: published bodies. Without the folder there is nothing of theirs to check.
#[tokio::test(flavor = "multi_thread")]
async fn every_published_sample_is_booked_ignored_or_held() {
    let Some(folder) = std::env::var_os("TALLYHOOK_SAMPLES") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the folder of samples").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    files.retain(|file| file.path().extension().is_some_and(|kind| kind == "json"));
    assert!(!files.is_empty(), "the folder of samples holds no .json file");
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let app = TestApp::start(backend).await;
        for file in &files {
            let body = std::fs::read(file.path()).expect("a sample");
            assert_eq!(app.receive_for("main", &body).await, StatusCode::OK, "{}", file.path().display());
            let row = app.rows("/api/callbacks").await.into_iter().next().expect("a callback");
            let state = row["state"].as_str().expect("a state");
            assert!(["booked", "ignored", "held"].contains(&state), "{}: {row}", file.path().display());
            assert_ne!(row["reason"], "unreadable", "{}: {row}", file.path().display());
        }
        app.finish().await;
    }
}
