//! Giving up addresses: they are never handed out again, what comes to them waits for a person, what was heard of before
//! goes on as before, and the audit derives all of it anew. On both databases.

use proptest::prelude::*;
use serde_json::{Value, json};
use tallyhook::domain::callback::Head;
use tallyhook::domain::customer::Owner;
use tallyhook::domain::decide::{Decision, Known, Policy, decide};
use tallyhook::domain::ids::{CustomerId, PaymentId};
use tallyhook::domain::payment::{Payment, Status};
use tallyhook::domain::policy::Waived;
use tallyhook::domain::reason::Reason;
use tallyhook::domain::retired::{Retirement, is_retired};
use tallyhook::processor::wire::read;

use crate::support::gateway::{Client, ask, foreign_ids, processor, start};
use crate::support::merchant::{beside, post};
use crate::support::process::Deployment;
use crate::support::upstream::{Reply, Upstream};
use crate::support::{APPROVER, Backend, OPERATOR, TestApp, VIEWER};

stories!(
    what_is_retired_is_replaced_under_the_same_identifier,
    what_comes_to_a_retired_address_waits,
    addresses_of_the_drop_in_retire_as_well,
);

const TAKE: &str = r#"{"currency":"BTC","foreign_id":"player-1","end_user_reference":"user-1"}"#;
const TAKEN: &str = r#"{"data":{"id":1,"currency":"BTC","address":"tb1q-of-tests","tag":null,"foreign_id":"player-1","end_user_reference":"user-1"}}"#;

async fn retire(app: &TestApp, token: &str, body: Value) -> (u16, Value) {
    let answer = app.send_json("/api/addresses/retire", token, &body).await;
    (answer.status.as_u16(), answer.json)
}

fn of_user(user: &str) -> Value {
    let mut body = ask("USDT", "ETH");
    body["user_identifier"] = json!(user);
    body
}

async fn address_of(client: &Client, body: &Value) -> String {
    let given = client.post("/v1/deposit-addresses", body).await;
    assert_eq!(given.status, 200, "{}", given.text);
    given.json["data"]["address"].as_str().expect("an address").to_owned()
}

/// A deposit to an address, as the processor tells it.
fn deposit(id: u64, (address, foreign_id, user): (&str, &str, &str), status: &str) -> String {
    json!({
        "id": id, "end_user_reference": user, "type": "deposit",
        "crypto_address": {"id": 1, "currency": "USDTE", "address": address, "tag": null, "foreign_id": foreign_id},
        "currency_received": {"currency": "USDTE", "amount": "5", "amount_minus_fee": "5"},
        "transactions": [{"id": id, "currency": "USDTE", "transaction_type": "blockchain", "type": "deposit",
            "address": address, "tag": null, "amount": "5", "txid": format!("0xtx{id}"), "confirmations": "12"}],
        "fees": [], "error": "", "status": status,
    })
    .to_string()
}

