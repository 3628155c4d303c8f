//! Withdrawals whose callbacks can't end them: a missing one is told once, and two people end what only people can. On
//! both databases.

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::support::merchant::{APPROVER, HASTY, accepted, beside, fund, post, spoken, state, withdrawal};
use crate::support::process::{Deployment, eventually};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, OPERATOR, TestApp, VIEWER, told};

stories!(
    a_missing_withdrawal_is_told_once_until_its_callback_comes,
    a_missing_withdrawal_is_given_back_by_two_people,
    a_withdrawal_without_callbacks_is_concluded_by_two_people,
    what_is_small_enough_is_concluded_by_one_person,
    what_the_processor_may_still_do_is_not_ended,
    an_ending_that_was_interrupted_is_carried_out_once,
    what_had_nothing_set_aside_is_not_concluded_as_settled,
    a_refusal_of_any_form_makes_it_missing_and_one_of_the_call_does_not,
    one_of_a_merchant_that_is_not_configured_holds_up_no_other,
);

const CHIEF: &str = "second-approver-of-tests";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
const WITH_CHIEF: [(&str, &str); 3] = [
    ("TALLYHOOK_TOKENS__CHIEF__SECRET", CHIEF),
    ("TALLYHOOK_TOKENS__CHIEF__ROLE", "approver"),
    ("TALLYHOOK_OUTBOUND__MISSING_S", "60"),
];

/// An instance whose customer has 3 BTC, and asked for one of them to be sent. Answers the withdrawal's number.
async fn asked(backend: Backend, reply: Reply, more: &[(&str, &str)]) -> (TestApp, Upstream, i64) {
    let hasty = matches!(reply, Reply::Hang).then_some(HASTY);
    let upstream = Upstream::start(move |seen| match seen.path.as_str() {
        "/api/v2/withdrawal/crypto" => reply.clone(),
        _ => Reply::Json(404, r#"{"error":"Not found","code":"not_found"}"#.into()),
    })
    .await;
    let settings = [&WITH_CHIEF, more, hasty.as_slice()].concat();
    let app = beside(backend, &upstream, &settings).await;
    fund(&app, "3").await;
    post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "1")).await;
    let row = &app.rows("/api/withdrawals?q=w-1").await[0];
    let id = row["id"].as_str().and_then(|id| id.parse().ok()).expect("a number");
    (app, upstream, id)
}

fn taken() -> Reply {
    Reply::Json(201, accepted(7, "w-1"))
}

async fn say(app: &TestApp, sql: &str) {
    app.running.as_ref().expect("it runs").app.db.orm.execute_unprepared(sql).await.expect("the database takes it");
}

/// As if the processor had said for hours that it knows nothing of it.
async fn hours_pass(app: &TestApp) {
    say(app, "UPDATE withdrawals SET missing = 9, missing_since_us = 1700000000000000, next_us = 9000000000000000")
        .await;
}

/// The command line, which takes the approver's name beside the operator's.
fn command_of_the_boss(app: &TestApp) -> Deployment {
    let command = Deployment::on(&app.url).set("TALLYHOOK_TOKENS__VIEW__SECRET", VIEWER);
    let command = command.set("TALLYHOOK_TOKENS__VIEW__ROLE", "viewer");
    command.set("TALLYHOOK_TOKENS__BOSS__SECRET", APPROVER).set("TALLYHOOK_TOKENS__BOSS__ROLE", "approver")
}

async fn discrepancies(app: &TestApp, state: &str) -> Vec<Value> {
    app.rows(&format!("/api/discrepancies?reason=withdrawal_missing&state={state}")).await
}

async fn until(app: &TestApp, state: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} {state} discrepancies");
    let all = async || Some(discrepancies(app, state).await).filter(|all| all.len() == count);
    eventually(&what, PATIENCE, all).await
}

async fn end(app: &TestApp, id: i64, verb: &str, token: &str, outcome: Option<&str>) -> (u16, Value) {
    let mut body = json!({"note": "their support says so"});
    if let Some(outcome) = outcome {
        body["outcome"] = outcome.into();
    }
    let answer = app.send_json(&format!("/api/withdrawals/{id}/{verb}"), token, &body).await;
    (answer.status.as_u16(), answer.json)
}

async fn approve(app: &TestApp, proposal: &Value, token: &str) -> (u16, Value) {
    let path = format!("/api/proposals/{}/approve", proposal["id"].as_str().expect("a proposal"));
    let answer = app.send_json(&path, token, &json!({})).await;
    (answer.status.as_u16(), answer.json)
}

