//! A name that the merchant used before, elsewhere: what the processor says under it settles a withdrawal only when it
//! went where it was to go, and for whom. On both databases, and each ledger is derived anew at the end.

use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use tallyhook::booker::Judgement;
use tallyhook::domain::decide::Waived;
use tallyhook::domain::order::{Order, Withdrawal};
use tallyhook::domain::reason::Reason;

use crate::orders::{deposit, judge, order, outgoing, with_ada, withdrawal};
use crate::support::merchant::{APPROVER, beside, fund, post, spoken, state, withdrawal as requested};
use crate::support::process::eventually;
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, TestApp};

stories!(
    what_an_older_payment_of_the_name_did_pays_nobody,
    what_was_never_sent_comes_back_although_the_name_is_anothers,
    what_names_another_customer_is_held_whatever_its_end,
    another_address_or_tag_is_held_and_another_spelling_is_not,
    what_is_booked_anyway_is_the_requests_and_teaches_no_reference,
);

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
const SETTINGS: [(&str, &str); 2] = [("TALLYHOOK_ADMIN__ALONE", "BTC=1"), ("TALLYHOOK_OUTBOUND__MISSING_S", "60")];
const TAKEN: &str = r#"{"errors":{"foreign_id":"The foreign id has already been taken."}}"#;

/// `spoken`, but it went elsewhere and for somebody else.
fn older(status: &str) -> String {
    let mut body: Value = serde_json::from_str(&spoken(7, "w-1", "1", status)).expect("JSON");
    body["crypto_address"]["address"] = "39mFf3X46YzUtfdwVQpYXPCMydc74ccbAZ".into();
    body["end_user_reference"] = "user-0".into();
    body.to_string()
}

async fn say(app: &TestApp, sql: &str) {
    app.running.as_ref().expect("it runs").app.db.orm.execute_unprepared(sql).await.expect("the database takes it");
}

async fn number(app: &TestApp, sql: &str) -> i64 {
    let db = &app.running.as_ref().expect("it runs").app.db.orm;
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.expect("a query");
    i64::from(row.expect("a row").try_get_by_index::<i32>(0).expect("a number"))
}

async fn what_an_older_payment_of_the_name_did_pays_nobody(backend: Backend) {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/api/v2/withdrawal/crypto" => Reply::Json(400, TAKEN.to_owned()),
        _ => Reply::Json(200, older("confirmed")),
    })
    .await;
    let app = beside(backend, &upstream, &SETTINGS).await;
    fund(&app, "1").await;
    assert_eq!(post(&app, "/withdrawal/crypto", &requested("w-1", "user-1", "1")).await.status, 400);
    let is_held =
        async || app.callbacks().await.contains("withdrawal confirmed held contradicts_request").then_some(());
    eventually("the older payment is held", PATIENCE, is_held).await;
    let is_missed = async || (number(&app, "SELECT missing FROM withdrawals").await > 0).then_some(());
    eventually("nothing is known of this one", PATIENCE, is_missed).await;
    assert_eq!(state(&app, "w-1").await, "unknown");
    assert_eq!(app.ledger().await, "held       user-1           BTC    1\nprocessor  -                BTC    1");

    // A person who looked says that it is not this one; only people give the money back, and only after a while.
    judge(&app, "contradicts_request", Judgement::Dismiss).await;
    let id = app.rows("/api/withdrawals?q=w-1").await[0]["id"].as_str().expect("an id").to_owned();
    let (path, why) = (format!("/api/withdrawals/{id}/refund"), json!({"note": "an older payment has the name"}));
    assert_eq!(app.send_json(&path, APPROVER, &why).await.status, 422, "not yet missing");
    say(&app, "UPDATE withdrawals SET missing = 2, missing_since_us = 1700000000000000, next_us = 0").await;
    let is_missing = async || (number(&app, "SELECT missing FROM withdrawals").await >= 3).then_some(());
    eventually("what was dismissed does not make it known", PATIENCE, is_missing).await;
    let refunded = app.send_json(&path, APPROVER, &why).await;
    assert_eq!((refunded.status.as_u16(), state(&app, "w-1").await), (200, "failed"), "{}", refunded.json);
    assert_eq!(app.ledger().await, "available  user-1           BTC    1\nprocessor  -                BTC    1");

    // Nobody learnt that the older payment's customer is this one.
    assert_eq!(app.receive(&deposit(7_000_002, Some("user-0"), "0.5")).await, 200);
    assert!(app.ledger().await.contains("available  user-0           BTC    0.5"), "{}", app.ledger().await);
    app.finish().await;
}

