//! What is asked of our own ledger: withdrawals set aside, given back and settled, and what operators decide. On both
//! databases, and each ledger is derived anew at the end.

use serde_json::json;
use tallyhook::booker::{Judgement, OrderError, Placed, replay};
use tallyhook::domain::account::AccountKind;
use tallyhook::domain::amount::Amount;
use tallyhook::domain::customer::ReferenceKind;
use tallyhook::domain::decide::Waived;
use tallyhook::domain::ids::{CallbackId, MerchantId};
use tallyhook::domain::order::{Api, Correction, Order, Reference, Told, Withdrawal};
use tallyhook::domain::reason::Reason;

use crate::support::{Backend, OPERATOR, TestApp, told};

pub(crate) const MAIN: MerchantId = MerchantId(1);
/// Of `{}`.
const REQUEST_SHA256: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

stories!(
    a_withdrawal_is_set_aside_and_settled,
    a_cancelled_withdrawal_comes_back,
    a_refused_withdrawal_comes_back_once,
    what_is_not_there_is_not_set_aside,
    of_many_withdrawals_at_once_no_more_are_set_aside_than_there_is,
    another_amount_than_requested_is_held_and_can_be_booked_anyway,
    a_second_payment_for_a_request_is_held,
    suspense_is_assigned_once_and_told_as_a_credit,
    a_correction_moves_what_it_says_and_never_too_much,
    a_held_callback_can_be_dismissed_for_ever,
    a_possible_duplicate_can_be_booked_anyway,
    a_customer_made_known_beforehand_is_credited,
);

pub(crate) fn user(name: &str) -> Reference {
    (ReferenceKind::EndUserReference, name.to_owned())
}

pub(crate) fn btc(amount: &str) -> Amount {
    Amount::parse(amount).expect("an amount")
}

pub(crate) fn withdrawal(foreign_id: &str, customer: Option<&str>, amount: &str) -> Order {
    Order::Withdrawal(Withdrawal {
        foreign_id: foreign_id.to_owned(),
        customer: customer.map(user),
        currency: "BTC".to_owned(),
        amount: btc(amount),
        currency_to: None,
        address: "bc1-elsewhere".to_owned(),
        tag: None,
        api: Api::Gateway,
        request_sha256: REQUEST_SHA256.to_owned(),
        request: b"{}".to_vec(),
    })
}

pub(crate) async fn order(app: &TestApp, order: Order) -> Result<Placed, OrderError> {
    app.running.as_ref().expect("it runs").app.booker.order(MAIN, order).await
}

pub(crate) fn declined(outcome: Result<Placed, OrderError>) -> Reason {
    match outcome {
        Err(OrderError::Declined(reason)) => reason,
        other => panic!("not declined: {other:?}"),
    }
}

pub(crate) fn deposit(id: u32, user: Option<&str>, amount: &str) -> String {
    json!({
        "id": id, "end_user_reference": user, "type": "deposit",
        "crypto_address": {"id": 31, "currency": "BTC", "address": "bc1-of-tests", "tag": null},
        "currency_received": {"currency": "BTC", "amount": amount, "amount_minus_fee": amount},
        "transactions": [{"id": id, "currency": "BTC", "transaction_type": "blockchain", "type": "deposit",
            "address": "bc1-of-tests", "amount": amount, "txid": "tx-1", "confirmations": "3"}],
        "fees": [], "error": "", "status": "confirmed",
    })
    .to_string()
}

pub(crate) fn outgoing(id: u32, foreign_id: &str, amount: &str, status: &str) -> String {
    json!({
        "id": id, "foreign_id": foreign_id, "type": "withdrawal",
        "crypto_address": {"id": 32, "currency": "BTC", "address": "bc1-elsewhere", "tag": null},
        "currency_sent": {"currency": "BTC", "amount": amount},
        "transactions": [], "fees": [{"type": "mining", "currency": "BTC", "amount": "0.00001"}],
        "error": "", "status": status,
    })
    .to_string()
}

/// Ada has half a bitcoin.
pub(crate) async fn with_ada(backend: Backend) -> TestApp {
    let app = TestApp::start(backend).await;
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5")).await, 200);
    app
}

