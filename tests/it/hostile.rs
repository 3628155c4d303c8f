//! Claims about hostile bodies: each is held with the place that can't be read, or harmless. It never guesses what a
//! sender meant, and never opens a socket or a database.

use std::fmt::Write;

use insta::assert_snapshot;
use tallyhook::domain::callback::Head;
use tallyhook::processor::wire::read;

use crate::wire::{fixture, verdict};

/// A confirmed deposit with one thing changed.
fn changed(from: &str, to: &str) -> String {
    let body = fixture("deposit-confirmed-btc");
    assert!(body.contains(from), "the fixture has {from}");
    body.replacen(from, to, 1)
}

fn hostile_amounts() -> Vec<(&'static str, String)> {
    let amount = |token: &str| changed("\"0.03100000\"", token);
    vec![
        ("amount with an exponent", amount("3.1e-2")),
        ("amount too large for a float", amount("1e400")),
        ("amount of 10,000 digits", amount(&"9".repeat(10_000))),
        ("amount of 10,000 decimals", amount(&format!("0.{}", "3".repeat(10_000)))),
        ("amount of 19 decimals", amount("\"0.0310000000000000001\"")),
        ("amount of 21 digits", amount("100000000000000000000")),
        ("amount with two points", amount("\"0.106.75000000\"")),
        ("amount with a blank", amount("\" 1\"")),
        ("amount with a plus", amount("\"+1\"")),
        ("amount with an underscore", amount("\"1_000\"")),
        ("amount with a comma", amount("\"0,031\"")),
        ("amount in other digits", amount("\"\\u0661\"")),
        ("amount in hexadecimal", amount("\"0x1F\"")),
        ("amount with a leading zero", amount("\"00.031\"")),
        ("amount that is nothing", amount("\"\"")),
        ("amount that is NaN", amount("\"NaN\"")),
        ("amount that is true", amount("true")),
        ("amount that is a list", amount("[\"0.031\"]")),
        ("amount that is negative", changed("\"0.03100000\",\"amount_minus_fee\"", "\"-1\",\"amount_minus_fee\"")),
        ("amount that is zero", changed("\"0.03100000\",\"amount_minus_fee\"", "0,\"amount_minus_fee\"")),
        ("amount_to with an exponent", changed("\"txid\"", "\"amount_to\":1e1,\"txid\"")),
        ("fee without an amount", changed("\"amount\":\"0.00002170\"", "\"amount\":null")),
        ("amount without a currency", changed("\"currency\":\"BTC\",\"amount\"", "\"amount\"")),
        ("net without gross", changed("\"0.03100000\",\"amount_minus_fee\"", "null,\"amount_minus_fee\"")),
        ("sent amount that is null", amount("null")),
    ]
}

fn hostile_texts() -> Vec<(&'static str, String)> {
    let user = |token: &str| changed("\"player-7002\"", token);
    let id = |token: &str| changed("48120148", token);
    vec![
        ("id missing", changed("\"id\":48120148,", "")),
        ("id null", id("null")),
        ("id empty", id("\"\"")),
        ("id true", id("true")),
        ("id a fraction", id("48120148.0")),
        ("id an exponent", id("4e7")),
        ("id as a string", id("\"48120148\"")),
        ("id of 255 characters", id(&format!("\"{}\"", "é".repeat(255)))),
        ("id of 256 characters", id(&format!("\"{}\"", "é".repeat(256)))),
        ("reference with NUL", user("\"player\\u00007002\"")),
        ("reference an object", user("{\"id\":1}")),
        ("reference empty", user("\"\"")),
        ("reference a large number", user("123456789012345678901234567890")),
        ("type missing", changed("\"type\":\"deposit\",\"crypto", "\"crypto")),
        ("type a number", changed("\"type\":\"deposit\",\"crypto", "\"type\":7,\"crypto")),
        ("type in capitals", changed("\"type\":\"deposit\",\"crypto", "\"type\":\"DEPOSIT\",\"crypto")),
        ("status missing", changed(",\"status\":\"confirmed\"", "")),
        ("status a number", changed("\"status\":\"confirmed\"", "\"status\":1")),
        ("currency with a blank", changed("\"currency\":\"BTC\",\"amount\"", "\"currency\":\"B TC\",\"amount\"")),
        ("currency empty", changed("\"currency\":\"BTC\",\"amount\"", "\"currency\":\"\",\"amount\"")),
        ("currency an object", changed("\"currency\":\"BTC\",\"amount\"", "\"currency\":{\"iso\":\"BTC\"},\"amount\"")),
        ("address too long", changed("bc1q0wjvllpyj9rp4vmjhqj6859fqn5mlh4fpzdvyp", &"b".repeat(513))),
        ("error a number", changed("\"error\":\"\"", "\"error\":0")),
        ("risk score a list", changed("\"riskscore\":\"0.12\"", "\"riskscore\":[]")),
        ("confirmations true", changed("\"confirmations\":\"2\"", "\"confirmations\":true")),
    ]
}

