//! Holds whose money people book by hand, or anyway: it moves once, whatever is heard of the payment before, meanwhile and
//! afterwards. On both databases.

use serde_json::{Value, json};

use crate::resolution::{approve, deposit, only_discrepancy, post};
use crate::support::{APPROVER, Backend, OPERATOR, TestApp};

stories!(
    a_declined_correction_leaves_the_hold_as_it_was,
    a_corrected_payment_is_over,
    what_was_booked_while_a_correction_waited_is_not_corrected,
    what_was_booked_under_another_id_is_not_corrected,
    what_was_linked_while_a_correction_waited_is_not_corrected,
    all_reasons_are_named_and_waived_together,
);

const ONE: &str = "available  ada              BTC    0.5\nprocessor  -                BTC    0.5";

/// A confirmed deposit of ada's that comes with an error text.
fn doubtful(id: u32, txid: &str) -> String {
    deposit(id, Some("ada"), "0.5", txid).replace(r#""error":"""#, r#""error":"a text""#)
}

fn correction(customer: &str, amount: &str) -> Value {
    json!({"action": "correct", "debit": "processor", "credit": "available",
        "customer": {"end_user_reference": customer}, "currency": "BTC", "amount": amount, "note": "ticket 8"})
}

async fn ask(app: &TestApp, id: &str, body: Value) -> Value {
    let (status, proposal) = post(app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, body).await;
    assert_eq!(status, 202, "{proposal}");
    proposal
}

/// Ada is known, and her second deposit is held.
async fn with_hold(backend: Backend) -> (TestApp, String) {
    let app = TestApp::start(backend).await;
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5", "tx-1")).await, 200);
    assert_eq!(app.receive(&doubtful(7_000_002, "tx-2")).await, 200);
    let id = only_discrepancy(&app).await;
    (app, id)
}

async fn a_declined_correction_leaves_the_hold_as_it_was(backend: Backend) {
    let (app, id) = with_hold(backend).await;
    let proposal = ask(&app, &id, correction("aada", "0.5")).await;
    let (status, declined) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &declined["code"]), (409, &json!("declined")), "{declined}");
    assert_eq!(app.ledger().await, ONE);
    assert_eq!(only_discrepancy(&app).await, id, "it is open as before");
    assert_eq!(app.rows("/api/callbacks?state=held").await.len(), 1);

    let proposal = ask(&app, &id, correction("ada", "0.5")).await;
    assert_eq!(approve(&app, &proposal, APPROVER).await.1["state"], "done");
    assert_eq!(app.ledger().await, ONE.replace("0.5", "1"));
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

async fn a_corrected_payment_is_over(backend: Backend) {
    let (app, id) = with_hold(backend).await;
    let proposal = ask(&app, &id, correction("ada", "0.5")).await;
    assert_eq!(approve(&app, &proposal, APPROVER).await.1["state"], "done");
    let two = ONE.replace("0.5", "1");
    assert_eq!(app.ledger().await, two);

    assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.5", "tx-2")).await, 200);
    assert!(app.callbacks().await.ends_with("deposit confirmed ignored repeat x1"), "the same money again");
    assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.6", "tx-2")).await, 200);
    assert!(app.callbacks().await.ends_with("deposit confirmed held contradicts_final x1"), "other money");
    assert_eq!(app.receive(&deposit(7_000_009, Some("ada"), "0.5", "tx-2")).await, 200);
    assert!(app.callbacks().await.ends_with("deposit confirmed held possible_duplicate x1"), "under another id");
    assert_eq!(app.ledger().await, two, "it moved once");
    let told = app.callbacks().await;
    assert!(told.contains("deposit confirmed ignored corrected x1"), "{told}");
    app.finish().await;
}

async fn what_was_booked_while_a_correction_waited_is_not_corrected(backend: Backend) {
    let (app, id) = with_hold(backend).await;
    let proposal = ask(&app, &id, correction("ada", "0.5")).await;
    assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.5", "tx-2")).await, 200);
    let two = ONE.replace("0.5", "1");
    assert_eq!(app.ledger().await, two, "the clean one is booked");
    let (status, declined) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &declined["code"]), (409, &json!("declined")), "{declined}");
    assert_eq!(app.ledger().await, two, "and nothing by hand beside it");
    let none = json!({"dry_run": false});
    assert_eq!(post(&app, "/api/callbacks/replay?state=held", OPERATOR, none).await.0, 200);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "decided anew, it is a repeat");
    app.finish().await;
}

async fn what_was_booked_under_another_id_is_not_corrected(backend: Backend) {
    let (app, id) = with_hold(backend).await;
    let proposal = ask(&app, &id, correction("ada", "0.5")).await;
    assert_eq!(app.receive(&deposit(7_000_009, Some("ada"), "0.5", "tx-2")).await, 200);
    let two = ONE.replace("0.5", "1");
    assert_eq!(app.ledger().await, two, "the same transaction, clean");
    let (status, declined) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &declined["code"]), (409, &json!("declined")), "{declined}");
    assert_eq!(app.ledger().await, two, "and nothing by hand beside it");
    let none = json!({"dry_run": false});
    assert_eq!(post(&app, "/api/callbacks/replay?state=held", OPERATOR, none).await.0, 200);
    app.finish().await;
}

async fn what_was_linked_while_a_correction_waited_is_not_corrected(backend: Backend) {
    let (app, id) = with_hold(backend).await;
    let proposal = ask(&app, &id, correction("ada", "0.5")).await;
    let link = json!({"action": "link", "payment": {"type": "deposit", "id": "7000001"}, "note": "the same"});
    assert_eq!(post(&app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, link).await.0, 200);
    let (status, declined) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &declined["code"]), (409, &json!("declined")), "{declined}");
    assert_eq!(app.ledger().await, ONE, "what is resolved moves nothing");
    app.finish().await;
}

async fn all_reasons_are_named_and_waived_together(backend: Backend) {
    let app = TestApp::start(backend).await;
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5", "tx-1")).await, 200);
    assert_eq!(app.receive(&doubtful(7_000_002, "tx-1")).await, 200);
    let id = only_discrepancy(&app).await;
    let proposal = ask(&app, &id, json!({"action": "book_anyway", "note": "two payments indeed"})).await;
    assert_eq!(proposal["params"]["although"], json!(["confirmed_with_error", "possible_duplicate"]), "{proposal}");
    assert_eq!(approve(&app, &proposal, APPROVER).await.1["state"], "done");
    assert_eq!(app.ledger().await, ONE.replace("0.5", "1"));
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}
