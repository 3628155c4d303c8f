//! Claims about replays in the background: a healthy ledger stays as it is, what waits is decided as announced, and a
//! replay survives its process, can be stopped, and is done by one process at a time.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tallyhook::app::booker_parts;
use tallyhook::booker::booker;
use tallyhook::cli::serve::Part;
use tallyhook::metrics::Metrics;
use tallyhook::store::merchants;
use tallyhook::worker::replays::Replays;
use tallyhook::worker::{Progress, Worker};

use crate::resolution::{deposit, only_discrepancy};
use crate::stories::refusing;
use crate::support::process::{Deployment, eventually};
use crate::support::{Backend, OPERATOR, SECRET, TestApp, VIEWER, launch_as, settings};
use crate::wire::{fixture, fixtures};

stories!(one_that_is_refused_stops_none_of_the_others, a_merchant_that_is_not_configured_here_is_decided_elsewhere);

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];
const PATIENCE: Duration = Duration::from_secs(120);

async fn ask(app: &TestApp, body: Value) -> String {
    let answer = app.send_json("/api/replays", OPERATOR, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.json);
    assert_eq!(answer.json["asked_by"], "ops", "who asked is kept");
    answer.json["id"].as_str().expect("an id").to_owned()
}

async fn show(app: &TestApp, id: &str) -> Value {
    let answer = app.get(&format!("/api/replays/{id}"), VIEWER).await;
    assert_eq!(answer.status, 200, "{}", answer.json);
    answer.json
}

async fn ended(app: &TestApp, id: &str) -> Value {
    eventually("the replay ends", PATIENCE, async || {
        let job = show(app, id).await;
        (job["state"] != "running").then_some(job)
    })
    .await
}

