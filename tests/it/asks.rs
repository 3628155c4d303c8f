//! What should be over by now is asked about, by one replica, no faster than allowed; what the processor answers is the
//! callback that was lost, and nothing more when the callback comes after all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tallyhook::app::App;
use tallyhook::cli::serve::Part;
use tallyhook::domain::callback::Head;
use tallyhook::domain::expected::{Expected, is_news};
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::payment::Status;
use tallyhook::outbound::asks::{Tally, ask_all, ask_one, enrol};
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::store::asks::{self, Due};

use crate::page::Browser;
use crate::support::deposits::Deposit;
use crate::support::merchant::{self, accepted, fund, post, processor, spoken, state, withdrawal};
use crate::support::process::{Deployment, eventually};
use crate::support::sandbox::{KEY, TestSandbox, now_us, units_of};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, OPERATOR, SECRET, TestApp, VIEWER, told};

const MAIN: MerchantId = MerchantId(1);
const PATIENCE: Duration = Duration::from_secs(120);
/// Everything is overdue after a second.
const SOON: [(&str, &str); 6] = [
    ("TALLYHOOK_RECONCILE__DEPOSIT_AGE_S", "1"),
    ("TALLYHOOK_RECONCILE__WITHDRAWAL_AGE_S", "1"),
    ("TALLYHOOK_RECONCILE__INVOICE_AGE_S", "1"),
    ("TALLYHOOK_RECONCILE__EXCHANGE_AGE_S", "1"),
    ("TALLYHOOK_RECONCILE__MISSES", "2"),
    ("TALLYHOOK_RECONCILE__ASKS_A_MINUTE", "60000"),
];

/// What `transactions/info` says; nothing: that there is no such transaction.
type Said = Arc<Mutex<Option<String>>>;

