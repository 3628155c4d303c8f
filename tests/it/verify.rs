//! A deposit above the merchant's limit is compared with the processor's own answer before it is booked: it waits until
//! both say the same, and a forged one waits for a person.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tallyhook::app::App;
use tallyhook::cli::serve::Part;
use tallyhook::domain::callback::Callback;
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::verify::{Comparison, Verify, compare};
use tallyhook::outbound::asks::{Tally, ask_all};
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::processor::wire;
use tallyhook::store::asks;

use crate::support::merchant::processor;
use crate::support::process::eventually;
use crate::support::sandbox::{KEY, TestSandbox, amount, now_us};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, OPERATOR, SECRET, TestApp, told};

const PATIENCE: Duration = Duration::from_secs(120);
const CAREFUL: [(&str, &str); 4] = [
    ("TALLYHOOK_MERCHANTS__MAIN__VERIFY_ABOVE", "BTC=1, ETH=20"),
    ("TALLYHOOK_MERCHANTS__MAIN__VERIFY_RISK", "0.7"),
    ("TALLYHOOK_ADMIN__ALONE", "BTC=1000"),
    ("TALLYHOOK_RECONCILE__ASKS_A_MINUTE", "60000"),
];

/// What `transactions/info` does.
type Said = Arc<Mutex<Reply>>;

fn say(said: &Said, reply: Reply) {
    *said.lock().expect("no test panics while it holds this") = reply;
}

fn unknown() -> Reply {
    Reply::Json(404, r#"{"error":"Not found","code":"not_found"}"#.into())
}

/// Without the work in the background: the tests say when it is asked.
async fn careful(backend: Backend) -> (TestApp, Upstream, Said) {
    let said = Arc::new(Mutex::new(Reply::Break));
    let answers = Arc::clone(&said);
    let upstream = Upstream::start(move |_| answers.lock().expect("no test panics while it holds this").clone()).await;
    let mut settings = processor(&upstream.url);
    settings.extend(CAREFUL);
    (TestApp::as_part(backend, &settings, Part::Receive).await, upstream, said)
}

fn inner(app: &TestApp) -> &App {
    &app.running.as_ref().expect("it runs").app
}

async fn ask(app: &TestApp) -> Tally {
    ask_all(inner(app)).await.expect("the database answers")
}

fn deposit(id: u32, sum: &str) -> String {
    json!({
        "id": id, "end_user_reference": "user-1", "type": "deposit",
        "crypto_address": {"id": 31, "currency": "BTC", "address": "bc1-of-tests", "tag": null, "foreign_id": "p-1"},
        "currency_sent": {"currency": "BTC", "amount": sum},
        "currency_received": {"currency": "BTC", "amount": sum, "amount_minus_fee": sum},
        "transactions": [{"id": 1, "currency": "BTC", "transaction_type": "blockchain", "type": "deposit",
            "address": "bc1-of-tests", "tag": null, "amount": sum, "txid": format!("tx-{id}"), "riskscore": "0.5",
            "confirmations": "3"}],
        "fees": [], "error": "", "status": "confirmed",
    })
    .to_string()
}

fn pretty(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
    serde_json::to_string_pretty(&value).expect("JSON")
}

async fn held_until_both_agree(backend: Backend) {
    let (app, upstream, said) = careful(backend).await;
    assert_eq!(app.receive(&deposit(1, "1")).await, StatusCode::OK);
    assert_eq!(app.receive(&deposit(2, "1.00000001")).await, StatusCode::OK);
    let waits = "deposit confirmed booked - x1\ndeposit confirmed held awaits_verification x1";
    assert_eq!(app.callbacks().await, waits, "only what is above the limit waits");
    let before = app.ledger().await;
    assert_eq!(ask(&app).await, Tally { later: 1, ..Tally::default() }, "the processor can't be reached");
    let id = app.rows("/api/callbacks?state=held").await[0]["id"].as_str().expect("an id").to_owned();
    let replay = json!({"dry_run": false});
    assert_eq!(app.send_json(&format!("/api/callbacks/{id}/replay"), OPERATOR, &replay).await.status, StatusCode::OK);
    assert_eq!((app.callbacks().await.as_str(), app.ledger().await), (waits, before), "a replay does not book it");

    say(&said, Reply::Json(200, pretty(&deposit(2, "1.00000001")).replace("confirmed", "not_confirmed")));
    assert_eq!(ask(&app).await, Tally { open: 1, ..Tally::default() }, "not final there yet");
    say(&said, Reply::Json(200, pretty(&deposit(2, "1.00000001"))));
    assert_eq!(ask(&app).await, Tally { over: 1, ..Tally::default() });
    assert_eq!(ask(&app).await, Tally::default());
    assert_eq!(upstream.seen_at("/transactions/info").len(), 3);
    assert!(app.ledger().await.contains("available  user-1           BTC    2.00000001"), "{}", app.ledger().await);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);

    // Nothing books it a second time.
    assert_eq!(app.send_json(&format!("/api/callbacks/{id}/replay"), OPERATOR, &replay).await.status, StatusCode::OK);
    assert_eq!(app.receive(&deposit(2, "1.00000001")).await, StatusCode::OK);
    assert_eq!(app.receive(&pretty(&deposit(2, "1.00000001"))).await, StatusCode::OK);
    assert!(app.ledger().await.contains("available  user-1           BTC    2.00000001"), "{}", app.ledger().await);
    assert_eq!(told(&app.events().await).matches("deposit.credited").count(), 2);
    app.finish().await;
}