async fn everything(app: &TestApp) -> Vec<Value> {
    let mut all = app.rows("/api/callbacks").await;
    all.extend(app.rows("/api/balances").await);
    all.extend(app.events().await);
    all.extend(app.rows("/api/discrepancies").await);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn replaying_everything_on_a_healthy_ledger_changes_nothing() {
    for backend in BOTH {
        let app = TestApp::with(backend, &[("TALLYHOOK_LIMITS__REPLAY_BATCH", "7")]).await;
        for (_, body) in fixtures() {
            app.receive_for("main", &body).await;
        }
        let before = everything(&app).await;
        let callbacks = app.rows("/api/callbacks").await.len();
        for dry_run in [true, false] {
            let id = ask(&app, json!({"dry_run": dry_run, "reason": "a check"})).await;
            let job = ended(&app, &id).await;
            assert_eq!(job["state"], "done", "{backend:?}");
            assert_eq!(job["decided"], callbacks, "{backend:?}: each once: {job}");
            let found = ["changed", "differing", "failed", "pruned"].map(|count| job[count].clone());
            assert_eq!(found, [0, 0, 0, 0].map(Value::from), "{backend:?} dry_run={dry_run}: {job}");
            assert_eq!((&job["balances"], &job["events"]), (&json!([]), &json!({})), "{backend:?}");
            assert_eq!(everything(&app).await, before, "{backend:?} dry_run={dry_run}");
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_the_background_does_what_its_dry_run_announced() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        // Held until the deposit that comes later has opened the customer.
        app.receive(&fixture("withdrawal-confirmed-btc")).await;
        app.receive(&fixture("deposit-confirmed-btc").replace("player-7002", "player-7207")).await;
        let before = everything(&app).await;
        let id = ask(&app, json!({"state": "held", "reason": "the customer is known now"})).await;
        let dry = ended(&app, &id).await;
        assert_eq!((&dry["dry_run"], &dry["changed"]), (&json!(true), &json!(1)), "{dry}");
        assert_eq!(dry["filter"]["state"], "held");
        assert_eq!(dry["events"], json!({"discrepancy.resolved": 1, "withdrawal.settled": 1}));
        assert_eq!(dry["changes"][0]["before"], json!({"state": "held", "reason": "unknown_customer"}));
        assert_eq!(dry["changes"][0]["after"], json!({"state": "booked", "reason": null}));
        let out = json!({
            "merchant": "main", "kind": "available", "customer": "player-7207", "currency": "BTC", "change": "-0.044"
        });
        assert!(dry["balances"].as_array().is_some_and(|sums| sums.contains(&out)), "{dry}");
        assert_eq!(everything(&app).await, before, "{backend:?}: a dry run unless told otherwise");

        let id = ask(&app, json!({"ids": ["1"], "dry_run": false, "reason": "do it"})).await;
        let done = ended(&app, &id).await;
        for field in ["changed", "events", "balances", "changes"] {
            assert_eq!(done[field], dry[field], "{backend:?}: {field} as announced");
        }
        assert_eq!(app.get("/api/callbacks/1", VIEWER).await.json["state"], "booked");
        let again = ended(&app, &ask(&app, json!({"dry_run": false, "reason": "again"})).await).await;
        assert_eq!(again["changed"], 0, "{backend:?}: once");
        let list = app.rows("/api/replays").await;
        assert_eq!(list.len(), 3);
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_replay_is_told_what_is_allowed() {
    let app = TestApp::start(Backend::Sqlite).await;
    for body in [
        json!({}),
        json!({"reason": " "}),
        json!({"reason": "x", "state": "done"}),
        json!({"reason": "x", "ids": ["one"]}),
        json!({"reason": "x", "ids": ["1"], "type": "deposit"}),
        json!({"reason": "x", "until": "never"}),
        json!({"reason": "x", "color": "red"}),
    ] {
        let answer = app.send_json("/api/replays", OPERATOR, &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json["code"]), (400, &json!("invalid_request")), "{body}");
    }
    for path in ["/api/replays/1", "/api/replays/x"] {
        assert_eq!(app.get(path, VIEWER).await.status, 404);
    }
    assert_eq!(app.send_json("/api/replays/1/stop", OPERATOR, &json!({})).await.status, 404);
    app.finish().await;
}

/// A worker of its own, as another process has one, and the desk behind it.
async fn worker(url: &str, app: &TestApp) -> (Replays, impl Future<Output = ()>) {
    let settings = settings(url, &[]);
    let app = &app.running.as_ref().expect("it runs").app;
    let names = merchants::all(&app.db).await.expect("the merchants");
    let parts = booker_parts(&settings, &names, &app.db, (&Arc::new(Metrics::default()), &app.keyring));
    let (handle, desk) = booker(parts.clone());
    (Replays::new(handle, parts, 2), desk)
}

async fn sql(app: &TestApp, statement: &str) {
    let db = &app.running.as_ref().expect("it runs").app.db;
    db.orm.execute_unprepared(statement).await.expect("the statement");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_where_its_process_ended_and_stops_when_told() {
    for backend in BOTH {
        let app = TestApp::start_as(backend, tallyhook::cli::serve::Part::Receive).await;
        for (_, body) in fixtures().into_iter().take(9) {
            app.receive_for("main", &body).await;
        }
        let callbacks = app.rows("/api/callbacks").await.len();
        let id = ask(&app, json!({"reason": "half of it here"})).await;
        let (mut first, first_desk) = worker(&app.url, &app).await;
        let (mut second, second_desk) = worker(&app.url, &app).await;
        let story = async {
            assert_eq!(first.step().await.expect("a step"), Progress::More);
            let half = show(&app, &id).await;
            assert_eq!((&half["state"], &half["decided"]), (&json!("running"), &json!(2)), "{backend:?}");
            assert_eq!(second.step().await.expect("a step"), Progress::Idle, "{backend:?}: it is the first one's");
            assert_eq!(show(&app, &id).await["decided"], 2);

            // The first one is killed: nobody gives its lease back, but its time passes.
            drop(first);
            sql(&app, "UPDATE replay_jobs SET until_us = 0").await;
            while second.step().await.expect("a step") == Progress::More {}
            let done = show(&app, &id).await;
            assert_eq!((&done["state"], &done["decided"]), (&json!("done"), &json!(callbacks)), "{backend:?}: {done}");

            let id = ask(&app, json!({"reason": "to be stopped"})).await;
            second.step().await.expect("a step");
            let stopped = app.send_json(&format!("/api/replays/{id}/stop"), OPERATOR, &json!({})).await.json;
            assert_eq!((&stopped["state"], &stopped["stopped_by"]), (&json!("stopped"), &json!("ops")));
            assert_eq!(second.step().await.expect("a step"), Progress::Idle, "{backend:?}: nothing is left to do");
            assert_eq!(show(&app, &id).await["decided"], stopped["decided"]);
            second.finish().await.expect("it gives back what it has");
            drop(second);
        };
        tokio::join!(story, first_desk, second_desk);
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_works_on_a_replay_itself() {
    let one = Deployment::on_sqlite().migrated();
    let mut server = one.serve().await;
    assert!(server.is_running());
    let file = one.folder().join("body.json");
    std::fs::write(&file, fixture("deposit-confirmed-btc")).expect("a file");
    let url = format!("http://{}/callbacks/alphapo", one.public);
    let sent = one.run(&["send", "--url", &url, &file.display().to_string()]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    server.terminate().await;

    let ran = one.run(&["replays", "run", "--reason", "after the upgrade", "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let job: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let found = ["state", "decided", "changed", "differing"].map(|field| job[field].clone());
    assert_eq!(found, [json!("done"), json!(1), json!(0), json!(0)], "{job}");
    assert!(!ran.stderr.contains('#'), "no bar where no terminal is: {}", ran.stderr);
    assert_eq!(one.run(&["replays", "show", "7"]).code, Some(3));
    assert_eq!(one.run(&["replays", "run", "1", "--type", "deposit", "--reason", "x"]).code, Some(2));
    let listed = one.run(&["replays", "list", "--output", "csv"]);
    assert!(listed.stdout.contains("after the upgrade"), "{}", listed.stdout);
}

async fn restart(app: &mut TestApp, more: &[(&str, &str)], part: Part) {
    let before = app.running.take().expect("it runs");
    before.app.stop.cancel();
    assert_eq!(before.until_stopped().await.expect("it stops in order"), 0);
    let again = launch_as(&app.url, more, part).await;
    app.admin = format!("http://{}", again.admin);
    app.public = format!("http://{}", again.public.expect("it takes callbacks"));
    app.running = Some(again);
}

async fn execute(app: &TestApp, sql: &str) {
    app.running.as_ref().expect("it runs").app.db.orm.execute_unprepared(sql).await.expect("SQL");
}

/// Of what is decided anew together, what the database refuses stands as it stood, and is named; the others are done.
async fn one_that_is_refused_stops_none_of_the_others(backend: Backend) {
    let careful = [("TALLYHOOK_MERCHANTS__MAIN__VERIFY_ABOVE", "BTC=1")];
    let mut app = TestApp::as_part(backend, &careful, Part::Receive).await;
    for id in [665, 666, 667] {
        let body = deposit(id, Some("ada"), "5", &format!("tx-{id}"));
        assert_eq!(app.receive(&body).await, StatusCode::OK);
    }
    let held = app.rows("/api/callbacks?state=held").await;
    let id = |payment: &str| {
        let row = held.iter().find(|row| row["payment_id"] == payment).expect("it is held");
        row["id"].as_str().expect("an id").to_owned()
    };
    // Nobody asks for verification any more.
    restart(&mut app, &[], Part::Receive).await;
    let (refuse, allow) = refusing(backend);
    execute(&app, refuse).await;

    let really = json!({"dry_run": false});
    let done = app.send_json("/api/callbacks/replay", OPERATOR, &really).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.json);
    assert_eq!(done.json["refused"], json!([id("666")]), "{}", done.json);
    assert_eq!(done.json["data"].as_array().map(Vec::len), Some(2), "{}", done.json);
    assert_eq!(done.json["balances"][0]["change"], "10");
    assert!(app.ledger().await.contains("available  ada              BTC    10\n"), "{}", app.ledger().await);
    let alone = app.send_json(&format!("/api/callbacks/{}/replay", id("666")), OPERATOR, &really).await;
    assert_eq!((alone.status, &alone.json["code"]), (StatusCode::CONFLICT, &json!("database_refuses")));
    let deployment = Deployment::on(&app.url);
    let replay = ["callbacks", "replay", &id("665"), &id("666"), "--yes"];
    let told = deployment.run(&replay);
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.contains(&format!("callback {} stands as it stood", id("666"))), "{}", told.stderr);

    execute(&app, allow).await;
    assert_eq!(deployment.run(&replay).code, Some(0));
    assert!(app.ledger().await.contains("available  ada              BTC    15\n"), "{}", app.ledger().await);
    app.finish().await;
}

/// A replica without the settings of a merchant does not know what that merchant wants held: it decides nothing for it,
/// neither by hand nor in a replay nor when it tries failed ones again.
async fn a_merchant_that_is_not_configured_here_is_decided_elsewhere(backend: Backend) {
    let shop = [("TALLYHOOK_MERCHANTS__SHOP__KEY", "key-shop"), ("TALLYHOOK_MERCHANTS__SHOP__SECRET", SECRET)];
    let careful = [shop[0], shop[1], ("TALLYHOOK_MERCHANTS__SHOP__VERIFY_ABOVE", "BTC=1")];
    let mut app = TestApp::as_part(backend, &careful, Part::Receive).await;
    let (refuse, allow) = refusing(backend);
    execute(&app, refuse).await;
    for (merchant, id) in [("shop", 665), ("shop", 666), ("main", 666)] {
        let body = deposit(id, Some("ada"), if id == 665 { "5" } else { "1" }, &format!("tx-{id}"));
        assert_eq!(app.receive_for(merchant, body.as_bytes()).await, StatusCode::OK);
    }
    execute(&app, allow).await;
    let states = async |app: &TestApp| -> Vec<Value> {
        let mut rows = app.rows("/api/callbacks").await;
        rows.reverse();
        rows.iter().map(|row| row["state"].clone()).collect()
    };
    assert_eq!(states(&app).await, ["held", "failed", "failed"]);

    // Both are due; once the one of `main` is booked, the other one was passed over.
    execute(&app, "UPDATE failures SET next_us = 0").await;
    restart(&mut app, &[], Part::All).await;
    eventually("what is configured is booked", PATIENCE, async || {
        (states(&app).await == ["held", "failed", "booked"]).then_some(())
    })
    .await;
    let alone = app.send_json("/api/callbacks/1/replay", OPERATOR, &json!({"dry_run": true})).await;
    assert_eq!((alone.status, &alone.json["code"]), (StatusCode::CONFLICT, &json!("merchant_not_configured")));
    let job = ended(&app, &ask(&app, json!({"reason": "everything", "dry_run": false})).await).await;
    assert_eq!((&job["decided"], &job["failed"], &job["changed"]), (&json!(3), &json!(2), &json!(0)), "{job}");
    let told = Deployment::on(&app.url).run(&["callbacks", "replay", "1", "3", "--yes"]);
    assert!(told.stderr.contains("the merchant of this callback is not configured here"), "{}", told.stderr);
    assert_eq!(states(&app).await, ["held", "failed", "booked"]);
    // What books nothing needs no settings.
    let path = format!("/api/discrepancies/{}/resolve", only_discrepancy(&app).await);
    let ignored = app.send_json(&path, OPERATOR, &json!({"action": "ignore", "note": "not theirs"})).await;
    assert_eq!(ignored.status, StatusCode::OK, "{}", ignored.json);
    assert!(app.ledger().await.contains("available  ada              BTC    1\n"), "{}", app.ledger().await);

    execute(&app, "UPDATE failures SET next_us = 0").await;
    restart(&mut app, &careful, Part::All).await;
    eventually("its own replica tries again", PATIENCE, async || {
        (states(&app).await == ["ignored", "booked", "booked"]).then_some(())
    })
    .await;
    app.finish().await;
}