async fn a_missing_withdrawal_is_told_once_until_its_callback_comes(backend: Backend) {
    let (app, _upstream, id) = asked(backend, Reply::Hang, &[]).await;
    assert_eq!((state(&app, "w-1").await, discrepancies(&app, "all").await.len()), ("unknown", 0));
    hours_pass(&app).await;
    let open = until(&app, "open", 1).await.remove(0);
    let found = ["currency", "amount", "reason"].map(|field| open[field].clone());
    assert_eq!(found, ["BTC", "1", "withdrawal_missing"].map(Value::from));
    let detail = app.get(&format!("/api/discrepancies/{}", open["id"].as_str().expect("an id")), VIEWER).await.json;
    assert_eq!(detail["callback"]["foreign_id"], "w-1", "{detail}");
    let note = detail["claims"]["found"].as_str().expect("what was found");
    assert!(note.contains("w-1") && note.contains("since 2023-11-14T22:13:20"), "{note}");

    // Another process, which knows of no discrepancy yet, tells the same one.
    say(&app, "UPDATE withdrawals SET discrepancy = NULL").await;
    let is_told = async || {
        let rows = app.rows("/api/withdrawals?q=w-1").await;
        let sql = "SELECT count(*) FROM withdrawals WHERE discrepancy IS NOT NULL";
        let db = &app.running.as_ref().expect("it runs").app.db.orm;
        let statement = sea_orm::Statement::from_string(db.get_database_backend(), sql);
        let row = db.query_one_raw(statement).await.expect("a query").expect("a row");
        (rows.len() == 1 && row.try_get_by_index::<i64>(0).expect("a number") == 1).then_some(())
    };
    eventually("it is told", PATIENCE, is_told).await;
    assert_eq!(discrepancies(&app, "all").await.len(), 1, "once");

    assert_eq!(app.receive(&spoken(7, "w-1", "1", "confirmed")).await, 200);
    until(&app, "resolved", 1).await;
    assert_eq!(discrepancies(&app, "open").await.len(), 0);
    let events = told(&app.events().await);
    assert_eq!((events.matches("discrepancy.opened").count(), events.matches("discrepancy.resolved").count()), (1, 1));
    assert_eq!(end(&app, id, "refund", APPROVER, None).await.0, 409, "it is settled");
    app.finish().await;
}

async fn a_missing_withdrawal_is_given_back_by_two_people(backend: Backend) {
    let (app, _upstream, id) = asked(backend, Reply::Hang, &[]).await;
    assert_eq!(end(&app, id, "refund", APPROVER, None).await.0, 422, "not yet missing");
    hours_pass(&app).await;
    until(&app, "open", 1).await;
    for token in [VIEWER, OPERATOR] {
        assert_eq!(end(&app, id, "refund", token, None).await.0, 403);
    }
    let (status, proposal) = end(&app, id, "refund", APPROVER, None).await;
    assert_eq!((status, &proposal["state"], &proposal["moves"]), (202, &json!("waiting"), &json!({"BTC": "1"})));
    assert_eq!((&proposal["withdrawal_id"], &proposal["discrepancy_id"]), (&json!(id.to_string()), &Value::Null));
    assert_eq!(end(&app, id, "refund", CHIEF, None).await.1["code"], "proposal_open");
    let (status, refused) = approve(&app, &proposal, APPROVER).await;
    assert_eq!((status, &refused["code"]), (403, &json!("self_approval")));
    assert!(app.ledger().await.contains("held"), "nothing has moved");
    let (status, done) = approve(&app, &proposal, CHIEF).await;
    assert_eq!((status, &done["state"]), (200, &json!("done")), "{done}");
    assert_eq!((state(&app, "w-1").await, app.ledger().await.contains("held")), ("failed", false));
    until(&app, "resolved", 1).await;
    assert_eq!(end(&app, id, "refund", APPROVER, None).await.1["code"], "not_open");
    let log = app.rows("/api/audit").await;
    assert!(log.iter().any(|deed| deed["subject"] == format!("withdrawal/{id}").as_str()), "{log:?}");
    app.finish().await;
}

