//! What the simulated processor gets wrong about money, on purpose: each lie is in the list, with the difference that it
//! makes, while `transactions/info`, the accounts and the export tell the truth.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tallyhook::processor::sandbox::dice::Dice;
use tallyhook::processor::sandbox::faults::Faults;
use tallyhook::processor::sandbox::php;

use crate::support::deposits::units;
use crate::support::story::Story;

const PLACE: &str = "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc";
const KINDS: [&str; 6] =
    ["wrong_amount", "wrong_status", "double_id", "fee_changed", "unknown_withdrawal", "balance_shifted"];

fn command(story: &mut Story, method: &str, path: &str, query: &str, body: &Value) -> Value {
    let body = php::decode(body.to_string().as_bytes()).expect("JSON");
    let told = story.world.command(story.now, method, path, query, &body).expect("it can be done");
    serde_json::from_str(&php::encode(&told)).expect("JSON")
}

fn lies(story: &mut Story) -> Vec<Value> {
    command(story, "GET", "/lies", "", &json!({}))["data"].as_array().expect("a list").clone()
}

fn info(story: &mut Story, id: &Value) -> Value {
    story.call("/transactions/info", &json!({ "id": id })).1
}

fn withdraw(story: &mut Story, foreign_id: &str, sum: &str) {
    let body = json!({"currency": "BTC", "amount": sum, "address": PLACE, "foreign_id": foreign_id, "end_user_reference": "user-1"});
    assert_eq!(story.call("/withdrawal/crypto", &body).0, 201);
}

/// What somebody who believes every callback thinks that came and went, by currency.
fn believed(story: &Story) -> BTreeMap<String, i128> {
    let mut last: BTreeMap<i64, Value> = BTreeMap::new();
    for delivery in &story.inbox {
        last.insert(delivery.operation, serde_json::from_str(&delivery.body).expect("JSON"));
    }
    let mut sums = BTreeMap::new();
    let mut add = |currency: &Value, amount: &Value, sign: i128| {
        let sum: &mut i128 = sums.entry(currency.as_str().expect("a code").to_owned()).or_default();
        let amount = units(amount.as_str().expect("an amount"));
        *sum = sum.saturating_add(sign.saturating_mul(amount));
    };
    for body in last.values().filter(|body| body["status"] == "confirmed") {
        let is_withdrawal = body["type"] == "withdrawal";
        let part = &body["transactions"][0];
        add(&part["currency"], &part["amount"], if is_withdrawal { -1 } else { 1 });
        for fee in body["fees"].as_array().expect("a list") {
            add(&fee["currency"], &fee["amount"], -1);
        }
    }
    sums
}

/// What the accounts have more than at the start.
fn grown(story: &mut Story) -> BTreeMap<String, i128> {
    let balances = command(story, "GET", "/balances", "", &json!({}));
    let start = units("1000000");
    let rows = balances["data"].as_array().expect("a list").iter();
    let sum = |row: &Value| units(row["balance"].as_str().expect("an amount")).saturating_sub(start);
    rows.map(|row| (row["currency"].as_str().expect("a code").to_owned(), sum(row)))
        .filter(|(_, sum)| *sum != 0)
        .collect()
}

/// What was believed, with every difference of the list, is what the accounts say.
fn assert_explained(story: &mut Story) {
    let mut sums = believed(story);
    for lie in lies(story) {
        for money in lie["differences"].as_array().expect("a list") {
            let sum = sums.entry(money["currency"].as_str().expect("a code").to_owned()).or_default();
            *sum = sum.saturating_add(units(money["amount"].as_str().expect("an amount")));
        }
    }
    sums.retain(|_, sum| *sum != 0);
    assert_eq!(sums, grown(story));
}

#[test]
fn each_lie_is_told_once_and_written_down() {
    for kind in KINDS.into_iter().chain(["lost"]) {
        let mut story = Story::new(7);
        let address = story.take("BTC", None);
        command(&mut story, "POST", "/lies", "", &json!({ "kind": kind }));
        let (first, second) = (story.deposit(&address, "2", None), story.deposit(&address, "3", None));
        story.pass(5);
        let list = lies(&mut story);
        assert_eq!((list.len(), &list[0]["kind"]), (1, &json!(kind)), "{list:?}");
        assert_ne!(list[0]["differences"], json!([]), "{kind}");
        let truth = info(&mut story, &json!(first));
        assert_eq!(
            (&truth["status"], &truth["currency_received"]["amount"]),
            (&json!("confirmed"), &json!("2.00000000"))
        );
        assert_eq!(story.statuses(second), "not_confirmed, confirmed", "the next one is true");
        let told = story.told(first).pop().expect("a callback");
        match kind {
            "lost" => assert_eq!(story.statuses(first), "not_confirmed"),
            "wrong_amount" => assert_ne!(told["transactions"][0]["amount"], truth["transactions"][0]["amount"]),
            "wrong_status" => assert_eq!((&told["status"], &told["error"]), (&json!("cancelled"), &json!("Cancelled"))),
            "fee_changed" => {
                let fee = |body: &Value| units(body["fees"][0]["amount"].as_str().expect("an amount"));
                assert!(fee(&truth) > fee(&told), "{truth} {told}");
            }
            "double_id" => {
                let other = list[0]["other"].as_i64().expect("another id");
                let again = story.told(other).pop().expect("a callback");
                for field in ["amount", "txid", "address"] {
                    assert_eq!(again["transactions"][0][field], told["transactions"][0][field], "{field}");
                }
            }
            "unknown_withdrawal" => {
                let truth = info(&mut story, &list[0]["operation"]);
                assert_eq!((&truth["type"], &truth["foreign_id"]), (&json!("withdrawal"), &Value::Null));
            }
            _ => assert_eq!(list[0]["operation"], Value::Null),
        }
        assert_explained(&mut story);
    }
}

