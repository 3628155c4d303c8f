//! A merchant whose deposits never stop: at every comparison some are on their way. What is lost among them is told all the
//! same, and nothing that comes meanwhile passes for it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tallyhook::cli::serve::Part;
use tallyhook::domain::amount::Amount;
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::order::{Api, Order, Withdrawal};
use tallyhook::domain::reconcile::{Sides, Verdict};
use tallyhook::outbound::reconcile;
use tallyhook::store;

use crate::resolution::deposit;
use crate::support::merchant::processor;
use crate::support::sandbox::amount;
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, TestApp};

stories! { what_is_lost_while_deposits_keep_coming_is_told, what_is_under_way_settles_no_surplus }

const MAIN: MerchantId = MerchantId(1);
const PATIENCE_US: i64 = 4_000_000;
/// In hundredths of a bitcoin.
const EACH: i64 = 25;
const LOST: i64 = 110;

/// The processor, which holds what the test says, in hundredths.
struct Held {
    balance: Arc<AtomicI64>,
    upstream: Upstream,
}

impl Held {
    async fn start() -> Self {
        let balance = Arc::new(AtomicI64::new(0));
        let told = Arc::clone(&balance);
        let upstream = Upstream::start(move |_| {
            let balance = hundredths(told.load(Ordering::SeqCst));
            Reply::Json(200, json!({"data": [{"currency": "BTC", "type": "crypto", "balance": balance}]}).to_string())
        })
        .await;
        Self { balance, upstream }
    }

    fn add(&self, hundredths: i64) {
        self.balance.fetch_add(hundredths, Ordering::SeqCst);
    }
}

fn hundredths(count: i64) -> String {
    format!("{}.{:02}", count.div_euclid(100), count.rem_euclid(100))
}

/// Without the work in the background: the test says when it is compared.
async fn beside(backend: Backend, held: &Held, more: &[(&str, &str)]) -> TestApp {
    let mut settings = processor(&held.upstream.url);
    settings.extend(more);
    TestApp::as_part(backend, &settings, Part::Receive).await
}

async fn run(app: &TestApp) -> store::reconcile::Line {
    let inner = &app.running.as_ref().expect("it runs").app;
    let run = reconcile::run(inner, MAIN, "a test").await.expect("a run");
    assert_eq!(run.error, None);
    run.lines.into_iter().find(|line| line.currency == "BTC").expect("bitcoin is on either side")
}

/// Deposits without an end, of which the processor has the first: the next is there before this one's callback comes.
async fn trade(app: &TestApp, held: &Held, is_over: &AtomicBool) {
    let mut number = 7_400_000;
    while !is_over.load(Ordering::SeqCst) {
        held.add(EACH);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let body = deposit(number, Some("ada"), &hundredths(EACH), &format!("tx-{number}"));
        assert_eq!(app.receive(&body).await, 200);
        number = number.saturating_add(1);
    }
    let last = deposit(number, Some("ada"), &hundredths(EACH), &format!("tx-{number}"));
    assert_eq!(app.receive(&last).await, 200);
}

