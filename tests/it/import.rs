//! Claims about taking callbacks and customers out and in again, about statements on the command line, and about
//! forgetting old bodies: nothing unsigned gets in, nothing is booked twice, and what is forgotten is only the bytes.

use std::fs;

use serde_json::Value;

use crate::support::deposits::{Deposit, signature};
use crate::support::process::{Deployment, KEY};
use crate::support::servers;

async fn send(one: &Deployment, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let body = Deposit { number }.confirmed();
        let request = one.client.post(format!("http://{}/callbacks/alphapo", one.public));
        let request =
            request.header("X-Processing-Key", KEY).header("X-Processing-Signature", signature(body.as_bytes()));
        assert_eq!(request.body(body).send().await.expect("it answers").status(), 200);
    }
}

fn balances(one: &Deployment) -> String {
    let ended = one.run(&["ledger", "balances", "--output", "ndjson"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_imported_elsewhere_is_the_same_ledger_once() {
    let one = Deployment::on_sqlite().migrated();
    let server = one.serve().await;
    send(&one, 0..12).await;
    let exported = one.run(&["callbacks", "export"]);
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    assert_eq!(exported.stdout.lines().count(), 12);
    for other in [Deployment::on_sqlite().migrated(), Deployment::on(&servers::fresh_database().await).migrated()] {
        let file = other.folder().join("callbacks.ndjson");
        fs::write(&file, &exported.stdout).expect("a file");
        let name = file.display().to_string();
        for said in ["12 callbacks are new, 0 were known", "0 callbacks are new, 12 were known"] {
            let imported = other.run(&["callbacks", "import", &name]);
            assert_eq!(imported.code, Some(0), "{}", imported.stderr);
            assert!(imported.stderr.contains(said), "{}", imported.stderr);
        }
        assert_eq!(balances(&other), balances(&one));
        other.assert_ledger_verifies();
        let again = other.run(&["callbacks", "export"]);
        assert_eq!(again.stdout, exported.stdout, "bytes, signatures, headers and times are what they were");
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_unsigned_is_imported() {
    let one = Deployment::on_sqlite().migrated();
    let server = one.serve().await;
    send(&one, 0..1).await;
    let line: Value = serde_json::from_str(&one.run(&["callbacks", "export"]).stdout).expect("a line of JSON");
    drop(server);
    let other = Deployment::on_sqlite().migrated();
    let file = other.folder().join("callbacks.ndjson");
    let forged = |name: &str, value: &str| {
        let mut line = line.clone();
        line[name] = value.into();
        line.to_string()
    };
    let lines = [
        forged("body", "e30="),
        forged("body", "not base64!"),
        forged("signature", &"0".repeat(128)),
        forged("signature", "00"),
        forged("merchant", "nobody"),
        // A signature of the processor's is no seal of ours.
        forged("origin", "answer"),
        forged("origin", "order"),
        "{}".to_owned(),
        "[".to_owned(),
    ];
    fs::write(&file, lines.join("\n")).expect("a file");
    let imported = other.run(&["callbacks", "import", &file.display().to_string()]);
    assert_eq!(imported.code, Some(1), "{}", imported.stderr);
    assert!(imported.stderr.contains("0 callbacks are new, 0 were known, 9 were declined"), "{}", imported.stderr);
    assert!((1..=9).all(|number| imported.stderr.contains(&format!("line {number}: "))), "{}", imported.stderr);
    assert_eq!(balances(&other), "");
    assert_eq!(other.run(&["callbacks", "import", "/nowhere"]).code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_customers_are_credited_where_unknown_ones_wait() {
    for one in [Deployment::on_sqlite(), Deployment::on(&servers::fresh_database().await)] {
        let one = one.set("TALLYHOOK_MERCHANTS__MAIN__UNKNOWN_CUSTOMER", "suspense").migrated();
        let csv = one.folder().join("customers.csv");
        fs::write(&csv, "end_user_reference,foreign_id\nuser-00,player-00\r\n\"user-01\",\n,\nuser-02\n")
            .expect("a file");
        let name = csv.display().to_string();
        let imported = one.run(&["customers", "import", &name, "--merchant", "main"]);
        assert_eq!(imported.code, Some(1), "two lines are declined: {}", imported.stderr);
        assert!(imported.stderr.contains("line 4: ") && imported.stderr.contains("line 5: "), "{}", imported.stderr);
        let json = one.folder().join("customers.ndjson");
        fs::write(&json, r#"{"merchant":"main","foreign_id":"player-02"}"#).expect("a file");
        let imported = one.run(&["customers", "import", &json.display().to_string()]);
        assert_eq!(imported.code, Some(0), "{}", imported.stderr);
        let again = one.run(&["customers", "import", &name, "--merchant", "main"]);
        assert_eq!(again.code, Some(1), "{}", again.stderr);
        let listed = one.run(&["customers", "list", "--output", "csv"]).stdout;
        assert_eq!(listed.lines().count(), 4, "importing again opens nobody: {listed}");
        let server = one.serve().await;
        send(&one, 0..4).await;
        drop(server);
        let balances = balances(&one);
        assert_eq!(balances.matches("available").count(), 3, "{balances}");
        assert_eq!(balances.matches("suspense").count(), 1, "the one that nobody knew waits: {balances}");
        one.assert_ledger_verifies();
        for arguments in [&["customers", "import", &name][..], &["customers", "import", &name, "--merchant", "x"]] {
            assert_eq!(one.run(arguments).code, Some(1), "{arguments:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_printed_and_an_unknown_customer_is_exit_code_3() {
    let one = Deployment::on_sqlite().migrated();
    let server = one.serve().await;
    send(&one, 0..41).await;
    drop(server);
    let csv = one.run(&["ledger", "statement", "player-00", "--output", "csv"]);
    assert_eq!(csv.code, Some(0), "{}", csv.stderr);
    assert_eq!(csv.stdout.lines().count(), 4, "a head and three deposits: {}", csv.stdout);
    let limited = one.run(&["ledger", "statement", "user-00", "--limit", "1", "--output", "ndjson"]).stdout;
    let line: Value = serde_json::from_str(&limited).expect("one line of JSON");
    assert_eq!(line["event"], "deposit.credited");
    let since = one.run(&["ledger", "statement", "user-00", "--since", "0s", "--output", "ndjson"]);
    assert_eq!((since.code, since.stdout.as_str()), (Some(0), ""));
    assert_eq!(one.run(&["ledger", "statement", "nobody"]).code, Some(3));
    assert_eq!(one.run(&["ledger", "statement", "user-00", "--since", "soon"]).code, Some(2));
    assert_eq!(one.run(&["customers", "show", "4711"]).code, Some(3));
    assert_eq!(one.run(&["payments", "show", "1", "--output", "json"]).code, Some(0));
    assert_eq!(one.run(&["payments", "list", "--merchant", "nobody"]).code, Some(2));
    assert_eq!(one.run(&["withdrawals", "list", "--state", "settled", "--output", "ndjson"]).stdout, "");
    assert_eq!(one.run(&["withdrawals", "list", "--state", "done"]).code, Some(2));
    assert_eq!(one.run(&["withdrawals", "show", "1"]).code, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_forgets_old_bodies_and_nothing_else() {
    for one in [Deployment::on_sqlite(), Deployment::on(&servers::fresh_database().await)] {
        let one = one.migrated();
        let server = one.serve().await;
        send(&one, 0..5).await;
        // Held: its body is needed to decide it.
        let held = crate::wire::fixture("withdrawal-confirmed-btc");
        let request = one.client.post(format!("http://{}/callbacks/alphapo", one.public));
        let request =
            request.header("X-Processing-Key", KEY).header("X-Processing-Signature", signature(held.as_bytes()));
        assert_eq!(request.body(held).send().await.expect("it answers").status(), 200);
        let found = async || one.api("/api/callbacks?q=user-03").await;
        let before = found().await;
        crate::support::process::eventually("the terms follow", std::time::Duration::from_secs(120), async || {
            let said = one.run(&["prune", "--older-than", "0s"]).stderr;
            said.starts_with("5 bodies of ").then_some(())
        })
        .await;
        assert_eq!(one.run(&["callbacks", "export"]).code, Some(0), "nothing was done");
        let kept = one.run(&["prune", "--older-than", "1h", "--yes"]);
        assert!(kept.stderr.starts_with("0 bodies of 0 bytes are gone"), "{}", kept.stderr);
        let done = one.run(&["prune", "--older-than", "0s", "--yes"]);
        assert!(done.stderr.starts_with("5 bodies of ") && done.stderr.contains("are gone"), "{}", done.stderr);
        assert_eq!(found().await, before, "a search finds what it found");
        assert_eq!(one.api("/api/callbacks/1").await["body"], Value::Null);
        assert_ne!(one.api("/api/callbacks/6").await["body"], Value::Null, "held callbacks keep theirs");
        let export = one.run(&["callbacks", "export"]);
        assert_eq!((export.code, export.stdout.lines().count()), (Some(1), 1), "{}", export.stderr);
        // A repeat is still a repeat.
        send(&one, 0..1).await;
        assert_eq!(one.api("/api/callbacks/1").await["deliveries"], 2);
        drop(server);
        one.assert_ledger_verifies();
        assert_eq!(one.run(&["prune", "--older-than", "old"]).code, Some(2));
    }
}