async fn a_forged_one_waits_for_a_person(backend: Backend) {
    let (app, upstream, said) = careful(backend).await;
    assert_eq!(app.receive(&deposit(1, "5")).await, StatusCode::OK);
    assert_eq!(app.receive(&deposit(2, "6")).await, StatusCode::OK);
    say(&said, unknown());
    for opened in [2, 2, 4] {
        assert_eq!(ask(&app).await, Tally { missing: 2, ..Tally::default() });
        assert_eq!(app.rows("/api/discrepancies").await.len(), opened);
    }
    let asked = upstream.seen_at("/transactions/info").len();
    assert_eq!(ask(&app).await, Tally { open: 2, ..Tally::default() });
    assert_eq!(upstream.seen_at("/transactions/info").len(), asked, "from here a person decides");
    assert!(!app.ledger().await.contains("user-1"));
    let open = app.rows("/api/discrepancies?reason=awaits_verification").await;
    let path = |row: &serde_json::Value| format!("/api/discrepancies/{}/resolve", row["id"].as_str().expect("an id"));
    for (row, action) in open.iter().zip(["book_anyway", "ignore"]) {
        let body = json!({"action": action, "note": "AlphaPo's support looked at it"});
        let answer = app.send_json(&path(row), OPERATOR, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
    }
    assert_eq!(ask(&app).await, Tally { over: 2, ..Tally::default() });
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "both are settled with what they were about");
    assert_eq!(told(&app.events().await).matches("deposit.credited").count(), 1);
    app.finish().await;
}

async fn another_amount_is_told_and_stays_held(backend: Backend) {
    let (app, _upstream, said) = careful(backend).await;
    assert_eq!(app.receive(&deposit(1, "50")).await, StatusCode::OK);
    say(&said, Reply::Json(200, deposit(1, "5")));
    assert_eq!(ask(&app).await, Tally { open: 1, ..Tally::default() });
    assert_eq!(app.callbacks().await, "deposit confirmed held awaits_verification x1");
    let open = app.rows("/api/discrepancies?reason=verification_differs").await;
    let detail = app.get(&format!("/api/discrepancies/{}", open[0]["id"].as_str().expect("an id")), OPERATOR).await;
    let body = detail.json.to_string();
    assert!(body.contains("the amount is 50 BTC in the callback, 5 BTC at the processor"), "{body}");
    app.finish().await;
}