async fn a_withdrawal_is_set_aside_and_settled(backend: Backend) {
    let app = with_ada(backend).await;
    let placed = order(&app, withdrawal("w-1", Some("ada"), "0.2")).await.expect("it is booked");
    assert_eq!(
        app.ledger().await,
        "available  ada              BTC    0.3\nheld       ada              BTC    0.2\nprocessor  -                BTC    0.5"
    );
    let again = order(&app, withdrawal("w-1", Some("ada"), "0.2")).await.expect("the same order is no second one");
    assert_eq!((again.id, again.is_duplicate), (placed.id, true));
    let other = order(&app, withdrawal("w-1", Some("ada"), "0.1")).await;
    assert_eq!(other, Err(OrderError::Declined(Reason::ForeignIdTaken)));
    for status in ["not_confirmed", "confirmed", "confirmed"] {
        assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.2", status)).await, 200);
    }
    assert_eq!(
        app.ledger().await,
        "available  ada              BTC    0.3\nfees       -                BTC    0.00001\nprocessor  -                BTC    0.29999"
    );
    let events = told(&app.events().await);
    let last: Vec<_> = events.lines().skip(1).collect();
    assert_eq!(
        last,
        [
            "withdrawal.requested ada                BTC 0.2 fee - after 0.3",
            "withdrawal.pending   w-1                BTC 0.2 fee - after -",
            "withdrawal.settled   w-1                BTC 0.2 fee 0.00001 after -",
        ]
    );
    assert_eq!(
        order(&app, withdrawal("w-1", Some("ada"), "0.3")).await,
        Err(OrderError::Declined(Reason::ForeignIdTaken))
    );
    let late = Order::Refund { foreign_id: "w-1".to_owned(), error: "late".to_owned() };
    assert_eq!(order(&app, late).await, Err(OrderError::Declined(Reason::NotOpen)));
    app.finish().await;
}

async fn a_cancelled_withdrawal_comes_back(backend: Backend) {
    let app = with_ada(backend).await;
    order(&app, withdrawal("w-1", Some("ada"), "0.5")).await.expect("it is booked");
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.5", "cancelled")).await, 200);
    assert_eq!(app.ledger().await, "available  ada              BTC    0.5\nprocessor  -                BTC    0.5");
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.5", "confirmed")).await, 200);
    assert!(app.callbacks().await.contains("withdrawal confirmed held contradicts_final x1"));
    assert!(told(&app.events().await).contains("withdrawal.failed    w-1                BTC 0.5 fee - after 0.5"));
    app.finish().await;
}

async fn a_refused_withdrawal_comes_back_once(backend: Backend) {
    let app = with_ada(backend).await;
    order(&app, withdrawal("w-1", Some("ada"), "0.5")).await.expect("it is booked");
    let refund = |error: &str| Order::Refund { foreign_id: "w-1".to_owned(), error: error.to_owned() };
    order(&app, refund("The amount must be at least 1.")).await.expect("it is given back");
    assert_eq!(order(&app, refund("once more")).await, Err(OrderError::Declined(Reason::NotOpen)));
    assert_eq!(app.ledger().await, "available  ada              BTC    0.5\nprocessor  -                BTC    0.5");
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.5", "confirmed")).await, 200);
    assert!(app.callbacks().await.contains("withdrawal confirmed held contradicts_final x1"));
    let nobody = Order::Refund { foreign_id: "w-9".to_owned(), error: String::new() };
    assert_eq!(order(&app, nobody).await, Err(OrderError::Declined(Reason::NotFound)));
    app.finish().await;
}

async fn what_is_not_there_is_not_set_aside(backend: Backend) {
    let app = with_ada(backend).await;
    let before = app.events().await.len();
    let too_much = order(&app, withdrawal("w-1", Some("ada"), "0.500000000000000001")).await;
    assert_eq!(too_much, Err(OrderError::Declined(Reason::InsufficientBalance)));
    let stranger = order(&app, withdrawal("w-2", Some("bob"), "0.1")).await;
    assert_eq!(stranger, Err(OrderError::Declined(Reason::UnknownCustomer)));
    let nothing = order(&app, withdrawal("w-3", Some("ada"), "0")).await;
    assert_eq!(nothing, Err(OrderError::Declined(Reason::AmountOutOfRange)));
    assert_eq!(app.events().await.len(), before, "a declined order leaves nothing behind");
    order(&app, withdrawal("w-4", None, "7")).await.expect("nobody's money: nothing is set aside");
    assert_eq!(app.ledger().await, "available  ada              BTC    0.5\nprocessor  -                BTC    0.5");
    app.finish().await;
}

