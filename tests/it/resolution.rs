//! Claims about resolving discrepancies: money moves with two people only, once whoever approves how often, and every
//! action leaves a row that nobody can change. On both databases.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{APPROVER, Backend, OPERATOR, TestApp, VIEWER, launch};

stories!(
    suspense_is_assigned_by_two_people,
    nobody_approves_what_they_asked_for,
    what_is_small_enough_needs_one_person,
    approving_at_the_same_time_moves_money_once,
    an_approval_that_was_interrupted_is_carried_out_once,
    a_refused_proposal_moves_nothing_and_makes_room,
    a_duplicate_is_booked_anyway_or_ignored_or_linked,
    a_hold_that_is_corrected_can_never_be_booked_as_well,
    what_makes_no_sense_is_refused,
    discrepancies_are_found_owned_and_talked_about,
    the_audit_log_cannot_be_changed,
);

/// Another approver than `APPROVER`.
pub(crate) const SECOND: &str = "second-approver-of-tests";
const WITH_SECOND: [(&str, &str); 2] =
    [("TALLYHOOK_TOKENS__CHIEF__SECRET", SECOND), ("TALLYHOOK_TOKENS__CHIEF__ROLE", "approver")];
pub(crate) const BEFORE: &str = "available  ada              BTC    0.5\nprocessor  -                BTC    0.6\nsuspense   -                BTC    0.1";
pub(crate) const AFTER: &str = "available  ada              BTC    0.6\nprocessor  -                BTC    0.6";

pub(crate) fn deposit(id: u32, user: Option<&str>, amount: &str, txid: &str) -> String {
    json!({
        "id": id, "end_user_reference": user, "type": "deposit",
        "crypto_address": {"id": 31, "currency": "BTC", "address": "bc1-of-tests", "tag": null},
        "currency_received": {"currency": "BTC", "amount": amount, "amount_minus_fee": amount},
        "transactions": [{"id": id, "currency": "BTC", "transaction_type": "blockchain", "type": "deposit",
            "address": "bc1-of-tests", "amount": amount, "txid": txid, "confirmations": "3"}],
        "fees": [], "error": "", "status": "confirmed",
    })
    .to_string()
}

/// Ada has half a bitcoin, and a tenth is in suspense.
pub(crate) async fn with_suspense(backend: Backend, more: &[(&str, &str)]) -> (TestApp, String) {
    let app = TestApp::with(backend, &[&WITH_SECOND, more].concat()).await;
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5", "tx-1")).await, 200);
    assert_eq!(app.receive(&deposit(7_000_002, None, "0.1", "tx-2")).await, 200);
    let id = only_discrepancy(&app).await;
    (app, id)
}

pub(crate) async fn only_discrepancy(app: &TestApp) -> String {
    let rows = app.rows("/api/discrepancies").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]["id"].as_str().expect("an id").to_owned()
}

pub(crate) async fn post(app: &TestApp, path: &str, token: &str, body: Value) -> (u16, Value) {
    let answer = app.send_json(path, token, &body).await;
    (answer.status.as_u16(), answer.json)
}

async fn assign(app: &TestApp, id: &str, token: &str) -> (u16, Value) {
    let body = json!({"action": "assign", "customer": {"end_user_reference": "ada"}, "note": "ticket 7"});
    post(app, &format!("/api/discrepancies/{id}/resolve"), token, body).await
}

pub(crate) async fn approve(app: &TestApp, proposal: &Value, token: &str) -> (u16, Value) {
    let id = proposal["id"].as_str().expect("a proposal");
    post(app, &format!("/api/proposals/{id}/approve"), token, json!({})).await
}

