//! Stories of one customer's money, told over HTTP, on both databases.

use insta::assert_snapshot;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Backend, OPERATOR, TestApp, told};

stories!(
    a_confirmed_deposit_is_booked_once_however_often_it_is_sent,
    a_confirmation_may_overtake_its_announcement,
    a_cancellation_after_a_credit_is_held_and_moves_nothing,
    the_same_final_status_with_other_money_is_held,
    a_second_deposit_of_the_same_transaction_is_held,
    an_end_user_reference_is_attached_to_the_known_foreign_id,
    contradicting_references_go_to_suspense,
    an_unknown_customer_goes_to_suspense_where_the_merchant_wants_that,
    the_customer_bears_the_fee_where_the_merchant_wants_that,
    a_risky_deposit_goes_to_suspense,
    a_withdrawal_of_a_known_customer_is_settled,
    a_withdrawal_of_a_customer_nobody_knows_is_held,
    a_callback_that_the_database_refuses_is_kept_and_tried_again,
    two_merchants_never_share_a_customer_or_a_payment,
    a_balance_beyond_the_bound_is_held,
    amounts_of_every_size_and_sign_are_kept_to_the_last_digit,
);

/// A deposit in the processor's encoding.
struct Deposit<'a> {
    id: u64,
    user: Option<&'a str>,
    foreign_id: Option<&'a str>,
    amount: &'a str,
    net: &'a str,
    txid: &'a str,
    risk: &'a str,
}

impl Default for Deposit<'_> {
    fn default() -> Self {
        Self {
            id: 7_000_001,
            user: Some("ada"),
            foreign_id: Some("player-1"),
            amount: "0.50000000",
            net: "0.49600000",
            txid: "a1",
            risk: "0.1",
        }
    }
}

impl Deposit<'_> {
    fn told(&self, status: &str) -> String {
        let fee = if status == "confirmed" {
            json!([{"type": "fee_crypto_deposit", "currency": "BTC", "amount": "0.00400000"}])
        } else {
            json!([])
        };
        let mut body = json!({
            "id": self.id, "type": "deposit",
            "crypto_address": {"id": 31, "currency": "BTC", "address": "bc1-of-tests", "tag": null},
            "currency_sent": {"currency": "BTC", "amount": self.amount},
            "currency_received": {"currency": "BTC", "amount": self.amount, "amount_minus_fee": self.net},
            "transactions": [{"id": 41, "currency": "BTC", "transaction_type": "blockchain", "type": "deposit",
                "address": "bc1-of-tests", "tag": null, "amount": self.amount, "txid": self.txid,
                "riskscore": self.risk, "confirmations": "3"}],
            "fees": fee, "error": "", "status": status,
        });
        if let Some(user) = self.user {
            body["end_user_reference"] = json!(user);
        }
        if let Some(foreign_id) = self.foreign_id {
            body["crypto_address"]["foreign_id"] = json!(foreign_id);
        }
        body.to_string()
    }
}

fn withdrawal(id: u64, user: &str, amount: &str) -> String {
    json!({
        "id": id, "foreign_id": format!("payout-{id}"), "end_user_reference": user, "type": "withdrawal",
        "crypto_address": {"id": 51, "currency": "BTC", "address": "bc1-elsewhere", "tag": null},
        "currency_sent": {"currency": "BTC", "amount": amount},
        "currency_received": {"currency": "BTC", "amount": amount},
        "transactions": [{"id": 61, "currency": "BTC", "transaction_type": "blockchain", "type": "withdrawal",
            "address": "bc1-elsewhere", "tag": null, "amount": amount, "txid": "w1", "confirmations": "0"}],
        "fees": [{"type": "mining", "currency": "BTC", "amount": "0.00010000"}], "error": "", "status": "confirmed",
    })
    .to_string()
}

