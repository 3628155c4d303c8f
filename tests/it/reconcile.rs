//! The processor's balances against the ledger: a difference is found in both directions, told once, and settled once it
//! is gone. Against the sandbox, on both databases.

use serde_json::json;
use tallyhook::booker::Placed;
use tallyhook::domain::account::AccountKind;
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::order::{Api, Correction, Order, Withdrawal};
use tallyhook::domain::reconcile::{Sides, Verdict};
use tallyhook::outbound::reconcile;
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::store;

use crate::resolution::deposit;
use crate::support::process::Deployment;
use crate::support::sandbox::{KEY, TestSandbox, amount, now_us};
use crate::support::{Backend, SECRET, TestApp, told};

const MAIN: MerchantId = MerchantId(1);

/// A processor that holds money we know nothing of.
async fn beside(backend: Backend, patience: &str, more: &[(&str, &str)]) -> (TestApp, TestSandbox) {
    let merchant = Merchant::new(KEY, SECRET, "http://127.0.0.1:9/").with_balance("BTC", amount("1.5"));
    let sandbox = TestSandbox::with(Options::new(merchant, now_us));
    let api = sandbox.sandbox.api();
    let mut settings =
        vec![("TALLYHOOK_ALPHAPO__BASE_URL", api.as_str()), ("TALLYHOOK_RECONCILE__PATIENCE_S", patience)];
    settings.extend(more);
    (TestApp::with(backend, &settings).await, sandbox)
}

async fn order(app: &TestApp, order: Order) -> Placed {
    app.running.as_ref().expect("it runs").app.booker.order(MAIN, order).await.expect("it is booked")
}

/// What a run found for bitcoin.
async fn run(app: &TestApp) -> store::reconcile::Line {
    let inner = &app.running.as_ref().expect("it runs").app;
    let run = reconcile::run(inner, MAIN, "a test").await.expect("a run");
    assert_eq!(run.error, None);
    run.lines.into_iter().find(|line| line.currency == "BTC").expect("bitcoin is on either side")
}

fn correction(debit: AccountKind, credit: AccountKind, sum: &str, discrepancy: Option<i64>) -> Order {
    Order::Correct(Correction {
        key: format!("{debit:?}-{sum}"),
        debit,
        credit,
        customer: None,
        currency: "BTC".to_owned(),
        amount: amount(sum),
        discrepancy,
        note: "found in the dashboard".to_owned(),
        by: "ops".to_owned(),
    })
}

