//! The simulated processor as a merchant's client sees it: signatures, envelopes, checks, and what is answered.

use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use tallyhook::processor::sandbox::api::{Request, Wait};
use tallyhook::processor::sandbox::world::{Merchant, World};
use tallyhook::processor::signature::sign;

use crate::support::sandbox::{TestSandbox, amount};
use crate::support::{Backend, SECRET, TestApp};

const KEY: &str = "key-main";
const NOW: i64 = 1_700_000_000_000_000;

/// A merchant with money.
fn world() -> World {
    let merchant = Merchant::new(KEY, SECRET, "http://127.0.0.1:9/callbacks/alphapo");
    let merchant = merchant.with_balance("BTC", amount("10")).with_balance("EUR", amount("100000"));
    World::try_new(vec![merchant], 7, None).expect("usable keys")
}

/// A signed call.
fn call(world: &mut World, path: &str, body: &str) -> (u16, Value) {
    let signature = sign(&SecretString::from(SECRET), body.as_bytes());
    let path = format!("/api/v2{path}");
    let method = if path.ends_with("/transactions/info") { "GET" } else { "POST" };
    let request = Request {
        method,
        path: &path,
        key: Some(KEY.as_bytes()),
        signature: Some(signature.as_bytes()),
        has_content_type: true,
        body: body.as_bytes(),
    };
    let answer = world.answer(NOW, &request);
    assert_eq!(answer.wait, Wait::No);
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body)))
}

