//! Claims about bodies: what each documented shape becomes. It never opens a socket or a database: bytes in,
//! decision out.

use std::fmt::Write;
use std::path::Path;

use insta::assert_snapshot;
use tallyhook::domain::account::Posting;
use tallyhook::domain::callback::{Callback, Head};
use tallyhook::domain::customer::{Owner, ReferenceKind, references};
use tallyhook::domain::decide::{Credit, Decision, Known, Policy, UnknownCustomer, decide};
use tallyhook::domain::ids::CustomerId;
use tallyhook::processor::wire::read;

/// Every fixture, by name.
pub(crate) fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut fixtures: Vec<_> = std::fs::read_dir(folder)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a fixture can be read"))
        })
        .collect();
    fixtures.sort();
    fixtures
}

pub(crate) fn fixture(name: &str) -> String {
    let (_, body) = fixtures().into_iter().find(|(known, _)| known == name).expect("a fixture of this name");
    String::from_utf8(body).expect("fixtures are text")
}

/// Decides as for a new payment whose customer, if the body names one, is known.
fn decided(callback: &Callback) -> Decision {
    // An invoice's own name names a customer only when it was created through us.
    let is_named = references(&callback.head).any(|(kind, _)| kind != ReferenceKind::Invoice);
    let owner = if is_named { Owner::Known(CustomerId(1)) } else { Owner::Missing };
    let policy = Policy {
        credit: Credit::Gross,
        unknown_customer: UnknownCustomer::Open,
        risk_limit: None,
        waived: tallyhook::domain::policy::Waived::default(),
    };
    decide(
        callback,
        &Known {
            payment: None,
            owner,
            named: owner,
            policy,
            has_twin: false,
            own: None,
            must_verify: false,
            is_retired: false,
        },
    )
}

fn money(postings: &[Posting]) -> String {
    let written = postings
        .iter()
        .map(|posting| {
            let Posting { debit, credit, currency, amount } = posting;
            format!("{}→{} {amount} {currency}", debit.name(), credit.name())
        })
        .collect::<Vec<_>>();
    written.join(", ")
}

/// Decision, reason and money of a callback.
pub(crate) fn verdict(callback: &Callback) -> [String; 3] {
    let why = |reason: &str| match &callback.terms {
        Err(unclear) => format!("{reason}: {}", unclear.detail),
        Ok(_) => reason.to_owned(),
    };
    match decided(callback) {
        Decision::Hold(reason) => ["hold".to_owned(), why(reason.word()), String::new()],
        Decision::Ignore(reason) => ["ignore".to_owned(), why(reason.word()), String::new()],
        Decision::Apply(applied) => {
            let event = applied.entry.as_ref().map_or("nothing told", |entry| entry.event.word());
            let suspended = applied.entry.as_ref().and_then(|entry| entry.suspended).map_or("", |reason| reason.word());
            let postings = applied.entry.as_ref().map_or(&[][..], |entry| &entry.postings);
            [event.to_owned(), suspended.to_owned(), money(postings)]
        }
    }
}