#[test]
fn money_of_the_dashboard_moves_at_once() {
    let mut story = Story::new(7);
    for (kind, amount) in [("unknown_withdrawal", "0.5"), ("balance_shifted", "-0.25"), ("balance_shifted", "1")] {
        command(&mut story, "POST", "/lies", "", &json!({"kind": kind, "currency": "BTC", "amount": amount}));
    }
    story.pass(5);
    assert_eq!((story.inbox.len(), story.balance("BTC").as_str()), (0, "1000000.25000000"), "no callback says so");
    assert_explained(&mut story);
    for wrong in [
        json!({"kind": "whim"}),
        json!({"kind": "unknown_withdrawal", "currency": "BTC", "amount": "2000000"}),
        json!({"kind": "balance_shifted", "currency": "XYZ", "amount": "1"}),
        json!({"kind": "wrong_amount", "times": "often"}),
    ] {
        let body = php::decode(wrong.to_string().as_bytes()).expect("JSON");
        assert!(story.world.command(story.now, "POST", "/lies", "", &body).is_err(), "{wrong}");
    }
}

/// Three hundred deposits and withdrawals, of which many are told wrongly or not at all.
fn bad_day(seed: u64) -> Story {
    let mut story = Story::new(seed);
    let addresses = ["BTC", "ETH", "USDTE"].map(|currency| story.take(currency, None));
    let mut faults = Faults { lose: 5, ..Faults::default() };
    for kind in KINDS {
        faults.set(kind, 8).expect("a rate");
    }
    story.world.faults = faults;
    let mut dice = Dice::new(seed);
    for number in 0..300 {
        let sum = format!("{}.{:08}", dice.between(20, 90), dice.below(99_999_999));
        match dice.below(4) {
            3 => withdraw(&mut story, &format!("w-{number}"), &sum),
            which => drop(story.deposit(&addresses[usize::try_from(which).expect("small")], &sum, None)),
        }
        story.pass(1);
    }
    story.pass(30);
    story
}

#[test]
fn every_difference_of_a_bad_day_is_in_the_list() {
    let mut story = bad_day(4_711);
    let list = lies(&mut story);
    for kind in KINDS.into_iter().chain(["lost"]) {
        assert!(list.iter().any(|lie| lie["kind"] == kind), "{kind}: {list:?}");
    }
    assert!(list.len() > 60, "{}", list.len());
    assert_explained(&mut story);
    assert_eq!(lies(&mut bad_day(4_711)), list, "the same seed lies the same way");
    assert_ne!(lies(&mut bad_day(4_712)), list);
    assert_eq!(Faults::all(100).lies, [0; 6], "all faults at once still tell the truth");
}

#[test]
fn the_export_is_the_truth_as_csv() {
    let mut story = Story::new(7);
    let address = story.take("BTC", None);
    command(&mut story, "POST", "/lies", "", &json!({"kind": "wrong_amount"}));
    story.deposit(&address, "2", None);
    story.pass(5);
    withdraw(&mut story, "w,\"1\"", "0.5");
    story.pass(5);
    command(
        &mut story,
        "POST",
        "/lies",
        "",
        &json!({"kind": "unknown_withdrawal", "currency": "BTC", "amount": "0.5"}),
    );
    let text = story.world.export(None);
    let txid = |text: &str| text.split(',').find(|cell| cell.len() == 64).expect("a txid").to_owned();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!(
        lines[0],
        "id,foreign_id,type,status,currency,amount,fee,txid,address,end_user_reference,created_at,updated_at"
    );
    let deposit = format!(
        "134702801,player-1,deposit,confirmed,BTC,2.00000000,0.01600000,{},{address},user-1,2023-11-14 22:13:20,2023-11-14 22:14:20",
        txid(lines[1])
    );
    assert_eq!(lines[1], deposit);
    let sent = format!(
        "134702802,\"w,\"\"1\"\"\",withdrawal,confirmed,BTC,0.50000000,0.00057402,{},{PLACE},user-1,",
        txid(lines[2])
    );
    assert!(lines[2].starts_with(&sent), "{}", lines[2]);
    assert!(lines[3].starts_with("134702803,,withdrawal,confirmed,BTC,0.50000000,0.00000000,"), "{}", lines[3]);
    assert_eq!((lines[4], story.world.export(Some("nobody")).lines().count()), ("", 1));
}
