//! Reconciliation that is done by two, or dies half-way: one run for each period, and nothing told twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tallyhook::domain::ids::MerchantId;
use tallyhook::outbound::reconcile;
use tallyhook::processor::sandbox::Options;
use tallyhook::processor::sandbox::world::Merchant;
use tallyhook::store::reconcile::{Run, runs};
use tallyhook::store::{Db, schema};

use crate::support::merchant::processor;
use crate::support::process::{Deployment, eventually};
use crate::support::sandbox::{KEY, TestSandbox, amount, now_us};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, SECRET, TestApp, launch, told};

const PATIENCE: Duration = Duration::from_secs(120);
const EVERY_US: i64 = 4_000_000;
/// Anything missing is told at once.
const IMPATIENT: (&str, &str) = ("TALLYHOOK_RECONCILE__PATIENCE_S", "0");

/// A processor that holds money we know nothing of.
fn rich() -> TestSandbox {
    let merchant = Merchant::new(KEY, SECRET, "http://127.0.0.1:9/").with_balance("BTC", amount("1.5"));
    TestSandbox::with(Options::new(merchant, now_us))
}

fn opened(events: &[serde_json::Value]) -> usize {
    told(events).matches("discrepancy.opened").count()
}

async fn until_runs(db: &Db, count: usize) -> Vec<Run> {
    let enough = async || Some(runs(db, i64::MAX, 100).await.expect("the database")).filter(|all| all.len() >= count);
    eventually(&format!("{count} runs"), PATIENCE, enough).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_compare_once_a_period_and_tell_once() {
    let sandbox = rich();
    let api = sandbox.sandbox.api();
    let settings = [("TALLYHOOK_ALPHAPO__BASE_URL", api.as_str()), IMPATIENT, ("TALLYHOOK_RECONCILE__EVERY_S", "4")];
    let app = TestApp::with(Backend::Postgres, &settings).await;
    let other = launch(&app.url, &settings).await;
    let all = until_runs(&other.app.db, 4).await;
    for pair in all.windows(2) {
        let apart_us = pair[0].began_us - pair[1].began_us;
        assert!(apart_us > EVERY_US / 2, "{apart_us} us apart: {all:?}");
    }
    assert_eq!(app.rows("/api/discrepancies?state=all").await.len(), 1);
    assert_eq!(opened(&app.events().await), 1);
    other.app.stop.cancel();
    other.until_stopped().await.expect("it stops in order");
    app.finish().await;
}

stories!(a_run_that_died_before_it_was_kept_tells_nothing_twice);

async fn a_run_that_died_before_it_was_kept_tells_nothing_twice(backend: Backend) {
    let sandbox = rich();
    let api = sandbox.sandbox.api();
    let app = TestApp::with(backend, &[("TALLYHOOK_ALPHAPO__BASE_URL", api.as_str()), IMPATIENT]).await;
    let inner = &app.running.as_ref().expect("it runs").app;
    let run = async || {
        let run = reconcile::run(inner, MerchantId(1), "a test").await.expect("a run");
        run.lines.into_iter().find(|line| line.currency == "BTC").expect("bitcoin").discrepancy
    };
    let first = run().await;
    assert!(first.is_some());
    // As if it had died between telling and keeping.
    for sql in ["DELETE FROM reconciled", "DELETE FROM reconciliations"] {
        inner.db.orm.execute_unprepared(sql).await.expect("the database takes it");
    }
    assert_eq!((run().await, run().await), (first, first));
    assert_eq!((app.rows("/api/discrepancies?state=all").await.len(), opened(&app.events().await)), (1, 1));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_two_merchants_it_goes_on_and_tells_nothing_twice() {
    let is_silent = Arc::new(AtomicBool::new(true));
    let silent = Arc::clone(&is_silent);
    let upstream = Upstream::start(move |seen| {
        let is_other = seen.header("X-Processing-Key") == Some("key-other");
        if is_other && silent.load(Ordering::SeqCst) {
            return Reply::Hang;
        }
        let balance = json!({"data": [{"currency": "BTC", "type": "crypto", "balance": "1"}]});
        Reply::Json(200, balance.to_string())
    })
    .await;
    let mut deployment = Deployment::on_sqlite();
    let other = [("TALLYHOOK_MERCHANTS__OTHER__KEY", "key-other"), ("TALLYHOOK_MERCHANTS__OTHER__SECRET", SECRET)];
    let often = [("TALLYHOOK_RECONCILE__EVERY_S", "1"), ("TALLYHOOK_ALPHAPO__TIMEOUT_MS", "60000"), IMPATIENT];
    for (name, value) in processor(&upstream.url).into_iter().chain(other).chain(often) {
        deployment = deployment.set(name, value);
    }
    let deployment = deployment.migrated();
    let mut server = deployment.serve().await;
    let is_asked = async || {
        let keys: Vec<_> =
            upstream.seen().iter().filter_map(|seen| seen.header("X-Processing-Key").map(str::to_owned)).collect();
        keys.iter().any(|key| key == "key-other").then_some(())
    };
    eventually("the second merchant is being compared", PATIENCE, is_asked).await;
    server.signal("KILL");
    server.until_ended(PATIENCE).await;

    is_silent.store(false, Ordering::SeqCst);
    let db = Db::lazy(deployment.setting("DATABASE_URL"), 1).await.expect("a database");
    assert_eq!(schema::missing(&db).await.expect("a status"), 0);
    assert_eq!(runs(&db, i64::MAX, 10).await.expect("runs").len(), 1, "the first merchant's is kept");
    // Two minutes pass: nobody has the lease any more.
    let sql = "UPDATE cursors SET until_us = 0 WHERE name = 'reconcile'";
    db.orm.execute_unprepared(sql).await.expect("the database takes it");
    let server = deployment.serve().await;
    let both = async || {
        let rows = deployment.api("/api/discrepancies?state=all").await["data"].as_array().cloned()?;
        (rows.len() == 2).then_some(rows)
    };
    let rows = eventually("both merchants are compared", PATIENCE, both).await;
    let merchants: std::collections::BTreeSet<_> = rows.iter().map(|row| row["merchant"].to_string()).collect();
    assert_eq!(merchants.len(), 2, "one each: {rows:?}");
    let before = runs(&db, i64::MAX, 100).await.expect("runs").len();
    until_runs(&db, before + 2).await;
    assert_eq!(deployment.api("/api/discrepancies?state=all").await["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.terminate().await, Some(0));
    deployment.assert_ledger_verifies();
}
