//! Claims about `discrepancies` on the command line: the same lists, the same actions and the same refusals as the admin
//! API, with exit codes that scripts can go by.

use serde_json::{Value, json};

use crate::resolution::deposit;
use crate::support::process::{Deployment, Ended, Server};
use crate::support::{OPERATOR, VIEWER, client};

const APPROVING: &str = "approver-token-of-the-command-line";

/// A deployment that runs, with half a bitcoin of Ada's, a tenth in suspense, and a twin that is held.
async fn with_open_ones(alone: &str) -> (Deployment, Server) {
    let one = Deployment::on_sqlite()
        .set("TALLYHOOK_ADMIN__ALONE", alone)
        .set("TALLYHOOK_TOKENS__BOSS__SECRET", APPROVING)
        .set("TALLYHOOK_TOKENS__BOSS__ROLE", "approver")
        .set("TALLYHOOK_TOKENS__VIEW__SECRET", VIEWER)
        .set("TALLYHOOK_TOKENS__VIEW__ROLE", "viewer")
        .migrated();
    let server = one.serve().await;
    let url = format!("http://{}", one.public);
    for (id, user, amount, txid) in
        [(71, Some("ada"), "0.5", "tx-1"), (72, None, "0.1", "tx-2"), (73, Some("ada"), "0.5", "tx-1")]
    {
        let path = one.folder().join(format!("{id}.json"));
        std::fs::write(&path, deposit(id, user, amount, txid)).expect("a body");
        let sent = one.run(&["send", "--url", &url, "--merchant", "main", &path.display().to_string()]);
        assert_eq!(sent.code, Some(0), "{}{}", sent.stdout, sent.stderr);
    }
    (one, server)
}

