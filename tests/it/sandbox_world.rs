//! The simulated processor by itself, in no time: what each scenario tells, what it moves, how it delivers, and that a
//! seed tells the same story again.

use serde_json::{Value, json};
use tallyhook::processor::sandbox::api::Wait;
use tallyhook::processor::sandbox::faults::Faults;
use tallyhook::processor::sandbox::operation::Status;
use tallyhook::processor::sandbox::php;
use tallyhook::processor::sandbox::post::{RETRY_MINUTES, State};
use tallyhook::processor::sandbox::world::MINUTE_US;
use tallyhook::processor::{signature, wire};

use crate::support::SECRET;
use crate::support::story::{START_US, Story};

const PLACE: &str = "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc";

fn withdrawal(foreign_id: &str) -> Value {
    json!({"currency": "BTC", "amount": "0.5", "address": PLACE, "foreign_id": foreign_id, "end_user_reference": "user-1"})
}

fn invoice(foreign_id: &str, more: &Value) -> Value {
    let mut body = json!({"title": "t", "currency": "EUR", "amount": "600", "foreign_id": foreign_id, "end_user_reference": "user-1", "timer": true});
    for (name, value) in more.as_object().expect("an object") {
        body[name.as_str()] = value.clone();
    }
    body
}

/// Bodies are read by the receiver's own reader, are PHP's own bytes, and are signed.
fn assert_readable(story: &Story) {
    for delivery in &story.inbox {
        let callback = wire::read(delivery.body.as_bytes());
        assert!(callback.terms.is_ok(), "{:?} {}", callback.terms, delivery.body);
        let again = php::decode(delivery.body.as_bytes()).map(|value| php::encode(&value));
        assert_eq!(again.as_deref(), Some(delivery.body.as_str()));
        assert_eq!(signature::sign(&SECRET.into(), delivery.body.as_bytes()), delivery.signature);
    }
}

#[test]
fn deposits_are_told_and_credited_as_their_scenario_has_it() {
    let rows = [
        ("normal", "2", "not_confirmed, confirmed", "1000001.98400000"),
        ("instant", "2", "confirmed", "1000001.98400000"),
        ("slow", "2", "not_confirmed, confirmed", "1000001.98400000"),
        ("internal", "2", "confirmed", "1000001.98400000"),
        ("double_spend", "2", "not_confirmed, cancelled (Double spend detected)", "1000000.00000000"),
        (
            "below_minimum",
            "2",
            "not_confirmed, cancelled (Transaction amount less than minimum deposit)",
            "1000000.00000000",
        ),
        (
            "normal",
            "0.00009999",
            "not_confirmed, cancelled (Transaction amount less than minimum deposit)",
            "1000000.00000000",
        ),
    ];
    for (scenario, sum, told, balance) in rows {
        let mut story = Story::new(1);
        let address = story.take("BTC", None);
        let id = story.deposit(&address, sum, Some(scenario));
        story.pass(300);
        assert_eq!((story.statuses(id).as_str(), story.balance("BTC").as_str()), (told, balance), "{scenario}");
        assert_readable(&story);
    }
}

#[test]
fn a_deposit_is_converted_where_its_address_says_so() {
    let mut story = Story::new(1);
    let address = story.take("BTC", Some("EUR"));
    let id = story.deposit(&address, "0.01", None);
    story.pass(5);
    let last = story.told(id).pop().expect("a callback");
    assert_eq!(last["type"], "deposit_exchange");
    assert_eq!(
        last["currency_received"],
        json!({"currency": "EUR", "amount": "600.00000000", "amount_minus_fee": "595.20000000"})
    );
    assert_eq!(
        (story.balance("BTC").as_str(), story.balance("EUR").as_str()),
        ("1000000.00000000", "1000595.20000000")
    );
    assert_readable(&story);
}

#[test]
fn another_token_of_the_same_network_is_told_as_cross_currency() {
    let mut story = Story::new(1);
    let address = story.take("ETH", None);
    let id = story.deposit(&address, "100", Some("cross_currency"));
    story.pass(5);
    let last = story.told(id).pop().expect("a callback");
    let about = &last["crypto_address"];
    assert_eq!(
        (&about["cross_currency"], &about["currency"], &last["expected_currency"]),
        (&json!(true), &json!("ETH"), &json!("ETH"))
    );
    assert_ne!(last["currency_received"]["currency"], "ETH");
    assert_readable(&story);
}

