//! Claims about what someone must be told of: each gauge that README alarms on moves with what it is about, the overview
//! says when looking has stopped, and whoever configures too little is warned.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tallyhook::metrics::Gauge;

use crate::page::Browser;
use crate::resolution::with_suspense;
use crate::support::merchant::beside;
use crate::support::process::{Deployment, eventually};
use crate::support::servers::fresh_database;
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Backend, OPERATOR, SECRET, TestApp, VIEWER};

const PATIENCE: Duration = Duration::from_secs(120);
const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

async fn until(what: &str, gauge: &Gauge, is_so: impl Fn(u64) -> bool) {
    eventually(what, PATIENCE, async || is_so(gauge.get()).then_some(())).await;
}

async fn say(app: &TestApp, sql: &str) {
    app.running.as_ref().expect("it runs").app.db.orm.execute_unprepared(sql).await.expect("SQL");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_in_suspense_and_a_proposal_that_is_stuck_are_told() {
    for backend in BOTH {
        let (app, id) = with_suspense(backend, &[]).await;
        let metrics = &app.running.as_ref().expect("it runs").app.metrics;
        until("one is open", &metrics.discrepancies_open, |open| open == 1).await;
        assert_eq!(metrics.held_open.get(), 0, "no callback is held");
        let mut browser = Browser::logged_in(&app, VIEWER).await;
        let overview = browser.get("/").await.text;
        assert!(overview.contains("To look at") && overview.contains("attention"), "{overview}");

        let assign = json!({"action": "assign", "customer": {"end_user_reference": "ada"}, "note": "theirs"});
        let asked = app.send_json(&format!("/api/discrepancies/{id}/resolve"), OPERATOR, &assign).await;
        assert_eq!(asked.status, 202, "{}", asked.json);
        // Let pass by a process that ended before it carried it out.
        say(&app, "UPDATE proposals SET state = 2, decided_by = 'boss', decided_us = 1").await;
        let shown = browser.get("/proposals").await.text;
        assert!(shown.contains("badge-approved"), "{shown}");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_looks_any_more_that_is_told() {
    for backend in BOTH {
        let upstream = Upstream::always(Reply::Json(200, json!({"data": []}).to_string())).await;
        let app = beside(backend, &upstream, &[("TALLYHOOK_RECONCILE__EVERY_S", "1")]).await;
        let metrics = &app.running.as_ref().expect("it runs").app.metrics;
        let compared = async || {
            (!app.rows("/api/checks").await.is_empty() && !upstream.seen_at("/accounts/list").is_empty()).then_some(())
        };
        eventually("it is checked and compared", PATIENCE, compared).await;
        // Nothing is due again for a while, and both were long ago.
        say(
            &app,
            "UPDATE cursors SET owner = 'somebody', until_us = 9000000000000000 WHERE name IN ('checks', 'reconcile')",
        )
        .await;
        for sql in [
            "UPDATE checks SET checked_us = checked_us - 7200000000",
            "UPDATE reconciliations SET ended_us = ended_us - 7200000000",
        ] {
            say(&app, sql).await;
        }
        until("the last check is long ago", &metrics.checked_age_s, |age| age > 7_000).await;
        until("the last comparison is long ago", &metrics.reconciled_age_s, |age| age > 7_000).await;
        let overview = Browser::logged_in(&app, VIEWER).await.get("/").await.text;
        assert_eq!(overview.matches(">late<").count(), 2, "{overview}");
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told() {
    let deployment = Deployment::on(&fresh_database().await).migrated();
    let server = deployment.serve().await;
    let name = deployment.setting("DATABASE_URL").rsplit_once('/').expect("a database's name").1;
    let db = tallyhook::store::Db::lazy(deployment.setting("DATABASE_URL"), 1).await.expect("a database");
    db.orm.execute_unprepared(&crate::clocks::shifted(name, "10 minutes")).await.expect("a clock");
    assert_eq!(server.terminate().await, Some(0));
    let server = deployment.serve().await;
    let apart = async || {
        let metrics = deployment.admin("/metrics").await?.1;
        let line = metrics.lines().find(|line| line.starts_with("tallyhook_clock_apart_seconds "))?;
        let seconds: f64 = line.rsplit_once(' ')?.1.parse().ok()?;
        (seconds > 500.0).then_some(())
    };
    eventually("ten minutes apart", PATIENCE, apart).await;
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_that_the_settings_lack_is_warned_of() {
    let deployment = Deployment::on_sqlite().migrated();
    let shop = deployment.clone().set("TALLYHOOK_MERCHANTS__SHOP__KEY", "key-shop");
    let server = shop.set("TALLYHOOK_MERCHANTS__SHOP__SECRET", SECRET).serve().await;
    assert!(!server.log().contains("not configured here"), "all are");
    assert_eq!(server.terminate().await, Some(0));
    let server = deployment.serve().await;
    assert!(server.log().contains("not configured here") && server.log().contains("shop"), "{}", server.log());
    assert_eq!(server.terminate().await, Some(0));
}
