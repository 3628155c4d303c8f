//! Claims about `Idempotency-Key` on what the admin API changes: once, however often and however many at once; another
//! request under the key is refused, and what nobody knows the outcome of is never done again.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tallyhook::store::answers::{self, Claim};

use crate::resolution::deposit;
use crate::support::process::eventually;
use crate::support::{APPROVER, Backend, OPERATOR, TestApp, VIEWER};

stories!(
    the_same_key_gets_the_first_answer_and_does_nothing_again,
    of_many_at_once_one_does_it,
    a_claim_whose_owner_died_is_never_done_again,
    an_answer_is_forgotten_after_a_week,
);

const ASK: &str = "/api/replays";
const DAY_US: i64 = 86_400_000_000;

struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Told {
    fn is_replayed(&self) -> bool {
        self.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
    }

    fn code(&self) -> Value {
        serde_json::from_str::<Value>(&self.text).unwrap_or_default()["code"].clone()
    }
}

async fn send(app: &TestApp, path: &str, token: &str, key: &str, body: &Value) -> Told {
    let request = app.client.post(format!("{}{path}", app.admin)).bearer_auth(token).header("Idempotency-Key", key);
    let answer = request.header("Content-Type", "application/json").body(body.to_string()).send().await;
    let answer = answer.expect("the admin side answers");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Told { status, headers, text: answer.text().await.expect("text") }
}

async fn jobs(app: &TestApp) -> usize {
    app.rows(ASK).await.len()
}

async fn the_same_key_gets_the_first_answer_and_does_nothing_again(backend: Backend) {
    let app = TestApp::start(backend).await;
    let body = json!({"reason": "a new version"});
    let first = send(&app, ASK, OPERATOR, "k-1", &body).await;
    assert_eq!((first.status, first.is_replayed()), (201, false), "{}", first.text);
    // What it answers now would be another state of the same replay.
    eventually("the replay is done", Duration::from_secs(120), async || {
        (app.rows(ASK).await[0]["state"] == "done").then_some(())
    })
    .await;
    let again = send(&app, ASK, OPERATOR, "k-1", &body).await;
    assert_eq!((again.status, again.is_replayed()), (201, true), "{}", again.text);
    assert_eq!(again.text, first.text);
    for name in ["location", "content-type"] {
        assert_eq!(again.headers.get(name), first.headers.get(name), "{name}");
    }
    assert_eq!(jobs(&app).await, 1);

    let other = send(&app, ASK, OPERATOR, "k-1", &json!({"reason": "another"})).await;
    assert_eq!((other.status, other.code()), (409, json!("idempotency_key_reused")), "{}", other.text);
    assert_eq!(other.headers["content-type"], "application/problem+json");
    let other = send(&app, "/api/replays/1/stop", OPERATOR, "k-1", &body).await;
    assert_eq!((other.status, other.code()), (409, json!("idempotency_key_reused")), "another route");
    let other = send(&app, ASK, APPROVER, "k-1", &body).await;
    assert_eq!((other.status, other.is_replayed()), (201, false), "another token's key is another key");
    let refused = send(&app, ASK, VIEWER, "k-1", &body).await;
    assert_eq!(refused.status, 403, "a key lets nobody in");
    assert_eq!(jobs(&app).await, 2);

    // A refusal is an answer, too.
    let wrong = json!({"reason": ""});
    let first = send(&app, ASK, OPERATOR, "k-2", &wrong).await;
    let again = send(&app, ASK, OPERATOR, "k-2", &wrong).await;
    assert_eq!((first.status, again.status, again.is_replayed()), (400, 400, true), "{}", again.text);
    for key in ["", "with blank", &"x".repeat(256)] {
        let refused = send(&app, ASK, OPERATOR, key, &body).await;
        assert_eq!((refused.status, refused.code()), (400, json!("invalid_request")), "{key:?}");
    }
    assert_eq!(jobs(&app).await, 2);
    app.finish().await;
}

async fn of_many_at_once_one_does_it(backend: Backend) {
    let app = TestApp::start(backend).await;
    assert_eq!(app.receive(&deposit(7_000_001, None, "0.5", "tx-1")).await, 200);
    let id = app.rows("/api/discrepancies").await[0]["id"].as_str().expect("an id").to_owned();
    let (path, body) = (format!("/api/discrepancies/{id}/comments"), json!({"text": "whose is it?"}));
    let all = join_all((0..20).map(|_| send(&app, &path, OPERATOR, "together", &body))).await;
    for told in &all {
        let is_fine = told.status == 200 || told.code() == "idempotency_in_progress";
        assert!(is_fine, "{} {}", told.status, told.text);
    }
    assert_eq!(all.iter().filter(|told| told.status == 200 && !told.is_replayed()).count(), 1, "one did it");
    let last = send(&app, &path, OPERATOR, "together", &body).await;
    assert_eq!((last.status, last.is_replayed()), (200, true));
    let notes = app.get(&format!("/api/discrepancies/{id}"), VIEWER).await.json["notes"].clone();
    assert_eq!(notes.as_array().map(Vec::len), Some(1), "{notes}");
    app.finish().await;
}

async fn a_claim_whose_owner_died_is_never_done_again(backend: Backend) {
    let app = TestApp::start(backend).await;
    let body = json!({"reason": "once"});
    // The row of a process that was killed between its claim and its answer.
    let first = send(&app, ASK, OPERATOR, "before", &body).await;
    assert_eq!(first.status, 201);
    let db = app.running.as_ref().expect("it runs").app.db.clone();
    let now_us = tallyhook::app::now_us();
    let digest =
        <sha2::Sha256 as sha2::Digest>::digest([ASK.as_bytes(), &[0, 0], body.to_string().as_bytes()].concat());
    for (key, age_us, code) in
        [("young", 1_000_000, "idempotency_in_progress"), ("old", 120_000_000, "idempotency_unknown")]
    {
        let claim = Claim {
            owner: "ops".to_owned(),
            key: key.to_owned(),
            digest: digest.into(),
            at_us: now_us.saturating_sub(age_us),
        };
        assert!(answers::claim(&db, &claim).await.expect("the database answers").is_none());
        let refused = send(&app, ASK, OPERATOR, key, &body).await;
        assert_eq!((refused.status, refused.code()), (409, json!(code)), "{}", refused.text);
    }
    assert_eq!(jobs(&app).await, 1);
    app.finish().await;
}

async fn an_answer_is_forgotten_after_a_week(backend: Backend) {
    let app = TestApp::start(backend).await;
    let db = app.running.as_ref().expect("it runs").app.db.clone();
    let now_us = tallyhook::app::now_us();
    for (key, age_us) in [("old", 8 * DAY_US), ("new", 6 * DAY_US)] {
        let at_us = now_us.saturating_sub(age_us);
        let claim = Claim { owner: "ops".to_owned(), key: key.to_owned(), digest: [7; 32], at_us };
        assert!(answers::claim(&db, &claim).await.expect("the database answers").is_none());
    }
    let body = json!({"reason": "again"});
    eventually("the old one is gone", Duration::from_secs(120), async || {
        (send(&app, ASK, OPERATOR, "old", &body).await.status == 201).then_some(())
    })
    .await;
    let refused = send(&app, ASK, OPERATOR, "new", &body).await;
    assert_eq!((refused.status, refused.code()), (409, json!("idempotency_key_reused")));
    app.finish().await;
}
