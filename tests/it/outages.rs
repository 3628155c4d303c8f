//! The clock of reception: an outage is noticed, and what the processor's repeats make of it is told.

use std::time::Duration;

use proptest::prelude::*;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tallyhook::cli::serve::Running;
use tallyhook::domain::outage::{DELAYS_MIN, Span, outlook, schedule_us};
use tallyhook::store::{Db, outages};

use crate::page::Browser;
use crate::support::process::{Deployment, eventually};
use crate::support::{Backend, OPERATOR, TestApp, VIEWER, launch};

const MINUTE_US: i64 = 60_000_000;
const PATIENCE: Duration = Duration::from_secs(120);

fn minutes(from: i64, to: i64) -> Span {
    Span { from_us: from.saturating_mul(MINUTE_US), to_us: to.saturating_mul(MINUTE_US) }
}

fn text(spans: &[Span]) -> String {
    let text = |span: &Span| format!("{}..{}", span.from_us.div_euclid(MINUTE_US), span.to_us.div_euclid(MINUTE_US));
    spans.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_schedule_is_the_documented_one() {
    assert_eq!(schedule_us(), 1_461 * MINUTE_US);
}

#[test]
fn what_an_outage_makes_of_the_repeats() {
    // (outages in minutes, the one that is asked about first; repeats as attempt:first->back; lost; until)
    for (spans, repeats, lost, until) in [
        (vec![minutes(0, 1)], "1:0..1->1..2", "", 2),
        (vec![minutes(0, 30)], "1:29..30->30..31 2:24..29->30..35 3:9..24->30..45 4:0..9->51..60", "", 60),
        (vec![minutes(0, 1_461)], "", "", 1_701),
        (vec![minutes(0, 1_462)], "", "0..1", 1_702),
        (vec![minutes(0, 1_800)], "", "0..339", 2_040),
        // The repeats of the first fall into the second.
        (vec![minutes(0, 1), minutes(1, 2)], "2:0..1->6..7", "", 7),
        (vec![minutes(0, 1), minutes(1, 1_500)], "", "0..1", 1),
        (vec![minutes(0, 300), minutes(400, 2_000)], "", "79..99", 0),
    ] {
        let told = outlook(spans[0], &spans);
        let each = told
            .repeats
            .iter()
            .map(|repeat| format!("{}:{}->{}", repeat.attempt, text(&[repeat.first]), text(&[repeat.back])));
        let each = each.collect::<Vec<_>>().join(" ");
        assert!(repeats.is_empty() || each == repeats, "{spans:?}: {each}");
        assert_eq!(text(&told.lost), lost, "{spans:?}");
        if spans.len() < 2 || !repeats.is_empty() {
            assert_eq!(told.until_us.div_euclid(MINUTE_US), until, "{spans:?}");
        }
    }
}

proptest! {
    /// Minute by minute, by trying every attempt.
    #[test]
    fn the_outlook_is_what_trying_every_minute_says(
        spans in proptest::collection::vec((0_i64..4_000, 1_i64..2_500), 1..5),
    ) {
        let spans: Vec<_> = spans.into_iter().map(|(from, length)| minutes(from, from.saturating_add(length))).collect();
        let is_out = |minute: i64| {
            spans.iter().any(|span| (span.from_us..span.to_us).contains(&minute.saturating_mul(MINUTE_US)))
        };
        let sum = |attempts: usize| DELAYS_MIN.iter().take(attempts).sum::<i64>();
        let offsets: Vec<i64> = (1..=DELAYS_MIN.len()).map(sum).collect();
        let outage = spans[0];
        let told = outlook(outage, &spans);
        for minute in outage.from_us.div_euclid(MINUTE_US)..outage.to_us.div_euclid(MINUTE_US) {
            let heard = offsets.iter().position(|offset| !is_out(minute.saturating_add(*offset)));
            let at = minute.saturating_mul(MINUTE_US);
            let is_in = |span: &Span| (span.from_us..span.to_us).contains(&at);
            prop_assert_eq!(told.lost.iter().any(is_in), heard.is_none(), "minute {}", minute);
            let attempts: Vec<_> = told.repeats.iter().filter(|repeat| is_in(&repeat.first)).collect();
            prop_assert_eq!(attempts.iter().map(|repeat| repeat.attempt.saturating_sub(1)).collect::<Vec<_>>(),
                heard.into_iter().collect::<Vec<_>>(), "minute {}", minute);
            prop_assert!(attempts.iter().all(|repeat| repeat.back.to_us <= told.until_us));
        }
    }
}

async fn stop(running: Running) {
    running.app.stop.cancel();
    assert_eq!(running.until_stopped().await.expect("it stops in order"), 0);
}

/// As if nobody had received for so many minutes.
async fn silence(url: &str, minutes: i64) {
    let db = Db::lazy(url, 1).await.expect("a database");
    let sql = format!("UPDATE reception SET beat_us = beat_us - {}", minutes.saturating_mul(MINUTE_US));
    db.orm.execute_unprepared(&sql).await.expect("the database takes it");
}

async fn has_beaten(url: &str) {
    let db = Db::lazy(url, 1).await.expect("a database");
    let sql = "SELECT beat_us FROM reception WHERE beat_us > 0";
    eventually("reception is alive", PATIENCE, async || {
        let backend = db.orm.get_database_backend();
        let row = db.orm.query_one_raw(sea_orm::Statement::from_string(backend, sql)).await;
        row.expect("the database answers").map(drop)
    })
    .await;
}

async fn found(app: &TestApp, count: usize) -> Vec<Value> {
    eventually(&format!("{count} outages are noticed"), PATIENCE, async || {
        let rows = app.rows("/api/outages").await;
        (rows.len() == count).then_some(rows)
    })
    .await
}

async fn restart(app: &mut TestApp, minutes: i64) {
    has_beaten(&app.url).await;
    stop(app.running.take().expect("it runs")).await;
    silence(&app.url, minutes).await;
    let running = launch(&app.url, &[]).await;
    app.admin = format!("http://{}", running.admin);
    app.running = Some(running);
}

async fn noticed_and_told(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    has_beaten(&app.url).await;
    assert_eq!(app.rows("/api/outages").await.len(), 0, "a first start is no outage");

    restart(&mut app, 120).await;
    let rows = found(&app, 1).await;
    assert_eq!((&rows[0]["lost"], &rows[0]["repeating"]), (&json!([]), &json!(true)));
    assert!((7_200..7_260).contains(&rows[0]["seconds"].as_i64().expect("a number")), "{}", rows[0]);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0, "everything comes back by itself");

    restart(&mut app, 30 * 60).await;
    let rows = found(&app, 2).await;
    // The clock was put back, so the longer one began before the other.
    assert_eq!(rows[1]["lost"].as_array().map(Vec::len), Some(1), "{}", rows[1]);
    let open = eventually("someone is told", PATIENCE, async || {
        let open = app.rows("/api/discrepancies").await;
        (!open.is_empty()).then_some(open)
    })
    .await;
    assert_eq!((open.len(), &open[0]["reason"]), (1, &json!("outage")));
    eventually("the gauge is up", PATIENCE, async || {
        let page = app.client.get(format!("{}/metrics", app.admin)).send().await.expect("metrics").text().await;
        let page = page.expect("text");
        (page.contains("tallyhook_outages_open 1") && page.contains("tallyhook_repeats_pending 1")).then_some(())
    })
    .await;
    let report = Deployment::on(&app.url).run(&["reconcile", "report", "--output", "json"]);
    assert_eq!(report.code, Some(4), "{}", report.stderr);
    assert!(report.stdout.contains("can't come back by themselves"), "{}", report.stdout);
    let board = Browser::logged_in(&app, VIEWER).await.get("/reconciliation").await.text;
    for shown in ["1 d 6 h", "come back by themselves", "2 h 0 min", "repeats what this missed by itself"] {
        assert!(board.contains(shown), "{shown} is not on the board: {board}");
    }

    restart(&mut app, 0).await;
    has_beaten(&app.url).await;
    assert_eq!(app.rows("/api/outages").await.len(), 2, "a quick restart is no outage");
    let path = format!("/api/discrepancies/{}/resolve", open[0]["id"].as_str().expect("an id"));
    let note = json!({"action": "ignore", "note": "the export of that time is imported"});
    assert_eq!(app.send_json(&path, OPERATOR, &note).await.status, 200);
    assert_eq!(app.rows("/api/discrepancies").await.len(), 0);
    app.finish().await;
}

stories! { noticed_and_told }

#[tokio::test(flavor = "multi_thread")]
async fn as_long_as_one_replica_receives_there_is_no_outage() {
    let one = TestApp::start(Backend::Postgres).await;
    has_beaten(&one.url).await;
    let other = launch(&one.url, &[]).await;
    let db = &other.app.db;
    silence(&one.url, 10).await;
    // Both notice the same gap; one of them writes it down.
    let (left, right) = tokio::join!(outages::beat(db, MINUTE_US), outages::beat(db, MINUTE_US));
    let (left, right) = (left.expect("a beat"), right.expect("a beat"));
    assert!(!(left.is_some() && right.is_some()), "{left:?} {right:?}");
    assert_eq!(found(&one, 1).await.len(), 1);
    assert_eq!(outages::beat(db, MINUTE_US).await.expect("a beat"), None);
    stop(other).await;
    one.finish().await;
}
