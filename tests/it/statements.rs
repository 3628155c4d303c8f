//! Claims about what the ledger says of payments, customers and accounts: pages without a row twice or missing, running
//! balances that end in the balances, and files that a spreadsheet may open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tallyhook::http::admin::csv::harmless;
use tallyhook::store::{Db, cursor, events, lines};

use crate::support::deposits::{Deposit, units};
use crate::support::process::eventually;
use crate::support::{Backend, OPERATOR, TestApp, VIEWER};
use crate::wire::fixture;

const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

async fn get(app: &TestApp, path: &str) -> Value {
    let answer = app.get(path, VIEWER).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.json);
    answer.json
}

/// Every page of a list with `limit` rows each.
async fn pages(app: &TestApp, path: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(app, &format!("{path}limit={limit}{after}")).await;
        let data = page["data"].as_array().expect("a list");
        assert!(data.len() <= limit, "{path}: a page has no more than was asked for");
        rows.extend(data.iter().cloned());
        let Some(next) = page["next"].as_str() else { return rows };
        after = format!("&after={next}");
    }
}

async fn send(app: &TestApp, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let deposit = Deposit { number };
        app.receive(&deposit.announced()).await;
        app.receive(&deposit.confirmed()).await;
    }
}

fn db(app: &TestApp) -> &Db {
    &app.running.as_ref().expect("it runs").app.db
}

/// Until the lines have reached the journal's head.
async fn until_followed(app: &TestApp) {
    eventually("the lines follow", Duration::from_secs(120), async || {
        let followed = cursor::state(db(app), lines::CURSOR).await.expect("a cursor").position;
        (followed == events::last_position(db(app)).await.expect("a head")).then_some(())
    })
    .await;
}

fn text<'v>(row: &'v Value, field: &str) -> &'v str {
    row[field].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_runs_up_to_the_balances_followed_or_not() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        send(&app, 0..45).await;
        let fresh = statements(&app).await;
        until_followed(&app).await;
        assert_eq!(statements(&app).await, fresh, "{backend:?}: by the lines as by the journal");
        send(&app, 45..60).await;
        let more = statements(&app).await;
        until_followed(&app).await;
        assert_eq!(statements(&app).await, more, "{backend:?}");
        app.finish().await;
    }
}