#[test]
fn moving_a_token_is_paid_in_the_coin_of_its_chain() {
    let mut story = Story::new(1);
    let address = story.take("USDTE", None);
    let id = story.deposit(&address, "100", None);
    story.pass(5);
    let fees = story.told(id).pop().expect("a callback")["fees"].clone();
    assert_eq!(fees[1], json!({"type": "transfer", "currency": "ETH", "amount": "0.00035000"}));
    assert_eq!(
        (story.balance("USDTE").as_str(), story.balance("ETH").as_str()),
        ("1000099.00000000", "999999.99965000")
    );
}

#[test]
fn withdrawals_are_told_and_paid_as_their_scenario_has_it() {
    let (paid, unpaid) = ("999999.49942598", "1000000.00000000");
    let rows = [
        ("normal", "confirmed", paid),
        ("bare", "confirmed", "999999.50000000"),
        ("approve", "pending, confirmed", paid),
        ("decline", "pending, declined (Declined by the reviewer)", unpaid),
        ("limit", "pending", paid),
        ("limit_cancel", "pending, cancelled (Cancelled by the merchant)", unpaid),
        ("cancel", "cancelled (Invalid params: expected a hex-encoded hash with 0x prefix.)", unpaid),
        ("timeout", "confirmed", paid),
        ("early", "confirmed", paid),
    ];
    for (scenario, told, balance) in rows {
        let mut story = Story::new(1);
        story.world.plan.choose(&format!("withdrawal={scenario}")).expect("a scenario");
        let (status, answer, wait) = story.call("/withdrawal/crypto", &withdrawal("w-1"));
        assert_eq!((status, &answer["data"]["status"]), (201, &json!("processing")), "{answer}");
        let waits = (matches!(wait, Wait::Never), matches!(wait, Wait::Tried(_)));
        assert_eq!(waits, (scenario == "timeout", scenario == "early"), "{scenario}");
        let id = answer["data"]["id"].as_i64().expect("an id");
        story.pass(60);
        assert_eq!((story.statuses(id).as_str(), story.balance("BTC").as_str()), (told, balance), "{scenario}");
        assert_readable(&story);
        let last = story.told(id).pop().expect("a callback");
        let is_sent = last["status"] == "confirmed";
        assert_eq!(last["transactions"][0]["txid"].is_string(), is_sent, "only what was sent is on the chain");
        let (_, info, _) = story.call("/transactions/info", &json!({"foreign_id": "w-1"}));
        assert_eq!(info, last, "the latest body, unwrapped");
    }
}

#[test]
fn above_the_limit_a_person_decides() {
    for (verdict, told) in
        [(Status::Confirmed, "pending, confirmed"), (Status::Declined, "pending, declined (Declined by the reviewer)")]
    {
        let mut story = Story::with_limit(1, Some("1000"));
        let (_, answer, _) = story.call("/withdrawal/crypto", &withdrawal("w-1"));
        let id = answer["data"]["id"].as_i64().expect("an id");
        assert!(story.world.judge(story.now, id, verdict).is_err(), "it is not pending yet");
        story.pass(600);
        assert_eq!(story.statuses(id), "pending");
        story.world.judge(story.now, id, verdict).expect("a person may");
        story.pass(1);
        assert_eq!(story.statuses(id), told);
        assert!(story.world.judge(story.now, id, Status::Declined).is_err(), "once");
    }
}

#[test]
fn a_withdrawal_converts_and_an_address_of_the_wrong_shape_is_cancelled() {
    let mut story = Story::new(1);
    let body = json!({"currency": "EUR", "amount_to": "0.00261850", "convert_to": "BTC", "address": PLACE, "foreign_id": "w-1", "end_user_reference": "user-1"});
    let (status, answer, _) = story.call("/withdrawal/crypto", &body);
    assert_eq!((status, &answer["data"]["type"]), (201, &json!("withdrawal_exchange")));
    assert_eq!(
        (&answer["data"]["sender_amount"], &answer["data"]["receiver_amount"]),
        (&json!("157.11000000"), &json!("0.00261850"))
    );
    let body = json!({"currency": "ETH", "amount": 1, "address": "12345", "foreign_id": "w-2", "end_user_reference": "user-1"});
    let (_, answer, _) = story.call("/withdrawal/crypto", &body);
    story.pass(5);
    let id = answer["data"]["id"].as_i64().expect("an id");
    assert_eq!(story.statuses(id), "cancelled (Invalid params: expected a hex-encoded hash with 0x prefix.)");
    assert_eq!(
        (story.balance("BTC").as_str(), story.balance("ETH").as_str()),
        ("1000000.00000000", "1000000.00000000")
    );
    assert_eq!(story.balance("EUR"), "999837.19192000");
    assert_readable(&story);
}

