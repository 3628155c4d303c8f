//! `ledger verify` finds what was changed behind the ledger's back, and names it.

use sea_orm::ConnectionTrait;
use serde_json::json;
use tallyhook::audit;

use crate::support::{Backend, TestApp};

fn deposit(id: u64) -> String {
    json!({"id": id, "type": "deposit", "end_user_reference": "ada", "fees": [], "error": "", "status": "confirmed",
        "currency_received": {"currency": "BTC", "amount": "2", "amount_minus_fee": "1.5"},
        "transactions": [{"currency": "BTC", "transaction_type": "blockchain", "amount": "2", "txid": id.to_string()}]})
    .to_string()
}

/// Changes one thing in a ledger of three deposits, and returns the first difference that is found.
async fn first_difference(backend: Backend, tampering: &str) -> String {
    let app = TestApp::start(backend).await;
    for id in [11, 12, 13] {
        app.receive(&deposit(id)).await;
    }
    app.verify().await;
    let handles = &app.running.as_ref().expect("it runs").app;
    let open_up = match backend {
        Backend::Postgres => "ALTER TABLE journal DISABLE TRIGGER ALL",
        Backend::Sqlite => {
            "DROP TRIGGER postings_no_update; DROP TRIGGER journal_no_update; DROP TRIGGER journal_no_delete"
        }
    };
    handles.db.orm.execute_unprepared(open_up).await.expect("whoever may change the schema may do this");
    handles.db.orm.execute_unprepared(tampering).await.expect("the change is made");
    let report = audit::verify(&handles.db, &handles.keyring).await.expect("the ledger can be read");
    report.differences.into_iter().next().expect("the change is found")
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_verify_names_a_row_that_was_changed_behind_its_back() {
    let changes = [
        ("UPDATE journal SET amount = '9' WHERE position = 2", "journal entry 2"),
        ("UPDATE journal SET customer_id = 77 WHERE position = 3", "journal entry 3"),
        ("UPDATE accounts SET balance = '9' WHERE id = 2", "account 2"),
        ("UPDATE callbacks SET state = 3, reason = 20 WHERE id = 2", "callback 2"),
        ("UPDATE callbacks SET foreign_id = 'mallory' WHERE id = 2", "callback 2"),
        ("UPDATE customer_references SET customer_id = 2", "journal entry 1"),
    ];
    let moved = [
        (Backend::Sqlite, "UPDATE postings SET amount = '9' WHERE position = 2 AND ordinal = 1"),
        (Backend::Postgres, "UPDATE journal SET amounts[1] = 9 WHERE position = 2"),
        (Backend::Postgres, "UPDATE journal SET debits[1] = 1, credits[1] = 1 WHERE position = 2"),
    ];
    for (backend, tampering) in moved {
        let what = first_difference(backend, tampering).await;
        assert!(what.contains("journal entry 2"), "{backend:?}, {tampering}: {what}");
    }
    for (tampering, named) in changes {
        for backend in [Backend::Sqlite, Backend::Postgres] {
            let what = first_difference(backend, tampering).await;
            assert!(what.contains(named), "{backend:?}, {tampering}: {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_verify_notices_a_body_that_was_changed() {
    let on_sqlite =
        "UPDATE callbacks SET body = CAST(replace(CAST(body AS text), '\"2\"', '\"3\"') AS blob) WHERE id = 1";
    let what = first_difference(Backend::Sqlite, on_sqlite).await;
    assert_eq!(what, "callback 1: its body does not have its digest");
    let on_postgres =
        "UPDATE callbacks SET body = body || ' '::bytea, digest = sha256(body || ' '::bytea) WHERE id = 1";
    let what = first_difference(Backend::Postgres, on_postgres).await;
    assert!(what.starts_with("callback 1: its signature fits none"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_and_the_postings_refuse_to_be_changed() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let app = TestApp::start(backend).await;
        app.receive(&deposit(11)).await;
        let db = &app.running.as_ref().expect("it runs").app.db;
        for change in [
            "UPDATE postings SET amount = '9'",
            "DELETE FROM postings",
            "UPDATE journal SET at_us = 0",
            "DELETE FROM journal",
        ] {
            let refused = db.orm.execute_unprepared(change).await.expect_err("append-only").to_string();
            // On PostgreSQL they are a view of the journal.
            let is_view = backend == Backend::Postgres && refused.contains("view \"postings\"");
            assert!(is_view || refused.contains("append-only"), "{change}: {refused}");
        }
        app.finish().await;
    }
}
