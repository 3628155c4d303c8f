//! The dashboard's export against the ledger: every difference is found, told once, and what was only not heard of is
//! fetched and booked. Against the sandbox, on both databases.

use std::path::PathBuf;

use serde_json::{Value, json};
use tallyhook::domain::ids::MerchantId;
use tallyhook::outbound::exports::{self, Asked, Imported};
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::store::exports::{self as kept, Row};

use crate::support::deposits::Deposit;
use crate::support::process::{Deployment, Ended};
use crate::support::sandbox::{KEY, TestSandbox, amount, now_us};
use crate::support::{Backend, SECRET, TestApp, fresh_folder};

stories!(
    an_export_like_the_ledger_matches_and_opens_nothing,
    every_kind_of_difference_is_found_and_told_once,
    what_was_never_heard_of_is_fetched_and_booked,
    what_waits_here_is_not_asked_for,
    an_import_that_was_stopped_goes_on,
);

const MAIN: MerchantId = MerchantId(1);
const HEADER: &str =
    "id,foreign_id,type,status,currency,amount,fee,txid,address,end_user_reference,created_at,updated_at";
/// A time that both the file and the ledger know: payments of tests are heard of just now.
const FROM: &str = "2020-01-01 00:00:00";
const UNTIL: &str = "2099-01-01 00:00:00";

/// A row as the dashboard has it.
fn row(deposit: Deposit, status: &str) -> String {
    let body: Value = serde_json::from_str(&deposit.confirmed()).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fee = text(&body["fees"][0]["amount"]);
    let [foreign, address] = ["foreign_id", "address"].map(|name| text(&body["crypto_address"][name]));
    let (sum, currency) = (text(&body["currency_received"]["amount"]), deposit.currency());
    let txid = text(&body["transactions"][0]["txid"]);
    let (id, user) = (deposit.id(), deposit.user());
    let created = if deposit.number.is_multiple_of(2) { FROM } else { UNTIL };
    format!("{id},{foreign},deposit,{status},{currency},{sum},{fee},{txid},{address},{user},{created},{created}")
}

fn file(rows: &[String]) -> PathBuf {
    let path = fresh_folder().join("export.csv");
    std::fs::write(&path, format!("{HEADER}\n{}\n", rows.join("\n"))).expect("a file");
    path
}

async fn import(app: &TestApp, path: &std::path::Path, does_it: bool) -> Imported {
    let inner = &app.running.as_ref().expect("it runs").app;
    let asked = Asked { merchant: MAIN, path, by: "a test", does_it };
    exports::import(inner, asked, &|_, _, _| {}).await.expect("it is imported")
}

async fn rows_of(app: &TestApp, imported: &Imported) -> Vec<Row> {
    let inner = &app.running.as_ref().expect("it runs").app;
    kept::rows(&inner.db, imported.export.id, 0, None, 1_000).await.expect("the rows")
}

async fn open_of(app: &TestApp, imported: &Imported) -> u64 {
    let inner = &app.running.as_ref().expect("it runs").app;
    kept::open_rows(&inner.db, imported.export.id).await.expect("a count")
}

