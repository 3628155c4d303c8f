//! `kill -9` at random moments under load: whatever got a 200 is booked, once, and what was told stays told.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::books::{Follower, assert_balances, assert_credited_once, assert_still_there, feed};
use crate::support::process::{Deployment, eventually};
use crate::support::queue::{CREDITED, EVERYTHING, assert_credits_published, assert_published, bind_everything, drain};
use crate::support::sender::{Load, seed};
use crate::support::servers::{fresh_database, fresh_vhost};

const KILLS: u32 = 20;
/// Each makes two bodies, and some of them are sent again.
const PAYMENTS_A_ROUND: usize = 200;
const CONNECTIONS: u64 = 8;
/// Every so many rounds, the kill waits for the lease of the killed publisher to run out, so that it strikes while
/// events are being sent.
const PUBLISHING_EVERY: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn what_got_a_200_survives_twenty_kills_on_postgres() {
    survive(Deployment::on(&fresh_database().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_got_a_200_survives_twenty_kills_on_sqlite() {
    survive(Deployment::on_sqlite()).await;
}

async fn survive(deployment: Deployment) {
    let seed = seed();
    let mut dice = StdRng::seed_from_u64(seed);
    let amqp = fresh_vhost();
    bind_everything(&amqp).await;
    let deployment = deployment.set("AMQP_URL", &amqp).migrated();
    let mut load = Load::start(&[&deployment], CONNECTIONS, seed);
    let follower = Follower::start(&deployment);
    for round in 0..KILLS {
        let server = deployment.serve().await;
        if round % PUBLISHING_EVERY == PUBLISHING_EVERY - 1 {
            until_publishing(&deployment).await;
        }
        let bodies = dice.random_range(1..=400);
        let taken = load.tally.taken().saturating_add(bodies);
        load.add(PAYMENTS_A_ROUND);
        load.until_taken(taken).await;
        // Anywhere within a batch, not just behind an answer.
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..5_000))).await;
        server.kill9();
    }
    assert!(load.tally.cut_off() > 0, "no kill struck a request, so this proves nothing");

    let server = deployment.serve().await;
    let sent = load.finish().await;
    deployment.until_published().await;
    let told = feed(&deployment).await;
    assert_credited_once(&sent, &told);
    assert_balances(&sent, &deployment).await;
    assert_still_there(&follower.finish().await, &told);
    assert_eq!(server.terminate().await, Some(0), "it stops in order");
    assert_published(&drain(&amqp, EVERYTHING).await, &told);
    assert_credits_published(&drain(&amqp, CREDITED).await, &told);
    deployment.assert_ledger_verifies();
}

async fn until_publishing(deployment: &Deployment) {
    eventually("this process publishes", Duration::from_secs(120), async || {
        (deployment.metric("events_published_total").await > 0).then_some(())
    })
    .await;
}