async fn of_many_withdrawals_at_once_no_more_are_set_aside_than_there_is(backend: Backend) {
    let app = with_ada(backend).await;
    let booker = app.running.as_ref().expect("it runs").app.booker.clone();
    let mut all = tokio::task::JoinSet::new();
    for number in 0..300 {
        let booker = booker.clone();
        all.spawn(async move { booker.order(MAIN, withdrawal(&format!("w-{number}"), Some("ada"), "0.25")).await });
    }
    drop(booker);
    let placed = all.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(placed, 2);
    assert_eq!(app.ledger().await, "held       ada              BTC    0.5\nprocessor  -                BTC    0.5");
    app.finish().await;
}

async fn another_amount_than_requested_is_held_and_can_be_booked_anyway(backend: Backend) {
    let app = with_ada(backend).await;
    order(&app, withdrawal("w-1", Some("ada"), "0.2")).await.expect("it is booked");
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.3", "confirmed")).await, 200);
    assert!(app.callbacks().await.contains("withdrawal confirmed held contradicts_request x1"));
    judge(&app, "contradicts_request", Judgement::BookAnyway(Waived::of(Reason::ContradictsRequest))).await;
    assert_eq!(
        app.ledger().await,
        "available  ada              BTC    0.2\nfees       -                BTC    0.00001\nprocessor  -                BTC    0.19999"
    );
    app.finish().await;
}

async fn a_second_payment_for_a_request_is_held(backend: Backend) {
    let app = with_ada(backend).await;
    order(&app, withdrawal("w-1", Some("ada"), "0.2")).await.expect("it is booked");
    assert_eq!(app.receive(&outgoing(8_000_001, "w-1", "0.2", "confirmed")).await, 200);
    assert_eq!(app.receive(&outgoing(8_000_002, "w-1", "0.2", "confirmed")).await, 200);
    assert!(app.callbacks().await.contains("withdrawal confirmed held possible_duplicate x1"));
    assert_eq!(
        app.ledger().await,
        "available  ada              BTC    0.3\nfees       -                BTC    0.00001\nprocessor  -                BTC    0.29999"
    );
    app.finish().await;
}

