//! Claims about publishing events again: the same ids and bytes once more, nothing marked or skipped by it, waiting while
//! the broker is down, and refused to whoever may not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tallyhook::store::{cursor, redelivery};

use crate::resolution::deposit;
use crate::support::process::{Deployment, eventually};
use crate::support::queue::{
    CREDITED, EVERYTHING, Message, bind_everything, declare_credited, delete_credited, drain,
    until_credited_survives_a_crash,
};
use crate::support::servers::{OwnRabbit, fresh_vhost};
use crate::support::{APPROVER, Backend, OPERATOR, TestApp, VIEWER};

stories!(a_range_is_published_again_once_with_the_same_ids_and_bytes, it_says_how_many_and_refuses_what_makes_no_sense);

const PATIENCE: Duration = Duration::from_secs(120);
const PATH: &str = "/api/events/redeliver";

async fn credit(app: &TestApp, ids: std::ops::RangeInclusive<u32>) {
    for id in ids {
        let body = deposit(id, Some("ada"), "0.5", &format!("tx-{id}"));
        assert_eq!(app.receive(&body).await, 200, "deposit {id}");
    }
}

async fn position(app: &TestApp) -> i64 {
    let db = &app.running.as_ref().expect("it runs").app.db;
    cursor::state(db, cursor::RABBITMQ).await.expect("the database answers").position
}

async fn until_published(app: &TestApp, upto: i64) {
    eventually("everything is published", PATIENCE, async || (position(app).await == upto).then_some(())).await;
}

async fn until_done(app: &TestApp, id: &str) {
    eventually("it is published again", PATIENCE, async || {
        let rows = app.rows("/api/events/redeliveries").await;
        rows.iter().any(|row| row["id"] == id && row["state"] == "done").then_some(())
    })
    .await;
}

/// By their sequence: the last of each, with how many there were.
fn by_sequence(messages: Vec<Message>) -> BTreeMap<u64, (usize, Message)> {
    let mut all: BTreeMap<u64, (usize, Message)> = BTreeMap::new();
    for message in messages {
        let count = all.get(&message.sequence).map_or(0, |(count, _)| *count);
        all.insert(message.sequence, (count.saturating_add(1), message));
    }
    all
}

async fn a_range_is_published_again_once_with_the_same_ids_and_bytes(backend: Backend) {
    let amqp = fresh_vhost();
    bind_everything(&amqp).await;
    let app = TestApp::with(backend, &[("AMQP_URL", &amqp)]).await;
    credit(&app, 1..=300).await;
    until_published(&app, 300).await;
    let first = by_sequence(drain(&amqp, EVERYTHING).await);
    assert_eq!(first.len(), 300);
    drain(&amqp, CREDITED).await;

    // New events come meanwhile, and are published as ever.
    let body = json!({"from": "11", "to": "270", "reason": "the consumer lost its disk", "dry_run": false});
    let (asked, ()) = tokio::join!(app.send_json(PATH, OPERATOR, &body), credit(&app, 301..=330));
    assert_eq!((asked.status.as_u16(), &asked.json["events"]), (202, &json!(260)), "{}", asked.json);
    let id = asked.json["id"].as_str().expect("an id").to_owned();
    until_done(&app, &id).await;
    until_published(&app, 330).await;
    let mut second = by_sequence(drain(&amqp, EVERYTHING).await);
    let new = second.split_off(&301);
    assert!(new.len() == 30 && new.values().all(|(count, _)| *count == 1), "new events come once");
    assert_eq!(second.keys().copied().collect::<Vec<_>>(), (11..=270).collect::<Vec<u64>>());
    for (sequence, (count, again)) in &second {
        let (_, before) = &first[sequence];
        assert_eq!(*count, 1, "event {sequence}");
        assert_eq!((&again.id, &again.bytes, &again.key), (&before.id, &before.bytes, &before.key), "event {sequence}");
        assert!(again.is_persistent);
    }
    let credits = drain(&amqp, CREDITED).await;
    assert_eq!(credits.len(), 290, "the contract's queue gets them, too");

    let row = app.rows("/api/events/redeliveries").await.remove(0);
    assert_eq!((row["position"].as_str(), row["asked_by"].as_str()), (Some("270"), Some("ops")), "{row}");
    assert!(row["ended_at"].is_string(), "{row}");
    let log = app.rows("/api/audit?action=events.redeliver").await;
    assert_eq!((log.len(), &log[0]["subject"]), (1, &json!(format!("redelivery/{id}"))));
    assert_eq!(log[0]["after"], "11 to 270: the consumer lost its disk");
    let metrics = app.client.get(format!("{}/metrics", app.admin)).send().await.expect("metrics").text().await;
    assert!(metrics.expect("text").contains("tallyhook_events_redelivered_total 260"));
    app.finish().await;
}

