//! How what is held, in suspense or set aside comes to an end, and what must never happen on the way. On both databases.

use serde_json::json;
use tallyhook::booker::Judgement;
use tallyhook::domain::account::AccountKind;
use tallyhook::domain::decide::Waived;
use tallyhook::domain::order::{Correction, Order, Told};
use tallyhook::domain::reason::Reason;

use crate::orders::{btc, declined, deposit, judge, order, outgoing, user, with_ada, withdrawal};
use crate::support::{Backend, TestApp};

stories!(
    a_hold_is_dismissed_before_it_is_corrected,
    only_suspense_of_the_named_payment_is_assigned,
    a_withdrawal_made_elsewhere_takes_its_name,
    what_a_refund_gave_back_never_goes_out_quietly,
    two_reasons_are_waived_one_after_the_other,
    a_withdrawal_that_its_callback_cannot_end_is_concluded,
    a_body_without_what_was_sent_costs_what_was_set_aside,
);

fn correct(discrepancy: Option<i64>, debit: AccountKind, credit: AccountKind, amount: &str) -> Order {
    let customer = (debit.is_customers() || credit.is_customers()).then(|| user("ada"));
    Order::Correct(Correction {
        key: format!("{discrepancy:?}-{amount}"),
        debit,
        credit,
        customer,
        currency: "BTC".to_owned(),
        amount: btc(amount),
        discrepancy,
        note: "a ticket".to_owned(),
        by: "ops".to_owned(),
    })
}