async fn suspense_is_assigned_by_two_people(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    assert_eq!(assign(&app, &id, VIEWER).await.0, 403, "a viewer only looks");
    let (status, proposal) = assign(&app, &id, OPERATOR).await;
    assert_eq!((status, &proposal["state"]), (202, &json!("waiting")), "{proposal}");
    assert_eq!(proposal["moves"], json!({"BTC": "0.1"}));
    assert_eq!(app.ledger().await, BEFORE, "nothing moves before a second person agrees");
    for token in [VIEWER, OPERATOR] {
        assert_eq!(approve(&app, &proposal, token).await.0, 403, "only an approver approves");
    }
    assert_eq!(app.ledger().await, BEFORE);
    assert_eq!(assign(&app, &id, OPERATOR).await.1["code"], "proposal_open", "one at a time");

    let (status, done) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &done["state"], &done["decided_by"]), (200, &json!("done"), &json!("boss")), "{done}");
    assert_eq!(app.ledger().await, AFTER);
    let events = app.events().await.len();
    assert_eq!(approve(&app, &proposal, APPROVER).await, (200, done), "again is the same answer");
    assert_eq!((app.ledger().await.as_str(), app.events().await.len()), (AFTER, events), "and moves nothing");
    assert_eq!(assign(&app, &id, OPERATOR).await.1["code"], "not_open");

    let log = app.rows("/api/audit").await;
    let deeds: Vec<_> =
        log.iter().map(|deed| format!("{} {} {}", deed["who"], deed["action"], deed["after"])).collect();
    let told = deeds.join("\n");
    assert_eq!(log.len(), 3, "{told}");
    for (who, action) in [("boss", "proposal.carry_out"), ("boss", "proposal.approve"), ("ops", "discrepancy.resolve")]
    {
        assert!(log.iter().any(|deed| deed["who"] == who && deed["action"] == action), "{who} {action}\n{told}");
    }
    app.finish().await;
}

async fn nobody_approves_what_they_asked_for(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let (status, proposal) = assign(&app, &id, APPROVER).await;
    assert_eq!(status, 202, "an approver needs another one as well: {proposal}");
    let (status, refused) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &refused["code"]), (403, &json!("self_approval")));
    assert_eq!(app.ledger().await, BEFORE);
    let sql = "UPDATE proposals SET state = 2, decided_by = asked_by";
    let db = &app.running.as_ref().expect("it runs").app.db;
    assert!(db.orm.execute_unprepared(sql).await.is_err(), "the database refuses it, too");
    assert_eq!(approve(&app, &proposal, SECOND).await.0, 200);
    assert_eq!(app.ledger().await, AFTER);
    app.finish().await;
}

async fn what_is_small_enough_needs_one_person(backend: Backend) {
    for (alone, status, ledger) in [("EUR=100,BTC=0.1", 200, AFTER), ("BTC=0.0999", 202, BEFORE)] {
        let (app, id) = with_suspense(backend, &[("TALLYHOOK_ADMIN__ALONE", alone)]).await;
        assert_eq!(assign(&app, &id, OPERATOR).await.0, status, "{alone}");
        assert_eq!(app.ledger().await, ledger, "{alone}");
        app.finish().await;
    }
}

async fn approving_at_the_same_time_moves_money_once(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let (_, proposal) = assign(&app, &id, OPERATOR).await;
    // Another replica on the same database; SQLite has one process, so there it is the same one twice.
    let other = match backend {
        Backend::Postgres => Some(launch(&app.url, &WITH_SECOND).await),
        Backend::Sqlite => None,
    };
    let base = other.as_ref().map_or(app.admin.clone(), |other| format!("http://{}", other.admin));
    let path = format!("/api/proposals/{}/approve", proposal["id"].as_str().expect("an id"));
    let approvals = (0..8).map(|number| {
        let (base, token) = if number % 2 == 0 { (&app.admin, APPROVER) } else { (&base, SECOND) };
        app.client.post(format!("{base}{path}")).bearer_auth(token).send()
    });
    for answer in futures_util::future::join_all(approvals).await {
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    assert_eq!(app.ledger().await, AFTER);
    let events = app.events().await;
    let credits = events.iter().filter(|event| event["type"] == "deposit.credited").count();
    assert_eq!(credits, 2, "Ada's own, and the one assigned");
    if let Some(other) = other {
        other.app.stop.cancel();
        other.until_stopped().await.expect("it stops in order");
    }
    app.finish().await;
}

async fn an_approval_that_was_interrupted_is_carried_out_once(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let (_, proposal) = assign(&app, &id, OPERATOR).await;
    let db = &app.running.as_ref().expect("it runs").app.db;
    // The process died between the approval and the booking.
    let approved = "UPDATE proposals SET state = 2, decided_by = 'boss', decided_us = 1";
    db.orm.execute_unprepared(approved).await.expect("it is approved");
    assert_eq!(approve(&app, &proposal, SECOND).await.1["state"], "done");
    assert_eq!(app.ledger().await, AFTER);
    // It died between the booking and writing down that it is done.
    let undone = "UPDATE proposals SET state = 2, ended_us = NULL, outcome = NULL";
    db.orm.execute_unprepared(undone).await.expect("it is approved");
    let (_, again) = approve(&app, &proposal, SECOND).await;
    assert_eq!((&again["state"], &again["decided_by"]), (&json!("done"), &json!("boss")), "{again}");
    assert_eq!(app.ledger().await, AFTER);
    app.finish().await;
}

async fn a_refused_proposal_moves_nothing_and_makes_room(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let (_, proposal) = assign(&app, &id, OPERATOR).await;
    let path = format!("/api/proposals/{}/refuse", proposal["id"].as_str().expect("an id"));
    assert_eq!(post(&app, &path, VIEWER, json!({})).await.0, 403);
    let (status, refused) = post(&app, &path, APPROVER, json!({})).await;
    assert_eq!((status, &refused["state"]), (200, &json!("refused")));
    let (status, too_late) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &too_late["code"]), (409, &json!("already_decided")));
    assert_eq!(app.ledger().await, BEFORE);
    let (status, next) = assign(&app, &id, OPERATOR).await;
    assert_eq!(status, 202);
    assert_eq!(approve(&app, &next, APPROVER).await.0, 200);
    let path = format!("/api/proposals/{}/refuse", next["id"].as_str().expect("an id"));
    assert_eq!(post(&app, &path, APPROVER, json!({})).await.0, 409, "what is done can't be refused");
    assert_eq!(app.ledger().await, AFTER);
    app.finish().await;
}

