//! Several processes on one database are one Tallyhook: whichever takes a callback, its effect happens once.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _};
use tallyhook::cli::serve::Part;
use tallyhook::domain::customer::ReferenceKind;
use tallyhook::domain::ids::MerchantId;
use tallyhook::domain::order::{Order, Told};
use tallyhook::store::Db;

use crate::resolution::deposit;
use crate::support::books::{assert_balances, assert_credited_once, feed};
use crate::support::deposits::Deposit;
use crate::support::process::{Deployment, Server, eventually};
use crate::support::queue::{CREDITED, EVERYTHING, assert_credits_published, assert_published, bind_everything, drain};
use crate::support::sender::{Load, seed, send};
use crate::support::servers::{fresh_database, fresh_vhost};
use crate::support::{Backend, TestApp, launch_as};

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

/// One replica has looked for the order, and is kept from looking at what it speaks of until the other has booked it.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_another_replica_books_between_two_looks_is_a_repeat() {
    // Seen only by the replica that has this schema in its path. A locked table is waited for before the rows are looked at.
    const SLOW: &str = "CREATE SCHEMA slow;
        CREATE TABLE slow.gate ();
        CREATE VIEW slow.discrepancies AS
            SELECT * FROM public.discrepancies WHERE NOT EXISTS (SELECT FROM slow.gate)";
    const WAITING: &str = "SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE NOT l.granted AND c.relname = 'gate'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let app = TestApp::as_part(Backend::Postgres, &[], Part::Receive).await;
    let slow = launch_as(&format!("{}?options[search_path]=slow,public", app.url), &[], Part::Receive).await;
    assert_eq!(app.receive(&deposit(7_000_001, None, "0.1", "tx-1")).await, StatusCode::OK);
    let ada = (ReferenceKind::EndUserReference, "ada".to_owned());
    let known = Order::Customer { references: vec![ada.clone()] };
    let booker = &app.running.as_ref().expect("it runs").app.booker;
    // A first batch locks the head, so the slow one has its first here.
    slow.app.booker.order(MerchantId(1), known).await.expect("she is known from now on");
    let open = app.rows("/api/discrepancies").await;
    let told = Told { kind: Some("deposit".to_owned()), payment_id: Some("7000001".to_owned()), ..Told::default() };
    let assign = Order::Assign {
        discrepancy: open[0]["id"].as_str().expect("an id").parse().expect("a number"),
        customer: ada,
        payment: told,
        note: "a test".to_owned(),
        by: "ops".to_owned(),
    };

    let db = Db::lazy(&app.url, 1).await.expect("a database");
    db.orm.execute_unprepared(SLOW).await.expect("a schema");
    let lock = db.orm.begin().await.expect("a transaction");
    lock.execute_unprepared("LOCK TABLE slow.gate IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    let meanwhile = async {
        eventually("it has looked, and waits", Duration::from_secs(120), async || {
            let question = Statement::from_string(sea_orm::DatabaseBackend::Postgres, WAITING);
            lock.query_one_raw(question).await.expect("the database answers").map(drop)
        })
        .await;
        let placed = booker.order(MerchantId(1), assign.clone()).await.expect("it is booked");
        lock.rollback().await.expect("the lock is given back");
        placed
    };
    let (late, placed) = tokio::join!(slow.app.booker.order(MerchantId(1), assign.clone()), meanwhile);
    let late = late.expect("it is not declined");
    assert_eq!((late.id, late.is_duplicate, placed.is_duplicate), (placed.id, true, false));
    let settle = Order::Settle { discrepancy: 1, note: "too late".to_owned(), by: "ops".to_owned() };
    let declined = slow.app.booker.order(MerchantId(1), settle).await;
    assert!(declined.is_err(), "what is not open is declined, under the lock");
    assert!(app.ledger().await.contains("available  ada              BTC    0.1"), "{}", app.ledger().await);
    slow.app.stop.cancel();
    assert_eq!(slow.until_stopped().await.expect("it stops in order"), 0);
    app.finish().await;
}
