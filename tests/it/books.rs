//! Claims about the lists of withdrawals and addresses, and about the pages that show the ledger: payments, customers
//! with their statements, withdrawals, addresses.

use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, IntoActiveModel as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tallyhook::domain::amount::Amount;
use tallyhook::domain::customer::ReferenceKind;
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::order::{Api, Order, Withdrawal};

use crate::page::Browser;
use crate::support::deposits::Deposit;
use crate::support::{Backend, OPERATOR, TestApp, VIEWER};

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];
const REQUEST: &[u8] = b"{\"sent\":true}";
/// What must never become markup.
const EVIL: &str = "<script>alert(1)</script>\"'&";

async fn get(app: &TestApp, path: &str) -> Value {
    let answer = app.get(path, VIEWER).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.json);
    answer.json
}

fn texts<'v>(page: &'v Value, field: &str) -> Vec<&'v str> {
    let rows = page["data"].as_array().expect("a list has data");
    rows.iter().map(|row| row[field].as_str().unwrap_or_default()).collect()
}

async fn withdraw(app: &TestApp, foreign_id: &str) {
    let order = Order::Withdrawal(Withdrawal {
        foreign_id: foreign_id.to_owned(),
        customer: Some((ReferenceKind::EndUserReference, "user-00".to_owned())),
        currency: "BTC".to_owned(),
        amount: Amount::parse("0.001").expect("an amount"),
        currency_to: None,
        address: format!("address {EVIL}"),
        tag: None,
        api: Api::Gateway,
        request_sha256: const_hex::encode(Sha256::digest(REQUEST)),
        request: REQUEST.to_vec(),
    });
    let booker = &app.running.as_ref().expect("it runs").app.booker;
    booker.order(MerchantId(1), order).await.expect("there is enough");
}