async fn discrepancy(app: &TestApp, reason: &str) -> i64 {
    let open = app.rows("/api/discrepancies").await;
    let row = open.iter().find(|row| row["reason"] == reason).expect("it is open");
    row["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

async fn a_hold_is_dismissed_before_it_is_corrected(backend: Backend) {
    let app = with_ada(backend).await;
    let unknown = outgoing(8_000_001, "w-1", "0.1", "confirmed");
    assert_eq!(app.receive(&unknown).await, 200);
    let hold = discrepancy(&app, "unknown_customer").await;
    let (available, processor) = (AccountKind::Available, AccountKind::Processor);
    assert_eq!(declined(order(&app, correct(Some(hold), available, processor, "0.1")).await), Reason::NotOpen);
    judge(&app, "unknown_customer", Judgement::Dismiss).await;
    order(&app, correct(None, available, processor, "0.1")).await.expect("it is corrected");
    assert_eq!(app.ledger().await, "available  ada              BTC    0.4\nprocessor  -                BTC    0.4");
    app.finish().await;
}

async fn only_suspense_of_the_named_payment_is_assigned(backend: Backend) {
    let app = with_ada(backend).await;
    assert_eq!(app.receive(&deposit(7_000_002, None, "0.1")).await, 200);
    assert_eq!(app.receive(&deposit(7_000_003, Some("ada"), "0.5")).await, 200);
    let (suspense, hold) = (discrepancy(&app, "customer_missing").await, discrepancy(&app, "possible_duplicate").await);
    let assign = |discrepancy: i64, payment: &str| Order::Assign {
        discrepancy,
        customer: user("ada"),
        payment: Told { kind: Some("deposit".to_owned()), payment_id: Some(payment.to_owned()), ..Told::default() },
        note: String::new(),
        by: "ops".to_owned(),
    };
    assert_eq!(declined(order(&app, assign(suspense, "7000001")).await), Reason::NotOpen, "another payment's");
    assert_eq!(declined(order(&app, assign(hold, "7000001")).await), Reason::NotOpen, "a hold has no money");
    let (debit, credit) = (AccountKind::Suspense, AccountKind::Processor);
    for (named, amount) in [(None, "0.1"), (Some(suspense), "0.05"), (Some(hold), "0.1")] {
        assert_eq!(
            declined(order(&app, correct(named, debit, credit, amount)).await),
            Reason::NotOpen,
            "{named:?} {amount}"
        );
    }
    let into = correct(None, AccountKind::Processor, AccountKind::Suspense, "1");
    assert_eq!(declined(order(&app, into).await), Reason::NotOpen, "suspense is only what waits there");
    order(&app, correct(Some(suspense), debit, credit, "0.1")).await.expect("sent back to where it came from");
    assert_eq!(declined(order(&app, assign(suspense, "7000002")).await), Reason::NotOpen);
    assert_eq!(app.ledger().await, "available  ada              BTC    0.5\nprocessor  -                BTC    0.5");
    app.finish().await;
}

async fn a_withdrawal_made_elsewhere_takes_its_name(backend: Backend) {
    let app = with_ada(backend).await;
    let made = outgoing(8_000_001, "w-1", "0.1", "confirmed")
        .replace(r#""id":8000001"#, r#""id":8000001,"end_user_reference":"ada""#);
    assert_eq!(app.receive(&made).await, 200);
    assert_eq!(declined(order(&app, withdrawal("w-1", Some("ada"), "0.1")).await), Reason::ForeignIdTaken);
    assert!(app.ledger().await.starts_with("available  ada              BTC    0.4\n"));
    let listed = app.rows("/api/withdrawals").await;
    assert_eq!((&listed[0]["api"], &listed[0]["foreign_id"]), (&"elsewhere".into(), &"w-1".into()));
    app.finish().await;
}

async fn what_a_refund_gave_back_never_goes_out_quietly(backend: Backend) {
    let app = with_ada(backend).await;
    order(&app, withdrawal("w-1", Some("ada"), "0.5")).await.expect("it is booked");
    let refund = Order::Refund { foreign_id: "w-1".to_owned(), error: "no".to_owned() };
    order(&app, refund).await.expect("it is given back");
    let told_before = app.events().await.len();
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.5", "pending")).await, 200);
    assert!(app.callbacks().await.contains("withdrawal pending held contradicts_final x1"));
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.5", "cancelled")).await, 200);
    let events = app.events().await;
    let failed = events.iter().skip(told_before).filter(|event| event["type"] == "withdrawal.failed").count();
    assert_eq!(failed, 0, "it failed once, and is told once");
    app.finish().await;
}

async fn two_reasons_are_waived_one_after_the_other(backend: Backend) {
    let app = with_ada(backend).await;
    let twice = deposit(7_000_002, Some("ada"), "0.5").replace(r#""error":"""#, r#""error":"a text""#);
    assert_eq!(app.receive(&twice).await, 200);
    judge(&app, "confirmed_with_error", Judgement::BookAnyway(Waived::of(Reason::ConfirmedWithError))).await;
    judge(&app, "possible_duplicate", Judgement::BookAnyway(Waived::of(Reason::PossibleDuplicate))).await;
    assert_eq!(app.ledger().await, "available  ada              BTC    1\nprocessor  -                BTC    1");
    app.finish().await;
}

async fn a_withdrawal_that_its_callback_cannot_end_is_concluded(backend: Backend) {
    let app = with_ada(backend).await;
    for name in ["w-1", "w-2"] {
        order(&app, withdrawal(name, Some("ada"), "0.2")).await.expect("it is booked");
    }
    let conclude = |name: &str, is_settled| Order::Conclude {
        foreign_id: name.to_owned(),
        is_settled,
        note: "seen on the chain".to_owned(),
        by: "ops".to_owned(),
    };
    order(&app, conclude("w-1", true)).await.expect("it is over");
    order(&app, conclude("w-2", false)).await.expect("it is over");
    for (name, is_settled) in [("w-1", false), ("w-2", true)] {
        assert_eq!(declined(order(&app, conclude(name, is_settled)).await), Reason::NotOpen);
    }
    assert_eq!(declined(order(&app, conclude("w-9", true)).await), Reason::NotFound);
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.2", "confirmed")).await, 200);
    assert!(app.callbacks().await.contains("withdrawal confirmed held contradicts_final x1"));
    assert_eq!(app.ledger().await, "available  ada              BTC    0.3\nprocessor  -                BTC    0.3");
    app.finish().await;
}

async fn a_body_without_what_was_sent_costs_what_was_set_aside(backend: Backend) {
    let app = with_ada(backend).await;
    order(&app, withdrawal("w-1", Some("ada"), "0.2")).await.expect("it is booked");
    order(&app, withdrawal("w-2", None, "0.3")).await.expect("nothing is set aside");
    let converted = |id: u32, foreign_id: &str| {
        json!({"id": id, "foreign_id": foreign_id, "end_user_reference": "ada", "type": "withdrawal_exchange",
            "currency_received": {"currency": "EUR", "amount": "9"}, "transactions": [], "fees": [], "error": "",
            "status": "confirmed"})
        .to_string()
    };
    assert_eq!(app.receive(&converted(8_000_001, "w-1")).await, 200);
    assert_eq!(app.receive(&converted(8_000_002, "w-2")).await, 200);
    // Nothing was set aside for the second: what it names may be what was received.
    assert!(app.callbacks().await.contains("withdrawal_exchange confirmed held amount_unclear x1"));
    assert_eq!(app.ledger().await, "available  ada              BTC    0.3\nprocessor  -                BTC    0.3");
    app.finish().await;
}