/// The fields of a head that could be read, shortened.
fn told(head: &Head) -> String {
    let short = |text: &Option<String>| match text.as_deref() {
        Some(text) if text.chars().count() > 24 => format!("{}…", text.chars().take(12).collect::<String>()),
        Some(text) => text.to_owned(),
        None => "-".to_owned(),
    };
    let [kind, status, id] = [&head.kind, &head.status, &head.payment_id].map(short);
    let [foreign, user, address] = [&head.foreign_id, &head.end_user_reference, &head.address].map(short);
    format!("{kind} {status} {id} {foreign} {user} {address} {}", head.txids.len())
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table is the claim")]
fn every_documented_shape_is_decided() {
    let mut table = String::new();
    for (name, body) in fixtures() {
        let [decision, reason, money] = verdict(&read(&body));
        writeln!(table, "{}", format!("{name:<45} | {decision:<20} | {reason} | {money}").trim_end())
            .expect("a String takes everything");
    }
    assert_snapshot!(table, @"
    deposit-cancelled-below_minimum               | deposit.cancelled    |  |
    deposit-cancelled-double_spend                | deposit.cancelled    |  |
    deposit-confirmed-btc                         | deposit.credited     |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    deposit-confirmed-cross_currency              | deposit.credited     |  | processor→available 74.625 USDTE, fees→available 0.375 USDTE
    deposit-confirmed-dashboard_address           | discrepancy.opened   | customer_missing | processor→suspense 0.0309783 BTC, fees→suspense 0.0000217 BTC
    deposit-confirmed-duplicate_key               | hold                 | unreadable: byte 254: an object with the same key twice |
    deposit-confirmed-duplicate_unknown_key       | hold                 | unreadable: byte 736: an object with the same key twice |
    deposit-confirmed-empty_objects               | deposit.credited     |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    deposit-confirmed-erc20_fee_in_eth            | deposit.credited     |  | processor→available 408.4475 USDTE, fees→available 2.0525 USDTE, fees→processor 0.0004122 ETH
    deposit-confirmed-escaped_reference           | deposit.credited     |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    deposit-confirmed-eth                         | deposit.credited     |  | processor→available 1.24 ETH, fees→available 0.01 ETH
    deposit-confirmed-exponent                    | hold                 | unreadable: currency_received.amount: not a plain decimal number |
    deposit-confirmed-extra_fields                | deposit.credited     |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    deposit-confirmed-internal                    | deposit.credited     |  | processor→available 0.0012909 BTC, fees→available 0.0000091 BTC
    deposit-confirmed-net_above_gross             | hold                 | amount_out_of_range |
    deposit-confirmed-no_user_reference           | deposit.credited     |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    deposit-confirmed-nul_reference               | hold                 | unreadable: crypto_address.foreign_id: has a NUL character |
    deposit-confirmed-null_error                  | deposit.credited     |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    deposit-confirmed-numbers                     | deposit.credited     |  | processor→available 0.0309783 BTC, fees→available 0.0000217 BTC
    deposit-confirmed-other_address               | discrepancy.opened   | address_contradictory | processor→suspense 0.0309783 BTC, fees→suspense 0.0000217 BTC
    deposit-confirmed-rounded_net                 | deposit.credited     |  | processor→available 2.393797 BTC, fees→available 0.007203 BTC
    deposit-confirmed-two_parts                   | hold                 | amount_unclear |
    deposit-confirmed-two_points                  | hold                 | unreadable: currency_sent.amount: not a plain decimal number |
    deposit-confirmed-v1_btc                      | hold                 | v1_shape: body: flat, as before version 2 |
    deposit-confirmed-v1_xrp                      | hold                 | v1_shape: body: flat, as before version 2 |
    deposit-confirmed-with_error                  | hold                 | confirmed_with_error |
    deposit-confirmed-xrp_tag                     | deposit.credited     |  | processor→available 637.44 XRP, fees→available 2.56 XRP
    deposit-failed-undocumented_status            | hold                 | unknown_status |
    deposit-not_confirmed-btc                     | deposit.pending      |  |
    deposit-on_hold-unknown_status                | hold                 | unknown_status |
    deposit_exchange-confirmed-btc_eur            | deposit.credited     |  | processor→available 1303.8878 EUR, fees→available 6.5522 EUR
    deposit_exchange-confirmed-legacy_futures     | hold                 | legacy_futures |
    deposit_exchange-confirmed-no_amounts         | hold                 | amount_unclear |
    deposit_exchange-not_confirmed-btc_eur        | deposit.pending      |  |
    deposit_wallet_client-confirmed-unknown_type  | hold                 | unknown_type: type: not one we know |
    exchange-confirmed-btc_eth                    | exchange.settled     |  | exchange→processor 0.005 BTC, processor→exchange 0.1482 ETH, fees→processor 0.0001 BTC
    exchange-confirmed-btc_usd                    | exchange.settled     |  | exchange→processor 0.007 BTC, processor→exchange 501.9041 USD, fees→processor 5.019041 USD
    exchange-confirmed-eur_btc                    | exchange.settled     |  | exchange→processor 512 EUR, processor→exchange 0.00778 BTC, fees→processor 5.12 EUR
    invoice-cancelled-undocumented                | invoice.failed       |  |
    invoice-confirmed-btc                         | invoice.credited     |  | processor→available 0.0495 BTC, fees→available 0.0005 BTC
    invoice-confirmed-eur                         | invoice.credited     |  | processor→available 26.73 EUR, fees→available 0.27 EUR
    invoice-confirmed-instalments                 | invoice.credited     |  | processor→available 0.0495 BTC, fees→available 0.0005 BTC
    invoice-confirmed-no_user_reference           | discrepancy.opened   | customer_missing | processor→suspense 0.05 BTC
    invoice-confirmed-remaining                   | hold                 | invoice_remaining |
    invoice-failed-not_paid                       | invoice.failed       |  |
    invoice-failed-too_long                       | invoice.failed       |  |
    invoice-failed-underpaid                      | invoice.failed       |  |
    invoice-pending-instalment                    | invoice.pending      |  |
    invoice-pending-unpaid                        | invoice.pending      |  |
    invoice-processing-mempool                    | invoice.pending      |  |
    payment_request-expired-fixed_rate            | hold                 | payment_request |
    payment_request-failed-btc_eth                | hold                 | payment_request |
    payment_request-paid-btc_eth                  | hold                 | payment_request |
    payment_request-processing-fixed_rate         | nothing told         |  |
    payment_request-processing-new_transaction    | nothing told         |  |
    withdrawal-cancelled-bad_address              | withdrawal.failed    |  |
    withdrawal-confirmed-bare                     | withdrawal.settled   |  | available→processor 0.044 BTC
    withdrawal-confirmed-btc                      | withdrawal.settled   |  | available→processor 0.044 BTC, fees→processor 0.000105 BTC
    withdrawal-confirmed-dashboard                | hold                 | unknown_customer |
    withdrawal-confirmed-erc20_fee_in_eth         | withdrawal.settled   |  | available→processor 120 USDTE, fees→processor 0.000188 ETH, fees→processor 1.2 USDTE
    withdrawal-confirmed-eth                      | withdrawal.settled   |  | available→processor 0.3 ETH, fees→processor 0.00321 ETH
    withdrawal-confirmed-no_user_reference        | hold                 | unknown_customer |
    withdrawal-confirmed-number_txid              | withdrawal.settled   |  | available→processor 0.044 BTC
    withdrawal-confirmed-v1_btc                   | hold                 | v1_shape: body: flat, as before version 2 |
    withdrawal-declined-by_owner                  | withdrawal.failed    |  |
    withdrawal-failed-balance                     | withdrawal.failed    |  |
    withdrawal-not_confirmed-btc                  | withdrawal.pending   |  |
    withdrawal-pending-limit                      | withdrawal.pending   |  |
    withdrawal-processing-undocumented            | withdrawal.pending   |  |
    withdrawal_exchange-confirmed-new_shape       | withdrawal.settled   |  | available→processor 1316.22 EUR, fees→processor 7.0611 EUR
    withdrawal_exchange-confirmed-no_amounts      | hold                 | amount_unclear |
    withdrawal_exchange-confirmed-old_shape       | hold                 | unknown_customer |
    withdrawal_instant-confirmed-btc              | withdrawal.settled   |  | available→processor 0.044 BTC, fees→processor 0.000105 BTC
    withdrawal_instant_exchange-confirmed-eur_ltc | withdrawal.settled   |  | available→processor 251.1 EUR, fees→processor 0.02 EUR
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table is the claim")]
fn every_documented_shape_tells_what_it_is_about() {
    let mut table = String::new();
    for (name, body) in fixtures() {
        writeln!(table, "{name:<45} | {}", told(&read(&body).head)).expect("a String takes everything");
    }
    assert_snapshot!(table, @"
    deposit-cancelled-below_minimum               | deposit cancelled 48121036 customer-can… player-below_minimum bc1qm2yutu9k… 1
    deposit-cancelled-double_spend                | deposit cancelled 48120925 customer-can… player-double_spend bc1qjwp66jpe… 1
    deposit-confirmed-btc                         | deposit confirmed 48120148 customer-7002 player-7002 bc1q0wjvllpy… 1
    deposit-confirmed-cross_currency              | deposit confirmed 48120814 customer-7008 player-7008 0xd42ab99b93… 1
    deposit-confirmed-dashboard_address           | deposit confirmed 48121147 - - bc1qmymdzl3e… 1
    deposit-confirmed-duplicate_key               | - - - - - - 0
    deposit-confirmed-duplicate_unknown_key       | - - - - - - 0
    deposit-confirmed-empty_objects               | deposit confirmed 48122294 customer-7021 player-7021 bc1q5zy3rgzd… 1
    deposit-confirmed-erc20_fee_in_eth            | deposit confirmed 48120481 customer-7005 player-7005 0xd8a459093b… 1
    deposit-confirmed-escaped_reference           | deposit confirmed 48121702 ю/16 🧾 - bc1qayvdp6dm… 1
    deposit-confirmed-eth                         | deposit confirmed 48120370 customer-7004 player-7004 0xa56165a8f8… 1
    deposit-confirmed-exponent                    | deposit confirmed 48126882 customer-7705 - bc1qjq3w8adu… 1
    deposit-confirmed-extra_fields                | deposit confirmed 48121591 customer-7015 player-7015 bc1qxqt785w4… 1
    deposit-confirmed-internal                    | deposit confirmed 48120703 customer-7007 - bc1qy9mej47z… 1
    deposit-confirmed-net_above_gross             | deposit confirmed 48122405 customer-7022 player-7022 bc1q6rr3arn0… 1
    deposit-confirmed-no_user_reference           | deposit confirmed 48120259 customer-7003 - bc1qnk2lj2g0… 1
    deposit-confirmed-nul_reference               | deposit confirmed 48126771 - - bc1qgke3geqr… 1
    deposit-confirmed-null_error                  | deposit confirmed 48121480 customer-7014 player-7014 bc1qdvmcglp5… 1
    deposit-confirmed-numbers                     | deposit confirmed 48121369 7013 7013 bc1qg94xmn0j… 1
    deposit-confirmed-other_address               | deposit confirmed 48122072 customer-7019 player-7019 bc1q2ws69w6k… 1
    deposit-confirmed-rounded_net                 | deposit confirmed 48120592 customer-7006 - bc1qfk5755qv… 1
    deposit-confirmed-two_parts                   | deposit confirmed 48121924 customer-7018 player-7018 bc1qgcnvvtxx… 2
    deposit-confirmed-two_points                  | deposit confirmed 48126993 customer-7706 - bc1q2gazw0ln… 1
    deposit-confirmed-v1_btc                      | deposit confirmed 48126327 - - 3QoR4nhgwjmi… 1
    deposit-confirmed-v1_xrp                      | deposit confirmed 48126364 - - rMHQEuqHiGoX… 1
    deposit-confirmed-with_error                  | deposit confirmed 48121813 customer-7017 player-7017 bc1q9gkrrl67… 1
    deposit-confirmed-xrp_tag                     | deposit confirmed 48121258 customer-7012 player-7012 ro37EGSP4g1i… 1
    deposit-failed-undocumented_status            | deposit failed 48122183 customer-7020 - bc1quj3c8q6g… 1
    deposit-not_confirmed-btc                     | deposit not_confirmed 48120037 customer-7001 - bc1q8ue4dqkp… 1
    deposit-on_hold-unknown_status                | deposit on_hold 48127104 customer-7707 - bc1qs86un77q… 1
    deposit_exchange-confirmed-btc_eur            | deposit_exchange confirmed 48122627 wallet/7102 player-7102 3LyEW464zSiJ… 1
    deposit_exchange-confirmed-legacy_futures     | deposit_exchange confirmed 48122775 wallet/7103 - 3Fxg7KKdEyTD… 1
    deposit_exchange-confirmed-no_amounts         | deposit_exchange confirmed 48122960 wallet/7104 player-7104 3RnShcmzFfh3… 1
    deposit_exchange-not_confirmed-btc_eur        | deposit_exchange not_confirmed 48122516 wallet/7101 player-7101 3tvDZZDmWYiM… 1
    deposit_wallet_client-confirmed-unknown_type  | deposit_wallet_client confirmed 48126438 - - bc1qrkd2w20c… 1
    exchange-confirmed-btc_eth                    | exchange confirmed 48125291 - - - 0
    exchange-confirmed-btc_usd                    | exchange confirmed 48125439 - - - 0
    exchange-confirmed-eur_btc                    | exchange confirmed 48125365 - - - 0
    invoice-cancelled-undocumented                | invoice cancelled 3232 order-7412 player-7412 3tvBjq2AjzhP… 0
    invoice-confirmed-btc                         | invoice confirmed 3144 order-7404 player-7404 3qErNG8E4Bth… 1
    invoice-confirmed-eur                         | invoice confirmed 3155 order-7405 player-7405 39kjmFyFZZWh… 1
    invoice-confirmed-instalments                 | invoice confirmed 3177 order-7407 player-7407 3KjMpmR52xj2… 2
    invoice-confirmed-no_user_reference           | invoice confirmed 3166 order-7406 - 3e2zBmThbUGA… 1
    invoice-confirmed-remaining                   | invoice confirmed 3188 order-7408 player-7408 3VqWvg62HTWx… 1
    invoice-failed-not_paid                       | invoice failed 3199 order-7409 player-7409 32sSczZicUSX… 0
    invoice-failed-too_long                       | invoice failed 3221 order-7411 player-7411 3YMWzbo55ye7… 1
    invoice-failed-underpaid                      | invoice failed 3210 order-7410 player-7410 3HSiQztQy3tv… 1
    invoice-pending-instalment                    | invoice pending 3122 order-7402 player-7402 3tEviZRghbEm… 1
    invoice-pending-unpaid                        | invoice pending 3111 order-7401 player-7401 3DYL5Z68Lk5n… 0
    invoice-processing-mempool                    | invoice processing 3133 order-7403 player-7403 3nZsx6Qro1Eu… 1
    payment_request-expired-fixed_rate            | payment_request expired 019d4519-735… order_7504 - bc1qlx6nh263… 0
    payment_request-failed-btc_eth                | payment_request failed 019d7a6f-cf9… order_7505 - bc1q5jmyqza9… 0
    payment_request-paid-btc_eth                  | payment_request paid 019d9f4c-49d… order_7503 - bc1qyj2g6c7k… 0
    payment_request-processing-fixed_rate         | payment_request processing 019d4cc8-cd8… order_7501 - bc1qnklhs644… 0
    payment_request-processing-new_transaction    | payment_request processing 019d9066-a27… order_7502 - bc1qgm4xh5ht… 0
    withdrawal-cancelled-bad_address              | withdrawal cancelled 48123663 payout:7206 - abc-7206 0
    withdrawal-confirmed-bare                     | withdrawal confirmed 48124218 payout:7211 player-7211 bc1qdz2sepp3… 1
    withdrawal-confirmed-btc                      | withdrawal confirmed 48123774 payout:7207 player-7207 bc1qr0z9kdq6… 1
    withdrawal-confirmed-dashboard                | withdrawal confirmed 48124329 - - bc1q4fjhxx2g… 1
    withdrawal-confirmed-erc20_fee_in_eth         | withdrawal confirmed 48124107 payout:7210 player-7210 0x88f614d687… 1
    withdrawal-confirmed-eth                      | withdrawal confirmed 48123996 payout:7209 player-7209 0x74f9ce3c6f… 1
    withdrawal-confirmed-no_user_reference        | withdrawal confirmed 48123885 payout:7208 - bc1q357vf6j6… 1
    withdrawal-confirmed-number_txid              | withdrawal confirmed 48124440 payout:7213 player-7213 bc1qy7w7emch… 1
    withdrawal-confirmed-v1_btc                   | withdrawal confirmed 48126401 payout-7603 - 3FG6GnNgHYLN… 1
    withdrawal-declined-by_owner                  | withdrawal declined 48123441 payout:7204 player-7204 bc1qmcvpvg8w… 0
    withdrawal-failed-balance                     | withdrawal failed 48123552 payout:7205 player-7205 bc1qhajw2l3z… 0
    withdrawal-not_confirmed-btc                  | withdrawal not_confirmed 48123330 payout:7203 player-7203 bc1qxl0mnavj… 1
    withdrawal-pending-limit                      | withdrawal pending 48123108 payout:7201 player-7201 bc1qcn35xyv2… 0
    withdrawal-processing-undocumented            | withdrawal processing 48123219 payout:7202 player-7202 bc1ql8e92mh5… 0
    withdrawal_exchange-confirmed-new_shape       | withdrawal_exchange confirmed 48124736 payout:7302 player-7302 bc1qyh220lv3… 1
    withdrawal_exchange-confirmed-no_amounts      | withdrawal_exchange confirmed 48124884 payout:7303 player-7303 bc1qrfqjgy5z… 1
    withdrawal_exchange-confirmed-old_shape       | withdrawal_exchange confirmed 48124551 payout:7301 - 3q3Zc1wz4QmL… 1
    withdrawal_instant-confirmed-btc              | withdrawal_instant confirmed 48125032 payout:7304 player-7304 bc1q4j0h5gef… 1
    withdrawal_instant_exchange-confirmed-eur_ltc | withdrawal_i… confirmed 48125143 payout:7305 player-7305 ltc1qt4uw2gc… 1
    ");
}