async fn what_is_retired_is_replaced_under_the_same_identifier(backend: Backend) {
    let processor = processor().await;
    let windows = [("TALLYHOOK_GATEWAY__REUSE_S", "0"), ("TALLYHOOK_GATEWAY__DELAY_S", "0")];
    let (app, client) = start(backend, &processor, &windows).await;
    let (ada, bob) = (address_of(&client, &of_user("ada")).await, address_of(&client, &of_user("bob")).await);
    assert_eq!(address_of(&client, &of_user("ada")).await, ada, "a customer keeps the address");
    let pooled = address_of(&client, &ask("USDT", "ETH")).await;
    let mut keyed = of_user("ada");
    keyed["idempotency_key"] = json!("key-1");
    assert_eq!(address_of(&client, &keyed).await, ada);

    assert_eq!(retire(&app, VIEWER, json!({"customer": "ada"})).await.0, 403);
    assert_eq!(retire(&app, OPERATOR, json!({"merchant": "nobody"})).await.0, 400);
    assert_eq!(retire(&app, OPERATOR, json!({"anything": 1})).await.0, 400);
    let (status, counted) = retire(&app, OPERATOR, json!({"customer": "ada"})).await;
    assert_eq!((status, &counted["addresses"], &counted["dry_run"]), (200, &json!(1), &json!(true)));
    assert_eq!(address_of(&client, &of_user("ada")).await, ada, "a dry run changes nothing");
    for (body, found) in [
        (json!({"created_before": "1d"}), 0),
        (json!({"network": "TRX"}), 0),
        (json!({"currency": "BTC"}), 0),
        (json!({"currency": "USDT", "network": "ETH", "merchant": "main"}), 3),
        (json!({"currency": "USDTE"}), 3),
        (json!({}), 3),
    ] {
        assert_eq!(retire(&app, OPERATOR, body.clone()).await.1["addresses"], found, "{body}");
    }

    let (_, done) = retire(&app, OPERATOR, json!({"customer": "ada", "dry_run": false})).await;
    assert_eq!((&done["gateway"], &done["drop_in"]), (&json!(1), &json!(0)));
    let second = address_of(&client, &of_user("ada")).await;
    assert_ne!(second, ada);
    assert_eq!(address_of(&client, &of_user("ada")).await, second, "and keeps the new one");
    assert_eq!(address_of(&client, &keyed).await, second, "a repeated key does not bring the old one back");
    assert_eq!(address_of(&client, &of_user("bob")).await, bob, "others keep theirs");
    assert_eq!(app.rows("/api/addresses?state=retired").await.len(), 1);
    assert_eq!(app.rows("/api/audit?action=addresses.retire").await.len(), 1);

    // The whole pool: what has rested is not given out again.
    retire(&app, OPERATOR, json!({"dry_run": false})).await;
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_ne!(address_of(&client, &ask("USDT", "ETH")).await, pooled);
    }
    let ended = Deployment::on(&app.url).run(&["addresses", "list", "--state", "retired", "--output", "json"]);
    let listed: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(4), "{listed}");
    app.finish().await;
}

async fn what_comes_to_a_retired_address_waits(backend: Backend) {
    let processor = processor().await;
    let (app, client) = start(backend, &processor, &[]).await;
    let old = address_of(&client, &of_user("ada")).await;
    let name = foreign_ids(&processor)[0].clone();
    let to = (old.as_str(), name.as_str(), "ada");
    // Heard of before: it goes on as before, however late it is confirmed.
    assert_eq!(app.receive(&deposit(1, to, "not_confirmed")).await, 200);
    retire(&app, OPERATOR, json!({"dry_run": false})).await;
    assert_eq!(app.receive(&deposit(1, to, "confirmed")).await, 200);
    assert_eq!(app.receive(&deposit(2, to, "not_confirmed")).await, 200);
    assert_eq!(app.receive(&deposit(2, to, "confirmed")).await, 200);
    assert_eq!(app.receive(&deposit(3, (&old, "another", "bob"), "confirmed")).await, 200);
    let expected = "deposit not_confirmed booked - x1\ndeposit confirmed booked - x1\n\
        deposit not_confirmed ignored address_retired x1\ndeposit confirmed held address_retired x1\n\
        deposit confirmed booked - x1";
    assert_eq!(app.callbacks().await, expected);
    let of_ada = "available  ada              USDTE  5\navailable  bob              USDTE  5\nprocessor  -                USDTE  10";
    assert_eq!(app.ledger().await, of_ada);
    app.verify().await;

    // The new address is as good as any.
    let new = address_of(&client, &of_user("ada")).await;
    let names = foreign_ids(&processor);
    let second = names.last().expect("two were taken");
    assert_eq!(app.receive(&deposit(4, (&new, second, "ada"), "confirmed")).await, 200);
    assert!(app.ledger().await.contains("ada              USDTE  10"), "{}", app.ledger().await);

    // Someone looks, and books it anyway.
    let open = app.rows("/api/discrepancies").await;
    assert_eq!((open.len(), &open[0]["reason"]), (1, &json!("address_retired")));
    let path = format!("/api/discrepancies/{}/resolve", open[0]["id"].as_str().expect("an id"));
    let proposed = app.send_json(&path, OPERATOR, &json!({"action": "book_anyway", "note": "it arrived"})).await;
    let proposal = proposed.json["id"].as_str().expect("a proposal").to_owned();
    let approved = app.send_json(&format!("/api/proposals/{proposal}/approve"), APPROVER, &json!({})).await;
    assert_eq!(approved.status, 200, "{}", approved.json);
    assert!(app.ledger().await.contains("ada              USDTE  15"), "{}", app.ledger().await);
    app.finish().await;
}