fn rows(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

fn open(one: &Deployment) -> Vec<Value> {
    rows(&one.run(&["discrepancies", "list", "--output", "json"]))
}

fn id(rows: &[Value], kind: &str) -> String {
    let row = rows.iter().find(|row| row["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {rows:?}"));
    row["id"].as_str().expect("an id").to_owned()
}

async fn api(one: &Deployment, path: &str) -> Value {
    let answer = client().get(format!("http://{}{path}", one.admin)).bearer_auth(OPERATOR).send().await;
    serde_json::from_str(&answer.expect("an answer").text().await.expect("text")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_details_are_those_of_the_api() {
    let (one, server) = with_open_ones("").await;
    let listed = open(&one);
    assert_eq!(json!(listed), api(&one, "/api/discrepancies").await["data"]);
    assert_eq!(listed.len(), 2);
    let run = |more: &[&str]| rows(&one.run(&[&["discrepancies", "list", "--output", "json"], more].concat()));
    assert_eq!(run(&["--limit", "1"]), listed[..1]);
    assert_eq!(run(&["--reason", "customer_missing"]).len(), 1);
    assert_eq!(run(&["--since", "1h"]).len(), 2);
    assert_eq!(run(&["--until", "1h"]).len(), 0);
    assert_eq!(run(&["--state", "resolved"]).len(), 0);
    assert_eq!(run(&["--owner", "nobody"]).len(), 0);
    let table = one.run(&["discrepancies", "list"]).stdout;
    assert!(table.starts_with("ID ") && table.contains("possible_duplicate"), "{table}");
    let csv = one.run(&["discrepancies", "list", "--output", "csv"]).stdout;
    assert!(csv.starts_with("id,opened_at,merchant,kind,reason,"), "{csv}");
    for wrong in [["--state", "shut"], ["--reason", "none"], ["--since", "soon"], ["--merchant", "nobody"]] {
        assert_eq!(one.run(&[&["discrepancies", "list"][..], &wrong].concat()).code, Some(2), "{wrong:?}");
    }
    let id = id(&listed, "suspense");
    let shown = one.run(&["discrepancies", "show", &id, "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown, api(&one, &format!("/api/discrepancies/{id}")).await);
    assert_eq!(one.run(&["discrepancies", "show", "4711"]).code, Some(3));
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_money_waits_for_an_approver_of_another_name() {
    let (one, server) = with_open_ones("").await;
    let (suspense, held) = (id(&open(&one), "suspense"), id(&open(&one), "held"));
    let resolve = |more: &[&str]| one.run(&[&["discrepancies", "resolve"], more].concat());
    for (more, code) in [
        (vec![suspense.as_str(), "assign", "--note", "hers", "--by", "boss"], 2),
        (vec![suspense.as_str(), "assign", "--end-user-reference", "ada", "--by", "boss"], 2),
        (vec![suspense.as_str(), "burn", "--note", "x", "--by", "boss"], 2),
        (vec![held.as_str(), "link", "--payment", "deposit", "--note", "x", "--by", "boss"], 2),
        (vec![held.as_str(), "ignore", "--note", "x", "--by", "x"], 2),
        (vec![held.as_str(), "ignore", "--note", "x", "--by", "view"], 2),
        (vec!["4711", "ignore", "--note", "x", "--by", "boss"], 3),
        (vec![suspense.as_str(), "ignore", "--note", "x", "--by", "boss"], 4),
        (vec![held.as_str(), "link", "--payment", "deposit/1", "--note", "x", "--by", "boss"], 4),
    ] {
        let ended = resolve(&more);
        assert_eq!(ended.code, Some(code), "{more:?}: {}{}", ended.stdout, ended.stderr);
    }
    let assign = [&suspense, "assign", "--end-user-reference", "ada", "--note", "ticket 7", "--by", "boss"];
    let proposed = resolve(&assign);
    assert_eq!(proposed.code, Some(0), "{}", proposed.stderr);
    assert!(proposed.stdout.contains("waits for an approver other than boss"), "{}", proposed.stdout);
    assert_eq!(resolve(&assign).code, Some(4), "another proposal is open");
    let approve = format!("http://{}/api/proposals/1/approve", one.admin);
    let own = client().post(approve).bearer_auth(APPROVING).send().await.expect("an answer");
    assert_eq!(own.status(), 403, "whoever asked can't be the one who lets it pass");
    let log = api(&one, "/api/audit?action=discrepancy.resolve").await;
    assert_eq!((&log["data"][0]["who"], &log["data"][0]["role"]), (&json!("boss"), &json!("command")), "{log}");
    assert_eq!(server.terminate().await, Some(0));
    one.assert_ledger_verifies();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_may_do_alone_is_done_at_once() {
    let (one, server) = with_open_ones("BTC=1").await;
    let (suspense, held) = (id(&open(&one), "suspense"), id(&open(&one), "held"));
    let balance = async || {
        let rows = api(&one, "/api/balances?customer=ada").await;
        rows["data"][0]["balance"].as_str().expect("a balance").to_owned()
    };
    assert_eq!(balance().await, "0.5");
    let done = one.run(&[
        "discrepancies",
        "resolve",
        &suspense,
        "assign",
        "--end-user-reference",
        "ada",
        "--note",
        "hers",
        "--by",
        "ops",
        "--output",
        "json",
    ]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let row: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert!(row["resolved_at"].is_string(), "{row}");
    assert_eq!(balance().await, "0.6");
    let ignored = one.run(&["discrepancies", "resolve", &held, "ignore", "--note", "sent twice", "--by", "ops"]);
    assert_eq!(ignored.code, Some(0), "{}", ignored.stderr);
    assert_eq!((balance().await.as_str(), open(&one).len()), ("0.6", 0));
    let again = one.run(&["discrepancies", "resolve", &held, "ignore", "--note", "again", "--by", "ops"]);
    assert_eq!(again.code, Some(4), "{}", again.stderr);
    assert_eq!(server.terminate().await, Some(0));
    one.assert_ledger_verifies();
}
