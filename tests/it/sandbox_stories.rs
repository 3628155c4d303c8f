//! A full story for each scenario of the simulated processor: told by its callbacks, and in the end the right ledger and
//! the right events.

use insta::{allow_duplicates, assert_snapshot};
use reqwest::StatusCode;
use serde_json::json;

use crate::support::sandbox::{TestSandbox, options};
use crate::support::{Backend, told};

stories!(
    every_deposit_scenario_ends_in_the_right_ledger_and_events,
    every_invoice_scenario_ends_in_the_right_ledger_and_events,
    an_exchange_moves_both_sums_and_its_fee,
);

async fn every_deposit_scenario_ends_in_the_right_ledger_and_events(backend: Backend) {
    let (app, sandbox) = TestSandbox::beside(backend, options("http://127.0.0.1:9")).await;
    for scenario in ["normal", "instant", "slow", "internal", "double_spend", "below_minimum", "cross_currency"] {
        let address = sandbox.take("ETH", &format!("player-{scenario}"), scenario).await;
        sandbox.deposit(&address, "20", scenario);
        sandbox.until_idle().await;
    }
    let seen = app.callbacks().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    deposit not_confirmed booked - x1
    deposit confirmed booked - x1
    deposit confirmed booked - x1
    deposit not_confirmed booked - x1
    deposit confirmed booked - x1
    deposit confirmed booked - x1
    deposit not_confirmed booked - x1
    deposit cancelled booked - x1
    deposit not_confirmed booked - x1
    deposit cancelled booked - x1
    deposit not_confirmed booked - x1
    deposit confirmed booked - x1
    ");
    }
    let seen = app.ledger().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    available  cross_currency   BNB-BSC 20
    available  instant          ETH    20
    available  internal         ETH    20
    available  normal           ETH    20
    available  slow             ETH    20
    fees       -                BNB-BSC 0.16
    fees       -                ETH    0.8
    processor  -                BNB-BSC 19.84
    processor  -                ETH    79.2
    ");
    }
    let seen = told(&app.events().await);
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    deposit.pending      player-normal      ETH 20 fee - after -
    deposit.credited     player-normal      ETH 20 fee 0.2 after 20
    deposit.credited     player-instant     ETH 20 fee 0.2 after 20
    deposit.pending      player-slow        ETH 20 fee - after -
    deposit.credited     player-slow        ETH 20 fee 0.2 after 20
    deposit.credited     player-internal    ETH 20 fee 0.2 after 20
    deposit.pending      player-double_spend ETH 20 fee - after -
    deposit.cancelled    player-double_spend ETH 20 fee - after -
    deposit.pending      player-below_minimum ETH 0.00999999 fee - after -
    deposit.cancelled    player-below_minimum ETH 0.00999999 fee - after -
    deposit.pending      player-cross_currency BNB-BSC 20 fee - after -
    deposit.credited     player-cross_currency BNB-BSC 20 fee 0.16 after 20
    ");
    }
    app.finish().await;
}

async fn every_invoice_scenario_ends_in_the_right_ledger_and_events(backend: Backend) {
    let (app, sandbox) = TestSandbox::beside(backend, options("http://127.0.0.1:9")).await;
    for scenario in ["paid", "instalments", "overpaid", "underpaid", "unpaid", "stuck"] {
        sandbox.control("POST", "/scenarios", "", &json!({"invoice": scenario}));
        let body = json!({"timer": true, "title": "t", "currency": "EUR", "amount": "600", "foreign_id": format!("i-{scenario}"), "end_user_reference": scenario, "url_success": "https://example.test/ok", "url_failed": "https://example.test/no", "email_user": "a@example.test"});
        let answer = sandbox.call("/invoices/create", &body.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json);
        sandbox.until_idle().await;
    }
    let seen = app.callbacks().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    invoice processing booked - x1
    invoice confirmed booked - x1
    invoice pending booked - x1
    invoice pending ignored repeat x1
    invoice processing booked - x1
    invoice confirmed booked - x1
    invoice processing booked - x1
    invoice confirmed booked - x1
    invoice failed booked - x1
    invoice failed booked - x1
    invoice processing booked - x1
    invoice failed booked - x1
    ");
    }
    let seen = app.ledger().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    available  instalments      EUR    600
    available  overpaid         EUR    600
    available  paid             EUR    600
    fees       -                EUR    14.4
    processor  -                EUR    1785.6
    ");
    }
    let seen = told(&app.events().await);
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    invoice.pending      paid               EUR 600 fee - after -
    invoice.credited     paid               EUR 600 fee 4.8 after 600
    invoice.pending      instalments        EUR 600 fee - after -
    invoice.credited     instalments        EUR 600 fee 4.8 after 600
    invoice.pending      overpaid           EUR 600 fee - after -
    invoice.credited     overpaid           EUR 600 fee 4.8 after 600
    invoice.failed       underpaid          EUR 600 fee - after -
    invoice.failed       unpaid             EUR 600 fee - after -
    invoice.pending      stuck              EUR 600 fee - after -
    invoice.failed       stuck              EUR 600 fee - after -
    ");
    }
    app.finish().await;
}

async fn an_exchange_moves_both_sums_and_its_fee(backend: Backend) {
    let (app, sandbox) = TestSandbox::beside(backend, options("http://127.0.0.1:9")).await;
    let body =
        json!({"sender_currency": "BTC", "receiver_currency": "EUR", "sender_amount": "0.5", "foreign_id": "e-1"});
    let answer = sandbox.call("/exchange/now", &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json);
    sandbox.until_idle().await;
    let seen = app.callbacks().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    exchange confirmed booked - x1
    ");
    }
    let seen = app.ledger().await;
    allow_duplicates! {
        assert_snapshot!(seen, @r"
    exchange   -                BTC    -0.5
    exchange   -                EUR    30000
    fees       -                BTC    0.01
    processor  -                BTC    -0.51
    processor  -                EUR    30000
    ");
    }
    app.finish().await;
}
