//! Claims about the admin API: what the answers look like, what a bad question is told, that a dry run
//! changes nothing, and that the feed wakes up and goes on where it was.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tallyhook::http::admin::query::since;

use crate::support::{Backend, CONSUMER, OPERATOR, TestApp, VIEWER};
use crate::wire::fixture;

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

/// A confirmed deposit of player-7002, and a withdrawal of somebody never seen.
const DEPOSIT: &str = "deposit-confirmed-btc";
const WITHDRAWAL: &str = "withdrawal-confirmed-btc";

async fn get(app: &TestApp, path: &str, token: &str) -> (u16, Value) {
    let answer = app.get(path, token).await;
    (answer.status.as_u16(), answer.json)
}

async fn post(app: &TestApp, path: &str, token: &str, body: Value) -> (u16, Value) {
    let answer = app.send_json(path, token, &body).await;
    (answer.status.as_u16(), answer.json)
}

/// The first events of a stream, each with its id.
async fn frames(app: &TestApp, path: &str, last_event_id: Option<&str>, count: usize) -> Vec<(String, String)> {
    let request = app.client.get(format!("{}{path}", app.admin)).bearer_auth(CONSUMER);
    let request = last_event_id.iter().fold(request, |request, id| request.header("Last-Event-ID", *id));
    let mut stream = request.send().await.expect("a stream");
    let mut text = String::new();
    loop {
        // What is after the last empty line is not whole yet.
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let found: Vec<_> = whole
            .split("\n\n")
            .filter_map(|frame| frame.strip_prefix("id: ")?.split_once("\ndata: "))
            .map(|(id, data)| (id.to_owned(), data.to_owned()))
            .collect();
        if found.len() >= count {
            return found;
        }
        let piece = stream.chunk().await.expect("the stream goes on").expect("it ends with the process only");
        text.push_str(std::str::from_utf8(&piece).expect("whole characters"));
    }
}