#[test]
fn invoices_are_told_and_credited_as_their_scenario_has_it() {
    let too_long = "processing, failed (Timer expired. Transactions were in status processing too long.)";
    let rows = [
        ("paid", "processing, confirmed", "1000595.20000000"),
        ("instalments", "pending, pending, processing, confirmed", "1000595.20000000"),
        ("overpaid", "processing, confirmed", "1000595.20000000"),
        ("underpaid", "failed (Timer expired. User paid less than requested.)", "1000000.00000000"),
        ("unpaid", "failed (Timer expired. User not paid.)", "1000000.00000000"),
        ("stuck", too_long, "1000000.00000000"),
    ];
    for (scenario, told, balance) in rows {
        for more in
            [json!({"timer": false}), json!({}), json!({"sender_currency": "LTC"}), json!({"sender_currency": "BTC"})]
        {
            let mut story = Story::new(1);
            story.world.plan.choose(&format!("invoice={scenario}")).expect("a scenario");
            let (status, answer, _) = story.call("/invoices/create", &invoice("i-1", &more));
            assert_eq!(status, 201, "{answer}");
            let id = answer["data"]["id"].as_i64().expect("an id");
            story.pass(2_000);
            assert_eq!(
                (story.statuses(id).as_str(), story.balance("EUR").as_str()),
                (told, balance),
                "{scenario} {more}"
            );
            assert_readable(&story);
        }
    }
}

#[test]
fn an_invoice_is_paid_by_hand_or_cancelled_and_shows_its_timer() {
    let mut story = Story::new(1);
    let more = json!({"sender_currency": "BTC", "type": "good_until_expired"});
    let (_, answer, _) = story.call("/invoices/create", &invoice("i-1", &more));
    let data = &answer["data"];
    assert_eq!(
        (&data["sender_amount"], &data["seconds_left"], &data["status"]),
        (&json!("0.01000000"), &json!(899), &json!("pending"))
    );
    let id = data["id"].as_i64().expect("an id");
    let sum = |text| crate::support::sandbox::amount(text);
    story.world.pay(story.now, id, sum("0.004"), None).expect("a first instalment");
    assert!(story.world.pay(story.now, id, sum("0.004"), Some("LTC")).is_err(), "the rate is fixed for BTC");
    story.world.pay(story.now, id, sum("0.006"), Some("BTC")).expect("the rest");
    story.pass(10);
    let remaining: Vec<_> =
        story.told(id).iter().map(|body| body["currency_sent"]["remaining_amount"].clone()).collect();
    assert_eq!(remaining, ["0.00600000", "0.00000000", "0.00000000"]);
    let told = story.told(id);
    let seconds = |body: &Value, name: &str| body[name].as_i64().expect("seconds");
    let last = told.last().expect("a callback");
    assert_eq!(seconds(last, "expires_at") - seconds(last, "fixed_at"), 86_458, "a payment in the mempool prolongs it");
    let refused =
        json!({"errors": {"error": "Invoice cannot be failed in its current state.", "code": "invalid_invoice_state"}});
    assert_eq!(story.call("/invoices/i-1/cancel/", &json!({})), (400, refused, Wait::No));
    story.call("/invoices/create", &invoice("i-2", &json!({})));
    assert_eq!(story.call("/invoices/i-2/cancel/", &json!({})), (200, json!([]), Wait::No));
    assert_eq!(story.balance("EUR"), "1000595.20000000");
}

#[test]
fn exchanges_move_both_sums_and_the_fee() {
    let mut story = Story::new(1);
    let mut body = json!({"sender_currency": "BTC", "receiver_currency": "EUR", "sender_amount": "0.00300000", "foreign_id": "e-1"});
    let (status, answer, _) = story.call("/exchange/now", &body);
    assert_eq!(
        (status, &answer["data"]["receiver_amount"], &answer["data"]["status"]),
        (201, &json!("180.00000000"), &json!("processing"))
    );
    body["foreign_id"] = json!("e-2");
    body["price"] = json!("60000.00000000");
    let expired = json!({"errors": {"price": "The price is expired."}});
    assert_eq!(story.call("/exchange/fixed", &body), (400, expired, Wait::No), "nothing was calculated");
    let (_, quote, _) = story.call("/exchange/calculate", &body);
    assert_eq!((&quote["data"]["price"], &quote["data"]["fix_period"]), (&json!("60000.00000000"), &json!(60)));
    assert_eq!(story.call("/exchange/fixed", &body).0, 201);
    assert_eq!(story.call("/exchange/fixed", &body).0, 400, "the reference is taken");
    story.pass(5);
    assert_eq!((story.balance("BTC").as_str(), story.balance("EUR").as_str()), ("999999.99388000", "1000360.00000000"));
    let last = story.told(answer["data"]["id"].as_i64().expect("an id")).pop().expect("a callback");
    assert!(last.get("foreign_id").is_none() && last.get("crypto_address").is_none(), "{last}");
    assert_readable(&story);
}

