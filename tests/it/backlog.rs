//! What the alarm goes by: how many events wait for the broker, and for how long.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::StatusCode;

use crate::resolution::deposit;
use crate::support::process::eventually;
use crate::support::servers::fresh_vhost;
use crate::support::{Backend, TestApp, launch};

const PATIENCE: Duration = Duration::from_secs(40);
/// Nothing listens there.
const NOWHERE: &str = "amqp://guest:guest@127.0.0.1:1/%2f";

async fn receive(app: &TestApp, ids: std::ops::RangeInclusive<u32>) {
    let bodies = ids.map(|id| deposit(id, Some("ada"), "0.1", &format!("tx-{id}")));
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