fn texts<'v>(page: &'v Value, field: &str) -> Vec<&'v str> {
    let rows = page["data"].as_array().expect("a list has data");
    rows.iter().map(|row| row[field].as_str().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_published_shapes() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        app.receive(&fixture(DEPOSIT)).await;
        app.receive(&fixture(DEPOSIT)).await;
        let (_, page) = get(&app, "/api/callbacks", VIEWER).await;
        let mut row = page["data"][0].clone();
        let received_at = row["received_at"].take();
        assert!(received_at.as_str().is_some_and(|at| at.ends_with('Z')), "{received_at}");
        let expected = json!({
            "id": "1", "merchant": "main", "type": "deposit", "status": "confirmed", "state": "booked", "reason": null,
            "payment_id": "48120148", "foreign_id": "customer-7002", "end_user_reference": "player-7002",
            "customer": "player-7002", "deliveries": 2, "received_at": null
        });
        assert_eq!(row, expected, "{backend:?}");
        assert_eq!(page["next"], Value::Null);

        let (_, balances) = get(&app, "/api/balances?customer=customer-7002", VIEWER).await;
        let expected = json!({"data": [{
            "merchant": "main", "kind": "available", "customer": "player-7002", "currency": "BTC", "balance": "0.031"
        }], "next": null});
        assert_eq!(balances, expected, "{backend:?}: any reference finds the customer");

        let (_, events) = get(&app, "/api/events", CONSUMER).await;
        assert_eq!(texts(&events, "type"), ["deposit.credited"], "{backend:?}");
        assert_eq!(events["next"], "1", "a feed always says where to go on");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_callback_tells_its_bytes_its_transfers_and_its_events() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        let body = fixture(DEPOSIT);
        app.receive(&body).await;
        let (status, detail) = get(&app, "/api/callbacks/1", VIEWER).await;
        assert_eq!(status, 200);
        let bytes = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            detail["body"].as_str().expect("a body that is not pruned"),
        );
        assert_eq!(bytes.expect("base64"), body.as_bytes(), "{backend:?}: not a byte differs");
        let transfer = &detail["transfers"][0];
        assert_eq!(transfer["effect"], "deposit/48120148/credited");
        let credited = json!({"kind": "available", "customer": "player-7002"});
        let postings = transfer["postings"].as_array().expect("postings");
        assert!(postings.iter().all(|posting| posting["credit"] == credited), "{transfer}");
        assert_eq!(detail["events"][0]["data"]["transfer_id"], transfer["id"]);
        assert_eq!(detail["failure"], Value::Null);
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_question_is_told_what_is_allowed() {
    let app = TestApp::start(Backend::Sqlite).await;
    for (path, status, code, word) in [
        ("/api/callbacks?state=done", 400, "invalid_request", "booked, ignored, held, failed"),
        ("/api/callbacks?since=yesterday", 400, "invalid_request", "2026-11-20T12:00:00Z"),
        ("/api/callbacks?limit=0", 400, "invalid_request", "from 1 to 1000"),
        ("/api/callbacks?limit=1001", 400, "invalid_request", "from 1 to 1000"),
        ("/api/callbacks?colour=red", 400, "invalid_request", "foreign_id"),
        ("/api/callbacks?state=held&state=held", 400, "invalid_request", "twice"),
        ("/api/callbacks?after=here", 400, "invalid_request", "`next`"),
        ("/api/callbacks?merchant=nobody", 400, "invalid_request", "nobody"),
        ("/api/callbacks?q=%00", 400, "invalid_request", "NUL"),
        ("/api/events?wait=61", 400, "invalid_request", "from 0 to 60"),
        ("/api/events?after=-1", 400, "invalid_request", "after"),
        ("/api/callbacks/4711", 404, "not_found", "4711"),
        ("/api/callbacks/one", 404, "not_found", "one"),
        ("/api/nothing", 404, "not_found", "route"),
        ("/api/callbacks/replay", 405, "method_not_allowed", "POST"),
    ] {
        let (found, problem) = get(&app, path, OPERATOR).await;
        assert_eq!(found, status, "{path}: {problem}");
        assert_eq!(problem["code"], code, "{path}");
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{path}: {problem}");
    }
    for body in [json!({"dryrun": true}), json!({"state": "booked"}), json!({"limit": 0}), json!([1])] {
        let (status, problem) = post(&app, "/api/callbacks/replay", OPERATOR, body.clone()).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{body}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_searches_find_what_they_name() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        for name in [DEPOSIT, WITHDRAWAL, "deposit-not_confirmed-btc", "payment_request-paid-btc_eth"] {
            app.receive(&fixture(name)).await;
        }
        for (query, ids) in [
            ("", vec!["4", "3", "2", "1"]),
            ("?type=deposit", vec!["3", "1"]),
            ("?type=deposit&status=confirmed", vec!["1"]),
            ("?state=held", vec!["4", "2"]),
            ("?foreign_id=customer-7002", vec!["1"]),
            ("?q=48120148", vec!["1"]),
            ("?q=payout:7207", vec!["2"]),
            ("?q=player-7207", vec!["2"]),
            ("?q=019d9f4c-49db-7aab-a7cc-4f0071bda371", vec!["4"]),
            ("?q=fedada4faf5e5f9fd120a3a0b884499522ef06391b785fa41dca2027b5062380", vec!["2"]),
            ("?q=nobody", vec![]),
            ("?since=1h&merchant=main", vec!["4", "3", "2", "1"]),
            ("?since=0s", vec![]),
        ] {
            let (_, page) = get(&app, &format!("/api/callbacks{query}"), VIEWER).await;
            assert_eq!(texts(&page, "id"), ids, "{backend:?} {query}");
        }
        let (_, first) = get(&app, "/api/callbacks?limit=3", VIEWER).await;
        let next = first["next"].as_str().expect("there is more");
        let (_, second) = get(&app, &format!("/api/callbacks?limit=3&after={next}"), VIEWER).await;
        assert_eq!((texts(&first, "id"), texts(&second, "id")), (vec!["4", "3", "2"], vec!["1"]));
        assert_eq!(second["next"], Value::Null);
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_the_money_diff_and_changes_nothing() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        // Held: nobody knows the customer. The deposit that comes later opens them, so deciding anew books it.
        app.receive(&fixture(WITHDRAWAL)).await;
        app.receive(&fixture(DEPOSIT).replace("player-7002", "player-7207")).await;
        let look = async || {
            let mut seen = Vec::new();
            for path in ["/api/callbacks/1", "/api/balances", "/api/events", "/api/discrepancies"] {
                seen.push(get(&app, path, VIEWER).await.1);
            }
            seen
        };
        let before = look().await;

        let (status, dry) = post(&app, "/api/callbacks/1/replay", OPERATOR, json!({})).await;
        assert_eq!((status, &dry["dry_run"]), (200, &json!(true)), "{backend:?}: a dry run unless told otherwise");
        assert_eq!(dry["data"][0]["before"], json!({"state": "held", "reason": "unknown_customer"}));
        assert_eq!(dry["data"][0]["after"], json!({"state": "booked", "reason": null}));
        let change = json!({
            "merchant": "main", "kind": "available", "customer": "player-7207", "currency": "BTC", "change": "-0.044"
        });
        assert!(dry["balances"].as_array().is_some_and(|changes| changes.contains(&change)), "{dry}");
        assert_eq!(look().await, before, "{backend:?}: nothing has changed");
        assert_eq!(app.rows("/api/audit").await.len(), 0, "and nobody did anything");

        let (_, done) = post(&app, "/api/callbacks/replay", OPERATOR, json!({"dry_run": false})).await;
        assert_eq!((&done["data"], &done["balances"]), (&dry["data"], &dry["balances"]), "{backend:?}: as announced");
        let (_, detail) = get(&app, "/api/callbacks/1", VIEWER).await;
        assert_eq!((&detail["state"], &detail["reason"]), (&json!("booked"), &Value::Null));
        let (_, again) = post(&app, "/api/callbacks/1/replay", OPERATOR, json!({"dry_run": false})).await;
        assert_eq!(again["data"][0]["changed"], false, "{backend:?}: booked once");
        let did = app.rows("/api/audit").await;
        let did: Vec<_> =
            did.iter().map(|row| ["who", "action", "subject", "before", "after"].map(|key| &row[key])).collect();
        assert_eq!(did, [["ops", "callback.replay", "callback/1", "held", "booked"]], "{backend:?}: who did what");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_up_when_something_is_booked() {
    let app = TestApp::start(Backend::Sqlite).await;
    let started = Instant::now();
    let body = fixture(DEPOSIT);
    let (answer, _) = tokio::join!(get(&app, "/api/events?after=0&wait=30", CONSUMER), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.receive(&body).await
    });
    assert_eq!(texts(&answer.1, "sequence"), ["1"]);
    assert!(started.elapsed() < Duration::from_secs(25), "it did not wait for its time to pass");

    let (_, none) = get(&app, "/api/events?after=1&wait=1", CONSUMER).await;
    assert_eq!(none, json!({"data": [], "next": "1"}), "nothing new is an answer, too");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_the_last_event_id_with_the_same_bytes() {
    let app = TestApp::start(Backend::Sqlite).await;
    for name in [DEPOSIT, WITHDRAWAL, "deposit-not_confirmed-btc"] {
        app.receive(&fixture(name)).await;
    }
    let (_, page) = get(&app, "/api/events", CONSUMER).await;
    let told = frames(&app, "/api/events/stream", Some("1"), 2).await;
    let expected: Vec<(String, Value)> = page["data"]
        .as_array()
        .into_iter()
        .flatten()
        .skip(1)
        .map(|event| (event["sequence"].to_string(), event.clone()))
        .collect();
    let found: Vec<(String, Value)> = told
        .iter()
        .map(|(id, data)| (format!("\"{id}\""), serde_json::from_str(data).expect("an event is JSON")))
        .collect();
    assert_eq!(found, expected);

    // A reader that came before the event gets it without asking again.
    let late = fixture("deposit-confirmed-eth");
    let (late_told, _) = tokio::join!(frames(&app, "/api/events/stream?after=3", None, 1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.receive(&late).await
    });
    assert_eq!(late_told.first().map(|(id, _)| id.as_str()), Some("4"));
    app.finish().await;
}

#[test]
fn since_is_a_time_or_how_long_ago() {
    let now_us = 1_800_000_000_000_000;
    assert_eq!(since("1970-01-01T00:00:01.5Z", now_us), Ok(1_500_000));
    assert_eq!(since("1970-01-01T01:00:00 01:00", now_us), Ok(0), "a plus that was not encoded reads as a blank");
    assert_eq!(since("2h", now_us), Ok(now_us - 7_200_000_000));
    assert_eq!(since("7d", now_us), Ok(now_us - 604_800_000_000));
    for wrong in ["", "h", "-1h", "1w", "99999999999999999d", "2026-11-20", "tomorrow", "ü"] {
        assert!(since(wrong, now_us).is_err(), "{wrong}");
    }
}
