//! Withdrawals at the simulated processor, asked for through our drop-in: each scenario ends in the right ledger and
//! events, also when its callback overtakes the answer or no answer ever comes.

use insta::{allow_duplicates, assert_snapshot};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::sandbox::{TestSandbox, options};
use crate::support::{Backend, OPERATOR, TestApp, told};

stories!(
    every_withdrawal_scenario_ends_in_the_right_ledger_and_events,
    a_callback_that_overtakes_the_answer_ends_like_any_other,
);

fn withdrawal(foreign_id: &str) -> Value {
    let address = "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc";
    json!({"currency": "BTC", "amount": "0.1", "address": address, "foreign_id": foreign_id, "end_user_reference": "user-1"})
}

/// The customer `user-1` has 2 BTC.
async fn funded(backend: Backend) -> (TestApp, TestSandbox) {
    let (app, sandbox) = TestSandbox::beside(backend, options("http://127.0.0.1:9")).await;
    let address = sandbox.take("BTC", "player-1", "user-1").await;
    sandbox.deposit(&address, "2", "instant");
    sandbox.until_idle().await;
    (app, sandbox)
}

/// Asks for a withdrawal that goes as `scenario` has it.
async fn withdraw(sandbox: &TestSandbox, scenario: &str) -> (StatusCode, Value) {
    sandbox.control("POST", "/scenarios", "", &json!({"withdrawal": scenario}));
    let answer = sandbox.call("/withdrawal/crypto", &withdrawal(&format!("w-{scenario}")).to_string()).await;
    (answer.status, answer.json)
}

/// One of each; the limit is approved, and nobody answers the last.
async fn withdraw_in_every_way(app: &TestApp, sandbox: &TestSandbox) {
    for scenario in ["normal", "bare", "early", "approve", "decline", "cancel", "limit_cancel"] {
        let (status, answer) = withdraw(sandbox, scenario).await;
        assert_eq!(status, StatusCode::CREATED, "{scenario} {answer}");
        sandbox.until_idle().await;
    }
    let (status, answer) = withdraw(sandbox, "limit").await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    sandbox.until_idle().await;
    let held = app.get("/api/balances?customer=user-1", OPERATOR).await.json.to_string();
    assert!(held.contains(r#""kind":"held""#) && held.contains(r#""balance":"0.1""#), "{held}");
    sandbox.control("POST", &format!("/operations/{}/approve", answer["data"]["id"]), "", &json!({}));
    sandbox.until_idle().await;
    let (status, _) = withdraw(sandbox, "timeout").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "nobody answers, and yet it is executed");
    sandbox.until_idle().await;
    let (status, answer) = withdraw(sandbox, "timeout").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "and it is not asked for twice: {answer}");
}

async fn every_withdrawal_scenario_ends_in_the_right_ledger_and_events(backend: Backend) {
    let (app, sandbox) = funded(backend).await;
    withdraw_in_every_way(&app, &sandbox).await;
    let seen = app.callbacks().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    deposit confirmed booked - x1
    withdrawal confirmed booked - x1
    withdrawal confirmed booked - x1
    withdrawal confirmed booked - x1
    withdrawal pending booked - x1
    withdrawal confirmed booked - x1
    withdrawal pending booked - x1
    withdrawal declined booked - x1
    withdrawal cancelled booked - x1
    withdrawal pending booked - x1
    withdrawal cancelled booked - x1
    withdrawal pending booked - x1
    withdrawal confirmed booked - x1
    withdrawal confirmed booked - x1
    ");
    }
    let seen = app.ledger().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    available  user-1           BTC    1.4
    fees       -                BTC    0.0168701
    processor  -                BTC    1.3831299
    ");
    }
    let seen = told(&app.events().await);
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    deposit.credited     player-1           BTC 2 fee 0.016 after 2
    withdrawal.requested user-1             BTC 0.1 fee - after 1.9
    withdrawal.settled   user-1             BTC 0.1 fee 0.00017402 after -
    withdrawal.requested user-1             BTC 0.1 fee - after 1.8
    withdrawal.settled   user-1             BTC 0.1 fee 0 after -
    withdrawal.requested user-1             BTC 0.1 fee - after 1.7
    withdrawal.settled   user-1             BTC 0.1 fee 0.00017402 after -
    withdrawal.requested user-1             BTC 0.1 fee - after 1.6
    withdrawal.pending   user-1             BTC 0.1 fee - after -
    withdrawal.settled   user-1             BTC 0.1 fee 0.00017402 after -
    withdrawal.requested user-1             BTC 0.1 fee - after 1.5
    withdrawal.pending   user-1             BTC 0.1 fee - after -
    withdrawal.failed    user-1             BTC 0.1 fee - after 1.6
    withdrawal.requested user-1             BTC 0.1 fee - after 1.5
    withdrawal.failed    user-1             BTC 0.1 fee - after 1.6
    withdrawal.requested user-1             BTC 0.1 fee - after 1.5
    withdrawal.pending   user-1             BTC 0.1 fee - after -
    withdrawal.failed    user-1             BTC 0.1 fee - after 1.6
    withdrawal.requested user-1             BTC 0.1 fee - after 1.5
    withdrawal.pending   user-1             BTC 0.1 fee - after -
    withdrawal.settled   user-1             BTC 0.1 fee 0.00017402 after -
    withdrawal.requested user-1             BTC 0.1 fee - after 1.4
    withdrawal.settled   user-1             BTC 0.1 fee 0.00017402 after -
    ");
    }
    app.finish().await;
}

async fn a_callback_that_overtakes_the_answer_ends_like_any_other(backend: Backend) {
    let (app, sandbox) = funded(backend).await;
    let (_, first) = withdraw(&sandbox, "normal").await;
    sandbox.until_idle().await;
    let usual = app.ledger().await;
    let (other, other_sandbox) = funded(backend).await;
    let (_, early) = withdraw(&other_sandbox, "early").await;
    other_sandbox.until_idle().await;
    assert_eq!(other.ledger().await, usual);
    let kinds = |events: &[Value]| events.iter().map(|event| event["type"].to_string()).collect::<Vec<_>>();
    assert_eq!(kinds(&other.events().await), kinds(&app.events().await));
    assert_eq!((&first["data"]["status"], &early["data"]["status"]), (&json!("processing"), &json!("processing")));
    app.finish().await;
    other.finish().await;
}