/// Whoever has the signing secret tells of a true deposit, but as somebody else's: the answer names the payer.
async fn one_that_names_somebody_else_credits_nobody(backend: Backend) {
    let (app, _upstream, said) = careful(backend).await;
    let own = deposit(1, "0.5").replace("user-1", "mallory").replace("p-1", "p-9");
    assert_eq!(app.receive(&own).await, StatusCode::OK, "an account of their own");
    let honest = deposit(2, "5");
    say(&said, Reply::Json(200, pretty(&honest)));
    let (user, place) = (r#""end_user_reference":"user-1","#, r#""foreign_id":"p-1","#);
    let forged = [
        honest.replace("user-1", "mallory").replace("p-1", "p-9"),
        honest.replace("user-1", "mallory"),
        honest.replace("p-1", "p-9"),
        honest.replace(user, "").replace("p-1", "p-9"),
        honest.replace("user-1", "mallory").replace(place, ""),
        honest.replace(place, ""),
        honest.replace(user, ""),
    ];
    for (body, count) in forged.iter().zip(1..) {
        assert_eq!(app.receive(body).await, StatusCode::OK);
        assert_eq!(ask(&app).await, Tally { open: count, ..Tally::default() }, "{body}");
        let open = app.rows("/api/discrepancies?reason=verification_differs").await;
        assert_eq!(open.len(), usize::try_from(count).expect("few"), "{body}");
    }
    assert!(!app.ledger().await.contains("user-1"));
    assert_eq!(app.receive(&honest).await, StatusCode::OK);
    let forged = u64::try_from(forged.len()).expect("few");
    assert_eq!(ask(&app).await, Tally { over: 1, open: forged, ..Tally::default() });
    let ledger = app.ledger().await;
    assert!(ledger.contains("available  user-1           BTC    5\n"), "{ledger}");
    assert!(ledger.contains("available  mallory          BTC    0.5\n"), "{ledger}");
    app.finish().await;
}

/// Against the simulator, whose answer is its last callback's body: what it really sent agrees, references and all.
async fn what_the_processor_sent_agrees(backend: Backend) {
    let mut sandbox = TestSandbox::with(Options::new(Merchant::new(KEY, SECRET, "http://127.0.0.1:9/"), now_us));
    sandbox.api = sandbox.sandbox.api();
    let api = sandbox.sandbox.api();
    let mut settings = processor(&api);
    settings.extend(CAREFUL);
    let app = TestApp::as_part(backend, &settings, Part::Receive).await;
    sandbox.sandbox.send_callbacks_to(&format!("{}/callbacks/alphapo", app.public));
    for (user, scenario) in [("ada", "normal"), ("bob", "instant"), ("cleo", "internal")] {
        let address = sandbox.take("BTC", &format!("place-of-{user}"), user).await;
        sandbox.deposit(&address, "12.34567891", scenario);
    }
    sandbox.until_idle().await;
    eventually("all wait", PATIENCE, async || (app.rows("/api/callbacks?state=held").await.len() == 3).then_some(()))
        .await;
    assert_eq!(ask(&app).await, Tally { over: 3, ..Tally::default() });
    assert_eq!(told(&app.events().await).matches("deposit.credited").count(), 3);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

async fn an_answer_needs_no_other(backend: Backend) {
    let (app, upstream, _said) = careful(backend).await;
    let answer = deposit(1, "50").into_bytes();
    inner(&app).booker.answered(MerchantId(1), answer).await.expect("it is booked");
    assert_eq!(app.receive(&pretty(&deposit(1, "50"))).await, StatusCode::OK);
    assert_eq!(app.callbacks().await, "deposit confirmed booked - x1\ndeposit confirmed ignored repeat x1");
    assert_eq!(ask(&app).await, Tally::default());
    assert_eq!(upstream.seen().len(), 0);
    app.finish().await;
}

async fn a_person_may_be_faster(backend: Backend) {
    let (app, _upstream, said) = careful(backend).await;
    assert_eq!(app.receive(&deposit(1, "50")).await, StatusCode::OK);
    assert_eq!(ask(&app).await, Tally { later: 1, ..Tally::default() });
    let open = app.rows("/api/discrepancies").await;
    let path = format!("/api/discrepancies/{}/resolve", open[0]["id"].as_str().expect("an id"));
    let body = json!({"action": "book_anyway", "note": "the processor is down, and we know this payer"});
    assert_eq!(app.send_json(&path, OPERATOR, &body).await.status, StatusCode::OK);
    say(&said, Reply::Json(200, deposit(1, "50")));
    assert_eq!(ask(&app).await, Tally { over: 1, ..Tally::default() });
    assert_eq!(told(&app.events().await).matches("deposit.credited").count(), 1);
    assert_eq!(asks::list(&inner(&app).db, false, 10).await.expect("a list"), []);
    app.finish().await;
}

stories! {
    held_until_both_agree, a_forged_one_waits_for_a_person, another_amount_is_told_and_stays_held,
    one_that_names_somebody_else_credits_nobody, what_the_processor_sent_agrees, an_answer_needs_no_other,
    a_person_may_be_faster,
}

fn read(body: &str) -> Callback {
    wire::read(body.as_bytes())
}

#[test]
fn which_deposits_are_compared() {
    let verify = Verify { above: [("BTC".to_owned(), amount("1"))].into_iter().collect(), risk: Some(amount("0.7")) };
    let body = deposit(1, "2");
    for (body, wanted) in [
        (body.clone(), true),
        (deposit(1, "1"), false),
        (deposit(1, "1").replace("0.5", "0.70"), false),
        (deposit(1, "1").replace("0.5", "0.71"), true),
        (deposit(1, "1").replace("0.5", "high"), true),
        (body.replace("\"BTC\"", "\"LTC\""), false),
        (body.replace(r#""type":"deposit"}"#, r#""type":"invoice"}"#), true),
    ] {
        let callback = read(&body);
        let is_deposit = callback.head.kind.as_deref() == Some("deposit");
        assert_eq!(verify.wants(&callback), wanted && is_deposit, "{body}");
        assert!(!Verify::default().wants(&callback), "without limits nothing is");
    }
}

#[test]
fn what_the_comparison_finds() {
    let ours = deposit(1, "2");
    let fee = r#""fees":[{"type":"fee","currency":"BTC","amount":"0.1"}]"#;
    for (answer, found) in [
        (pretty(&ours), ""),
        (ours.replace(r#""confirmations":"3""#, r#""confirmations":17"#), ""),
        (ours.replace(r#","amount_minus_fee":"2""#, ""), ""),
        (ours.replace(r#""txid":"tx-1""#, r#""txid":null"#), ""),
        (ours.replace(r#""riskscore":"0.5""#, r#""riskscore":"0.4""#), ""),
        (ours.replace(r#""riskscore":"0.5""#, r#""riskscore":"0.9""#), "the risk is higher at the processor"),
        (ours.replace(r#""id":1,"#, r#""id":2,"#), "the id is 1 in the callback, 2 at the processor"),
        (ours.replace("confirmed", "cancelled"), "the status is confirmed in the callback, cancelled at the processor"),
        (
            ours.replace(r#""amount":"2","amount_minus_fee""#, r#""amount":"3","amount_minus_fee""#),
            "the amount is 2 BTC in the callback, 3 BTC at the processor",
        ),
        (
            ours.replace(r#""amount_minus_fee":"2""#, r#""amount_minus_fee":"1.9""#),
            "what is left after fees is 2 in the callback, 1.9 at the processor",
        ),
        (ours.replace(r#""fees":[]"#, fee), "the fee is missing in the callback, 0.1 BTC at the processor"),
        (
            ours.replace(
                r#""address":"bc1-of-tests","currency":"BTC","foreign_id""#,
                r#""address":"bc1-other","currency":"BTC","foreign_id""#,
            ),
            "the address is bc1-of-tests in the callback, bc1-other at the processor",
        ),
        (
            ours.replace(r#""address":"bc1-of-tests","currency":"BTC","foreign_id""#, r#""foreign_id""#),
            "the address is bc1-of-tests in the callback, missing at the processor",
        ),
        (ours.replace("p-1", "p-2"), "the foreign id is p-1 in the callback, p-2 at the processor"),
        (ours.replace("user-1", "user-2"), "the end user reference is user-1 in the callback, user-2 at the processor"),
        (
            ours.replace(r#""end_user_reference":"user-1","#, ""),
            "the end user reference is user-1 in the callback, missing at the processor",
        ),
        (ours.replace("tx-1", "tx-2"), "the transactions are others at the processor"),
        (ours.replace(r#""error":"""#, r#""error":"double spend""#), "the error is another one at the processor"),
    ] {
        match compare(&read(&ours), &read(&answer)) {
            Comparison::Agrees => assert_eq!(found, "", "{answer}"),
            Comparison::NotYet => panic!("it is final: {answer}"),
            Comparison::Differs(what) => assert_eq!(what.join("; "), found, "{answer}"),
        }
    }
    let unnamed = ours.replace(r#""end_user_reference":"user-1","#, "");
    assert_eq!(
        compare(&read(&unnamed), &read(&unnamed)),
        Comparison::Agrees,
        "of an address from before the parameter"
    );
    assert!(matches!(compare(&read(&unnamed), &read(&ours)), Comparison::Differs(_)));
    let early = ours.replace("confirmed", "not_confirmed");
    assert_eq!(compare(&read(&ours), &read(&early)), Comparison::NotYet);
}