async fn a_withdrawal_without_callbacks_is_concluded_by_two_people(backend: Backend) {
    let (app, _upstream, id) = asked(backend, taken(), &[]).await;
    assert_eq!(state(&app, "w-1").await, "pending");
    assert_eq!(end(&app, id, "conclude", VIEWER, Some("settled")).await.0, 403);
    assert_eq!(end(&app, id, "conclude", APPROVER, None).await.0, 400, "how it ended must be said");
    assert_eq!(end(&app, id, "conclude", APPROVER, Some("paid")).await.0, 400);
    let (status, proposal) = end(&app, id, "conclude", APPROVER, Some("settled")).await;
    assert_eq!((status, &proposal["params"]), (202, &json!({"action": "conclude", "settled": true})));
    assert_eq!(approve(&app, &proposal, APPROVER).await.0, 403);
    assert_eq!(approve(&app, &proposal, CHIEF).await.1["state"], "done");
    assert_eq!(state(&app, "w-1").await, "settled");
    assert_eq!(app.ledger().await, "available  user-1           BTC    2\nprocessor  -                BTC    2");
    assert_eq!(end(&app, id, "conclude", APPROVER, Some("failed")).await.1["code"], "not_open", "it is settled");
    assert_eq!(end(&app, 4711, "conclude", APPROVER, Some("failed")).await.0, 404);

    // What comes after a person's word waits for people.
    assert_eq!(app.receive(&spoken(7, "w-1", "1", "cancelled")).await, 200);
    assert!(app.callbacks().await.contains("held contradicts_final"), "{}", app.callbacks().await);

    let command = command_of_the_boss(&app);
    let conclude =
        |id: &str| command.run(&["withdrawals", "conclude", id, "--outcome", "failed", "--note", "x", "--by", "boss"]);
    assert_eq!((conclude(&id.to_string()).code, conclude("4711").code), (Some(4), Some(3)));
    assert_eq!(command.run(&["withdrawals", "conclude", "1", "--outcome", "gone"]).code, Some(2));
    app.finish().await;
}

async fn what_is_small_enough_is_concluded_by_one_person(backend: Backend) {
    let (app, _upstream, id) = asked(backend, taken(), &[("TALLYHOOK_ADMIN__ALONE", "BTC=1")]).await;
    let (status, done) = end(&app, id, "conclude", APPROVER, Some("failed")).await;
    assert_eq!((status, &done["state"]), (200, &json!("failed")), "{done}");
    assert_eq!(app.ledger().await, "available  user-1           BTC    3\nprocessor  -                BTC    3");
    assert_eq!(app.receive(&spoken(7, "w-1", "1", "confirmed")).await, 200);
    assert!(app.ledger().await.contains("available  user-1           BTC    3"), "money never moves back by itself");
    app.finish().await;
}

async fn what_the_processor_may_still_do_is_not_ended(backend: Backend) {
    let (app, _upstream, id) = asked(backend, Reply::Hang, &[]).await;
    assert_eq!(state(&app, "w-1").await, "unknown");
    let (status, refused) = end(&app, id, "conclude", APPROVER, Some("failed")).await;
    assert_eq!((status, &refused["code"]), (422, &json!("unfit")), "it may still be on its way");
    // The command asks as well, and needs the same second person.
    hours_pass(&app).await;
    let command = command_of_the_boss(&app);
    for (by, code) in [("somebody", 2), ("view", 2)] {
        let refused = command.run(&["withdrawals", "refund", &id.to_string(), "--note", "x", "--by", by]);
        assert_eq!(refused.code, Some(code), "{}", refused.stderr);
        assert!(refused.stderr.contains("token of an operator or approver: boss, ops."), "{}", refused.stderr);
    }
    let asked = command.run(&["withdrawals", "refund", &id.to_string(), "--note", "x", "--by", "boss"]);
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    assert!(asked.stdout.contains("waits for an approver other than boss"), "{}", asked.stdout);
    let proposal = app.rows("/api/proposals").await.remove(0);
    assert_eq!(approve(&app, &proposal, APPROVER).await.0, 403);
    // Meanwhile the processor turns out to know it.
    assert_eq!(app.receive(&spoken(7, "w-1", "1", "pending")).await, 200);
    let (status, declined) = approve(&app, &proposal, CHIEF).await;
    assert_eq!((status, &declined["code"]), (409, &json!("declined")), "{declined}");
    assert!(app.ledger().await.contains("held"), "what is on its way stays set aside");
    app.finish().await;
}

async fn an_ending_that_was_interrupted_is_carried_out_once(backend: Backend) {
    let (app, _upstream, id) = asked(backend, taken(), &[]).await;
    let (_, proposal) = end(&app, id, "conclude", APPROVER, Some("failed")).await;
    assert_eq!(approve(&app, &proposal, CHIEF).await.1["state"], "done");
    let after = app.ledger().await;
    // The process died between the booking and writing down that it is done.
    say(&app, "UPDATE proposals SET state = 2, ended_us = NULL, outcome = NULL").await;
    let (status, done) = approve(&app, &proposal, CHIEF).await;
    assert_eq!((status, &done["state"]), (200, &json!("done")), "{done}");
    assert_eq!((app.ledger().await, state(&app, "w-1").await), (after, "failed"));
    app.finish().await;
}