async fn a_confirmed_deposit_is_booked_once_however_often_it_is_sent(backend: Backend) {
    let app = TestApp::start(backend).await;
    let deposit = Deposit::default();
    for _ in 0..2 {
        assert_eq!(app.receive(&deposit.told("not_confirmed")).await, StatusCode::OK);
    }
    for _ in 0..5 {
        assert_eq!(app.receive(&deposit.told("confirmed")).await, StatusCode::OK);
    }
    assert_snapshot!(app.ledger().await, @r"
    available  ada              BTC    0.5
    fees       -                BTC    0.004
    processor  -                BTC    0.496
    ");
    assert_snapshot!(told(&app.events().await), @r"
    deposit.pending      player-1           BTC 0.5 fee - after -
    deposit.credited     player-1           BTC 0.5 fee 0.004 after 0.5
    ");
    assert_snapshot!(app.callbacks().await, @r"
    deposit not_confirmed booked - x2
    deposit confirmed booked - x5
    ");
    app.finish().await;
}

async fn a_confirmation_may_overtake_its_announcement(backend: Backend) {
    let app = TestApp::start(backend).await;
    let deposit = Deposit::default();
    app.receive(&deposit.told("confirmed")).await;
    app.receive(&deposit.told("not_confirmed")).await;
    assert_snapshot!(app.callbacks().await, @r"
    deposit confirmed booked - x1
    deposit not_confirmed ignored stale x1
    ");
    assert_eq!(app.events().await.len(), 1);
    app.finish().await;
}

async fn a_cancellation_after_a_credit_is_held_and_moves_nothing(backend: Backend) {
    let app = TestApp::start(backend).await;
    let deposit = Deposit::default();
    app.receive(&deposit.told("confirmed")).await;
    let before = app.ledger().await;
    app.receive(&deposit.told("cancelled")).await;
    assert_eq!(app.ledger().await, before);
    assert_snapshot!(app.callbacks().await, @r"
    deposit confirmed booked - x1
    deposit cancelled held contradicts_final x1
    ");
    let open = app.rows("/api/discrepancies").await;
    assert_eq!(open.len(), 1);
    app.finish().await;
}

async fn the_same_final_status_with_other_money_is_held(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.receive(&Deposit::default().told("confirmed")).await;
    app.receive(&Deposit { amount: "9.50000000", ..Deposit::default() }.told("confirmed")).await;
    assert_snapshot!(app.callbacks().await, @r"
    deposit confirmed booked - x1
    deposit confirmed held contradicts_final x1
    ");
    app.finish().await;
}

async fn a_second_deposit_of_the_same_transaction_is_held(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.receive(&Deposit::default().told("confirmed")).await;
    app.receive(&Deposit { id: 7_000_002, ..Deposit::default() }.told("confirmed")).await;
    app.receive(&Deposit { id: 7_000_003, txid: "b2", ..Deposit::default() }.told("confirmed")).await;
    assert_snapshot!(app.callbacks().await, @r"
    deposit confirmed booked - x1
    deposit confirmed held possible_duplicate x1
    deposit confirmed booked - x1
    ");
    app.finish().await;
}

async fn an_end_user_reference_is_attached_to_the_known_foreign_id(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.receive(&Deposit { user: None, ..Deposit::default() }.told("confirmed")).await;
    app.receive(&Deposit { id: 2, txid: "b", ..Deposit::default() }.told("confirmed")).await;
    app.receive(&Deposit { id: 3, txid: "c", foreign_id: None, ..Deposit::default() }.told("confirmed")).await;
    assert_snapshot!(app.ledger().await, @r"
    available  player-1         BTC    1.5
    fees       -                BTC    0.012
    processor  -                BTC    1.488
    ");
    let by_user = app.get("/api/balances?customer=ada", OPERATOR).await;
    assert_eq!(by_user.json["data"][0]["balance"], "1.5", "{}", by_user.json);
    app.finish().await;
}

async fn contradicting_references_go_to_suspense(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.receive(&Deposit { foreign_id: None, ..Deposit::default() }.told("confirmed")).await;
    app.receive(&Deposit { id: 2, txid: "b", user: None, ..Deposit::default() }.told("confirmed")).await;
    app.receive(&Deposit { id: 3, txid: "c", ..Deposit::default() }.told("confirmed")).await;
    assert_snapshot!(app.ledger().await, @r"
    available  ada              BTC    0.5
    available  player-1         BTC    0.5
    fees       -                BTC    0.012
    processor  -                BTC    1.488
    suspense   -                BTC    0.5
    ");
    assert_snapshot!(told(&app.events().await), @r"
    deposit.credited     ada                BTC 0.5 fee 0.004 after 0.5
    deposit.credited     player-1           BTC 0.5 fee 0.004 after 0.5
    discrepancy.opened   player-1           BTC 0.5 fee 0.004 after -
    ");
    app.finish().await;
}

async fn an_unknown_customer_goes_to_suspense_where_the_merchant_wants_that(backend: Backend) {
    let app = TestApp::with(backend, &[("TALLYHOOK_MERCHANTS__MAIN__UNKNOWN_CUSTOMER", "suspense")]).await;
    app.receive(&Deposit::default().told("confirmed")).await;
    assert_snapshot!(app.callbacks().await, @"deposit confirmed booked customer_unknown x1");
    assert_snapshot!(app.ledger().await, @r"
    fees       -                BTC    0.004
    processor  -                BTC    0.496
    suspense   -                BTC    0.5
    ");
    app.finish().await;
}

async fn the_customer_bears_the_fee_where_the_merchant_wants_that(backend: Backend) {
    let app = TestApp::with(backend, &[("TALLYHOOK_MERCHANTS__MAIN__CREDIT", "net")]).await;
    app.receive(&Deposit::default().told("confirmed")).await;
    assert_snapshot!(app.ledger().await, @r"
    available  ada              BTC    0.496
    processor  -                BTC    0.496
    ");
    assert_snapshot!(told(&app.events().await), @"deposit.credited     player-1           BTC 0.496 fee 0.004 after 0.496");
    app.finish().await;
}

async fn a_risky_deposit_goes_to_suspense(backend: Backend) {
    let app = TestApp::with(backend, &[("TALLYHOOK_MERCHANTS__MAIN__RISK_LIMIT", "0.75")]).await;
    app.receive(&Deposit { risk: "0.8", ..Deposit::default() }.told("confirmed")).await;
    app.receive(&Deposit { id: 2, txid: "b", risk: "0.75", ..Deposit::default() }.told("confirmed")).await;
    assert_snapshot!(app.callbacks().await, @r"
    deposit confirmed booked risk_score x1
    deposit confirmed booked - x1
    ");
    app.finish().await;
}

async fn a_withdrawal_of_a_known_customer_is_settled(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.receive(&Deposit::default().told("confirmed")).await;
    app.receive(&withdrawal(8_000_001, "ada", "0.20000000")).await;
    assert_snapshot!(app.ledger().await, @r"
    available  ada              BTC    0.3
    fees       -                BTC    0.0041
    processor  -                BTC    0.2959
    ");
    assert_snapshot!(told(&app.events().await), @r"
    deposit.credited     player-1           BTC 0.5 fee 0.004 after 0.5
    withdrawal.settled   ada                BTC 0.2 fee 0.0001 after 0.3
    ");
    app.finish().await;
}

async fn a_withdrawal_of_a_customer_nobody_knows_is_held(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.receive(&withdrawal(8_000_001, "nobody", "0.20000000")).await;
    assert_snapshot!(app.callbacks().await, @"withdrawal confirmed held unknown_customer x1");
    assert_snapshot!(app.ledger().await, @"");
    app.finish().await;
}

/// A trigger that refuses the payment 666 stands for whatever a database may refuse, and what ends it.
pub(crate) const fn refusing(backend: Backend) -> (&'static str, &'static str) {
    match backend {
        Backend::Postgres => (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.ext_id = '666' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION refuse()",
            "DROP TRIGGER refuse ON payments",
        ),
        Backend::Sqlite => (
            "CREATE TRIGGER refuse BEFORE INSERT ON payments WHEN NEW.ext_id = '666'
             BEGIN SELECT RAISE(ABORT, 'not this one'); END",
            "DROP TRIGGER refuse",
        ),
    }
}

async fn a_callback_that_the_database_refuses_is_kept_and_tried_again(backend: Backend) {
    let app = TestApp::start(backend).await;
    let db = &app.running.as_ref().expect("it runs").app.db;
    let (refuse, allow) = refusing(backend);
    sea_orm::ConnectionTrait::execute_unprepared(&db.orm, refuse).await.expect("a trigger");
    let bodies: Vec<_> = [665, 666, 667]
        .map(|id| Deposit { id, txid: &id.to_string(), ..Deposit::default() }.told("confirmed"))
        .to_vec();
    let answers = futures_util::future::join_all(bodies.iter().map(|body| app.receive(body))).await;
    assert_eq!(answers, [StatusCode::OK; 3], "every one of them is on disk");
    let failed = app.rows("/api/callbacks?state=failed").await;
    assert_eq!(failed.len(), 1, "only the one at fault");
    assert_eq!(failed[0]["payment_id"], "666");
    assert_eq!(app.events().await.len(), 2);

    sea_orm::ConnectionTrait::execute_unprepared(&db.orm, allow).await.expect("no trigger");
    let id = failed[0]["id"].as_str().expect("an id");
    let replayed = app.send_json(&format!("/api/callbacks/{id}/replay"), OPERATOR, &json!({"dry_run": false})).await;
    assert_eq!(replayed.status, StatusCode::OK, "{}", replayed.json);
    assert_eq!(app.rows("/api/callbacks?state=failed").await.len(), 0);
    assert_eq!(app.events().await.len(), 3);
    assert_eq!(app.receive(&bodies[1]).await, StatusCode::OK);
    assert_eq!(app.events().await.len(), 3);
    app.finish().await;
}

async fn two_merchants_never_share_a_customer_or_a_payment(backend: Backend) {
    let other = [
        ("TALLYHOOK_MERCHANTS__OTHER__KEY", "key-other"),
        ("TALLYHOOK_MERCHANTS__OTHER__SECRET", crate::support::SECRET),
    ];
    let app = TestApp::with(backend, &other).await;
    let body = Deposit::default().told("confirmed");
    for merchant in ["main", "other", "main", "other"] {
        assert_eq!(app.receive_for(merchant, body.as_bytes()).await, StatusCode::OK);
    }
    let balances = app.rows("/api/balances?customer=ada").await;
    let mut seen: Vec<_> = balances.iter().map(|row| (row["merchant"].clone(), row["balance"].clone())).collect();
    seen.sort_by_key(|(merchant, _)| merchant.to_string());
    assert_eq!(seen, [(json!("main"), json!("0.5")), (json!("other"), json!("0.5"))]);
    app.finish().await;
}

async fn a_balance_beyond_the_bound_is_held(backend: Backend) {
    let app = TestApp::start(backend).await;
    let most = "99999999999999999999.0";
    for (id, txid) in [(1, "a"), (2, "b"), (3, "c")] {
        let amount = if id == 3 { "0.5" } else { most };
        app.receive(&Deposit { id, txid, amount, net: amount, ..Deposit::default() }.told("confirmed")).await;
    }
    assert_snapshot!(app.callbacks().await, @r"
    deposit confirmed booked - x1
    deposit confirmed held balance_limit x1
    deposit confirmed booked - x1
    ");
    app.finish().await;
}

async fn amounts_of_every_size_and_sign_are_kept_to_the_last_digit(backend: Backend) {
    const AMOUNTS: [&str; 9] = [
        "0.000000000000000001",
        "0.0001",
        "0.00009999",
        "1",
        "9999.9999",
        "10000",
        "100000001.00000001",
        "12345678901234567890.123456789012345678",
        "99999999999999999999.999999999999999999",
    ];
    let app = TestApp::start(backend).await;
    for ((id, withdrawn), amount) in (1..).zip(101..).zip(AMOUNTS) {
        let (user, txid) = (format!("user-{id}"), format!("tx-{id}"));
        let deposit =
            Deposit { id, user: Some(&user), foreign_id: Some(&user), amount, net: amount, txid: &txid, risk: "0.1" };
        assert_eq!(app.receive(&deposit.told("confirmed")).await, StatusCode::OK);
        assert_eq!(app.rows(&format!("/api/balances?customer={user}")).await[0]["balance"], amount);
        // More than there is: the processor says so, so the balance is below zero.
        if id < 8 {
            app.receive(&withdrawal(withdrawn, &user, "20000000000000000000.000000000000000003")).await;
        }
    }
    assert_snapshot!(app.ledger().await);
    let told: Vec<_> = app.events().await.iter().map(|event| event["data"]["amount"].clone()).collect();
    let deposits: Vec<_> = told.iter().filter(|amount| AMOUNTS.iter().any(|known| *amount == known)).collect();
    assert_eq!(deposits, AMOUNTS.iter().collect::<Vec<_>>());
    app.finish().await;
}