async fn suspense_is_assigned_once_and_told_as_a_credit(backend: Backend) {
    let app = with_ada(backend).await;
    assert_eq!(app.receive(&deposit(7_000_002, None, "0.1")).await, 200);
    let open = app.rows("/api/discrepancies").await;
    let id: i64 = open[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("a discrepancy");
    let payment = Told {
        kind: Some("deposit".to_owned()),
        status: Some("confirmed".to_owned()),
        payment_id: Some("7000002".to_owned()),
        address: Some("bc1-of-tests".to_owned()),
        txids: vec!["tx-1".to_owned()],
    };
    let assign = |by: &str| Order::Assign {
        discrepancy: id,
        customer: user("ada"),
        payment: payment.clone(),
        note: "a ticket".to_owned(),
        by: by.to_owned(),
    };
    order(&app, assign("ops")).await.expect("it is assigned");
    assert_eq!(order(&app, assign("somebody else")).await, Err(OrderError::Declined(Reason::NotOpen)));
    assert_eq!(app.ledger().await, "available  ada              BTC    0.6\nprocessor  -                BTC    0.6");
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    let events = app.events().await;
    let credited = events.last().expect("an event");
    assert_eq!(
        (credited["type"].as_str(), credited["data"]["amount"].as_str()),
        (Some("deposit.credited"), Some("0.1"))
    );
    assert_eq!(credited["data"]["customer"]["end_user_reference"], "ada");
    assert_eq!(
        (&credited["data"]["payment"]["id"], &credited["data"]["balance_after"]),
        (&json!("7000002"), &json!("0.6"))
    );
    app.finish().await;
}

async fn a_correction_moves_what_it_says_and_never_too_much(backend: Backend) {
    let app = with_ada(backend).await;
    let correct = |key: &str, debit, credit, customer: Option<&str>, amount: &str| {
        Order::Correct(Correction {
            key: key.to_owned(),
            debit,
            credit,
            customer: customer.map(user),
            currency: "BTC".to_owned(),
            amount: btc(amount),
            discrepancy: None,
            note: "a fee that was refunded".to_owned(),
            by: "ops".to_owned(),
        })
    };
    let (available, fees) = (AccountKind::Available, AccountKind::Fees);
    order(&app, correct("c-1", fees, available, Some("ada"), "0.01")).await.expect("it is corrected");
    assert!(order(&app, correct("c-1", fees, available, Some("ada"), "0.01")).await.expect("the same").is_duplicate);
    order(&app, correct("c-2", fees, available, Some("ada"), "0.01")).await.expect("another of the same amount");
    assert_eq!(
        app.ledger().await,
        "available  ada              BTC    0.52\nfees       -                BTC    0.02\nprocessor  -                BTC    0.5"
    );
    let short = order(&app, correct("c-3", available, fees, Some("ada"), "1")).await;
    assert_eq!(declined(short), Reason::InsufficientBalance);
    let held = order(&app, correct("c-4", available, AccountKind::Held, Some("ada"), "0.1")).await;
    assert_eq!(declined(held), Reason::NotOpen);
    let nobody = order(&app, correct("c-5", fees, available, None, "0.1")).await;
    assert_eq!(declined(nobody), Reason::UnknownCustomer);
    app.finish().await;
}

async fn a_held_callback_can_be_dismissed_for_ever(backend: Backend) {
    let app = with_ada(backend).await;
    assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.5")).await, 200);
    judge(&app, "possible_duplicate", Judgement::Dismiss).await;
    assert!(app.callbacks().await.contains("deposit confirmed ignored dismissed x1"));
    let rows = app.rows("/api/callbacks?state=ignored").await;
    let id = rows[0]["id"].as_str().expect("an id").to_owned();
    let replayed = app.send_json(&format!("/api/callbacks/{id}/replay"), OPERATOR, &json!({"dry_run": false})).await;
    assert_eq!(replayed.status, 200);
    assert_eq!(app.ledger().await, "available  ada              BTC    0.5\nprocessor  -                BTC    0.5");
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

async fn a_possible_duplicate_can_be_booked_anyway(backend: Backend) {
    let app = with_ada(backend).await;
    assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.5")).await, 200);
    judge(&app, "possible_duplicate", Judgement::BookAnyway(Waived::of(Reason::ConfirmedWithError))).await;
    assert!(app.callbacks().await.contains("held possible_duplicate"), "another reason waives nothing");
    judge(&app, "possible_duplicate", Judgement::BookAnyway(Waived::of(Reason::PossibleDuplicate))).await;
    assert_eq!(app.ledger().await, "available  ada              BTC    1\nprocessor  -                BTC    1");
    app.finish().await;
}

async fn a_customer_made_known_beforehand_is_credited(backend: Backend) {
    let app = TestApp::with(backend, &[("TALLYHOOK_MERCHANTS__MAIN__UNKNOWN_CUSTOMER", "suspense")]).await;
    let known = || Order::Customer { references: vec![user("ada"), (ReferenceKind::ForeignId, "player-1".to_owned())] };
    let first = order(&app, known()).await.expect("it is known");
    let again = order(&app, known()).await.expect("it is known still");
    assert_eq!((first.is_duplicate, again.is_duplicate, first.customer), (false, true, again.customer));
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5")).await, 200);
    assert_eq!(app.receive(&deposit(7_000_002, Some("eve"), "0.7")).await, 200);
    assert_eq!(
        app.ledger().await,
        "available  ada              BTC    0.5\nprocessor  -                BTC    1.2\nsuspense   -                BTC    0.7"
    );
    order(&app, Order::Customer { references: vec![user("eve")] }).await.expect("she is known");
    let both = Order::Customer { references: vec![user("ada"), user("eve")] };
    assert_eq!(order(&app, both).await, Err(OrderError::Declined(Reason::CustomerContradictory)));
    app.finish().await;
}

/// Judges the one callback that is held for `reason`.
pub(crate) async fn judge(app: &TestApp, reason: &str, judgement: Judgement) {
    let rows = app.rows("/api/callbacks?state=held").await;
    let held = rows.iter().find(|row| row["reason"] == reason).expect("it is held");
    let id = CallbackId(held["id"].as_str().and_then(|id| id.parse().ok()).expect("an id"));
    let inner = &app.running.as_ref().expect("it runs").app;
    let before = app.ledger().await;
    replay::judge(&inner.db, &inner.booker, &[id], Some(judgement), true).await.expect("a dry run");
    assert_eq!(app.ledger().await, before, "a dry run moves nothing");
    replay::judge(&inner.db, &inner.booker, &[id], Some(judgement), false).await.expect("it is judged");
}