async fn found_and_settled(backend: Backend) {
    let (app, sandbox) = beside(backend, "0", &[]).await;
    let surplus = run(&app).await;
    assert_eq!((surplus.verdict, surplus.sides.difference()), (Verdict::Open, Some(amount("1.5"))));
    let again = run(&app).await;
    assert_eq!((again.discrepancy, again.since_us), (surplus.discrepancy, surplus.since_us), "it is told once");
    let open = app.rows("/api/discrepancies").await;
    assert_eq!((open.len(), &open[0]["reason"]), (1, &json!("balance_surplus")));
    let deployment = Deployment::on(&app.url).set("TALLYHOOK_ALPHAPO__BASE_URL", &sandbox.sandbox.api());
    assert_eq!(deployment.set("TALLYHOOK_RECONCILE__PATIENCE_S", "0").run(&["reconcile", "run"]).code, Some(4));

    // Finance finds where it came from: half of it now, which leaves less open, and then the rest.
    order(&app, correction(AccountKind::Processor, AccountKind::Exchange, "1", surplus.discrepancy)).await;
    let rest = run(&app).await;
    assert_eq!(rest.verdict, Verdict::Open);
    assert_ne!(rest.discrepancy, surplus.discrepancy, "what is left after a correction is another difference");
    order(&app, correction(AccountKind::Processor, AccountKind::Exchange, "0.5", None)).await;
    assert_eq!(run(&app).await.verdict, Verdict::Matched);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    let events = told(&app.events().await);
    assert_eq!(events.matches("discrepancy.opened").count(), 2, "{events}");
    assert_eq!(Deployment::on(&app.url).run(&["reconcile", "report"]).code, Some(0));

    order(&app, correction(AccountKind::Processor, AccountKind::Exchange, "0.25", None)).await;
    let deficit = run(&app).await;
    assert_eq!((deficit.verdict, deficit.sides.difference()), (Verdict::Open, Some(amount("-0.25"))));
    assert_eq!(app.rows("/api/discrepancies").await[0]["reason"], "balance_deficit");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surplus_and_a_deficit_are_told_once_and_settled_when_gone() {
    found_and_settled(Backend::Postgres).await;
    found_and_settled(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_waits_for_callbacks_on_their_way() {
    let (app, sandbox) = beside(Backend::Sqlite, "900", &[]).await;
    let waiting = run(&app).await;
    assert_eq!((waiting.verdict, waiting.discrepancy), (Verdict::Waiting, None));
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    sandbox.sandbox.stop();
    let inner = &app.running.as_ref().expect("it runs").app;
    let silent = reconcile::run(inner, MAIN, "a test").await.expect("it is kept");
    assert!(silent.error.is_some() && silent.lines.is_empty());
    assert_eq!(run_of(&app).await, waiting.since_us, "a processor that is silent settles nothing");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_a_moment_later_is_no_surplus() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let (app, _sandbox) = beside(backend, "0", &[("TALLYHOOK_RECONCILE__SETTLE_S", "6")]).await;
        let later = async {
            // Some questions later, the comparison has begun.
            for _ in 0..20 {
                app.rows("/api/discrepancies").await;
            }
            assert_eq!(app.receive(&deposit(7_300_001, Some("ada"), "1", "tx-1")).await, 200);
        };
        let (line, ()) = tokio::join!(run(&app), later);
        assert_eq!(line.sides.difference(), Some(amount("0.5")), "only what nothing explains is left");
        let later = async { assert_eq!(app.receive(&deposit(7_300_002, Some("ada"), "0.5", "tx-2")).await, 200) };
        let (line, ()) = tokio::join!(run(&app), later);
        assert_eq!((line.verdict, line.discrepancy), (Verdict::Matched, None));
        app.finish().await;
    }
}

async fn run_of(app: &TestApp) -> Option<i64> {
    let inner = &app.running.as_ref().expect("it runs").app;
    let last = store::reconcile::last(&inner.db, MAIN).await.expect("the database").expect("a run");
    last.lines.iter().find(|line| line.currency == "BTC").and_then(|line| line.since_us)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_under_way_explains_what_is_missing() {
    let (app, _sandbox) = beside(Backend::Postgres, "0", &[]).await;
    order(&app, correction(AccountKind::Processor, AccountKind::Exchange, "1.75", None)).await;
    assert_eq!(run(&app).await.verdict, Verdict::Open);
    let request = Withdrawal {
        foreign_id: "w-1".to_owned(),
        customer: None,
        currency: "BTC".to_owned(),
        amount: amount("0.25"),
        currency_to: None,
        address: "bc1".to_owned(),
        tag: None,
        api: Api::Admin,
        request_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
        request: Vec::new(),
    };
    order(&app, Order::Withdrawal(request)).await;
    assert_eq!(run(&app).await.verdict, Verdict::Open, "one that was not sent explains nothing");
    servers_say(&app, "UPDATE withdrawals SET state = 4").await;
    assert_eq!(run(&app).await.verdict, Verdict::Explained);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

async fn servers_say(app: &TestApp, sql: &str) {
    use sea_orm::ConnectionTrait as _;
    app.running.as_ref().expect("it runs").app.db.orm.execute_unprepared(sql).await.expect("the database takes it");
}

#[test]
fn a_difference_is_judged_by_its_sign_what_is_on_its_way_and_its_age() {
    let judge = |ours, theirs, in_flight, age| {
        let sides = Sides { ours: amount(ours), theirs: amount(theirs), in_flight: amount(in_flight) };
        sides.judge(age, 10)
    };
    for (ours, theirs, in_flight, age, verdict) in [
        ("1", "1", "0", 99, Verdict::Matched),
        ("1", "1", "5", 0, Verdict::Matched),
        ("1", "0.5", "0.5", 99, Verdict::Explained),
        ("1", "0.499999999999999999", "0.5", 99, Verdict::Open),
        ("1", "0.4", "0.5", 9, Verdict::Waiting),
        ("1", "1.000000000000000001", "5", 10, Verdict::Open),
        ("-1", "0", "0", 0, Verdict::Waiting),
    ] {
        assert_eq!(judge(ours, theirs, in_flight, age), verdict, "{ours} {theirs} {in_flight} {age}");
    }
}
