//! What waits for the broker: how many events, and for how long, is what the alarm goes by; and how a long backlog is read.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::StatusCode;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use tallyhook::store::{Db, events, merchants};

use crate::resolution::deposit;
use crate::support::process::eventually;
use crate::support::servers::fresh_vhost;
use crate::support::{Backend, TestApp, launch};

const PATIENCE: Duration = Duration::from_secs(120);
/// Nothing listens there.
const NOWHERE: &str = "amqp://guest:guest@127.0.0.1:1/%2f";

async fn receive(app: &TestApp, ids: std::ops::RangeInclusive<u32>) {
    let bodies = ids.map(|id| deposit(id, Some(&format!("user-{id}")), "0.1", &format!("tx-{id}")));
    let answers = futures_util::stream::iter(bodies).map(|body| async move { app.receive(&body).await });
    let answers: Vec<StatusCode> = answers.buffer_unordered(64).collect().await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_broker_that_is_gone_is_told_with_its_age() {
    let app = TestApp::start(Backend::Postgres).await;
    receive(&app, 1..=3).await;
    let behind = launch(&app.url, &[("AMQP_URL", NOWHERE)]).await;
    let metrics = std::sync::Arc::clone(&behind.app.metrics);
    let shown = || (metrics.outbox_pending.get(), metrics.outbox_oldest_ms.get());
    let (_, first) = eventually("three wait", PATIENCE, async || Some(shown()).filter(|(count, _)| *count == 3)).await;
    receive(&app, 4..=5).await;
    let (_, age) = eventually("five wait", PATIENCE, async || Some(shown()).filter(|(count, _)| *count == 5)).await;
    assert!(age > first, "the oldest grew no older: {first} ms, then {age} ms");
    assert_eq!(metrics.broker_connected.get(), 0);
    behind.app.stop.cancel();
    assert_eq!(behind.until_stopped().await.expect("it stops in order"), 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_another_process_booked_is_told_while_it_shrinks() {
    const BOOKED: u64 = 2_000;
    /// A page, and what is confirmed while it is looked at.
    const SLACK: u64 = 600;
    let app = TestApp::start(Backend::Postgres).await;
    receive(&app, 1..=2_000).await;
    let amqp = fresh_vhost();
    let publishing = launch(&app.url, &[("AMQP_URL", &amqp), ("TALLYHOOK_BROKER__WINDOW", "4")]).await;
    let metrics = std::sync::Arc::clone(&publishing.app.metrics);
    let mut looked = 0;
    eventually("all is published", PATIENCE, async || {
        let (waits, published) = (metrics.outbox_pending.get(), metrics.events_published.get());
        if published > 0 {
            let all = waits.saturating_add(published);
            assert!((BOOKED..=BOOKED + SLACK).contains(&all), "{waits} wait when {published} are published");
            looked += 1;
        }
        (published == BOOKED && waits == 0).then_some(())
    })
    .await;
    assert!(looked > 3, "it was over too soon to be seen");
    publishing.app.stop.cancel();
    assert_eq!(publishing.until_stopped().await.expect("it stops in order"), 0);
    app.finish().await;
}

async fn number(db: &Db, sql: &str) -> Option<i64> {
    let row = db.orm.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.expect("an answer")?;
    row.try_get_by_index(0).expect("a number")
}

/// How often the tables of events were read from end to end, once only `others` connections are left.
async fn scans(url: &str, others: i64) -> i64 {
    const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    const SCANS: &str = "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables
        WHERE relname IN ('journal', 'callbacks', 'customers')";
    let db = Db::lazy(url, 1).await.expect("a database");
    let are_gone = async || number(&db, OPEN).await.filter(|open| *open == others);
    eventually("the other connections are gone", PATIENCE, are_gone).await;
    number(&db, SCANS).await.expect("they are counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_made_on_a_short_journal_reads_a_long_one_by_its_indexes() {
    const FROM_A_KEPT_PLAN: &str =
        "SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT j.position%'";
    let app = TestApp::start(Backend::Postgres).await;
    let url = app.url.clone();
    let db = Db::lazy(&url, 1).await.expect("a database");
    let names = merchants::all(&db).await.expect("the merchants");
    receive(&app, 1..=3).await;
    db.orm.execute_unprepared("ANALYZE journal, callbacks, customers").await.expect("their sizes are known");
    let pages = db.paging().await.expect("a database");
    assert_eq!(events::after(&pages, &names, 0, 500).await.expect("a page").len(), 3);
    receive(&app, 4..=700).await;
    app.finish().await;
    db.orm.close().await.expect("it closes");
    let before = scans(&url, 1).await;
    let page = events::after(&pages, &names, 0, 500).await.expect("a page");
    assert_eq!((page.len(), page.last().map(|event| event.position)), (500, Some(500)));
    // The other connection may be asked first, which has no plan.
    let twice = async || number(&pages, FROM_A_KEPT_PLAN).await.filter(|times| *times == 2);
    eventually("the plan was used twice", PATIENCE, twice).await;
    pages.orm.close().await.expect("it closes");
    assert_eq!(scans(&url, 0).await, before, "a table was read from end to end");
}
