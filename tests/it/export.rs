//! The ledger in other people's tools: hledger accepts the journal and comes to the same balances, the rows say the same.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tallyhook::booker::Incoming;
use tallyhook::cli::serve::Part;
use tallyhook::domain::ids::MerchantId;

use crate::support::deposits::Deposit;
use crate::support::process::Deployment;
use crate::support::{Backend, TestApp};

/// Runs hledger on a journal; a missing hledger is a failure.
fn hledger(journal: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("hledger");
    command.args(["-f", "-"]).args(arguments).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("hledger is installed: tests/run.sh installs it");
    child.stdin.take().expect("an input").write_all(journal.as_bytes()).expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    let start: String = journal.chars().take(4_000).collect();
    assert!(ended.status.success(), "hledger {arguments:?}: {told}\n{start}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// Balances by account and currency, without zeros behind the point.
fn of_hledger(journal: &str) -> BTreeMap<String, String> {
    let csv = hledger(journal, &["balance", "--flat", "-O", "csv", "--layout", "bare"]);
    let rows = csv.lines().skip(1).filter_map(|line| {
        let cells: Vec<_> = line.split(',').map(|cell| cell.trim_matches('"')).collect();
        let [account, currency, amount] = cells[..] else { panic!("not three cells: {line}") };
        let amount = if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.') } else { amount };
        (account != "total" && account != "Total:").then(|| (format!("{account} {currency}"), amount.to_owned()))
    });
    rows.collect()
}

/// The same from the program's own list.
fn of_ledger(balances: &[Value]) -> BTreeMap<String, String> {
    let mut customers = BTreeMap::new();
    let rows = balances.iter().filter(|row| row["balance"] != "0").map(|row| {
        let kind = row["kind"].as_str().expect("a kind");
        let amount = row["balance"].as_str().expect("an amount").to_owned();
        let amount = match (matches!(kind, "processor" | "fees"), amount.strip_prefix('-')) {
            (true, _) => amount,
            (false, Some(positive)) => positive.to_owned(),
            (false, None) => format!("-{amount}"),
        };
        let mut account = format!("{}:{kind}", row["merchant"].as_str().expect("a merchant"));
        if let Some(customer) = row["customer"].as_str() {
            let next = customers.len().saturating_add(1);
            let number = customers.entry(customer.to_owned()).or_insert(next);
            account = format!("{account}:{number}");
        }
        (format!("{account} {}", row["currency"].as_str().expect("a currency")), amount)
    });
    rows.collect()
}

fn body(id: u32, kind: &str, user: &str, amount: &str, net: &str) -> String {
    let way = if kind == "deposit" { "currency_received" } else { "currency_sent" };
    let mut money = json!({"currency": "BTC", "amount": amount});
    if kind == "deposit" {
        money["amount_minus_fee"] = json!(net);
    }
    json!({"id": id, "end_user_reference": user, "type": kind, way: money, "transactions": [],
        "fees": [{"type": "fee", "currency": "ETH", "amount": "0.000000000000000001"}], "error": "", "status": "confirmed"})
    .to_string()
}

async fn exported(backend: Backend) {
    let app = TestApp::start(backend).await;
    let hostile = "ada; x:y  z\u{e9}\n    evil:account  5 \"BTC\"";
    for (id, kind, user, amount, net) in [
        (1, "deposit", hostile, "0.500000000000000001", "0.49"),
        (2, "deposit", "bob", "12345678901234567890.5", "12345678901234567890.25"),
        (3, "withdrawal", "bob", "45.00000001", ""),
    ] {
        assert_eq!(app.receive(&body(id, kind, user, amount, net)).await, 200);
    }
    let nobody = body(4, "deposit", "bob", "3", "2").replace(r#""end_user_reference":"bob","#, "");
    assert_eq!(app.receive(&nobody).await, 200);

    let deployment = Deployment::on(&app.url);
    let export = |arguments: &[&str]| {
        let ended = deployment.run(&[&["ledger", "export"], arguments].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let journal = export(&[]);
    hledger(&journal, &["check", "--strict", "ordereddates"]);
    assert_eq!(of_hledger(&journal), of_ledger(&app.rows("/api/balances").await));
    let tagged = hledger(&journal, &["print", "tag:payment=withdrawal/3"]);
    assert!(tagged.contains("withdrawal.settled") && !tagged.contains("deposit.credited"), "{tagged}");

    let rows = export(&["--format", "json"]);
    assert!(export(&["--format", "csv"]).starts_with("position,time,merchant,event,debit,"));
    let first: Value = serde_json::from_str(rows.lines().next().expect("a row")).expect("JSON");
    assert_eq!(
        (&first["debit"], &first["credit"], &first["amount"]),
        (&json!("processor"), &json!("available"), &json!("0.49"))
    );
    assert_eq!((&first["credit_customer"], &first["payment"]), (&json!(hostile), &json!("deposit/1")));

    let days = export(&["--daily", "--format", "json"]);
    let day: Value =
        serde_json::from_str(days.lines().find(|line| line.contains("\"BTC\"")).expect("a day")).expect("JSON");
    let shown =
        ["opening", "credits", "suspense", "withdrawals", "closing"].map(|column| day[column].as_str().expect("a sum"));
    assert_eq!(shown, ["0", "12345678901234567890.74", "2", "-45.00000001", "12345678901234567847.73999999"]);
    assert_eq!(deployment.run(&["ledger", "export", "--format", "pdf"]).code, Some(2));
    app.finish().await;
}

/// Books so many callbacks in this process: half of them announce what the other half confirms.
async fn book(app: &TestApp, callbacks: u64) {
    use futures_util::StreamExt as _;
    let booker = &app.running.as_ref().expect("it runs").app.booker;
    let payments = (0..callbacks.div_ceil(2)).map(|number| Deposit { number });
    let bodies = payments.flat_map(|deposit| [deposit.announced(), deposit.confirmed()]);
    let booked = bodies.take(usize::try_from(callbacks).expect("small")).map(|body| {
        // What no signature is asked of: it is not sent over the wire.
        let incoming = Incoming::new(MerchantId(1), [0; 64], "{}".to_owned(), body.into_bytes(), 1_700_000_000_000_000);
        async move { booker.receive(incoming).await.expect("it is booked") }
    });
    let mut booked = futures_util::stream::iter(booked).buffered(2_048);
    while let Some(receipt) = booked.next().await {
        assert!(!receipt.is_duplicate);
    }
}

/// As many as `TALLYHOOK_TEST_CALLBACKS` says.
#[tokio::test(flavor = "multi_thread")]
async fn hledger_accepts_the_export_of_a_hundred_thousand_callbacks() {
    let callbacks = std::env::var("TALLYHOOK_TEST_CALLBACKS").map_or(100_000, |text| text.parse().expect("a number"));
    let app = TestApp::start_as(Backend::Sqlite, Part::Receive).await;
    book(&app, callbacks).await;
    let ended = Deployment::on(&app.url).run(&["ledger", "export"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let credited = ended.stdout.matches("deposit.credited").count();
    assert_eq!(u64::try_from(credited).expect("small"), callbacks / 2);
    hledger(&ended.stdout, &["check", "--strict", "ordereddates"]);
    assert_eq!(of_hledger(&ended.stdout), of_ledger(&app.rows("/api/balances").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn hledger_accepts_the_export_and_comes_to_the_same_balances() {
    exported(Backend::Postgres).await;
    exported(Backend::Sqlite).await;
}