#[test]
fn only_200_counts_and_the_retries_follow_the_documented_schedule() {
    let mut story = Story::new(1);
    let address = story.take("BTC", None);
    let id = story.deposit(&address, "1", Some("instant"));
    let mut answers = [None, Some(500), Some(201), Some(204), Some(302), Some(400)].into_iter().cycle();
    story.run(3_000, |_| answers.next().flatten());
    assert_eq!(story.inbox.len(), 1 + RETRY_MINUTES.len());
    let command = story
        .world
        .command(story.now, "GET", &format!("/operations/{id}"), "", &php::Value::Null)
        .expect("it is known");
    let log: Value = serde_json::from_str(&php::encode(&command)).expect("JSON");
    let attempts = log["callbacks"][0]["attempts"].as_array().expect("attempts");
    let at: Vec<i64> = attempts.iter().map(|attempt| attempt["at"].as_i64().expect("seconds")).collect();
    let minutes: Vec<i64> = at.windows(2).map(|pair| (pair[1] - pair[0]) / 60).collect();
    assert_eq!(minutes, RETRY_MINUTES);
    assert_eq!(log["callbacks"][0]["state"], State::GivenUp.word());
    assert_eq!(at[0], START_US / 1_000_000 + 2);

    assert!(story.world.repeat_latest(story.now, id), "a person repeats it");
    story.pass(1);
    assert_eq!(story.inbox.len(), 2 + RETRY_MINUTES.len());
    assert!(story.inbox.iter().all(|delivery| delivery.body == story.inbox[0].body), "the same bytes each time");
    story.pass(3_000);
    assert_eq!(story.inbox.len(), 2 + RETRY_MINUTES.len(), "and that was it");
}

/// Everything at once, for so many minutes.
fn chaos(seed: u64, minutes: i64) -> Story {
    let mut story = Story::new(seed);
    (story.world.faults, story.world.faults.slow_ms) = (Faults::all(20), 0);
    for kind in ["deposit", "withdrawal", "invoice"] {
        story.world.plan.choose(&format!("{kind}=random")).expect("a scenario");
    }
    let mut addresses = Vec::new();
    for minute in 0..minutes {
        let currency = ["BTC", "ETH", "USDTE", "XRP"][usize::try_from(minute % 4).expect("small")];
        let body = json!({"currency": currency, "foreign_id": "player-1", "end_user_reference": "1048576"});
        let (status, answer, _) = story.call("/addresses/take", &body);
        if status == 201 {
            addresses.push(answer["data"]["address"].as_str().expect("an address").to_owned());
        }
        if let Some(address) = addresses.last().cloned() {
            story.deposit(&address, "12.5", None);
        }
        story.call("/withdrawal/crypto", &withdrawal(&format!("w-{minute}")));
        story.call("/invoices/create", &invoice(&format!("i-{minute}"), &json!({"sender_currency": "LTC"})));
        let swap = json!({"sender_currency": "BTC", "receiver_currency": "EUR", "sender_amount": 1, "foreign_id": format!("e-{minute}")});
        story.call("/exchange/now", &swap);
        story.pass(1);
    }
    story.pass(3_000);
    story
}

#[test]
fn a_seed_tells_the_same_story_again_and_another_seed_another() {
    let bodies = |story: &Story| story.inbox.iter().map(|delivery| delivery.body.clone()).collect::<Vec<_>>();
    let (first, again, other) = (chaos(7, 60), chaos(7, 60), chaos(8, 60));
    assert_eq!(bodies(&first), bodies(&again));
    assert_ne!(bodies(&first), bodies(&other));
    assert!(first.now > START_US + 60 * MINUTE_US);
    assert_readable(&first);
}

#[test]
fn two_thousand_minutes_of_faults_make_bodies_that_survive_decoding_and_encoding() {
    let story = chaos(11, 2_000);
    assert!(story.inbox.len() > 15_000, "{}", story.inbox.len());
    assert_readable(&story);
    let has = |text: &str| story.inbox.iter().any(|delivery| delivery.body.contains(text));
    for drift in [
        r#""error":null"#,
        r#""confirmations":9"#,
        r#""confirmations":10"#,
        r#""end_user_reference":1048576"#,
        r#""shard":"\u00fc-7""#,
        r#""amount":12.5"#,
    ] {
        assert!(has(drift) || drift.contains(":9"), "no body drifts to {drift}");
    }
}