#[test]
fn requests_are_refused_in_the_documented_envelope_and_order() {
    let mut world = world();
    let body = b"{}";
    let signature = sign(&SecretString::from(SECRET), body);
    let (key, signature) = (Some(KEY.as_bytes()), Some(signature.as_bytes()));
    let (other, forged) = (Some(&b"key-other"[..]), Some(&[b'0'; 128][..]));
    let broken = sign(&SecretString::from(SECRET), b"{");
    let broken = Some(broken.as_bytes());
    let list = "/api/v2/accounts/list";
    let rows = [
        (list, None, signature, &b"{}"[..], 403, r#"{"error":"No key header","code":"required_header_key"}"#),
        (list, None, None, b"{", 403, r#"{"error":"No key header","code":"required_header_key"}"#),
        (list, other, signature, b"{}", 403, r#"{"error":"Bad key header","code":"bad_header_key"}"#),
        (list, other, None, b"{}", 403, r#"{"error":"Bad key header","code":"bad_header_key"}"#),
        (list, key, None, b"{}", 403, r#"{"error":"No signature header","code":"required_header_signature"}"#),
        (list, key, forged, b"{", 403, r#"{"error":"Bad signature header","code":"bad_header_signature"}"#),
        (list, key, signature, b"{} ", 403, r#"{"error":"Bad signature header","code":"bad_header_signature"}"#),
        (list, key, broken, b"{", 400, r#"{"error":"Bad content format","code":"bad_content_format"}"#),
        (
            "/api/v2/account/list",
            key,
            signature,
            b"{}",
            403,
            r#"{"error":"No key header","code":"required_header_key"}"#,
        ),
    ];
    for (path, key, signature, body, status, text) in rows {
        let request = Request { method: "POST", path, key, signature, has_content_type: true, body };
        let answer = world.answer(NOW, &request);
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{path} {key:?} {signature:?}");
    }
    let request = Request { method: "POST", path: list, key, signature, has_content_type: false, body };
    assert_eq!(world.answer(NOW, &request).status, 400, "a body needs its content type");
    let ping =
        Request { method: "GET", path: "/api/v2/ping", key: None, signature: None, has_content_type: false, body: b"" };
    assert_eq!(world.answer(NOW, &ping).body, "OK");
}

#[test]
fn an_address_is_answered_as_documented_and_looks_right() {
    let mut world = world();
    let body = r#"{"currency":"BTC","foreign_id":"test_foreign_id","end_user_reference":"test_end_user_reference"}"#;
    let (status, answer) = call(&mut world, "/addresses/take", body);
    assert_eq!(status, 201);
    let expected = json!({"id": 240_407_201, "currency": "BTC", "address": answer["data"]["address"], "tag": null, "foreign_id": "test_foreign_id", "end_user_reference": "test_end_user_reference"});
    assert_eq!(answer["data"], expected);
    assert!(answer["data"]["address"].as_str().is_some_and(|text| text.starts_with("tb1q") && text.len() == 42));
    let (_, second) = call(&mut world, "/addresses/take", body);
    assert_ne!(second["data"]["address"], answer["data"]["address"], "each call gives a new address");
    let rows = [
        ("LTC", "tltc1q", 44..=45),
        ("BCH", "", 33..=35),
        ("DOGE", "n", 33..=35),
        ("ETH", "0x", 42..=42),
        ("TRX", "T", 34..=34),
    ];
    for (currency, prefix, length) in rows {
        let body = format!(r#"{{"currency":"{currency}","foreign_id":7,"end_user_reference":"u"}}"#);
        let (status, answer) = call(&mut world, "/addresses/take", &body);
        assert_eq!(status, 201, "{answer}");
        let address = answer["data"]["address"].as_str().expect("an address");
        assert!(address.starts_with(prefix) && length.contains(&address.len()), "{currency} {address}");
        assert_eq!(answer["data"]["foreign_id"], "7", "a number comes back as a string");
    }
    let (_, answer) =
        call(&mut world, "/addresses/take", r#"{"currency":"XRP","foreign_id":"a","end_user_reference":"u"}"#);
    assert!(
        answer["data"]["tag"].is_u64() && answer["data"]["address"].as_str().is_some_and(|text| text.starts_with('r')),
        "{answer}"
    );
}

#[test]
fn fields_are_refused_with_the_documented_texts() {
    let mut world = world();
    let rows = [
        (
            "/addresses/take",
            json!({"currency": "BTC", "end_user_reference": "u"}),
            json!({"foreign_id": "The foreign id field is required."}),
        ),
        (
            "/addresses/take",
            json!({"currency": "XYZ", "foreign_id": "a", "end_user_reference": "u"}),
            json!({"currency": "The selected currency is invalid."}),
        ),
        (
            "/addresses/take",
            json!({"currency": "EUR", "foreign_id": "a", "end_user_reference": "u"}),
            json!({"currency": "The selected currency is invalid."}),
        ),
        (
            "/addresses/take",
            json!({"currency": "BTC", "convert_to": "BTC", "foreign_id": "a", "end_user_reference": "u"}),
            json!({"convert_to": "The convert to and currency must be different."}),
        ),
        (
            "/withdrawal/crypto",
            withdrawal("w-1", "0.00009999"),
            json!({"amount": "The amount must be at least 0.0001."}),
        ),
        ("/withdrawal/crypto", withdrawal("w-1", "0.000000001"), json!({"amount": "The amount format is invalid."})),
        ("/withdrawal/crypto", withdrawal("w-1", "1e2"), json!({"amount": "The amount must be a number."})),
        ("/withdrawal/crypto", withdrawal("w-1", "10"), json!({"amount": "Not enough amount"})),
        (
            "/exchange/calculate",
            json!({"sender_currency": "EUR", "receiver_currency": "XYZ", "sender_amount": 1}),
            json!({"sender_currency": "Exchange is unavailable for given currencies"}),
        ),
        (
            "/exchange/now",
            json!({"sender_currency": "BTC", "receiver_currency": "EUR", "sender_amount": "0.0001", "foreign_id": "e"}),
            json!({"sender_amount": "The amount must be at least 0.00300000 "}),
        ),
        (
            "/invoices/create",
            json!({"title": "t", "currency": "EUR", "amount": "9.99", "foreign_id": "i", "end_user_reference": "u"}),
            json!({"amount": "The amount is too small. The minimum amount is 10.00 EUR."}),
        ),
        (
            "/currencies/pairs",
            json!({"currency_from": "X", "currency_to": "Y"}),
            json!({"currency_from": "The selected currency from is invalid.", "currency_to": "The selected currency to is invalid."}),
        ),
    ];
    for (path, body, errors) in rows {
        assert_eq!(call(&mut world, path, &body.to_string()), (400, json!({"errors": errors})), "{path} {body}");
    }
}

fn withdrawal(foreign_id: &str, amount: &str) -> Value {
    json!({"currency": "BTC", "amount": amount, "address": "tb1qfdxh6gkfr0qgyatnlkd8khcnxph9tw06n6qwjc", "foreign_id": foreign_id, "end_user_reference": "u"})
}

#[test]
fn a_reference_makes_one_withdrawal_and_the_balance_pays_for_it_at_once() {
    let mut world = world();
    let (status, answer) = call(&mut world, "/withdrawal/crypto", &withdrawal("w-1", "0.00020000").to_string());
    assert_eq!(status, 201);
    let expected = json!({"id": 134_702_801, "foreign_id": "w-1", "end_user_reference": "u", "type": "withdrawal", "status": "processing", "amount": "0.00020000", "sender_amount": "0.00020000", "sender_currency": "BTC", "receiver_currency": "BTC", "receiver_amount": "0.00020000"});
    assert_eq!(answer["data"], expected);
    let taken = json!({"errors": {"foreign_id": "The foreign id has already been taken."}});
    for _ in 0..3 {
        let again = call(&mut world, "/withdrawal/crypto", &withdrawal("w-1", "0.00020000").to_string());
        assert_eq!(again, (400, taken.clone()));
    }
    let (_, accounts) = call(&mut world, "/accounts/list", "{}");
    assert_eq!(
        accounts["data"][0],
        json!({"currency": "BTC", "type": "crypto", "balance": "9.99972578"}),
        "less the fees"
    );
    let (status, info) = call(&mut world, "/transactions/info", r#"{"foreign_id":"w-1"}"#);
    assert_eq!((status, &info["status"], &info["id"]), (200, &json!("processing"), &json!(134_702_801)), "{info}");
    let (status, info) = call(&mut world, "/transactions/info", r#"{"foreign_id":"w-2"}"#);
    assert_eq!((status, info), (400, json!({"errors": {"foreign_id": "The selected foreign id is invalid."}})));
}

#[test]
fn calculations_are_limited_to_thirty_a_minute() {
    let mut world = world();
    let body = r#"{"sender_currency":"EUR","receiver_currency":"BTC","sender_amount":25}"#;
    for _ in 0..30 {
        assert_eq!(call(&mut world, "/exchange/calculate", body).0, 200);
    }
    assert_eq!(call(&mut world, "/exchange/calculate", body), (429, Value::String("error code: 1015".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_at_a_taken_address_is_credited_on_sqlite() {
    let app = TestApp::start(Backend::Sqlite).await;
    let sandbox = TestSandbox::start(&app.public);
    let forged = app.client.post(format!("{}/accounts/list", sandbox.sandbox.api())).body("{}").send().await;
    assert_eq!(forged.expect("an answer").status(), StatusCode::FORBIDDEN);
    let address = sandbox.take("BTC", "player-1", "user-1").await;
    let id = sandbox.deposit(&address, "0.5", "normal");
    sandbox.until_idle().await;
    insta::assert_snapshot!(app.callbacks().await, @r"
    deposit not_confirmed booked - x1
    deposit confirmed booked - x1
    ");
    insta::assert_snapshot!(app.ledger().await, @r"
    available  user-1           BTC    0.5
    fees       -                BTC    0.004
    processor  -                BTC    0.496
    ");
    let info = sandbox.call("/transactions/info", &format!(r#"{{"id":{id}}}"#)).await;
    assert_eq!((&info.json["status"], &info.json["id"]), (&json!("confirmed"), &json!(id)));
    app.finish().await;
}