fn hostile_shapes() -> Vec<(&'static str, String)> {
    let many = |count: usize| {
        let fees = vec![r#"{"type":"x","currency":"BTC","amount":"0"}"#; count].join(",");
        changed("\"fees\":[", &format!("\"fees\":[{fees},"))
    };
    let deep = |levels: usize| {
        changed("\"fees\":[", &format!("\"x\":{}{},\"fees\":[", "[".repeat(levels), "]".repeat(levels)))
    };
    let last = |extra: &str| changed("\"status\":\"confirmed\"}", &format!("\"status\":\"confirmed\"{extra}"));
    vec![
        ("empty", String::new()),
        ("blank", " \n".to_owned()),
        ("null", "null".to_owned()),
        ("a list", "[]".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("cut off", last("")),
        ("trailing garbage", last("}x")),
        ("two bodies", last("}{}")),
        ("trailing comma", last(",}")),
        ("trailing blanks", last("} \r\n\t")),
        ("byte order mark", format!("\u{feff}{}", fixture("deposit-confirmed-btc"))),
        ("key twice", last(",\"status\":\"cancelled\"}")),
        ("key twice, escaped", last(",\"\\u0073tatus\":\"cancelled\"}")),
        ("key twice, unknown subtree", last(",\"x\":[{\"y\":{\"z\":1,\"z\":1}}]}")),
        ("lone surrogate", last(",\"x\":\"\\ud83e\"}")),
        ("surrogates reversed", last(",\"x\":\"\\udde0\\ud83e\"}")),
        ("control character", last(",\"x\":\"\n\"}")),
        ("unknown number too large", last(",\"x\":1e400}")),
        ("nested 126 deep", deep(126)),
        ("nested 127 deep", deep(127)),
        ("nested 30,000 deep", last(&format!(",\"x\":{}", "[".repeat(30_000)))),
        ("1,000 fees", many(999)),
        ("1,001 fees", many(1_000)),
        (
            "transactions an object",
            changed("\"transactions\":[{", "\"transactions\":{\"x\":{").replacen("}],\"fees\"", "}},\"fees\"", 1),
        ),
        ("transactions absent", changed("\"transactions\"", "\"other\"")),
        ("transaction null", changed("\"transactions\":[", "\"transactions\":[null,")),
        (
            "fees null",
            changed(
                "\"fees\":[{\"type\":\"fee_crypto_deposit\",\"currency\":\"BTC\",\"amount\":\"0.00002170\"}]",
                "\"fees\":null",
            ),
        ),
        ("currency_received a list", changed("\"currency_received\":{", "\"currency_received\":[1],\"x\":{")),
        ("crypto_address text", changed("\"crypto_address\":{", "\"crypto_address\":\"x\",\"x\":{")),
        (
            "converting address",
            changed("\"currency\":\"BTC\",\"address\"", "\"currency\":\"BTC\",\"convert_to\":\"EUR\",\"address\""),
        ),
    ]
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table is the claim")]
fn hostile_bodies_are_held_with_their_place_and_never_guessed() {
    let mut table = String::new();
    for (name, body) in [hostile_amounts(), hostile_texts(), hostile_shapes()].concat() {
        let callback = read(body.as_bytes());
        let [decision, reason, money] = verdict(&callback);
        let id = callback.head.payment_id.as_deref().map_or("-", |id| id.get(..8).unwrap_or(id));
        let line = format!("{name:<28} | {id:<8} | {decision:<16} | {reason} | {money}");
        writeln!(table, "{}", line.trim_end()).expect("a String takes everything");
    }
    assert_snapshot!(table, @"
    amount with an exponent      | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount too large for a float | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount of 10,000 digits      | 48120148 | hold             | unreadable: currency_sent.amount: 10^20 or more |
    amount of 10,000 decimals    | 48120148 | hold             | unreadable: currency_sent.amount: more than 18 decimals |
    amount of 19 decimals        | 48120148 | hold             | unreadable: currency_sent.amount: more than 18 decimals |
    amount of 21 digits          | 48120148 | hold             | unreadable: currency_sent.amount: 10^20 or more |
    amount with two points       | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount with a blank          | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount with a plus           | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount with an underscore    | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount with a comma          | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount in other digits       | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount in hexadecimal        | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount with a leading zero   | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount that is nothing       | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount that is NaN           | 48120148 | hold             | unreadable: currency_sent.amount: not a plain decimal number |
    amount that is true          | 48120148 | hold             | unreadable: currency_sent.amount: neither a string nor a number |
    amount that is a list        | 48120148 | hold             | unreadable: currency_sent.amount: neither a string nor a number |
    amount that is negative      | 48120148 | hold             | amount_out_of_range |
    amount that is zero          | 48120148 | hold             | amount_out_of_range |
    amount_to with an exponent   | 48120148 | hold             | unreadable: transactions[0].amount_to: not a plain decimal number |
    fee without an amount        | 48120148 | hold             | unreadable: fees[0].amount: missing |
    amount without a currency    | 48120148 | hold             | unreadable: currency_sent.currency: missing |
    net without gross            | 48120148 | hold             | unreadable: currency_received.amount: missing beside amount_minus_fee |
    sent amount that is null     | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    id missing                   | -        | hold             | unreadable: id: missing |
    id null                      | -        | hold             | unreadable: id: missing |
    id empty                     | -        | hold             | unreadable: id: missing |
    id true                      | -        | hold             | unreadable: id: neither a string nor a number |
    id a fraction                | -        | hold             | unreadable: id: not a whole number |
    id an exponent               | -        | hold             | unreadable: id: not a whole number |
    id as a string               | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    id of 255 characters         | éééé     | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    id of 256 characters         | -        | hold             | unreadable: id: too long |
    reference with NUL           | 48120148 | hold             | unreadable: end_user_reference: has a NUL character |
    reference an object          | 48120148 | hold             | unreadable: end_user_reference: neither a string nor a number |
    reference empty              | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    reference a large number     | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    type missing                 | 48120148 | hold             | unreadable: type: missing |
    type a number                | 48120148 | hold             | unreadable: type: not a string |
    type in capitals             | 48120148 | hold             | unknown_type: type: not one we know |
    status missing               | 48120148 | hold             | unknown_status |
    status a number              | 48120148 | hold             | unreadable: status: not a string |
    currency with a blank        | 48120148 | hold             | unreadable: currency_sent.currency: not a currency |
    currency empty               | 48120148 | hold             | unreadable: currency_sent.currency: not a currency |
    currency an object           | 48120148 | hold             | unreadable: currency_sent.currency: not a string |
    address too long             | 48120148 | hold             | unreadable: crypto_address.address: too long |
    error a number               | 48120148 | hold             | unreadable: error: not a string |
    risk score a list            | 48120148 | hold             | unreadable: transactions[0].riskscore: neither a string nor a number |
    confirmations true           | 48120148 | hold             | unreadable: transactions[0].confirmations: neither a string nor a number |
    empty                        | -        | hold             | unreadable: byte 0: ends too early |
    blank                        | -        | hold             | unreadable: byte 2: ends too early |
    null                         | -        | hold             | unreadable: body: not an object |
    a list                       | -        | hold             | unreadable: body: not an object |
    an empty object              | -        | hold             | unreadable: type: missing |
    cut off                      | -        | hold             | unreadable: byte 771: an object that does not end |
    trailing garbage             | -        | hold             | unreadable: byte 772: more after the end |
    two bodies                   | -        | hold             | unreadable: byte 772: more after the end |
    trailing comma               | -        | hold             | unreadable: byte 772: no key |
    trailing blanks              | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    byte order mark              | -        | hold             | unreadable: byte 0: no value |
    key twice                    | -        | hold             | unreadable: byte 0: an object with the same key twice |
    key twice, escaped           | -        | hold             | unreadable: byte 0: an object with the same key twice |
    key twice, unknown subtree   | -        | hold             | unreadable: byte 782: an object with the same key twice |
    lone surrogate               | -        | hold             | unreadable: byte 783: half a surrogate pair |
    surrogates reversed          | -        | hold             | unreadable: byte 783: half a surrogate pair |
    control character            | -        | hold             | unreadable: byte 777: a control character in a string |
    unknown number too large     | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    nested 126 deep              | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    nested 127 deep              | -        | hold             | unreadable: byte 792: nested too deep |
    nested 30,000 deep           | -        | hold             | unreadable: byte 902: nested too deep |
    1,000 fees                   | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    1,001 fees                   | 48120148 | hold             | unreadable: fees: more than 1,000 entries |
    transactions an object       | 48120148 | hold             | unreadable: transactions: not a list |
    transactions absent          | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    transaction null             | 48120148 | hold             | unreadable: transactions: entry 0 is not an object |
    fees null                    | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    currency_received a list     | 48120148 | hold             | unreadable: currency_received: not an object |
    crypto_address text          | 48120148 | hold             | unreadable: crypto_address: not an object |
    converting address           | 48120148 | deposit.credited |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    ");
}

#[test]
fn a_body_that_is_not_utf_8_is_unreadable() {
    let mut body = fixture("deposit-confirmed-btc").into_bytes();
    body.insert(8, 0xff);
    assert_eq!(read(&body).head, Head::default());
    assert_snapshot!(verdict(&read(&body)).join(" | "), @"hold | unreadable: byte 8: not UTF-8 | ");
}

#[test]
fn at_most_twenty_distinct_txids_are_kept_in_order() {
    let part = |txid: usize| format!(r#"{{"transaction_type":"blockchain","txid":{txid}}},"#);
    let parts: String = (0..50).map(|index| part(index / 2)).collect();
    let body = changed("\"transactions\":[", &format!("\"transactions\":[{parts}"));
    let expected: Vec<String> = (0..20).map(|txid| txid.to_string()).collect();
    assert_eq!(read(body.as_bytes()).head.txids, expected);
}
