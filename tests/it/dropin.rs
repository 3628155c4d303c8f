//! The drop-in: a merchant's client that changes only its base URL finds everything as it was, and nothing leaves before
//! it is written down.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tallyhook::processor::signature::sign;

use crate::support::merchant::{HASTY, accepted, beside, call, fund, post, send, spoken, state, withdrawal};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, OPERATOR, SECRET, VIEWER};

/// Printed by AlphaPo's pages, white space and all.
const TAKE: &str = "{\n  \"currency\": \"BTC\",\n  \"foreign_id\": \"test_foreign_id\",\n  \"end_user_reference\": \
                    \"test_end_user_reference\"\n}";
const TAKEN: &str = r#"{"data":{"id":240407213,"currency":"BTC","address":"tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc","tag":null,"foreign_id":"test_foreign_id","end_user_reference":"test_end_user_reference"}}"#;
const FOREIGN_ID_TAKEN: &str = r#"{"errors":{"foreign_id":"The foreign id has already been taken."}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_answers_pass_untouched() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/api/v2/ping" => Reply::Other(200, "text/html; charset=UTF-8", "OK".into()),
        "/api/v2/addresses/take" => Reply::Json(201, TAKEN.into()),
        "/api/v2/futures/rates?page=2" => Reply::Json(418, "[ 1 ]".into()),
        _ => Reply::Json(404, "{}".into()),
    })
    .await;
    let app = beside(Backend::Sqlite, &upstream, &[]).await;
    let ping = send(&app, Method::GET, "/ping", "", None, None).await;
    assert_eq!((ping.status, ping.body.as_str()), (200, "OK"), "without a key");
    let took = post(&app, "/addresses/take", TAKE).await;
    assert_eq!((took.status, took.body.as_str()), (201, TAKEN));
    let unknown = post(&app, "/futures/rates?page=2", "[]").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (418, "[ 1 ]"), "a path that we don't know goes on as well");
    let info = call(&app, Method::GET, "/transactions/info", r#"{"id":1}"#).await;
    assert_eq!(info.status, 404);

    let seen = upstream.seen();
    assert_eq!(seen.len(), 4);
    assert_eq!(String::from_utf8_lossy(&seen[1].body), TAKE, "byte for byte");
    let signature = sign(&SECRET.into(), TAKE.as_bytes());
    assert_eq!(seen[1].header("X-Processing-Signature"), Some(signature.as_str()));
    assert_eq!(seen[1].header("X-Processing-Key"), Some("key-main"));
    assert_eq!((seen[3].method.as_str(), seen[3].body.as_slice()), ("GET", br#"{"id":1}"#.as_slice()));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_refused_as_alphapo_refuses_it_and_goes_no_further() {
    let upstream = Upstream::always(Reply::Json(200, "{}".into())).await;
    let app = beside(Backend::Sqlite, &upstream, &[]).await;
    let right = sign(&SECRET.into(), b"{}");
    let broken = sign(&SECRET.into(), b"{");
    let other = "0".repeat(128);
    let (key, nobody) = (Some("key-main"), Some("key-of-nobody"));
    let rows = [
        ("{}", None, None, 403, r#"{"code":"required_header_key","error":"No key header"}"#),
        ("{}", nobody, None, 403, r#"{"code":"bad_header_key","error":"Bad key header"}"#),
        ("{}", nobody, Some(&right), 403, r#"{"code":"bad_header_key","error":"Bad key header"}"#),
        ("{}", key, None, 403, r#"{"code":"required_header_signature","error":"No signature header"}"#),
        ("{}", key, Some(&other), 403, r#"{"code":"bad_header_signature","error":"Bad signature header"}"#),
        ("{ }", key, Some(&right), 403, r#"{"code":"bad_header_signature","error":"Bad signature header"}"#),
        ("{", key, Some(&broken), 400, r#"{"code":"bad_content_format","error":"Bad content format"}"#),
    ];
    for (body, key, signature, status, answer) in rows {
        let reply = send(&app, Method::POST, "/accounts/list", body, key, signature.map(String::as_str)).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, answer), "{body} {key:?}");
    }
    for path in ["/withdrawal%5Ccrypto", "/%zz", "/a/%252e%252e/ping", "/withdrawal/crypto?amount=9"] {
        let body = withdrawal("w-1", "user-1", "1");
        let reply = post(&app, path, &body).await;
        assert_eq!(reply.json()["code"], "bad_content_format", "{path}: {reply:?}");
    }
    assert_eq!(upstream.seen().len(), 0);
    app.finish().await;
}

async fn made_known_beforehand(backend: Backend) {
    let upstream = Upstream::always(Reply::Json(201, TAKEN.into())).await;
    let suspense = ("TALLYHOOK_MERCHANTS__MAIN__UNKNOWN_CUSTOMER", "suspense");
    let app = beside(backend, &upstream, &[suspense]).await;
    post(&app, "/addresses/take", TAKE).await;
    let invoice = json!({"title": "Shoes", "currency": "EUR", "amount": "100", "foreign_id": "order-1",
        "end_user_reference": "test_end_user_reference"});
    post(&app, "/invoices/create", &invoice.to_string()).await;
    // Neither names the customer as the merchant does today.
    let deposit = json!({"id": 1, "type": "deposit", "status": "confirmed", "error": "", "fees": [], "transactions": [],
        "crypto_address": {"currency": "BTC", "address": "tb1q", "foreign_id": "test_foreign_id"},
        "currency_received": {"currency": "BTC", "amount": "2", "amount_minus_fee": "2"}});
    let paid = |id: u32, foreign_id: &str| {
        json!({"id": id, "foreign_id": foreign_id, "type": "invoice", "status": "confirmed", "error": "", "fees": [],
            "transactions": [], "currency_sent": {"currency": "BTC", "amount": "0.01", "remaining_amount": "0"},
            "currency_received": {"currency": "EUR", "amount": "100"}})
        .to_string()
    };
    for body in [deposit.to_string(), paid(2, "order-1"), paid(3, "order-of-nobody")] {
        assert_eq!(app.receive(&body).await, 200);
    }
    let name = "test_end_user_reference";
    let ledger = app.ledger().await;
    for (currency, amount) in [("BTC", "2"), ("EUR", "100")] {
        let found = ledger
            .lines()
            .any(|line| line.split_whitespace().collect::<Vec<_>>() == ["available", name, currency, amount]);
        assert!(found, "{currency}: {ledger}");
    }
    assert!(ledger.contains("suspense"), "an invoice that was never created through us: {ledger}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_addresses_and_invoices_are_known_before_their_callbacks_on_postgres() {
    made_known_beforehand(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_addresses_and_invoices_are_known_before_their_callbacks_on_sqlite() {
    made_known_beforehand(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_not_there_is_refused_before_any_call() {
    let upstream = Upstream::always(Reply::Json(201, accepted(7, "w-2"))).await;
    let app = beside(Backend::Sqlite, &upstream, &[]).await;
    fund(&app, "1").await;
    let refused = post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "1.00000001")).await;
    assert_eq!((refused.status, refused.body.as_str()), (400, r#"{"errors":{"amount":"Not enough amount"}}"#));
    for (body, errors) in [
        (r#"{"currency":"BTC","amount":"1","address":"a"}"#, r#"{"foreign_id":"The foreign id field is required."}"#),
        (r#"{"currency":"BTC","foreign_id":"w","address":"a"}"#, r#"{"amount":"The amount field is required."}"#),
        (
            r#"{"currency":"BTC","amount":1e-8,"foreign_id":"w","address":"a"}"#,
            r#"{"amount":"The amount is not a plain decimal number."}"#,
        ),
        (
            r#"{"currency":"BTC","amount":0,"foreign_id":"w","address":"a"}"#,
            r#"{"amount":"The amount must be greater than 0."}"#,
        ),
    ] {
        let refused = post(&app, "/withdrawal/crypto", body).await;
        assert_eq!((refused.status, refused.body), (400, format!(r#"{{"errors":{errors}}}"#)), "{body}");
    }
    assert_eq!(upstream.seen().len(), 0);
    let all = post(&app, "/withdrawal//%63rypto/", &withdrawal("w-2", "user-1", "1")).await;
    assert_eq!((all.status, all.body), (201, accepted(7, "w-2")), "however its path is written");
    assert_eq!(state(&app, "w-2").await, "pending");
    let again = post(&app, "/withdrawal/crypto", &withdrawal("w-2", "user-1", "1")).await;
    assert_eq!((again.status, again.body.as_str()), (400, FOREIGN_ID_TAKEN), "the very same bytes");
    let stranger = post(&app, "/withdrawal/crypto", &withdrawal("w-3", "user-9", "5")).await;
    assert_eq!((stranger.status, stranger.body.as_str()), (400, r#"{"errors":{"amount":"Not enough amount"}}"#));
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(app.receive(&spoken(7, "w-2", "1", "confirmed")).await, 200);
    assert_eq!(state(&app, "w-2").await, "settled");
    assert_eq!(app.ledger().await, "");
    app.finish().await;
}

stories!(only_the_merchant_itself_sends_what_it_does_not_have);

async fn only_the_merchant_itself_sends_what_it_does_not_have(backend: Backend) {
    let upstream = Upstream::always(Reply::Json(201, accepted(7, "w-1"))).await;
    let app = beside(backend, &upstream, &[("TALLYHOOK_MERCHANTS__MAIN__TREASURY", "house, house-2")]).await;
    fund(&app, "9").await;
    let converted = |user: &str| {
        json!({"currency": "BTC", "amount_to": "50", "convert_to": "EUR", "address": "a-place", "foreign_id": "w-2",
            "end_user_reference": user})
    };
    let mut nobody = converted("");
    nobody["amount"] = "1".into();
    for (body, field, message) in [
        (serde_json::from_str(&withdrawal("w-1", "user-9", "1")).expect("JSON"), "amount", "Not enough amount"),
        (converted("user-1"), "amount", "The amount must be given: it is set aside first."),
        (nobody, "end_user_reference", "The end user reference field is required."),
    ] {
        let refused = post(&app, "/withdrawal/crypto", &body.to_string()).await;
        assert_eq!((refused.status, refused.json()), (400, json!({"errors": {field: message}})), "{body}");
    }
    assert_eq!(
        (upstream.seen().len(), app.rows("/api/withdrawals").await.len()),
        (0, 0),
        "nothing was written or sent"
    );

    let told = post(&app, "/withdrawal/crypto", &withdrawal("w-1", "house", "5")).await;
    assert_eq!((told.status, upstream.seen().len(), state(&app, "w-1").await), (201, 1, "pending"));
    assert!(!app.ledger().await.contains("held"), "it has nothing that could be set aside");
    let callback = spoken(7, "w-1", "5", "confirmed").replace("user-1", "house");
    assert_eq!(app.receive(&callback).await, 200);
    assert_eq!(state(&app, "w-1").await, "settled");
    let ledger = app.ledger().await;
    assert!(ledger.contains("available  house            BTC    -5"), "what the merchant took out: {ledger}");
    assert_eq!(post(&app, "/withdrawal/crypto", &converted("house-2").to_string()).await.status, 201);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_a_withdrawal_is_told_untouched_and_kept() {
    let envelope = |code: &str, error: &str| json!({"code": code, "error": error}).to_string();
    let unknown = envelope("processor_no_answer", "The processor gave no answer: the outcome is unknown");
    let below = r#"{"errors":{"amount":"The amount must be at least 0.001."}}"#;
    let plain = "Internal server error";
    let single = envelope("foreign_id_taken", "It has already been taken.");
    let rows = [
        (Reply::Json(400, below.into()), 400, below, "failed"),
        (Reply::Json(400, FOREIGN_ID_TAKEN.into()), 400, FOREIGN_ID_TAKEN, "unknown"),
        (Reply::Other(500, "text/plain", plain.into()), 500, plain, "unknown"),
        (Reply::Other(429, "text/html", "error code: 1015".into()), 429, "error code: 1015", "unknown"),
        (Reply::Json(400, single.clone()), 400, single.as_str(), "unknown"),
        (Reply::Json(201, "{}".into()), 201, "{}", "unknown"),
        (Reply::Hang, 504, unknown.as_str(), "unknown"),
        (Reply::Break, 502, unknown.as_str(), "unknown"),
        (Reply::Half, 502, unknown.as_str(), "unknown"),
    ];
    for (reply, status, body, wanted) in rows {
        let (shown, answer) = (format!("{reply:?}"), reply.clone());
        let upstream = Upstream::start(move |seen| match seen.path.as_str() {
            "/api/v2/withdrawal/crypto" => answer.clone(),
            _ => Reply::Other(503, "text/plain", "later".into()),
        })
        .await;
        let hasty = if shown == "Hang" { vec![HASTY] } else { Vec::new() };
        let app = beside(Backend::Sqlite, &upstream, &hasty).await;
        fund(&app, "1").await;
        let told = post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "1")).await;
        assert_eq!((told.status, told.body.as_str()), (status, body), "{shown}");
        assert_eq!(state(&app, "w-1").await, wanted, "{shown}");
        let kept = if wanted == "failed" { "available" } else { "held" };
        assert!(app.ledger().await.contains(kept), "{shown}: {}", app.ledger().await);
        assert_eq!(upstream.seen_at("/withdrawal/crypto").len(), 1, "{shown}");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_processor_is_said_in_its_own_envelope() {
    let nobody = crate::support::process::free_address();
    let url = format!("http://{nobody}/api/v2");
    let app = crate::support::TestApp::with(Backend::Sqlite, &[("TALLYHOOK_ALPHAPO__BASE_URL", &url)]).await;
    fund(&app, "1").await;
    let unreachable =
        json!({"code": "processor_unreachable", "error": "Nothing was sent: the processor can't be reached"});
    for (path, body) in [("/addresses/take", TAKE.to_owned()), ("/withdrawal/crypto", withdrawal("w-1", "user-1", "1"))]
    {
        let told = post(&app, path, &body).await;
        assert_eq!((told.status, told.json()), (502, unreachable.clone()), "{path}");
    }
    assert_eq!(state(&app, "w-1").await, "unknown", "to be asked about, not to be sent again");
    assert!(app.ledger().await.contains("held"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switch_stops_money_at_once_and_says_so() {
    let upstream = Upstream::always(Reply::Json(201, accepted(7, "w-1"))).await;
    let app = beside(Backend::Sqlite, &upstream, &[]).await;
    fund(&app, "1").await;
    let by_viewer = app.send_json("/api/outbound/stop", VIEWER, &json!({})).await;
    assert_eq!(by_viewer.status, 403);
    let stopped = app.send_json("/api/outbound/stop", OPERATOR, &json!({"note": "odd payouts"})).await;
    assert_eq!(stopped.json["state"], "stopped", "{}", stopped.json);
    let body = withdrawal("w-1", "user-1", "1");
    for path in ["/withdrawal/crypto", "/crypto/withdrawal_instant", "/withdrawal/some-day"] {
        let told = post(&app, path, &body).await;
        assert_eq!((told.status, told.json()["code"].as_str()), (503, Some("outbound_stopped")), "{path}");
    }
    let got = call(&app, Method::GET, "/withdrawal/crypto", &body).await;
    assert_eq!((got.status, got.json()["code"].as_str()), (503, Some("outbound_stopped")), "by whatever method");
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(post(&app, "/addresses/take", TAKE).await.status, 201, "money that comes in is not stopped");
    let shown = app.get("/api/outbound", VIEWER).await.json;
    assert_eq!((&shown["changed_by"], &shown["note"]), (&json!("ops"), &json!("odd payouts")));
    let started = app.send_json("/api/outbound/start", OPERATOR, &json!({})).await;
    assert_eq!(started.json["state"], "running");
    let did = app.rows("/api/audit").await;
    let did: Vec<_> = did.iter().map(|row| ["who", "action", "after"].map(|key| row[key].clone())).collect();
    let [start, stop] = [json!(["ops", "outbound.start", null]), json!(["ops", "outbound.stop", "odd payouts"])];
    assert_eq!(json!(did), json!([start, stop]), "each turn stays on record");
    assert_eq!(post(&app, "/withdrawal/crypto", &body).await.status, 201);
    app.finish().await;
}

/// Nobody signs a ping: however many come, few are passed on at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_is_not_passed_on() {
    const FLOOD: usize = 40;
    let upstream = Upstream::always(Reply::Late(2_000, Box::new(Reply::Json(200, "{}".into())))).await;
    let app = beside(Backend::Sqlite, &upstream, &[]).await;
    let methods = [Method::GET, Method::POST].into_iter().cycle().take(FLOOD);
    let pings = methods.map(|method| send(&app, method, "/ping", "{}", None, None));
    let statuses: Vec<u16> = join_all(pings).await.into_iter().map(|reply| reply.status).collect();
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!((passed, upstream.seen().len()), (4, 4), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    app.finish().await;
}

/// What was turned away may have been read all the same, and its name is taken: a client that waits and sends it again
/// would be told so. Other requests may come again.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_to_send_a_withdrawal_again() {
    let limited = Reply::Other(429, "text/html\r\nRetry-After: 60", "error code: 1015".into());
    let upstream = Upstream::always(limited).await;
    let app = beside(Backend::Sqlite, &upstream, &[]).await;
    fund(&app, "1").await;
    let withdrawal = withdrawal("w-1", "user-1", "1");
    for (path, body, later) in
        [("/withdrawal/crypto", withdrawal.as_str(), None), ("/currencies/list", "{}", Some("60"))]
    {
        let signature = tallyhook::processor::signature::sign(&crate::support::SECRET.into(), body.as_bytes());
        let request = app.client.post(format!("{}/api/v2{path}", app.public)).body(body.to_owned());
        let request = request.header("X-Processing-Key", "key-main").header("X-Processing-Signature", signature);
        let answer = request.header("Content-Type", "application/json").send().await.expect("an answer");
        let told = answer.headers().get("retry-after").map(|value| value.to_str().expect("text"));
        assert_eq!((answer.status().as_u16(), told), (429, later), "{path}");
    }
    app.finish().await;
}