async fn answering(said: &Said) -> Upstream {
    let said = Arc::clone(said);
    let unknown = || Reply::Json(400, r#"{"errors":{"id":"The selected id is invalid."}}"#.into());
    Upstream::start(move |seen| match seen.path.as_str() {
        "/api/v2/transactions/info" => {
            let said = said.lock().expect("no test panics while it holds this").clone();
            said.map_or_else(unknown, |body| Reply::Json(200, body))
        }
        "/api/v2/exchange/now" => Reply::Json(201, r#"{"data":{"id":134704200,"status":"processing"}}"#.into()),
        _ => Reply::Json(201, accepted(7, "w-1")),
    })
    .await
}

/// Without the work in the background: the tests say when it is asked.
async fn beside(backend: Backend, upstream: &Upstream, more: &[(&str, &str)]) -> TestApp {
    let mut settings = processor(&upstream.url);
    settings.extend(more);
    TestApp::as_part(backend, &settings, Part::Receive).await
}

fn say(said: &Said, body: Option<String>) {
    *said.lock().expect("no test panics while it holds this") = body;
}

fn inner(app: &TestApp) -> &App {
    &app.running.as_ref().expect("it runs").app
}

/// Everything that is a second old is asked about, once.
async fn ask(app: &TestApp) -> Tally {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    ask_all(inner(app)).await.expect("the database answers")
}

/// The same body in other bytes: another order of its fields, and blanks.
fn otherwise(body: &str) -> String {
    let value: Value = serde_json::from_str(body).expect("JSON");
    serde_json::to_string_pretty(&value).expect("JSON")
}

async fn in_both_orders(backend: Backend) {
    let deposit = Deposit { number: 1 };
    let said = Said::default();
    let upstream = answering(&said).await;
    let lost = beside(backend, &upstream, &SOON).await;
    assert_eq!(lost.receive(&deposit.announced()).await, StatusCode::OK);
    say(&said, Some(otherwise(&deposit.confirmed())));
    assert_eq!(ask(&lost).await, Tally { over: 1, ..Tally::default() });
    assert_eq!(ask(&lost).await, Tally::default(), "what is over is not asked about again");
    assert_eq!(lost.receive(&deposit.confirmed()).await, StatusCode::OK);
    let callbacks = lost.callbacks().await;
    assert!(callbacks.ends_with("deposit confirmed ignored repeat x1"), "{callbacks}");

    let late = beside(backend, &upstream, &SOON).await;
    assert_eq!(late.receive(&deposit.announced()).await, StatusCode::OK);
    assert_eq!(late.receive(&deposit.confirmed()).await, StatusCode::OK);
    let answer = otherwise(&deposit.confirmed()).into_bytes();
    inner(&late).booker.answered(MAIN, answer).await.expect("it is booked");
    assert_eq!(ask(&late).await, Tally::default(), "what is final is not asked about");
    assert_eq!(upstream.seen_at("/transactions/info").len(), 1);

    assert_eq!(lost.ledger().await, late.ledger().await);
    assert_eq!(told(&lost.events().await), told(&late.events().await));
    assert!(told(&lost.events().await).contains("deposit.credited"));
    lost.finish().await;
    late.finish().await;
}

async fn on_its_way(backend: Backend) {
    let deposit = Deposit { number: 2 };
    let said = Said::default();
    let upstream = answering(&said).await;
    let app = beside(backend, &upstream, &SOON).await;
    assert_eq!(app.receive(&deposit.announced()).await, StatusCode::OK);
    for confirmations in ["1", "2"] {
        let waiting =
            deposit.announced().replace(r#""confirmations":"0""#, &format!(r#""confirmations":"{confirmations}""#));
        say(&said, Some(waiting));
        assert_eq!(ask(&app).await, Tally { open: 1, ..Tally::default() });
    }
    assert_eq!(app.rows("/api/callbacks").await.len(), 1, "an answer that says nothing new leaves no row");
    say(&said, Some(Deposit { number: 3 }.confirmed()));
    assert_eq!(ask(&app).await, Tally { later: 1, ..Tally::default() }, "it is about another payment");
    assert_eq!(app.rows("/api/callbacks").await.len(), 1);
    app.finish().await;
}

async fn unknown_there(backend: Backend) {
    let deposit = Deposit { number: 4 };
    let said = Said::default();
    let upstream = answering(&said).await;
    let app = beside(backend, &upstream, &SOON).await;
    assert_eq!(app.receive(&deposit.announced()).await, StatusCode::OK);
    for opened in [0, 1, 1] {
        assert_eq!(ask(&app).await, Tally { missing: 1, ..Tally::default() });
        assert_eq!(app.rows("/api/discrepancies").await.len(), opened);
    }
    let open = app.rows("/api/discrepancies").await;
    assert_eq!((&open[0]["reason"], open.len()), (&json!("unknown_to_processor"), 1));
    let listed = asks::list(&inner(&app).db, true, 10).await.expect("a list");
    assert_eq!((listed.len(), listed[0].reference.as_str()), (1, deposit.id().to_string().as_str()));
    let deployment = Deployment::on(&app.url).set("TALLYHOOK_ALPHAPO__BASE_URL", &upstream.url);
    let report = deployment.run(&["reconcile", "report", "--output", "json"]);
    assert_eq!(report.code, Some(4), "{}", report.stderr);
    assert!(report.stdout.contains(&format!("deposit {}: the processor knows nothing of it", deposit.id())));
    let board = Browser::logged_in(&app, VIEWER).await.get("/reconciliation").await.text;
    let (payment, discrepancy) = (deposit.id(), open[0]["id"].as_str().expect("an id"));
    for shown in [format!("href=\"/payments?q={payment}\">{payment}"), format!("href=\"/held/{discrepancy}\"")] {
        assert!(board.contains(&shown), "{shown} is not on the board: {board}");
    }

    assert_eq!(app.receive(&deposit.confirmed()).await, StatusCode::OK);
    assert_eq!(ask(&app).await, Tally { over: 1, ..Tally::default() });
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    let events = told(&app.events().await);
    assert_eq!((events.matches("discrepancy.opened").count(), events.matches("discrepancy.resolved").count()), (1, 1));
    app.finish().await;
}

async fn explained_by_a_person(backend: Backend) {
    let said = Said::default();
    let upstream = answering(&said).await;
    let app = beside(backend, &upstream, &SOON).await;
    assert_eq!(app.receive(&Deposit { number: 5 }.announced()).await, StatusCode::OK);
    for _ in 0..2 {
        ask(&app).await;
    }
    let open = app.rows("/api/discrepancies").await;
    let path = format!("/api/discrepancies/{}/resolve", open[0]["id"].as_str().expect("an id"));
    let ignore = json!({"action": "ignore", "note": "support confirmed that it was cancelled"});
    assert_eq!(app.send_json(&path, OPERATOR, &ignore).await.status, StatusCode::OK);
    assert_eq!(app.send_json(&path, OPERATOR, &ignore).await.status, StatusCode::CONFLICT);
    ask(&app).await;
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "it is told once, for ever");
    app.finish().await;
}

/// Each time that it is missing is told, and each once, although a process may die before it keeps what it told.
async fn missing_again_after_it_was_known(backend: Backend) {
    let deposit = Deposit { number: 6 };
    let said = Said::default();
    let upstream = answering(&said).await;
    let app = beside(backend, &upstream, &SOON).await;
    assert_eq!(app.receive(&deposit.announced()).await, StatusCode::OK);
    for told in 1..=3 {
        say(&said, None);
        ask(&app).await;
        ask(&app).await;
        let open = app.rows("/api/discrepancies").await;
        assert_eq!((open.len(), app.rows("/api/discrepancies?state=all").await.len()), (1, told));
        let forgotten = "UPDATE asks SET discrepancy = NULL";
        inner(&app).db.orm.execute_unprepared(forgotten).await.expect("the database takes it");
        assert_eq!(ask(&app).await, Tally { missing: 1, ..Tally::default() });
        assert_eq!(app.rows("/api/discrepancies?state=all").await.len(), told, "it is the same");
        let listed = asks::list(&inner(&app).db, true, 10).await.expect("a list");
        assert_eq!(listed[0].discrepancy.map(|id| id.to_string()).as_deref(), open[0]["id"].as_str());

        say(&said, Some(deposit.announced()));
        assert_eq!(ask(&app).await, Tally { open: 1, ..Tally::default() });
        assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "the processor knows it after all");
    }
    app.finish().await;
}

async fn withdrawals_and_exchanges(backend: Backend) {
    let said = Said::default();
    let upstream = answering(&said).await;
    let app = beside(backend, &upstream, &SOON).await;
    fund(&app, "5").await;
    assert_eq!(post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "2")).await.status, 201);
    say(&said, Some(spoken(7, "w-1", "2", "confirmed")));
    assert_eq!(ask(&app).await, Tally { over: 1, ..Tally::default() });
    assert_eq!(state(&app, "w-1").await, "settled");
    let asked = upstream.seen_at("/transactions/info");
    assert_eq!((asked.len(), asked[0].body.as_slice()), (1, br#"{"foreign_id":"w-1"}"#.as_slice()));

    let exchange =
        json!({"sender_currency": "BTC", "receiver_currency": "EUR", "sender_amount": "1", "foreign_id": "x-1"});
    assert_eq!(post(&app, "/exchange/now", &exchange.to_string()).await.status, 201);
    let done = json!({
        "id": 134_704_200, "type": "exchange", "currency_sent": {"currency": "BTC", "amount": "1"},
        "currency_received": {"currency": "EUR", "amount": "60000"}, "transactions": [], "fees": [], "error": "",
        "status": "confirmed",
    });
    say(&said, Some(done.to_string()));
    assert_eq!(ask(&app).await, Tally { over: 1, ..Tally::default() });
    assert!(app.ledger().await.contains("exchange   -                EUR    60000"), "{}", app.ledger().await);
    app.finish().await;
}

stories! {
    in_both_orders, on_its_way, unknown_there, explained_by_a_person, missing_again_after_it_was_known,
    withdrawals_and_exchanges,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_withdrawal_has_another_asker() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/api/v2/withdrawal/crypto" => Reply::Hang,
        _ => Reply::Json(404, r#"{"error":"Not found","code":"not_found"}"#.into()),
    })
    .await;
    let app = merchant::beside(Backend::Sqlite, &upstream, &[&SOON[..], &[merchant::HASTY]].concat()).await;
    fund(&app, "5").await;
    drop(post(&app, "/withdrawal/crypto", &withdrawal("w-1", "user-1", "2")).await);
    eventually("it is unknown", PATIENCE, async || (state(&app, "w-1").await == "unknown").then_some(())).await;
    assert_eq!(ask(&app).await, Tally::default());
    assert_eq!(asks::list(&inner(&app).db, false, 10).await.expect("a list"), []);
    app.finish().await;
}