async fn addresses_of_the_drop_in_retire_as_well(backend: Backend) {
    let upstream = Upstream::always(Reply::Json(201, TAKEN.into())).await;
    let app = beside(backend, &upstream, &[]).await;
    assert_eq!(post(&app, "/addresses/take", TAKE).await.status, 201);
    let to = ("tb1q-of-tests", "player-1", "user-1");
    assert_eq!(app.receive(&deposit(1, to, "confirmed")).await, 200);
    let deployment = Deployment::on(&app.url);
    for (filter, told) in [
        (vec!["--customer", "nobody"], "0 of the drop-in would be"),
        (vec!["--currency", "ETH"], "0 of the drop-in would be"),
        (vec!["--network", "BTC"], "0 of the drop-in would be"),
        (vec!["--customer", "user-1", "--currency", "BTC"], "1 of the drop-in would be"),
        (vec!["--created-before", "0s", "--yes"], "1 of the drop-in are"),
        (vec!["--yes"], "0 of the drop-in are"),
    ] {
        let ended = deployment.run(&[&["addresses", "retire"], filter.as_slice()].concat());
        assert!(ended.code == Some(0) && ended.stdout.contains(told), "{filter:?}: {} {}", ended.stdout, ended.stderr);
    }
    assert_eq!(app.receive(&deposit(2, to, "confirmed")).await, 200);
    assert!(app.callbacks().await.ends_with("deposit confirmed held address_retired x1"), "{}", app.callbacks().await);
    assert_eq!(deployment.run(&["addresses", "retire", "--merchant", "nobody"]).code, Some(2));
    app.finish().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is told of a payment that was heard of before, the retirement changes nothing about it; and once a person
    /// has let a new one pass, nothing either.
    #[test]
    fn what_was_heard_of_before_goes_on_as_before(before in 0_usize..7, told in 0_usize..8, waived: bool, facts: bool) {
        let words = ["not_confirmed", "pending", "processing", "confirmed", "cancelled", "declined", "failed", "strange"];
        let callback = read(deposit(7, ("0xa", "player-1", "user-1"), words[told]).as_bytes());
        let policy = Policy {
            waived: if waived { Waived::of(Reason::AddressRetired) } else { Waived::default() },
            ..Policy::from_code(0)
        };
        let payment = Payment { id: PaymentId(1), status: Status::ALL[before], facts: facts.then_some(1), customer: None };
        let decided = |payment: Option<&Payment>, is_retired: bool| {
            let owner = Owner::Known(CustomerId(1));
            decide(&callback, &Known { payment, owner, named: owner, policy, has_twin: false, own: None, must_verify: false, is_retired })
        };
        prop_assert_eq!(decided(Some(&payment), true), decided(Some(&payment), false));
        let first = decided(None, true);
        let is_money = words[told] == "confirmed";
        if waived || words[told] == "cancelled" || told > 4 {
            prop_assert_eq!(first, decided(None, false));
        } else if is_money {
            prop_assert_eq!(first, Decision::Hold(Reason::AddressRetired));
        } else {
            prop_assert_eq!(first, Decision::Ignore(Reason::AddressRetired));
        }
    }

    /// Only what came after the retirement and was decided knowing of it waits, and only under the same name.
    #[test]
    fn a_retirement_holds_what_comes_later(at in 0_i64..5, turn in 0_i64..5, came in 0_i64..5, decided in 0_i64..5, same: bool) {
        let head = Head { foreign_id: Some("a".to_owned()), ..Head::default() };
        let foreign_id = if same { "a" } else { "b" }.to_owned();
        let held = is_retired(&[Retirement { foreign_id, at_us: at, turn }], &head, came, decided);
        prop_assert_eq!(held, same && came >= at && decided > turn);
    }
}
