//! Several processes on one database are one Tallyhook: whichever takes a callback, its effect happens once.

use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::support::books::{assert_balances, assert_credited_once, feed};
use crate::support::deposits::Deposit;
use crate::support::process::{Deployment, Server};
use crate::support::queue::{CREDITED, EVERYTHING, assert_credits_published, assert_published, bind_everything, drain};
use crate::support::sender::{Load, seed, send};
use crate::support::servers::{fresh_database, fresh_vhost};

const COPIES: usize = 100;
const PAYMENTS: usize = 400;
const CONNECTIONS: u64 = 12;

/// Three replicas, ready.
async fn replicas(first: Deployment) -> [Server; 3] {
    let (second, third) = (first.replica(), first.replica());
    let (a, b, c) = tokio::join!(first.serve(), second.serve(), third.serve());
    [a, b, c]
}

async fn stop(servers: [Server; 3]) {
    for server in servers {
        assert_eq!(server.terminate().await, Some(0), "a replica stops in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_parallel_copies_to_three_processes_are_one_transfer_and_one_event() {
    let deployment = Deployment::on(&fresh_database().await).migrated();
    let servers = replicas(deployment.clone()).await;
    let deposit = Deposit { number: 1 };
    let body = deposit.confirmed();

    let addresses = servers.iter().map(|server| server.deployment.public).cycle().take(COPIES);
    let answers = join_all(addresses.map(|address| send(&deployment.client, address, body.as_bytes()))).await;
    let ok = Some((StatusCode::OK.as_u16(), None));
    assert_eq!(answers, vec![ok; COPIES]);

    let callbacks = deployment.api("/api/callbacks").await;
    let callbacks = callbacks["data"].as_array().expect("a list");
    assert_eq!(callbacks.len(), 1, "{callbacks:?}");
    assert_eq!(callbacks[0]["deliveries"], COPIES);
    let id = callbacks[0]["id"].as_str().expect("an id");
    let detail = deployment.api(&format!("/api/callbacks/{id}")).await;
    assert_eq!(detail["transfers"].as_array().map(Vec::len), Some(1), "{detail}");
    let told = feed(&deployment).await;
    for server in &servers {
        assert_eq!(feed(&server.deployment).await, told, "each replica tells the same");
        assert_credited_once(&[deposit], &told);
        assert_balances(&[deposit], &server.deployment).await;
    }
    assert_eq!(told.len(), 1);
    stop(servers).await;
    deployment.assert_ledger_verifies();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callbacks_of_a_payment_may_go_to_any_replica() {
    let amqp = fresh_vhost();
    bind_everything(&amqp).await;
    let deployment = Deployment::on(&fresh_database().await).set("AMQP_URL", &amqp).migrated();
    let servers = replicas(deployment.clone()).await;
    let targets: Vec<_> = servers.iter().map(|server| &server.deployment).collect();

    let mut load = Load::start(&targets, CONNECTIONS, seed());
    load.add(PAYMENTS);
    let tally = std::sync::Arc::clone(&load.tally);
    let sent = load.finish().await;
    assert_eq!((tally.put_off(), tally.cut_off()), (0, 0), "nobody is turned away");

    deployment.until_published().await;
    let told = feed(&deployment).await;
    for server in &servers {
        assert_eq!(feed(&server.deployment).await, told, "each replica tells the same");
        assert_balances(&sent, &server.deployment).await;
    }
    assert_credited_once(&sent, &told);
    assert_published(&drain(&amqp, EVERYTHING).await, &told);
    assert_credits_published(&drain(&amqp, CREDITED).await, &told);
    stop(servers).await;
    deployment.assert_ledger_verifies();
}
