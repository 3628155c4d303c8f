//! Claims about the page in a real browser, with JavaScript and without: what an operator comes for works, every page
//! passes axe in light and dark, the console stays silent, nobody else is asked for anything, and nothing that came from
//! outside becomes more than text.

use serde_json::{Value, json};

use crate::page::wait_long;
use crate::resolution::{AFTER, BEFORE, SECOND, deposit, with_suspense};
use crate::support::browser::{Chrome, PATIENCE};
use crate::support::gateway::{Client, ask, deposit as credit, foreign_ids, processor, start};
use crate::support::process::eventually;
use crate::support::servers::fresh_vhost;
use crate::support::upstream::Upstream;
use crate::support::{APPROVER, Backend, OPERATOR, TestApp, VIEWER};
use crate::wire::fixture;

const DEPOSIT: &str = "deposit-confirmed-btc";
const WITHDRAWAL: &str = "withdrawal-confirmed-btc";
/// Every page that the navigation leads to, and one below each that has any.
const PAGES: &[&str] = &[
    "/",
    "/callbacks",
    "/callbacks/1",
    "/callbacks?state=nonsense",
    "/payments",
    "/payments/1",
    "/customers",
    "/customers/1",
    "/withdrawals",
    "/addresses",
    "/held",
    "/held?state=all",
    "/held/4711",
    "/proposals",
    "/proposals?state=all",
    "/addresses/retire",
    "/reconciliation",
    "/events",
    "/replays",
    "/replays/1",
    "/rejected",
    "/audit",
    "/nothing",
];
const HOSTILE: [&str; 5] = [
    "<script>document.title='taken'</script>",
    "\"><img src=x onerror=document.title='taken'>",
    "'-document.title='taken'-'",
    "</title></textarea></pre><svg onload=document.title='taken'>",
    "name\r\nSet-Cookie: taken=1\r\n\r\n<b>",
];