async fn what_was_never_sent_comes_back_although_the_name_is_anothers(backend: Backend) {
    let upstream = Upstream::start(|_| Reply::Json(200, older("cancelled"))).await;
    let app = beside(backend, &upstream, &[&SETTINGS[..], &[("TALLYHOOK_OUTBOUND__STUCK_S", "1")]].concat()).await;
    fund(&app, "1").await;
    order(&app, withdrawal("w-1", Some("user-1"), "1")).await.expect("it is set aside, and the process ends");
    let is_back = async || (state(&app, "w-1").await == "failed").then_some(());
    eventually("it comes back", PATIENCE, is_back).await;
    assert!(app.callbacks().await.contains("withdrawal cancelled held contradicts_request"));
    assert_eq!(app.ledger().await, "available  user-1           BTC    1\nprocessor  -                BTC    1");
    app.finish().await;
}

/// What a callback says of `w-1`.
fn told(id: u32, status: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut body: Value = serde_json::from_str(&outgoing(id, "w-1", "0.2", status)).expect("JSON");
    change(&mut body);
    body.to_string()
}

async fn what_names_another_customer_is_held_whatever_its_end(backend: Backend) {
    let app = with_ada(backend).await;
    assert_eq!(app.receive(&deposit(7_000_002, Some("eve"), "0.3")).await, 200);
    order(&app, withdrawal("w-1", Some("ada"), "0.2")).await.expect("it is set aside");
    let before = app.ledger().await;
    for (id, status) in [(8_000_001, "confirmed"), (8_000_002, "cancelled")] {
        let body = told(id, status, |body| body["end_user_reference"] = "eve".into());
        assert_eq!(app.receive(&body).await, 200);
        let held = format!("withdrawal {status} held contradicts_request x1");
        assert!(app.callbacks().await.contains(&held), "{}", app.callbacks().await);
    }
    assert_eq!(app.ledger().await, before, "nothing moves");
    // Her own, under her own name or under none that is known yet, settles it.
    let body = told(8_000_003, "confirmed", |body| body["end_user_reference"] = "ada-2".into());
    assert_eq!(app.receive(&body).await, 200);
    assert!(app.ledger().await.contains("available  ada              BTC    0.3"));
    assert!(!app.ledger().await.contains("held"), "{}", app.ledger().await);
    app.finish().await;
}