/// `id verdict state`, a line each.
fn lines(rows: &[Row]) -> String {
    let line = |row: &Row| format!("{} {} {}", row.ext_id, row.verdict.word(), row.state.word());
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn merchant() -> Merchant {
    Merchant::new(KEY, SECRET, "http://127.0.0.1:9/").with_balance("BTC", amount("10"))
}

/// An instance whose processor answers, and knows nothing of what tests make up.
async fn beside(backend: Backend) -> (TestApp, TestSandbox) {
    let sandbox = TestSandbox::with(Options::new(merchant(), now_us));
    let api = sandbox.sandbox.api();
    let settings =
        [("TALLYHOOK_ALPHAPO__BASE_URL", api.as_str()), ("TALLYHOOK_RECONCILE__CSV__ASKS_PER_MINUTE", "60000")];
    (TestApp::with(backend, &settings).await, sandbox)
}

async fn receive(app: &TestApp, numbers: std::ops::Range<u64>) -> Vec<Deposit> {
    let deposits: Vec<Deposit> = numbers.map(|number| Deposit { number }).collect();
    for deposit in &deposits {
        assert_eq!(app.receive(&deposit.announced()).await, 200);
        assert_eq!(app.receive(&deposit.confirmed()).await, 200);
    }
    deposits
}

async fn an_export_like_the_ledger_matches_and_opens_nothing(backend: Backend) {
    let (app, _sandbox) = beside(backend).await;
    let deposits = receive(&app, 0..30).await;
    let mut rows: Vec<String> = deposits.iter().map(|deposit| row(*deposit, "confirmed")).collect();
    rows.reverse();
    let path = file(&rows);
    for (does_it, is_known) in [(false, false), (true, false), (true, true)] {
        let imported = import(&app, &path, does_it).await;
        assert_eq!((imported.export.counts.matched, imported.export.rows, imported.export.payments), (30, 30, 30));
        assert_eq!((imported.export.counts.differences(), imported.rows.len()), (0, 0));
        assert_eq!((imported.is_known, imported.is_kept), (is_known, does_it));
    }
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

async fn every_kind_of_difference_is_found_and_told_once(backend: Backend) {
    let (app, _sandbox) = beside(backend).await;
    let deposits = receive(&app, 0..12).await;
    let mut rows: Vec<String> = deposits.iter().map(|deposit| row(*deposit, "confirmed")).collect();
    let replaced = |row: &str, column: usize, value: &str| {
        let mut cells: Vec<&str> = row.split(',').collect();
        cells[column] = value;
        cells.join(",")
    };
    rows[1] = replaced(&rows[1], 5, "9.5");
    rows[2] = replaced(&rows[2], 6, "0.09");
    rows[3] = replaced(&rows[3], 3, "cancelled");
    rows[4] = replaced(&rows[4], 0, "999000111");
    let gone = rows.remove(6);
    rows.push(row(Deposit { number: 500 }, "confirmed"));
    rows.push(rows[0].clone());
    rows.push(replaced(&rows[7], 5, "8.5"));
    drop(gone);
    let path = file(&rows);
    let dry = import(&app, &path, false).await;
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "without --yes nothing changes");
    let imported = import(&app, &path, true).await;
    assert_eq!((imported.unasked, imported.export.ended_us.is_some()), (0, true));
    assert_eq!(dry.export.counts, imported.export.counts);
    let counts = imported.export.counts;
    assert_eq!((counts.matched, counts.amounts, counts.fees, counts.statuses), (8, 1, 1, 1), "{counts:?}");
    assert_eq!((counts.missing_here, counts.missing_there, counts.duplicates), (1, 1, 2), "{counts:?}");
    let id = |number: u64| Deposit { number }.id();
    let expected = format!(
        "{} amount open\n{} fee open\n{} status open\n999000111 matched over\n{} missing_here open\n{} duplicate over\n\
         {} duplicate open\n{} missing_there open",
        id(1),
        id(2),
        id(3),
        id(500),
        id(0),
        id(8),
        id(6)
    );
    assert_eq!(lines(&rows_of(&app, &imported).await), expected);
    let mut reasons: Vec<String> =
        app.rows("/api/discrepancies").await.iter().map(|row| row["reason"].to_string()).collect();
    reasons.sort();
    let all = ["amount", "duplicate", "fee", "missing_here", "missing_there", "status"];
    assert_eq!(reasons, all.map(|word| format!("\"export_{word}\"")));
    assert_eq!(open_of(&app, &imported).await, 6);

    // The same differences in another file are the same discrepancies.
    rows.swap(0, 1);
    let again = import(&app, &file(&rows), true).await;
    assert!(!again.is_known && again.export.id != imported.export.id);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 6);
    assert_eq!(open_of(&app, &again).await, 6);
    let deployment = Deployment::on(&app.url);
    let name = path.display().to_string();
    let ended = deployment.run(&["reconcile", "import-csv", &name, "--output", "json"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("this file was imported on") && ended.stderr.contains("6 open"), "{}", ended.stderr);
    app.finish().await;
}

/// A deposit that the processor has, and that no callback told of.
async fn unheard(sandbox: &TestSandbox, sum: &str) -> (i64, String) {
    let address = sandbox.take("BTC", "player-1", "user-1").await;
    let id = sandbox.deposit(&address, sum, "instant");
    sandbox.until_idle().await;
    let told = sandbox.call("/transactions/info", &json!({"id": id}).to_string()).await.json;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (sum, fee) = (text(&told["currency_received"]["amount"]), text(&told["fees"][0]["amount"]));
    let txid = text(&told["transactions"][0]["txid"]);
    let place = text(&told["crypto_address"]["address"]);
    assert_eq!(told["status"], "confirmed", "{told}");
    (id, format!("{id},player-1,deposit,confirmed,BTC,{sum},{fee},{txid},{place},user-1,{FROM},{FROM}"))
}

async fn what_was_never_heard_of_is_fetched_and_booked(backend: Backend) {
    let (app, sandbox) = beside(backend).await;
    let (id, line) = unheard(&sandbox, "0.5").await;
    assert_eq!(app.ledger().await, "");
    let path = file(std::slice::from_ref(&line));
    assert_eq!(import(&app, &path, false).await.export.counts.missing_here, 1);
    assert_eq!(app.ledger().await, "", "without --yes nothing is asked");
    let imported = import(&app, &path, true).await;
    assert_eq!(lines(&rows_of(&app, &imported).await), format!("{id} missing_here over"));
    assert!(app.ledger().await.contains("available  user-1           BTC    0.5"), "{}", app.ledger().await);
    assert_eq!((app.rows("/api/discrepancies").await.len(), open_of(&app, &imported).await), (0, 0));
    let before = app.callbacks().await;
    let again = import(&app, &path, true).await;
    assert!(again.is_known);
    assert_eq!(app.callbacks().await, before, "nothing happens twice");

    // What is fetched may still not be what the export says.
    let (_, other) = unheard(&sandbox, "0.25").await;
    let other = other.replacen("0.25", "0.75", 1);
    let imported = import(&app, &file(&[other]), true).await;
    let rows = rows_of(&app, &imported).await;
    assert_eq!((rows[0].verdict.word(), rows[0].state.word()), ("amount", "open"));
    assert_eq!(app.rows("/api/discrepancies").await[0]["reason"], "export_amount");
    app.finish().await;
}

async fn what_waits_here_is_not_asked_for(backend: Backend) {
    let (app, _sandbox) = beside(backend).await;
    let deposit = Deposit { number: 1 };
    let with_error = deposit.confirmed().replace(r#""error":"""#, r#""error":"look at me""#);
    assert_eq!(app.receive(&with_error).await, 200);
    let hold = app.rows("/api/discrepancies").await[0]["id"].as_str().expect("an id").to_owned();
    let path = file(&[row(deposit, "confirmed")]);
    let imported = import(&app, &path, true).await;
    let rows = rows_of(&app, &imported).await;
    assert_eq!(lines(&rows), format!("{} missing_here open", deposit.id()));
    assert_eq!(rows[0].discrepancy.map(|id| id.to_string()), Some(hold.clone()));
    assert_eq!(app.rows("/api/discrepancies").await.len(), 1, "it is told already");
    let body = json!({"action": "book_anyway", "note": "asked AlphaPo"});
    let proposed = app.send_json(&format!("/api/discrepancies/{hold}/resolve"), crate::support::OPERATOR, &body).await;
    let proposal = proposed.json["id"].as_str().expect("a proposal").to_owned();
    let path_of = format!("/api/proposals/{proposal}/approve");
    assert_eq!(app.send_json(&path_of, crate::support::APPROVER, &json!({})).await.status, 200);
    assert_eq!(open_of(&app, &imported).await, 0);
    let again = import(&app, &path, true).await;
    assert_eq!(lines(&rows_of(&app, &again).await), format!("{} missing_here over", deposit.id()));
    app.finish().await;
}

async fn an_import_that_was_stopped_goes_on(backend: Backend) {
    let (app, sandbox) = beside(backend).await;
    let mut rows = Vec::new();
    for _ in 0..3 {
        rows.push(unheard(&sandbox, "0.5").await.1);
    }
    let path = file(&rows);
    let address = sandbox.sandbox.api();
    sandbox.sandbox.stop();
    let stopped = import(&app, &path, true).await;
    assert_eq!((stopped.unasked, stopped.export.ended_us), (3, None));
    assert!(stopped.trouble.is_some() && open_of(&app, &stopped).await == 3);
    let deployment = Deployment::on(&app.url).set("TALLYHOOK_ALPHAPO__BASE_URL", &address);
    let ended = deployment.run(&["reconcile", "import-csv", &path.display().to_string(), "--yes"]);
    assert_eq!(ended.code, Some(1), "a silent processor is a failure: {}", ended.stderr);
    let later = import(&app, &path, true).await;
    assert_eq!((later.is_known, later.export.id), (true, stopped.export.id));
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "silence says nothing about the payment");
    app.finish().await;
}

fn run(deployment: &Deployment, text: &str, more: &[&str]) -> Ended {
    let path = deployment.folder().join("other.csv");
    std::fs::write(&path, text).expect("a file");
    let name = path.display().to_string();
    deployment.run(&[&["reconcile", "import-csv", name.as_str()], more].concat())
}

#[test]
fn what_cannot_be_read_is_refused_with_its_lines() {
    let deployment = Deployment::on_sqlite().migrated();
    let good = row(Deposit { number: 1 }, "confirmed");
    for (text, told) in [
        (format!("{HEADER}\n{good}\n{}\n", good.replace(",BTC,", ",,").replace(",ETH,", ",,")), "line 3: `currency`"),
        (format!("{HEADER}\n{}\n", good.replacen("0.", "0.1.", 1)), "line 2: `amount`"),
        (format!("{HEADER}\n{}\n", good.replacen(UNTIL, "1st of May", 1)), "line 2: `created_at`"),
        (format!("{HEADER}\n{good},more\n"), "line 2: it has 13 fields, and the header 12"),
        (good.clone(), "it has no column `id`"),
        (format!("{HEADER}\n"), "has no rows"),
    ] {
        let ended = run(&deployment, &text, &[]);
        assert_eq!(ended.code, Some(2), "{told}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert_eq!(deployment.run(&["reconcile", "import-csv", "nowhere.csv"]).code, Some(2));
}

#[test]
fn other_columns_are_mapped_and_shown_before_anything_is_done() {
    let deployment = Deployment::on_sqlite()
        .set("TALLYHOOK_RECONCILE__CSV__COLUMNS__ID", "Transaction")
        .set("TALLYHOOK_RECONCILE__CSV__COLUMNS__CREATED_AT", "Date (UTC)")
        .set("TALLYHOOK_RECONCILE__CSV__DELIMITER", ";")
        .set("TALLYHOOK_RECONCILE__CSV__TIME_FORMAT", "[day].[month].[year] [hour]:[minute]");
    let text = "\u{feff}Date (UTC);Transaction;type;status;currency;amount;anything\r\n\
        01.02.2026 03:04;77;withdrawal;confirmed;BTC;-0.50000000;\"a;b\"\r\n\
        02.02.2026 03:04;78;withdrawal;confirmed;BTC;x;\r\n";
    let ended = run(&deployment, text, &["--preview", "--output", "json"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let shown: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(shown[0]["id"], "77");
    assert_eq!((&shown[0]["amount"], &shown[0]["created_at"]), (&json!("0.5"), &json!("2026-02-01T03:04:00.000000Z")));
    assert_eq!(shown[0]["fee"], Value::Null);
    assert!(ended.stderr.contains("line 3: `amount`") && ended.stderr.contains("`Date (UTC)`"), "{}", ended.stderr);
    let two = deployment.set("TALLYHOOK_RECONCILE__CSV__COLUMNS__TYPE", "Transaction");
    assert_eq!(run(&two, text, &["--preview"]).code, Some(2), "two of ours can't be one of theirs");
}