/// The statement of every customer, each checked against itself and the balances.
async fn statements(app: &TestApp) -> BTreeMap<String, Vec<Value>> {
    let balances = app.rows("/api/balances").await;
    let mut all = BTreeMap::new();
    for customer in pages(app, "/api/customers?", 7).await {
        let id = text(&customer, "id");
        let lines = pages(app, &format!("/api/customers/{id}/statement?"), 3).await;
        let mut last: BTreeMap<(&str, &str), i128> = BTreeMap::new();
        let mut places = BTreeSet::new();
        for line in lines.iter().rev() {
            assert!(places.insert((text(line, "position"), text(line, "account"))), "a line twice: {line}");
            let balance = last.entry((text(line, "kind"), text(line, "currency"))).or_default();
            *balance = balance.checked_add(units(text(line, "change"))).expect("small enough");
            assert_eq!(*balance, units(text(line, "balance")), "{line}");
        }
        let name = &customer["name"];
        let of_customer: BTreeMap<_, _> = balances
            .iter()
            .filter(|row| row["customer"] == *name)
            .map(|row| ((text(row, "kind"), text(row, "currency")), units(text(row, "balance"))))
            .collect();
        assert_eq!(last, of_customer, "the statement of {name} ends in the balances");
        all.insert(text(&customer, "name").to_owned(), lines);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_miss_nothing_while_more_arrives() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        send(&app, 0..30).await;
        for path in ["/api/payments?", "/api/customers?", "/api/customers/1/statement?", "/api/accounts/1/postings?"] {
            let before = pages(&app, path, 1_000).await;
            assert!(before.len() > 1, "{path} has something to turn over");
            let (mut rows, mut after, mut number) = (Vec::new(), String::new(), 1_000);
            loop {
                let page = get(&app, &format!("{path}limit=2{after}")).await;
                rows.extend(page["data"].as_array().expect("a list").iter().cloned());
                // One for the same customers and accounts, and one for a new customer.
                app.receive(&Deposit { number }.confirmed()).await;
                number += 20;
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            assert_eq!(rows, before, "{backend:?} {path}: what was there when reading began, each once");
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_tells_its_callbacks_and_its_entries() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        let deposit = Deposit { number: 3 };
        app.receive(&deposit.announced()).await;
        app.receive(&deposit.confirmed()).await;
        app.receive(&fixture("withdrawal-confirmed-btc").replace("player-7207", &deposit.user())).await;
        let (_, list) = (0, get(&app, "/api/payments").await);
        let types: Vec<_> = list["data"].as_array().expect("rows").iter().map(|row| text(row, "type")).collect();
        assert_eq!(types, ["withdrawal", "deposit"], "{backend:?}: newest first");
        let found = get(&app, &format!("/api/payments?q={}", deposit.id())).await;
        let row = &found["data"][0];
        assert_eq!((text(row, "status"), text(row, "effect")), ("confirmed", "credited"));
        assert_eq!((text(row, "customer"), units(text(row, "amount"))), (deposit.user().as_str(), deposit.amount()));
        for (query, count) in [
            ("?type=deposit", 1),
            ("?type=deposit&status=confirmed", 1),
            ("?status=cancelled", 0),
            ("?merchant=main", 2),
            ("?q=nothing' OR 1=1 --", 0),
            ("?q=%25", 0),
        ] {
            let page = get(&app, &format!("/api/payments{query}")).await;
            assert_eq!(page["data"].as_array().map(Vec::len), Some(count), "{backend:?} {query}");
        }
        let detail = get(&app, &format!("/api/payments/{}", text(row, "id"))).await;
        let words = |field: &str, word: &str| -> Vec<String> {
            let rows = detail[field].as_array().expect("rows");
            rows.iter().map(|row| text(row, word).to_owned()).collect()
        };
        assert_eq!(words("callbacks", "status"), ["not_confirmed", "confirmed"]);
        assert_eq!(words("entries", "effect"), ["pending", "credited"]);
        assert_eq!(detail["entries"][1]["postings"][0]["credit"]["customer"], deposit.user().as_str());
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_found_by_each_reference_and_tells_accounts_and_references() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        send(&app, 0..2).await;
        for q in ["user-00", "player-00", "1"] {
            let page = get(&app, &format!("/api/customers?q={q}")).await;
            assert_eq!(page["data"][0]["name"], "user-00", "{backend:?} {q}");
            assert_eq!(page["data"].as_array().map(Vec::len), Some(1), "{backend:?} {q}");
        }
        for q in ["user", "user-0_", "%", "' OR ''='", "99999999999999999999", "\u{202e}user-00", "💶"] {
            let url = reqwest::Url::parse_with_params(&format!("{}/api/customers", app.admin), [("q", q)]);
            let url = url.expect("a URL");
            let page = get(&app, &url.as_str().replace(&app.admin, "")).await;
            assert_eq!(page["data"], json!([]), "{backend:?} {q}: only exactly a reference");
        }
        let detail = get(&app, "/api/customers/1").await;
        let references =
            json!([{"kind": "end_user_reference", "value": "user-00"}, {"kind": "foreign_id", "value": "player-00"}]);
        assert_eq!(detail["references"], references, "{backend:?}");
        let account = &detail["accounts"][0];
        assert_eq!((text(account, "kind"), text(account, "currency")), ("available", "BTC"));
        let postings = pages(&app, &format!("/api/accounts/{}/postings?", text(account, "id")), 1).await;
        let changes: i128 = postings.iter().map(|row| units(text(row, "change"))).sum();
        assert_eq!(changes, units(text(account, "balance")), "{backend:?}");
        assert_eq!(postings[0]["balance"], account["balance"], "{backend:?}: the newest says the balance");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_postings_run_up_to_its_balance() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        send(&app, 0..25).await;
        for account in app.rows("/api/accounts").await {
            for limit in [1, 2, 5, 1_000] {
                let path = format!("/api/accounts/{}/postings?", text(&account, "id"));
                let rows = pages(&app, &path, limit).await;
                let mut balance = 0_i128;
                for row in rows.iter().rev() {
                    balance = balance.checked_add(units(text(row, "change"))).expect("small enough");
                    assert_eq!(balance, units(text(row, "balance")), "{backend:?} {account}: {row}");
                }
                assert_eq!(balance, units(text(&account, "balance")), "{backend:?} {account}");
            }
        }
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_cut_by_currency_and_by_time() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        send(&app, 0..61).await;
        let all = pages(&app, "/api/customers/1/statement?", 100).await;
        let currencies: BTreeSet<_> = all.iter().map(|line| text(line, "currency")).collect();
        assert!(currencies.len() > 1, "the customer has several currencies");
        let mut parts = 0;
        for currency in currencies {
            let part = pages(&app, &format!("/api/customers/1/statement?currency={currency}&"), 100).await;
            assert!(part.iter().all(|line| line["currency"] == currency));
            parts += part.len();
        }
        assert_eq!(parts, all.len());
        // Every moment cuts the statement in two parts that are the whole.
        for line in &all {
            let at = text(line, "at");
            let since = pages(&app, &format!("/api/customers/1/statement?since={at}&"), 100).await;
            let until = pages(&app, &format!("/api/customers/1/statement?until={at}&"), 100).await;
            assert!(since.iter().all(|line| text(line, "at") >= at), "{backend:?}");
            assert_eq!([since, until].concat(), all, "{backend:?}");
        }
        let none = get(&app, "/api/customers/1/statement?currency=DOGE").await;
        assert_eq!(none, json!({"data": [], "next": null}));
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_as_csv_is_whole_and_harmless() {
    for backend in BOTH {
        let app = TestApp::start(backend).await;
        send(&app, 0..21).await;
        // A payment's id is the processor's text, and a spreadsheet would run this one.
        let evil = Deposit { number: 40 }.confirmed().replacen(r#""id":7000040"#, r#""id":"=HYPERLINK(\"x\")""#, 1);
        app.receive(&evil).await;
        let request = app.client.get(format!("{}/api/customers/1/statement?format=csv", app.admin));
        let answer = request.bearer_auth(VIEWER).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
        assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"statement-1.csv\"");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let csv = answer.text().await.expect("text");
        let lines: Vec<_> = csv.split("\r\n").filter(|line| !line.is_empty()).collect();
        let rows = pages(&app, "/api/customers/1/statement?", 100).await;
        assert_eq!(lines.len(), rows.len() + 1, "{backend:?}: all of it, and a head\n{csv}");
        assert!(lines[0].starts_with("at,event,kind,currency,change,balance,"), "{csv}");
        assert!(lines[1].contains(r#","'=HYPERLINK(""x"")","#), "{backend:?}: {csv}");
        let negotiated = app.client.get(format!("{}/api/customers/1/statement", app.admin)).bearer_auth(VIEWER);
        let negotiated = negotiated.header("Accept", "text/csv").send().await.expect("an answer");
        assert_eq!(negotiated.text().await.expect("text"), csv);
        let limited = app.client.get(format!("{}/api/customers/1/statement?format=csv&limit=1", app.admin));
        let limited = limited.bearer_auth(VIEWER).send().await.expect("an answer").text().await.expect("text");
        assert_eq!(limited.lines().count(), 2, "{limited}");
        app.finish().await;
    }
}

#[test]
fn no_cell_begins_like_a_formula_but_a_number() {
    for (cell, safe) in [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-0.5", "-0.5"),
        ("-1e5", "'-1e5"),
        ("0.5", "0.5"),
        ("BTC", "BTC"),
        ("", ""),
    ] {
        assert_eq!(harmless(cell), safe);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_question_about_the_books_is_told_what_is_allowed() {
    let app = TestApp::start(Backend::Sqlite).await;
    send(&app, 0..1).await;
    for (path, status, word) in [
        ("/api/payments/4711", 404, "payment 4711"),
        ("/api/payments/one", 404, "payment one"),
        ("/api/payments?type=gift", 400, "deposit"),
        ("/api/payments?status=done", 400, "confirmed"),
        ("/api/payments?limit=1001", 400, "from 1 to 1000"),
        ("/api/payments?after=x", 400, "after"),
        ("/api/payments?colour=red", 400, "merchant"),
        ("/api/payments?merchant=nobody", 400, "nobody"),
        ("/api/customers/4711", 404, "customer 4711"),
        ("/api/customers/-1", 404, "customer -1"),
        ("/api/customers/4711/statement", 404, "customer 4711"),
        ("/api/customers?limit=0", 400, "from 1 to 1000"),
        ("/api/customers?q=%00", 400, "NUL"),
        ("/api/customers/1/statement?after=7", 400, "next"),
        ("/api/customers/1/statement?since=soon", 400, "since"),
        ("/api/customers/1/statement?until=soon", 400, "until"),
        ("/api/customers/1/statement?format=xml", 400, "csv"),
        ("/api/customers/1/statement?limit=0&format=csv", 400, "from 1 to 1000"),
        ("/api/accounts/4711/postings", 404, "account 4711"),
        ("/api/accounts/1/postings?after=1.x", 400, "next"),
    ] {
        let answer = app.get(path, OPERATOR).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.json);
        assert!(text(&answer.json, "detail").contains(word), "{path}: {}", answer.json);
    }
    app.finish().await;
}