async fn address(app: &TestApp, number: i64, state: i16) {
    let user = format!("user-{number}");
    let row = entity::address::Model {
        id: number,
        merchant_id: 1,
        state,
        network: "bitcoin".to_owned(),
        code: "BTC".to_owned(),
        user_identifier: Some(user).filter(|_| state < 3),
        foreign_id: format!("foreign-{number}"),
        address: Some(format!("bc1-{number}")).filter(|_| state > 1),
        tag: None,
        claim_owner: String::new(),
        claim_until_us: 0,
        failed_us: None,
        failure: (state == 1).then(|| EVIL.to_owned()),
        free_us: (state == 3).then_some(1),
        retired_us: None,
    };
    let mut row = row.into_active_model();
    row.id = Set(number);
    row.insert(&app.running.as_ref().expect("it runs").app.db.orm).await.expect("a row");
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawals_are_listed_newest_first_and_found_by_their_foreign_id() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        app.receive(&Deposit { number: 0 }.confirmed()).await;
        for number in 0..5 {
            withdraw(&app, &format!("payout-{number}")).await;
        }
        let all = get(&app, "/api/withdrawals").await;
        assert_eq!(
            texts(&all, "foreign_id"),
            ["payout-4", "payout-3", "payout-2", "payout-1", "payout-0"],
            "{backend:?}"
        );
        assert_eq!(texts(&all, "state"), ["requested"; 5], "{backend:?}");
        let first = get(&app, "/api/withdrawals?limit=3").await;
        let next = first["next"].as_str().expect("there is more");
        let second = get(&app, &format!("/api/withdrawals?limit=3&after={next}")).await;
        assert_eq!(texts(&second, "foreign_id"), ["payout-1", "payout-0"], "{backend:?}");
        assert_eq!(second["next"], Value::Null);
        for (query, found) in [
            ("q=payout-3", vec!["payout-3"]),
            ("q=payout", vec![]),
            ("q=' OR 1=1 --", vec![]),
            ("state=settled", vec![]),
            ("state=requested&merchant=main&limit=1", vec!["payout-4"]),
        ] {
            let page = get(&app, &format!("/api/withdrawals?{query}")).await;
            assert_eq!(texts(&page, "foreign_id"), found, "{backend:?} {query}");
        }
        let id = texts(&all, "id")[4];
        let one = get(&app, &format!("/api/withdrawals/{id}")).await;
        assert_eq!((&one["amount"], &one["api"]), (&json!("0.001"), &json!("gateway")), "{backend:?}");
        assert_eq!(one["customer"], "user-00");
        assert_eq!(one["request"], "eyJzZW50Ijp0cnVlfQ==", "the very bytes");
        let statement = get(&app, "/api/customers/1/statement?currency=BTC").await;
        assert_eq!(texts(&statement, "event").iter().filter(|event| **event == "withdrawal.requested").count(), 10);
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_listed_and_found_by_user_foreign_id_and_address() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        for (number, state) in [(1, 2), (2, 3), (3, 1)] {
            address(&app, number, state).await;
        }
        let all = get(&app, "/api/addresses").await;
        assert_eq!(texts(&all, "foreign_id"), ["foreign-3", "foreign-2", "foreign-1"], "{backend:?}");
        assert_eq!(texts(&all, "state"), ["asked", "free", "used"], "{backend:?}");
        for (query, found) in [
            ("q=bc1-2", vec!["foreign-2"]),
            ("q=foreign-1", vec!["foreign-1"]),
            ("q=user-1", vec!["foreign-1"]),
            ("q=bc1", vec![]),
            ("state=used", vec!["foreign-1"]),
            ("merchant=main&limit=1&after=3", vec!["foreign-2"]),
        ] {
            let page = get(&app, &format!("/api/addresses?{query}")).await;
            assert_eq!(texts(&page, "foreign_id"), found, "{backend:?} {query}");
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_question_about_what_goes_out_is_told_what_is_allowed() {
    let app = TestApp::start(Backend::Sqlite).await;
    for (path, status, word) in [
        ("/api/withdrawals/4711", 404, "withdrawal 4711"),
        ("/api/withdrawals/one", 404, "withdrawal one"),
        ("/api/withdrawals?state=done", 400, "settled"),
        ("/api/withdrawals?limit=0", 400, "from 1 to 1000"),
        ("/api/addresses?state=done", 400, "free"),
        ("/api/addresses?merchant=nobody", 400, "nobody"),
        ("/api/addresses?after=x", 400, "after"),
    ] {
        let answer = app.get(path, OPERATOR).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.json);
        assert!(answer.json["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{path}: {}", answer.json);
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_books_show_what_the_ledger_says_as_text() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        let escaped = EVIL.replace('"', "\\\"");
        for number in 0..60 {
            let body = Deposit { number: number * 20 }.confirmed();
            app.receive(&body.replace("user-00", &format!("user-00 {escaped}"))).await;
        }
        app.receive(&Deposit { number: 60_000 }.confirmed().replace("player-00", "player-x")).await;
        withdraw(&app, &format!("payout {EVIL}")).await;
        address(&app, 1, 1).await;
        let mut browser = Browser::logged_in(&app, VIEWER).await;
        for (path, words) in [
            ("/payments", vec!["7001180", "Older"]),
            ("/payments?q=7000020&type=deposit&status=confirmed", vec!["7000020"]),
            ("/payments?q=nothing", vec!["No such payment"]),
            ("/payments/1", vec!["credited", "processor → available"]),
            ("/customers", vec!["user-00 &#60;script"]),
            ("/customers?q=player-00", vec!["user-00 &#60;script"]),
            ("/customers/1", vec!["available", "0.", "Older", "statement.csv", "plus"]),
            ("/customers/1?currency=BTC&since=7d&until=0s", vec!["deposit.credited"]),
            ("/customers/1?currency=DOGE", vec!["Nothing moved"]),
            ("/withdrawals", vec!["payout &#60;script", "requested"]),
            ("/withdrawals?state=settled", vec!["No such withdrawal"]),
            ("/addresses", vec!["foreign-1", "asked"]),
            ("/addresses?q=nothing", vec!["No such address"]),
        ] {
            let seen = browser.get(path).await;
            assert_eq!(seen.status, 200, "{backend:?} {path}: {}", seen.text);
            for word in words {
                assert!(seen.text.contains(word), "{backend:?} {path} has no {word}: {}", seen.text);
            }
            assert!(!seen.text.contains("<script>alert"), "{backend:?} {path}");
        }
        let csv = browser.get("/customers/1/statement.csv?format=csv&currency=BTC").await;
        assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"statement-1.csv\"");
        assert!(csv.text.starts_with("at,event,"), "{}", csv.text);
        let older = browser.get("/customers/1").await.text;
        let (_, rest) = older.split_once("class=\"button\" href=\"/customers/1?").expect("a link to older lines");
        let query = rest.split('"').next().expect("a link").replace("&#38;", "&").replace("&amp;", "&");
        let next = browser.get(&format!("/customers/1?{query}")).await;
        assert_eq!(next.status, 200);
        assert!(next.text.contains("deposit.credited"), "{}", next.text);
        for (path, status) in [
            ("/payments/4711", 404),
            ("/payments?type=gift", 400),
            ("/customers/4711", 404),
            ("/customers/1?since=soon", 400),
            ("/customers/1?after=x", 400),
            ("/withdrawals?state=done", 400),
        ] {
            assert_eq!(browser.get(path).await.status, status, "{path}");
        }
        app.finish().await;
    }
}
