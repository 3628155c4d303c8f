//! Two thousand minutes of a bad processor, by seed: repeats, overtaking, lost callbacks and answers, drifting types, an
//! API that fails. Afterwards our books and the processor's accounts agree to the last digit, and before the lost
//! callbacks are repeated, they explain the whole difference.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::dice::Dice;
use tallyhook::processor::sandbox::faults::Faults;
use tallyhook::processor::sandbox::world::Merchant;

use crate::support::sandbox::{KEY, TestSandbox, amount, now_us, units_of};
use crate::support::{Backend, SECRET, TestApp};

const MINUTES: u64 = 2_000;
const CURRENCIES: [&str; 4] = ["BTC", "ETH", "USDTE", "XRP"];
const PLACES: [&str; 4] = [
    "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc",
    "0x52908400098527886e0f7030069857d2e4169ee7",
    "0x52908400098527886e0f7030069857d2e4169ee7",
    "rPT1Sjq2YGrBMTttX4GZHjKu9dyfzbpAYe",
];

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_bad_minutes_end_in_equal_books_on_sqlite() {
    bad_minutes(Backend::Sqlite, 20_261_121).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_bad_minutes_end_in_equal_books_on_postgres() {
    bad_minutes(Backend::Postgres, 4_711).await;
}

async fn bad_minutes(backend: Backend, seed: u64) {
    let merchant = Merchant::new(KEY, SECRET, "http://127.0.0.1:9/");
    let mut options = Options::new(merchant, now_us);
    (options.seed, options.time_scale) = (seed, 0);
    options.faults = Faults { slow_ms: 3, ..Faults::all(15) };
    options.withdrawal_limit = Some(amount("4000"));
    for kind in ["deposit", "withdrawal", "invoice"] {
        options.plan.choose(&format!("{kind}=random")).expect("a scenario");
    }
    let (app, sandbox) = TestSandbox::beside(backend, options).await;
    let mut dice = Dice::new(seed);
    let mut addresses = Vec::new();
    for minute in 0..MINUTES {
        act(&sandbox, &mut dice, &mut addresses, minute).await;
        if minute % 100 == 99 {
            decide(&sandbox, &mut dice);
        }
        sandbox.sandbox.advance_s(60);
        sandbox.until_quiet().await;
    }
    sandbox.sandbox.with(|world, _| world.faults = Faults::default());
    sandbox.until_idle().await;

    // What nobody told us is the whole difference.
    assert_eq!(app.rows("/api/callbacks?state=held").await, Vec::<Value>::new(), "nothing is held");
    let untold = untold(&app, &sandbox).await;
    assert!(untold.operations.len() > 5, "a bad processor loses some: {}", untold.operations.len());
    assert_eq!(difference(&app, &sandbox).await, untold.moved, "only what was lost, or waits for a person");

    for operation in &untold.operations {
        sandbox.sandbox.with(|world, now| world.repeat_latest(now, *operation));
    }
    while decide(&sandbox, &mut dice) > 0 {
        sandbox.until_idle().await;
    }
    sandbox.until_idle().await;
    assert_eq!(difference(&app, &sandbox).await, BTreeMap::new(), "to the last digit");
    assert!(sandbox.holdings().len() > 4, "{:?}", sandbox.holdings());
    assert_eq!(app.rows("/api/discrepancies").await, Vec::<Value>::new(), "nothing waits for an operator");
    app.finish().await;
}

/// What happens in a minute: customers pay, take out, and the merchant exchanges.
async fn act(sandbox: &TestSandbox, dice: &mut Dice, addresses: &mut Vec<Value>, minute: u64) {
    let customer = format!("user-{}", dice.below(15));
    let which = usize::try_from(dice.below(4)).expect("small");
    let currency = CURRENCIES[which];
    match dice.below(10) {
        0 => {
            let mut body = json!({"currency": currency, "foreign_id": format!("player-{customer}"), "end_user_reference": customer});
            if dice.percent(25) {
                body["convert_to"] = "EUR".into();
            }
            let answer = sandbox.call("/addresses/take", &body.to_string()).await;
            if answer.status == 201 {
                addresses.push(answer.json["data"].clone());
            }
        }
        1..=5 => {
            let Some(address) = dice.pick(addresses).cloned() else { return };
            let sum = format!("{}.{:08}", dice.below(200), dice.below(99_999_999));
            let wanted = json!({"address": address["address"], "amount": sum});
            let body = tallyhook::processor::sandbox::php::decode(wanted.to_string().as_bytes()).expect("JSON");
            // Nothing at all, and what is too little to be converted, can't arrive.
            drop(sandbox.sandbox.with(|world, now| world.command(now, "POST", "/deposits", "", &body)));
        }
        6 | 7 => {
            let sum = format!("{}.{:08}", dice.below(12), dice.below(99_999_999));
            let body = json!({"currency": currency, "amount": sum, "address": PLACES[which], "foreign_id": format!("w-{minute}"), "end_user_reference": customer});
            sandbox.call("/withdrawal/crypto", &body.to_string()).await;
        }
        8 => {
            let body = json!({"sender_currency": currency, "receiver_currency": "EUR", "sender_amount": dice.below(9), "foreign_id": format!("e-{minute}")});
            sandbox.call("/exchange/now", &body.to_string()).await;
        }
        _ => {
            let body = json!({"timer": dice.percent(50), "title": "t", "currency": "EUR", "amount": 50, "foreign_id": format!("i-{minute}"), "end_user_reference": customer, "url_success": "https://example.test/ok", "url_failed": "https://example.test/no", "email_user": "a@example.test"});
            sandbox.call("/invoices/create", &body.to_string()).await;
        }
    }
}

/// A person looks at what is pending. Answers how many there were.
fn decide(sandbox: &TestSandbox, dice: &mut Dice) -> usize {
    let pending = sandbox.control("GET", "/operations", "status=pending&limit=10000", &json!({}));
    let rows = pending["data"].as_array().expect("a list").iter();
    let waiting: Vec<_> = rows.filter(|row| row["type"] != "invoice").map(|row| row["id"].to_string()).collect();
    for id in &waiting {
        let verdict = ["approve", "decline", "cancel"][usize::try_from(dice.below(3)).expect("small")];
        sandbox.control("POST", &format!("/operations/{id}/{verdict}"), "", &json!({}));
    }
    waiting.len()
}

/// Operations whose last word never arrived and was not asked for either, and what they moved at the processor.
struct Untold {
    operations: Vec<i64>,
    moved: BTreeMap<String, i128>,
}

async fn untold(app: &TestApp, sandbox: &TestSandbox) -> Untold {
    let delivered = sandbox.control("GET", "/callbacks", "state=delivered&limit=1000000", &json!({}));
    let mut told: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for callback in delivered["data"].as_array().expect("a list") {
        let status = callback["status"].as_str().expect("a status").to_owned();
        told.entry(callback["operation"].as_i64().expect("an id")).or_default().push(status);
    }
    let all = sandbox.control("GET", "/operations", "limit=1000000", &json!({}));
    let mut untold = Untold { operations: Vec::new(), moved: BTreeMap::new() };
    for operation in all["data"].as_array().expect("a list") {
        let id = operation["id"].as_i64().expect("an id");
        let status = operation["status"].as_str().expect("a status");
        let is_open = matches!(status, "created" | "not_confirmed" | "processing" | "pending");
        let is_told = told.get(&id).is_some_and(|told| told.iter().any(|told| told == status));
        if !is_open && (is_told || is_known(app, id, status).await) {
            continue;
        }
        untold.operations.push(id);
        for sum in operation["moved"].as_array().expect("a list") {
            let currency = sum["currency"].as_str().expect("a code").to_owned();
            let moved = untold.moved.entry(currency).or_default();
            *moved = moved.checked_add(units_of(&sum["amount"])).expect("small enough");
        }
    }
    untold.moved.retain(|_, sum| *sum != 0);
    untold
}

/// Whether we have booked it: what became of a withdrawal without an answer is asked for.
async fn is_known(app: &TestApp, operation: i64, status: &str) -> bool {
    let found = app.rows(&format!("/api/callbacks?state=booked&q={operation}")).await;
    let payment = operation.to_string();
    found.iter().any(|row| row["payment_id"] == payment.as_str() && row["status"] == status)
}

/// What the processor holds more than our books say.
async fn difference(app: &TestApp, sandbox: &TestSandbox) -> BTreeMap<String, i128> {
    let mut difference = sandbox.holdings();
    for row in app.rows("/api/balances").await.iter().filter(|row| row["kind"] == "processor") {
        let currency = row["currency"].as_str().expect("a code").to_owned();
        let more = difference.entry(currency).or_default();
        *more = more.checked_sub(units_of(&row["balance"])).expect("small enough");
    }
    difference.retain(|_, sum| *sum != 0);
    difference
}