async fn it_says_how_many_and_refuses_what_makes_no_sense(backend: Backend) {
    let amqp = fresh_vhost();
    let app = TestApp::with(backend, &[("AMQP_URL", &amqp)]).await;
    credit(&app, 1..=3).await;
    until_published(&app, 3).await;
    drain(&amqp, CREDITED).await;
    let ask = async |token: &str, body: Value| {
        let answer = app.send_json(PATH, token, &body).await;
        (answer.status.as_u16(), answer.json)
    };
    let (status, plan) = ask(OPERATOR, json!({"from": "2", "to": "3", "reason": "why not"})).await;
    assert_eq!((status, plan), (200, json!({"dry_run": true, "from": "2", "to": "3", "events": 2})));
    let (status, plan) = ask(APPROVER, json!({"from": "2"})).await;
    assert_eq!((status, &plan["events"]), (200, &json!(1)), "without an end it is one");
    for (token, body, status, code) in [
        (VIEWER, json!({"from": "1", "reason": "x", "dry_run": false}), 403, "forbidden"),
        (OPERATOR, json!({"from": "1", "dry_run": false}), 400, "invalid_request"),
        (OPERATOR, json!({"from": "0"}), 400, "invalid_request"),
        (OPERATOR, json!({"from": "-1"}), 400, "invalid_request"),
        (OPERATOR, json!({"from": "3", "to": "2"}), 400, "invalid_request"),
        (OPERATOR, json!({"from": "1", "to": "100001"}), 400, "invalid_request"),
        (OPERATOR, json!({"from": "1", "to": "9223372036854775807"}), 400, "invalid_request"),
        (OPERATOR, json!({"to": "2"}), 400, "invalid_request"),
        (OPERATOR, json!({"from": "1", "upto": "2"}), 400, "invalid_request"),
        (OPERATOR, json!({"from": "2", "to": "4", "reason": "x", "dry_run": false}), 422, "unfit"),
    ] {
        let (got, problem) = ask(token, body.clone()).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{body}: {problem}");
    }
    assert_eq!(app.rows("/api/events/redeliveries").await, Vec::<Value>::new(), "nothing was asked for");
    assert_eq!(drain(&amqp, CREDITED).await.len(), 0, "and nothing sent");
    app.finish().await;

    let app = TestApp::start(backend).await;
    credit(&app, 1..=1).await;
    let body = json!({"from": "1", "reason": "x", "dry_run": false});
    let refused = app.send_json(PATH, OPERATOR, &body).await;
    assert_eq!((refused.status.as_u16(), &refused.json["code"]), (409, &json!("no_broker")), "{}", refused.json);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_down_it_waits_and_goes_on_where_it_was() {
    let rabbit = OwnRabbit::start().await;
    bind_everything(&rabbit.url).await;
    let app = TestApp::with(Backend::Postgres, &[("AMQP_URL", &rabbit.url)]).await;
    credit(&app, 1..=20).await;
    until_published(&app, 20).await;
    assert_eq!(drain(&rabbit.url, EVERYTHING).await.len(), 20);
    until_credited_survives_a_crash(&rabbit.dir).await;
    rabbit.stop_immediate().await;
    let asked =
        app.send_json(PATH, OPERATOR, &json!({"from": "1", "to": "20", "reason": "lost", "dry_run": false})).await;
    assert_eq!(asked.status, 202, "{}", asked.json);
    credit(&app, 21..=25).await;
    let db = app.running.as_ref().expect("it runs").app.db.clone();
    let waiting = redelivery::next(&db).await.expect("the database answers").expect("it waits");
    assert_eq!((waiting.position, waiting.is_done), (0, false));
    rabbit.start_again().await;
    until_done(&app, asked.json["id"].as_str().expect("an id")).await;
    until_published(&app, 25).await;
    let again = by_sequence(drain(&rabbit.url, EVERYTHING).await);
    assert_eq!(again.keys().copied().collect::<Vec<_>>(), (1..=25).collect::<Vec<u64>>());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_takes_again_waits_and_new_events_go_on() {
    let amqp = fresh_vhost();
    let app = TestApp::with(Backend::Sqlite, &[("AMQP_URL", &amqp)]).await;
    credit(&app, 1..=1).await;
    until_published(&app, 1).await;
    let first = drain(&amqp, CREDITED).await.pop().expect("a credit");
    delete_credited(&amqp).await;
    let asked = app.send_json(PATH, OPERATOR, &json!({"from": "1", "reason": "lost", "dry_run": false})).await;
    assert_eq!(asked.status, 202, "{}", asked.json);
    eventually("it comes back", PATIENCE, async || {
        let page = app.client.get(format!("{}/metrics", app.admin)).send().await.ok()?.text().await.ok()?;
        (!page.contains("tallyhook_events_returned_total 0\n")).then_some(())
    })
    .await;
    // An event that needs no queue is not held up by it.
    let pending = deposit(2, Some("ada"), "0.5", "tx-2").replace("\"confirmed\"", "\"not_confirmed\"");
    assert_eq!(app.receive(&pending).await, 200);
    until_published(&app, 2).await;
    let row = app.rows("/api/events/redeliveries").await.remove(0);
    assert_eq!((row["position"].as_str(), row["state"].as_str()), (Some("0"), Some("running")), "{row}");
    declare_credited(&amqp).await;
    until_done(&app, asked.json["id"].as_str().expect("an id")).await;
    let again = drain(&amqp, CREDITED).await.pop().expect("the credit again");
    assert_eq!((again.id, again.bytes), (first.id, first.bytes));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_and_a_running_instance_does_it() {
    let amqp = fresh_vhost();
    let one = Deployment::on_sqlite().set("AMQP_URL", &amqp).migrated();
    let server = one.serve().await;
    let body = std::env::temp_dir().join(format!("tallyhook-redeliver-{:016x}.json", rand::random::<u64>()));
    std::fs::write(&body, deposit(7_000_001, Some("ada"), "0.5", "tx-1")).expect("a body");
    let url = format!("http://{}", one.public);
    let path = body.display().to_string();
    assert_eq!(one.run(&["send", "--url", &url, "--merchant", "main", &path]).code, Some(0));
    let told = async |path: &str, field: &str, value: &str| {
        eventually(&format!("{path} has {field} {value}"), PATIENCE, async || {
            let request = one.client.get(format!("http://{}{path}", one.admin)).bearer_auth(OPERATOR);
            let answer: Value = serde_json::from_str(&request.send().await.ok()?.text().await.ok()?).ok()?;
            let row = answer.get("data").map_or(&answer, |rows| &rows[0]);
            (row[field] == value).then_some(())
        })
        .await;
    };
    // Looked at only when it is known to be there: who takes messages without acknowledging may lose one on the way.
    told("/api/outbox", "position", "1").await;
    let first = drain(&amqp, CREDITED).await.pop().expect("the credit");

    let shown = one.run(&["events", "redeliver", "1", "--output", "json"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("\"events\": 1") && shown.stderr.contains("add --yes"), "{}", shown.stderr);
    assert_eq!(one.run(&["events", "redeliver", "1", "9"]).code, Some(4), "there is no event 9");
    assert_eq!(one.run(&["events", "redeliver", "0"]).code, Some(2));
    let done = one.run(&["events", "redeliver", "1", "--yes", "--reason", "lost", "--output", "json"]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    told("/api/events/redeliveries", "state", "done").await;
    let again = drain(&amqp, CREDITED).await.pop().expect("the credit again");
    assert_eq!((first.id, first.bytes), (again.id, again.bytes));
    assert_eq!(server.terminate().await, Some(0), "it stops in good order");

    let without = one.unset("AMQP_URL").run(&["events", "redeliver", "1", "--yes"]);
    assert_eq!(without.code, Some(4), "{}", without.stderr);
    assert!(without.stderr.contains("AMQP_URL is empty"), "{}", without.stderr);
    drop(std::fs::remove_file(body));
}