async fn login(chrome: &Chrome, app: &TestApp, path: &str, token: &str) {
    chrome.go(&format!("{}{path}", app.admin)).await;
    chrome.fill("Token", token).await;
    chrome.press("Log in").await;
    chrome.sees("Log out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_a_held_callback_and_replays_it_with_and_without_javascript() {
    for has_javascript in [true, false] {
        let app = TestApp::start(Backend::Sqlite).await;
        // Held: nobody knows the customer. The deposit that comes later opens them, so deciding anew books it.
        app.receive(&fixture(WITHDRAWAL)).await;
        app.receive(&fixture(DEPOSIT).replace("player-7002", "player-7207")).await;
        let chrome = Chrome::start(has_javascript).await;
        login(&chrome, &app, "/callbacks", OPERATOR).await;
        assert!(chrome.url().await.ends_with("/callbacks"), "where it was going: {}", chrome.url().await);
        chrome.fill("Search", "payout:7207").await;
        chrome.press_away("Search").await;
        chrome.click("//td/a[text()='1']").await;
        chrome.sees("unknown customer").await;
        chrome.sees("Signed by AlphaPo over exactly these bytes").await;

        chrome.press("Replay…").await;
        chrome.sees("becomes").await;
        chrome.sees("-0.044").await;
        let state = app.get("/api/callbacks/1", VIEWER).await.json["state"].clone();
        assert_eq!(state, "held", "so far it was only shown");
        chrome.press("Do this").await;
        chrome.sees("decided anew").await;
        chrome.sees("withdrawal/").await;
        let state = app.get("/api/callbacks/1", VIEWER).await.json["state"].clone();
        assert_eq!(state, "booked", "JavaScript: {has_javascript}");
        chrome.press("Replay…").await;
        chrome.sees("Nothing. It stays").await;
        assert!(!chrome.has("//button[normalize-space()='Do this']").await, "there is nothing to do");
        chrome.assert_quiet(&app.admin).await;
        chrome.press("Log out").await;
        chrome.sees("Log in").await;
        chrome.end().await;
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_told_so_and_then_to_wait() {
    let app = TestApp::start(Backend::Sqlite).await;
    let chrome = Chrome::start(false).await;
    chrome.go(&app.admin).await;
    for _ in 0..5 {
        chrome.fill("Token", "not-a-token-of-ours").await;
        chrome.press_away("Log in").await;
        chrome.sees("not one of our tokens").await;
    }
    wait_long(&app).await;
    chrome.fill("Token", VIEWER).await;
    chrome.press("Log in").await;
    chrome.sees("Too many wrong tokens. Please try again in").await;
    chrome.end().await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finance_finds_a_deposit_by_its_amount_and_its_customers_statement() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.receive(&fixture(DEPOSIT)).await;
    let line = app.rows("/api/customers/1/statement").await.remove(0);
    let balance = line["balance"].as_str().expect("an amount");
    let chrome = Chrome::start(false).await;
    login(&chrome, &app, "/callbacks", VIEWER).await;
    chrome.fill("Search", "0.0311").await;
    chrome.press_away("Search").await;
    chrome.sees("No callback fits").await;
    chrome.fill("Search", "0.0310").await;
    chrome.press_away("Search").await;
    chrome.sees("player-7002").await;

    chrome.click("//nav//a[normalize-space()='Customers']").await;
    chrome.click("//td/a[text()='player-7002']").await;
    chrome.sees("Statement").await;
    chrome.sees(balance).await;
    chrome.end().await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_taken_along_as_csv_with_and_without_javascript() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.receive(&fixture(DEPOSIT)).await;
    let line = app.rows("/api/customers/1/statement").await.remove(0);
    for has_javascript in [true, false] {
        let chrome = Chrome::start(has_javascript).await;
        login(&chrome, &app, "/customers/1", VIEWER).await;
        chrome.click("//a[text()='CSV']").await;
        let text = chrome.downloaded("statement-1.csv").await;
        let mut lines = text.lines();
        let columns: Vec<_> = lines.next().expect("a head").split(',').collect();
        let values: Vec<_> = lines.next().expect("a line").split(',').collect();
        assert!(lines.next().is_none(), "one line: {text}");
        for name in ["change", "balance", "currency"] {
            let at = columns.iter().position(|column| *column == name).unwrap_or_else(|| panic!("{name} in {text}"));
            assert_eq!(json!(values[at]), line[name], "{name}, JavaScript: {has_javascript}");
        }
        chrome.assert_quiet(&app.admin).await;
        chrome.end().await;
    }
    app.finish().await;
}

/// Asks for the money in suspense to be Ada's.
async fn propose(chrome: &Chrome) {
    chrome.click("//nav//a[starts-with(normalize-space(), 'Held')]").await;
    chrome.click("//td/a[starts-with(@href, '/held/')]").await;
    chrome.sees("names no customer at all").await;
    chrome.fill("Customer", "ada").await;
    chrome.fill("Why", "ticket 7").await;
    chrome.press("Assign").await;
    chrome.sees("nothing has moved").await;
}

async fn leave(chrome: &Chrome) {
    chrome.press("Log out").await;
    chrome.sees("Log in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_assign_a_suspense_deposit_with_and_without_javascript() {
    const APPROVE: &str = "//button[starts-with(normalize-space(), 'Approve')]";
    for has_javascript in [true, false] {
        let (app, id) = with_suspense(Backend::Sqlite, &[]).await;
        let chrome = Chrome::start(has_javascript).await;
        // Who may approve asks: it is not theirs to approve, whatever they send.
        login(&chrome, &app, "/", APPROVER).await;
        propose(&chrome).await;
        chrome.sees("You asked for this").await;
        assert!(!chrome.has(APPROVE).await, "nobody approves their own");
        if has_javascript {
            let script = "const form = document.querySelector('form[action=\"/proposals/1/refuse\"]');
                form.action = '/proposals/1/approve'; form.querySelector('button').click()";
            chrome.run(script).await;
            chrome.sees("be the one who lets it pass").await;
            let said = eventually("the console says so", PATIENCE, async || {
                Some(chrome.said().await).filter(|said| !said.is_empty())
            })
            .await;
            assert!(said.iter().all(|line| line.contains("status of 403")), "{said:?}");
        }
        assert_eq!(app.ledger().await, BEFORE);
        chrome.go(&format!("{}/proposals", app.admin)).await;
        chrome.press("Take proposal 1 back").await;
        chrome.sees("The proposal is refused").await;
        leave(&chrome).await;

        login(&chrome, &app, "/", OPERATOR).await;
        propose(&chrome).await;
        chrome.sees("You asked for this").await;
        assert!(!chrome.has(APPROVE).await, "an operator lets nothing pass");
        assert_eq!(app.ledger().await, BEFORE);
        leave(&chrome).await;

        login(&chrome, &app, "/", SECOND).await;
        chrome.click("//nav//a[normalize-space()='Proposals']").await;
        chrome.sees("Assign to end user ada").await;
        chrome.press("Approve proposal 2").await;
        chrome.sees("Done. What came of it is below").await;
        assert_eq!(app.ledger().await, AFTER, "JavaScript: {has_javascript}");
        chrome.click("//nav//a[starts-with(normalize-space(), 'Held')]").await;
        chrome.sees("Nothing to look at").await;
        chrome.go(&format!("{}/audit", app.admin)).await;
        chrome.sees("proposal.approve").await;
        chrome.go(&format!("{}/held/{id}", app.admin)).await;
        chrome.sees("ticket 7").await;
        chrome.assert_quiet(&app.admin).await;
        chrome.end().await;
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_published_again_with_and_without_javascript() {
    for has_javascript in [true, false] {
        let amqp = fresh_vhost();
        let app = TestApp::with(Backend::Sqlite, &[("AMQP_URL", &amqp)]).await;
        app.receive(&fixture(DEPOSIT)).await;
        let chrome = Chrome::start(has_javascript).await;
        login(&chrome, &app, "/events", OPERATOR).await;
        chrome.fill("From sequence", "1").await;
        chrome.fill("Why", "the consumer lost it").await;
        chrome.press("Publish again…").await;
        chrome.sees("Event 1 would be published again").await;
        assert_eq!(app.rows("/api/events/redeliveries").await.len(), 0, "so far it was only shown");
        chrome.press("Do this").await;
        chrome.sees("It is asked for").await;
        chrome.sees("the consumer lost it").await;
        assert_eq!(app.rows("/api/events/redeliveries").await.len(), 1);
        chrome.assert_quiet(&app.admin).await;
        leave(&chrome).await;
        login(&chrome, &app, "/events", VIEWER).await;
        chrome.sees("the consumer lost it").await;
        assert!(!chrome.has("//button[normalize-space()='Publish again…']").await, "a viewer asks for nothing");
        chrome.end().await;
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_the_tail_follows_by_itself() {
    let app = TestApp::start(Backend::Sqlite).await;
    let chrome = Chrome::start(true).await;
    login(&chrome, &app, "/", VIEWER).await;
    chrome.sees("No callback has come yet").await;
    app.receive(&fixture(DEPOSIT)).await;
    chrome.sees("player-7002").await;
    eventually("the charts are drawn", PATIENCE, async || chrome.has("//canvas").await.then_some(())).await;
    chrome.assert_quiet(&app.admin).await;
    chrome.click("//td/a[text()='1']").await;
    chrome.sees("Timeline").await;
    assert!(!chrome.has("//button[normalize-space()='Replay…']").await, "a viewer decides nothing");
    chrome.end().await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_passes_axe_in_light_and_dark_on_a_desk_and_a_phone() {
    let (amqp, processor) = (fresh_vhost(), processor().await);
    let (app, shop) = start(Backend::Sqlite, &processor, &[("AMQP_URL", &amqp)]).await;
    app.receive(&fixture(DEPOSIT)).await;
    app.receive(&fixture(WITHDRAWAL)).await;
    app.receive(&deposit(7_000_002, None, "0.1", "tx-2")).await;
    app.post("key-main", &"0".repeat(128), b"{}").await;
    let held = something_everywhere(&app, &shop, &processor).await;
    let chrome = Chrome::start(true).await;
    chrome.go(&app.admin).await;
    let mut faults = chrome.faults("login").await;
    chrome.run("document.body.append(document.createElement('button'))").await;
    assert!(!chrome.faults("a button without a name").await.is_empty(), "what is wrong is found");
    login(&chrome, &app, "/", OPERATOR).await;
    for (scheme, width) in [("light", 1280), ("dark", 400)] {
        chrome.prefer(scheme, width).await;
        for path in PAGES {
            chrome.go(&format!("{}{path}", app.admin)).await;
            faults.extend(chrome.faults(&format!("{path}, {scheme}")).await);
        }
        chrome.go(&format!("{}/callbacks/2", app.admin)).await;
        chrome.press("Replay…").await;
        chrome.sees("rolled back").await;
        faults.extend(chrome.faults(&format!("a replay, {scheme}")).await);
        for path in &held {
            chrome.go(&format!("{}{path}", app.admin)).await;
            chrome.run("document.querySelectorAll('details').forEach(one => { one.open = true })").await;
            faults.extend(chrome.faults(&format!("{path}, {scheme}")).await);
        }
        chrome.go(&format!("{}/events", app.admin)).await;
        chrome.fill("From sequence", "1").await;
        chrome.fill("Why", "to see").await;
        chrome.press("Publish again…").await;
        chrome.sees("would be published again").await;
        faults.extend(chrome.faults(&format!("publish again, {scheme}")).await);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let said = chrome.said().await;
    assert!(said.iter().all(|line| line.contains("status of 404")), "pages that there are say nothing: {said:?}");
    chrome.assert_quiet(&app.admin).await;
    chrome.end().await;
    app.finish().await;
}

/// An address, a withdrawal, a proposal, a replay and a redelivery, so that no list is empty; and the discrepancies' pages.
async fn something_everywhere(app: &TestApp, shop: &Client, processor: &Upstream) -> Vec<String> {
    let with = |more: Value| {
        let mut body = ask("USDT", "ETH");
        body["user_identifier"] = json!("user_1");
        more.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    assert_eq!(shop.post("/v1/deposit-addresses", &with(json!({}))).await.status, 200);
    let foreign_id = foreign_ids(processor)[0].clone();
    app.receive(&credit(1, &foreign_id, "user_1", "confirmed", "100")).await;
    let asked = json!({"amount": "60", "to_address": "0x52908400098527886e0f7030069857d2e4169ee7"});
    assert_eq!(shop.post("/v1/withdrawals", &with(asked)).await.status, 200);
    let rows = app.rows("/api/discrepancies").await;
    let suspense = rows.iter().find(|row| row["kind"] == "suspense").expect("money in suspense");
    let path = format!("/api/discrepancies/{}/resolve", suspense["id"].as_str().expect("an id"));
    let body = json!({"action": "assign", "customer": {"end_user_reference": "player-7002"}, "note": "theirs"});
    assert_eq!(app.send_json(&path, APPROVER, &body).await.status, 202);
    assert_eq!(app.send_json("/api/replays", OPERATOR, &json!({"reason": "to see"})).await.status, 201);
    let body = json!({"from": "1", "reason": "to see", "dry_run": false});
    assert_eq!(app.send_json("/api/events/redeliver", OPERATOR, &body).await.status, 202);
    rows.iter().map(|row| format!("/held/{}", row["id"].as_str().expect("an id"))).collect()
}

/// A deposit with the same text in every field that takes one.
fn deposit_of(id: u64, text: &str) -> String {
    let mut body: Value = serde_json::from_str(&fixture(DEPOSIT)).expect("a fixture is JSON");
    body["id"] = json!(id);
    for field in ["end_user_reference", "error", "status", "type"] {
        body[field] = json!(text);
    }
    for field in ["address", "foreign_id", "tag", "currency"] {
        body["crypto_address"][field] = json!(text);
    }
    for field in ["address", "txid", "currency", "transaction_type"] {
        body["transactions"][0][field] = json!(text);
    }
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_callback_says_is_shown_as_text_and_never_obeyed() {
    let app = TestApp::start(Backend::Sqlite).await;
    for (text, id) in HOSTILE.iter().zip(9_000_u64..) {
        app.receive(&deposit_of(id, text)).await;
        // The same as a credited deposit, so that its customer gets into the journal and the events.
        let known = fixture(DEPOSIT).replace("48120148", &(id + 500).to_string());
        let mut known: Value = serde_json::from_str(&known).expect("a fixture is JSON");
        known["end_user_reference"] = json!(text);
        known["crypto_address"]["foreign_id"] = json!(format!("{text} {id}"));
        known["transactions"][0]["txid"] = json!(format!("{text} {id}"));
        app.receive(&known.to_string()).await;
    }
    let chrome = Chrome::start(true).await;
    login(&chrome, &app, "/", OPERATOR).await;
    let rows = app.rows("/api/callbacks").await;
    let ones = rows.iter().map(|row| format!("/callbacks/{}", row["id"].as_str().unwrap_or_default()));
    let paths: Vec<String> = ["/", "/callbacks", "/events"].map(str::to_owned).into_iter().chain(ones).collect();
    for path in paths {
        chrome.go(&format!("{}{path}", app.admin)).await;
        let made =
            chrome.run("return document.querySelectorAll('main script, main img, main svg, main b').length").await;
        assert_eq!(made, json!(0), "{path}: nothing became an element");
        let title = chrome.run("return document.title").await;
        assert!(title.as_str().is_some_and(|title| title.ends_with("Tallyhook")), "{path}: {title}");
        let text = chrome.text().await;
        assert!(text.contains("taken"), "{path} shows it as text: {text}");
    }
    for text in HOSTILE {
        chrome.go(&format!("{}/callbacks", app.admin)).await;
        chrome.fill("Search", text.lines().next().unwrap_or_default()).await;
        chrome.press_away("Search").await;
        let made =
            chrome.run("return document.querySelectorAll('main script, main img, main svg, main b').length").await;
        assert_eq!(made, json!(0), "a search for {text}");
    }
    chrome.assert_quiet(&app.admin).await;
    chrome.end().await;
    app.finish().await;
}
