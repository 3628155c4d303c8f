//! Servers that go away under load and come back: the broker's absence touches nobody who sends, the database's is
//! answered with 503; nothing is lost, nothing doubled, and nobody restarts Tallyhook.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::books::{assert_balances, assert_credited_once, feed};
use crate::support::deposits::Deposit;
use crate::support::process::{Deployment, eventually};
use crate::support::queue::{
    CREDITED, EVERYTHING, assert_credits_published, assert_published, bind_everything, declare_credited,
    delete_credited, drain, until_credited_survives_a_crash,
};
use crate::support::sender::{Load, seed, send};
use crate::support::servers::{OwnPostgres, OwnRabbit, fresh_database, fresh_vhost};

const CONNECTIONS: u64 = 8;
const PAYMENTS: usize = 250;
/// Requests that must have been put off before the database comes back.
const PUT_OFF_MIN: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_under_load_delays_events_and_nothing_else() {
    let rabbit = OwnRabbit::start().await;
    bind_everything(&rabbit.url).await;
    let deployment = Deployment::on(&fresh_database().await).set("AMQP_URL", &rabbit.url).migrated();
    let server = deployment.serve().await;
    let mut load = Load::start(&[&deployment], CONNECTIONS, seed());
    load.add(PAYMENTS);
    load.until_taken(200).await;
    eventually("events reach the broker before it dies", PATIENCE, async || {
        (deployment.metric("events_published_total").await > 0).then_some(())
    })
    .await;
    until_credited_survives_a_crash(&rabbit.dir).await;

    load.add(PAYMENTS);
    let before = load.tally.taken();
    rabbit.stop_immediate().await;
    eventually("the connection is missed", PATIENCE, async || {
        (deployment.metric("broker_connected").await == 0).then_some(())
    })
    .await;
    let published = deployment.metric("events_published_total").await;
    load.add(PAYMENTS);
    load.until_taken(before.saturating_add(400)).await;
    assert_eq!(deployment.metric("events_published_total").await, published, "nobody is there to confirm");
    let outbox = deployment.api("/api/outbox").await;
    assert!(outbox["pending"].as_u64() > Some(100), "events wait for the broker: {outbox}");
    let (status, ready) = deployment.public("/readyz").await.expect("it answers");
    assert!(status == 200 && ready.contains("disconnected"), "its troubles are said, and are not ours: {ready}");
    load.add(PAYMENTS);
    rabbit.start_again().await;
    let tally = Arc::clone(&load.tally);
    let sent = load.finish().await;
    assert_eq!((tally.put_off(), tally.cut_off()), (0, 0), "every answer is a 200");

    deployment.until_published().await;
    let told = feed(&deployment).await;
    assert_credited_once(&sent, &told);
    assert_balances(&sent, &deployment).await;
    assert_published(&drain(&rabbit.url, EVERYTHING).await, &told);
    assert_credits_published(&drain(&rabbit.url, CREDITED).await, &told);
    assert_eq!(server.terminate().await, Some(0), "it stops in order");
    deployment.assert_ledger_verifies();
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_that_no_queue_takes_wait_and_alarm_until_one_does() {
    let amqp = fresh_vhost();
    let deployment = Deployment::on(&fresh_database().await).set("AMQP_URL", &amqp).migrated();
    let server = deployment.serve().await;
    let first = Deposit { number: 1 };
    assert!(matches!(send(&deployment.client, deployment.public, first.confirmed().as_bytes()).await, Some((200, _))));
    eventually("the first credit is published", PATIENCE, async || {
        (deployment.metric("events_published_total").await == 1).then_some(())
    })
    .await;
    deployment.until_published().await;
    assert_eq!(deployment.metric("publishing_blocked").await, 0);
    delete_credited(&amqp).await;

    let second = Deposit { number: 2 };
    for body in [second.announced(), second.confirmed()] {
        assert!(matches!(send(&deployment.client, deployment.public, body.as_bytes()).await, Some((200, _))));
    }
    eventually("publishing alarms", PATIENCE, async || {
        let is_blocked = deployment.metric("publishing_blocked").await == 1;
        (is_blocked && deployment.metric("outbox_pending").await > 0).then_some(())
    })
    .await;
    // Tried again and again, it stays where it is: behind the announcement, before the credit.
    let returned = deployment.metric("events_returned_total").await;
    eventually("the credit is tried again", PATIENCE, async || {
        (deployment.metric("events_returned_total").await > returned).then_some(())
    })
    .await;
    let outbox = deployment.api("/api/outbox").await;
    assert_eq!((&outbox["position"], &outbox["pending"]), (&"2".into(), &1.into()), "{outbox}");
    assert_eq!(outbox["blocked"], true, "{outbox}");
    assert_eq!(deployment.metric("events_published_total").await, 2, "nothing counts as published that is not");

    declare_credited(&amqp).await;
    deployment.until_published().await;
    let told = feed(&deployment).await;
    let arrived = drain(&amqp, CREDITED).await;
    assert_eq!(arrived.len(), 1, "{arrived:?}");
    assert_eq!(told.get(&3), Some(&arrived[0].bytes));
    eventually("the alarm ends", PATIENCE, async || (deployment.metric("publishing_blocked").await == 0).then_some(()))
        .await;
    assert_credited_once(&[first, second], &told);
    assert_eq!(server.terminate().await, Some(0), "it stops in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_under_load_is_answered_503_until_it_is_back() {
    let postgres = OwnPostgres::start().await;
    let amqp = fresh_vhost();
    bind_everything(&amqp).await;
    let deployment = Deployment::on(&postgres.fresh_database().await).set("AMQP_URL", &amqp).migrated();
    let server = deployment.serve().await;
    let (mut watch, end) = (JoinSet::new(), CancellationToken::new());
    watch.spawn(liveness(deployment.clone(), end.clone()));
    let mut load = Load::start(&[&deployment], CONNECTIONS, seed());
    load.add(PAYMENTS);
    load.until_taken(100).await;

    load.add(PAYMENTS);
    postgres.stop_immediate().await;
    // Started while the database is away, a replica waits for it.
    let late = deployment.replica().set("TALLYHOOK_DATABASE__CONNECT_TIMEOUT_S", "300");
    let mut waiting = late.spawn();
    until_readiness(&deployment, 503).await;
    eventually("senders are put off", PATIENCE, async || (load.tally.put_off() >= PUT_OFF_MIN).then_some(())).await;
    eventually("the replica says that it waits", PATIENCE, async || {
        waiting.log().contains("Waiting for the database").then_some(())
    })
    .await;
    let taken = load.tally.taken();
    load.add(PAYMENTS);
    postgres.start_again().await;
    until_readiness(&deployment, 200).await;
    waiting.until_ready().await;
    load.until_taken(taken.saturating_add(100)).await;
    let tally = Arc::clone(&load.tally);
    let sent = load.finish().await;
    assert_eq!(tally.cut_off(), 0, "everybody got an answer");
    end.cancel();
    let statuses = watch.join_next().await.expect("it watches").expect("it can watch");
    assert_eq!(statuses, BTreeSet::from([Some(200)]), "the process was alive throughout");

    deployment.until_published().await;
    let told = feed(&deployment).await;
    assert_credited_once(&sent, &told);
    assert_balances(&sent, &deployment).await;
    assert_published(&drain(&amqp, EVERYTHING).await, &told);
    for server in [server, waiting] {
        assert_eq!(server.terminate().await, Some(0), "it stops in order");
    }
    deployment.assert_ledger_verifies();
}

/// Everything that `/livez` answers until the end.
async fn liveness(deployment: Deployment, end: CancellationToken) -> BTreeSet<Option<u16>> {
    let mut statuses = BTreeSet::new();
    while !end.is_cancelled() {
        statuses.insert(deployment.public("/livez").await.map(|(status, _)| status));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    statuses
}

async fn until_readiness(deployment: &Deployment, expected: u16) {
    eventually(&format!("readiness answers {expected}"), PATIENCE, async || {
        let (status, _) = deployment.public("/readyz").await?;
        (status == expected).then_some(())
    })
    .await;
}
