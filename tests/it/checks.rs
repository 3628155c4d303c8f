//! The ledger looks at itself: each thing that must hold is broken once, and the alarm is seen everywhere it is shown.

use reqwest::StatusCode;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use std::sync::Arc;
use tallyhook::cli::serve::Part;
use tallyhook::domain::account::AccountKind;
use tallyhook::domain::check::Sums;
use tallyhook::worker::checks::Checker;

use crate::page::Browser;
use crate::support::deposits::Deposit;
use crate::support::sandbox::amount;
use crate::support::{Backend, OPERATOR, TestApp};

/// Without the work in the background: the tests say when it looks. Two deposits are booked.
async fn booked(backend: Backend, more: &[(&str, &str)]) -> TestApp {
    let app = TestApp::as_part(backend, more, Part::Receive).await;
    for number in [1, 2] {
        assert_eq!(app.receive(&Deposit { number }.confirmed()).await, StatusCode::OK);
    }
    app
}

fn checker(app: &TestApp) -> Checker {
    Checker::new(Arc::clone(&app.running.as_ref().expect("it runs").app), "a test".to_owned())
}

/// Looks anew, and tells the names of what fails.
async fn failing(app: &TestApp) -> String {
    checker(app).look().await.expect("the database answers");
    shown(app).await
}

async fn shown(app: &TestApp) -> String {
    let rows = app.rows("/api/checks").await;
    assert_eq!(rows.len(), 5, "{rows:?}");
    let failing = rows.iter().filter(|row| row["ok"] == json!(false));
    let names: Vec<_> = failing.map(|row| row["name"].as_str().expect("a name")).collect();
    let page = app.client.get(format!("{}/metrics", app.admin)).send().await.expect("metrics").text().await;
    let page = page.expect("text");
    for row in &rows {
        let name = row["name"].as_str().expect("a name");
        let line = format!("tallyhook_check_failed{{check=\"{name}\"}} {}", u8::from(names.contains(&name)));
        assert!(page.contains(&line), "{line} is not in {page}");
    }
    names.join(" ")
}

async fn sql(app: &TestApp, sql: &str) {
    let db = &app.running.as_ref().expect("it runs").app.db;
    db.orm.execute_unprepared(sql).await.expect("the database takes it");
}

/// What someone with the rights of an owner can do.
pub(crate) async fn untie(app: &TestApp, backend: Backend) {
    let triggers = match backend {
        Backend::Postgres => ["journal_append_only ON journal"].as_slice(),
        Backend::Sqlite => ["journal_no_update", "journal_no_delete", "postings_no_update"].as_slice(),
    };
    for trigger in triggers {
        sql(app, &format!("DROP TRIGGER {trigger}")).await;
    }
}

async fn stop(mut app: TestApp) {
    let running = app.running.take().expect("it runs");
    running.app.stop.cancel();
    assert_eq!(running.until_stopped().await.expect("it stops in order"), 0);
}

async fn balances_and_sums(backend: Backend) {
    let app = booked(backend, &[]).await;
    assert_eq!(failing(&app).await, "");
    // Deposit 1 is ether, 2 litecoin: one account more, then the other side with it.
    sql(&app, "UPDATE accounts SET balance = '7' WHERE kind = 1 AND currency = 'ETH'").await;
    assert_eq!(failing(&app).await, "zero balances");
    assert_eq!(failing(&app).await, "zero balances", "it stays until it is right");
    let mut browser = Browser::logged_in(&app, OPERATOR).await;
    let overview = browser.get("/").await.text;
    assert!(overview.contains("2 failing") && overview.contains("do not sum to zero"), "{overview}");
    let sum = Deposit { number: 1 };
    let net = units(sum.amount().wrapping_sub(sum.fee()));
    sql(&app, &format!("UPDATE accounts SET balance = '{net}' WHERE kind = 1 AND currency = 'ETH'")).await;
    assert_eq!(failing(&app).await, "");
    sql(&app, "UPDATE accounts SET balance = '9' WHERE kind IN (1, 5) AND currency = 'LTC'").await;
    sql(&app, "UPDATE accounts SET balance = '0' WHERE kind = 2 AND currency = 'LTC'").await;
    assert_eq!(failing(&app).await, "balances", "sums that fit are not enough");
    assert!(browser.get("/").await.text.contains("1 failing"));
    stop(app).await;
}

fn units(units: i128) -> String {
    format!("0.{units:018}")
}