async fn what_is_lost_while_deposits_keep_coming_is_told(backend: Backend) {
    let held = Held::start().await;
    let settings = [("TALLYHOOK_RECONCILE__PATIENCE_S", "4"), ("TALLYHOOK_RECONCILE__SETTLE_S", "1")];
    let app = beside(backend, &held, &settings).await;
    held.add(LOST + EACH);
    let is_over = AtomicBool::new(false);
    let seen = Mutex::new(Vec::new());
    let told = async {
        let line = loop {
            let line = run(&app).await;
            assert!(line.sides.surplus() >= amount(&hundredths(LOST + EACH)), "nothing hides it: {:?}", line.sides);
            let units = line.sides.ours.units().div_euclid(10_i128.pow(16));
            assert_eq!(units.rem_euclid(i128::from(EACH)), 0, "a balance that the ledger had: {:?}", line.sides);
            if line.verdict == Verdict::Open {
                break line;
            }
            assert_eq!((line.verdict, line.discrepancy), (Verdict::Waiting, None));
            seen.lock().expect("no test panics while it holds this").push(line.since_us);
        };
        let opened = app.rows("/api/discrepancies").await;
        // What comes goes on, more in a moment than what is lost: nothing settles it, and it is told once.
        for _ in 0..2 {
            let again = run(&app).await;
            assert_eq!((again.verdict, again.discrepancy), (Verdict::Open, line.discrepancy));
        }
        is_over.store(true, Ordering::SeqCst);
        opened
    };
    let (opened, ()) = tokio::join!(told, trade(&app, &held, &is_over));
    let seen = seen.into_inner().expect("no test panics while it holds this");
    assert!(!seen.is_empty() && seen.iter().all(|since| *since == seen[0]), "it counts from the first: {seen:?}");
    assert_eq!((opened.len(), &opened[0]["reason"]), (1, &json!("balance_surplus")));

    // No more is told than was there at every run.
    let db = &app.running.as_ref().expect("it runs").app.db;
    let mut runs = store::reconcile::runs(db, i64::MAX, 100).await.expect("runs");
    runs.drain(..2);
    let within = runs.iter().filter(|run| run.began_us >= runs[0].began_us.saturating_sub(PATIENCE_US));
    let least = within.map(|run| run.lines[0].sides.surplus()).min().expect("a run");
    assert_eq!(opened[0]["amount"], least.to_string());

    let rest = run(&app).await;
    assert_eq!((rest.verdict, rest.sides.difference()), (Verdict::Open, Some(amount(&hundredths(LOST)))));
    assert_eq!(app.receive(&deposit(7_399_999, Some("ada"), &hundredths(LOST), "tx-lost")).await, 200);
    let line = run(&app).await;
    assert_eq!((line.verdict, line.discrepancy), (Verdict::Matched, None));
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

async fn what_is_under_way_settles_no_surplus(backend: Backend) {
    let held = Held::start().await;
    let app = beside(backend, &held, &[("TALLYHOOK_RECONCILE__PATIENCE_S", "0")]).await;
    assert_eq!(app.receive(&deposit(7_500_001, Some("ada"), "3", "tx-1")).await, 200);
    held.add(300 + LOST);
    let surplus = run(&app).await;
    assert_eq!((surplus.verdict, surplus.discrepancy.is_some()), (Verdict::Open, true));

    let inner = &app.running.as_ref().expect("it runs").app;
    let request = Withdrawal {
        foreign_id: "w-1".to_owned(),
        customer: None,
        currency: "BTC".to_owned(),
        amount: amount("2"),
        currency_to: None,
        address: "bc1".to_owned(),
        tag: None,
        api: Api::Admin,
        request_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
        request: Vec::new(),
    };
    inner.booker.order(MAIN, Order::Withdrawal(request)).await.expect("it is booked");
    inner.db.orm.execute_unprepared("UPDATE withdrawals SET state = 4").await.expect("the database takes it");
    held.add(-200);
    let masked = run(&app).await;
    assert_eq!((masked.verdict, masked.discrepancy), (Verdict::Explained, surplus.discrepancy));
    assert_eq!(app.rows("/api/discrepancies").await.len(), 1, "the surplus is still open");

    // More is missing than is under way: another difference, and each goes when the balances agree.
    held.add(-LOST - 100);
    let deficit = run(&app).await;
    assert_eq!(deficit.verdict, Verdict::Open);
    let reasons: Vec<_> = app.rows("/api/discrepancies").await.iter().map(|row| row["reason"].to_string()).collect();
    assert_eq!(reasons, [r#""balance_deficit""#, r#""balance_surplus""#]);
    held.add(300);
    assert_eq!(run(&app).await.verdict, Verdict::Matched);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

fn units(count: i64) -> Amount {
    Amount::from_units(i128::from(count)).expect("small")
}

proptest! {
    /// Whatever is on its way at each look of each run, at least what is lost counts, and no more than is seen.
    #[test]
    fn what_is_lost_never_counts_as_less(
        lost in 1_i64..1_000,
        booked in 0_i64..1_000,
        runs in proptest::collection::vec(proptest::collection::vec(0_i64..1_000, 1..6), 1..6),
    ) {
        let look = |on_its_way: &i64| Sides {
            ours: units(booked),
            theirs: units(booked.saturating_add(lost).saturating_add(*on_its_way)),
            in_flight: Amount::ZERO,
        };
        let of_run = |looks: &Vec<i64>| looks.iter().map(look).reduce(Sides::or_later).expect("a look");
        let mut sides: Vec<_> = runs.iter().map(of_run).collect();
        let least = runs.iter().flatten().min().expect("a look");
        for (sides, looks) in sides.iter().zip(&runs) {
            prop_assert_eq!(sides.surplus(), units(lost.saturating_add(*looks.iter().min().expect("a look"))));
            prop_assert_eq!(sides.judge(9, 10), Verdict::Waiting);
            prop_assert_eq!(sides.judge(10, 10), Verdict::Open);
        }
        let last = sides.pop().expect("a run");
        prop_assert_eq!(last.lasting(&sides), units(lost.saturating_add(*least)));
    }
}

#[test]
fn a_deficit_is_told_as_it_is_and_a_later_look_counts_only_for_a_surplus() {
    let sides =
        |ours: &str, theirs: &str| Sides { ours: amount(ours), theirs: amount(theirs), in_flight: Amount::ZERO };
    assert_eq!(sides("2", "1").lasting(&[sides("2", "1.5"), sides("1", "2")]), amount("-1"));
    assert_eq!(sides("1", "3").lasting(&[]), amount("2"));
    assert_eq!(sides("1", "3").lasting(&[sides("1", "2")]), amount("1"));
    assert_eq!(sides("1", "3").or_later(sides("3", "4")), sides("3", "4"));
    assert_eq!(sides("1", "3").or_later(sides("1", "4")), sides("1", "3"));
    assert_eq!(sides("1", "3").or_later(sides("3", "3")), sides("3", "3"));
    assert_eq!(sides("2", "1").or_later(sides("2", "2")), sides("2", "1"), "a deficit is not looked at again");
}