/// The treasury's withdrawal sets nothing aside: its callback alone says whose balance pays, and what.
async fn what_had_nothing_set_aside_is_not_concluded_as_settled(backend: Backend) {
    let upstream = Upstream::always(taken()).await;
    let treasury = ("TALLYHOOK_MERCHANTS__MAIN__TREASURY", "user-1");
    let app =
        beside(backend, &upstream, &[&WITH_CHIEF[..], &[treasury, ("TALLYHOOK_ADMIN__ALONE", "BTC=9")]].concat()).await;
    assert_eq!(post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "1")).await.status, 201);
    let row = &app.rows("/api/withdrawals?q=w-1").await[0];
    let id = row["id"].as_str().and_then(|id| id.parse().ok()).expect("a number");
    let (status, refused) = end(&app, id, "conclude", APPROVER, Some("settled")).await;
    assert_eq!((status, &refused["code"]), (422, &json!("unfit")), "{refused}");
    assert!(refused.to_string().contains("have the processor repeat its callback"), "{refused}");
    assert_eq!((state(&app, "w-1").await, app.ledger().await.as_str()), ("pending", ""));
    assert_eq!(app.receive(&spoken(7, "w-1", "1", "confirmed")).await, 200);
    assert_eq!(app.ledger().await, "available  user-1           BTC    -1\nprocessor  -                BTC    -1");
    app.finish().await;
}

/// How often the processor said that it knows nothing of it.
async fn misses(app: &TestApp) -> i32 {
    let db = &app.running.as_ref().expect("it runs").app.db.orm;
    let statement = sea_orm::Statement::from_string(db.get_database_backend(), "SELECT missing FROM withdrawals");
    let row = db.query_one_raw(statement).await.expect("a query").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

async fn a_refusal_of_any_form_makes_it_missing_and_one_of_the_call_does_not(backend: Backend) {
    let unheard = r#"{"error":"Transaction not found","code":"transaction_not_found"}"#;
    let wrong_key = r#"{"error":"Bad key header","code":"bad_header_key"}"#;
    let plain = r#"{"message":"Not found"}"#;
    let other = r#"{"id":31,"type":"deposit","foreign_id":"w-1","status":"confirmed"}"#;
    for (status, body, is_miss) in
        [(400, unheard, true), (404, plain, true), (200, other, true), (403, wrong_key, false)]
    {
        let upstream = Upstream::start(move |seen| match seen.path.as_str() {
            "/api/v2/withdrawal/crypto" => Reply::Hang,
            _ => Reply::Json(status, body.to_owned()),
        })
        .await;
        let app = beside(backend, &upstream, &[&WITH_CHIEF[..], &[HASTY]].concat()).await;
        fund(&app, "1").await;
        post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "1")).await;
        let asked = async || (!upstream.seen_at("/transactions/info").is_empty()).then_some(());
        eventually("it is asked about", PATIENCE, asked).await;
        let again = "UPDATE withdrawals SET next_us = 0 WHERE next_us < 9000000000000000";
        for times in 2..4 {
            say(&app, again).await;
            let asked = async || (upstream.seen_at("/transactions/info").len() >= times).then_some(());
            eventually("it is asked about again", PATIENCE, asked).await;
        }
        let counted = async || (!is_miss || misses(&app).await >= 1).then_some(());
        eventually("the misses are counted", PATIENCE, counted).await;
        assert_eq!(misses(&app).await > 0, is_miss, "{body}");
        assert_eq!(state(&app, "w-1").await, "unknown");
        assert!(app.ledger().await.contains("held"), "what was sent stays set aside");
        app.finish().await;
    }
}

async fn one_of_a_merchant_that_is_not_configured_holds_up_no_other(backend: Backend) {
    let (app, _upstream, _) = asked(backend, Reply::Hang, &[]).await;
    post(&app, "/withdrawal/crypto", &withdrawal("w-2", "user-1", "1")).await;
    // The first became due first, was refused for certain, and belongs to nobody who is known here.
    let refusal = const_hex::encode(r#"{"errors":{"amount":"too small"}}"#);
    let answer = match backend {
        Backend::Postgres => format!("decode('{refusal}', 'hex')"),
        Backend::Sqlite => format!("X'{refusal}'"),
    };
    let nobodys = "merchant_id = 77, next_us = 0, answer_status = 400";
    say(&app, &format!("UPDATE withdrawals SET {nobodys}, answer = {answer} WHERE foreign_id = 'w-1'")).await;
    say(&app, "UPDATE withdrawals SET next_us = 1 WHERE foreign_id = 'w-2'").await;
    let known = async || {
        let db = &app.running.as_ref().expect("it runs").app.db.orm;
        let sql = "SELECT missing FROM withdrawals WHERE foreign_id = 'w-2'";
        let statement = sea_orm::Statement::from_string(db.get_database_backend(), sql);
        let row = db.query_one_raw(statement).await.expect("a query").expect("a row");
        (row.try_get_by_index::<i32>(0).expect("a number") > 0).then_some(())
    };
    eventually("the other is asked about", PATIENCE, known).await;
    assert_eq!(state(&app, "w-1").await, "unknown");
    say(&app, "UPDATE withdrawals SET merchant_id = 1, answer_status = NULL, answer = NULL").await;
    app.finish().await;
}