async fn a_duplicate_is_booked_anyway_or_ignored_or_linked(backend: Backend) {
    let one = "available  ada              BTC    0.5\nprocessor  -                BTC    0.5";
    let two = "available  ada              BTC    1\nprocessor  -                BTC    1";
    for (body, status, ledger) in [
        (json!({"action": "book_anyway", "note": "two payments indeed"}), 202, two),
        (json!({"action": "ignore", "note": "sent twice by mistake"}), 200, one),
        (json!({"action": "link", "payment": {"type": "deposit", "id": "7000001"}, "note": "the same"}), 200, one),
    ] {
        let app = TestApp::start(backend).await;
        assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5", "tx-1")).await, 200);
        assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.5", "tx-1")).await, 200);
        let id = only_discrepancy(&app).await;
        let (found, answer) = post(&app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, body.clone()).await;
        assert_eq!(found, status, "{body}: {answer}");
        if status == 202 {
            assert_eq!((app.ledger().await.as_str(), &answer["moves"]), (one, &json!({"BTC": "0.5"})));
            let (_, done) = approve(&app, &answer, APPROVER).await;
            assert_eq!(done["state"], "done", "{done}");
        }
        assert_eq!(app.ledger().await, ledger, "{body}");
        assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "{body}: nothing is open");
        let detail = app.get(&format!("/api/discrepancies/{id}"), VIEWER).await.json;
        assert!(detail["resolved_at"].is_string(), "{detail}");
        let linked = detail["notes"].as_array().expect("notes").iter().any(|note| note["text"] == "deposit/7000001");
        assert_eq!(linked, body["action"] == "link", "{detail}");
        app.finish().await;
    }
}

async fn a_hold_that_is_corrected_can_never_be_booked_as_well(backend: Backend) {
    let app = TestApp::start(backend).await;
    assert_eq!(app.receive(&deposit(7_000_001, Some("ada"), "0.5", "tx-1")).await, 200);
    assert_eq!(app.receive(&deposit(7_000_002, Some("ada"), "0.5", "tx-1")).await, 200);
    let id = only_discrepancy(&app).await;
    let customer = json!({"end_user_reference": "ada"});
    let body = json!({"action": "correct", "debit": "processor", "credit": "available", "customer": customer,
        "currency": "BTC", "amount": "0.5", "note": "two payments indeed"});
    let (status, proposal) = post(&app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, body).await;
    assert_eq!(status, 202, "{proposal}");
    assert_eq!(approve(&app, &proposal, APPROVER).await.1["state"], "done");
    let two = "available  ada              BTC    1\nprocessor  -                BTC    1";
    assert_eq!(app.ledger().await, two);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "nothing is open");
    let again = json!({"action": "book_anyway", "note": "once more"});
    assert_eq!(post(&app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, again).await.0, 409);
    let held = app.rows("/api/callbacks?state=held").await;
    assert_eq!(held.len(), 0, "what was corrected by hand waits for no replay");
    assert_eq!(approve(&app, &proposal, APPROVER).await.1["state"], "done");
    assert_eq!(app.ledger().await, two);
    app.finish().await;
}