async fn another_address_or_tag_is_held_and_another_spelling_is_not(backend: Backend) {
    let app = TestApp::start(backend).await;
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "9")).await, 200);
    let (cash, bare) =
        ("bitcoincash:qpm2qsznhks23z7629mms6s5cwef74vcwvy22gdx6a", "qpm2qsznhks23z7629mms6s5cwef74vcwvy22gdx6a");
    let segwit = "bc1qar0srrr7xfkvy5l643";
    let hex = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let (base58, ripple) = ("115Mn1jCjBh1CNqug7yAB21Hq2rw8PfmTA", "rPEPPER7kfTD9w2To4CQk6UCfuHM9c6GDY");
    let cases: &[(&str, Option<&str>, Value, Value, bool)] = &[
        (cash, None, bare.into(), Value::Null, true),
        (bare, None, cash.into(), Value::Null, true),
        (segwit, None, segwit.to_uppercase().into(), Value::Null, true),
        (hex, None, hex.to_lowercase().into(), Value::Null, true),
        (base58, None, base58.into(), "".into(), true),
        (base58, None, base58.to_lowercase().into(), Value::Null, false),
        (base58, None, "39mFf3X46YzUtfdwVQpYXPCMydc74ccbAZ".into(), Value::Null, false),
        (base58, None, Value::Null, Value::Null, true),
        (ripple, Some("77"), ripple.into(), 77.into(), true),
        (ripple, Some("077"), ripple.into(), "77".into(), true),
        (ripple, Some("77"), ripple.into(), Value::Null, true),
        (ripple, None, ripple.into(), "77".into(), true),
        (ripple, Some("77"), ripple.into(), 78.into(), false),
        (ripple, Some("memo"), ripple.into(), "Memo".into(), false),
    ];
    for (number, (address, tag, told, told_tag, is_same)) in (8_000_000_u32..).zip(cases) {
        let name = format!("w-{number}");
        let Order::Withdrawal(terms) = withdrawal(&name, Some("ada"), "0.1") else { panic!("a withdrawal") };
        let terms = Withdrawal { address: (*address).to_owned(), tag: tag.map(str::to_owned), ..terms };
        order(&app, Order::Withdrawal(terms)).await.expect("it is set aside");
        let mut body: Value = serde_json::from_str(&outgoing(number, &name, "0.1", "")).expect("JSON");
        (body["crypto_address"]["address"], body["crypto_address"]["tag"]) = (told.clone(), told_tag.clone());
        // A step of one that goes elsewhere is not this one's step either.
        for (status, known) in [("pending", "pending"), ("confirmed", "settled")] {
            body["status"] = status.into();
            assert_eq!(app.receive(&body.to_string()).await, 200);
            let expected = if *is_same { known } else { "requested" };
            assert_eq!(state(&app, &name).await, expected, "{address} {tag:?} as {told} {told_tag}, {status}");
        }
    }
    let held = cases.iter().filter(|case| !case.4).flat_map(|_| ["pending", "confirmed"]).count();
    assert_eq!(app.rows("/api/callbacks?state=held").await.len(), held);
    // A body without an address of its own tells the one of its transaction.
    order(&app, withdrawal("w-1x", Some("ada"), "0.2")).await.expect("it is set aside");
    let mut body: Value = serde_json::from_str(&outgoing(8_000_100, "w-1x", "0.2", "confirmed")).expect("JSON");
    body["crypto_address"]["address"] = Value::Null;
    body["transactions"] = json!([{"id": 1, "currency": "BTC", "transaction_type": "blockchain", "type": "withdrawal",
        "address": base58, "amount": "0.2", "txid": "tx-9"}]);
    assert_eq!(app.receive(&body.to_string()).await, 200);
    assert_eq!(state(&app, "w-1x").await, "requested");
    app.finish().await;
}

async fn what_is_booked_anyway_is_the_requests_and_teaches_no_reference(backend: Backend) {
    let app = with_ada(backend).await;
    order(&app, withdrawal("w-1", Some("ada"), "0.2")).await.expect("it is set aside");
    let elsewhere = told(8_000_001, "confirmed", |body| {
        body["end_user_reference"] = "eve".into();
        body["crypto_address"]["address"] = "bc1-of-eve".into();
    });
    assert_eq!(app.receive(&elsewhere).await, 200);
    assert!(app.ledger().await.contains("held       ada              BTC    0.2"));
    judge(&app, "contradicts_request", Judgement::BookAnyway(Waived::of(Reason::ContradictsRequest))).await;
    let settled = "available  ada              BTC    0.3\nfees       -                BTC    0.00001\nprocessor  -                BTC    0.29999";
    assert_eq!((app.ledger().await.as_str(), state(&app, "w-1").await), (settled, "settled"));
    assert_eq!(app.receive(&deposit(7_000_002, Some("eve"), "0.7")).await, 200);
    assert!(app.ledger().await.contains("available  eve              BTC    0.7"), "{}", app.ledger().await);
    app.finish().await;
}