/// As the worker does, until nothing is due.
async fn drain(app: &App) -> u32 {
    let mut asked = 0_u32;
    while asks::is_any(&app.db, Due::Now, (app.clock)()).await.expect("the database answers") {
        match ask_one(app, Due::Now).await.expect("the database answers") {
            Some(_) => asked = asked.saturating_add(1),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_ask_each_thing_once_and_together_no_faster_than_allowed() {
    const DEPOSITS: u64 = 20;
    let said = Said::default();
    let upstream = answering(&said).await;
    let mut settings = SOON;
    settings[5].1 = "600";
    let one = beside(Backend::Postgres, &upstream, &settings).await;
    let mut more = processor(&upstream.url);
    more.extend(settings);
    let other = crate::support::launch_as(&one.url, &more, Part::Receive).await;
    for number in 0..DEPOSITS {
        assert_eq!(one.receive(&Deposit { number }.announced()).await, StatusCode::OK);
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    while enrol(inner(&one)).await.expect("the database answers") {}
    let begun = Instant::now();
    let (left, right) = tokio::join!(drain(inner(&one)), drain(&other.app));
    let took = begun.elapsed();
    let asked = upstream.seen_at("/transactions/info");
    let mut bodies: Vec<_> = asked.iter().map(|seen| seen.body.clone()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 20, "each is asked about");
    assert_eq!(asked.len(), 20, "none twice: {left} and {right}");
    assert!(took >= Duration::from_millis(1_800), "600 a minute are one each 100 ms, not {took:?} for 20");
    other.app.stop.cancel();
    assert_eq!(other.until_stopped().await.expect("it stops in order"), 0);
    one.finish().await;
}

/// Every confirmation of the simulated processor is lost: asking finds all of them, to the last digit.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_processor_never_sent_again_is_found_by_asking() {
    let merchant = Merchant::new(KEY, SECRET, "http://127.0.0.1:9/");
    let mut sandbox = TestSandbox::with(Options::new(merchant, now_us));
    let api = sandbox.sandbox.api();
    let mut settings = processor(&api);
    settings.extend(SOON);
    let app = TestApp::as_part(Backend::Postgres, &settings, Part::Receive).await;
    sandbox.sandbox.send_callbacks_to(&format!("{}/callbacks/alphapo", app.public));
    sandbox.api = api.clone();
    for (number, currency) in ["BTC", "ETH", "XRP"].iter().enumerate() {
        let address = sandbox.take(currency, &format!("p-{number}"), &format!("user-{number}")).await;
        sandbox.deposit(&address, "12.34567891", "normal");
    }
    eventually("all are announced", PATIENCE, async || (app.rows("/api/callbacks").await.len() == 3).then_some(()))
        .await;
    sandbox.control("POST", "/faults", "", &json!({"lose": 100}));
    sandbox.until_idle().await;
    assert_eq!(app.ledger().await, "", "nothing was told");
    assert_eq!(ask(&app).await, Tally { over: 3, ..Tally::default() });
    let balances = app.rows("/api/balances").await;
    let ours = balances.iter().filter(|row| row["kind"] == "processor");
    let ours: BTreeMap<_, _> =
        ours.map(|row| (row["currency"].as_str().expect("a code").to_owned(), units_of(&row["balance"]))).collect();
    assert_eq!((ours.len(), ours), (3, sandbox.holdings()));
    app.finish().await;
}

#[test]
fn questions_are_asked_ever_less_often() {
    let minutes = [1, 2, 3, 4, 20].map(|attempts| Expected::Deposit.wait_us(attempts) / 60_000_000);
    assert_eq!(minutes, [5, 10, 20, 40, 360]);
    let seconds = [0, 1, 2, 3, 30].map(|attempts| Expected::Check.wait_us(attempts) / 1_000_000);
    assert_eq!(seconds, [5, 5, 10, 20, 1800]);
}

#[test]
fn an_answer_is_news_when_it_ends_something_or_moves_it_on() {
    let head = |kind: &str, status: &str| Head {
        kind: Some(kind.to_owned()),
        status: Some(status.to_owned()),
        ..Head::default()
    };
    for (known, kind, status, expected) in [
        (None, "deposit", "not_confirmed", true),
        (Some(Status::NotConfirmed), "deposit", "not_confirmed", false),
        (Some(Status::NotConfirmed), "deposit", "confirmed", true),
        (Some(Status::NotConfirmed), "deposit", "cancelled", true),
        (Some(Status::NotConfirmed), "deposit", "what nobody knows", true),
        (Some(Status::Pending), "invoice", "processing", true),
        (None, "invoice", "created", false),
    ] {
        assert_eq!(is_news(known, &head(kind, status)), expected, "{known:?} {kind} {status}");
    }
}