async fn what_makes_no_sense_is_refused(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let correct = |debit: &str, amount: &str| json!({"action": "correct", "debit": debit, "credit": "exchange", "currency": "BTC", "amount": amount, "note": "x"});
    for (body, status) in [
        (json!({"action": "ignore", "note": "no"}), 422),
        (json!({"action": "book_anyway", "note": "no"}), 422),
        (correct("suspense", "0.05"), 422),
        (correct("fees", "0.1"), 422),
        (correct("suspense", "-1"), 422),
        (correct("suspense", "1e3"), 422),
        (json!({"action": "ignore"}), 400),
        (json!({"action": "assign", "note": "no customer"}), 400),
        (json!({"action": "burn", "note": "x"}), 400),
        (json!({"action": "ignore", "note": "x", "amount": "1"}), 400),
    ] {
        let (found, answer) = post(&app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, body.clone()).await;
        assert_eq!(found, status, "{body}: {answer}");
    }
    for path in ["/api/discrepancies/4711/resolve", "/api/discrepancies/x/resolve"] {
        assert_eq!(post(&app, path, OPERATOR, json!({"action": "ignore", "note": "x"})).await.0, 404);
    }
    let nobody = json!({"action": "assign", "customer": {"foreign_id": "nobody"}, "note": "x"});
    let (_, proposal) = post(&app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, nobody).await;
    let (status, declined) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &declined["code"]), (409, &json!("declined")), "{declined}");
    assert_eq!(app.ledger().await, BEFORE);
    let (status, proposal) =
        post(&app, &format!("/api/discrepancies/{id}/resolve"), OPERATOR, correct("suspense", "0.1")).await;
    assert_eq!(status, 202, "{proposal}");
    assert_eq!(approve(&app, &proposal, APPROVER).await.0, 200);
    assert!(!app.ledger().await.contains("suspense"), "what stood there went where the correction says");
    app.finish().await;
}

async fn discrepancies_are_found_owned_and_talked_about(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let line = &app.rows("/api/discrepancies?state=open").await[0];
    let told = ["kind", "reason", "currency", "amount", "owner"].map(|field| line[field].clone());
    assert_eq!(told, [json!("suspense"), json!("customer_missing"), json!("BTC"), json!("0.1"), Value::Null]);
    let path = format!("/api/discrepancies/{id}");
    let (status, owned) = post(&app, &format!("{path}/owner"), OPERATOR, json!({"owner": "mia"})).await;
    assert_eq!((status, &owned["owner"]), (200, &json!("mia")));
    for (kind, said) in [("comment", "I ask them"), ("evidence", "mail of 21 November")] {
        let (status, _) = post(&app, &format!("{path}/comments"), OPERATOR, json!({"kind": kind, "text": said})).await;
        assert_eq!(status, 200);
    }
    let detail = app.get(&path, VIEWER).await.json;
    assert_eq!(detail["notes"].as_array().map(Vec::len), Some(2));
    assert_eq!(detail["claims"]["received"], json!({"currency": "BTC", "amount": "0.1"}));
    for (query, count) in [
        ("owner=mia", 1),
        ("owner=ben", 0),
        ("reason=customer_missing", 1),
        ("reason=risk_score", 0),
        ("state=resolved", 0),
        ("state=all", 1),
        ("until=1h", 0),
        ("since=1h", 1),
        ("merchant=main", 1),
    ] {
        assert_eq!(app.rows(&format!("/api/discrepancies?{query}")).await.len(), count, "{query}");
    }
    assert_eq!(app.get("/api/discrepancies?reason=whim", VIEWER).await.status, 400);
    post(&app, &format!("{path}/owner"), OPERATOR, json!({"owner": null})).await;
    assert_eq!(app.rows("/api/discrepancies?owner=mia").await.len(), 0);
    app.finish().await;
}

async fn the_audit_log_cannot_be_changed(backend: Backend) {
    let (app, id) = with_suspense(backend, &[]).await;
    let request = app.client.post(format!("{}/api/discrepancies/{id}/owner", app.admin)).bearer_auth(OPERATOR);
    let request = request.header("X-Request-Id", "request-of-tests").body(r#"{"owner":"mia"}"#);
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let before = app.rows("/api/audit").await;
    let told = ["who", "role", "action", "subject", "before", "after", "request_id"].map(|f| before[0][f].clone());
    let subject = format!("discrepancy/{id}");
    let expected = ["ops", "operator", "discrepancy.own", &subject].map(Value::from);
    assert_eq!(told[..4], expected);
    assert_eq!(told[4..], [Value::Null, json!("mia"), json!("request-of-tests")]);
    let db = &app.running.as_ref().expect("it runs").app.db;
    for sql in ["UPDATE audit_log SET who = 'nobody'", "DELETE FROM audit_log"] {
        assert!(db.orm.execute_unprepared(sql).await.is_err(), "{sql}");
    }
    assert_eq!(app.rows("/api/audit").await, before);
    app.finish().await;
}