async fn an_entry_that_was_changed(backend: Backend) {
    let app = booked(backend, &[]).await;
    assert_eq!(failing(&app).await, "");
    untie(&app, backend).await;
    assert_eq!(app.receive(&Deposit { number: 4 }.confirmed()).await, StatusCode::OK);
    sql(&app, "UPDATE journal SET at_us = at_us + 1 WHERE position = 3").await;
    assert_eq!(failing(&app).await, "chain");
    let rows = app.rows("/api/checks").await;
    let detail =
        |name: &str| rows.iter().find(|row| row["name"] == name).map_or(Value::Null, |row| row["detail"].clone());
    assert!(detail("chain").as_str().is_some_and(|text| text.starts_with("journal entry 3: its hash")), "{rows:?}");
    sql(&app, "UPDATE journal SET at_us = at_us - 1 WHERE position = 3").await;
    assert_eq!(failing(&app).await, "");
    // One that was right when it was looked at.
    sql(&app, "UPDATE journal SET hash = (SELECT hash FROM journal WHERE position = 1) WHERE position = 3").await;
    assert_eq!(failing(&app).await, "chain");
    stop(app).await;
}

async fn a_posting_that_was_changed(backend: Backend) {
    let app = booked(backend, &[]).await;
    untie(&app, backend).await;
    sql(
        &app,
        match backend {
            Backend::Postgres => "UPDATE journal SET amounts[1] = 5 WHERE position = 2",
            Backend::Sqlite => "UPDATE postings SET amount = '5' WHERE position = 2",
        },
    )
    .await;
    assert_eq!(failing(&app).await, "balances chain");
    stop(app).await;
}

async fn a_hole(backend: Backend) {
    let app = booked(backend, &[]).await;
    assert_eq!(failing(&app).await, "");
    assert_eq!(app.receive(&Deposit { number: 4 }.confirmed()).await, StatusCode::OK);
    assert_eq!(app.receive(&Deposit { number: 5 }.confirmed()).await, StatusCode::OK);
    untie(&app, backend).await;
    sql(&app, "DELETE FROM journal WHERE position = 3").await;
    let found = failing(&app).await;
    assert!(found.contains("chain outbox"), "{found}");
    sql(&app, "DELETE FROM journal WHERE position = 4").await;
    let found = failing(&app).await;
    assert!(found.contains("chain outbox"), "{found}");
    stop(app).await;
}

async fn what_waits_for_the_broker(backend: Backend) {
    // Nobody listens on the discard port.
    let more = [("AMQP_URL", "amqp://127.0.0.1:9/%2f"), ("TALLYHOOK_CHECKS__OUTBOX_S", "1")];
    let app = booked(backend, &more).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(failing(&app).await, "outbox");
    sql(&app, "UPDATE cursors SET position = 2 WHERE name = 'rabbitmq'").await;
    assert_eq!(failing(&app).await, "");
    sql(&app, "UPDATE cursors SET position = 99 WHERE name = 'rabbitmq'").await;
    assert_eq!(failing(&app).await, "outbox", "more is published than there is");
    stop(app).await;
}

async fn what_waits_for_a_person(backend: Backend) {
    let app = booked(backend, &[]).await;
    let unclear = Deposit { number: 3 }.confirmed().replace("\"deposit\",\"crypto", "\"what\",\"crypto");
    assert_eq!(app.receive(&unclear).await, StatusCode::OK);
    assert_eq!(failing(&app).await, "", "it has not waited for long");
    sql(&app, "UPDATE discrepancies SET opened_us = opened_us - 260000000000").await;
    assert_eq!(failing(&app).await, "holds");
    assert_eq!(shown(&app).await, "holds");
    stop(app).await;
}

stories! {
    balances_and_sums, an_entry_that_was_changed, a_posting_that_was_changed, a_hole, what_waits_for_the_broker,
    what_waits_for_a_person,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_looks_when_it_starts() {
    let app = TestApp::start(Backend::Sqlite).await;
    let patience = std::time::Duration::from_secs(20);
    crate::support::process::eventually("it has looked", patience, async || {
        (app.rows("/api/checks").await.len() == 5).then_some(())
    })
    .await;
    assert_eq!(shown(&app).await, "");
    app.finish().await;
}

#[test]
fn what_does_not_sum_to_zero_is_named() {
    let mut sums = Sums::default();
    sums.add(1, "BTC", AccountKind::Processor, amount("1.5"));
    sums.add(1, "BTC", AccountKind::Available, amount("1"));
    sums.add(1, "BTC", AccountKind::Suspense, amount("0.5"));
    sums.add(1, "ETH", AccountKind::Fees, amount("1"));
    sums.add(2, "ETH", AccountKind::Exchange, amount("1"));
    assert_eq!(sums.unequal(), [(1, "ETH".to_owned()), (2, "ETH".to_owned())]);
}
